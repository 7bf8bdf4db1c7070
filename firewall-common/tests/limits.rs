//! Limits, and the counts they are kept by, over random flows that come, are confirmed, end and time out.

use std::collections::HashMap;

use firewall_common::{
    env::Arrival,
    event::{Kind, marks},
    flow::{Flow, FlowKey, Inspection, NO_SCALE, flow_flags, flow_marks},
    hours::{MINUTES, WEEK_NANOS, Week},
    limit::{Limits, Source},
    reason::Reason,
    rule::Action,
    seq::Seq,
    testing::{
        builder::Packet,
        host::{CLIENT, Family, Host, OTHER, SERVER},
        tables::{THE_RULE, Tables},
        world::{Faults, World},
    },
    time::Nanos,
    verdict::Verdict,
    wire::tcp::{Segment, flags},
};
use proptest::prelude::*;

const IN: Arrival = Arrival { zone: 1, place: 1, egress: false };
const OUT: Arrival = Arrival { zone: 1, place: 1, egress: true };
const SECOND: Nanos = Nanos(1_000_000_000);

fn world(limits: Limits) -> World {
    World::under(&Tables::everything(Action::Allow, Inspection::Strict).with_limits(limits))
}

fn query(from: Host, port: u16) -> Vec<u8> {
    Packet::udp(Family::V4, (from, port), (SERVER, 53), 10).build().bytes
}

fn answer(to: Host, port: u16) -> Vec<u8> {
    Packet::udp(Family::V4, (SERVER, 53), (to, port), 10).build().bytes
}

fn segment(from: (Host, u16), to: (Host, u16), seq: u32, ack: u32, control: u8) -> Vec<u8> {
    let segment = Segment { seq: Seq(seq), ack: Seq(ack), window: 1000, flags: control, scale: NO_SCALE, ..Segment::default() };
    Packet::tcp(Family::V4, from, to, &segment).build().bytes
}

/// What the flows in the tables say that counts: all and embryonic, of the rule and of each source.
fn counted(world: &World) -> ([u32; 2], HashMap<Source, [u32; 2]>) {
    let (mut all, mut sources) = ([0; 2], HashMap::<Source, [u32; 2]>::new());
    let counting: Vec<(FlowKey, Flow, bool)> =
        world.flows().into_iter().filter(|(_, flow, _)| flow.marks & flow_marks::LIMITED != 0).collect();
    for (key, flow, established) in counting {
        let address = if flow.has(flow_flags::INITIATOR_LOW) { key.low } else { key.high };
        for count in [&mut all, sources.entry(Source::new(flow.rule, address)).or_default()] {
            count[0] += 1;
            count[1] += u32::from(!established);
        }
    }
    (all, sources)
}

/// What the dataplane says is what there is.
fn check(world: &World, limits: &Limits) {
    let (all, sources) = counted(world);
    let counts = world.limit_counts(THE_RULE);
    assert_eq!([counts.flows.alive(), counts.embryonic.alive()], all);
    let hosts = if limits.by_source() { &[CLIENT, OTHER][..] } else { &[] };
    for host in hosts {
        let source = Source::new(THE_RULE, host.address(Family::V4));
        let counts = world.source_counts(&source);
        let there = sources.get(&source).copied().unwrap_or_default();
        assert_eq!([counts.flows.alive(), counts.embryonic.alive()], there, "{}", host.name);
        for (count, limit) in there.into_iter().zip([limits.source_flows, limits.source_embryonic]) {
            assert!(limit == 0 || count <= limit, "{} has {count} of {limit}", host.name);
        }
    }
    for (count, limit) in all.into_iter().zip([limits.flows, limits.embryonic]) {
        assert!(limit == 0 || count <= limit, "the rule has {count} of {limit}");
    }
}

/// What happens to a world.
#[derive(Clone, Debug)]
enum Act {
    Query(bool, u16),
    Answer(bool, u16),
    Syn(bool, u16),
    SynAck(bool, u16),
    Ack(bool, u16),
    Reset(bool, u16),
    Wait(u64),
    Full(bool),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let who = || (any::<bool>(), 2000..2006u16);
    let act = prop_oneof![
        who().prop_map(|(other, port)| Act::Query(other, port)),
        who().prop_map(|(other, port)| Act::Answer(other, port)),
        who().prop_map(|(other, port)| Act::Syn(other, port)),
        who().prop_map(|(other, port)| Act::SynAck(other, port)),
        who().prop_map(|(other, port)| Act::Ack(other, port)),
        who().prop_map(|(other, port)| Act::Reset(other, port)),
        (0..40u64).prop_map(Act::Wait),
        any::<bool>().prop_map(Act::Full),
    ];
    prop::collection::vec(act, 1..120)
}

