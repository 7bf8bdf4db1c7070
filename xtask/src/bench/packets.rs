//! Nanoseconds per packet, through PROG_TEST_RUN.

use anyhow::{Context, Result, bail};
use aya::{Ebpf, TestRun, TestRunOptions, programs::Xdp};
use etherparse::PacketBuilder;
use firewall_common::{config::DEFAULT_ESTABLISHED, flow::Inspection, normalize::Profile};

use super::{
    checks,
    report::{Case, Floor, Memory, Packets, median},
    table,
};
use crate::progress::Step;

/// Numbers of flows: powers of two, which the driver spreads over with one multiplication.
const FLOWS: [u64; 4] = [1, 1 << 10, 1 << 17, 1 << 20];
/// Frames of one turn at least; a turn over many flows visits each twice.
const FRAMES: u64 = 1 << 20;
/// Bursts a turn consists of.
const BURSTS: u64 = 16;
const STRIDE: u64 = 0x9e37_79b1;
const PAYLOAD: usize = 100;

/// Modes of firewall-ebpf's driver.
const FIXED: u64 = 0;
const CONVERSE: u64 = 1;
const FRESH: u64 = 2;

const PASS: u32 = 2;
const DROP: u32 = 1;

/// What the driver makes of its counter; the layout is firewall-ebpf's.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Drive {
    count: u64,
    flows: u64,
    stride: u64,
    mode: u64,
    sum: u64,
    ip_sum: u64,
    rest: [u64; REST],
    shift: [u32; 2],
}

/// Words of the frame behind the acknowledgement number that the driver puts back.
const REST: usize = 6;
/// Offsets of the benchmark's frames: no VLAN tag, no IP options.
const IP: usize = 14;
const TCP: usize = 34;

// SAFETY: plain words.
unsafe impl aya::Pod for Drive {}

impl Drive {
    /// Drives `frame` through so many flows.
    pub(super) fn new(frame: &[u8], flows: u64, mode: u64) -> Self {
        let mut rest = [0; REST];
        for (word, bytes) in rest.iter_mut().zip(frame[TCP + 12..].chunks_exact(8)) {
            *word = u64::from_ne_bytes(bytes.try_into().expect("eight bytes"));
        }
        // The pseudo-header (RFC 9293 §3.1), then the segment without what the driver adds: sequence numbers and the checksum itself.
        let segment = &frame[TCP..];
        let all = words(&frame[IP + 12..IP + 20]) + u64::from(table::TCP) + segment.len() as u64 + words(segment);
        let sum = fold(all - words(&segment[4..12]) - words(&segment[16..18])).into();
        let ip_sum = words(&frame[IP..IP + 10]);
        Self { count: 0, flows, stride: STRIDE, mode, sum, ip_sum, rest, shift: [0; 2] }
    }
}

/// A sum's 16 bits, carries added.
fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Sum of 16-bit words, not yet folded (RFC 1071).
fn words(bytes: &[u8]) -> u64 {
    bytes.chunks(2).map(|pair| u64::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]))).sum()
}

/// One thing that is measured: a program over a frame.
pub(super) struct Bench {
    name: &'static str,
    program: &'static str,
    frame: Vec<u8>,
    drive: Drive,
    verdict: u32,
    /// Which of the loaded objects.
    object: usize,
    /// Nanoseconds per frame of each round, the driver's included.
    rounds: Vec<f64>,
}

impl Bench {
    /// The whole path over a segment of `flows` conversations.
    pub(super) fn conversation(frame: &[u8], flows: u64) -> Self {
        let drive = Drive::new(frame, flows, CONVERSE);
        Self { name: "conversation", program: "drive_pipeline", frame: frame.to_vec(), drive, verdict: PASS, object: 0, rounds: Vec::new() }
    }

    /// Each side sees the other's numbers shifted by so much: initiator's, responder's.
    pub(super) fn shift(&mut self, shift: [u32; 2]) {
        self.drive.shift = shift;
    }
}

