//! Random policies: the lowered form decides as a plain walk over the rules' texts does, prints read back, edits can be undone.

mod lowered;

use std::net::IpAddr;

use firewall_common::{
    classify::{Zones, classify},
    env::{Arrival, Env as _},
    flow::Address,
    testing::world::World,
    time::Nanos,
    visit::Visit,
};
use firewall_user::policy::{
    self, Clock, FirstPacket, Lowered, Numbers, Policy, RuleInfo, Source, Warning,
    diff::diff,
    edit::{NewRule, add_rule, remove_rule},
};
use proptest::{collection::vec, prelude::*, sample::select};

/// The sets of every random policy, so that the walk knows them without asking the policy.
const SETS: [(&str, &[&str]); 3] = [
    ("few", &["10.1.2.3", "10.1.2.5-10.1.2.9", "2001:db8::1"]),
    ("nested", &["@few", "10.1.0.0/16", "192.0.2.0/24"]),
    ("six", &["2001:db8::/32", "::/3"]),
];
const SERVICES: [(&str, &[&str]); 2] = [("web", &["tcp/80,443", "udp/443"]), ("ping", &["icmp/echo-request", "icmpv6/128"])];
const ZONES: [(&str, u8); 5] = [("self", 0), ("inside", 3), ("outside", 1), ("dmz", 31), ("unnamed", 7)];
const ADDRESSES: [&str; 16] = [
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.0/24",
    "10.1.2.3",
    "10.1.2.4-10.1.3.77",
    "9.255.255.255-10.0.0.1",
    "0.0.0.0/0",
    "::/0",
    "::/64",
    "2001:db8::/32",
    "2001:db8::1-2001:db8::ff",
    "::1-1::",
    "@few",
    "@nested",
    "@six",
    "192.0.2.128/25",
];
const PORTS: [&str; 16] = [
    "tcp",
    "tcp/443",
    "tcp/1-1023",
    "tcp/80,8000-8100",
    "tcp/10000",
    "udp/53",
    "udp/0-65535",
    "icmp",
    "icmp/echo-request",
    "icmp/3/4",
    "icmpv6/packet-too-big",
    "esp",
    "protocol/89",
    "sctp/38412",
    "web",
    "ping",
];
/// Addresses at and beside the edges of those above.
const HOSTS: [&str; 22] = [
    "10.0.0.0",
    "10.0.0.1",
    "10.0.0.2",
    "9.255.255.255",
    "10.1.2.3",
    "10.1.2.4",
    "10.1.2.5",
    "10.1.2.9",
    "10.1.3.77",
    "10.1.3.78",
    "10.255.255.255",
    "11.0.0.0",
    "192.0.2.127",
    "192.0.2.128",
    "203.0.113.1",
    "::1",
    "1::",
    "1::1",
    "2001:db8::1",
    "2001:db8::ff",
    "2001:db8::100",
    "ff02::1",
];
/// Seconds after [`EPOCH`] at which rules end and packets come.
const MOMENTS: [u32; 4] = [0, 1, 50, 100];
const EPOCH: &str = "2027-01-01T00:00:00Z";
const BOOT: u64 = 5_000_000_000;

#[derive(Clone, Debug)]
struct Packet {
    from: u8,
    to: u8,
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    port: u16,
    seconds: u32,
}

fn selectors() -> impl Strategy<Value = String> {
    let zone = select(&["inside", "outside", "dmz", "self", "any"][..]);
    let selector = (zone, vec(select(&ADDRESSES[..]), 0..4)).prop_map(|(zone, items)| format!("\"{zone} {}\"", items.join(", ")));
    vec(selector, 1..4).prop_map(|selectors| format!("[{}]", selectors.join(", ")))
}

/// The keys of a rule, but for its name.
fn rule() -> impl Strategy<Value = String> {
    let services = vec(select(&PORTS[..]), 1..4).prop_map(|services| format!("\"{}\"", services.join(", ")));
    let keys = (
        proptest::option::weighted(0.8, selectors()),
        proptest::option::weighted(0.8, selectors()),
        proptest::option::weighted(0.8, services),
        select(&["allow", "drop", "reject"][..]),
        proptest::option::weighted(0.2, select(&MOMENTS[..])),
        proptest::bool::weighted(0.9),
    );
    keys.prop_map(|(from, to, service, action, expires, enabled)| {
        let lines = [
            from.map(|from| format!("from = {from}")),
            to.map(|to| format!("to = {to}")),
            service.map(|service| format!("service = {service}")),
            Some(format!("action = \"{action}\"")),
            expires.map(|seconds| format!("expires = 2027-01-01T00:{:02}:{:02}Z", seconds / 60, seconds % 60)),
            Some(format!("enabled = {enabled}")),
        ];
        lines.into_iter().flatten().collect::<Vec<_>>().join("\n")
    })
}

