//! Plays a script against a firewall: the pipeline on the host or the object in the kernel, whichever stands behind [`Subject`].

use crate::{
    counter::Counters,
    env::Arrival,
    flow::{Flow, FlowKey, Inspection, Peer, flow_flags},
    parse::{self, Descriptor},
    rule::{Action, Rule},
    seq::Seq,
    testing::{
        builder::{Frame, Packet, Part, Payload, hex},
        cases::Case,
        host::{CLIENT, Family, Host, OTHER, SERVER},
        script::{self, Edit, Expect, Kind, Line, Number, Outcome, Place, Record, Send, Side, Step},
        tables::Tables,
        world::World,
    },
    time::Nanos,
    verdict::Verdict,
    wire::{ethernet::ether_type, tcp::Segment},
};

/// A firewall under test.
pub trait Subject {
    /// Puts a policy in force.
    fn load(&mut self, tables: &Tables);
    fn judge(&mut self, frame: &[u8], arrival: Arrival) -> Verdict;
    /// The flow with this key, and whether it is established.
    fn flow(&mut self, key: &FlowKey) -> Option<(Flow, bool)>;
    /// Lets time pass for every flow and fragment.
    fn advance(&mut self, by: Nanos);
    /// Forgets every flow and fragment.
    fn clear(&mut self);
    /// Sets the bits of [`crate::config::config_flags`].
    fn set_flags(&mut self, flags: u32);
    /// Every flow, and whether it is established.
    fn flows(&mut self) -> Vec<(FlowKey, Flow, bool)>;
    /// Lets time pass for one flow only.
    fn age(&mut self, key: &FlowKey, by: Nanos);
    fn counters(&mut self) -> Counters;
}

impl Subject for World {
    fn load(&mut self, tables: &Tables) {
        Self::load(self, tables);
    }

    fn judge(&mut self, frame: &[u8], arrival: Arrival) -> Verdict {
        Self::judge(self, frame, arrival)
    }

    fn flow(&mut self, key: &FlowKey) -> Option<(Flow, bool)> {
        Self::flow(self, key)
    }

    fn advance(&mut self, by: Nanos) {
        Self::advance(self, by);
    }

    fn clear(&mut self) {
        Self::clear(self);
    }

    fn set_flags(&mut self, flags: u32) {
        self.configure(|config| config.flags = flags);
    }

    fn flows(&mut self) -> Vec<(FlowKey, Flow, bool)> {
        Self::flows(self)
    }

    fn age(&mut self, key: &FlowKey, by: Nanos) {
        Self::age(self, key, by);
    }

    fn counters(&mut self) -> Counters {
        Self::counters(self)
    }
}

/// The client's and others' packets come in by this.
pub const FROM_CLIENT: Arrival = Arrival { zone: 1, place: 1, egress: false };
/// The server is the box itself: its packets leave by the same interface.
pub const FROM_SERVER: Arrival = Arrival { zone: 1, place: 1, egress: true };

/// Ports and first numbers of one connection.
#[derive(Clone, Copy, Debug)]
struct Conversation {
    ports: [u16; 2],
    first: [u32; 2],
}

impl Conversation {
    fn new(random: &mut fastrand::Rng) -> Self {
        // A first number in four is just below the wrap.
        let mut first = || if random.u8(..4) == 0 { u32::MAX - random.u32(..5000) } else { random.u32(..) };
        let first = [first(), first()];
        Self { ports: [random.u16(1024..), random.u16(1024..)], first }
    }
}

const LEVELS: [Inspection; 3] = [Inspection::Strict, Inspection::Bypass, Inspection::Tolerant];

