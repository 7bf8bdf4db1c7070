//! Plays a script against a firewall: the pipeline on the host or the object in the kernel, whichever stands behind [`Subject`].

use crate::{
    counter::{Counters, RuleCounters},
    env::Arrival,
    event,
    flow::{Endpoint, Flow, FlowKey, Inspection, Peer, State, flow_flags, flow_marks},
    guard::proof::bits,
    hours::{self, Week},
    limit::Limits,
    normalize::randomize,
    parse::{self, Descriptor},
    reason::Reason,
    rule::{Action, Rule, rule_flags},
    seq::Seq,
    testing::{
        builder::{Frame, Packet, Part, Payload, hex},
        cases::Case,
        ctcp,
        host::{CLIENT, Family, Host, OTHER, SERVER},
        profiles,
        script::{self, About, Edit, Expect, Kind, Line, Number, Outcome, Place, Record, Send, Side, Step},
        tables::{THE_RULE, Tables},
        world::{Faults, SECRET, World},
    },
    time::Nanos,
    verdict::Verdict,
    wire::{
        ethernet::ether_type,
        protocol, quote,
        tcp::{Segment, flags},
    },
};

/// A firewall under test.
pub trait Subject {
    /// Puts a policy in force.
    fn load(&mut self, tables: &Tables);
    /// Judges a frame, and tells what bytes it goes on with if it passes.
    fn judge_and_change(&mut self, frame: &[u8], arrival: Arrival) -> (Verdict, Vec<u8>);
    fn judge(&mut self, frame: &[u8], arrival: Arrival) -> Verdict {
        self.judge_and_change(frame, arrival).0
    }
    /// The flow with this key, and whether it is established.
    fn flow(&mut self, key: &FlowKey) -> Option<(Flow, bool)>;
    /// Lets time pass for every flow and fragment.
    fn advance(&mut self, by: Nanos);
    /// Forgets every flow and fragment.
    fn clear(&mut self);
    /// Sets the bits of [`crate::config::config_flags`].
    fn set_flags(&mut self, flags: u32);
    /// Says whether packets come in by a software device, see [`crate::config::interface_flags::UNFINISHED_CHECKSUMS`].
    fn set_software(&mut self, software: bool);
    /// Every flow, and whether it is established.
    fn flows(&mut self) -> Vec<(FlowKey, Flow, bool)>;
    /// Lets time pass for one flow only.
    fn age(&mut self, key: &FlowKey, by: Nanos);
    fn counters(&mut self) -> Counters;
    /// Totals of the one rule of the policies of [`Tables`].
    fn rule_counters(&mut self) -> RuleCounters;
    /// From now on another CPU holds the record of every datagram there is, or lets go of it.
    fn hold_datagrams(&mut self, held: bool);
    /// Judges two packets at once where there are CPUs for it, and tells which passed.
    fn race(&mut self, frames: [&[u8]; 2], arrival: Arrival) -> [bool; 2];
    /// Asks for events of these kinds, see [`crate::config::Config::event_kinds`], and so many of each in a second.
    fn listen(&mut self, kinds: u32, rate: u32);
    /// The events since the last call.
    fn take_events(&mut self) -> Vec<event::Record>;
    /// What became of the events so far.
    fn tally(&mut self) -> event::Tally;
}

impl Subject for World {
    fn load(&mut self, tables: &Tables) {
        Self::load(self, tables);
    }

