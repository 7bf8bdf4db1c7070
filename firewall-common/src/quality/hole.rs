//! A hole in what has arrived of a stream, and whether what fills it was lost or only overtaken.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Moment;
use crate::{seq::Seq, time::Nanos};

/// No sender repeats by its timer sooner (RFC 6298 asks for a second, kernels of today take 200 ms): what took as long was sent again.
const SOONEST_TIMER: Nanos = Nanos(200 * Nanos::MILLISECOND);
/// Duplicate acknowledgements after which a sender repeats (RFC 5681 §3.2).
const ENOUGH_ANSWERS: u8 = 3;
/// A hole that is open for so long is not filled by what was overtaken.
const OVERDUE: Nanos = Nanos(3_000 * Nanos::MILLISECOND);

/// What is missing: numbers from `start` to before `end`. Nothing when they are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Hole {
    /// When it opened.
    pub opened: u64,
    pub start: u32,
    pub end: u32,
    /// Where the segment ends that opened it.
    pub beyond: u32,
    /// TSval of that segment; with `timed`.
    pub timestamp: u32,
    /// Microseconds after `opened` at which its receiver first showed that it has what lies beyond; with `answers`.
    pub answered: u32,
    /// Length of the segment that opened it: what is missing is counted in packets of that size.
    pub length: u16,
    /// Acknowledgements by which the sender may have learned of the hole, at most 255.
    pub answers: u8,
    pub timed: u8,
}

impl Hole {
    #[inline(always)]
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.start != self.end
    }

    /// How many packets are missing, as far as their size tells; at least one.
    #[inline(always)]
    #[must_use]
    pub const fn packets(&self) -> u32 {
        let bytes = self.end.wrapping_sub(self.start);
        let length = if self.length == 0 { 1 } else { self.length as u32 };
        // The last may be a short one.
        let packets = bytes / length + (!bytes.is_multiple_of(length)) as u32;
        if packets == 0 { 1 } else { packets }
    }

    /// Packets of a hole that is open for so long that they were lost.
    #[inline(always)]
    #[must_use]
    pub const fn overdue(&self, now: Nanos) -> u32 {
        if self.is_open() && now.since(Nanos(self.opened)).0 >= OVERDUE.0 { self.packets() } else { 0 }
    }

    /// True when what fills the hole now was sent again, its first copy being lost; false when it was overtaken by what opened the hole.
    ///
    /// A timestamp tells for certain where the two differ: a repetition carries the time it was sent at. Within one tick of the sender's
    /// clock, and without timestamps, a sender can have repeated only what it could know of: an answer that shows the hole passed here, long
    /// enough ago to reach it (`sender_micros`: the time from here to the sender and back; when that is 0 for unknown, as many answers as make
    /// it repeat), or its timer ran out.
    #[inline(always)]
    #[must_use]
    pub const fn was_lost(&self, moment: &Moment, sender_micros: u32) -> bool {
        if self.timed != 0 && moment.timed && self.timestamp != moment.timestamp {
            return Seq(moment.timestamp).after(Seq(self.timestamp));
        }
        let open = moment.now.since(Nanos(self.opened));
        if open.0 >= SOONEST_TIMER.0 {
            return true;
        }
        if sender_micros == 0 {
            return self.answers >= ENOUGH_ANSWERS;
        }
        // A quarter less, for the sender may be nearer at times.
        let known = open.as_micros_saturating().saturating_sub(self.answered);
        self.answers != 0 && known >= sender_micros - sender_micros / 4
    }
}

const _: () = assert!(size_of::<Hole>() == 32);

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = Nanos::MILLISECOND;

    fn at(millis: u64, timestamp: Option<u32>) -> Moment {
        Moment { now: Nanos(millis * MS), timestamp: timestamp.unwrap_or(0), echo: 0, timed: timestamp.is_some() }
    }

    #[test]
    fn a_newer_timestamp_is_a_repetition_and_an_older_one_was_overtaken() {
        let hole = Hole { opened: 1_000 * MS, timestamp: 5, timed: 1, start: 1, end: 2, ..Hole::default() };
        assert!(hole.was_lost(&at(1_001, Some(6)), 0));
        assert!(!hole.was_lost(&at(9_000, Some(4)), 0), "however late it comes");
        let wrapped = Hole { timestamp: u32::MAX, ..hole };
        assert!(wrapped.was_lost(&at(1_001, Some(0)), 0));
    }

    #[test]
    fn without_timestamps_the_sender_must_have_been_able_to_know() {
        let hole = Hole { opened: 1_000 * MS, start: 1, end: 2, ..Hole::default() };
        assert!(!hole.was_lost(&at(1_199, None), 0), "nobody has complained, and no timer runs out so soon");
        assert!(hole.was_lost(&at(1_200, None), 0));
        let answered = Hole { answers: 1, answered: 10_000, ..hole };
        assert!(!answered.was_lost(&at(1_020, None), 20_000), "the complaint has not reached the sender");
        assert!(answered.was_lost(&at(1_030, None), 20_000));
        assert!(!answered.was_lost(&at(1_030, None), 0), "how far the sender is nobody knows");
        let complained = Hole { answers: 3, ..answered };
        assert!(complained.was_lost(&at(1_011, None), 0));
        assert!(!complained.was_lost(&at(1_011, None), 20_000), "the complaints have not reached the sender");
        assert!(Hole { timestamp: 5, timed: 1, ..complained }.was_lost(&at(1_011, Some(5)), 0), "one tick tells nothing");
    }

    #[test]
    fn what_is_missing_is_counted_in_packets_of_its_neighbours_size() {
        let hole = |end, length| Hole { start: 100, end, length, ..Hole::default() }.packets();
        assert_eq!((hole(1_548, 1_448), hole(2_996, 1_448), hole(1_549, 1_448), hole(101, 1_448)), (1, 2, 2, 1));
        assert_eq!(hole(103, 1), 3, "numbers of an association are packets");
        assert_eq!(Hole { start: 7, end: 9, ..Hole::default() }.packets(), 2, "whatever the length");
    }
}
