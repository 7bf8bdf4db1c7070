//! Sends the segments of many TCP connections through a gateway, from inside the kernel, and counts what comes out.
//!
//! Frames are made by firewall-ebpf's `generate`, run through PROG_TEST_RUN on live frames: each leaves by a veth end as if it had been sent
//! there. `count_and_drop` is where they end.

use std::{
    fs::File,
    os::fd::AsFd,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use aya::{
    Ebpf, EbpfLoader, TestRun, TestRunAttrs, TestRunOptions,
    maps::{Array, PerCpuArray},
    programs::{
        Xdp, XdpMode,
        xdp::{XdpLink, XdpLinkId},
    },
};
use etherparse::PacketBuilder;
use firewall_common::abi::map;
use rustix::{
    net::{AddressFamily, SocketType, netdevice},
    process::setpriority_process,
    thread::{CpuSet, LinkNameSpaceType, move_into_link_name_space, sched_getaffinity, sched_setaffinity},
};

use super::network::{EAST, Link, RESPONDER, WEST};
use crate::netns::Namespace;

/// Connections. A power of two, which the generator spreads over with one multiplication.
pub const FLOWS: u32 = 1 << 10;
const STRIDE: u64 = 0x9e37_79b1;
/// Frames handed over at once: one poll of a veth end, so that no queue ever overflows.
const BATCH: u32 = 64;
/// Bytes of every frame, headers and padding included.
const FRAME: usize = 64;
const PAYLOAD: usize = 10;
/// Until what is still under way has arrived.
const SETTLE: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(2);
/// Of `setpriority`.
const HIGHEST_PRIORITY: i32 = -20;

const INITIATOR_PORT: u16 = 40_000;
pub const RESPONDER_PORT: u16 = 443;
const INITIATOR_ISN: u32 = 1_000;
const RESPONDER_ISN: u32 = 2_000;

/// A frame and how it differs from flow to flow; the layout is firewall-ebpf's.
#[repr(C)]
#[derive(Clone, Copy)]
struct Template {
    count: u64,
    flows: u64,
    stride: u64,
    seq: u32,
    step: u32,
    from_responder: u64,
    frame: [u8; FRAME],
}

// SAFETY: plain words without padding.
unsafe impl aya::Pod for Template {}

/// The kernel's `struct xdp_md`, as PROG_TEST_RUN takes it.
#[derive(Default)]
struct Arrival {
    data_end: u32,
    interface: u32,
}

impl Arrival {
    fn bytes(&self) -> Vec<u8> {
        let [data, data_meta, queue, egress] = [0; 4];
        [data, self.data_end, data_meta, self.interface, queue, egress].into_iter().flat_map(u32::to_ne_bytes).collect()
    }
}

/// One kind of segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segment {
    Syn,
    SynAck,
    Ack,
    /// The initiator's data: each segment follows on the flow's last one. All of it fits the window of the responder's SYN-ACK.
    Data,
}

impl Segment {
    /// The segment of connections whose initiators are 10.`group`.0.0/16.
    fn template(self, group: u8) -> Result<Template> {
        let from_responder = self == Self::SynAck;
        let initiator = [10, group, 0, 0];
        let (link, source, destination, ports) = if from_responder {
            (EAST, RESPONDER, initiator, (RESPONDER_PORT, INITIATOR_PORT))
        } else {
            (WEST, initiator, RESPONDER, (INITIATOR_PORT, RESPONDER_PORT))
        };
        // The sequence number is left to the generator.
        let tcp = PacketBuilder::ethernet2(link.host_mac_bytes(), link.gateway_mac_bytes()).ipv4(source, destination, 64).tcp(
            ports.0,
            ports.1,
            0,
            u16::MAX,
        );
        let (tcp, payload, seq, step) = match self {
            Self::Syn => (tcp.syn(), 0, INITIATOR_ISN, 0),
            Self::SynAck => (tcp.syn().ack(INITIATOR_ISN + 1), 0, RESPONDER_ISN, 0),
            Self::Ack => (tcp.ack(RESPONDER_ISN + 1), 0, INITIATOR_ISN + 1, 0),
            Self::Data => (tcp.ack(RESPONDER_ISN + 1), PAYLOAD, INITIATOR_ISN + 1, PAYLOAD as u32),
        };
        let mut bytes = Vec::new();
        tcp.write(&mut bytes, &[0; PAYLOAD][..payload])?;
        // Shorter ones end in the padding that Ethernet asks for.
        bytes.resize(FRAME, 0);
        let frame = bytes.try_into().ok().context("a frame of the generator's length")?;
        Ok(Template { count: 0, flows: u64::from(FLOWS), stride: STRIDE, seq, step, from_responder: u64::from(from_responder), frame })
    }
}

/// The generator's programs, loaded.
pub struct Generator {
    ebpf: Ebpf,
    /// The one CPU everything runs on.
    cpu: usize,
}

impl Generator {
    pub fn load(object: &[u8]) -> Result<Self> {
        // The object is the dataplane's, whose tables are of no use here.
        let mut loader = EbpfLoader::new();
        let mut ebpf = loader.map_max_entries(map::ESTABLISHED, 1).load(object).context("cannot load the generator")?;
        for name in ["generate", "count_and_drop"] {
            program(&mut ebpf, name)?.load().with_context(|| format!("cannot load {name}"))?;
        }
        let allowed = sched_getaffinity(None).context("cannot tell which CPUs are allowed")?;
        // Not the first one, which serves most interrupts.
        let cpu = (0..CpuSet::MAX_CPU).rev().find(|cpu| allowed.is_set(*cpu)).context("no CPU is allowed")?;
        Ok(Self { ebpf, cpu })
    }

