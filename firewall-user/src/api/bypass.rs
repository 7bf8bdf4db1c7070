use serde::{Deserialize, Serialize};

use crate::session::Session;

/// Body of `POST /v1/bypass`: a rule with `inspection = "bypass"` to add.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BypassAdd {
    pub name: String,
    pub from: Vec<String>,
    pub to: Vec<String>,
    pub service: Vec<String>,
    /// What its flows must keep proving: `ctcp`, `esp`.
    #[serde(default)]
    pub guard: Vec<String>,
    #[serde(default)]
    pub because: Option<String>,
    /// A date, `2027-06-30`.
    #[serde(default)]
    pub expires: Option<String>,
    #[serde(default)]
    pub idle_timeout: Option<String>,
    /// Rule of the same file the new one goes before; else it goes last.
    #[serde(default)]
    pub before: Option<String>,
    /// Name of a file in the policy directory.
    #[serde(default)]
    pub file: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BypassAdded {
    pub name: String,
    pub file: String,
    pub generation: u32,
    pub warnings: Vec<String>,
    /// When the rule's time is over; null for never.
    #[serde(default)]
    pub expires: Option<String>,
}

/// Body of `DELETE /v1/bypass`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BypassRemove {
    pub name: String,
    /// The SSH session it is asked for in: it is refused when it would cut that.
    #[serde(default)]
    pub session: Option<Session>,
    /// Not even then.
    #[serde(default)]
    pub cut_session: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BypassRemoved {
    pub name: String,
    pub file: String,
    pub generation: u32,
}

/// A bypass rule in force, in `GET /v1/bypass`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BypassRule {
    pub name: String,
    pub file: String,
    pub line: usize,
    pub from: String,
    pub to: String,
    pub service: String,
    /// What its flows must keep proving: `ctcp`, `esp`; empty for nothing.
    #[serde(default)]
    pub guard: Vec<String>,
    pub because: Option<String>,
    pub expires: Option<String>,
    pub expired: bool,
    /// Null without an end, 0 when it is over.
    #[serde(default)]
    pub expires_in_seconds: Option<u64>,
    pub flows: u64,
    pub hits: u64,
    /// When it last decided a first packet, `2027-06-30T18:00:00Z`; null for never.
    #[serde(default)]
    pub last_hit: Option<String>,
    #[serde(default)]
    pub last_hit_seconds_ago: Option<u64>,
    /// Packets of its flows that strict inspection would have dropped.
    #[serde(default)]
    pub needed: u64,
    /// When the last of them came; null for never.
    #[serde(default)]
    pub last_needed: Option<String>,
    #[serde(default)]
    pub last_needed_seconds_ago: Option<u64>,
    /// Drop reason strict inspection would have had for it.
    #[serde(default)]
    pub needed_for: Option<String>,
    /// Since when all this is known.
    #[serde(default)]
    pub known_since: String,
    #[serde(default)]
    pub known_for_seconds: u64,
    /// Since it was last needed, or else for as long as it is known.
    #[serde(default)]
    pub not_needed_for_seconds: u64,
}
