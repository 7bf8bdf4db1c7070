use serde::{Deserialize, Serialize};

use super::{Loss, OneSided};

/// One live flow, as `weir flows --json` prints it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Flow {
    /// `tcp`, `udp`, `icmp`, `icmpv6`, `esp`, `ah`, `gre`, or the protocol's number.
    pub protocol: String,
    pub initiator: End,
    pub responder: End,
    pub state: String,
    pub inspection: String,
    /// Rule that admitted it.
    pub rule: String,
    /// What the flow carries, where that is known: `ctcp`, `fake-tcp`, `ike-tcp`, `ike`, `nat-t`, `esp`, `ah` or `ipsec-udp`.
    pub application: Option<String>,
    /// Letters in the manner of the ASA's `show conn`.
    pub flags: String,
    pub packets: Both,
    pub bytes: Both,
    pub rates: Rate,
    pub age_seconds: f64,
    pub idle_seconds: f64,
    pub expires_in_seconds: f64,
    pub quality: Quality,
    /// Under bypass: packets that strict inspection would have dropped, at most 65535. 0 at other levels.
    #[serde(default)]
    pub needed: u16,
    /// Of ESP and AH, also in UDP; null while no SPI has been seen.
    pub ipsec: Option<Ipsec>,
    /// Only one side of it comes by; null while both do, or it is too young to tell.
    #[serde(default)]
    pub one_sided: Option<OneSided>,
    /// What the guards of its rule know of it; null without one, and until a packet has met them.
    #[serde(default)]
    pub guard: Option<FlowGuard>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct End {
    pub address: std::net::IpAddr,
    pub port: u16,
    pub zone: String,
    pub interface: Option<String>,
}

/// What a flow's guards remember.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowGuard {
    /// `ctcp`, `esp`.
    pub kinds: Vec<String>,
    /// Under `ctcp`: it has proven to be IPsec over TCP, and is bypassed. Null under other guards.
    pub proven: Option<bool>,
    /// Under `esp`: the association in use.
    pub spi: Associations,
    pub previous_spi: Associations,
    /// One that has begun and is not in use yet.
    pub next_spi: Associations,
    /// Highest ESP or AH sequence number of the one in use, the lower half of an extended one.
    pub sequence: Associations,
    /// Packets refused.
    pub refused: Both,
}

/// A figure by direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Both {
    /// Sent by the initiator.
    pub to_responder: u64,
    /// Sent by the responder.
    pub to_initiator: u64,
}

impl std::ops::AddAssign for Both {
    fn add_assign(&mut self, other: Self) {
        self.to_responder = self.to_responder.saturating_add(other.to_responder);
        self.to_initiator = self.to_initiator.saturating_add(other.to_initiator);
    }
}

impl Both {
    #[must_use]
    pub const fn sum(self) -> u64 {
        self.to_responder.saturating_add(self.to_initiator)
    }
}

/// Per second, over about the last second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    pub packets: Both,
    pub bytes: Both,
}

/// A figure by endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PerPeer {
    pub initiator: u16,
    pub responder: u16,
}

/// What the path did to the flow, seen without touching it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    pub retransmitted: PerPeer,
    /// Holes that opened before this point.
    pub gaps: PerPeer,
    pub duplicate_acks: PerPeer,
    pub zero_windows: PerPeer,
    /// First packet to the one that confirmed both sides; null when unknown.
    pub handshake_milliseconds: Option<f64>,
    /// Packets `strict` would have refused.
    pub tolerated: u16,
    /// Null for flows whose packets have no numbers to tell it by.
    #[serde(default)]
    pub loss: Option<LossByDirection>,
    #[serde(default)]
    pub round_trip_milliseconds: RoundTrip,
}

/// Where packets are lost, by direction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LossByDirection {
    /// Of what the initiator sends.
    pub to_responder: Loss,
    /// Of what the responder sends.
    pub to_initiator: Loss,
}

/// From Weir to each end and back; null while it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RoundTrip {
    pub initiator: Option<f64>,
    pub responder: Option<f64>,
}

/// The security associations of a flow, as its packets tell them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipsec {
    pub spi: Associations,
    /// Those before the last change.
    pub previous_spi: Associations,
    /// Highest sequence numbers.
    pub sequence: Associations,
    /// How often an SPI has changed, in both directions together.
    pub rekeys: u32,
}

/// A number by direction; null while there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Associations {
    /// Of what the initiator sends.
    pub to_responder: Option<u32>,
    /// Of what the responder sends.
    pub to_initiator: Option<u32>,
}

/// Answer of `DELETE /v1/flows`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Killed {
    pub killed: u64,
}
