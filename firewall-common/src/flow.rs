//! Flow state: the key, and the record both directions of a connection share.
//!
//! Two tables hold [`Flow`]s under a [`FlowKey`]: *embryonic* (an LRU map: a flood may churn it) and *established* (a plain hash the
//! kernel never evicts from). A record is changed in place and never written whole.
//!
//! ## Two CPUs, one flow
//! The two directions of a flow may be on two CPUs at once. An established record is only changed under its lock
//! (`bpf_spin_lock` in the kernel), so every step sees what the other direction's last step left. An embryonic record has no lock (the
//! kernel allows none in an LRU map): its packets are a handshake and come one after the other; the race that remains is a repeated SYN
//! or SYN-ACK beside its original. Both write the same numbers; a packet counter may miss one.
//!
//! While one CPU copies a flow to the established table, the other may teach the old record something. Whoever finds the copy there after
//! it has taught teaches the copy as well; and whoever made the copy reads the old record once more, after the copy is to be found
//! ([`crate::track::carry`]). Only a store that a CPU holds back for longer than the whole insert takes could be missed by both.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{seq::Seq, time::Nanos, verifier::opaque};

/// Number of the layout of every pinned map. Raise it with any change of a map's key or value.
pub const LAYOUT_VERSION: u32 = 5;

/// An address of either family: 16 bytes in network order, IPv4 as `::ffff:a.b.c.d` (RFC 4291 §2.5.5.2).
///
/// A packet on the wire never carries such an IPv6 address (they are dropped as martians), so the families cannot be confused. The bytes
/// are kept as two words, each as the machine loads it, so that the kernel copies and compares words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Address([u64; 2]);

impl Address {
    /// Bytes 8 to 11 of every IPv4 address.
    const V4_MARK: [u8; 4] = [0, 0, 0xff, 0xff];

    #[inline(always)]
    #[must_use]
    pub const fn v4(octets: [u8; 4]) -> Self {
        let [m, n, o, p] = Self::V4_MARK;
        let [a, b, c, d] = octets;
        Self([0, u64::from_ne_bytes([m, n, o, p, a, b, c, d])])
    }

    /// The IPv4 address whose four bytes were loaded as one word.
    #[inline(always)]
    #[must_use]
    pub const fn from_v4_word(word: u32) -> Self {
        let [a, b, c, d] = word.to_ne_bytes();
        Self::v4([a, b, c, d])
    }

    /// The address whose bytes were loaded as two words, see [`Self::words`].
    #[inline(always)]
    #[must_use]
    pub const fn from_words(words: [u64; 2]) -> Self {
        Self(words)
    }

    /// The address with these bytes, in network order.
    #[inline(always)]
    #[must_use]
    pub const fn new(octets: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = octets;
        Self([u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u64::from_ne_bytes([i, j, k, l, m, n, o, p])])
    }

    /// The bytes in network order.
    #[inline(always)]
    #[must_use]
    pub const fn octets(&self) -> [u8; 16] {
        let [a, b, c, d, e, f, g, h] = self.0[0].to_ne_bytes();
        let [i, j, k, l, m, n, o, p] = self.0[1].to_ne_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }

    /// The two words as they lie in memory: network order.
    #[inline(always)]
    #[must_use]
    pub const fn words(&self) -> [u64; 2] {
        self.0
    }

    #[inline(always)]
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        self.0[0] == 0 && self.0[1].to_be() >> 32 == 0xffff
    }

    /// The IPv4 address as a number in host order; meaningless for IPv6.
    #[inline(always)]
    #[must_use]
    pub const fn v4_bits(&self) -> u32 {
        self.0[1].to_be() as u32
    }

    /// The address as a number in host order: sorting by it is sorting by the bytes.
    #[inline(always)]
    #[must_use]
    pub const fn bits(&self) -> u128 {
        (self.0[0].to_be() as u128) << 64 | self.0[1].to_be() as u128
    }

    /// The upper and the lower half in host order.
    #[inline(always)]
    #[must_use]
    pub const fn halves(&self) -> (u64, u64) {
        (self.0[0].to_be(), self.0[1].to_be())
    }
}

/// One end of a flow. `port` is in host order; zero for protocols without ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Endpoint {
    pub address: Address,
    pub port: u16,
}

