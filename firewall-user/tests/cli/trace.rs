//! `weir trace` of packets in words: what it tells, and that nothing live changes.

use std::{env, fs, io::Write as _, path::Path};

use serde_json::Value;

use crate::{
    lab::{Lab, POLICY, in_lab},
    tables,
};

/// Verdict, reason and the name of the last stage of the trace's only packet.
pub fn fate(traced: &Value) -> (&str, Option<&str>, &str) {
    let packets = traced["packets"].as_array().expect("packets");
    assert_eq!(packets.len(), 1, "{traced}");
    fate_of(&packets[0])
}

pub fn fate_of(packet: &Value) -> (&str, Option<&str>, &str) {
    assert_eq!(packet["disagreement"], Value::Null, "{packet}");
    let last = packet["stages"].as_array().and_then(|stages| stages.last()).expect("a stage");
    let reason = packet["reason"].as_str();
    if packet["verdict"] == "drop" {
        assert_eq!(last["reason"].as_str(), reason, "the last stage names the reason: {packet}");
    }
    (packet["verdict"].as_str().expect("a verdict"), reason, last["stage"].as_str().expect("a name"))
}

fn stages(traced: &Value) -> Vec<&str> {
    traced["packets"][0]["stages"].as_array().expect("stages").iter().map(|stage| stage["stage"].as_str().expect("a name")).collect()
}

/// Nothing is sent on the box's interface any more unless a test sends it.
fn make_silent(lab: &Lab) {
    for (namespace, interface, other, mac) in
        [(&lab.server, "box0", "10.9.0.2", "02:00:00:00:00:02"), (&lab.client, "far0", "10.9.0.1", "02:00:00:00:00:01")]
    {
        namespace.ip(&format!("neigh replace {other} lladdr {mac} dev {interface} nud permanent")).expect("a neighbour");
        namespace.ip(&format!("-6 addr flush dev {interface}")).expect("no IPv6");
    }
}

#[test]
fn described_packets_are_told_stage_by_stage() {
    in_lab(|lab| {
        lab.start(&["--interface", "outside=box0"]);
        let allowed = lab.json(&["trace", "tcp", "10.9.0.2", "10.9.0.1:7000"]);
        assert_eq!(fate(&allowed), ("pass", None, "admit"), "{allowed}");
        assert_eq!(stages(&allowed), ["parse", "sanity", "lookup", "classify", "normalize", "admit"]);
        let packet = &allowed["packets"][0];
        assert_eq!((&packet["interface"], &packet["zone"], &packet["direction"]), (&"box0".into(), &"outside".into(), &"in".into()));
        assert_eq!((&packet["rule"]["name"], &packet["rule"]["line"]), (&"in".into(), &3.into()), "{packet}");
        assert!(packet["rule"]["file"].as_str().is_some_and(|file| file.ends_with("10-base.toml")), "{packet}");
        let program = &allowed["program"][0];
        assert_eq!((&program["name"], &program["same"]), (&"ingress".into(), &true.into()), "{program}");
        assert_eq!(program["tag"], program["live_tag"]);

        let denied = lab.json(&["trace", "tcp", "10.9.0.2", "10.9.0.1:7001"]);
        assert_eq!(fate(&denied), ("drop", Some("acl-drop"), "classify"), "{denied}");
        assert_eq!(denied["packets"][0]["rule"], Value::Null, "no rule matched");
        assert_eq!(fate(&lab.json(&["trace", "tcp", "10.9.0.2", "10.9.0.1:7000", "ack"])), ("drop", Some("tcp-not-syn"), "admit"));
        assert_eq!(fate(&lab.json(&["trace", "tcp", "10.9.0.2", "10.9.0.1:7000", "SF"])), ("drop", Some("tcp-bad-flags"), "sanity"));
        assert_eq!(fate(&lab.json(&["trace", "udp", "10.9.0.1", "10.9.0.1:7000", "-i", "box0"])), ("drop", Some("land-attack"), "sanity"));
        assert_eq!(fate(&lab.json(&["trace", "icmp", "10.9.0.2", "10.9.0.1", "3/1"])), ("drop", Some("icmp-error-bad-quote"), "relate"));

        // What has an address of the box leaves by the route to where it goes.
        let sent = lab.json(&["trace", "udp", "10.9.0.1", "10.9.0.2:53"]);
        assert_eq!(fate(&sent), ("pass", None, "admit"), "{sent}");
        assert_eq!((&sent["packets"][0]["direction"], &sent["program"][0]["name"]), (&"out".into(), &"egress".into()), "{sent}");
        assert_eq!(sent["program"][0]["same"], true, "{sent}");
        // As the box's own stack hands it over, before the network card has cut it.
        let large = lab.json(&["trace", "tcp", "10.9.0.1", "10.9.0.2:80", "--length", "9000"]);
        assert_eq!((fate(&large), &large["packets"][0]["host_only"]), (("pass", None, "admit"), &true.into()), "{large}");
        assert_eq!(fate(&lab.json(&["trace", "udp", "10.9.0.2", "10.9.0.1:7000", "--length", "60000"])), ("pass", None, "admit"));
        assert_eq!(fate(&lab.json(&["trace", "udp", "10.9.0.1", "10.9.0.2:53", "--length", "3000"])), ("pass", None, "admit"));
        assert_eq!(fate(&lab.json(&["trace", "box0", "udp", "192.0.2.1", "10.9.0.2:53", "--egress"])), ("pass", None, "admit"));
    });
}