fn policy_text() -> impl Strategy<Value = String> {
    vec(rule(), 1..12).prop_map(|rules| {
        let list = |items: &[&str]| items.iter().map(|item| format!("\"{item}\"")).collect::<Vec<_>>().join(", ");
        let sets = SETS.iter().map(|(name, items)| format!("[set.{name}]\naddresses = [{}]\n", list(items)));
        let services = SERVICES.iter().map(|(name, items)| format!("[service.{name}]\nports = [{}]\n", list(items)));
        let rules = rules.iter().enumerate().map(|(number, keys)| format!("[[rule]]\nname = \"rule-{number}\"\n{keys}\n"));
        sets.chain(services).chain(rules).collect()
    })
}

fn packet() -> impl Strategy<Value = Packet> {
    let zone = || select(&ZONES[..]).prop_map(|(_, number)| number);
    let host = || select(&HOSTS[..]).prop_map(|host| host.parse::<IpAddr>().expect("an address"));
    let protocol = select(&[1_u8, 6, 17, 47, 50, 58, 89, 132][..]);
    let port = select(
        &[0_u16, 1, 53, 79, 80, 443, 1023, 1024, 8000, 8100, 8101, 10000, 38412, 65535, 0x0800, 0x0801, 0x0304, 0x0305, 0x0200, 0x8000][..],
    );
    (zone(), zone(), host(), host(), protocol, port, select(&MOMENTS[..])).prop_map(
        |(from, to, source, destination, protocol, port, seconds)| {
            // Protocols without ports always have port 0.
            let port = if matches!(protocol, 47 | 50 | 89) { 0 } else { port };
            Packet { from, to, source, destination, protocol, port, seconds }
        },
    )
}

// The plain walk: texts are taken apart and compared one by one, without prefixes, classes or anything else of the policy's own.

fn walk<'p>(policy: &'p Policy, packet: &Packet) -> Option<&'p RuleInfo> {
    let epoch: jiff::Timestamp = EPOCH.parse().expect("a timestamp");
    let now = epoch.as_second() + i64::from(packet.seconds);
    policy.rules().iter().find(|rule| {
        rule.enabled
            && rule.expires.is_none_or(|expires| now < expires.as_second())
            && rule.from.iter().any(|text| selector_matches(text, packet.from, packet.source))
            && rule.to.iter().any(|text| selector_matches(text, packet.to, packet.destination))
            && rule.service.iter().any(|text| service_matches(text, packet.protocol, packet.port))
    })
}

fn selector_matches(text: &str, zone: u8, address: IpAddr) -> bool {
    let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
    let zone_matches = name == "any" || ZONES.contains(&(name, zone));
    zone_matches && (rest.is_empty() || rest.split(", ").any(|item| address_matches(item, address)))
}

fn address_matches(item: &str, address: IpAddr) -> bool {
    let parse = |text: &str| text.parse::<IpAddr>().expect("an address");
    if let Some(name) = item.strip_prefix('@') {
        let (_, items) = SETS.iter().find(|(known, _)| *known == name).expect("a known set");
        return items.iter().any(|item| address_matches(item, address));
    }
    if let Some((first, last)) = item.split_once('-') {
        let (first, last) = (parse(first), parse(last));
        return first.is_ipv4() == address.is_ipv4() && first <= address && address <= last;
    }
    let Some((network, length)) = item.split_once('/') else { return parse(item) == address };
    let length: u32 = length.parse().expect("a length");
    match (parse(network), address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => (network.to_bits() ^ address.to_bits()).leading_zeros() >= length,
        (IpAddr::V6(network), IpAddr::V6(address)) => (network.to_bits() ^ address.to_bits()).leading_zeros() >= length,
        _ => false,
    }
}

