use serde::{Deserialize, Serialize};

use super::Interface;

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
    pub flows: u64,
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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted {
    pub flows: u64,
    pub interfaces: usize,
    pub generation: u32,
}
