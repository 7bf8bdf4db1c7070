//! `cargo xtask fuzz`: random bytes that learn from what they reach, against the properties of `firewall_common::testing::fuzz`.
//!
//! The targets are a crate of their own, instrumented for coverage by the stable compiler. New inputs gather under `target/fuzz/corpus`;
//! what is committed beside the targets is only read.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail};

use crate::{
    build, command,
    progress::Step,
    setup::{self, Need},
};

/// What LLVM needs to be told for its fuzzer to see which way an input went.
const COVERAGE: [&str; 8] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "-Cdebuginfo=line-tables-only",
    "--cfg=fuzzing",
];

/// Longest input: a frame with all its headers, or a few dozen segments.
const LONGEST: usize = 700;
/// Seconds after which one input hangs.
const HANGS: u32 = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Target {
    /// Any bytes as a frame, through the whole pipeline.
    Parser,
    /// Option lists of TCP and IPv4, against a reading of them in ten lines.
    Options,
    /// Streams of segments of one flow, against the rules of the model search.
    Streams,
}

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Targets to run [default: all]
    #[arg(value_enum, value_name = "TARGET")]
    targets: Vec<Target>,
    /// How long each of them runs.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Run one target with this input and nothing else.
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
}

impl Target {
    pub const ALL: [Self; 3] = [Self::Parser, Self::Options, Self::Streams];

    pub fn name(self) -> &'static str {
        match self {
            Self::Parser => "parser",
            Self::Options => "options",
            Self::Streams => "streams",
        }
    }
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    setup::ensure(Need::Fuzz)?;
    if let Some(input) = &arguments.replay {
        let [target] = arguments.targets[..] else { bail!("--replay is for one target: `cargo xtask fuzz TARGET --replay FILE`") };
        return replay(target, input);
    }
    let targets = if arguments.targets.is_empty() { Target::ALL.to_vec() } else { arguments.targets.clone() };
    for target in targets {
        let step = Step::start(format!("fuzz {} for {} s", target.name(), arguments.seconds));
        match fuzz(target, arguments.seconds, |line| step.say(line)) {
            Ok(figures) => step.done(&figures),
            Err(error) => {
                step.failed("");
                return Err(error);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn package() -> PathBuf {
    build::workspace().join("firewall-common/fuzz")
}

fn output() -> PathBuf {
    build::workspace().join("target/fuzz")
}

/// Builds a target and returns its path. Instrumentation is for the target alone: with `--target` cargo leaves build scripts out of it.
fn built(target: Target, on_line: impl FnMut(&str)) -> Result<PathBuf> {
    let triple = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(package())
        .args(["build", "--release", "--locked", "--bin", target.name(), "--target", &triple, "--target-dir"])
        .arg(output())
        .env("RUSTFLAGS", COVERAGE.join(" "))
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    command::watch(&mut cargo, on_line).with_context(|| format!("the fuzz target {} does not build", target.name()))?;
    Ok(output().join(triple).join("release").join(target.name()))
}

/// Fuzzes one target; the figures of the run. The committed inputs are run first.
pub fn fuzz(target: Target, seconds: u32, mut on_line: impl FnMut(&str)) -> Result<String> {
    let binary = built(target, &mut on_line)?;
    let (found, failures) = (output().join("corpus").join(target.name()), output().join("failures").join(target.name()));
    for directory in [&found, &failures] {
        fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    }
    let mut fuzzer = Command::new(binary);
    fuzzer
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={LONGEST}"))
        .arg(format!("-timeout={HANGS}"))
        .arg(format!("-artifact_prefix={}/", failures.display()))
        .arg("-print_final_stats=1")
        .arg(&found)
        .arg(package().join("corpus").join(target.name()));
    let mut lines = Vec::new();
    let ended = command::watch(&mut fuzzer, |line| {
        on_line(line);
        lines.push(line.to_owned());
    });
    match ended {
        Ok(()) => figures(&lines),
        Err(error) => Err(failure(target, &lines).unwrap_or(error)),
    }
}

fn replay(target: Target, input: &Path) -> Result<ExitCode> {
    let step = Step::start(format!("{} with {}", target.name(), input.display()));
    let binary = built(target, |line| step.say(line))?;
    if !input.is_file() {
        bail!("there is no file {}", input.display());
    }
    command::watch(Command::new(binary).arg(input), |_| {}).context("the property does not hold of this input")?;
    step.done("the property holds of this input");
    Ok(ExitCode::SUCCESS)
}

/// One line of what the fuzzer printed at its end.
fn figures(lines: &[String]) -> Result<String> {
    let statistic = |name: &str| lines.iter().rev().find_map(|line| line.strip_prefix(&format!("stat::{name}:"))).map(str::trim);
    let runs = statistic("number_of_executed_units").context("the fuzzer printed no figures")?;
    let (speed, new) = (statistic("average_exec_per_sec").unwrap_or("?"), statistic("new_units_added").unwrap_or("?"));
    let coverage = lines.iter().rev().find_map(|line| line.split("cov: ").nth(1)?.split(' ').next()).unwrap_or("no");
    Ok(format!("{runs} runs, {speed}/s, {coverage} places reached, {new} new inputs"))
}

/// The input that breaks a property, with all one needs to try again. None when the fuzzer failed without one.
fn failure(target: Target, lines: &[String]) -> Option<anyhow::Error> {
    let path = lines.iter().rev().find_map(|line| line.split("Test unit written to ").nth(1))?;
    let input = fs::read(path).ok()?;
    let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
    let said = lines
        .iter()
        .position(|line| line.contains("panicked at"))
        .map_or(String::new(), |at| lines[at..].iter().take(3).map(|line| format!("    {line}\n")).collect());
    let name = target.name();
    Some(anyhow::anyhow!(
        "{name}: a property does not hold\n{said}  input    {path}\n  bytes    {hex}\n  again    cargo xtask fuzz {name} --replay {path}\n  \
         When it is mended, keep the input in firewall-common/fuzz/corpus/{name}."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_figures_are_those_of_the_end() {
        let printed = "#1024\tpulse  cov: 300 ft: 700 corp: 12/3Kb\n#9\tDONE   cov: 412 ft: 900 corp: 20/4Kb\n\
                       stat::number_of_executed_units: 9000\nstat::average_exec_per_sec:     450\nstat::new_units_added:          8\n";
        assert_eq!(figures(&lines(printed)).expect("figures"), "9000 runs, 450/s, 412 places reached, 8 new inputs");
        assert!(figures(&lines("nothing")).is_err());
    }

    #[test]
    fn a_failure_shows_its_input_and_how_to_try_it_again() {
        let scratch = Scratch::create("fuzz").expect("created");
        let path = scratch.directory_with("failures", "crash-1", "AB").expect("written").join("crash-1");
        let printed = format!("thread panicked at x.rs:1:1:\nwrong\n==1== libFuzzer\nTest unit written to {}\n", path.display());
        let error = failure(Target::Streams, &lines(&printed)).expect("a failure").to_string();
        for part in ["wrong", "bytes    4142", &format!("cargo xtask fuzz streams --replay {}", path.display())] {
            assert!(error.contains(part), "{part} is not in:\n{error}");
        }
        assert!(failure(Target::Streams, &lines("no input here")).is_none());
    }
}
