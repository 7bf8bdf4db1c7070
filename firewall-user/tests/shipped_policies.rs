//! The policies that come with Weir load as they are and decide as their comments say, and the table of knobs is true.

use std::{collections::BTreeMap, fs, path::Path};

use firewall_common::flow::{Address, Inspection};
use firewall_user::policy::{self, Clock, Diagnostics, FirstPacket, Lowered, Numbers, Policy, Setting, Source, Warning};

/// The day the shipped policies are judged by: their own `expires` must not make the test fail one day.
const TODAY: &str = "2027-01-01T00:00:00Z";
const EXPIRY_OF_BYPASS: u64 = 181 * 86_400 * 1_000_000_000;

fn check(sources: Vec<Source>, zones: Option<&[String]>) -> Result<(Policy, Vec<Warning>), Diagnostics> {
    policy::load_sources_at(sources, zones, TODAY.parse().expect("a timestamp"))
}

fn shipped(name: &str, zones: &[&str]) -> Policy {
    let path = Path::new("../policies").join(name);
    let zones: Vec<String> = zones.iter().map(ToString::to_string).collect();
    let sources = policy::read_sources(&path).unwrap_or_else(|errors| panic!("{errors}"));
    let (policy, warnings) = check(sources, Some(&zones)).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(warnings.is_empty(), "{}", warnings[0]);
    policy
}

#[derive(Default)]
struct Table(BTreeMap<String, u16>);

impl Numbers for Table {
    fn zone(&mut self, name: &str) -> Option<u8> {
        zone(name)
    }

    fn rule(&mut self, name: &str) -> Option<u16> {
        let next = self.0.len() as u16;
        Some(*self.0.entry(name.to_owned()).or_insert(next))
    }
}

fn zone(name: &str) -> Option<u8> {
    ["self", "inside", "outside"].into_iter().zip(0..).find(|(known, _)| *known == name).map(|(_, number)| number)
}

fn lower(policy: &Policy) -> Lowered {
    let clock = Clock { monotonic_ns: 0, realtime: TODAY.parse().expect("a timestamp") };
    policy::lower(policy, &mut Table::default(), &clock).expect("numbers for all")
}

fn address(text: &str) -> Address {
    match text.parse().expect("an address") {
        std::net::IpAddr::V4(v4) => Address::v4(v4.octets()),
        std::net::IpAddr::V6(v6) => Address::new(v6.octets()),
    }
}

/// Checks lines of `from source to destination protocol port = rule`, a rule of `-` being the default deny.
fn decide(policy: &Policy, now: u64, cases: &str) {
    let lowered = lower(policy);
    let evaluator = lowered.evaluator();
    for case in cases.lines().map(str::trim).filter(|case| !case.is_empty()) {
        let words: Vec<&str> = case.split_whitespace().collect();
        let [from, source, to, destination, protocol, port, "=", expected] = words[..] else { panic!("{case}") };
        let protocol = match protocol {
            "icmp" => 1,
            "tcp" => 6,
            "udp" => 17,
            "esp" => 50,
            "icmpv6" => 58,
            other => panic!("{other}"),
        };
        let port = port.parse::<u16>().expect("a port").to_be_bytes();
        let (from, to) = (zone(from).expect("a zone"), zone(to).expect("a zone"));
        let (source, destination) = (address(source), address(destination));
        let packet = FirstPacket { from_zone: from, to_zone: to, source, destination, protocol, service: port };
        let entry = evaluator.first_match(&packet, now);
        let found = entry.and_then(|entry| policy.rule_of_entry(entry)).map_or("-", |rule| rule.name.as_str());
        assert_eq!(found, expected, "{case}");
    }
}

#[test]
fn server_policy_decides_as_it_says() {
    let policy = shipped("server", &["outside"]);
    decide(
        &policy,
        0,
        "outside 10.20.0.9 self 203.0.113.5 tcp 22 = ssh
         outside 2001:db8:20::9 self 2001:db8::5 tcp 22 = ssh
         outside 10.21.0.9 self 203.0.113.5 tcp 22 = -
         outside 2001:db8:21::9 self 2001:db8::5 tcp 443 = web
         outside 10.21.0.9 self 203.0.113.5 udp 443 = web
         outside 10.21.0.9 self 203.0.113.5 icmp 2048 = ping
         outside 10.21.0.9 self 203.0.113.5 icmp 1280 = -
         outside 10.21.0.9 self 203.0.113.5 icmp 772 = -
         outside 2001:db8:21::9 self 2001:db8::5 icmpv6 512 = -
         outside 10.21.0.9 self 203.0.113.5 tcp 113 = ident
         outside 10.21.0.9 self 203.0.113.5 tcp 3306 = -
         self 203.0.113.5 outside 10.21.0.9 tcp 3306 = out",
    );
}

