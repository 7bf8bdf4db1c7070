//! One direction of a guarded flow: the association in use, the one before it, and the one that may come next.
//!
//! A new association is a number that only the endpoints know before it is used, and nothing announces it in the clear. So a new SPI is let in
//! by what an endpoint does and somebody who only guesses does not bring about:
//!
//! - It begins with one of its first [`FIRST_AT_MOST`] sequence numbers, and one candidate at a time is followed. Its packets pass, each but once.
//! - It takes the place of the one in use when the *other* direction has begun a new one too, within [`TOGETHER`]: endpoints replace both
//!   directions at once (RFC 7296 §2.8), and whoever forges the packets of one side has no way to send the other's. Each change there allows one
//!   here, or right behind a change of keys anybody could make another.
//! - Without that only when the one in use has been silent for [`ABANDONED`] (a stream of one direction), or was itself never
//!   [proven](Association::is_proven).
//!
//! The one that was in use stays valid until the next change: packets of it may still be under way. So nothing that is injected takes the
//! place of an association in use; what it can do is hold the candidate's place, for as long as it goes on: once the other direction has begun a new
//! one, a candidate that has been silent for [`GIVEN_UP`] gives way to the next.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::association::Association;
use crate::{
    reason::Reason,
    time::Nanos,
    wire::ipsec::{FIRST_SPI, Security},
};

/// Highest sequence number a new association may be met with: as many of its first packets may be lost.
pub const FIRST_AT_MOST: u32 = 1024;
/// Both directions change within this time.
pub const TOGETHER: Nanos = Nanos(60 * SECOND);
/// After so long without a packet another may take its place, though only one direction changes.
pub const ABANDONED: Nanos = Nanos(300 * SECOND);
/// A candidate that was never proven, or that did not change along with the other direction, loses its place to another after so long without a packet.
pub const GIVEN_UP: Nanos = Nanos(10 * SECOND);
/// IKE messages of one direction in a second.
pub const IKE_A_SECOND: u32 = 100;
const SECOND: u64 = 1_000_000_000;

/// What one endpoint has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Side {
    pub current: Association,
    /// The one that was in use before.
    pub previous: Association,
    /// The candidate.
    pub next: Association,
    /// When it last began a new association beside one it had; 0 for never, and once the other direction has changed along with it.
    pub renewed: u64,
    /// Since when IKE messages are counted, and how many have passed since.
    pub ike_since: u64,
    pub ike: u32,
    /// Packets refused; stays at its maximum.
    pub refused: u32,
}

impl Side {
    /// Why a packet of this association is refused, if it is: the number of a [`Reason`], or 0. `other_renewed` is [`Self::renewed`] of the other
    /// direction.
    #[inline(always)]
    #[must_use]
    pub const fn refuse(&self, security: Security, now: Nanos, other_renewed: u64) -> u32 {
        let (spi, sequence) = (security.spi, security.sequence);
        if spi < FIRST_SPI {
            return Reason::GuardEspSpi as u32;
        }
        if self.current.spi == spi {
            return self.current.refuse(sequence, now);
        }
        if self.next.spi == spi {
            return self.next.refuse(sequence, now);
        }
        if self.previous.spi == spi {
            return self.previous.refuse(sequence, now);
        }
        if sequence.0 == 0 {
            return Reason::GuardEspSequenceZero as u32;
        }
        if !self.current.is_known() {
            return 0;
        }
        // Who came first need not have been the endpoint: until it is proven anybody may be a candidate beside it.
        let begins = sequence.0 <= FIRST_AT_MOST || !self.current.is_proven();
        if begins && self.has_place(now, other_renewed) { 0 } else { Reason::GuardEspSpi as u32 }
    }

    /// True when a new candidate may be followed.
    #[inline(always)]
    const fn has_place(&self, now: Nanos, other_renewed: u64) -> bool {
        // Any packet of a candidate promotes it when the other direction has changed: which is still one has had none since.
        let patience = if self.next.is_proven() && !changed_lately(other_renewed, now) { ABANDONED } else { GIVEN_UP };
        !self.next.is_known() || self.next.is_silent(now, patience)
    }

