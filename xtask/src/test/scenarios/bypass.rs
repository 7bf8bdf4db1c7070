//! Whether a bypass is needed, said by the real endpoints: IPsec over TCP with and without loss, and real TCP with it.

use std::{env, path::Path};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    ctcp::receiver::Acknowledge,
    netns::topology::{CTCP_PORT, INSIDE, OUTSIDE, SERVER, Topology},
    scratch::Scratch,
    traffic::{self, Plan, TCP_PORT},
    weir::{Launch, Weir},
};

const SECONDS: u32 = 6;
/// Percentage lost in each direction.
const LOSS: u8 = 2;
/// Packets both endpoints send in a run, less than half of which may be needed where the stream is dead for strict inspection.
const MANY: u64 = 500;

/// A bypass rule as `weir bypass list --json` prints it, as far as it is needed here.
#[derive(Debug, Clone, Deserialize)]
struct Rule {
    name: String,
    needed: u64,
    needed_for: Option<String>,
}

pub fn needed(binary: &Path) -> Result<String> {
    let xtask = env::current_exe().context("cannot find this program's own file")?;
    let scratch = Scratch::create("bypass")?;
    let topology = Topology::create()?;
    let policies = scratch.directory_with("policy", "bypass.toml", &policy())?;
    let weir = Weir::start(Launch::gateway(binary, &topology.gateway, "test", policies, &scratch))?;
    let plan = |loss| Plan { xtask: &xtask, seconds: SECONDS, loss };

    let mut before_the_end = None;
    traffic::ctcp(&topology, plan(0), Acknowledge::RepeatAtGap, 40_001, || {
        before_the_end = Some(rule(&weir, "vpn")?);
        Ok(())
    })?;
    let whole = before_the_end.context("the run had no middle")?;
    ensure!(whole.needed == 0, "without a loss IPsec over TCP needed its bypass: {whole:?}");
    // It ends with a bare reset of number 0, which no receiver of TCP obeys.
    let ended = rule(&weir, "vpn")?;
    ensure!(ended.needed <= 1, "without a loss more than its reset needed the bypass: {ended:?}");
    ensure!(ended.needed == 0 || ended.needed_for.as_deref() == Some("tcp-rstfin-ooo"), "something else than its reset: {ended:?}");

    let mut flows = Value::Null;
    traffic::ctcp(&topology, plan(LOSS), Acknowledge::RepeatAtGap, 40_002, || {
        flows = weir.read("flows", &["port=40002"])?;
        let halfway = rule(&weir, "vpn")?;
        let reason = halfway.needed_for.as_deref();
        ensure!(reason == Some("tcp-seq-past-win"), "with a loss of {LOSS} % it is needed for another reason: {halfway:?}");
        Ok(())
    })?;
    let lossy = rule(&weir, "vpn")?;
    ensure!(lossy.needed > ended.needed + MANY, "with a loss of {LOSS} % hardly a packet needed the bypass: {lossy:?}");
    let marked = flows[0]["flags"].as_str().is_some_and(|flags| flags.contains('n'));
    ensure!(marked && flows[0]["needed"].as_u64() > Some(0), "its flow does not say so: {flows}");

    ensure!(flows[0]["application"] == "ctcp", "its flow is not known for what it carries: {flows}");

    let mut transfers = Value::Null;
    traffic::tcp(&topology, plan(LOSS), || {
        transfers = weir.read("flows", &["rule=transfer"])?;
        Ok(())
    })?;
    let known = transfers.as_array().is_some_and(|flows| !flows.is_empty() && flows.iter().all(|flow| flow["application"].is_null()));
    ensure!(known, "real TCP with a loss of {LOSS} % was taken for something else: {transfers}");
    let real = rule(&weir, "transfer")?;
    ensure!(real.needed == 0, "real TCP needed a bypass: {real:?}");
    let drops = weir.counters()?.drops;
    ensure!(drops.is_empty(), "Weir dropped packets under bypass: {drops:?}");
    weir.stop()?;
    let ending = if ended.needed == 0 { "not at all" } else { "by its closing reset alone (tcp-rstfin-ooo)" };
    Ok(format!("IPsec over TCP needs it {ending} without loss, {} times with {LOSS} %; TCP never", lossy.needed - ended.needed))
}

fn rule(weir: &Weir, name: &str) -> Result<Rule> {
    let rules: Vec<Rule> = weir.read("bypass", &["list"])?;
    rules.into_iter().find(|rule| rule.name == name).with_context(|| format!("no bypass rule {name}"))
}

fn policy() -> String {
    let rule = |name: &str, port: u16| {
        format!(
            "[[rule]]\nname = \"{name}\"\nfrom = \"{OUTSIDE}\"\nto = \"{INSIDE} {SERVER}\"\nservice = \"tcp/{port}\"\n\
             action = \"allow\"\ninspection = \"bypass\"\n\n"
        )
    };
    rule("vpn", CTCP_PORT) + &rule("transfer", TCP_PORT)
}
