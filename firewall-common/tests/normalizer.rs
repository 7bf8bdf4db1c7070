//! The normalizer: what it makes of any segment is a sound one, and two endpoints that keep to the rules notice nothing of it.

use firewall_common::{
    config::config_flags,
    env::{Arrival, Env as _},
    flow::{Flow, Inspection, NO_SCALE, features},
    normalize::{OptionSet, Profile, checks, randomize},
    parse::{Descriptor, parse},
    pipeline::pipeline,
    reason::Reason,
    rule::Action,
    seq::Seq,
    testing::{
        builder::{Packet, Payload},
        endpoint::{Endpoint, Plan},
        host::{CLIENT, Family, OTHER, SERVER},
        play::{FROM_CLIENT, FROM_SERVER},
        profiles,
        tables::Tables,
        verify::checksums,
        world::{Faults, World},
    },
    time::Nanos,
    verdict::Verdict,
    visit::Visit,
    wire::tcp::{Segment, flags},
};
use proptest::{collection::vec, prelude::*, sample::select};

const PORTS: [u16; 2] = [2000, 443];
/// The server behind an interface of its own, in the box's zone.
const FROM_SERVER_SIDE: Arrival = Arrival { zone: 0, place: 2, egress: false };

fn under(profile: Profile) -> World {
    World::under(&Tables::everything(Action::Allow, Inspection::Strict).with_profile(profile))
}

fn packet(family: Family, from_client: bool, segment: &Segment) -> Packet {
    let (client, server) = ((CLIENT, PORTS[0]), (SERVER, PORTS[1]));
    let (from, to) = if from_client { (client, server) } else { (server, client) };
    Packet::tcp(family, from, to, segment)
}

fn segment(set: u8, seq: u32, ack: u32, length: u32) -> Segment {
    Segment { seq: Seq(seq), ack: Seq(ack), length, window: 60_000, flags: set, scale: NO_SCALE }
}

fn with_options(mut packet: Packet, options: &[u8]) -> Packet {
    if let Payload::Tcp { header, .. } = &mut packet.payload {
        header.set_options_raw(options).expect("forty bytes at most");
    }
    packet
}

fn describe(frame: &[u8]) -> Descriptor {
    let mut descriptor = Descriptor::EMPTY;
    parse(&frame, false, &mut descriptor).expect("a sound frame");
    descriptor
}

/// The frame as it goes on.
fn pass(world: &World, frame: &[u8], arrival: Arrival) -> Vec<u8> {
    let (verdict, changed) = world.judge_and_change(frame, arrival);
    assert!(verdict.passes(), "{verdict:?}");
    assert_eq!(checksums(&changed), checksums(frame));
    changed
}

fn flow(world: &World) -> Flow {
    world.flows()[0].1
}

/// The offsets of client and server.
fn offsets(world: &World, frame: &[u8]) -> (u32, u32) {
    let descriptor = describe(frame);
    let (low, high) = randomize::offsets(&world.secret(), &descriptor.key);
    if descriptor.source() == &CLIENT.address(Family::V4) && descriptor.source_is_low { (low, high) } else { (high, low) }
}

fn profile() -> impl Strategy<Value = Profile> {
    let sets = (any::<[u64; 4]>(), any::<[u64; 4]>(), any::<[u64; 4]>());
    (any::<u32>(), any::<u16>(), 0u16..600, sets).prop_map(|(checks, mss_most, mss_least, (clear, drop, and))| {
        // Few kinds are refused: what is dropped shows nothing.
        let drop: [u64; 4] = std::array::from_fn(|word| drop[word] & and[word] & clear[word] >> 1 & !0x1ff);
        Profile { checks, mss_most, mss_least, options_clear: OptionSet(clear), options_drop: OptionSet(drop) }
    })
}

