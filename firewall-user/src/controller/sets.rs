//! Sets that change while a policy is in force. Whoever wants a change leaves an order; one task carries out all that have come, as one change
//! of the tables, and waits a moment before it looks again. So a burst of orders makes live flows be judged again once, and nobody who
//! only leaves one has to wait.

mod desk;
mod journal;
mod live;
mod report;

use std::{collections::BTreeMap, mem, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{Controller, blocking, held, reload::PolicyState};
use crate::{
    api::{Failure, Kind, SetChanged},
    clock,
    instance::Instance,
    policy::{Changed, LiveTables, Lowered, Members, Prefix, TooManyMembers},
};
use desk::Reply;
pub(super) use desk::{Desk, change};
use journal::Journal;
use live::{Delta, LiveSets, Order, Verb};

/// Time between two changes of the tables: each makes all live flows be judged again.
const PAUSE: Duration = Duration::from_millis(200);
/// What to do about a change that would cut one's own session.
const HINT: &str = "say --cut-session if that is what you want";
/// Live members, kept on disk.
#[derive(Debug)]
pub(super) struct Sets {
    live: LiveSets,
    journal: Journal,
    tables: Tables,
}

/// What is known of the dataplane's tables.
#[derive(Debug)]
enum Tables {
    /// They are those of the policy in force as it was lowered last.
    AsLowered,
    /// They have been changed in place since.
    Changed(Box<LiveTables>),
    /// A change went wrong: the policy is to be lowered anew.
    Spoiled,
}

impl Sets {
    pub(super) fn open(instance: &Instance) -> Self {
        let (journal, live) = Journal::open(instance);
        Self { live, journal, tables: Tables::AsLowered }
    }

    /// As a policy is lowered with.
    pub(super) fn members(&self) -> Members {
        self.live.members()
    }

    /// Makes of the tables of the policy in force as it was lowered those that are in the dataplane.
    pub(super) fn bring_up(&self, lowered: &mut Lowered) {
        if let Tables::Changed(tables) = &self.tables {
            tables.bring_up(lowered);
        }
    }

    /// A policy has been lowered with the members there are.
    pub(super) fn lowered(&mut self) {
        self.tables = Tables::AsLowered;
    }
}

/// Carries out orders for as long as the daemon runs.
pub(super) async fn carry_out(controller: Arc<Controller>) {
    loop {
        controller.desk.arrived().await;
        let orders = controller.desk.clear();
        let done = blocking(&controller, move |controller| {
            controller.carry_out(orders);
            Ok(())
        });
        if let Err(failure) = done.await {
            log::error!("{failure}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

impl Controller {
    /// The members there are, as a policy is read with.
    pub(super) fn members(&self) -> Members {
        held(&self.policy).sets.members()
    }

    /// Removes members whose time has passed.
    pub(super) fn expire_members(&self) -> Result<(), Failure> {
        let kept = self.attached_zones();
        let mut state = held(&self.policy);
        let due = state.sets.live.due(Timestamp::now());
        if due.is_empty() && !matches!(state.sets.tables, Tables::Spoiled) {
            return Ok(());
        }
        state.sets.live.take(&due);
        // They stay gone, whatever comes of it: the tables are made right in another second.
        let done = self.change_tables(&mut state, &due, &kept);
        note(&mut state.sets, &due);
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        due.iter().for_each(|delta| *counts.entry(&delta.set).or_default() += 1);
        counts.iter().for_each(|(set, count)| log::info!("set {set}: the time of {count} members has passed"));
        done.map(drop)
    }

    fn carry_out(&self, orders: Vec<(Order, Reply)>) {
        let kept = self.attached_zones();
        let mut state = held(&self.policy);
        let (orders, replies): (Vec<Order>, Vec<Reply>) = orders.into_iter().unzip();
        let mut done = self.carry_out_together(&mut state, &orders, &kept);
        if orders.len() > 1 && done.iter().any(|done| matches!(done, Err(Refused::ByTables(_)))) {
            // One of them asks for too much: the others shall not suffer for it.
            done = orders.iter().flat_map(|order| self.carry_out_together(&mut state, std::slice::from_ref(order), &kept)).collect();
        }
        drop(state);
        for ((order, reply), done) in orders.iter().zip(replies).zip(done) {
            let done = done.map_err(|(Refused::ByItself(failure) | Refused::ByTables(failure))| failure);
            match (reply, done) {
                // Whoever asked may have gone.
                (Some(reply), done) => drop(reply.send(done)),
                (None, Err(failure)) => log::error!("set {} is not changed: {failure}", order.set),
                (None, Ok(_)) => {}
            }
        }
    }

    /// Carries out orders as one change of the tables. One that cannot be is left out; when the tables cannot be changed, all are.
    fn carry_out_together(&self, state: &mut PolicyState, orders: &[Order], kept: &[u8]) -> Vec<Result<SetChanged, Refused>> {
        let now = Timestamp::now();
        let mut taken: Vec<Delta> = Vec::new();
        let planned: Vec<Result<Vec<Delta>, Failure>> = orders
            .iter()
            .map(|order| {
                let deltas = self.take_order(state, order, now, kept)?;
                taken.extend(deltas.iter().cloned());
                Ok(deltas)
            })
            .collect();
        let generation = match self.change_tables(state, &taken, kept) {
            Ok(generation) => generation,
            Err(failure) => {
                state.sets.live.undo(&taken);
                return planned
                    .into_iter()
                    .map(|plan| Err(plan.map_or_else(Refused::ByItself, |_| Refused::ByTables(failure.clone()))))
                    .collect();
            }
        };
        let unkept = note(&mut state.sets, &taken);
        let answer = |(order, plan): (&Order, Result<Vec<Delta>, Failure>)| {
            let deltas = plan.map_err(Refused::ByItself)?;
            let mut changed = report::changed(order, &deltas, state, generation);
            changed.notes.extend(unkept.clone());
            report::tell(order, &changed);
            Ok(changed)
        };
        orders.iter().zip(planned).map(answer).collect()
    }

    /// Changes the members as an order says, or nothing.
    fn take_order(&self, state: &mut PolicyState, order: &Order, now: Timestamp, kept: &[u8]) -> Result<Vec<Delta>, Failure> {
        let in_force = state.in_force.as_ref().ok_or_else(|| Failure::failed("no policy is in force"))?;
        let deltas = state.sets.live.plan(order, &in_force.policy, now)?;
        let concerns =
            |end: std::net::IpAddr| deltas.iter().any(|delta| delta.before.is_some() != delta.after.is_some() && delta.prefix.has(end));
        let session = order.session.filter(|session| concerns(session.client) || concerns(session.server));
        let before = session.map(|_| state.sets.members());
        state.sets.live.take(&deltas);
        if let (Some(session), Some(before)) = (session, before) {
            let after = state.sets.members();
            let policies = [before, after].map(|members| in_force.policy.clone().with_members(&members).map_err(|error| too_many(&error)));
            let judged = match policies {
                [Ok(now), Ok(then)] => self.refuse_a_cut_between(state, &session, (&now, &then), (kept, &clock::both()), HINT),
                [Err(failure), _] | [_, Err(failure)] => Err(failure),
            };
            if let Err(failure) = judged {
                state.sets.live.undo(&deltas);
                return Err(failure);
            }
        }
        Ok(deltas)
    }

    /// Makes the dataplane's tables those with the members there are now, which `deltas` lead to. Returns the generation in force.
    fn change_tables(&self, state: &mut PolicyState, deltas: &[Delta], kept: &[u8]) -> Result<u32, Failure> {
        let changes = net_changes(deltas);
        let in_force = state.in_force.as_mut().ok_or_else(|| Failure::failed("no policy is in force"))?;
        if changes.is_empty() && !matches!(state.sets.tables, Tables::Spoiled) {
            return Ok(in_force.generation);
        }
        if let Tables::AsLowered = state.sets.tables {
            state.sets.tables = Tables::Changed(Box::new(LiveTables::of(&in_force.policy)));
        }
        // Whatever goes wrong from here on leaves them spoiled.
        if let Tables::Changed(mut tables) = mem::replace(&mut state.sets.tables, Tables::Spoiled) {
            if let Err(error) = tables.have_room(&changes) {
                state.sets.tables = Tables::Changed(tables);
                return Err(too_many(&error));
            }
            match tables.change(&changes) {
                Ok(amendment) if amendment.is_empty() => {
                    state.sets.tables = Tables::Changed(tables);
                    return Ok(in_force.generation);
                }
                Ok(amendment) => match state.slots.amend(&self.maps, &amendment) {
                    Ok(generation) => {
                        in_force.generation = generation;
                        state.sets.tables = Tables::Changed(tables);
                        return Ok(generation);
                    }
                    Err(error) => log::warn!("the tables cannot be changed in place, the policy is lowered anew: {error}"),
                },
                // Rows that nothing uses any more are still in their places.
                Err(error) => log::info!("the tables have no room to be changed in place ({error}): the policy is lowered anew"),
            }
        }
        self.renew(state, &[], kept)
    }
}

/// Why an order was not carried out.
enum Refused {
    ByItself(Failure),
    /// With all that came with it.
    ByTables(Failure),
}

/// What came and went in the end.
fn net_changes(deltas: &[Delta]) -> Vec<Changed> {
    let mut net: BTreeMap<(&str, Prefix), (bool, bool)> = BTreeMap::new();
    for delta in deltas {
        let (before, after) = (delta.before.is_some(), delta.after.is_some());
        net.entry((&delta.set, delta.prefix)).and_modify(|(_, last)| *last = after).or_insert((before, after));
    }
    let changed = net.into_iter().filter(|(_, (before, after))| before != after);
    changed.map(|((set, prefix), (_, present))| Changed { set: set.to_owned(), prefix, present }).collect()
}

/// Notes changes on disk. A full disk must not keep anybody from defending the box: then that is told, and returned.
fn note(sets: &mut Sets, deltas: &[Delta]) -> Option<String> {
    let differ: Vec<Delta> = deltas.iter().filter(|delta| delta.before != delta.after).cloned().collect();
    if differ.is_empty() {
        return None;
    }
    let error = sets.journal.note(&differ, &sets.live).err()?;
    let note = format!("the members are not kept on disk, and will be gone when the daemon starts anew: {error}");
    log::error!("{note}");
    Some(note)
}

pub(super) fn too_many(error: &TooManyMembers) -> Failure {
    Failure::new(Kind::Conflict, format!("the live members of sets do not fit: {error}")).hint(
        "`weir set list` shows how many each set has; neighbouring addresses fit as prefixes, and a set used on both sides counts twice",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::SetRequest,
        policy::{Policy, Source, load_sources},
    };

    fn policy() -> Policy {
        let text = "[set.blocked]\naddresses = [\"192.0.2.0/24\"]\n[[rule]]\nname = \"a\"\nfrom = \"any @blocked\"\naction = \"drop\"\n";
        load_sources(vec![Source { path: "a.toml".into(), text: text.to_owned() }], None).expect("a policy").0
    }

    fn add(members: &[&str], span: Option<u64>) -> Order {
        let request = SetRequest {
            addresses: members.iter().map(|member| (*member).to_owned()).collect(),
            for_seconds: span,
            ..SetRequest::default()
        };
        desk::order("blocked".to_owned(), "add", request, Some(7)).expect("an order")
    }

    #[test]
    fn a_member_keeps_the_longest_of_its_times() {
        let (policy, now) = (policy(), Timestamp::UNIX_EPOCH);
        let mut live = LiveSets::default();
        let mut until = |span: Option<u64>| {
            let deltas = live.plan(&add(&["10.0.0.1"], span), &policy, now).expect("a plan");
            live.take(&deltas);
            let (_, member) = live.of("blocked").next().expect("a member");
            member.until.map(Timestamp::as_second)
        };
        assert_eq!([Some(60), Some(30), Some(90), None, Some(7)].map(&mut until), [Some(60), Some(60), Some(90), None, None]);
    }

    #[test]
    fn what_is_undone_was_never_there() {
        let policy = policy();
        let mut live = LiveSets::default();
        let first = live.plan(&add(&["10.0.0.1", "10.0.0.2"], Some(9)), &policy, Timestamp::UNIX_EPOCH).expect("a plan");
        live.take(&first);
        let before: Vec<_> = live.all().map(|(_, prefix, member)| (*prefix, member.clone())).collect();
        let replace = Order { verb: Verb::Replace, ..add(&["10.0.0.2", "10.0.0.3"], None) };
        let deltas = live.plan(&replace, &policy, Timestamp::UNIX_EPOCH).expect("a plan");
        live.take(&deltas);
        assert_eq!(live.of("blocked").map(|(prefix, _)| prefix.to_string()).collect::<Vec<_>>(), ["10.0.0.2", "10.0.0.3"]);
        let changed: Vec<(String, bool)> = net_changes(&deltas).iter().map(|one| (one.prefix.to_string(), one.present)).collect();
        assert_eq!(changed, [("10.0.0.1".to_owned(), false), ("10.0.0.3".to_owned(), true)], "what stays a member changes no table");
        assert!(net_changes(&[first, vec![]].concat()).len() == 2);
        live.undo(&deltas);
        assert_eq!(live.all().map(|(_, prefix, member)| (*prefix, member.clone())).collect::<Vec<_>>(), before);
    }

    #[test]
    fn what_comes_and_goes_in_one_burst_changes_nothing() {
        let policy = policy();
        let mut live = LiveSets::default();
        let mut deltas = live.plan(&add(&["10.0.0.1"], None), &policy, Timestamp::UNIX_EPOCH).expect("a plan");
        live.take(&deltas);
        let remove = Order { verb: Verb::Remove, ..add(&["10.0.0.1"], None) };
        deltas.extend(live.plan(&remove, &policy, Timestamp::UNIX_EPOCH).expect("a plan"));
        assert_eq!(net_changes(&deltas), []);
    }
}
