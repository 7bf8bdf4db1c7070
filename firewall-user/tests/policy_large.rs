//! A policy of ten thousand rules: every decision is that of a walk over its rules, and it loads in no time.

mod lowered;
mod mixed_numbers;

use std::{collections::HashMap, net::IpAddr, time::Instant};

use firewall_common::{
    classify::{Policies as _, Zones, first_match},
    flow::Address,
    rule::{Dimension, MAX_ADDRESS_PREFIXES, MAX_BLOCKS, MAX_ROWS},
    testing::{tables::Tables, world::World},
    time::Nanos,
};
use firewall_user::policy::{self, Clock, Numbers as _, Source};
use mixed_numbers::Numbering;
use xtask::mixed::{Mixed, Packet};

const RULES: usize = 10_000;
const PACKETS: usize = 5_000;

fn lowered(mixed: &Mixed) -> Tables {
    let source = Source { path: "large.toml".into(), text: mixed.text() };
    let started = Instant::now();
    let (policy, warnings) = policy::load_sources(vec![source], None).unwrap_or_else(|errors| panic!("{errors}"));
    let read = started.elapsed();
    let clock = Clock { monotonic_ns: 0, realtime: jiff::Timestamp::UNIX_EPOCH };
    let lowered = policy::lower(&policy, &mut Numbering, &clock).expect("there are numbers");
    println!(
        "read in {read:?}, lowered in {:?}; {} entries, {} rows, {} blocks, {} address prefixes, {} service prefixes, {} warnings",
        started.elapsed() - read,
        lowered.entries.len(),
        lowered.rows.len(),
        lowered.blocks.len(),
        lowered.addresses.len(),
        lowered.services.len(),
        warnings.len()
    );
    lowered::tables(lowered)
}

fn address(address: IpAddr) -> Address {
    match address {
        IpAddr::V4(v4) => Address::v4(v4.octets()),
        IpAddr::V6(v6) => Address::new(v6.octets()),
    }
}

fn zone(name: &str) -> u8 {
    Numbering.zone(name).expect("a zone of the policy")
}

/// The rule of the first match in the tables, as the dataplane finds it.
fn found(world: &World, packet: &Packet) -> Option<usize> {
    let slot = 1;
    let classes = [
        world.address_class(slot, Dimension::Source, &address(packet.source)),
        world.address_class(slot, Dimension::Destination, &address(packet.destination)),
        world.service_class(slot, packet.protocol, packet.port.to_be_bytes()),
    ];
    let zones = Zones { from: zone(packet.from), to: zone(packet.to) };
    let entry = first_match(world, slot, zones, classes, Nanos(1))?;
    world.rule(slot, entry).map(|rule| usize::from(rule.number) - 1)
}

#[test]
fn every_packet_meets_the_rule_a_walk_finds() {
    let mixed = Mixed::new(RULES, 1);
    let tables = lowered(&mixed);
    let world = World::under(&tables);
    let mut met: HashMap<Option<usize>, usize> = HashMap::new();
    for packet in mixed.packets(PACKETS, 2) {
        let expected = mixed.decide(&packet);
        assert_eq!(found(&world, &packet), expected, "{packet:?}");
        *met.entry(expected).or_default() += 1;
    }
    assert!(met.len() > 1_000, "the packets met {} rules only", met.len());
    assert!(met[&None] > 50 && met.keys().flatten().any(|rule| *rule > RULES * 9 / 10));
    assert!(tables.rows.len() < MAX_ROWS && tables.blocks.len() < MAX_BLOCKS, "{} rows", tables.rows.len());
    assert!(tables.addresses.len() < MAX_ADDRESS_PREFIXES as usize / 2);
}
