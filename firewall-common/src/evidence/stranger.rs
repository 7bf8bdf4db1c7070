//! What is known of a source that has sent strays: packets of no established flow that only such a flow may have.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::CONVERSATIONS;
use crate::{time::Nanos, visit::Visit, wire::tcp::flags};

/// A source. Destinations and ports are sets of 64 places each, to tell a few of them from many ([`Stranger::about`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Stranger {
    /// When its first stray came; 0 for never.
    pub first: u64,
    pub last: u64,
    /// Addresses it has sent strays to.
    pub destinations: u64,
    /// Ports it has sent them to, and from.
    pub destination_ports: u64,
    pub source_ports: u64,
    pub packets: u32,
    /// Of these: with data,
    pub data: u32,
    /// and resets.
    pub resets: u32,
    /// Conversations of it that have been begun to be remembered, at most [`CONVERSATIONS`].
    pub conversations: u32,
}

const _: () = assert!(size_of::<Stranger>() == 56);

impl Stranger {
    /// Takes a stray in. True when its conversation may be remembered: from the second stray on, and not of more than [`CONVERSATIONS`].
    #[inline(always)]
    pub(super) fn see(&mut self, visit: &Visit, now: Nanos) -> bool {
        let descriptor = &visit.descriptor;
        let known = self.packets > 0;
        if !known {
            self.first = now.0;
        }
        self.last = now.0;
        self.packets = self.packets.saturating_add(1);
        if descriptor.segment.length > 0 {
            self.data = self.data.saturating_add(1);
        }
        if descriptor.segment.has(flags::RST) {
            self.resets = self.resets.saturating_add(1);
        }
        let (one, other) = descriptor.destination().halves();
        self.destinations |= place(one ^ other.rotate_left(32) ^ other);
        self.destination_ports |= place(u64::from(descriptor.destination_port()));
        self.source_ports |= place(u64::from(descriptor.source_port()));
        known && self.conversations < CONVERSATIONS
    }

    /// About how many different things made this set: exact for the first few, and 64 or more when it is full (linear counting,
    /// Whang, Vander-Zanden and Taylor 1990).
    #[must_use]
    pub fn about(set: u64) -> u32 {
        let empty = set.count_zeros();
        if empty == 0 {
            return 64 * 5;
        }
        // 64 · ln(64 / empty), in sixteenths of a bit: no fractions, for this crate has none in the kernel.
        let mut number = 0_u32;
        let mut filled = 64_u32;
        while filled > empty {
            // Each further thing fills its share of what is empty; summed up, that is the logarithm.
            number += 64 * 16 / filled;
            filled -= 1;
        }
        number.div_ceil(16)
    }
}

/// One bit of 64 for a number.
#[inline(always)]
const fn place(number: u64) -> u64 {
    1 << (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(numbers: impl Iterator<Item = u64>) -> u64 {
        numbers.fold(0, |set, number| set | place(number))
    }

    #[test]
    fn a_few_are_told_from_many() {
        assert_eq!(Stranger::about(0), 0);
        assert_eq!(Stranger::about(set([443].into_iter())), 1);
        assert_eq!(Stranger::about(set([443, 8080].into_iter())), 2);
        let hundred = Stranger::about(set(1..=100));
        assert!((40..=320).contains(&hundred), "{hundred}");
        assert!(Stranger::about(set(1..=1000)) >= 64);
    }
}
