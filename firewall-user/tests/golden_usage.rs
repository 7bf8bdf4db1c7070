//! What `weir` says to wrong usage, in `tests/usage.txt`: each command line with its exit code and what it prints. None of them reaches a daemon.
//! `UPDATE_GOLDEN=1 cargo test` writes it anew.

use std::{
    path::Path,
    process::{Command, Stdio},
};

mod golden;

const LINES: [&str; 28] = [
    "polcy",
    "policy chek policies",
    "policy check",
    "policy check policies --zone outside",
    "policy check no-such-directory",
    "policy apply policies --confirm 0",
    "policy apply policies --confirm soon",
    "policy rollback last",
    "policy show 1 --hits",
    "policy show no-such-directory",
    "policy import asa",
    "policy schema policies",
    "run --placement roof",
    "run --interface eth0",
    "run --interface self=eth0",
    "run --interface outside=eth0:fast",
    "run --policies policies --interface a=eth0 --interface b=eth0",
    "run --policies policies --established 1",
    "run --config no-such-file",
    "run --instance Edge_Router",
    "flows colour=red",
    "flows kill",
    "events --for soon",
    "attach eth0",
    "bypass add name",
    "advise --for soon",
    "advise --confirm 60",
    "advise forget --all",
];

fn told(line: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(line.split(' '))
        .current_dir("tests")
        .stdin(Stdio::null())
        .output()
        .expect("weir runs");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    assert_eq!(text(&output.stdout), "", "`weir {line}` prints its error to standard error");
    let code = output.status.code().unwrap_or_else(|| panic!("`weir {line}` was killed"));
    format!("$ weir {line}\n{}exit code {code}\n\n", text(&output.stderr))
}

#[test]
fn wrong_usage_is_told_of_and_ends_with_2() {
    let told: String = LINES.map(told).concat();
    assert_eq!(told.matches("\nexit code 2\n").count(), LINES.len(), "{told}");
    let mut failures = Vec::new();
    golden::check(Path::new("tests/usage.txt"), "txt", Some(told), &mut failures);
    assert!(failures.is_empty(), "{}", failures.concat());
}
