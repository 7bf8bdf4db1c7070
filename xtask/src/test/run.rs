//! Runs one step. Its output is shown when it fails.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{
    level::{Step, Work},
    oldest,
    scenarios::Scenario,
    step::Outcome,
    suite::Tally,
};
use crate::{build, command, ebpf, fuzz, netns::process::Process, progress, scratch::Scratch};

const DEMO_PATIENCE: Duration = Duration::from_secs(180);
/// How long a fuzz target looks for new inputs; `cargo xtask fuzz` takes its time.
const FUZZ_SECONDS: u32 = 5;
/// Lines of a failed step's output that are shown.
const LINES_SHOWN: usize = 200;

/// `weir` is the binary that the end-to-end steps test.
pub(super) fn perform(step: &Step, weir: Option<&Path>) -> Outcome {
    let start = Instant::now();
    let shown = progress::Step::start(&step.title);
    let result = match &step.work {
        Work::Tests(arguments) => tests(&step.title, arguments, &shown),
        Work::Cargo(arguments) => whole(&step.title, cargo().args(arguments), &shown),
        Work::Documentation => documentation(&step.title, &shown),
        Work::LintOfDataplane => lint_of_dataplane(&step.title, &shown),
        Work::Fuzz(target) => {
            fuzz::fuzz(*target, FUZZ_SECONDS, |line| shown.say(line)).map(|figures| Outcome::passed(&step.title, figures))
        }
        Work::Scenario(scenario) => scenario_in_process(&step.title, scenario, weir),
        Work::Demo => demo(&step.title, weir),
        Work::Oldest => oldest::perform(weir, &shown),
        Work::Missing(what) => Ok(Outcome::failed(&step.title, what)),
    };
    let mut outcome = result.unwrap_or_else(|error| Outcome::failed(&step.title, format!("{error:#}")));
    outcome.took = start.elapsed();
    if outcome.failed == 0 {
        shown.done(&outcome.note);
    } else {
        shown.failed(&outcome.note);
    }
    outcome
}

pub(super) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(build::workspace()).env("CARGO_TERM_COLOR", "never");
    command
}

/// Every line the program prints, and whether it ended well.
fn lines_of(command: &mut Command, shown: &progress::Step) -> (Vec<String>, Result<()>) {
    let mut lines = Vec::new();
    let result = command::watch(command, |line| {
        shown.say(line);
        lines.push(line.to_owned());
    });
    (lines, result)
}

pub(super) fn show(title: &str, lines: &[String]) {
    eprintln!("── {title}");
    for line in lines.iter().skip(lines.len().saturating_sub(LINES_SHOWN)) {
        eprintln!("   {line}");
    }
}

fn tests(title: &str, arguments: &[String], shown: &progress::Step) -> Result<Outcome> {
    let (lines, result) = lines_of(cargo().args(["test", "--no-fail-fast"]).args(arguments).args(["--", "--show-output"]), shown);
    // A test that cannot run here says so, and returns as if it had passed.
    let skipped = lines.iter().filter(|line| line.trim_start().starts_with("skipped:")).count();
    let tally = Tally::of(lines.iter().map(String::as_str));
    let mut outcome = Outcome { title: title.to_owned(), passed: tally.passed, failed: tally.failed, ..Outcome::default() };
    if result.is_err() || tally.failed > 0 || skipped > 0 {
        show(title, &lines);
    }
    // Ended badly without a failed test: it did not build, or a test took the whole process along.
    if result.is_err() && tally.failed == 0 {
        outcome.failed = 1;
        outcome.note = "it did not build or did not end; its output is above".to_owned();
    } else if skipped > 0 {
        outcome.failed += skipped;
        outcome.passed = outcome.passed.saturating_sub(skipped);
        outcome.note = format!("{skipped} tests were skipped; why is above");
    } else if tally.ignored > 0 {
        outcome.failed += tally.ignored;
        outcome.note = format!("{} tests are marked to be left out", tally.ignored);
    } else if tally.passed == 0 && tally.failed == 0 && !arguments.iter().any(|word| word == "--doc") {
        outcome.failed = 1;
        outcome.note = "no test ran".to_owned();
    } else if tally.passed + tally.failed == 0 {
        outcome.note = "there are none".to_owned();
    }
    Ok(outcome)
}

fn whole(title: &str, command: &mut Command, shown: &progress::Step) -> Result<Outcome> {
    let (lines, result) = lines_of(command, shown);
    match result {
        Ok(()) => Ok(Outcome::passed(title, "")),
        Err(_) => {
            show(title, &lines);
            Ok(Outcome::failed(title, "its output is above"))
        }
    }
}

