//! The short way of an ordinary segment against the long way of every packet: the same verdict and the same record.

use fastrand::Rng;
use firewall_common::{
    flow::{Flow, FlowKey, Inspection, NO_SCALE, Peer, Sender, State, flow_flags, flow_marks, peer_flags},
    normalize::checks,
    parse::{Descriptor, Kind},
    reason::Reason,
    rule::{Action, Timeouts},
    seq::Seq,
    testing::{
        builder::Packet,
        host::{CLIENT, Family, SERVER},
        play::{FROM_CLIENT, FROM_SERVER},
        tables::Tables,
        world::World,
    },
    time::Nanos,
    track::{
        self, Context, Transition, shadow,
        steady::{self, Taken},
    },
    wire::tcp::{Options, Segment, flags, marks},
};

/// One of them; the first is the commonest.
fn pick<T: Copy>(random: &mut Rng, usual: T, others: &[T]) -> T {
    if random.u8(..) < 230 { usual } else { others[random.usize(..others.len())] }
}

/// A number near another one.
fn near(random: &mut Rng, number: u32) -> u32 {
    match random.u8(..8) {
        0..=3 => number,
        4 => number.wrapping_add(random.u32(..3)).wrapping_sub(1),
        5 => number.wrapping_add(random.u32(..3_000)).wrapping_sub(1_500),
        6 => number.wrapping_add(random.u32(..400_000)).wrapping_sub(200_000),
        _ => random.u32(..),
    }
}

fn peer(random: &mut Rng, isn: u32) -> Peer {
    let acknowledged = peer_flags::SYN | peer_flags::SYN_ACKED;
    let end = near(random, isn);
    Peer {
        packets: random.u64(..1_000),
        bytes: random.u64(..1_000_000),
        end,
        max_window: pick(random, 60_000, &[1, 500, 200_000, 1 << 30]),
        isn,
        scale: pick(random, 0, &[1, 7, 14]),
        flags: pick(random, acknowledged, &[0, peer_flags::FIN, peer_flags::RELEARN, peer_flags::MIDSTREAM, peer_flags::FIN_ACKED, 0xff]),
        mss: pick(random, 1460, &[0, 536]),
        duplicate_acks: pick(random, 0, &[u16::MAX]),
        ..Peer::default()
    }
}

fn flow(random: &mut Rng) -> Flow {
    let firsts = [random.u32(..), pick(random, 0, &[u32::MAX - 5, 1 << 31])];
    let (mut initiator, mut responder) = (peer(random, firsts[0]), peer(random, firsts[1]));
    let ends = [initiator.end, responder.end];
    for (own, other) in [(&mut initiator, ends[1]), (&mut responder, ends[0])] {
        own.ack = near(random, other);
        own.edge = near(random, other.wrapping_add(60_000));
    }
    let bypass = (State::Bypass, Inspection::Bypass);
    let usual = if random.u8(..4) == 0 { bypass } else { (State::Established, Inspection::Strict) };
    let state = pick(random, usual.0, &State::ALL);
    let inspection = pick(random, usual.1, &[Inspection::Strict, Inspection::Tolerant, Inspection::Bypass]);
    let mut flow = Flow {
        generation: pick(random, 4, &[6]),
        last_seen: 1_000,
        timeout: pick(random, 7_440_000, &[5]),
        state: state as u8,
        inspection: inspection as u8,
        flags: pick(random, flow_flags::INITIATOR_LOW | flow_flags::REPLIED, &[0, flow_flags::REPLIED | flow_flags::SHORTENED, 0xff]),
        features: pick(random, 0, &[0x0f, 0x10]),
        marks: pick(random, 0, &[flow_marks::OVER]),
        handshake_micros: pick(random, 30, &[0]),
        initiator,
        responder,
        ..Flow::default()
    };
    if state == State::Bypass {
        shadow::set_state(&mut flow, pick(random, State::Established, &State::ALL) as u8);
    }
    flow
}

