//! The table of cases: one row for each behaviour a stateful firewall is measured by, with scripts that host and kernel both play.
//!
//! Rows named in [`REQUIRED`] are the reliability notes' list; `nf/…` are the behaviours Linux's connection tracking is tested for,
//! written anew; `corpus/…` are packets of known attacks that no other row has; `own/…` are ours. What single packets cannot show names its tests.

mod application;
mod bypass;
mod close;
pub mod corpus;
mod extensions;
mod fragment_flows;
mod fragments;
mod guard;
mod handshake;
mod header;
mod icmp;
mod ip;
mod ipsec;
mod limits;
mod neighbour;
mod normalize;
mod other;
mod policy;
mod reset;
mod shadow;
mod window;

use crate::testing::host::Family;

/// A script and what it is about.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub id: &'static str,
    pub families: &'static [Family],
    pub script: &'static str,
}

/// One behaviour.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub id: &'static str,
    pub cases: &'static [Case],
    /// What shows it where single packets cannot.
    pub beside: &'static [Test],
}

/// A test or a scenario, by the function it is.
#[derive(Clone, Copy, Debug)]
pub struct Test {
    /// Below the repository's root.
    pub file: &'static str,
    pub name: &'static str,
}

const BOTH: &[Family] = &[Family::V4, Family::V6];
const V4: &[Family] = &[Family::V4];
const V6: &[Family] = &[Family::V6];

const fn case(id: &'static str, script: &'static str) -> Case {
    Case { id, families: BOTH, script }
}

const fn case_v4(id: &'static str, script: &'static str) -> Case {
    Case { id, families: V4, script }
}

const fn case_v6(id: &'static str, script: &'static str) -> Case {
    Case { id, families: V6, script }
}

const fn row(id: &'static str, cases: &'static [Case]) -> Row {
    Row { id, cases, beside: &[] }
}

/// Every row.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    [
        handshake::ROWS,
        window::ROWS,
        reset::ROWS,
        close::ROWS,
        header::ROWS,
        ip::ROWS,
        fragments::ROWS,
        fragment_flows::ROWS,
        extensions::ROWS,
        normalize::ROWS,
        other::ROWS,
        policy::ROWS,
        limits::ROWS,
        bypass::ROWS,
        shadow::ROWS,
        icmp::ROWS,
        neighbour::ROWS,
        ipsec::ROWS,
        guard::ROWS,
        application::ROWS,
        corpus::tracked::ROWS,
        corpus::normalized::ROWS,
    ]
    .into_iter()
    .flatten()
}

/// The rows that must be there, each once.
pub const REQUIRED: [&str; 40] = [
    "hs-basic",
    "hs-syn-retx-timer",
    "hs-synack-badack",
    "hs-challenge-ack",
    "hs-midstream",
    "hs-syn-data",
    "hs-3rd-ack-wrong",
    "est-syn-from-server",
    "win-one-sided-scale",
    "win-both-scale-ws15",
    "win-right-edge",
    "win-old-retx",
    "win-ack-unseen",
    "win-zero-probe-keepalive",
    "win-shrink",
    "win-sack-bogus",
    "rst-exact",
    "rst-out",
    "rst-in-inexact",
    "rst-to-syn",
    "rst-late-closing",
    "fin-normal",
    "fin-bad",
    "tw-syn-new",
    "est-syn-resync",
    "flags-illegal",
    "doff-len",
    "bad-csum-control",
    "syn-only-opts",
    "mss-tiny",
    "urg",
    "frag4-overlap",
    "frag-tiny",
    "frag6",
    "land-martian",
    "spoof-reflect",
    "asym-forward",
    "asym-reply",
    "ipsec",
    "upgrade",
];
