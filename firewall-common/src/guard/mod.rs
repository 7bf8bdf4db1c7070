//! Stage *guard*: a bypass only for what proves that it is IPsec, and for as long as it does.
//!
//! A rule with `inspection = "bypass"` may name guards; `esp` may stand on rules for ESP, AH and ESP in UDP too.
//!
//! | guard | what it does |
//! |---|---|
//! | `ctcp` | the flow begins under strict inspection. Once segments with data carry the trailer of IPsec over TCP ([`crate::wire::ctcp`]) its inspection becomes bypass; from then on a segment with data that carries none is refused, and when it stops being such a stream it goes back to strict: [`proof`] |
//! | `esp` | SPI and sequence number of every packet are in the clear and must follow a window like the receiver's own ([`association`]), in both directions ([`side`]). IKE beside it passes by its header, so many a second |
//!
//! The stage stands before tracking, where a packet is refused before the record or its shadow learns from it ([`check()`]), and after it,
//! where a packet that has passed teaches the guard ([`learn`]). A refused packet teaches nothing. A flow with a guard never takes the short
//! way of [`crate::track::steady`].
//!
//! State is in the record ([`proof`], one byte) and in a table beside it: one [`Guard`] for each established flow under such a rule. A flood of
//! first packets has none of it: before both sides were heard a packet is judged by its shape alone, and under `ctcp` it must be a SYN.
//!
//! ## What is not seen
//! A datagram in fragments is judged by its first one, whose trailer, being in the last, is not seen: under `ctcp` it is refused once the flow
//! is proven. Where a device or the box's own stack joins segments into one packet, the guard sees the first one's ESP header and the last one's
//! trailer.

pub mod association;
mod carried;
pub mod check;
pub mod proof;
pub mod side;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    account::{Event, NO_RULE, Outcome},
    env::Env,
    event::Kind as Told,
    flow::Inspection,
    parse::Kind,
    rule::{Rule, rule_flags},
    verdict::Verdict,
    visit::Visit,
};
use side::Side;

pub use check::{check, learn};

/// What is remembered of a guarded flow beside its record; it goes with it.
///
/// It is changed under its lock. Two CPUs with the same packet at the same moment may both let it pass, for it is asked before tracking and
/// taken after: then the receiver's own window stands behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Guard {
    /// The kernel's `bpf_spin_lock`; nothing else may read or write it.
    pub lock: u32,
    /// Which guards last asked, in [`wants`].
    pub wants: u32,
    /// What the key's low endpoint has sent, and the high one.
    pub low: Side,
    pub high: Side,
}

impl Guard {
    #[inline(always)]
    #[must_use]
    pub const fn side(&self, low: bool) -> &Side {
        if low { &self.low } else { &self.high }
    }

    #[inline(always)]
    #[must_use]
    pub const fn side_mut(&mut self, low: bool) -> &mut Side {
        if low { &mut self.low } else { &mut self.high }
    }

    /// A direction's side, and the other one's.
    #[inline(always)]
    pub const fn sides_mut(&mut self, low: bool) -> (&mut Side, &mut Side) {
        if low { (&mut self.low, &mut self.high) } else { (&mut self.high, &mut self.low) }
    }

    /// Notes which guards ask now. Where guard `esp` was not among those before, or the flow was under none (`watched` is false), nobody has
    /// followed its associations meanwhile: what is known of them is forgotten. Another CPU's packet of that same moment may still be held
    /// to it.
    #[inline(always)]
    pub const fn asked(&mut self, kinds: u32, watched: bool) {
        // What has just been made has not been asked by anybody.
        let followed = watched && (self.wants == 0 || self.wants & wants::ESP as u32 != 0);
        if kinds & wants::ESP as u32 != 0 && !followed {
            self.low.begin_anew();
            self.high.begin_anew();
        }
        self.wants = kinds;
    }

    /// Lets time pass for it.
    #[cfg(any(test, feature = "memory"))]
    pub fn grow_older(&mut self, by: crate::time::Nanos) {
        for side in [&mut self.low, &mut self.high] {
            for moment in [&mut side.current.seen, &mut side.previous.seen, &mut side.next.seen, &mut side.renewed, &mut side.ike_since] {
                if *moment != 0 {
                    *moment = moment.saturating_sub(by.0).max(1);
                }
            }
        }
    }

