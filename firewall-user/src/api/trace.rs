use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Arithmetic;

/// Most packets of one trace: each is judged twice, and told of stage by stage.
pub const MAX_TRACED_PACKETS: usize = 4096;
/// Most bytes of all its frames together.
pub const MAX_TRACED_BYTES: usize = 4 * 1024 * 1024;
/// Longest frame: what the kernel runs a program on.
pub const MAX_TRACED_FRAME: usize = 65_000;

/// Body of `POST /v1/trace`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceRequest {
    /// The packets, in order. State is carried from one to the next.
    pub packets: Vec<PacketToTrace>,
    /// The interface every packet comes by. Without it, the one that the route to the packet's source leads to; what has an address of the
    /// box leaves by the one that the route to its destination leads to.
    #[serde(default)]
    pub interface: Option<String>,
    /// The box sends every packet, by `interface`.
    #[serde(default)]
    pub egress: bool,
    /// A policy that is not in force. Absolute; without it, the one in force.
    #[serde(default)]
    pub policy: Option<PathBuf>,
    /// Begin without the live flows.
    #[serde(default)]
    pub fresh: bool,
}

/// One packet of a [`TraceRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PacketToTrace {
    /// The frame, from its Ethernet header on, in hexadecimal digits.
    pub frame: String,
    /// When it was captured; time passes for flows as it passed between the packets.
    #[serde(default)]
    pub time: Option<jiff::Timestamp>,
    /// Bytes it had on the wire, when the capture has fewer.
    #[serde(default)]
    pub length: Option<u32>,
}

/// Answer of `POST /v1/trace`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Traced {
    pub policy: TracedPolicy,
    /// The programs that judged the packets.
    pub program: Vec<TracedProgram>,
    pub packets: Vec<TracedPacket>,
    /// Of the policy that is not in force.
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedPolicy {
    pub path: String,
    pub in_force: bool,
    /// Null for a policy that is not in force.
    pub generation: Option<u32>,
}

/// A program, and whether it is the one that judges the instance's packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedProgram {
    /// `ingress` or `egress`.
    pub name: String,
    /// The kernel's digest of its instructions, as `bpftool prog` shows it.
    pub tag: String,
    /// That of the instance's own program; null when it could not be read.
    pub live_tag: Option<String>,
    pub same: bool,
}

/// One packet's story.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TracedPacket {
    /// From 1.
    pub number: usize,
    /// When it was captured: RFC 3339, in UTC.
    pub time: Option<String>,
    /// By which it came, or left.
    pub interface: String,
    pub zone: String,
    /// `in`, or `out` for what the box itself sends.
    pub direction: String,
    pub summary: String,
    /// Bytes of the frame on the wire.
    pub length: u32,
    /// Bytes of it in the capture, when they are fewer: the rest were taken for zeros.
    pub captured: Option<u32>,
    pub stages: Vec<TracedStage>,
    /// `pass`, `drop` or `answer`.
    pub verdict: String,
    /// Its flow's state follows it.
    pub learned: bool,
    pub reason: Option<String>,
    /// What the reason means.
    pub meaning: Option<String>,
    /// The rule that decided, or whose flow it is of.
    pub rule: Option<TracedRule>,
    /// Which number was compared with what, when one decided that it is dropped.
    pub arithmetic: Option<Arithmetic>,
    /// Fields that were changed on the way.
    pub changes: Vec<TracedChange>,
    /// The frame afterwards, in hexadecimal digits, when it was changed or became an answer.
    pub frame: Option<String>,
    /// The kernel runs no frame of this length (shorter than an Ethernet header, or sent and longer than 3072 bytes): only the host has judged it.
    pub host_only: bool,
    /// How the kernel and the host differ over it. That is a bug of Weir.
    pub disagreement: Option<String>,
}

/// What one stage made of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedStage {
    pub stage: String,
    /// `goes-on`, `pass`, `pass-without-learning`, `answer`, or `drop`.
    pub result: String,
    /// Why it dropped the packet.
    pub reason: Option<String>,
    /// What it looked at, in words.
    pub detail: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedRule {
    pub name: String,
    /// Null for a rule of an earlier policy.
    pub file: Option<String>,
    pub line: Option<usize>,
    pub because: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedChange {
    pub field: String,
    pub from: String,
    pub to: String,
}
