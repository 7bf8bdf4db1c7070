//! Where packets are lost, as the pipeline sees it, against where they were lost.

mod path;

use fastrand::Rng;
use firewall_common::{
    env::Env as _,
    flow::{Inspection, NO_SCALE},
    quality::{
        Side,
        summary::{Loss, Place},
    },
    rule::Action,
    seq::Seq,
    testing::{
        builder::Packet,
        host::{CLIENT, Family, SERVER},
        play::{FROM_CLIENT, FROM_SERVER},
        tables::Tables,
        world::World,
    },
    time::Nanos,
    wire::tcp::{Segment, flags},
};
use path::{Agreed, Link, Seen, Way, run};

const MILLI: u64 = 1_000_000;
const RUNS: u64 = 100;
/// What is claimed: right in so many of them.
const RIGHT: u64 = 95;

fn way(random: &mut Rng, agreed: Agreed) -> Way {
    let mut link = || Link { delay: random.u64(1..40) * MILLI + random.u64(..MILLI), lost: 0, late: 0 };
    let (near, far) = (link(), link());
    Way { agreed, packets: 1_500, window: random.u32(6..60), near, far, upload: random.bool() }
}

const AGREED: [(&str, Agreed); 4] = [
    ("timestamps and SACK", Agreed { timestamps: true, selective: true }),
    ("SACK", Agreed { timestamps: false, selective: true }),
    ("timestamps", Agreed { timestamps: true, selective: false }),
    ("neither", Agreed { timestamps: false, selective: false }),
];

fn loss(seen: &Seen) -> Loss {
    Loss::of(&seen.sender(), seen.now)
}

/// How many of the runs were judged right, with losses of 1 to 5 % on one link, in both directions, and some packets overtaken.
fn judged(agreed: Agreed, before: bool, late: u32) -> (u64, [u64; 2]) {
    let (mut right, mut sums) = (0, [0; 2]);
    for seed in 0..RUNS {
        let mut random = Rng::with_seed(seed);
        let mut way = way(&mut random, agreed);
        let lost = 10 + (seed % 5) as u32 * 10;
        (way.near.late, way.far.late) = (late, late);
        if before {
            way.near.lost = lost;
        } else {
            way.far.lost = lost;
        }
        let seen = run(&way, seed);
        let found = loss(&seen);
        let place = found.place(true);
        if place == if before { Place::Before } else { Place::Behind } {
            right += 1;
        } else {
            println!("seed {seed}: {place:?}, {found:?} where {:?} were lost", seen.lost);
        }
        sums[0] += u64::from(seen.lost[usize::from(!before)]);
        sums[1] += if before { found.before } else { found.behind };
    }
    (right, sums)
}

#[test]
fn the_side_of_a_loss_is_found() {
    for (name, agreed) in AGREED {
        for before in [true, false] {
            // What is overtaken may be sent again: that it arrived all the same only a receiver tells that acknowledges selectively.
            for late in if agreed.selective { &[0, 5][..] } else { &[0] } {
                let (right, [lost, found]) = judged(agreed, before, *late);
                let side = if before { "before" } else { "behind" };
                println!("{name}, {side}, {late}/1000 overtaken: {right} of {RUNS} right; {lost} lost, {found} found");
                assert!(right >= RIGHT, "{name}, {side}: {right} of {RUNS}");
            }
        }
    }
}

/// As many are counted as were lost, where both ends say what they have: within a tenth.
#[test]
fn the_number_of_losses_is_found() {
    for before in [true, false] {
        let (_, [lost, found]) = judged(AGREED[0].1, before, 0);
        assert!(found * 10 > lost * 9 && found * 10 < lost * 11, "{lost} lost, {found} found");
    }
}

#[test]
fn what_is_only_overtaken_is_no_loss() {
    for (name, agreed) in AGREED {
        let mut overtaken = 0;
        for seed in 0..RUNS {
            let mut random = Rng::with_seed(seed);
            let mut way = way(&mut random, agreed);
            // Before Weir alone: what is overtaken behind it may be sent again, and that it arrived only its receiver knows.
            way.near.late = 20;
            let seen = run(&way, seed);
            let found = loss(&seen);
            assert_eq!(seen.lost, [0, 0]);
            // Without selective acknowledgements some of what is sent again for it looks lost behind.
            let most = if agreed.selective { 1 } else { found.reordered };
            assert!(found.before <= 1 && found.behind <= most, "{name}, seed {seed}: {found:?}");
            overtaken += found.reordered;
        }
        println!("{name}: {overtaken} overtaken");
        assert!(overtaken > 1_000, "{name}: {overtaken}");
    }
}

