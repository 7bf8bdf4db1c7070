//! The level *peers*: programs that people run, from their packages, talk through Weir. Slow, and not part of the usual run.
//!
//! Each scenario asserts on what the two ends saw and on what Weir counted. Each also meets what must not work (a policy that denies, a
//! stream that must die), and fails when it does not notice.

mod certificates;
mod ctcp;
mod daemon;
mod dissect;
mod openconnect;
mod site;
mod strongswan;
mod tunnel;

use super::scenarios::Scenario;

pub const ALL: &[Scenario] = &[
    Scenario::alone(
        "strongswan",
        "IKEv2 and ESP from behind a NAT: a transfer, rekeying under way, dead peer detection",
        strongswan::scenario,
    )
    .within(240),
    Scenario::alone(
        "strongswan-guarded",
        "the same under guard \"esp\", while somebody between forges and repeats on both sides of Weir",
        strongswan::guarded::scenario,
    )
    .within(300),
    Scenario::alone("openconnect", "a TLS and a DTLS tunnel, with and without loss", openconnect::scenario).within(300),
    Scenario::alone("ctcp", "IPsec over TCP as tshark reads it, at every level, loss and kind of receiver", ctcp::scenario).within(420),
];