/// Key of a flow: the two endpoints in canonical order, so that one lookup serves both directions.
///
/// Ports are in network byte order. For ICMP echo both ports hold the identifier. 40 bytes, no padding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FlowKey {
    pub low: Address,
    pub high: Address,
    pub low_port: [u8; 2],
    pub high_port: [u8; 2],
    /// IP protocol number.
    pub protocol: u8,
    pub reserved: [u8; 3],
}

/// Who sent a packet of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    Initiator,
    Responder,
}

/// What one endpoint of a flow has sent. For TCP all numbers are this endpoint's own: `end`, `isn` count its bytes; `edge`, `ack`
/// and `max_window` are what it told the other side. For IPsec [`crate::track::ipsec`] says what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Peer {
    pub packets: u64,
    /// Bytes of whole IP packets.
    pub bytes: u64,
    /// Highest sequence end sent (sequence number after the last byte, SYN and FIN counted).
    pub end: u32,
    /// Right edge granted to the other endpoint: the highest of acknowledgement plus window.
    pub edge: u32,
    /// Largest window advertised, in bytes.
    pub max_window: u32,
    /// Highest acknowledgement sent.
    pub ack: u32,
    /// Initial sequence number.
    pub isn: u32,
    /// Window shift, at most 14; counts only when both endpoints offered one.
    pub scale: u8,
    /// [`peer_flags`].
    pub flags: u8,
    pub zero_windows: u16,
    pub retransmitted: u16,
    /// Times a segment began past `end`: a hole opened before this point.
    pub gaps: u16,
    pub duplicate_acks: u16,
    /// Largest segment its SYN said it takes, or the protocol's default; 0 while no SYN of it has been seen.
    pub mss: u16,
}

/// In place of a window shift: the SYN offered none.
pub const NO_SCALE: u8 = 0xff;

/// Bits of [`Peer::flags`].
pub mod peer_flags {
    /// It has sent a SYN.
    pub const SYN: u8 = 1 << 0;
    /// Its SYN has been acknowledged.
    pub const SYN_ACKED: u8 = 1 << 1;
    /// It has sent a FIN.
    pub const FIN: u8 = 1 << 2;
    /// Its FIN has been acknowledged.
    pub const FIN_ACKED: u8 = 1 << 3;
    /// Its SYN offered window scaling.
    pub const SCALE_OFFERED: u8 = 1 << 4;
    /// Its numbers are not known: the next segment teaches them (a flow that comes back from bypass).
    pub const RELEARN: u8 = 1 << 5;
    /// It answered a SYN with a SYN-ACK.
    pub const SYN_ACK: u8 = 1 << 6;
    /// It answered a SYN with a pure acknowledgement of something else (RFC 5961 §4).
    pub const CHALLENGED: u8 = 1 << 7;
    /// Its numbers were learned in mid-stream: it may have sent more than `end` says. Shares its bit with [`CHALLENGED`], which counts
    /// only before the handshake is done.
    pub const MIDSTREAM: u8 = 1 << 7;
}

