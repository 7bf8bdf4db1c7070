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
    /// Does what the rule wants. The dataplane tells of a source once a second at most, for as long as it goes on.
    pub(super) fn overload(&self, overload: &Overload) {
        let Overload { set, address, time, rule } = overload;
        log::warn!("{}: {address} is over a limit of rule {rule}: for set {set}, {} seconds", self.instance, time.as_secs());
    }
}
