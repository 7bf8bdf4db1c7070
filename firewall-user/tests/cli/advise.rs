//! `weir advise`: a stream that is no TCP is told of, its rule is added and taken back, and what is remembered outlives the daemon.

use std::{
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use serde_json::Value;
use xtask::test::frame::{Port, Tcp, tcp};

use crate::lab::{Lab, eventually, in_lab, inside};

/// An address of the client's side that no kernel has, so that none answers for it.
const STRANGER: &str = "10.9.0.77";
const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const BOX_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// A kilobyte each: several windows of a kernel.
const SEGMENTS: u32 = 260;

/// Opens a connection to the box's port 7000, loses its third segment, and goes on as if there were no window. Returns the listener, whose
/// kernel has taken part in it.
fn fake_stream(lab: &Lab, port: u16) -> TcpListener {
    lab.server.ip(&format!("neigh replace {STRANGER} lladdr 02:00:00:00:00:02 dev box0 nud permanent")).expect("a neighbour");
    let listener = inside(&lab.server, || TcpListener::bind("10.9.0.1:7000")).expect("the box listens");
    let wire = Port::open(&lab.client, "far0").expect("a port");
    let (source, destination): (SocketAddr, SocketAddr) =
        (SocketAddr::new(STRANGER.parse().expect("an address"), port), "10.9.0.1:7000".parse().expect("an address"));
    let send = |seq, ack, flags, payload: Vec<u8>| {
        let frame = Tcp { source, destination, seq, ack, flags, payload }.frame(CLIENT_MAC, BOX_MAC, &[]).expect("a frame");
        wire.send(&frame).expect("sent");
    };
    send(1_000, 0, "S", Vec::new());
    let answer = eventually("the answer to the SYN", || {
        let frame = wire.next(Duration::from_millis(200)).expect("frames can be read")?;
        tcp(&frame).filter(|segment| segment.source == destination && segment.destination == source)
    });
    let ack = answer.end();
    send(1_001, ack, ".", Vec::new());
    for number in (0..SEGMENTS).filter(|number| *number != 2) {
        send(1_001 + number * 1_000, ack, ".", vec![7; 1_000]);
    }
    listener
}

/// The one advice with a rule.
fn advised(lab: &Lab) -> Value {
    eventually("the advice", || {
        let told = lab.json(&["advise"]);
        told["advice"].as_array()?.iter().find(|advice| advice["rule"].is_object()).cloned()
    })
}

#[test]
fn a_stream_that_is_no_tcp_is_told_of_and_let_live() {
    in_lab(|lab| {
        lab.start(&["--interface", "outside=box0"]);
        assert_eq!(lab.json(&["advise"])["advice"], serde_json::json!([]));
        assert!(lab.weir(&["advise"]).out.contains("no stream is killed by a strict check"));
        let _listener = fake_stream(lab, 40_001);
        let advice = advised(lab);
        let name = advice["name"].as_str().expect("a name");
        assert_eq!((name, &advice["looks"], &advice["confidence"]), ("fake-tcp-10.9.0.1-7000", &"fake-tcp".into(), &"high".into()));
        assert!(advice["reasons"]["tcp-seq-past-win"].as_u64() > Some(50), "{advice}");
        let rule = &advice["rule"];
        assert_eq!(
            (&rule["from"][0], &rule["to"][0], &rule["service"][0]),
            (&format!("outside {STRANGER}").into(), &"self 10.9.0.1".into(), &"tcp/7000".into())
        );
        assert_eq!(
            (&rule["before"], &advice["admitted_by"]["rule"], &advice["admitted_by"]["line"]),
            (&"in".into(), &"in".into(), &3.into())
        );
        assert!(advice["instead"].as_array().is_some_and(|ways| ways.len() >= 2), "{advice}");

        // A person is shown the same, the rule to the letter.
        let shown = lab.weir(&["advise", "--for", "2h"]).out;
        for words in [
            "LOOKS LIKE",
            "A hole of the client's data",
            "better   mend the loss",
            "before rule in",
            "inspection   = \"bypass\"",
            "weir advise --apply",
        ] {
            assert!(shown.contains(words), "no {words:?} in {shown}");
        }

        // What is remembered outlives the daemon, killed or not.
        lab.crash();
        lab.start(&["--interface", "outside=box0"]);
        assert_eq!(advised(lab)["refused"], advice["refused"]);

        // Nothing is added that is not advised, or not for such a time.
        lab.weir(&["advise", "--apply", "fake-tcp-10.9.0.1-7001"])
            .refused_with(1, &["no advice `fake-tcp-10.9.0.1-7001`", "`weir advise`"]);
        lab.weir(&["advise", "--apply", "in"]).refused_with(1, &["there is a rule `in` already", "10-base.toml:3"]);
        lab.weir(&["advise", "--apply", name, "--for", "1s"]).refused_with(2, &["no time for a rule to hold"]);
        let before = lab.read("10-base.toml").expect("the file");

        // On trial, and taken back.
        let applied = lab.json(&["advise", "--apply", name, "--confirm", "600"]);
        assert!(applied["file"].as_str().is_some_and(|file| file.ends_with("10-base.toml")), "{applied}");
        assert!(applied["confirmation"]["seconds_left"].as_u64() > Some(500), "{applied}");
        let edited = lab.read("10-base.toml").expect("the file");
        assert!(edited.ends_with(&before) && edited.starts_with(rule["toml"].as_str().expect("the rule's text")), "{edited}");
        assert_eq!(lab.json(&["bypass", "list"])[0]["name"], name);
        assert_eq!(lab.json(&["advise"])["advice"], serde_json::json!([]), "where a bypass is none is advised");
        assert_eq!(lab.json(&["policy", "history"])[0]["how"], "advise");
        lab.json(&["policy", "rollback"]);
        lab.write("10-base.toml", &before);
        assert_eq!(advised(lab)["name"], name);

        // For good, and no second time.
        lab.json(&["policy", "apply", lab.policies().to_str().expect("UTF-8")]);
        let told = lab.weir(&["advise", "--apply", name]);
        assert!(told.code == Some(0) && told.out.contains("it ends by itself with 2"), "{told:?}");
        lab.weir(&["advise", "--apply", name]).refused_with(1, &["already", "10-base.toml:"]);
        lab.json(&["advise", "forget"]);
        assert_eq!(lab.json(&["advise", "forget"])["forgotten"], 0);
    });
}

#[test]
fn what_looks_like_an_attack_is_told_of_without_a_rule() {
    in_lab(|lab| {
        lab.start(&["--interface", "outside=box0"]);
        let wire = Port::open(&lab.client, "far0").expect("a port");
        for number in 0..400_u16 {
            let source = SocketAddr::new(STRANGER.parse().expect("an address"), 30_000 + number);
            let destination = "10.9.0.1:7000".parse().expect("an address");
            let segment = Tcp { source, destination, seq: u32::from(number) * 77_777, ack: 5, flags: ".", payload: Vec::new() };
            wire.send(&segment.frame(CLIENT_MAC, BOX_MAC, &[]).expect("a frame")).expect("sent");
        }
        let told = eventually("the scan", || {
            let told = lab.json(&["advise"]);
            (told["advice"][0]["refused"].as_u64() >= Some(300)).then_some(told)
        });
        let advice = &told["advice"][0];
        assert!(advice["looks"] == "scan" && advice["rule"].is_null() && advice["no_rule"].is_string(), "{advice}");
        let name = advice["name"].as_str().expect("a name");
        lab.weir(&["advise", "--apply", name]).refused_with(1, &["advises no rule", "attack"]);
        assert!(lab.weir(&["advise"]).out.contains("no rule  what looks like an attack is never let through"));
    });
}
