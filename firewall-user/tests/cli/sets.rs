//! Sets that change while the policy is in force: what is added cuts and lets in at once, ends in time, and is there after whatever happens to
//! the daemon.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::lab::{Lab, POLICY, eventually, in_lab};

const START: [&str; 2] = ["--interface", "outside=box0"];
const CLIENT: &str = "10.9.0.2";
/// A blocklist that is empty and an allow list that has one element, before what the lab lets in.
const SETS: &str = r#"[set.blocked]
addresses = []
[set.friends]
addresses = [
    "192.0.2.0/24",
    "10.9.0.128-10.9.0.130",
]
[[rule]]
name = "block"
from = "outside @blocked"
action = "drop"
[[rule]]
name = "friends"
from = "outside @friends"
to = "self"
service = "udp/7999"
action = "allow"
"#;

fn with_sets(lab: &Lab) {
    lab.write("00-sets.toml", SETS);
}

/// Whether a byte goes there and back. A connection that is cut answers nothing for as long as this waits.
fn answers((near, far): &mut (TcpStream, TcpStream)) -> bool {
    let mut byte = [0];
    far.set_read_timeout(Some(Duration::from_millis(400))).expect("a timeout");
    near.write_all(b">").expect("sent");
    far.read_exact(&mut byte).is_ok() && far.write_all(b"<").is_ok() && near.read_exact(&mut byte).is_ok()
}

fn members(lab: &Lab, set: &str) -> Vec<String> {
    let shown = lab.json(&["set", "list", set]);
    let live = shown["members"].as_array().expect("a list").iter().filter(|member| member["live"] == true);
    live.map(|member| member["address"].as_str().expect("text").to_owned()).collect()
}

#[test]
fn an_address_that_is_added_is_cut_and_one_that_is_removed_comes_back() {
    in_lab(|lab| {
        with_sets(lab);
        lab.start(&START);
        let mut connection = lab.connect();
        assert!(answers(&mut connection));
        let generation = lab.json(&["status"])["policy"]["generation"].as_u64().expect("a number");
        let changed = lab.json(&["set", "add", "blocked", CLIENT, "2001:db8::/32", "--because", "scans"]);
        assert_eq!(
            (&changed["added"], &changed["live"], &changed["generation"]),
            (&2.into(), &2.into(), &(generation + 2).into()),
            "{changed}"
        );
        assert!(!answers(&mut connection), "a live flow is cut");
        assert!(!lab.datagram_arrives(7000), "a new one too");
        // The same again changes nothing.
        let again = lab.json(&["set", "add", "blocked", CLIENT]);
        assert_eq!((&again["added"], &again["generation"]), (&0.into(), &changed["generation"]), "{again}");
        let shown = lab.json(&["set", "list", "blocked"]);
        let member = &shown["members"][0];
        assert_eq!((&member["address"], &member["because"], &member["uid"]), (&CLIENT.into(), &"scans".into(), &0.into()), "{shown}");
        assert_eq!((&member["user"], &member["seconds_left"], &member["line"]), (&"root".into(), &Value::Null, &Value::Null), "{shown}");
        assert_eq!(shown["rules"], serde_json::json!(["block"]), "{shown}");
        let removed = lab.weir(&["set", "remove", "blocked", CLIENT]);
        assert_eq!(removed.code, Some(0), "{removed:?}");
        assert!(removed.out.starts_with("blocked: 1 removed; 1 live member, generation "), "{removed:?}");
        assert!(lab.datagram_arrives(7000));
        let _ = lab.connect();

        // An allow list works the other way round.
        assert!(!lab.datagram_arrives(7999));
        lab.json(&["set", "add", "friends", CLIENT]);
        assert!(lab.datagram_arrives(7999));
        lab.json(&["set", "clear", "friends"]);
        assert!(!lab.datagram_arrives(7999));
        assert!(
            lab.log().contains("set blocked: 2 added, 0 extended, 0 removed because scans, by user 0; 2 live members"),
            "{}",
            lab.log()
        );
    });
}

