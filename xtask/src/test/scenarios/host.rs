//! Weir on the server itself: one interface, and replies to the host's own traffic known from what it sends.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use super::{ALLOWED, DENIED};
use crate::test::{
    frame::{Port, Tcp},
    lab::{Lab, wait_for},
    network::{CLIENT_MAC, Family, OUTSIDE_MAC, WAN, inside},
    stream::{PATIENCE, Pair, accept, accept_within},
};

pub const POLICY: &str = r#"
[[rule]]
name = "served"
from = "outside"
to = "self"
service = "tcp/7000-7099"
action = "allow"

[[rule]]
name = "outgoing"
from = "self"
to = "outside"
action = "allow"
"#;
const BYTES: u64 = 64 * 1024 * 1024;
/// Where the client listens.
const REMOTE: u16 = 9000;

pub fn served(lab: &mut Lab) -> Result<String> {
    for family in Family::BOTH {
        let pair = lab.pair(family, ALLOWED)?;
        pair.exchange_bulk(BYTES)?;
        pair.close()?;
        lab.no_drops()?;
        let listener = lab.listen(family, DENIED)?;
        match lab.connect(family, DENIED, Duration::from_millis(1500)) {
            Err(error) if error.kind() == ErrorKind::TimedOut => {}
            other => bail!("connecting to a closed port of the host ended with {other:?}"),
        }
        ensure!(accept_within(&listener, Duration::ZERO)?.is_none(), "the host accepted a connection to a closed port");
        lab.only_drops("acl-drop", 1..=10)?;
        lab.forget()?;
    }
    Ok(format!("2 × 2 × {BYTES} bytes"))
}

pub fn outgoing(lab: &mut Lab) -> Result<String> {
    let mut port = 0;
    for family in Family::BOTH {
        let remote = SocketAddr::new(family.client(), REMOTE);
        let listener = inside(&lab.network.client, || TcpListener::bind(remote).with_context(|| format!("cannot listen on {remote}")))?;
        let local = inside(&lab.network.firewall, || {
            TcpStream::connect_timeout(&remote, PATIENCE).with_context(|| format!("the host cannot connect to {remote}"))
        })?;
        port = local.local_addr()?.port();
        let pair = Pair::new(local, accept(&listener)?)?;
        pair.exchange_bulk(BYTES)?;
        let flow = lab.flow(&[&format!("port={port}")])?;
        ensure!(flow.initiator.zone == "self" && flow.initiator.port == port, "the flow is {flow:?}");
        ensure!(flow.responder.zone == "outside" && flow.rule == "outgoing" && flow.state == "established", "the flow is {flow:?}");
        pair.close()?;
    }
    lab.no_drops()?;
    unsolicited(lab, port)?;
    Ok(format!("2 × 2 × {BYTES} bytes"))
}

/// What nobody asked for is dropped, each for its reason.
fn unsolicited(lab: &mut Lab, used: u16) -> Result<()> {
    let wire = Port::open(&lab.network.client, WAN)?;
    for (from, to, flags, reason) in [
        (REMOTE, DENIED, "S", "acl-drop"),
        // The port of the host's own connection, from another one than it talked to.
        (REMOTE + 1, used, "S.", "acl-drop"),
        (40_001, ALLOWED, ".", "tcp-not-syn"),
        (40_002, ALLOWED, "S.", "tcp-not-syn"),
    ] {
        lab.forget()?;
        let segment = Tcp {
            source: SocketAddr::new(Family::V4.client(), from),
            destination: lab.network.server_address(Family::V4, to),
            seq: 1,
            ack: if flags.contains('.') { 1 } else { 0 },
            flags,
            payload: Vec::new(),
        };
        wire.send(&segment.frame(CLIENT_MAC, OUTSIDE_MAC, &[])?)?;
        wait_for(&format!("a segment {flags} to port {to} counted as {reason}"), || Ok(!lab.drops()?.is_empty()))?;
        lab.only_drops(reason, 1..=1)?;
    }
    Ok(())
}
