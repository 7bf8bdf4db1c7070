//! Attackers who know the addresses and ports of a connection but do not see it, and one who does.

use anyhow::{Context, Result, ensure};

use super::ALLOWED;
use crate::test::{
    frame::{Port, Tcp},
    lab::{Lab, wait_for},
    network::{CLIENT_MAC, Family, INSIDE_MAC, LAN, OUTSIDE_MAC, SERVER_MAC, WAN},
    stream::Pair,
};

/// Past every window the kernel grants here.
const FAR: u32 = 0x2000_0000;

/// Who the forged packet pretends to come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum As {
    Client,
    Server,
}

/// A forged packet on an idle connection. Numbers are distances from the next one of the side it pretends to come from, and from the next
/// one of the other side.
#[derive(Debug, Clone, Copy)]
struct Attack {
    name: &'static str,
    from: As,
    flags: &'static str,
    seq: u32,
    ack: u32,
    payload: &'static [u8],
    /// The reason Weir must drop it for; `None`: it passes, and changes nothing.
    dropped: Option<&'static str>,
}

const fn attack(name: &'static str, from: As, flags: &'static str, seq: u32, dropped: Option<&'static str>) -> Attack {
    Attack { name, from, flags, seq, ack: 0, payload: b"", dropped }
}

const ATTACKS: [Attack; 13] = [
    attack("RST below the window", As::Client, "R", 0_u32.wrapping_sub(1000), Some("tcp-rstfin-ooo")),
    attack("RST past the window", As::Client, "R", FAR, Some("tcp-rstfin-ooo")),
    attack("RST past the window, from the server", As::Server, "R", FAR, Some("tcp-rstfin-ooo")),
    attack("RST in the window, not exact", As::Client, "R", 100, None),
    attack("RST in the window, not exact, from the server", As::Server, "R", 100, None),
    attack("SYN on the open connection", As::Client, "S", FAR, None),
    attack("SYN from the server", As::Server, "S", FAR, Some("tcp-syn-ooo")),
    Attack { ack: FAR, ..attack("SYN-ACK that answers nothing", As::Server, "S.", FAR, Some("tcp-synack-ooo")) },
    Attack { payload: b"injected", ..attack("data past the window", As::Client, ".", FAR, Some("tcp-seq-past-win")) },
    Attack { payload: b"injected", ..attack("data past the window, from the server", As::Server, ".", FAR, Some("tcp-seq-past-win")) },
    attack("FIN past the window", As::Client, "F.", FAR, Some("tcp-seq-past-win")),
    Attack { ack: 1_000_000, ..attack("ACK of data never sent", As::Client, ".", 0, Some("tcp-invalid-ack")) },
    Attack { ack: 1, ..attack("ACK of data never sent, from the server", As::Server, ".", 0, Some("tcp-invalid-ack")) },
];

/// The next numbers of both sides.
#[derive(Debug, Clone, Copy)]
struct Numbers {
    client: u32,
    server: u32,
}

impl Numbers {
    /// Reads them off the wire. The connection is idle now, so the last segments count.
    fn of(seen: &[Tcp], pair: &Pair) -> Result<Self> {
        let (client, server) = (pair.client.local_addr()?, pair.server.local_addr()?);
        let last = |from, to| {
            let sent = seen.iter().rev().find(|segment| segment.source == from && segment.destination == to);
            sent.map(Tcp::end).context("a direction of the connection was not seen on the wire")
        };
        Ok(Self { client: last(client, server)?, server: last(server, client)? })
    }
}

impl Attack {
    fn segment(&self, pair: &Pair, numbers: Numbers) -> Result<Tcp> {
        let (client, server) = (pair.client.local_addr()?, pair.server.local_addr()?);
        let (source, destination, next, other) = match self.from {
            As::Client => (client, server, numbers.client, numbers.server),
            As::Server => (server, client, numbers.server, numbers.client),
        };
        let ack = if self.flags.contains('.') { other.wrapping_add(self.ack) } else { 0 };
        let seq = next.wrapping_add(self.seq);
        Ok(Tcp { source, destination, seq, ack, flags: self.flags, payload: self.payload.to_vec() })
    }
}

pub fn blind(lab: &mut Lab) -> Result<String> {
    for family in Family::BOTH {
        let outside = Port::open(&lab.network.client, WAN)?;
        let inside = Port::open(lab.network.server(), LAN)?;
        let pair = lab.pair(family, ALLOWED)?;
        for attack in ATTACKS {
            lab.forget()?;
            pair.exchange().with_context(|| format!("before: {}", attack.name))?;
            let numbers = Numbers::of(&outside.quiet()?, &pair)?;
            inside.quiet()?;
            strike(lab, &attack, &pair, numbers, (&outside, &inside)).with_context(|| format!("{}, {family:?}", attack.name))?;
            pair.exchange().with_context(|| format!("the connection does not work after: {}, {family:?}", attack.name))?;
            let flow = lab.flow(&[&format!("port={}", pair.client.local_addr()?.port())])?;
            ensure!(flow.state == "established", "after {} the flow is {}", attack.name, flow.state);
        }
        lab.forget()?;
        pair.close()?;
        lab.no_drops()?;
    }
    Ok(format!("{} attacks, IPv4 and IPv6", 2 * ATTACKS.len()))
}

/// Sends the forged packet from the side it pretends to be on, and sees whether it comes out on the other.
fn strike(lab: &Lab, attack: &Attack, pair: &Pair, numbers: Numbers, (outside, inside): (&Port, &Port)) -> Result<()> {
    let segment = attack.segment(pair, numbers)?;
    let far_side = match attack.from {
        As::Client => {
            outside.send(&segment.frame(CLIENT_MAC, OUTSIDE_MAC, &[])?)?;
            inside
        }
        As::Server => {
            inside.send(&segment.frame(SERVER_MAC, INSIDE_MAC, &[])?)?;
            outside
        }
    };
    let seen = far_side.quiet()?;
    let arrived = seen.iter().any(|other| other.seq == segment.seq && other.flags == segment.flags && other.source == segment.source);
    ensure!(arrived == attack.dropped.is_none(), "it {} the other side", if arrived { "reached" } else { "did not reach" });
    match attack.dropped {
        Some(reason) => lab.only_drops(reason, 1..=1).map(drop),
        None => lab.no_drops(),
    }
}

/// Right in every number, but from the side of the other endpoint.
pub fn wrong_side(lab: &mut Lab) -> Result<String> {
    let outside = Port::open(&lab.network.client, WAN)?;
    let inside = Port::open(lab.network.server(), LAN)?;
    let pair = lab.pair(Family::V4, ALLOWED)?;
    pair.exchange()?;
    let numbers = Numbers::of(&outside.quiet()?, &pair)?;
    let exact = attack("exact RST", As::Server, "R", 0, None).segment(&pair, numbers)?;
    outside.send(&exact.frame(CLIENT_MAC, OUTSIDE_MAC, &[])?)?;
    let exact = attack("exact RST", As::Client, "R", 0, None).segment(&pair, numbers)?;
    inside.send(&exact.frame(SERVER_MAC, INSIDE_MAC, &[])?)?;
    wait_for("both counted as wrong-zone", || Ok(lab.drops()?.get("wrong-zone") == Some(&2)))?;
    pair.exchange()?;
    lab.only_drops("wrong-zone", 2..=2)?;
    Ok("2 × wrong-zone".to_owned())
}
