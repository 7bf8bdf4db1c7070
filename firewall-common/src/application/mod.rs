//! What a flow carries, of those things that matter to IPsec: cTCP, RFC 9329, IKE, NAT traversal, ESP, AH, Cisco's IPsec over UDP, and TCP that
//! is none.
//!
//! It is shown, and decides nothing here. A flow is looked at when it begins, and only then:
//!
//! | application | what tells it |
//! |---|---|
//! | `ike` | UDP/500, and the first datagram is an IKE header that counts its bytes right (RFC 7296 §3.1) |
//! | `nat-t` | UDP/4500: the same behind four zero bytes (RFC 3948 §2.2), or three datagrams of ESP |
//! | `ipsec-udp` | one of the policy's ports (10000 unless it says otherwise), and three datagrams of ESP |
//! | `esp`, `ah` | the IP protocol |
//! | `ctcp` | one of the policy's TCP ports (10000), and the first three segments with data end in cTCP's trailer and begin as it says |
//! | `ike-tcp` | one of the policy's TCP ports (4500), and the initiator's stream begins with `IKETCP` (RFC 9329 §3) |
//! | `fake-tcp` | any port: what its ends do is not TCP, see [`behaviour`] |
//!
//! Three datagrams *of ESP* have an SPI that may be used, the same one from each side, and a sequence number that moves. Three trailers have
//! numbers that differ one from the next. One segment of the first three that does not fit, and the flow is not cTCP for good: NDMP,
//! which has the same port, begins with messages of its own.
//!
//! ## Where
//! A flow on such a port begins with [`features::LOOKED_AT`](crate::flow::features::LOOKED_AT) in its record. While that is there, a packet with
//! data is read ([`look()`]) before it is tracked, as stage *normalize* reads one, and what was seen goes into the record afterwards
//! ([`learn()`]), under its lock, if the packet passed. After a few packets it is known or given up, and the flow costs no more than another.
//! Flows on other ports are never looked at.

pub mod behaviour;
pub mod learn;
pub mod look;
pub mod settings;

use crate::{
    account::Outcome,
    parse::{Descriptor, Kind},
    reason::Reason,
    seq::Seq,
    verdict::Verdict,
    visit::Visit,
    wire::{protocol, tcp::flags, udp},
};

pub use learn::learn;
pub use look::look;
pub use settings::Applications;

/// What a flow carries. Numbers are part of the record's layout; 0 is for everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Application {
    /// IPsec over TCP as Cisco's clients speak it: [`crate::wire::ctcp`].
    Ctcp = 1,
    /// A tunnel that only looks like TCP: it sends nothing twice, or heeds no window.
    FakeTcp = 2,
    /// IKE and ESP over real TCP (RFC 9329, before it RFC 8229).
    IkeTcp = 3,
    Ike = 4,
    /// IKE and ESP through address translation (RFC 3947, RFC 3948).
    NatT = 5,
    Esp = 6,
    Ah = 7,
    /// Cisco's older encapsulation: ESP in UDP without IKE beside it.
    IpsecUdp = 8,
}

impl Application {
    pub const ALL: [Self; 8] = [Self::Ctcp, Self::FakeTcp, Self::IkeTcp, Self::Ike, Self::NatT, Self::Esp, Self::Ah, Self::IpsecUdp];

    /// The stable name shown to people and programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ctcp => "ctcp",
            Self::FakeTcp => "fake-tcp",
            Self::IkeTcp => "ike-tcp",
            Self::Ike => "ike",
            Self::NatT => "nat-t",
            Self::Esp => "esp",
            Self::Ah => "ah",
            Self::IpsecUdp => "ipsec-udp",
        }
    }

    /// What a record's number says; `None` while it is not known.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|application| *application as u8 == number)
    }
}

/// What a look at a packet, and its flow's record, tell of it. All zero: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Sight {
    /// [`sights`].
    pub seen: u16,
    /// With [`sights::SIGN`]: a digest of what stays the same in its direction, or 0 where nothing does. Otherwise with [`sights::AGAIN`], once
    /// that is learned: a digest of the data's first bytes, or 0 where there are too few.
    pub tag: u16,
    /// The [`Application`] that this packet alone proves, as a number, or 0.
    pub application: u8,
    /// With [`sights::SIGN`]: the lowest byte of the number that counts its packets.
    pub number: u8,
}

