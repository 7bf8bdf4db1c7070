//! The members of sets that are not written in the policy.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    api::{Failure, Kind},
    policy::{Members, Policy, Prefix},
    session::Session,
};

/// Live members a set may have: what one side of a policy has room for.
pub(super) const MOST_MEMBERS: usize = firewall_common::rule::MAX_ADDRESS_PREFIXES as usize / 2;

/// Why and how long a prefix is a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) since: Timestamp,
    /// The moment from which it is none any more.
    pub(super) until: Option<Timestamp>,
    /// `None`: the daemon added it.
    pub(super) uid: Option<u32>,
    pub(super) because: Option<Arc<str>>,
}

/// What is to be done with a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Add,
    Remove,
    /// The live members become exactly these.
    Replace,
    Clear,
}

/// A change of one set that somebody asks for.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) set: String,
    pub(super) verb: Verb,
    pub(super) prefixes: Vec<Prefix>,
    /// How long those that are added count.
    pub(super) span: Option<Duration>,
    pub(super) because: Option<String>,
    pub(super) uid: Option<u32>,
    /// The session that must not be cut.
    pub(super) session: Option<Session>,
}

/// One member before and after a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delta {
    pub(super) set: String,
    pub(super) prefix: Prefix,
    pub(super) before: Option<Member>,
    pub(super) after: Option<Member>,
}

/// All live members, by the names of their sets.
#[derive(Debug, Default)]
pub(super) struct LiveSets(BTreeMap<String, BTreeMap<Prefix, Member>>);

impl Member {
    /// How long it still counts; `None`: until it is removed.
    pub(super) fn left(&self, now: Timestamp) -> Option<Duration> {
        self.until.map(|until| Duration::try_from(until.duration_since(now)).unwrap_or_default())
    }
}

impl LiveSets {
    pub(super) fn of(&self, set: &str) -> impl ExactSizeIterator<Item = (&Prefix, &Member)> {
        static NONE: BTreeMap<Prefix, Member> = BTreeMap::new();
        self.0.get(set).unwrap_or(&NONE).iter()
    }

    pub(super) fn count(&self, set: &str) -> usize {
        self.0.get(set).map_or(0, BTreeMap::len)
    }