#[test]
fn a_clean_path_has_no_quality_at_all() {
    for (_, agreed) in AGREED {
        let mut random = Rng::with_seed(3);
        let seen = run(&way(&mut random, agreed), 3);
        assert_eq!((seen.quality, seen.lost), (None, [0, 0]));
    }
}

/// Weir tells how far each end is away.
#[test]
fn round_trips_of_both_sides_are_found() {
    let (mut near, mut far) = (0, 0);
    for seed in 0..RUNS {
        let mut random = Rng::with_seed(seed);
        let mut way = way(&mut random, AGREED[0].1);
        way.near.lost = 20;
        let seen = run(&way, seed);
        for (side, link, found) in [(seen.sender(), way.near, &mut near), (seen.receiver(), way.far, &mut far)] {
            let least = u64::from(side.least_round_trip) * 1_000;
            if least == 0 {
                continue;
            }
            *found += 1;
            assert!(least + 2 * MILLI >= 2 * link.delay, "seed {seed}: {least} ns is less than there and back over {link:?}");
            // The sender waits for two more answers before it repeats, and its clock ticks in milliseconds.
            assert!(least <= 2 * link.delay + 8 * MILLI, "seed {seed}: {least} ns is more than there and back over {link:?}");
        }
    }
    println!("round trips: {near} to the sender, {far} to the receiver, of {RUNS}");
    assert!(near > 60 && far > 95, "{near} and {far}");
}

/// What a world knows of the one flow it has: of what the client has sent.
fn client_side(world: &World) -> Side {
    let (key, flow, _) = world.flows()[0];
    world.quality(&key).map(|quality| *quality.sides(flow.has(firewall_common::flow::flow_flags::INITIATOR_LOW)).0).unwrap_or_default()
}

/// IPsec over TCP repeats nothing and acknowledges the highest it has seen: what is lost before Weir is a hole that nothing fills, and of what
/// is lost behind nobody here can tell.
#[test]
fn a_stream_that_repeats_nothing_shows_what_is_lost_before() {
    const SIZE: u32 = 900;
    for before in [true, false] {
        let world = World::under(&Tables::everything(Action::Allow, Inspection::Bypass));
        let send = |from_client: bool, set: u8, seq: u32, ack: u32, length: u32| {
            let segment = Segment { seq: Seq(seq), ack: Seq(ack), length, window: u16::MAX, flags: set, scale: NO_SCALE };
            let (client, server) = ((CLIENT, 40_000), (SERVER, 10_000));
            let (from, to, arrival) = if from_client { (client, server, FROM_CLIENT) } else { (server, client, FROM_SERVER) };
            assert!(world.judge(&Packet::tcp(Family::V4, from, to, &segment).build().bytes, arrival).passes());
            world.advance(Nanos(10 * MILLI));
        };
        send(true, flags::SYN, 99, 0, 0);
        send(false, flags::SYN | flags::ACK, 999, 100, 0);
        send(true, flags::ACK, 100, 1_000, 0);
        let mut random = Rng::with_seed(5);
        let mut lost = 0;
        for number in 0..2_000u32 {
            if random.u32(..100) < 2 {
                lost += 1;
                if before {
                    continue;
                }
            }
            send(true, flags::ACK, 100 + number * SIZE, 1_000 + number * 60, SIZE);
            send(false, flags::ACK, 1_000 + number * 60, 100 + (number + 1) * SIZE, 60);
        }
        world.advance(Nanos(5_000 * MILLI));
        let found = Loss::of(&client_side(&world), world.now());
        let expected = if before { lost } else { 0 };
        assert_eq!((found.before, found.behind, found.reordered), (expected, 0, 0), "{lost} lost");
        assert_eq!(found.place(false), if before { Place::Before } else { Place::Unknown });
    }
}

#[test]
fn numbers_of_an_association_show_what_is_lost_before() {
    let world = World::under(&Tables::everything(Action::Allow, Inspection::Strict));
    let send = |from_client: bool, spi: u32, sequence: u32| {
        let (from, to, arrival) = if from_client { (CLIENT, SERVER, FROM_CLIENT) } else { (SERVER, CLIENT, FROM_SERVER) };
        assert!(world.judge(&Packet::esp(Family::V6, from, to, spi, sequence, 64).build().bytes, arrival).passes());
        world.advance(Nanos(MILLI));
    };
    send(true, 0x1000, 1);
    send(false, 0x2000, 1);
    send(true, 0x1000, 2);
    assert_eq!(client_side(&world), Side::default(), "nothing is out of the ordinary");
    // 3 and 4 never come, 6 is overtaken, and so is one of 8 to 10.
    for sequence in [5, 7, 6, 11, 9, 12] {
        send(true, 0x1000, sequence);
    }
    // A replay, and a rekey: neither is a loss.
    send(true, 0x1000, 12);
    send(true, 0x1001, 77);
    world.advance(Nanos(2_000 * MILLI));
    assert_eq!(Loss::of(&client_side(&world), world.now()).before, 0, "what is missing may yet come");
    world.advance(Nanos(3_000 * MILLI));
    let found = Loss::of(&client_side(&world), world.now());
    assert_eq!(found, Loss { before: 4, behind: 0, needless: 0, reordered: 2 });
}

