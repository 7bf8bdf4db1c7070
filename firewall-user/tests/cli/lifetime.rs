//! The daemon comes and goes; the dataplane stays.

use std::{
    fs,
    io::{Read, Write},
};

use crate::lab::{Lab, eventually, in_lab, names};

/// The one flow with the connection's state.
fn flow(lab: &Lab) -> serde_json::Value {
    let flows = lab.json(&["flows", "port=7000", "protocol=tcp"]);
    assert_eq!(flows.as_array().map(Vec::len), Some(1), "{flows}");
    flows[0].clone()
}

fn pass(from: &mut impl Write, to: &mut impl Read) {
    from.write_all(b"ping").expect("sent");
    let mut bytes = [0; 4];
    to.read_exact(&mut bytes).expect("received");
    assert_eq!(&bytes, b"ping");
}

#[test]
fn a_crash_loses_no_flow_and_the_next_daemon_takes_over() {
    in_lab(|lab| {
        lab.start(&["--interface", "outside=box0"]);
        let (mut client, mut server) = lab.connect();
        pass(&mut client, &mut server);
        let before = flow(lab);
        assert_eq!((before["state"].as_str(), before["rule"].as_str()), (Some("established"), Some("in")), "{before}");
        assert_eq!(before["initiator"]["address"], "10.9.0.2");
        assert_eq!(before["initiator"]["interface"], "box0");
        let old_program = lab.xdp("box0");

        lab.crash();
        pass(&mut server, &mut client);
        assert!(!lab.datagram_arrives(7999), "the policy goes on without the daemon");
        assert_eq!(lab.weir(&["status"]).code, Some(1), "nobody answers");

        let status = lab.start(&["--interface", "outside=box0"]);
        assert_eq!(status["adopted"]["interfaces"], 1, "{status}");
        assert!(status["adopted"]["flows"].as_u64() >= Some(1), "{status}");
        assert!(lab.log().contains("adopted "), "{}", lab.log());
        pass(&mut client, &mut server);
        let after = flow(lab);
        assert_eq!(after["state"], "established", "{after}");
        assert!(after["packets"]["to_responder"].as_u64() > before["packets"]["to_responder"].as_u64(), "{before} {after}");
        assert!(old_program.is_some() && lab.xdp("box0").is_some() && lab.xdp("box0") != old_program, "the program was replaced");
        let counters = lab.json(&["counters"]);
        let hits = counters["rules"].as_array().and_then(|rules| rules.iter().find(|rule| rule["name"] == "in")).map(|rule| &rule["hits"]);
        assert_eq!(hits.and_then(serde_json::Value::as_u64), Some(1), "counters live on: {counters}");
    });
}

#[test]
fn an_orderly_end_keeps_or_detaches_as_told() {
    in_lab(|lab| {
        lab.start(&["--interface", "outside=box0"]);
        let log = lab.stop();
        assert!(log.contains(&format!("weir detach --all --instance {}", lab.instance)), "{log}");
        assert!(lab.xdp("box0").is_some(), "kept");

        let status = lab.start(&["--on-exit", "detach"]);
        assert_eq!(status["interfaces"][0]["adopted"], true, "{status}");
        assert_eq!(status["interfaces"][0]["zone"], "outside", "the zone was remembered");
        lab.stop();
        assert_eq!(lab.xdp("box0"), None);
        assert!(!lab.pins().exists());
    });
}

#[test]
fn detaching_works_without_a_daemon() {
    in_lab(|lab| {
        lab.start(&["--interface", "outside=box0", "--interface", "lab=spare:generic"]);
        lab.crash();
        let one = lab.json(&["detach", "spare"]);
        assert_eq!(one["detached"], serde_json::json!(["spare"]));
        assert_eq!((lab.xdp("spare"), lab.xdp("box0").is_some()), (None, true));
        lab.weir(&["detach", "spare"]).refused_with(1, &["spare", "not attached"]);
        let rest = lab.json(&["detach", "--all"]);
        assert_eq!(rest["detached"], serde_json::json!(["box0"]));
        assert_eq!(lab.xdp("box0"), None);
        assert!(!lab.pins().exists());
        assert!(lab.datagram_arrives(7999), "packets pass unfiltered");
    });
}

