//! A bypass that says when it was needed, and ends by itself.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    thread,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use xtask::test::network::waited;

use crate::lab::{Lab, eventually, in_lab};

/// Lets the client in on one port, under bypass, for good or until then.
fn policy(until: Option<Timestamp>) -> String {
    let expires = until.map_or_else(String::new, |at| format!("expires = {at:.0}\n"));
    format!(
        r#"[[rule]]
name = "vpn"
from = "outside"
to = "self"
service = "tcp/7000"
action = "allow"
inspection = "bypass"
{expires}
[[rule]]
name = "web"
from = "outside"
to = "self"
service = "tcp/7001"
action = "allow"
"#
    )
}

fn listed(lab: &Lab) -> Value {
    let rules = lab.json(&["bypass", "list"]);
    assert_eq!(rules.as_array().map(Vec::len), Some(1), "{rules}");
    rules[0].clone()
}

fn exchange(near: &mut TcpStream, far: &mut TcpStream) {
    send(near, far);
    send(far, near);
}

fn send(from: &mut TcpStream, to: &mut TcpStream) {
    from.write_all(b"x").expect("written");
    to.read_exact(&mut [0]).expect("it arrives");
}

/// True when a byte from the client arrives.
fn arrives(near: &mut TcpStream, far: &mut TcpStream) -> bool {
    near.write_all(b"y").expect("written");
    far.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout");
    match waited(|| far.read(&mut [0; 8])) {
        Ok(count) => count > 0,
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_bypass_says_when_it_was_needed_and_remembers() {
    in_lab(|lab| {
        lab.write("10-base.toml", &policy(None));
        lab.start(&["--interface", "outside=box0", "--on-exit", "detach"]);
        let fresh = listed(lab);
        assert_eq!((&fresh["hits"], &fresh["last_hit"], &fresh["needed"]), (&0.into(), &Value::Null, &0.into()), "{fresh}");
        assert!(fresh["known_since"].as_str().is_some_and(|at| at.parse::<Timestamp>().is_ok()), "{fresh}");

        // A real connection has no need of it.
        let (mut near, mut far) = lab.connect();
        exchange(&mut near, &mut far);
        let used = listed(lab);
        assert_eq!((&used["hits"], &used["flows"], &used["needed"]), (&1.into(), &1.into(), &0.into()), "{used}");
        assert_eq!((&used["last_needed"], &used["needed_for"]), (&Value::Null, &Value::Null), "{used}");
        let hit: Timestamp = used["last_hit"].as_str().expect("a moment").parse().expect("a moment");
        assert!(Timestamp::now().duration_since(hit) < SignedDuration::from_secs(60), "{used}");
        assert!(lab.weir(&["bypass", "list"]).out.contains("never in "));
        let counters = lab.json(&["counters"]);
        let web = counters["rules"].as_array().and_then(|rules| rules.iter().find(|rule| rule["name"] == "web")).expect("the rule");
        assert_eq!((&web["last_hit"], &web["last_hit_seconds_ago"]), (&Value::Null, &Value::Null));
        assert!(counters["rules"][0]["last_hit_seconds_ago"].as_u64().is_some_and(|ago| ago < 60), "{counters}");
        assert_eq!(lab.json(&["policy", "show", "--hits"])["rules"][0]["last_hit"], used["last_hit"]);
        let flow = |lab: &Lab| lab.json(&["flows", "protocol=tcp"])[0].clone();
        assert_eq!(flow(lab)["needed"], 0, "{}", flow(lab));

        // The same connection from its middle on is what strict inspection refuses.
        lab.json(&["flows", "kill", "--all"]);
        exchange(&mut near, &mut far);
        let needed = listed(lab);
        assert!(needed["needed"].as_u64().is_some_and(|count| count >= 2), "{needed}");
        assert_eq!(needed["needed_for"], "tcp-not-syn", "{needed}");
        assert!(flow(lab)["needed"].as_u64() > Some(0) && flow(lab)["flags"].as_str().is_some_and(|flags| flags.contains('n')));
        assert!(lab.weir(&["bypass", "list"]).out.contains("ago, tcp-not-syn"));

        // For cron: nothing to print, then one.
        assert_eq!(lab.weir(&["bypass", "list", "--not-needed-for", "90d"]).out, "");
        assert_eq!(lab.json(&["bypass", "list", "--not-needed-for", "90d"]), serde_json::json!([]));
        eventually("a second without need", || {
            lab.json(&["bypass", "list", "--not-needed-for", "1s"]).as_array().is_some_and(|rules| rules.len() == 1).then_some(())
        });
        lab.weir(&["bypass", "list", "--not-needed-for", "soon"]).refused_with(2, &["`soon` is not a duration"]);

        // Its maps go with the daemon, as in a reboot; what was needed does not.
        let before = listed(lab);
        lab.stop();
        assert!(!lab.pins().exists());
        lab.start(&["--interface", "outside=box0"]);
        let after = listed(lab);
        for key in ["needed", "last_needed", "needed_for", "known_since", "last_hit"] {
            assert_eq!(before[key], after[key], "{key}: {before} {after}");
        }
        assert_eq!(after["hits"], 0, "{after}");
        // And not with the daemon alone.
        lab.stop();
        lab.start(&["--interface", "outside=box0"]);
        assert_eq!((&listed(lab)["needed"], &listed(lab)["known_since"]), (&after["needed"], &after["known_since"]));
    });
}

#[test]
fn a_rule_that_ends_soon_or_has_ended_is_told_of() {
    in_lab(|lab| {
        let end = Timestamp::now() + SignedDuration::from_secs(12);
        lab.write("10-base.toml", &policy(Some(end)));
        let status = lab.start(&["--interface", "outside=box0"]);
        let expiring = &status["expiring"][0];
        assert_eq!((&expiring["rule"], &expiring["inspection"], &expiring["expired"]), (&"vpn".into(), &"bypass".into(), &false.into()));
        assert!(lab.weir(&["status"]).out.contains("expires  rule vpn (bypass), in "));
        assert!(lab.weir(&["bypass", "list"]).out.contains("expires soon"));
        let (mut near, mut far) = lab.connect();
        exchange(&mut near, &mut far);
        eventually("the rule's end", || (lab.json(&["status"])["expiring"][0]["expired"] == true).then_some(()));
        eventually("the log", || lab.log().contains("expired: rule vpn").then_some(()));
        assert!(!arrives(&mut near, &mut far), "the flow outlived its rule");
        assert!(lab.weir(&["status"]).out.contains("expired  rule vpn (bypass), at "));
        let rule = listed(lab);
        assert_eq!((&rule["expired"], &rule["expires_in_seconds"]), (&true.into(), &0.into()), "{rule}");
        assert!(lab.weir(&["bypass", "list"]).out.contains("(expired)"));
    });
}

#[test]
fn a_rule_ends_without_a_daemon() {
    in_lab(|lab| {
        let end = Timestamp::now() + SignedDuration::from_secs(12);
        lab.write("10-base.toml", &policy(Some(end)));
        lab.start(&["--interface", "outside=box0"]);
        let (mut near, mut far) = lab.connect();
        exchange(&mut near, &mut far);
        lab.crash();
        exchange(&mut near, &mut far);
        assert!(Timestamp::now() < end, "the machine is too slow to tell");
        while Timestamp::now() < end + SignedDuration::from_millis(1200) {
            thread::sleep(Duration::from_millis(50));
        }
        assert!(!arrives(&mut near, &mut far), "the flow outlived its rule");
        assert!(!lab.connects(Duration::from_secs(2)), "a new connection was let in by a rule that has ended");
        lab.start(&["--interface", "outside=box0"]);
        assert_eq!(lab.json(&["status"])["expiring"][0]["expired"], true);
        assert_eq!(lab.json(&["flows", "protocol=tcp"]), serde_json::json!([]));
    });
}

#[test]
fn a_guard_is_added_listed_and_shown_with_its_flow() {
    in_lab(|lab| {
        lab.write(
            "10-base.toml",
            "[[rule]]\nname = \"web\"\nfrom = \"outside\"\nto = \"self\"\nservice = \"tcp/7001\"\naction = \"allow\"\n",
        );
        lab.start(&["--interface", "outside=box0", "--on-exit", "detach"]);
        let add = ["bypass", "add", "vpn", "--from", "outside", "--to", "self", "--service", "tcp/7000", "--guard"];
        let with = |guards: &[&'static str]| [&add[..], guards].concat();
        lab.weir(&with(&["cctp"])).refused_with(2, &["guard cannot be \"cctp\"", "did you mean \"ctcp\"?"]);
        assert_eq!(lab.json(&["bypass", "list"]), serde_json::json!([]));
        assert_eq!(lab.weir(&with(&["ctcp", "--guard", "esp"])).code, Some(0));
        assert_eq!(listed(lab)["guard"], serde_json::json!(["ctcp", "esp"]));
        let list = lab.weir(&["bypass", "list"]).out;
        assert!(list.contains("  GUARD  ") && list.contains("  ctcp, esp  "), "{list}");
        assert!(lab.weir(&["policy", "show"]).out.contains("guard        = [\"ctcp\", \"esp\"]"));

        // A real connection proves nothing: it is inspected strictly, and passes.
        let (mut near, mut far) = lab.connect();
        exchange(&mut near, &mut far);
        let flow = lab.json(&["flows", "port=7000"])[0].clone();
        assert_eq!((&flow["inspection"], &flow["state"]), (&"strict".into(), &"established".into()), "{flow}");
        let guard = &flow["guard"];
        assert_eq!((&guard["kinds"], &guard["proven"]), (&serde_json::json!(["ctcp", "esp"]), &false.into()), "{flow}");
        assert_eq!((&guard["spi"]["to_responder"], &guard["refused"]["to_responder"]), (&Value::Null, &0.into()), "{flow}");

        // Nor does the middle of one that is not known.
        lab.json(&["flows", "kill", "--all"]);
        assert!(!arrives(&mut near, &mut far));
        assert_eq!(lab.json(&["flows", "port=7000"]), serde_json::json!([]));
        assert!(lab.json(&["counters"])["drops"]["tcp-not-syn"].as_u64() > Some(0));
    });
}
