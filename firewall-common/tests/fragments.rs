//! Trains of fragments, good and bad, against a model that holds every byte: what got out, and what must never get out.

use std::collections::BTreeMap;

use firewall_common::{
    config::config_flags,
    flow::Inspection,
    rule::Action,
    testing::{
        builder::{Packet, Part},
        host::{CLIENT, Family, SERVER},
        play::FROM_CLIENT,
        tables::Tables,
        train,
        world::World,
    },
};

const TRAINS: u64 = 4_000;
const LEVELS: [Inspection; 2] = [Inspection::Strict, Inspection::Bypass];
/// Disjoint ranges that are remembered.
const RANGES: usize = 8;
const LARGEST: usize = 65_536;

/// A datagram as its receiver has it: which of its bytes got out, byte by byte.
#[derive(Clone, Debug)]
struct Receiver {
    got: Vec<bool>,
    end: Option<usize>,
    first: bool,
    spoilt: bool,
}

impl Receiver {
    fn new() -> Self {
        Self { got: vec![false; LARGEST + 8], end: None, first: false, spoilt: false }
    }

    fn whole(&self) -> bool {
        self.end.is_some_and(|end| self.got[..end].iter().all(|got| *got))
    }

    /// Runs of bytes that got out.
    fn runs(&self) -> usize {
        (0..self.got.len()).filter(|at| self.got[*at] && (*at == 0 || !self.got[at - 1])).count()
    }

    /// Whether a fragment may get out, told from the bytes alone. It then has.
    fn takes(&mut self, start: usize, end: usize, last: bool) -> bool {
        // A last fragment's end is exact; what it covers is counted in whole units of eight.
        let covered = start..end.next_multiple_of(8);
        let contradicts = self.end.is_some_and(|known| end > known || (last && end != known));
        let before_what_got_out = last && self.got[covered.end..].iter().any(|got| *got);
        if self.spoilt || contradicts || before_what_got_out {
            self.spoilt = true;
            return false;
        }
        let again = self.got[covered.clone()].iter().filter(|got| **got).count();
        self.spoilt = again != 0 && again != covered.len();
        if again != 0 {
            return false;
        }
        let mut after = self.clone();
        after.got[covered].fill(true);
        if last {
            after.end = Some(end);
        }
        if after.runs() > RANGES {
            return false;
        }
        *self = after;
        true
    }
}

/// What the fragments of one train may do, by identification.
#[derive(Default)]
struct Model {
    datagrams: BTreeMap<u32, Receiver>,
    before_first: bool,
    dont_fragment: bool,
}

impl Model {
    fn passes(&mut self, packet: &Packet) -> bool {
        let Some(part) = packet.part else { return true };
        let whole = packet.datagram_length();
        let start = part.offset.min(whole);
        let end = part.length.map_or(whole, |length| (start + length).min(whole));
        let (offset, length) = (part.offset, end - start);
        if offset == 0 && !part.more {
            // Whole, or cut short without saying so: no fragment.
            return length == whole;
        }
        let header = if packet.family == Family::V4 { 20 } else { 0 };
        if header + offset + length >= LARGEST || length == 0 || (part.more && length % 8 != 0) {
            return false;
        }
        if packet.family == Family::V4 && packet.dont_fragment && offset != 0 && !self.dont_fragment {
            return false;
        }
        let known = self.datagrams.entry(part.identification);
        if offset != 0 && !self.before_first && matches!(known, std::collections::btree_map::Entry::Vacant(_)) {
            return false;
        }
        let receiver = known.or_insert_with(Receiver::new);
        if offset == 0 && receiver.whole() {
            // The identification is used again.
            *receiver = Receiver::new();
        }
        if offset != 0 && !receiver.first && !self.before_first {
            return false;
        }
        let takes = receiver.takes(offset, offset + length, !part.more);
        receiver.first |= takes && offset == 0;
        takes
    }
}

fn datagram(family: Family, random: &mut fastrand::Rng) -> Packet {
    Packet::udp(family, (CLIENT, 2000), (SERVER, 53), random.usize(100..4000))
}

