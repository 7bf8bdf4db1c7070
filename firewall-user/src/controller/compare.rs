//! `weir policy diff`: what another policy would change, down to the live flows.

use std::{cmp::Reverse, path::Path};

use super::{
    Controller,
    change::{Read, check_path},
    flows::Legend,
    held,
    judge::{Judge, Verdict, first_packet},
    live::{LiveFlow, bytes},
    reload::{self, PolicyState},
    sets,
};
use crate::{
    api::{DiffRequest, Edited, Failure, FlowChange, FlowChangeKind, FlowChanges, Kind, PolicyDiff},
    clock,
    policy::{self, Clock, FirstPacket, Lowered, Members, Policy, Source, diff},
};

/// Flows that are listed when nothing is said.
const LISTED: usize = 20;

/// Two policies in the same numbers, neither of them committed to.
pub(super) struct Lowerings {
    pub(super) before: Lowered,
    pub(super) next: Lowered,
}

impl Controller {
    /// What would change if the policy at a path came in force. Nothing does.
    pub fn diff(&self, request: &DiffRequest) -> Result<PolicyDiff, Failure> {
        check_path(&request.path)?;
        let read = read_edited(&request.path, request.edited.as_ref(), &self.members())?;
        let kept = self.attached_zones();
        self.sweep.run(&self.maps, &self.live)?;
        let legend = self.legend();
        let state = held(&self.policy);
        let in_force = state.in_force.as_ref().ok_or_else(|| Failure::failed("no policy is in force"))?;
        let now = clock::both();
        let members = state.sets.members();
        let next = read.policy.with_members(&members).map_err(|error| sets::too_many(&error))?;
        let before = in_force.policy.clone().with_members(&members).map_err(|error| sets::too_many(&error))?;
        let lowerings = self.lower_beside(&state, (&before, &next), &kept, &now)?;
        let judges = (Judge::new(&before, &lowerings.before, now.monotonic_ns), Judge::new(&next, &lowerings.next, now.monotonic_ns));
        let flows = self.flow_changes(&judges, &legend, request.limit.unwrap_or(LISTED));
        let changes = diff::diff(&in_force.policy, &next);
        let cut = request.session.and_then(|session| self.verdict_that_cuts(&session, &judges, &kept));
        Ok(PolicyDiff {
            in_force: in_force.path.display().to_string(),
            path: request.path.display().to_string(),
            same: changes.is_empty() && flows.total() == 0,
            summary: diff::summary(&changes),
            changes,
            flows,
            cuts_session: cut.map(Verdict::sentence),
            warnings: read.warnings.iter().map(ToString::to_string).collect(),
        })
    }

    /// Lowers the policy in force, with the members its sets have, and the one that may follow it.
    pub(super) fn lower_beside(
        &self,
        state: &PolicyState,
        (before, next): (&Policy, &Policy),
        kept: &[u8],
        now: &Clock,
    ) -> Result<Lowerings, Failure> {
        let in_use = self.in_use(state, next, &[], kept)?;
        let mut draft = state.names.draft(&in_use);
        let mut lower = |policy| policy::lower(policy, &mut draft, now).map_err(|error| Failure::new(Kind::Policy, error.to_string()));
        Ok(Lowerings { before: lower(before)?, next: lower(next)? })
    }

    fn flow_changes(&self, (now, then): &(Judge<'_>, Judge<'_>), legend: &Legend, limit: usize) -> FlowChanges {
        let mut changes = FlowChanges::default();
        let mut found = Vec::new();
        for (key, live) in self.live.iter() {
            changes.live += 1;
            let packet: FirstPacket = first_packet(&key, &live.flow);
            let (now, then) = (now.judge(&packet), then.judge(&packet));
            let Some(change) = now.change_to(then) else { continue };
            *match change {
                FlowChangeKind::Cut => &mut changes.cut,
                FlowChangeKind::Spared => &mut changes.spared,
                FlowChangeKind::Inspection => &mut changes.inspection,
                FlowChangeKind::Rule => &mut changes.rule,
            } += 1;
            found.push((change, Reverse(bytes(&live.flow).sum()), key, live, now, then));
        }
        found.sort_by_key(|(change, bytes, ..)| (*change, *bytes));
        let describe = |(change, Reverse(bytes), key, live, now, then): (_, _, _, LiveFlow, Verdict<'_>, Verdict<'_>)| {
            let flow = legend.describe(&key, &live);
            let (now, then) = (now.describe(), then.describe());
            FlowChange { protocol: flow.protocol, initiator: flow.initiator, responder: flow.responder, bytes, change, now, then }
        };
        changes.listed = found.into_iter().take(limit).map(describe).collect();
        changes
    }
}

/// Reads a policy as it would be after an edit.
fn read_edited(path: &Path, edited: Option<&Edited>, members: &Members) -> Result<Read, Failure> {
    let Some(Edited { file, copy }) = edited else { return reload::read_with(path, members) };
    let mut sources = policy::read_sources(path).or_else(|errors| {
        // A directory may get its first file.
        if path.is_dir() && !file.exists() { Ok(Vec::new()) } else { Err(reload::refused(&errors)) }
    })?;
    let copies = policy::read_sources(copy).map_err(|errors| reload::refused(&errors))?;
    let text = copies.into_iter().next().map(|source| source.text).unwrap_or_default();
    policy::replace_source(&mut sources, Source { path: file.clone(), text });
    reload::check_with(sources, members)
}