    /// Makes this end of a veth pair the end of every frame that comes in by it. Where another program was until just now, the kernel may
    /// still be taking it off: that is waited for.
    pub fn catch(&mut self, namespace: &Namespace, interface: &str) -> Result<XdpLinkId> {
        let program = program(&mut self.ebpf, "count_and_drop")?;
        inside(namespace, || {
            let deadline = Instant::now() + SETTLE;
            loop {
                match program.attach(interface, XdpMode::Driver) {
                    Err(_) if Instant::now() < deadline => thread::sleep(POLL),
                    result => return Ok(result?),
                }
            }
        })
        .with_context(|| format!("cannot attach to {interface}"))
    }

    /// The opposite of [`Generator::catch`].
    pub fn release(&mut self, link: XdpLinkId) -> Result<()> {
        let link: XdpLink = program(&mut self.ebpf, "count_and_drop")?.take_link(link)?;
        drop(link);
        Ok(())
    }

    /// Goes over to another kind of segment.
    pub fn set(&mut self, segment: Segment, group: u8) -> Result<()> {
        let map = self.ebpf.map_mut("TEMPLATE").context("no map TEMPLATE")?;
        Ok(Array::try_from(map)?.set(0, segment.template(group)?, 0)?)
    }

    /// Sends bursts of what was [`Generator::set`] and returns how many nanoseconds of each burst a frame took, on its whole path: a veth
    /// end hands frames over on the CPU that sends them.
    pub fn send(&mut self, namespace: &Namespace, link: Link, bursts: u32, frames: u32) -> Result<Vec<f64>> {
        let program = program(&mut self.ebpf, "generate")?;
        let cpu = self.cpu;
        inside(namespace, || {
            stay_on(cpu)?;
            let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
            let arrival = Arrival { data_end: FRAME as u32, interface: netdevice::name_to_index(socket, link.host_interface)? };
            let arrival = arrival.bytes();
            let burst = || {
                let options = TestRunOptions {
                    data_in: Some(&[0; FRAME]),
                    ctx_in: Some(&arrival),
                    repeat: frames,
                    attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
                    ..TestRunOptions::new()
                };
                // The kernel's own measure: not in it are making the frames' pages and freeing them, which waits for other CPUs, and what
                // other threads took of this one.
                Ok(program.test_run(options).context("cannot send live frames")?.duration.as_nanos() as f64)
            };
            (0..bursts).map(|_| burst()).collect()
        })
    }

    /// Frames caught so far.
    pub fn caught(&self) -> Result<u64> {
        let received: PerCpuArray<_, u64> = PerCpuArray::try_from(self.ebpf.map("RECEIVED").context("no map RECEIVED")?)?;
        Ok(received.get(&0, 0)?.iter().sum())
    }

    /// How many were caught since `before`, once there are `expected` or it is too late for more.
    pub fn caught_since(&self, before: u64, expected: u64) -> Result<u64> {
        let deadline = Instant::now() + SETTLE;
        loop {
            let caught = self.caught()?.saturating_sub(before);
            if caught >= expected || Instant::now() >= deadline {
                return Ok(caught);
            }
            thread::sleep(POLL);
        }
    }
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    Ok(ebpf.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?)
}

/// Binds the calling thread to a CPU, and puts it before others there: what they take of it would look like a packet's cost.
fn stay_on(cpu: usize) -> Result<()> {
    let mut one = CpuSet::new();
    one.set(cpu);
    sched_setaffinity(None, &one).with_context(|| format!("cannot stay on CPU {cpu}"))?;
    setpriority_process(None, HIGHEST_PRIORITY).context("cannot raise the priority")
}

/// Runs `work` in a thread of its own inside a namespace.
fn inside<T: Send>(namespace: &Namespace, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let path = format!("/run/netns/{}", namespace.name());
    let file = File::open(&path).with_context(|| format!("cannot open {path}"))?;
    let entered = || {
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).with_context(|| format!("cannot enter {path}"))?;
        work()
    };
    match thread::scope(|scope| scope.spawn(entered).join()) {
        Ok(result) => result,
        Err(_) => bail!("a thread in {path} panicked"),
    }
}

#[cfg(test)]
mod tests {
    use etherparse::SlicedPacket;

    use super::*;

    #[test]
    fn segments_of_a_connection_are_whole_packets_of_the_generator_s_length() {
        for (segment, payload, source) in [
            (Segment::Syn, 0, [10, 7, 0, 0]),
            (Segment::SynAck, 0, RESPONDER),
            (Segment::Ack, 0, [10, 7, 0, 0]),
            (Segment::Data, PAYLOAD, [10, 7, 0, 0]),
        ] {
            let template = segment.template(7).expect("a template");
            let packet = SlicedPacket::from_ethernet(&template.frame).expect("a packet");
            let Some(etherparse::NetSlice::Ipv4(ip)) = packet.net else { panic!("{segment:?} is no IPv4 packet") };
            assert_eq!(ip.header().source(), source);
            let Some(etherparse::TransportSlice::Tcp(tcp)) = packet.transport else { panic!("{segment:?} is no TCP segment") };
            assert_eq!(tcp.payload().len(), payload);
            assert_eq!(tcp.sequence_number(), 0, "the generator adds it, and its part of the checksum");
            assert_eq!(tcp.checksum(), tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination()).expect("a checksum"));
        }
    }

    #[test]
    fn a_context_is_the_kernel_s_six_words() {
        let arrival = Arrival { data_end: 64, interface: 5 };
        let words: Vec<u32> =
            arrival.bytes().chunks_exact(4).map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]])).collect();
        assert_eq!(words, [0, 64, 0, 5, 0, 0]);
    }
}
