//! Random configurations of an ASA: the imported policy decides as a plain walk over the access lists does, and no text whatever panics.

use std::{collections::BTreeMap, fmt::Write as _, net::IpAddr, path::Path};

use firewall_common::{
    flow::{Address, Inspection},
    rule::Action,
};
use firewall_user::{
    import::asa::{self, Imported},
    policy::{self, Clock, FirstPacket, Lowered, Numbers, Policy, Source},
};
use proptest::{collection::vec, prelude::*, sample::select};

const TODAY: &str = "2026-06-01T00:00:00Z";
const ZONES: [&str; 3] = ["outside", "inside", "dmz"];
const OBJECTS: &str = "object network RANGE\n range 10.0.1.5 10.0.2.20\nobject-group network GROUP\n network-object host 10.0.0.1\n network-object 10.0.2.0 \
                       255.255.255.0\n network-object 2001:db8::/64\n network-object object RANGE\nobject-group service PORTS tcp-udp\n port-object range 20 \
                       25\n port-object eq 80\n";
/// Addresses as a line says them, with the first and last of each range they are.
const NETS: [(&str, &[(&str, &str)]); 9] = [
    ("any", &[("0.0.0.0", "255.255.255.255"), ("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")]),
    ("any4", &[("0.0.0.0", "255.255.255.255")]),
    ("any6", &[("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")]),
    ("host 10.0.0.1", &[("10.0.0.1", "10.0.0.1")]),
    ("10.0.0.0 255.255.255.0", &[("10.0.0.0", "10.0.0.255")]),
    ("10.0.0.0 255.255.0.0", &[("10.0.0.0", "10.0.255.255")]),
    ("2001:db8::/48", &[("2001:db8::", "2001:db8:0:ffff:ffff:ffff:ffff:ffff")]),
    ("object RANGE", &[("10.0.1.5", "10.0.2.20")]),
    (
        "object-group GROUP",
        &[("10.0.0.1", "10.0.0.1"), ("10.0.2.0", "10.0.2.255"), ("2001:db8::", "2001:db8::ffff:ffff:ffff:ffff"), ("10.0.1.5", "10.0.2.20")],
    ),
];
const HOSTS: [&str; 12] = [
    "10.0.0.1",
    "10.0.0.2",
    "10.0.1.4",
    "10.0.1.5",
    "10.0.2.20",
    "10.0.2.21",
    "10.0.3.1",
    "192.0.2.1",
    "224.0.0.9",
    "2001:db8::1",
    "2001:db8:0:1::1",
    "2001:db8:1::1",
];
/// Destination ports as a line says them, with the ranges they are.
const PORTS: [(&str, &[(u16, u16)]); 7] = [
    ("", &[(0, 65_535)]),
    ("eq 80", &[(80, 80)]),
    ("range 20 30", &[(20, 30)]),
    ("neq 25", &[(0, 24), (26, 65_535)]),
    ("lt 80", &[(0, 79)]),
    ("gt 79", &[(80, 65_535)]),
    ("object-group PORTS", &[(20, 25), (80, 80)]),
];
const PROTOCOLS: [(&str, Option<u8>); 4] = [("ip", None), ("tcp", Some(6)), ("udp", Some(17)), ("esp", Some(50))];
const SOURCE_PORT: u16 = 5;

#[derive(Clone, Debug)]
struct Ace {
    permit: bool,
    protocol: usize,
    source: usize,
    from_port: bool,
    destination: usize,
    ports: usize,
}

#[derive(Clone, Debug)]
struct Config {
    levels: Vec<u8>,
    /// Lists for what comes in and what goes out, by interface; then the global one.
    incoming: Vec<Option<Vec<Ace>>>,
    outgoing: Vec<Option<Vec<Ace>>>,
    global: Option<Vec<Ace>>,
    between_equals: bool,
    within_one: bool,
    /// Classes with bypass, by interface, then those of the global policy.
    bypass: Vec<Vec<Vec<Ace>>>,
}

#[derive(Clone, Debug)]
struct Packet {
    from: usize,
    to: usize,
    source: &'static str,
    destination: &'static str,
    protocol: u8,
    source_port: u16,
    port: u16,
}

fn ace(with_source_ports: bool) -> impl Strategy<Value = Ace> {
    let from_port = if with_source_ports { proptest::bool::weighted(0.2).boxed() } else { Just(false).boxed() };
    (any::<bool>(), 0..PROTOCOLS.len(), 0..NETS.len(), from_port, 0..NETS.len(), 0..PORTS.len()).prop_map(
        |(permit, protocol, source, from_port, destination, ports)| {
            let has_ports = matches!(PROTOCOLS[protocol].1, Some(6 | 17));
            Ace { permit, protocol, source, from_port: from_port && has_ports, destination, ports: if has_ports { ports } else { 0 } }
        },
    )
}

