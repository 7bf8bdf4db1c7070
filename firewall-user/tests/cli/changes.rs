//! Policies that change safely: confirmed or taken back, compared before, and never against one's own session unasked.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::lab::{Lab, POLICY, Stop, eventually, in_lab};

const START: [&str; 2] = ["--interface", "outside=box0"];

/// A policy under which the lab's UDP port is another one.
fn other() -> String {
    POLICY.replace("udp/7000", "udp/7999")
}

/// A policy that lets no TCP in.
fn without_tcp() -> String {
    POLICY.replace("\"tcp/7000\", ", "")
}

/// Applies the lab's own policies.
fn apply<'a>(lab: &'a Lab, more: &[&'a str]) -> Vec<String> {
    let path = lab.policies().to_str().expect("UTF-8").to_owned();
    [&["policy".to_owned(), "apply".to_owned(), path][..], &more.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()].concat()
}

fn words(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// Numbers and states of the history, newest first: `2 unconfirmed, 1 replaced`.
fn history(lab: &Lab) -> String {
    let entries = lab.json(&["policy", "history"]);
    let one = |entry: &serde_json::Value| format!("{} {}", entry["number"], entry["state"].as_str().expect("a word"));
    entries.as_array().expect("a list").iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Which of the two UDP ports is open.
fn open_port(lab: &Lab) -> Vec<u16> {
    [7000, 7999].into_iter().filter(|port| lab.datagram_arrives(*port)).collect()
}

/// Sends and receives on a connection until told to stop. Returns how often; a byte that does not come fails.
fn talk((mut near, mut far): (TcpStream, TcpStream), stop: &AtomicBool) -> usize {
    let mut times = 0;
    let mut byte = [0];
    while !stop.load(Ordering::Relaxed) {
        near.write_all(b">").expect("sent");
        far.read_exact(&mut byte).expect("received");
        far.write_all(b"<").expect("sent");
        near.read_exact(&mut byte).expect("received");
        times += 1;
        thread::sleep(Duration::from_millis(5));
    }
    times
}

#[test]
fn what_is_not_confirmed_in_time_goes_and_no_allowed_packet_is_lost() {
    in_lab(|lab| {
        lab.start(&START);
        let connection = lab.connect();
        let stop = AtomicBool::new(false);
        let lab = &*lab;
        thread::scope(|scope| {
            let talking = scope.spawn(|| talk(connection, &stop));
            let stopping = Stop(&stop);
            lab.write("10-base.toml", &other());
            let began = Instant::now();
            let applied = lab.json(&words(&apply(lab, &["--confirm", "3"])));
            assert_eq!((&applied["number"], &applied["confirmation"]["previous"]), (&2.into(), &1.into()), "{applied}");
            assert_eq!(open_port(lab), [7999], "the new policy is in force at once");
            let status = lab.json(&["status"]);
            assert_eq!((&status["confirmation"]["number"], &status["policy"]["number"]), (&2.into(), &2.into()), "{status}");
            assert!((1..=3).contains(&status["confirmation"]["seconds_left"].as_u64().expect("a number")), "{status}");
            assert!(lab.weir(&["status"]).out.contains("weir policy confirm; else number 1 comes back"));
            assert_eq!(history(lab), "2 unconfirmed, 1 replaced");
            // A second change must wait, whoever asks for it.
            lab.weir(&words(&apply(lab, &[]))).refused_with(1, &["number 2 waits to be confirmed", "weir policy rollback"]);
            lab.weir(&["bypass", "add", "x", "--from", "any", "--to", "self", "--service", "tcp/1"])
                .refused_with(1, &["waits to be confirmed"]);
            eventually("the rollback", || (lab.json(&["status"])["confirmation"].is_null()).then_some(()));
            assert!(began.elapsed() >= Duration::from_secs(3), "too early: {:?}", began.elapsed());
            assert_eq!(open_port(lab), [7000]);
            assert_eq!(history(lab), "2 rolled-back, 1 in-force");
            assert!(lab.log().contains("policy number 2 was not confirmed in time"), "{}", lab.log());
            drop(stopping);
            let times = talking.join().expect("every byte came");
            assert!(times > 100, "{times}");
        });
        let drops = &lab.json(&["counters"])["drops"];
        assert_eq!(drops.as_object().map(|drops| drops.keys().map(String::as_str).collect()), Some(vec!["acl-drop"]), "{drops}");
        lab.weir(&["policy", "confirm"]).refused_with(1, &["no policy waits to be confirmed"]);
    });
}

#[test]
fn what_is_confirmed_stays_and_can_be_taken_back() {
    in_lab(|lab| {
        lab.start(&START);
        lab.weir(&["policy", "rollback"]).refused_with(1, &["there is no policy before the one in force"]);
        lab.write("10-base.toml", &other());
        let run = lab.weir(&words(&apply(lab, &["--confirm", "2"])));
        assert!(run.out.contains("within 2 s: weir policy confirm --instance"), "{run:?}");
        assert_eq!(lab.json(&["policy", "confirm"])["number"], 2);
        thread::sleep(Duration::from_millis(2500));
        assert_eq!((open_port(lab), history(lab).as_str()), (vec![7999], "2 in-force, 1 replaced"));

        lab.write("10-base.toml", &without_tcp());
        lab.json(&words(&apply(lab, &[])));
        let entry = &lab.json(&["policy", "history"])[0];
        assert_eq!((&entry["how"], &entry["uid"], &entry["rules"]), (&"apply".into(), &0.into(), &2.into()), "{entry}");
        assert_eq!((&entry["user"], &entry["summary"]), (&"root".into(), &"1 rule changed".into()), "{entry}");
        assert_eq!(lab.json(&["policy", "rollback"])["number"], 2);
        assert_eq!(lab.json(&["policy", "rollback"])["number"], 1, "said again it goes further back");
        assert_eq!((open_port(lab), history(lab).as_str()), (vec![7000], "3 rolled-back, 2 rolled-back, 1 in-force"));
        lab.weir(&["policy", "rollback"]).refused_with(1, &["there is no policy before"]);
        lab.weir(&["policy", "rollback", "1"]).refused_with(1, &["is in force already"]);
        lab.weir(&["policy", "rollback", "77"]).refused_with(1, &["no policy number 77", "weir policy history"]);
        // The files say something else now: an edit of them would bring that back.
        lab.weir(&["bypass", "add", "x", "--from", "any", "--to", "self", "--service", "tcp/1"]).refused_with(1, &["was put back"]);

        assert_eq!(lab.json(&["policy", "rollback", "2", "--confirm", "60"])["confirmation"]["previous"], 1);
        assert_eq!(open_port(lab), [7999]);
        assert_eq!(lab.json(&["policy", "rollback"])["number"], 1, "at once");
        assert_eq!((open_port(lab), lab.json(&["status"])["confirmation"].is_null()), (vec![7000], true));

        let table = lab.weir(&["policy", "history"]).out;
        assert!(table.lines().nth(1).is_some_and(|line| line.contains("3  20") && line.contains("rolled back")), "{table}");
        for seconds in ["0", "3601"] {
            lab.weir(&words(&apply(lab, &["--confirm", seconds]))).refused_with(2, &["--confirm"]);
        }
    });
}

#[test]
fn a_daemon_that_is_killed_does_not_forget_what_waits() {
    in_lab(|lab| {
        lab.start(&START);
        lab.write("10-base.toml", &other());
        lab.json(&words(&apply(lab, &["--confirm", "6"])));
        lab.crash();
        let status = lab.start(&START);
        let left = status["confirmation"]["seconds_left"].as_u64().expect("it still waits");
        assert!((1..=6).contains(&left), "{status}");
        assert_eq!(open_port(lab), [7999], "{}", lab.log());
        eventually("the rollback", || (lab.json(&["status"])["confirmation"].is_null()).then_some(()));
        assert_eq!((open_port(lab), history(lab).as_str()), (vec![7000], "2 rolled-back, 1 in-force"));

        // While nobody runs its time ends: the next daemon goes back before anything else, whatever the files say.
        lab.json(&words(&apply(lab, &["--confirm", "1"])));
        lab.crash();
        thread::sleep(Duration::from_millis(1200));
        let status = lab.start(&START);
        assert_eq!((&status["policy"]["number"], &status["confirmation"]), (&1.into(), &serde_json::Value::Null), "{status}");
        assert!(lab.log().contains("policy number 3 was not confirmed in time: number 1 is in force again"), "{}", lab.log());
        assert_eq!((open_port(lab), history(lab).as_str()), (vec![7000], "3 rolled-back, 2 rolled-back, 1 in-force"));

        // Nor does the one after it, nor a reload, bring back what was rolled back. Applying it does.
        lab.stop();
        lab.start(&START);
        assert!(lab.log().contains("still says what was rolled back: policy number 1 stays in force"), "{}", lab.log());
        lab.signal(Signal::HUP);
        eventually("the refusal", || lab.log().contains("the policy stays as it was").then_some(()));
        assert_eq!(open_port(lab), [7000]);
        lab.json(&words(&apply(lab, &[])));
        assert_eq!((open_port(lab), history(lab).as_str()), (vec![7999], "4 in-force, 3 rolled-back, 2 rolled-back, 1 replaced"));
    });
}

#[test]
fn the_history_outlives_daemons_and_is_nobodys_to_read() {
    in_lab(|lab| {
        lab.start(&START);
        lab.write("10-base.toml", &other());
        lab.signal(Signal::HUP);
        eventually("the reload", || (history(lab) == "2 in-force, 1 replaced").then_some(()));
        lab.stop();
        lab.start(&START);
        assert_eq!(history(lab), "2 in-force, 1 replaced", "the same policy again is no change");
        let entries = lab.json(&["policy", "history"]);
        assert_eq!(
            (&entries[0]["how"], &entries[1]["how"], &entries[0]["user"]),
            (&"reload".into(), &"start".into(), &serde_json::Value::Null)
        );
        let mode = |path: &std::path::Path| fs::metadata(path).expect("there").permissions().mode() & 0o7777;
        assert_eq!(mode(&lab.state()) & 0o007, 0);
        for entry in fs::read_dir(lab.state()).expect("a directory") {
            assert_eq!(mode(&entry.expect("an entry").path()) & 0o117, 0);
        }
        assert!(lab.weir(&["policy", "show", "1"]).out.contains("udp/7000"));
        lab.weir(&["policy", "show", "5"]).refused_with(1, &["no policy number 5"]);
        assert_eq!(lab.json(&["policy", "show", "1"])["state"], "replaced");
        // What a broken disk keeps from being read does not keep the firewall from starting.
        lab.stop();
        fs::write(lab.state().join("history.json"), "{").expect("written");
        lab.start(&START);
        assert!(lab.log().contains("the history of policies begins anew"), "{}", lab.log());
        assert_eq!(history(lab), "1 in-force");
    });
}

#[test]
fn a_print_is_a_policy_and_prints_the_same() {
    in_lab(|lab| {
        lab.start(&START);
        let print = lab.weir(&["policy", "show"]).out;
        assert_eq!(lab.weir(&["policy", "show", "1"]).out, print);
        let file = lab.directory.join("print.toml");
        fs::write(&file, &print).expect("written");
        assert_eq!(lab.weir(&["policy", "diff", file.to_str().expect("UTF-8")]).code, Some(0));
        lab.json(&["policy", "apply", file.to_str().expect("UTF-8")]);
        assert_eq!(lab.weir(&["policy", "show"]).out, print);
        assert!(lab.weir(&["policy", "show", "--hits"]).out.starts_with(&format!("# {}", file.display())));
    });
}

#[test]
fn a_diff_names_the_live_flows_that_would_be_judged_otherwise() {
    in_lab(|lab| {
        lab.start(&START);
        let (client, _server) = lab.connect();
        let port = client.local_addr().expect("an address").port();
        let diff = |policy: &str, code: i32| {
            let path = lab.write("next", policy);
            let run = lab.weir(&["policy", "diff", path.to_str().expect("UTF-8"), "--json"]);
            assert_eq!(run.code, Some(code), "{run:?}");
            serde_json::from_str::<serde_json::Value>(&run.out).expect("JSON")
        };
        let same = diff(POLICY, 0);
        assert_eq!((&same["same"], &same["flows"]["live"], &same["changes"]), (&true.into(), &1.into(), &serde_json::json!([])), "{same}");

        let cut = diff(&without_tcp(), 3);
        assert_eq!((&cut["flows"]["cut"], &cut["summary"]), (&1.into(), &"1 rule changed".into()), "{cut}");
        let flow = &cut["flows"]["listed"][0];
        assert_eq!((&flow["change"], &flow["initiator"]["port"], &flow["responder"]["port"]), (&"cut".into(), &port.into(), &7000.into()));
        assert_eq!(
            (&flow["now"]["rule"], &flow["now"]["action"], &flow["then"]["action"]),
            (&"in".into(), &"allow".into(), &"drop".into())
        );
        assert_eq!(flow["then"]["rule"], serde_json::Value::Null, "{flow}");

        let tolerant = diff(&POLICY.replacen("action = \"allow\"", "action = \"allow\"\ninspection = \"tolerant\"", 1), 3);
        assert_eq!((&tolerant["flows"]["inspection"], &tolerant["flows"]["cut"]), (&1.into(), &0.into()), "{tolerant}");
        assert_eq!(tolerant["flows"]["listed"][0]["then"]["inspection"], "tolerant");
        let renamed = diff(&POLICY.replace("\"in\"", "\"inward\""), 3);
        assert_eq!((&renamed["flows"]["rule"], &renamed["flows"]["listed"][0]["then"]["rule"]), (&1.into(), &"inward".into()), "{renamed}");

        let path = lab.write("next", &without_tcp());
        let text = lab.weir(&["policy", "diff", path.to_str().expect("UTF-8")]);
        let rule = "~ rule in\n    - service = [\"tcp/7000\", \"udp/7000\", \"icmp\"]\n    + service = [\"udp/7000\", \"icmp\"]\n\n1 rule changed\n";
        assert!(text.out.starts_with(rule), "{text:?}");
        assert!(
            text.out.contains(&format!("cut     tcp    10.9.0.2:{port}  10.9.0.1:7000  outside>self  allow in (strict)  drop")),
            "{text:?}"
        );
        let none = lab.weir(&["policy", "diff", path.to_str().expect("UTF-8"), "--limit", "0"]);
        assert!(none.out.contains("of 1 live flows 1 would be cut") && !none.out.contains("10.9.0.2"), "{none:?}");
        lab.weir(&["policy", "diff", "/no/such/policy"]).refused_with(2, &["/no/such/policy"]);
        assert_eq!(lab.json(&["status"])["policy"]["generation"], 1, "nothing has changed");
        assert_eq!(lab.json(&["flows", "port=7000"]).as_array().map(Vec::len), Some(1));
    });
}

#[test]
fn ones_own_session_is_not_cut_unasked() {
    in_lab(|lab| {
        lab.start(&START);
        let (client, _server) = lab.connect();
        let ssh = format!("10.9.0.2 {} 10.9.0.1 7000", client.local_addr().expect("an address").port());
        let path = lab.write("10-base.toml", &without_tcp());
        let path = path.to_str().expect("UTF-8");
        let apply = ["policy", "apply", path];
        let generation = || lab.json(&["status"])["policy"]["generation"].as_u64();
        let refused = ["this cuts your own SSH session 10.9.0.2:", "no rule allows it", "--cut-session"];
        lab.weir_with(&apply, &[("SSH_CONNECTION", &ssh)], "").refused_with(1, &refused);
        // A session that no flow is known of is judged as it would begin; one that could not begin now either is not cut.
        lab.weir_with(&apply, &[("SSH_CONNECTION", "10.9.0.2 1 10.9.0.1 7000")], "y\n").refused_with(1, &refused);
        assert_eq!((generation(), history(lab).as_str()), (Some(1), "1 in-force"));
        let diff = lab.weir_with(&["policy", "diff", path], &[("SSH_CONNECTION", &ssh)], "");
        assert!(diff.out.contains("your own SSH session would be cut: no rule allows it"), "{diff:?}");

        for (answer, code) in [("n\n", 1), ("\n", 1)] {
            let run = lab.weir_on_a_terminal(&apply, &[("SSH_CONNECTION", &ssh)], answer);
            assert_eq!((run.code, generation()), (Some(code), Some(1)), "{run:?}");
            assert!(run.out.contains("continue? [y/N]") && run.out.contains("nothing has changed"), "{run:?}");
        }
        let run = lab.weir_on_a_terminal(&apply, &[("SSH_CONNECTION", &ssh)], "y\n");
        assert_eq!((run.code, generation()), (Some(0), Some(2)), "{run:?}");
        assert_eq!(lab.json(&["policy", "rollback"])["number"], 1);
        let forced = [&apply[..], &["--cut-session", "--json"]].concat();
        assert_eq!(lab.weir_with(&forced, &[("SSH_CONNECTION", &ssh)], "").code, Some(0));
        // Back to a policy that allows it, with nothing to fear.
        assert_eq!(lab.weir_with(&["policy", "rollback"], &[("SSH_CONNECTION", &ssh)], "").code, Some(0));
        lab.weir_with(&["policy", "rollback", "2"], &[("SSH_CONNECTION", &ssh)], "").refused_with(1, &refused);
        // A bypass rule that lets the session in is not removed unasked either, and the file is as before.
        let directory = lab.policies();
        lab.json(&["policy", "apply", directory.to_str().expect("UTF-8")]);
        lab.json(&["bypass", "add", "own", "--from", "outside", "--to", "self", "--service", "tcp/7000", "--file", "00-own.toml"]);
        let before = lab.read("00-own.toml").expect("the file");
        lab.weir_with(&["bypass", "remove", "own"], &[("SSH_CONNECTION", &ssh)], "").refused_with(1, &refused);
        assert_eq!(lab.read("00-own.toml").expect("the file"), before);
        let elsewhere = lab.weir_with(&apply, &[("SSH_CONNECTION", "192.0.2.9 1 10.9.0.1 7001")], "");
        assert_eq!(elsewhere.code, Some(0), "{elsewhere:?}");
    });
}