fn world(level: Inspection, flags: u32) -> World {
    let world = World::under(&Tables::everything(Action::Allow, level));
    world.configure(|config| config.flags = flags);
    world
}

fn describe(packets: &[Packet]) -> Vec<Option<Part>> {
    packets.iter().map(|packet| packet.part).collect()
}

#[test]
fn what_gets_out_is_what_the_model_says() {
    let (mut passed, mut refused) = (0, 0);
    for seed in 0..TRAINS {
        let mut random = fastrand::Rng::with_seed(seed);
        let family = if random.bool() { Family::V4 } else { Family::V6 };
        let lenient = [0, config_flags::FRAGMENT_BEFORE_FIRST_PASS, config_flags::FRAGMENT_DF_PASS][random.usize(..3)];
        let world = world(LEVELS[random.usize(..2)], lenient);
        let mut model = Model {
            before_first: lenient == config_flags::FRAGMENT_BEFORE_FIRST_PASS,
            dont_fragment: lenient == config_flags::FRAGMENT_DF_PASS,
            ..Model::default()
        };
        let mut sent: Vec<Packet> = Vec::new();
        for _ in 0..random.usize(1..4) {
            let packet = datagram(family, &mut random);
            let mut train = train::cut(&packet, random.u32(1..3), &mut random);
            train::derail(&mut train, &mut random);
            for fragment in train {
                let passes = world.judge(&fragment.build().bytes, FROM_CLIENT).passes();
                sent.push(fragment.clone());
                // A first fragment cut below the UDP header is none the model knows.
                let headless = fragment.part.is_some_and(|part| part.offset == 0 && part.length.is_some_and(|length| length < 8));
                let expected = !headless && model.passes(&fragment);
                assert_eq!(passes, expected, "seed {seed}, {family:?}, lenient {lenient:#x}, the last of {:#?}", describe(&sent));
                if passes { passed += 1 } else { refused += 1 }
            }
        }
    }
    println!("{passed} fragments passed, {refused} did not");
    assert!(passed > 10_000 && refused > 2_000, "{passed} passed, {refused} refused: the trains are too good or too bad");
}

#[test]
fn a_train_as_its_sender_means_it_passes_whole() {
    for seed in 0..TRAINS {
        let mut random = fastrand::Rng::with_seed(seed);
        for family in [Family::V4, Family::V6] {
            let world = world(LEVELS[random.usize(..2)], 0);
            // The identification is used again and again.
            for round in 0..3 {
                let packet = datagram(family, &mut random);
                let mut train = train::cut(&packet, 7, &mut random);
                if train.len() <= RANGES {
                    // Behind the first one any order will do.
                    random.shuffle(&mut train[1..]);
                }
                for fragment in &train {
                    let verdict = world.judge(&fragment.build().bytes, FROM_CLIENT);
                    assert!(verdict.passes(), "seed {seed}, round {round}: {verdict:?} for {:?} of {:#?}", fragment.part, describe(&train));
                }
            }
        }
    }
}

#[test]
fn no_byte_gets_out_twice() {
    for seed in 0..TRAINS {
        let mut random = fastrand::Rng::with_seed(seed);
        let family = if random.bool() { Family::V4 } else { Family::V6 };
        let world = world(Inspection::Strict, if random.bool() { config_flags::FRAGMENT_BEFORE_FIRST_PASS } else { 0 });
        let packet = datagram(family, &mut random);
        let whole = packet.datagram_length();
        let mut times = vec![0; LARGEST + 8];
        for _ in 0..60 {
            // Anything but a whole datagram: its identification could be used again.
            let start = random.usize(..=whole / 8) * 8;
            let length = random.usize(..24) * 8;
            let part = Part { offset: start, length: Some(length), more: true, identification: 9 };
            let fragment = Packet { part: Some(part), ..packet.clone() };
            if world.judge(&fragment.build().bytes, FROM_CLIENT).passes() {
                times[start..(start + length).min(whole)].iter_mut().for_each(|times| *times += 1);
            }
        }
        assert!(times.iter().all(|times| *times <= 1), "seed {seed}: a byte got out twice");
    }
}
