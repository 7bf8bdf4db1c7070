use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::Failure;

/// How an interface's driver runs the ingress program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// In the driver, before a socket buffer exists.
    Native,
    /// In the network stack: works with every driver, slower.
    Generic,
}

/// The mode a person asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModeRequest {
    /// Native where the driver can, else generic, with a warning.
    #[default]
    Auto,
    Native,
    Generic,
}

impl Mode {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ModeRequest {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "native" => Ok(Self::Native),
            "generic" => Ok(Self::Generic),
            other => Err(Failure::usage(format!("`{other}` is no XDP mode")).hint("modes are auto, native and generic")),
        }
    }
}

/// An interface in `weir status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Interface {
    pub name: String,
    pub index: u32,
    pub zone: String,
    /// The mode in effect.
    pub mode: Mode,
    /// True when native was tried and the driver refused it.
    pub fell_back: bool,
    /// How packets the box itself sends are met: `tcx` or `clsact`.
    pub egress: String,
    /// False when the device has gone away.
    pub attached: bool,
    /// Taken over from an earlier controller.
    pub adopted: bool,
}

/// Body of `POST /v1/interfaces`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttachRequest {
    pub name: String,
    pub zone: String,
    #[serde(default)]
    pub mode: ModeRequest,
}

/// Body of `DELETE /v1/interfaces`: one by name, or all.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetachRequest {
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub all: bool,
}

/// What was detached.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Detached {
    pub detached: Vec<String>,
}
