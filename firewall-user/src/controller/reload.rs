//! Policies: reading, lowering and putting them in force, as one transaction. On any failure the policy in force stays.

use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
};

use firewall_common::config::config_flags;

use super::{
    Controller,
    change::{Asked, Change, Read},
    confirmation::Confirmation,
    held,
    history::History,
    names::{InUse, Names},
    sets::{self, Sets},
};
use crate::{
    api::{Applied, Failure, How, Kind},
    clock,
    dataplane::Slots,
    policy::{self, Defaults, Diagnostics, DropOrPass, Members, Policy, Source, Warning},
};

/// The policy side of the controller.
#[derive(Debug)]
pub(super) struct PolicyState {
    pub(super) names: Names,
    pub(super) slots: Slots,
    pub(super) in_force: Option<InForce>,
    pub(super) history: History,
    /// The policy in force waits to be confirmed.
    pub(super) confirmation: Option<Confirmation>,
    pub(super) sets: Sets,
    /// Rules with hours, and whether they were in them when that was last looked at.
    pub(super) in_hours: BTreeMap<String, bool>,
}

/// A policy in force.
#[derive(Debug)]
pub(super) struct InForce {
    pub(super) path: PathBuf,
    pub(super) policy: Policy,
    pub(super) generation: u32,
    /// Number in the history.
    pub(super) number: Option<u64>,
    /// It comes from the history: its files may say something else.
    pub(super) put_back: bool,
    /// When it was last lowered: rules that expired since are due.
    pub(super) since: jiff::Timestamp,
}

impl PolicyState {
    pub(super) const fn new(names: Names, slots: Slots, history: History, sets: Sets) -> Self {
        Self { names, slots, in_force: None, history, confirmation: None, sets, in_hours: BTreeMap::new() }
    }

    /// The policy that was rolled back last, in its canonical form.
    fn refused_text(&self) -> Option<String> {
        let number = self.history.index().refused?;
        self.history.read(number).ok().map(|read| read.policy.to_string())
    }
}

/// Reads and checks the policy at `path`.
///
/// Zones are not checked against the interfaces: one may be attached later.
pub(super) fn read(path: &Path) -> Result<Read, Failure> {
    read_with(path, &Members::default())
}

/// The same with members of its sets that are not written in it.
pub(super) fn read_with(path: &Path, members: &Members) -> Result<Read, Failure> {
    check_with(policy::read_sources(path).map_err(|errors| refused(&errors))?, members)
}

/// Checks files that were read.
pub(super) fn check(sources: Vec<Source>) -> Result<Read, Failure> {
    check_with(sources, &Members::default())
}

pub(super) fn check_with(sources: Vec<Source>, members: &Members) -> Result<Read, Failure> {
    let (policy, warnings) =
        policy::load_sources_with(sources.clone(), None, jiff::Timestamp::now(), members).map_err(|errors| refused(&errors))?;
    Ok(Read { policy, warnings, sources })
}

/// The settings' flags that a policy decides about, and whether it wants them.
pub(super) fn flags_of(defaults: &Defaults) -> [(u32, bool); 3] {
    [
        (config_flags::TABLE_FULL_PASS, defaults.table_full),
        (config_flags::FRAGMENT_BEFORE_FIRST_PASS, defaults.fragments_before_first),
        (config_flags::FRAGMENT_DF_PASS, defaults.fragments_dont_fragment),
    ]
    .map(|(flag, what)| (flag, what == DropOrPass::Pass))
}

/// A refused policy as a failure.
pub(super) fn refused(errors: &Diagnostics) -> Failure {
    Failure::new(Kind::Policy, errors.to_string())
}

impl Controller {
    /// Reads the policy in force again from its files: because it was asked for, or because they have changed. `None` when there is nothing
    /// new in them.
    ///
    /// Files that say what was rolled back last are left alone: nobody may be there whom that policy does not cut off.
    pub fn reload(&self, how: How) -> Result<Option<Applied>, Failure> {
        let path = self.policy_path()?;
        let read = read_with(&path, &self.members())?;
        let text = read.policy.to_string();
        let kept = self.attached_zones();
        let mut state = held(&self.policy);
        let in_force = state.in_force.as_ref().ok_or_else(|| Failure::failed("no policy is in force"))?;
        if in_force.path != path {
            return Err(Failure::new(Kind::Conflict, "another policy came in force meanwhile"));
        }
        if in_force.policy.to_string() == text {
            if how == How::Watch {
                return Ok(None);
            }
            // Places in the files may be others, and whoever asks for it sees that it was done.
            let (change, rules) = (Change::to(in_force.number), in_force.policy.rules().len());
            state.nothing_pending()?;
            let generation = self.put_in_force(&mut state, path.clone(), read.policy, &[], &kept, change)?;
            log::info!("policy {} is in force: {rules} rules, generation {generation}", path.display());
            return Ok(None);
        }
        if in_force.put_back && state.refused_text().as_ref() == Some(&text) {
            let error = format!("{} still says what was rolled back", path.display());
            return Err(
                Failure::new(Kind::Conflict, error).hint(format!("`weir policy apply {}` puts it in force nonetheless", path.display()))
            );
        }
        self.apply_held(state, &kept, &path, read, Asked::by_itself(how)).map(Some)
    }