#[test]
fn exit_codes_say_what_was_expected() {
    in_lab(|lab| {
        lab.start(&["--interface", "outside=box0"]);
        let trace = |port: &str, extra: &[&str]| lab.weir(&[&["trace", "tcp", "10.9.0.2", &format!("10.9.0.1:{port}")], extra].concat());
        for (port, expected, code) in [("7000", "pass", 0), ("7000", "drop", 1), ("7001", "pass", 1), ("7001", "drop", 0)] {
            assert_eq!(trace(port, &["--expect", expected]).code, Some(code), "{port} {expected}");
        }
        assert_eq!(trace("7001", &[]).code, Some(0), "a verdict is no failure");
        trace("7001", &["--expect", "pass"]).refused_with(1, &["packet 1 is dropped: acl-drop"]);
        trace("7000", &["--interface", "spare"]).refused_with(1, &["spare is not attached"]);
        trace("7000", &["--egress"]).refused_with(2, &["--egress"]);
        lab.weir(&["trace", "tcp", "10.9.0.2", "10.9.0.1"]).refused_with(2, &["port is missing"]);
        lab.weir(&["trace", "tcp", "192.0.2.1", "10.9.0.1:1"]).refused_with(1, &["no route to 192.0.2.1", "--interface"]);
        lab.weir(&["trace", "eth9", "tcp", "10.9.0.2", "10.9.0.1:1"]).refused_with(1, &["eth9 is not attached"]);
        lab.weir(&["trace", "box0", "tcp", "10.9.0.2", "10.9.0.1:1", "-i", "spare"]).refused_with(2, &["one interface"]);
    });
}

#[test]
fn live_members_limits_and_hours_are_those_in_force() {
    in_lab(|lab| {
        let rules = "[set.blocked]\naddresses = []\n[[rule]]\nname = \"block\"\nfrom = \"outside @blocked\"\naction = \"drop\"\n\
                     [[rule]]\nname = \"never\"\nto = \"self\"\nservice = \"tcp/7500\"\naction = \"allow\"\nhours = \"HOURS\"\n";
        let minute = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::system());
        let other = minute.datetime().checked_add(jiff::ToSpan::hours(12)).expect("a time").time();
        let hours = format!("{:02}:00-{:02}:30", other.hour(), other.hour());
        let limited = POLICY.replacen("action = \"allow\"", "limits = { flows = 1 }\naction = \"allow\"", 1);
        lab.write("10-base.toml", &(rules.replace("HOURS", &hours) + &limited));
        lab.start(&["--interface", "outside=box0"]);
        let trace =
            |port: &str, extra: &[&str]| lab.json(&[&["trace", "tcp", "10.9.0.2:50000", &format!("10.9.0.1:{port}")], extra].concat());
        let rule = |trace: &Value| trace["packets"][0]["rule"]["name"].clone();
        assert_eq!((fate(&trace("7000", &[])).0, rule(&trace("7000", &[]))), ("pass", "in".into()));
        let out_of_hours = trace("7500", &[]);
        assert_ne!(rule(&out_of_hours), "never", "{out_of_hours}");
        let connection = lab.connect();
        assert_eq!(fate(&trace("7000", &[])), ("drop", Some("conn-limit"), "admit"));
        drop(connection);
        lab.json(&["set", "add", "blocked", "10.9.0.2", "--cut-session"]);
        let blocked = trace("7000", &[]);
        assert_eq!((fate(&blocked), rule(&blocked)), (("drop", Some("acl-drop"), "classify"), "block".into()), "{blocked}");
        let policies = lab.policies();
        let asked = trace("7000", &["--policy", policies.to_str().expect("UTF-8")]);
        assert_eq!(rule(&asked), "block", "a policy that is asked about has the members of its sets: {asked}");
    });
}

