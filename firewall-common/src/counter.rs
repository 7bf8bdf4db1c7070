//! Counters the dataplane keeps, one copy per CPU. Only [`crate::account`] adds to them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::reason::Reason;

/// Totals of one CPU: element 0 of a one-element per-CPU array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Counters {
    /// Packets dropped, by [`Reason::index`]. Their sum is the number of packets dropped.
    pub drops: [u64; Reason::SLOTS],
    /// Packets that passed and changed their flow's state.
    pub passed: u64,
    /// Packets that passed and taught nothing (old data, challenge acknowledgements, neighbour discovery, …).
    pub passed_without_learning: u64,
    /// Frames that carry no IP and passed (ARP, LLDP, …).
    pub link_passed: u64,
    /// Rejected packets that were answered (also counted as dropped with reason `rejected`).
    pub answered: u64,
    pub flows_created: u64,
    pub flows_established: u64,
    pub reserved: [u64; 2],
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            drops: [0; Reason::SLOTS],
            passed: 0,
            passed_without_learning: 0,
            link_passed: 0,
            answered: 0,
            flows_created: 0,
            flows_established: 0,
            reserved: [0; 2],
        }
    }
}

/// One rule's totals on one CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RuleCounters {
    /// First packets the rule decided.
    pub hits: u64,
    /// Packets and bytes of the rule's flows, both directions.
    pub packets: u64,
    pub bytes: u64,
}

/// One interface's totals on one CPU, seen by the ingress program and, for what the box itself sends, the egress one. Bytes are those of
/// IP packets, without link-layer headers and padding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct InterfaceCounters {
    pub received_packets: u64,
    pub received_bytes: u64,
    pub received_dropped: u64,
    pub sent_packets: u64,
    pub sent_bytes: u64,
    pub sent_dropped: u64,
}

const _: () = assert!(size_of::<Counters>() == (Reason::SLOTS + 8) * 8);
