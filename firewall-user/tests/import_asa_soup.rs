//! Text that only looks like a configuration: whatever it says, the import ends, and what it makes loads.

use std::{fmt::Write as _, path::Path};

use firewall_user::{
    import::asa,
    policy::{self, Source},
};
use proptest::{collection::vec, prelude::*, sample::select};

fn today() -> jiff::Timestamp {
    "2026-06-01T00:00:00Z".parse().expect("a timestamp")
}

/// Words that mean something, for lines of them in any order.
const WORDS: [&str; 96] = [
    "access-list",
    "extended",
    "permit",
    "deny",
    "tcp",
    "udp",
    "ip",
    "icmp",
    "icmp6",
    "any",
    "any4",
    "any6",
    "host",
    "10.0.0.1",
    "10.0.0.0",
    "255.255.255.0",
    "0.0.0.255",
    "2001:db8::/32",
    "2001:db8::1",
    "eq",
    "neq",
    "lt",
    "gt",
    "range",
    "80",
    "www",
    "65535",
    "0",
    "log",
    "inactive",
    "time-range",
    "T",
    "remark",
    "object",
    "object-group",
    "network",
    "service",
    "protocol",
    "icmp-type",
    "A",
    "B",
    "C",
    "subnet",
    "fqdn",
    "network-object",
    "group-object",
    "port-object",
    "service-object",
    "source",
    "destination",
    "tcp-udp",
    "interface",
    "nameif",
    "security-level",
    "100",
    "outside",
    "inside",
    "access-group",
    "in",
    "out",
    "global",
    "class-map",
    "match",
    "access-list",
    "port",
    "policy-map",
    "class",
    "class-default",
    "set",
    "connection",
    "advanced-options",
    "tcp-state-bypass",
    "timeout",
    "idle",
    "0:05:00",
    "9999:99:99",
    "random-sequence-number",
    "disable",
    "tcp-map",
    "tcp-options",
    "6",
    "7",
    "clear",
    "drop",
    "allow",
    "urgent-flag",
    "service-policy",
    "absolute",
    "end",
    "23:59",
    "31",
    "December",
    "2027",
    "same-security-traffic",
    "inter-interface",
    "\u{7f}\u{85}é\"'\\",
];
const BEGINNINGS: [&str; 20] = [
    "access-list A extended permit tcp any any",
    "access-list A extended deny ip any",
    "access-list B permit",
    "access-list A",
    "object network A",
    "object-group network B",
    "object-group service C tcp",
    "object-group service C",
    "object service A",
    "interface e0\n nameif outside\n security-level",
    "interface e1\n nameif inside\n",
    "access-group A in interface outside",
    "access-group B global",
    "class-map C\n match access-list",
    "policy-map P\n class C\n  set connection",
    "service-policy P",
    "time-range T\n absolute end",
    "tcp-map M\n tcp-options",
    "timeout conn",
    "ipv6 access-list B permit",
];

fn soup() -> impl Strategy<Value = String> {
    let line = (proptest::option::weighted(0.7, select(&BEGINNINGS[..])), vec(select(&WORDS[..]), 0..8), 0..3_usize)
        .prop_map(|(beginning, words, indent)| format!("{}{} {}", " ".repeat(indent), beginning.unwrap_or_default(), words.join(" ")));
    vec(line, 0..40).prop_map(|lines| format!("interface e0\n nameif outside\ninterface e1\n nameif inside\n{}\n", lines.join("\n")))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_words_the_policy_loads(text in soup()) {
        if let Ok(imported) = asa::import(Path::new("soup.cfg"), &text, today()) && imported.count > 0 {
            let source = Source { path: "policy.toml".into(), text: imported.text() };
            policy::load_sources_at(vec![source], None, today()).map_err(|errors| TestCaseError::fail(format!("{text}\n{}\n{errors}", imported.text())))?;
        }
    }

    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..400)) {
        if let Ok(text) = asa::decode(Path::new("bytes.cfg"), bytes) {
            drop(asa::import(Path::new("bytes.cfg"), &text, today()));
        }
    }

    #[test]
    fn no_text_panics(text in "(?s)((interface|access-list|object|set|class-map|policy-map|tcp-map|timeout) ?)?.{0,200}") {
        drop(asa::import(Path::new("text.cfg"), &text, today()));
    }
}

