//! A stream of segments of one flow, read from bytes: whatever it is, the record keeps to the rules the search has
//! ([`crate::testing::search`]).

use std::cell::RefCell;

use crate::{
    flow::{Inspection, NO_SCALE},
    seq::Seq,
    testing::{
        script::Side,
        search::{
            FIRST,
            firewall::{Firewall as _, Single},
            rules::{self, Event},
        },
    },
    time::Nanos,
    wire::tcp::{Segment, flags},
};

const LEVELS: [Inspection; 3] = [Inspection::Strict, Inspection::Tolerant, Inspection::Bypass];

thread_local! {
    /// One for each level: making one takes longer than judging a stream.
    static FIREWALLS: RefCell<[Single; 3]> = RefCell::new(LEVELS.map(Single::new));
}

/// Bytes of one segment.
pub const STEP: usize = 10;
const MOST: usize = 64;

/// One segment and the time before it.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub side: Side,
    pub segment: Segment,
    pub wait: Nanos,
}

/// Sequence and acknowledgement number count from the first ones; a bit each makes them count in units of 64 KiB.
#[must_use]
pub fn step(bytes: &[u8; STEP]) -> Step {
    let [choice, set, seq_high, seq_low, ack_high, ack_low, length, window_high, window_low, wait] = *bytes;
    let server = choice & 1 != 0;
    let own = usize::from(server);
    let number = |first: u32, offset: [u8; 2], wide: bool| {
        let offset = i32::from(i16::from_be_bytes(offset));
        Seq(first.wrapping_add(if wide { offset << 16 } else { offset }.cast_unsigned()))
    };
    let ack = if set & flags::ACK == 0 { Seq(0) } else { number(FIRST[1 - own], [ack_high, ack_low], choice & 4 != 0) };
    let scale = if set & flags::SYN == 0 || choice & 8 == 0 { NO_SCALE } else { choice >> 4 };
    let segment = Segment {
        seq: number(FIRST[own], [seq_high, seq_low], choice & 2 != 0),
        ack,
        length: u32::from(length),
        window: u16::from_be_bytes([window_high, window_low]),
        flags: set,
        scale,
    };
    let side = if server { Side::Server } else { Side::Client };
    Step { side, segment, wait: Nanos::from_millis(u32::from(wait) * u32::from(wait) * 100) }
}

/// The first byte names the level, the rest are segments.
pub fn play(input: &[u8]) {
    let Some((level, rest)) = input.split_first() else { return };
    FIREWALLS.with_borrow_mut(|firewalls| {
        let firewall = &mut firewalls[usize::from(*level) % LEVELS.len()];
        firewall.clear();
        play_to(firewall, rest);
    });
}

fn play_to(firewall: &mut Single, stream: &[u8]) {
    let inspection = firewall.inspection();
    for bytes in stream.as_chunks().0.iter().take(MOST) {
        let Step { side, segment, wait } = step(bytes);
        firewall.advance(wait);
        // A record whose time is over is as good as none.
        let before = firewall.record().filter(|(flow, _)| !firewall.expired(flow));
        let verdict = firewall.judge(side, &segment);
        let after = firewall.record().filter(|(flow, _)| !firewall.expired(flow));
        let event = Event { inspection, side, segment: &segment, before, verdict, after };
        rules::check(&event).unwrap_or_else(|broken| panic!("{broken}: {event:?}"));
    }
}
