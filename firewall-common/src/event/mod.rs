//! Events: what somebody who listens is told of flows and of dropped packets, one [`Record`] each.
//!
//! | kind | told when |
//! |---|---|
//! | opened | both sides have confirmed a flow, or a one-sided bypass flow has become established |
//! | closed | a flow ends: by both FINs, by a reset, by its idle time, by a policy that denies it, or because somebody removed it |
//! | dropped | a packet was dropped |
//! | begun | a rule that is logged has admitted a flow's first packet |
//! | guard | a flow under guard `ctcp` has proven to be IPsec over TCP, and is bypassed from now on; or is one no more, and is inspected strictly again |
//! | overload | a source has met one of its limits under a rule that names a set for such sources: once a second at most |
//!
//! What a rule with `log = true` decides over first packets, and the ends of its flows, are told whether or not somebody listens, and so is
//! an overload: the controller acts on them. [`crate::visit::Visit::tell`] says so of a packet, [`marks::LOGGED`] of a record.
//!
//! A flow's end is told once. TCP ends when it reaches time-wait or is reset, however long its record stays; [`flow_marks::OVER`] then
//! says that there is nothing left to tell. Everything else ends with its record, and whoever removes that tells.
//!
//! Nobody builds a record for a kind that nobody listens to, and none beyond the rate that was asked for ([`rate`]); those are counted
//! instead, and so are those that found no room in the ring buffer ([`Tally`]).
//!
//! [`flow_marks::OVER`]: crate::flow::flow_marks::OVER

pub mod evidence;
pub mod rate;
pub mod report;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    account::NO_RULE,
    flow::{Flow, FlowKey, State, flow_flags, flow_marks},
    time::Nanos,
};

/// Number of the record's layout.
pub const RECORD_VERSION: u16 = 1;
/// Bytes of the ring buffer: about seven thousand records.
pub const RING_BYTES: u32 = 1024 * 1024;
/// Events of each kind per second and CPU, unless told otherwise.
pub const DEFAULT_RATE: u32 = 1_000;
/// A zone that is not known.
pub const NO_ZONE: u8 = u8::MAX;

/// What happened. Numbers are part of the record's layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    Opened = 1,
    Closed = 2,
    Dropped = 3,
    Begun = 4,
    Overload = 5,
    Guard = 6,
}

impl Kind {
    pub const ALL: [Self; 6] = [Self::Opened, Self::Closed, Self::Dropped, Self::Begun, Self::Overload, Self::Guard];
    /// Places a table has by number, once for what is listened to and once for what is told anyway.
    pub const SLOTS: usize = 16;
    /// The bits of all kinds.
    pub const EVERY: u32 =
        Self::Opened.bit() | Self::Closed.bit() | Self::Dropped.bit() | Self::Begun.bit() | Self::Overload.bit() | Self::Guard.bit();

    /// Where its rate is counted. What is told anyway has a rate of its own: whoever listens to a flood does not keep it out of the log.
    #[inline(always)]
    #[must_use]
    pub const fn rate_place(self, logged: bool) -> u32 {
        self as u32 + if logged { Self::SLOTS as u32 / 2 } else { 0 }
    }

    /// Its bit in [`crate::config::Config::event_kinds`].
    #[inline(always)]
    #[must_use]
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// Its bit in [`crate::visit::Visit::tell`].
    #[inline(always)]
    #[must_use]
    pub const fn told(self) -> u8 {
        1 << self as u8
    }

    /// The stable name shown to people and programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Closed => "closed",
            Self::Dropped => "dropped",
            Self::Begun => "begun",
            Self::Overload => "overload",
            Self::Guard => "guard",
        }
    }

    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}