fn config(with_source_ports: bool) -> impl Strategy<Value = Config> {
    let list = move || vec(ace(with_source_ports), 1..6);
    let lists = |weight: f64| vec(proptest::option::weighted(weight, list()), 3);
    let bypass = vec(vec(vec(ace(with_source_ports), 1..4), 0..3), 4);
    (
        vec(select(&[0_u8, 50, 100][..]), 3),
        lists(0.6),
        lists(0.3),
        proptest::option::weighted(0.2, list()),
        any::<bool>(),
        any::<bool>(),
        bypass,
    )
        .prop_map(|(levels, incoming, outgoing, global, between_equals, within_one, bypass)| Config {
            levels,
            incoming,
            outgoing,
            global,
            between_equals,
            within_one,
            bypass,
        })
}

fn packet() -> impl Strategy<Value = Packet> {
    let host = || select(&HOSTS[..]);
    (
        0..3_usize,
        0..3_usize,
        host(),
        host(),
        select(&[6_u8, 6, 6, 17, 50, 1][..]),
        select(&[SOURCE_PORT, 40_000][..]),
        select(&[19_u16, 20, 25, 26, 30, 79, 80, 81][..]),
    )
        .prop_map(|(from, to, source, destination, protocol, source_port, port)| {
            let port = if matches!(protocol, 6 | 17) { port } else { 0 };
            Packet { from, to, source, destination, protocol, source_port, port }
        })
        .prop_filter("one family", |packet| packet.source.contains(':') == packet.destination.contains(':'))
}

// As text.

fn lines(text: &mut String, name: &str, list: &[Ace]) {
    for ace in list {
        let action = if ace.permit { "permit" } else { "deny" };
        let from_port = if ace.from_port { format!(" eq {SOURCE_PORT}") } else { String::new() };
        let (protocol, source, destination, ports) =
            (PROTOCOLS[ace.protocol].0, NETS[ace.source].0, NETS[ace.destination].0, PORTS[ace.ports].0);
        let _ = writeln!(text, "access-list {name} extended {action} {protocol} {source}{from_port} {destination} {ports}");
    }
}

fn text(config: &Config) -> String {
    let mut text = String::from("ASA Version 9.8(1)\n");
    for (zone, level) in ZONES.iter().zip(&config.levels) {
        let _ = writeln!(text, "interface {zone}0\n nameif {zone}\n security-level {level}");
    }
    for (flag, word) in [(config.between_equals, "inter"), (config.within_one, "intra")] {
        if flag {
            let _ = writeln!(text, "same-security-traffic permit {word}-interface");
        }
    }
    text += OBJECTS;
    for (way, lists) in [("in", &config.incoming), ("out", &config.outgoing)] {
        for (zone, list) in ZONES.iter().zip(lists) {
            if let Some(list) = list {
                lines(&mut text, &format!("{zone}_{way}"), list);
                let _ = writeln!(text, "access-group {zone}_{way} {way} interface {zone}");
            }
        }
    }
    if let Some(list) = &config.global {
        lines(&mut text, "everywhere", list);
        text += "access-group everywhere global\n";
    }
    for (place, classes) in ZONES.iter().map(|zone| format!("interface {zone}")).chain(["global".to_owned()]).zip(&config.bypass) {
        let name = place.replace(' ', "_");
        let mut policy = format!("policy-map {name}\n");
        for (number, list) in classes.iter().enumerate() {
            lines(&mut text, &format!("{name}_{number}"), list);
            let _ = writeln!(text, "class-map {name}_{number}\n match access-list {name}_{number}");
            let _ = writeln!(policy, " class {name}_{number}\n  set connection advanced-options tcp-state-bypass");
        }
        let _ = writeln!(text, "{policy}service-policy {name} {place}");
    }
    text
}

// The plain walk.

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Deny,
    Permit,
    Bypass,
}

fn matches(ace: &Ace, packet: &Packet) -> bool {
    let within = |net: usize, host: &str| {
        let host: IpAddr = host.parse().expect("an address");
        NETS[net].1.iter().any(|(first, last)| {
            let (first, last): (IpAddr, IpAddr) = (first.parse().expect("an address"), last.parse().expect("an address"));
            first.is_ipv4() == host.is_ipv4() && first <= host && host <= last
        })
    };
    PROTOCOLS[ace.protocol].1.is_none_or(|protocol| protocol == packet.protocol)
        && within(ace.source, packet.source)
        && within(ace.destination, packet.destination)
        && (!ace.from_port || packet.source_port == SOURCE_PORT)
        && PORTS[ace.ports].1.iter().any(|(low, high)| (*low..=*high).contains(&packet.port))
}

