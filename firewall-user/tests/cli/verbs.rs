//! The verbs that talk to the daemon.

use std::{fs, io::Write as _, os::unix::fs::PermissionsExt as _};

use aya::maps::{Array, Map, MapData};
use firewall_common::{
    abi::map,
    config::{Config, MAX_INTERFACES},
    normalize::{Profile, checks, profile::MAX_PROFILES},
    rule::{MAX_ENTRIES, Rule},
};

use crate::lab::{Lab, POLICY, eventually, in_lab};

#[test]
fn interfaces_come_and_go_while_it_runs() {
    in_lab(|lab| {
        let status = lab.start(&["--interface", "outside=box0"]);
        let generation = status["policy"]["generation"].as_u64();
        let attached = lab.json(&["attach", "spare", "--zone", "lab", "--mode", "generic"]);
        assert_eq!((&attached["zone"], &attached["mode"]), (&"lab".into(), &"generic".into()), "{attached}");
        let status = lab.json(&["status"]);
        assert_eq!((status["ready"].as_bool(), status["interfaces"].as_array().map(Vec::len)), (Some(true), Some(2)), "{status}");
        assert!(status["policy"]["generation"].as_u64() > generation, "the new zone is in the tables: {status}");
        lab.weir(&["attach", "spare", "--zone", "lab"]).refused_with(1, &["already attached"]);
        lab.weir(&["attach", "absent", "--zone", "lab"]).refused_with(1, &["no interface `absent`"]);
        lab.weir(&["attach", "spare-peer", "--zone", "Lab"]).refused_with(2, &["no zone name"]);
        assert_eq!(lab.weir(&["detach", "spare"]).code, Some(0));
        assert_eq!(lab.xdp("spare"), None);
        lab.weir(&["detach", "spare"]).refused_with(1, &["not attached"]);
        assert_eq!(lab.json(&["status"])["ready"], true);
    });
}

#[test]
fn bypass_edits_keep_comments_and_are_undone_when_refused() {
    in_lab(|lab| {
        lab.start(&["--interface", "outside=box0"]);
        fs::set_permissions(lab.policies().join("10-base.toml"), fs::Permissions::from_mode(0o640)).expect("permissions");
        let add = ["bypass", "add", "vpn", "--from", "outside", "--to", "self", "--service", "tcp/10000"];
        let added = lab.json(&[&add[..], &["--because", "for now", "--expires", "2099-01-31", "--before", "in"]].concat());
        let edited = lab.read("10-base.toml").expect("the file");
        assert!(added["file"].as_str().is_some_and(|file| file.ends_with("10-base.toml")), "{added}");
        assert!(edited.ends_with(POLICY) && edited.len() > POLICY.len(), "{edited}");
        let mode = fs::metadata(lab.policies().join("10-base.toml")).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o640);

        let listed = lab.json(&["bypass", "list"]);
        assert_eq!(
            (&listed[0]["name"], &listed[0]["because"], &listed[0]["flows"]),
            (&"vpn".into(), &"for now".into(), &0.into()),
            "{listed}"
        );

        // Refused: the name is taken, the selector is nonsense, the file is elsewhere, the rule is no bypass rule.
        lab.weir(&[&add[..], &["--before", "in"]].concat()).refused_with(1, &["already has a rule \"vpn\""]);
        lab.weir(&[&add[..], &[]].concat()).refused_with(2, &["vpn"]);
        lab.weir(&["bypass", "add", "x", "--from", "outside 300.1.1.1", "--to", "self", "--service", "tcp/1"])
            .refused_with(2, &["300.1.1.1"]);
        lab.weir(&["bypass", "add", "x", "--from", "any", "--to", "self", "--service", "tcp/1", "--file", "../x.toml"])
            .refused_with(2, &["no name for a policy file"]);
        lab.weir(&["bypass", "add", "x", "--from", "any", "--to", "self", "--service", "tcp/1", "--expires", "soon"])
            .refused_with(2, &["soon"]);
        lab.weir(&["bypass", "remove", "in"]).refused_with(1, &["no bypass rule"]);
        lab.weir(&["bypass", "remove", "absent"]).refused_with(1, &["no rule `absent`"]);
        assert_eq!(lab.read("10-base.toml").expect("the file"), edited);
        assert!(lab.read("00-bypass.toml").is_err(), "no file was left behind");

        lab.json(&["bypass", "remove", "vpn"]);
        assert_eq!(lab.read("10-base.toml").expect("the file"), POLICY);
        assert_eq!(lab.json(&["bypass", "list"]), serde_json::json!([]));
        let added = lab.json(&add);
        assert!(added["file"].as_str().is_some_and(|file| file.ends_with("00-bypass.toml")), "{added}");
        assert!(lab.read("00-bypass.toml").is_ok_and(|text| text.starts_with("# ")));
    });
}

