//! A stream between two ends with Weir in the middle of its way: links that delay, lose and overtake, a sender that repeats what is lost as
//! senders of today do, and a receiver that says what it has.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

use fastrand::Rng;
use firewall_common::{
    flow::{FlowKey, Inspection, NO_SCALE},
    parse::{Descriptor, parse},
    quality::{Quality, Side},
    rule::Action,
    seq::Seq,
    testing::{
        builder::{Packet, Payload},
        host::{CLIENT, Family, SERVER},
        play::{FROM_CLIENT, FROM_SERVER},
        tables::Tables,
        world::World,
    },
    time::Nanos,
    wire::tcp::{Segment, flags},
};

pub const SIZE: u32 = 1_000;
const MILLI: u64 = 1_000_000;
/// Between two packets on a link.
const PACE: u64 = 10_000;
/// A sender's timer.
const TIMER: u64 = 250 * MILLI;

/// What both ends have agreed on.
#[derive(Clone, Copy, Debug)]
pub struct Agreed {
    pub timestamps: bool,
    pub selective: bool,
}

/// One link: between the sender and Weir, or between Weir and the receiver.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    pub delay: u64,
    /// In 1/1000, of both directions.
    pub lost: u32,
    /// In 1/1000: packets that others overtake.
    pub late: u32,
}

#[derive(Clone, Debug)]
pub struct Way {
    pub agreed: Agreed,
    pub packets: u32,
    pub window: u32,
    pub near: Link,
    pub far: Link,
    /// The sender of the data is the flow's initiator.
    pub upload: bool,
}

/// Where a packet is about to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum At {
    Weir,
    End,
    Timer,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    at: At,
    /// Of data: the packet's number; of an answer: the number acknowledged.
    number: u32,
    answer: bool,
    blocks: Vec<(u32, u32)>,
    timestamp: u32,
    echo: u32,
}

/// What happened to the data, and what Weir makes of it.
#[derive(Debug)]
pub struct Seen {
    /// Data packets lost on either link.
    pub lost: [u32; 2],
    /// Data packets that reached Weir.
    pub arrived: u64,
    pub quality: Option<Quality>,
    pub sender_is_low: bool,
    pub now: Nanos,
}

impl Seen {
    /// The sender's side; nothing where nothing out of the ordinary was seen.
    pub fn sender(&self) -> Side {
        self.quality.map(|quality| *quality.sides(self.sender_is_low).0).unwrap_or_default()
    }

    pub fn receiver(&self) -> Side {
        self.quality.map(|quality| *quality.sides(self.sender_is_low).1).unwrap_or_default()
    }
}

struct Run {
    way: Way,
    random: Rng,
    world: World,
    now: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    count: u64,
    /// When the last packet got over each link, in both directions.
    last: [[u64; 2]; 2],
    seen: Seen,
    firsts: [u32; 2],
    key: Option<FlowKey>,
    // The sender.
    acknowledged: u32,
    next: u32,
    has: BTreeSet<u32>,
    repeated: BTreeMap<u32, u64>,
    answers: u32,
    progress: u64,
    recover: u32,
    /// Last timestamp of each end that the other one has, sender's first.
    heard: [u32; 2],
    // The receiver.
    arrived: BTreeSet<u32>,
    expected: u32,
}

/// Sends everything and returns what was seen of it.
pub fn run(way: &Way, seed: u64) -> Seen {
    let mut random = Rng::with_seed(seed);
    let world = World::under(&Tables::everything(Action::Allow, Inspection::Strict));
    let seen = Seen { lost: [0; 2], arrived: 0, quality: None, sender_is_low: false, now: Nanos(0) };
    let firsts = [random.u32(..), random.u32(..)];
    let mut run = Run {
        way: way.clone(),
        random,
        world,
        now: 0,
        events: BinaryHeap::new(),
        count: 0,
        last: [[0; 2]; 2],
        seen,
        firsts,
        key: None,
        acknowledged: 0,
        next: 0,
        has: BTreeSet::new(),
        repeated: BTreeMap::new(),
        answers: 0,
        progress: 0,
        recover: 0,
        heard: [0; 2],
        arrived: BTreeSet::new(),
        expected: 0,
    };
    run.handshake();
    run.push();
    run.schedule(TIMER, At::Timer, Event::timer());
    while run.acknowledged < run.way.packets {
        let Some(Reverse((at, _, event))) = run.events.pop() else {
            panic!("seed {seed}: the stream stands still at {}", run.acknowledged)
        };
        run.world.advance(Nanos(at - run.now));
        run.now = at;
        run.happens(event);
        assert!(run.count < 400_000, "seed {seed}: the stream does not end, {} of {}", run.acknowledged, run.way.packets);
    }
    let key = run.key.expect("packets passed");
    let (flow, established) = run.world.flow(&key).expect("a flow");
    assert!(established);
    let sender = if run.way.upload { &flow.initiator } else { &flow.responder };
    run.seen.arrived = sender.packets;
    run.seen.quality = run.world.quality(&key);
    run.seen.now = firewall_common::env::Env::now(&run.world);
    run.seen
}

