//! A flow does not outlive its rule: the dataplane looks at the clock itself.

use firewall_common::{
    flow::{Inspection, NO_SCALE, flow_marks},
    reason::Reason,
    rule::{Action, Rule},
    seq::Seq,
    testing::{
        builder::Packet,
        host::{CLIENT, Family, SERVER},
        play::{FROM_CLIENT, FROM_SERVER},
        tables::Tables,
        world::World,
    },
    time::Nanos,
    verdict::Verdict,
    wire::tcp::{Segment, flags},
};

const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 86_400 * SECOND;

struct Talk {
    world: World,
    sent: [u32; 2],
}

impl Talk {
    /// Under one rule that ends so many nanoseconds after the beginning of time.
    fn new(inspection: Inspection, expires: u64) -> Self {
        let everything = Tables::everything(Action::Allow, inspection);
        let rule = Rule { expires, ..everything.entries[0] };
        let world = World::under(&Tables::single(rule));
        world.set_clock(Nanos(10 * SECOND));
        let talk = Self { world, sent: [1_000, 5_000] };
        for (side, set) in [(0, flags::SYN), (1, flags::SYN | flags::ACK), (0, flags::ACK)] {
            let first = talk.sent[side].wrapping_sub(u32::from(set & flags::SYN != 0));
            assert_eq!(talk.judge(side, set, first, 0), Verdict::Learn);
        }
        talk
    }

    fn judge(&self, side: usize, set: u8, seq: u32, length: u32) -> Verdict {
        let ack = if set & flags::ACK == 0 { 0 } else { self.sent[1 - side] };
        let segment = Segment { seq: Seq(seq), ack: Seq(ack), length, window: 60_000, flags: set, scale: NO_SCALE };
        let (client, server) = ((CLIENT, 40_000), (SERVER, 443));
        let (from, to, arrival) = if side == 0 { (client, server, FROM_CLIENT) } else { (server, client, FROM_SERVER) };
        self.world.judge(&Packet::tcp(Family::V4, from, to, &segment).build().bytes, arrival)
    }

    fn data(&mut self, side: usize) -> Verdict {
        let verdict = self.judge(side, flags::ACK, self.sent[side], 100);
        self.sent[side] += 100;
        verdict
    }

    fn is_steady(&self) -> bool {
        self.world.flows().iter().any(|(_, flow, _)| flow.marks & flow_marks::STEADY != 0)
    }
}

#[test]
fn a_live_flow_ends_with_its_rule() {
    for inspection in [Inspection::Strict, Inspection::Tolerant, Inspection::Bypass] {
        for side in 0..2 {
            let mut talk = Talk::new(inspection, 20 * SECOND);
            for _ in 0..4 {
                assert!(talk.data(0).passes() && talk.data(1).passes());
            }
            talk.world.set_clock(Nanos(20 * SECOND - 1));
            assert!(talk.data(side).passes(), "{inspection:?}: before its time");
            talk.world.set_clock(Nanos(20 * SECOND));
            assert_eq!(talk.data(side), Verdict::Drop(Reason::AclDrop), "{inspection:?}");
            assert!(talk.world.flows().is_empty(), "{inspection:?}");
            assert_eq!(talk.judge(0, flags::SYN, 77, 0), Verdict::Drop(Reason::AclDrop), "{inspection:?}: a first packet");
        }
    }
}

/// What has long to go need not be asked every time.
#[test]
fn flows_of_a_rule_that_ends_later_take_the_short_way() {
    for inspection in [Inspection::Strict, Inspection::Bypass] {
        let steady = |expires| {
            let mut talk = Talk::new(inspection, expires);
            assert!(talk.data(0).passes() && talk.data(1).passes());
            talk.is_steady()
        };
        assert_eq!([steady(0), steady(DAY + 11 * SECOND), steady(DAY + 10 * SECOND), steady(20 * SECOND)], [true, true, false, false]);
    }
}
