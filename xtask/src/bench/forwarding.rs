//! Forwarded packets: Weir's gateway, nftables and no firewall at all, in the same namespaces and from the same generator.
//!
//! What is measured is what one packet costs one CPU, the whole way: the generator, two veth pairs, the gateway's forwarding and the
//! contestant. A veth pair hands frames over on the sender's CPU, and the generator stays on one: sending so many frames takes as long as
//! all of them need for the whole path. What the path costs before any gateway is measured too, by dropping at the gateway's first
//! interface before anything else; the marginal cost is less that.
//!
//! The packets are the data segments of TCP connections, established by a handshake through the contestant: every turn has its own
//! connections. Contestants take turns within each round, and a turn counts only if its packets came out, and the contestant's own counters
//! say that it tracked them.

mod generator;
mod network;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::report::{Forwarding, median};
use crate::{
    progress::Step,
    scratch::Scratch,
    weir::{Launch, Weir},
};
use generator::{FLOWS, Generator, RESPONDER_PORT, Segment};
use network::{EAST, Link, Network, RESPONDER, WEST};

/// A turn's frames are sent in bursts, and its figure is that of the fastest: what else runs on the machine only ever slows one down.
const BURSTS: u32 = 5;
const BURST: u32 = FLOWS << 6;
/// Frames of one turn: 320 segments of each connection, together smaller than a window without scaling.
const FRAMES: u32 = BURSTS * BURST;
/// Sent before the clock runs.
const WARM_UP: u32 = FLOWS << 2;
/// The least share of a turn's packets that must come out.
const DELIVERED: f64 = 0.99;
/// No round is begun later than this, if there are [`LEAST_ROUNDS`].
const MOST_TIME: Duration = Duration::from_secs(50);
const LEAST_ROUNDS: usize = 3;

/// Who handles a turn's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contestant {
    /// Nobody: they end where they enter the gateway.
    FirstHop,
    NoFirewall,
    Nftables,
    Weir,
}

impl Contestant {
    /// In the order of their turns; [`Round`] is in it too.
    const ALL: [Self; 4] = [Self::FirstHop, Self::NoFirewall, Self::Nftables, Self::Weir];
}

/// What one turn found.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Turn {
    /// Nanoseconds per frame sent.
    ns: f64,
    /// Share of the frames that came out.
    delivered: f64,
}

type Round = [Turn; Contestant::ALL.len()];

/// Measures all contestants with the programs of `object` and this `weir`.
///
/// # Errors
/// When packets get lost, or a contestant did not do what is to be measured: then there is no figure.
pub fn measure(object: &[u8], weir: &Path, rounds: u32) -> Result<Vec<Forwarding>> {
    let step = Step::start("forwarding: no firewall, nftables, Weir");
    let start = Instant::now();
    let mut bench = Bench::create(object, weir)?;
    let mut measured: Vec<Round> = Vec::new();
    for number in 0..rounds as usize {
        if number >= LEAST_ROUNDS && start.elapsed() >= MOST_TIME {
            eprintln!("{number} rounds took {} s: no more of them", start.elapsed().as_secs());
            break;
        }
        step.say(&format!("round {} of {rounds}", number + 1));
        let mut round = [Turn { ns: 0.0, delivered: 0.0 }; Contestant::ALL.len()];
        for (turn, contestant) in round.iter_mut().zip(Contestant::ALL) {
            *turn = bench.turn(contestant).with_context(|| format!("{contestant:?}, round {}", number + 1))?;
        }
        measured.push(round);
    }
    step.done("");
    Ok(summarize(&measured))
}

struct Bench {
    generator: Generator,
    network: Network,
    weir: PathBuf,
    /// Weir's policy and log.
    scratch: Scratch,
    policies: PathBuf,
    turns: u8,
}

impl Bench {
    fn create(object: &[u8], weir: &Path) -> Result<Self> {
        let scratch = Scratch::create("bench")?;
        let policies = scratch.directory_with("policies", "bench.toml", &policy())?;
        let network = Network::create()?;
        let mut generator = Generator::load(object)?;
        generator.catch(&network.generator, WEST.host_interface)?;
        generator.catch(&network.sink, EAST.host_interface)?;
        Ok(Self { generator, network, weir: weir.to_owned(), scratch, policies, turns: 0 })
    }

