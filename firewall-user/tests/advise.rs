//! What refused packets look like: through the real pipeline on the host, streams that are no TCP and one-sided paths are known for what they are,
//! and no mix of scans, floods, injections and honest TCP ever leads to a bypass.

use std::collections::HashMap;

use firewall_common::{
    env::Arrival,
    evidence::{CONVERSATIONS, MAX_STRANGERS, Table},
    flow::{FlowKey, Inspection, NO_SCALE},
    normalize::{Profile, checks},
    rule::Action,
    seq::Seq,
    testing::{
        builder::Packet,
        endpoint::{Endpoint, Plan},
        host::{CLIENT, Family, Host, OTHER, SERVER},
        tables::Tables,
        world::World,
    },
    time::Nanos,
    wire::tcp::{Segment, flags},
};
use firewall_user::advise::{self, Confidence, Connection, Finding, Looks, Pair, Source};
use proptest::prelude::*;

const IN: Arrival = Arrival { zone: 1, place: 1, egress: false };
const OUT: Arrival = Arrival { zone: 1, place: 1, egress: true };
const MILLISECOND: Nanos = Nanos(1_000_000);
const WINDOW: u16 = 65_535;

type End = (Host, u16);

/// A firewall under strict inspection.
struct Lab(World);

impl Lab {
    fn new() -> Self {
        Self(World::under(&Tables::everything(Action::Allow, Inspection::Strict)))
    }

    /// True when it passes.
    fn send(&self, from: End, to: End, segment: Segment) -> bool {
        self.0.advance(MILLISECOND);
        let arrival = if from.0 == SERVER { OUT } else { IN };
        self.0.judge(&Packet::tcp(Family::V4, from, to, &segment).build().bytes, arrival).passes()
    }

    fn wait(&self, millis: u32) {
        self.0.advance(Nanos::from_millis(millis));
    }

    fn handshake(&self, client: End, server: End, first: [u32; 2]) {
        let [c, s] = first;
        assert!(self.send(client, server, segment(flags::SYN, c, 0, 0)));
        assert!(self.send(server, client, segment(flags::SYN | flags::ACK, s, c.wrapping_add(1), 0)));
        assert!(self.send(client, server, segment(flags::ACK, c.wrapping_add(1), s.wrapping_add(1), 0)));
    }

    /// What each flow with refusals looks like.
    fn flows(&self) -> HashMap<FlowKey, Finding> {
        let of = |(key, evidence)| {
            let live = self.0.flow(&key).map(|(flow, _)| flow);
            (key, advise::connection(&Connection::new(&evidence, live.as_ref())))
        };
        self.0.evidence(Table::Flows).into_iter().map(of).collect()
    }

    /// What each source of strays looks like.
    fn sources(&self) -> Vec<(Vec<Pair>, Finding)> {
        let strays = self.0.evidence(Table::Strays);
        let of = |(address, stranger)| {
            let conversations = strays.iter().filter(|(key, evidence)| {
                (key.low == address && evidence.low.packets > 0) || (key.high == address && evidence.high.packets > 0)
            });
            let conversations = conversations.map(|(key, evidence)| (key, evidence)).collect();
            advise::source(&Source { address, stranger: &stranger, conversations })
        };
        self.0.strangers().into_iter().map(of).collect()
    }

    fn advises_nothing(&self) {
        for (key, finding) in self.flows() {
            assert!(!finding.sure(), "{finding:?} of {key:?}");
        }
        for (pairs, finding) in self.sources() {
            assert!(!finding.sure(), "{finding:?}");
            assert!(pairs.iter().all(|pair| !pair.finding.sure()), "{pairs:?}");
        }
    }
}

fn segment(control: u8, seq: u32, ack: u32, length: u32) -> Segment {
    Segment { seq: Seq(seq), ack: Seq(ack), length, window: WINDOW, flags: control, scale: NO_SCALE }
}