fn documentation(title: &str, shown: &progress::Step) -> Result<Outcome> {
    // Private items are documented as well: these pages are for who reads the code. Links to them from public ones are good then.
    let flags = "-Dwarnings -Arustdoc::private_intra_doc_links";
    whole(title, cargo().args(["doc", "--no-deps", "--document-private-items"]).env("RUSTDOCFLAGS", flags), shown)
}

/// A toolchain without clippy cannot lint the dataplane. That is said, and counted as neither passed nor failed.
fn lint_of_dataplane(title: &str, shown: &progress::Step) -> Result<Outcome> {
    let target = build::workspace().join("target/ebpf");
    let mut clippy = ebpf::cargo(build::workspace(), &["clippy"], &target, &[]).map_err(anyhow::Error::msg)?;
    let toolchain = ebpf::find_toolchain().map_or_else(String::new, |toolchain| toolchain.to_string());
    let mut version = ebpf::cargo(build::workspace(), &["clippy", "--version"], &target, &[]).map_err(anyhow::Error::msg)?;
    if !version.stdin(Stdio::null()).output().is_ok_and(|output| output.status.success()) {
        let note = format!("NOT RUN: {toolchain} has no clippy (Debian: package rust-web-clippy)");
        return Ok(Outcome { title: title.to_owned(), note, ..Outcome::default() });
    }
    whole(title, clippy.args(["--", "--deny", "warnings"]), shown)
}

/// A process of its own for each: one that hangs is ended, and its guards clean up.
fn scenario_in_process(title: &str, scenario: &Scenario, weir: Option<&Path>) -> Result<Outcome> {
    let weir = weir.context("no weir was built")?;
    let arguments = ["scenario".into(), scenario.name.into(), "--weir".into(), weir.as_os_str().to_owned()];
    let ended = child(scenario.name, &arguments, scenario.patience)?;
    match ended.problem {
        None => Ok(Outcome::passed(title, ended.output.trim())),
        Some(problem) => {
            show(title, &ended.errors.lines().map(str::to_owned).collect::<Vec<_>>());
            let said = ended.errors.lines().rev().find_map(|line| line.strip_prefix("error: ")).unwrap_or("its output is above");
            Ok(Outcome::failed(title, format!("{said} ({problem})")))
        }
    }
}

/// Every claim of the demo is a test.
fn demo(title: &str, weir: Option<&Path>) -> Result<Outcome> {
    let weir = weir.context("no weir was built")?;
    let arguments = ["demo".into(), "--json".into(), "--weir".into(), weir.as_os_str().to_owned()];
    let ended = child("demo", &arguments, DEMO_PATIENCE)?;
    let mut outcome = Outcome { title: title.to_owned(), ..Outcome::default() };
    if let Ok(found) = serde_json::from_str::<Value>(&ended.output) {
        let runs = found["runs"].as_array().context("the demo printed no runs")?;
        ensure!(!runs.is_empty(), "the demo ran nothing");
        outcome.passed = runs.iter().filter(|run| run["holds"] == true).count();
        outcome.failed = runs.len() - outcome.passed;
    }
    if let Some(problem) = ended.problem {
        show(title, &ended.errors.lines().map(str::to_owned).collect::<Vec<_>>());
        outcome.failed = outcome.failed.max(1);
        outcome.note = problem;
    } else if outcome.passed == 0 {
        bail!("the demo printed no outcome: {}", ended.output);
    }
    Ok(outcome)
}

/// How a child process ended.
struct Ended {
    output: String,
    errors: String,
    problem: Option<String>,
}

fn child(name: &str, arguments: &[OsString], patience: Duration) -> Result<Ended> {
    let scratch = Scratch::create("step")?;
    let file = |suffix: &str| scratch.path().join(format!("{name}.{suffix}"));
    let create = |suffix: &str| File::create(file(suffix)).with_context(|| format!("cannot create {}", file(suffix).display()));
    let xtask = env::current_exe().context("cannot find this program's own file")?;
    let mut command = Command::new(xtask);
    command.args(arguments).stdin(Stdio::null()).stdout(create("out")?).stderr(create("err")?);
    let process = Process::spawn(name, &mut command)?;
    let problem = match process.wait(patience) {
        Ok(status) if status.success() => None,
        Ok(status) => Some(status.to_string()),
        Err(error) => Some(format!("{error:#}")),
    };
    drop(process);
    let text = |suffix: &str| String::from_utf8_lossy(&fs::read(file(suffix)).unwrap_or_default()).into_owned();
    Ok(Ended { output: text("out"), errors: text("err"), problem })
}