#[test]
fn flows_are_filtered_and_killed() {
    in_lab(|lab| {
        lab.start(&["--interface", "outside=box0"]);
        let _connection = lab.connect();
        assert!(lab.datagram_arrives(7000));
        let count = |words: &[&str]| lab.json(&[&["flows"], words].concat()).as_array().map(Vec::len);
        assert_eq!(count(&[]), Some(2));
        assert_eq!(count(&["protocol=tcp", "zone=outside"]), Some(1));
        assert_eq!(count(&["protocol=udp", "flags=i"]), Some(1));
        assert_eq!(count(&["address=10.9.0.0/24", "zone=self"]), Some(2));
        assert_eq!(count(&["address=10.8.0.0/24"]), Some(0));
        assert_eq!(count(&["--limit", "1"]), Some(1));
        lab.weir(&["flows", "zoen=outside"]).refused_with(2, &["did you mean `zone`"]);
        lab.weir(&["flows", "kill"]).refused_with(2, &[]);
        assert_eq!(lab.json(&["flows", "kill", "protocol=tcp"])["killed"], 1);
        assert_eq!(count(&["protocol=tcp"]), Some(0));
        assert_eq!(lab.json(&["flows", "kill", "--all"])["killed"], 1);
        assert_eq!(count(&[]), Some(0));
    });
}

#[test]
fn flows_tell_of_their_security_associations() {
    in_lab(|lab| {
        lab.start(&["--interface", "outside=box0"]);
        let esp = |spi: u32, sequence: u32| [&spi.to_be_bytes()[..], &sequence.to_be_bytes(), &[7; 24]].concat();
        lab.send_datagram(5000, &esp(0x1000, 1));
        for datagram in [esp(0x1000, 41), vec![0xff], esp(0x1001, 1)] {
            lab.send_datagram(4500, &datagram);
        }
        let ipsec = |port: &str| lab.json(&["flows", &format!("port={port}")])[0]["ipsec"].clone();
        assert_eq!(ipsec("5000"), serde_json::Value::Null, "not a port of IPsec");
        let none = serde_json::Value::Null;
        let expected = serde_json::json!({
            "spi": { "to_responder": 0x1001, "to_initiator": none },
            "previous_spi": { "to_responder": 0x1000, "to_initiator": none },
            "sequence": { "to_responder": 1, "to_initiator": none },
            "rekeys": 1,
        });
        assert_eq!(ipsec("4500"), expected);
        assert_eq!(lab.json(&["counters"])["drops"], serde_json::json!({}));
    });
}

#[test]
fn counters_tell_what_was_dropped_and_why() {
    in_lab(|lab| {
        lab.start(&["--interface", "outside=box0"]);
        assert!(!lab.datagram_arrives(7999));
        let counters = lab.json(&["counters"]);
        assert_eq!(counters["drops"], serde_json::json!({ "acl-drop": 1 }), "{counters}");
        assert_eq!(counters["interfaces"][0]["name"], "box0");
        assert_eq!(counters["interfaces"][0]["dropped"], 1);
        assert_eq!(counters["interfaces"][0]["drops"], counters["drops"]);
        assert_eq!(counters["tables"]["established"]["capacity"], 1024);
        assert!(lab.json(&["counters", "--all"])["drops"].as_object().is_some_and(|drops| drops.len() > 30));
        let table = lab.weir(&["counters"]);
        assert!(table.out.contains("no rule matches"), "the table explains: {}", table.out);
    });
}

