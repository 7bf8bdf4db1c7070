//! What the normalizer remembers of an established flow beyond its record: timestamps (PAWS, RFC 7323 §5) and hop limits. Only flows whose
//! profile asks for it have such a history; it goes with its flow.
//!
//! There is no lock: each field is one aligned word, and the directions have their own. Two CPUs with packets of one direction at once may
//! both store: then the later store stays, which is the value of a packet that did pass.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    env::Env,
    flow::features,
    normalize::{WITH_MEMORY, changes, checks},
    reason::Reason,
    seq::Seq,
    time::Nanos,
    visit::Visit,
    wire::tcp::{flags, marks},
};

/// A timestamp older than this says nothing (RFC 7323 §5.5): the clock behind it may have gone half round.
const VOID_AFTER: Nanos = Nanos(24 * 86_400 * 1_000_000_000);

/// One flow's history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct History {
    /// When it began: tells this flow from an earlier one with the same key.
    pub begun: u64,
    /// What the key's low endpoint has sent, and the high one.
    pub low: Side,
    pub high: Side,
}

/// One direction of a flow.
///
/// A segment is not refused for being overtaken: packets change places, and of those that a firewall lets pass it cannot know which arrive. So
/// its timestamp is compared with what was TS.Recent of the receiver (RFC 7323 §4.3) some time ago, and of that two values are on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Side {
    /// Since when `recent` is gathered; 0 for never.
    pub since: u64,
    /// The latest of the timestamps that count, from `since` on.
    pub recent: u32,
    /// The latest before `since`.
    pub previous: u32,
    /// The latest `OVERTAKING` before `since`.
    pub settled: u32,
    /// Lowest hop limit seen; 0 for none.
    pub hop_limit: u8,
    pub reserved: [u8; 3],
}

/// How long a packet may be on its way beside those that overtake it.
const OVERTAKING: Nanos = Nanos(1_000_000_000);
/// As far before a side's first timestamp nothing is refused: a second of the fastest clocks there are, whose tick is a microsecond.
const BEFORE_FIRST: u32 = 1 << 20;

impl Side {
    /// True when a timestamp is older than one that counted a while ago.
    #[inline(always)]
    const fn is_past(&self, timestamp: u32, now: Nanos) -> bool {
        self.is_valid(now) && Seq(timestamp).before(Seq(self.at(now).settled))
    }

    #[inline(always)]
    const fn is_valid(&self, now: Nanos) -> bool {
        self.since != 0 && now.since(Nanos(self.since)).0 <= VOID_AFTER.0
    }

    /// The side as time has left it: its values move on when they have been gathered for long enough.
    #[inline(always)]
    const fn at(&self, now: Nanos) -> Self {
        let age = now.since(Nanos(self.since)).0;
        if age < OVERTAKING.0 {
            *self
        } else if age < 2 * OVERTAKING.0 {
            Self { since: now.0, previous: self.recent, settled: self.previous, ..*self }
        } else {
            Self { since: now.0, previous: self.recent, settled: self.recent, ..*self }
        }
    }

    /// Takes a timestamp that counts.
    #[inline(always)]
    const fn take(&mut self, timestamp: u32, now: Nanos) {
        if !self.is_valid(now) {
            let nothing = timestamp.wrapping_sub(BEFORE_FIRST);
            *self = Self { since: now.0, recent: timestamp, previous: nothing, settled: nothing, ..*self };
            return;
        }
        *self = self.at(now);
        self.recent = Seq(self.recent).max(Seq(timestamp)).0;
    }
}

impl History {
    #[inline(always)]
    fn side(&mut self, low: bool) -> &mut Side {
        if low { &mut self.low } else { &mut self.high }
    }

    /// Lets time pass for it, in tests that have no other way to.
    #[cfg(any(test, feature = "memory"))]
    pub fn grow_older(&mut self, by: Nanos) {
        for side in [&mut self.low, &mut self.high] {
            if side.since != 0 {
                side.since = side.since.saturating_sub(by.0).max(1);
            }
        }
    }
}

