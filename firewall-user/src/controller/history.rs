//! The policies that were applied, each with its number: what can be shown again, put back, and is put back when nobody confirms the next.

mod store;

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{change::Read, reload};
use crate::{
    api::{Failure, HistoryEntry, How, Kind, PolicyState},
    instance::Instance,
    policy::Source,
    user,
};
use store::Store;
pub(super) use store::make_private;

/// Policies that are kept, those in use included.
pub(super) const KEPT: usize = 20;
/// Version of the files.
const VERSION: u32 = 1;

/// What is known of all policies. Small, and written as a whole: what it says counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Index {
    version: u32,
    /// Number of the next policy.
    next: u64,
    pub(super) in_force: Option<u64>,
    pub(super) pending: Option<Pending>,
    /// The policy that was rolled back last: while its files are as they were, nothing but `apply` puts it in force again.
    pub(super) refused: Option<u64>,
    entries: Vec<Entry>,
}

/// A policy in force that is not confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pending {
    pub(super) number: u64,
    pub(super) previous: u64,
    pub(super) began: Timestamp,
    pub(super) seconds: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    number: u64,
    time: Timestamp,
    how: How,
    uid: Option<u32>,
    user: Option<String>,
    path: String,
    rules: usize,
    rolled_back: bool,
    summary: String,
}

/// A policy that is about to come in force.
#[derive(Clone, Debug)]
pub(super) struct NewEntry {
    pub(super) time: Timestamp,
    pub(super) how: How,
    pub(super) uid: Option<u32>,
    pub(super) path: String,
    pub(super) rules: usize,
    pub(super) summary: String,
}

impl Default for Index {
    fn default() -> Self {
        Self { version: VERSION, next: 1, in_force: None, pending: None, refused: None, entries: Vec::new() }
    }
}

impl Index {
    /// A new policy comes in force. Returns its number.
    pub(super) fn add(&mut self, new: NewEntry, confirm: Option<u32>) -> Result<u64, Failure> {
        let NewEntry { time, how, uid, path, rules, summary } = new;
        let (number, user) = (self.next, uid.and_then(user::name));
        self.pending = None;
        self.wait_for(number, confirm, time)?;
        self.next += 1;
        self.entries.push(Entry { number, time, how, uid, user, path, rules, rolled_back: false, summary });
        (self.in_force, self.refused) = (Some(number), None);
        Ok(number)
    }

    /// An earlier policy comes in force again; the one that was is rolled back.
    pub(super) fn put_back(&mut self, number: u64, confirm: Option<u32>, now: Timestamp) -> Result<(), Failure> {
        self.entry(number)?;
        self.wait_for(number, confirm, now)?;
        self.leave(number);
        Ok(())
    }

    /// What waits to be confirmed stays.
    pub(super) fn confirm(&mut self) -> Option<u64> {
        self.pending.take().map(|pending| pending.number)
    }

    /// What waits to be confirmed goes. Returns the number of what comes back.
    pub(super) fn give_up(&mut self) -> Option<u64> {
        let pending = self.pending.take()?;
        self.leave(pending.previous);
        Some(pending.previous)
    }

    /// The policy that was in force before the present one and was not rolled back itself.
    pub(super) fn predecessor(&self) -> Option<u64> {
        let before = self.in_force?;
        self.entries.iter().rev().find(|entry| entry.number < before && !entry.rolled_back).map(|entry| entry.number)
    }

