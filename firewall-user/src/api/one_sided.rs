use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Of a flow only one side has been seen, though it has had the time to show both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneSided {
    /// The direction nothing was seen of, as in `packets`.
    pub missing: Missing,
    /// By which the missing packets should come: the way back to whoever should send them. Null where there is none.
    pub expected_interface: Option<String>,
    /// Weir is on that interface.
    pub attached: bool,
    /// Zone of that interface.
    pub zone: Option<String>,
    /// What was seen answers what was not: it takes another path. Otherwise nobody may have sent it.
    pub certain: bool,
    /// The same in words.
    pub why: String,
}

/// A direction of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    ToInitiator,
    ToResponder,
}

/// An address whose packets do not come by here, while packets to it do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilentAddress {
    pub address: IpAddr,
    /// Live flows that lack its packets.
    pub flows: u64,
    /// SYN-ACKs to it that were dropped lately, because its SYN had not come by.
    pub dropped_answers: u64,
    pub expected_interface: Option<String>,
    pub attached: bool,
    pub zone: Option<String>,
    pub certain: bool,
    pub why: String,
}