#[test]
fn quality_tells_of_both_ways_and_outlives_the_flows() {
    in_lab(|lab| {
        lab.start(&["--interface", "outside=box0"]);
        assert_eq!(lab.json(&["quality"])["ways"], serde_json::json!([]));
        let (mut client, mut server) = lab.connect();
        for end in [&mut client, &mut server] {
            end.write_all(b"hello").expect("the connection is up");
        }
        let flow = lab.json(&["flows", "state=established"])[0].clone();
        assert_eq!(flow["quality"]["loss"]["to_responder"]["lost"], "nowhere", "{flow}");
        let trips = &flow["quality"]["round_trip_milliseconds"];
        assert!(trips["initiator"].as_f64() > Some(0.0) && trips["responder"].as_f64() > Some(0.0), "the handshake tells both: {flow}");
        let rule = flow["rule"].clone();
        lab.weir(&["flows", "kill", "--all"]);
        for by in ["interface", "rule"] {
            let report = lab.json(&["quality", "--by", by]);
            let ways = report["ways"].as_array().expect("a list").clone();
            assert_eq!((report["by"].as_str(), ways.len()), (Some(by), 2), "{report}");
            let inwards = ways.iter().find(|way| way["from"]["zone"] == "outside").expect("a way from outside");
            assert_eq!((&inwards["from"]["interface"], &inwards["to"]["zone"]), (&"box0".into(), &"self".into()), "{report}");
            assert!(inwards["total"]["packets"].as_u64() >= Some(3), "{report}");
            assert_eq!((&inwards["total"]["before"], &inwards["total"]["lost"]), (&0.into(), &"nowhere".into()), "{report}");
            let named = if by == "rule" { rule.clone() } else { serde_json::Value::Null };
            assert_eq!(inwards["rule"], named, "{report}");
        }
        assert!(lab.weir(&["quality"]).out.starts_with("no loss is seen\n"));
        assert!(lab.weir(&["flows", "--quality"]).out.starts_with("no flows\n"));
    });
}

#[test]
fn totals_outlive_the_interfaces_they_are_of() {
    in_lab(|lab| {
        lab.start(&["--interface", "outside=box0"]);
        assert!(!lab.datagram_arrives(7999) && lab.datagram_arrives(7000));
        let totals = |counters: &serde_json::Value| (counters["drops"]["acl-drop"].as_u64(), counters["passed"].as_u64());
        let before = lab.json(&["counters"]);
        assert_eq!(totals(&before).0, Some(1), "{before}");
        assert_eq!(lab.weir(&["detach", "box0"]).code, Some(0));
        // Places go round: some of these interfaces has the place that the first one had.
        for _ in 0..MAX_INTERFACES {
            lab.json(&["attach", "spare", "--zone", "outside", "--mode", "generic"]);
            let counters = lab.json(&["counters"]);
            assert_eq!((&counters["interfaces"][0]["dropped"], totals(&counters)), (&0.into(), totals(&before)), "{counters}");
            assert_eq!(lab.weir(&["detach", "spare"]).code, Some(0));
        }
    });
}

