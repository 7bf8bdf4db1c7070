//! The lowered policy, evaluated on the host: the dataplane's five lookups, over tables arranged for many packets.

use std::collections::{BTreeMap, HashMap};

use firewall_common::{
    classify::{self, Policies, Zones},
    flow::Address,
    hours::Week,
    rule::{Block, Dimension, Row, Rule},
    time::Nanos,
};

use super::{address, lower::Lowered};

/// What a policy can name of a flow's first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstPacket {
    pub from_zone: u8,
    pub to_zone: u8,
    pub source: Address,
    pub destination: Address,
    pub protocol: u8,
    /// Destination port in network order, ICMP type and code, or zero.
    pub service: [u8; 2],
}

/// Classes by the bits of a prefix, by its length.
type Trie<B> = BTreeMap<u8, HashMap<B, u32>>;

/// A lowered policy, arranged for looking up. It is the one in both slots.
#[derive(Debug)]
pub struct Evaluator<'l> {
    lowered: &'l Lowered,
    sources: Trie<u128>,
    destinations: Trie<u128>,
    services: Trie<u32>,
}

impl Lowered {
    #[must_use]
    pub fn evaluator(&self) -> Evaluator<'_> {
        let side = |side: Dimension| {
            let mut trie = Trie::new();
            for (_, prefix, length, class) in self.addresses.iter().filter(|(dimension, ..)| *dimension == side) {
                trie.entry(*length).or_insert_with(HashMap::new).insert(address_bits(prefix, *length), *class);
            }
            trie
        };
        let mut services = Trie::new();
        for (protocol, port, length, class) in &self.services {
            services.entry(*length).or_insert_with(HashMap::new).insert(service_bits(*protocol, *port, *length), *class);
        }
        Evaluator { lowered: self, sources: side(Dimension::Source), destinations: side(Dimension::Destination), services }
    }
}

impl Evaluator<'_> {
    /// The entry that decides a first packet, as the dataplane finds it; `None` is the default deny.
    #[must_use]
    pub fn first_match(&self, packet: &FirstPacket, now_ns: u64) -> Option<usize> {
        let zones = Zones { from: packet.from_zone, to: packet.to_zone };
        let classes = [
            self.address_class(0, Dimension::Source, &packet.source),
            self.address_class(0, Dimension::Destination, &packet.destination),
            self.service_class(0, packet.protocol, packet.service),
        ];
        classify::first_match(self, 0, zones, classes, Nanos(now_ns)).map(|entry| entry as usize)
    }
}

impl Policies for Evaluator<'_> {
    fn address_class(&self, _: u32, side: Dimension, address: &Address) -> u32 {
        let trie = if matches!(side, Dimension::Source) { &self.sources } else { &self.destinations };
        longest(trie, |length| address_bits(address, length))
    }

    fn service_class(&self, _: u32, protocol: u8, service: [u8; 2]) -> u32 {
        longest(&self.services, |length| service_bits(protocol, service, length))
    }

    fn row(&self, _: u32, row: u32) -> Option<&Row> {
        self.lowered.rows.get(row as usize)
    }

    fn block(&self, _: u32, block: u16) -> Option<&Block> {
        self.lowered.blocks.get(usize::from(block))
    }

    fn rule(&self, _: u32, entry: u32) -> Option<&Rule> {
        self.lowered.entries.get(entry as usize)
    }

    fn week(&self, _: u32, schedule: u16) -> Option<&Week> {
        self.lowered.schedules.get(usize::from(schedule))
    }

    fn week_began(&self) -> Nanos {
        Nanos(self.lowered.week_began)
    }
}

/// The class of the longest prefix; 0 when there is none.
fn longest<B: std::hash::Hash + Eq>(trie: &Trie<B>, bits: impl Fn(u8) -> B) -> u32 {
    trie.iter().rev().find_map(|(length, classes)| classes.get(&bits(*length))).copied().unwrap_or(0)
}

fn address_bits(address: &Address, length: u8) -> u128 {
    address.bits() & address::mask(length)
}

/// The protocol's eight bits, then the port's: `length` counts both.
fn service_bits(protocol: u8, port: [u8; 2], length: u8) -> u32 {
    let bits = u32::from_be_bytes([protocol, port[0], port[1], 0]);
    bits & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
}
