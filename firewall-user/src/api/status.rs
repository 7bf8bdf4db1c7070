use serde::{Deserialize, Serialize};

use super::{Confirmation, Interface, SilentAddress};

/// `GET /v1/status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    pub instance: String,
    pub version: String,
    pub placement: String,
    /// Every interface is attached and a policy is in force.
    pub ready: bool,
    pub interfaces: Vec<Interface>,
    pub policy: Option<PolicyStatus>,
    /// The policy in force waits to be confirmed; null when it does not.
    #[serde(default)]
    pub confirmation: Option<Confirmation>,
    /// Rules in force whose time is over, or will be within a week.
    #[serde(default)]
    pub expiring: Vec<Expiring>,
    pub flows: u64,
    /// Addresses whose packets should come by here and do not, though packets to them do.
    #[serde(default)]
    pub silent: Vec<SilentAddress>,
    pub uptime_seconds: u64,
    /// What an earlier controller left and this one took over; null after a new start.
    pub adopted: Option<Adopted>,
    /// Process of the daemon.
    pub pid: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PolicyStatus {
    pub path: String,
    pub generation: u32,
    pub rules: usize,
    /// Number in the history; null when it is not kept there.
    #[serde(default)]
    pub number: Option<u64>,
}

/// A rule whose time is over, or soon will be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expiring {
    pub rule: String,
    pub inspection: String,
    pub expires: String,
    pub expired: bool,
    /// 0 when it is over.
    pub expires_in_seconds: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted {
    pub flows: u64,
    pub interfaces: usize,
    pub generation: u32,
}
