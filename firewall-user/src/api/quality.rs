use serde::{Deserialize, Serialize};

/// What the ways of packets are told apart by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// The interfaces on both sides.
    #[default]
    Interface,
    /// Those, and the rule.
    Rule,
}

impl By {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Interface => "interface",
            Self::Rule => "rule",
        }
    }
}

/// `GET /v1/quality`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QualityReport {
    pub by: By,
    /// What `total` covers: since the daemon counts.
    pub seconds: u64,
    /// What `recent` covers.
    pub recent_seconds: u64,
    /// The ways packets take, the one with the most losses first. Each direction is one of its own.
    pub ways: Vec<Way>,
}

/// Packets from one side of Weir to another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Way {
    /// The rule whose flows they are of; null unless asked by rule.
    pub rule: Option<String>,
    pub from: Place,
    pub to: Place,
    pub total: Figures,
    pub recent: Figures,
    /// From Weir to the ends on each side and back: the median over the live flows of which it is known; null where it is of none.
    pub round_trip_milliseconds: Ends,
}

/// A side of Weir.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub zone: String,
    /// Null for the box itself, and for an interface that is attached no more.
    pub interface: Option<String>,
}

/// A time by side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ends {
    pub from: Option<f64>,
    pub to: Option<f64>,
}

/// Losses of what was sent one way, and what they are told by. Counts are of packets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    pub packets: u64,
    #[serde(flatten)]
    pub loss: Loss,
    /// Holes that opened before Weir.
    pub gaps: u64,
    /// Data that was not new.
    pub retransmitted: u64,
    /// Sent this way, of what comes the other.
    pub duplicate_acks: u64,
    pub zero_windows: u64,
}

/// Where packets of one direction are lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// `nowhere`, `before`, `behind`, `both`, or `unknown`.
    pub lost: String,
    /// Lost between the sender and Weir.
    pub before: u64,
    pub before_percent: f64,
    /// Lost between Weir and the receiver.
    pub behind: u64,
    pub behind_percent: f64,
    /// Sent again though it had arrived.
    pub needless: u64,
    /// Came late, and was not lost.
    pub reordered: u64,
    /// Sent again, and why cannot be told.
    pub unclear: u64,
}