/// One connection. Multi-byte fields are in host order; times are nanoseconds of the monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Flow {
    /// The kernel's `bpf_spin_lock` in the established table; nothing else may read or write it.
    pub lock: u32,
    /// Generation of the policy that last judged this flow.
    pub generation: u32,
    pub last_seen: u64,
    /// Idle time after which the flow is gone, in milliseconds.
    pub timeout: u32,
    /// Stable number of the rule that admitted the flow.
    pub rule: u16,
    /// [`State`] as a number.
    pub state: u8,
    /// [`Inspection`] as a number.
    pub inspection: u8,
    /// [`flow_flags`].
    pub flags: u8,
    pub from_zone: u8,
    pub to_zone: u8,
    /// Place of the interface the initiator is behind, plus one; 0 for the box itself or when unknown.
    pub initiator_interface: u8,
    /// [`FlowKey::identity`] of the record's key: the kernel may give a removed record's memory to another flow while a packet still
    /// holds it, and the packet must notice.
    pub identity: u32,
    /// Place of the rule's entry in the policy of `generation`.
    pub entry: u16,
    /// As `initiator_interface`, for the responder.
    pub responder_interface: u8,
    /// Window shift offered by the SYN in `pending`; [`NO_SCALE`] for none.
    pub pending_scale: u8,
    /// Packets that `strict` would have refused and `tolerant` or `bypass` let pass; stays at its maximum.
    pub tolerated: u16,
    /// [`features`]: what its SYNs negotiated and what is done to its segments.
    pub features: u8,
    /// [`flow_marks`].
    pub marks: u8,
    pub initiator: Peer,
    pub responder: Peer,
    // From here on a packet of an established flow needs nothing: what it does need is the fewer cache lines for it.
    pub created: u64,
    /// Time from the first packet to the first that confirms both sides, in microseconds; 0 when unknown.
    pub handshake_micros: u32,
    /// Initial sequence number of a SYN, or of a second SYN-ACK, that waits for the packet which confirms it. Under bypass also since
    /// when the connection has been closed: see [`crate::track::shadow`].
    pub pending: u32,
    /// What the flow carries, an [`Application`](crate::application::Application) as a number; 0 when that is not known.
    pub application: u8,
    /// Packets that were looked at to find out.
    pub looks: u8,
    /// How far the flow's guard has come, as a number; 0 without one.
    pub guard: u8,
    /// What speaks for an application so far: see [`mod@crate::application::learn`] and [`crate::application::behaviour`].
    pub signs: u8,
    /// What the next sign is held against.
    pub mark: u32,
    /// Time from the first packet to the SYN-ACK, in microseconds; 0 when unknown, and when one of the handshake came twice.
    pub answer_micros: u32,
    pub reserved: u32,
}

/// Bits of [`Flow::flags`].
pub mod flow_flags {
    /// The initiator is the key's low endpoint.
    pub const INITIATOR_LOW: u8 = 1 << 0;
    /// The responder has answered.
    pub const REPLIED: u8 = 1 << 1;
    /// A reset has been accepted.
    pub const RESET: u8 = 1 << 2;
    /// `Flow::pending` holds the sequence number of a SYN the initiator sent on a live flow.
    pub const PENDING_SYN: u8 = 1 << 3;
    /// `Flow::pending` holds the sequence number of a second, different SYN-ACK.
    pub const PENDING_SYN_ACK: u8 = 1 << 4;
    /// An established bypass flow of which only one direction has been seen: it counts against its rule's quota.
    pub const ONE_SIDED: u8 = 1 << 5;
    /// A FIN or RST was seen on a bypass flow: its timer is short.
    pub const CLOSING: u8 = 1 << 6;
    /// A reset that may not have been accepted has shortened the timer; the next packet that is learned from restores it.
    pub const SHORTENED: u8 = 1 << 7;
}

/// Bits of [`Flow::marks`].
pub mod flow_marks {
    /// The flow has ended, and that has been told to those who listened then: see [`crate::event`].
    pub const OVER: u8 = 1 << 0;
    /// Nothing out of the ordinary is known of the flow: see [`crate::track::steady`].
    pub const STEADY: u8 = 1 << 1;
    /// The flow counts against its rule's limits: see [`crate::limit`].
    pub const LIMITED: u8 = 1 << 2;
    /// Its end is told to the controller, whether or not somebody listens.
    pub const LOGGED: u8 = 1 << 3;
    /// Four bits: the state strict inspection would have a bypass flow in, see [`crate::track::shadow`].
    pub const SHADOW: u8 = 0xf0;
}

/// Bits of [`Flow::features`].
pub mod features {
    /// The initiator's SYN carried an MD5 signature (RFC 2385).
    pub const MD5_INITIATOR: u8 = 1 << 0;
    /// The responder's SYN-ACK did.
    pub const MD5_RESPONDER: u8 = 1 << 1;
    /// The initiator's SYN offered timestamps (RFC 7323 §3).
    pub const TIMESTAMPS_INITIATOR: u8 = 1 << 2;
    /// The responder's SYN-ACK did.
    pub const TIMESTAMPS_RESPONDER: u8 = 1 << 3;
    /// Sequence numbers are shifted in both directions, from the SYN on and for good.
    pub const RANDOMIZED: u8 = 1 << 4;
    /// What the flow carries is being looked for, in its packets' data: see [`crate::application`].
    pub const LOOKED_AT: u8 = 1 << 5;
}

