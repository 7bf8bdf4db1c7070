//! The levels of the tests, from cheap to dear, and the steps of each.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

use super::{
    Outcomes, oldest, peers, run,
    scenarios::{self, Scenario},
    step::Outcome,
};
use crate::{build, fuzz::Target};

/// Test files of firewall-user that load programs into the kernel, and those that drive the command line.
const KERNEL: [&str; 9] = [
    "kernel_cases",
    "kernel_fragments",
    "kernel_large",
    "policy_swaps",
    "set_changes",
    "set_large",
    "wire_cases",
    "differential",
    "verifier_budget",
];
const CLI: [&str; 1] = ["cli"];

/// In the order their outcomes are told in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(super) enum Level {
    /// Unit and property tests, without privileges.
    Host,
    /// Fuzz targets: their corpus, and a few seconds of new inputs.
    Fuzz,
    /// The dataplane in the kernel, through TEST_RUN and through interfaces.
    Kernel,
    /// The command line and the daemon.
    Cli,
    /// End to end, in network namespaces, and what the demo claims.
    Netns,
    /// The oldest kernel that Weir supports, in a virtual machine with virtio network cards.
    Oldest,
    /// Programs of other people at both ends: strongSwan, openconnect, tshark. Only when it is asked for.
    Peers,
    /// The documentation builds without a warning and its examples work.
    Docs,
    /// Format and lints.
    Lint,
}

/// One thing to run.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) title: String,
    pub(super) work: Work,
}

#[derive(Debug)]
pub(super) enum Work {
    /// `cargo test` with these arguments: counts its tests.
    Tests(Vec<String>),
    /// Another cargo verb: passes or fails as a whole.
    Cargo(Vec<String>),
    /// rustdoc with warnings as errors.
    Documentation,
    /// clippy of the crate that builds for BPF only.
    LintOfDataplane,
    Fuzz(Target),
    Scenario(&'static Scenario),
    Demo,
    Oldest,
    /// Something that should be there is not.
    Missing(String),
}

impl Level {
    /// What runs when no level is named.
    pub(super) const USUAL: [Self; 8] =
        [Self::Host, Self::Fuzz, Self::Kernel, Self::Cli, Self::Netns, Self::Oldest, Self::Docs, Self::Lint];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Fuzz => "fuzz",
            Self::Kernel => "kernel",
            Self::Cli => "cli",
            Self::Netns => "netns",
            Self::Oldest => "oldest",
            Self::Peers => "peers",
            Self::Docs => "docs",
            Self::Lint => "lint",
        }
    }

    pub(super) fn needs_root(self) -> bool {
        matches!(self, Self::Kernel | Self::Cli | Self::Netns | Self::Oldest | Self::Peers)
    }

    /// True when no test of it is timed, or sees what else is on this machine.
    pub(super) fn only_compiles(self) -> bool {
        matches!(self, Self::Docs | Self::Lint)
    }

    /// `only` names the scenarios wanted; none: all, what their traffic rests on, and the demo.
    pub(super) fn steps(self, only: &[String]) -> Result<Vec<Step>> {
        let wanted = |scenario: &&Scenario| only.is_empty() || only.iter().any(|name| name == scenario.name);
        let scenario =
            |scenario: &'static Scenario| Step { title: format!("{}: {}", scenario.name, scenario.about), work: Work::Scenario(scenario) };
        let targets = test_targets(&build::workspace().join("firewall-user/tests"))?;
        Ok(match self {
            Self::Host => {
                let others = targets.iter().map(String::as_str).filter(|name| !KERNEL.contains(name) && !CLI.contains(name));
                let user = ["--package", "firewall-user", "--lib", "--bins"];
                vec![
                    tests("firewall-common", &["--package", "firewall-common", "--lib", "--tests"]),
                    tests("firewall-user", &[&user[..], &selected(others)].concat()),
                    tests("xtask", &["--package", "xtask", "--lib", "--bins"]),
                ]
            }
            Self::Fuzz => {
                Target::ALL.iter().map(|target| Step { title: format!("fuzz {}", target.name()), work: Work::Fuzz(*target) }).collect()
            }
            Self::Kernel => KERNEL.iter().map(|name| target(name, &targets)).collect(),
            Self::Cli => CLI.iter().map(|name| target(name, &targets)).collect(),
            Self::Netns => {
                let traffic = only.is_empty().then(|| tests("traffic without Weir", &["--package", "xtask", "--test", "*"]));
                let demo = only.is_empty().then(|| Step { title: "demo: its claims hold".to_owned(), work: Work::Demo });
                traffic.into_iter().chain(scenarios::ALL.iter().filter(wanted).map(scenario)).chain(demo).collect()
            }
            Self::Oldest => vec![Step { title: oldest::TITLE.to_owned(), work: Work::Oldest }],
            Self::Peers => peers::ALL.iter().filter(wanted).map(scenario).collect(),
            Self::Docs => vec![
                Step { title: "cargo doc, no warnings".to_owned(), work: Work::Documentation },
                tests("examples in the documentation", &["--doc"]),
            ],
            Self::Lint => vec![
                cargo("cargo fmt", &["fmt", "--all", "--check"]),
                cargo("clippy", &["clippy", "--all-targets", "--", "--deny", "warnings"]),
                Step { title: "clippy of firewall-ebpf".to_owned(), work: Work::LintOfDataplane },
            ],
        })
    }

    /// Runs the level and adds what came of each step. What keeps the level from running is a failure of it.
    pub(super) fn perform(self, weir: Option<&Path>, only: &[String], outcomes: &mut Outcomes) {
        if let Err(error) = self.try_perform(weir, only, outcomes) {
            eprintln!("✗ the level {} cannot run: {error:#}", self.name());
            outcomes.push((self, Outcome::failed("cannot run", format!("{error:#}"))));
        }
    }

    fn try_perform(self, weir: Option<&Path>, only: &[String], outcomes: &mut Outcomes) -> Result<()> {
        let steps = self.steps(only)?;
        if steps.is_empty() {
            bail!("it has no steps");
        }
        let built = match (self, weir) {
            (Self::Netns | Self::Oldest | Self::Peers, Some(weir)) => Some(weir.to_owned()),
            (Self::Netns | Self::Oldest | Self::Peers, None) => Some(build::weir_of_tests().context("weir does not build")?),
            _ => None,
        };
        for step in steps {
            let outcome = run::perform(&step, built.as_deref());
            outcomes.push((self, outcome));
        }
        Ok(())
    }
}

