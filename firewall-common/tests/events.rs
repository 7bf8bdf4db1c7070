//! Events: what is told, once, and the arithmetic of every refusal.

use std::collections::BTreeMap;

use firewall_common::{
    account::NO_RULE,
    event::{Compared, Kind, NO_ZONE, Record, Teardown, marks},
    flow::{FlowKey, Inspection, NO_SCALE, State},
    reason::Reason,
    rule::{Action, Timeouts},
    seq::Seq,
    testing::{
        builder::Packet,
        host::{CLIENT, Family, SERVER},
        play::{FROM_CLIENT, FROM_SERVER, Subject},
        stream::{Replies, Stream},
        tables::{THE_RULE, Tables},
        world::World,
    },
    time::Nanos,
    verdict::Verdict,
    wire::tcp::{Segment, flags},
};

const SYN: u8 = flags::SYN;
const ACK: u8 = flags::ACK;
const FIN: u8 = flags::FIN;
const RST: u8 = flags::RST;
/// First numbers of both sides; the client's wraps a few segments later.
const C: u32 = u32::MAX - 2_000;
const S: u32 = 5_000;
const WINDOW: u16 = 10_000;

/// A connection between the usual hosts, in a world that listens to everything.
struct Talk {
    world: World,
    port: u16,
}

impl Talk {
    fn new(level: Inspection) -> Self {
        let mut world = World::under(&Tables::everything(Action::Allow, level));
        Subject::listen(&mut world, Kind::EVERY, u32::MAX);
        Self { world, port: 40_000 }
    }

    fn open(level: Inspection) -> Self {
        let talk = Self::new(level);
        assert!(talk.client(SYN, C, 0, 0).passes());
        assert!(talk.server(SYN | ACK, S, C.wrapping_add(1), 0).passes());
        assert!(talk.client(ACK, C.wrapping_add(1), S + 1, 0).passes());
        talk
    }

    fn client(&self, set: u8, seq: u32, ack: u32, length: u32) -> Verdict {
        self.send(true, set, seq, ack, length)
    }

    fn server(&self, set: u8, seq: u32, ack: u32, length: u32) -> Verdict {
        self.send(false, set, seq, ack, length)
    }

    fn send(&self, from_client: bool, set: u8, seq: u32, ack: u32, length: u32) -> Verdict {
        let segment = Segment { seq: Seq(seq), ack: Seq(ack), length, window: WINDOW, flags: set, scale: NO_SCALE };
        let (client, server) = ((CLIENT, self.port), (SERVER, 443));
        let (from, to) = if from_client { (client, server) } else { (server, client) };
        let frame = Packet::tcp(Family::V4, from, to, &segment).build().bytes;
        self.world.judge(&frame, if from_client { FROM_CLIENT } else { FROM_SERVER })
    }

    /// The one event there is.
    fn one(&self) -> Record {
        match self.world.take_events()[..] {
            [record] => record,
            ref others => panic!("{} events where one was expected: {others:?}", others.len()),
        }
    }

    fn closings(&self) -> Vec<Teardown> {
        let closed = |record: &Record| record.kind == Kind::Closed as u8;
        self.world.take_events().iter().filter(|record| closed(record)).map(teardown).collect()
    }

    fn wait(&self, seconds: u32) {
        self.world.advance(Nanos::from_millis(seconds * 1000));
    }
}

fn teardown(record: &Record) -> Teardown {
    Teardown::from_number(record.cause).expect("a closing has a teardown reason")
}

/// What was compared, with which range, and the distance.
fn arithmetic(record: &Record) -> (Compared, u32, (u32, u32), i32) {
    let compared = Compared::from_number(record.compared).expect("a known number");
    (compared, record.number, (record.lowest, record.highest), record.distance)
}

/// Sends one more segment, which must be dropped, and returns its event.
fn dropped(talk: &Talk, reason: Reason, send: impl FnOnce(&Talk) -> Verdict) -> Record {
    talk.world.take_events();
    assert_eq!(send(talk), Verdict::Drop(reason));
    let record = talk.one();
    assert_eq!((record.kind, record.cause), (Kind::Dropped as u8, reason as u8));
    record
}

