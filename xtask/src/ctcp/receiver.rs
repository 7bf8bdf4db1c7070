//! What a receiver acknowledges and what it counts.

use super::wire::{Esp, Malformed};

/// What a receiver does about a hole, which its peer will never fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Acknowledge {
    /// Acknowledge data in order only, as TCP does: the acknowledgement freezes at the first hole, for good.
    RepeatAtGap,
    /// Acknowledge the highest byte seen: holes are acknowledged silently.
    HighestSeen,
}

impl Acknowledge {
    /// The value for the command line.
    pub fn argument(self) -> &'static str {
        match self {
            Self::RepeatAtGap => "repeat-at-gap",
            Self::HighestSeen => "highest-seen",
        }
    }
}

/// One direction of a connection, as its receiver sees it. Every segment is a datagram, so one past a hole is delivered as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Receiver {
    acknowledge: Acknowledge,
    /// The next byte wanted, or the one behind the highest seen.
    acknowledgement: u32,
    /// Datagrams delivered.
    pub(super) delivered: u64,
    /// Segments whose payload was not a whole, genuine ESP packet.
    pub(super) damaged: u64,
}

impl Receiver {
    /// `first` is the sequence of the peer's first data byte.
    pub(super) fn new(acknowledge: Acknowledge, first: u32) -> Self {
        Self { acknowledge, acknowledgement: first, delivered: 0, damaged: 0 }
    }

    pub(super) fn acknowledgement(&self) -> u32 {
        self.acknowledgement
    }

    pub(super) fn take(&mut self, sequence: u32, payload: &[u8]) -> Result<(), Malformed> {
        match Esp::decode(payload) {
            Ok(_) => self.delivered += 1,
            Err(malformed) => {
                self.damaged += 1;
                return Err(malformed);
            }
        }
        let end = u32::try_from(payload.len()).map_or(sequence, |length| sequence.wrapping_add(length));
        let moves = match self.acknowledge {
            Acknowledge::RepeatAtGap => sequence == self.acknowledgement,
            Acknowledge::HighestSeen => end.wrapping_sub(self.acknowledgement) < 1 << 31,
        };
        if moves {
            self.acknowledgement = end;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds segments of 100 bytes with one missing; returns the acknowledgement after each.
    fn acknowledgements(acknowledge: Acknowledge, first: u32) -> Vec<u32> {
        let mut receiver = Receiver::new(acknowledge, first);
        let segments = [0, 1, 3, 4].map(|number: u32| {
            receiver.take(first.wrapping_add(number * 100), &Esp { spi: 9, sequence: number }.encode(100)).expect("genuine");
            receiver.acknowledgement().wrapping_sub(first)
        });
        assert_eq!(receiver.delivered, 4, "what comes behind a hole is delivered");
        segments.to_vec()
    }

    #[test]
    fn a_hole_freezes_the_acknowledgement_or_is_jumped() {
        // The second start makes the sequence wrap in the middle.
        for first in [1000, u32::MAX - 250] {
            assert_eq!(acknowledgements(Acknowledge::RepeatAtGap, first), [100, 200, 200, 200]);
            assert_eq!(acknowledgements(Acknowledge::HighestSeen, first), [100, 200, 400, 500]);
        }
    }

    #[test]
    fn an_old_segment_does_not_move_the_acknowledgement_back() {
        let mut receiver = Receiver::new(Acknowledge::HighestSeen, 1000);
        for sequence in [1100, 1000] {
            receiver.take(sequence, &Esp { spi: 9, sequence }.encode(100)).expect("genuine");
        }
        assert_eq!(receiver.acknowledgement(), 1200);
    }

    #[test]
    fn a_damaged_datagram_is_counted_apart_and_acknowledges_nothing() {
        let mut receiver = Receiver::new(Acknowledge::RepeatAtGap, 1000);
        let mut payload = Esp { spi: 9, sequence: 1 }.encode(100);
        payload[50] ^= 1;
        assert_eq!(receiver.take(1000, &payload), Err(Malformed::Ciphertext));
        assert_eq!((receiver.delivered, receiver.damaged, receiver.acknowledgement()), (0, 1, 1000));
    }
}