fn options() -> impl Strategy<Value = Vec<u8>> {
    let one = prop_oneof![
        Just(vec![1]),
        any::<u16>().prop_map(|mss| [&[2, 4][..], &mss.to_be_bytes()].concat()),
        (0u8..16).prop_map(|shift| vec![3, 3, shift]),
        Just(vec![4, 2]),
        (any::<u32>(), any::<u32>()).prop_map(|(l, r)| [&[5, 10][..], &l.to_be_bytes(), &r.to_be_bytes()].concat()),
        any::<u32>().prop_map(|value| [&[8, 10][..], &value.to_be_bytes(), &[0; 4]].concat()),
        (6u8.., vec(any::<u8>(), 0..10)).prop_map(|(kind, data)| [&[kind, data.len() as u8 + 2][..], &data].concat()),
    ];
    vec(one, 0..6).prop_map(|list| {
        let mut bytes: Vec<u8> = Vec::new();
        list.iter().for_each(|option| {
            if bytes.len() + option.len() <= 40 {
                bytes.extend(option);
            }
        });
        bytes
    })
}

#[derive(Clone, Debug)]
struct Sent {
    from_client: bool,
    segment: Segment,
    options: Vec<u8>,
    reserved: u8,
    urgent: u16,
    hops: u8,
}

fn sent() -> impl Strategy<Value = Sent> {
    let sets = vec![flags::ACK, flags::ACK | flags::PSH | flags::URG, flags::FIN | flags::ACK, flags::SYN, flags::SYN | flags::ACK];
    let numbers = (0u32..300, 0u32..300, prop_oneof![Just(0u32), 1..200u32], any::<u16>());
    (any::<bool>(), select(sets), numbers, options(), 0u8..16, any::<u16>(), 1u8..).prop_map(
        |(from_client, flags, (seq, ack, length, window), options, reserved, urgent, hops)| Sent {
            from_client,
            segment: Segment { seq: Seq(seq), ack: Seq(ack), length, window, flags, scale: NO_SCALE },
            options,
            reserved,
            urgent,
            hops,
        },
    )
}

fn frame(sent: &Sent, family: Family) -> Vec<u8> {
    let mut packet = with_options(packet(family, sent.from_client, &sent.segment), &sent.options);
    packet.hop_limit = sent.hops;
    if let Payload::Tcp { header, .. } = &mut packet.payload {
        header.urgent_pointer = sent.urgent;
    }
    let mut frame = packet.build();
    frame.set_reserved(sent.reserved);
    frame.bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the profile and whatever comes, what passes is as long as it was, can be read, and has right checksums.
    #[test]
    fn what_is_changed_stays_sound(profile in profile(), sent in vec(sent(), 1..12), v4: bool, egress: bool) {
        let family = if v4 { Family::V4 } else { Family::V6 };
        let world = under(profile);
        for sent in &sent {
            let frame = frame(sent, family);
            let arrival = match (sent.from_client, egress) {
                (true, _) => FROM_CLIENT,
                (false, true) => FROM_SERVER,
                (false, false) => FROM_SERVER_SIDE,
            };
            let (verdict, changed) = world.judge_and_change(&frame, arrival);
            if !verdict.passes() {
                continue;
            }
            prop_assert_eq!(changed.len(), frame.len());
            let right = checksums(&changed);
            prop_assert!(right.is_some_and(|sums| sums.ip && sums.tcp == Some(true)), "{:?}", right);
            let (before, after) = (describe(&frame), describe(&changed));
            prop_assert_eq!((before.key, before.at, before.length), (after.key, after.at, after.length));
            // The data is never touched.
            let data = frame.len() - before.segment.length as usize;
            prop_assert_eq!(&frame[data..], &changed[data..]);
            if profile.checks & checks::TTL_EVASION != 0 {
                prop_assert!(after.hop_limit <= before.hop_limit);
            }
        }
    }

    /// The default profile changes nothing at all.
    #[test]
    fn the_default_changes_nothing(sent in vec(sent(), 1..12), v4: bool) {
        let family = if v4 { Family::V4 } else { Family::V6 };
        let (world, plain) = (under(Profile::DEFAULT), World::under(&Tables::everything(Action::Allow, Inspection::Strict)));
        for sent in &sent {
            let frame = frame(sent, family);
            let arrival = if sent.from_client { FROM_CLIENT } else { FROM_SERVER };
            let (verdict, changed) = world.judge_and_change(&frame, arrival);
            prop_assert_eq!(&changed, &frame);
            // It may refuse what the tracker alone lets pass, and then only for these two.
            let other = plain.judge(&frame, arrival);
            let refused = matches!(verdict, Verdict::Drop(Reason::TcpMd5 | Reason::TcpBadSack));
            if refused {
                break;
            }
            prop_assert_eq!(verdict, other);
        }
    }
}