/// IPsec over TCP: numbered segments of 1000 bytes, every `lost`th lost before the firewall, the acknowledgement frozen at the first hole.
/// `duplex`: both sides send; otherwise the server sends bare acknowledgements.
fn fake_stream(lab: &Lab, client: End, count: u32, lost: u32, duplex: bool) {
    let server = (SERVER, 10_000);
    lab.handshake(client, server, [1_000, 5_000]);
    let mut expected = 1_001_u32;
    let mut answers = 5_001_u32;
    for number in 0..count {
        let seq = 1_001 + number * 1_000;
        let arrives = number % lost != lost - 1 && lab.send(client, server, segment(flags::ACK, seq, 5_001, 1_000));
        if arrives && seq == expected {
            expected += 1_000;
        }
        if duplex {
            lab.send(server, client, segment(flags::ACK, answers, expected, 900));
            answers += 900;
        } else if arrives {
            lab.send(server, client, segment(flags::ACK, 5_001, expected, 0));
        }
    }
}

#[test]
fn a_stream_that_nothing_sends_again_is_no_tcp() {
    for (duplex, lost) in [(false, 20), (true, 20), (false, 50), (true, 50)] {
        let lab = Lab::new();
        fake_stream(&lab, (CLIENT, 40_001), 400, lost, duplex);
        let flows = lab.flows();
        assert_eq!(flows.len(), 1);
        for finding in flows.values() {
            assert!(finding.looks == Looks::FakeTcp && finding.confidence == Confidence::High && finding.sure(), "{finding:?}");
            assert!(finding.why.contains("was never filled") && finding.why.contains("nothing was sent again"), "{finding:?}");
        }
    }
}

/// A tunnel whose sender goes back to the hole and sends new data there, under a profile that compares what is sent again.
fn rewinding_stream(lab: &Lab, frozen: bool) {
    let (client, server) = ((CLIENT, 40_001), (SERVER, 4_000));
    lab.handshake(client, server, [1_000, 5_000]);
    let mut fill = 0_u8;
    let mut send = |seq: u32| {
        fill += 1;
        lab.0.advance(MILLISECOND);
        let mut frame = Packet::tcp(Family::V4, client, server, &segment(flags::ACK, seq, 5_001, 1_000)).build();
        frame.patch_transport(20, &[fill; 100]);
        lab.0.judge(&frame.bytes, IN).passes()
    };
    for round in 0..6 {
        for number in 0..4 {
            // Behind the firewall the first of each round is lost: the receiver waits for it, and gets something else.
            let passes = send(1_001 + number * 1_000);
            assert_eq!(passes, round == 0, "round {round}, segment {number}");
        }
        (0..3).for_each(|_| assert!(lab.send(server, client, segment(flags::ACK, 5_001, 1_001, 0))));
    }
    if !frozen {
        assert!(lab.send(server, client, segment(flags::ACK, 5_001, 5_001, 0)));
    }
}

fn comparing() -> Lab {
    let profile = Profile { checks: checks::RETRANSMISSION, ..Profile::OFF };
    Lab(World::under(&Tables::everything(Action::Allow, Inspection::Strict).with_profile(profile)))
}

#[test]
fn a_stream_that_sends_other_data_under_old_numbers_is_no_tcp() {
    let lab = comparing();
    rewinding_stream(&lab, true);
    let flows = lab.flows();
    assert_eq!(flows.len(), 1);
    for finding in flows.values() {
        assert!(finding.looks == Looks::FakeTcp && finding.sure(), "{finding:?}");
        assert!(finding.why.contains("other data under the same numbers, 20 times"), "{finding:?}");
    }
}

/// The very same segments, put into a connection that goes on without them.
#[test]
fn other_data_under_old_numbers_is_an_injection_where_the_connection_goes_on() {
    let lab = comparing();
    rewinding_stream(&lab, false);
    for finding in lab.flows().values() {
        assert!(finding.looks == Looks::Injection && !finding.sure(), "{finding:?}");
    }
}

/// What is advised before a bypass.
#[test]
fn tolerant_inspection_is_enough_for_such_a_stream() {
    for duplex in [false, true] {
        let lab = Lab(World::under(&Tables::everything(Action::Allow, Inspection::Tolerant)));
        fake_stream(&lab, (CLIENT, 40_001), 400, 20, duplex);
        assert!(lab.flows().is_empty() && lab.sources().is_empty(), "something was refused");
    }
}

