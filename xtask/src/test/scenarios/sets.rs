//! Sets that change while traffic flows.

use std::{
    io::ErrorKind,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use super::{ALLOWED, USUAL};
use crate::test::{
    lab::{Lab, wait_for},
    load::Pump,
    network::Family,
};

const SOON: Duration = Duration::from_secs(1);
/// Long enough for a SYN and its repetition.
const LONG: Duration = Duration::from_millis(1500);
/// Members that come and go beside the traffic.
const CHANGES: u32 = 30;
const BLOCKLIST: &str = r#"
[set.blocked]
addresses = []

[[rule]]
name = "blocked"
from = "outside @blocked"
action = "drop"
"#;

pub fn cut(lab: &mut Lab) -> Result<String> {
    let policy = lab.policy("blocklist", &format!("{BLOCKLIST}{USUAL}"))?;
    lab.weir.apply(&policy)?;
    let pump = Pump::start(lab.pair(Family::V4, ALLOWED)?)?;
    let mut spared = Pump::start(lab.pair(Family::V6, ALLOWED + 1)?)?;
    pump.flows_on(1 << 20)?;
    for number in 0..CHANGES {
        let address = format!("203.0.113.{number}");
        change(lab, &["add", "blocked", &address, "--for", "1h"])?;
    }
    pump.flows_on(1 << 20)?;
    lab.no_drops()?;

    let client = Family::V4.client().to_string();
    // From the moment the command was given: how long it takes counts.
    let given = Instant::now();
    let changed = change(lab, &["add", "blocked", &client, "--because", "the scenario"])?;
    ensure!(changed["live"] == CHANGES + 1, "{changed}");
    wait_for("the flow's bytes to stop", || Ok(pump.last_arrival().elapsed() > SOON))?;
    let after = pump.last_arrival().saturating_duration_since(given);
    ensure!(after < SOON, "bytes still arrived {after:?} after the address was added");
    match lab.connect(Family::V4, ALLOWED + 2, LONG) {
        Err(error) if error.kind() == ErrorKind::TimedOut => {}
        other => bail!("a connection from a blocked address ended as {other:?}"),
    }
    let dropped = lab.only_drops("acl-drop", 1..=u64::MAX)?;
    spared.flows_on(1 << 20)?;

    change(lab, &["remove", "blocked", &client])?;
    let pair = lab.pair(Family::V4, ALLOWED + 3)?;
    pair.exchange()?;
    pair.close()?;
    let bytes = spared.stop()?;
    Ok(format!("last byte {after:.1?} after the command, {dropped} × acl-drop, {} MiB of another address flowed on", bytes >> 20))
}

fn change(lab: &Lab, words: &[&str]) -> Result<Value> {
    lab.weir.read("set", words)
}
