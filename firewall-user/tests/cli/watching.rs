//! Policy files that apply by themselves.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use rustix::process::Signal;

use crate::lab::{Lab, POLICY, Stop, eventually, in_lab};

const START: [&str; 3] = ["--watch", "--interface", "outside=box0"];

fn generation(lab: &Lab) -> u64 {
    lab.json(&["status"])["policy"]["generation"].as_u64().expect("a number")
}

/// Longer than files are left alone before they are looked at.
fn let_it_look() {
    thread::sleep(Duration::from_millis(1500));
}

#[test]
fn files_apply_when_they_are_whole() {
    in_lab(|lab| {
        lab.start(&START);
        let_it_look();
        assert_eq!(generation(lab), 1, "nothing has changed yet: {}", lab.log());

        // Half-written: the file ends in the middle of a rule. Then it is written to its end.
        let whole = POLICY.replace("udp/7000", "udp/7999");
        let (half, rest) = whole.split_at(whole.len() / 2);
        lab.write("10-base.toml", half);
        eventually("the refusal", || lab.log().contains("the policy stays as it was").then_some(()));
        assert_eq!(generation(lab), 1);
        assert!(lab.datagram_arrives(7000));
        lab.write("10-base.toml", &format!("{half}{rest}"));
        eventually("the change", || (generation(lab) == 2).then_some(()));
        assert!(lab.datagram_arrives(7999) && !lab.datagram_arrives(7000));
        let entry = &lab.json(&["policy", "history"])[0];
        assert_eq!(
            (&entry["how"], &entry["user"], &entry["summary"]),
            (&"watch".into(), &serde_json::Value::Null, &"1 rule changed".into())
        );
    });
}

#[test]
fn a_writer_at_work_is_waited_for() {
    in_lab(|lab| {
        lab.start(&START);
        // Each state is a policy by itself; only the last is meant.
        let rule = |name: &str| {
            format!("[[rule]]\nname = \"{name}\"\nfrom = \"outside\"\nto = \"self\"\nservice = \"udp/7999\"\naction = \"allow\"\n")
        };
        for number in 0..10 {
            lab.write(&format!("2{number}-more.toml"), &rule(&format!("more-{number}")));
            thread::sleep(Duration::from_millis(150));
        }
        for number in 0..9 {
            fs::remove_file(lab.policies().join(format!("2{number}-more.toml"))).expect("removed");
            thread::sleep(Duration::from_millis(150));
        }
        assert_eq!(generation(lab), 1, "the writer has not left it alone: {}", lab.log());
        eventually("the change", || (generation(lab) > 1).then_some(()));
        let_it_look();
        assert_eq!(generation(lab), 2, "{}", lab.log());
        let names: Vec<_> =
            lab.json(&["policy", "show"])["rules"].as_array().expect("rules").iter().map(|rule| rule["name"].clone()).collect();
        assert_eq!(names, ["in", "out", "more-9"]);
    });
}

#[test]
fn what_is_being_written_is_not_applied() {
    in_lab(|lab| {
        lab.start(&["--interface", "outside=box0"]);
        let directory = lab.policies();
        let apply = ["policy", "apply", directory.to_str().expect("UTF-8")];
        let (stop, lab) = (AtomicBool::new(false), &*lab);
        thread::scope(|scope| {
            let stopping = Stop(&stop);
            // A file is emptied before it is filled: without it the rest would be a policy too.
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    lab.write("20-more.toml", "");
                    thread::sleep(Duration::from_millis(20));
                    lab.write("20-more.toml", &POLICY.replace("\"in\"", "\"more\"").replace("\"out\"", "\"more-out\""));
                    thread::sleep(Duration::from_millis(20));
                }
            });
            eventually("the writer", || directory.join("20-more.toml").exists().then_some(()));
            for _ in 0..3 {
                lab.weir(&apply).refused_with(2, &["keeps changing while it is read", "wait until whoever writes it is done"]);
            }
            lab.signal(Signal::HUP);
            eventually("the refusal", || lab.log().contains("the policy stays as it was").then_some(()));
            assert_eq!(generation(lab), 1);
            drop(stopping);
        });
        assert_eq!(lab.json(&apply)["rules"], 4);
    });
}

#[test]
fn a_directory_that_is_swapped_is_noticed() {
    in_lab(|lab| {
        lab.start(&START);
        let (next, old) = (lab.directory.join("next"), lab.directory.join("old"));
        fs::create_dir(&next).expect("a directory");
        fs::write(next.join("10-base.toml"), POLICY.replace("udp/7000", "udp/7999")).expect("written");
        fs::rename(lab.policies(), &old).expect("renamed");
        thread::sleep(Duration::from_millis(100));
        fs::rename(&next, lab.policies()).expect("renamed");
        eventually("the change", || (generation(lab) == 2).then_some(()));
        assert!(lab.datagram_arrives(7999) && !lab.datagram_arrives(7000));
    });
}

#[test]
fn what_was_rolled_back_is_left_alone_until_it_is_changed() {
    in_lab(|lab| {
        lab.start(&START);
        let path = lab.write("10-base.toml", &POLICY.replace("udp/7000", "udp/7999"));
        let directory = lab.policies();
        lab.json(&["policy", "apply", directory.to_str().expect("UTF-8"), "--confirm", "1"]);
        eventually("the rollback", || lab.json(&["status"])["confirmation"].is_null().then_some(()));
        let_it_look();
        // Touched, but not changed.
        fs::write(&path, fs::read(&path).expect("read")).expect("written");
        let_it_look();
        assert_eq!(lab.json(&["status"])["policy"]["number"], 1, "{}", lab.log());
        assert!(lab.datagram_arrives(7000) && !lab.datagram_arrives(7999));
        lab.write("10-base.toml", &POLICY.replace("udp/7000", "udp/7998"));
        eventually("the change", || (lab.json(&["status"])["policy"]["number"] == 3).then_some(()));
        assert!(lab.datagram_arrives(7998));
    });
}
