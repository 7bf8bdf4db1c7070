//! `weir events`: what is told, to whom, and how it ends.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{Shutdown, UdpSocket},
    os::unix::net::UnixStream,
};

use serde_json::Value;

use crate::lab::{BOX, Lab, PATIENCE, POLICY, eventually, in_lab, inside};

/// `kind` and `reason` of each event.
fn kinds(events: &[Value]) -> Vec<(&str, &str)> {
    events.iter().map(|event| (event["kind"].as_str().unwrap_or("?"), event["reason"].as_str().unwrap_or(""))).collect()
}

fn sent(lab: &Lab) -> u64 {
    lab.json(&["counters"])["events"]["sent"].as_u64().expect("a number")
}

#[test]
fn a_connection_is_told_from_its_beginning_to_its_end() {
    in_lab(|lab| {
        lab.start(&["--interface", "outside=box0"]);
        let listener = lab.listen(&["--json", "protocol=tcp"]);
        let (client, server) = lab.connect();
        let port = client.local_addr().expect("an address").port();
        client.shutdown(Shutdown::Write).expect("a FIN");
        server.shutdown(Shutdown::Write).expect("a FIN");
        eventually("the end", || (sent(lab) >= 2).then_some(()));
        // A reset: the client closes with data unread.
        let (client, mut server) = lab.connect();
        server.write_all(b"unread").expect("sent");
        eventually("the data", || client.peek(&mut [0; 6]).ok().filter(|read| *read == 6));
        drop(client);
        eventually("the reset", || (sent(lab) >= 4).then_some(()));
        let events = listener.events();
        assert_eq!(kinds(&events), [("opened", ""), ("closed", "tcp-fins"), ("opened", ""), ("closed", "tcp-reset-i")], "{events:?}");
        let (opened, closed) = (&events[0], &events[1]);
        assert_eq!(opened["source"], serde_json::json!({"address": "10.9.0.2", "port": port, "zone": "outside", "interface": "box0"}));
        assert_eq!((&opened["destination"]["zone"], &opened["destination"]["port"]), (&"self".into(), &7000.into()), "{opened}");
        assert_eq!((&opened["rule"], &opened["state"], &opened["inspection"]), (&"in".into(), &"established".into(), &"strict".into()));
        assert!(opened["handshake_milliseconds"].as_f64().is_some_and(|time| time < 1000.0), "{opened}");
        assert_eq!((&closed["state"], &closed["source"]), (&"time-wait".into(), &opened["source"]), "{closed}");
        assert!(closed["packets"]["to_responder"].as_u64() >= Some(4), "{closed}");
        let time = opened["time"].as_str().and_then(|time| time.parse::<jiff::Timestamp>().ok()).expect("RFC 3339");
        assert!(time.duration_until(jiff::Timestamp::now()).as_secs() < 60, "{opened}");
    });
}

#[test]
fn drops_are_told_and_filtered_and_nothing_is_made_for_nobody() {
    in_lab(|lab| {
        lab.start(&["--interface", "outside=box0"]);
        assert!(!lab.datagram_arrives(7999));
        let nothing = serde_json::json!({"sent": 0, "limited": 0, "lost": 0, "subscribers": 0, "logged": 0, "log_failed": 0});
        assert_eq!(lab.json(&["counters"])["events"], nothing);
        let all = lab.listen(&["--json", "kind=dropped"]);
        let others = lab.listen(&["--json", "port=1"]);
        let one = lab.listen(&["reason=acl-drop", "--count", "1"]);
        assert!(!lab.datagram_arrives(7999));
        assert!(lab.datagram_arrives(7000));
        // It ends by itself, with one aligned line.
        let run = one.ended();
        assert!(run.code == Some(0) && run.out.lines().count() == 1, "{run:?}");
        for word in ["dropped acl-drop", "udp", "10.9.0.2:", "> 10.9.0.1:7999", "outside>self", " 29 bytes"] {
            assert!(run.out.contains(word), "no {word:?} in {run:?}");
        }
        let events = all.events();
        assert_eq!(kinds(&events), [("dropped", "acl-drop")]);
        assert_eq!(
            (&events[0]["length"], &events[0]["segment"], &events[0]["rule"]),
            (&29.into(), &Value::Null, &Value::Null),
            "{events:?}"
        );
        assert_eq!(others.events(), Vec::<Value>::new());
        eventually("nobody listens", || (lab.json(&["counters"])["events"]["subscribers"] == 0).then_some(()));
        let before = sent(lab);
        assert!(!lab.datagram_arrives(7999));
        assert_eq!(sent(lab), before);
    });
}

