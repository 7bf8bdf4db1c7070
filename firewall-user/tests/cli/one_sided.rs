//! Flows of which only one side comes by.

use std::{
    net::{IpAddr, SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::lab::{Lab, eventually, in_lab, inside};

/// An address on the link that nobody has. Frames to it are sent all the same.
const NOBODY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 9, 0, 77));
/// As many connections to one address as are told of when none is answered.
const MANY: usize = 10;

fn one_sided(lab: &Lab, filters: &[&str]) -> Vec<Value> {
    let flows = lab.json(&[&["flows", "one-sided=yes"], filters].concat());
    flows.as_array().expect("an array").clone()
}

#[test]
fn what_nobody_answers_is_named_with_the_way_its_answer_should_come() {
    in_lab(|lab| {
        lab.start(&["--interface", "outside=box0"]);
        let neighbour = format!("neighbour replace {NOBODY} lladdr 02:00:00:00:00:99 dev box0 nud permanent");
        lab.server.ip(&neighbour).expect("a neighbour");
        let _answered = lab.connect();
        inside(&lab.server, || {
            thread::scope(|scope| {
                for port in 1..=MANY {
                    let to = SocketAddr::new(NOBODY, u16::try_from(port).expect("a port"));
                    // Long enough for a repetition of the SYN, and for the flow to be old enough.
                    scope.spawn(move || TcpStream::connect_timeout(&to, Duration::from_millis(3_500)).expect_err("nobody is there"));
                }
            });
        });
        let flows = eventually("one-sided flows", || Some(one_sided(lab, &["protocol=tcp"])).filter(|flows| flows.len() == MANY));
        let why =
            "packets of 10.9.0.77 should come by box0 (zone outside) and never do; nobody answers there, or the answers take another path";
        let expected = json!({
            "missing": "to_initiator", "expected_interface": "box0", "attached": true, "zone": "outside", "certain": false, "why": why
        });
        assert_eq!(flows[0]["one_sided"], expected, "{flows:?}");
        assert!(flows[0]["flags"].as_str().is_some_and(|flags| flags.contains('1')), "{flows:?}");
        let others = lab.json(&["flows", "one-sided=no"]);
        assert_eq!(others.as_array().map(Vec::len), Some(1), "{others}");
        assert_eq!((&others[0]["one_sided"], &others[0]["state"]), (&Value::Null, &"established".into()), "{others}");

        let silent = &lab.json(&["status"])["silent"];
        assert_eq!((silent[0]["address"].as_str(), silent[0]["flows"].as_u64()), (Some("10.9.0.77"), Some(MANY as u64)), "{silent}");
        let shown = lab.weir(&["status"]);
        assert!(
            shown.out.contains("\none side packets of 10.9.0.77 should come by box0 (zone outside) and never do; missing in 10 flows, "),
            "{shown:?}"
        );

        // A way that Weir is not on is another path.
        lab.json(&["detach", "box0"]);
        let flow = &one_sided(lab, &["port=1"])[0];
        let one = &flow["one_sided"];
        assert_eq!((&one["expected_interface"], &one["attached"], &one["zone"]), (&"box0".into(), &false.into(), &Value::Null), "{flow}");
        assert!(one["why"].as_str().is_some_and(|why| why.contains("Weir is not on it")), "{flow}");
    });
}

#[test]
fn one_side_may_do_all_the_talking_where_there_are_no_answers() {
    in_lab(|lab| {
        lab.start(&["--interface", "outside=box0"]);
        for _ in 0..2 {
            lab.send_datagram(5_000, b"talk");
        }
        let flow = eventually("a one-sided flow", || one_sided(lab, &["protocol=udp"]).pop());
        assert!(flow["age_seconds"].as_f64() >= Some(3.0), "{flow}");
        let why = "10.9.0.1 is the box itself, and sends nothing back; one side does all the talking, or the other takes another path";
        assert_eq!((&flow["one_sided"]["why"], &flow["one_sided"]["expected_interface"]), (&why.into(), &Value::Null), "{flow}");
        assert_eq!(lab.json(&["status"])["silent"], json!([]), "a talker is nothing to be warned of");
    });
}