#[test]
fn a_live_flow_is_judged_by_its_record_and_left_alone() {
    in_lab(|lab| {
        lab.start(&["--interface", "outside=box0"]);
        let (mut client, mut server) = lab.connect();
        let source = client.local_addr().expect("an address").to_string();
        let trace = |extra: &[&str]| lab.json(&[&["trace", "tcp", &source, "10.9.0.1:7000", "data", "--length", "10"], extra].concat());

        let flow = tables::only_flow(&lab.pins());
        let (ack, seq) = (flow.responder.end.to_string(), flow.initiator.end.to_string());
        let beyond = flow.responder.edge.wrapping_add(1000).to_string();

        let wrong = trace(&["--seq", &seq, "--ack", &flow.responder.end.wrapping_add(1_000_000).to_string()]);
        assert_eq!(fate(&wrong), ("drop", Some("tcp-invalid-ack"), "track"), "{wrong}");
        let numbers = &wrong["packets"][0]["arithmetic"];
        assert_eq!(
            (&numbers["compared"], &numbers["highest"], &numbers["distance"]),
            (&"ack".into(), &flow.responder.end.into(), &1_000_000.into())
        );
        let past = trace(&["--ack", &ack, "--seq", &beyond]);
        assert_eq!(fate(&past), ("drop", Some("tcp-seq-past-win"), "track"), "{past}");
        let numbers = &past["packets"][0]["arithmetic"];
        assert_eq!(
            (&numbers["compared"], &numbers["highest"], &numbers["distance"]),
            (&"seq".into(), &flow.responder.edge.into(), &1000.into())
        );

        // A spoofed reset is dropped, and the connection lives.
        let reset = lab.json(&["trace", "tcp", &source, "10.9.0.1:7000", "rst", "--seq", &beyond]);
        assert_eq!(fate(&reset), ("drop", Some("tcp-rstfin-ooo"), "track"), "{reset}");
        let inside = trace(&["--ack", &ack, "--seq", &seq]);
        assert_eq!(fate(&inside).0, "pass", "{inside}");
        assert_eq!(inside["packets"][0]["rule"]["name"], "in", "{inside}");
        let told = inside["packets"][0]["stages"].to_string();
        assert!(told.contains("an established flow: established, strict, outside > self"), "{told}");

        // Without the live flow it is a first packet.
        assert_eq!(fate(&trace(&["--fresh"])), ("drop", Some("tcp-not-syn"), "admit"));
        client.write_all(b"still here").expect("sent");
        std::io::Read::read_exact(&mut server, &mut [0; 10]).expect("the connection is as it was");
    });
}

