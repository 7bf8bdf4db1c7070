//! How many events of a kind may be sent in a second.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::time::Nanos;

/// Length of the spans in which events are counted, in nanoseconds.
const SPAN: u64 = 1_000_000_000;

/// The events of one kind that one CPU has sent in the second that began at `since`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Rate {
    since: u64,
    sent: u64,
}

impl Rate {
    /// True when one more event may be sent now, of `most` per second; it is then counted.
    #[inline(always)]
    pub const fn admits(&mut self, now: Nanos, most: u32) -> bool {
        if now.since(Nanos(self.since)).0 >= SPAN {
            self.since = now.0;
            self.sent = 0;
        }
        if self.sent >= most as u64 {
            return false;
        }
        self.sent += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_in_a_second_and_no_more() {
        let mut rate = Rate::default();
        let begin = Nanos(50 * SPAN);
        assert!((0..3).all(|_| rate.admits(begin, 3)));
        assert!(!rate.admits(begin, 3));
        assert!(!rate.admits(Nanos(begin.0 + SPAN - 1), 3));
        assert!(rate.admits(Nanos(begin.0 + SPAN), 3), "a new second");
        assert!(!rate.admits(Nanos(begin.0 + 2 * SPAN), 0), "no events at all");
    }
}
