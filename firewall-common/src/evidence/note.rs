//! A refused packet is remembered: called for drops alone, after the verdict.

use super::{CONVERSATIONS, Evidence, Table, marks, side};
use crate::{
    account::{NO_RULE, Outcome},
    env::Env,
    flow::{Flow, FlowKey, Sender, flow_flags, peer_flags},
    parse::Kind,
    reason::Reason,
    time::Nanos,
    verdict::Verdict,
    visit::Visit,
};

/// Whether a drop is one that a stateful check of TCP makes, and that a bypass would not: unless its rule names a profile, it compares no
/// repetitions either.
#[inline(always)]
#[must_use]
pub const fn concerns(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::TcpNotSyn
            | Reason::Tcp3whsFailed
            | Reason::TcpAckSynDiff
            | Reason::TcpSeqPastWindow
            | Reason::TcpInvalidAck
            | Reason::TcpRstOutOfOrder
            | Reason::TcpSynOutOfOrder
            | Reason::TcpSynAckOutOfOrder
            | Reason::TcpDataPastFin
            | Reason::TcpPawsFail
            | Reason::TcpBadRetransmission
    )
}

/// Remembers a packet that was dropped for a reason that [`concerns`].
#[inline(always)]
pub fn note<E: Env>(env: &E, visit: &Visit, outcome: &Outcome) {
    let Verdict::Drop(reason) = outcome.verdict else { return };
    if !matches!(visit.descriptor.kind, Kind::Tcp) {
        return;
    }
    match env.established(&visit.descriptor.key) {
        Some(found) => of_flow(env, visit, &found, reason),
        None => stray(env, visit, reason),
    }
}

/// In place of when a flow was created: the record's memory is another flow's by now.
const ANOTHER: u64 = u64::MAX;

/// A packet of an established flow.
#[inline(always)]
fn of_flow<E: Env>(env: &E, visit: &Visit, found: &E::Found, reason: Reason) {
    let key = &visit.descriptor.key;
    let created = env.with_established(found, |flow| if flow.identity == FlowKey::identity(key) { flow.created } else { ANOTHER });
    if created == ANOTHER {
        return;
    }
    let _ = env.with_evidence(Table::Flows, key, true, visit.now, |evidence| {
        if evidence.created != created {
            // What is known of an earlier connection with the same key is no evidence about this one.
            evidence.clear();
            evidence.created = created;
        }
        refuse(evidence, visit, reason);
        env.with_established(found, |flow| {
            let (from, to) = match flow.sender(visit.descriptor.source_is_low) {
                Sender::Initiator => (&flow.initiator, &flow.responder),
                Sender::Responder => (&flow.responder, &flow.initiator),
            };
            evidence.side_mut(visit.descriptor.source_is_low).compare(&visit.descriptor.segment, reason, from, to);
            keep(evidence, flow);
        });
    });
}

/// Keeps what the flow's record says.
#[inline(always)]
fn keep(evidence: &mut Evidence, flow: &Flow) {
    evidence.rule = flow.rule;
    (evidence.from_zone, evidence.to_zone) = (flow.from_zone, flow.to_zone);
    evidence.marks = if flow.has(flow_flags::INITIATOR_LOW) { marks::INITIATOR_LOW } else { 0 };
    evidence.application = flow.application;
    side::keep(&mut evidence.low, &mut evidence.high, flow);
}

/// A packet of no established flow.
#[inline(always)]
fn stray<E: Env>(env: &E, visit: &Visit, reason: Reason) {
    let descriptor = &visit.descriptor;
    let source = *descriptor.source();
    let Some(remember) = env.with_stranger(&source, true, visit.now, |stranger| stranger.see(visit, visit.now)) else { return };
    let waiting = match env.embryonic(&descriptor.key) {
        Some(found) => env.with_embryonic(&found, |flow| Waiting::of(flow, descriptor.source_is_low)),
        None => Waiting { marks: 0, from_zone: visit.arrival.zone, to_zone: visit.to_zone },
    };
    let begun = env.with_evidence(Table::Strays, &descriptor.key, remember, visit.now, |evidence| {
        let first = evidence.first == 0;
        if first {
            evidence.rule = NO_RULE;
            (evidence.from_zone, evidence.to_zone) = (waiting.from_zone, waiting.to_zone);
            evidence.marks = if descriptor.source_is_low { marks::INITIATOR_LOW } else { 0 };
        }
        evidence.marks |= waiting.marks;
        refuse(evidence, visit, reason);
        first
    });
    if begun == Some(true) {
        let _ = env.with_stranger(&source, false, visit.now, |stranger| {
            stranger.conversations = (stranger.conversations + 1).min(CONVERSATIONS);
        });
    }
}

/// A flow that waits for its answer, as a stray with its key sees it.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// [`marks`] it stands for.
    marks: u8,
    /// Zone the stray comes from, and the one it goes to.
    from_zone: u8,
    to_zone: u8,
}

impl Waiting {
    #[inline(always)]
    const fn of(flow: &Flow, source_is_low: bool) -> Self {
        let asked = if flow.initiator.has(peer_flags::SYN) { marks::ASKED } else { 0 };
        let answered = if flow.responder.packets > 0 { marks::ANSWERED } else { 0 };
        let (from_zone, to_zone) = match flow.sender(source_is_low) {
            Sender::Initiator => (flow.from_zone, flow.to_zone),
            Sender::Responder => (flow.to_zone, flow.from_zone),
        };
        Self { marks: asked | answered, from_zone, to_zone }
    }
}

/// Takes the packet into its sender's side.
#[inline(always)]
fn refuse(evidence: &mut Evidence, visit: &Visit, reason: Reason) {
    let segment = &visit.descriptor.segment;
    if evidence.first == 0 {
        evidence.first = visit.now.0;
        (evidence.first_flags, evidence.first_reason) = (segment.flags, reason as u8);
    }
    evidence.last = visit.now.0;
    let at = visit.now.since(Nanos(evidence.first)).as_millis_saturating();
    evidence.side_mut(visit.descriptor.source_is_low).refuse(segment, reason, at);
}
