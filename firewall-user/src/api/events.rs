use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Both;

/// One line of `GET /v1/events`, and of `weir events --json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Event {
    /// Both sides have confirmed a flow.
    Opened(FlowEvent),
    /// A flow has ended.
    Closed(FlowEvent),
    /// A packet was dropped.
    Dropped(DropEvent),
    /// A logged rule has admitted a flow's first packet.
    Begun(FlowEvent),
    /// A flow under guard `ctcp` has proven itself, or is IPsec over TCP no more: its inspection has changed.
    Guard(FlowEvent),
    /// A source is over a limit of a rule that names a set for such sources.
    Overload(OverloadEvent),
    /// The reader was too slow: events that it asked for are missing.
    Lost(LostEvents),
}

/// A flow that has opened or closed, or whose guard has turned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlowEvent {
    /// RFC 3339, in UTC, to a few milliseconds.
    pub time: String,
    /// Why it has closed; what its guard found: `proven`, `no-trailer` or `new-handshake`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub protocol: String,
    /// The initiator.
    pub source: EventEnd,
    /// The responder.
    pub destination: EventEnd,
    pub rule: String,
    pub state: String,
    pub inspection: String,
    pub packets: Both,
    pub bytes: Both,
    pub age_seconds: f64,
    /// First packet to the one that confirmed both sides; null when unknown.
    pub handshake_milliseconds: Option<f64>,
    /// The rule is logged, and the event stands in the log too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub logged: bool,
}

/// A packet that was dropped. What is null is not known, or there is no such thing in the packet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DropEvent {
    pub time: String,
    pub reason: String,
    pub protocol: Option<String>,
    pub source: EventEnd,
    pub destination: EventEnd,
    /// The rule whose flow it is of, or that decided.
    pub rule: Option<String>,
    /// State of its flow; null without one.
    pub state: Option<String>,
    pub inspection: Option<String>,
    /// Which side of its flow sent it: `initiator` or `responder`.
    pub sender: Option<String>,
    /// Bytes of the IP packet.
    pub length: Option<u32>,
    pub icmp: Option<IcmpMessage>,
    pub segment: Option<DroppedSegment>,
    /// Which number was compared with what, when one decided.
    pub arithmetic: Option<Arithmetic>,
    /// The rule is logged, and the event stands in the log too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub logged: bool,
}

/// A source that is over a limit: told once a second at most for as long as it goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OverloadEvent {
    pub time: String,
    /// The limit, by the reason its packets are dropped for.
    pub reason: String,
    pub protocol: String,
    pub source: EventEnd,
    /// Where the packet that was told of went.
    pub destination: EventEnd,
    pub rule: String,
    /// The set the rule names; null when the policy has changed meanwhile.
    pub set: Option<String>,
    /// How long the source is to stay there.
    pub seconds: Option<u64>,
}

/// One side of an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventEnd {
    pub address: Option<IpAddr>,
    /// 0 for protocols without ports.
    pub port: u16,
    pub zone: Option<String>,
    pub interface: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IcmpMessage {
    #[serde(rename = "type")]
    pub kind: u8,
    pub code: u8,
}

/// The TCP header of a dropped packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedSegment {
    /// Letters in the header's order: `C` CWR, `E` ECE, `U`, `A`, `P`, `R`, `S`, `F`.
    pub flags: String,
    pub seq: u32,
    pub ack: u32,
    /// As in the header, not scaled.
    pub window: u16,
    /// Bytes of data.
    pub payload: u32,
}

/// Why a segment was refused, in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arithmetic {
    /// `seq`, `ack`, or `end`: the number after the last byte. Of a guarded flow `spi` or `esp-seq`.
    pub compared: String,
    pub number: u32,
    /// The range that would have been accepted, both ends included; it may wrap.
    pub lowest: u32,
    pub highest: u32,
    /// How far `number` lies past `highest`; negative when it lies below `lowest`.
    pub distance: i32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostEvents {
    pub time: String,
    /// How many.
    pub events: u64,
}

/// What became of events, as `weir counters` tells it. Only events of a kind that somebody listens to count, and those that
/// are logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventCounters {
    /// Read by the daemon or made by it.
    pub sent: u64,
    /// Held back because there were more than `--event-rate` allows.
    pub limited: u64,
    /// For which there was no room.
    pub lost: u64,
    /// Who listens now.
    pub subscribers: usize,
    /// Lines written to the log of rules with `log = true`, since the daemon started.
    #[serde(default)]
    pub logged: u64,
    /// Lines that could not be written there.
    #[serde(default)]
    pub log_failed: u64,
}
