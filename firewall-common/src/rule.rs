//! The lowered policy: what the controller writes and the dataplane reads.
//!
//! A policy lies in one of two slots. Its rules are *entries*, in the order of the files; one rule of the policy may become several
//! entries. Which entries match a first packet is not found by walking them: each dimension of the packet (the two zones, the two
//! addresses, the service) is looked up once and gives a *class*, each class has a bitmap of the entries that accept it, and the first
//! bit set in all five bitmaps is the first match.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Entries in one policy.
pub const MAX_ENTRIES: usize = 1024;
/// Words of a bitmap over all entries.
pub const BITMAP_WORDS: usize = MAX_ENTRIES / 64;
/// Distinct classes of one dimension. Class 0 is that of values which nothing names.
pub const MAX_CLASSES: usize = 2048;
/// Distinct zones, `self` included.
pub const MAX_ZONES: usize = 32;
/// Address prefixes of one dimension, both slots together.
pub const MAX_ADDRESS_PREFIXES: u32 = 65_536;
/// Service prefixes, both slots together.
pub const MAX_SERVICE_PREFIXES: u32 = 16_384;
/// Stable rule numbers: rules of the policy in force and of those that live flows still name.
pub const MAX_RULE_NUMBERS: usize = 4096;
/// Longest rule name in bytes.
pub const RULE_NAME_LENGTH: usize = 64;
/// Longest zone name in bytes.
pub const ZONE_NAME_LENGTH: usize = 32;
/// Zone of the box itself.
pub const ZONE_SELF: u8 = 0;

/// What to do with a first packet. Numbers are part of the map layout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Action {
    #[default]
    Drop = 0,
    Allow = 1,
    /// Drop, and tell the sender.
    Reject = 2,
}

impl Action {
    /// Unknown numbers are read as drop.
    #[inline(always)]
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Allow,
            2 => Self::Reject,
            _ => Self::Drop,
        }
    }
}

/// Idle times in milliseconds, fully resolved: a rule's own, else the policy's, else the built-in ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Timeouts {
    /// TCP before the handshake is complete. Counted from the first SYN: repeating it does not extend it.
    pub embryonic: u32,
    pub established: u32,
    pub half_closed: u32,
    /// TCP with a FIN under way.
    pub transitory: u32,
    pub time_wait: u32,
    pub closed: u32,
    pub udp_single: u32,
    pub udp_stream: u32,
    pub icmp: u32,
    /// ESP, AH and every other protocol.
    pub other: u32,
    pub bypass: u32,
    /// Bypass after a FIN or RST was seen.
    pub bypass_closing: u32,
}

impl Timeouts {
    /// The built-in idle times. Established and transitory are at RFC 5382's floor (REQ-5).
    pub const DEFAULT: Self = Self {
        embryonic: 30_000,
        established: 7_440_000,
        half_closed: 600_000,
        transitory: 240_000,
        time_wait: 120_000,
        closed: 10_000,
        udp_single: 30_000,
        udp_stream: 120_000,
        icmp: 10_000,
        other: 600_000,
        bypass: 120_000,
        bypass_closing: 30_000,
    };
}

impl Default for Timeouts {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// One entry of a policy, without what the classes already decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Rule {
    /// Monotonic time in nanoseconds from which the entry no longer matches; 0 for never.
    pub expires: u64,
    /// Stable number of the rule, below [`MAX_RULE_NUMBERS`].
    pub number: u16,
    /// [`Action`] as a number.
    pub action: u8,
    /// [`crate::flow::Inspection`] as a number.
    pub inspection: u8,
    /// [`rule_flags`].
    pub flags: u8,
    /// Number of the normalizer profile in the policy's slot, below [`crate::normalize::profile::MAX_PROFILES`].
    pub profile: u8,
    pub reserved: [u8; 2],
    /// Established bypass flows seen from one side only that this rule may have.
    pub one_sided_quota: u32,
    /// The profile's [`crate::normalize::checks`], as far as they apply to the rule's inspection level.
    pub checks: u32,
    pub timeouts: Timeouts,
}

/// Bits of [`Rule::flags`].
pub mod rule_flags {
    /// `sanity = "off"`: illegal TCP flag sets pass under bypass.
    pub const SANITY_OFF: u8 = 1 << 0;
}

/// Entries that accept a class: bit `n % 64` of word `n / 64` is entry `n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Bitmap(pub [u64; BITMAP_WORDS]);

impl Bitmap {
    pub const EMPTY: Self = Self([0; BITMAP_WORDS]);

    pub fn set(&mut self, entry: usize) {
        self.0[entry / 64] |= 1 << (entry % 64);
    }

    #[must_use]
    pub const fn contains(&self, entry: usize) -> bool {
        self.0[entry / 64] & (1 << (entry % 64)) != 0
    }
}

impl Default for Bitmap {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// The dimensions of classification. Numbers are part of the map layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Dimension {
    FromZone = 0,
    ToZone = 1,
    Source = 2,
    Destination = 3,
    Service = 4,
}

impl Dimension {
    pub const COUNT: usize = 5;
    pub const ALL: [Self; Self::COUNT] = [Self::FromZone, Self::ToZone, Self::Source, Self::Destination, Self::Service];

    /// Index of a class's bitmap in the bitmap table. Zones need no lookup: the class of a zone is its number.
    #[inline(always)]
    #[must_use]
    pub const fn bitmap_index(self, slot: u32, class: u32) -> u32 {
        (slot * Self::COUNT as u32 + self as u32) * MAX_CLASSES as u32 + class
    }
}

/// Bitmaps of all dimensions and both slots.
pub const BITMAP_TABLE_ENTRIES: u32 = 2 * Dimension::COUNT as u32 * MAX_CLASSES as u32;

/// Key data of the address trie: slot and side select the tree, then the address. 18 bytes; prefix length counts from the first bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AddressPrefix {
    /// Slot 0 or 1.
    pub slot: u8,
    /// [`Dimension::Source`] or [`Dimension::Destination`].
    pub dimension: u8,
    /// Network order, as [`crate::flow::Address::octets`] gives it.
    pub address: [u8; 16],
}

impl AddressPrefix {
    /// Bits before the address.
    pub const FIXED_BITS: u32 = 16;
    /// Bits of a whole key.
    pub const BITS: u32 = Self::FIXED_BITS + 128;
}

/// Key data of the service trie: slot, protocol, then destination port, or ICMP type and code. 4 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ServicePrefix {
    /// Slot 0 or 1.
    pub slot: u8,
    pub protocol: u8,
    /// Network byte order; `[type, code]` for ICMP and ICMPv6; zero for protocols without ports.
    pub port: [u8; 2],
}

impl ServicePrefix {
    /// Bits before the protocol.
    pub const FIXED_BITS: u32 = 8;
    /// Bits of a whole key.
    pub const BITS: u32 = Self::FIXED_BITS + 24;
}

const _: () = assert!(size_of::<Timeouts>() == 48);
const _: () = assert!(size_of::<Rule>() == 72);
const _: () = assert!(size_of::<AddressPrefix>() == 18);
const _: () = assert!(size_of::<ServicePrefix>() == 4);
