//! Which packets a bypass is needed for: those that strict inspection drops, as the tracker of strict flows itself says it.

use std::collections::BTreeMap;

use fastrand::Rng;
use firewall_common::{
    flow::{Flow, FlowKey, Inspection, NO_SCALE, Sender, State, flow_flags, flow_marks, peer_flags},
    parse::{Descriptor, Kind},
    reason::{Reason, Stage},
    rule::{Action, Timeouts},
    seq::Seq,
    testing::{
        builder::Packet,
        cases::rows,
        host::{CLIENT, Family, SERVER},
        play::{FROM_CLIENT, FROM_SERVER, fare},
        tables::Tables,
        world::World,
    },
    time::Nanos,
    track::{self, Context, Next, handshake, shadow, tcp_state, tcp_window},
    verdict::Verdict,
    wire::tcp::{Segment, flags, legal_flags},
};

/// Until strict inspection refuses a packet, both have seen the same.
#[test]
fn a_bypass_is_first_needed_where_strict_first_drops() {
    let mut met: BTreeMap<&str, usize> = BTreeMap::new();
    // Scripts that choose their policies are not about a level.
    for case in rows().flat_map(|row| row.cases).filter(|case| !case.script.contains("policy")) {
        for family in case.families {
            let under = |level| fare(case, level, *family, 3, &mut World::default()).expect("a script that can be read");
            for (strict, bypass) in under(Inspection::Strict).iter().zip(&under(Inspection::Bypass)) {
                let refused = match strict.verdict {
                    Verdict::Drop(reason) if bypass.verdict.passes() && reason.stage() != Stage::Relate => Some(reason),
                    _ => None,
                };
                // Bypass has forgotten an idle flow that strict inspection still knows.
                if case.script.contains('@') && bypass.needed == Some(Reason::TcpNotSyn) && refused.is_none() {
                    break;
                }
                assert_eq!(bypass.needed, refused, "{}: {}", case.id, bypass.line);
                if let Some(reason) = refused {
                    *met.entry(reason.name()).or_default() += 1;
                    break;
                }
            }
        }
    }
    let all = [
        Reason::TcpNotSyn,
        Reason::Tcp3whsFailed,
        Reason::TcpAckSynDiff,
        Reason::TcpSeqPastWindow,
        Reason::TcpInvalidAck,
        Reason::TcpRstOutOfOrder,
        Reason::TcpSynOutOfOrder,
        Reason::TcpSynAckOutOfOrder,
        Reason::TcpDataPastFin,
    ];
    for reason in all {
        assert!(met.contains_key(reason.name()), "no case meets {} first: {met:?}", reason.name());
    }
    println!("{met:?}");
}

/// A firewall that inspects strictly, says what it would drop, and lets it pass: the real tracker over a record of its own.
struct Lenient {
    flow: Option<Flow>,
}

impl Lenient {
    /// Why the segment would be dropped. What it lets through nonetheless it takes as [`shadow`] says it does.
    fn judge(&mut self, context: &Context<'_>) -> Option<Reason> {
        let segment = &context.descriptor.segment;
        if self.flow.is_some_and(|flow| flow.expired(context.now, 256)) {
            self.flow = None;
        }
        let Some(flow) = &mut self.flow else { return self.first(context) };
        if !legal_flags(segment.flags) {
            return Some(Reason::BadTcpFlags);
        }
        let before = *flow;
        let transition = track::step(flow, context);
        if transition.next == Next::Reopen {
            self.flow = None;
            return self.first(context);
        }
        let Verdict::Drop(reason) = transition.verdict else { return None };
        assert_eq!(*flow, before, "a dropped segment leaves no trace");
        self.let_through(context, reason);
        Some(reason)
    }

