//! Sets that change while a policy is in force. Whoever wants a change leaves an order; one task carries out all that have come, as one change
//! of the tables, and waits a moment before it looks again. So a burst of orders makes live flows be judged again once, and nobody who
//! only leaves one has to wait.

mod journal;
mod live;
mod report;

use std::{
    collections::{BTreeMap, HashSet},
    mem,
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::{Notify, oneshot};

use super::{Controller, blocking, held, reload::PolicyState};
use crate::{
    api::{Failure, Kind, SetChanged, SetRequest},
    clock,
    instance::Instance,
    policy::{Changed, LiveTables, Members, NoMember, Prefix, TooManyMembers},
};
use journal::Journal;
use live::{Delta, LiveSets, Order, Verb};

/// Time between two changes of the tables: each makes all live flows be judged again.
const PAUSE: Duration = Duration::from_millis(200);
/// Prefixes that may wait to be added by the daemon itself.
const MOST_WAITING: usize = 65_536;
/// The longest reason for a change.
const MOST_BECAUSE: usize = 1_024;

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

/// Where orders are left.
#[derive(Debug, Default)]
pub(super) struct Desk {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Names of the sets of the policy in force.
    names: HashSet<String>,
    orders: Vec<(Order, Reply)>,
    /// What the daemon itself wants added.
    own: HashSet<(String, Prefix)>,
}

/// Who waits for an order to be carried out.
type Reply = Option<oneshot::Sender<Result<SetChanged, Failure>>>;

impl Sets {
    pub(super) fn open(instance: &Instance) -> Self {
        let (journal, live) = Journal::open(instance);
        Self { live, journal, tables: Tables::AsLowered }
    }

    /// As a policy is lowered with.
    pub(super) fn members(&self) -> Members {
        self.live.members()
    }

    /// A policy has been lowered with the members there are.
    pub(super) fn lowered(&mut self) {
        self.tables = Tables::AsLowered;
    }
}

impl Desk {
    /// A policy with these sets is in force.
    pub(super) fn know<'n>(&self, names: impl Iterator<Item = &'n str>) {
        held(&self.waiting).names = names.map(str::to_owned).collect();
    }

    fn leave(&self, order: Order, reply: Reply) {
        held(&self.waiting).orders.push((order, reply));
        self.arrived.notify_one();
    }
}

/// Carries out orders for as long as the daemon runs.
pub(super) async fn carry_out(controller: Arc<Controller>) {
    loop {
        controller.desk.arrived.notified().await;
        let orders = {
            let mut waiting = held(&controller.desk.waiting);
            waiting.own.clear();
            mem::take(&mut waiting.orders)
        };
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

/// Leaves a request's order and waits until it is carried out.
pub(super) async fn change(
    controller: &Controller,
    set: String,
    verb: &str,
    request: SetRequest,
    uid: Option<u32>,
) -> Result<SetChanged, Failure> {
    let order = order(set, verb, request, uid)?;
    let (reply, answer) = oneshot::channel();
    controller.desk.leave(order, Some(reply));
    answer.await.unwrap_or_else(|_| Err(Failure::failed("the daemon could not finish this")))
}

fn order(set: String, verb: &str, request: SetRequest, uid: Option<u32>) -> Result<Order, Failure> {
    let SetRequest { addresses, for_seconds, because, session, cut_session } = request;
    let verb = match verb {
        "add" => Verb::Add,
        "remove" => Verb::Remove,
        "replace" => Verb::Replace,
        "clear" => Verb::Clear,
        other => {
            return Err(Failure::new(Kind::NotFound, format!("a set cannot be asked to `{other}`")).hint("add, remove, replace or clear"));
        }
    };
    let adds = matches!(verb, Verb::Add | Verb::Replace);
    if !adds && (for_seconds.is_some() || because.is_some()) {
        return Err(Failure::usage("only what is added has a time and a reason"));
    }
    if (verb == Verb::Clear) != addresses.is_empty() && verb != Verb::Replace {
        return Err(Failure::usage("say which addresses").hint("`clear` takes none, and removes all live members"));
    }
    if because.as_ref().is_some_and(|because| because.len() > MOST_BECAUSE || because.chars().any(char::is_control)) {
        return Err(Failure::usage(format!("a reason is one line of at most {MOST_BECAUSE} bytes")));
    }
    if for_seconds == Some(0) {
        return Err(Failure::usage("0 s is no time at all for a member of a set"));
    }
    let mut prefixes = Vec::with_capacity(addresses.len());
    for address in &addresses {
        let read = Prefix::of_member(address).map_err(|NoMember { message, hint }| Failure { hint, ..Failure::usage(message) });
        prefixes.extend(read?);
    }
    let session = if cut_session { None } else { session };
    Ok(Order { set, verb, prefixes, span: for_seconds.map(Duration::from_secs), because, uid, session })
}

impl Controller {
    /// Adds members to a set for the daemon itself, such as a source that went over a rule's limit. Returns at once: they are members soon
    /// after, together with all others that come meanwhile. A member that is added again counts for the new time, if that is longer.
    ///
    /// # Errors
    /// There is no such set in the policy in force, or too many members wait already.
    pub fn add_to_set(&self, set: &str, members: &[Prefix], span: Option<Duration>, because: &str) -> Result<(), Failure> {
        let mut waiting = held(&self.desk.waiting);
        if !waiting.names.contains(set) {
            return Err(Failure::new(Kind::NotFound, format!("there is no set `{set}` to add to")));
        }
        // One that waits already would get no other time.
        let new: Vec<Prefix> = members.iter().copied().filter(|prefix| !waiting.own.contains(&(set.to_owned(), *prefix))).collect();
        if waiting.own.len() + new.len() > MOST_WAITING {
            return Err(Failure::failed(format!("more than {MOST_WAITING} addresses wait to be added to sets")));
        }
        if new.is_empty() {
            return Ok(());
        }
        waiting.own.extend(new.iter().map(|prefix| (set.to_owned(), *prefix)));
        drop(waiting);
        let because = Some(because.to_owned());
        let order = Order { set: set.to_owned(), verb: Verb::Add, prefixes: new, span, because, uid: None, session: None };
        self.desk.leave(order, None);
        Ok(())
    }

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
            const HINT: &str = "say --cut-session if that is what you want";
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