    fn turn(&mut self, contestant: Contestant) -> Result<Turn> {
        // Each turn its own initiators: none meets a flow of an earlier one.
        self.turns = self.turns.wrapping_add(1);
        match contestant {
            Contestant::FirstHop => {
                let link = self.generator.catch(&self.network.gateway, WEST.gateway_interface)?;
                let turn = self.data()?;
                self.generator.release(link)?;
                Ok(turn)
            }
            Contestant::NoFirewall => {
                self.establish()?;
                self.data()
            }
            Contestant::Nftables => self.nftables(),
            Contestant::Weir => self.weir(),
        }
    }

    fn nftables(&mut self) -> Result<Turn> {
        self.network.gateway.nft(&ruleset()).context("cannot load the rules")?;
        self.establish()?;
        let before = self.tracked()?;
        let turn = self.data()?;
        let tracked = self.tracked()?.saturating_sub(before);
        self.network.gateway.nft("delete table ip bench")?;
        enough("matched as established", tracked)?;
        Ok(turn)
    }

    /// Packets that nftables took for those of established connections.
    fn tracked(&self) -> Result<u64> {
        let mut nft = self.network.gateway.command("nft");
        let text = crate::command::output(nft.args(["-j", "list", "counter", "ip", "bench", "established"]))?;
        counted(&text).with_context(|| format!("nft printed no counter: {text}"))
    }

    fn weir(&mut self) -> Result<Turn> {
        let weir = Weir::start(Launch {
            interfaces: [WEST, EAST].map(|link| format!("{0}={0}:native", link.gateway_interface)).to_vec(),
            ..Launch::gateway(&self.weir, &self.network.gateway, "bench", self.policies.clone(), &self.scratch)
        })?;
        weir.counters()?.all_native()?;
        self.establish()?;
        let before = (weir.all_counters()?, weir.counters()?);
        let turn = self.data()?;
        let after = (weir.all_counters()?, weir.counters()?);
        weir.stop()?;
        // Only when both its programs are gone is the next turn without them.
        for link in [WEST, EAST] {
            let caught = self.generator.catch(&self.network.gateway, link.gateway_interface)?;
            self.generator.release(caught)?;
        }
        let dropped = after.1.drops_since(&before.1);
        if !dropped.is_empty() {
            bail!("Weir dropped packets of established connections: {dropped:?}");
        }
        enough("passed", passed(&after.0)?.saturating_sub(passed(&before.0)?))?;
        Ok(turn)
    }

    /// Brings up this turn's connections.
    fn establish(&mut self) -> Result<()> {
        for segment in [Segment::Syn, Segment::SynAck, Segment::Ack] {
            let caught = self.send(segment, FLOWS)?;
            if caught != u64::from(FLOWS) {
                bail!("{caught} of {FLOWS} handshake segments came out ({segment:?})");
            }
        }
        Ok(())
    }

    /// The turn itself, over connections that are there.
    fn data(&mut self) -> Result<Turn> {
        self.send(Segment::Data, WARM_UP)?;
        // The count goes on, and with it the sequence numbers.
        let (ns, caught) = self.send_more(WEST, BURSTS, BURST)?;
        let delivered = caught as f64 / f64::from(FRAMES);
        if !(DELIVERED..=1.0).contains(&delivered) {
            bail!("{caught} packets came out where {FRAMES} went in");
        }
        Ok(Turn { ns: ns.into_iter().fold(f64::INFINITY, f64::min), delivered })
    }

    /// Sends the first frames of a kind, and returns how many came out.
    fn send(&mut self, segment: Segment, frames: u32) -> Result<u64> {
        self.generator.set(segment, self.turns)?;
        Ok(self.send_more(if segment == Segment::SynAck { EAST } else { WEST }, 1, frames)?.1)
    }

    /// Sends from the host at the end of `link`; nanoseconds per frame of each burst, and how many frames came out.
    fn send_more(&mut self, link: Link, bursts: u32, frames: u32) -> Result<(Vec<f64>, u64)> {
        let host = if link == EAST { &self.network.sink } else { &self.network.generator };
        let before = self.generator.caught()?;
        let ns = self.generator.send(host, link, bursts, frames)?;
        Ok((ns, self.generator.caught_since(before, u64::from(bursts * frames))?))
    }
}

/// The contestant's own counter must know nearly all packets of a turn, the warm-up before it included.
fn enough(what: &str, packets: u64) -> Result<()> {
    let sent = u64::from(FRAMES + WARM_UP);
    if packets > sent || (packets as f64) < sent as f64 * DELIVERED {
        bail!("{packets} packets {what} where {sent} were sent");
    }
    Ok(())
}

