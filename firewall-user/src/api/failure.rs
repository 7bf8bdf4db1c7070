//! What went wrong, as the daemon tells it and as `weir` ends.

use serde::{Deserialize, Serialize};

/// A failure a person can act on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{error}")]
pub struct Failure {
    pub error: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    pub kind: Kind,
}

/// What sort of failure it is: decides the HTTP status and the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The request itself is wrong.
    Usage,
    /// A policy is wrong; nothing changed.
    Policy,
    /// What the request names does not exist.
    NotFound,
    /// It cannot be done in the state things are in.
    Conflict,
    /// It would cut the SSH session it is asked for in; with `cut_session` it is done.
    CutsSession,
    /// The caller may not.
    Permission,
    /// It was tried and did not work.
    Failed,
}

impl Kind {
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self {
            Self::Usage => 400,
            Self::Permission => 403,
            Self::NotFound => 404,
            Self::Conflict | Self::CutsSession => 409,
            Self::Policy => 422,
            Self::Failed => 500,
        }
    }

    /// 2 for wrong usage or a bad policy, 1 for the rest.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Usage | Self::Policy => 2,
            Self::NotFound | Self::Conflict | Self::CutsSession | Self::Permission | Self::Failed => 1,
        }
    }
}

impl Failure {
    #[must_use]
    pub fn new(kind: Kind, error: impl Into<String>) -> Self {
        Self { error: error.into(), hint: None, kind }
    }

    #[must_use]
    pub fn usage(error: impl Into<String>) -> Self {
        Self::new(Kind::Usage, error)
    }

    #[must_use]
    pub fn failed(error: impl Into<String>) -> Self {
        Self::new(Kind::Failed, error)
    }

    /// Error and hint in one line, for places that show but one.
    #[must_use]
    pub fn sentence(&self) -> String {
        match &self.hint {
            Some(hint) => format!("{}: {hint}", self.error),
            None => self.error.clone(),
        }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
