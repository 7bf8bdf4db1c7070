//! Normalizer profiles as the controller writes them and the dataplane reads them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Profiles of one policy, the built-in ones included.
pub const MAX_PROFILES: usize = 32;
/// Number of the built-in profile that checks and changes nothing.
pub const OFF: u8 = 0;

/// What a profile asks for. A bit that is not set asks for nothing: all zero is profile `off`.
pub mod checks {
    /// The TCP checksum of SYN, FIN and RST is verified.
    pub const CHECKSUM_CONTROL: u32 = 1 << 0;
    /// The TCP checksum of every segment is verified.
    pub const CHECKSUM_ALL: u32 = 1 << 1;
    /// A payload larger than the MSS its receiver announced is dropped.
    pub const EXCEED_MSS: u32 = 1 << 2;
    /// An acknowledgement of data that was never seen passes without learning, instead of being dropped.
    pub const INVALID_ACK_ALLOW: u32 = 1 << 3;
    /// A segment that begins after a hole is dropped.
    pub const OUT_OF_ORDER: u32 = 1 << 4;
    /// Reserved header bits are cleared.
    pub const RESERVED_CLEAR: u32 = 1 << 5;
    /// A segment with reserved header bits is dropped.
    pub const RESERVED_DROP: u32 = 1 << 6;
    /// The right edge of the window is open, as under `tolerant`.
    pub const PAST_WINDOW_ALLOW: u32 = 1 << 7;
    /// A SYN-ACK with data is dropped.
    pub const SYNACK_DATA: u32 = 1 << 8;
    /// A SYN with data is dropped.
    pub const SYN_DATA: u32 = 1 << 9;
    /// Options are cleared or dropped by kind: [`super::Profile::options_clear`], [`super::Profile::options_drop`].
    pub const OPTIONS: u32 = 1 << 10;
    /// The hop limit of a direction never rises above the lowest seen.
    pub const TTL_EVASION: u32 = 1 << 11;
    /// The urgent flag and pointer are cleared.
    pub const URGENT_CLEAR: u32 = 1 << 12;
    /// A receiver that takes back window it has granted loses its connection.
    pub const WINDOW_VARIATION: u32 = 1 << 13;
    /// Initial sequence numbers are randomized in both directions.
    pub const RANDOMIZE: u32 = 1 << 14;
    /// Timestamps are checked (PAWS, RFC 7323 §5).
    pub const TIMESTAMPS: u32 = 1 << 15;
    /// Data sent again must be the data that was sent.
    pub const RETRANSMISSION: u32 = 1 << 16;
    /// The MSS of a SYN is kept between [`super::Profile::mss_least`] and [`super::Profile::mss_most`].
    pub const MSS: u32 = 1 << 17;
    /// A segment with an MD5 signature that no SYN negotiated is dropped (RFC 2385).
    pub const MD5: u32 = 1 << 18;
    /// Selective acknowledgements must be of data that was sent (RFC 2018).
    pub const SACK: u32 = 1 << 19;

    /// What needs no state, and so can be kept to under bypass too.
    pub const STATELESS: u32 = CHECKSUM_CONTROL | CHECKSUM_ALL | RESERVED_CLEAR | RESERVED_DROP | OPTIONS | URGENT_CLEAR | MSS;
    /// Profile `default`.
    pub const DEFAULT: u32 = CHECKSUM_CONTROL | MD5 | SACK;
    /// Profile `asa`, without the option sets.
    pub const ASA: u32 = CHECKSUM_CONTROL | MD5 | SACK | SYNACK_DATA | OPTIONS | TTL_EVASION | URGENT_CLEAR | RANDOMIZE | TIMESTAMPS;
}

/// A set of TCP option kinds: bit `kind % 64` of word `kind / 64`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct OptionSet(pub [u64; 4]);

impl OptionSet {
    pub const EMPTY: Self = Self([0; 4]);

    #[must_use]
    pub const fn with(mut self, first: u8, last: u8) -> Self {
        let mut kind = first as usize;
        while kind <= last as usize {
            self.0[kind / 64] |= 1 << (kind % 64);
            kind += 1;
        }
        self
    }

    #[must_use]
    pub const fn without(mut self, first: u8, last: u8) -> Self {
        let mut kind = first as usize;
        while kind <= last as usize {
            self.0[kind / 64] &= !(1 << (kind % 64));
            kind += 1;
        }
        self
    }

    #[inline(always)]
    #[must_use]
    pub const fn contains(&self, kind: u8) -> bool {
        self.0[(kind >> 6) as usize & 3] >> (kind & 63) & 1 != 0
    }
}

/// One profile of a policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Profile {
    /// [`checks`].
    pub checks: u32,
    /// The largest MSS a SYN passes with: a larger one becomes this, and none is added (bytes). 0: any.
    pub mss_most: u16,
    /// A SYN that announces a smaller MSS than this is dropped (bytes). 0: any.
    pub mss_least: u16,
    /// Options that are overwritten with NOP.
    pub options_clear: OptionSet,
    /// Options whose segment is dropped.
    pub options_drop: OptionSet,
}

impl Profile {
    /// Checks and changes nothing.
    pub const OFF: Self = Self { checks: 0, mss_most: 0, mss_least: 0, options_clear: OptionSet::EMPTY, options_drop: OptionSet::EMPTY };
    /// Breaks nothing that is legal.
    pub const DEFAULT: Self = Self { checks: checks::DEFAULT, ..Self::OFF };
    /// The ASA's defaults: options 6, 7 and 9 to 255 are cleared, others pass.
    pub const ASA: Self = Self { checks: checks::ASA, options_clear: OptionSet::EMPTY.with(6, 7).with(9, 255), ..Self::OFF };
}

const _: () = assert!(size_of::<Profile>() == 72);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_hold_their_kinds() {
        let set = Profile::ASA.options_clear;
        for kind in 0..=255 {
            assert_eq!(set.contains(kind), matches!(kind, 6 | 7 | 9..), "{kind}");
        }
        let set = set.without(19, 19);
        assert!(!set.contains(19) && set.contains(20));
    }
}
