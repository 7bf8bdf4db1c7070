//! The normalizer between real stacks: what it changes, seen on both sides of Weir, and what arrives.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
};

use anyhow::{Context, Result, ensure};
use etherparse::{Ethernet2Header, Ipv4Header, Ipv6Header};
use socket2::SockRef;

use super::{ALLOWED, SHORT_LIVED};
use crate::{
    command,
    netns::Namespace,
    test::{
        capture::{Segment, Stream, segments},
        frame::{Port, Tcp, pseudo_sum},
        lab::{Lab, wait_for},
        network::{CLIENT_MAC, Family, LAN, OUTSIDE, OUTSIDE_MAC, WAN, inside},
        stream::{PATIENCE, Pair, accept, transfer},
    },
};

pub const GATEWAY: &str = r#"
[normalizer.clamped]
mss-clamp = 1000

[[rule]]
name = "served"
from = "outside"
to = "inside"
service = "tcp/7000-7099"
action = "allow"
normalizer = "asa"

[[rule]]
name = "clamped"
from = "outside"
to = "inside"
service = "tcp/7100"
action = "allow"
normalizer = "clamped"
"#;

pub const HOST: &str = r#"
[[rule]]
name = "served"
from = "outside"
to = "self"
service = "tcp/7000-7099"
action = "allow"
normalizer = "asa"

[[rule]]
name = "outgoing"
from = "self"
to = "outside"
action = "allow"
normalizer = "asa"
"#;

const BYTES: u64 = 16 * 1024 * 1024;
/// So many are sent where every frame is looked at.
const LOOKED_AT: u64 = 300_000;
/// Where the client listens.
const REMOTE: u16 = 9000;
/// What the clamp leaves.
const CLAMP: u16 = 1000;

/// What a sender leaves to its device, and whether a receiver joins segments. A device of software finishes nothing.
fn offload(namespace: &Namespace, interface: &str, sending: bool, joining: bool) -> Result<()> {
    let word = |on| if on { "on" } else { "off" };
    let (sending, joining) = (word(sending), word(joining));
    let words = ["--offload", interface, "tx", sending, "tso", sending, "gso", sending, "gro", joining];
    command::output(namespace.command("ethtool").args(words)).map(drop)
}

/// How the stacks leave their segments: cut and summed by themselves, or not at all.
fn offloads(ends: [(&Namespace, &str); 2], sending: bool, joining: bool) -> Result<()> {
    ends.into_iter().try_for_each(|(namespace, interface)| offload(namespace, interface, sending, joining))
}

/// One end of a connection, seen on its own side of Weir and on the other's: other numbers, the same bytes, right checksums.
fn changed(from: SocketAddr, before: &[Segment], behind: &[Segment]) -> Result<usize> {
    let length = usize::try_from(LOOKED_AT)?;
    let sent = Stream::of(before, from, length).context("before Weir")?;
    let arrived = Stream::of(behind, from, length).context("behind Weir")?;
    ensure!(sent.first != arrived.first, "the numbers of {from} are not shifted: {} on both sides", sent.first);
    ensure!(sent.acknowledged != arrived.acknowledged, "what {from} acknowledges is not shifted back");
    ensure!(sent.bytes == arrived.bytes, "other bytes of {from} arrived than were sent");
    let mut wrong = behind.iter().filter(|segment| segment.tcp.source == from && !segment.intact).peekable();
    let spared = wrong.next_if(|segment| segment.by_chance);
    ensure!(wrong.peek().is_none(), "segments of {from} arrived with wrong checksums: {spared:?}, {:?}", wrong.peek());
    Ok(arrived.segments)
}

/// A connection of which every frame is looked at, on the client's interface and at the server's end. Nothing may be joined there: a joined
/// segment's checksum is its last receiver's business.
fn looked_at(pair: Pair, near: &Port, far: &Port) -> Result<usize> {
    let (client, server) = (pair.client.local_addr()?, pair.server.local_addr()?);
    transfer(&pair.client, &pair.server, LOOKED_AT, 1).context("to the server")?;
    transfer(&pair.server, &pair.client, LOOKED_AT, 2).context("to the client")?;
    pair.close()?;
    let (near, far) = (segments(near)?, segments(far)?);
    Ok(changed(client, &near, &far)? + changed(server, &far, &near)?)
}