    fn judge_and_change(&mut self, frame: &[u8], arrival: Arrival) -> (Verdict, Vec<u8>) {
        Self::judge_and_change(self, frame, arrival)
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

    fn set_software(&mut self, software: bool) {
        self.software.set(software);
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

    fn rule_counters(&mut self) -> RuleCounters {
        Self::rule_counters(self, THE_RULE)
    }

    fn hold_datagrams(&mut self, held: bool) {
        self.faults.set(Faults { busy: held, ..self.faults.get() });
    }

    fn race(&mut self, frames: [&[u8]; 2], arrival: Arrival) -> [bool; 2] {
        frames.map(|frame| Self::judge(self, frame, arrival).passes())
    }

    fn listen(&mut self, kinds: u32, rate: u32) {
        self.configure(|config| (config.event_kinds, config.event_rate) = (kinds, rate));
    }

    fn take_events(&mut self) -> Vec<event::Record> {
        Self::take_events(self)
    }

    fn tally(&mut self) -> event::Tally {
        Self::tally(self)
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
    let column = LEVELS.iter().position(|candidate| *candidate == level).unwrap_or(0);
    let mut sent = 0;
    each(case, level, family, seed, subject, |subject, turn| {
        let complaint = check(subject, turn.frame, turn.arrival, &turn.expect[column], turn.becomes);
        complaint.map_err(|complaint| report(case, level, family, seed, turn.line, turn.frame, &complaint))?;
        sent += 1;
        Ok(())
    })?;
    Ok(sent)
}

/// What became of one packet of a case.
#[derive(Clone, Debug)]
pub struct Fared {
    pub line: String,
    pub frame: Vec<u8>,
    pub verdict: Verdict,
    /// Why strict inspection would have dropped it, where it was counted as needed.
    pub needed: Option<Reason>,
}

/// Plays a case under one inspection level and tells what became of each packet, whatever was expected.
///
/// # Errors
/// A script that cannot be read.
pub fn fare(case: &Case, level: Inspection, family: Family, seed: u64, subject: &mut impl Subject) -> Result<Vec<Fared>, String> {
    let mut fared = Vec::new();
    each(case, level, family, seed, subject, |subject, turn| {
        let before = subject.rule_counters().needed;
        let verdict = subject.judge(turn.frame, turn.arrival);
        let needed = needed_since(subject, before);
        fared.push(Fared { line: turn.line.text.clone(), frame: turn.frame.to_vec(), verdict, needed });
        Ok(())
    })?;
    Ok(fared)
}

/// Why the last packet was needed, when there were so many needed ones before it.
fn needed_since(subject: &mut impl Subject, before: u64) -> Option<Reason> {
    let counters = subject.rule_counters();
    if counters.needed == before { None } else { u8::try_from(counters.needed_for).ok().and_then(Reason::from_number) }
}

/// One packet's turn.
struct Turn<'a> {
    line: &'a Line,
    frame: &'a [u8],
    arrival: Arrival,
    expect: &'a [Expect; 3],
    becomes: &'a [u8],
}

fn each<S: Subject>(
    case: &Case,
    level: Inspection,
    family: Family,
    seed: u64,
    subject: &mut S,
    mut send: impl FnMut(&mut S, &Turn<'_>) -> Result<(), String>,
) -> Result<(), String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let lines = script::parse(case.script).map_err(|why| format!("{}: {why}", case.id))?;
    let mut conversation = Conversation::new(&mut random);
    subject.clear();
    subject.load(&policy(level.name(), level)?);
    subject.set_flags(0);
    for line in &lines {
        match &line.step {
            Step::Wait(time) => subject.advance(*time),
            Step::Policy(name) => subject.load(&policy(name, level)?),
            Step::Forget => {
                subject.clear();
                conversation = Conversation::new(&mut random);
            }
            Step::Flags(flags) => subject.set_flags(*flags),
            Step::Far => conversation.first = [0x5000_0000, 0x6000_0000],
            Step::Send { packet, expect, becomes } => {
                let (frame, arrival) = frame(packet, family, &conversation);
                let becomes = becomes.as_ref().map(|packet| self::frame(packet, family, &conversation).0);
                let becomes = becomes.as_ref().unwrap_or(&frame);
                send(subject, &Turn { line, frame: &frame, arrival, expect, becomes })?;
            }
        }
    }
    Ok(())
}

fn report(case: &Case, level: Inspection, family: Family, seed: u64, line: &Line, frame: &[u8], complaint: &str) -> String {
    format!("{} ({}, {family:?}, seed {seed}): {}\n    {complaint}\n    packet {}", case.id, level.name(), line.text, hex(frame))
}

/// The policies scripts name.
fn policy(name: &str, level: Inspection) -> Result<Tables, String> {
    let everything = |inspection| Tables::everything(Action::Allow, inspection);
    Ok(match name {
        "strict" => everything(Inspection::Strict),
        "tolerant" => everything(Inspection::Tolerant),
        "bypass" => everything(Inspection::Bypass),
        "no-icmp" => everything(level).without_icmp(),
        "from-zone-1" => Tables::from_zone_1(Inspection::Strict),
        "drop" => Tables::everything(Action::Drop, Inspection::Strict),
        "reject" => Tables::everything(Action::Reject, Inspection::Strict),
        "sanity-off" => everything(Inspection::Bypass).without_sanity(),
        "no-quota" => {
            let bypass = everything(Inspection::Bypass);
            Tables::single(Rule { one_sided_quota: 0, ..bypass.entries[0] })
        }
        "logged" => everything(level).logged(),
        "drop logged" => Tables::everything(Action::Drop, Inspection::Strict).logged(),
        "hours always" => everything(Inspection::Strict).with_hours(Week([u64::MAX; hours::WORDS])),
        "guard ctcp" => everything(Inspection::Bypass).guarded(rule_flags::GUARD_CTCP),
        "guard esp" => everything(Inspection::Bypass).guarded(rule_flags::GUARD_ESP),
        "guard ctcp esp" => everything(Inspection::Bypass).guarded(rule_flags::GUARDED),
        "hours never" => everything(Inspection::Strict).with_hours(Week::NEVER),
        other => match (other.strip_prefix("profile "), other.strip_prefix("limits ")) {
            (Some(name), _) => profiled(name)?,
            (_, Some(limits)) => limited(limits)?,
            (None, None) => return Err(format!("no policy: {other}")),
        },
    })
}

/// `strict`, or `bypass` when that word is among them, with limits such as `flows=1`.
fn limited(words: &str) -> Result<Tables, String> {
    let mut inspection = Inspection::Strict;
    let mut limits = Limits::NONE;
    for word in words.split_whitespace() {
        let (key, value) = word.split_once('=').unwrap_or((word, "0"));
        let limit = match key {
            "bypass" => {
                inspection = Inspection::Bypass;
                continue;
            }
            "flows" => &mut limits.flows,
            "embryonic" => &mut limits.embryonic,
            "source-flows" => &mut limits.source_flows,
            "source-embryonic" => &mut limits.source_embryonic,
            _ => return Err(format!("no limit: {word}")),
        };
        *limit = value.parse().map_err(|_| format!("no number: {word}"))?;
    }
    Ok(Tables::everything(Action::Allow, inspection).with_limits(limits))
}

/// `strict` with a normalizer profile, or `bypass` with what of it applies there.
fn profiled(name: &str) -> Result<Tables, String> {
    let (name, inspection) = match name.strip_suffix(" bypass") {
        Some(name) => (name, Inspection::Bypass),
        None => (name, Inspection::Strict),
    };
    let profile = profiles::named(name).ok_or_else(|| format!("no profile: {name}"))?;
    Ok(Tables::everything(Action::Allow, inspection).with_profile(profile))
}

fn check(subject: &mut impl Subject, frame: &[u8], arrival: Arrival, expect: &Expect, becomes: &[u8]) -> Result<(), String> {
    let mut descriptor = Descriptor::EMPTY;
    // A packet that cannot be read has no flow; then the key is that of nothing. An error's flow is that of the packet it quotes.
    let readable = parse::parse(&frame, arrival.egress, &mut descriptor).is_ok();
    if readable && matches!(descriptor.kind, parse::Kind::IcmpError) {
        let own = descriptor;
        if quote::read(&frame, &mut descriptor).is_err() {
            descriptor = own;
        }
    }
    let key = if readable { descriptor.key } else { FlowKey::default() };
    let before = subject.flow(&key);
    let needed_before = subject.rule_counters().needed;
    let (verdict, changed) = subject.judge_and_change(frame, arrival);
    let after = subject.flow(&key);
    let wanted = match expect.outcome {
        Outcome::Pass | Outcome::Needed(_) | Outcome::Unneeded => Verdict::Learn,
        Outcome::NoState | Outcome::Noted | Outcome::Untouched | Outcome::Forward => Verdict::NoLearn,
        Outcome::Drop(reason) | Outcome::Close(reason) => Verdict::Drop(reason),
        Outcome::Answer => Verdict::Answer,
    };
    if verdict != wanted {
        return Err(format!("{verdict:?}, not {wanted:?}; the record was {before:?}"));
    }
    if verdict.passes() && changed != becomes {
        return Err(format!("it goes on as {}, not {}", hex(&changed), hex(becomes)));
    }
    let wanted = match expect.outcome {
        Outcome::Needed(reason) => Some(Some(reason)),
        Outcome::Unneeded | Outcome::Drop(_) => Some(None),
        _ => None,
    };
    let needed = needed_since(subject, needed_before);
    if wanted.is_some_and(|wanted| wanted != needed) {
        return Err(format!("needed for {needed:?}; the record was {before:?}, and is {after:?}"));
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
        (Outcome::Drop(_) | Outcome::NoState | Outcome::Noted | Outcome::Untouched, Some(_), None) if !removal => {
            Err("the record is gone".to_owned())
        }
        (Outcome::Drop(_) | Outcome::NoState | Outcome::Noted | Outcome::Untouched, None, Some(flow)) => {
            Err(format!("a record came to be: {flow:?}"))
        }
        (outcome, Some((before, _)), Some((after, _))) => unchanged(outcome, &before, &after),
        _ => Ok(()),
    }
}

/// What an outcome other than `pass` leaves as it was.
fn unchanged(outcome: Outcome, before: &Flow, after: &Flow) -> Result<(), String> {
    // A packet that meets a new policy first has its flow judged again.
    let judged_again = before.generation != after.generation;
    let (mut old, mut new) = (*before, *after);
    // A guard notes what it has looked at, and counts what it refuses; when that is enough the flow is another's to judge.
    if (old.guard ^ new.guard) & bits::PROVEN != 0 && matches!(outcome, Outcome::Drop(_)) {
        return Ok(());
    }
    (old.guard, new.guard) = (0, 0);
    match outcome {
        Outcome::Pass | Outcome::Needed(_) | Outcome::Unneeded | Outcome::Forward | Outcome::Answer => return Ok(()),
        Outcome::Close(_) if after.state == State::Closed as u8 => return Ok(()),
        Outcome::Close(_) => return Err(format!("the connection is not over: {after:?}")),
        Outcome::Drop(_) | Outcome::NoState | Outcome::Noted | Outcome::Untouched if judged_again => return Ok(()),
        Outcome::Drop(_) | Outcome::Untouched => {}
        Outcome::NoState => [&mut old, &mut new].map(without_counters).into_iter().for_each(drop),
        Outcome::Noted => [&mut old, &mut new].map(without_notes).into_iter().for_each(drop),
    }
    if old == new { Ok(()) } else { Err(format!("the record has changed:\n    from {before:?}\n    to   {after:?}")) }
}

/// Nor without what follows from the rest of the record, and is only noted with a packet that passes.
fn without_counters(flow: &mut Flow) {
    flow.marks &= !flow_marks::STEADY;
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
    if flow.state == State::SynSent as u8 {
        flow.responder.ack = 0;
    }
}

fn frame(send: &Send, family: Family, conversation: &Conversation) -> (Vec<u8>, Arrival) {
    let (frame, arrival) = tampered(send, family, conversation);
    (frame.bytes, arrival)
}

/// A line's frame with all its edits, and where it comes in.
fn tampered(send: &Send, family: Family, conversation: &Conversation) -> (Frame, Arrival) {
    let (from, to, mut arrival) = match send.side {
        Side::Client => (CLIENT, SERVER, FROM_CLIENT),
        Side::Other => (OTHER, SERVER, FROM_CLIENT),
        Side::Server => (SERVER, CLIENT, FROM_SERVER),
    };
    let mut packet = packet(send, family, conversation, from, to);
    for edit in &send.edits {
        edit_packet(&mut packet, edit, conversation.first[usize::from(send.side != Side::Server)]);
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
    (frame, arrival)
}

fn packet(send: &Send, family: Family, conversation: &Conversation, from: Host, to: Host) -> Packet {
    let own = usize::from(send.side == Side::Server);
    let (sport, dport) = (conversation.ports[own], conversation.ports[1 - own]);
    match send.kind {
        Kind::Tcp(flags) => {
            let shift = shift(send, FlowKey::new(protocol::TCP, end(from, sport, family), end(to, dport, family)));
            let segment = Segment {
                seq: absolute(send.seq, conversation.first[own]).add(shift.0),
                ack: absolute(send.ack, conversation.first[1 - own]).add(shift.1),
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
        Kind::Esp { spi, sequence } => Packet::esp(family, from, to, spi, sequence, send.length as usize),
        Kind::Ah { spi, sequence } => Packet::ah(family, from, to, spi, sequence, send.length as usize),
        Kind::Error { about, ref quoted } => {
            let (inner, _) = tampered(quoted, family, conversation);
            Packet::error(family, from, to, error_type(family, about), &quote_of(&inner, send))
        }
    }
}

fn end(host: Host, port: u16, family: Family) -> Endpoint {
    Endpoint { address: host.address(family), port }
}

/// What randomization adds to a segment's sequence and acknowledgement number where the line sees it.
fn shift(send: &Send, (key, source_is_low): (FlowKey, bool)) -> (u32, u32) {
    let (low, high) = randomize::offsets(&SECRET, &key);
    let (own, peer) = if source_is_low { (low, high) } else { (high, low) };
    match send.kind {
        Kind::Tcp(_) if send.edits.contains(&Edit::Behind) => (own, 0),
        Kind::Tcp(set) if send.edits.contains(&Edit::Before) && set & flags::ACK != 0 => (0, peer),
        _ => (0, 0),
    }
}

/// Type and code of an error.
const fn error_type(family: Family, about: About) -> (u8, u8) {
    match (family, about) {
        (Family::V4, About::Unreachable) => (3, 3),
        (Family::V4, About::TooBig) => (3, 4),
        (Family::V4, About::TimeExceeded) => (11, 0),
        (Family::V4, About::ParameterProblem) => (12, 0),
        (Family::V6, About::Unreachable) => (1, 4),
        (Family::V6, About::TooBig) => (2, 0),
        (Family::V6, About::TimeExceeded) => (3, 0),
        (Family::V6, About::ParameterProblem) => (4, 0),
    }
}

/// What an error quotes of a packet: its IP header, and as many bytes behind it as it is told to.
fn quote_of(frame: &Frame, send: &Send) -> Vec<u8> {
    let length = send.edits.iter().find_map(|edit| if let Edit::Quote(length) = edit { Some(*length) } else { None }).unwrap_or(32);
    frame.bytes[frame.ip_at..frame.bytes.len().min(frame.transport_at + length)].to_vec()
}

fn absolute(number: Number, first: u32) -> Seq {
    match number {
        Number::Relative(offset) => Seq(first.wrapping_add(offset as u32)),
        Number::Bare(number) => Seq(number),
    }
}

fn edit_packet(packet: &mut Packet, edit: &Edit, peer_first: u32) {
    match edit {
        Edit::Sack(blocks) => {
            let edge = |offset: i64| peer_first.wrapping_add(offset as u32).to_be_bytes();
            let blocks: Vec<u8> = blocks.iter().flat_map(|(left, right)| [edge(*left), edge(*right)].concat()).collect();
            let head = [1, 1, 5, u8::try_from(2 + blocks.len()).expect("few blocks")];
            edit_payload(&mut packet.payload, &Edit::Options([&head[..], &blocks].concat()));
        }
        Edit::IpOptions(options) => packet.ip_options.clone_from(options),
        Edit::Extensions(numbers) => packet.extensions.extend(numbers.iter().map(|number| (*number, vec![0; 6]))),
        Edit::InnerExtensions(numbers) => packet.inner.extend(numbers.iter().map(|number| (*number, vec![0; 6]))),
        Edit::Routing(kind, left) => packet.extensions.push((protocol::ROUTING, vec![*kind, *left, 0, 0, 0, 0])),
        Edit::LongOptions(length) => packet.extensions.push((protocol::DESTINATION_OPTIONS, vec![0; length - 2])),
        Edit::DontFragment => packet.dont_fragment = true,
        Edit::HopLimit(hops) => packet.hop_limit = *hops,
        Edit::Vlan(tags) => {
            packet.tags =
                (0..*tags).map(|tag| (if tag + 1 == *tags { ether_type::VLAN } else { ether_type::PROVIDER_VLAN }, 100)).collect();
        }
        Edit::Fragment { offset, length, more } => {
            packet.part = Some(Part { offset: *offset, length: Some(*length), more: *more, identification: 4711 });
        }
        Edit::Identification(identification) => packet.part = packet.part.map(|part| Part { identification: *identification, ..part }),
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
        (payload @ Payload::Tcp { .. }, Edit::Timestamp(value)) => {
            let option = [&[1, 1, 8, 10][..], &value.to_be_bytes(), &[0; 4]].concat();
            edit_payload(payload, &Edit::Options(option));
        }
        (Payload::Tcp { data, .. }, Edit::Data(byte)) => data.fill(*byte),
        (Payload::Tcp { data, .. }, Edit::Ctcp { spi, sequence, trailer }) => {
            ctcp::esp(data, *spi, *sequence);
            if *trailer {
                ctcp::trailer(data, protocol::ESP);
            }
        }
        (Payload::Tcp { data, .. }, Edit::CtcpIke) => {
            ctcp::ike(data);
            ctcp::trailer(data, protocol::UDP);
        }
        (Payload::Tcp { data, .. }, Edit::Spoil(what)) => ctcp::spoil(data, *what),
        (Payload::Tcp { header, .. }, Edit::SourcePort(port)) => header.source_port = *port,
        (Payload::Tcp { header, .. }, Edit::DestinationPort(port)) => header.destination_port = *port,
        (Payload::Udp { data: own, .. } | Payload::Icmp { data: own, .. } | Payload::Other { bytes: own, .. }, Edit::Bytes(bytes)) => {
            let rest = own.split_off(bytes.len().min(own.len()));
            *own = [&bytes[..], &rest].concat();
        }
        (Payload::Udp { data: own, .. } | Payload::Icmp { data: own, .. } | Payload::Other { bytes: own, .. }, Edit::Size(size)) => {
            own.resize(*size, 0);
        }
        (Payload::Icmp { rest, .. }, Edit::Rest(bytes)) => *rest = *bytes,
        (Payload::Icmp { rest, .. }, Edit::Mtu(mtu)) => rest[2..].copy_from_slice(&mtu.to_be_bytes()),
        (Payload::Udp { source, .. }, Edit::SourcePort(port)) => *source = *port,
        (Payload::Udp { destination, .. }, Edit::DestinationPort(port)) => *destination = *port,
        _ => {}
    }
}

fn elsewhere(host: Host, peer: Host, place: Place) -> Host {
    let (v4, v6) = match place {
        Place::Peer => return peer,
        Place::Client => return CLIENT,
        Place::LinkLocal => ([169, 254, 0, 1], (0xfe80u128 << 112 | 1).to_be_bytes()),
        Place::Solicited => ([224, 0, 0, 1], (0xff02u128 << 112 | 0x01_ff00_0010).to_be_bytes()),
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
        Edit::TcpChecksum { unfinished: false } => frame.bytes[frame.transport_at + 16] ^= 0x55,
        Edit::TcpChecksum { unfinished: true } => frame.unfinish(),
        Edit::Reserved(bits) => frame.set_reserved(*bits),
        Edit::UdpLength(length) => frame.patch_transport(4, &length.to_be_bytes()),
        Edit::NextHeader(number) => frame.bytes[frame.transport_at - 8] = *number,
        _ => {}
    }
}
