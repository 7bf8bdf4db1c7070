//! What a first packet costs under policies of ten to ten thousand rules, and what loading them costs.
//!
//! A real `weir` loads each policy; the benchmark's programs work on its pinned maps. Packets that an early rule decides, packets that a late
//! one decides and packets that no rule matches take turns under all policies, round after round.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result, bail};
use aya::{Ebpf, EbpfLoader, TestRun, TestRunOptions, programs::Xdp};
use etherparse::PacketBuilder;
use firewall_common::{
    abi::map,
    config::{Config, Interface},
};

use super::{
    report::{Case, Loading, median},
    table,
};
use crate::{
    mixed::{Mixed, Packet, TCP},
    netns::Namespace,
    progress::Step,
    scratch::Scratch,
    weir::{Launch, Weir},
};

/// Numbers of rules.
const RULES: [usize; 4] = [10, 100, 1_000, 10_000];
/// Packets of each kind.
const PACKETS: u32 = 1 << 10;
/// Packets the map has room for.
const ROOM: usize = 1 << 12;
/// A turn, and the bursts it consists of: the fastest counts.
const BURSTS: u32 = 8;
const BURST: u32 = 1 << 14;
const FRAME: usize = 96;
const LOOPBACK: u32 = 1;
const PASS: u32 = 2;
const DROP: u32 = 1;
const SEED: u64 = 11;

/// The kinds of packets, with the verdict each must get.
const KINDS: [(&str, u32); 3] = [("first-packet-early", PASS), ("first-packet-late", PASS), ("first-packet-default", DROP)];
/// The programs, the driver first.
const PROGRAMS: [&str; 3] = ["first_empty", "first_lookup", "first_pipeline"];

/// The layout is firewall-ebpf's.
#[repr(C)]
#[derive(Clone, Copy)]
struct First {
    frame: [u64; FRAME / 8],
    transport: u32,
    checksum: u32,
}

/// The layout is firewall-ebpf's.
#[repr(C)]
#[derive(Clone, Copy)]
struct Turns {
    count: u64,
    from: u32,
    mask: u32,
}

// SAFETY: plain words.
unsafe impl aya::Pod for First {}
// SAFETY: as above.
unsafe impl aya::Pod for Turns {}

/// A policy in force, and the programs that work on its maps.
struct Subject {
    rules: usize,
    ebpf: Ebpf,
    counts: [u64; KINDS.len()],
    /// Nanoseconds by program and kind, of each round.
    rounds: Vec<[[f64; KINDS.len()]; PROGRAMS.len()]>,
    /// Ends before the namespace it is in.
    weir: Weir,
}

/// Measures first packets with the programs of `object` under policies that this `weir` loads.
///
/// # Errors
/// When a policy is not loaded, or a packet does not get the verdict it must get: then there is no figure.
pub fn measure(object: &[u8], weir: &Path, rounds: u32) -> Result<(Vec<Case>, Vec<Loading>)> {
    let scratch = Scratch::create("bench-rules")?;
    let namespace = Namespace::create("rules")?;
    let (mut subjects, mut loading) = (Vec::new(), Vec::new());
    for rules in RULES {
        let step = Step::start(format!("loading {rules} rules"));
        let (subject, loaded) = load(object, weir, rules, &scratch, &namespace)?;
        step.done("");
        subjects.push(subject);
        loading.push(loaded);
    }
    let step = Step::start("first packets");
    for round in 0..=rounds {
        for subject in &mut subjects {
            let turns = subject.round().with_context(|| format!("{} rules", subject.rules))?;
            // The first round warms caches and clocks.
            if round > 0 {
                subject.rounds.push(turns);
            }
        }
    }
    step.done("");
    let cases = summarize(&subjects);
    for subject in subjects {
        subject.weir.stop()?;
    }
    Ok((cases, loading))
}

