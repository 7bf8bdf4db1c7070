//! What the figures of one direction say: how much is lost, and on which side of Weir.

use super::Side;
use crate::time::Nanos;

/// So many times the losses of the other side make it the one side to look at.
const CLEARLY_MORE: u64 = 5;

/// Losses of what one end sends, in packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Between the sender and Weir.
    pub before: u64,
    /// Between Weir and the receiver.
    pub behind: u64,
    /// Sent again though it had arrived: its acknowledgements are lost or late, or it was only overtaken.
    pub needless: u64,
    pub reordered: u64,
}

/// Where what one end sends is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nothing is.
    Nowhere,
    Before,
    Behind,
    Both,
    /// Nothing is lost before, and of what is behind this stream tells nothing: its ends neither repeat nor complain.
    Unknown,
}

impl Place {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nowhere => "nowhere",
            Self::Before => "before",
            Self::Behind => "behind",
            Self::Both => "both",
            Self::Unknown => "unknown",
        }
    }
}

impl Loss {
    #[must_use]
    pub fn of(side: &Side, now: Nanos) -> Self {
        let open: u64 = side.holes.iter().map(|hole| u64::from(hole.overdue(now))).sum();
        // What the receiver reports to have twice was, most of it, acknowledged here as well: it is not needless twice.
        let repeated = u64::from(side.again) + u64::from(side.needless);
        let needless = u64::from(side.needless.max(side.doubled)).min(repeated);
        Self {
            before: u64::from(side.lost) + u64::from(side.unfilled) + open,
            behind: repeated - needless,
            needless,
            reordered: side.reordered.into(),
        }
    }

    /// `answers`: the stream's ends repeat what is lost, or complain of it.
    #[must_use]
    pub const fn place(&self, answers: bool) -> Place {
        match (self.before, self.behind) {
            (0, 0) if answers => Place::Nowhere,
            (0, 0) => Place::Unknown,
            (before, behind) if before >= CLEARLY_MORE * behind => Place::Before,
            (before, behind) if behind >= CLEARLY_MORE * before => Place::Behind,
            _ => Place::Both,
        }
    }

    /// The share of what was sent that did not reach Weir, `arrived` packets having, and of those the share that did not get behind it; in
    /// millionths.
    #[must_use]
    pub const fn shares(&self, arrived: u64) -> (u64, u64) {
        (share(self.before, arrived.saturating_add(self.before)), share(self.behind, arrived))
    }
}

const fn share(lost: u64, of: u64) -> u64 {
    let lost = if lost < of { lost } else { of };
    match lost.saturating_mul(1_000_000).checked_div(of) {
        Some(millionths) => millionths,
        None => 0,
    }
}
