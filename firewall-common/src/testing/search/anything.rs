//! Both sides send anything: does the record keep to the rules, whatever comes? One record, no endpoints.

use std::hash::Hash;

use super::{
    Model,
    firewall::{Firewall, Record, Tally, uncounted},
    letters::letters,
    packet_line,
    rules::{self, Event},
};
use crate::{
    flow::{Flow, Peer, State, flow_flags},
    seq::Seq,
    testing::script::Side,
    verdict::Verdict,
    wire::tcp::Segment,
};

/// Distances beyond this are all the same: far.
const NEAR: i32 = 100;

/// The search.
#[derive(Debug)]
pub struct Anything<F> {
    firewall: F,
    tally: Tally,
}

impl<F: Firewall> Anything<F> {
    pub fn new(firewall: F) -> Self {
        Self { firewall, tally: Tally::default() }
    }

    fn play(&mut self, before: Record, side: Side, segment: &Segment) -> (Verdict, Record) {
        self.firewall.put(before);
        let verdict = self.firewall.judge(side, segment);
        self.tally.add(verdict);
        (verdict, self.firewall.record())
    }
}

impl<F: Firewall> Model for Anything<F> {
    type State = Record;
    type Move = (Side, Segment);

    fn start(&mut self) -> Record {
        None
    }

    fn digest(&self, state: &Record) -> impl Hash {
        state.map(|(flow, established)| (abstracted(&flow), established))
    }

    fn moves(&self, state: &Record) -> Vec<(Side, Segment)> {
        let flow = state.as_ref().map(|(flow, _)| flow);
        [Side::Client, Side::Server].into_iter().flat_map(|side| letters(flow, side).into_iter().map(move |one| (side, one))).collect()
    }

    fn step(&mut self, state: &Record, (side, segment): &(Side, Segment)) -> Result<Option<Record>, String> {
        let (verdict, after) = self.play(*state, *side, segment);
        let event = Event { inspection: self.firewall.inspection(), side: *side, segment, before: *state, verdict, after };
        if let Verdict::Drop(reason) = verdict
            && rules::misbuilt(reason)
        {
            return Err(format!("the search built a packet that {} drops", reason.name()));
        }
        rules::check(&event)?;
        // Dropped packets and those that teach nothing lead nowhere new.
        Ok((uncounted(after) != uncounted(*state)).then(|| uncounted(after)))
    }

    fn line(&mut self, state: &Record, (side, segment): &(Side, Segment)) -> String {
        let (verdict, after) = self.play(*state, *side, segment);
        format!("{:<32} -> {}", packet_line(*side, segment), came_of(verdict, *state, after))
    }

    fn conclude(&mut self) -> Result<(), String> {
        self.tally.compare(&self.firewall.counters())
    }
}

/// The expectation a script would have for what happened.
pub(super) fn came_of(verdict: Verdict, before: Record, after: Record) -> String {
    let state = after.and_then(|(flow, _)| State::from_number(flow.state)).map_or("none", State::name);
    let outcome = match verdict {
        Verdict::Learn => "pass".to_owned(),
        Verdict::NoLearn if uncounted(before) == uncounted(after) => "nostate".to_owned(),
        Verdict::NoLearn => "noted".to_owned(),
        Verdict::Drop(reason) => format!("drop:{}", reason.name()),
        Verdict::Answer => "answer".to_owned(),
    };
    format!("{outcome} {state}")
}

/// A record with its numbers counted from each side's last, and far ones all the same: what letters are chosen by is chosen by these.
fn abstracted(flow: &Flow) -> [u8; size_of::<Flow>()] {
    let mut seen = *flow;
    let pending = match () {
        () if flow.has(flow_flags::PENDING_SYN) => near(Seq(flow.pending), flow.initiator.end()),
        () if flow.has(flow_flags::PENDING_SYN_ACK) => near(Seq(flow.pending), flow.responder.end()),
        () => 0,
    };
    seen.pending = pending;
    if pending == 0 {
        seen.pending_scale = 0;
    }
    seen.initiator = relative(&flow.initiator, &flow.responder);
    seen.responder = relative(&flow.responder, &flow.initiator);
    zerocopy::transmute!(seen)
}

fn relative(own: &Peer, other: &Peer) -> Peer {
    Peer { end: 0, isn: near(own.isn(), own.end()), ack: near(own.ack(), other.end()), edge: near(own.edge(), other.end()), ..*own }
}

const fn near(number: Seq, from: Seq) -> u32 {
    let distance = number.distance(from);
    (if distance > NEAR {
        NEAR
    } else if distance < -NEAR {
        -NEAR
    } else {
        distance
    }) as u32
}
