//! Path MTU discovery through Weir, under a policy that says nothing of ICMP, and attackers who would have a part in it.
//!
//! ```text
//! client ── outside │ firewall │ inside ── server ── narrow │ far
//! ```

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    ops::Range,
};

use anyhow::{Context, Result, ensure};
use socket2::SockRef;

use super::ALLOWED;
use crate::{
    netns::{End, Namespace, join},
    test::{
        frame::{Port, Tcp, too_big},
        lab::{Lab, wait_for},
        network::{CLIENT_MAC, Family, INSIDE, INSIDE_MAC, LAN, OUTSIDE_MAC, SERVER_MAC, WAN, enable_v6, inside},
        stream::{PATIENCE, Pair, accept, transfer},
    },
};

pub const POLICY: &str = r#"
[[rule]]
name = "served"
from = "outside"
to = "inside"
service = "tcp/7000"
action = "allow"
inspection = "strict"
"#;

/// The same, and numbers are randomized.
pub const RANDOMIZED: &str = r#"
[[rule]]
name = "served"
from = "outside"
to = "inside"
service = "tcp/7000"
action = "allow"
inspection = "strict"
normalizer = "asa"
"#;

const BYTES: u64 = 4 * 1024 * 1024;
/// Of every other link.
const WIDE: u32 = 1500;
/// IPv6 allows no less than 1280.
const NARROW: u32 = 1300;
const NARROWER: u32 = 1280;
/// Where numbers of a connection are that has sent a few bytes.
const FAR: u32 = 0x2000_0000;

/// A host behind the server, which becomes a router to it over a narrow link.
fn far(lab: &Lab) -> Result<Namespace> {
    let (server, far) = (lab.network.server(), Namespace::create("far")?);
    join(
        &End { namespace: server, interface: "narrow", address: "203.0.113.1/24", mac: "02:00:00:00:00:05", faces_xdp: false },
        &End { namespace: &far, interface: "far", address: "203.0.113.2/24", mac: "02:00:00:00:00:06", faces_xdp: false },
    )?;
    server.ip(&format!("link set narrow mtu {NARROW}"))?;
    let (router, host) = (Ipv6Addr::new(0x2001, 0xdb8, 3, 0, 0, 0, 0, 1), Ipv6Addr::new(0x2001, 0xdb8, 3, 0, 0, 0, 0, 2));
    enable_v6(server, "narrow", router.into())?;
    enable_v6(&far, "far", host.into())?;
    server.forward()?;
    server.sysctl("net/ipv6/conf/all/forwarding", "1")?;
    far.ip("route add default via 203.0.113.1")?;
    far.ip(&format!("-6 route add default via {router}"))?;
    for family in Family::BOTH {
        let (version, network) = match family {
            Family::V4 => ("-4", "203.0.113.0/24"),
            Family::V6 => ("-6", "2001:db8:3::/64"),
        };
        lab.network.firewall.ip(&format!("{version} route add {network} via {}", lab.network.server_address(family, 0).ip()))?;
    }
    // A sender that finds the path's width by itself would make every result the same.
    lab.network.client.sysctl("net/ipv4/tcp_mtu_probing", "0")?;
    Ok(far)
}

fn connect(lab: &Lab, listener: &TcpListener, address: SocketAddr) -> Result<Pair> {
    let client = inside(&lab.network.client, || {
        TcpStream::connect_timeout(&address, PATIENCE).with_context(|| format!("cannot connect to {address}"))
    })?;
    Pair::new(client, accept(listener)?)
}

/// Bytes of the largest segment the client sends now.
fn segment_size(pair: &Pair) -> Result<u32> {
    SockRef::from(&pair.client).tcp_mss().context("cannot ask for the segment size")
}

/// Segment sizes a path of this width allows, with and without TCP's options.
const fn sizes(mtu: u32) -> Range<u32> {
    mtu - 40 - 60..mtu - 39
}

/// A transfer that begins with segments too large for the path, and ends with such as fit.
fn discovers(lab: &Lab, pair: &Pair, mtu: u32) -> Result<()> {
    let before = segment_size(pair)?;
    ensure!(before >= sizes(WIDE).start, "the first segments have {before} bytes already: nothing is left to discover");
    transfer(&pair.client, &pair.server, BYTES, 5).context("the transfer")?;
    let after = segment_size(pair)?;
    ensure!(sizes(mtu).contains(&after), "segments have {after} bytes on a path of {mtu}");
    lab.no_drops()
}

