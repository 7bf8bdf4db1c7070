//! One security association as its packets show it: an SPI, and a window over its sequence numbers that refuses what has been there.
//!
//! The window is the receiver's own (RFC 4303 §3.4.3 and appendix A2), 64 packets wide, but over the lower half of extended sequence numbers: the
//! upper half is on no wire (§2.2.1), and whether there is one the endpoints alone know. So a number that wraps is taken for the next one where it
//! lies a little way ahead, and refused anywhere else.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{reason::Reason, seq::Seq, time::Nanos};

/// Packets behind the highest that may still come: what RFC 4303 §3.4.3 wants of a receiver as a rule. A receiver with a narrower window drops
/// them itself.
pub const WINDOW: u32 = 64;
/// How far ahead of the highest a packet may lie, whenever it comes: so many may be lost before the firewall.
pub const AHEAD: u32 = 1 << 16;
/// For each millisecond without an accepted packet so many more may have been lost: a million a second.
const AHEAD_A_MILLISECOND: u32 = 1_000;
/// Never more than this: a number must lie clearly ahead or clearly behind.
const AHEAD_AT_MOST: u32 = 1 << 30;
/// After so many accepted packets an association is taken for a real one.
pub const PROVEN_BY: u32 = 16;

/// What has been seen of an association. All zero for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Association {
    /// When its last packet was accepted.
    pub seen: u64,
    /// Bit `n`: the number `n` before the highest has been there, or cannot be.
    pub window: u64,
    pub spi: u32,
    /// Highest sequence number accepted, its lower half.
    pub highest: u32,
    /// Packets accepted; stays at its maximum.
    pub accepted: u32,
    pub reserved: u32,
}

impl Association {
    #[inline(always)]
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.spi != 0
    }

    #[inline(always)]
    #[must_use]
    pub const fn is_proven(&self) -> bool {
        self.accepted >= PROVEN_BY
    }

    /// True when no packet of it was accepted for as long.
    #[inline(always)]
    #[must_use]
    pub const fn is_silent(&self, now: Nanos, long: Nanos) -> bool {
        now.since(Nanos(self.seen)).0 >= long.0
    }

    /// How far ahead of the highest a packet may lie now.
    #[inline(always)]
    #[must_use]
    pub const fn ahead(&self, now: Nanos) -> u32 {
        let silent = now.since(Nanos(self.seen)).0 / Nanos::MILLISECOND;
        if silent > (AHEAD_AT_MOST / AHEAD_A_MILLISECOND) as u64 {
            return AHEAD_AT_MOST;
        }
        AHEAD + silent as u32 * AHEAD_A_MILLISECOND
    }

    /// Why a packet with this number is refused, if it is: the number of a [`Reason`], or 0. (To make a reason of it would be a call, which
    /// older verifiers allow none of under a lock.)
    #[inline(always)]
    #[must_use]
    pub const fn refuse(&self, sequence: Seq, now: Nanos) -> u32 {
        let distance = sequence.distance(Seq(self.highest));
        if distance > 0 {
            return if distance as u32 > self.ahead(now) { Reason::GuardEspJump as u32 } else { 0 };
        }
        let behind = distance.unsigned_abs();
        if behind < WINDOW && self.window >> behind & 1 == 0 {
            return 0;
        }
        // No association begins with 0 (RFC 4303 §3.3.3); where an extended number's lower half is 0, it passes as any other.
        if sequence.0 == 0 { Reason::GuardEspSequenceZero as u32 } else { Reason::GuardEspReplay as u32 }
    }

    /// Takes an accepted packet into the window.
    #[inline(always)]
    pub const fn take(&mut self, sequence: Seq, now: Nanos) {
        let distance = sequence.distance(Seq(self.highest));
        if distance > 0 {
            let by = distance as u32;
            self.window = if by >= WINDOW { 1 } else { self.window << by | 1 };
            self.highest = sequence.0;
        } else {
            let behind = distance.unsigned_abs();
            if behind < WINDOW {
                self.window |= 1 << behind;
            }
        }
        self.accepted = self.accepted.saturating_add(1);
        self.seen = now.0;
    }

    /// Begins with an accepted packet. What would lie before number 1 is taken for seen: nothing was ever sent there.
    #[inline(always)]
    pub const fn begin(&mut self, spi: u32, sequence: Seq, now: Nanos) {
        let before_first = if sequence.0 < WINDOW { u64::MAX << sequence.0 } else { 0 };
        self.window = before_first | 1;
        self.spi = spi;
        self.highest = sequence.0;
        self.accepted = 1;
        self.seen = now.0;
    }
}