fn permits<'a>(list: impl IntoIterator<Item = &'a Ace>, packet: &Packet) -> bool {
    list.into_iter().find(|ace| matches(ace, packet)).is_some_and(|ace| ace.permit)
}

fn walk(config: &Config, packet: &Packet) -> Verdict {
    let (from, to) = (packet.from, packet.to);
    let connected = if from == to { config.within_one } else { config.levels[from] != config.levels[to] || config.between_equals };
    let bound: Vec<&Vec<Ace>> = config.incoming[from].iter().chain(&config.global).collect();
    let comes_in = if bound.is_empty() {
        let multicast = packet.destination.starts_with("224.");
        config.levels[from] >= config.levels[to] && !multicast
    } else {
        permits(bound.into_iter().flatten(), packet)
    };
    let goes_out = config.outgoing[to].as_ref().is_none_or(|list| permits(list, packet));
    if !(connected && comes_in && goes_out) {
        return Verdict::Deny;
    }
    let (own, other, global) = (&config.bypass[from], &config.bypass[to], &config.bypass[3]);
    let global = if own.is_empty() { &global[..] } else { &[] };
    let bypass = packet.protocol == 6 && own.iter().chain(other).chain(global).any(|list| permits(list, packet));
    if bypass { Verdict::Bypass } else { Verdict::Permit }
}

// The imported policy.

#[derive(Default)]
struct Table(BTreeMap<String, u8>, BTreeMap<String, u16>);

impl Numbers for Table {
    fn zone(&mut self, name: &str) -> Option<u8> {
        let next = self.0.len() as u8 + 1;
        Some(*self.0.entry(name.to_owned()).or_insert(next))
    }

    fn rule(&mut self, name: &str) -> Option<u16> {
        let next = self.1.len() as u16;
        Some(*self.1.entry(name.to_owned()).or_insert(next))
    }
}

fn today() -> jiff::Timestamp {
    TODAY.parse().expect("a timestamp")
}

fn load(imported: &Imported) -> Result<Policy, policy::Diagnostics> {
    let source = Source { path: "policy.toml".into(), text: imported.text() };
    policy::load_sources_at(vec![source], None, today()).map(|(policy, _)| policy)
}

fn decide(policy: &Policy, lowered: &Lowered, zones: &Table, packet: &Packet) -> Verdict {
    let zone = |number: usize| zones.0.get(ZONES[number]).copied().unwrap_or(31);
    let address = |text: &str| match text.parse().expect("an address") {
        IpAddr::V4(v4) => Address::v4(v4.octets()),
        IpAddr::V6(v6) => Address::new(v6.octets()),
    };
    let (source, destination) = (address(packet.source), address(packet.destination));
    let entry = lowered.evaluator().first_match(
        &FirstPacket {
            from_zone: zone(packet.from),
            to_zone: zone(packet.to),
            source,
            destination,
            protocol: packet.protocol,
            service: packet.port.to_be_bytes(),
        },
        0,
    );
    match entry.and_then(|entry| policy.rule_of_entry(entry)) {
        Some(rule) if rule.action == Action::Allow && rule.inspection == Inspection::Bypass => Verdict::Bypass,
        Some(rule) if rule.action == Action::Allow => Verdict::Permit,
        _ => Verdict::Deny,
    }
}

fn compare(config: &Config, packets: &[Packet], exact: bool) -> Result<(), TestCaseError> {
    let text = text(config);
    let imported = asa::import(Path::new("random.cfg"), &text, today()).map_err(|error| TestCaseError::fail(error.to_string()))?;
    if imported.count == 0 {
        // Nothing passes; then nothing passed on the ASA that can be said.
        prop_assert!(!exact || packets.iter().all(|packet| walk(config, packet) == Verdict::Deny), "{}", text);
        return Ok(());
    }
    let policy = load(&imported).map_err(|errors| TestCaseError::fail(format!("{text}\n{errors}")))?;
    let mut zones = Table::default();
    let lowered = policy::lower(&policy, &mut zones, &Clock { monotonic_ns: 0, realtime: today() }).expect("numbers for all");
    for packet in packets {
        let (on_the_asa, found) = (walk(config, packet), decide(&policy, &lowered, &zones, packet));
        if exact {
            prop_assert_eq!(found, on_the_asa, "{:?}\n{}\n{}", packet, text, imported.text());
        } else {
            prop_assert!(found <= on_the_asa, "{:?}: {:?}, on the ASA {:?}\n{}\n{}", packet, found, on_the_asa, text, imported.text());
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn policies_decide_as_access_lists_and_classes_do(config in config(false), packets in vec(packet(), 60)) {
        compare(&config, &packets, true)?;
    }

    #[test]
    fn where_a_line_cannot_be_said_the_policy_does_less(config in config(true), packets in vec(packet(), 60)) {
        compare(&config, &packets, false)?;
    }
}