fn load(object: &[u8], weir: &Path, rules: usize, scratch: &Scratch, namespace: &Namespace) -> Result<(Subject, Loading)> {
    let (mixed, kinds) = policy(rules)?;
    // Started with another policy, so that the one that is measured replaces all of it.
    let policies = |seed: u64, text: &str| scratch.directory_with(&format!("{rules}-{seed}"), "mixed.toml", text);
    let instance = format!("bench-{}-{rules}", std::process::id());
    // No packet comes by it, but a daemon is ready only with an interface.
    let interface = format!("r{rules}");
    namespace.ip(&format!("link add {interface} type veth peer name {interface}p"))?;
    let weir = Weir::start(Launch {
        binary: weir.to_owned(),
        namespace: namespace.name().to_owned(),
        instance: instance.clone(),
        placement: "host",
        interfaces: vec![format!("outside={interface}:native")],
        policies: policies(SEED - 1, &Mixed::new(rules, SEED - 1).text())?,
        log: scratch.path().join(format!("{rules}.log")),
        more: Vec::new(),
    })?;
    let directory = policies(SEED, &mixed.text())?;
    let started = Instant::now();
    weir.apply(&directory)?;
    let seconds = started.elapsed().as_secs_f64();
    let mut ebpf = programs(object, &instance)?;
    let loading = Loading { rules: rules as u32, seconds, bytes: bytes(&ebpf)? };
    let mut firsts = table::array::<First>(&mut ebpf, "FIRSTS")?;
    for (kind, packets) in (0..).zip(&kinds) {
        for (number, packet) in (0..PACKETS).zip(packets) {
            firsts.set(kind * PACKETS + number, first(packet)?, 0)?;
        }
    }
    arrive_outside(&mut ebpf)?;
    Ok((Subject { rules, ebpf, counts: [0; KINDS.len()], rounds: Vec::new(), weir }, loading))
}

/// A policy of as many rules that has packets of every kind, and they: those of the first tenth of the rules and of the last are early and late,
/// half of a policy of ten.
fn policy(rules: usize) -> Result<(Mixed, [Vec<Packet>; KINDS.len()])> {
    let some = (rules / 10).max(rules.min(5));
    let count = PACKETS as usize;
    let tried = (SEED..SEED + 100).map(|seed| {
        let mixed = Mixed::new(rules, seed);
        let kinds = [mixed.allowed_by(0..some, count, 1), mixed.allowed_by(rules - some..rules, count, 2), mixed.unmatched(count, 3)];
        (mixed, kinds)
    });
    let mut complete = tried.filter(|(_, kinds)| kinds.iter().all(|packets| packets.len() == count));
    complete.next().with_context(|| format!("{rules} rules have too few packets of a kind"))
}

/// The benchmark's programs on the instance's maps.
fn programs(object: &[u8], instance: &str) -> Result<Ebpf> {
    let pins = Path::new("/sys/fs/bpf/weir").join(instance).join("maps");
    let pinned: Vec<(&str, PathBuf)> = map::PINNED.iter().map(|name| (*name, pins.join(name))).collect();
    let mut loader = EbpfLoader::new();
    for (name, pin) in &pinned {
        if !pin.exists() {
            bail!("{} is not there", pin.display());
        }
        loader.map_pin_path(name, pin);
    }
    let mut ebpf = loader.load(object).context("cannot load the programs")?;
    for name in PROGRAMS {
        let program: &mut Xdp = ebpf.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?;
        program.load().with_context(|| format!("cannot load {name}"))?;
    }
    Ok(ebpf)
}

/// PROG_TEST_RUN's frames come in by the loopback device: it is in the zone the packets come from.
fn arrive_outside(ebpf: &mut Ebpf) -> Result<()> {
    let names: Vec<[u8; 32]> = table::array::<[u8; 32]>(ebpf, map::ZONE_NAMES)?.iter().collect::<Result<_, _>>()?;
    let zone = names.iter().position(|name| name.starts_with(b"outside\0")).context("no zone outside")?;
    let interface = Interface { zone: u8::try_from(zone)?, place: 64, flags: 0, reserved: 0 };
    table::array::<Interface>(ebpf, map::INTERFACES)?.set(LOOPBACK, interface, 0)?;
    let settings = table::array::<Config>(ebpf, map::CONFIG)?.get(&0, 0)?;
    if settings.generation == 0 { bail!("no policy is in force") } else { Ok(()) }
}

