//! What cannot work is refused with a reason, and nothing is left of the attempt.

use std::fs;

use crate::lab::{Lab, in_lab, names};

/// Nothing of the instance is pinned, and the interfaces are free.
fn assert_untouched(lab: &Lab) {
    assert!(!lab.pins().exists(), "pins are left: {:?}", names(&lab.pins()));
    assert_eq!((lab.xdp("box0"), lab.xdp("spare")), (None, None));
}

#[test]
fn a_second_daemon_is_refused() {
    in_lab(|lab| {
        let status = lab.start(&["--interface", "outside=box0"]);
        let pid = status["pid"].to_string();
        lab.run_refused(&["--interface", "lab=spare"]).refused_with(1, &["another weir daemon", &pid]);
        assert_eq!(lab.json(&["status"])["ready"], true, "the first one goes on");
        assert_eq!(lab.xdp("spare"), None);
    });
}

#[test]
fn interfaces_that_cannot_be_attached_change_nothing() {
    in_lab(|lab| {
        lab.run_refused(&["--interface", "outside=box1"]).refused_with(1, &["no interface `box1`", "did you mean `box0`"]);
        lab.run_refused(&["--interface", "outside=box0", "--interface", "lab=absent"]).refused_with(1, &["no interface `absent`"]);
        lab.run_refused(&["--interface", "outside=box0", "--interface", "lab=box0"]).refused_with(2, &["box0", "twice"]);
        lab.run_refused(&["--interface", "self=box0"]).refused_with(2, &["self"]);
        lab.run_refused(&["--interface", "box0"]).refused_with(2, &["ZONE=IFACE", "outside=eth0"]);
        lab.run_refused(&["--interface", "outside=box0", "--placement", "bridge"]).refused_with(2, &["bridge", "not available"]);
        lab.run_refused(&["--interface", "outside=box0", "--netns", "no-such-namespace"]).refused_with(2, &[]);
        lab.run_refused(&["--interface", "outside=box0", "--established", "0"]).refused_with(2, &["--established"]);
        assert_untouched(lab);
    });
}

#[test]
fn an_interface_that_cannot_run_native_is_refused_or_falls_back() {
    in_lab(|lab| {
        // The loopback device has no native XDP.
        lab.run_refused(&["--interface", "outside=box0", "--interface", "lab=lo:native"]).refused_with(1, &["lo"]);
        assert_untouched(lab);
        let status = lab.start(&["--interface", "lab=lo"]);
        assert_eq!(status["interfaces"][0]["mode"], "generic", "{status}");
        assert_eq!(status["interfaces"][0]["fell_back"], true);
        assert!(lab.log().contains("generic mode"), "{}", lab.log());
    });
}

#[test]
fn an_interface_of_another_program_is_left_alone() {
    in_lab(|lab| {
        let (first, second) = (lab.instance.clone(), format!("{}-second", lab.instance));
        lab.start(&["--interface", "outside=box0"]);
        let program = lab.xdp("box0").expect("attached");
        let id = program.split_whitespace().skip_while(|word| *word != "id").nth(1).expect("an id").to_owned();
        lab.instance = second;
        lab.run_refused(&["--interface", "lab=spare", "--interface", "outside=box0"])
            .refused_with(1, &["another XDP program", &format!("id {id}")]);
        assert_eq!(lab.xdp("box0"), Some(program));
        assert_eq!(lab.xdp("spare"), None);
        assert!(!lab.pins().exists());
        lab.forget();
        lab.instance = first;
    });
}

#[test]
fn foreign_pins_are_left_alone() {
    in_lab(|lab| {
        lab.start(&["--interface", "outside=box0"]);
        lab.crash();
        // What another program would have left: a map under a name of ours, and no settings block.
        let maps = lab.pins().join("maps");
        for name in names(&maps).iter().filter(|name| *name != "RULES") {
            fs::remove_file(maps.join(name)).expect("removed");
        }
        fs::rename(maps.join("RULES"), maps.join("ESTABLISHED")).expect("renamed");
        for extra in [&[][..], &["--discard-flows"]] {
            lab.run_refused(extra).refused_with(1, &["maps/ESTABLISHED", "not one of this program's maps", "its type is"]);
            assert_eq!(names(&maps), ["ESTABLISHED"]);
        }
        fs::remove_file(maps.join("ESTABLISHED")).expect("removed");
        // A pin that is no map at all.
        fs::rename(lab.pins().join("programs/ingress"), maps.join("CONFIG")).expect("renamed");
        lab.run_refused(&[]).refused_with(1, &["maps/CONFIG", "it is no map"]);
        fs::remove_file(maps.join("CONFIG")).expect("removed");
    });
}

#[test]
fn a_broken_policy_changes_nothing() {
    in_lab(|lab| {
        lab.write("20-broken.toml", "[[rule]]\nname = \"x\"\nacton = \"allow\"\n");
        lab.run_refused(&["--interface", "outside=box0"]).refused_with(2, &["20-broken.toml:3:1", "acton", "did you mean \"action\""]);
        assert_untouched(lab);
        fs::remove_file(lab.policies().join("20-broken.toml")).expect("removed");

        lab.start(&["--interface", "outside=box0"]);
        let before = lab.json(&["status"]);
        lab.write("20-broken.toml", "[[rule]\n");
        let path = lab.policies();
        lab.weir(&["policy", "apply", path.to_str().expect("UTF-8")]).refused_with(2, &["20-broken.toml:1:"]);
        lab.weir(&["policy", "apply", "/no/such/policy"]).refused_with(2, &["/no/such/policy"]);
        lab.signal(rustix::process::Signal::HUP);
        crate::lab::eventually("the log tells", || lab.log().contains("the policy stays as it was").then_some(()));
        assert_eq!(lab.json(&["status"])["policy"], before["policy"]);
        assert!(lab.datagram_arrives(7000) && !lab.datagram_arrives(7999), "the old policy is in force");
    });
}