    /// Names of the sets that have live members.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &Prefix, &Member)> {
        self.0.iter().flat_map(|(set, members)| members.iter().map(move |(prefix, member)| (set.as_str(), prefix, member)))
    }

    /// As a policy is lowered with.
    pub(super) fn members(&self) -> Members {
        Members(self.0.iter().map(|(set, members)| (set.clone(), members.keys().copied().collect())).collect())
    }

    /// What an order comes to.
    pub(super) fn plan(&self, order: &Order, policy: &Policy, now: Timestamp) -> Result<Vec<Delta>, Failure> {
        let set = &order.set;
        let known = policy.written_set(set).is_some();
        // The members of a set that is gone may still be taken away.
        if !known && (matches!(order.verb, Verb::Add | Verb::Replace) || self.count(set) == 0) {
            return Err(no_set(set, policy));
        }
        let wanted: BTreeSet<Prefix> = order.prefixes.iter().copied().collect();
        let gone =
            |prefix: &Prefix, before: &Member| Delta { set: set.clone(), prefix: *prefix, before: Some(before.clone()), after: None };
        let mut deltas: Vec<Delta> = match order.verb {
            Verb::Add => Vec::new(),
            Verb::Clear => return Ok(self.of(set).map(|(prefix, before)| gone(prefix, before)).collect()),
            Verb::Replace => {
                self.of(set).filter(|(prefix, _)| !wanted.contains(prefix)).map(|(prefix, before)| gone(prefix, before)).collect()
            }
            Verb::Remove => {
                let one = |prefix: &Prefix| match self.0.get(set).and_then(|members| members.get(prefix)) {
                    Some(before) => Ok(gone(prefix, before)),
                    None => Err(self.no_member(set, prefix, policy)),
                };
                return wanted.iter().map(one).collect();
            }
        };
        let until = match order.span {
            Some(span) => Some(now.checked_add(span).map_err(|_| Failure::usage("that is too long a time for a member of a set"))?),
            None => None,
        };
        let because: Option<Arc<str>> = order.because.as_deref().map(Arc::from);
        let after = Member { since: now, until, uid: order.uid, because };
        deltas.extend(wanted.iter().map(|prefix| {
            let before = self.0.get(set).and_then(|members| members.get(prefix)).cloned();
            // What stays for longer, or for good, is not cut short by being added again.
            let longer = order.verb == Verb::Add
                && before.as_ref().is_some_and(|before| before.until.is_none_or(|before| until.is_some_and(|until| before >= until)));
            let after = if longer { before.clone() } else { Some(after.clone()) };
            Delta { set: set.clone(), prefix: *prefix, before, after }
        }));
        let rise = deltas.iter().filter(|delta| delta.before.is_none()).count();
        let fall = deltas.iter().filter(|delta| delta.after.is_none()).count();
        if self.count(set) + rise - fall > MOST_MEMBERS {
            let error = format!("set {set} would come to more than {MOST_MEMBERS} live members");
            return Err(Failure::new(Kind::Conflict, error).hint("put neighbouring addresses together to prefixes"));
        }
        Ok(deltas)
    }

    pub(super) fn take(&mut self, deltas: &[Delta]) {
        deltas.iter().for_each(|delta| self.put(&delta.set, delta.prefix, delta.after.clone()));
    }

    pub(super) fn undo(&mut self, deltas: &[Delta]) {
        deltas.iter().rev().for_each(|delta| self.put(&delta.set, delta.prefix, delta.before.clone()));
    }

    pub(super) fn put(&mut self, set: &str, prefix: Prefix, member: Option<Member>) {
        match member {
            Some(member) => drop(self.0.entry(set.to_owned()).or_default().insert(prefix, member)),
            None => {
                if let Some(members) = self.0.get_mut(set) {
                    members.remove(&prefix);
                    if members.is_empty() {
                        self.0.remove(set);
                    }
                }
            }
        }
    }

    /// Members whose time has passed.
    pub(super) fn due(&self, now: Timestamp) -> Vec<Delta> {
        let due = self.all().filter(|(.., member)| member.until.is_some_and(|until| until <= now));
        due.map(|(set, prefix, member)| Delta { set: set.to_owned(), prefix: *prefix, before: Some(member.clone()), after: None }).collect()
    }

    /// Why a prefix cannot be removed.
    fn no_member(&self, set: &str, prefix: &Prefix, policy: &Policy) -> Failure {
        if let Some((wider, _)) = self.of(set).find(|(live, _)| live.covers(prefix)) {
            let error = format!("{prefix} is no member of set {set} by itself: it lies in {wider}");
            return Failure::new(Kind::Conflict, error).hint(format!("`weir set remove {set} {wider}` removes all of that"));
        }
        let Some(written) = policy.written_set(set) else {
            return Failure::new(Kind::NotFound, format!("{prefix} is no live member of set {set}"));
        };
        match written.written(prefix) {
            Some((element, line)) => {
                let file = written.file.display();
                let error = format!("{prefix} cannot be removed from set {set}: {element} is written in {file}:{line}");
                Failure::new(Kind::Conflict, error).hint("take it out of the file, then `weir policy apply`")
            }
            None => Failure::new(Kind::NotFound, format!("{prefix} is no member of set {set}"))
                .hint(format!("`weir set list {set}` shows its members")),
        }
    }
}

/// There is no set of this name.
pub(super) fn no_set(name: &str, policy: &Policy) -> Failure {
    let hint = match (policy.nearest_set(name), policy.set_names().next()) {
        (Some(near), _) => format!("did you mean {near}?"),
        (None, Some(_)) => "`weir set list` shows the sets of the policy in force".to_owned(),
        (None, None) => format!("the policy in force has no sets; write [set.{name}] with addresses = [] in it, and a rule that uses it"),
    };
    Failure::new(Kind::NotFound, format!("there is no set `{name}`")).hint(hint)
}