/// The packet's frame, padded, from port 0.
fn first(packet: &Packet) -> Result<First> {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let (builder, transport) = match (packet.source, packet.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => (builder.ipv4(source.octets(), destination.octets(), 64), 34),
        (IpAddr::V6(source), IpAddr::V6(destination)) => (builder.ipv6(source.octets(), destination.octets(), 64), 54),
        _ => bail!("{packet:?} is of two families"),
    };
    let mut bytes = Vec::new();
    let checksum = if packet.protocol == TCP {
        builder.tcp(0, packet.port, 1_000, u16::MAX).syn().write(&mut bytes, &[])?;
        16
    } else {
        builder.udp(0, packet.port).write(&mut bytes, &[0; 12])?;
        6
    };
    bytes.resize(FRAME, 0);
    let mut frame = [0; FRAME / 8];
    for (word, bytes) in frame.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_ne_bytes(bytes.try_into()?);
    }
    Ok(First { frame, transport, checksum })
}

/// Bytes the kernel has allocated for the maps a policy lies in, for both slots; what takes memory by use is told by what is there.
fn bytes(ebpf: &Ebpf) -> Result<u64> {
    [map::RULES, map::PROFILES, map::ROWS, map::BLOCKS, map::ADDRESSES, map::SERVICES].iter().map(|name| table::bytes(ebpf, name)).sum()
}

impl Subject {
    /// One turn of every program and kind.
    fn round(&mut self) -> Result<[[f64; KINDS.len()]; PROGRAMS.len()]> {
        let mut round = [[0.0; KINDS.len()]; PROGRAMS.len()];
        for (number, program) in PROGRAMS.iter().enumerate() {
            for (kind, (name, verdict)) in KINDS.iter().enumerate() {
                let verdict = if number + 1 == PROGRAMS.len() { *verdict } else { PASS };
                round[number][kind] = self.turn(program, kind, verdict).with_context(|| format!("{program}, {name}"))?;
            }
        }
        Ok(round)
    }

    /// Nanoseconds per packet in the fastest burst.
    fn turn(&mut self, program: &str, kind: usize, verdict: u32) -> Result<f64> {
        let turns = Turns { count: self.counts[kind], from: kind as u32 * PACKETS, mask: PACKETS - 1 };
        table::array::<Turns>(&mut self.ebpf, "TURNS")?.set(0, turns, 0)?;
        let program: &Xdp = self.ebpf.program(program).context("loaded above")?.try_into()?;
        let mut fastest = f64::INFINITY;
        for _ in 0..BURSTS {
            let options = TestRunOptions { data_in: Some(&[0; FRAME]), repeat: BURST, ..TestRunOptions::new() };
            let result = program.test_run(options)?;
            fastest = fastest.min(result.duration.as_nanos() as f64);
            if result.return_value != verdict {
                bail!("the last packet got verdict {}, not {verdict}", result.return_value);
            }
        }
        self.counts[kind] += u64::from(BURSTS * BURST);
        Ok(fastest)
    }
}

/// A case for each kind, and one for all kinds alike.
fn summarize(subjects: &[Subject]) -> Vec<Case> {
    let few = &subjects[0];
    let mean = |kinds: &[f64]| kinds.iter().sum::<f64>() / kinds.len() as f64;
    let every: Vec<usize> = (0..KINDS.len()).collect();
    let mut cases = Vec::new();
    for (name, kinds) in std::iter::once(("first-packet", every.as_slice())).chain(KINDS.iter().map(|(name, _)| *name).zip(every.chunks(1)))
    {
        // Differences and ratios within a round, then the median: what slowed a round down slowed all of it.
        let figures = |subject: &Subject, program: usize| -> Vec<f64> {
            let of = |round: &[[f64; KINDS.len()]; PROGRAMS.len()]| {
                mean(&kinds.iter().map(|kind| round[program][*kind] - round[0][*kind]).collect::<Vec<_>>())
            };
            subject.rounds.iter().map(of).collect()
        };
        for subject in subjects {
            let (own, floor, ten) = (figures(subject, 2), figures(subject, 1), figures(few, 2));
            let ratios = |to: &[f64]| median(&own.iter().zip(to).map(|(own, to)| own / to).collect::<Vec<_>>()).0;
            let (ns, ns_spread) = median(&own);
            cases.push(Case {
                name,
                flows: 0,
                rules: subject.rules as u32,
                ns,
                ns_spread,
                floor_ns: median(&floor).0,
                ratio: ratios(&floor),
                ratio_to_few_rules: Some(ratios(&ten)),
            });
        }
    }
    cases
}

const _: () = assert!(KINDS.len() * PACKETS as usize <= ROOM);
