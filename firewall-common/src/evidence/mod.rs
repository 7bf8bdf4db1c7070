//! What is remembered of packets that a stateful check of TCP has refused, so that `weir advise` can say which streams it kills, and why.
//!
//! (The arithmetic of a single refusal, for its event, is [`crate::event::evidence`].)
//!
//! Only a drop writes here: a packet that passes costs nothing. What is known of a refusal goes to one of two tables, so that no stranger can
//! push out what is known of real connections:
//!
//! | the packet is of | remembered under | places |
//! |---|---|---|
//! | an established flow | the flow's key, in [`Table::Flows`] | [`MAX_FLOWS`] |
//! | no established flow: a *stray* | its source, as a [`Stranger`] | [`MAX_STRANGERS`] |
//! | the same, from a source that has sent strays before | its key, in [`Table::Strays`] | [`MAX_STRAYS`], of one source [`CONVERSATIONS`] |
//!
//! All three are LRU maps. A scan of any size is one source, and takes `1 + CONVERSATIONS` places. A flood from invented sources takes one place
//! for each, and none among the conversations, for no source comes twice. No CPU begins more than [`NEW_PER_SECOND`] entries a second, whatever
//! comes; the refusals that found no place are counted ([`Beginnings`]), and cost two lookups.
//!
//! ## Races
//! There is no lock. Two CPUs that refuse packets of one flow at once may lose a count, or keep a snapshot whose sides are of two moments, a
//! microsecond apart. Nothing in the path of a packet is decided by what is here.

mod note;
mod side;
mod stranger;

pub use note::{concerns, note};
pub use side::{Numbers, Side};
pub use stranger::Stranger;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{event::rate::Rate, time::Nanos, verifier};

/// Established flows that are remembered.
pub const MAX_FLOWS: u32 = 4_096;
/// Conversations of strays.
pub const MAX_STRAYS: u32 = 8_192;
/// Sources of strays.
pub const MAX_STRANGERS: u32 = 16_384;
/// Conversations of one source: enough to see whether what a host sends astray are connections, and too few for a scan to fill a table.
pub const CONVERSATIONS: u32 = 8;
/// Entries that one CPU begins in a second, in all tables together. At this rate a flood from invented sources takes a minute to go round the
/// strangers of a machine with two CPUs, and whoever comes again in that time stays.
pub const NEW_PER_SECOND: u32 = 128;

/// Where a refusal is remembered by its flow's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Established flows.
    Flows,
    /// Packets that are of none.
    Strays,
}

/// What is known of the refused packets of one flow, or of one conversation of strays. Times are nanoseconds of the monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Evidence {
    /// When the first packet was refused; 0 for never.
    pub first: u64,
    /// When the last one was.
    pub last: u64,
    /// [`crate::flow::Flow::created`]: tells this connection from an earlier one with the same key. 0 of strays.
    pub created: u64,
    /// Stable number of the flow's rule; [`crate::account::NO_RULE`] of strays.
    pub rule: u16,
    /// Zone of the initiator; of strays, the one the first of them came from.
    pub from_zone: u8,
    /// Zone of the responder; of strays, the one the first of them went to.
    pub to_zone: u8,
    /// [`marks`].
    pub marks: u8,
    /// TCP flags of the first packet that was refused.
    pub first_flags: u8,
    /// Number of the first packet's [`Reason`](crate::reason::Reason).
    pub first_reason: u8,
    /// [`crate::flow::Flow::application`], as it was with the last packet.
    pub application: u8,
    /// What was refused of what the key's low endpoint has sent, and of the high one.
    pub low: Side,
    pub high: Side,
}

/// Bits of [`Evidence::marks`].
pub mod marks {
    /// The flow's initiator is the key's low endpoint; of strays, the sender of the first one is.
    pub const INITIATOR_LOW: u8 = 1 << 0;
    /// A flow that waits for its answer has the strays' key: its SYN has passed here.
    pub const ASKED: u8 = 1 << 1;
    /// The answer to that SYN has passed here, too.
    pub const ANSWERED: u8 = 1 << 2;
}

const _: () = assert!(size_of::<Evidence>() == 320);

impl Evidence {
    /// Sets all of it to zero, word by word: the compiler would make one call of it, to a loop over bytes.
    #[inline(always)]
    fn clear(&mut self) {
        let words: &mut [u32; size_of::<Self>() / size_of::<u32>()] = zerocopy::transmute_mut!(self);
        words.iter_mut().for_each(verifier::clear_word);
    }

    /// What one endpoint has sent.
    #[inline(always)]
    const fn side_mut(&mut self, low: bool) -> &mut Side {
        if low { &mut self.low } else { &mut self.high }
    }

    #[inline(always)]
    #[must_use]
    pub const fn has(&self, mark: u8) -> bool {
        self.marks & mark != 0
    }
}

/// How many entries a CPU has begun in this second, and the refusals for which it would begin no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Beginnings {
    rate: Rate,
    /// Refusals that are not remembered, since the table was made.
    pub missed: u64,
}

impl Beginnings {
    /// True when one more entry may begin now; it is then counted.
    #[inline(always)]
    pub const fn admits(&mut self, now: Nanos) -> bool {
        if self.rate.admits(now, NEW_PER_SECOND) {
            return true;
        }
        self.missed += 1;
        false
    }
}