fn tests(title: &str, arguments: &[&str]) -> Step {
    Step { title: title.to_owned(), work: Work::Tests(arguments.iter().map(|word| (*word).to_owned()).collect()) }
}

fn cargo(title: &str, arguments: &[&str]) -> Step {
    Step { title: title.to_owned(), work: Work::Cargo(arguments.iter().map(|word| (*word).to_owned()).collect()) }
}

fn target(name: &str, targets: &[String]) -> Step {
    if targets.iter().any(|target| target == name) {
        return tests(name, &["--package", "firewall-user", "--test", name]);
    }
    Step { title: name.to_owned(), work: Work::Missing(format!("firewall-user/tests has no {name}")) }
}

fn selected<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    names.flat_map(|name| ["--test", name]).collect()
}

/// Names of the test targets in a directory: its files, and its directories with a `main.rs`. Every one belongs to a level, so that a
/// new one is not left out.
fn test_targets(directory: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let path = entry?.path();
        let is_target = path.extension().is_some_and(|extension| extension == "rs") || path.join("main.rs").is_file();
        if let (true, Some(name)) = (is_target, path.file_stem().and_then(|name| name.to_str())) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn files_and_directories_with_a_main_are_targets() {
        let scratch = Scratch::create("targets").expect("created");
        scratch.directory_with("cli", "main.rs", "").expect("written");
        scratch.directory_with("policies", "some.toml", "").expect("written");
        scratch.directory_with(".", "golden.rs", "").expect("written");
        assert_eq!(test_targets(scratch.path()).expect("read"), ["cli", "golden"]);
    }

    #[test]
    fn a_target_that_is_not_there_is_missing_and_not_skipped() {
        let there = ["cli".to_owned()];
        assert!(matches!(target("cli", &there).work, Work::Tests(_)));
        assert!(matches!(target("kernel_cases", &there).work, Work::Missing(_)));
    }

    #[test]
    fn every_level_has_steps_and_every_scenario_runs() {
        for level in Level::USUAL.into_iter().chain([Level::Peers]) {
            assert!(!level.steps(&[]).expect("steps").is_empty(), "{level:?}");
        }
        let netns = Level::Netns.steps(&[]).expect("steps");
        assert_eq!(netns.len(), scenarios::ALL.len() + 2);
        let one = Level::Netns.steps(&["bulk".to_owned()]).expect("steps");
        assert!(matches!(one.as_slice(), [Step { work: Work::Scenario(scenario), .. }] if scenario.name == "bulk"));
    }
}