    fn first(&mut self, context: &Context<'_>) -> Option<Reason> {
        let segment = &context.descriptor.segment;
        let begins = segment.flags & (flags::SYN | flags::ACK | flags::RST | flags::FIN) == flags::SYN && legal_flags(segment.flags);
        let mut flow = Flow { state: State::SynSent as u8, pending_scale: NO_SCALE, last_seen: context.now.0, ..Flow::default() };
        flow.timeout = context.timeouts.embryonic;
        match (begins, context.sender) {
            (true, Sender::Initiator) => handshake::learn_syn(&mut flow.initiator, segment),
            // Under bypass the sides do not change.
            (true, Sender::Responder) => relearn(&mut flow, context),
            (false, sender) => {
                let reason = if legal_flags(segment.flags) { Reason::TcpNotSyn } else { Reason::BadTcpFlags };
                if sender == Sender::Responder && says_where(segment) {
                    relearn(&mut flow, context);
                    learn(&mut flow, context);
                    self.flow = Some(flow);
                }
                return Some(reason);
            }
        }
        self.flow = Some(flow);
        None
    }

    fn let_through(&mut self, context: &Context<'_>, reason: Reason) {
        let Some(flow) = &mut self.flow else { return };
        let unanswered = flow.state == State::SynSent as u8 && context.sender == Sender::Initiator;
        if unanswered || flow.state == State::Closed as u8 || !says_where(&context.descriptor.segment) {
            return;
        }
        if reason != Reason::TcpSeqPastWindow || flow.state < State::Established as u8 {
            relearn(flow, context);
        }
        learn(flow, context);
    }
}

/// A segment whose numbers say where its sender's data is.
fn says_where(segment: &Segment) -> bool {
    segment.flags & (flags::SYN | flags::RST) == 0 && legal_flags(segment.flags)
}

fn relearn(flow: &mut Flow, context: &Context<'_>) {
    tcp_window::relearn(flow);
    flow.state = State::Established as u8;
    flow.flags &= !(flow_flags::PENDING_SYN | flow_flags::PENDING_SYN_ACK);
    flow.timeout = context.timeouts.established;
}

fn learn(flow: &mut Flow, context: &Context<'_>) {
    let (from, to) = flow.peers_mut(context.sender);
    tcp_window::learn(from, to, &context.descriptor.segment);
    flow.state = tcp_state::closing(&flow.initiator, &flow.responder) as u8;
    flow.timeout = track::timeout::of_state(flow.state, context.timeouts);
    flow.last_seen = context.now.0;
}

/// Segments near a connection's numbers, some of which go on from the last.
struct Talk {
    sent: [u32; 2],
}

impl Talk {
    fn segment(&mut self, random: &mut Rng, side: usize) -> Segment {
        let near = |random: &mut Rng, number: u32| match random.u8(..16) {
            0..=11 => number,
            12 => number.wrapping_add(random.u32(..3)).wrapping_sub(1),
            13 => number.wrapping_add(random.u32(..3_000)).wrapping_sub(1_500),
            14 => number.wrapping_add(random.u32(..400_000)).wrapping_sub(200_000),
            _ => random.u32(..),
        };
        let set = match random.u8(..40) {
            0 | 1 => flags::SYN,
            2 | 3 => flags::SYN | flags::ACK,
            4 => flags::FIN | flags::ACK,
            5 => flags::RST,
            6 => flags::RST | flags::ACK,
            7 => random.u8(..),
            _ => flags::ACK,
        };
        let ack = if set & flags::ACK == 0 { 0 } else { near(random, self.sent[1 - side]) };
        let length = [0, 0, 100, 1460][random.usize(..4)];
        let scale = if set & flags::SYN == 0 { NO_SCALE } else { [NO_SCALE, 0, 7][random.usize(..3)] };
        let window = [60_000, 60_000, 500, 0][random.usize(..4)];
        let segment = Segment { seq: Seq(near(random, self.sent[side])), ack: Seq(ack), length, window, flags: set, scale };
        if random.u8(..4) != 0 {
            self.sent[side] = segment.end().0;
        }
        segment
    }
}

