//! The project's own pair of IPsec-over-TCP endpoints: first read by tshark, which knows the protocol from others; then at every level of
//! inspection, with both kinds of receivers and without and with loss.
//!
//! The hop loses packets of the client before Weir, and packets of the server behind it. Endpoints send nothing twice, so what the hop lost
//! stays lost, and everything else must arrive.

use std::{collections::BTreeMap, env, fmt::Write, path::Path};

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::{
    dissect::{self, Capture, Encapsulated},
    site::{Site, bypass, rule},
};
use crate::{
    ctcp::receiver::Acknowledge,
    demo::claim::Claim,
    netns::topology::CTCP_PORT,
    traffic::{self, Figures, Plan},
};

/// Levels of inspection, and what a bypass is guarded by.
const LEVELS: [&str; 5] = ["strict", "tolerant", "bypass", "bypass+ctcp", "bypass+ctcp+esp"];
const RECEIVERS: [Acknowledge; 2] = [Acknowledge::RepeatAtGap, Acknowledge::HighestSeen];
/// Percentage lost in each direction.
const LOSSES: [u8; 3] = [0, 2, 5];
/// The loss begins after one and a half, and the last four are judged.
const SECONDS: u32 = 6;
const FIRST_PORT: u16 = 40_001;
/// Datagrams of thousands that were under way when an end ended.
const UNDER_WAY: u64 = 20;
/// Security parameter indexes of the client's and the server's ESP.
const SPIS: [u32; 2] = [0x0c71_0001, 0x0c71_0002];
/// The trailer's first magic number, and ESP's protocol number.
const MAGIC: &str = "21456c6910";
const ESP: u8 = 50;

pub(super) fn scenario(binary: &Path) -> Result<String> {
    Site::create(binary, &policy("strict"))?.play(play)
}

fn policy(level: &str) -> String {
    let (name, service) = ("vpn-clients", format!("tcp/{CTCP_PORT}"));
    let mut words = level.split('+');
    match words.next() {
        Some("bypass") => bypass(name, &service, &words.collect::<Vec<_>>()),
        _ => rule(name, &service, level),
    }
}

fn play(site: &mut Site) -> Result<String> {
    let mut ports = FIRST_PORT..;
    let mut next_port = || ports.next().context("no more ports");
    let read = dissected(site, next_port()?)?;
    let mut table = String::new();
    let mut runs = 0;
    for level in LEVELS {
        site.apply(level, &policy(level))?;
        for receiver in RECEIVERS {
            for loss in LOSSES {
                let name = format!("{level:<15}  {:<13}  {loss} %", receiver.argument());
                site.forget()?;
                let figures = pair(site, receiver, loss, next_port()?).with_context(|| name.clone())?;
                let drops = site.drops()?;
                let line = format!("{name}  {}", Line { figures: &figures, drops: &drops });
                eprintln!("{line}");
                judge(level, receiver, loss, &figures, &drops).with_context(|| line.clone())?;
                let _ = write!(table, "\n  {line}");
                runs += 1;
            }
        }
    }
    Ok(format!("{read}; {runs} runs of {SECONDS} s each{table}"))
}

fn pair(site: &Site, receiver: Acknowledge, loss: u8, port: u16) -> Result<Figures> {
    let xtask = env::current_exe().context("cannot find this program's own file")?;
    let plan = Plan { xtask: &xtask, seconds: SECONDS, loss };
    traffic::ctcp(&site.topology, plan, receiver, port, || Ok(()))
}

/// What must become of a pair.
fn judge(level: &str, receiver: Acknowledge, loss: u8, figures: &Figures, drops: &BTreeMap<String, u64>) -> Result<()> {
    // The window that Weir enforces ends behind what the receiver has acknowledged, and this receiver never acknowledges more than the
    // first hole. One that acknowledges the highest byte takes the window along.
    let dies = level == "strict" && receiver == Acknowledge::RepeatAtGap && loss > 0;
    if !dies {
        return lives(figures, drops, loss);
    }
    let others = others(drops, &["tcp-seq-past-win"]);
    ensure!(others.is_empty(), "Weir dropped {others:?}");
    ensure!(lives(figures, drops, loss).is_err(), "a connection that stands still passed for one that lives");
    Claim::StrictKills.check(figures, drops, loss).map_err(|problem| anyhow!(problem))
}

