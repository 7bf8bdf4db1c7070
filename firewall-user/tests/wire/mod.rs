//! The real object attached to a real interface as a [`Subject`]: one end of a veth pair in a namespace of its own has the programs, and
//! every frame goes over the wire. What a counter says must be what the other side sees.
//!
//! ```text
//! peer ─── client's frames ──→ XDP ──→ box
//! peer ←── TC egress ←── server's frames ─── box
//! ```
//!
//! Each frame is followed by a marker that always passes. When the marker has arrived, so has the frame, or it never will.

use std::{
    fmt,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use aya::{
    Ebpf,
    programs::{Program, TcAttachType, Xdp, XdpMode, tc},
};
use firewall_common::{
    abi::program,
    counter::{Counters, RuleCounters},
    env::Arrival,
    event,
    flow::{Flow, FlowKey},
    testing::{
        builder::hex,
        host::{CLIENT, SERVER},
        play::Subject,
        tables::Tables,
    },
    time::Nanos,
    verdict::Verdict,
    wire::ethernet::{HEADER, ether_type},
};
use xtask::{
    command,
    netns::Namespace,
    test::{
        frame::{Port, interface_index},
        network::inside,
    },
};

use crate::kernel::{Fate, Kernel};

/// The two ends of the wire; the programs are attached to the first.
const BOX: &str = "box0";
const PEER: &str = "peer0";
/// A frame that passes is seen within that time.
const PATIENCE: Duration = Duration::from_secs(2);
/// Room for the longest frame of a script, which is longer than Ethernet's.
const MTU: u32 = 65_535;

/// Tells the wires of one test process apart.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// How the frames of a wire fared.
#[derive(Debug, Default)]
pub struct Tally {
    pub passed: usize,
    pub dropped: usize,
    pub answered: usize,
    /// Frames whose outermost VLAN tag the kernel hands over beside the bytes: the rest was compared.
    pub tag_beside: usize,
    /// Frames no interface can send, for they end inside the link header: these were only run through TEST_RUN.
    pub unsendable: usize,
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, dropped, answered, tag_beside, unsendable } = self;
        write!(
            formatter,
            "{passed} seen on the other side, {dropped} not seen, {answered} answered; {tag_beside} with their outer tag beside them, \
             {unsendable} too short to be sent"
        )
    }
}

pub struct Wire {
    attached: Kernel,
    /// The same object under TEST_RUN: it tells what bytes a packet should have afterwards.
    reference: Kernel,
    own: Port,
    peer: Port,
    index: u32,
    serial: u32,
    pub tally: Tally,
    _namespace: Namespace,
}

impl Wire {
    /// A new wire in a new namespace, which goes with it.
    pub fn create(embryonic: u32, established: u32) -> Self {
        Self::try_create(embryonic, established).unwrap_or_else(|error| panic!("{error:#}"))
    }

    fn try_create(embryonic: u32, established: u32) -> anyhow::Result<Self> {
        let namespace = Namespace::create(&format!("wire{}", NEXT.fetch_add(1, Ordering::Relaxed)))?;
        namespace.ip(&format!("link add {BOX} mtu {MTU} type veth peer name {PEER} mtu {MTU}"))?;
        for end in [BOX, PEER] {
            namespace.ip(&format!("link set {end} up"))?;
        }
        // An end takes what a program on the other one sends back only while it polls: GRO lets it, and the other end without TSO makes it.
        command::output(namespace.command("ethtool").args(["--offload", PEER, "gro", "on"]))?;
        command::output(namespace.command("ethtool").args(["--offload", BOX, "tso", "off"]))?;
        let mut attached = Kernel::load(embryonic, established);
        let ebpf = &mut attached.ebpf;
        let index = inside(&namespace, || {
            attach(ebpf)?;
            Ok(interface_index(BOX)?.cast_unsigned())
        })?;
        let (own, peer) = (Port::open(&namespace, BOX)?, Port::open(&namespace, PEER)?);
        let reference = Kernel::load(embryonic, established);
        Ok(Self { attached, reference, own, peer, index, serial: 0, tally: Tally::default(), _namespace: namespace })
    }