/// More holes at a time than are followed: what fills one that had to make room is not taken for something that had passed.
#[test]
fn a_hole_that_had_to_make_room_is_lost_before_and_not_behind() {
    let world = World::under(&Tables::everything(Action::Allow, Inspection::Strict));
    let send = |from_client: bool, set: u8, seq: u32, ack: u32, length: u32| {
        let segment = Segment { seq: Seq(seq), ack: Seq(ack), length, window: u16::MAX, flags: set, scale: NO_SCALE };
        let (client, server) = ((CLIENT, 40_000), (SERVER, 443));
        let (from, to, arrival) = if from_client { (client, server, FROM_CLIENT) } else { (server, client, FROM_SERVER) };
        assert!(world.judge(&Packet::tcp(Family::V4, from, to, &segment).build().bytes, arrival).passes());
        world.advance(Nanos(MILLI));
    };
    send(true, flags::SYN, 99, 0, 0);
    send(false, flags::SYN | flags::ACK, 999, 100, 0);
    send(true, flags::ACK, 100, 1_000, 0);
    for number in 0..10 {
        send(true, flags::ACK, 100 + number * 200 + 100, 1_000, 100);
    }
    world.advance(Nanos(300 * MILLI));
    for number in 0..10 {
        send(true, flags::ACK, 100 + number * 200, 1_000, 100);
    }
    let side = client_side(&world);
    assert_eq!((side.gaps, side.lost, side.unfilled, side.unclear), (10, 8, 2, 2), "{side:?}");
    assert_eq!(Loss::of(&side, world.now()), Loss { before: 10, behind: 0, needless: 0, reordered: 0 });
}

/// What a receiver has no room for comes again, and is no loss of the way.
#[test]
fn what_met_a_closed_window_is_not_lost_behind() {
    for shut in [true, false] {
        let world = World::under(&Tables::everything(Action::Allow, Inspection::Strict));
        let send = |from_client: bool, set: u8, seq: u32, ack: u32, length: u32, window: u16| {
            let segment = Segment { seq: Seq(seq), ack: Seq(ack), length, window, flags: set, scale: NO_SCALE };
            let (client, server) = ((CLIENT, 40_000), (SERVER, 443));
            let (from, to, arrival) = if from_client { (client, server, FROM_CLIENT) } else { (server, client, FROM_SERVER) };
            assert!(world.judge(&Packet::tcp(Family::V4, from, to, &segment).build().bytes, arrival).passes());
            world.advance(Nanos(MILLI));
        };
        send(true, flags::SYN, 99, 0, 0, 9_000);
        send(false, flags::SYN | flags::ACK, 999, 100, 0, 9_000);
        for (seq, ack) in [(100, 1_000), (200, 1_000), (300, 1_000)] {
            send(true, flags::ACK, seq, ack, 100, 9_000);
        }
        send(false, flags::ACK, 1_000, 200, 0, if shut { 0 } else { 9_000 });
        send(true, flags::ACK, 200, 1_000, 100, 9_000);
        send(true, flags::ACK, 300, 1_000, 100, 9_000);
        send(false, flags::ACK, 1_000, 400, 0, 9_000);
        let side = client_side(&world);
        assert_eq!((side.again, side.unclear), if shut { (0, 2) } else { (2, 0) }, "{side:?}");
    }
}

/// Without room for it nothing is known, and every packet passes as before.
#[test]
fn a_full_table_changes_nothing() {
    let world = World::under(&Tables::everything(Action::Allow, Inspection::Strict));
    world.faults.set(firewall_common::memory::world::Faults { qualities: true, ..Default::default() });
    for (sequence, from_client) in [(1, true), (1, false), (2, true), (9, true)] {
        let (from, to, arrival) = if from_client { (CLIENT, SERVER, FROM_CLIENT) } else { (SERVER, CLIENT, FROM_SERVER) };
        assert!(world.judge(&Packet::esp(Family::V4, from, to, 0x1000, sequence, 64).build().bytes, arrival).passes());
    }
    assert_eq!(world.quality(&world.flows()[0].0), None);
}
