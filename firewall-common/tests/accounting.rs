//! Every packet is counted once: the drops by reason add up to the packets dropped, the passed ones to those passed.

use firewall_common::{
    flow::Inspection,
    limit::Limits,
    parse::{Descriptor, parse},
    reason::Reason,
    rule::Action,
    testing::{
        stream::{Replies, Stream},
        tables::{THE_RULE, Tables},
        world::{Faults, World},
    },
    verdict::Verdict,
};

const PACKETS: usize = 30_000;

#[test]
fn every_packet_is_counted_once() {
    for (seed, replies) in [(1, Replies::Egress), (2, Replies::Ingress)] {
        let mut world = World::default();
        let (mut passed, mut dropped, mut answered, mut bytes) = (0, 0, 0, 0);
        for (number, (frame, arrival)) in Stream::new(seed, replies).take(PACKETS).enumerate() {
            if number % 2000 == 0 {
                let action = [Action::Allow, Action::Allow, Action::Reject, Action::Drop][number / 2000 % 4];
                let level = [Inspection::Strict, Inspection::Bypass, Inspection::Tolerant][number / 2000 % 3];
                let limits = Limits { flows: 200, source_flows: 50, new_per_second: 90, ..Limits::NONE };
                let tables = Tables::everything(action, level);
                world.load(&if number % 4000 == 0 { tables.with_limits(limits) } else { tables });
                // Tables that refuse change what becomes of a packet, not that it is counted.
                world.faults.set(Faults {
                    embryonic: number % 6000 == 0,
                    established: number % 8000 == 0,
                    fragments: number % 10_000 == 0,
                    histories: number % 8000 == 0,
                    qualities: number % 8000 == 0,
                    busy: number % 14_000 == 0,
                    sources: number % 6000 == 0,
                });
            }
            let mut descriptor = Descriptor::EMPTY;
            // A packet that is refused half-way counts with the length that was read.
            let _ = parse(&&frame[..], arrival.egress, &mut descriptor);
            bytes += u64::from(descriptor.ip_length);
            match world.judge(&frame, arrival) {
                Verdict::Learn | Verdict::NoLearn => passed += 1,
                Verdict::Drop(_) => dropped += 1,
                Verdict::Answer => {
                    dropped += 1;
                    answered += 1;
                }
            }
        }
        let counters = world.counters();
        assert_eq!(counters.drops.iter().sum::<u64>(), dropped);
        assert_eq!(counters.passed + counters.passed_without_learning + counters.link_passed, passed);
        assert_eq!(counters.answered, answered);
        let known: u64 = Reason::ALL.iter().map(|reason| counters.drops[reason.index()]).sum();
        assert_eq!(known, dropped, "a drop was counted under a number that is no reason");
        let interfaces = [world.counters_of(1).traffic, world.counters_of(2).traffic];
        assert_eq!(interfaces.iter().map(|i| i.received_packets + i.sent_packets).sum::<u64>(), passed + dropped);
        assert_eq!(interfaces.iter().map(|i| i.received_dropped + i.sent_dropped).sum::<u64>(), dropped);
        assert_eq!(interfaces.iter().map(|i| i.received_bytes + i.sent_bytes).sum::<u64>(), bytes);
        assert!(world.rule_counters(THE_RULE).hits >= counters.flows_created);
        assert!(passed > 1000 && dropped > 1000 && answered > 100, "{passed} passed, {dropped} dropped, {answered} answered");
    }
}
