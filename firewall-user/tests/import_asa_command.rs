//! `weir policy import asa` as a person runs it: what it prints, what it writes, what it never overwrites, and how it ends.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{self, Command, Output, Stdio},
};

const CONFIG: &str = "tests/import_asa/01-ipsec-over-tcp.cfg";

fn weir(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(["policy"]).args(words).stdin(Stdio::null());
    command
}

fn run(words: &[&str]) -> (Option<i32>, String, String) {
    told(weir(words).output().expect("weir runs"))
}

fn told(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A directory of its own for each test, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("weir-import-{name}-{}", process::id()));
        fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

#[test]
fn policy_and_list_go_to_different_streams() {
    let (code, policy, list) = run(&["import", "asa", CONFIG]);
    assert_eq!(code, Some(0), "{list}");
    assert!(policy.contains("name         = \"outside_in-2-bypass\"\n"), "{policy}");
    assert!(policy.contains("# 19: access-list outside_in remark VPN clients, until AnyConnect is rolled out\n"), "{policy}");
    assert!(list.contains("01-ipsec-over-tcp.cfg:28: not carried over: a source port, which a rule of Weir cannot match\n"), "{list}");
    assert!(list.contains("rules, zones inside, outside; "), "{list}");
    let scratch = Scratch::new("streams");
    let file = scratch.path("policy.toml");
    fs::write(&file, &policy).expect("the policy can be written");
    let (code, checked, errors) = run(&["check", &file, "--zones", "inside,outside"]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(checked.contains("rules, zones inside, outside"), "{checked}");
}

#[test]
fn standard_input_is_a_file_too() {
    let mut child = weir(&["import", "asa", "-", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("weir runs");
    let config = fs::read(CONFIG).expect("a configuration");
    child.stdin.take().expect("a pipe").write_all(&config).expect("weir reads");
    let (code, json, errors) = told(child.wait_with_output().expect("weir ends"));
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&json["valid"], &json["source"], &json["written"]), (&true.into(), &"-".into(), &serde_json::json!([])));
    assert_eq!(json["zones"], serde_json::json!(["inside", "outside"]));
    assert!(json["policy"].as_str().is_some_and(|policy| policy.contains("[set.HEADEND]")), "{json}");
    let left = json["not_carried_over"].as_array().expect("a list");
    let source_port = left.iter().find(|left| left["line"] == 28).expect("the line with a source port");
    assert_eq!((&source_port["kind"], &source_port["lines"]), (&"access list".into(), &serde_json::json!([28])));
    for key in ["kind", "file", "line", "text", "lines", "reason", "hint"] {
        assert!(left.iter().all(|left| left.get(key).is_some()), "{key}: {json}");
    }
}

#[test]
fn files_are_written_to_a_new_directory_and_never_over_others() {
    let scratch = Scratch::new("output");
    let directory = scratch.path("policies");
    let (code, told, errors) = run(&["import", "asa", CONFIG, "--output", &directory]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(told.starts_with(&format!("{directory}: 10-definitions.toml, 20-rules.toml: ")), "{told}");
    let names = |directory: &str| {
        let mut names: Vec<String> =
            fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").file_name().display().to_string()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&directory), ["10-definitions.toml", "20-rules.toml"]);
    assert_eq!(run(&["check", &directory]).0, Some(0));
    let before = fs::read(Path::new(&directory).join("20-rules.toml")).expect("the rules");
    let (code, told, errors) = run(&["import", "asa", "tests/import_asa/10-ipv6.cfg", "--output", &directory]);
    assert_eq!((code, told.as_str()), (Some(1), ""));
    assert!(errors.contains("policies is not empty\n  hint: name a new or an empty directory"), "{errors}");
    assert_eq!(fs::read(Path::new(&directory).join("20-rules.toml")).expect("the rules"), before);
    let file = scratch.path("file");
    fs::write(&file, "").expect("a file");
    let (code, _, errors) = run(&["import", "asa", CONFIG, "--output", &file]);
    assert!(code == Some(1) && errors.contains("is not a directory"), "{errors}");
}

#[test]
fn what_comes_to_nothing_fails() {
    let scratch = Scratch::new("nothing");
    let config = scratch.path("nothing.cfg");
    fs::write(&config, "hostname fw\ninterface e0\n nameif outside\n security-level 0\n").expect("a configuration");
    let directory = scratch.path("policies");
    let (code, policy, errors) = run(&["import", "asa", &config, "--output", &directory]);
    assert_eq!((code, policy.as_str()), (Some(1), ""));
    assert!(errors.contains("nothing.cfg:1: not carried over: ") && errors.contains("could be carried over"), "{errors}");
    assert!(!Path::new(&directory).exists());
    let (code, json, _) = run(&["import", "asa", &config, "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((code, &json["valid"], &json["rules"], &json["policy"]), (Some(1), &false.into(), &0.into(), &"".into()));
}

#[test]
fn a_policy_that_does_not_pass_the_check_is_said_to() {
    let scratch = Scratch::new("zones");
    let config = scratch.path("zones.cfg");
    let interfaces: String =
        (0..40).map(|number| format!("interface e{number}\n nameif zone{number}\n security-level {number}\n")).collect();
    fs::write(&config, interfaces).expect("a configuration");
    let (code, policy, errors) = run(&["import", "asa", &config]);
    assert_eq!(code, Some(1));
    assert!(policy.contains("[[rule]]"), "{policy}");
    assert!(errors.contains("the policy does not pass `weir policy check`") && errors.contains("too many"), "{errors}");
}

#[test]
fn bad_input_ends_with_two_and_its_place() {
    let scratch = Scratch::new("bad");
    let config = scratch.path("bad.cfg");
    fs::write(&config, ": Saved\nASA Version 9.8(1)\ninterface e0\n nameif out").expect("a configuration");
    let (code, policy, errors) = run(&["import", "asa", &config]);
    assert_eq!((code, policy.as_str()), (Some(2), ""));
    assert!(errors.starts_with(&format!("{config}:4:1: the configuration ends in the middle")), "{errors}");
    let (code, _, errors) = run(&["import", "asa", &scratch.path("absent.cfg")]);
    assert!(code == Some(1) && errors.contains("absent.cfg cannot be read"), "{errors}");
    assert_eq!(run(&["import", "asa"]).0, Some(2));
    assert_eq!(run(&["import", "pix", CONFIG]).0, Some(2));
}
