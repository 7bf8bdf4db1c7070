//! What `weir events` tells of connections and of dropped packets.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};

use super::{ALLOWED, DENIED};
use crate::test::{
    frame::{Port, Tcp},
    lab::{Lab, wait_for},
    listener::{Event, Figures, Listener},
    network::{CLIENT_MAC, Family, NOBODY, OUTSIDE_MAC, WAN},
};

/// The usual server, with a handshake that must not take long.
pub const POLICY: &str = r#"
[[rule]]
name = "served"
from = "outside"
to = "inside"
service = "tcp/7000"
action = "allow"
timeouts = { embryonic = "1s" }
"#;

/// Past every window the kernel grants here.
const FAR: u32 = 0x2000_0000;
const FLOOD: u64 = 20_000;
/// Datagrams sent before Weir is asked how many it has met, and at most.
const BURST: u64 = 1_000;
const MOST: u64 = 200_000;
/// What the flood's scenario runs with.
pub const RATE: &[&str] = &["--event-rate", "100"];

pub fn told(lab: &mut Lab) -> Result<String> {
    // Nothing is made for nobody.
    denied(lab, 1)?;
    ensure!(Figures::of(&lab.weir)?.sent == 0, "an event was sent although nobody listens");
    lab.forget()?;
    let opened_before = opened(lab)?;
    let listener = Listener::start(&lab.weir, &[], lab.file("events.json"))?;

    let pair = lab.pair(Family::V4, ALLOWED)?;
    let port = pair.client.local_addr()?.port();
    pair.exchange()?;
    pair.close()?;
    ends_with(&listener, port, "tcp-fins")?;

    let pair = lab.pair(Family::V6, ALLOWED)?;
    let port = pair.client.local_addr()?.port();
    pair.exchange()?;
    pair.reset()?;
    ends_with(&listener, port, "tcp-reset-i")?;

    let outside = Port::open(&lab.network.client, WAN)?;
    let source = SocketAddr::new(Family::V4.client(), 4_000);
    let syn = Tcp { source, destination: SocketAddr::new(NOBODY.into(), ALLOWED), seq: 1, ack: 0, flags: "S", payload: Vec::new() };
    outside.send(&syn.frame(CLIENT_MAC, OUTSIDE_MAC, &[])?)?;
    let event = listener.first("a SYN that nobody answers", |event| event.source.port == 4_000)?;
    ensure!((event.kind.as_str(), event.reason.as_deref()) == ("closed", Some("syn-timeout")), "{event:?}");

    past_the_window(lab, &listener, &outside)?;
    denied(lab, 7)?;

    let (drops, flows) = (lab.drops()?, opened(lab)? - opened_before);
    wait_for("every drop to be told", || Ok(by_reason(&listener.events()?) == drops))?;
    let figures = Figures::of(&lab.weir)?;
    let events = listener.finish()?;
    let told = events.iter().filter(|event| event.kind == "opened").count();
    ensure!(told as u64 == flows && flows == 3, "{told} flows were told to open, {flows} did");
    ensure!(figures.sent == events.len() as u64 && figures.limited + figures.lost == 0, "{figures:?}, but {} events", events.len());
    wait_for("nobody to listen", || Ok(Figures::of(&lab.weir)?.subscribers == 0))?;
    denied(lab, 1)?;
    ensure!(Figures::of(&lab.weir)?.sent == figures.sent, "an event was sent although nobody listens any more");
    Ok(format!("{} events, {told} flows opened", events.len()))
}

/// The flow with this client port opened, was told to end for this reason, and that once.
fn ends_with(listener: &Listener, port: u16, reason: &str) -> Result<()> {
    let closed = listener.first(reason, |event| event.kind == "closed" && event.source.port == port)?;
    ensure!(closed.reason.as_deref() == Some(reason), "{closed:?}");
    ensure!((closed.rule.as_deref(), closed.destination.port) == (Some("served"), ALLOWED), "{closed:?}");
    let events = listener.events()?;
    let kinds: Vec<&str> = events.iter().filter(|event| event.source.port == port).map(|event| event.kind.as_str()).collect();
    ensure!(kinds == ["opened", "closed"], "{kinds:?} of the flow that ended with {reason}");
    Ok(())
}

