//! What scripts cannot say of fragments, on the host and in the kernel: whom they count for, records that are held or refused, two CPUs.

mod kernel;
mod root;

use firewall_common::{
    config::config_flags,
    flow::{Flow, Inspection},
    reason::Reason,
    rule::Action,
    testing::{
        builder::{Packet, Part},
        host::{CLIENT, Family, SERVER},
        play::{FROM_CLIENT, FROM_SERVER, Subject},
        tables::{THE_RULE, Tables},
        world::{Faults, World},
    },
    verdict::Verdict,
};
use kernel::Kernel;

const ROOM: u32 = 4096;
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
const LEVELS: [Inspection; 2] = [Inspection::Strict, Inspection::Bypass];

/// Bytes `offset` to `offset + length` of a datagram of 1008, from the client or the server.
fn fragment(family: Family, from_client: bool, identification: u32, offset: usize, length: usize) -> Vec<u8> {
    let (client, server) = ((CLIENT, 2000), (SERVER, 53));
    let (from, to) = if from_client { (client, server) } else { (server, client) };
    let part = Part { offset, length: Some(length), more: offset + length < 1008, identification };
    Packet { part: Some(part), ..Packet::udp(family, from, to, 1000) }.build().bytes
}

fn from_client(family: Family, identification: u32, offset: usize, length: usize) -> Vec<u8> {
    fragment(family, true, identification, offset, length)
}

/// A test on the host and in the kernel, under each level and for each family, each time with empty tables.
macro_rules! everywhere {
    ($name:ident, $test:ident) => {
        #[test]
        fn $name() {
            let mut world = World::default();
            let mut kernel = root::available().then(|| Kernel::load(ROOM, ROOM));
            for (level, family) in LEVELS.into_iter().flat_map(|level| FAMILIES.map(|family| (level, family))) {
                let tables = Tables::everything(Action::Allow, level);
                prepare(&mut world, &tables);
                $test(&mut world, family);
                if let Some(kernel) = &mut kernel {
                    prepare(kernel, &tables);
                    $test(kernel, family);
                }
            }
        }
    };
}

fn prepare(subject: &mut impl Subject, tables: &Tables) {
    subject.clear();
    subject.set_flags(0);
    subject.load(tables);
}

fn only_flow(subject: &mut impl Subject) -> Flow {
    match subject.flows()[..] {
        [(_, flow, _)] => flow,
        ref flows => panic!("{} flows", flows.len()),
    }
}

everywhere!(fragments_count_on_their_flow, counts);

fn counts(subject: &mut impl Subject, family: Family) {
    let header = if family == Family::V4 { 20 } else { 48 };
    for (offset, length) in [(0, 512), (512, 400), (912, 96)] {
        assert!(subject.judge(&from_client(family, 1, offset, length), FROM_CLIENT).passes());
    }
    let reply = fragment(family, false, 1, 0, 512);
    assert_eq!(subject.judge(&reply, FROM_SERVER), Verdict::Learn);
    let before = only_flow(subject);
    assert_eq!(subject.judge(&fragment(family, false, 1, 512, 496), FROM_SERVER), Verdict::NoLearn);
    let after = only_flow(subject);
    assert_eq!((after.initiator.packets, after.initiator.bytes), (3, 1008 + 3 * header));
    assert_eq!((after.responder.packets, after.responder.bytes), (2, 1008 + 2 * header));
    // Nothing else of the record is changed by a later fragment.
    assert_eq!(Flow { responder: before.responder, ..after }, before);
    // What is refused does not count.
    assert_eq!(subject.judge(&fragment(family, false, 1, 512, 496), FROM_SERVER), Verdict::Drop(Reason::FragmentDuplicate));
    assert_eq!(only_flow(subject), after);
}

everywhere!(a_record_that_is_held_lets_nothing_pass, held);

fn held(subject: &mut impl Subject, family: Family) {
    assert_eq!(subject.judge(&from_client(family, 1, 0, 512), FROM_CLIENT), Verdict::Learn);
    subject.hold_datagrams(true);
    let before = only_flow(subject);
    for (offset, length) in [(512, 496), (0, 512)] {
        assert_eq!(subject.judge(&from_client(family, 1, offset, length), FROM_CLIENT), Verdict::Drop(Reason::FragmentBusy));
    }
    assert_eq!(only_flow(subject), before);
    subject.hold_datagrams(false);
    assert_eq!(subject.judge(&from_client(family, 1, 512, 496), FROM_CLIENT), Verdict::NoLearn);
}

