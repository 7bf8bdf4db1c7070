//! Where changes of sets are asked for, and wait for their turn.

use std::{collections::HashSet, mem, sync::Mutex, time::Duration};

use tokio::sync::{Notify, oneshot};

use super::live::{Order, Verb};
use crate::{
    api::{Failure, Kind, SetChanged, SetRequest},
    controller::{Controller, held},
    policy::{NoMember, Prefix},
};

/// Prefixes that may wait to be added by the daemon itself.
const MOST_WAITING: usize = 65_536;
/// The longest reason for a change.
const MOST_BECAUSE: usize = 1_024;

/// Where orders are left.
#[derive(Debug, Default)]
pub(in crate::controller) struct Desk {
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
pub(super) type Reply = Option<oneshot::Sender<Result<SetChanged, Failure>>>;

impl Desk {
    /// A policy with these sets is in force.
    pub(in crate::controller) fn know<'n>(&self, names: impl Iterator<Item = &'n str>) {
        held(&self.waiting).names = names.map(str::to_owned).collect();
    }

    /// Something has been asked for.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Takes all orders away.
    pub(super) fn clear(&self) -> Vec<(Order, Reply)> {
        let mut waiting = held(&self.waiting);
        waiting.own.clear();
        mem::take(&mut waiting.orders)
    }

    /// Leaves an order of the daemon's own. See [`Controller::add_to_set`].
    fn want(&self, set: &str, members: &[Prefix], span: Option<Duration>, because: &str) -> Result<(), Failure> {
        let mut waiting = held(&self.waiting);
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
        self.leave(Order { set: set.to_owned(), verb: Verb::Add, prefixes: new, span, because, uid: None, session: None }, None);
        Ok(())
    }

    fn leave(&self, order: Order, reply: Reply) {
        held(&self.waiting).orders.push((order, reply));
        self.arrived.notify_one();
    }
}

/// Leaves a request's order and waits until it is carried out.
pub(in crate::controller) async fn change(
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

pub(super) fn order(set: String, verb: &str, request: SetRequest, uid: Option<u32>) -> Result<Order, Failure> {
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
    // Also of `replace`: a list that could not be fetched must not take everything away.
    if (verb == Verb::Clear) != addresses.is_empty() {
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
        self.desk.want(set, members, span, because)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        Prefix::of_member(text).expect("a member")[0]
    }

    #[test]
    fn what_waits_already_is_not_left_twice() {
        let desk = Desk::default();
        let want = |set: &str, members: &[&str]| {
            let members: Vec<Prefix> = members.iter().map(|member| prefix(member)).collect();
            desk.want(set, &members, Some(Duration::from_secs(60)), "too fast")
        };
        assert_eq!(want("blocked", &["192.0.2.1"]).expect_err("not known").kind, Kind::NotFound);
        desk.know(["blocked"].into_iter());
        want("blocked", &["192.0.2.1"]).expect("left");
        want("blocked", &["192.0.2.1"]).expect("known");
        want("blocked", &["192.0.2.1", "192.0.2.2"]).expect("left");
        let left: Vec<Vec<Prefix>> = held(&desk.waiting).orders.iter().map(|(order, _)| order.prefixes.clone()).collect();
        assert_eq!(left, [vec![prefix("192.0.2.1")], vec![prefix("192.0.2.2")]]);
        let many: Vec<Prefix> = (0..=MOST_WAITING as u32).map(|number| std::net::IpAddr::from(number.to_be_bytes()).into()).collect();
        assert_eq!(desk.want("blocked", &many, None, "a flood").expect_err("too many").kind, Kind::Failed);
    }
}
