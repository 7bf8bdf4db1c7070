//! Sets that change while a policy is in force: after every change the tables in place decide as the policy does that has the same members
//! written in it, and while a change is made each address is of the class before or of the class after.

mod lone;
mod root;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::IpAddr,
};

use aya::{TestRun as _, TestRunOptions};
use firewall_common::{
    classify::Policies as _,
    flow::Address,
    rule::Dimension,
    testing::{
        builder::Packet,
        host::{Family, Host, OTHER},
    },
};
use firewall_user::{
    dataplane::Slots,
    policy::{self, Amendment, Changed, Clock, FirstPacket, LiveTables, Lowered, Members, Numbers, Policy, Prefix, Source},
};
use lone::Lone;
use proptest::{collection::vec, prelude::*, sample::select};

/// Sets by name, with what is written in each.
const SETS: [(&str, &[&str]); 4] = [
    ("some", &["10.1.2.3", "10.1.2.8/29", "2001:db8::1"]),
    ("more", &["@some", "192.0.2.0/24"]),
    ("none", &[]),
    ("wide", &["10.0.0.0/8", "::/0"]),
];
/// What comes and goes: inside each other, beside each other, of both families, above all of IPv4, and what is written already.
const PREFIXES: [&str; 20] = [
    "0.0.0.0/0",
    "0.0.0.0/1",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.0/24",
    "10.1.2.8/29",
    "10.1.2.3",
    "10.1.2.4",
    "10.1.2.9",
    "192.0.2.0/24",
    "192.0.2.128/25",
    "192.0.2.200",
    "::/0",
    "::/1",
    "::/64",
    "::/95",
    "2001:db8::/32",
    "2001:db8::/64",
    "2001:db8::1",
    "2001:db8::2",
];
const HOSTS: [&str; 14] = [
    "10.1.2.3",
    "10.1.2.4",
    "10.1.2.9",
    "10.1.2.77",
    "10.1.9.9",
    "10.9.9.9",
    "192.0.2.1",
    "192.0.2.129",
    "192.0.2.200",
    "203.0.113.9",
    "2001:db8::1",
    "2001:db8::2",
    "2001:db8:1::1",
    "3fff::1",
];
const SELECTORS: [&str; 12] = [
    "outside",
    "outside @some",
    "outside @more",
    "outside @none",
    "outside @wide",
    "outside @some, @none",
    "outside 10.1.0.0/16",
    "outside ::/0",
    "outside 10.1.2.4, @none",
    "any @none",
    "any 0.0.0.0/0",
    "outside 192.0.2.0/24, 2001:db8::/64",
];
const OUTSIDE: u8 = 1;

struct Numbering;

impl Numbers for Numbering {
    fn zone(&mut self, _: &str) -> Option<u8> {
        Some(OUTSIDE)
    }

    fn rule(&mut self, name: &str) -> Option<u16> {
        name.strip_prefix('r')?.parse().ok()
    }
}

/// Rules: what each is from, what it is to, and whether it allows.
type Rules = Vec<(&'static str, &'static str, bool)>;

fn rules() -> impl Strategy<Value = Rules> {
    vec((select(&SELECTORS[..]), select(&SELECTORS[..]), any::<bool>()), 1..10)
}

/// Changes: of which set, which prefix, and whether it comes.
fn changes() -> impl Strategy<Value = Vec<Vec<(usize, usize, bool)>>> {
    vec(vec((0..SETS.len(), 0..PREFIXES.len(), prop::bool::weighted(0.6)), 1..6), 1..8)
}

fn prefix(text: &str) -> Prefix {
    Prefix::of_member(text).expect("a member")[0]
}

