//! The tracker under any sequence of segments: what no attacker may bring about.

use firewall_common::{
    flow::{Flow, FlowKey, Inspection, NO_SCALE, State, flow_flags},
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
    verdict::Verdict,
    wire::tcp::{Segment, flags},
};
use proptest::{collection::vec, prelude::*, sample::select};

/// A segment near the numbers of a connection whose first ones are `first`.
#[derive(Clone, Debug)]
struct Move {
    from_client: bool,
    flags: u8,
    seq: i32,
    ack: i32,
    length: u32,
    window: u16,
    scale: u8,
    wait: u32,
}

fn near() -> impl Strategy<Value = i32> {
    prop_oneof![4 => 0..3i32, 2 => -3..200i32, 1 => -70_000..70_000i32, 1 => any::<i32>()]
}

fn moves(most: usize) -> impl Strategy<Value = Vec<Move>> {
    let sets = vec![
        flags::SYN,
        flags::SYN | flags::ACK,
        flags::ACK,
        flags::ACK | flags::PSH,
        flags::FIN | flags::ACK,
        flags::RST,
        flags::RST | flags::ACK,
    ];
    let flags = prop_oneof![6 => select(sets), 1 => any::<u8>()];
    let one = (
        any::<bool>(),
        flags,
        near(),
        near(),
        prop_oneof![Just(0u32), 1..1400u32],
        any::<u16>(),
        select(vec![NO_SCALE, 0, 7, 14]),
        0..40_000u32,
    )
        .prop_map(|(from_client, flags, seq, ack, length, window, scale, wait)| Move {
            from_client,
            flags,
            seq,
            ack,
            length,
            window,
            scale,
            wait,
        });
    vec(one, 1..most)
}

struct Table {
    world: World,
    first: [u32; 2],
}

const PORTS: [u16; 2] = [2000, 443];

impl Table {
    fn new(inspection: Inspection, first: [u32; 2]) -> Self {
        Self { world: World::under(&Tables::from_zone_1(inspection)), first }
    }

    fn segment(&self, step: &Move) -> Segment {
        let own = usize::from(!step.from_client);
        let number = |first: u32, offset: i32| Seq(first.wrapping_add(offset.cast_unsigned()));
        Segment {
            seq: number(self.first[own], step.seq),
            ack: if step.flags & flags::ACK == 0 { Seq(0) } else { number(self.first[1 - own], step.ack) },
            length: step.length,
            window: step.window,
            flags: step.flags,
            scale: if step.flags & flags::SYN == 0 { NO_SCALE } else { step.scale },
        }
    }

    fn play(&self, step: &Move) -> Verdict {
        let (client, server) = ((CLIENT, PORTS[0]), (SERVER, PORTS[1]));
        let (from, to, arrival) = if step.from_client { (client, server, FROM_CLIENT) } else { (server, client, FROM_SERVER) };
        let frame = Packet::tcp(Family::V4, from, to, &self.segment(step)).build();
        self.world.advance(Nanos(u64::from(step.wait)));
        self.world.judge(&frame.bytes, arrival)
    }

    fn flow(&self) -> Option<Flow> {
        let flows = self.world.flows();
        flows.first().map(|(_, flow, _)| *flow)
    }
}

fn first() -> impl Strategy<Value = [u32; 2]> {
    let number = prop_oneof![any::<u32>(), u32::MAX - 300..=u32::MAX];
    [number.clone(), number]
}

fn step(from_client: bool, flags: u8, seq: i32, ack: i32, length: u32, window: u16) -> Move {
    Move { from_client, flags, seq, ack, length, window, scale: NO_SCALE, wait: 0 }
}

