use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Body of `POST /v1/policy/apply`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    /// Absolute path of a policy directory or file, as the daemon sees it.
    pub path: PathBuf,
}

/// A policy took effect.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Applied {
    pub path: String,
    pub generation: u32,
    pub rules: usize,
    pub warnings: Vec<String>,
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
    /// Its normalizer profile; null for a rule that makes no flow.
    pub normalizer: Option<String>,
    pub because: Option<String>,
    pub expires: Option<String>,
    pub expired: bool,
    pub hits: u64,
    pub flows: u64,
}