#[test]
fn a_policy_is_applied_reloaded_and_shown() {
    in_lab(|lab| {
        lab.start(&["--interface", "outside=box0"]);
        let (_client, _server) = lab.connect();
        let open = POLICY.replace("udp/7000", "udp/7999");
        lab.write("10-base.toml", &open);
        lab.signal(rustix::process::Signal::HUP);
        eventually("the reload", || (lab.json(&["status"])["policy"]["generation"] == 2).then_some(()));
        assert!(lab.datagram_arrives(7999) && !lab.datagram_arrives(7000));
        let shown = lab.json(&["policy", "show"]);
        assert_eq!((&shown["rules"][0]["name"], &shown["rules"][0]["line"]), (&"in".into(), &3.into()), "{shown}");
        assert_eq!(shown["rules"][0]["hits"], 2, "the number is the rule's, through reloads: {shown}");
        let text = lab.weir(&["policy", "show"]).out;
        assert!(text.contains("udp/7999") && text.contains("Everything else is dropped"), "{text}");
        let path = lab.write("only-this", POLICY);
        let applied = lab.json(&["policy", "apply", path.to_str().expect("UTF-8")]);
        assert_eq!((&applied["generation"], &applied["rules"]), (&3.into(), &2.into()), "{applied}");
        assert!(lab.datagram_arrives(7000) && !lab.datagram_arrives(7999));
    });
}

/// The first rules and all profiles of a generation, as packets meet them.
fn in_kernel(lab: &Lab, generation: u32) -> ([Rule; 2], Vec<Profile>) {
    let open = |name: &str| Map::Array(MapData::from_pin(lab.pins().join("maps").join(name)).expect("a pinned map"));
    let rules: Array<MapData, Rule> = open(map::RULES).try_into().expect("the rules");
    let profiles: Array<MapData, Profile> = open(map::PROFILES).try_into().expect("the profiles");
    let slot = Config::slot(generation);
    let rule = |entry: u32| rules.get(&(slot * MAX_ENTRIES as u32 + entry), 0).expect("a rule");
    let profile = |number: u32| profiles.get(&(slot * MAX_PROFILES as u32 + number), 0).expect("a profile");
    ([rule(0), rule(1)], (0..MAX_PROFILES as u32).map(profile).collect())
}

#[test]
fn normalizer_profiles_are_shown_and_reach_the_kernel() {
    in_lab(|lab| {
        let policy = POLICY.replacen("action = \"allow\"", "normalizer = \"site\"\naction = \"allow\"", 1);
        let policy = format!("{policy}[normalizer.site]\nbase = \"asa\"\nmss-clamp = 1360\ntcp-options = {{ \"34\" = \"drop\" }}\n");
        let path = lab.write("10-base.toml", &policy);
        let path = path.to_str().expect("UTF-8");
        lab.weir(&["policy", "profiles"]).refused_with(1, &["no weir daemon"]);
        let of_file = lab.json(&["policy", "profiles", path]);
        lab.start(&["--interface", "outside=box0"]);
        let in_force = lab.json(&["policy", "profiles"]);
        assert_eq!(in_force, of_file);
        let names: Vec<_> = in_force.as_array().expect("a list").iter().map(|profile| &profile["name"]).collect();
        assert_eq!(names, ["default", "asa", "off", "site"]);
        let site = &in_force[3];
        assert_eq!((&site["base"], &site["rules"][0], &in_force[0]["rules"][0]), (&"asa".into(), &"in".into(), &"out".into()), "{site}");
        let settings = &site["settings"];
        assert_eq!((&settings["mss-clamp"], &settings["urgent-flag"]), (&1360.into(), &"clear".into()), "{settings}");
        let options = serde_json::json!({ "6-7": "clear", "9-33": "clear", "fast-open": "drop", "35-255": "clear" });
        assert_eq!(settings["tcp-options"], options, "{settings}");
        let shown = lab.json(&["policy", "show"]);
        assert_eq!((&shown["rules"][0]["normalizer"], &shown["rules"][1]["normalizer"]), (&"site".into(), &"default".into()), "{shown}");
        assert!(lab.weir(&["policy", "show"]).out.contains("[normalizer.site]\nbase         = \"asa\"\n"));
        let table = lab.weir(&["policy", "profiles"]).out;
        assert!(table.lines().any(|line| line.split_whitespace().eq(["mss-clamp", "-", "-", "-", "1360"])), "{table}");

        let (rules, profiles) = in_kernel(lab, shown["generation"].as_u64().expect("a number") as u32);
        let (own, other) = (profiles[usize::from(rules[0].profile)], profiles[usize::from(rules[1].profile)]);
        assert_eq!((own.mss_most, own.options_drop.contains(34), own.options_clear.contains(35)), (1360, true, true));
        assert_eq!((own.checks, rules[0].checks), (checks::ASA | checks::MSS, checks::ASA | checks::MSS));
        assert_eq!((other, rules[1].checks), (Profile::DEFAULT, checks::DEFAULT));

        // A rule that the command line adds stands beside profiles, and names none.
        lab.json(&["bypass", "add", "vpn", "--from", "outside", "--to", "self", "--service", "tcp/10000", "--before", "in"]);
        assert_eq!(lab.json(&["policy", "show"])["rules"][0]["normalizer"], "off");
        lab.write("broken.toml", "[normalizer.off]\n");
        lab.weir(&["policy", "profiles", path.trim_end_matches("10-base.toml")]).refused_with(2, &["is built in"]);
    });
}