impl Event {
    const fn timer() -> Self {
        Self { at: At::Timer, number: 0, answer: false, blocks: Vec::new(), timestamp: 0, echo: 0 }
    }
}

impl Run {
    fn schedule(&mut self, after: u64, at: At, event: Event) {
        self.count += 1;
        self.events.push(Reverse((self.now + after, self.count, Event { at, ..event })));
    }

    /// Milliseconds, beginning where it pleases.
    fn clock(&self) -> u32 {
        0xffff_f000_u32.wrapping_add((self.now / MILLI) as u32)
    }

    fn handshake(&mut self) {
        let (opens, answers) = if self.way.upload { (false, true) } else { (true, false) };
        let (near, far) = (2 * self.way.near.delay, 2 * self.way.far.delay);
        let (there, back) = if self.way.upload { (far, near) } else { (near, far) };
        for (answer, set, wait) in [(opens, flags::SYN, 0), (answers, flags::SYN | flags::ACK, there), (opens, flags::ACK, back)] {
            self.now += wait;
            self.world.advance(Nanos(wait));
            let first = self.firsts[usize::from(answer)];
            let other = self.firsts[usize::from(!answer)];
            let seq = if set & flags::SYN != 0 { first } else { first.wrapping_add(1) };
            let ack = if set & flags::ACK == 0 { 0 } else { other.wrapping_add(1) };
            let timestamps = self.way.agreed.timestamps.then(|| (self.clock(), self.heard[usize::from(!answer)]));
            self.heard[usize::from(answer)] = self.clock();
            self.pass(answer, seq, ack, 0, set, timestamps, &[]);
        }
    }

    /// A packet meets Weir.
    #[expect(clippy::too_many_arguments, reason = "a segment has as many fields")]
    fn pass(&mut self, answer: bool, seq: u32, ack: u32, length: u32, set: u8, timestamps: Option<(u32, u32)>, blocks: &[(u32, u32)]) {
        let segment = Segment { seq: Seq(seq), ack: Seq(ack), length, window: u16::MAX, flags: set, scale: NO_SCALE };
        let (client, server) = ((CLIENT, 40_000), (SERVER, 443));
        let from_client = self.way.upload != answer;
        let (from, to, arrival) = if from_client { (client, server, FROM_CLIENT) } else { (server, client, FROM_SERVER) };
        let mut packet = Packet::tcp(Family::V4, from, to, &segment);
        let mut options = Vec::new();
        if let Some((value, echo)) = timestamps {
            options.extend([1, 1, 8, 10]);
            options.extend(value.to_be_bytes());
            options.extend(echo.to_be_bytes());
        }
        let blocks = &blocks[..blocks.len().min(3)];
        if !blocks.is_empty() {
            options.extend([1, 1, 5, 2 + 8 * blocks.len() as u8]);
            blocks.iter().for_each(|(start, end)| options.extend([start.to_be_bytes(), end.to_be_bytes()].concat()));
        }
        if let Payload::Tcp { header, .. } = &mut packet.payload {
            header.set_options_raw(&options).expect("options that fit");
        }
        let frame = packet.build().bytes;
        let verdict = self.world.judge(&frame, arrival);
        assert!(verdict.passes(), "{verdict:?}: {segment:?}");
        if self.key.is_none() {
            let mut descriptor = Descriptor::EMPTY;
            parse(&&frame[..], false, &mut descriptor).expect("it was judged");
            self.key = Some(descriptor.key);
            self.seen.sender_is_low = descriptor.source_is_low != answer;
        }
    }

    fn push(&mut self) {
        while self.next < self.way.packets && self.next < self.acknowledged + self.way.window {
            let number = self.next;
            self.next += 1;
            self.send(number);
        }
    }

    /// Data, or what is sent again of it.
    fn send(&mut self, number: u32) {
        let event = Event { number, timestamp: self.clock(), echo: self.heard[1], ..Event::timer() };
        self.travel(self.way.near, At::Weir, event, 0);
    }

