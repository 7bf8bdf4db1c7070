//! The kinds of traffic, and what one connection of each does.

use std::fmt::Write;

use crate::{
    pattern::Pattern,
    soak::network::Path,
    test::network::{Family, INSIDE, OUTSIDE},
};

/// The first kind's port; the others' follow.
const FIRST_PORT: u16 = 7001;
const MIB: u64 = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Bulk,
    Short,
    Idle,
    HalfClosed,
    Lossy,
    Reordered,
    FastOpen,
    SmallBuffers,
    ZeroWindow,
    Reset,
    Narrow,
}

impl Kind {
    pub const ALL: [Self; 11] = [
        Self::Bulk,
        Self::Short,
        Self::Idle,
        Self::HalfClosed,
        Self::Lossy,
        Self::Reordered,
        Self::FastOpen,
        Self::SmallBuffers,
        Self::ZeroWindow,
        Self::Reset,
        Self::Narrow,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Bulk => "bulk",
            Self::Short => "short",
            Self::Idle => "idle",
            Self::HalfClosed => "half-closed",
            Self::Lossy => "lossy",
            Self::Reordered => "reordered",
            Self::FastOpen => "fast-open",
            Self::SmallBuffers => "small-buffers",
            Self::ZeroWindow => "zero-window",
            Self::Reset => "reset",
            Self::Narrow => "narrow",
        }
    }

    pub fn port(self) -> u16 {
        FIRST_PORT + self as u16
    }

    pub fn path(self) -> Path {
        match self {
            Self::Lossy => Path::Lossy,
            Self::Reordered => Path::Reordered,
            Self::Narrow => Path::Narrow,
            _ => Path::Clean,
        }
    }

    /// Connections of one client and family at a time.
    pub fn at_once(self) -> usize {
        match self {
            Self::Idle => 4,
            Self::ZeroWindow | Self::HalfClosed => 2,
            _ => 1,
        }
    }

    /// Rule of the policy that admits it.
    pub fn rule(self, family: Family) -> String {
        format!("{}-{}", self.name(), family_name(family))
    }
}

pub fn family_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "v4",
        Family::V6 => "v6",
    }
}

/// One strict rule for each kind and family, so that each has counters of its own. Messages about a path's MTU need none: each belongs to the
/// flow it quotes a segment of.
pub fn policy(checks: Checks) -> String {
    let mut text = checks.policy();
    for family in Family::BOTH {
        let all = match family {
            Family::V4 => "0.0.0.0/0",
            Family::V6 => "::/0",
        };
        for kind in Kind::ALL {
            let (name, port) = (kind.rule(family), kind.port());
            let _ = writeln!(
                text,
                "[[rule]]\nname = \"{name}\"\nfrom = \"{OUTSIDE} {all}\"\nto = \"{INSIDE} {all}\"\nservice = \"tcp/{port}\"\n\
                 action = \"allow\"\ninspection = \"strict\"\n"
            );
        }
    }
    text
}

/// What the normalizer looks at in every segment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Checks {
    /// The profile a rule has that names none.
    #[default]
    Default,
    /// All that the profile `asa` checks, timestamps and hop limits included. What it changes in packets stays as it is: the soak compares
    /// both sides' numbers and options.
    Asa,
}

impl Checks {
    fn policy(self) -> String {
        match self {
            Self::Default => String::new(),
            Self::Asa => "[defaults]\nnormalizer = \"soak\"\n\n[normalizer.soak]\nbase = \"asa\"\nrandomize-sequence-numbers = false\ntcp-options = { fast-open = \"allow\" }\n\n".to_owned(),
        }
    }
}

/// Who ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closer {
    Client,
    Server,
    /// Both at once.
    Both,
}

/// What one connection does. Both ends make it from the same seed, which is the first thing the client sends.
#[derive(Debug, Clone, Copy)]
pub struct Script {
    /// Bytes from client to server and from server to client.
    pub up: u64,
    pub down: u64,
    /// Bytes a second that a sender offers in each direction.
    pub rate: Option<u64>,
    pub closer: Closer,
    /// Milliseconds that somebody waits at the kind's crucial moment.
    pub wait: u64,
    /// The server, not the client, does what makes the kind special.
    pub by_server: bool,
    pub seeds: [u64; 2],
}

impl Script {
    pub fn new(kind: Kind, seed: u64) -> Self {
        let mut random = Random(Pattern::new(seed));
        let (up, down, wait) = match kind {
            Kind::Bulk => (2 * MIB..10 * MIB, 2 * MIB..10 * MIB, 0..1),
            Kind::Lossy | Kind::Narrow => (MIB / 10..MIB, MIB / 10..MIB, 0..1),
            Kind::Reordered => (MIB / 5..2 * MIB, MIB / 5..2 * MIB, 0..1),
            Kind::Short => (0..3000, 1..3000, 0..5),
            Kind::FastOpen => (1..1000, 1..4000, 0..20),
            Kind::Idle => (1..2000, 1..2000, 400..4000),
            Kind::HalfClosed => (1..20_000, 10_000..100_000, 100..400),
            Kind::SmallBuffers => (20_000..200_000, 20_000..200_000, 0..1),
            Kind::ZeroWindow => (3 * MIB / 10..MIB, 3 * MIB / 10..MIB, 1500..4000),
            // Until the reset: more than that time allows.
            Kind::Reset => (100 * MIB..101 * MIB, 100 * MIB..101 * MIB, 5..300),
        };
        let closer = match random.below(0..3) {
            0 => Closer::Client,
            1 => Closer::Server,
            _ => Closer::Both,
        };
        let rate = matches!(kind, Kind::Bulk | Kind::Reset).then_some(3 * MIB);
        let (up, down, wait, by_server) = (random.below(up), random.below(down), random.below(wait), random.below(0..2) == 1);
        Self { up, down, rate, closer, wait, by_server, seeds: [random.below(0..u64::MAX), random.below(0..u64::MAX)] }
    }
}

/// Numbers out of a pattern.
#[derive(Debug)]
pub struct Random(pub Pattern);

impl Random {
    pub fn below(&mut self, range: std::ops::Range<u64>) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        range.start + u64::from_le_bytes(bytes) % (range.end - range.start).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_make_the_same_script() {
        for kind in Kind::ALL {
            let (one, other) = (Script::new(kind, 5), Script::new(kind, 5));
            assert_eq!(format!("{one:?}"), format!("{other:?}"));
            assert_ne!(one.seeds, Script::new(kind, 6).seeds);
        }
    }
}