#[test]
fn members_end_in_time_and_a_longer_time_counts() {
    in_lab(|lab| {
        with_sets(lab);
        lab.start(&START);
        let began = Instant::now();
        let changed = lab.json(&["set", "add", "blocked", CLIENT, "--for", "3s"]);
        assert_eq!(changed["added"], 1, "{changed}");
        assert!(!lab.datagram_arrives(7000));
        eventually("the member ends", || lab.datagram_arrives(7000).then_some(()));
        assert!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
        assert!(members(lab, "blocked").is_empty());
        assert!(lab.log().contains("set blocked: the time of 1 members has passed"), "{}", lab.log());

        lab.json(&["set", "add", "blocked", CLIENT, "--for", "1h"]);
        assert_eq!(lab.json(&["set", "add", "blocked", CLIENT, "--for", "2h"])["extended"], 1);
        // What counts for longer is not cut short.
        assert_eq!(lab.json(&["set", "add", "blocked", CLIENT, "--for", "1s"])["extended"], 0);
        let left = lab.json(&["set", "list", "blocked"])["members"][0]["seconds_left"].as_u64().expect("a number");
        assert!((7_100..=7_200).contains(&left), "{left}");
        lab.weir(&["set", "add", "blocked", CLIENT, "--for", "0s"]).refused_with(2, &["no time at all"]);
        lab.weir(&["set", "add", "blocked", CLIENT, "--for", "1 day"]).refused_with(2, &["is not a duration"]);
    });
}

#[test]
fn members_stay_when_the_daemon_ends_is_killed_and_the_policy_changes() {
    in_lab(|lab| {
        with_sets(lab);
        lab.start(&START);
        lab.json(&["set", "add", "blocked", CLIENT, "--because", "stays"]);
        lab.json(&["set", "add", "friends", "198.51.100.7", "--for", "1s"]);
        let file = lab.state().join("sets.jsonl");
        assert_eq!(fs::metadata(&file).expect("it is kept").permissions().mode() & 0o007, 0, "it is nobody else's to read");
        lab.stop();
        assert!(!lab.datagram_arrives(7000), "without a daemon the dataplane goes on");
        std::thread::sleep(Duration::from_secs(1));
        lab.start(&START);
        assert!(!lab.datagram_arrives(7000), "a new daemon keeps it");
        eventually("what ended meanwhile goes", || members(lab, "friends").is_empty().then_some(()));
        lab.crash();
        lab.start(&START);
        assert_eq!(members(lab, "blocked"), [CLIENT]);
        assert!(!lab.datagram_arrives(7000), "so it is when it was killed");

        // Another policy without the set, and back.
        let policies = lab.policies().display().to_string();
        fs::remove_file(lab.policies().join("00-sets.toml")).expect("removed");
        lab.json(&["policy", "apply", &policies]);
        assert!(lab.datagram_arrives(7000));
        let sets = lab.json(&["set", "list"]);
        assert_eq!((&sets[0]["name"], &sets[0]["file"], &sets[0]["live"]), (&"blocked".into(), &Value::Null, &1.into()), "{sets}");
        lab.weir(&["set", "add", "blocked", "192.0.2.1"]).refused_with(1, &["there is no set `blocked`"]);
        lab.json(&["policy", "rollback"]);
        assert!(!lab.datagram_arrives(7000), "with the set its members are back");
        // The diff judges live flows with the members there are.
        lab.json(&["set", "clear", "blocked"]);
        let connection = lab.connect();
        lab.write(
            "00-sets.toml",
            &SETS.replace("name = \"block\"\nfrom = \"outside @blocked\"", "name = \"block\"\nfrom = \"outside @friends\""),
        );
        lab.json(&["set", "add", "friends", "10.9.0.0/24", "--cut-session"]);
        let diff = lab.weir(&["policy", "diff", &policies, "--json"]);
        let diff: Value = serde_json::from_str(&diff.out).expect("JSON");
        let cut = diff["flows"]["listed"].as_array().expect("a list").iter().filter(|flow| flow["change"] == "cut");
        assert_eq!(cut.filter(|flow| flow["protocol"] == "tcp").count(), 1, "{diff}");
        drop(connection);
        lab.json(&["policy", "apply", &policies]);
        assert!(!lab.datagram_arrives(7000), "an applied policy has the members of its sets");
    });
}

