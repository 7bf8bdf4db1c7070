//! Limits of a rule, against a flood from nowhere and against clients that want too much.

use std::{io::ErrorKind, time::Duration};

use anyhow::{Context, Result, bail, ensure};

use super::{ALLOWED, flood};
use crate::pattern::Pattern;
use crate::test::{
    frame::Port,
    lab::{Lab, wait_for},
    network::{CLIENT_MAC, Family, OUTSIDE_MAC, WAN},
    stream::accept,
};

/// Port of the rule that limits its clients.
const CLIENTS: u16 = 7100;
/// What the policy below says.
const EMBRYONIC: usize = 300;
const PER_SOURCE: usize = 20;

pub const POLICY: &str = r#"
[[rule]]
name = "flooded"
from = "outside"
to = "inside"
service = "tcp/7000-7099"
action = "allow"
limits = { embryonic = 300 }

[[rule]]
name = "clients"
from = "outside"
to = "inside"
service = "tcp/7100"
action = "allow"
limits = { flows-per-source = 20 }
"#;

/// SYNs sent, and after how many the open connection is used.
const SYNS: u32 = 20_000;
const BURST: u32 = 2_000;
/// Long enough for a SYN that is let through to be answered.
const SHORT: Duration = Duration::from_millis(300);

/// Of a flood of SYNs as many pass as the rule says, and those who are in stay in.
pub fn flood_of_syns(lab: &mut Lab) -> Result<String> {
    let pair = lab.pair(Family::V4, ALLOWED)?;
    let port = Port::open(&lab.network.client, WAN)?;
    let mut random = Pattern::new(11);
    for sent in (0..SYNS).step_by(BURST as usize) {
        for _ in 0..BURST {
            port.send(&flood::syn(&mut random)?.frame(CLIENT_MAC, OUTSIDE_MAC, &[])?)?;
        }
        pair.exchange().with_context(|| format!("the open connection died after {sent} SYNs"))?;
        let embryonic = lab.flows(&["state=syn-sent"])?.len();
        ensure!(embryonic <= EMBRYONIC, "{embryonic} embryonic flows, the limit is {EMBRYONIC}");
    }
    let embryonic = lab.flows(&["state=syn-sent"])?.len();
    ensure!(embryonic == EMBRYONIC, "only {embryonic} of {EMBRYONIC} places are taken: the flood was too small");
    let refused = lab.only_drops("embryonic-conn-limit", 1..=u64::from(SYNS))?;
    // Who comes by another rule does not notice.
    let listener = lab.listen(Family::V4, CLIENTS)?;
    lab.pair_with(&listener, Family::V4, CLIENTS)?.exchange()?;
    pair.close()?;
    Ok(format!("{refused} SYNs refused, {embryonic} embryonic"))
}

/// Each source gets as many connections as the rule says; one that ends makes room for another.
pub fn connections_per_source(lab: &mut Lab) -> Result<String> {
    let mut refused = 0;
    for family in Family::BOTH {
        let listener = lab.listen(family, CLIENTS)?;
        let mut open = Vec::new();
        for _ in 0..PER_SOURCE {
            let client = lab.connect(family, CLIENTS, SHORT * 10).context("a connection within the limit")?;
            open.push((client, accept(&listener)?));
        }
        match lab.connect(family, CLIENTS, SHORT) {
            Err(error) if error.kind() == ErrorKind::TimedOut => refused += 1,
            Err(error) => bail!("over {family:?} the client was told something: {error}"),
            Ok(_) => bail!("over {family:?} one more connection came about than the limit says"),
        }
        let (client, server) = open.swap_remove(0);
        drop((client, server));
        wait_for("room for another", || Ok(lab.connect(family, CLIENTS, SHORT).is_ok()))?;
    }
    let dropped = lab.only_drops("source-conn-limit", 2..=1000)?;
    Ok(format!("{refused} connections refused, {dropped} × source-conn-limit"))
}