/// Two endpoints talk through a profile; what one receives is read back from the changed frame.
/// Segments may overtake up to `disorder` others.
fn talk(seed: u64, profile: Profile, disorder: usize) -> usize {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut plan = || Plan {
        bytes: random.u32(1..40_000),
        segment: random.u32(100..=500),
        room: random.u32(2_000..=60_000),
        scale: if random.bool() { NO_SCALE } else { 0 },
        first: if random.bool() { u32::MAX - random.u32(..30_000) } else { random.u32(..) },
        abort_after: None,
    };
    let mut ends = [Endpoint::new(plan()), Endpoint::new(plan())];
    let world = under(profile);
    ends[0].open();
    let mut way: [Vec<Segment>; 2] = Default::default();
    let mut packets = 0;
    for _ in 0..20_000 {
        world.advance(Nanos(1_000_000));
        for side in 0..2 {
            match random.u8(..8) {
                0..5 => ends[side].push(random.usize(1..4)),
                5 => ends[side].read(),
                _ if way.iter().all(Vec::is_empty) => ends[side].timeout(),
                _ => {}
            }
            way[side].extend(ends[side].take());
            while !way[side].is_empty() && random.u8(..4) != 0 {
                let segment = way[side].remove(random.usize(..way[side].len().min(1 + disorder)));
                let frame = packet(Family::V4, side == 0, &segment).build().bytes;
                let (verdict, changed) = world.judge_and_change(&frame, [FROM_CLIENT, FROM_SERVER_SIDE][side]);
                packets += 1;
                assert!(verdict.passes(), "seed {seed}: {verdict:?} over {segment:?}");
                assert_eq!(checksums(&changed).and_then(|sums| sums.tcp), Some(true));
                if random.u8(..10) != 0 {
                    ends[1 - side].receive(&describe(&changed).segment);
                    let answers = ends[1 - side].take();
                    way[1 - side].extend(answers);
                }
            }
        }
        if ends.iter().all(|end| end.finished() && end.has_all()) {
            return packets;
        }
    }
    panic!("seed {seed}: the connection never ended: {:?} and {:?} bytes received", ends[0].progress(), ends[1].progress());
}

#[test]
fn every_byte_arrives_through_profiles() {
    // What is lost leaves a hole, and one window update that overtakes another cannot be told from window taken back.
    let no_order = checks::OUT_OF_ORDER | checks::WINDOW_VARIATION;
    let everything = Profile { checks: profiles::EVERYTHING.checks & !no_order, ..profiles::EVERYTHING };
    let in_order = Profile { checks: profiles::EVERYTHING.checks & !checks::OUT_OF_ORDER, ..profiles::EVERYTHING };
    let profiles = [("default", Profile::DEFAULT, 1), ("asa", Profile::ASA, 1), ("everything", everything, 1), ("in order", in_order, 0)];
    for (name, profile, disorder) in profiles {
        let packets: usize = (0..150).map(|seed| talk(seed, profile, disorder)).sum();
        println!("{name}: 150 connections, {packets} packets");
    }
}