/// Measures everything.
///
/// # Errors
/// When a program does not load, or does something else than what is to be measured.
pub fn measure(locked: &[u8], unlocked: &[u8], rounds: u32, only: Option<(&str, u64)>) -> Result<(Vec<Case>, Packets)> {
    let mut cases = Vec::new();
    let mut floors = Vec::new();
    for flows in FLOWS.into_iter().filter(|flows| only.is_none_or(|(_, wanted)| wanted == *flows)) {
        let step = Step::start(format!("{flows} flows"));
        let (floor, measured) = at(flows, locked, unlocked, rounds, only.map(|(name, _)| name))?;
        step.done("");
        floors.push(floor);
        cases.extend(measured);
    }
    let checks = if only.is_none() { checks::measure(locked, rounds)? } else { Vec::new() };
    Ok((cases, Packets { floors, memory: memory(locked)?, checks }))
}

/// What the established table takes, and what of it is each flow's.
fn memory(object: &[u8]) -> Result<Memory> {
    let bytes = |capacity| table::established_bytes(&table::load(object, capacity)?);
    let established_bytes = bytes(DEFAULT_ESTABLISHED)?;
    let larger = 2 * DEFAULT_ESTABLISHED;
    Ok(Memory {
        bytes_per_flow: bytes_per_flow((DEFAULT_ESTABLISHED, established_bytes), (larger, bytes(larger)?)),
        established_capacity: DEFAULT_ESTABLISHED,
        established_bytes,
    })
}

/// Of two tables, each with its capacity and bytes. What a table takes however large it is belongs to no flow.
fn bytes_per_flow(small: (u32, u64), large: (u32, u64)) -> f64 {
    (large.1 as f64 - small.1 as f64) / (f64::from(large.0) - f64::from(small.0))
}

/// Everything at one number of flows.
fn at(flows: u64, locked: &[u8], unlocked: &[u8], rounds: u32, only: Option<&str>) -> Result<(Floor, Vec<Case>)> {
    let capacity = u32::try_from(flows)?.max(1 << 10);
    // One loaded object each for strict, bypass, strict without lock and new flows: what one case leaves behind is not another's start.
    let mut objects = Vec::new();
    for (object, inspection) in
        [(locked, Inspection::Strict), (locked, Inspection::Bypass), (unlocked, Inspection::Strict), (locked, Inspection::Strict)]
    {
        let mut ebpf = table::load(object, capacity)?;
        let profile = if matches!(inspection, Inspection::Bypass) { Profile::OFF } else { Profile::DEFAULT };
        table::set_rule(&mut ebpf, inspection, &profile)?;
        if objects.len() < 3 {
            table::fill(&mut ebpf, flows, inspection)?;
        }
        load_programs(&mut ebpf)?;
        objects.push(ebpf);
    }
    let mut benches = benches(flows)?;
    benches.retain(|bench| matches!(bench.name, "driver" | "floor") || only.is_none_or(|only| only == bench.name));
    for round in 0..=rounds {
        for bench in &mut benches {
            let ns = turn(&mut objects[bench.object], bench)?;
            // The first round warms caches and clocks.
            if round > 0 {
                bench.rounds.push(ns);
            }
        }
    }
    summarize(flows, &benches)
}

fn benches(flows: u64) -> Result<Vec<Bench>> {
    let data = frame(|tcp| tcp.ack(1))?;
    let syn = frame(|tcp| tcp.syn())?;
    let mut land = data.clone();
    // Source and destination alike: dropped in stage sanity.
    land.copy_within(IP + 12..IP + 16, IP + 16);
    let sum = fold(words(&land[IP..IP + 10]) + words(&land[IP + 12..IP + 20]));
    land[IP + 10..IP + 12].copy_from_slice(&(!sum).to_be_bytes());
    let bench = |name, program, frame: &Vec<u8>, mode, verdict, object| Bench {
        name,
        program,
        frame: frame.clone(),
        drive: Drive::new(frame, flows, mode),
        verdict,
        object,
        rounds: Vec::new(),
    };
    Ok(vec![
        bench("driver", "drive_empty", &data, CONVERSE, PASS, 0),
        bench("floor", "drive_lookup", &data, CONVERSE, PASS, 0),
        bench("established-strict", "drive_pipeline", &data, CONVERSE, PASS, 0),
        bench("established-bypass", "drive_pipeline", &data, CONVERSE, PASS, 1),
        bench("established-strict-unlocked", "drive_pipeline", &data, CONVERSE, PASS, 2),
        bench("new-flow", "drive_pipeline", &syn, FRESH, PASS, 3),
        bench("drop-sanity", "drive_pipeline", &land, FIXED, DROP, 3),
    ])
}

type Tcp = etherparse::PacketBuilderStep<etherparse::TcpHeader>;

