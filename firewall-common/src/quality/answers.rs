//! What an end answers: that it has what lies beyond a hole, that it has something twice, and after how long.

use super::{Hole, Moment, Side, notes, record::HOLES};
use crate::{
    parse::Descriptor,
    seq::Seq,
    time::Nanos,
    verifier::{self, Step, forgotten},
    wire::tcp::{Segment, marks},
};

/// An echo after more than this says nothing of the way.
const LONGEST_ECHO: Nanos = Nanos(10_000 * Nanos::MILLISECOND);

/// Takes what a segment of `from` says of what `to` has sent.
#[inline(always)]
pub fn take(from: &mut Side, to: &mut Side, descriptor: &Descriptor, notes: u8, moment: &Moment) {
    let selective = descriptor.options.has(marks::SACK);
    let duplicate = notes & notes::DUPLICATE != 0;
    if duplicate {
        from.duplicate_acks = from.duplicate_acks.wrapping_add(1);
    }
    if selective {
        to.selective = 1;
        if descriptor.options.has(marks::DUPLICATE_SACK) {
            to.doubled = to.doubled.wrapping_add(1);
        }
    }
    echoed(from, to, &descriptor.segment, moment);
    if !duplicate && !selective {
        return;
    }
    if moment.timed && from.stamped == 0 {
        (from.stamped, from.stamp) = (moment.now.0, moment.timestamp);
    }
    let micros = answer(to, descriptor, selective, moment.now);
    if micros != 0 {
        from.measured(micros);
    }
}

/// A walk over the holes with what their receiver shows.
struct Showing<'a> {
    holes: &'a mut [Hole; HOLES],
    now: Nanos,
    ack: Seq,
    /// Right edge of what is acknowledged selectively; with `selective`.
    edge: Seq,
    selective: u32,
    at: u32,
    /// Microseconds from the segment that opened a hole to the answer to just that one; 0 for none.
    took: u32,
}

impl Step for Showing<'_> {
    #[inline(always)]
    fn forget(&mut self) {
        self.at = forgotten(self.at);
        self.took = forgotten(self.took);
    }

    #[inline(always)]
    fn step(&mut self) -> bool {
        let hole = &mut self.holes[self.at as usize % HOLES];
        self.at = (self.at + 1) % HOLES as u32;
        let has = if self.selective != 0 { !self.edge.before(Seq(hole.beyond)) } else { !self.ack.after(Seq(hole.start)) };
        if hole.is_open() && has {
            if hole.answers == 0 {
                hole.answered = self.now.since(Nanos(hole.opened)).as_micros_saturating();
                if self.selective != 0 && self.edge.0 == hole.beyond {
                    self.took = hole.answered;
                }
            }
            hole.answers = hole.answers.saturating_add(1);
        }
        true
    }
}

/// Notes for each hole that its receiver has shown to have what lies beyond. Returns how long that took in microseconds where it is the
/// answer to the very segment that opened the hole: what is out of order is acknowledged at once (RFC 5681 §4.2). 0 for none.
#[inline(always)]
fn answer(to: &mut Side, descriptor: &Descriptor, selective: bool, now: Nanos) -> u32 {
    let (ack, edge) = (descriptor.segment.ack, descriptor.options.sack);
    let mut showing = Showing { holes: &mut to.holes, now, ack, edge, selective: u32::from(selective), at: 0, took: 0 };
    verifier::repeat(HOLES as u32, &mut showing);
    showing.took
}

/// A segment that echoes the timestamp of an answer (RFC 7323 §4.1) tells how far its sender is away.
#[inline(always)]
fn echoed(from: &mut Side, to: &mut Side, segment: &Segment, moment: &Moment) {
    if !moment.timed || to.stamped == 0 || segment.length == 0 || Seq(moment.echo).before(Seq(to.stamp)) {
        return;
    }
    let took = moment.now.since(Nanos(to.stamped));
    to.stamped = 0;
    // A later one: of how many ticks is not known.
    if moment.echo == to.stamp && took.0 < LONGEST_ECHO.0 {
        from.measured(took.as_micros_saturating());
    }
}