fn descriptor(random: &mut Rng, flow: &Flow, sender: Sender) -> Descriptor {
    let (from, to) = match sender {
        Sender::Initiator => (&flow.initiator, &flow.responder),
        Sender::Responder => (&flow.responder, &flow.initiator),
    };
    let plain = [flags::ACK | flags::PSH, flags::ACK | flags::ECE, flags::ACK | flags::FIN, flags::RST, flags::SYN, 0xff];
    let acknowledged = if random.bool() { to.end } else { from.ack };
    let segment = Segment {
        seq: Seq(near(random, from.end)),
        ack: Seq(near(random, acknowledged)),
        length: pick(random, 100, &[0, 0, 0, 1, 1460, 60_000]),
        window: pick(random, 60_000, &[0, 1, 500, u16::MAX]),
        flags: pick(random, flags::ACK, &plain),
        scale: NO_SCALE,
    };
    let options =
        Options { sack: Seq(to.end), marks: pick(random, 0, &[marks::TIMESTAMPS, marks::SACK, marks::MD5]), ..Options::default() };
    let kind = pick(random, Kind::Tcp, &[Kind::Udp]);
    Descriptor { kind, ip_length: 40 + segment.length, segment, options, ..Descriptor::EMPTY }
}

#[test]
fn the_short_way_is_the_long_way() {
    let mut random = Rng::with_seed(7);
    let (mut taken, mut bypassed, mut past, mut left, mut unsettled) = (0, 0, 0, 0, 0);
    for case in 0..2_000_000 {
        let mut flow = flow(&mut random);
        let sender = if random.bool() { Sender::Initiator } else { Sender::Responder };
        let descriptor = descriptor(&mut random, &flow, sender);
        let timeouts = Timeouts::DEFAULT;
        let asked =
            pick(&mut random, checks::DEFAULT, &[0, checks::ASA, checks::EXCEED_MSS, checks::OUT_OF_ORDER, checks::WINDOW_VARIATION]);
        let merged = random.bool();
        let expires = Nanos(pick(&mut random, 0, &[6_000, u64::MAX]));
        let now = Nanos(5_000);
        let context = Context {
            descriptor: &descriptor,
            sender,
            now,
            generation: 4,
            timeouts: &timeouts,
            expires,
            checks: asked,
            guarded: false,
            merged,
        };
        steady::settle(&mut flow, &context);
        // Another CPU may have given it to a rule that asks for more than this one.
        assert!(
            flow.generation == context.generation || flow.marks & flow_marks::STEADY == 0,
            "case {case}: settled by a rule that it no longer has"
        );
        if flow.marks & flow_marks::STEADY == 0 || !steady::is_ordinary(&descriptor) {
            unsettled += 1;
            continue;
        }
        let mut short = flow;
        let needed = match steady::advance(&mut short, &descriptor, sender, context.now) {
            Taken::Not => {
                assert_eq!(short, flow, "case {case}: it left the segment, and a trace");
                left += 1;
                continue;
            }
            Taken::InOrder => 0,
            Taken::PastWindow => Reason::TcpSeqPastWindow as u8,
        };
        let mut long = flow;
        let transition = Transition { needed, ..Transition::LEARN };
        assert_eq!(track::step(&mut long, &context), transition, "case {case}: {flow:?} {descriptor:?}");
        assert_eq!(short, long, "case {case}: {flow:?} {descriptor:?}");
        assert_ne!(expires, Nanos(6_000), "case {case}: the end of its rule would pass unseen");
        taken += 1;
        past += u32::from(needed != 0);
        bypassed += u32::from(flow.inspection == Inspection::Bypass as u8);
    }
    let counted = format!("{taken} taken, {bypassed} of them under bypass, {past} of those past the window, {left} left");
    assert!(taken > 100_000 && bypassed > 20_000 && past > 2_000 && left > 100_000, "{counted}");
    assert!(unsettled > 100_000, "{unsettled} unsettled");
}

/// A connection's segments, most of them in order.
struct Connection {
    sent: [u32; 2],
    acknowledged: [u32; 2],
}