#[test]
fn numbers_are_shifted_in_both_directions_and_for_good() {
    let mut world = under(Profile { checks: checks::RANDOMIZE, ..Profile::OFF });
    let syn = packet(Family::V4, true, &segment(flags::SYN, 1000, 0, 0)).build().bytes;
    let (client, server) = offsets(&world, &syn);
    assert!(client != 0 && server != 0 && client != server);
    let out = describe(&pass(&world, &syn, FROM_CLIENT)).segment;
    assert_eq!((out.seq, out.ack), (Seq(1000).add(client), Seq(0)), "a number that acknowledges nothing is left alone");
    assert_eq!(flow(&world).features & features::RANDOMIZED, features::RANDOMIZED);
    assert_eq!(flow(&world).initiator.isn, 1000, "the record has the endpoint's own numbers");

    let answer = packet(Family::V4, false, &segment(flags::SYN | flags::ACK, 5000, 1001u32.wrapping_add(client), 0)).build().bytes;
    let back = describe(&pass(&world, &answer, FROM_SERVER_SIDE)).segment;
    assert_eq!((back.seq, back.ack), (Seq(5000).add(server), Seq(1001)));
    let third = packet(Family::V4, true, &segment(flags::ACK, 1001, 5001u32.wrapping_add(server), 100)).build().bytes;
    let out = describe(&pass(&world, &third, FROM_CLIENT)).segment;
    assert_eq!((out.seq, out.ack), (Seq(1001).add(client), Seq(5001)));

    // Another policy, without a profile, and bypass: what has begun so goes on so.
    for level in [Inspection::Strict, Inspection::Bypass] {
        world.load(&Tables::everything(Action::Allow, level));
        let shift = |number: u32| number.wrapping_add(client);
        let sack = [&[1, 1, 5, 10][..], &shift(1051).to_be_bytes(), &shift(1101).to_be_bytes()].concat();
        let bare = packet(Family::V4, false, &segment(flags::ACK, 5001, shift(1001), 10));
        let frame = with_options(bare, &sack).build().bytes;
        let changed = pass(&world, &frame, FROM_SERVER_SIDE);
        let read = describe(&changed);
        assert_eq!((read.segment.seq, read.segment.ack, read.options.sack), (Seq(5001).add(server), Seq(1001), Seq(1101)));
        assert_eq!(changed[14 + 20 + 20..14 + 20 + 32], [&[1, 1, 5, 10][..], &1051u32.to_be_bytes(), &1101u32.to_be_bytes()].concat());
    }
}

/// An error about `segment` of the server's, which comes from somebody else.
fn too_big(segment: &Segment) -> Vec<u8> {
    let quoted = packet(Family::V4, false, segment).build();
    Packet::error(Family::V4, OTHER, SERVER, (3, 4), &quoted.bytes[quoted.ip_at..]).build().bytes
}

/// The server is behind an interface that is not the firewall's: its segments are shifted on their way out. What the box complains of
/// before that is as the server sent it, what others complain of is not.
#[test]
fn an_error_about_what_had_yet_to_be_shifted_goes_on_as_it_came() {
    let world = under(Profile { checks: checks::RANDOMIZE, ..Profile::OFF });
    let syn = packet(Family::V4, true, &segment(flags::SYN, 1000, 0, 0)).build().bytes;
    let (client, server) = offsets(&world, &syn);
    pass(&world, &syn, FROM_CLIENT);
    let answer = segment(flags::SYN | flags::ACK, 5000, 1001u32.wrapping_add(client), 0);
    pass(&world, &packet(Family::V4, false, &answer).build().bytes, FROM_SERVER);

    let shifted = Segment { seq: answer.seq.add(server), ack: Seq(1001), ..answer };
    let (own, theirs) = (too_big(&answer), too_big(&shifted));
    assert_eq!(world.judge_and_change(&own, FROM_SERVER), (Verdict::NoLearn, own.clone()));
    assert_eq!(world.judge(&theirs, FROM_SERVER), Verdict::Drop(Reason::IcmpErrorOffWindow));
    assert_eq!(world.judge_and_change(&theirs, FROM_CLIENT), (Verdict::NoLearn, own.clone()));
    assert_eq!(world.judge(&own, FROM_CLIENT), Verdict::Drop(Reason::IcmpErrorOffWindow));
}

