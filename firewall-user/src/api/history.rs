use serde::{Deserialize, Serialize};

/// A policy that was applied, in `GET /v1/policy/history`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    pub number: u64,
    /// When it was applied.
    pub time: String,
    pub how: How,
    /// Who asked for it; null when nobody did.
    pub uid: Option<u32>,
    pub user: Option<String>,
    /// Directory or file it was read from.
    pub path: String,
    pub rules: usize,
    pub state: PolicyState,
    /// What it changed.
    pub summary: String,
}

/// What put a policy in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// The daemon's start.
    Start,
    Apply,
    /// `weir bypass`.
    Bypass,
    /// `weir advise --apply`.
    Advise,
    /// SIGHUP.
    Reload,
    /// Its files changed.
    Watch,
}

/// What became of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyState {
    InForce,
    /// In force, but not for long unless it is confirmed.
    Unconfirmed,
    /// Another one was applied.
    Replaced,
    /// It was taken back, or not confirmed in time.
    RolledBack,
}

impl How {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Apply => "apply",
            Self::Bypass => "bypass",
            Self::Advise => "advise",
            Self::Reload => "reload",
            Self::Watch => "watch",
        }
    }
}

impl PolicyState {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InForce => "in force",
            Self::Unconfirmed => "unconfirmed",
            Self::Replaced => "replaced",
            Self::RolledBack => "rolled back",
        }
    }
}

/// `GET /v1/policy/history/N`: a policy of the history.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShownPolicy {
    #[serde(flatten)]
    pub entry: HistoryEntry,
    /// The policy in its canonical form.
    pub text: String,
}