    /// The same without what two clocks make different.
    #[cfg(feature = "memory")]
    #[must_use]
    pub const fn timeless(mut self) -> Self {
        self.lock = 0;
        let mut low = true;
        loop {
            let side = self.side_mut(low);
            (side.current.seen, side.previous.seen, side.next.seen) = (0, 0, 0);
            (side.renewed, side.ike_since) = ((side.renewed != 0) as u64, 0);
            if !low {
                return self;
            }
            low = false;
        }
    }
}

const _: () = assert!(size_of::<Guard>() == 248);

/// What the stage has found out about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Look {
    /// SPI and sequence number of the ESP or AH packet, with [`Saw::Security`].
    pub spi: u32,
    pub sequence: u32,
    /// What a refused packet's number was compared with: see [`Side::expected`].
    pub expected: u32,
    /// [`wants`]; 0 while the stage has not been asked for.
    pub wants: u8,
    /// [`Saw`] as a number.
    pub saw: u8,
    /// [`Turn`] as a number; 0 when the flow stayed as it was.
    pub turned: u8,
    pub reserved: u8,
}

impl Look {
    pub const NONE: Self = Self { spi: 0, sequence: 0, expected: 0, wants: 0, saw: 0, turned: 0, reserved: 0 };
}

/// Bits of [`Look::wants`].
pub mod wants {
    pub const CTCP: u8 = 1 << 0;
    pub const ESP: u8 = 1 << 1;
    /// The packet's flow is established: it has a window.
    pub const ESTABLISHED: u8 = 1 << 2;
}

/// What a packet carries, as far as its flow's guards ask for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Saw {
    /// Nothing that could be judged: no data, or a keepalive.
    Nothing = 0,
    /// ESP or AH.
    Security = 1,
    /// An IKE message.
    Ike = 2,
    /// Something else, under `ctcp` on a flow that is inspected strictly: it passes by that.
    Other = 3,
}

impl Saw {
    /// True for what proves that the stream is IPsec over TCP.
    #[inline(always)]
    #[must_use]
    pub const fn proves(number: u8) -> bool {
        number == Self::Security as u8 || number == Self::Ike as u8
    }
}

/// What becomes of a flow under guard `ctcp`. Numbers are part of the event record's layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Turn {
    /// It has proven to be IPsec over TCP: bypass from here on.
    Proven = 1,
    /// Both sides have sent data without the trailer: strict again.
    NoTrailer = 2,
    /// A new connection was begun in its place: strict again.
    Handshake = 3,
}

impl Turn {
    pub const ALL: [Self; 3] = [Self::Proven, Self::NoTrailer, Self::Handshake];

    /// The stable name shown to people and programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Proven => "proven",
            Self::NoTrailer => "no-trailer",
            Self::Handshake => "new-handshake",
        }
    }

    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|turn| *turn as u8 == number)
    }
}

/// The level that a rule's flow begins with.
#[inline(always)]
#[must_use]
pub const fn first_level(rule: &Rule, kind: Kind) -> u8 {
    if rule.flags & rule_flags::GUARD_CTCP != 0 && matches!(kind, Kind::Tcp) { Inspection::Strict as u8 } else { rule.inspection }
}

/// Whether the rule asks for a look at the packet; notes what for. `established` is true for a flow of that table.
#[inline(always)]
pub fn asks(visit: &mut Visit, rule: &Rule, established: bool) -> bool {
    if rule.flags & rule_flags::GUARDED == 0 || visit.guard.wants != 0 {
        return false;
    }
    let mut asked = 0;
    if rule.flags & rule_flags::GUARD_CTCP != 0 && matches!(visit.descriptor.kind, Kind::Tcp) {
        asked |= wants::CTCP;
    }
    if rule.flags & rule_flags::GUARD_ESP != 0 {
        asked |= wants::ESP;
    }
    visit.guard.wants = if established { asked | wants::ESTABLISHED } else { asked };
    asked != 0
}

/// Forgets what a rule asked for: the packet is to be judged as a first one, maybe by another.
#[inline(always)]
pub const fn begin_anew(visit: &mut Visit) {
    // One by one: a run of zeros becomes a loop over its bytes.
    visit.guard.wants = 0;
    visit.guard.saw = 0;
}

/// Tells those who listen that the packet has changed what its flow is under. Its record must still be there.
#[inline(always)]
pub fn tell<E: Env>(env: &E, visit: &mut Visit) {
    if visit.settings.event_kinds & Told::Guard.bit() != 0 {
        env.report(visit, &mut Outcome::new(Verdict::NoLearn, NO_RULE, Event::Guard));
    }
}