/// What Weir's policy says, for nftables.
fn ruleset() -> String {
    format!(
        "add table ip bench; add counter ip bench established; \
         add chain ip bench forward {{ type filter hook forward priority 0; policy drop; }}; \
         add rule ip bench forward ct state established,related counter name established accept; \
         add rule ip bench forward ct state invalid drop; \
         add rule ip bench forward tcp dport {RESPONDER_PORT} ct state new accept"
    )
}

fn policy() -> String {
    let [a, b, c, d] = RESPONDER;
    let (from, to) = (WEST.gateway_interface, EAST.gateway_interface);
    format!(
        "[[rule]]\nname = \"bench\"\nfrom = \"{from}\"\nto = \"{to} {a}.{b}.{c}.{d}\"\nservice = \"tcp/{RESPONDER_PORT}\"\n\
         action = \"allow\"\ninspection = \"strict\"\n"
    )
}

/// The packets of the counter in nft's JSON.
fn counted(listing: &str) -> Option<u64> {
    let listing: Value = serde_json::from_str(listing).ok()?;
    listing["nftables"].as_array()?.iter().find_map(|object| object["counter"]["packets"].as_u64())
}

fn passed(counters: &Value) -> Result<u64> {
    counters["passed"].as_u64().context("`weir counters --json` does not say how many packets passed")
}

fn summarize(rounds: &[Round]) -> Vec<Forwarding> {
    // Differences and ratios within a round, then the median: what slowed a round down slowed all of it.
    let values = |value: &dyn Fn(&Round) -> f64| median(&rounds.iter().map(value).collect::<Vec<_>>());
    let [first_hop, no_firewall, nftables, weir] = [0, 1, 2, 3];
    [(no_firewall, "no-firewall"), (nftables, "nftables"), (weir, "weir")]
        .into_iter()
        .map(|(place, name)| {
            let (ns, ns_spread) = values(&|round| round[place].ns);
            let (ns_marginal, ns_marginal_spread) = values(&|round| round[place].ns - round[first_hop].ns);
            Forwarding {
                name,
                flows: u64::from(FLOWS),
                packets_per_second: 1e9 / ns,
                ns,
                ns_spread,
                generator_ns: values(&|round| round[first_hop].ns).0,
                ns_marginal,
                ns_marginal_spread,
                ratio_to_nftables: values(&|round| round[nftables].ns / round[place].ns).0,
                delivered: rounds.iter().map(|round| round[place].delivered).fold(1.0, f64::min),
                rounds: rounds.len(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_and_ratios_are_taken_within_a_round() {
        let round = |scale: f64| [100.0, 600.0, 900.0, 750.0].map(|ns| Turn { ns: ns * scale, delivered: 1.0 });
        // The second round ran at half the speed, all of it.
        let mut rounds = [round(1.0), round(2.0), round(1.0)];
        rounds[1][3].delivered = 0.995;
        let summary = summarize(&rounds);
        assert_eq!(summary.iter().map(|entry| entry.name).collect::<Vec<_>>(), ["no-firewall", "nftables", "weir"]);
        let [plain, nftables, weir] = &summary[..] else { panic!("three entries") };
        assert_eq!((plain.ns_marginal, nftables.ns_marginal, weir.ns_marginal), (500.0, 800.0, 650.0));
        assert_eq!((plain.ratio_to_nftables, nftables.ratio_to_nftables, weir.ratio_to_nftables), (1.5, 1.0, 1.2));
        assert_eq!((nftables.delivered, weir.delivered), (1.0, 0.995));
        assert_eq!((weir.generator_ns, weir.rounds), (100.0, 3));
        assert!((weir.packets_per_second - 1e9 / 750.0).abs() < 1e-6);
    }

    #[test]
    fn a_counter_that_missed_packets_or_counted_others_is_an_error() {
        let sent = u64::from(FRAMES + WARM_UP);
        assert!(enough("passed", sent).is_ok());
        assert!(enough("passed", sent + 1).is_err());
        assert!(enough("passed", sent * 98 / 100).is_err());
    }

    #[test]
    fn nft_s_counter_is_read_from_its_json() {
        let listing = r#"{"nftables":[{"metainfo":{"version":"1"}},{"counter":{"name":"established","packets":17,"bytes":850}}]}"#;
        assert_eq!(counted(listing), Some(17));
        assert_eq!(counted(r#"{"nftables":[{"metainfo":{"version":"1"}}]}"#), None);
    }
}