#[test]
fn edge_policy_decides_as_it_says() {
    let policy = shipped("edge", &["inside", "outside"]);
    assert!(policy.rules().iter().all(|rule| rule.inspection == Inspection::Strict));
    let published = policy.rules().iter().filter(|rule| rule.normalizer.as_deref() == Some("published"));
    assert_eq!(published.map(|rule| rule.name.as_str()).collect::<Vec<_>>(), ["web-server"]);
    decide(
        &policy,
        0,
        "inside 10.71.9.10 self 10.71.0.1 tcp 22 = admin
         inside 10.71.9.20 self 10.71.0.1 tcp 22 = -
         outside 203.0.113.1 self 198.51.100.1 tcp 22 = -
         inside 0.0.0.0 self 255.255.255.255 udp 67 = dhcp
         outside 203.0.113.1 inside 198.51.100.10 tcp 443 = web-server
         outside 203.0.113.1 inside 198.51.100.11 tcp 443 = -
         outside 203.0.113.1 inside 198.51.100.20 esp 0 = ipsec-in
         outside 203.0.113.1 inside 198.51.100.20 udp 4500 = ipsec-in
         outside 203.0.113.1 inside 198.51.100.20 tcp 10000 = -
         inside 198.51.100.20 outside 203.0.113.1 udp 500 = inside-out
         inside 198.51.100.25 outside 203.0.113.1 tcp 25 = mail-server
         inside 10.71.3.3 outside 203.0.113.1 tcp 25 = no-other-mail
         inside 10.71.3.3 outside 203.0.113.1 tcp 587 = inside-out
         inside 203.0.113.7 outside 203.0.113.1 tcp 587 = -
         outside 203.0.113.7 inside 10.71.3.3 icmp 772 = -
         self 198.51.100.1 outside 203.0.113.1 udp 123 = gateway-out",
    );
}

#[test]
fn bypass_policy_bypasses_the_vpn_and_nothing_else() {
    let policy = shipped("ipsec-over-tcp", &["inside", "outside"]);
    let bypass: Vec<_> = policy.rules().iter().filter(|rule| rule.inspection == Inspection::Bypass).collect();
    let [rule] = bypass[..] else { panic!("{} bypass rules", bypass.len()) };
    assert_eq!((rule.name.as_str(), rule.timeouts.bypass, rule.one_sided_flows), ("vpn-clients-ctcp", 120_000, 64));
    assert!(rule.because.is_some() && rule.expires.is_some() && !rule.sanity_off);
    let cases = "outside 203.0.113.1 inside 10.71.2.11 tcp 10000 = -
         outside 203.0.113.1 inside 10.71.2.10 tcp 10001 = -
         outside 203.0.113.1 inside 10.71.2.10 udp 10000 = -
         outside 203.0.113.1 inside 10.71.2.10 esp 0 = vpn-clients-ipsec
         outside 203.0.113.1 inside 10.71.2.10 udp 4500 = vpn-clients-ipsec
         outside 203.0.113.1 inside 10.71.2.10 tcp 443 = vpn-clients-tls
         inside 10.71.2.10 outside 203.0.113.1 udp 500 = vpn-head-end
         inside 10.71.2.10 outside 203.0.113.1 tcp 10000 = inside-out
         outside 203.0.113.1 self 10.71.0.1 icmp 2048 = ping
         outside 203.0.113.1 inside 10.71.2.10 icmp 772 = -
         outside 203.0.113.1 self 10.71.0.1 tcp 22 = -";
    decide(&policy, 0, cases);
    decide(&policy, EXPIRY_OF_BYPASS - 1, "outside 203.0.113.1 inside 10.71.2.10 tcp 10000 = vpn-clients-ctcp");
    decide(&policy, EXPIRY_OF_BYPASS, "outside 203.0.113.1 inside 10.71.2.10 tcp 10000 = -");
    decide(&policy, EXPIRY_OF_BYPASS, cases);
}

/// The cells of a table's rows, without the marks of code.
fn cells(text: &str) -> Vec<Vec<String>> {
    let rows = text.lines().filter(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect()).collect()
}

#[test]
fn the_table_of_knobs_is_true() {
    let text = fs::read_to_string("../docs/normalizer.md").expect("the page on the normalizer");
    let section = text.split("\n## Knobs\n").nth(1).and_then(|rest| rest.split("\n### ").next()).expect("the section");
    let rows = cells(section);
    let [default, asa, off] = &policy::built_in_normalizers()[..] else { panic!("three built-in profiles") };
    let settings = [default, asa, off].map(|profile| profile.settings().collect::<Vec<_>>());
    assert_eq!(rows.len(), settings[0].len() + 2, "a row for each knob, below the heading");
    for (index, row) in rows[2..].iter().enumerate() {
        for (profile, column) in settings.iter().zip(2..) {
            let (key, setting) = &profile[index];
            let told = match setting {
                Setting::Switch(on) => on.to_string(),
                Setting::Word(word) => (*word).to_owned(),
                Setting::Limit(bytes) => bytes.map_or("off".to_owned(), |bytes| bytes.to_string()),
                Setting::Options(options) => {
                    let kinds: Vec<&str> = options.iter().map(|(kinds, _)| kinds.as_str()).collect();
                    options.first().map_or(String::new(), |(_, action)| format!("{}: {action}", kinds.join(", ")))
                }
            };
            assert_eq!((row[0].as_str(), &row[column]), (*key, &told), "column {column}");
        }
    }
}