/// Commands of a TCP map, some of which an ASA would not take.
fn tcp_map() -> impl Strategy<Value = String> {
    let switch = (select(&["", "no "][..]), select(&["check-retransmission", "checksum-verification", "ttl-evasion-protection"][..]));
    let keys =
        ["exceed-mss", "invalid-ack", "seq-past-window", "syn-data", "synack-data", "reserved-bits", "urgent-flag", "tcp-options mss"];
    let options = ["tcp-options timestamp", "tcp-options selective-ack", "tcp-options window-scale", "tcp-options md5", "queue-limit"];
    let word = (select([&keys[..], &options[..]].concat()), select(&["allow", "clear", "drop", "allow-connection"][..]));
    let range = (0..256_u16, 0..256_u16, select(&["allow", "clear", "drop"][..]));
    prop_oneof![
        switch.prop_map(|(no, key)| format!("{no}{key}")),
        word.prop_map(|(key, value)| format!("{key} {value}")),
        range.prop_map(|(first, last, action)| format!("tcp-options range {first} {last} {action}")),
        select(&["window-variation drop-connection", "window-variation allow-connection", "tcp-options mss maximum 9"][..])
            .prop_map(str::to_owned),
    ]
}

proptest! {
    #[test]
    fn whatever_a_tcp_map_says_its_profile_loads(map in vec(tcp_map(), 0..12), clamp in any::<bool>(), own_numbers in any::<bool>()) {
        let frame = "interface e0\n nameif outside\n security-level 0\ninterface e1\n nameif inside\n security-level 100\n";
        let clamp = if clamp { "sysopt connection tcpmss 1380\n" } else { "" };
        let numbers = if own_numbers { "  set connection random-sequence-number disable\n" } else { "" };
        let class = "policy-map p\n class class-default\n  set connection advanced-options m\n";
        let text = format!("{frame}{clamp}tcp-map m\n {}\n{class}{numbers}service-policy p global\n", map.join("\n "));
        let imported = asa::import(Path::new("map.cfg"), &text, today()).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let source = Source { path: "policy.toml".into(), text: imported.text() };
        let loaded = policy::load_sources_at(vec![source], None, today());
        let (policy, _) = loaded.map_err(|errors| TestCaseError::fail(format!("{text}\n{}\n{errors}", imported.text())))?;
        let named = if own_numbers { "m-own-numbers" } else { "m" };
        prop_assert!(policy.rules().iter().any(|rule| rule.normalizer.as_deref() == Some(named)), "{}", policy);
    }
}

/// Groups that name each other, many times over, and lists without end, are refused or read at once.
#[test]
fn large_and_circular_configurations_come_to_an_end() {
    let members = " group-object A\n group-object B\n".repeat(200);
    let circle = format!("object-group network A\n{members}object-group network B\n{members}interface e0\n nameif outside\n");
    assert!(asa::import(Path::new("circle.cfg"), &circle, today()).is_ok());
    let mut long = String::from(
        "interface e0\n nameif outside\n security-level 0\ninterface e1\n nameif inside\n security-level 100\naccess-group a in interface outside\n",
    );
    let remarks = "access-list a remark again\n".repeat(20_000);
    for number in 0..30_000 {
        let _ =
            writeln!(long, "access-list a extended permit tcp any4 host 10.{}.{}.{} eq 80", number >> 16, number >> 8 & 255, number & 255);
    }
    for long in [long.clone(), format!("{remarks}{long}"), format!("{}{long}", remarks.repeat(4))] {
        let error = asa::import(Path::new("long.cfg"), &long, today()).expect_err("too many rules");
        assert!(error.to_string().contains("more than a policy can hold"), "{error}");
    }
    let interface = |number: usize| format!("interface e{number}\n nameif zone{number}\n security-level {}\n", number % 100);
    let many: String = (0..50_000).map(interface).collect();
    assert!(asa::import(Path::new("many.cfg"), &many, today()).is_err());
}