#[test]
fn segments_past_the_edge() {
    let talk = Talk::open(Inspection::Strict);
    let edge = C.wrapping_add(1).wrapping_add(WINDOW.into());
    let record = dropped(&talk, Reason::TcpSeqPastWindow, |talk| talk.client(ACK, edge.wrapping_add(234), S + 1, 10));
    let lowest = C.wrapping_add(1).wrapping_sub(WINDOW.into());
    assert_eq!(arithmetic(&record), (Compared::Seq, edge.wrapping_add(234), (lowest, edge), 234));
    assert_eq!((record.seq, record.ack, record.payload), (edge.wrapping_add(234), S + 1, 10));
    assert_eq!((record.window, record.tcp_flags, record.length), (WINDOW, ACK, 50));
    assert_eq!((record.state, record.rule), (State::Established as u8, THE_RULE));
    assert!(record.has(marks::FLOW) && record.has(marks::ADDRESSES) && !record.has(marks::FROM_RESPONDER));
    assert_eq!((record.packets, record.source_interface, record.source_zone), ([2, 1], 1, 1));

    let edge = S + 1 + u32::from(WINDOW);
    let record = dropped(&talk, Reason::TcpSeqPastWindow, |talk| talk.server(ACK, edge + 1, C.wrapping_add(1), 1));
    assert_eq!(arithmetic(&record), (Compared::Seq, edge + 1, ((S + 1).wrapping_sub(WINDOW.into()), edge), 1));
    assert!(record.has(marks::FROM_RESPONDER));
}

#[test]
fn acknowledgements_of_what_was_never_seen() {
    let talk = Talk::open(Inspection::Strict);
    let record = dropped(&talk, Reason::TcpInvalidAck, |talk| talk.client(ACK, C.wrapping_add(1), S + 78, 0));
    assert_eq!(arithmetic(&record), (Compared::Ack, S + 78, ((S + 1).wrapping_sub(66_000), S + 1), 77));
    // Before the handshake is done only the SYN can be acknowledged.
    let talk = Talk::new(Inspection::Strict);
    assert!(talk.client(SYN, C, 0, 0).passes() && talk.server(SYN | ACK, S, C.wrapping_add(1), 0).passes());
    let record = dropped(&talk, Reason::TcpInvalidAck, |talk| talk.client(ACK, C.wrapping_add(1), S - 4, 0));
    assert_eq!(arithmetic(&record), (Compared::Ack, S - 4, (S + 1, S + 1), -5));
    assert_eq!(record.state, State::SynReceived as u8);
}

#[test]
fn data_past_a_fin() {
    let talk = Talk::open(Inspection::Strict);
    assert!(talk.client(FIN | ACK, C.wrapping_add(1), S + 1, 0).passes());
    let record = dropped(&talk, Reason::TcpDataPastFin, |talk| talk.client(ACK, C.wrapping_add(2), S + 1, 10));
    let end = C.wrapping_add(2);
    assert_eq!(arithmetic(&record), (Compared::End, end.wrapping_add(10), (end.wrapping_sub(WINDOW.into()), end), 10));
}

#[test]
fn resets_out_of_the_window() {
    let talk = Talk::open(Inspection::Strict);
    let (lowest, highest) = (C.wrapping_add(1), C.wrapping_add(1).wrapping_add(WINDOW.into()));
    for (seq, distance) in [(lowest.wrapping_sub(1_000), -1_000), (highest.wrapping_add(5), 5)] {
        let record = dropped(&talk, Reason::TcpRstOutOfOrder, |talk| talk.client(RST, seq, 0, 0));
        assert_eq!(arithmetic(&record), (Compared::Seq, seq, (lowest, highest), distance));
    }
    // A reset that answers a SYN must acknowledge it; one without an acknowledgement compares nothing.
    let talk = Talk::new(Inspection::Strict);
    assert!(talk.client(SYN, C, 0, 0).passes());
    let record = dropped(&talk, Reason::TcpRstOutOfOrder, |talk| talk.server(RST | ACK, 0, C.wrapping_add(41), 0));
    assert_eq!(arithmetic(&record), (Compared::Ack, C.wrapping_add(41), (C.wrapping_add(1), C.wrapping_add(1)), 40));
    let record = dropped(&talk, Reason::TcpRstOutOfOrder, |talk| talk.server(RST, 7, 0, 0));
    assert_eq!(arithmetic(&record), (Compared::Nothing, 0, (0, 0), 0));
}