/// Plays a case under one inspection level.
///
/// # Errors
/// The first line whose packet fared otherwise than expected, with the packet.
pub fn play(case: &Case, level: Inspection, family: Family, seed: u64, subject: &mut impl Subject) -> Result<usize, String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let lines = script::parse(case.script).map_err(|why| format!("{}: {why}", case.id))?;
    let mut conversation = Conversation::new(&mut random);
    let column = LEVELS.iter().position(|candidate| *candidate == level).unwrap_or(0);
    subject.clear();
    subject.load(&policy(level.name())?);
    let mut sent = 0;
    for line in &lines {
        match &line.step {
            Step::Wait(time) => subject.advance(*time),
            Step::Policy(name) => subject.load(&policy(name)?),
            Step::Forget => {
                subject.clear();
                conversation = Conversation::new(&mut random);
            }
            Step::Far => conversation.first = [0x5000_0000, 0x6000_0000],
            Step::Send { packet, expect } => {
                let (frame, arrival) = frame(packet, family, &conversation);
                let complaint = check(subject, &frame, arrival, &expect[column]);
                complaint.map_err(|complaint| report(case, level, family, seed, line, &frame, &complaint))?;
                sent += 1;
            }
        }
    }
    Ok(sent)
}

fn report(case: &Case, level: Inspection, family: Family, seed: u64, line: &Line, frame: &[u8], complaint: &str) -> String {
    format!("{} ({}, {family:?}, seed {seed}): {}\n    {complaint}\n    packet {}", case.id, level.name(), line.text, hex(frame))
}

/// The policies scripts name.
fn policy(name: &str) -> Result<Tables, String> {
    let everything = |inspection| Tables::everything(Action::Allow, inspection);
    Ok(match name {
        "strict" => everything(Inspection::Strict),
        "tolerant" => everything(Inspection::Tolerant),
        "bypass" => everything(Inspection::Bypass),
        "from-zone-1" => Tables::from_zone_1(Inspection::Strict),
        "drop" => Tables::everything(Action::Drop, Inspection::Strict),
        "reject" => Tables::everything(Action::Reject, Inspection::Strict),
        "sanity-off" => everything(Inspection::Bypass).without_sanity(),
        "no-quota" => {
            let bypass = everything(Inspection::Bypass);
            Tables::single(Rule { one_sided_quota: 0, ..bypass.entries[0] })
        }
        other => return Err(format!("no policy: {other}")),
    })
}

fn check(subject: &mut impl Subject, frame: &[u8], arrival: Arrival, expect: &Expect) -> Result<(), String> {
    let mut descriptor = Descriptor::EMPTY;
    // A packet that cannot be read has no flow; then the key is that of nothing.
    let readable = parse::parse(&frame, arrival.egress, &mut descriptor).is_ok();
    let key = if readable { descriptor.key } else { FlowKey::default() };
    let before = subject.flow(&key);
    let verdict = subject.judge(frame, arrival);
    let after = subject.flow(&key);
    let wanted = match expect.outcome {
        Outcome::Pass => Verdict::Learn,
        Outcome::NoState | Outcome::Noted | Outcome::Forward => Verdict::NoLearn,
        Outcome::Drop(reason) => Verdict::Drop(reason),
        Outcome::Answer => Verdict::Answer,
    };
    if verdict != wanted {
        return Err(format!("{verdict:?}, not {wanted:?}; the record was {before:?}"));
    }
    match (expect.record, after) {
        (Record::None, Some((flow, _))) => return Err(format!("a record is left: {flow:?}")),
        (Record::In(state), Some((flow, _))) if flow.state != state as u8 => {
            return Err(format!("state {}, not {}: {flow:?}", flow.state, state as u8));
        }
        (Record::In(state), None) => return Err(format!("no record, where {} was expected", state.name())),
        _ => {}
    }
    let removal = expect.record == Record::None;
    match (expect.outcome, before, after) {
        (Outcome::Drop(_) | Outcome::NoState | Outcome::Noted, Some(_), None) if !removal => Err("the record is gone".to_owned()),
        (Outcome::Drop(_) | Outcome::NoState | Outcome::Noted, None, Some(flow)) => Err(format!("a record came to be: {flow:?}")),
        (outcome, Some((before, _)), Some((after, _))) => unchanged(outcome, &before, &after),
        _ => Ok(()),
    }
}