    pub(super) fn list(&self) -> impl Iterator<Item = HistoryEntry> + '_ {
        self.entries.iter().rev().map(|entry| self.describe(entry))
    }

    pub(super) fn show(&self, number: u64) -> Result<HistoryEntry, Failure> {
        self.entry(number).map(|entry| self.describe(entry))
    }

    fn leave(&mut self, number: u64) {
        if let Some(left) = self.in_force.filter(|left| *left != number) {
            self.refused = Some(left);
        }
        for entry in &mut self.entries {
            if Some(entry.number) == self.in_force {
                entry.rolled_back = true;
            }
            if entry.number == number {
                entry.rolled_back = false;
            }
        }
        self.in_force = Some(number);
    }

    fn wait_for(&mut self, number: u64, confirm: Option<u32>, began: Timestamp) -> Result<(), Failure> {
        if let Some(seconds) = confirm {
            let previous = self.in_force.ok_or_else(|| {
                Failure::new(Kind::Conflict, "the policy in force is not in the history: there is nothing that could come back")
            })?;
            self.pending = Some(Pending { number, previous, began, seconds });
        }
        Ok(())
    }

    fn entry(&self, number: u64) -> Result<&Entry, Failure> {
        self.entries.iter().find(|entry| entry.number == number).ok_or_else(|| {
            Failure::new(Kind::NotFound, format!("the history has no policy number {number}")).hint("`weir policy history` lists them")
        })
    }

    fn describe(&self, entry: &Entry) -> HistoryEntry {
        let state = if self.pending.is_some_and(|pending| pending.number == entry.number) {
            PolicyState::Unconfirmed
        } else if self.in_force == Some(entry.number) {
            PolicyState::InForce
        } else if entry.rolled_back {
            PolicyState::RolledBack
        } else {
            PolicyState::Replaced
        };
        HistoryEntry {
            number: entry.number,
            time: format!("{:.0}", entry.time),
            how: entry.how,
            uid: entry.uid,
            user: entry.user.clone(),
            path: entry.path.clone(),
            rules: entry.rules,
            state,
            summary: entry.summary.clone(),
        }
    }

    /// Forgets the oldest policies that nothing needs. Returns their numbers.
    fn forget(&mut self) -> Vec<u64> {
        let needed = [self.in_force, self.refused, self.pending.map(|pending| pending.previous)];
        let excess = self.entries.len().saturating_sub(KEPT);
        let old = self.entries.iter().map(|entry| entry.number).filter(|number| !needed.contains(&Some(*number)));
        let forgotten: Vec<u64> = old.take(excess).collect();
        self.entries.retain(|entry| !forgotten.contains(&entry.number));
        forgotten
    }
}

/// The history on disk, as this daemon knows it.
#[derive(Debug)]
pub(super) struct History {
    store: Store,
    index: Index,
}

impl History {
    /// Reads what earlier daemons left. A history that cannot be read is told of and begins anew: the firewall must start.
    pub(super) fn open(instance: &Instance) -> Self {
        let store = Store::new(instance);
        let index = store.index().unwrap_or_else(|failure| {
            log::error!("the history of policies begins anew: {failure}");
            Index::default()
        });
        Self { store, index }
    }

    pub(super) fn index(&self) -> &Index {
        &self.index
    }

    /// Adds a policy that comes in force, with its files. Returns its number.
    pub(super) fn add(&mut self, new: NewEntry, confirm: Option<u32>, sources: &[Source]) -> Result<u64, Failure> {
        let mut index = self.index.clone();
        let number = index.add(new, confirm)?;
        self.store.keep(number, sources)?;
        self.commit(index)?;
        Ok(number)
    }

    /// Changes the index, in memory and on disk, or neither.
    pub(super) fn change<T>(&mut self, change: impl FnOnce(&mut Index) -> Result<T, Failure>) -> Result<T, Failure> {
        let mut index = self.index.clone();
        let result = change(&mut index)?;
        self.commit(index)?;
        Ok(result)
    }

    fn commit(&mut self, mut index: Index) -> Result<(), Failure> {
        let forgotten = index.forget();
        self.store.keep_index(&index)?;
        self.index = index;
        self.store.remove(&forgotten);
        Ok(())
    }

    /// Takes a change back, as far as the disk lets it.
    pub(super) fn restore(&mut self, index: Index) {
        if let Err(failure) = self.store.keep_index(&index) {
            log::error!("{failure}");
        }
        self.index = index;
    }

