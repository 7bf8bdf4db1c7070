//! Run-time settings the controller writes and the dataplane reads on every packet, and the tables' default sizes.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Default room for established flows.
pub const DEFAULT_ESTABLISHED: u32 = 262_144;
/// Default room for embryonic flows.
pub const DEFAULT_EMBRYONIC: u32 = 65_536;
/// Default room for datagrams in fragments.
pub const DEFAULT_FRAGMENTS: u32 = 8_192;
/// Interface indexes the dataplane can tell apart: the table is indexed by them.
pub const MAX_INTERFACE_INDEX: u32 = 65_536;
/// Interfaces attached at once.
pub const MAX_INTERFACES: usize = 64;
/// Milliseconds a datagram in fragments is remembered: as long as its receiver may wait for the rest (RFC 1122 §3.3.2, RFC 8200 §4.5).
pub const FRAGMENT_LIFETIME: u32 = 60_000;
/// `Config::timeout_scale` when nothing is shortened.
pub const FULL_SCALE: u32 = 256;

/// The settings block: element 0 of a one-element array that userspace maps into its memory, so that each field is written with one
/// aligned store and no packet reads half a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Config {
    /// [`crate::flow::LAYOUT_VERSION`] of the writer.
    pub layout: u32,
    /// Number of the policy in force, 0 for none. Its lowest bit is the slot the policy lies in: one store switches both.
    pub generation: u32,
    /// [`config_flags`].
    pub flags: u32,
    /// Share of every timeout that applies, in 1/256: [`FULL_SCALE`] until the table is nearly full, then less.
    pub timeout_scale: u32,
    /// Answers to rejected packets per second.
    pub reject_rate: u32,
    /// Events of each kind per second and CPU; those beyond are counted, not sent.
    pub event_rate: u32,
    /// Kinds of events somebody listens to: bit *n* is kind *n*.
    pub event_kinds: u32,
    pub reserved: u32,
    /// Secret of the sequence numbers' randomization, of this instance and for as long as its pins live.
    pub secret: [u64; 2],
    /// Monotonic time at which the local week began, in nanoseconds: see [`crate::hours`].
    pub week_began: u64,
    pub reserved2: u64,
}

/// Bits of [`Config::flags`].
pub mod config_flags {
    /// The zone a first packet leaves by comes from the route lookup. Otherwise (placement `host`) it is always the box itself.
    pub const ROUTE: u32 = 1 << 0;
    /// A packet whose flow finds no room passes without state, instead of being dropped.
    pub const TABLE_FULL_PASS: u32 = 1 << 1;
    /// A later fragment that comes before its datagram's first passes, as by a router.
    pub const FRAGMENT_BEFORE_FIRST_PASS: u32 = 1 << 4;
    /// A later fragment passes with "don't fragment" set.
    pub const FRAGMENT_DF_PASS: u32 = 1 << 5;
}

/// Bits of [`Interface::flags`].
pub mod interface_flags {
    /// A software device: what comes in may be of a local stack, which leaves checksums to be finished later.
    pub const UNFINISHED_CHECKSUMS: u8 = 1 << 0;
}

impl Config {
    /// Slot of the policy in force.
    #[inline(always)]
    #[must_use]
    pub const fn slot(generation: u32) -> u32 {
        generation & 1
    }
}

/// What the dataplane knows of an interface, at its index. All zero: not ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Interface {
    pub zone: u8,
    /// Place of the interface's counters plus one; 0 when the interface is not attached.
    pub place: u8,
    /// [`interface_flags`].
    pub flags: u8,
    pub reserved: u8,
}

const _: () = assert!(size_of::<Config>() == 64);
const _: () = assert!(size_of::<Interface>() == 4);