/// The policy with members written into its sets. `to`: the word in place of `outside` in a rule's `to`.
fn text(rules: &Rules, members: &Members, to: &str) -> String {
    let mut text = String::new();
    for (name, written) in SETS {
        let more = members.0.get(name).into_iter().flatten().map(ToString::to_string);
        let all: Vec<String> =
            written.iter().map(|element| (*element).to_owned()).chain(more).map(|element| format!("\"{element}\"")).collect();
        writeln!(text, "[set.{name}]\naddresses = [{}]", all.join(", ")).expect("a string");
    }
    for (number, (from, onto, allow)) in rules.iter().enumerate() {
        let (onto, action) = (onto.replace("outside", to), if *allow { "allow" } else { "drop" });
        writeln!(text, "[[rule]]\nname = \"r{number}\"\nfrom = \"{from}\"\nto = \"{onto}\"\naction = \"{action}\"").expect("a string");
    }
    text
}

fn load(text: String) -> Policy {
    policy::load_sources(vec![Source { path: "sets.toml".into(), text }], None).unwrap_or_else(|errors| panic!("{errors}")).0
}

fn lower(policy: &Policy) -> Lowered {
    let clock = Clock { monotonic_ns: 0, realtime: jiff::Timestamp::UNIX_EPOCH };
    policy::lower(policy, &mut Numbering, &clock).expect("there are numbers")
}

/// Makes the changes among the members, and returns those that change anything.
fn take(members: &mut Members, batch: &[(usize, usize, bool)]) -> Vec<Changed> {
    let before = members.clone();
    for (set, which, present) in batch {
        let own = members.0.entry(SETS[*set].0.to_owned()).or_default();
        let prefix = prefix(PREFIXES[*which]);
        if *present {
            own.insert(prefix)
        } else {
            own.remove(&prefix)
        };
    }
    let none = BTreeSet::new();
    let mut changed = Vec::new();
    for (set, after) in &members.0 {
        let before = before.0.get(set).unwrap_or(&none);
        for prefix in before.symmetric_difference(after) {
            changed.push(Changed { set: set.clone(), prefix: *prefix, present: after.contains(prefix) });
        }
    }
    changed
}

fn address(text: &str) -> Address {
    match text.parse().expect("an address") {
        IpAddr::V4(v4) => Address::v4(v4.octets()),
        IpAddr::V6(v6) => Address::new(v6.octets()),
    }
}

fn packet(source: &str, destination: &str, to_zone: u8) -> FirstPacket {
    let (source, destination) = (address(source), address(destination));
    FirstPacket { from_zone: OUTSIDE, to_zone, source, destination, protocol: 17, service: [0, 53] }
}

/// Every packet between two hosts, with the number of the rule that decides it.
fn decisions(lowered: &Lowered, to_zone: u8) -> BTreeMap<(&'static str, &'static str), Option<u16>> {
    let evaluator = lowered.evaluator();
    let pairs = HOSTS.iter().flat_map(|source| HOSTS.iter().map(move |destination| (*source, *destination)));
    let decide = |(source, destination)| {
        let entry = evaluator.first_match(&packet(source, destination, to_zone), 0);
        ((source, destination), entry.map(|entry| lowered.entries[entry].number))
    };
    pairs.map(decide).collect()
}

/// Row of every host on both sides.
fn classes(lowered: &Lowered) -> Vec<u32> {
    let evaluator = lowered.evaluator();
    let of = |side: Dimension| HOSTS.iter().map(move |host| (side, address(host)));
    of(Dimension::Source).chain(of(Dimension::Destination)).map(|(side, host)| evaluator.address_class(0, side, &host)).collect()
}