    /// Takes a packet that has passed; `other_renewed` as above.
    #[inline(always)]
    pub const fn take(&mut self, security: Security, now: Nanos, other_renewed: &mut u64) {
        let (spi, sequence) = (security.spi, security.sequence);
        // Another CPU may have changed the side since it was asked: what it would refuse now is not taken.
        if self.refuse(security, now, *other_renewed) != 0 {
            return;
        }
        if self.current.spi == spi {
            self.current.take(sequence, now);
        } else if self.next.spi == spi {
            self.next.take(sequence, now);
            self.promote(now, other_renewed);
        } else if self.previous.spi == spi {
            self.previous.take(sequence, now);
        } else if !self.current.is_known() {
            self.current.begin(spi, sequence, now);
        } else {
            self.next.begin(spi, sequence, now);
            self.renewed = now.0;
            self.promote(now, other_renewed);
        }
    }

    /// The candidate becomes the one in use, if that is due.
    #[inline(always)]
    const fn promote(&mut self, now: Nanos, other_renewed: &mut u64) {
        let together = changed_lately(*other_renewed, now);
        let alone = self.next.is_proven() && (!self.current.is_proven() || self.current.is_silent(now, ABANDONED));
        if together || alone {
            self.previous = self.current;
            self.current = self.next;
            self.next.spi = 0;
            // One new association of the other direction stands for one of this: a later one here must wait for a later one there.
            *other_renewed = 0;
        }
    }

    /// Forgets every association. What was refused stays counted.
    #[inline(always)]
    pub const fn begin_anew(&mut self) {
        // An association without an SPI is none, whatever else it has.
        self.current.spi = 0;
        self.previous.spi = 0;
        self.next.spi = 0;
        self.renewed = 0;
    }

    /// Whether one more IKE message may pass now.
    #[inline(always)]
    #[must_use]
    pub const fn admits_ike(&self, now: Nanos) -> bool {
        self.ike < IKE_A_SECOND || now.since(Nanos(self.ike_since)).0 >= SECOND
    }

    /// Counts an IKE message that has passed.
    #[inline(always)]
    pub const fn take_ike(&mut self, now: Nanos) {
        if now.since(Nanos(self.ike_since)).0 >= SECOND {
            self.ike_since = now.0;
            self.ike = 0;
        }
        self.ike = self.ike.saturating_add(1);
    }

    /// What the packet's number was compared with: the highest of its association, or for an SPI that was refused the one in use.
    #[inline(always)]
    #[must_use]
    pub const fn expected(&self, spi: u32, refused: u32) -> u32 {
        if refused == Reason::GuardEspSpi as u32 {
            self.current.spi
        } else if self.next.spi == spi {
            self.next.highest
        } else if self.previous.spi == spi {
            self.previous.highest
        } else {
            self.current.highest
        }
    }
}

/// True when a direction has begun a new association within [`TOGETHER`]; of its [`Side::renewed`].
#[inline(always)]
const fn changed_lately(renewed: u64, now: Nanos) -> bool {
    renewed != 0 && now.since(Nanos(renewed)).0 <= TOGETHER.0
}