/// Why a flow ended, after the ASA's message 302014. Numbers are part of the record's layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Teardown {
    /// Both sides have closed, and both FINs are acknowledged.
    TcpFins = 1,
    /// The initiator has reset it.
    TcpResetI = 2,
    /// The responder has reset it.
    TcpResetO = 3,
    /// The handshake was not completed in time.
    SynTimeout = 4,
    /// A close was begun and not completed in time.
    FinTimeout = 5,
    /// Nothing was sent for its idle time.
    IdleTimeout = 6,
    /// The policy in force no longer allows it.
    Policy = 7,
    /// Somebody removed it.
    Killed = 8,
}

impl Teardown {
    pub const ALL: [Self; 8] = [
        Self::TcpFins,
        Self::TcpResetI,
        Self::TcpResetO,
        Self::SynTimeout,
        Self::FinTimeout,
        Self::IdleTimeout,
        Self::Policy,
        Self::Killed,
    ];

    /// The stable name shown to people and programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TcpFins => "tcp-fins",
            Self::TcpResetI => "tcp-reset-i",
            Self::TcpResetO => "tcp-reset-o",
            Self::SynTimeout => "syn-timeout",
            Self::FinTimeout => "fin-timeout",
            Self::IdleTimeout => "idle-timeout",
            Self::Policy => "policy",
            Self::Killed => "killed",
        }
    }

    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|teardown| *teardown as u8 == number)
    }

    /// Why a flow whose time is over ended.
    #[inline(always)]
    #[must_use]
    pub const fn of_expired(flow: &Flow) -> Self {
        match State::from_number(flow.state) {
            Some(State::SynSent | State::SynSentBoth | State::SynReceived) => Self::SynTimeout,
            Some(State::FinWait | State::HalfClosed | State::LastAck) => Self::FinTimeout,
            Some(State::TimeWait) => Self::TcpFins,
            Some(State::Bypass) if flow.has(flow_flags::CLOSING) => Self::FinTimeout,
            _ => Self::IdleTimeout,
        }
    }
}

/// What of a dropped segment was compared with what was expected. Numbers are part of the record's layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Compared {
    /// No number decided.
    Nothing = 0,
    /// Its sequence number.
    Seq = 1,
    /// Its acknowledgement number.
    Ack = 2,
    /// The number after its last byte.
    End = 3,
    /// The SPI of the ESP or AH packet it carries, with the one in use; it lies nowhere between numbers.
    Spi = 4,
    /// The sequence number of that packet.
    EspSeq = 5,
}

impl Compared {
    pub const ALL: [Self; 6] = [Self::Nothing, Self::Seq, Self::Ack, Self::End, Self::Spi, Self::EspSeq];

    /// The stable name shown to people and programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Seq => "seq",
            Self::Ack => "ack",
            Self::End => "end",
            Self::Spi => "spi",
            Self::EspSeq => "esp-seq",
        }
    }

    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|compared| *compared as u8 == number)
    }
}

/// One event. What is not known is zero, [`NO_RULE`] or [`NO_ZONE`].
///
/// *Source* is the sender of the packet that was dropped; of a flow that opened or closed it is the initiator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Record {
    /// When, on the monotonic clock; to a few milliseconds.
    pub at: u64,
    pub key: FlowKey,
    /// When the flow began.
    pub created: u64,
    /// Packets of initiator and responder.
    pub packets: [u64; 2],
    /// Bytes of initiator and responder.
    pub bytes: [u64; 2],
    /// [`RECORD_VERSION`] of the writer.
    pub version: u16,
    /// [`Kind`] as a number.
    pub kind: u8,
    /// [`Teardown`] as a number when closed, [`crate::reason::Reason`] when dropped, [`crate::guard::Turn`] when a guard has turned.
    pub cause: u8,
    /// Stable number of the rule whose flow it is, or that decided.
    pub rule: u16,
    /// [`State`] of the flow as a number; 0 without a flow.
    pub state: u8,
    /// [`crate::flow::Inspection`] of the flow as a number.
    pub inspection: u8,
    /// [`marks`].
    pub marks: u8,
    /// [`flow_flags`] of the flow.
    pub flow_flags: u8,
    pub source_zone: u8,
    pub destination_zone: u8,
    /// Place of the interface on the source's side, as in [`Flow::initiator_interface`].
    pub source_interface: u8,
    pub destination_interface: u8,
    /// ICMP type and code of the dropped packet; otherwise its destination port in network order.
    pub service: [u8; 2],
    /// As [`Flow::handshake_micros`].
    pub handshake_micros: u32,
    /// Bytes of the dropped IP packet.
    pub length: u32,
    /// The dropped segment's numbers.
    pub seq: u32,
    pub ack: u32,
    /// Its bytes of payload.
    pub payload: u32,
    /// As in its header, not scaled.
    pub window: u16,
    pub tcp_flags: u8,
    /// [`Compared`] as a number.
    pub compared: u8,
    /// The number that was compared, and the lowest and the highest that would have been accepted.
    pub number: u32,
    pub lowest: u32,
    pub highest: u32,
    /// How far `number` lies past `highest`; negative when it lies below `lowest`.
    pub distance: i32,
}