#[test]
fn ends_that_the_daemon_sees_are_told_too() {
    in_lab(|lab| {
        lab.write("10-base.toml", &POLICY.replacen("action = \"allow\"", "timeouts = { udp-single = \"1s\" }\naction = \"allow\"", 1));
        lab.start(&["--interface", "outside=box0"]);
        let listener = lab.listen(&["--json", "kind=closed", "--count", "2"]);
        assert!(lab.datagram_arrives(7000));
        let _connection = lab.connect();
        assert_eq!(lab.json(&["flows", "kill", "protocol=tcp"])["killed"], 1);
        let events = listener.ended().events();
        assert_eq!(kinds(&events), [("closed", "killed"), ("closed", "idle-timeout")], "{events:?}");
        assert_eq!((&events[1]["protocol"], &events[1]["state"]), (&"udp".into(), &"single".into()), "{events:?}");
    });
}

#[test]
fn a_policy_that_cuts_a_connection_is_told() {
    in_lab(|lab| {
        lab.start(&["--interface", "outside=box0"]);
        let (mut client, _server) = lab.connect();
        let listener = lab.listen(&["--json", "--count", "2"]);
        let path = lab.write("10-base.toml", &POLICY.replacen("tcp/7000", "tcp/7001", 1));
        lab.json(&["policy", "apply", path.to_str().expect("UTF-8")]);
        client.write_all(b"too late").expect("sent");
        let events = listener.ended().events();
        assert_eq!(kinds(&events), [("closed", "policy"), ("dropped", "acl-drop")], "{events:?}");
    });
}

#[test]
fn listening_ends_in_order() {
    in_lab(|lab| {
        lab.weir(&["events"]).refused_with(1, &["no weir daemon"]);
        lab.weir(&["events", "kind=died"]).refused_with(2, &["no kind of event", "opened"]);
        lab.weir(&["events", "reason=tcp-no-syn"]).refused_with(2, &["tcp-not-syn"]);
        lab.weir(&["events", "flags=b"]).refused_with(2, &["cannot be filtered by `flags`"]);
        lab.weir(&["events", "--count", "x"]).refused_with(2, &[]);
        lab.start(&["--interface", "outside=box0"]);
        let timed = lab.weir(&["events", "--for", "1"]);
        assert_eq!((timed.code, timed.out.as_str(), timed.err.as_str()), (Some(0), "", ""));
        let terminated = lab.listen(&["--json"]);
        terminated.signal(rustix::process::Signal::TERM);
        assert_eq!(terminated.ended().events(), Vec::<Value>::new());
        let left = lab.listen(&["--json"]);
        lab.stop();
        left.ended().refused_with(1, &["the daemon has ended"]);
    });
}

#[test]
fn a_daemon_that_was_killed_leaves_nobody_listening() {
    in_lab(|lab| {
        lab.start(&["--interface", "outside=box0"]);
        let listener = lab.listen(&["--json"]);
        assert!(!lab.datagram_arrives(7999));
        lab.crash();
        listener.ended().refused_with(1, &["the daemon"]);
        // The dataplane goes on, and so do its events, which nobody reads.
        assert!(!lab.datagram_arrives(7999));
        lab.start(&["--interface", "outside=box0"]);
        let before = sent(lab);
        assert_eq!(before, 2);
        assert!(!lab.datagram_arrives(7999));
        assert_eq!(sent(lab), before);
        // What was made for those who are gone is not told to those who come.
        let listener = lab.listen(&["--json"]);
        assert!(!lab.datagram_arrives(7998));
        eventually("the event", || (sent(lab) == before + 1).then_some(()));
        let events = listener.events();
        assert_eq!(events.iter().map(|event| event["destination"]["port"].clone()).collect::<Vec<_>>(), [7998]);
    });
}