/// Bits of [`Sight::seen`].
pub mod sights {
    /// The flow's port is one that is looked at.
    pub const CANDIDATE: u16 = 1 << 0;
    /// There was data, and it was looked at.
    pub const LOOKED: u16 = 1 << 1;
    /// It has the form of what the port is for: met a few times in a row, it proves it.
    pub const SIGN: u16 = 1 << 2;
    /// Without a sign it disproves nothing.
    pub const GO_ON: u16 = 1 << 3;
    /// It begins past what its sender had sent: a hole.
    pub const GAP: u16 = 1 << 4;
    /// It begins before that: it may fill one.
    pub const AGAIN: u16 = 1 << 5;
    /// It lies past the window of its receiver, and passes under bypass.
    pub const PAST_WINDOW: u16 = 1 << 6;
    /// It acknowledges what its sender had acknowledged before, and no more.
    pub const REPEATS: u16 = 1 << 7;

    /// What [`learn`](super::learn()) has a use for.
    pub const TO_LEARN: u16 = LOOKED | GAP | AGAIN | PAST_WINDOW | REPEATS;
}

impl Sight {
    pub const NOTHING: Self = Self { seen: 0, tag: 0, application: 0, number: 0 };

    #[inline(always)]
    #[must_use]
    pub const fn has(&self, sight: u16) -> bool {
        self.seen & sight != 0
    }
}

/// True for a packet that is looked at, of a flow that is.
#[inline(always)]
#[must_use]
pub const fn has_data(descriptor: &Descriptor) -> bool {
    match descriptor.kind {
        Kind::Tcp => descriptor.segment.length != 0 && descriptor.segment.flags & (flags::SYN | flags::RST) == 0,
        Kind::Udp => descriptor.length > udp::HEADER,
        _ => false,
    }
}

/// True for a first packet whose flow may be one that is looked at. Of the others the IP protocol tells all.
#[inline(always)]
#[must_use]
pub const fn is_looked_for(descriptor: &Descriptor) -> bool {
    matches!(descriptor.kind, Kind::Tcp | Kind::Udp)
}

/// The flow's application as its protocol alone tells it, or 0.
#[inline(always)]
#[must_use]
pub const fn of_protocol(protocol: u8) -> u8 {
    match protocol {
        protocol::ESP => Application::Esp as u8,
        protocol::AH => Application::Ah as u8,
        _ => 0,
    }
}

/// Notes what became of a packet of a known flow, for [`learn()`]: true when that has something to learn.
#[inline(always)]
pub fn note(visit: &mut Visit, outcome: &Outcome) -> bool {
    let segment = &visit.descriptor.segment;
    if !matches!(outcome.verdict, Verdict::Learn) {
        // What is not believed otherwise proves nothing: anybody may have sent it. And what is dropped leaves no trace.
        visit.sight.seen &= !sights::LOOKED;
    }
    if visit.learned && matches!(visit.descriptor.kind, Kind::Tcp) && segment.flags & (flags::SYN | flags::RST | flags::FIN) == 0 {
        visit.sight.seen |= if segment.length == 0 {
            if segment.ack.0 == visit.numbers.ack { sights::REPEATS } else { 0 }
        } else if visit.needed == Reason::TcpSeqPastWindow as u8 {
            sights::PAST_WINDOW
        } else if segment.seq.0 == visit.numbers.end {
            0
        } else if segment.seq.before(Seq(visit.numbers.end)) {
            sights::AGAIN
        } else {
            sights::GAP
        };
    }
    visit.sight.has(sights::TO_LEARN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_one_each() {
        for (index, application) in Application::ALL.into_iter().enumerate() {
            assert_eq!(application as usize, index + 1);
            assert_eq!(Application::from_number(application as u8), Some(application));
            assert_eq!(Application::ALL.iter().filter(|other| other.name() == application.name()).count(), 1);
        }
        assert_eq!(Application::from_number(0), None);
        assert_eq!(Application::from_number(9), None);
    }
}