fn perform(world: &World, act: &Act) {
    let host = |other: bool| if other { OTHER } else { CLIENT };
    let judge = |frame: Vec<u8>, arrival| {
        let _ = world.judge(&frame, arrival);
    };
    let client = |other, port, seq, ack, control| segment((host(other), port), (SERVER, 80), seq, ack, control);
    let server = |other, port, seq, ack, control| segment((SERVER, 80), (host(other), port), seq, ack, control);
    match *act {
        Act::Query(other, port) => judge(query(host(other), port), IN),
        Act::Answer(other, port) => judge(answer(host(other), port), OUT),
        Act::Syn(other, port) => judge(client(other, port, 100, 0, flags::SYN), IN),
        Act::SynAck(other, port) => judge(server(other, port, 500, 101, flags::SYN | flags::ACK), OUT),
        Act::Ack(other, port) => judge(client(other, port, 101, 501, flags::ACK), IN),
        Act::Reset(other, port) => judge(client(other, port, 101, 0, flags::RST), IN),
        Act::Wait(seconds) => world.advance(Nanos(seconds * SECOND.0)),
        Act::Full(full) => world.faults.set(Faults { embryonic: full, established: full, ..Faults::default() }),
    }
}

proptest! {
    #[test]
    fn never_more_than_a_limit_and_nothing_is_left_over(
        acts in acts(), flows in 0..6u32, embryonic in 0..4u32, source_flows in 0..4u32, source_embryonic in 0..3u32,
    ) {
        let limits = Limits { flows, embryonic, source_flows, source_embryonic, ..Limits::NONE };
        let world = world(limits);
        for act in &acts {
            perform(&world, act);
            check(&world, &limits);
        }
        // Everything ends: a policy that denies cuts what a packet comes for.
        let mut world = world;
        world.load(&Tables::everything(Action::Drop, Inspection::Strict));
        world.faults.set(Faults::default());
        for act in acts.iter().filter(|act| !matches!(act, Act::Wait(_) | Act::Full(_))) {
            perform(&world, act);
        }
        check(&world, &Limits::NONE);
        let counts = world.limit_counts(THE_RULE);
        let left = counted(&world).0;
        prop_assert_eq!([counts.flows.alive(), counts.embryonic.alive()], left);
        prop_assert_eq!(left, [0; 2], "a flow is left that no act has met");
    }

    #[test]
    fn no_more_begin_in_a_second_than_the_rate_says(steps in prop::collection::vec(0..400u64, 1..200), rate in 1..8u32, by_source: bool) {
        let limits = if by_source {
            Limits { source_new_per_second: rate, ..Limits::NONE }
        } else {
            Limits { new_per_second: rate, ..Limits::NONE }
        };
        let reason = if by_source { Reason::SourceNewFlowRate } else { Reason::NewFlowRate };
        let world = world(limits);
        let (mut now, mut begun) = (Nanos(5_000 * SECOND.0), HashMap::<u64, u32>::new());
        for (port, step) in (1024..).zip(steps) {
            now = now.plus(Nanos(step * Nanos::MILLISECOND));
            world.set_clock(now);
            let in_this = begun.entry(now.0 / SECOND.0).or_default();
            match world.judge(&query(CLIENT, port), IN) {
                Verdict::Learn => *in_this += 1,
                verdict => {
                    prop_assert_eq!(verdict, Verdict::Drop(reason));
                    prop_assert_eq!(*in_this, rate, "refused before the rate was reached");
                }
            }
            prop_assert!(*in_this <= rate);
        }
    }
}

#[test]
fn what_a_later_limit_refuses_takes_no_place_before() {
    let world = world(Limits { flows: 10, source_flows: 1, ..Limits::NONE });
    assert_eq!(world.judge(&query(CLIENT, 1000), IN), Verdict::Learn);
    for port in 1001..1100 {
        assert_eq!(world.judge(&query(CLIENT, port), IN), Verdict::Drop(Reason::SourceFlowLimit));
    }
    assert_eq!(world.limit_counts(THE_RULE).flows.alive(), 1);
    assert_eq!(world.rule_counters(THE_RULE).hits, 100, "a refusal is the rule's decision");
}