/// An amendment as the steps that packets may come between.
fn steps(amendment: &Amendment) -> Vec<Amendment> {
    let first = Amendment { written: Vec::new(), removed: Vec::new(), ..amendment.clone() };
    let written = amendment.written.iter().map(|one| Amendment { written: vec![*one], ..Amendment::default() });
    let removed = amendment.removed.iter().map(|one| Amendment { removed: vec![*one], ..Amendment::default() });
    std::iter::once(first).chain(written).chain(removed).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_tables_decide_as_those_made_anew(rules in rules(), batches in changes()) {
        let written = load(text(&rules, &Members::default(), "outside"));
        let mut tables = lower(&written);
        let mut live = LiveTables::of(&written);
        let mut members = Members::default();
        for batch in batches {
            let changed = take(&mut members, &batch);
            let before = classes(&tables);
            let amendment = live.change(&changed).expect("there is room");
            let used = tables.rows.len();
            prop_assert!(amendment.rows.iter().all(|(number, _)| *number as usize >= used), "only free rows are written");
            let mut between = Vec::new();
            for step in steps(&amendment) {
                tables.amend(&step);
                between.push(classes(&tables));
            }
            let after = classes(&tables);
            for found in between {
                for (at, found) in found.iter().enumerate() {
                    prop_assert!(*found == before[at] || *found == after[at], "{at}: {} > {found} > {}, {amendment:?}", before[at], after[at]);
                }
            }
            let anew = text(&rules, &members, "outside");
            prop_assert_eq!(decisions(&tables, OUTSIDE), decisions(&lower(&load(anew.clone())), OUTSIDE), "{:?}\n{}", changed, anew);
            let filled = written.clone().with_members(&members).expect("there is room");
            prop_assert_eq!(decisions(&tables, OUTSIDE), decisions(&lower(&filled), OUTSIDE), "{}", anew);
            // Tables that were made anew can be changed like those that were changed often.
            if changed.len() > 3 {
                (tables, live) = (lower(&filled), LiveTables::of(&filled));
            }
        }
    }
}

/// A frame from one of the hosts to another.
fn frame(source: &str, destination: &str, port: u16) -> Vec<u8> {
    let host = |text: &str| match text.parse().expect("an address") {
        IpAddr::V4(v4) => Host { v4: v4.octets(), ..OTHER },
        IpAddr::V6(v6) => Host { v6: v6.octets(), ..OTHER },
    };
    let family = if source.contains(':') { Family::V6 } else { Family::V4 };
    Packet::udp(family, (host(source), port), (host(destination), 53), 32).build().bytes
}

/// The same rules, each to the box itself, in the kernel. Every flow goes on through all changes, so each is judged again after each.
#[test]
fn the_kernel_decides_as_tables_made_anew() {
    const XDP_PASS: u32 = 2;
    if !root::available() {
        return;
    }
    let mut random = fastrand::Rng::with_seed(11);
    let lone = Lone::start("sets");
    let maps = lone.dataplane.maps();
    let (program, mut slots) = (lone.program(), Slots::read(maps).expect("the tries can be read"));
    let (mut packets, mut passed) = (0, 0);
    for round in 0..12u16 {
        let rules: Rules =
            (0..6).map(|_| (random.choice(SELECTORS).expect("one"), random.choice(SELECTORS).expect("one"), random.bool())).collect();
        let written = load(text(&rules, &Members::default(), "self"));
        let generation = slots.switch(maps, &lower(&written)).expect("the policy");
        let (mut live, mut members) = (LiveTables::of(&written), Members::default());
        for change in 1..=8u32 {
            let batch: Vec<_> = (0..3).map(|_| (random.usize(..SETS.len()), random.usize(..PREFIXES.len()), random.u8(..5) < 3)).collect();
            let amendment = live.change(&take(&mut members, &batch)).expect("there is room");
            assert_eq!(slots.amend(maps, &amendment).expect("the tables can be changed"), generation + 2 * change);
            let expected = decisions(&lower(&load(text(&rules, &members, "self"))), 0);
            for ((source, destination), rule) in expected {
                if source == destination || source.contains(':') != destination.contains(':') {
                    continue;
                }
                let data = frame(source, destination, 1_000 + round);
                let run = program.test_run(TestRunOptions { data_in: Some(&data), ..TestRunOptions::new() }).expect("it runs");
                let allowed = rule.is_some_and(|rule| rules[usize::from(rule)].2);
                assert_eq!(
                    run.return_value == XDP_PASS,
                    allowed,
                    "{source} > {destination}, rule {rule:?}\n{}",
                    text(&rules, &members, "self")
                );
                packets += 1;
                passed += u32::from(allowed);
            }
        }
    }
    println!("{packets} packets, {passed} passed");
    assert!(packets > 5_000 && passed > packets / 20 && passed < packets - packets / 20, "{passed} of {packets}");
}
