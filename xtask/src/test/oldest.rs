//! The level *oldest*: the programs and the daemon on the oldest kernel that Weir supports. Its verifier knows less than a newer one, its
//! egress hook is another, and its network cards are virtio ones here.

use std::{env, path::Path, process::Stdio, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{
    run::{cargo, show},
    step::Outcome,
    suite::Tally,
};
use crate::{
    netns::CARDS,
    progress,
    vm::{self, EMULATED, Ended, SLOWER, Task},
};

pub(super) const TITLE: &str = "kernel 6.1: the programs load, judge as on the host, and hold over virtio network cards";

/// Test files of firewall-user that run there.
const TESTS: [&str; 2] = ["verifier_budget", "kernel_cases"];
/// Scenarios that run there, and the pairs of network cards each takes; none: it runs over veth pairs.
const SCENARIOS: [(&str, &[&str]); 4] =
    [("bulk", &["eth0-eth1", "eth2-eth3"]), ("host-served", &[]), ("policy-cut", &[]), ("fragments", &[])];
const PAIRS: usize = 2;
/// All of it takes three minutes on an idle machine, for it is emulated.
const PATIENCE: Duration = Duration::from_secs(1200);

pub(super) fn perform(weir: Option<&Path>, shown: &progress::Step) -> Result<Outcome> {
    let weir = weir.context("no weir was built")?;
    let mut tasks = tests(shown)?;
    let xtask = env::current_exe().context("cannot tell what program this is")?;
    for (name, cards) in SCENARIOS {
        let cards = if cards.is_empty() { String::new() } else { format!("{CARDS}='{}' ", cards.join(" ")) };
        let command = format!("{cards}{SLOWER}={EMULATED} '{}' scenario {name} --weir '{}'", xtask.display(), weir.display());
        tasks.push(Task { name: name.to_owned(), command });
    }
    let (release, ended) = vm::run(&tasks, PAIRS, PATIENCE, |line| shown.say(line))?;
    let mut outcome = Outcome { title: TITLE.to_owned(), note: release, ..Outcome::default() };
    for task in &tasks {
        count(&mut outcome, &task.name, ended.iter().find(|ended| ended.name == task.name));
    }
    Ok(outcome)
}

/// A test file counts its tests, a scenario itself. What did not end has failed.
fn count(outcome: &mut Outcome, name: &str, ended: Option<&Ended>) {
    let Some(ended) = ended else {
        outcome.failed += 1;
        outcome.note = format!("{name} did not end");
        return;
    };
    let tally = if TESTS.contains(&name) {
        Tally::of(ended.lines.iter().map(String::as_str))
    } else {
        Tally { passed: usize::from(ended.status == 0), ..Tally::default() }
    };
    let failed = tally.failed.max(tally.ignored).max(usize::from(ended.status != 0 || tally.passed == 0));
    outcome.passed += tally.passed;
    outcome.failed += failed;
    if failed > 0 {
        show(&format!("{name} on the oldest kernel"), &ended.lines);
        outcome.note = format!("{name} failed; its output is above");
    }
}

/// Builds the test files and tells how to run them.
fn tests(shown: &progress::Step) -> Result<Vec<Task>> {
    let mut command = cargo();
    command.args(["test", "--package", "firewall-user", "--no-run", "--message-format", "json-render-diagnostics"]);
    command.args(TESTS.iter().flat_map(|name| ["--test", name]));
    shown.say("building the tests");
    let output = command.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("the tests do not build; the compiler's messages are above");
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    TESTS.iter().map(|name| Ok(Task { name: (*name).to_owned(), command: test(name, &messages)? })).collect()
}

fn test(name: &str, messages: &str) -> Result<String> {
    let parsed = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut executables =
        parsed.filter(|message| message["target"]["name"] == name).filter_map(|message| message["executable"].as_str().map(str::to_owned));
    let executable = executables.next().with_context(|| format!("cargo built {name} but named no executable"))?;
    let directory = crate::build::workspace().join("firewall-user");
    Ok(format!("cd '{}' && '{executable}' --show-output", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(name: &str, status: i32, line: &str) -> Ended {
        Ended { name: name.to_owned(), status, lines: vec![line.to_owned()] }
    }

    #[test]
    fn whatever_did_not_run_has_failed() {
        let counted = |name: &str, ended: Option<Ended>| {
            let mut outcome = Outcome::default();
            count(&mut outcome, name, ended.as_ref());
            (outcome.passed, outcome.failed)
        };
        let result = "test result: ok. 6 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s";
        assert_eq!(counted("kernel_cases", Some(ended("kernel_cases", 0, result))), (6, 0));
        assert_eq!(counted("kernel_cases", Some(ended("kernel_cases", 0, "Killed"))), (0, 1));
        assert_eq!(counted("kernel_cases", Some(ended("kernel_cases", 101, result))), (6, 1));
        assert_eq!(counted("bulk", Some(ended("bulk", 0, "64 MiB"))), (1, 0));
        assert_eq!(counted("bulk", Some(ended("bulk", 1, "error"))), (0, 1));
        assert_eq!(counted("bulk", None), (0, 1));
    }

    #[test]
    fn a_tests_executable_is_found_by_its_name() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"verifier_budget"},"executable":"/t/verifier_budget-1"}
{"reason":"build-finished","success":true}"#;
        assert!(test("verifier_budget", messages).expect("found").contains("/t/verifier_budget-1"));
        assert!(test("kernel_cases", messages).is_err());
    }
}