/// What an outcome other than `pass` leaves as it was.
fn unchanged(outcome: Outcome, before: &Flow, after: &Flow) -> Result<(), String> {
    // A packet that meets a new policy first has its flow judged again.
    let judged_again = before.generation != after.generation;
    let (mut old, mut new) = (*before, *after);
    match outcome {
        Outcome::Pass | Outcome::Forward | Outcome::Answer => return Ok(()),
        Outcome::Drop(_) | Outcome::NoState | Outcome::Noted if judged_again => return Ok(()),
        Outcome::Drop(_) => {}
        Outcome::NoState => [&mut old, &mut new].map(without_counters).into_iter().for_each(drop),
        Outcome::Noted => [&mut old, &mut new].map(without_notes).into_iter().for_each(drop),
    }
    if old == new { Ok(()) } else { Err(format!("the record has changed:\n    from {before:?}\n    to   {after:?}")) }
}

fn without_counters(flow: &mut Flow) {
    for peer in [&mut flow.initiator, &mut flow.responder] {
        *peer = Peer { packets: 0, bytes: 0, ..*peer };
    }
}

/// What a packet that is not believed yet may note, see [`crate::track::step`].
pub(super) fn without_notes(flow: &mut Flow) {
    without_counters(flow);
    flow.flags &= !(flow_flags::PENDING_SYN | flow_flags::PENDING_SYN_ACK | flow_flags::SHORTENED);
    (flow.pending, flow.pending_scale, flow.timeout) = (0, 0, 0);
    flow.responder.flags &= !crate::flow::peer_flags::CHALLENGED;
    if flow.state == crate::flow::State::SynSent as u8 {
        flow.responder.ack = 0;
    }
}

fn frame(send: &Send, family: Family, conversation: &Conversation) -> (Vec<u8>, Arrival) {
    let (from, to, mut arrival) = match send.side {
        Side::Client => (CLIENT, SERVER, FROM_CLIENT),
        Side::Other => (OTHER, SERVER, FROM_CLIENT),
        Side::Server => (SERVER, CLIENT, FROM_SERVER),
    };
    let mut packet = packet(send, family, conversation, from, to);
    for edit in &send.edits {
        edit_packet(&mut packet, edit);
        if let Edit::Zone(zone) = edit {
            arrival.zone = *zone;
        }
    }
    let mut frame = packet.build();
    if let Kind::Ethernet(ether_type) = send.kind {
        frame.bytes[12..14].copy_from_slice(&ether_type.to_be_bytes());
    }
    for edit in &send.edits {
        tamper(&mut frame, family, edit);
    }
    (frame.bytes, arrival)
}

fn packet(send: &Send, family: Family, conversation: &Conversation, from: Host, to: Host) -> Packet {
    let own = usize::from(send.side == Side::Server);
    let (sport, dport) = (conversation.ports[own], conversation.ports[1 - own]);
    match send.kind {
        Kind::Tcp(flags) => {
            let segment = Segment {
                seq: absolute(send.seq, conversation.first[own]),
                ack: absolute(send.ack, conversation.first[1 - own]),
                length: send.length,
                window: u16::MAX,
                flags,
                scale: crate::flow::NO_SCALE,
            };
            Packet::tcp(family, (from, sport), (to, dport), &segment)
        }
        Kind::Udp => Packet::udp(family, (from, sport), (to, dport), send.length as usize),
        Kind::Echo { reply } => Packet::echo(family, from, to, reply, conversation.ports[0]),
        Kind::Icmp { kind, code } => Packet::icmp(family, from, to, kind, code, [0; 4], send.length as usize),
        Kind::Ethernet(_) => Packet::other(family, from, to, 0, Vec::new()),
        Kind::Ip(protocol) => Packet::other(family, from, to, protocol, vec![0; 32 + send.length as usize]),
    }
}