fn established(table: &Table, window: u16) {
    for step in [
        step(true, flags::SYN, 0, 0, 0, window),
        step(false, flags::SYN | flags::ACK, 0, 1, 0, window),
        step(true, flags::ACK, 1, 1, 0, window),
    ] {
        assert_eq!(table.play(&step), Verdict::Learn);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// No way to a flow without a SYN of the initiator, none to an established one without one of the responder; whoever began a flow
    /// stays its initiator; what is dropped leaves no trace.
    #[test]
    fn invariants(moves in moves(30), first in first(), level in select(vec![Inspection::Strict, Inspection::Tolerant])) {
        let table = Table::new(level, first);
        let (mut client_syn, mut server_syn) = (false, false);
        for step in &moves {
            let before = table.flow();
            let verdict = table.play(step);
            let after = table.flow();
            let syn = step.flags & (flags::SYN | flags::RST | flags::FIN) == flags::SYN;
            if verdict.passes() {
                client_syn |= syn && step.from_client;
                server_syn |= syn && !step.from_client;
            }
            match verdict {
                // A SYN on a flow that is over is judged as a first packet, and the old record is forgotten whatever comes of it.
                Verdict::Drop(_) if after.is_none() => {
                    let over = [State::Closed as u8, State::TimeWait as u8];
                    prop_assert!(before.is_none_or(|flow| syn && over.contains(&flow.state)), "{:?} removed {:?}", step, before);
                }
                Verdict::Drop(_) => prop_assert_eq!(before, after, "{:?} was dropped", step),
                Verdict::NoLearn => {
                    let numbers = |flow: Flow| (flow.state, flow.last_seen, flow.initiator.end, flow.initiator.edge, flow.responder.end, flow.responder.edge);
                    prop_assert_eq!(before.map(numbers), after.map(numbers), "{:?} was not to be learned from", step);
                }
                Verdict::Learn | Verdict::Answer => {}
            }
            let Some(flow) = after else { continue };
            prop_assert!(client_syn, "a flow without a SYN of its initiator");
            let (_, client_is_low) = FlowKey::new(
                6,
                firewall_common::flow::Endpoint { address: CLIENT.address(Family::V4), port: PORTS[0] },
                firewall_common::flow::Endpoint { address: SERVER.address(Family::V4), port: PORTS[1] },
            );
            prop_assert_eq!(flow.has(flow_flags::INITIATOR_LOW), client_is_low, "the roles were turned round");
            let confirmed = ![State::SynSent as u8, State::Closed as u8].contains(&flow.state);
            prop_assert!(!confirmed || server_syn, "state {} without a SYN of the responder", flow.state);
        }
    }

    /// Both edges of the window, to the byte, wherever the numbers begin.
    #[test]
    fn window_edges_are_exact(first in first(), window in 1u16.., past in 1u32..100_000, data in 1u32..1400) {
        let table = Table::new(Inspection::Strict, first);
        established(&table, window);
        let edge = 1 + i32::from(window);
        let beyond = step(true, flags::ACK, edge + past.cast_signed(), 1, data, window);
        prop_assert_eq!(table.play(&beyond), Verdict::Drop(firewall_common::reason::Reason::TcpSeqPastWindow));
        prop_assert_eq!(table.play(&step(true, flags::ACK, edge, 1, data, window)), Verdict::Learn);
        let sent = edge + data.cast_signed();
        let unseen = step(false, flags::ACK, 1, sent + past.cast_signed(), 0, window);
        prop_assert_eq!(table.play(&unseen), Verdict::Drop(firewall_common::reason::Reason::TcpInvalidAck));
        prop_assert_eq!(table.play(&step(false, flags::ACK, 1, sent, 0, window)), Verdict::Learn);
        // The edge moves with the acknowledgement.
        let edge = sent + i32::from(window);
        prop_assert_eq!(table.play(&step(true, flags::ACK, edge + 1, 1, 1, window)), Verdict::Drop(firewall_common::reason::Reason::TcpSeqPastWindow));
        prop_assert_eq!(table.play(&step(true, flags::ACK, edge, 1, 1, window)), Verdict::Learn);
    }

    /// `tolerant` lets data past the edge through and counts it; a byte earlier there is nothing to count.
    #[test]
    fn tolerance_is_counted(first in first(), window in 1u16.., past in 1u32..100_000) {
        let table = Table::new(Inspection::Tolerant, first);
        established(&table, window);
        let edge = 1 + i32::from(window);
        let tolerated = |table: &Table| table.flow().map(|flow| flow.tolerated);
        prop_assert_eq!(table.play(&step(true, flags::ACK, edge, 1, 1, window)), Verdict::Learn);
        prop_assert_eq!(tolerated(&table), Some(0));
        prop_assert_eq!(table.play(&step(true, flags::ACK, edge + past.cast_signed(), 1, 1, window)), Verdict::Learn);
        prop_assert_eq!(tolerated(&table), Some(1));
    }

    /// A blind attacker who does not know the numbers cannot end a connection: only an exact reset closes.
    #[test]
    fn only_an_exact_reset_closes(first in first(), seq in any::<i32>(), with_ack: bool) {
        prop_assume!(seq != 1);
        let table = Table::new(Inspection::Strict, first);
        established(&table, 1000);
        let set = if with_ack { flags::RST | flags::ACK } else { flags::RST };
        let verdict = table.play(&step(false, set, seq, 1, 0, 1000));
        prop_assert_eq!(table.flow().map(|flow| flow.state), Some(State::Established as u8));
        let in_window = (1..=1001).contains(&seq);
        prop_assert_eq!(verdict.passes(), in_window, "{:?}", verdict);
        prop_assert_eq!(table.play(&step(false, flags::RST, 1, 0, 0, 0)), Verdict::Learn);
        prop_assert_eq!(table.flow().map(|flow| flow.state), Some(State::Closed as u8));
    }

    /// From bypass back to strict, at any moment of a connection in order: nothing is dropped, and strictness returns.
    #[test]
    fn back_from_bypass(first in first(), exchanges in vec((1u32..1400, 0u32..1400), 1..12), change in 0usize..36) {
        let mut table = Table::new(Inspection::Bypass, first);
        let (mut sent, mut answered) = (1, 1);
        let mut script = vec![
            step(true, flags::SYN, 0, 0, 0, 60_000),
            step(false, flags::SYN | flags::ACK, 0, 1, 0, 60_000),
            step(true, flags::ACK, 1, 1, 0, 60_000),
        ];
        for (request, answer) in exchanges {
            script.push(step(true, flags::ACK | flags::PSH, sent, answered, request, 60_000));
            sent += request.cast_signed();
            script.push(step(false, flags::ACK, answered, sent, answer, 60_000));
            answered += answer.cast_signed();
            script.push(step(true, flags::ACK, sent, answered, 0, 60_000));
        }
        let change = change % script.len();
        for (number, step) in script.iter().enumerate() {
            if number == change {
                table.world.load(&Tables::everything(Action::Allow, Inspection::Strict));
            }
            let verdict = table.play(step);
            prop_assert!(verdict.passes(), "{:?} after the change before {}: {:?}", verdict, change, step);
        }
        // Both sides have been heard of since: now strict is strict.
        if change + 3 < script.len() {
            let flows = table.world.flows();
            prop_assert!(flows.iter().all(|(_, _, established)| *established), "{:?}", flows);
            prop_assert!(!table.play(&step(true, flags::ACK, sent + 0x6000_0000, answered, 1, 100)).passes());
        }
    }
}