    pub(super) fn policy_path(&self) -> Result<PathBuf, Failure> {
        let state = held(&self.policy);
        state.in_force.as_ref().map(|in_force| in_force.path.clone()).ok_or_else(|| Failure::failed("no policy is in force"))
    }

    /// Lowers the policy in force again: for a new zone, because a rule has expired, or for members of sets that cannot be changed in place.
    /// Live flows are judged anew.
    pub(super) fn renew(&self, state: &mut PolicyState, zones: &[&str], kept: &[u8]) -> Result<u32, Failure> {
        let in_force = state.in_force.as_ref().ok_or_else(|| Failure::failed("no policy is in force"))?;
        let (path, policy) = (in_force.path.clone(), in_force.policy.clone());
        let change = Change { number: in_force.number, put_back: in_force.put_back, session: None };
        self.put_in_force(state, path, policy, zones, kept, change)
    }

    /// Lowers `policy`, fills the spare slot and switches to it.
    ///
    /// `zones` get a number whether or not the policy names them; `kept` are numbers of zones that interfaces are in.
    pub(super) fn put_in_force(
        &self,
        state: &mut PolicyState,
        path: PathBuf,
        policy: Policy,
        zones: &[&str],
        kept: &[u8],
        change: Change,
    ) -> Result<u32, Failure> {
        let policy = policy.with_members(&state.sets.members()).map_err(|error| sets::too_many(&error))?;
        let in_use = self.in_use(state, &policy, zones, kept)?;
        let clock = clock::both();
        let mut draft = state.names.draft(&in_use);
        for zone in zones {
            use crate::policy::Numbers as _;
            draft.zone(zone).ok_or_else(|| Failure::failed(format!("no number is left for zone {zone}")))?;
        }
        let lowered = policy::lower(&policy, &mut draft, &clock).map_err(|error| Failure::new(Kind::Policy, error.to_string()))?;
        if let Some(session) = &change.session {
            self.refuse_a_cut(state, session, &policy, kept, &clock)?;
        }
        self.sweep.ledger.forget_rules(draft.new_rules());
        let names = draft.commit(&self.maps)?;
        state.names = names;
        let defaults = policy.defaults();
        let generation = state.slots.switch(&self.maps, &lowered)?;
        state.sets.lowered();
        self.desk.know(policy.set_names());
        self.maps.config.set_reject_rate(defaults.reject_rate);
        for (flag, on) in flags_of(defaults) {
            self.set_flag(flag, on);
        }
        state.in_force =
            Some(InForce { path, policy, generation, number: change.number, put_back: change.put_back, since: clock.realtime });
        Ok(generation)
    }

    /// What must keep its number: what live flows, interfaces, the policy in force and the next one name.
    pub(super) fn in_use(&self, state: &PolicyState, next: &Policy, zones: &[&str], kept: &[u8]) -> Result<InUse, Failure> {
        self.sweep.run(&self.maps, &self.live)?;
        Ok(self.in_use_as_swept(state, next, zones, kept))
    }

    /// As [`Self::in_use`], by the live flows as they were when they were last looked at: nothing is removed from the tables for it.
    pub(super) fn in_use_as_swept(&self, state: &PolicyState, next: &Policy, zones: &[&str], kept: &[u8]) -> InUse {
        let policies = state.in_force.iter().map(|in_force| &in_force.policy).chain([next]);
        let mut in_use = InUse {
            rules: self.live.by_rule().into_keys().collect(),
            zones: self.live.zones(),
            rule_names: HashSet::new(),
            zone_names: zones.iter().map(|zone| (*zone).to_owned()).collect(),
        };
        in_use.zones.extend(kept);
        for policy in policies {
            in_use.rule_names.extend(policy.rules().iter().map(|rule| rule.name.clone()));
            in_use.zone_names.extend(policy.zones().into_iter().map(str::to_owned));
        }
        in_use
    }

    pub(super) fn attached_zones(&self) -> Vec<u8> {
        held(&self.dataplane).attachments().map(|attached| attached.zone).collect()
    }

    /// Writes a policy's warnings to the log, with those about zones without an interface, and returns them as text.
    pub(super) fn tell_warnings(&self, warnings: &[Warning]) -> Vec<String> {
        let mut texts: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        let attached = self.attached_zones();
        let state = held(&self.policy);
        let attached: HashSet<String> = attached.into_iter().map(|zone| state.names.zone(zone)).collect();
        if let Some(in_force) = &state.in_force {
            let empty = in_force.policy.zones().into_iter().filter(|zone| !attached.contains(*zone));
            texts.extend(
                empty.map(|zone| format!("no interface is in zone `{zone}`: rules that name it match nothing until one is attached")),
            );
        }
        for text in &texts {
            log::warn!("{text}");
        }
        texts
    }
}