#[test]
fn nothing_live_is_touched() {
    in_lab(|lab| {
        lab.write("20-reject.toml", "[[rule]]\nname = \"no\"\nfrom = \"outside\"\nservice = \"tcp/25\"\naction = \"reject\"\n");
        lab.start(&["--interface", "outside=box0"]);
        let (client, _server) = lab.connect();
        let source = client.local_addr().expect("an address").to_string();
        make_silent(lab);
        let listener = lab.listen(&["--json"]);
        // A machine that is slow to become silent is waited for; what tracing touches would differ every time.
        let before = crate::lab::eventually("silence", || {
            let first = tables::all(&lab.pins());
            std::thread::sleep(std::time::Duration::from_millis(300));
            (first == tables::all(&lab.pins())).then_some(first)
        });
        let programs = || fs::read_dir(lab.pins().join("programs")).expect("pins").count();
        let pinned = programs();
        for (words, verdict) in [
            (vec!["tcp", "10.9.0.2", "10.9.0.1:7000"], "pass"),
            (vec!["tcp", "10.9.0.2", "10.9.0.1:25"], "answer"),
            (vec!["tcp", "10.9.0.2", "10.9.0.1:7001"], "drop"),
            (vec!["tcp", &source, "10.9.0.1:7000", "rst", "--seq", "77"], "drop"),
            (vec!["tcp", &source, "10.9.0.1:7000", "syn"], "pass"),
            (vec!["udp", "10.9.0.2:7001", "10.9.0.1:7000"], "pass"),
            (vec!["udp", "10.9.0.1:7000", "10.9.0.2:7001"], "pass"),
        ] {
            let traced = lab.json(&[&["trace"], words.as_slice()].concat());
            assert_eq!(traced["packets"][0]["verdict"], verdict, "{words:?}: {traced}");
            assert_eq!(traced["packets"][0]["disagreement"], Value::Null, "{traced}");
        }
        let next = lab.directory.join("next.toml");
        fs::write(&next, "[[rule]]\nname = \"other\"\nfrom = \"elsewhere\"\naction = \"drop\"\n").expect("a policy");
        let traced = lab.json(&["trace", "tcp", &source, "10.9.0.1:7000", "ack", "--policy", next.to_str().expect("UTF-8")]);
        assert_eq!(fate(&traced), ("drop", Some("acl-drop"), "revalidate"), "{traced}");
        let after = tables::all(&lab.pins());
        for (name, table) in &before {
            assert_eq!(after.get(name), Some(table), "{name}");
        }
        assert_eq!(programs(), pinned);
        assert_eq!(listener.events(), Vec::<Value>::new(), "nobody is told of what only a trace did");
        // The comparison sees what a real packet does.
        lab.send_datagram(7002, b"x");
        assert_ne!(tables::all(&lab.pins()), before);
    });
}

#[test]
fn a_policy_that_is_not_in_force_can_be_asked() {
    in_lab(|lab| {
        lab.start(&["--interface", "outside=box0"]);
        let (client, _server) = lab.connect();
        let source = client.local_addr().expect("an address").to_string();
        let next = lab.directory.join("next");
        fs::create_dir_all(&next).expect("a directory");
        let path = next.to_str().expect("UTF-8").to_owned();
        let rule = "[[rule]]\nname = \"other\"\nfrom = \"outside\"\nservice = \"tcp/7001\"\naction = \"allow\"\nbecause = \"why not\"\n";
        fs::write(next.join("1.toml"), rule).expect("a policy");
        let traced = lab.json(&["trace", "tcp", "10.9.0.2", "10.9.0.1:7001", "--policy", &path]);
        assert_eq!(fate(&traced), ("pass", None, "admit"), "{traced}");
        assert_eq!((&traced["packets"][0]["rule"]["name"], &traced["packets"][0]["rule"]["because"]), (&"other".into(), &"why not".into()));
        assert_eq!((&traced["policy"]["in_force"], &traced["policy"]["generation"]), (&false.into(), &Value::Null), "{traced}");
        // The live flow is judged by it.
        let cut = lab.json(&["trace", "tcp", &source, "10.9.0.1:7000", "ack", "--policy", &path]);
        assert_eq!(fate(&cut), ("drop", Some("acl-drop"), "revalidate"), "{cut}");
        assert_eq!(lab.json(&["status"])["policy"]["generation"], 1, "it is not in force");

        fs::write(next.join("1.toml"), rule.replace("7001", "70010")).expect("a bad policy");
        let check = lab.weir(&["policy", "check", &path]);
        let refused = lab.weir(&["trace", "tcp", "10.9.0.2", "10.9.0.1:7001", "--policy", &path]);
        refused.refused_with(2, &["1.toml:4", "70010"]);
        assert_eq!(refused.err, check.err, "as `weir policy check` tells it");
    });
}

