//! A policy of ten thousand rules in the kernel: every packet meets the rule that a walk over the rules finds.

mod kernel;
mod lowered;
mod mixed_numbers;
mod root;

use std::{collections::HashSet, net::IpAddr};

use firewall_common::{
    env::Arrival,
    reason::Reason,
    testing::{
        builder::Packet as Built,
        host::{Family, Host, OTHER},
        play::Subject as _,
        tables::Tables,
    },
    verdict::Verdict,
    wire::tcp::{Segment, flags},
};
use firewall_user::policy::{self, Clock, Numbers as _, Source};
use kernel::Kernel;
use mixed_numbers::Numbering;
use xtask::mixed::{Mixed, Packet, TCP, UDP};

const RULES: usize = 10_000;
const PACKETS: usize = 4_000;

fn lowered(mixed: &Mixed) -> Tables {
    let source = Source { path: "large.toml".into(), text: mixed.text() };
    let (policy, _) = policy::load_sources(vec![source], None).unwrap_or_else(|errors| panic!("{errors}"));
    let clock = Clock { monotonic_ns: 0, realtime: jiff::Timestamp::UNIX_EPOCH };
    let lowered = policy::lower(&policy, &mut Numbering, &clock).expect("there are numbers");
    lowered::tables(lowered)
}

/// A packet between interfaces has no route here: it comes in for the box, or the box sends it.
fn here(packet: Packet) -> Packet {
    let port = if matches!(packet.protocol, TCP | UDP) { packet.port } else { packet.port & 0xff00 };
    if packet.to == "self" { Packet { port, ..packet } } else { Packet { from: "self", port, ..packet } }
}

fn arrival(packet: &Packet) -> Arrival {
    let egress = packet.from == "self";
    let zone = if egress { packet.to } else { packet.from };
    Arrival { zone: Numbering.zone(zone).expect("a zone of the policy"), place: 1, egress }
}

fn host(address: IpAddr) -> Host {
    match address {
        IpAddr::V4(v4) => Host { v4: v4.octets(), ..OTHER },
        IpAddr::V6(v6) => Host { v6: v6.octets(), ..OTHER },
    }
}

/// The packet's frame, from a port that no other packet comes from.
fn frame(packet: &Packet, number: usize) -> Vec<u8> {
    let family = if packet.source.is_ipv4() { Family::V4 } else { Family::V6 };
    let (from, to) = (host(packet.source), host(packet.destination));
    let port = 10_000 + number as u16;
    let built = match packet.protocol {
        TCP => Built::tcp(family, (from, port), (to, packet.port), &Segment { window: 1_000, flags: flags::SYN, ..Segment::default() }),
        UDP => Built::udp(family, (from, port), (to, packet.port), 32),
        _ => Built::echo(family, from, to, false, port),
    };
    built.build().bytes
}

#[test]
fn every_packet_meets_the_rule_a_walk_finds() {
    if !root::available() {
        return;
    }
    let mixed = Mixed::new(RULES, 1);
    let mut kernel = Kernel::load(2 * PACKETS as u32, 1_024);
    kernel.load(&lowered(&mixed));
    let hits = |kernel: &Kernel, rule: usize| kernel.counters_of_rule(rule as u16 + 1).hits;
    let (mut met, mut unmatched) = (HashSet::new(), 0);
    let packets = mixed.packets(PACKETS, 3).into_iter().map(here).filter(|packet| packet.source != packet.destination);
    for (number, packet) in packets.enumerate() {
        let expected = mixed.decide(&packet);
        let before = expected.map(|rule| hits(&kernel, rule));
        let (verdict, _, _) = kernel.judge_whole(&frame(&packet, number), arrival(&packet));
        let allowed = expected.is_some_and(|rule| mixed.rules[rule].allow);
        assert_eq!(verdict, if allowed { Verdict::Learn } else { Verdict::Drop(Reason::AclDrop) }, "{packet:?}, rule {expected:?}");
        assert_eq!(expected.map(|rule| hits(&kernel, rule)), before.map(|before| before + 1), "{packet:?}, rule {expected:?}");
        unmatched += u32::from(expected.is_none());
        met.extend(expected);
    }
    let all: u64 = (0..RULES).map(|rule| hits(&kernel, rule)).sum();
    assert_eq!(all + u64::from(unmatched), kernel.seen.passed + kernel.seen.drops[Reason::AclDrop.index()], "no packet met a second rule");
    println!("{} rules met, {unmatched} packets met none", met.len());
    assert!(met.len() > 500 && unmatched > 100, "{} rules met", met.len());
}
