//! What is kept of a flow's quality.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Hole;

/// Holes of one direction that are followed at a time; of more the oldest is taken for one that nothing fills.
pub const HOLES: usize = 8;

/// One flow's quality. All zero is one of which nothing is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Quality {
    /// What the key's low endpoint has sent, and the high one.
    pub low: Side,
    pub high: Side,
}

/// What one end of a flow has sent, and how far it is away. Counts are of packets, wrap, and never go back. Times are in microseconds, 0 for
/// unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Side {
    pub holes: [Hole; HOLES],
    /// When the timestamp of an answer of this end passed that the other one is to echo; 0 for none.
    pub stamped: u64,
    pub stamp: u32,
    /// Where the hole ends that lies furthest; with `gaps`.
    pub held: u32,
    /// Holes that opened.
    pub gaps: u32,
    /// Lost before Weir: came again later.
    pub lost: u32,
    /// Lost before Weir, and never came again.
    pub unfilled: u32,
    /// Came late, overtaken by later ones.
    pub reordered: u32,
    /// Came again though it had passed, and was not acknowledged here.
    pub again: u32,
    /// Came again though its receiver had acknowledged it here.
    pub needless: u32,
    /// Came again where no one can tell why: its hole had been given up, or without selective acknowledgements one was just being filled.
    pub unclear: u32,
    /// Times the receiver told that it had something twice (RFC 2883).
    pub doubled: u32,
    /// Duplicate acknowledgements it has sent.
    pub duplicate_acks: u32,
    /// Segments by which it closed its window.
    pub zero_windows: u32,
    /// From Weir to this end and back: smoothed as RFC 6298 does, and the least seen.
    pub round_trip: u32,
    pub least_round_trip: u32,
    /// Place of the next hole.
    pub next: u32,
    /// Where the hole ends that lies furthest of those that had to make room; with `unfilled`.
    pub given_up: u32,
    /// Not 0: its receiver acknowledges selectively (RFC 2018).
    pub selective: u32,
    pub reserved: u32,
}

impl Quality {
    /// The packet's sender and its receiver.
    #[inline(always)]
    #[must_use]
    pub fn sides_mut(&mut self, source_is_low: bool) -> (&mut Side, &mut Side) {
        if source_is_low { (&mut self.low, &mut self.high) } else { (&mut self.high, &mut self.low) }
    }

    /// The initiator's side and the responder's.
    #[must_use]
    pub const fn sides(&self, initiator_is_low: bool) -> (&Side, &Side) {
        if initiator_is_low { (&self.low, &self.high) } else { (&self.high, &self.low) }
    }
}

impl Side {
    /// Takes a measured time from Weir to this end and back.
    #[inline(always)]
    pub const fn measured(&mut self, micros: u32) {
        let micros = if micros == 0 { 1 } else { micros };
        self.round_trip = if self.round_trip == 0 { micros } else { self.round_trip - self.round_trip / 8 + micros / 8 };
        if self.least_round_trip == 0 || micros < self.least_round_trip {
            self.least_round_trip = micros;
        }
    }
}

const _: () = assert!(size_of::<Side>() == 336);
const _: () = assert!(size_of::<Quality>() == 672);