fn bulk(pair: Pair) -> Result<()> {
    pair.exchange_bulk(BYTES)?;
    pair.close()
}

/// What the profile clears: an option, in a SYN that no stack sends, and the urgent flag, so that the byte it points to stays in the stream.
fn cleared(lab: &Lab, family: Family, port: u16) -> Result<()> {
    let (near, far) = (Port::open(&lab.network.client, WAN)?, Port::open(lab.network.server(), LAN)?);
    let source = SocketAddr::new(family.client(), 40_000);
    let destination = lab.network.server_address(family, port);
    let syn = Tcp { source, destination, seq: 1, ack: 0, flags: "S", payload: Vec::new() };
    // MSS, an experiment (RFC 6994) and Multipath TCP; the MSS stays.
    let options = [2, 4, 5, 180, 253, 4, 0xab, 0xcd, 30, 4, 0, 0];
    near.send(&syn.frame_with(CLIENT_MAC, OUTSIDE_MAC, &[], &options)?)?;
    let seen = segments(&far)?;
    let arrived = seen.iter().find(|segment| segment.tcp.source == source).context("a SYN with unknown options does not arrive")?;
    ensure!(arrived.options == [2, 4, 5, 180, 1, 1, 1, 1, 1, 1, 1, 1], "it arrives with the options {:?}", arrived.options);
    ensure!(arrived.intact, "it arrives with a wrong checksum");

    let listener = lab.listen(family, port)?;
    let mut pair = lab.pair_with(&listener, family, port)?;
    let client = pair.client.local_addr()?;
    pair.client.write_all(b"ab")?;
    SockRef::from(&pair.client).send_out_of_band(b"c").context("cannot send urgent data")?;
    pair.client.write_all(b"de")?;
    let mut read = [0; 5];
    pair.server.read_exact(&mut read).context("urgent data does not arrive in the stream")?;
    ensure!(read == *b"abcde", "the server has read {read:?}");
    pair.close()?;
    let urgent = |seen: &[Segment]| seen.iter().any(|segment| segment.tcp.source == client && segment.urgent);
    ensure!(urgent(&segments(&near)?), "the client has sent no urgent data");
    let arrived = segments(&far)?;
    ensure!(!urgent(&arrived) && arrived.iter().all(|segment| segment.tcp.source != client || segment.intact), "it arrives: {arrived:?}");
    Ok(())
}

pub fn gateway(lab: &mut Lab) -> Result<String> {
    let mut frames = 0;
    for sending in [true, false] {
        let ends = [(&lab.network.client, WAN), (lab.network.server(), LAN)];
        for family in Family::BOTH {
            let context = || format!("{family:?}, offloads {}", if sending { "on" } else { "off" });
            offloads(ends, sending, false)?;
            let (near, far) = (Port::open(&lab.network.client, WAN)?, Port::open(lab.network.server(), LAN)?);
            frames += looked_at(lab.pair(family, ALLOWED)?, &near, &far).with_context(context)?;
            drop((near, far));
            offloads(ends, sending, sending)?;
            bulk(lab.pair(family, ALLOWED)?).with_context(context)?;
            lab.no_drops().with_context(context)?;
        }
    }
    for (port, family) in (ALLOWED + 1..).zip(Family::BOTH) {
        cleared(lab, family, port).with_context(|| format!("{family:?}"))?;
    }
    lab.no_drops()?;
    Ok(format!("2 × 4 × {BYTES} bytes, {frames} frames with other numbers and right checksums"))
}

/// A connection of the host's own.
fn outgoing(lab: &Lab, family: Family) -> Result<Pair> {
    let remote = SocketAddr::new(family.client(), REMOTE);
    let listener = inside(&lab.network.client, || TcpListener::bind(remote).with_context(|| format!("cannot listen on {remote}")))?;
    let local = inside(&lab.network.firewall, || {
        TcpStream::connect_timeout(&remote, PATIENCE).with_context(|| format!("the host cannot connect to {remote}"))
    })?;
    Pair::new(local, accept(&listener)?)
}

