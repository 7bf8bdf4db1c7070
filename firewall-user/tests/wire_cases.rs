//! The table of cases over real interfaces: the same scripts and expectations as on the host and under TEST_RUN, but the programs are
//! attached and every frame goes over a wire. A case fails when a packet that should be dropped comes out on the other side.

mod kernel;
mod root;
mod wire;

use std::panic::{AssertUnwindSafe, catch_unwind};

use firewall_common::{
    flow::{Inspection, NO_SCALE},
    rule::Action,
    seq::Seq,
    testing::{
        builder::Packet,
        cases::rows,
        host::{CLIENT, Family, SERVER},
        play::{FROM_CLIENT, FROM_SERVER, Subject, play},
        tables::Tables,
    },
    verdict::Verdict,
    wire::tcp::{Segment, flags},
};
use wire::Wire;

const ROOM: u32 = 4096;
/// Other ports and numbers than those of the cases under TEST_RUN.
const SEED: u64 = 77;

#[test]
fn every_case_over_a_wire() {
    if !root::available() {
        return;
    }
    let mut subject = Wire::create(ROOM, ROOM);
    let (mut failures, mut sent) = (Vec::new(), 0);
    for case in rows().flat_map(|row| row.cases) {
        for level in [Inspection::Strict, Inspection::Bypass, Inspection::Tolerant] {
            for family in case.families {
                // What the wire itself finds wrong is a panic; the case's name belongs to it.
                match catch_unwind(AssertUnwindSafe(|| play(case, level, *family, SEED, &mut subject))) {
                    Ok(Ok(packets)) => sent += packets,
                    Ok(Err(failure)) => failures.push(failure),
                    Err(_) => panic!("{} ({}, {family:?}) failed on the wire; why is above", case.id, level.name()),
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} plays failed:\n{}", failures.len(), failures.join("\n"));
    let tally = &subject.tally;
    println!("{sent} packets: {tally}");
    assert_eq!(tally.passed + tally.dropped + tally.answered + tally.unsendable, sent, "every packet has a fate");
    assert!(tally.passed > 0 && tally.dropped > 0 && tally.answered > 0, "a fate that is never met tests nothing");
}

fn syn(from_client: bool) -> Vec<u8> {
    let segment = Segment { seq: Seq(7), ack: Seq(0), length: 0, window: 1000, flags: flags::SYN, scale: NO_SCALE };
    let (client, server) = ((CLIENT, 2000), (SERVER, 443));
    let (from, to) = if from_client { (client, server) } else { (server, client) };
    Packet::tcp(Family::V4, from, to, &segment).build().bytes
}

/// The test of the test: what goes past the firewall does not go unnoticed.
#[test]
fn a_frame_that_evades_the_program_is_noticed() {
    if !root::available() {
        return;
    }
    let mut subject = Wire::create(ROOM, ROOM);
    subject.load(&Tables::everything(Action::Drop, Inspection::Strict));
    for (frame, arrival) in [(syn(true), FROM_CLIENT), (syn(false), FROM_SERVER)] {
        assert!(matches!(subject.judge(&frame, arrival), Verdict::Drop(_)));
    }
    subject.detach();
    let unseen = catch_unwind(AssertUnwindSafe(|| subject.judge(&syn(true), FROM_CLIENT)));
    assert!(unseen.is_err(), "the frame passed without a verdict, and nobody noticed");
}