/// Everything arrives but what the hop has lost, to the end.
fn lives(figures: &Figures, drops: &BTreeMap<String, u64>, loss: u8) -> Result<()> {
    let directions = [&figures.to_server, &figures.to_client];
    let sent: u64 = directions.iter().map(|direction| direction.sent_total).sum();
    let delivered: u64 = directions.iter().map(|direction| direction.delivered_total).sum();
    ensure!(directions.iter().all(|direction| direction.damaged == 0), "datagrams arrived that were not sent");
    ensure!((figures.lost_packets > 0) == (loss > 0), "the hop lost {} packets", figures.lost_packets);
    let missing = sent.checked_sub(delivered).context("more arrived than was sent")?;
    if missing.abs_diff(figures.lost_packets) > UNDER_WAY {
        bail!("{missing} of {sent} datagrams did not arrive, and the hop lost {}", figures.lost_packets);
    }
    let others = others(drops, &[]);
    ensure!(others.is_empty(), "Weir dropped {others:?}");
    Ok(())
}

/// Drops for other reasons than these, and than the reset at sequence 0 with which the client ends, as such a client does: it lies outside
/// every window.
fn others(drops: &BTreeMap<String, u64>, expected: &[&str]) -> Vec<(String, u64)> {
    let is_reset = |reason: &str, count: u64| reason == "tcp-rstfin-ooo" && count == 1;
    let drops = drops.iter().map(|(reason, count)| (reason.clone(), *count));
    drops.filter(|(reason, count)| !expected.contains(&reason.as_str()) && !is_reset(reason, *count)).collect()
}

/// One pair without loss, seen behind Weir: tshark must read every datagram as what it is.
fn dissected(site: &Site, port: u16) -> Result<String> {
    let file = site.scratch.path().join("ctcp.pcap");
    let capture = Capture::start(&site.topology.server, "lan", &format!("tcp port {CTCP_PORT}"), file)?;
    let figures = pair(site, Acknowledge::RepeatAtGap, 0, port)?;
    let file = capture.finish()?;
    let packets = dissect::encapsulated(&file)?;
    let from = |source: u16| -> Vec<&Encapsulated> { packets.iter().filter(|packet| packet.source_port == source).collect() };
    for (packets, spi, direction) in [(from(port), SPIS[0], &figures.to_server), (from(CTCP_PORT), SPIS[1], &figures.to_client)] {
        for (place, packet) in (1_u32..).zip(&packets) {
            let expected = Encapsulated {
                source_port: packet.source_port,
                spi,
                sequence: place,
                trailer_sequence: u16::try_from(place & 0xffff)?,
                magic: MAGIC.to_owned(),
                protocol: ESP,
            };
            ensure!(**packet == expected, "tshark reads {packet:?} instead of {expected:?}");
        }
        let seen = u64::try_from(packets.len())?;
        ensure!(seen == direction.sent_total, "tshark reads {seen} datagrams of {}", direction.sent_total);
    }
    let others = dissect::count(&file, "tcp.len > 0 && !(tcpencap && esp)")?;
    let malformed = dissect::count(&file, "_ws.malformed")?;
    ensure!(others == 0 && malformed == 0, "tshark reads {others} segments with data as something else, and {malformed} as malformed");
    Ok(format!("tshark read {} datagrams as TCPENCAP with ESP", packets.len()))
}

/// A row of the table.
struct Line<'a> {
    figures: &'a Figures,
    drops: &'a BTreeMap<String, u64>,
}

impl std::fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { figures, drops } = self;
        for (name, direction) in [("to server", &figures.to_server), ("to client", &figures.to_client)] {
            write!(f, "{name} {:>4} of {:>4}  ", direction.delivered_total, direction.sent_total)?;
        }
        write!(f, "lost {:>3}  dropped", figures.lost_packets)?;
        if drops.is_empty() {
            return f.write_str(" nothing");
        }
        drops.iter().try_for_each(|(reason, count)| write!(f, " {count} {reason}"))
    }
}
