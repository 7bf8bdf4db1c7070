//! A flood of SYNs from addresses that do not exist.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Instant,
};

use anyhow::{Context, Result, ensure};

use super::ALLOWED;
use crate::{
    pattern::Pattern,
    test::{
        frame::{Port, Tcp},
        lab::Lab,
        network::{CLIENT_MAC, Family, NOBODY, OUTSIDE_MAC, WAN},
    },
};

/// SYNs that Weir must meet, and those sent to that end at most.
const SYNS: u32 = 50_000;
const MOST: u32 = 400_000;
/// The established connection is used after so many SYNs.
const BURST: u32 = 5_000;

pub fn syns(lab: &mut Lab) -> Result<String> {
    let pair = lab.pair(Family::V4, ALLOWED)?;
    pair.exchange()?;
    let port = Port::open(&lab.network.client, WAN)?;
    let mut random = Pattern::new(9);
    let before = seen(lab)?;
    let start = Instant::now();
    let mut sent = 0;
    // The interface's queue loses some when it is full: what counts is what Weir has met.
    while seen(lab)? < before + u64::from(SYNS) {
        ensure!(sent < MOST, "of {sent} SYNs Weir has met only {}", seen(lab)? - before);
        for _ in 0..BURST {
            port.send(&syn(&mut random)?.frame(CLIENT_MAC, OUTSIDE_MAC, &[])?)?;
        }
        sent += BURST;
        pair.exchange().with_context(|| format!("the open connection died after {sent} SYNs"))?;
    }
    let (met, seconds) = (seen(lab)? - before, start.elapsed().as_secs_f64());
    let counters = lab.weir.counters()?;
    let table = |name: &str| counters.tables.get(name).copied().with_context(|| format!("no table {name}"));
    let (embryonic, established) = (table("embryonic")?, table("established")?);
    ensure!(embryonic.entries <= embryonic.capacity, "{embryonic:?} is beyond its capacity");
    ensure!(embryonic.entries * 2 > embryonic.capacity, "the flood did not fill {embryonic:?}: nothing was tested");
    ensure!(established.entries == 1, "{} established flows instead of 1", established.entries);
    ensure!(lab.flow(&["state=established"])?.responder.port == ALLOWED, "the established flow is another");
    lab.no_drops()?;
    // A newcomer gets in through the full table.
    let listener = lab.listen(Family::V4, ALLOWED + 1)?;
    lab.pair_with(&listener, Family::V4, ALLOWED + 1)?.exchange()?;
    pair.close()?;
    Ok(format!("{met} SYNs in {seconds:.1} s, {} of {} embryonic", embryonic.entries, embryonic.capacity))
}

/// First packets that Weir has made flows of.
fn seen(lab: &Lab) -> Result<u64> {
    lab.weir.all_counters()?["flows_created"].as_u64().context("no counter flows_created")
}

/// From anywhere in 10.0.0.0/8, to an address inside that nobody has, so that nobody refuses.
pub(super) fn syn(random: &mut Pattern) -> Result<Tcp> {
    let mut bytes = [0; 10];
    random.fill(&mut bytes);
    let [a, b, c, high, low, s1, s2, s3, s4, _] = bytes;
    Ok(Tcp {
        source: SocketAddr::new(Ipv4Addr::new(10, a, b, c).into(), u16::from_be_bytes([high, low]).max(1)),
        destination: SocketAddr::new(NOBODY.into(), ALLOWED),
        seq: u32::from_be_bytes([s1, s2, s3, s4]),
        ack: 0,
        flags: "S",
        payload: Vec::new(),
    })
}