#[test]
fn a_rule_that_expires_stops_its_flows() {
    in_lab(|lab| {
        lab.start(&["--interface", "outside=box0"]);
        let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(3);
        let path =
            lab.write("10-base.toml", &POLICY.replacen("action = \"allow\"", &format!("expires = {soon:.0}\naction = \"allow\""), 1));
        lab.json(&["policy", "apply", path.to_str().expect("UTF-8")]);
        assert!(lab.datagram_arrives(7000));
        eventually("the rule expires", || lab.log().contains("expired: rule in").then_some(()));
        assert!(!lab.datagram_arrives(7000));
        assert_eq!(lab.json(&["policy", "show"])["rules"][0]["expired"], true);
    });
}

#[test]
fn waiting_for_a_daemon_that_never_comes_ends() {
    in_lab(|lab| {
        lab.weir(&["status", "--wait", "1"]).refused_with(1, &["not ready after 1 s", "no weir daemon"]);
        lab.weir(&["flows"]).refused_with(1, &["no weir daemon", "weir run"]);
        lab.weir(&["flows", "port=x"]).refused_with(2, &["a port is a number"]);
        let path = lab.policies();
        assert_eq!(lab.weir(&["policy", "check", path.to_str().expect("UTF-8")]).code, Some(0), "needs no daemon");
        lab.weir(&["policy", "check", path.to_str().expect("UTF-8"), "--zones", "inside"]).refused_with(2, &["no interface is in zone"]);
    });
}

#[test]
fn expired_flows_give_their_memory_back() {
    in_lab(|lab| {
        lab.write("10-base.toml", &POLICY.replacen("action = \"allow\"", "timeouts = { udp-single = \"1s\" }\naction = \"allow\"", 1));
        lab.start(&["--interface", "outside=box0"]);
        assert!(lab.datagram_arrives(7000));
        let entries = |counters: &serde_json::Value| counters["tables"]["embryonic"]["entries"].as_u64();
        let counters = eventually("the sweep", || Some(lab.json(&["counters"])).filter(|counters| entries(counters) == Some(0)));
        assert_eq!((&counters["flows_created"], &counters["flows_expired"]), (&1.into(), &1.into()), "{counters}");
    });
}

#[test]
fn a_policy_of_files_is_shown_as_it_would_be_in_force() {
    in_lab(|lab| {
        let files = lab.policies();
        let files = files.to_str().expect("a path");
        // No daemon runs yet.
        let shown = lab.weir(&["policy", "show", files]).out;
        assert!(shown.contains("[[rule]]") && !shown.contains("# Kept by every edit"), "{shown}");
        let report = lab.json(&["policy", "show", files]);
        assert_eq!((report["text"].as_str(), report["path"].as_str()), (Some(shown.as_str()), Some(files)), "{report}");
        lab.start(&["--interface", "outside=box0"]);
        assert_eq!(lab.weir(&["policy", "show"]).out, shown);
        assert_eq!(lab.weir(&["policy", "show", "1"]).out, shown);
    });
}
