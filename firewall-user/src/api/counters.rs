use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{EventCounters, Mode};

/// `GET /v1/counters`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Counters {
    /// Packets dropped, by reason.
    pub drops: BTreeMap<String, u64>,
    /// Passed and learned from.
    pub passed: u64,
    pub passed_without_learning: u64,
    /// Frames without IP that passed.
    pub link_passed: u64,
    /// Rejected packets that were answered.
    pub answered: u64,
    pub flows_created: u64,
    pub flows_established: u64,
    pub flows_expired: u64,
    pub events: EventCounters,
    pub rules: Vec<RuleCounters>,
    pub tables: BTreeMap<String, TableFill>,
    pub interfaces: Vec<InterfaceCounters>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RuleCounters {
    pub name: String,
    /// First packets the rule decided.
    pub hits: u64,
    /// When it last decided one, `2027-06-30T18:00:00Z`; null for never.
    #[serde(default)]
    pub last_hit: Option<String>,
    #[serde(default)]
    pub last_hit_seconds_ago: Option<u64>,
    /// Live flows it admitted.
    pub flows: u64,
    pub packets: u64,
    pub bytes: u64,
    /// The rule's limits by the name of their key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, LimitUse>,
    /// Whether a rule with hours is in them; left out for rules without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_hours: Option<bool>,
}

/// A limit, and how much of it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitUse {
    pub limit: u32,
    /// Flows that count against it; left out where it is not one number, for rates and limits by source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<u32>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct TableFill {
    pub entries: u64,
    pub capacity: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InterfaceCounters {
    pub name: String,
    pub zone: String,
    pub mode: Mode,
    /// Packets dropped at this interface, by reason.
    pub drops: BTreeMap<String, u64>,
    /// Received and sent.
    pub packets: u64,
    pub bytes: u64,
    pub dropped: u64,
    pub received_packets: u64,
    pub received_bytes: u64,
    pub received_dropped: u64,
    pub sent_packets: u64,
    pub sent_bytes: u64,
    pub sent_dropped: u64,
}
