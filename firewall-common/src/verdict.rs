//! What becomes of a packet. There are four verdicts, not two: a firewall that can only pass-and-learn or drop stalls connections whose
//! old or odd packets it must let through without believing them.

use crate::reason::Reason;

/// The verdict on one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Passes; its flow's state was advanced by it.
    Learn,
    /// Passes; state, windows and timers are as before.
    NoLearn,
    /// Dropped, and counted under its reason.
    Drop(Reason),
    /// Dropped, and the frame becomes the answer to its sender. Counted under [`Reason::Reject`].
    ///
    /// It has no reason of its own so that a verdict is one byte, always defined: see `Tracked` in [`crate::pipeline`].
    Answer,
}

impl Verdict {
    #[inline(always)]
    #[must_use]
    pub const fn passes(self) -> bool {
        matches!(self, Self::Learn | Self::NoLearn)
    }
}

const _: () = assert!(size_of::<Verdict>() == 1);
