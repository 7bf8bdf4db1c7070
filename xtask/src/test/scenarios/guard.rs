//! A guarded bypass, by the real endpoints: the pair goes on through changes of its keys while somebody injects, and none of what is injected
//! arrives.

use std::{env, path::Path, process::Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{
    ctcp::receiver::Acknowledge,
    netns::topology::{CLIENT, CTCP_PORT, INSIDE, OUTSIDE, SERVER, Topology},
    scratch::Scratch,
    traffic::{self, Plan},
    weir::{Launch, Weir},
};

const SECONDS: u32 = 6;
const CLIENT_PORT: u16 = 40_001;
/// Datagrams after which both ends change their SPIs: of 400 a second, so that the middle lies between two changes.
const REKEY_AFTER: &str = "900";
/// Of each kind of forgery.
const FORGED: u64 = 100;
const KINDS: [(&str, &str); 4] =
    [("no-trailer", "guard-no-trailer"), ("unknown-spi", "guard-esp-spi"), ("replay", "guard-esp-replay"), ("jump", "guard-esp-jump")];

pub fn injection(binary: &Path) -> Result<String> {
    let xtask = env::current_exe().context("cannot find this program's own file")?;
    let scratch = Scratch::create("guard")?;
    let topology = Topology::create()?;
    let policies = scratch.directory_with("policy", "guard.toml", &policy())?;
    let weir = Weir::start(Launch::gateway(binary, &topology.gateway, "test", policies, &scratch))?;
    let plan = Plan { xtask: &xtask, seconds: SECONDS, loss: 0 };
    let mut flow = Value::Null;
    let figures = traffic::ctcp_with(&topology, plan, Acknowledge::RepeatAtGap, CLIENT_PORT, &["--rekey-after", REKEY_AFTER], || {
        let client = format!("{CLIENT}:{CLIENT_PORT}");
        for (forgery, _) in KINDS {
            let flows: Value = weir.read("flows", &[&format!("port={CLIENT_PORT}")])?;
            flow = flows[0].clone();
            // What is sent again is of the association before, all of whose packets have passed.
            let which = if forgery == "replay" { "previous_spi" } else { "spi" };
            let spi = flow["guard"][which]["to_responder"].as_u64().with_context(|| format!("no SPI is known: {flow}"))?;
            let status = topology
                .hop_command(&xtask)
                .args(["ctcp-inject", "--source", &client, "--destination", &format!("{SERVER}:{CTCP_PORT}"), "--forgery", forgery])
                .args(["--spi", &spi.to_string(), "--count", &FORGED.to_string()])
                .stdout(Stdio::null())
                .status()
                .context("cannot inject")?;
            ensure!(status.success(), "the injection failed: {status}");
        }
        Ok(())
    })?;
    let proven = flow["guard"]["proven"] == true && flow["inspection"] == "bypass";
    ensure!(proven, "the flow has not proven itself: {flow}");
    for direction in [&figures.to_server, &figures.to_client] {
        let arrived = direction.delivered_total == direction.sent_total && direction.damaged == 0;
        ensure!(arrived, "of {} datagrams {} arrived, {} damaged", direction.sent_total, direction.delivered_total, direction.damaged);
    }
    let mut drops = weir.counters()?.drops;
    for (forgery, reason) in KINDS {
        let dropped = drops.remove(reason).unwrap_or_default();
        ensure!(dropped == FORGED, "of {FORGED} forged segments ({forgery}) {dropped} were dropped as {reason}");
    }
    ensure!(drops.is_empty(), "Weir dropped more than what was forged: {drops:?}");
    weir.stop()?;
    let changes = figures.to_server.sent_total / REKEY_AFTER.parse::<u64>()?;
    let sent = figures.to_server.sent_total + figures.to_client.sent_total;
    Ok(format!("{} forged segments refused; {sent} of {sent} datagrams arrived over {changes} changes of keys", 4 * FORGED))
}

fn policy() -> String {
    format!(
        "[[rule]]\nname = \"vpn\"\nfrom = \"{OUTSIDE}\"\nto = \"{INSIDE} {SERVER}\"\nservice = \"tcp/{CTCP_PORT}\"\naction = \"allow\"\n\
         inspection = \"bypass\"\nguard = [\"ctcp\", \"esp\"]\n"
    )
}