const _: () = assert!(size_of::<Association>() == 32);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const NOW: Nanos = Nanos(1_000_000_000_000);

    fn begun(sequence: u32) -> Association {
        let mut association = Association::default();
        association.begin(7, Seq(sequence), NOW);
        association
    }

    /// The reason for a refusal, or nothing when the packet was taken.
    fn meet(association: &mut Association, sequence: u32) -> Option<Reason> {
        let refused = Reason::from_number(u8::try_from(association.refuse(Seq(sequence), NOW)).expect("a reason"));
        if refused.is_none() {
            association.take(Seq(sequence), NOW);
        }
        refused
    }

    #[test]
    fn a_window_of_64_refuses_what_was_there_and_what_is_too_old() {
        let mut association = begun(1);
        assert_eq!(meet(&mut association, 1), Some(Reason::GuardEspReplay));
        assert_eq!(meet(&mut association, 100), None);
        assert_eq!(meet(&mut association, 36), Some(Reason::GuardEspReplay), "64 behind");
        assert_eq!(meet(&mut association, 37), None, "63 behind");
        assert_eq!(meet(&mut association, 37), Some(Reason::GuardEspReplay));
        assert_eq!(meet(&mut association, 99), None);
        assert_eq!(meet(&mut association, 0), Some(Reason::GuardEspSequenceZero));
    }

    #[test]
    fn nothing_comes_before_the_first_number() {
        let mut association = begun(3);
        assert_eq!(meet(&mut association, 2), None);
        assert_eq!(meet(&mut association, 1), None);
        assert_eq!(meet(&mut association, u32::MAX), Some(Reason::GuardEspReplay));
        assert_eq!(meet(&mut association, u32::MAX - 50), Some(Reason::GuardEspReplay));
    }

    #[test]
    fn the_lower_half_wraps_from_the_top_to_the_bottom_and_from_nowhere_else() {
        let mut association = begun(u32::MAX - 1);
        assert_eq!(meet(&mut association, 0), None, "an extended number's lower half");
        assert_eq!(meet(&mut association, 1), None);
        assert_eq!(meet(&mut association, u32::MAX), None, "overtaken by the wrap");
        assert_eq!(meet(&mut association, u32::MAX), Some(Reason::GuardEspReplay));
        assert_eq!(meet(&mut association, 0), Some(Reason::GuardEspSequenceZero));
        assert_eq!(begun(1 << 31).refuse(Seq(1), NOW), Reason::GuardEspReplay as u32);
        assert_eq!(begun((1 << 31) - 1).refuse(Seq(u32::MAX - 5), NOW), Reason::GuardEspJump as u32);
    }

    #[test]
    fn a_jump_is_measured_by_what_can_have_been_lost() {
        let association = begun(1000);
        assert_eq!(association.refuse(Seq(1000 + AHEAD), NOW), 0);
        assert_eq!(association.refuse(Seq(1001 + AHEAD), NOW), Reason::GuardEspJump as u32);
        let later = Nanos(NOW.0 + 10 * 1_000_000_000);
        assert_eq!(association.refuse(Seq(1000 + AHEAD + 10_000_000), later), 0);
        assert_eq!(association.refuse(Seq(1001 + AHEAD + 10_000_000), later), Reason::GuardEspJump as u32);
        let much_later = Nanos(NOW.0 + 86_400 * 1_000_000_000);
        assert_eq!(association.ahead(much_later), AHEAD_AT_MOST);
    }

    /// The plain model: every number that was there, counted on without a wrap.
    fn model(seen: &BTreeSet<u64>, number: u64) -> bool {
        let highest = *seen.last().expect("one at least");
        let fresh = number + u64::from(WINDOW) > highest && number > 0 && !seen.contains(&number);
        fresh && number <= highest + u64::from(AHEAD)
    }

    proptest! {
        #[test]
        fn it_judges_as_a_set_of_all_that_was_there(
            first in prop_oneof![1_u64..200, 0xffff_ff00_u64..0xffff_ffff, 1_u64 << 33..1 << 34],
            steps in prop::collection::vec(prop_oneof![8 => -80_i64..80, 2 => 0_i64..2, 1 => -5000_i64..70_000], 1..400),
        ) {
            let mut association = begun(first as u32);
            let mut seen = BTreeSet::from([first]);
            for step in steps {
                let number = seen.last().expect("one").saturating_add_signed(step);
                // What lies before the window of a stream that is met in its middle has wrapped or not: nobody knows.
                prop_assume!(number > 0);
                let accepted = model(&seen, number);
                prop_assert_eq!(meet(&mut association, number as u32).is_none(), accepted, "{} after {:?}", number, seen.last());
                if accepted {
                    seen.insert(number);
                }
            }
        }
    }
}