const _: () = assert!(size_of::<Side>() == 120);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seq::Seq;

    const START: Nanos = Nanos(1_000_000 * SECOND);
    const MS: u64 = 1_000_000;

    /// Two directions that are in use, both proven.
    fn pair() -> [Side; 2] {
        let mut sides = [Side::default(); 2];
        for (side, spi) in sides.iter_mut().zip([1000, 2000]) {
            (5000..5100).for_each(|sequence| assert_eq!(meet(side, spi, sequence, START, &mut 0), None));
        }
        sides
    }

    fn meet(side: &mut Side, spi: u32, sequence: u32, now: Nanos, other_renewed: &mut u64) -> Option<Reason> {
        let security = Security { spi, sequence: Seq(sequence) };
        let refused = Reason::from_number(u8::try_from(side.refuse(security, now, *other_renewed)).expect("a reason"));
        if refused.is_none() {
            side.take(security, now, other_renewed);
        }
        refused
    }

    fn at(millis: u64) -> Nanos {
        Nanos(START.0 + millis * MS)
    }

    #[test]
    fn an_unknown_spi_in_its_middle_is_refused() {
        let [mut side, _] = pair();
        assert_eq!(meet(&mut side, 3000, FIRST_AT_MOST + 1, at(1), &mut 0), Some(Reason::GuardEspSpi));
        assert_eq!(meet(&mut side, 255, 1, at(1), &mut 0), Some(Reason::GuardEspSpi), "reserved");
        assert_eq!(meet(&mut side, 0, 1, at(1), &mut 0), Some(Reason::GuardEspSpi));
        assert_eq!(meet(&mut side, 3000, 0, at(1), &mut 0), Some(Reason::GuardEspSequenceZero));
        assert_eq!(side, pair()[0], "what is refused leaves no trace");
    }

    #[test]
    fn a_rekey_of_both_directions_changes_at_once_and_the_old_stays_valid() {
        let [mut one, mut other] = pair();
        assert_eq!(meet(&mut one, 1001, 1, at(1), &mut other.renewed), None);
        assert_eq!(one.current.spi, 1000, "one direction alone");
        assert_eq!(meet(&mut other, 2001, 1, at(20), &mut one.renewed), None);
        assert_eq!((other.current.spi, other.previous.spi, other.next.spi), (2001, 2000, 0));
        assert_eq!(meet(&mut one, 1001, 2, at(21), &mut other.renewed), None);
        assert_eq!((one.current.spi, one.previous.spi, one.next.spi), (1001, 1000, 0));
        // Late packets of the old one pass once.
        assert_eq!(meet(&mut one, 1000, 5100, at(25), &mut other.renewed), None);
        assert_eq!(meet(&mut one, 1000, 5100, at(26), &mut other.renewed), Some(Reason::GuardEspReplay));
        assert_eq!(meet(&mut one, 1001, 2, at(26), &mut other.renewed), Some(Reason::GuardEspReplay));
    }

    #[test]
    fn what_one_side_alone_injects_takes_no_place_that_is_in_use() {
        let [mut side, _] = pair();
        for sequence in 1..200 {
            assert_eq!(meet(&mut side, 6666, sequence, at(u64::from(sequence)), &mut 0), None);
        }
        assert_eq!((side.current.spi, side.next.spi), (1000, 6666));
        assert_eq!(meet(&mut side, 6667, 1, at(300), &mut 0), Some(Reason::GuardEspSpi), "one candidate at a time");
        assert_eq!(meet(&mut side, 1000, 5100, at(1000), &mut 0), None);
    }

    #[test]
    fn a_change_of_keys_lets_no_injected_association_take_a_place_after_it() {
        let [mut one, mut other] = pair();
        for sequence in 1..100 {
            let now = at(u64::from(sequence));
            assert_eq!(meet(&mut one, 1001, sequence, now, &mut other.renewed), None);
            assert_eq!(meet(&mut other, 2001, sequence, now, &mut one.renewed), None);
        }
        assert_eq!((one.current.spi, other.current.spi), (1001, 2001));
        // Right behind it somebody injects two associations of their own into one direction, each for long enough to be proven.
        for spi in [6666, 6667] {
            for sequence in 1..100 {
                let _ = meet(&mut one, spi, sequence, at(200 + u64::from(sequence)), &mut other.renewed);
            }
        }
        assert_eq!((one.current.spi, one.previous.spi, one.next.spi), (1001, 1000, 6666));
        assert_eq!(meet(&mut one, 1001, 5000, at(400), &mut other.renewed), None);
    }

    #[test]
    fn a_burst_that_was_injected_does_not_keep_the_next_keys_from_being_followed() {
        let [mut one, mut other] = pair();
        for sequence in 1..100 {
            assert_eq!(meet(&mut one, 6666, sequence, at(u64::from(sequence)), &mut other.renewed), None);
        }
        assert_eq!((one.current.spi, one.next.spi), (1000, 6666));
        // Once it has been silent for ten seconds, and the other direction has changed, it gives way; neither alone is enough.
        let silent = 99 + GIVEN_UP.0 / MS;
        assert_eq!(meet(&mut one, 1001, 1, at(silent - 3), &mut 0), Some(Reason::GuardEspSpi));
        assert_eq!(meet(&mut other, 2001, 1, at(silent - 2), &mut one.renewed), None);
        assert_eq!(meet(&mut one, 1001, 1, at(silent - 1), &mut other.renewed), Some(Reason::GuardEspSpi));
        assert_eq!(one.refuse(Security { spi: 1001, sequence: Seq(1) }, at(silent), 0), Reason::GuardEspSpi as u32);
        assert_eq!(meet(&mut one, 1001, 2, at(silent), &mut other.renewed), None);
        assert_eq!((one.current.spi, one.previous.spi, one.next.spi), (1001, 1000, 0));
        assert_eq!(meet(&mut one, 6666, 100, at(silent + 1), &mut other.renewed), None, "a candidate again, beside it");
        assert_eq!((one.current.spi, one.next.spi), (1001, 6666));
    }

    #[test]
    fn keys_can_be_changed_again_and_again_within_the_minute() {
        let [mut one, mut other] = pair();
        for round in 1..10 {
            // Now the one direction is met first, now the other.
            for sequence in 1..50 {
                let now = at(u64::from(round * 1000 + sequence));
                let (first, second, spis) =
                    if round % 2 == 0 { (&mut one, &mut other, [1000, 2000]) } else { (&mut other, &mut one, [2000, 1000]) };
                assert_eq!(meet(first, spis[0] + round, sequence, now, &mut second.renewed), None);
                assert_eq!(meet(second, spis[1] + round, sequence, now, &mut first.renewed), None);
            }
            assert_eq!((one.current.spi, other.current.spi), (1000 + round, 2000 + round));
            assert_eq!((one.next.spi, other.next.spi, one.renewed, other.renewed), (0, 0, 0, 0));
        }
    }

    #[test]
    fn a_stream_of_one_direction_can_change_its_keys_again_and_again() {
        let [mut side, _] = pair();
        let mut now = START;
        for spi in 1001..1010 {
            for sequence in 1..1000 {
                now = Nanos(now.0 + 500 * MS);
                assert_eq!(meet(&mut side, spi, sequence, now, &mut 0), None, "{spi} {sequence}");
            }
            assert_eq!(side.current.spi, spi);
        }
    }

    #[test]
    fn a_forged_first_packet_does_not_keep_the_endpoint_out() {
        let mut side = Side::default();
        assert_eq!(meet(&mut side, 6666, 77, at(0), &mut 0), None, "nothing is known yet");
        for sequence in 900_000..900_100 {
            assert_eq!(meet(&mut side, 1000, sequence, at(1), &mut 0), None);
        }
        assert_eq!((side.current.spi, side.previous.spi), (1000, 6666));
    }

    #[test]
    fn a_candidate_that_went_silent_loses_its_place() {
        let [mut side, _] = pair();
        assert_eq!(meet(&mut side, 6666, 1, at(0), &mut 0), None);
        assert_eq!(meet(&mut side, 1001, 1, at(9_999), &mut 0), Some(Reason::GuardEspSpi));
        assert_eq!(meet(&mut side, 1001, 1, at(10_000), &mut 0), None);
    }

    #[test]
    fn ike_is_bounded_by_the_second() {
        let mut side = Side::default();
        for _ in 0..IKE_A_SECOND {
            assert!(side.admits_ike(at(0)));
            side.take_ike(at(0));
        }
        assert!(!side.admits_ike(at(999)));
        assert!(side.admits_ike(at(1000)));
        side.take_ike(at(1000));
        assert_eq!(side.ike, 1);
    }
}