#[test]
fn answers_to_another_syn() {
    let talk = Talk::new(Inspection::Strict);
    assert!(talk.client(SYN, C, 0, 0).passes());
    let record = dropped(&talk, Reason::TcpAckSynDiff, |talk| talk.server(SYN | ACK, S, C.wrapping_add(1_000), 0));
    assert_eq!(arithmetic(&record), (Compared::Ack, C.wrapping_add(1_000), (C.wrapping_add(1), C.wrapping_add(1)), 999));
    let talk = Talk::open(Inspection::Strict);
    let record = dropped(&talk, Reason::TcpSynAckOutOfOrder, |talk| talk.server(SYN | ACK, S + 9, C.wrapping_add(1), 0));
    assert_eq!(arithmetic(&record), (Compared::Seq, S + 9, (S, S), 9));
}

#[test]
fn packets_without_a_flow_tell_what_is_known_of_them() {
    let talk = Talk::new(Inspection::Strict);
    let record = dropped(&talk, Reason::TcpNotSyn, |talk| talk.client(ACK, 1, 2, 3));
    assert_eq!((record.rule, record.state, record.compared), (NO_RULE, 0, 0));
    assert_eq!((record.source_zone, record.destination_zone), (1, 0), "the way was looked up before");
    assert_eq!((record.seq, record.ack, record.payload), (1, 2, 3));
    assert!(!record.has(marks::FLOW));
    assert_eq!(record.key.protocol, 6);

    // The data offset is past the end: addresses are known, and ports are not.
    let segment = Segment { flags: SYN, ..Segment::default() };
    let mut frame = Packet::tcp(Family::V6, (CLIENT, 1), (SERVER, 2), &segment).build();
    frame.patch_transport(12, &[0xf0]);
    assert!(!talk.world.judge(&frame.bytes, FROM_CLIENT).passes());
    let record = talk.one();
    let (source, other) = if record.has(marks::SOURCE_LOW) { (record.key.low, record.key.high) } else { (record.key.high, record.key.low) };
    assert_eq!((source.octets(), other.octets()), (CLIENT.v6, SERVER.v6));
    assert_eq!((record.key.low_port, record.destination_zone), ([0; 2], NO_ZONE));

    let _ = talk.world.judge(&frame.bytes[..13], FROM_CLIENT);
    let record = talk.one();
    assert_eq!((record.cause, record.has(marks::ADDRESSES)), (Reason::FrameTooShort as u8, false));
    assert_eq!(record.key, FlowKey::default());
}

#[test]
fn a_connection_opens_once_and_closes_once() {
    let talk = Talk::open(Inspection::Strict);
    let opened = talk.one();
    assert_eq!((opened.kind, opened.cause, opened.packets), (Kind::Opened as u8, 0, [2, 1]));
    assert_eq!((opened.source_zone, opened.destination_zone), (1, 0));
    assert!(talk.client(ACK, C.wrapping_add(1), S + 1, 100).passes());
    assert!(talk.server(FIN | ACK, S + 1, C.wrapping_add(101), 0).passes());
    assert_eq!(talk.closings(), []);
    assert!(talk.client(FIN | ACK, C.wrapping_add(101), S + 2, 0).passes());
    assert!(talk.server(ACK, S + 2, C.wrapping_add(102), 0).passes());
    let closed = talk.one();
    assert_eq!((closed.kind, teardown(&closed), closed.state), (Kind::Closed as u8, Teardown::TcpFins, State::TimeWait as u8));
    assert_eq!((closed.packets, closed.bytes), ([4, 3], [40 * 4 + 100, 40 * 3]));
    assert!(closed.has(marks::SOURCE_LOW) == opened.has(marks::SOURCE_LOW));
    // Late packets, a late reset, the end of its time and its key's next connection: nothing more of this one.
    assert!(talk.server(ACK, S + 2, C.wrapping_add(102), 0).passes());
    assert!(talk.server(RST, S + 2, 0, 0).passes());
    talk.wait(600);
    assert!(talk.client(SYN, C.wrapping_add(50_000), 0, 0).passes());
    assert_eq!(talk.closings(), []);
}

