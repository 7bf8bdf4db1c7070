//! Passive quality: where a flow's packets are lost, seen from the middle of their way without touching one.
//!
//! Weir lies between both ends, so a loss is either *before* it, on the sender's side, or *behind* it, on the receiver's:
//!
//! | what is seen | what it means |
//! |---|---|
//! | a segment beyond what was expected: a hole; later a repetition fills it | lost before |
//! | the same, and what fills it was only overtaken | reordered ([`hole`] tells the two apart) |
//! | the same, and nothing ever fills it, of a stream that repeats nothing (IPsec over TCP, ESP) | lost before |
//! | data comes again that had passed | lost behind, or needlessly sent again |
//! | data comes again that its receiver has acknowledged here, or reports to have twice (RFC 2883) | needlessly sent again |
//!
//! Two things cannot be seen from here: the last data of a burst, lost before, which comes again as if it were new; and what is lost behind
//! of a stream whose ends neither repeat nor complain.
//!
//! A flow has a [`Quality`] from the first thing out of the ordinary on. All of that takes the long way anyway: an ordinary segment of a
//! steady flow ([`crate::track::steady`]) costs nothing for it, and is not looked at.
//!
//! Nothing is decided by any of it: it may be wrong without harm. There is no lock, as with a
//! [history](crate::normalize::history): both directions may be at work in one record on two CPUs, each word is whole, and a count may miss one.

mod answers;
mod arrivals;
pub mod hole;
pub mod record;
pub mod summary;

use crate::{
    env::Env,
    flow::{Peer, peer_flags},
    packet::Packet,
    parse::{Descriptor, Kind},
    seq::Seq,
    time::Nanos,
    verifier::load_u32,
    visit::Visit,
    wire::{
        be32,
        tcp::{self, Segment, flags, marks},
    },
};

pub use hole::Hole;
pub use record::{Quality, Side};

/// What the flow's record said of both ends before the packet was taken into it; see [`Peer`] for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Numbers {
    pub end: u32,
    pub ack: u32,
    pub edge: u32,
    pub isn: u32,
    /// [`peer_flags`] of the packet's sender, and of its receiver.
    pub flags: u8,
    pub other_flags: u8,
    pub scale: u8,
    pub reserved: u8,
    /// The receiver's `end` and `ack`.
    pub other_end: u32,
    pub other_ack: u32,
    /// From here to the sender and back, as the handshake told it: microseconds, 0 for unknown.
    pub round_trip: u32,
}

impl Numbers {
    pub const NONE: Self = Self {
        end: 0,
        ack: 0,
        edge: 0,
        isn: 0,
        flags: 0,
        other_flags: 0,
        scale: 0,
        reserved: 0,
        other_end: 0,
        other_ack: 0,
        round_trip: 0,
    };

    #[inline(always)]
    pub const fn take(&mut self, from: &Peer, to: &Peer, round_trip: u32) {
        self.round_trip = round_trip;
        self.end = from.end;
        self.ack = from.ack;
        self.edge = from.edge;
        self.isn = from.isn;
        self.flags = from.flags;
        self.other_flags = to.flags;
        self.scale = from.scale;
        self.other_end = to.end;
        self.other_ack = to.ack;
    }

    /// True when what one end has sent is known: after bypass its first segment has yet to tell.
    #[inline(always)]
    const fn known(flags: u8) -> bool {
        flags & (peer_flags::SYN | peer_flags::RELEARN) == peer_flags::SYN
    }
}

/// Bits of what is out of the ordinary in a segment.
pub mod notes {
    /// It begins past what was expected.
    pub const GAP: u8 = 1 << 0;
    /// Some of its data is not new.
    pub const AGAIN: u8 = 1 << 1;
    /// It acknowledges what was acknowledged, while there is more.
    pub const DUPLICATE: u8 = 1 << 2;
    /// It closes its sender's window.
    pub const ZERO_WINDOW: u8 = 1 << 3;
}