/// Where a flow is in its life. Numbers are part of the map layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// TCP: the initiator's SYN has passed.
    SynSent = 1,
    /// TCP: both have sent a SYN, neither a SYN-ACK that was accepted (simultaneous open).
    SynSentBoth = 2,
    /// TCP: the SYN-ACK has passed.
    SynReceived = 3,
    /// TCP: both SYNs are acknowledged.
    Established = 4,
    /// TCP: one side has sent a FIN.
    FinWait = 5,
    /// TCP: one side's FIN is acknowledged, the other still sends.
    HalfClosed = 6,
    /// TCP: both have sent a FIN, not both are acknowledged.
    LastAck = 7,
    /// TCP: both FINs are acknowledged.
    TimeWait = 8,
    /// TCP: a reset has closed it.
    Closed = 9,
    /// Not TCP: one direction seen.
    Single = 10,
    /// Not TCP: both directions seen.
    Stream = 11,
    /// TCP under bypass: no state is kept.
    Bypass = 12,
}

impl State {
    pub const ALL: [Self; 12] = [
        Self::SynSent,
        Self::SynSentBoth,
        Self::SynReceived,
        Self::Established,
        Self::FinWait,
        Self::HalfClosed,
        Self::LastAck,
        Self::TimeWait,
        Self::Closed,
        Self::Single,
        Self::Stream,
        Self::Bypass,
    ];

    /// The stable name shown to people and programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SynSent => "syn-sent",
            Self::SynSentBoth => "syn-sent-both",
            Self::SynReceived => "syn-received",
            Self::Established => "established",
            Self::FinWait => "fin-wait",
            Self::HalfClosed => "half-closed",
            Self::LastAck => "last-ack",
            Self::TimeWait => "time-wait",
            Self::Closed => "closed",
            Self::Single => "single",
            Self::Stream => "stream",
            Self::Bypass => "bypass",
        }
    }

    #[inline(always)]
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::SynSent,
            2 => Self::SynSentBoth,
            3 => Self::SynReceived,
            4 => Self::Established,
            5 => Self::FinWait,
            6 => Self::HalfClosed,
            7 => Self::LastAck,
            8 => Self::TimeWait,
            9 => Self::Closed,
            10 => Self::Single,
            11 => Self::Stream,
            12 => Self::Bypass,
            _ => return None,
        })
    }
}

/// How strictly a flow is inspected. Numbers are part of the map layout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Inspection {
    /// Everything is enforced.
    #[default]
    Strict = 0,
    /// The right edge of the window is learned and counted, not enforced.
    Tolerant = 1,
    /// TCP is treated like UDP: no handshake, no sequence numbers, no state machine.
    Bypass = 2,
}

impl Inspection {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Tolerant => "tolerant",
            Self::Bypass => "bypass",
        }
    }

    /// The level the tracker is asked at: under bypass what it says does not count, and it is asked as under strict.
    #[inline(always)]
    #[must_use]
    pub fn of_tracker(self) -> Self {
        // By a mask and not by a comparison, which would be one more thing for the verifier to tell paths apart by.
        Self::from_number(opaque(self as u32 & Self::Tolerant as u32) as u8)
    }

    /// Unknown numbers are read as the strictest level.
    #[inline(always)]
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Tolerant,
            2 => Self::Bypass,
            _ => Self::Strict,
        }
    }
}

impl FlowKey {
    /// The key of a packet from `source` to `destination`, and whether `source` is its low endpoint.
    #[must_use]
    pub fn new(protocol: u8, source: Endpoint, destination: Endpoint) -> (Self, bool) {
        let mut key = Self {
            low: source.address,
            high: destination.address,
            low_port: source.port.to_be_bytes(),
            high_port: destination.port.to_be_bytes(),
            protocol,
            reserved: [0; 3],
        };
        let source_is_low = key.order();
        (key, source_is_low)
    }

    /// Puts the endpoints, source first, into canonical order: by address, then by port. True when the source is the low one.
    #[inline(always)]
    pub fn order(&mut self) -> bool {
        let (low, high) = (self.low.halves(), self.high.halves());
        let ordered = if low.0 != high.0 {
            low.0 < high.0
        } else if low.1 != high.1 {
            low.1 < high.1
        } else {
            u16::from_be_bytes(self.low_port) <= u16::from_be_bytes(self.high_port)
        };
        if !ordered {
            (self.low, self.high) = (self.high, self.low);
            (self.low_port, self.high_port) = (self.high_port, self.low_port);
        }
        ordered
    }