#[test]
fn interfaces_with_dots_are_pinned_and_adopted() {
    in_lab(|lab| {
        lab.server.ip("link set spare name s.100").expect("renamed");
        lab.start(&["--interface", "lab=s.100"]);
        lab.crash();
        let status = lab.start(&[]);
        assert_eq!(status["interfaces"][0]["name"], "s.100", "{status}");
        lab.crash();
        lab.server.ip("link set s.100 name other").expect("renamed");
        let status = lab.start(&[]);
        assert_eq!((&status["interfaces"][0]["name"], &status["interfaces"][0]["zone"]), (&"other".into(), &"lab".into()), "{status}");
    });
}

#[test]
fn egress_through_clsact_is_replaced_and_removed() {
    in_lab(|lab| {
        let filters = |lab: &Lab| {
            let output = lab.server.command("tc").args(["filter", "show", "dev", "box0", "egress"]).output().expect("tc runs");
            String::from_utf8_lossy(&output.stdout).matches("direct-action").count()
        };
        let status = lab.start(&["--legacy-egress", "--interface", "outside=box0"]);
        assert_eq!(status["interfaces"][0]["egress"], "clsact");
        assert_eq!(filters(lab), 1);
        lab.crash();
        assert_eq!(filters(lab), 1, "the filter outlives the daemon");
        let status = lab.start(&["--legacy-egress"]);
        assert_eq!(status["interfaces"][0]["egress"], "clsact", "{status}");
        assert_eq!(filters(lab), 1, "replaced, not added");
        assert_eq!(lab.weir(&["detach", "box0"]).code, Some(0));
        assert_eq!(filters(lab), 0);
    });
}

#[test]
fn a_device_that_goes_away_is_told_of_and_forgotten() {
    in_lab(|lab| {
        lab.start(&["--interface", "outside=box0", "--interface", "lab=spare"]);
        lab.server.ip("link delete spare").expect("deleted");
        let status = lab.json(&["status"]);
        assert_eq!(status["ready"], false, "{status}");
        eventually("the log tells", || lab.log().contains("interface spare is gone").then_some(()));
        lab.weir(&["status", "--wait", "1"]).refused_with(1, &["not ready", "spare"]);
        lab.crash();
        let status = lab.start(&[]);
        assert_eq!(status["interfaces"].as_array().map(Vec::len), Some(1), "{status}");
        assert!(names(&lab.pins().join("links")).iter().all(|name| !name.starts_with("spare")));
    });
}

#[test]
fn maps_of_another_shape_are_given_up_only_when_told() {
    in_lab(|lab| {
        lab.start(&["--interface", "outside=box0"]);
        let (mut client, mut server) = lab.connect();
        pass(&mut client, &mut server);
        lab.crash();
        // The settings block is valid, so the pins are ours; but the rules have become something else.
        let maps = lab.pins().join("maps");
        fs::remove_file(maps.join("RULES")).expect("removed");
        fs::rename(maps.join("RULE_NAMES"), maps.join("RULES")).expect("renamed");
        let refused = lab.run_refused(&[]);
        refused.refused_with(1, &["RULES", "another shape", "1 live flows would be lost", "--discard-flows"]);
        pass(&mut client, &mut server);

        let status = lab.start(&["--discard-flows"]);
        assert_eq!((&status["interfaces"][0]["zone"], status["ready"].as_bool()), (&"outside".into(), Some(true)), "{status}");
        assert_eq!(lab.json(&["flows"]), serde_json::json!([]));
        assert!(!lab.pins().join("maps:old").exists());
    });
}
