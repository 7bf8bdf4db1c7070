use serde::{Deserialize, Serialize};

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
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct End {
    pub address: std::net::IpAddr,
    pub port: u16,
    pub zone: String,
    pub interface: Option<String>,
}

/// A figure by direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Both {
    /// Sent by the initiator.
    pub to_responder: u64,
    /// Sent by the responder.
    pub to_initiator: u64,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
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