#[test]
fn too_many_listeners_are_refused() {
    in_lab(|lab| {
        lab.start(&["--interface", "outside=box0"]);
        let listeners: Vec<_> = (0..16).map(|_| lab.listen(&["port=1"])).collect();
        lab.weir(&["events"]).refused_with(1, &["16 listen to events already"]);
        drop(listeners);
        eventually("they are gone", || (lab.json(&["counters"])["events"]["subscribers"] == 0).then_some(()));
        assert_eq!(lab.weir(&["events", "--for", "0"]).code, Some(0));
    });
}

/// Sends datagrams from the client to a port that no rule names.
fn flood(lab: &Lab, datagrams: u64) {
    let sender = inside(&lab.client, || UdpSocket::bind("0.0.0.0:0")).expect("a socket");
    for _ in 0..datagrams {
        sender.send_to(b"x", (BOX, 7999)).expect("sent");
    }
    let dropped = || lab.json(&["counters"])["drops"]["acl-drop"].as_u64().unwrap_or(0);
    eventually("the flood is over", || (dropped() == datagrams).then_some(()));
}

#[test]
fn a_listener_that_does_not_keep_up_is_told_what_it_missed() {
    const FLOOD: u64 = 30_000;
    in_lab(|lab| {
        lab.start(&["--interface", "outside=box0", "--event-rate", "1000000"]);
        let mut slow = UnixStream::connect(lab.socket()).expect("the socket");
        slow.write_all(b"GET /v1/events?kind=dropped HTTP/1.0\r\n\r\n").expect("asked");
        eventually("it listens", || (lab.json(&["counters"])["events"]["subscribers"] == 1).then_some(()));
        flood(lab, FLOOD);
        let figures = lab.json(&["counters"])["events"].clone();
        let of = |name: &str| figures[name].as_u64().expect("a number");
        assert_eq!((of("sent") + of("lost"), of("limited")), (FLOOD, 0), "{figures}");
        let (mut seen, mut missed) = (0, 0);
        slow.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut lines = BufReader::new(slow).lines().map(|line| line.expect("the stream goes on"));
        while seen + missed < of("sent") {
            let line = lines.next().expect("more is to come");
            let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
            match event["kind"].as_str() {
                Some("lost") => missed += event["events"].as_u64().expect("how many"),
                Some("dropped") => seen += 1,
                _ => {}
            }
        }
        assert_eq!(seen + missed, of("sent"));
        assert!(missed > 1000, "it missed {missed} of {FLOOD}: nothing was tried");
    });
}

#[test]
fn a_flood_is_limited_and_every_drop_accounted_for() {
    const FLOOD: u64 = 20_000;
    in_lab(|lab| {
        lab.start(&["--interface", "outside=box0", "--event-rate", "50"]);
        let listener = lab.listen(&["--json", "kind=dropped"]);
        flood(lab, FLOOD);
        let figures = lab.json(&["counters"])["events"].clone();
        let of = |name: &str| figures[name].as_u64().expect("a number");
        assert_eq!(of("sent") + of("limited") + of("lost"), FLOOD, "{figures}");
        assert!(of("limited") > FLOOD / 2 && of("sent") >= 50, "{figures}");
        let table = lab.weir(&["counters"]).out;
        assert!(table.contains(&format!("events sent {}, limited {}", of("sent"), of("limited"))), "{table}");
        // The last ones are on their way.
        std::thread::sleep(std::time::Duration::from_secs(1));
        assert_eq!(listener.events().len() as u64, of("sent"));
    });
}
