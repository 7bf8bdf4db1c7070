//! `cargo xtask demo`: what packet loss does to IPsec over TCP behind a strict firewall, and what Weir's bypass does about it.
//!
//! Three runs at the same loss, in network namespaces: a pair of IPsec-over-TCP endpoints under strict inspection dies; under the
//! shipped bypass policy it lives; a transfer over real TCP lives under strict inspection. Every claim is measured, and the demo fails
//! when one of them does not hold.

pub(crate) mod claim;
mod print;

use std::{collections::BTreeMap, env, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::Value;

use crate::{
    build, command,
    ctcp::receiver::Acknowledge,
    netns::topology::{CTCP_PORT, INSIDE, OUTSIDE, SERVER, Topology},
    progress::Step,
    scratch::Scratch,
    setup::{self, Need},
    traffic::{self, Figures, Plan, TCP_PORT},
    undo,
    weir::{Launch, Weir},
};
use claim::Claim;

const SECONDS: u32 = 12;
/// Percentage lost in each direction.
const LOSS: u8 = 2;
/// The shipped policy, from the workspace's directory.
const SHIPPED_POLICY: &str = "policies/ipsec-over-tcp";

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Print the figures as one JSON object.
    #[arg(long)]
    json: bool,
    /// Use this `weir` instead of building one.
    #[arg(long, value_name = "FILE")]
    weir: Option<PathBuf>,
}

/// One run and what came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    claim: Claim,
    holds: bool,
    /// In what way the claim does not hold.
    problem: Option<String>,
    figures: Figures,
    /// Packets Weir dropped during the run, by reason.
    drops: BTreeMap<String, u64>,
    /// `weir flows` halfway through the run.
    #[serde(skip)]
    flows: String,
}

/// Everything the demo found.
#[derive(Debug, Clone, Serialize)]
struct Outcome {
    loss_percent: u8,
    seconds: u32,
    runs: Vec<Run>,
    counters: Value,
    /// `weir counters` at the end.
    #[serde(skip)]
    counters_table: String,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    command::require_root("the demo")?;
    undo::on_signals()?;
    setup::ensure(if arguments.weir.is_some() { Need::Peers } else { Need::Run })?;
    let weir = match &arguments.weir {
        Some(weir) => weir.clone(),
        None => build::weir(true)?,
    };
    let outcome = perform(weir)?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&outcome)?);
    } else {
        print!("{}", print::outcome(&outcome));
    }
    let problems: Vec<&str> = outcome.runs.iter().filter_map(|run| run.problem.as_deref()).collect();
    if !problems.is_empty() {
        bail!("{}", problems.join("; "));
    }
    Ok(ExitCode::SUCCESS)
}

fn perform(binary: PathBuf) -> Result<Outcome> {
    let scratch = Scratch::create("demo")?;
    let bypass = build::workspace().join(SHIPPED_POLICY);
    let strict = scratch.directory_with("strict", "demo.toml", &strict_policy())?;

    let step = Step::start("connect client, lossy hop, gateway and server");
    let topology = Topology::create()?;
    step.done("");

    let step = Step::start("start Weir on the gateway, native XDP");
    let weir = Weir::start(Launch::gateway(&binary, &topology.gateway, "demo", strict.clone(), &scratch))?;
    weir.counters()?.all_native()?;
    step.done("");

    let mut runs = Vec::new();
    for (claim, policy) in [(Claim::StrictKills, &strict), (Claim::BypassSaves, &bypass), (Claim::TcpLives, &strict)] {
        weir.apply(policy)?;
        let step = Step::start(claim.title());
        let run = measure(claim, &topology, &weir)?;
        match &run.problem {
            None => step.done("shown"),
            Some(_) => step.failed("not shown"),
        }
        runs.push(run);
    }
    let (counters, counters_table) = (weir.all_counters()?, weir.show("counters")?);
    weir.stop()?;
    Ok(Outcome { loss_percent: LOSS, seconds: SECONDS, runs, counters, counters_table })
}

fn measure(claim: Claim, topology: &Topology, weir: &Weir) -> Result<Run> {
    let xtask = env::current_exe().context("cannot find this program's own file")?;
    let plan = Plan { xtask: &xtask, seconds: SECONDS, loss: LOSS };
    let before = weir.counters()?;
    let mut flows = String::new();
    let halfway = || {
        flows = weir.show("flows")?;
        Ok(())
    };
    // Each run its own port: none meets the flow of another.
    let figures = match claim {
        Claim::StrictKills => traffic::ctcp(topology, plan, Acknowledge::RepeatAtGap, 40_001, halfway),
        Claim::BypassSaves => traffic::ctcp(topology, plan, Acknowledge::RepeatAtGap, 40_002, halfway),
        Claim::TcpLives => traffic::tcp(topology, plan, halfway),
    }?;
    let drops = weir.counters()?.drops_since(&before);
    let problem = claim.check(&figures, &drops, LOSS).err();
    Ok(Run { claim, holds: problem.is_none(), problem, figures, drops, flows })
}

/// The rules of the shipped policy without its bypass, and one for the transfer.
fn strict_policy() -> String {
    let rule = |name: &str, port: u16| {
        format!(
            "[[rule]]\nname = \"{name}\"\nfrom = \"{OUTSIDE}\"\nto = \"{INSIDE} {SERVER}\"\nservice = \"tcp/{port}\"\n\
             action = \"allow\"\ninspection = \"strict\"\n\n"
        )
    };
    rule("vpn-clients-strict", CTCP_PORT) + &rule("transfer", TCP_PORT)
}
