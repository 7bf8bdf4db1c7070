//! Guards over many packets: a flood of what only looks like a bypassed stream, faults, and events.

#![expect(clippy::unwrap_used, reason = "tests")]

use firewall_common::{
    event::{Compared, Kind, Record},
    flow::{FlowKey, Inspection, Sender, State},
    guard::{Turn, association::AHEAD, proof},
    parse::{self, Descriptor},
    reason::Reason,
    rule::{Action, rule_flags},
    seq::Seq,
    testing::{
        builder::{Packet, Payload},
        ctcp,
        host::{CLIENT, Family, Host, SERVER},
        play::{FROM_CLIENT, FROM_SERVER},
        tables::Tables,
        world::{Faults, World},
    },
    verdict::Verdict,
    wire::{
        protocol,
        tcp::{Segment, flags},
    },
};

const PORT: u16 = 10_000;
const FLOOD: u32 = 20_000;

fn world(guards: u8) -> World {
    World::under(&Tables::everything(Action::Allow, Inspection::Bypass).guarded(guards))
}

/// A segment of one side, with a payload that `fill` writes.
fn segment(
    sender: Sender,
    from: Host,
    port: u16,
    (seq, ack): (u32, u32),
    set: u8,
    length: u32,
    fill: impl FnOnce(&mut Vec<u8>),
) -> Vec<u8> {
    let segment = Segment { seq: Seq(seq), ack: Seq(ack), length, window: u16::MAX, flags: set, scale: firewall_common::flow::NO_SCALE };
    let ends = match sender {
        Sender::Initiator => ((from, port), (SERVER, PORT)),
        Sender::Responder => ((SERVER, PORT), (from, port)),
    };
    let mut packet = Packet::tcp(Family::V4, ends.0, ends.1, &segment);
    if let Payload::Tcp { data, .. } = &mut packet.payload {
        fill(data);
    }
    packet.build().bytes
}

fn trailed(spi: u32, sequence: u32) -> impl Fn(&mut Vec<u8>) {
    move |data| {
        ctcp::esp(data, spi, sequence);
        ctcp::trailer(data, protocol::ESP);
    }
}

fn key(frame: &[u8], egress: bool) -> FlowKey {
    let mut descriptor = Descriptor::EMPTY;
    parse::parse(&frame, egress, &mut descriptor).unwrap();
    descriptor.key
}

/// A proven flow of the client's; its next sequence numbers are 10 and 20 hundred on.
fn prove(world: &World) -> FlowKey {
    let (i, r) = (Sender::Initiator, Sender::Responder);
    let syn = segment(i, CLIENT, 40_000, (1000, 0), flags::SYN, 0, |_| ());
    let key = key(&syn, false);
    let passes = |frame: &[u8], arrival| assert_eq!(world.judge(frame, arrival), Verdict::Learn);
    passes(&syn, FROM_CLIENT);
    passes(&segment(r, CLIENT, 40_000, (2000, 1001), flags::SYN | flags::ACK, 0, |_| ()), FROM_SERVER);
    passes(&segment(i, CLIENT, 40_000, (1001, 2001), flags::ACK, 0, |_| ()), FROM_CLIENT);
    for turn in 0..2 {
        let (seq, ack) = (1001 + 100 * turn, 2001 + 100 * turn);
        passes(&segment(i, CLIENT, 40_000, (seq, ack), flags::ACK, 100, trailed(4096, turn + 1)), FROM_CLIENT);
        passes(&segment(r, CLIENT, 40_000, (ack, seq + 100), flags::ACK, 100, trailed(8192, turn + 1)), FROM_SERVER);
    }
    let (flow, established) = world.flow(&key).unwrap();
    assert!(established && proof::is_proven(&flow) && flow.state == State::Bypass as u8, "{flow:?}");
    key
}

#[test]
fn a_flood_of_fake_streams_leaves_nothing_and_harms_no_other() {
    for (guards, dropped) in [(rule_flags::GUARD_CTCP, true), (rule_flags::GUARDED, true), (rule_flags::GUARD_ESP, false)] {
        let world = world(guards);
        let mut random = fastrand::Rng::with_seed(7);
        let established = if dropped { Some(prove(&world)) } else { None };
        for number in 0..FLOOD {
            let from = Host { v4: random.u32(0x0b00_0000..0x0c00_0000).to_be_bytes(), ..CLIENT };
            let (port, numbers) = (random.u16(1024..), (random.u32(..), random.u32(..)));
            let frame = segment(Sender::Initiator, from, port, numbers, flags::ACK, 100, trailed(random.u32(256..), random.u32(1..)));
            let verdict = world.judge(&frame, FROM_CLIENT);
            assert_eq!(verdict, if dropped { Verdict::Drop(Reason::TcpNotSyn) } else { Verdict::Learn }, "{number}");
            // In its middle the stream that has proven itself goes on.
            if let (Some(_), 0) = (established, number % 1000) {
                let turn = number / 1000;
                let next = segment(Sender::Initiator, CLIENT, 40_000, (1201 + 100 * turn, 2201), flags::ACK, 100, trailed(4096, turn + 3));
                assert_eq!(world.judge(&next, FROM_CLIENT), Verdict::Learn, "{turn}");
            }
        }
        let flows = world.flows();
        assert_eq!(flows.iter().filter(|(.., established)| *established).count(), usize::from(dropped));
        // Nothing is remembered beside a record but for established flows.
        assert!(flows.iter().all(|(key, _, established)| *established || world.guard_of(key).is_none()));
        assert!(!flows.is_empty());
        assert_eq!(world.counters().drops[Reason::TcpNotSyn.index()], if dropped { FLOOD.into() } else { 0 });
    }
}

