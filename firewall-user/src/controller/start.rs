//! Which policy a daemon begins with. That of its files, unless an earlier daemon left one that waits to be confirmed, or the files still say
//! what was rolled back.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::{
    Controller,
    change::{Change, Read},
    confirmation::{Confirmation, left_of},
    history::{History, Index, NewEntry, Pending},
    reload::{self, PolicyState},
};
use crate::{
    api::{Failure, How, Kind},
    clock,
    policy::diff,
};

/// What the daemon begins with.
#[derive(Debug)]
pub(super) struct Beginning {
    path: PathBuf,
    pub(super) read: Read,
    origin: Origin,
}

#[derive(Debug)]
enum Origin {
    /// The files.
    Files,
    /// The history: these files still say what was rolled back.
    RolledBack(u64, PathBuf),
    /// The history: nobody confirmed the next one in time.
    NotConfirmed(Pending),
    /// The history: it still waits to be confirmed; else this one comes back.
    Waiting(Pending, PathBuf, Box<Read>),
}

impl Beginning {
    pub(super) fn choose(history: &History, path: &Path, now: Timestamp) -> Result<Self, Failure> {
        if let Some(pending) = history.index().pending {
            match Self::with_pending(history, pending, now) {
                Ok(beginning) => return Ok(beginning),
                Err(failure) => log::error!("policy number {} waited to be confirmed, and cannot go on: {failure}", pending.number),
            }
        }
        let read = reload::read(path)?;
        if let (Some(refused), Some(in_force)) = (history.index().refused, history.index().in_force)
            && history.read(refused).is_ok_and(|refused| refused.policy.to_string() == read.policy.to_string())
        {
            match history.read(in_force) {
                Ok(before) => {
                    let origin = Origin::RolledBack(in_force, path.to_path_buf());
                    return Ok(Self { path: history.path(in_force)?, read: before, origin });
                }
                Err(failure) => log::error!("policy number {in_force} cannot be put back: {failure}"),
            }
        }
        Ok(Self { path: path.to_path_buf(), read, origin: Origin::Files })
    }

    fn with_pending(history: &History, pending: Pending, now: Timestamp) -> Result<Self, Failure> {
        let (previous, previous_path) = (history.read(pending.previous)?, history.path(pending.previous)?);
        let back = |previous| Self { path: previous_path.clone(), read: previous, origin: Origin::NotConfirmed(pending) };
        if left_of(&pending, now).is_zero() {
            return Ok(back(previous));
        }
        match history.read(pending.number) {
            Ok(read) => {
                Ok(Self { path: history.path(pending.number)?, read, origin: Origin::Waiting(pending, previous_path, Box::new(previous)) })
            }
            Err(failure) => {
                log::error!("policy number {} waits to be confirmed, and cannot be read again: {failure}", pending.number);
                Ok(back(previous))
            }
        }
    }
}

impl Controller {
    /// Puts the first policy in force and notes it in the history. Returns its generation.
    pub(super) fn begin(&self, state: &mut PolicyState, beginning: Beginning, zones: &[&str]) -> Result<u32, Failure> {
        let Beginning { path, read, origin } = beginning;
        let change = match &origin {
            Origin::Files => Change::to(None),
            Origin::RolledBack(number, _) => Change::back_to(*number),
            Origin::NotConfirmed(pending) => Change::back_to(pending.previous),
            // An earlier one waits when it was put back; a new one came from its files.
            Origin::Waiting(pending, ..) => Change { put_back: pending.number < pending.previous, ..Change::back_to(pending.number) },
        };
        let generation = self.put_in_force(state, path.clone(), read.policy.clone(), zones, &[], change)?;
        let noted = match origin {
            Origin::Files => note(state, &path, &read),
            Origin::RolledBack(number, files) => {
                let files = files.display();
                log::warn!(
                    "{files} still says what was rolled back: policy number {number} stays in force; `weir policy apply {files}` changes that"
                );
                Ok(())
            }
            Origin::NotConfirmed(pending) => {
                log::warn!("policy number {} was not confirmed in time: number {} is in force again", pending.number, pending.previous);
                state.history.change(|index: &mut Index| Ok(index.give_up())).map(drop)
            }
            Origin::Waiting(pending, previous_path, previous) => {
                let confirmation = Confirmation::resume(pending, previous_path, previous.policy, &clock::both());
                let left = confirmation.describe(&clock::both()).seconds_left;
                log::warn!("policy number {} waits to be confirmed, for {left} s more", pending.number);
                state.confirmation = Some(confirmation);
                Ok(())
            }
        };
        if let Err(failure) = noted {
            log::warn!("the history is not up to date: {failure}");
        }
        Ok(generation)
    }
}

/// Notes the files' policy in the history, unless it is the one that was in force before.
fn note(state: &mut PolicyState, path: &Path, read: &Read) -> Result<(), Failure> {
    let before = state.history.index().in_force.and_then(|number| Some((number, state.history.read(number).ok()?)));
    let rules = read.policy.rules().len();
    let summary = match &before {
        Some((_, before)) => {
            let changes = diff::diff(&before.policy, &read.policy);
            if changes.is_empty() { None } else { Some(diff::summary(&changes)) }
        }
        None => Some(format!("{rules} rules")),
    };
    let number = match (summary, before) {
        (None, Some((number, _))) => {
            // Whatever waited, the files have it now.
            if state.history.index().pending.is_some() {
                state.history.change(|index: &mut Index| Ok(index.confirm()))?;
            }
            number
        }
        (summary, _) => {
            let path = path.display().to_string();
            let summary = summary.unwrap_or_default();
            let new = NewEntry { time: Timestamp::now(), how: How::Start, uid: None, path, rules, summary };
            state.history.add(new, None, &read.sources)?
        }
    };
    match &mut state.in_force {
        Some(in_force) => in_force.number = Some(number),
        None => return Err(Failure::new(Kind::Failed, "no policy is in force")),
    }
    Ok(())
}
