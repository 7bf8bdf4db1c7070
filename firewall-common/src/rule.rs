//! The lowered policy: what the controller writes and the dataplane reads.
//!
//! A policy lies in one of two slots. Its rules are *entries*; one rule of the policy may become several. Which entries match a first packet
//! is not found by walking them: each dimension of the packet (the two zones, the two addresses, the service) is looked up once and gives a
//! [`Row`], the set of the entries that accept it, and what is in all five rows matches.
//!
//! A row of 16,384 bits is long and mostly empty. It is kept in [`Block`]s, equal blocks of all rows once, and begins with a summary: a
//! bit for each of its words that has any bit set. So a search looks at those words alone whose bits are set in all five summaries. They
//! are few because entries do not lie in the order of the policy but beside those that match alike; [`Rule::order`] says which is the first.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::limit::Limits;

/// Entries in one policy.
pub const MAX_ENTRIES: usize = 16_384;
/// Words of a row over all entries.
pub const ROW_WORDS: usize = MAX_ENTRIES / 64;
/// Words of a row's summary.
pub const SUMMARY_WORDS: usize = ROW_WORDS / 64;
/// Words of a block: a cache line.
pub const BLOCK_WORDS: usize = 8;
/// Blocks of a row.
pub const ROW_BLOCKS: usize = ROW_WORDS / BLOCK_WORDS;
/// Rows of one policy: each is one class, the values of one dimension that the same entries accept.
pub const MAX_ROWS: usize = 65_536;
/// Distinct blocks of one policy. All numbers of the type are blocks.
pub const MAX_BLOCKS: usize = 1 << 16;
/// Distinct zones, `self` included.
pub const MAX_ZONES: usize = 32;
/// Address prefixes of both sides, both slots together.
pub const MAX_ADDRESS_PREFIXES: u32 = 262_144;
/// Service prefixes, both slots together.
pub const MAX_SERVICE_PREFIXES: u32 = 65_536;
/// Stable rule numbers: rules of the policy in force, of the next one, and of those that live flows still name.
pub const MAX_RULE_NUMBERS: usize = 32_768;
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
    /// Place of the entry in the policy, from 0: of two that match, the lower one decides.
    pub order: u16,
    /// Established bypass flows seen from one side only that this rule may have.
    pub one_sided_quota: u32,
    /// The profile's [`crate::normalize::checks`], as far as they apply to the rule's inspection level.
    pub checks: u32,
    pub timeouts: Timeouts,
    // From here on only first packets need anything.
    pub limits: Limits,
    /// Number of the entry's hours in the policy's slot, from 1; 0 for always.
    pub schedule: u16,
    pub reserved: [u8; 6],
}

/// Bits of [`Rule::flags`].
pub mod rule_flags {
    /// `sanity = "off"`: illegal TCP flag sets pass under bypass.
    pub const SANITY_OFF: u8 = 1 << 0;
    /// The rule has limits.
    pub const LIMITED: u8 = 1 << 1;
    /// A source that is over a limit is told of to the controller.
    pub const OVERLOAD: u8 = 1 << 2;
    /// The rule's decisions and its flows' ends are told to the controller, whether or not somebody listens.
    pub const LOGGED: u8 = 1 << 3;
    /// `guard = "ctcp"`: see [`crate::guard`].
    pub const GUARD_CTCP: u8 = 1 << 6;
    /// `guard = "esp"`.
    pub const GUARD_ESP: u8 = 1 << 7;
    /// Any guard.
    pub const GUARDED: u8 = GUARD_CTCP | GUARD_ESP;
}

/// 512 entries of a row: bit `n % 64` of word `n / 64`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Block(pub [u64; BLOCK_WORDS]);

impl Block {
    pub const EMPTY: Self = Self([0; BLOCK_WORDS]);
}

/// The entries that accept a class of one dimension.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Row {
    /// Bit `n % 64` of word `n / 64`: word `n` of the row is not zero.
    pub summary: [u64; SUMMARY_WORDS],
    /// Numbers of the row's blocks in the policy's slot. Where the summary has no bit the number may be any.
    pub blocks: [u16; ROW_BLOCKS],
}

impl Row {
    /// Accepted by no entry.
    pub const EMPTY: Self = Self { summary: [0; SUMMARY_WORDS], blocks: [0; ROW_BLOCKS] };
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

    /// Row of a zone, or of an address or service that nothing names (`zone` is 0 then). The tries hold the rows of all others.
    #[inline(always)]
    #[must_use]
    pub const fn fixed_row(self, zone: u8) -> u32 {
        let zones = MAX_ZONES as u32;
        match self {
            Self::FromZone => zone as u32 % zones,
            Self::ToZone => zones + zone as u32 % zones,
            Self::Source => 2 * zones,
            Self::Destination => 2 * zones + 1,
            Self::Service => 2 * zones + 2,
        }
    }
}

/// Rows at the front of a slot that have their place without a trie: [`Dimension::fixed_row`].
pub const FIXED_ROWS: usize = 2 * MAX_ZONES + 3;

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
const _: () = assert!(size_of::<Rule>() == 104);
const _: () = assert!(size_of::<Block>() == 64);
const _: () = assert!(size_of::<Row>() == 96);
const _: () = assert!(size_of::<AddressPrefix>() == 18);
const _: () = assert!(size_of::<ServicePrefix>() == 4);