#[test]
fn without_room_for_what_guards_remember_nothing_passes() {
    let world = world(rule_flags::GUARD_ESP);
    let packet = |from, to, spi, sequence| Packet::esp(Family::V4, from, to, spi, sequence, 100).build().bytes;
    assert_eq!(world.judge(&packet(CLIENT, SERVER, 4096, 1), FROM_CLIENT), Verdict::Learn);
    assert_eq!(world.judge(&packet(SERVER, CLIENT, 8192, 1), FROM_SERVER), Verdict::Learn);
    world.faults.set(Faults { guards: true, ..Faults::default() });
    assert_eq!(world.judge(&packet(CLIENT, SERVER, 4096, 2), FROM_CLIENT), Verdict::Drop(Reason::GuardInsertFailed));
    world.faults.set(Faults::default());
    assert_eq!(world.judge(&packet(CLIENT, SERVER, 4096, 2), FROM_CLIENT), Verdict::Learn);
}

#[test]
fn a_guarded_flow_never_takes_the_short_way_and_its_guard_goes_with_it() {
    let world = world(rule_flags::GUARDED);
    let key = prove(&world);
    let (flow, _) = world.flow(&key).unwrap();
    assert_eq!(flow.marks & firewall_common::flow::flow_marks::STEADY, 0);
    assert_eq!(world.guard_of(&key).map(|guard| guard.side(false).current.spi.max(guard.side(true).current.spi)), Some(8192));
    world.advance(firewall_common::time::Nanos(121_000_000_000));
    let late = segment(Sender::Initiator, CLIENT, 40_000, (1201, 2201), flags::ACK, 100, trailed(4096, 3));
    assert_eq!(world.judge(&late, FROM_CLIENT), Verdict::Drop(Reason::TcpNotSyn), "its time is over");
    assert_eq!((world.flow(&key), world.guard_of(&key)), (None, None));
}

#[test]
fn ike_beside_esp_is_bounded() {
    let world = world(rule_flags::GUARDED);
    prove(&world);
    let ike = |data: &mut Vec<u8>| {
        ctcp::ike(data);
        ctcp::trailer(data, protocol::UDP);
    };
    let verdicts: Vec<_> = (0..150)
        .map(|_| world.judge(&segment(Sender::Initiator, CLIENT, 40_000, (1201, 2201), flags::ACK, 200, ike), FROM_CLIENT))
        .collect();
    assert!(verdicts[..100].iter().all(|verdict| *verdict == Verdict::Learn));
    assert!(verdicts[100..].iter().all(|verdict| *verdict == Verdict::Drop(Reason::GuardIkeRate)));
}

/// The events of these kinds since the last call.
fn told(world: &World, kind: Kind) -> Vec<Record> {
    world.take_events().into_iter().filter(|record| record.kind == kind as u8).collect()
}

#[test]
fn turns_are_told_and_drops_carry_their_arithmetic() {
    let world = world(rule_flags::GUARDED);
    world.configure(|config| config.event_kinds = Kind::EVERY);
    prove(&world);
    let proven = told(&world, Kind::Guard);
    assert_eq!(proven.iter().map(|record| (record.cause, record.inspection)).collect::<Vec<_>>(), [(Turn::Proven as u8, 2)]);
    let judge = |sender, spi, sequence| {
        let arrival = if matches!(sender, Sender::Initiator) { FROM_CLIENT } else { FROM_SERVER };
        world.judge(&segment(sender, CLIENT, 40_000, (1201, 2201), flags::ACK, 100, trailed(spi, sequence)), arrival)
    };
    for sequence in 3..30 {
        assert_eq!(judge(Sender::Initiator, 4096, sequence), Verdict::Learn);
    }
    let dropped = |spi, sequence, reason| {
        assert_eq!(judge(Sender::Initiator, spi, sequence), Verdict::Drop(reason));
        let told = told(&world, Kind::Dropped);
        let [record] = told[..] else { panic!("{told:?}") };
        (Compared::from_number(record.compared).unwrap(), record.number, record.lowest, record.highest, record.distance)
    };
    assert_eq!(dropped(7777, 5000, Reason::GuardEspSpi), (Compared::Spi, 7777, 4096, 4096, 0));
    assert_eq!(dropped(4096, 29, Reason::GuardEspReplay), (Compared::EspSeq, 29, 30, 29 + AHEAD, -1));
    let far = 30 + AHEAD;
    assert_eq!(dropped(4096, far, Reason::GuardEspJump), (Compared::EspSeq, far, 29_u32.wrapping_sub(63), 29 + AHEAD, 1));
    // Both sides stop being what they were.
    for (sender, arrival) in [(Sender::Initiator, FROM_CLIENT); 3].into_iter().chain([(Sender::Responder, FROM_SERVER)]) {
        let plain = segment(sender, CLIENT, 40_000, (1201, 2201), flags::ACK, 100, |_| ());
        assert_eq!(world.judge(&plain, arrival), Verdict::Drop(Reason::GuardNoTrailer));
    }
    let ended = told(&world, Kind::Guard);
    assert_eq!(ended.iter().map(|record| (record.cause, record.inspection)).collect::<Vec<_>>(), [(Turn::NoTrailer as u8, 0)]);
}
