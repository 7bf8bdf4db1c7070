//! What is told of sets: to whoever asks, to whoever changes one, and in the log.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{
    Verb,
    live::{Delta, Order, no_set},
};
use crate::{
    api::{Failure, Set, SetChanged, SetMember, ShownSet},
    controller::{Controller, held, reload::PolicyState},
    user,
};

impl Controller {
    /// The sets of the policy in force, and those of which live members are left.
    pub fn sets(&self) -> Result<Vec<Set>, Failure> {
        let state = held(&self.policy);
        let in_force = state.in_force.as_ref().ok_or_else(|| Failure::failed("no policy is in force"))?;
        let names: BTreeSet<&str> = in_force.policy.set_names().chain(state.sets.live.names()).collect();
        Ok(names.into_iter().map(|name| describe(name, &state)).collect())
    }

    /// One set with its members.
    pub fn set(&self, name: &str) -> Result<ShownSet, Failure> {
        let state = held(&self.policy);
        let in_force = state.in_force.as_ref().ok_or_else(|| Failure::failed("no policy is in force"))?;
        let written = in_force.policy.written_set(name);
        if written.is_none() && state.sets.live.count(name) == 0 {
            return Err(no_set(name, &in_force.policy));
        }
        let now = Timestamp::now();
        let mut users = std::collections::HashMap::new();
        let written = written.into_iter().flat_map(|set| set.items()).map(|(address, line)| SetMember {
            address,
            live: false,
            line: Some(line),
            since: None,
            seconds_left: None,
            uid: None,
            user: None,
            because: None,
        });
        let mut members: Vec<SetMember> = written.collect();
        members.extend(state.sets.live.of(name).map(|(prefix, member)| SetMember {
            address: prefix.to_string(),
            live: true,
            line: None,
            since: Some(member.since.round(jiff::Unit::Second).unwrap_or(member.since).to_string()),
            seconds_left: member.left(now).map(|left| left.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX)),
            uid: member.uid,
            user: member.uid.and_then(|uid| users.entry(uid).or_insert_with(|| user::name(uid)).clone()),
            because: member.because.as_deref().map(str::to_owned),
        }));
        Ok(ShownSet { set: describe(name, &state), members })
    }
}

fn describe(name: &str, state: &PolicyState) -> Set {
    let policy = state.in_force.as_ref().map(|in_force| &in_force.policy);
    let written = policy.and_then(|policy| policy.written_set(name));
    let rules = policy.map(|policy| policy.rules_of_set(name)).unwrap_or_default();
    Set {
        name: name.to_owned(),
        file: written.map(|set| set.file.display().to_string()),
        line: written.map(|set| set.line),
        written: written.map_or(0, |set| set.items().len()),
        live: state.sets.live.count(name),
        rules: rules.into_iter().map(str::to_owned).collect(),
    }
}

/// What came of an order.
pub(super) fn changed(order: &Order, deltas: &[Delta], state: &PolicyState, generation: u32) -> SetChanged {
    let count = |of: fn(&Delta) -> bool| deltas.iter().filter(|delta| of(delta)).count();
    let mut changed = SetChanged {
        name: order.set.clone(),
        added: count(|delta| delta.before.is_none() && delta.after.is_some()),
        extended: count(|delta| delta.before.is_some() && delta.after.is_some() && delta.before != delta.after),
        removed: count(|delta| delta.before.is_some() && delta.after.is_none()),
        live: state.sets.live.count(&order.set),
        generation,
        notes: Vec::new(),
    };
    let Some(policy) = state.in_force.as_ref().map(|in_force| &in_force.policy) else { return changed };
    if let (Some(set), true) = (policy.written_set(&order.set), changed.removed > 0) {
        let still = deltas.iter().filter(|delta| delta.after.is_none()).find_map(|delta| Some((delta.prefix, set.written(&delta.prefix)?)));
        if let Some((prefix, (element, line))) = still {
            changed.notes.push(format!("{prefix} is still a member: {element} is written in {}:{line}", set.file.display()));
        }
    }
    if changed.added > 0 && policy.rules_of_set(&order.set).is_empty() {
        changed.notes.push(format!("no rule in force uses set {}", order.set));
    }
    changed
}

/// Tells the log.
pub(super) fn tell(order: &Order, changed: &SetChanged) {
    let who = order.uid.map_or_else(|| "weir".to_owned(), |uid| format!("user {uid}"));
    let SetChanged { name, added, extended, removed, live, generation, .. } = changed;
    if added + extended + removed == 0 {
        return;
    }
    let mut what = match (order.verb, &order.prefixes[..]) {
        (Verb::Add | Verb::Remove, [only]) => format!("{} {only}", if order.verb == Verb::Add { "added" } else { "removed" }),
        _ => format!("{added} added, {extended} extended, {removed} removed"),
    };
    if let (Some(span), true) = (order.span, added + extended > 0) {
        what.push_str(&format!(" for {} s", span.as_secs()));
    }
    if let Some(because) = &order.because {
        what.push_str(&format!(" because {because}"));
    }
    log::info!("set {name}: {what}, by {who}; {live} live members, generation {generation}");
}