#[test]
fn a_packet_is_needed_exactly_when_strict_would_drop_it() {
    let mut random = Rng::with_seed(5);
    let mut met: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut packets, mut needed) = (0, 0);
    let timeouts = Timeouts::DEFAULT;
    for run in 0..40_000 {
        let mut talk = Talk { sent: [random.u32(..), random.u32(..)] };
        let mut strict = Lenient { flow: None };
        let mut bypass: Option<Flow> = None;
        let mut now = Nanos(1 << 50);
        // Most begin as connections do.
        let handshake = if random.u8(..4) == 0 { 0 } else { random.usize(..4) };
        for step in 0..random.usize(1..50) {
            let (side, mut segment) = match step {
                0 if handshake > 0 => (0, beginning(flags::SYN, talk.sent[0], 0)),
                1 if handshake > 1 => (1, beginning(flags::SYN | flags::ACK, talk.sent[1], talk.sent[0])),
                2 if handshake > 2 => (0, beginning(flags::ACK, talk.sent[0], talk.sent[1])),
                0 => (0, talk.segment(&mut random, 0)),
                _ => {
                    let side = random.usize(..2);
                    (side, talk.segment(&mut random, side))
                }
            };
            if step < handshake {
                talk.sent[side] = segment.end().0;
            }
            segment.scale = if segment.has(flags::SYN) { segment.scale } else { NO_SCALE };
            // Strict's time is counted from what it learned, and only of a closed connection is that kept to the moment.
            let closed = strict.flow.is_some_and(|flow| {
                flow.state == State::Closed as u8 && !flow.has(flow_flags::PENDING_SYN) && !flow.has(flow_flags::PENDING_SYN_ACK)
            });
            let leap = closed && random.u8(..4) == 0;
            now = now.plus(Nanos::from_millis(if leap { [3_000, 11_000][random.usize(..2)] } else { 1 }));
            let descriptor = Descriptor { kind: Kind::Tcp, ip_length: 40 + segment.length, segment, ..Descriptor::EMPTY };
            let sender = [Sender::Initiator, Sender::Responder][side];
            let context = Context {
                descriptor: &descriptor,
                sender,
                now,
                generation: 0,
                timeouts: &timeouts,
                expires: Nanos(0),
                checks: 0,
                guarded: false,
                merged: false,
            };
            let wanted = strict.judge(&context);
            let got = match &mut bypass {
                Some(flow) => Reason::from_number(track::step(flow, &context).needed),
                None => {
                    bypass = Some(first_of_bypass(&context));
                    shadow::refuse_first(&segment)
                }
            };
            assert_eq!(got, wanted, "run {run}, step {step}: {segment:?} of {sender:?}\nstrict {:?}\nbypass {bypass:?}", strict.flow);
            packets += 1;
            if let Some(reason) = wanted {
                needed += 1;
                *met.entry(reason.name()).or_default() += 1;
            }
            same_numbers(run, strict.flow.as_ref(), bypass.as_ref());
        }
    }
    assert!(needed > packets / 20 && needed < packets / 10 * 9, "{needed} of {packets} needed: {met:?}");
    assert!(met.len() >= 10 && met.values().all(|times| *times > 50), "{met:?}");
    println!("{packets} packets, {needed} needed: {met:?}");
}

/// The shadow's numbers are those of the strict record.
fn same_numbers(run: usize, strict: Option<&Flow>, bypass: Option<&Flow>) {
    let (Some(strict), Some(bypass)) = (strict, bypass) else { return };
    let numbers = |flow: &Flow| {
        [flow.initiator, flow.responder].map(|peer| {
            // What is to be learned may be left of anything.
            let known = if peer.has(peer_flags::RELEARN) { [0; 4] } else { [peer.end, peer.edge, peer.ack, peer.max_window] };
            (known, peer.scale, peer.flags)
        })
    };
    // Of a side that has not been heard anything may be left of an earlier connection.
    if strict.state == State::SynSent as u8 {
        assert_eq!(numbers(strict)[0], numbers(bypass)[0], "run {run}");
        return;
    }
    assert_eq!(shadow::state(bypass), strict.state, "run {run}: {strict:?}\n{bypass:?}");
    assert_eq!(numbers(strict), numbers(bypass), "run {run}: {strict:?}\n{bypass:?}");
}