    /// A policy as it was applied, read again.
    pub(super) fn read(&self, number: u64) -> Result<Read, Failure> {
        self.index.entry(number)?;
        reload::check(self.store.sources(number)?)
    }

    /// Where a policy was read when it was applied.
    pub(super) fn path(&self, number: u64) -> Result<PathBuf, Failure> {
        self.index.entry(number).map(|entry| PathBuf::from(&entry.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn new(path: &str) -> NewEntry {
        NewEntry { time: NOW, how: How::Apply, uid: Some(0), path: path.to_owned(), rules: 1, summary: String::new() }
    }

    fn with(policies: u64) -> Index {
        let mut index = Index::default();
        for number in 1..=policies {
            assert_eq!(index.add(new("p"), None).expect("added"), number);
        }
        index
    }

    /// Numbers and states, newest first: `3 in force, 2 replaced`.
    fn states(index: &Index) -> String {
        index.list().map(|entry| format!("{} {}", entry.number, entry.state.name())).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn rolling_back_walks_towards_the_first() {
        let mut index = with(3);
        assert_eq!(states(&index), "3 in force, 2 replaced, 1 replaced");
        for expected in ["3 rolled back, 2 in force, 1 replaced", "3 rolled back, 2 rolled back, 1 in force"] {
            let number = index.predecessor().expect("an earlier one");
            index.put_back(number, None, NOW).expect("known");
            assert_eq!(states(&index), expected);
        }
        assert_eq!((index.predecessor(), index.refused), (None, Some(2)));
        index.put_back(3, None, NOW).expect("known");
        assert_eq!(states(&index), "3 in force, 2 rolled back, 1 rolled back", "a number may lead forward again");
        assert_eq!(index.add(new("q"), None).expect("added"), 4);
        assert_eq!((index.refused, index.predecessor()), (None, Some(3)));
        assert_eq!(index.put_back(9, None, NOW).expect_err("unknown").kind, Kind::NotFound);
    }

    #[test]
    fn what_is_not_confirmed_goes() {
        let mut index = with(2);
        index.add(new("q"), Some(60)).expect("added");
        assert_eq!(states(&index), "3 unconfirmed, 2 replaced, 1 replaced");
        let mut confirmed = index.clone();
        assert_eq!((confirmed.confirm(), confirmed.confirm()), (Some(3), None));
        assert_eq!(states(&confirmed), "3 in force, 2 replaced, 1 replaced");
        assert_eq!((index.give_up(), index.give_up()), (Some(2), None));
        assert_eq!(states(&index), "3 rolled back, 2 in force, 1 replaced");
        assert_eq!(index.refused, Some(3));
    }

    #[test]
    fn a_rollback_can_wait_to_be_confirmed_too() {
        let mut index = with(3);
        index.put_back(1, Some(5), NOW).expect("known");
        assert_eq!(index.pending.map(|pending| (pending.number, pending.previous)), Some((1, 3)));
        assert_eq!(states(&index), "3 rolled back, 2 replaced, 1 unconfirmed");
        index.give_up();
        assert_eq!(states(&index), "3 in force, 2 replaced, 1 rolled back");
    }

    #[test]
    fn nothing_can_wait_when_nothing_could_come_back() {
        let mut index = Index::default();
        assert_eq!(index.add(new("p"), Some(60)).expect_err("no previous one").kind, Kind::Conflict);
        assert_eq!(index, Index::default());
    }

    #[test]
    fn the_history_is_bounded_and_keeps_what_is_needed() {
        let mut index = with(5);
        index.put_back(1, None, NOW).expect("known");
        for _ in 0..100 {
            // Policy 1 stays in force, and each that is tried is not confirmed.
            index.add(new("q"), Some(9)).expect("added");
            index.give_up();
            index.forget();
        }
        let numbers: Vec<u64> = index.list().map(|entry| entry.number).collect();
        assert_eq!((numbers.len(), numbers[0], numbers[KEPT - 1]), (KEPT, 105, 1));
        assert_eq!((index.in_force, index.refused), (Some(1), Some(105)));
    }
}
