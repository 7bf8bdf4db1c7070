//! Changes of policies that somebody asks for, each one transaction: judged against the asker's own session, kept in the history, put in
//! force, and perhaps left to be confirmed.

use std::{
    path::{Path, PathBuf},
    sync::MutexGuard,
};

use super::{
    Controller,
    confirmation::Confirmation,
    held,
    history::{Index, NewEntry},
    reload::{self, InForce, PolicyState},
};
use crate::{
    api::{Applied, ApplyRequest, CONFIRM_SECONDS, Failure, How, Kind, RollbackRequest},
    clock,
    policy::{Policy, Source, Warning, diff},
    session::Session,
};

/// How a policy comes in force.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    /// Its number in the history.
    pub(super) number: Option<u64>,
    /// It comes from the history: the files it was read from may say something else by now.
    pub(super) put_back: bool,
    /// The session it must not cut.
    pub(super) session: Option<Session>,
}

impl Change {
    /// The files' own policy.
    pub(super) const fn to(number: Option<u64>) -> Self {
        Self { number, put_back: false, session: None }
    }

    /// One of the history.
    pub(super) const fn back_to(number: u64) -> Self {
        Self { number: Some(number), put_back: true, session: None }
    }
}

/// What a change is asked for with.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub how: How,
    /// Who asks.
    pub uid: Option<u32>,
    pub confirm_seconds: Option<u32>,
    /// The session that must not be cut.
    pub session: Option<Session>,
}

impl Asked {
    /// By nobody in particular.
    #[must_use]
    pub const fn by_itself(how: How) -> Self {
        Self { how, uid: None, confirm_seconds: None, session: None }
    }

    #[must_use]
    pub const fn by(how: How, uid: Option<u32>) -> Self {
        Self { how, uid, confirm_seconds: None, session: None }
    }

    /// The same, to be taken back unless it is confirmed within this time.
    ///
    /// # Errors
    /// A time that is none to confirm a policy in.
    pub fn confirmed_within(self, seconds: Option<u32>) -> Result<Self, Failure> {
        Ok(Self { confirm_seconds: checked(seconds)?, ..self })
    }
}

/// A policy that was read, and what it was read from.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) policy: Policy,
    pub(super) warnings: Vec<Warning>,
    pub(super) sources: Vec<Source>,
}

impl Controller {
    /// Reads the policy at a path and puts it in force.
    pub fn apply(&self, request: &ApplyRequest, uid: Option<u32>) -> Result<Applied, Failure> {
        let session = if request.cut_session { None } else { request.session };
        let asked = Asked { how: How::Apply, uid, confirm_seconds: checked(request.confirm_seconds)?, session };
        check_path(&request.path)?;
        self.apply_read(&request.path, reload::read_with(&request.path, &self.members())?, asked)
    }

    /// Puts a policy in force that was read already.
    pub(super) fn apply_read(&self, path: &Path, read: Read, asked: Asked) -> Result<Applied, Failure> {
        let kept = self.attached_zones();
        self.apply_held(held(&self.policy), &kept, path, read, asked)
    }

    /// The same for whoever has looked at the policy in force and must not lose it from sight.
    pub(super) fn apply_held(
        &self,
        mut state: MutexGuard<'_, PolicyState>,
        kept: &[u8],
        path: &Path,
        read: Read,
        asked: Asked,
    ) -> Result<Applied, Failure> {
        state.nothing_pending()?;
        let rules = read.policy.rules().len();
        let new = NewEntry {
            time: jiff::Timestamp::now(),
            how: asked.how,
            uid: asked.uid,
            path: path.display().to_string(),
            rules,
            summary: state
                .in_force
                .as_ref()
                .map_or_else(|| format!("{rules} rules"), |in_force| diff::summary(&diff::diff(&in_force.policy, &read.policy))),
        };
        let before = state.history.index().clone();
        let added = state.history.add(new, asked.confirm_seconds, &read.sources);
        let mut notes = Vec::new();
        let number = match added {
            Ok(number) => Some(number),
            Err(failure) if asked.confirm_seconds.is_some() => return Err(failure),
            // A full disk must not keep anybody from defending the box.
            Err(failure) => {
                notes.push(format!("this policy is not kept in the history: {failure}"));
                None
            }
        };
        let change = Change { session: asked.session, ..Change::to(number) };
        let generation = self.put_in_force_or_restore(&mut state, (path.to_path_buf(), read.policy), kept, change, before)?;
        log::info!("policy {} is in force: {rules} rules, generation {generation}", path.display());
        self.answer(state, &read.warnings, notes, generation, rules)
    }