/// The peer of a host that Weir runs on. What the host sends is seen on its own interface only when Weir has changed it already, so that
/// the peer's segments must show what was done to both sides' numbers.
fn peer(pair: Pair, peer: SocketAddr, near: &Port, own: &Port) -> Result<usize> {
    transfer(&pair.client, &pair.server, LOOKED_AT, 1)?;
    transfer(&pair.server, &pair.client, LOOKED_AT, 2)?;
    pair.close()?;
    let (near, own) = (segments(near)?, segments(own)?);
    let wrong = near.iter().find(|segment| segment.tcp.source != peer && !segment.intact);
    ensure!(wrong.is_none(), "a segment of the host arrived with a wrong checksum: {wrong:?}");
    let sent = near.iter().filter(|segment| segment.tcp.source != peer).count();
    ensure!(sent > 100, "only {sent} segments of the host were seen");
    Ok(sent + changed(peer, &near, &own)?)
}

pub fn host(lab: &mut Lab) -> Result<String> {
    let mut frames = 0;
    for sending in [true, false] {
        let ends = [(&lab.network.client, WAN), (&lab.network.firewall, OUTSIDE)];
        for family in Family::BOTH {
            let context = || format!("{family:?}, offloads {}", if sending { "on" } else { "off" });
            offloads(ends, sending, sending)?;
            bulk(lab.pair(family, ALLOWED)?).with_context(context)?;
            bulk(outgoing(lab, family)?).with_context(context)?;
            if !sending {
                // Where the device leaves sums unfinished nobody can look at them.
                let (near, own) = (Port::open(&lab.network.client, WAN)?, Port::open(&lab.network.firewall, OUTSIDE)?);
                let pair = lab.pair(family, ALLOWED)?;
                let client = pair.client.local_addr()?;
                frames += peer(pair, client, &near, &own).with_context(context).context("to the host")?;
                let pair = outgoing(lab, family)?;
                let remote = pair.server.local_addr()?;
                frames += peer(pair, remote, &near, &own).with_context(context).context("of the host")?;
            }
            lab.no_drops().with_context(context)?;
        }
    }
    Ok(format!("2 × 8 × {BYTES} bytes, {frames} frames with other numbers and right checksums"))
}

/// The MSS that a SYN of this end announces.
fn announced(seen: &[Segment], from: SocketAddr) -> Result<u16> {
    let syn = seen.iter().find(|segment| segment.tcp.source == from && segment.tcp.flags.starts_with('S'));
    match syn.with_context(|| format!("no SYN of {from} was seen"))?.options[..] {
        [2, 4, high, low, ..] => Ok(u16::from_be_bytes([high, low])),
        ref other => anyhow::bail!("a SYN of {from} has the options {other:?}"),
    }
}

pub fn clamped(lab: &mut Lab) -> Result<String> {
    let ends = [(&lab.network.client, WAN), (lab.network.server(), LAN)];
    offloads(ends, false, false)?;
    for family in Family::BOTH {
        let (near, far) = (Port::open(&lab.network.client, WAN)?, Port::open(lab.network.server(), LAN)?);
        let pair = lab.pair(family, SHORT_LIVED)?;
        let (client, server) = (pair.client.local_addr()?, pair.server.local_addr()?);
        transfer(&pair.client, &pair.server, LOOKED_AT, 1)?;
        transfer(&pair.server, &pair.client, LOOKED_AT, 2)?;
        pair.close()?;
        let (near, far) = (segments(&near)?, segments(&far)?);
        for (from, before, behind) in [(client, &near, &far), (server, &far, &near)] {
            let (sent, arrived) = (announced(before, from)?, announced(behind, from)?);
            ensure!(sent > CLAMP && arrived == CLAMP, "the SYN of {from} announces {sent} before Weir and {arrived} behind it");
            let own = || behind.iter().filter(|segment| segment.tcp.source == from);
            ensure!(own().all(|segment| segment.intact), "a segment of {from} arrived with a wrong checksum");
            let largest = own().map(|segment| segment.tcp.payload.len() + segment.options.len()).max().unwrap_or(0);
            ensure!(largest == usize::from(CLAMP), "the largest segment of {from} has {largest} bytes of options and data");
        }
    }
    lab.no_drops()?;
    Ok(format!("{CLAMP} bytes in SYNs and in segments, both ways"))
}

