//! Rules with limits, with hours and with a log.

use std::{fs, thread, time::Duration};

use jiff::{Timestamp, ToSpan, tz::TimeZone};
use serde_json::Value;

use crate::lab::{Lab, POLICY, eventually, in_lab};

/// The usual policy, whose rule `in` has these keys too.
fn policy(keys: &str) -> String {
    POLICY.replacen("action = \"allow\"", &format!("{keys}\naction = \"allow\""), 1)
}

fn rule(lab: &Lab, name: &str) -> Value {
    let counters = lab.json(&["counters"]);
    let rules = counters["rules"].as_array().expect("rules").iter();
    rules.clone().find(|rule| rule["name"] == name).unwrap_or_else(|| panic!("no rule {name} in {counters}")).clone()
}

fn drops(lab: &Lab, reason: &str) -> u64 {
    lab.json(&["counters"])["drops"][reason].as_u64().unwrap_or(0)
}

/// Who has joined the set `flooders`.
fn live_member(lab: &Lab) -> Option<Value> {
    let shown = lab.json(&["set", "list", "flooders"]);
    shown["members"].as_array().expect("a list").iter().find(|member| member["live"] == true).cloned()
}

#[test]
fn limits_hold_are_shown_and_what_ends_makes_room() {
    in_lab(|lab| {
        lab.write("10-base.toml", &policy("limits = { flows = 2, new-per-second = 50 }"));
        lab.start(&["--interface", "outside=box0"]);
        assert_eq!(rule(lab, "in")["limits"]["flows"], serde_json::json!({ "limit": 2, "now": 0 }));
        assert!(rule(lab, "out").get("limits").is_none());
        for port in [5001, 5002, 5003, 5001, 5004] {
            lab.send_datagram(port, b"x");
        }
        eventually("two are refused", || (drops(lab, "conn-limit") == 2).then_some(()));
        assert_eq!(lab.json(&["flows", "protocol=udp"]).as_array().map(Vec::len), Some(2));
        assert_eq!(rule(lab, "in")["limits"]["flows"], serde_json::json!({ "limit": 2, "now": 2 }));
        let shown = lab.weir(&["counters"]).out;
        let row = |line: &str| line.split_whitespace().eq(["in", "flows", "2", "2"]);
        assert!(shown.lines().any(row), "{shown}");

        // What the controller removes the dataplane does not see: the sweep makes room.
        assert_eq!(lab.json(&["flows", "kill", "protocol=udp"])["killed"], 2);
        eventually("there is room", || (rule(lab, "in")["limits"]["flows"]["now"] == 0).then_some(()));
        let connection = lab.connect();
        assert_eq!(rule(lab, "in")["limits"]["flows"]["now"], 1);

        // Limits may change; the flows that live go on, and count.
        let path = lab.write("10-base.toml", &policy("limits = { flows = 1 }"));
        lab.json(&["policy", "apply", path.to_str().expect("UTF-8")]);
        let before = drops(lab, "conn-limit");
        lab.send_datagram(5005, b"x");
        eventually("it is refused", || (drops(lab, "conn-limit") == before + 1).then_some(()));
        drop(connection);
        eventually("a connection that is over counts no longer", || (rule(lab, "in")["limits"]["flows"]["now"] == 0).then_some(()));
        assert!(lab.datagram_arrives(7000));
    });
}