#[test]
fn resets_tell_whose_they_are() {
    for (from_client, expected) in [(true, Teardown::TcpResetI), (false, Teardown::TcpResetO)] {
        let talk = Talk::open(Inspection::Strict);
        let seq = if from_client { C.wrapping_add(1) } else { S + 1 };
        assert!(talk.send(from_client, RST, seq, 0, 0).passes());
        assert_eq!(talk.closings(), [expected]);
        // A new connection on the key of the one that is closed.
        assert!(talk.client(SYN, 77, 0, 0).passes());
        assert_eq!(talk.closings(), []);
    }
    // Also before it was open.
    let talk = Talk::new(Inspection::Strict);
    assert!(talk.client(SYN, C, 0, 0).passes() && talk.server(RST | ACK, 0, C.wrapping_add(1), 0).passes());
    assert_eq!(talk.closings(), [Teardown::TcpResetO]);
}

#[test]
fn flows_whose_time_is_over_are_told_by_the_packet_that_finds_them() {
    let talk = Talk::new(Inspection::Strict);
    assert!(talk.client(SYN, C, 0, 0).passes());
    talk.wait(60);
    assert!(talk.client(SYN, C, 0, 0).passes());
    assert_eq!(talk.closings(), [Teardown::SynTimeout]);

    let talk = Talk::open(Inspection::Strict);
    assert!(talk.client(FIN | ACK, C.wrapping_add(1), S + 1, 0).passes());
    talk.wait(700);
    assert!(talk.client(SYN, 9, 0, 0).passes());
    assert_eq!(talk.closings(), [Teardown::FinTimeout]);

    let talk = Talk::open(Inspection::Strict);
    talk.wait(Timeouts::DEFAULT.established / 1000 + 1);
    assert_eq!(talk.client(ACK, C.wrapping_add(1), S + 1, 1), Verdict::Drop(Reason::TcpNotSyn));
    let [opened, closed, dropped] = talk.world.take_events()[..] else { panic!("three events") };
    assert_eq!((opened.kind, teardown(&closed)), (Kind::Opened as u8, Teardown::IdleTimeout));
    assert_eq!((dropped.cause, dropped.has(marks::FLOW)), (Reason::TcpNotSyn as u8, false), "its flow is gone");
}

#[test]
fn bypass_flows_open_with_their_second_direction_and_one_sided_ones_with_their_second_packet() {
    let talk = Talk::new(Inspection::Bypass);
    assert!(talk.client(ACK, 1, 1, 10).passes());
    assert_eq!(talk.world.take_events(), []);
    assert!(talk.server(ACK, 7, 7, 10).passes());
    assert_eq!(talk.one().kind, Kind::Opened as u8);
    talk.wait(600);
    assert!(talk.client(ACK, 2, 2, 10).passes());
    assert_eq!(talk.closings(), [Teardown::IdleTimeout]);
    let talk = Talk::new(Inspection::Bypass);
    assert!(talk.client(ACK, 1, 1, 10).passes() && talk.client(FIN | ACK, 11, 1, 0).passes());
    assert_eq!(talk.one().kind, Kind::Opened as u8);
    talk.wait(600);
    assert!(talk.client(ACK, 2, 2, 10).passes());
    assert_eq!(talk.closings(), [Teardown::FinTimeout]);
}

#[test]
fn a_policy_that_denies_ends_the_flow_and_drops_the_packet() {
    let mut talk = Talk::open(Inspection::Strict);
    talk.world.take_events();
    talk.world.load(&Tables::everything(Action::Drop, Inspection::Strict));
    assert_eq!(talk.client(ACK, C.wrapping_add(1), S + 1, 1), Verdict::Drop(Reason::AclDrop));
    let [closed, dropped] = talk.world.take_events()[..] else { panic!("two events") };
    assert_eq!((teardown(&closed), closed.state), (Teardown::Policy, State::Established as u8));
    assert_eq!((dropped.cause, dropped.destination_zone), (Reason::AclDrop as u8, 0));
}