impl Connection {
    fn segment(&mut self, random: &mut Rng, side: usize) -> Segment {
        let length = pick(random, 100, &[0, 0, 1, 1460]);
        let segment = Segment {
            seq: Seq(pick(random, self.sent[side], &[self.sent[side].wrapping_sub(100), self.sent[side].wrapping_add(100)])),
            ack: Seq(pick(random, self.sent[1 - side], &[self.acknowledged[side], self.sent[1 - side].wrapping_add(5)])),
            length,
            window: pick(random, 60_000, &[0, 100, 30_000]),
            flags: pick(random, flags::ACK, &[flags::ACK | flags::PSH, flags::RST | flags::ACK, flags::SYN, flags::ACK]),
            scale: NO_SCALE,
        };
        self.sent[side] = self.sent[side].max(segment.seq.0.wrapping_add(length));
        self.acknowledged[side] = segment.ack.0;
        segment
    }
}

fn judge(world: &World, segment: &Segment, side: usize) -> firewall_common::verdict::Verdict {
    let (client, server) = ((CLIENT, 40_000), (SERVER, 443));
    let (from, to, arrival) = if side == 0 { (client, server, FROM_CLIENT) } else { (server, client, FROM_SERVER) };
    world.judge(&Packet::tcp(Family::V6, from, to, segment).build().bytes, arrival)
}

/// The flows, none of them steady.
fn unmarked(world: &World) -> Vec<(FlowKey, Flow, bool)> {
    let unmark =
        |(key, flow, established): (FlowKey, Flow, bool)| (key, Flow { marks: flow.marks & !flow_marks::STEADY, ..flow }, established);
    world.flows().into_iter().map(unmark).collect()
}

/// Through the whole pipeline: a firewall whose flows never are steady, beside one whose flows are, through changes of policy and time.
#[test]
fn a_firewall_without_the_short_way_does_the_same() {
    let mut random = Rng::with_seed(11);
    let mut steady = 0;
    for _ in 0..400 {
        let tables = Tables::everything(Action::Allow, Inspection::Strict);
        let mut worlds = [World::under(&tables), World::under(&tables)];
        let mut connection = Connection { sent: [1_000, 5_000], acknowledged: [0; 2] };
        let handshake = [(0, flags::SYN, 999, 0), (1, flags::SYN | flags::ACK, 4_999, 1_000), (0, flags::ACK, 1_000, 5_000)];
        let mut segments: Vec<_> = handshake
            .into_iter()
            .map(|(side, set, seq, ack)| {
                (side, Segment { seq: Seq(seq), ack: Seq(ack), length: 0, window: 60_000, flags: set, scale: NO_SCALE })
            })
            .collect();
        segments.extend((0..60).map(|_| {
            let side = random.usize(..2);
            (side, connection.segment(&mut random, side))
        }));
        for (number, (side, segment)) in segments.iter().enumerate() {
            let level = pick(&mut random, None, &[Some(Inspection::Strict), Some(Inspection::Tolerant), Some(Inspection::Bypass)]);
            let wait = Nanos(pick(&mut random, 1, &[1_000_000, 400_000_000_000]));
            for world in &mut worlds {
                if let Some(level) = level.filter(|_| number > 2 && number % 8 == 0) {
                    world.load(&Tables::everything(Action::Allow, level));
                }
                world.advance(wait);
            }
            for (key, flow, established) in unmarked(&worlds[1]) {
                worlds[1].put(&key, Some((flow, established)));
            }
            steady += worlds[0].flows().iter().filter(|(_, flow, _)| flow.marks & flow_marks::STEADY != 0).count();
            let [with, without] = &worlds;
            assert_eq!(judge(with, segment, *side), judge(without, segment, *side), "{segment:?}");
            assert_eq!(unmarked(with), unmarked(without), "{segment:?}");
            assert_eq!(with.counters(), without.counters());
        }
    }
    assert!(steady > 4_000, "only {steady} packets met a steady flow");
}
