//! Long transfers.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::ALLOWED;
use crate::test::{lab::Lab, network::Family};

const BYTES: u64 = 64 * 1024 * 1024;

pub fn v4(lab: &mut Lab) -> Result<String> {
    both_ways(lab, Family::V4)
}

/// IPv6 neighbours are not set up by hand: that a connection comes about shows that their discovery works.
pub fn v6(lab: &mut Lab) -> Result<String> {
    both_ways(lab, Family::V6)
}

fn both_ways(lab: &Lab, family: Family) -> Result<String> {
    let pair = lab.pair(family, ALLOWED)?;
    let start = Instant::now();
    pair.exchange_bulk(BYTES)?;
    let seconds = start.elapsed().as_secs_f64();
    let flow = lab.flow(&["port=7000"])?;
    ensure!(flow.state == "established" && flow.rule == "served", "the flow is {flow:?}");
    ensure!(flow.initiator.zone == "outside" && flow.responder.zone == "inside", "the flow is {flow:?}");
    ensure!(flow.bytes.to_responder >= BYTES && flow.bytes.to_initiator >= BYTES, "Weir counted less than was sent: {flow:?}");
    pair.close()?;
    lab.flow_becomes(&["port=7000"], "time-wait")?;
    lab.no_drops()?;
    let packets = flow.packets.to_responder + flow.packets.to_initiator;
    Ok(format!("2 × {BYTES} bytes, {packets} packets in {seconds:.1} s"))
}