fn service_matches(text: &str, protocol: u8, port: u16) -> bool {
    if let Some((_, items)) = SERVICES.iter().find(|(name, _)| *name == text) {
        return items.iter().any(|item| service_matches(item, protocol, port));
    }
    let (name, ports) = text.split_once('/').unwrap_or((text, ""));
    let number = match name {
        "any" => return true,
        "icmp" => 1,
        "tcp" => 6,
        "udp" => 17,
        "esp" => 50,
        "icmpv6" => 58,
        "sctp" => 132,
        "protocol" => return ports.parse() == Ok(protocol),
        other => panic!("the walk does not know {other}"),
    };
    let port_matches = |part: &str| match (name, part) {
        ("icmp", "echo-request") => port >> 8 == 8,
        ("icmp", "unreachable/4") => port == 3 << 8 | 4,
        ("icmpv6", "packet-too-big") => port >> 8 == 2,
        ("icmpv6", "echo-request" | "128") => port >> 8 == 128,
        _ => {
            let (low, high) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.parse::<u16>().expect("a port");
            number(low) <= port && port <= number(high)
        }
    };
    number == protocol && (ports.is_empty() || ports.split(',').any(port_matches))
}

struct Table;

impl Numbers for Table {
    fn zone(&mut self, name: &str) -> Option<u8> {
        ZONES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
    }

    fn rule(&mut self, name: &str) -> Option<u16> {
        name.strip_prefix("rule-")?.parse().ok().map(|number: u16| 4000 - number)
    }
}

fn load(text: &str) -> Policy {
    load_with_warnings(text).0
}

