//! What a rule allows, and what is counted against it: the shared layout.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::flow::Address;

/// What a rule allows; 0 stands for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Limits {
    pub flows: u32,
    /// Flows not yet confirmed by both sides.
    pub embryonic: u32,
    pub new_per_second: u32,
    /// The same of each source address.
    pub source_flows: u32,
    pub source_embryonic: u32,
    pub source_new_per_second: u32,
}

impl Limits {
    pub const NONE: Self =
        Self { flows: 0, embryonic: 0, new_per_second: 0, source_flows: 0, source_embryonic: 0, source_new_per_second: 0 };

    /// True when something is limited by source.
    #[inline(always)]
    #[must_use]
    pub const fn by_source(&self) -> bool {
        self.source_flows | self.source_embryonic | self.source_new_per_second != 0
    }
}

/// Flows that have begun and that have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Count {
    pub begun: u32,
    pub ended: u32,
}

impl Count {
    /// How many are alive.
    #[inline(always)]
    #[must_use]
    pub const fn alive(self) -> u32 {
        let alive = self.begun.wrapping_sub(self.ended).cast_signed();
        if alive < 0 { 0 } else { alive.cast_unsigned() }
    }
}

/// What is counted of a rule, or of one source under it. Changed by atomic operations only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Counts {
    /// The second new flows were last counted in, and how many they were: see [the rates](super).
    pub window: u64,
    /// The second in which the controller was last told that this source is over a limit.
    pub told: u64,
    pub flows: Count,
    pub embryonic: Count,
}

/// Key of what is counted by source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Source {
    pub address: Address,
    /// Stable number of the rule.
    pub rule: u16,
    pub reserved: [u8; 6],
}

impl Source {
    #[inline(always)]
    #[must_use]
    pub const fn new(rule: u16, address: Address) -> Self {
        Self { address, rule, reserved: [0; 6] }
    }
}

const _: () = assert!(size_of::<Limits>() == 24);
const _: () = assert!(size_of::<Counts>() == 32);
const _: () = assert!(size_of::<Source>() == 24);
