use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::End;
use crate::{policy::diff::Change, session::Session};

/// Body of `POST /v1/policy/diff`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiffRequest {
    /// Absolute path of the policy that is compared with the one in force.
    pub path: PathBuf,
    /// Compared as if this file of it had been edited.
    #[serde(default)]
    pub edited: Option<Edited>,
    /// Flows that are listed at most; all are counted.
    #[serde(default)]
    pub limit: Option<usize>,
    /// The SSH session it is asked for in.
    #[serde(default)]
    pub session: Option<Session>,
}

/// A file of a policy that is about to be replaced.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edited {
    pub file: PathBuf,
    /// What it will say.
    pub copy: PathBuf,
}

/// What would change with another policy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PolicyDiff {
    /// Where the policy in force was read.
    pub in_force: String,
    pub path: String,
    /// Nothing would change, no live flow either.
    pub same: bool,
    /// In one line.
    pub summary: String,
    pub changes: Vec<Change>,
    pub flows: FlowChanges,
    /// Why the SSH session it was asked for in would be cut; null when it would not.
    pub cuts_session: Option<String>,
    pub warnings: Vec<String>,
}

/// Live flows that the other policy would judge otherwise.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FlowChanges {
    /// Live flows, all of which were judged.
    pub live: u64,
    /// Those that would be cut.
    pub cut: u64,
    /// Those that the policy in force is about to cut and the other would not.
    pub spared: u64,
    /// Those that would go on at another inspection level.
    pub inspection: u64,
    /// Those that would go on by another rule.
    pub rule: u64,
    /// The first of them: what is cut before the rest, the busiest first.
    pub listed: Vec<FlowChange>,
}

impl FlowChanges {
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.cut + self.spared + self.inspection + self.rule
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FlowChange {
    pub protocol: String,
    pub initiator: End,
    pub responder: End,
    pub bytes: u64,
    pub change: FlowChangeKind,
    /// By the policy in force.
    pub now: Judged,
    pub then: Judged,
}

/// How a flow's judgement changes; the first that applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlowChangeKind {
    Cut,
    Spared,
    Inspection,
    Rule,
}

/// What a policy says of a flow's first packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// `allow`, `drop` or `reject`.
    pub action: String,
    /// Null when no rule matches.
    pub rule: Option<String>,
    /// Null unless it is allowed.
    pub inspection: Option<String>,
}