/// A frame the driver can rewrite.
fn frame(flags: impl FnOnce(Tcp) -> Tcp) -> Result<Vec<u8>> {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]).ipv4([10, 0, 0, 0], [203, 0, 113, 1], 64).tcp(
        40_000,
        443,
        1_000,
        u16::MAX,
    );
    let mut bytes = Vec::new();
    flags(builder).write(&mut bytes, &[0; PAYLOAD])?;
    Ok(bytes)
}

/// A data segment with these options (whole words), edited from its TCP header on. The driver mends the checksum.
pub(super) fn segment(options: &[u8], edit: fn(&mut [u8])) -> Result<Vec<u8>> {
    let mut bytes = frame(|tcp| tcp.ack(1))?;
    bytes.splice(TCP + 20..TCP + 20, options.iter().copied());
    let total = u16::try_from(bytes.len() - IP)?;
    bytes[IP + 2..IP + 4].copy_from_slice(&total.to_be_bytes());
    bytes[TCP + 12] = u8::try_from((20 + options.len()) / 4)? << 4;
    edit(&mut bytes[TCP..]);
    Ok(bytes)
}

pub(super) fn load_programs(ebpf: &mut Ebpf) -> Result<()> {
    for name in ["drive_empty", "drive_lookup", "drive_pipeline"] {
        let program: &mut Xdp = ebpf.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?;
        program.load().with_context(|| format!("cannot load {name}"))?;
    }
    Ok(())
}

/// One turn: nanoseconds per frame, in the fastest of its bursts. A burst is slower than another only by what else the machine did.
pub(super) fn turn(ebpf: &mut Ebpf, bench: &mut Bench) -> Result<f64> {
    table::array::<Drive>(ebpf, "DRIVE")?.set(0, bench.drive, 0)?;
    let burst = FRAMES.max(2 * bench.drive.flows) / BURSTS;
    let program: &Xdp = ebpf.program(bench.program).with_context(|| format!("no program {}", bench.program))?.try_into()?;
    let mut fastest = f64::INFINITY;
    for _ in 0..BURSTS {
        let options = TestRunOptions { data_in: Some(&bench.frame), repeat: u32::try_from(burst)?, ..TestRunOptions::new() };
        let result = program.test_run(options)?;
        // The kernel's own measure: a test run begins and ends with waiting for other CPUs, which takes milliseconds.
        fastest = fastest.min(result.duration.as_nanos() as f64);
        if result.return_value != bench.verdict {
            bail!(
                "{} at {} flows: the last frame got verdict {}, not {}",
                bench.name,
                bench.drive.flows,
                result.return_value,
                bench.verdict
            );
        }
        bench.drive.count += burst;
    }
    Ok(fastest)
}

fn summarize(flows: u64, benches: &[Bench]) -> Result<(Floor, Vec<Case>)> {
    let rounds = |name: &str| benches.iter().find(|bench| bench.name == name).map(|bench| bench.rounds.as_slice());
    let driver = rounds("driver").context("the driver was measured")?;
    let floor = rounds("floor").context("the floor was measured")?;
    // Differences and ratios within a round, then the median: what slowed a round down slowed all of it.
    let less_driver = |values: &[f64]| values.iter().zip(driver).map(|(value, driver)| value - driver).collect::<Vec<_>>();
    let floor = less_driver(floor);
    let (lookup_ns, lookup_ns_spread) = median(&floor);
    let cases = benches
        .iter()
        .filter(|bench| !matches!(bench.name, "driver" | "floor"))
        .map(|bench| {
            // A frame that stays as it is costs no driving but the count.
            let own = if bench.drive.mode == FIXED { bench.rounds.clone() } else { less_driver(&bench.rounds) };
            let ratios: Vec<f64> = own.iter().zip(&floor).map(|(own, floor)| own / floor).collect();
            let (ns, ns_spread) = median(&own);
            Case {
                name: bench.name,
                flows,
                rules: 1,
                ns,
                ns_spread,
                floor_ns: lookup_ns,
                ratio: median(&ratios).0,
                ratio_to_few_rules: None,
            }
        })
        .collect();
    Ok((Floor { flows, driver_ns: median(driver).0, lookup_ns, lookup_ns_spread }, cases))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_table_takes_anyway_is_no_flow_s() {
        assert_eq!(bytes_per_flow((1_000, 1_400 + 256_000), (2_000, 1_400 + 512_000)), 256.0);
    }
}