#[test]
fn a_signed_connection_keeps_its_numbers() {
    for kind in [19, 29] {
        let world = under(Profile { checks: checks::RANDOMIZE, ..Profile::OFF });
        let syn = packet(Family::V4, true, &segment(flags::SYN, 1000, 0, 0));
        let syn = with_options(syn, &[&[kind, 18][..], &[7; 16]].concat()).build().bytes;
        assert_eq!(pass(&world, &syn, FROM_CLIENT), syn);
        assert_eq!(flow(&world).features & features::RANDOMIZED, 0);
    }
}

#[test]
fn a_flow_that_finds_no_room_keeps_its_numbers() {
    let world = under(Profile { checks: checks::RANDOMIZE, ..Profile::OFF });
    world.configure(|config| config.flags = config_flags::TABLE_FULL_PASS);
    world.faults.set(Faults { embryonic: true, ..Faults::default() });
    let syn = packet(Family::V4, true, &segment(flags::SYN, 1000, 0, 0)).build().bytes;
    assert_eq!(pass(&world, &syn, FROM_CLIENT), syn);
}

#[test]
fn a_connection_begun_anew_is_judged_by_its_own_numbers() {
    let mut world = under(Profile { checks: checks::RANDOMIZE, ..Profile::OFF });
    let syn = packet(Family::V4, true, &segment(flags::SYN, 1000, 0, 0)).build().bytes;
    let (client, _) = offsets(&world, &syn);
    pass(&world, &syn, FROM_CLIENT);
    // The server refuses; the client tries again, under a policy that shifts nothing.
    let reset = packet(Family::V4, false, &segment(flags::RST | flags::ACK, 0, 1001u32.wrapping_add(client), 0)).build().bytes;
    assert_eq!(describe(&pass(&world, &reset, FROM_SERVER_SIDE)).segment.ack, Seq(1001));
    world.load(&Tables::everything(Action::Allow, Inspection::Strict));
    let again = packet(Family::V4, true, &segment(flags::SYN, 3000, 0, 0)).build().bytes;
    assert_eq!(pass(&world, &again, FROM_CLIENT), again);
    assert_eq!(flow(&world).features & features::RANDOMIZED, 0);
}

fn handshake(world: &World, options: &[u8]) {
    for (from_client, segment) in
        [(true, segment(flags::SYN, 0, 0, 0)), (false, segment(flags::SYN | flags::ACK, 0, 1, 0)), (true, segment(flags::ACK, 1, 1, 0))]
    {
        let frame = with_options(packet(Family::V4, from_client, &segment), options).build().bytes;
        assert_eq!(world.judge(&frame, if from_client { FROM_CLIENT } else { FROM_SERVER_SIDE }), Verdict::Learn);
    }
}

fn stamped(seq: u32, timestamp: u32) -> Vec<u8> {
    let option = [&[1, 1, 8, 10][..], &timestamp.to_be_bytes(), &[0; 4]].concat();
    with_options(packet(Family::V4, true, &segment(flags::ACK, seq, 1, 10)), &option).build().bytes
}

#[test]
fn a_timestamp_counts_for_24_days() {
    let world = under(Profile { checks: checks::TIMESTAMPS, ..Profile::OFF });
    handshake(&world, &[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0]);
    let (second, day) = (1_000_000_000, 86_400 * 1_000_000_000);
    assert_eq!(world.judge(&stamped(1, 100), FROM_CLIENT), Verdict::Learn);
    world.advance(Nanos(2 * second));
    assert_eq!(world.judge(&stamped(1, 99), FROM_CLIENT), Verdict::Drop(Reason::TcpPawsFail));
    // Its record lives as long in this test alone.
    let key = world.flows()[0].0;
    world.advance(Nanos(24 * day - 2 * second));
    world.age(&key, Nanos(0));
    let fresh =
        |world: &World| world.with_established(&world.established(&key).expect("it is there"), |flow| flow.last_seen = world.now().0);
    fresh(&world);
    assert_eq!(world.judge(&stamped(1, 99), FROM_CLIENT), Verdict::Drop(Reason::TcpPawsFail));
    world.advance(Nanos(1));
    fresh(&world);
    assert_eq!(world.judge(&stamped(1, 99), FROM_CLIENT), Verdict::Learn);
}