/// Bits of [`Record::marks`].
pub mod marks {
    /// The packet belongs to a flow, or the event is about one.
    pub const FLOW: u8 = 1 << 0;
    /// The source is the key's low endpoint.
    pub const SOURCE_LOW: u8 = 1 << 1;
    /// The flow's responder sent the dropped packet.
    pub const FROM_RESPONDER: u8 = 1 << 2;
    /// The packet's addresses could be read.
    pub const ADDRESSES: u8 = 1 << 3;
    /// The rule is logged.
    pub const LOGGED: u8 = 1 << 4;
}

impl Record {
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, mark: u8) -> bool {
        self.marks & mark != 0
    }

    /// The end of a flow that the controller removed.
    #[must_use]
    pub fn closed(key: FlowKey, flow: &Flow, teardown: Teardown, at: Nanos) -> Self {
        let mut record = Self { key, ..Self::default() };
        record.begin(Kind::Closed, at);
        record.marks |= marks::ADDRESSES;
        record.cause = teardown as u8;
        if flow.marks & flow_marks::LOGGED != 0 {
            record.marks |= marks::LOGGED;
        }
        record.take_flow(flow);
        record.take_ends(flow);
        record
    }

    /// What every record has, in one that is all zero.
    #[inline(always)]
    fn begin(&mut self, kind: Kind, at: Nanos) {
        self.version = RECORD_VERSION;
        self.kind = kind as u8;
        self.at = at.0;
        self.rule = NO_RULE;
        self.source_zone = NO_ZONE;
        self.destination_zone = NO_ZONE;
    }

    /// What a flow's record says of it.
    #[inline(always)]
    fn take_flow(&mut self, flow: &Flow) {
        self.marks |= marks::FLOW;
        self.rule = flow.rule;
        self.state = flow.state;
        self.inspection = flow.inspection;
        self.flow_flags = flow.flags;
        self.created = flow.created;
        self.handshake_micros = flow.handshake_micros;
        self.packets = [flow.initiator.packets, flow.responder.packets];
        self.bytes = [flow.initiator.bytes, flow.responder.bytes];
    }

    /// Who the flow is between: the initiator is the source.
    #[inline(always)]
    fn take_ends(&mut self, flow: &Flow) {
        if flow.has(flow_flags::INITIATOR_LOW) {
            self.marks |= marks::SOURCE_LOW;
        }
        self.source_zone = flow.from_zone;
        self.destination_zone = flow.to_zone;
        self.source_interface = flow.initiator_interface;
        self.destination_interface = flow.responder_interface;
    }
}

/// What became of the events of one CPU. Their sum is the number of events there were while somebody listened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Tally {
    /// Handed to the controller.
    pub sent: u64,
    /// More than the rate allows.
    pub limited: u64,
    /// No room in the ring buffer: the controller was too slow, or not there.
    pub lost: u64,
}

const _: () = assert!(size_of::<Record>() == 144);
const _: () = assert!(size_of::<Tally>() == 24);
