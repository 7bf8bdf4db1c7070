//! Counters the dataplane keeps, one copy per CPU. Only [`crate::account`] adds to them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{config::MAX_INTERFACES, reason::Reason};

/// Place of what belongs to no interface of ours.
pub const PLACE_NONE: u8 = 0;
/// Where the controller keeps the totals of interfaces that are attached no more, when it gives their place to another.
pub const PLACE_GONE: u8 = MAX_INTERFACES as u8 + 1;
/// Elements of the table of counters.
pub const COUNTER_PLACES: usize = MAX_INTERFACES + 2;

/// Totals of one interface on one CPU: the element of a per-CPU array at the interface's place. One element, so that a packet is counted
/// with one lookup.
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
    pub traffic: Traffic,
}

impl Counters {
    /// Adds another place's totals, or another CPU's.
    pub fn add(&mut self, other: &Self) {
        for (total, drops) in self.drops.iter_mut().zip(other.drops) {
            *total += drops;
        }
        self.passed += other.passed;
        self.passed_without_learning += other.passed_without_learning;
        self.link_passed += other.link_passed;
        self.answered += other.answered;
        self.flows_created += other.flows_created;
        self.flows_established += other.flows_established;
        self.traffic.add(&other.traffic);
    }
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
            traffic: Traffic::default(),
        }
    }
}

/// What one interface received and, of what the box itself sends, sent. Bytes are those of
/// IP packets, without link-layer headers and padding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Traffic {
    pub received_packets: u64,
    pub received_bytes: u64,
    pub received_dropped: u64,
    pub sent_packets: u64,
    pub sent_bytes: u64,
    pub sent_dropped: u64,
}

impl Traffic {
    pub fn add(&mut self, other: &Self) {
        self.received_packets += other.received_packets;
        self.received_bytes += other.received_bytes;
        self.received_dropped += other.received_dropped;
        self.sent_packets += other.sent_packets;
        self.sent_bytes += other.sent_bytes;
        self.sent_dropped += other.sent_dropped;
    }
}

/// One rule's totals on one CPU. Times are nanoseconds of the monotonic clock; 0 for never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RuleCounters {
    /// First packets the rule decided.
    pub hits: u64,
    /// Packets and bytes of the rule's flows, both directions.
    pub packets: u64,
    pub bytes: u64,
    /// When the rule last decided a first packet.
    pub last_hit: u64,
    /// Packets of its bypass flows that strict inspection would have dropped: see [`crate::track::shadow`].
    pub needed: u64,
    /// When the last of them came.
    pub last_needed: u64,
    /// Why it would have been dropped: the number of a [`Reason`], 0 for none.
    pub needed_for: u32,
    /// A rule's totals are a cache line.
    pub reserved: [u32; 3],
}

impl RuleCounters {
    /// Adds another CPU's: sums of what is counted, and the latest of what happened last.
    pub fn add(&mut self, other: &Self) {
        self.hits += other.hits;
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.last_hit = self.last_hit.max(other.last_hit);
        self.needed += other.needed;
        if other.last_needed > self.last_needed {
            (self.last_needed, self.needed_for) = (other.last_needed, other.needed_for);
        }
    }
}

const _: () = assert!(size_of::<RuleCounters>() == 64);
const _: () = assert!(size_of::<Counters>() == (Reason::SLOTS + 12) * 8);
