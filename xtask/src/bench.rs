//! `cargo xtask bench`: what a packet costs, as ratios to floors measured in the same run.
//!
//! Times per packet come from PROG_TEST_RUN over programs that drive one frame through many flows (firewall-ebpf's `bench`). Every case and
//! both floors take turns, round after round, so that what disturbs the machine disturbs all alike; the figures are medians.
//!
//! Forwarded packets are compared with nftables' in the same way, in network namespaces.

mod checks;
mod first;
mod forwarding;
mod packets;
mod report;
mod table;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;

use crate::{
    build, command, ebpf,
    progress::Step,
    setup::{self, Need},
    undo,
};
use report::Report;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Print the figures as JSON.
    #[arg(long)]
    json: bool,
    /// Rounds that take turns; each figure is the median over them.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(3..=99))]
    rounds: u32,
    /// Measure this case alone (and the floor), at this many flows: for profiling.
    #[arg(long, requires = "flows")]
    case: Option<String>,
    #[arg(long, requires = "case")]
    flows: Option<u64>,
    /// Fail when a figure is over its budget.
    #[arg(long)]
    check: bool,
    /// Measure this part alone.
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Measure this `weir` instead of building one.
    #[arg(long, value_name = "FILE")]
    weir: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// What the pipeline costs a packet.
    Packets,
    /// What a first packet costs under policies of 10 to 10,000 rules, and loading them.
    Rules,
    /// What a gateway costs a packet, against nftables.
    Forwarding,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    command::require_root("the benchmark")?;
    undo::on_signals()?;
    setup::ensure(Need::Run)?;
    let asked = |part| arguments.only.is_none_or(|only| only == part);
    let step = Step::start("building the benchmark's programs");
    let target = build::workspace().join("target").join("ebpf-bench");
    let locked = object(&target, &["bench"])?;
    let unlocked = if asked(Part::Packets) { Some(object(&target, &["bench", "unlocked"])?) } else { None };
    step.done("");
    let only = arguments.case.as_deref().zip(arguments.flows);
    let packets = unlocked.map(|unlocked| packets::measure(&locked, &unlocked, arguments.rounds, only)).transpose()?;
    let (mut cases, packets) = packets.map_or_else(Default::default, |(cases, packets)| (cases, Some(packets)));
    let weir = || arguments.weir.clone().map_or_else(|| build::weir(true), Ok);
    let (first_packets, loading) =
        if only.is_none() && asked(Part::Rules) { first::measure(&locked, &weir()?, arguments.rounds)? } else { Default::default() };
    cases.extend(first_packets);
    let forwarding = if asked(Part::Forwarding) { forwarding::measure(&locked, &weir()?, arguments.rounds)? } else { Vec::new() };
    let report = Report { cases, packets, loading, forwarding, rounds: arguments.rounds };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        report.print();
    }
    let over = report.over_budget();
    for line in &over {
        eprintln!("over budget: {line}");
    }
    Ok(if arguments.check && !over.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn object(target: &std::path::Path, features: &[&str]) -> Result<Vec<u8>> {
    let path = ebpf::build(build::workspace(), target, features).map_err(anyhow::Error::msg)?;
    Ok(std::fs::read(path)?)
}