    /// A digest of the key that tells two flows apart well enough to notice a record that changed hands.
    #[inline(always)]
    #[must_use]
    pub fn identity(&self) -> u32 {
        // The ports and the protocol are the last word.
        let [a, b, c, d, e]: [u64; 5] = zerocopy::transmute!(*self);
        let mixed = (a ^ b.wrapping_mul(5) ^ (c << 1) ^ d.wrapping_mul(9) ^ e.rotate_left(16)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 32) as u32
    }

    /// True when one of the ports is 0.
    #[inline(always)]
    #[must_use]
    pub fn has_port_zero(&self) -> bool {
        // Loaded with the last word, as it was written for the lookup.
        let [.., last]: [u64; 5] = zerocopy::transmute!(*self);
        let ports = last.to_be() >> 32;
        ports >> 16 == 0 || ports & 0xffff == 0
    }

    #[must_use]
    pub fn low_endpoint(&self) -> Endpoint {
        Endpoint { address: self.low, port: u16::from_be_bytes(self.low_port) }
    }

    #[must_use]
    pub fn high_endpoint(&self) -> Endpoint {
        Endpoint { address: self.high, port: u16::from_be_bytes(self.high_port) }
    }
}

impl Flow {
    /// Both endpoints: the sender of a packet first, the other one second.
    #[inline(always)]
    #[must_use]
    pub fn peers_mut(&mut self, sender: Sender) -> (&mut Peer, &mut Peer) {
        match sender {
            Sender::Initiator => (&mut self.initiator, &mut self.responder),
            Sender::Responder => (&mut self.responder, &mut self.initiator),
        }
    }

    /// Who sent a packet whose source is (or is not) the key's low endpoint.
    #[inline(always)]
    #[must_use]
    pub const fn sender(&self, source_is_low: bool) -> Sender {
        if source_is_low == (self.flags & flow_flags::INITIATOR_LOW != 0) { Sender::Initiator } else { Sender::Responder }
    }

    #[inline(always)]
    #[must_use]
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The way from here to the side that sent a packet and back, as the handshake told it, in microseconds; 0 when unknown.
    #[inline(always)]
    #[must_use]
    pub const fn handshake_round_trip(&self, sender: Sender) -> u32 {
        match sender {
            Sender::Initiator if self.answer_micros != 0 => self.handshake_micros.saturating_sub(self.answer_micros),
            Sender::Initiator => 0,
            Sender::Responder => self.answer_micros,
        }
    }

    /// True when the flow's idle time is over: it must be treated as if it were not there.
    ///
    /// `scale` is the share of every timeout that applies, in 1/256 (see [`crate::config::Config::timeout_scale`]).
    #[inline(always)]
    #[must_use]
    pub const fn expired(&self, now: Nanos, scale: u32) -> bool {
        // No sum of the two is past 64 bits before the machine has been up for centuries.
        now.0 > self.last_seen.wrapping_add(self.lifetime(scale).0)
    }

    /// The idle time that applies under `scale`.
    #[inline(always)]
    #[must_use]
    pub const fn lifetime(&self, scale: u32) -> Nanos {
        Nanos((self.timeout as u64 * scale as u64 / 256) * Nanos::MILLISECOND)
    }
}

impl Peer {
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    #[inline(always)]
    #[must_use]
    pub const fn end(&self) -> Seq {
        Seq(self.end)
    }

    #[inline(always)]
    #[must_use]
    pub const fn edge(&self) -> Seq {
        Seq(self.edge)
    }

    #[inline(always)]
    #[must_use]
    pub const fn ack(&self) -> Seq {
        Seq(self.ack)
    }

    #[inline(always)]
    #[must_use]
    pub const fn isn(&self) -> Seq {
        Seq(self.isn)
    }
}

const _: () = assert!(size_of::<FlowKey>() == 40);
const _: () = assert!(size_of::<Peer>() == 48);
const _: () = assert!(size_of::<Flow>() == 168);