    /// Takes the ingress program off, so that everything that comes in passes unseen.
    pub fn detach(&mut self) {
        let program = self.attached.ebpf.program_mut(program::INGRESS).expect("it was loaded");
        let program: &mut Xdp = program.try_into().expect("it is XDP");
        program.unload().expect("it was attached");
    }

    /// Sends a marker and returns what arrived before it.
    fn mark(&mut self, egress: bool) -> Result<Vec<Vec<u8>>, String> {
        let (from, to) = if egress { (&self.own, &self.peer) } else { (&self.peer, &self.own) };
        self.serial += 1;
        let marker = marker(self.serial);
        from.send(&marker).map_err(|error| format!("{error:#}"))?;
        let mut seen = Vec::new();
        loop {
            match to.next(PATIENCE).map_err(|error| format!("{error:#}"))? {
                Some(frame) if frame == marker => break,
                Some(frame) => seen.push(frame),
                None => return Err("the marker did not arrive".to_owned()),
            }
        }
        if self.attached.counters().link_passed == self.attached.seen.link_passed {
            return Err("the marker arrived without a verdict".to_owned());
        }
        self.attached.seen.link_passed += 1;
        Ok(seen)
    }

    /// Sends a frame: whether the interface took it, and what has been seen of it on either side afterwards.
    fn cross(&mut self, frame: &[u8], egress: bool, fate: Fate) -> Result<(bool, Vec<Vec<u8>>), String> {
        let from = if egress { &self.own } else { &self.peer };
        let taken = from.offer(frame).map_err(|error| format!("{error:#}"))?;
        let mut seen = self.mark(egress)?;
        if fate == Fate::Answered {
            // A veth end looks for what a program on the other one has sent back only when it is sent something else, unless it has a
            // program of its own.
            seen.extend(self.mark(true)?);
        }
        if seen.is_empty() && fate != Fate::Dropped {
            // GRO may hand over a frame after the marker that followed it.
            let to = if egress || fate == Fate::Answered { &self.peer } else { &self.own };
            seen.extend(to.next(PATIENCE).map_err(|error| format!("{error:#}"))?);
        }
        for port in [&self.own, &self.peer] {
            seen.extend(port.waiting().map_err(|error| format!("{error:#}"))?);
        }
        Ok((taken, seen))
    }

    fn try_judge(&mut self, frame: &[u8], arrival: Arrival) -> Result<(Verdict, Vec<u8>), String> {
        let (expected, fate, bytes) = self.reference.judge_whole(frame, arrival);
        if frame.len() < HEADER as usize {
            self.tally.unsendable += 1;
            return Ok((self.attached.judge_whole(frame, arrival).0, bytes));
        }
        self.attached.arrive(self.index, arrival);
        let (taken, seen) = self.cross(frame, arrival.egress, fate).map_err(|why| format!("{}: {why}", hex(frame)))?;
        let verdict = self.attached.counted();
        let about = format!("{} was counted as {verdict:?}", hex(frame));
        if verdict != expected {
            return Err(format!("{about}, and as {expected:?} by TEST_RUN"));
        }
        // Whoever sends from the box itself is told that the program dropped it.
        if taken == (arrival.egress && fate == Fate::Dropped) {
            return Err(format!("{about}, but the interface says it was {}taken", if taken { "" } else { "not " }));
        }
        match (fate, seen.as_slice()) {
            (Fate::Dropped, []) => self.tally.dropped += 1,
            (Fate::Answered, [answer]) if *answer == bytes => self.tally.answered += 1,
            (Fate::Passed, [passed]) if *passed == bytes => self.tally.passed += 1,
            (Fate::Passed, [passed]) if without_tag(&bytes).is_some_and(|rest| rest == *passed) => {
                self.tally.passed += 1;
                self.tally.tag_beside += 1;
            }
            (_, seen) => {
                let seen: Vec<_> = seen.iter().map(|frame| hex(frame)).collect();
                return Err(format!("{about} and should be {fate:?} with the bytes {}, but what was seen is {seen:?}", hex(&bytes)));
            }
        }
        Ok((verdict, bytes))
    }
}