    /// Puts the policy before the present one in force again, or the one with this number.
    pub fn rollback(&self, request: &RollbackRequest, uid: Option<u32>) -> Result<Applied, Failure> {
        let confirm = checked(request.confirm_seconds)?;
        let kept = self.attached_zones();
        let mut state = held(&self.policy);
        if state.confirmation.as_ref().is_some_and(|waits| request.number.is_none_or(|number| number == waits.previous())) {
            let generation = self.give_up(&mut state, &kept)?;
            let rules = state.in_force.as_ref().map_or(0, |in_force| in_force.policy.rules().len());
            return self.answer(state, &[], Vec::new(), generation, rules);
        }
        state.nothing_pending()?;
        let number = match request.number.or_else(|| state.history.index().predecessor()) {
            Some(number) => number,
            None => return Err(Failure::new(Kind::Conflict, "there is no policy before the one in force")),
        };
        if state.in_force.as_ref().is_some_and(|in_force| in_force.number == Some(number)) {
            return Err(Failure::new(Kind::Conflict, format!("policy number {number} is in force already")));
        }
        let read = state.history.read(number)?;
        let path = state.history.path(number)?;
        let rules = read.policy.rules().len();
        let before = state.history.index().clone();
        state.history.change(|index| index.put_back(number, confirm, jiff::Timestamp::now()))?;
        let session = if request.cut_session { None } else { request.session };
        let change = Change { session, ..Change::back_to(number) };
        let generation = self.put_in_force_or_restore(&mut state, (path, read.policy), &kept, change, before)?;
        let who = uid.map_or_else(String::new, |uid| format!(" by user {uid}"));
        log::info!("policy number {number} is put back{who}: {rules} rules, generation {generation}");
        self.answer(state, &read.warnings, Vec::new(), generation, rules)
    }

    /// Puts in force what the history already says is, and lets it wait to be confirmed if the history says that.
    fn put_in_force_or_restore(
        &self,
        state: &mut PolicyState,
        (path, policy): (PathBuf, Policy),
        kept: &[u8],
        change: Change,
        before: Index,
    ) -> Result<u32, Failure> {
        let now = clock::both();
        let pending = state.history.index().pending;
        let confirmation = match (pending, &state.in_force) {
            (Some(pending), Some(in_force)) => Some(Confirmation::begin(pending, in_force, &now)),
            _ => None,
        };
        let generation = match self.put_in_force(state, path, policy, &[], kept, change) {
            Ok(generation) => generation,
            Err(failure) => {
                state.history.restore(before);
                return Err(failure);
            }
        };
        state.confirmation = confirmation;
        self.confirmation_changed.notify_one();
        Ok(generation)
    }

    fn answer(
        &self,
        state: MutexGuard<'_, PolicyState>,
        warnings: &[Warning],
        notes: Vec<String>,
        generation: u32,
        rules: usize,
    ) -> Result<Applied, Failure> {
        let in_force: &InForce = state.in_force.as_ref().ok_or_else(|| Failure::failed("no policy is in force"))?;
        let (path, number) = (in_force.path.display().to_string(), in_force.number);
        let confirmation = state.confirmation.as_ref().map(|confirmation| confirmation.describe(&clock::both()));
        drop(state);
        for note in &notes {
            log::warn!("{note}");
        }
        if let Some(confirmation) = &confirmation {
            log::info!("it waits {} s to be confirmed", confirmation.seconds_left);
        }
        let mut texts = self.tell_warnings(warnings);
        texts.extend(notes);
        Ok(Applied { path, generation, rules, number, warnings: texts, confirmation })
    }
}

impl PolicyState {
    /// Refuses while a policy waits to be confirmed.
    pub(super) fn nothing_pending(&self) -> Result<(), Failure> {
        let Some(waits) = &self.confirmation else { return Ok(()) };
        let confirmation = waits.describe(&clock::both());
        let error = format!("policy number {} waits to be confirmed, for {} s more", waits.number(), confirmation.seconds_left);
        Err(Failure::new(Kind::Conflict, error).hint("`weir policy confirm` keeps it, `weir policy rollback` takes it back"))
    }
}

pub(super) fn check_path(path: &Path) -> Result<(), Failure> {
    if path.is_absolute() {
        return Ok(());
    }
    Err(Failure::usage(format!("{} is no absolute path", path.display())).hint("the daemon may run in another directory"))
}

fn checked(confirm_seconds: Option<u32>) -> Result<Option<u32>, Failure> {
    match confirm_seconds {
        Some(seconds) if !CONFIRM_SECONDS.contains(&seconds) => Err(Failure::usage(format!(
            "{seconds} s is no time to confirm a policy in"
        ))
        .hint(format!("between {} and {} seconds", CONFIRM_SECONDS.start(), CONFIRM_SECONDS.end()))),
        other => Ok(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_confirm_is_neither_none_nor_long() {
        assert_eq!(checked(None), Ok(None));
        for seconds in [1, 60, 3600] {
            assert_eq!(checked(Some(seconds)), Ok(Some(seconds)));
        }
        for seconds in [0, 3601, u32::MAX] {
            let failure = checked(Some(seconds)).expect_err("out of range");
            assert_eq!((failure.kind, failure.hint.as_deref()), (Kind::Usage, Some("between 1 and 3600 seconds")));
        }
    }

    #[test]
    fn paths_are_absolute() {
        assert_eq!(check_path(Path::new("/etc/weir/policies")), Ok(()));
        assert_eq!(check_path(Path::new("policies")).expect_err("relative").kind, Kind::Usage);
    }
}
