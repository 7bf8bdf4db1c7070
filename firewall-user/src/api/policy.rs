use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::session::Session;

/// Times a new policy may be given to be confirmed, in seconds.
pub const CONFIRM_SECONDS: std::ops::RangeInclusive<u32> = 1..=3600;

/// Body of `POST /v1/policy/apply`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    /// Absolute path of a policy directory or file, as the daemon sees it.
    pub path: PathBuf,
    /// Unless it is confirmed within this time, the policy before comes back.
    #[serde(default)]
    pub confirm_seconds: Option<u32>,
    /// The SSH session the change is asked for in: it is refused when it would cut that.
    #[serde(default)]
    pub session: Option<Session>,
    /// Not even then.
    #[serde(default)]
    pub cut_session: bool,
}

/// Body of `POST /v1/policy/rollback`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// Number in the history; else the policy before the one in force.
    #[serde(default)]
    pub number: Option<u64>,
    /// Unless it is confirmed within this time, the policy before comes back.
    #[serde(default)]
    pub confirm_seconds: Option<u32>,
    /// The SSH session the change is asked for in: it is refused when it would cut that.
    #[serde(default)]
    pub session: Option<Session>,
    /// Not even then.
    #[serde(default)]
    pub cut_session: bool,
}

/// A policy took effect.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Applied {
    pub path: String,
    pub generation: u32,
    pub rules: usize,
    /// Number in the history; null when it could not be kept there.
    pub number: Option<u64>,
    pub warnings: Vec<String>,
    /// What is still to be done about it; null without `confirm_seconds`.
    pub confirmation: Option<Confirmation>,
}

/// A policy waits to be confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// Number of the policy in force.
    pub number: u64,
    /// Number of the policy that comes back.
    pub previous: u64,
    /// Time left, rounded up.
    pub seconds_left: u64,
}

/// Answer of `POST /v1/policy/confirm`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Confirmed {
    pub number: u64,
}

/// `GET /v1/policy`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PolicyInForce {
    pub path: String,
    pub generation: u32,
    pub rules: Vec<RuleInForce>,
    /// The policy in its canonical form.
    pub text: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RuleInForce {
    pub name: String,
    pub file: String,
    pub line: usize,
    pub from: String,
    pub to: String,
    pub service: String,
    pub enabled: bool,
    pub action: String,
    pub inspection: String,
    /// What its flows must keep proving: `ctcp`, `esp`; left out for nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guard: Vec<String>,
    /// Its normalizer profile; null for a rule that makes no flow.
    pub normalizer: Option<String>,
    pub because: Option<String>,
    pub expires: Option<String>,
    pub expired: bool,
    /// The hours it is kept to, as the policy writes them; left out for none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hours: Vec<String>,
    /// Whether it is in them now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_hours: Option<bool>,
    pub hits: u64,
    /// When it last decided a first packet, `2027-06-30T18:00:00Z`; null for never.
    #[serde(default)]
    pub last_hit: Option<String>,
    #[serde(default)]
    pub last_hit_seconds_ago: Option<u64>,
    pub flows: u64,
}
