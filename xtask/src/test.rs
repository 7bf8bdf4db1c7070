//! `cargo xtask test`: every test there is, by level. Nothing is left out without a word: a level that cannot run has failed.

mod capture;
mod filter;
pub mod frame;
pub(crate) mod lab;
mod level;
pub(crate) mod listener;
mod load;
pub mod network;
mod oldest;
mod peers;
mod receiver;
mod run;
pub mod scenarios;
mod step;
pub(crate) mod stream;
mod suite;

use std::{path::PathBuf, process::ExitCode, thread, time::Instant};

use anyhow::{Context, Result, bail};

use crate::{
    command,
    setup::{self, Need},
    undo,
};
use level::Level;
use scenarios::Scenario;
use step::Outcome;

/// The nicest a process can be.
const LEAST_URGENT: i32 = 19;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Levels to run [default: all but peers]
    #[arg(value_enum, value_name = "LEVEL")]
    levels: Vec<Level>,
    /// Show what would run, and run nothing.
    #[arg(long)]
    list: bool,
    /// Run only the end-to-end scenarios with these names.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Use this `weir` instead of building one, in the levels netns, oldest and peers.
    #[arg(long, value_name = "FILE")]
    weir: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let levels = arguments.chosen()?;
    if arguments.list {
        for level in levels {
            for step in level.steps(&arguments.only)? {
                println!("{:<7} {}", level.name(), step.title);
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    if levels.iter().any(|level| level.needs_root()) {
        command::require_root("a level of these tests")?;
    }
    undo::on_signals()?;
    setup::ensure(Need::Run)?;
    if levels.contains(&Level::Peers) {
        setup::ensure(Need::RealPeers)?;
    }
    let start = Instant::now();
    let outcomes = perform(&levels, arguments)?;
    print!("{}", step::table(&outcomes, start.elapsed()));
    let (passed, failed) =
        outcomes.iter().fold((0, 0), |(passed, failed), (_, outcome)| (passed + outcome.passed, failed + outcome.failed));
    println!("{passed} passed, {failed} failed");
    Ok(if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the levels one after the other. What only compiles comes last, beside the emulated machine of the level *oldest* and behind it where both want a
/// processor: that machine has work for little more than one of them.
fn perform(levels: &[Level], arguments: &Arguments) -> Result<Outcomes> {
    let (compiling, others): (Vec<Level>, Vec<Level>) = levels.iter().partition(|level| level.only_compiles());
    let (emulated, others): (Vec<Level>, Vec<Level>) = others.into_iter().partition(|level| *level == Level::Oldest);
    let run = |levels: Vec<Level>| {
        let mut outcomes = Vec::new();
        for level in levels {
            level.perform(arguments.weir.as_deref(), &arguments.only, &mut outcomes);
        }
        outcomes
    };
    let mut outcomes = run(others);
    let (emulated, compiled) = thread::scope(|scope| {
        let compiled = scope.spawn(|| {
            // Of this thread, and of what it starts.
            rustix::process::nice(LEAST_URGENT)?;
            Ok(run(compiling))
        });
        (run(emulated), stream::joined(compiled.join()))
    });
    outcomes.extend(emulated);
    outcomes.extend(compiled?);
    Ok(outcomes)
}

impl Arguments {
    fn chosen(&self) -> Result<Vec<Level>> {
        let mut levels = if self.levels.is_empty() { Level::USUAL.to_vec() } else { self.levels.clone() };
        levels.sort();
        levels.dedup();
        if !self.only.is_empty() {
            let (level, known) = match levels.as_slice() {
                [level @ Level::Netns] => (level.name(), scenarios::ALL),
                [level @ Level::Peers] => (level.name(), peers::ALL),
                _ => bail!("--only picks scenarios of one level: say `cargo xtask test netns --only …`, or `peers` instead of `netns`"),
            };
            if let Some(name) = self.only.iter().find(|name| known.iter().all(|scenario| scenario.name != **name)) {
                bail!("there is no scenario `{name}` in {level}; `cargo xtask test {level} --list` shows them all");
            }
        }
        Ok(levels)
    }
}

/// One scenario in this process: `xtask scenario`, which [`Arguments`]' verb starts for each, so that a scenario that hangs or panics
/// can be ended and leaves nothing behind.
#[derive(Debug, clap::Args)]
pub struct ScenarioArguments {
    name: String,
    #[arg(long, value_name = "FILE")]
    weir: PathBuf,
}

pub fn run_scenario(arguments: &ScenarioArguments) -> Result<ExitCode> {
    undo::on_signals()?;
    let scenario = scenario(&arguments.name).with_context(|| format!("there is no scenario `{}`", arguments.name))?;
    println!("{}", scenarios::run(scenario, &arguments.weir)?);
    Ok(ExitCode::SUCCESS)
}

/// One of the levels netns and peers.
fn scenario(name: &str) -> Option<&'static Scenario> {
    scenarios::ALL.iter().chain(peers::ALL).find(|scenario| scenario.name == name)
}

type Outcomes = Vec<(Level, Outcome)>;
