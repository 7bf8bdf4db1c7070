//! Changes of policy while traffic flows.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{ALLOWED, USUAL};
use crate::{
    test::{
        lab::{Lab, wait_for},
        load::Pump,
        network::Family,
        stream::joined,
    },
    vm,
};

const CHANGES: u32 = 50;
/// Seconds of a trial: enough for a crash and a start.
const TRIAL: u32 = 8;
const SOON: Duration = Duration::from_secs(1);
/// Allows what [`USUAL`] allows to the port under test, by other rules in another order.
const OTHER: &str = r#"
[[rule]]
name = "nothing-from-here"
from = "outside 203.0.113.0/24"
to = "inside"
action = "drop"

[[rule]]
name = "served-otherwise"
from = "outside 192.0.2.0/24"
to = "inside 198.51.100.0/24"
service = "tcp/7000-7050"
action = "allow"
"#;
const DENY: &str = r#"
[[rule]]
name = "ping"
from = "outside"
to = "inside"
service = "icmp/echo-request"
action = "allow"
"#;
const BYPASS: &str = r#"
[[rule]]
name = "bypassed"
from = "outside"
to = "inside"
service = "tcp/7000"
action = "allow"
inspection = "bypass"
"#;

pub fn swap(lab: &mut Lab) -> Result<String> {
    let policies = [lab.policy("other", OTHER)?, lab.policy("usual", USUAL)?];
    let listener = lab.listen(Family::V4, ALLOWED + 1)?;
    let mut pump = Pump::start(lab.pair(Family::V4, ALLOWED)?)?;
    let over = AtomicBool::new(false);
    let lab = &*lab;
    let connections = thread::scope(|scope| {
        let connecting = scope.spawn(|| {
            let mut count = 0_u32;
            while !over.load(Ordering::Relaxed) {
                let pair = lab.pair_with(&listener, Family::V4, ALLOWED + 1).with_context(|| format!("connection {count}"))?;
                pair.exchange().with_context(|| format!("connection {count}"))?;
                pair.close().with_context(|| format!("connection {count}"))?;
                count += 1;
            }
            Ok(count)
        });
        let applied = (0..CHANGES).zip(policies.iter().cycle()).try_for_each(|(_, policy)| lab.weir.apply(policy));
        over.store(true, Ordering::Relaxed);
        let connections = joined(connecting.join());
        applied?;
        connections
    })?;
    ensure!(connections >= CHANGES, "only {connections} connections were made during {CHANGES} changes: too few to tell");
    let bytes = pump.stop()?;
    ensure!(bytes > 0, "no bulk traffic flowed");
    lab.no_drops()?;
    Ok(format!("{connections} connections and {} MiB during {CHANGES} changes", bytes >> 20))
}

pub fn cut(lab: &mut Lab) -> Result<String> {
    let deny = lab.policy("deny", DENY)?;
    let pump = Pump::start(lab.pair(Family::V4, ALLOWED)?)?;
    pump.flows_on(1 << 20)?;
    lab.no_drops()?;
    let soon = SOON * vm::slower();
    // From the moment the command was given: how long it takes counts.
    let given = Instant::now();
    lab.weir.apply(&deny)?;
    wait_for("the flow's bytes to stop", || Ok(pump.last_arrival().elapsed() > soon))?;
    let after = pump.last_arrival().saturating_duration_since(given);
    ensure!(after < soon, "bytes still arrived {after:?} after the change of policy");
    let dropped = lab.only_drops("acl-drop", 1..=u64::MAX)?;
    ensure!(lab.flows(&["port=7000"])?.is_empty(), "a flow that is denied is still listed");
    Ok(format!("last byte {after:.1?} after the command, {dropped} × acl-drop"))
}

pub fn relearn(lab: &mut Lab) -> Result<String> {
    let (bypass, strict) = (lab.policy("bypass", BYPASS)?, lab.policy("strict", USUAL)?);
    lab.weir.apply(&bypass)?;
    let mut pump = Pump::start(lab.pair(Family::V4, ALLOWED)?)?;
    pump.flows_on(1 << 20)?;
    ensure!(lab.flow(&["port=7000"])?.inspection == "bypass", "the flow is not under bypass to begin with");
    lab.weir.apply(&strict)?;
    pump.flows_on(8 << 20)?;
    let flow = lab.flow(&["port=7000"])?;
    ensure!(flow.inspection == "strict" && flow.state == "established" && flow.rule == "served", "the flow is {flow:?}");
    lab.weir.apply(&bypass)?;
    pump.flows_on(8 << 20)?;
    lab.weir.apply(&strict)?;
    pump.flows_on(8 << 20)?;
    let bytes = pump.stop()?;
    lab.no_drops()?;
    Ok(format!("{} MiB over three changes", bytes >> 20))
}

pub fn trial(lab: &mut Lab) -> Result<String> {
    let other = lab.policy("other", OTHER)?;
    let mut pump = Pump::start(lab.pair(Family::V4, ALLOWED)?)?;
    pump.flows_on(1 << 20)?;
    lab.weir.apply_on_trial(&other, TRIAL)?;
    pump.flows_on(8 << 20)?;
    ensure!(lab.flow(&["port=7000"])?.rule == "served-otherwise", "the policy on trial is not in force");
    lab.weir.kill()?;
    pump.flows_on(8 << 20).context("while no controller ran")?;
    lab.weir.restart()?;
    let status: Value = lab.weir.read("status", &[])?;
    let left = status["confirmation"]["seconds_left"].as_u64().with_context(|| format!("nothing waits any more: {status}"))?;
    ensure!(lab.flow(&["port=7000"])?.rule == "served-otherwise", "the next controller began with another policy than the one on trial");
    wait_for("the policy before", || Ok(lab.weir.read::<Value>("status", &[])?["confirmation"].is_null()))?;
    pump.flows_on(8 << 20).context("under the policy before")?;
    ensure!(lab.flow(&["port=7000"])?.rule == "served", "the policy before is not in force again");
    let bytes = pump.stop()?;
    lab.no_drops()?;
    Ok(format!("{} MiB over a trial, a crash with {left} s left, and the way back", bytes >> 20))
}