/// Attaches both programs to the box's end, in the namespace of the calling thread: native XDP, or not at all.
fn attach(ebpf: &mut Ebpf) -> anyhow::Result<()> {
    // Kernels before 6.6 have no other place for the egress program. Refused where it is there already, which is as good.
    let _ = tc::qdisc_add_clsact(BOX);
    for name in [program::INGRESS, program::EGRESS] {
        match ebpf.program_mut(name) {
            Some(Program::Xdp(program)) => {
                program.attach(BOX, XdpMode::Driver)?;
            }
            Some(Program::SchedClassifier(program)) => {
                program.attach(BOX, TcAttachType::Egress)?;
            }
            _ => anyhow::bail!("the object has no program {name}"),
        }
    }
    Ok(())
}

/// An ARP frame with a number of its own, which passes in both directions whatever the policy says.
fn marker(serial: u32) -> Vec<u8> {
    let mut frame = [&SERVER.mac[..], &CLIENT.mac, &ether_type::ARP.to_be_bytes(), &serial.to_be_bytes()].concat();
    frame.resize(60, 0xa5);
    frame
}

/// A tagged frame as a packet socket shows it: the kernel keeps the outermost tag beside the bytes.
fn without_tag(frame: &[u8]) -> Option<Vec<u8>> {
    let (addresses, rest) = frame.split_at_checked(12)?;
    let (tag, rest) = rest.split_at_checked(4)?;
    let kind = u16::from_be_bytes([tag[0], tag[1]]);
    (kind == ether_type::VLAN || kind == ether_type::PROVIDER_VLAN).then(|| [addresses, rest].concat())
}

impl Subject for Wire {
    fn load(&mut self, tables: &Tables) {
        self.attached.load(tables);
        self.reference.load(tables);
    }

    fn judge_and_change(&mut self, frame: &[u8], arrival: Arrival) -> (Verdict, Vec<u8>) {
        self.try_judge(frame, arrival).unwrap_or_else(|complaint| panic!("{complaint}"))
    }

    fn flow(&mut self, key: &FlowKey) -> Option<(Flow, bool)> {
        self.attached.flow(key)
    }

    fn advance(&mut self, by: Nanos) {
        self.attached.advance(by);
        self.reference.advance(by);
    }

    fn clear(&mut self) {
        // Its host sees none of what the wire brings.
        self.attached.apart = true;
        self.attached.clear();
        self.reference.clear();
    }

    fn set_flags(&mut self, flags: u32) {
        self.attached.set_flags(flags);
        self.reference.set_flags(flags);
    }

    fn set_software(&mut self, software: bool) {
        self.attached.set_software(software);
        self.reference.set_software(software);
    }

    fn flows(&mut self) -> Vec<(FlowKey, Flow, bool)> {
        self.attached.flows()
    }

    fn age(&mut self, key: &FlowKey, by: Nanos) {
        self.attached.age(key, by);
        self.reference.age(key, by);
    }

    fn counters(&mut self) -> Counters {
        self.attached.counters()
    }

    fn rule_counters(&mut self) -> RuleCounters {
        self.attached.rule_counters()
    }

    fn hold_datagrams(&mut self, held: bool) {
        self.attached.hold_datagrams(held);
        self.reference.hold_datagrams(held);
    }

    fn race(&mut self, frames: [&[u8]; 2], arrival: Arrival) -> [bool; 2] {
        // A wire brings one frame after the other.
        frames.map(|frame| self.judge(frame, arrival).passes())
    }

    fn listen(&mut self, kinds: u32, rate: u32) {
        self.attached.listen(kinds, rate);
    }

    fn take_events(&mut self) -> Vec<event::Record> {
        self.attached.take_events()
    }

    fn tally(&mut self) -> event::Tally {
        Subject::tally(&mut self.attached)
    }
}