#[test]
fn what_cannot_be_remembered_or_changed_is_dropped() {
    let world = under(Profile { checks: checks::TTL_EVASION, ..Profile::OFF });
    handshake_without_memory(&world);
    let data = packet(Family::V4, true, &segment(flags::ACK, 1, 1, 10)).build().bytes;
    world.faults.set(Faults { histories: true, ..Faults::default() });
    let before = flow(&world);
    assert_eq!(world.judge(&data, FROM_CLIENT), Verdict::Drop(Reason::HistoryInsertFailed));
    assert_eq!(flow(&world), before, "what is dropped leaves no trace");
    world.faults.set(Faults::default());
    assert_eq!(world.judge(&data, FROM_CLIENT), Verdict::Learn);

    // A frame that nothing can write to.
    let world = under(Profile { checks: checks::URGENT_CLEAR, ..Profile::OFF });
    let urgent = packet(Family::V4, true, &segment(flags::SYN | flags::URG, 1, 0, 0)).build().bytes;
    let verdict = pipeline(&&urgent[..], &world, &mut Visit::new(FROM_CLIENT, world.settings(), world.now()));
    assert_eq!(verdict, Verdict::Drop(Reason::RewriteFailed));
    assert_eq!(world.counters().drops[Reason::RewriteFailed.index()], 1);
    assert_eq!(world.counters().passed, 0);
}

fn handshake_without_memory(world: &World) {
    handshake(world, &[]);
}

#[test]
fn an_unfinished_checksum_is_taken_for_one_where_there_may_be_such() {
    let world = under(Profile { checks: checks::CHECKSUM_ALL | checks::URGENT_CLEAR, ..Profile::OFF });
    let mut frame = packet(Family::V4, true, &segment(flags::SYN | flags::URG, 1, 0, 0)).build();
    frame.unfinish();
    assert_eq!(world.judge(&frame.bytes, FROM_CLIENT), Verdict::Drop(Reason::BadTcpChecksum));
    world.software.set(true);
    let (verdict, changed) = world.judge_and_change(&frame.bytes, FROM_CLIENT);
    assert_eq!(verdict, Verdict::Learn);
    let field = frame.transport_at + 16;
    assert_eq!(changed[field..field + 2], frame.bytes[field..field + 2], "whoever finishes it sums what is there then");
    assert_eq!(changed[frame.transport_at + 13], flags::SYN);
    let mut wrong = frame.clone();
    wrong.bytes[field] ^= 1;
    assert_eq!(world.judge(&wrong.bytes, FROM_CLIENT), Verdict::Drop(Reason::BadTcpChecksum));

    // A finished checksum that looks like an unfinished one: the segment's own words sum to nothing. It is mended.
    let mut looks_so = packet(Family::V4, true, &segment(flags::ACK | flags::URG, 0, 0, 4)).build();
    looks_so.unfinish();
    let (at, end) = (looks_so.transport_at, looks_so.bytes.len());
    let pseudo = u16::from_be_bytes([looks_so.bytes[at + 16], looks_so.bytes[at + 17]]);
    let words = |bytes: &[u8]| -> u32 { bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum() };
    looks_so.bytes[end - 2..].fill(0);
    let mut rest = u32::from(pseudo) + words(&looks_so.bytes[at..end]);
    while rest > 0xffff {
        rest = (rest & 0xffff) + (rest >> 16);
    }
    let end_word = (!(rest as u16)).to_be_bytes();
    looks_so.bytes[end - 2..].copy_from_slice(&end_word);
    assert_eq!(checksums(&looks_so.bytes).and_then(|sums| sums.tcp), Some(true));
    let bypass = Tables::everything(Action::Allow, Inspection::Bypass);
    let world = World::under(&bypass.with_profile(Profile { checks: checks::URGENT_CLEAR, ..Profile::OFF }));
    world.software.set(true);
    let changed = pass(&world, &looks_so.bytes, FROM_CLIENT);
    assert_ne!(changed, looks_so.bytes);
}