fn absolute(number: Number, first: u32) -> Seq {
    match number {
        Number::Relative(offset) => Seq(first.wrapping_add(offset as u32)),
        Number::Bare(number) => Seq(number),
    }
}

fn edit_packet(packet: &mut Packet, edit: &Edit) {
    match edit {
        Edit::IpOptions(options) => packet.ip_options.clone_from(options),
        Edit::Extensions(numbers) => packet.extensions = numbers.iter().map(|number| (*number, vec![0; 6])).collect(),
        Edit::DontFragment => packet.dont_fragment = true,
        Edit::HopLimit(hops) => packet.hop_limit = *hops,
        Edit::Vlan(tags) => {
            packet.tags =
                (0..*tags).map(|tag| (if tag + 1 == *tags { ether_type::VLAN } else { ether_type::PROVIDER_VLAN }, 100)).collect();
        }
        Edit::Fragment { offset, length, more } => {
            packet.part = Some(Part { offset: *offset, length: Some(*length), more: *more, identification: 4711 });
        }
        Edit::Source(place) => packet.from = elsewhere(packet.from, packet.to, *place),
        Edit::Destination(place) => packet.to = elsewhere(packet.to, packet.from, *place),
        _ => edit_payload(&mut packet.payload, edit),
    }
}

fn edit_payload(payload: &mut Payload, edit: &Edit) {
    match (payload, edit) {
        (Payload::Tcp { header, .. }, Edit::Window(window)) => header.window_size = *window,
        (Payload::Tcp { header, .. }, Edit::Urgent(pointer)) => header.urgent_pointer = *pointer,
        (Payload::Tcp { header, .. }, Edit::Options(more)) => {
            let options = [header.options.as_slice(), more].concat();
            header.set_options_raw(&options).expect("forty bytes of options at most");
        }
        (Payload::Tcp { header, .. }, Edit::SourcePort(port)) => header.source_port = *port,
        (Payload::Tcp { header, .. }, Edit::DestinationPort(port)) => header.destination_port = *port,
        (Payload::Udp { source, .. }, Edit::SourcePort(port)) => *source = *port,
        (Payload::Udp { destination, .. }, Edit::DestinationPort(port)) => *destination = *port,
        _ => {}
    }
}

fn elsewhere(host: Host, peer: Host, place: Place) -> Host {
    let (v4, v6) = match place {
        Place::Peer => return peer,
        Place::Loopback => ([127, 0, 0, 1], 1u128.to_be_bytes()),
        Place::Zero => ([0, 0, 0, 1], [0; 16]),
        Place::Multicast => ([224, 0, 0, 5], (0xff02u128 << 112 | 5).to_be_bytes()),
    };
    Host { v4, v6, ..host }
}

fn tamper(frame: &mut Frame, family: Family, edit: &Edit) {
    let version = frame.bytes[frame.ip_at];
    match edit {
        Edit::DataOffset(words) => frame.patch_transport(12, &[words << 4]),
        Edit::IpLength(length) => frame.patch_ip(if family == Family::V4 { 2 } else { 4 }, &length.to_be_bytes()),
        Edit::HeaderLength(words) => frame.patch_ip(0, &[version & 0xf0 | words]),
        Edit::Version(number) => {
            let ip_at = frame.ip_at;
            frame.bytes[ip_at] = number << 4 | version & 0x0f;
        }
        Edit::Cut(bytes) => frame.bytes.truncate(frame.transport_at + bytes),
        Edit::Pad(bytes) => frame.bytes.extend(vec![0; *bytes]),
        Edit::BadChecksum => {
            let at = frame.ip_at + 10;
            frame.bytes[at] ^= 0x55;
        }
        Edit::UdpLength(length) => frame.patch_transport(4, &length.to_be_bytes()),
        _ => {}
    }
}