pub fn discovered(lab: &mut Lab) -> Result<String> {
    let host = far(lab)?;
    for family in Family::BOTH {
        // The router behind Weir tells.
        let address: IpAddr = match family {
            Family::V4 => Ipv4Addr::new(203, 0, 113, 2).into(),
            Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 3, 0, 0, 0, 0, 2).into(),
        };
        let address = SocketAddr::new(address, ALLOWED);
        let listener = inside(&host, || TcpListener::bind(address).with_context(|| format!("cannot listen on {address}")))?;
        let pair = connect(lab, &listener, address)?;
        discovers(lab, &pair, NARROW).with_context(|| format!("through the router behind, {family:?}"))?;
        pair.close()?;
    }
    // Now the gateway itself does.
    lab.network.firewall.ip(&format!("link set {INSIDE} mtu {NARROWER}"))?;
    for family in Family::BOTH {
        let pair = lab.pair(family, ALLOWED)?;
        discovers(lab, &pair, NARROWER).with_context(|| format!("through the gateway's own link, {family:?}"))?;
        pair.close()?;
    }
    lab.no_drops()?;
    Ok(format!("4 × {BYTES} bytes over {NARROW} and {NARROWER}"))
}

/// What the client sends next.
fn next(seen: &[Tcp], pair: &Pair) -> Result<Tcp> {
    let (client, server) = (pair.client.local_addr()?, pair.server.local_addr()?);
    let last = seen.iter().rev().find(|segment| segment.source == client && segment.destination == server);
    let last = last.context("the client's segments were not seen on the wire")?;
    Ok(Tcp { seq: last.end(), flags: ".", payload: vec![0; 100], ..last.clone() })
}

pub fn forged(lab: &mut Lab) -> Result<String> {
    forged_errors(lab, false)
}

pub fn forged_under_randomization(lab: &mut Lab) -> Result<String> {
    forged_errors(lab, true)
}

fn forged_errors(lab: &mut Lab, randomized: bool) -> Result<String> {
    for family in Family::BOTH {
        let outside = Port::open(&lab.network.client, WAN)?;
        let behind = Port::open(lab.network.server(), LAN)?;
        let pair = lab.pair(family, ALLOWED)?;
        pair.exchange()?;
        // A router behind quotes what it has seen: where numbers are randomized they are others than the client's own.
        let (own, quoted) = (next(&outside.quiet()?, &pair)?, next(&behind.quiet()?, &pair)?);
        let router = lab.network.server_address(family, 0).ip();
        let before = segment_size(&pair)?;

        // Who does not see the connection has to guess a number.
        lab.forget()?;
        let blind = Tcp { seq: quoted.seq.wrapping_add(FAR), ..quoted.clone() };
        behind.send(&too_big(SERVER_MAC, INSIDE_MAC, router, &blind, NARROW)?)?;
        wait_for("the guess to be dropped", || Ok(lab.drops()?.get("icmp-error-off-window") == Some(&1)))?;
        lab.only_drops("icmp-error-off-window", 1..=1)?;

        // Neither do the client's own numbers help, where others are seen behind.
        if own.seq != quoted.seq {
            lab.forget()?;
            behind.send(&too_big(SERVER_MAC, INSIDE_MAC, router, &own, NARROW)?)?;
            wait_for("the client's own number to be dropped", || Ok(lab.drops()?.get("icmp-error-off-window") == Some(&1)))?;
            lab.only_drops("icmp-error-off-window", 1..=1)?;
        }
        ensure!((own.seq != quoted.seq) == randomized, "seen before Weir is {}, behind it {}", own.seq, quoted.seq);

        ensure!(segment_size(&pair)? == before, "a forged error changed the connection");
        pair.exchange().context("after the guess")?;

        // The very same error with a number in flight is what a router behind would send, and it is heeded.
        lab.forget()?;
        let quoted = next(&behind.quiet()?, &pair)?;
        behind.send(&too_big(SERVER_MAC, INSIDE_MAC, router, &quoted, NARROW)?)?;
        wait_for("the client to heed a true error", || Ok(sizes(NARROW).contains(&segment_size(&pair)?)))?;
        // The right number does not help on the client's own side: the packet has not come by there.
        let reason = "inspect-icmp-error-different-embedded-conn";
        outside.send(&too_big(CLIENT_MAC, OUTSIDE_MAC, router, &quoted, NARROWER)?)?;
        wait_for("the error from the client's side to be dropped", || Ok(lab.drops()?.get(reason) == Some(&1)))?;
        lab.only_drops(reason, 1..=1)?;
        lab.forget()?;
        pair.exchange().context("at the end")?;
        pair.close()?;
        lab.no_drops()?;
    }
    let forged = if randomized { 3 } else { 2 };
    Ok(format!("{forged} forged errors dropped, a true one heeded, IPv4 and IPv6"))
}
