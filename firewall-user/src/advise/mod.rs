//! What the dataplane remembers of its refusals ([`firewall_common::evidence`]), and what that looks like: a stream that is no TCP, a path on
//! which Weir sees one direction only, an attack, or an endpoint that has lost its connection. Nothing here asks the kernel for anything, and nothing decides about packets.
//!
//! A bypass is advised for two of these alone ([`Looks::bypass_helps`]), and only where [`Finding::sure`] says that what was seen cannot be had by
//! sending packets blindly: an attacker who sees nothing of a connection must not talk anybody into opening the firewall for it.

mod flow;
mod handshake;
mod strays;

pub use flow::{Connection, connection};
pub use strays::{Pair, Source, source};

/// Refusals of one connection that mean nothing by themselves: a reset that crossed a close, a duplicate that came late.
pub const NOISE: u32 = 3;

/// What refused packets look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Looks {
    /// Segments that nothing sends again and whose receiver waits in vain: IPsec over TCP, and whatever else only looks like TCP.
    FakeTcp,
    /// Real TCP of which one direction takes another path.
    Asymmetric,
    /// A connection older than what Weir knows of it, or idle for longer than its rule remembers it.
    Forgotten,
    /// One endpoint has lost the connection, and the other does not believe it.
    BrokenPeer,
    /// Packets put into a connection that goes on without them.
    Injection,
    /// Many ports or hosts from one source, or the echo of somebody else's flood.
    Scan,
    Unknown,
}

impl Looks {
    /// The stable name shown to people and programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FakeTcp => "fake-tcp",
            Self::Asymmetric => "asymmetric",
            Self::Forgotten => "forgotten",
            Self::BrokenPeer => "broken-peer",
            Self::Injection => "injection",
            Self::Scan => "scan",
            Self::Unknown => "unknown",
        }
    }

    /// What `weir advise` calls it in a sentence.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::FakeTcp => "looks like TCP and is not",
            Self::Asymmetric => "one direction takes another path",
            Self::Forgotten => "a connection Weir does not know (any more)",
            Self::BrokenPeer => "an endpoint that has lost its connection",
            Self::Injection => "an attack: packets put into a connection",
            Self::Scan => "an attack: a scan, or the echo of a flood",
            Self::Unknown => "unknown",
        }
    }

    /// Whether a bypass is a cure at all.
    #[must_use]
    pub const fn bypass_helps(self) -> bool {
        matches!(self, Self::FakeTcp | Self::Asymmetric)
    }
}

/// How much the evidence bears.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Confidence {
    Low,
    Medium,
    High,
}

impl Confidence {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// What is made of the evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub looks: Looks,
    pub confidence: Confidence,
    /// The evidence in one or two sentences, with its figures.
    pub why: String,
}

impl Finding {
    fn new(looks: Looks, confidence: Confidence, why: String) -> Self {
        Self { looks, confidence, why }
    }

    /// Whether a bypass may be advised: it helps, and the evidence bears it.
    #[must_use]
    pub fn sure(&self) -> bool {
        self.looks.bypass_helps() && self.confidence >= Confidence::Medium
    }
}

/// A number and what it counts: `1 segment`, `7 segments`.
fn many(count: u32, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
