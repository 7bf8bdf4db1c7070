//! Sources that are over a limit, under rules that name a set for them (`limits = { …, overload = "NAME" }`).

use std::{net::IpAddr, time::Duration};

use super::Controller;

/// One source, and what its rule wants of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Overload {
    /// Name of the set.
    pub set: String,
    pub address: IpAddr,
    /// How long it stays there.
    pub time: Duration,
    pub rule: String,
}

impl Controller {
    /// Does what the rule wants: the source becomes a member of the set soon after. The dataplane tells of a source once a second at most, for
    /// as long as it goes on, so that its time counts from the last of its attempts.
    pub(super) fn overload(&self, overload: &Overload) {
        let Overload { set, address, time, rule } = overload;
        let because = format!("over a limit of rule {rule}");
        if let Err(failure) = self.add_to_set(set, &[(*address).into()], Some(*time), &because) {
            log::warn!("{}: {address} is over a limit of rule {rule}, and is not put into set {set}: {failure}", self.instance);
        }
    }
}