#[test]
fn what_is_known_of_it_outlives_the_flow() {
    let lab = Lab::new();
    fake_stream(&lab, (CLIENT, 40_001), 400, 20, false);
    let [(_, evidence)] = lab.0.evidence(Table::Flows).try_into().expect("one flow");
    assert_eq!(advise::connection(&Connection::new(&evidence, None)).looks, Looks::FakeTcp);
}

/// The SYN and all the client sends come by here, the server's replies do not.
fn one_sided(lab: &Lab, client: End, server: End, speaks: bool) {
    let seq = 700_001;
    lab.send(client, server, segment(flags::SYN, seq - 1, 0, 0));
    lab.send(client, server, segment(flags::ACK, seq, 9_001, 0));
    for turn in 0..4 {
        if speaks {
            assert!(!lab.send(client, server, segment(flags::ACK | flags::PSH, seq, 9_001, 200)));
        } else {
            assert!(!lab.send(client, server, segment(flags::ACK, seq, 9_001, 0)));
        }
        lab.wait(200 << turn);
    }
}

#[test]
fn a_handshake_whose_answer_never_comes_by_is_an_asymmetric_path() {
    for speaks in [true, false] {
        let lab = Lab::new();
        one_sided(&lab, (CLIENT, 41_000), (SERVER, 443), speaks);
        let [(pairs, _)] = lab.sources().try_into().expect("one source");
        let [pair] = pairs.try_into().expect("one pair");
        assert!(pair.finding.looks == Looks::Asymmetric && pair.finding.sure(), "{pair:?}");
        assert_eq!((pair.source, pair.port), (CLIENT.address(Family::V4), Some(443)));
    }
}

#[test]
fn replies_alone_are_an_asymmetric_path_when_they_are_of_two_connections() {
    let lab = Lab::new();
    let replies = |port| {
        for turn in 0..5 {
            assert!(!lab.send((OTHER, 443), (SERVER, port), segment(flags::SYN | flags::ACK, u32::from(port) * 7, 99, 0)));
            lab.wait(1_000 << turn);
        }
    };
    replies(50_000);
    let first = lab.sources();
    assert!(first[0].0.iter().all(|pair| pair.finding.looks == Looks::Asymmetric && !pair.finding.sure()), "{first:?}");
    replies(50_001);
    let [(pairs, _)] = lab.sources().try_into().expect("one source");
    let [pair] = pairs.try_into().expect("one pair");
    assert!(pair.finding.sure() && pair.port.is_none() && pair.source_port == 443, "{pair:?}");
}

#[test]
fn a_path_on_which_answers_come_by_is_not_asymmetric() {
    let lab = Lab::new();
    one_sided(&lab, (CLIENT, 41_000), (SERVER, 443), true);
    // Another connection of the same two hosts is answered here, and its third packet guesses.
    lab.send((CLIENT, 41_001), (SERVER, 443), segment(flags::SYN, 100, 0, 0));
    lab.send((SERVER, 443), (CLIENT, 41_001), segment(flags::SYN | flags::ACK, 500, 101, 0));
    for _ in 0..4 {
        assert!(!lab.send((CLIENT, 41_001), (SERVER, 443), segment(flags::ACK, 101, 77_777, 10)));
    }
    lab.advises_nothing();
}

#[test]
fn a_blind_injection_is_known_and_never_bypassed() {
    let lab = Lab::new();
    let (client, server) = ((CLIENT, 42_000), (SERVER, 443));
    lab.handshake(client, server, [10_000, 20_000]);
    let mut random = fastrand::Rng::with_seed(7);
    let mut next = 10_001;
    for _ in 0..200 {
        assert!(lab.send(client, server, segment(flags::ACK, next, 20_001, 500)));
        next += 500;
        assert!(lab.send(server, client, segment(flags::ACK, 20_001, next, 0)));
        let forged = if random.bool() { flags::ACK } else { flags::RST };
        lab.send(client, server, segment(forged, random.u32(..), 20_001, u32::from(forged == flags::ACK) * 100));
    }
    let findings: Vec<Finding> = lab.flows().into_values().collect();
    assert!(findings.len() == 1 && findings[0].looks == Looks::Injection, "{findings:?}");
    lab.advises_nothing();
}

