//! Data as it arrives: holes open, and something fills them, or comes again that had passed.

use super::{Hole, Moment, Numbers, Side, record::HOLES};
use crate::{
    seq::Seq,
    verifier::{self, Step, forgotten},
    wire::tcp::Segment,
};

/// A hole opens before a packet of `length`: what lies from `expected` to `seq` is missing.
#[inline(always)]
pub fn gap(side: &mut Side, expected: Seq, seq: Seq, length: u32, moment: &Moment) {
    side.gaps = side.gaps.wrapping_add(1);
    side.held = seq.0;
    let hole = Hole {
        opened: moment.now.0,
        start: expected.0,
        end: seq.0,
        beyond: seq.add(length).0,
        timestamp: moment.timestamp,
        answered: 0,
        length: if length > u16::MAX as u32 { u16::MAX } else { length as u16 },
        answers: 0,
        timed: moment.timed as u8,
    };
    open(side, &hole);
}

/// Puts a hole in the oldest one's place, which nothing has filled then.
#[inline(always)]
fn open(side: &mut Side, hole: &Hole) {
    let place = side.next as usize % HOLES;
    side.next = side.next.wrapping_add(1);
    let oldest = &mut side.holes[place];
    if oldest.is_open() {
        side.given_up = if side.unfilled == 0 { oldest.end } else { Seq(side.given_up).max(Seq(oldest.end)).0 };
        side.unfilled = side.unfilled.wrapping_add(oldest.packets());
    }
    *oldest = *hole;
}

/// Data comes that is not new.
#[inline(always)]
pub fn again(side: &mut Side, segment: &Segment, numbers: &Numbers, moment: &Moment) {
    let end = earlier(segment.seq.add(segment.length), Seq(numbers.end));
    let filled = fill(side, segment.seq, end, moment, numbers.round_trip, true);
    if filled != Filled::Nothing {
        return;
    }
    let acknowledged = Seq(numbers.other_ack);
    if !end.after(acknowledged) {
        side.needless = side.needless.wrapping_add(1);
    } else if is_unclear(side, segment.seq, acknowledged) {
        side.unclear = side.unclear.wrapping_add(1);
    } else {
        side.again = side.again.wrapping_add(1);
    }
}

/// True when it is open where that was lost which comes again though it seems to have passed: it may fill a hole that had to make room (and
/// is counted as lost); and a sender that is told no more than the first byte that is missing may repeat all behind it.
#[inline(always)]
const fn is_unclear(side: &Side, seq: Seq, acknowledged: Seq) -> bool {
    let given_up = side.unfilled != 0 && seq.before(Seq(side.given_up));
    let held = side.selective == 0 && side.gaps != 0 && acknowledged.before(Seq(side.held));
    given_up || held
}

/// A packet with a number of its own comes late; nothing of its kind is ever sent again.
#[inline(always)]
pub fn overtaken(side: &mut Side, number: Seq, moment: &Moment) {
    let _ = fill(side, number, number.add(1), moment, 0, false);
}

#[inline(always)]
const fn earlier(one: Seq, other: Seq) -> Seq {
    if one.before(other) { one } else { other }
}

/// What a packet has filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filled {
    Nothing,
    Something,
}

/// A walk over the holes with what has come.
struct Filling<'a> {
    holes: &'a mut [Hole; HOLES],
    moment: &'a Moment,
    start: Seq,
    end: Seq,
    sender_micros: u32,
    /// Not 0: what comes may have been sent again.
    repeats: u32,
    at: u32,
    /// Not 0: some hole was filled, and it was lost.
    filled: u32,
    lost: u32,
    /// Where the hole goes on that was filled in its middle, and its place; `rest` is 0 for none.
    cut: u32,
    rest: u32,
    of: u32,
}

impl Step for Filling<'_> {
    #[inline(always)]
    fn forget(&mut self) {
        for number in [&mut self.at, &mut self.filled, &mut self.lost, &mut self.cut, &mut self.rest, &mut self.of] {
            *number = forgotten(*number);
        }
    }

    #[inline(always)]
    fn step(&mut self) -> bool {
        let place = self.at;
        self.at = (place + 1) % HOLES as u32;
        let hole = &mut self.holes[place as usize % HOLES];
        let (first, last) = (self.start.max(Seq(hole.start)), earlier(self.end, Seq(hole.end)));
        if hole.is_open() && last.after(first) {
            self.filled = 1;
            self.lost |= u32::from(self.repeats != 0 && hole.was_lost(self.moment, self.sender_micros));
            if first.0 == hole.start {
                hole.start = last.0;
            } else {
                (self.cut, self.rest, self.of) = (last.0, hole.end.wrapping_sub(last.0), place);
                hole.end = first.0;
            }
        }
        true
    }
}

/// Closes what lies from `start` to before `end` of the holes, and counts the packet that does it. What never `repeats` was overtaken.
#[inline(always)]
fn fill(side: &mut Side, start: Seq, end: Seq, moment: &Moment, handshake: u32, repeats: bool) -> Filled {
    let sender_micros = if side.least_round_trip != 0 { side.least_round_trip } else { handshake };
    let mut filling = Filling {
        holes: &mut side.holes,
        moment,
        start,
        end,
        sender_micros,
        repeats: u32::from(repeats),
        at: 0,
        filled: 0,
        lost: 0,
        cut: 0,
        rest: 0,
        of: 0,
    };
    verifier::repeat(HOLES as u32, &mut filling);
    let (filled, lost, cut, rest, of) = (filling.filled, filling.lost, filling.cut, filling.rest, filling.of);
    if filled == 0 {
        return Filled::Nothing;
    }
    if lost != 0 {
        side.lost = side.lost.wrapping_add(1);
    } else {
        side.reordered = side.reordered.wrapping_add(1);
    }
    if rest != 0 {
        // What is left behind becomes a hole of its own, as old as what is left before.
        let hole = Hole { start: cut, end: cut.wrapping_add(rest), ..side.holes[of as usize % HOLES] };
        open(side, &hole);
    }
    Filled::Something
}
