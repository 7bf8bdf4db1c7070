//! IPsec over TCP under bypass: when it needs that, as a stream that repeats nothing and a receiver that has holes make it.

use std::collections::BTreeMap;

use fastrand::Rng;
use firewall_common::{
    flow::{Inspection, NO_SCALE},
    reason::Reason,
    rule::Action,
    seq::Seq,
    testing::{
        builder::Packet,
        host::{CLIENT, Family, SERVER},
        play::{FROM_CLIENT, FROM_SERVER},
        tables::{THE_RULE, Tables},
        world::World,
    },
    time::Nanos,
    verdict::Verdict,
    wire::tcp::{Segment, flags},
};

fn judge(world: &World, side: usize, segment: &Segment) -> Verdict {
    let (client, server) = ((CLIENT, 40_000), (SERVER, 10_000));
    let (from, to, arrival) = if side == 0 { (client, server, FROM_CLIENT) } else { (server, client, FROM_SERVER) };
    world.judge(&Packet::tcp(Family::V4, from, to, segment).build().bytes, arrival)
}

/// What a receiver of a stream that sends nothing twice makes of a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Acknowledges {
    WhatCameInOrder,
    HighestSeen,
}

/// IPsec over TCP between two ends, through the firewall: why packets were needed, and how many.
fn ctcp(acknowledges: Acknowledges, lost_in_a_thousand: u32, before: bool, seed: u64) -> (u64, BTreeMap<&'static str, u64>) {
    const SIZE: u32 = 1000;
    let mut random = Rng::with_seed(seed);
    let world = World::under(&Tables::everything(Action::Allow, Inspection::Bypass));
    let first = [random.u32(..), random.u32(..)];
    let mut sent = first.map(|first| first.wrapping_add(1));
    let mut expected = [sent[1], sent[0]];
    let mut reasons = BTreeMap::new();
    let mut send = |side: usize, segment: Segment| {
        let needed = world.rule_counters(THE_RULE).needed;
        assert!(judge(&world, side, &segment).passes());
        let counters = world.rule_counters(THE_RULE);
        if counters.needed > needed {
            let reason = u8::try_from(counters.needed_for).ok().and_then(Reason::from_number).expect("a reason");
            *reasons.entry(reason.name()).or_default() += 1;
        }
        world.advance(Nanos(1_000_000));
    };
    let plain = |set, seq, ack| Segment {
        seq: Seq(seq),
        ack: Seq(if set & flags::ACK == 0 { 0 } else { ack }),
        length: 0,
        window: u16::MAX,
        flags: set,
        scale: NO_SCALE,
    };
    send(0, plain(flags::SYN, first[0], 0));
    send(1, plain(flags::SYN | flags::ACK, first[1], sent[0]));
    send(0, plain(flags::ACK, sent[0], sent[1]));
    let mut packets = 3;
    for _ in 0..4_000 {
        let side = random.usize(..2);
        let segment = Segment { length: SIZE, ..plain(flags::ACK, sent[side], expected[side]) };
        sent[side] = sent[side].wrapping_add(SIZE);
        let lost = random.u32(..1000) < lost_in_a_thousand;
        if !(lost && before) {
            send(side, segment);
            packets += 1;
        }
        if !lost && (acknowledges == Acknowledges::HighestSeen || segment.seq.0 == expected[1 - side]) {
            expected[1 - side] = segment.end().0;
        }
    }
    (packets, reasons)
}

#[test]
fn ipsec_over_tcp_needs_its_bypass_when_something_is_lost_and_not_before() {
    for seed in 0..20 {
        for acknowledges in [Acknowledges::WhatCameInOrder, Acknowledges::HighestSeen] {
            let (_, reasons) = ctcp(acknowledges, 0, true, seed);
            assert!(reasons.is_empty(), "{acknowledges:?}: {reasons:?} without a loss");
        }
        for before in [true, false] {
            let (packets, reasons) = ctcp(Acknowledges::WhatCameInOrder, 20, before, seed);
            let past = reasons.get("tcp-seq-past-win").copied().unwrap_or(0);
            assert!(past > packets / 2, "only {past} of {packets}: {reasons:?}");
        }
        // Holes are jumped here: nothing ever lies past a window, and what is acknowledged has passed.
        let (_, reasons) = ctcp(Acknowledges::HighestSeen, 20, false, seed);
        assert!(reasons.is_empty(), "{reasons:?}");
    }
}