#[test]
fn lists_come_from_files_in_one_change() {
    in_lab(|lab| {
        with_sets(lab);
        lab.start(&START);
        let list = lab.directory.join("list.txt");
        let path = list.to_str().expect("UTF-8");
        fs::write(&list, "# a list\n192.0.2.1 192.0.2.2, 192.0.2.4-192.0.2.7 # a comment\n\n2001:db8::/48\n").expect("written");
        let changed = lab.json(&["set", "replace", "blocked", "--file", path, "--for", "1h"]);
        assert_eq!((&changed["added"], &changed["removed"]), (&4.into(), &0.into()), "{changed}");
        assert_eq!(members(lab, "blocked"), ["192.0.2.1", "192.0.2.2", "192.0.2.4/30", "2001:db8::/48"]);
        fs::write(&list, "192.0.2.2\n10.9.0.2\n").expect("written");
        let changed = lab.json(&["set", "replace", "blocked", "--file", path]);
        assert_eq!((&changed["added"], &changed["extended"], &changed["removed"]), (&1.into(), &1.into(), &3.into()), "{changed}");
        assert!(!lab.datagram_arrives(7000));

        fs::write(&list, "192.0.2.1\n  192.0.2.300 # what\n10.0.0.1/8\n@friends\n").expect("written");
        lab.weir(&["set", "replace", "blocked", "--file", path]).refused_with(
            2,
            &[
                "list.txt:2:3: \"192.0.2.300\" is not an address, a prefix, a range or a @set\n    192.0.2.300 # what\n    ^^^^^^^^^^^\n",
                "list.txt:3:1: \"10.0.0.1/8\" has bits set beyond its prefix length",
                "hint: did you mean 10.0.0.0/8?",
                "list.txt:4:1: \"@friends\" is a set: only addresses come and go",
                "hint: name @friends in the policy, in the set that is to have its members",
            ],
        );
        assert_eq!(members(lab, "blocked"), ["10.9.0.2", "192.0.2.2"], "nothing has changed");

        fs::write(&list, "# nothing came\n").expect("written");
        lab.weir(&["set", "replace", "blocked", "--file", path]).refused_with(2, &["say which addresses", "`clear` takes none"]);
        assert_eq!(members(lab, "blocked").len(), 2);

        // Many, and one more after them.
        let many: String = (0..20_000u32).map(|number| format!("{}\n", std::net::Ipv4Addr::from_bits(0x6440_0000 + 2 * number))).collect();
        fs::write(&list, many).expect("written");
        let began = Instant::now();
        let changed = lab.json(&["set", "add", "blocked", "--file", path, "--for", "2d"]);
        let took = began.elapsed();
        assert_eq!(changed["live"], 20_002, "{changed}");
        let began = Instant::now();
        lab.json(&["set", "add", "blocked", "203.0.113.5"]);
        println!("twenty thousand members in {took:?}, one more in {:?}", began.elapsed());
        lab.crash();
        let began = Instant::now();
        lab.start(&START);
        println!("a daemon with them starts in {:?}", began.elapsed());
        assert_eq!(lab.json(&["set", "list"])[0]["live"], 20_003);
        let page = lab.weir(&["set", "list", "blocked"]);
        assert!(page.out.contains("\n203.0.113.5 "), "{}", page.out.len());
    });
}