    /// Over a link, which keeps the order but for what is late.
    fn travel(&mut self, link: Link, at: At, event: Event, place: usize) {
        if self.random.u32(..1000) < link.lost {
            self.seen.lost[place] += u32::from(!event.answer);
            return;
        }
        let before = &mut self.last[place][usize::from(event.answer)];
        let arrives = (self.now + link.delay).max(*before + PACE);
        *before = arrives;
        let late = if self.random.u32(..1000) < link.late { self.random.u64(..link.delay / 4 + 1) } else { 0 };
        self.schedule(arrives - self.now + late, at, event);
    }

    fn happens(&mut self, event: Event) {
        match (event.at, event.answer) {
            (At::Timer, _) => self.timer(),
            (At::Weir, answer) => {
                let base = |side: usize| self.firsts[side].wrapping_add(1);
                let bytes = |number: u32| base(0).wrapping_add(number * SIZE);
                let stamps = self.way.agreed.timestamps.then_some((event.timestamp, event.echo));
                if answer {
                    let blocks: Vec<_> = event.blocks.iter().map(|(start, end)| (bytes(*start), bytes(*end))).collect();
                    self.pass(true, base(1), bytes(event.number), 0, flags::ACK, stamps, &blocks);
                    self.travel(self.way.near, At::End, event, 0);
                } else {
                    self.pass(false, bytes(event.number), base(1), SIZE, flags::ACK, stamps, &[]);
                    self.travel(self.way.far, At::End, event, 1);
                }
            }
            (At::End, false) => self.receive(&event),
            (At::End, true) => self.answered(&event),
        }
    }

    fn receive(&mut self, event: &Event) {
        let number = event.number;
        if number <= self.expected {
            self.heard[0] = event.timestamp;
        }
        let twice = number < self.expected || !self.arrived.insert(number);
        while self.arrived.contains(&self.expected) {
            self.expected += 1;
        }
        let mut blocks = Vec::new();
        if self.way.agreed.selective {
            if twice {
                blocks.push((number, number + 1));
            }
            // The latest first (RFC 2018 §4).
            let mut ranges: Vec<(u32, u32)> = Vec::new();
            for &number in self.arrived.range(self.expected..) {
                match ranges.last_mut() {
                    Some((_, end)) if *end == number => *end += 1,
                    _ => ranges.push((number, number + 1)),
                }
            }
            ranges.sort_by_key(|(start, end)| (!(*start..*end).contains(&number), Reverse(*end)));
            blocks.extend(ranges);
        }
        let answer = Event { number: self.expected, answer: true, blocks, timestamp: self.clock(), echo: self.heard[0], ..Event::timer() };
        self.travel(self.way.far, At::Weir, answer, 1);
    }

    fn answered(&mut self, event: &Event) {
        self.heard[1] = event.timestamp;
        for (start, end) in &event.blocks {
            self.has.extend((*start).max(self.acknowledged)..*end);
        }
        if event.number > self.acknowledged {
            self.acknowledged = event.number;
            self.progress = self.now;
            self.answers = 0;
            self.next = self.next.max(self.acknowledged);
            if !self.way.agreed.selective && self.acknowledged < self.recover {
                // A partial acknowledgement (RFC 6582): the next hole.
                self.send(self.acknowledged);
            }
        } else if self.next > self.acknowledged {
            self.answers += 1;
            if self.answers == 3 && self.acknowledged >= self.recover && !self.way.agreed.selective {
                self.recover = self.next;
                self.send(self.acknowledged);
            }
        }
        if self.way.agreed.selective {
            self.repeat_what_is_missing();
        }
        self.push();
    }

    /// RFC 6675: what three later ones have overtaken is lost; what was sent again is waited for.
    fn repeat_what_is_missing(&mut self) {
        let missing: Vec<u32> = (self.acknowledged..self.next)
            .filter(|number| !self.has.contains(number) && self.has.range(number + 1..).take(3).count() == 3)
            .collect();
        for number in missing {
            if self.repeated.get(&number).is_none_or(|at| self.now - at > TIMER) {
                self.repeated.insert(number, self.now);
                self.send(number);
            }
        }
    }

    fn timer(&mut self) {
        if self.now - self.progress >= TIMER && self.next > self.acknowledged {
            self.progress = self.now;
            self.repeated.insert(self.acknowledged, self.now);
            self.recover = self.next;
            self.send(self.acknowledged);
        }
        self.schedule(TIMER / 5, At::Timer, Event::timer());
    }
}