fn beginning(set: u8, seq: u32, ack: u32) -> Segment {
    Segment { seq: Seq(seq), ack: Seq(if set & flags::ACK == 0 { 0 } else { ack }), length: 0, window: 60_000, flags: set, scale: NO_SCALE }
}

/// The record that stage admit makes of a first packet.
fn first_of_bypass(context: &Context<'_>) -> Flow {
    let segment = &context.descriptor.segment;
    let mut flow = Flow {
        state: State::Bypass as u8,
        inspection: Inspection::Bypass as u8,
        last_seen: context.now.0,
        timeout: context.timeouts.bypass,
        pending_scale: NO_SCALE,
        ..Flow::default()
    };
    if segment.has(flags::SYN) {
        handshake::learn_syn(&mut flow.initiator, segment);
    }
    flow.initiator.packets = 1;
    shadow::admit(&mut flow, segment, context.now);
    flow
}

fn judge(world: &World, side: usize, segment: &Segment) -> Verdict {
    let (client, server) = ((CLIENT, 40_000), (SERVER, 10_000));
    let (from, to, arrival) = if side == 0 { (client, server, FROM_CLIENT) } else { (server, client, FROM_SERVER) };
    world.judge(&Packet::tcp(Family::V4, from, to, segment).build().bytes, arrival)
}

/// Bypass is the same whatever its shadow has seen.
#[test]
fn no_verdict_under_bypass_depends_on_the_shadow() {
    let mut random = Rng::with_seed(9);
    for run in 0..1_500 {
        let tables = Tables::everything(Action::Allow, Inspection::Bypass);
        let worlds = [World::under(&tables), World::under(&tables)];
        let mut talk = Talk { sent: [random.u32(..), random.u32(..)] };
        for _ in 0..40 {
            let side = random.usize(..2);
            let segment = talk.segment(&mut random, side);
            let wait = Nanos::from_millis([1, 1, 1, 20_000, 50_000, 200_000][random.usize(..6)]);
            for (key, flow, established) in worlds[1].flows() {
                worlds[1].put(&key, Some((scrambled(&mut random, flow), established)));
            }
            worlds.iter().for_each(|world| world.advance(wait));
            let [with, scrambled] = [0, 1].map(|world| judge(&worlds[world], side, &segment));
            assert_eq!(with, scrambled, "run {run}: {segment:?}");
            assert_eq!(of_bypass(&worlds[0]), of_bypass(&worlds[1]), "run {run}: {segment:?}");
            assert_eq!(worlds[0].counters(), worlds[1].counters());
        }
    }
}

/// A record with anything for a shadow.
fn scrambled(random: &mut Rng, mut flow: Flow) -> Flow {
    for peer in [&mut flow.initiator, &mut flow.responder] {
        (peer.end, peer.edge, peer.ack) = (random.u32(..), random.u32(..), random.u32(..));
        (peer.max_window, peer.isn, peer.scale, peer.flags) = (random.u32(..), random.u32(..), random.u8(..15), random.u8(..));
    }
    shadow::set_state(&mut flow, random.u8(..10));
    flow.marks &= !flow_marks::STEADY;
    flow.pending = random.u32(..);
    flow.flags = flow.flags & !(flow_flags::PENDING_SYN | flow_flags::PENDING_SYN_ACK)
        | [0, flow_flags::PENDING_SYN, flow_flags::PENDING_SYN_ACK][random.usize(..3)];
    flow
}

/// The flows as far as bypass itself has to do with them.
fn of_bypass(world: &World) -> Vec<(FlowKey, bool, [u64; 6])> {
    let flags = |flow: &Flow| flow.flags & !(flow_flags::PENDING_SYN | flow_flags::PENDING_SYN_ACK);
    let facts = |flow: &Flow| {
        let counted = [flow.initiator.packets, flow.responder.packets];
        [counted[0], counted[1], flow.last_seen, flow.timeout.into(), flow.state.into(), flags(flow).into()]
    };
    world.flows().iter().map(|(key, flow, established)| (*key, *established, facts(flow))).collect()
}