everywhere!(fragments_outlive_no_flow, flow_is_gone);

fn flow_is_gone(subject: &mut impl Subject, family: Family) {
    assert_eq!(subject.judge(&from_client(family, 1, 0, 512), FROM_CLIENT), Verdict::Learn);
    let (key, flow, _) = subject.flows()[0];
    subject.age(&key, firewall_common::time::Nanos::from_millis(flow.timeout + 1000));
    assert_eq!(subject.judge(&from_client(family, 1, 512, 200), FROM_CLIENT), Verdict::Drop(Reason::FragmentFlowGone));
}

everywhere!(of_two_that_overlap_one_passes_on_two_cpus, race);

fn race(subject: &mut impl Subject, family: Family) {
    const ROUNDS: u32 = 150;
    for round in 0..ROUNDS {
        let id = round * 4;
        let mut one_of = |frames: [Vec<u8>; 2]| {
            let passed = subject.race([&frames[0], &frames[1]], FROM_CLIENT);
            assert_eq!(passed.iter().filter(|passed| **passed).count(), 1, "round {round}: {passed:?}");
            passed
        };
        // A first fragment and its duplicate, then two later ones that overlap.
        one_of([from_client(family, id, 0, 512), from_client(family, id, 0, 512)]);
        one_of([from_client(family, id, 512, 200), from_client(family, id, 520, 200)]);
        // Two different first fragments: the shorter one repeats part of the longer one, or the longer one does more than repeat.
        let [shorter, _] = one_of([from_client(family, id + 1, 0, 512), from_client(family, id + 1, 0, 520)]);
        for (id, offset, poisoned) in [(id, 712, true), (id, 720, true), (id + 1, 520, shorter)] {
            let verdict = subject.judge(&from_client(family, id, offset, 8), FROM_CLIENT);
            let expected = if poisoned { Verdict::Drop(Reason::FragmentOverlap) } else { Verdict::NoLearn };
            assert_eq!(verdict, expected, "round {round}, from {offset} on");
        }
        // Neighbours both pass, whatever their order.
        subject.judge(&from_client(family, id + 2, 0, 512), FROM_CLIENT).passes().then_some(()).expect("a first fragment");
        let halves = [from_client(family, id + 2, 512, 200), from_client(family, id + 2, 712, 296)];
        assert_eq!(subject.race([&halves[0], &halves[1]], FROM_CLIENT), [true; 2], "round {round}");
    }
}

#[test]
fn without_a_flow_the_policys_verdict_holds() {
    for family in FAMILIES {
        let tables = Tables::everything(Action::Allow, Inspection::Strict);
        let mut world = World::under(&tables);
        world.configure(|config| config.flags = config_flags::TABLE_FULL_PASS);
        world.faults.set(Faults { embryonic: true, ..Faults::default() });
        assert_eq!(world.judge(&from_client(family, 1, 0, 512), FROM_CLIENT), Verdict::NoLearn);
        assert_eq!(world.judge(&from_client(family, 1, 512, 200), FROM_CLIENT), Verdict::NoLearn);
        assert!(world.flows().is_empty());
        let header = if family == Family::V4 { 20 } else { 48 };
        assert_eq!((world.rule_counters(THE_RULE).packets, world.rule_counters(THE_RULE).bytes), (2, 712 + 2 * header));
        // Nothing says which of the new policy's rules would let it pass.
        world.load(&tables);
        assert_eq!(world.judge(&from_client(family, 1, 712, 296), FROM_CLIENT), Verdict::Drop(Reason::FragmentFlowGone));
    }
}

#[test]
fn a_datagram_that_cannot_be_remembered_does_not_begin() {
    for family in FAMILIES {
        let world = World::under(&Tables::everything(Action::Allow, Inspection::Strict));
        world.faults.set(Faults { fragments: true, ..Faults::default() });
        assert_eq!(world.judge(&from_client(family, 1, 0, 512), FROM_CLIENT), Verdict::Drop(Reason::FragmentInsertFailed));
        world.configure(|config| config.flags = config_flags::FRAGMENT_BEFORE_FIRST_PASS);
        assert_eq!(world.judge(&from_client(family, 2, 512, 496), FROM_CLIENT), Verdict::Drop(Reason::FragmentInsertFailed));
        world.faults.set(Faults::default());
        assert_eq!(world.judge(&from_client(family, 1, 0, 512), FROM_CLIENT), Verdict::Learn);
    }
}