/// Where a frame without tags has its TCP checksum, and the sum of its pseudo-header, which a local stack leaves there for a device.
fn checksum_of(frame: &[u8], segment: &Tcp) -> (usize, u16) {
    let at = Ethernet2Header::LEN + if segment.source.is_ipv4() { Ipv4Header::MIN_LEN } else { Ipv6Header::LEN };
    (at + 16, pseudo_sum(segment, frame.len() - at))
}

pub fn checksums(lab: &mut Lab) -> Result<String> {
    let port = Port::open(&lab.network.client, WAN)?;
    let mut dropped = 0;
    for family in Family::BOTH {
        let pair = lab.pair(family, ALLOWED)?;
        pair.exchange()?;
        let client = pair.client.local_addr()?;
        let seen = port.quiet()?;
        let last = seen.iter().rev().find(|segment| segment.source == client).context("the client's segments were not seen")?;
        let exact = Tcp { seq: last.end(), payload: Vec::new(), ..last.clone() };
        let syn = Tcp { source: SocketAddr::new(family.client(), 40_000), flags: "S", ack: 0, ..exact.clone() };
        // A SYN for a connection that is not, and what would end one that is.
        for segment in [syn.clone(), Tcp { flags: "R", ..exact.clone() }, Tcp { flags: "F.", ..exact.clone() }] {
            let frame = segment.frame(CLIENT_MAC, OUTSIDE_MAC, &[])?;
            let (at, unfinished) = checksum_of(&frame, &segment);
            let right = u16::from_be_bytes([frame[at], frame[at + 1]]);
            // None of these is right or unfinished; 0 and 0xffff mean the same sum.
            let wrong = [right ^ 1, right ^ 0x0100, !right, unfinished.wrapping_add(1), unfinished ^ 0x8000, 0, 0xffff];
            for wrong in wrong {
                ensure!(wrong != right && wrong != unfinished, "{wrong} is a checksum that is taken");
                let mut frame = frame.clone();
                frame[at..at + 2].copy_from_slice(&wrong.to_be_bytes());
                port.send(&frame)?;
                dropped += 1;
                wait_for("a wrong checksum counted as tcp-bad-cksum", || Ok(lab.drops()?.get("tcp-bad-cksum") == Some(&dropped)))?;
            }
        }
        lab.only_drops("tcp-bad-cksum", dropped..=dropped)?;
        pair.exchange().context("after a reset and a FIN with wrong checksums")?;
        ensure!(lab.flows(&["port=40000"])?.is_empty(), "a SYN with a wrong checksum has made a flow");
        // The same SYN passes with the right one; and with one that a local stack left to its device, which a veth must be trusted with.
        let first = if family == Family::V4 { 40_001 } else { 40_003 };
        for (source, unfinished) in [(first, false), (first + 1, true)] {
            let segment = Tcp { source: SocketAddr::new(family.client(), source), ..syn.clone() };
            let mut frame = segment.frame(CLIENT_MAC, OUTSIDE_MAC, &[])?;
            let (at, sum) = checksum_of(&frame, &segment);
            if unfinished {
                frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
            }
            port.send(&frame)?;
            let filter = format!("port={source}");
            wait_for("a flow of a SYN whose checksum may pass", || Ok(lab.flows(&[&filter])?.len() == 1))?;
        }
        pair.close()?;
    }
    lab.only_drops("tcp-bad-cksum", dropped..=dropped)?;
    Ok(format!("{dropped} × tcp-bad-cksum"))
}