#[test]
fn what_is_wrong_is_said() {
    in_lab(|lab| {
        with_sets(lab);
        lab.start(&START);
        lab.weir(&["set", "add", "bloked", CLIENT]).refused_with(1, &["there is no set `bloked`", "did you mean blocked?"]);
        lab.weir(&["set", "list", "zzz"]).refused_with(1, &["there is no set `zzz`", "`weir set list` shows the sets"]);
        lab.weir(&["set", "add", "blocked"]).refused_with(2, &["required"]);
        lab.weir(&["set", "add", "blocked", "10.9.0.300"]).refused_with(2, &["\"10.9.0.300\" is not an address", "10.0.0.0/8, 10.0.0.1"]);
        lab.weir(&["set", "remove", "blocked", CLIENT]).refused_with(1, &["10.9.0.2 is no member of set blocked", "weir set list blocked"]);
        lab.weir(&["set", "remove", "friends", "192.0.2.9"]).refused_with(
            1,
            &["192.0.2.9 cannot be removed from set friends: 192.0.2.0/24 is written in ", "00-sets.toml:5", "take it out of the file"],
        );
        lab.json(&["set", "add", "friends", "10.9.0.128/25", "192.0.2.0/24"]);
        lab.weir(&["set", "remove", "friends", "10.9.0.200"])
            .refused_with(1, &["it lies in 10.9.0.128/25", "`weir set remove friends 10.9.0.128/25` removes all of that"]);
        let removed = lab.weir(&["set", "remove", "friends", "192.0.2.0/24"]);
        assert!(removed.err.contains("192.0.2.0/24 is still a member: 192.0.2.0/24 is written in "), "{removed:?}");
        // One bad word, and nothing of it is done.
        lab.weir(&["set", "remove", "friends", "10.9.0.128/25", "10.1.1.1"]).refused_with(1, &["10.1.1.1 is no member"]);
        assert_eq!(members(lab, "friends"), ["10.9.0.128/25"]);
        let long = "x".repeat(2_000);
        lab.weir(&["set", "add", "blocked", CLIENT, "--because", &long]).refused_with(2, &["a reason is one line"]);
        assert!(lab.datagram_arrives(7000));
        let table = lab.weir(&["set", "list"]).out;
        assert!(table.contains("blocked        0     0  ") && table.contains("00-sets.toml:3  friends"), "{table}");
    });
}

#[test]
fn ones_own_session_is_not_cut_unasked() {
    in_lab(|lab| {
        with_sets(lab);
        lab.start(&START);
        let session = [("SSH_CONNECTION", "10.9.0.2 50000 10.9.0.1 7000")];
        let add = ["set", "add", "blocked", "10.9.0.0/24"];
        lab.weir_with(&add, &session, "").refused_with(
            1,
            &["this cuts your own SSH session 10.9.0.2:50000 > 10.9.0.1:7000: rule \"block\" drops it", "say --cut-session"],
        );
        assert!(lab.datagram_arrives(7000) && members(lab, "blocked").is_empty());
        let asked = lab.weir_on_a_terminal(&add, &session, "n\n");
        assert!(asked.out.contains("continue? [y/N]") && asked.code != Some(0), "{asked:?}");
        assert!(members(lab, "blocked").is_empty());
        // What concerns others is nobody's session.
        let other = lab.weir_with(&["set", "add", "blocked", "192.0.2.77"], &session, "");
        assert_eq!(other.code, Some(0), "{other:?}");
        let done = lab.weir_on_a_terminal(&add, &session, "y\n");
        assert_eq!(done.code, Some(0), "{done:?}");
        assert!(!lab.datagram_arrives(7000));
        lab.json(&["set", "clear", "blocked"]);
        let forced = lab.weir_with(&["set", "replace", "blocked", CLIENT, "--cut-session"], &session, "");
        assert_eq!(forced.code, Some(0), "{forced:?}");
        // Taken from an allow list, one is cut as well.
        lab.json(&["set", "clear", "blocked"]);
        lab.write("10-base.toml", &POLICY.replace("from = \"outside\"", "from = \"outside @friends\""));
        lab.json(&["set", "add", "friends", CLIENT]);
        lab.json(&["policy", "apply", lab.policies().to_str().expect("UTF-8")]);
        lab.weir_with(&["set", "clear", "friends"], &session, "").refused_with(1, &["this cuts your own SSH session", "no rule allows it"]);
        assert_eq!(members(lab, "friends"), [CLIENT]);
    });
}