fn load_with_warnings(text: &str) -> (Policy, Vec<Warning>) {
    let source = Source { path: "random.toml".into(), text: text.to_owned() };
    let now = EPOCH.parse().expect("a timestamp");
    policy::load_sources_at(vec![source], None, now).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

fn lower(policy: &Policy) -> Lowered {
    let clock = Clock { monotonic_ns: BOOT, realtime: EPOCH.parse().expect("a timestamp") };
    policy::lower(policy, &mut Table, &clock).expect("the table has every number")
}

fn address(address: IpAddr) -> Address {
    match address {
        IpAddr::V4(v4) => Address::v4(v4.octets()),
        IpAddr::V6(v6) => Address::new(v6.octets()),
    }
}

fn first_packet(packet: &Packet) -> FirstPacket {
    FirstPacket {
        from_zone: packet.from,
        to_zone: packet.to,
        source: address(packet.source),
        destination: address(packet.destination),
        protocol: packet.protocol,
        service: packet.port.to_be_bytes(),
    }
}

/// What the dataplane's own classifier, run in a world in memory, says of the packet: number of the rule.
fn classified(world: &World, packet: &Packet) -> Option<u16> {
    let first = first_packet(packet);
    let low = first.source.bits() <= first.destination.bits();
    let mut visit = Visit::new(Arrival::default(), world.settings(), world.now());
    let descriptor = &mut visit.descriptor;
    descriptor.source_is_low = low;
    (descriptor.key.low, descriptor.key.high) = if low { (first.source, first.destination) } else { (first.destination, first.source) };
    descriptor.key.protocol = first.protocol;
    descriptor.service = first.service;
    classify(world, &visit, Zones { from: first.from_zone, to: first.to_zone }, false).ok().map(|decision| decision.rule)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 320, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_lowered_policy_decides_as_the_walk(text in policy_text(), packets in vec(packet(), 500)) {
        let (policy, warnings) = load_with_warnings(&text);
        let lowered = lower(&policy);
        let evaluator = lowered.evaluator();
        for packet in packets {
            let now = BOOT + u64::from(packet.seconds) * 1_000_000_000;
            let entry = evaluator.first_match(&first_packet(&packet), now);
            let found = entry.and_then(|entry| policy.rule_of_entry(entry)).map(|rule| rule.name.as_str());
            let expected = walk(&policy, &packet).map(|rule| rule.name.as_str());
            prop_assert_eq!(found, expected, "{:?}\n{}", packet, text);
            // The lookups do not mind what no packet is: of two families.
            if let Some(name) = expected.filter(|_| packet.source.is_ipv4() == packet.destination.is_ipv4()) {
                let never = format!("rule \"{name}\" can never match");
                prop_assert!(!warnings.iter().any(|warning| warning.to_string().contains(&never)), "{:?}\n{}", packet, text);
            }
            if let (Some(entry), Some(name)) = (entry, expected) {
                prop_assert_eq!(Some(lowered.entries[entry].number), Table.rule(name));
            }
        }
    }

    #[test]
    fn the_host_decides_as_the_dataplanes_classifier(text in policy_text(), packets in vec(packet(), 100)) {
        let lowered = lower(&load(&text));
        let evaluator = lowered.evaluator();
        let world = World::under(&lowered::tables(lowered.clone()));
        for packet in packets {
            let now = BOOT + u64::from(packet.seconds) * 1_000_000_000;
            world.set_clock(Nanos(now));
            let entry = evaluator.first_match(&first_packet(&packet), now);
            prop_assert_eq!(entry.map(|entry| lowered.entries[entry].number), classified(&world, &packet), "{:?}\n{}", packet, text);
        }
    }

    #[test]
    fn a_policy_differs_from_its_print_in_nothing(text in policy_text(), other in policy_text()) {
        let (policy, other) = (load(&text), load(&other));
        prop_assert_eq!(diff(&policy, &load(&policy.to_string())), []);
        prop_assert_eq!(diff(&policy, &other).is_empty(), policy.to_string() == other.to_string());
    }

    #[test]
    fn prints_read_back_as_the_same_policy(text in policy_text()) {
        let policy = load(&text);
        let print = policy.to_string();
        let again = load(&print);
        prop_assert_eq!(again.to_string(), print);
        prop_assert_eq!(lower(&again), lower(&policy));
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "(\\[\\[rule\\]\\]\n|name|from|service|action|expires|timeouts| = |\"[ -~é\t]{0,12}\"|[0-9:/.,@{}\\[\\]-]{1,6}|\n){0,24}") {
        let source = Source { path: "noise.toml".into(), text };
        if let Err(errors) = policy::load_sources(vec![source], None) {
            prop_assert!(!errors.to_string().is_empty());
        }
    }
}

/// Pieces a policy file may be made of, each a whole number of lines.
fn pieces() -> impl Strategy<Value = Vec<String>> {
    let kinds = select(
        &[
            "\n",
            "# a comment\n",
            "  # an indented one\n\n",
            "[set.SET]\naddresses = [\n  \"10.0.0.1\", # one\n]\n",
            "[[rule]]\nname = \"NAME\"\naction = \"allow\"\n",
            "# right above\n[[rule]] # beside\nname = 'NAME' # named\naction = \"drop\"\n# below\n\n",
            "[[rule]]\n\n  name=\"NAME\"\n  action=\"allow\"\n  timeouts.icmp = \"5s\"\n  # from = \"x\"\n",
            "[[rule]]\nname = \"NAME\"\naction = \"allow\"\nbecause = \"\"\"\nseveral\n\nlines\"\"\"\n\n\n",
            "[[rule]]\nname = \"NAME\"\naction = \"allow\"\n[rule.timeouts]\nicmp = \"5s\"\n",
        ][..],
    );
    vec(kinds, 0..8).prop_map(|pieces| {
        let named = |(number, piece): (usize, &str)| piece.replace("NAME", &format!("r{number}")).replace("SET", &format!("s{number}"));
        pieces.into_iter().enumerate().map(named).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn adding_and_removing_a_rule_changes_nothing(
        pieces in pieces(),
        terminated in any::<bool>(),
        carriage_returns in any::<bool>(),
        before in any::<prop::sample::Index>(),
        because in proptest::option::of("[ -~é]{0,20}"),
    ) {
        let mut text = pieces.concat();
        if !terminated {
            text.truncate(text.trim_end().len());
        }
        if carriage_returns {
            text = text.replace('\n', "\r\n");
        }
        let rules: Vec<usize> = pieces.iter().enumerate().filter(|(_, piece)| piece.contains("[[rule]]")).map(|(number, _)| number).collect();
        let rule = NewRule { name: "added".to_owned(), from: vec!["outside".to_owned()], because, ..NewRule::default() };
        let place = (!rules.is_empty()).then(|| format!("r{}", before.get(&rules)));
        for place in [None, place] {
            let added = add_rule(&text, &rule, place.as_deref()).expect("the rule can be added");
            prop_assert!(added.len() > text.len());
            prop_assert_eq!(&remove_rule(&added, "added").expect("the rule can be removed"), &text, "{}", added);
        }
    }

    #[test]
    fn removing_a_rule_leaves_the_others(pieces in pieces(), which in any::<prop::sample::Index>()) {
        let text = pieces.concat();
        let rules: Vec<usize> = pieces.iter().enumerate().filter(|(_, piece)| piece.contains("[[rule]]")).map(|(number, _)| number).collect();
        prop_assume!(!rules.is_empty());
        let gone = which.get(&rules);
        let left = remove_rule(&text, &format!("r{gone}")).expect("the rule can be removed");
        for (number, piece) in pieces.iter().enumerate() {
            let name = format!("r{number}");
            if piece.contains("[[rule]]") {
                prop_assert_eq!(left.contains(&format!("\"{name}\"")) || left.contains(&format!("'{name}'")), number != *gone);
            }
        }
        prop_assert_eq!(text.matches("addresses").count(), left.matches("addresses").count());
    }
}
