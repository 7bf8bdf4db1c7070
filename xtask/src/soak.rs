//! `cargo xtask soak`: real TCP stacks of both families talk through a real Weir for minutes, over paths that lose, reorder, double and
//! narrow, and Weir must not drop a single packet of theirs.

mod cpu;
mod drops;
mod hop;
mod kind;
mod load;
mod met;
mod network;
mod report;
mod talk;
mod tap;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};

use crate::{
    build, command,
    progress::Step,
    scratch::Scratch,
    setup::{self, Need},
    undo,
    weir::{Counters, Launch, Weir},
};
use cpu::Split;
use drops::{Drops, Sums};
use hop::Hops;
use kind::{Checks, Kind};
use network::{Host, Network};
use report::Report;
use tap::Tap;

/// The longest soak there is.
const LONGEST: u64 = 24 * 3600;
/// Of the scenario in `cargo xtask test`.
const SHORT: Duration = Duration::from_secs(20);
/// A fixed seed there: the same connections, though not the same interleaving, in every run.
const SHORT_SEED: u64 = 1;
/// How often Weir is asked whether it dropped something.
const LOOK: Duration = Duration::from_secs(1);
/// What is still under way arrives within that time.
const SETTLE: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// How long traffic flows.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(5..=LONGEST))]
    seconds: u64,
    /// Makes the same connections again [default: another seed each time]
    #[arg(long)]
    seed: Option<u64>,
    /// Checks of the normalizer.
    #[arg(long, value_enum, default_value_t)]
    checks: Checks,
    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,
    /// Use this `weir` instead of building an optimized one.
    #[arg(long, value_name = "FILE")]
    weir: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    command::require_root("the soak")?;
    undo::on_signals()?;
    setup::ensure(Need::Run)?;
    let weir = arguments.weir.clone().map_or_else(|| build::weir(true), Ok)?;
    let seed = arguments.seed.map_or_else(any_seed, Ok)?;
    let report = soak(&weir, Duration::from_secs(arguments.seconds), seed, arguments.checks)?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("\n{}", report.table());
        println!(
            "{} in {:.0} s, seed {}: {}",
            report.summary(),
            report.seconds,
            report.seed,
            if report.holds { "it holds" } else { "IT DOES NOT HOLD" }
        );
    }
    for problem in &report.problems {
        eprintln!("✗ {problem}");
    }
    if !report.diagnosis.is_empty() && !arguments.json {
        eprintln!("{}", report.diagnosis);
    }
    Ok(if report.holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The scenario of `cargo xtask test`.
pub fn scenario(weir: &Path) -> Result<String> {
    let report = soak(weir, SHORT, SHORT_SEED, Checks::Default)?;
    eprint!("{}", report.table());
    if !report.holds {
        bail!("{}; {}\n{}", report.summary(), report.problems.join("; "), report.diagnosis);
    }
    Ok(report.summary())
}

fn any_seed() -> Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?;
    Ok(now.as_nanos() as u64)
}

fn soak(binary: &Path, length: Duration, seed: u64, checks: Checks) -> Result<Report> {
    let cpus = cpu::two()?;
    let scratch = Scratch::create("soak")?;
    let policies = scratch.directory_with("policy", "soak.toml", &kind::policy(checks))?;
    let step = Step::start("connect two clients, two routers, the gateway and the server");
    let network = Network::create()?;
    let fast_open = network.fast_open();
    for host in Host::ALL {
        network.receive_on(host, if host == Host::Server { cpus[1] } else { cpus[0] })?;
    }
    step.done("");
    let weir = Weir::start(Launch {
        more: drops::RATE.iter().map(|word| (*word).to_owned()).collect(),
        ..Launch::gateway(binary, &network.gateway, "soak", policies, &scratch)
    })?;
    weir.counters()?.all_native()?;
    let drops = Drops::listen(&weir, scratch.path().join("drops.json"))?;
    let report = observe(&weir, &network, drops, &Plan { instance: weir.instance(), cpus, length, seed, fast_open })?;
    weir.stop()?;
    Ok(report)
}

/// How a soak runs.
#[derive(Debug, Clone, Copy)]
struct Plan<'a> {
    instance: &'a str,
    cpus: [usize; 2],
    length: Duration,
    seed: u64,
    fast_open: bool,
}

fn observe(weir: &Weir, network: &Network, mut drops: Drops, plan: &Plan<'_>) -> Result<Report> {
    let Plan { cpus, length, seed, fast_open, .. } = *plan;
    let left_out: &[Kind] = if fast_open { &[] } else { &[Kind::FastOpen] };
    let step = Step::start(format!("soak for {} s, seed {seed}", length.as_secs()));
    let (hops, tap) = (Hops::start(network, cpus, seed)?, Tap::start(network)?);
    let (start, mut looked) = (Instant::now(), Instant::now());
    // What the tables say at the first loss is worth more than what they say at the end.
    let mut diagnosis = String::new();
    let watch = || {
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            step.say(&format!("{:.0} s", start.elapsed().as_secs_f64()));
            if drops.look(&tap)? && diagnosis.is_empty() {
                diagnosis = diagnose(weir, start.elapsed());
            }
        }
        Ok(true)
    };
    let ledger = load::run(network, cpus, length, seed, left_out, watch)?;
    thread::sleep(SETTLE);
    let hops = hops.stop()?;
    let counters = weir.all_counters()?;
    let Counters { drops: counted, .. } = serde_json::from_value(counters.clone()).context("counters of another form")?;
    let judged = drops.finish(weir, counted.values().sum(), &tap)?;
    tap.stop()?;
    let mut problems = ledger.failures();
    problems.extend(drops::losses(&judged));
    let sums = Sums::of(&judged);
    let rows = report::rows(&counters, &ledger, &judged)?;
    let split = Split::read(&network.gateway, plan.instance, cpus)?;
    problems.extend(split.check().err().map(|error| format!("{error:#}")));
    problems.extend(rows.iter().filter(|row| idle(row, left_out)).map(|row| format!("no connection of {} over {}", row.kind, row.family)));
    let met = met::read(network, fast_open)?;
    problems.extend(met.iter().filter(|met| met.times == 0).map(|met| format!("never met: {}", met.feature)));
    if !problems.is_empty() && diagnosis.is_empty() {
        diagnosis = diagnose(weir, start.elapsed());
    }
    let packets = ["passed", "passed_without_learning", "link_passed"].iter().filter_map(|name| counters[name].as_u64()).sum::<u64>()
        + sums.dropped
        + sums.refused_resets;
    let (holds, seconds) = (problems.is_empty(), start.elapsed().as_secs_f64());
    let report = Report { seconds, seed, holds, rows, packets, sums, cpus: split, hops, met, fast_open, problems, diagnosis };
    if holds {
        step.done(&report.summary());
    } else {
        step.failed(&report.summary());
    }
    Ok(report)
}

/// A row that should have connections, and has none.
fn idle(row: &report::Row, left_out: &[Kind]) -> bool {
    row.packets == 0 && left_out.iter().all(|kind| kind.name() != row.kind)
}

fn diagnose(weir: &Weir, after: Duration) -> String {
    let shown = |verb: &str| weir.show(verb).unwrap_or_else(|error| format!("{error:#}"));
    let (counters, flows, log) = (shown("counters"), shown("flows"), weir.log());
    format!("{:.1} s after the start\nweir counters:\n{counters}\nweir flows:\n{flows}\nweir's log:\n{log}", after.as_secs_f64())
}