#[test]
fn without_room_for_a_source_nothing_is_admitted_by_guess() {
    let world = world(Limits { source_flows: 1, ..Limits::NONE });
    world.faults.set(Faults { sources: true, ..Faults::default() });
    assert_eq!(world.judge(&query(CLIENT, 1000), IN), Verdict::Drop(Reason::LimitUnknown));
    world.faults.set(Faults::default());
    assert_eq!(world.judge(&query(CLIENT, 1000), IN), Verdict::Learn);
}

#[test]
fn a_source_over_its_limit_is_told_of_once_a_second() {
    let world = world(Limits { source_flows: 1, ..Limits::NONE });
    let _ = world.judge(&query(CLIENT, 1000), IN);
    let _ = world.judge(&query(OTHER, 1000), IN);
    for second in 0..3 {
        for port in 1001..1020 {
            let _ = world.judge(&query(CLIENT, port), IN);
        }
        let told = world.take_events();
        let [event] = &told[..] else { panic!("second {second}: {} events", told.len()) };
        assert_eq!((event.kind, event.cause, event.rule), (Kind::Overload as u8, Reason::SourceFlowLimit as u8, THE_RULE));
        let source = if event.has(marks::SOURCE_LOW) { event.key.low } else { event.key.high };
        assert_eq!(source, CLIENT.address(Family::V4));
        world.advance(SECOND);
    }
    let _ = world.judge(&query(OTHER, 1001), IN);
    assert_eq!(world.take_events().len(), 1, "each source for itself");
}

#[test]
fn a_logged_rule_tells_of_first_packets_and_ends_unasked() {
    let kinds =
        |world: &World| -> Vec<(u8, bool)> { world.take_events().iter().map(|event| (event.kind, event.has(marks::LOGGED))).collect() };
    let allow = Tables::everything(Action::Allow, Inspection::Strict);
    let mut world = World::under(&allow.clone().logged());
    let (client, server) = ((CLIENT, 2000), (SERVER, 80));
    let _ = world.judge(&segment(client, server, 100, 0, flags::SYN), IN);
    assert_eq!(kinds(&world), [(Kind::Begun as u8, true)]);
    let _ = world.judge(&segment(client, server, 100, 0, flags::SYN), IN);
    let _ = world.judge(&segment(server, client, 500, 101, flags::SYN | flags::ACK), OUT);
    let _ = world.judge(&segment(client, server, 101, 501, flags::ACK), IN);
    let _ = world.judge(&segment(client, server, 0x7000_0000, 501, flags::ACK), IN);
    assert_eq!(kinds(&world), [], "neither what repeats, nor what is dropped in the middle of a flow");
    let _ = world.judge(&segment(client, server, 101, 0, flags::RST), IN);
    assert_eq!(kinds(&world), [(Kind::Closed as u8, true)]);

    let _ = world.judge(&query(CLIENT, 1000), IN);
    world.load(&Tables::everything(Action::Drop, Inspection::Strict).logged());
    let _ = world.judge(&query(CLIENT, 1000), IN);
    let _ = world.judge(&query(CLIENT, 1001), IN);
    assert_eq!(kinds(&world), [(Kind::Begun as u8, true), (Kind::Closed as u8, true), (Kind::Dropped as u8, true)]);
    world.load(&allow);
    let _ = world.judge(&query(CLIENT, 1002), IN);
    assert_eq!(kinds(&world), [], "a rule that is not logged");
}

#[test]
fn the_minute_of_the_week_decides() {
    let mut week = Week::NEVER;
    (600..660).for_each(|minute| week.add(minute));
    let world = World::under(&Tables::everything(Action::Allow, Inspection::Strict).with_hours(week));
    let minute = |minute: u32| Nanos(u64::from(minute) * 60 * SECOND.0);
    for began in [0, 1, 12_345, WEEK_NANOS - 1] {
        world.configure(|config| config.week_began = began);
        let base = Nanos(5 * WEEK_NANOS + began);
        for (at, passes) in [(0, false), (599, false), (600, true), (659, true), (660, false), (MINUTES - 1, false), (MINUTES + 600, true)]
        {
            world.clear();
            world.set_clock(base.plus(minute(at)));
            let verdict = world.judge(&query(CLIENT, 1000), IN);
            let wanted = if passes { Verdict::Learn } else { Verdict::Drop(Reason::AclDrop) };
            assert_eq!(verdict, wanted, "minute {at}, week from {began}");
        }
        world.clear();
        world.set_clock(Nanos(base.plus(minute(600)).0 - 1));
        assert_eq!(world.judge(&query(CLIENT, 1000), IN), Verdict::Drop(Reason::AclDrop), "a nanosecond early");
    }
}
