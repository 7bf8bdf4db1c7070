//! Where packets are lost, said of connections of the kernels' own TCP over a hop that loses packets in both directions: what the client sends
//! is lost before Weir, what the server sends behind it.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, thread};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{
    netns::topology::{INSIDE, OUTSIDE, SERVER, Topology},
    scratch::Scratch,
    test::{
        network::inside,
        stream::{self, Pair, joined, transfer},
    },
    weir::{Launch, Weir},
};

const PORT: u16 = 7000;
/// Percentages lost, and connections in each direction at each of them.
const LOSSES: [u8; 5] = [1, 2, 3, 4, 5];
const CONNECTIONS: usize = 10;
const BYTES: u64 = 1024 * 1024;
/// How little a sender has on its way, and how much room its receiver has.
const SENT: &str = "4096 24576 24576";
const ROOM: &str = "4096 8388608 8388608";
/// Without a loss a sender may still repeat what it need not, now and then: percent.
const NEXT_TO_NOTHING: f64 = 0.5;
/// What is claimed: right in so many of a hundred.
const RIGHT: usize = 95;

pub fn side(binary: &Path) -> Result<String> {
    let scratch = Scratch::create("quality")?;
    let topology = Topology::create()?;
    topology.keep_segments_apart()?;
    for end in [&topology.client, &topology.server] {
        // What overflows in the queues between the namespaces, or in a receiver, would be lost as well, and not where it is meant to be.
        end.sysctl("net/ipv4/tcp_wmem", SENT)?;
        end.sysctl("net/ipv4/tcp_rmem", ROOM)?;
    }
    let policies = scratch.directory_with("policy", "quality.toml", &policy())?;
    let weir = Weir::start(Launch::gateway(binary, &topology.gateway, "test", policies, &scratch))?;
    clean(&topology, &weir)?;
    let (mut right, mut wrong, mut lost) = (0, Vec::new(), 0);
    for percent in LOSSES {
        let judged = judged(&topology, &weir, percent)?;
        lost += topology.lost()?;
        for (direction, flow, place) in judged {
            if place == expected(&direction) {
                right += 1;
            } else {
                wrong.push(format!("{percent} %, {direction}: {flow}"));
            }
        }
    }
    let all = right + wrong.len();
    ensure!(all == 100 && right >= RIGHT, "right for {right} of {all} connections; wrong:\n{}", wrong.join("\n"));
    summed(&weir)?;
    let drops = weir.counters()?.drops;
    ensure!(drops.is_empty(), "Weir dropped packets itself: {drops:?}");
    weir.stop()?;
    Ok(format!("right for {right} of {all} connections with 1 to 5 % lost, {lost} packets in all"))
}

fn expected(direction: &str) -> &'static str {
    if direction == "to_responder" { "before" } else { "behind" }
}

/// Without a loss next to none is told of.
fn clean(topology: &Topology, weir: &Weir) -> Result<()> {
    for (direction, flow, _) in judged(topology, weir, 0)? {
        let loss = &flow["loss"][direction.as_str()];
        let little = |share: &str| loss[share].as_f64().is_some_and(|percent| percent <= NEXT_TO_NOTHING);
        ensure!(loss["before"] == 0 && little("behind_percent"), "without a loss there is one {direction}: {flow}");
    }
    Ok(())
}

/// As many connections in each direction, all at once: the direction of each one's data, its flow, and where that is said to lose packets.
fn judged(topology: &Topology, weir: &Weir, percent: u8) -> Result<Vec<(String, Value, String)>> {
    topology.set_loss(0)?;
    let address = SocketAddr::new(SERVER.into(), PORT);
    let listener = inside(&topology.server, || std::net::TcpListener::bind(address).context("cannot listen"))?;
    let mut pairs = Vec::new();
    for _ in 0..2 * CONNECTIONS {
        let client = inside(&topology.client, || std::net::TcpStream::connect(address).context("cannot connect"))?;
        pairs.push(Pair::new(client, stream::accept(&listener)?)?);
    }
    topology.set_loss(percent)?;
    thread::scope(|scope| {
        let transfers: Vec<_> = (0..)
            .zip(&pairs)
            .map(|(number, pair)| {
                let (from, to) = if number % 2 == 0 { (&pair.client, &pair.server) } else { (&pair.server, &pair.client) };
                scope.spawn(move || transfer(from, to, BYTES, number))
            })
            .collect();
        transfers.into_iter().try_for_each(|transfer| joined(transfer.join()))
    })?;
    let flows: Vec<Value> = weir.read("flows", &[&format!("port={PORT}"), "state=established"])?;
    let by_port: BTreeMap<u64, Value> = flows.into_iter().filter_map(|flow| Some((flow["initiator"]["port"].as_u64()?, flow))).collect();
    let mut judged = Vec::new();
    for (number, pair) in pairs.iter().enumerate() {
        let port = pair.client.local_addr()?.port();
        let flow = by_port.get(&port.into()).with_context(|| format!("no flow from port {port}"))?;
        let direction = if number % 2 == 0 { "to_responder" } else { "to_initiator" };
        let place = flow["quality"]["loss"][direction]["lost"].as_str().context("a flow without a loss")?.to_owned();
        judged.push((direction.to_owned(), flow["quality"].clone(), place));
    }
    Ok(judged)
}

/// What all of them have lost is said once more, after they are gone.
fn summed(weir: &Weir) -> Result<()> {
    for by in ["interface", "rule"] {
        let report: Value = weir.read("quality", &["--by", by])?;
        let way = |from: &str| {
            let ways = report["ways"].as_array().map_or(&[][..], Vec::as_slice);
            ways.iter().find(|way| way["from"]["zone"] == from).cloned().with_context(|| format!("no way from {from}: {report}"))
        };
        for (from, place, share) in [(OUTSIDE, "before", "before_percent"), (INSIDE, "behind", "behind_percent")] {
            let way = way(from)?;
            let total = &way["total"];
            let percent = total[share].as_f64().unwrap_or(0.0);
            ensure!(total["lost"] == place, "what comes from {from} is not lost {place}: {way}");
            ensure!((1.0..=5.0).contains(&percent), "of 1 to 5 % lost {percent} % were found: {way}");
            ensure!(way["rule"].is_string() == (by == "rule"), "{way}");
        }
    }
    let told = weir.show("quality")?;
    ensure!(told.contains("loss is before Weir, on the side of outside"), "people are told: {told}");
    ensure!(told.contains("loss is behind Weir, on the side of outside"), "people are told: {told}");
    Ok(())
}

fn policy() -> String {
    format!(
        "[[rule]]\nname = \"transfer\"\nfrom = \"{OUTSIDE}\"\nto = \"{INSIDE} {SERVER}\"\nservice = \"tcp/{PORT}\"\naction = \"allow\"\n"
    )
}