#[test]
fn a_source_over_its_limits_and_what_is_logged_are_told_unasked() {
    in_lab(|lab| {
        let keys = "limits = { flows-per-source = 1, overload = \"flooders\", overload-for = \"10m\" }\nlog = true";
        lab.write("10-base.toml", &format!("[set.flooders]\naddresses = [\"192.0.2.1\"]\n{}", policy(keys)));
        let log = lab.directory.join("logs/flows.log");
        let lines = || -> Vec<Value> {
            let text = fs::read_to_string(&log).unwrap_or_default();
            text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
        };
        lab.start(&["--interface", "outside=box0", "--log-file", log.to_str().expect("UTF-8")]);
        // Nobody listens.
        lab.send_datagram(5001, b"x");
        lab.send_datagram(5002, b"x");
        let logged = eventually("two lines", || Some(lines()).filter(|lines| lines.len() == 2));
        let told: Vec<_> = logged.iter().map(|line| (line["kind"].as_str(), line["reason"].as_str(), line["rule"].as_str())).collect();
        assert_eq!(told, [(Some("begun"), None, Some("in")), (Some("dropped"), Some("source-conn-limit"), Some("in"))], "{logged:?}");
        assert!(logged.iter().all(|line| line["logged"] == true && line["source"]["address"] == "10.9.0.2"), "{logged:?}");
        let member = eventually("the daemon acts", || live_member(lab));
        assert_eq!((&member["address"], &member["because"]), (&"10.9.0.2".into(), &"over a limit of rule in".into()), "{member}");
        assert!(member["seconds_left"].as_u64().is_some_and(|left| (500..=600).contains(&left)), "{member}");

        let listener = lab.listen(&["--json", "kind=overload", "--count", "1"]);
        // Once a second at most.
        thread::sleep(Duration::from_secs(1));
        lab.send_datagram(5003, b"x");
        let events = listener.ended().events();
        let event = &events[0];
        assert_eq!(
            (&event["kind"], &event["reason"], &event["set"], &event["seconds"], &event["source"]["address"]),
            (&"overload".into(), &"source-conn-limit".into(), &"flooders".into(), &600.into(), &"10.9.0.2".into()),
            "{event}"
        );
        assert_eq!(lab.json(&["flows", "kill", "protocol=udp"])["killed"], 1);
        let logged = eventually("its end", || Some(lines()).filter(|lines| lines.len() == 4));
        assert_eq!((&logged[3]["kind"], &logged[3]["reason"]), (&"closed".into(), &"killed".into()), "{logged:?}");
        // The file may be moved away at any time.
        fs::rename(&log, log.with_extension("1")).expect("renamed");
        assert!(!lab.datagram_arrives(7999), "no rule allows it, and none that is logged refuses it");
        eventually("there is room", || {
            lab.send_datagram(5004, b"x");
            lines().iter().any(|line| line["kind"] == "begun").then_some(())
        });
        let counters = lab.json(&["counters"]);
        assert_eq!(counters["events"]["log_failed"], 0);
        assert!(counters["events"]["logged"].as_u64() >= Some(5), "{counters}");
    });
}

#[test]
fn a_source_over_its_limits_is_cut_by_the_set_it_joins() {
    in_lab(|lab| {
        let block = "[[rule]]\nname = \"block\"\nfrom = \"outside @flooders\"\naction = \"drop\"\n";
        let keys = "limits = { new-per-second-per-source = 2, overload = \"flooders\" }";
        lab.write("10-base.toml", &format!("[set.flooders]\naddresses = []\n{block}{}", policy(keys)));
        lab.start(&["--interface", "outside=box0"]);
        assert!(lab.datagram_arrives(7000));
        for port in 5001..5010 {
            lab.send_datagram(port, b"x");
        }
        eventually("it is a member", || live_member(lab));
        eventually("nothing of it passes", || (!lab.datagram_arrives(7000)).then_some(()));
        lab.json(&["set", "remove", "flooders", "10.9.0.2"]);
        eventually("it is let in again", || lab.datagram_arrives(7000).then_some(()));
    });
}

/// Days and time of the hours that begin so many minutes from now and end so many, in UTC.
fn hours(from: i64, to: i64) -> String {
    let at = |minutes: i64| TimeZone::UTC.to_datetime(Timestamp::now() + minutes.minutes());
    let days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let day = days[at(from).weekday().to_monday_zero_offset().unsigned_abs() as usize];
    format!("hours = \"{day} {}-{}\"", at(from).strftime("%H:%M"), at(to).strftime("%H:%M"))
}

#[test]
fn a_rule_goes_out_of_its_hours_and_its_flows_with_it() {
    in_lab(|lab| {
        let utc = "[defaults]\ntime-zone = \"UTC\"\n";
        lab.write("10-base.toml", &(utc.to_owned() + &policy(&hours(60, 120))));
        lab.start(&["--interface", "outside=box0"]);
        assert!(!lab.datagram_arrives(7000), "before its hours");
        assert_eq!(rule(lab, "in")["in_hours"], false);
        assert!(lab.weir(&["policy", "show", "--hits"]).out.contains("# in (not in its hours)"));

        // Enough of the minute must be left for what comes first.
        while Timestamp::now().as_second() % 60 > 45 {
            thread::sleep(Duration::from_millis(200));
        }
        let path = lab.write("10-base.toml", &(utc.to_owned() + &policy(&hours(-60, 1))));
        lab.json(&["policy", "apply", path.to_str().expect("UTF-8")]);
        assert!(lab.datagram_arrives(7000));
        assert_eq!(rule(lab, "in")["in_hours"], true);
        let connection = lab.connect();
        let listener = lab.listen(&["--json", "kind=closed", "protocol=tcp", "--count", "1"]);
        let left = 60 - Timestamp::now().as_second().rem_euclid(60);
        thread::sleep(Duration::from_secs(left.unsigned_abs()));
        eventually("the daemon sees the end", || lab.log().contains("rule in is out of its hours").then_some(()));
        assert!(!lab.datagram_arrives(7000), "after its hours");
        let mut near = &connection.0;
        std::io::Write::write_all(&mut near, b"too late").expect("sent");
        assert_eq!(listener.ended().events()[0]["reason"], "policy");
    });
}