#[test]
fn nobody_is_told_what_nobody_listens_to() {
    for kinds in [0, Kind::Opened.bit(), Kind::Closed.bit(), Kind::Dropped.bit()] {
        let mut talk = Talk::new(Inspection::Strict);
        Subject::listen(&mut talk.world, kinds, u32::MAX);
        assert!(talk.client(SYN, C, 0, 0).passes() && talk.server(SYN | ACK, S, C.wrapping_add(1), 0).passes());
        assert!(talk.client(ACK, C.wrapping_add(1), S + 1, 0).passes());
        assert!(!talk.client(ACK, C.wrapping_add(50_000), S + 1, 0).passes());
        assert!(talk.client(RST, C.wrapping_add(1), 0, 0).passes());
        let told: u32 = talk.world.take_events().iter().map(|record| 1 << record.kind).sum();
        assert_eq!(told, kinds);
        assert_eq!(talk.world.tally().sent, u64::from(kinds != 0));
    }
}

/// The counters of a stream of mutated traffic, and its events.
fn stream(seed: u64, kinds: u32, rate: u32) -> (World, Vec<Record>) {
    let mut world = World::default();
    Subject::listen(&mut world, kinds, rate);
    for (number, (frame, arrival)) in Stream::new(seed, Replies::Egress).take(40_000).enumerate() {
        if number % 8000 == 0 {
            let level = [Inspection::Strict, Inspection::Tolerant, Inspection::Bypass][number / 8000 % 3];
            world.load(&Tables::everything(Action::Allow, level));
        }
        world.advance(Nanos::from_millis(1));
        let _ = world.judge(&frame, arrival);
    }
    let events = world.take_events();
    (world, events)
}

#[test]
fn every_event_is_sent_or_counted() {
    let (world, events) = stream(1, Kind::Dropped.bit(), u32::MAX);
    let drops: u64 = world.counters().drops.iter().sum();
    assert_eq!((events.len() as u64, world.tally().sent, world.tally().limited), (drops, drops, 0));
    let mut by_reason = BTreeMap::new();
    events.iter().for_each(|record| *by_reason.entry(record.cause).or_insert(0) += 1);
    for reason in Reason::ALL {
        assert_eq!(by_reason.get(&(*reason as u8)).copied().unwrap_or(0), world.counters().drops[reason.index()], "{}", reason.name());
    }
    let (world, events) = stream(1, Kind::Dropped.bit(), 20);
    assert_eq!(world.tally().sent + world.tally().limited, drops);
    assert!(world.tally().limited > 100 && events.len() as u64 == world.tally().sent);
    let (world, events) = stream(2, Kind::Opened.bit(), u32::MAX);
    assert_eq!(events.len() as u64, world.counters().flows_established);
    let (world, events) = stream(2, Kind::Closed.bit(), u32::MAX);
    assert!(events.len() > 50 && (events.len() as u64) <= world.counters().flows_created);
}

#[test]
fn a_number_that_was_compared_lies_outside_the_range() {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 10..16 {
        for record in stream(seed, Kind::Dropped.bit(), u32::MAX).1 {
            let reason = Reason::from_number(record.cause).expect("a reason");
            let (number, lowest, highest) = (Seq(record.number), Seq(record.lowest), Seq(record.highest));
            if record.compared != 0 {
                assert!(!number.within(lowest, highest), "{}: {record:?}", reason.name());
                assert!(!lowest.after(highest), "{}: {record:?}", reason.name());
                assert_ne!(record.distance, 0);
                *seen.entry(reason.name()).or_default() += 1;
            } else {
                let judged = [Reason::TcpSeqPastWindow, Reason::TcpInvalidAck, Reason::TcpDataPastFin, Reason::TcpAckSynDiff];
                assert!(!judged.contains(&reason), "no arithmetic for {record:?}");
            }
        }
    }
    for reason in [Reason::TcpSeqPastWindow, Reason::TcpInvalidAck, Reason::TcpDataPastFin, Reason::TcpAckSynDiff, Reason::TcpRstOutOfOrder]
    {
        assert!(seen.get(reason.name()).is_some_and(|count| *count > 3), "{seen:?}");
    }
}