#[test]
fn a_scan_takes_few_places_and_is_known() {
    for control in [flags::ACK, flags::SYN | flags::ACK, flags::FIN | flags::ACK, flags::RST] {
        let lab = Lab::new();
        for port in 1..2_000 {
            lab.send((CLIENT, 61_000 + port % 7), (SERVER, port), segment(control, u32::from(port), 0, 0));
        }
        assert_eq!(lab.0.strangers().len(), 1);
        assert!(lab.0.evidence(Table::Strays).len() <= CONVERSATIONS as usize);
        let [(pairs, finding)] = lab.sources().try_into().expect("one source");
        assert!(pairs.is_empty() && finding.looks == Looks::Scan && finding.confidence == Confidence::High, "{finding:?}");
    }
}

#[test]
fn a_flood_from_invented_sources_takes_no_conversations() {
    let lab = Lab::new();
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..30_000 {
        let host = Host { v4: [100, random.u8(..), random.u8(..), random.u8(1..255)], ..OTHER };
        lab.send((host, random.u16(1..)), (SERVER, 443), segment(flags::ACK, random.u32(..), random.u32(..), 0));
    }
    assert!(lab.0.missed_refusals() > 10_000, "a flood is cut short: {}", lab.0.missed_refusals());
    assert!(lab.0.strangers().len() <= MAX_STRANGERS as usize);
    assert!(lab.0.evidence(Table::Strays).len() < 30, "{}", lab.0.evidence(Table::Strays).len());
    lab.advises_nothing();
}

#[test]
fn the_echo_of_a_flood_is_no_asymmetric_path() {
    let lab = Lab::new();
    for turn in 0..5 {
        for port in 0..300_u16 {
            lab.send((OTHER, 80), (SERVER, 20_000 + port), segment(flags::SYN | flags::ACK, u32::from(port) * 9, 5, 0));
        }
        lab.wait(1_000 << turn);
    }
    let [(pairs, finding)] = lab.sources().try_into().expect("one source");
    assert!(pairs.is_empty() && finding.looks == Looks::Scan, "{finding:?} {pairs:?}");
}

/// One of the things an attacker without sight of the network can do, or that honest hosts do.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// Segments with random numbers into the live connection, from either side.
    Inject {
        control: u8,
        data: bool,
    },
    /// The same in order, from a random place on.
    Run {
        start: u32,
        length: u8,
    },
    /// Probes of many ports or hosts.
    Probe {
        control: u8,
        ports: u8,
        hosts: u8,
    },
    /// The same from sources that do not exist.
    Spoofed {
        control: u8,
        count: u8,
    },
    /// Data in mid-stream of a connection nobody knows, in order, with acknowledgements that go on.
    Stream {
        count: u8,
    },
    /// The live connection goes on.
    Talk {
        segments: u8,
    },
    Wait {
        millis: u16,
    },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let control = prop::sample::select(vec![
        flags::ACK,
        flags::ACK | flags::PSH,
        flags::SYN | flags::ACK,
        flags::RST,
        flags::RST | flags::ACK,
        flags::FIN | flags::ACK,
        flags::SYN,
    ]);
    let act = prop_oneof![
        (control.clone(), any::<bool>()).prop_map(|(control, data)| Act::Inject { control, data }),
        (any::<u32>(), any::<u8>()).prop_map(|(start, length)| Act::Run { start, length }),
        (control.clone(), 1..60_u8, 1..20_u8).prop_map(|(control, ports, hosts)| Act::Probe { control, ports, hosts }),
        (control, any::<u8>()).prop_map(|(control, count)| Act::Spoofed { control, count }),
        any::<u8>().prop_map(|count| Act::Stream { count }),
        (1..30_u8).prop_map(|segments| Act::Talk { segments }),
        any::<u16>().prop_map(|millis| Act::Wait { millis }),
    ];
    prop::collection::vec(act, 1..40)
}

/// The attacker's world: a live connection of others, and what has been sent of it.
struct Siege {
    lab: Lab,
    random: fastrand::Rng,
    next: [u32; 2],
}

const VICTIMS: [End; 2] = [(CLIENT, 42_000), (SERVER, 443)];