/// A forged segment far past the window is dropped, and the event says how far.
fn past_the_window(lab: &Lab, listener: &Listener, outside: &Port) -> Result<()> {
    let pair = lab.pair(Family::V4, ALLOWED)?;
    outside.quiet()?;
    pair.exchange()?;
    let (client, server) = (pair.client.local_addr()?, pair.server.local_addr()?);
    let seen = outside.quiet()?;
    let last = |from: SocketAddr, to: SocketAddr| seen.iter().rev().find(|segment| segment.source == from && segment.destination == to);
    let sent = last(client, server).context("nothing of the client was seen on the wire")?;
    let next = sent.end();
    let seq = next.wrapping_add(FAR);
    let forged = Tcp { source: client, destination: server, seq, ack: sent.ack, flags: ".", payload: b"injected".to_vec() };
    outside.send(&forged.frame(CLIENT_MAC, OUTSIDE_MAC, &[])?)?;
    let event = listener.first("a segment past the window", |event| event.kind == "dropped" && event.source.port == client.port())?;
    ensure!((event.reason.as_deref(), event.state.as_deref()) == (Some("tcp-seq-past-win"), Some("established")), "{event:?}");
    ensure!((event.source.zone.as_deref(), event.destination.zone.as_deref()) == (Some("outside"), Some("inside")), "{event:?}");
    let arithmetic = event.arithmetic.context("the event has no arithmetic")?;
    ensure!(arithmetic.compared == "seq" && arithmetic.number == seq, "{arithmetic:?}, but the segment began at {seq}");
    // The edge lies a window ahead of what the client has sent, and the forged segment far beyond.
    let window = arithmetic.highest.wrapping_sub(next);
    ensure!((1..16 << 20).contains(&window), "{arithmetic:?} gives the client a window of {window} bytes from {next} on");
    ensure!(i64::from(arithmetic.distance) == i64::from(FAR) - i64::from(window), "{arithmetic:?}: not {FAR} less {window}");
    pair.exchange().context("the connection does not work after the forged segment")?;
    pair.close()
}

/// Sends datagrams to a port that no rule names.
fn denied(lab: &Lab, datagrams: u64) -> Result<()> {
    let (client, _server) = lab.udp(Family::V4, DENIED)?;
    let before = acl_drops(lab)?;
    for _ in 0..datagrams {
        client.send(b"x")?;
    }
    wait_for("the datagrams to be dropped", || Ok(acl_drops(lab)? == before + datagrams))
}

fn acl_drops(lab: &Lab) -> Result<u64> {
    Ok(lab.weir.counters()?.drops.get("acl-drop").copied().unwrap_or(0))
}

fn opened(lab: &Lab) -> Result<u64> {
    lab.weir.all_counters()?["flows_established"].as_u64().context("no counter flows_established")
}

fn by_reason(events: &[Event]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for event in events.iter().filter(|event| event.kind == "dropped") {
        *counts.entry(event.reason.clone().unwrap_or_default()).or_insert(0) += 1;
    }
    counts
}

pub fn limited(lab: &mut Lab) -> Result<String> {
    let listener = Listener::start(&lab.weir, &["kind=dropped"], lab.file("events.json"))?;
    let (client, _server) = lab.udp(Family::V4, DENIED)?;
    let (before, mut sent) = (acl_drops(lab)?, 0);
    // The interface's queue loses some when it is full: what counts is what Weir has met.
    while acl_drops(lab)? < before + FLOOD {
        ensure!(sent < MOST, "of {sent} datagrams Weir has met only {}", acl_drops(lab)? - before);
        for _ in 0..BURST {
            client.send(b"x")?;
        }
        sent += BURST;
    }
    let mut dropped = 0;
    wait_for("the flood to end", || {
        let seen = acl_drops(lab)?;
        std::thread::sleep(Duration::from_millis(100));
        dropped = acl_drops(lab)?;
        Ok(seen == dropped)
    })?;
    let figures = Figures::of(&lab.weir)?;
    let total: u64 = lab.drops()?.values().sum();
    ensure!(figures.sent + figures.limited + figures.lost == total, "{figures:?}, but {total} drops");
    ensure!(figures.limited > FLOOD / 2 && figures.sent >= 100, "{figures:?}: nothing was limited");
    wait_for("every event that was sent", || Ok(listener.events()?.len() as u64 == figures.sent))?;
    listener.finish()?;
    Ok(format!("{total} drops: {} sent, {} limited, {} lost", figures.sent, figures.limited, figures.lost))
}