/// What is out of the ordinary in a segment: [`notes`].
#[inline(always)]
#[must_use]
pub const fn of_segment(segment: &Segment, selective: bool, numbers: &Numbers) -> u8 {
    const CONTROL: u8 = flags::SYN | flags::RST;
    if segment.flags & CONTROL != 0 {
        return 0;
    }
    let mut notes = 0;
    if segment.window == 0 {
        notes |= notes::ZERO_WINDOW;
    }
    if segment.length != 0 {
        let end = segment.seq.add(segment.length);
        // One byte that ends where the data ends is a keep-alive (RFC 9293 §3.8.4).
        let probe = segment.length == 1 && end.0 == numbers.end;
        if !Numbers::known(numbers.flags) || probe {
            return notes;
        }
        if segment.seq.after(Seq(numbers.end)) {
            notes |= notes::GAP;
        } else if segment.seq.before(Seq(numbers.end)) {
            notes |= notes::AGAIN;
        }
        return notes;
    }
    let outstanding = Numbers::known(numbers.other_flags) && Seq(numbers.other_end).after(segment.ack);
    // An update of the window is none, unless it says what else has arrived.
    let edge = segment.ack.add((segment.window as u32) << (numbers.scale & 0x0f));
    let same = selective || edge.0 == numbers.edge;
    if segment.ack.0 == numbers.ack && outstanding && same && !segment.has(flags::FIN) && segment.window != 0 {
        notes |= notes::DUPLICATE;
    }
    notes
}

/// True for a packet that may tell something: a whole segment, or one of a security association.
#[inline(always)]
#[must_use]
pub fn concerns(descriptor: &Descriptor) -> bool {
    !descriptor.piece.more && (matches!(descriptor.kind, Kind::Tcp) || descriptor.security().is_some())
}

/// A packet on its way past: when, and what its timestamp option says (RFC 7323 §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    pub now: Nanos,
    /// TSval; counts with `timed`.
    pub timestamp: u32,
    /// TSecr; likewise.
    pub echo: u32,
    pub timed: bool,
}

/// Takes a packet that passes, of an established flow, into what is known of its flow's quality.
#[inline(always)]
pub fn observe<P: Packet, E: Env>(packet: &P, env: &E, visit: &Visit) {
    let (descriptor, numbers) = (&visit.descriptor, &visit.numbers);
    if !matches!(descriptor.kind, Kind::Tcp) {
        of_association(env, visit);
        return;
    }
    let selective = descriptor.options.has(marks::SACK);
    let notes = of_segment(&descriptor.segment, selective, numbers);
    if notes == 0 && !selective {
        return;
    }
    let moment = moment(packet, env, descriptor);
    let _ = env.with_quality(&descriptor.key, true, |quality| {
        let (from, to) = quality.sides_mut(descriptor.source_is_low);
        if notes & notes::ZERO_WINDOW != 0 {
            from.zero_windows = from.zero_windows.wrapping_add(1);
        }
        answers::take(from, to, descriptor, notes, &moment);
        if notes & notes::GAP != 0 {
            arrivals::gap(from, Seq(numbers.end), descriptor.segment.seq, descriptor.segment.length, &moment);
        } else if notes & notes::AGAIN != 0 {
            arrivals::again(from, &descriptor.segment, numbers, &moment);
        }
    });
}

#[inline(always)]
fn moment<P: Packet, E: Env>(packet: &P, env: &E, descriptor: &Descriptor) -> Moment {
    // To the microsecond: a hole may be filled within one tick of the coarse clock.
    let mut moment = Moment { now: env.precise_now(), timestamp: descriptor.options.timestamp, echo: 0, timed: false };
    if !descriptor.options.has(marks::TIMESTAMPS) {
        return moment;
    }
    moment.timed = true;
    // The echo is read where senders of today put it, first in the list.
    if let Some(list) = packet.read::<12>(descriptor.at + tcp::HEADER)
        && load_u32::<0, _>(list) == u32::from_ne_bytes(tcp::TIMESTAMP_ONLY)
    {
        moment.echo = be32::<8, _>(list);
    }
    moment
}

/// A packet of ESP or AH, which are never sent again: its number tells what was lost before, and what was overtaken.
#[inline(always)]
fn of_association<E: Env>(env: &E, visit: &Visit) {
    let Some(security) = visit.descriptor.security() else { return };
    let numbers = &visit.numbers;
    if numbers.isn != security.spi {
        return;
    }
    let expected = Seq(numbers.end).add(1);
    let (early, late) = (security.sequence.after(expected), security.sequence.before(expected));
    if !early && !late {
        return;
    }
    let moment = Moment { now: env.precise_now(), ..Moment::default() };
    // What is late may be a replay: only where something is missing does it say anything.
    let _ = env.with_quality(&visit.descriptor.key, early, |quality| {
        let (from, _) = quality.sides_mut(visit.descriptor.source_is_low);
        if early {
            arrivals::gap(from, expected, security.sequence, 1, &moment);
        } else {
            arrivals::overtaken(from, security.sequence, &moment);
        }
    });
}