/// True for a segment whose timestamp counts: both SYNs offered them, and a reset's is never judged (RFC 7323 §5.2).
#[inline(always)]
const fn is_timed(visit: &Visit) -> bool {
    const BOTH: u8 = features::TIMESTAMPS_INITIATOR | features::TIMESTAMPS_RESPONDER;
    visit.edits.wants(checks::TIMESTAMPS)
        && visit.edits.features & BOTH == BOTH
        && visit.descriptor.options.has(marks::TIMESTAMPS)
        && !visit.descriptor.segment.has(flags::RST)
}

/// Judges a segment by its flow's history, which begins here if it has not.
///
/// # Errors
/// [`Reason::TcpPawsFail`], [`Reason::HistoryInsertFailed`].
#[inline(always)]
pub fn check<E: Env>(env: &E, visit: &mut Visit) -> Result<(), Reason> {
    if !visit.edits.wants(WITH_MEMORY) {
        return Ok(());
    }
    let (low, now) = (visit.descriptor.source_is_low, visit.now);
    // An acknowledgement without data that a later one has overtaken is not refused: endpoints of today heed it, and it brings nothing in.
    let judged = is_timed(visit) && visit.descriptor.segment.end() != visit.descriptor.segment.seq;
    let timestamp = visit.descriptor.options.timestamp;
    let found = env.with_history(&visit.descriptor.key, |history| {
        let side = history.side(low);
        (judged && side.is_past(timestamp, now), side.hop_limit)
    });
    let Some((past, lowest)) = found else {
        return env.insert_history(&visit.descriptor.key, &History { begun: now.0, ..History::default() });
    };
    if past {
        return Err(Reason::TcpPawsFail);
    }
    if visit.edits.wants(checks::TTL_EVASION) && lowest != 0 && visit.descriptor.hop_limit > lowest {
        visit.edits.hop_limit = lowest;
        visit.edits.changes |= changes::HOP_LIMIT;
    }
    Ok(())
}

/// Takes a segment that has passed into its flow's history.
#[inline(always)]
pub fn remember<E: Env>(env: &E, visit: &Visit, last_ack: u32) {
    let (descriptor, now) = (&visit.descriptor, visit.now);
    let timed = is_timed(visit) && !descriptor.segment.seq.after(Seq(last_ack));
    let _ = env.with_history(&descriptor.key, |history| {
        let side = history.side(descriptor.source_is_low);
        if side.hop_limit == 0 || descriptor.hop_limit < side.hop_limit {
            side.hop_limit = descriptor.hop_limit;
        }
        if timed && !side.is_past(descriptor.options.timestamp, now) {
            side.take(descriptor.options.timestamp, now);
        }
    });
}

const _: () = assert!(size_of::<History>() == 56);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const DAY: u64 = 86_400 * SECOND;

    fn side(timestamps: &[(u64, u32)]) -> Side {
        let mut side = Side::default();
        timestamps.iter().for_each(|&(at, timestamp)| side.take(timestamp, Nanos(at)));
        side
    }

    #[test]
    fn a_timestamp_wraps_and_grows_void() {
        let side = side(&[(DAY, 5)]);
        let now = Nanos(2 * DAY);
        assert!(side.is_past(4, now) && side.is_past(u32::MAX, now));
        assert!(!side.is_past(5, now) && !side.is_past(6, now) && !side.is_past(5 + 0x7fff_ffff, now));
        assert!(side.is_past(4, Nanos(25 * DAY)));
        assert!(!side.is_past(4, Nanos(25 * DAY + 1)));
        assert!(!Side::default().is_past(u32::MAX, now));
    }

    #[test]
    fn what_was_overtaken_just_now_passes_and_what_was_long_ago_does_not() {
        // A timestamp every tenth of a second, for three.
        let timestamps: Vec<_> = (0..30).map(|tenth| (DAY + u64::from(tenth) * SECOND / 10, 100 + tenth)).collect();
        let side = side(&timestamps);
        let now = Nanos(DAY + 29 * SECOND / 10);
        for back in 0..=10 {
            assert!(!side.is_past(129 - back, now), "overtaken {back} tenths of a second ago");
        }
        assert!((21..30).all(|back| side.is_past(129 - back, now)));
        assert!(side.is_past(128, Nanos(now.0 + 2 * SECOND)), "time goes on without packets too");
    }
}