impl Siege {
    fn begin(seed: u64) -> Self {
        let lab = Lab::new();
        let mut random = fastrand::Rng::with_seed(seed);
        let first = [random.u32(..), random.u32(..)];
        lab.handshake(VICTIMS[0], VICTIMS[1], first);
        Self { lab, random, next: first.map(|first| first.wrapping_add(1)) }
    }

    fn act(&mut self, act: Act) {
        let Self { lab, random, next } = self;
        let length = |data: bool| if data { 64 } else { 0 };
        match act {
            Act::Inject { control, data } => {
                let from = random.usize(..2);
                lab.send(VICTIMS[from], VICTIMS[1 - from], segment(control, random.u32(..), random.u32(..), length(data)));
            }
            Act::Run { start, length } => {
                let from = random.usize(..2);
                let ack = random.u32(..);
                for number in 0..u32::from(length) {
                    lab.send(VICTIMS[from], VICTIMS[1 - from], segment(flags::ACK, start.wrapping_add(number * 500), ack, 500));
                }
            }
            Act::Probe { control, ports, hosts } => {
                for host in 0..hosts {
                    let target = Host { v4: [10, 71, 3, host + 1], ..SERVER };
                    for port in 0..u16::from(ports) {
                        lab.send((OTHER, random.u16(1024..)), (target, 1 + port * 3), segment(control, random.u32(..), random.u32(..), 0));
                    }
                }
            }
            Act::Spoofed { control, count } => {
                for _ in 0..count {
                    let source = Host { v4: [100, 64, random.u8(..), random.u8(1..255)], ..OTHER };
                    lab.send((source, random.u16(1024..)), (SERVER, 443), segment(control, random.u32(..), random.u32(..), 0));
                }
            }
            Act::Stream { count } => {
                let (port, seq, ack) = (random.u16(1024..), random.u32(..), random.u32(..));
                for number in 0..u32::from(count) {
                    let segment = segment(flags::ACK, seq.wrapping_add(number * 400), ack.wrapping_add(number * 300), 400);
                    lab.send((OTHER, port), (SERVER, 443), segment);
                }
            }
            Act::Talk { segments } => {
                for _ in 0..segments {
                    let from = random.usize(..2);
                    let [own, other] = [next[from], next[1 - from]];
                    lab.send(VICTIMS[from], VICTIMS[1 - from], segment(flags::ACK, own, other, 100));
                    next[from] = own.wrapping_add(100);
                    lab.send(VICTIMS[1 - from], VICTIMS[from], segment(flags::ACK, other, next[from], 0));
                }
            }
            Act::Wait { millis } => lab.wait(millis.into()),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn no_mix_of_attacks_talks_anybody_into_a_bypass(acts in acts(), seed in any::<u64>()) {
        let mut siege = Siege::begin(seed);
        for act in acts {
            siege.act(act);
        }
        siege.lab.advises_nothing();
    }
}

/// Real endpoints over a path that loses, repeats and reorders leave nothing to advise; nor does one beside a blind attacker.
#[test]
fn honest_tcp_is_never_taken_for_something_else() {
    for seed in 0..60 {
        let mut random = fastrand::Rng::with_seed(seed);
        let lab = Lab::new();
        let plan = |random: &mut fastrand::Rng| Plan {
            bytes: random.u32(..200_000),
            segment: 1_000,
            room: 60_000,
            scale: NO_SCALE,
            first: random.u32(..),
            abort_after: None,
        };
        let mut ends = [Endpoint::new(plan(&mut random)), Endpoint::new(plan(&mut random))];
        for _ in 0..3_000 {
            for side in 0..2 {
                match random.u8(..8) {
                    0..4 => ends[side].push(random.usize(1..5)),
                    4 => ends[side].read(),
                    5 if random.u8(..8) == 0 => ends[side].timeout(),
                    _ => {}
                }
                for segment in ends[side].take() {
                    let lost = random.u8(..100) < 5;
                    if !lost && lab.send(VICTIMS[side], VICTIMS[1 - side], segment) && random.u8(..100) >= 5 {
                        ends[1 - side].receive(&segment);
                    }
                }
            }
            if random.u8(..10) == 0 {
                lab.send(VICTIMS[0], VICTIMS[1], segment(flags::ACK, random.u32(..), random.u32(..), 500));
            }
        }
        lab.advises_nothing();
    }
}