#[test]
fn a_gateway_asks_its_routes() {
    in_lab(|lab| {
        for words in ["addr add 10.8.0.1/24 dev spare", "link set spare up", "link set spare-peer up"] {
            lab.server.ip(words).expect("an address");
        }
        let forward = lab.server.command("sh").args(["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]).status().expect("a shell");
        assert!(forward.success());
        lab.write(
            "10-base.toml",
            "[[rule]]\nname = \"through\"\nfrom = \"outside\"\nto = \"inside 10.8.0.9\"\nservice = \"tcp/80\"\naction = \"allow\"\n",
        );
        lab.start(&["--placement", "gateway", "--interface", "outside=box0", "--interface", "inside=spare"]);
        let through = lab.json(&["trace", "tcp", "10.9.0.2", "10.8.0.9:80"]);
        assert_eq!(fate(&through), ("pass", None, "admit"), "{through}");
        assert!(through["packets"][0]["stages"].to_string().contains("leads to zone inside"), "{through}");
        let back = lab.json(&["trace", "tcp", "10.8.0.9:80", "10.9.0.2:50000", "syn-ack"]);
        assert_eq!((fate(&back), &back["packets"][0]["interface"]), (("drop", Some("acl-drop"), "classify"), &"spare".into()), "{back}");
        // From the wrong side: no route leads there.
        lab.weir(&["trace", "tcp", "192.0.2.9", "10.8.0.9:80"]).refused_with(1, &["no route to 192.0.2.9"]);
        let spoofed = lab.json(&["trace", "spare", "tcp", "10.9.0.2", "10.8.0.9:80"]);
        assert_eq!(fate(&spoofed), ("drop", Some("acl-drop"), "classify"), "{spoofed}");
    });
}

/// Stories as people read them, with what differs from lab to lab written in one way.
#[test]
fn stories_are_as_they_were() {
    in_lab(|lab| {
        lab.write("20-more.toml", STORY_RULES);
        lab.start(&["--interface", "outside=box0"]);
        let mut failures = Vec::new();
        for (name, words) in [
            ("allowed", vec!["tcp", "10.9.0.2", "10.9.0.1:7000"]),
            ("denied", vec!["udp", "10.9.0.2", "10.9.0.1:53"]),
            ("rejected", vec!["tcp", "10.9.0.2", "10.9.0.1:25"]),
            ("sent", vec!["udp", "10.9.0.1", "10.9.0.2:53", "--ttl", "9"]),
            ("normalized", vec!["tcp", "10.9.0.2", "10.9.0.1:8080"]),
            ("bypassed", vec!["tcp", "10.9.0.2", "10.9.0.1:10000", "data", "--length", "100"]),
            ("insane", vec!["tcp", "10.9.0.2", "10.9.0.1:7000", "none"]),
        ] {
            let run = lab.weir(&[&["trace"], words.as_slice()].concat());
            assert_eq!(run.code, Some(0), "{run:?}");
            let story = alike(lab, &run.out);
            let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stories").join(format!("{name}.txt"));
            if env::var_os("UPDATE_GOLDEN").is_some() {
                fs::write(&golden, &story).expect("the story can be written");
            } else if fs::read_to_string(&golden).unwrap_or_default() != story {
                failures.push(format!("{}:\n{story}", golden.display()));
            }
        }
        assert!(failures.is_empty(), "UPDATE_GOLDEN=1 writes them anew:\n{}", failures.join("\n"));
    });
}

const STORY_RULES: &str = r#"
[[rule]]
name = "mail"
from = "outside"
service = "tcp/25"
action = "reject"
because = "nobody takes mail here"

[[rule]]
name = "vpn"
from = "outside"
service = "tcp/10000"
action = "allow"
inspection = "bypass"
because = "VPN clients"

[[rule]]
name = "shop"
from = "outside"
service = "tcp/8080"
action = "allow"
normalizer = "tight"

[normalizer.tight]
mss-clamp = 1200
"#;

fn alike(lab: &Lab, story: &str) -> String {
    let policies = lab.policies().display().to_string();
    let lines = story.lines().map(|line| {
        let line = line.replace(&policies, "/etc/weir/policies");
        match line.split_once("program ingress ").or_else(|| line.split_once("program egress ")) {
            Some((_, rest)) => line.replace(&rest[..16], "TAG"),
            None => line,
        }
    });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}
