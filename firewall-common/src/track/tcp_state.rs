//! The TCP state machine (RFC 9293 §3.3.2 as a middlebox sees it) from the end of the handshake on; [`super::handshake`] has what comes
//! before.

use crate::{
    flow::{Flow, Inspection, Peer, Sender, State, flow_flags, peer_flags},
    reason::Reason,
    seq::Seq,
    time::Nanos,
    track::{
        Transition, handshake,
        tcp_window::{self, Fit, Reset},
    },
    wire::tcp::{Segment, flags},
};

/// Idle time in milliseconds after a reset that the endpoint may not have obeyed (RFC 5382 REQ-5's transitory time).
const AFTER_INEXACT_RESET: u32 = 240_000;

/// One segment of a TCP flow under `strict` or `tolerant`. `edge` is how strictly the window's right edge is kept.
#[inline(always)]
pub fn step(flow: &mut Flow, sender: Sender, segment: &Segment, inspection: Inspection, edge: Inspection, now: Nanos) -> Transition {
    match State::from_number(flow.state) {
        Some(State::Established | State::FinWait | State::HalfClosed | State::LastAck | State::TimeWait | State::Closed) => {
            synchronized(flow, sender, segment, inspection, edge, now)
        }
        _ => handshake::step(flow, sender, segment, edge),
    }
}

#[inline(always)]
fn synchronized(flow: &mut Flow, sender: Sender, segment: &Segment, inspection: Inspection, edge: Inspection, now: Nanos) -> Transition {
    if segment.has(flags::SYN) {
        return if segment.has(flags::ACK) { syn_ack(flow, sender, segment) } else { syn(flow, sender, segment) };
    }
    if segment.has(flags::RST) {
        return reset(flow, sender, segment, inspection, now);
    }
    data(flow, sender, segment, edge)
}

/// A segment that is neither SYN nor RST: sanity has made sure that it acknowledges.
#[inline(always)]
pub fn data(flow: &mut Flow, sender: Sender, segment: &Segment, inspection: Inspection) -> Transition {
    let closed = flow.state == State::Closed as u8;
    let (from, to) = flow.peers_mut(sender);
    match tcp_window::fit(from, to, segment, inspection) {
        // What passes after a reset is not learned from, so that an acknowledgement of it covers more than is known. It must reach the
        // endpoint, or its sender never hears that the connection is gone.
        Fit::Refused(Reason::TcpInvalidAck) if closed => return Transition::NO_LEARN,
        Fit::Refused(reason) => return Transition::drop(reason),
        Fit::Old => return Transition::NO_LEARN,
        Fit::In if closed => return Transition::NO_LEARN,
        // After a reset the other side may not have heard of it yet: what it sends must reach the endpoint, which resets again.
        Fit::Past if closed => return Transition::NO_LEARN,
        Fit::In => {}
        Fit::Past => flow.tolerated = flow.tolerated.saturating_add(1),
    }
    let (from, to) = flow.peers_mut(sender);
    let relearned = from.has(peer_flags::RELEARN);
    tcp_window::learn(from, to, segment);
    if (from.flags | to.flags) & peer_flags::FIN != 0 {
        flow.state = closing(&flow.initiator, &flow.responder) as u8;
    }
    // A flow that left bypass before its responder was heard is still embryonic.
    if relearned && matches!(sender, Sender::Responder) { Transition::ESTABLISH } else { Transition::LEARN }
}

/// The state two FINs and their acknowledgements make.
#[inline(always)]
#[must_use]
pub const fn closing(one: &Peer, other: &Peer) -> State {
    match (one.has(peer_flags::FIN), other.has(peer_flags::FIN)) {
        (false, false) => State::Established,
        (true, true) => {
            if one.has(peer_flags::FIN_ACKED) && other.has(peer_flags::FIN_ACKED) {
                State::TimeWait
            } else {
                State::LastAck
            }
        }
        (true, false) => {
            if one.has(peer_flags::FIN_ACKED) {
                State::HalfClosed
            } else {
                State::FinWait
            }
        }
        (false, true) => {
            if other.has(peer_flags::FIN_ACKED) {
                State::HalfClosed
            } else {
                State::FinWait
            }
        }
    }
}

/// Only an exact reset closes (RFC 5961 §3); an inexact one shortens the timer until the flow is heard of again.
#[inline(always)]
fn reset(flow: &mut Flow, sender: Sender, segment: &Segment, inspection: Inspection, now: Nanos) -> Transition {
    let state = flow.state;
    let (from, to) = flow.peers_mut(sender);
    let judged = tcp_window::reset(from, to, segment.seq, inspection);
    if state == State::Closed as u8 || state == State::TimeWait as u8 || state == State::LastAck as u8 {
        // Already going: a late reset does no harm, and one that is refused here is only noise in the counters.
        if !matches!(judged, Reset::Exact) || state == State::Closed as u8 {
            return Transition::NO_LEARN;
        }
    }
    match judged {
        Reset::Exact => {
            flow.flags |= flow_flags::RESET;
            flow.state = State::Closed as u8;
            Transition::LEARN
        }
        Reset::Inexact => {
            tcp_window::shorten(flow, now, AFTER_INEXACT_RESET);
            Transition::NO_LEARN
        }
        Reset::Refused if matches!(sender, Sender::Responder) && refuses(flow, segment) => {
            tcp_window::shorten(flow, now, AFTER_INEXACT_RESET);
            Transition::NO_LEARN
        }
        Reset::Refused => Transition::drop(Reason::TcpRstOutOfOrder),
    }
}

/// True for a reset that refuses a SYN which has passed and may still wait for its answer (RFC 9293 §3.10.7.1): it acknowledges the SYN,
/// and its own number says nothing. Only the initiator knows whether it waits, so that the reset passes and closes nothing here.
#[inline(always)]
#[must_use]
pub fn refuses(flow: &Flow, segment: &Segment) -> bool {
    let repeated = flow.state == State::SynReceived as u8 && handshake::acknowledges_syn(&flow.initiator, segment.ack);
    let remembered = flow.has(flow_flags::PENDING_SYN) && segment.ack == Seq(flow.pending).add(1);
    segment.has(flags::ACK) && (repeated || remembered)
}

/// A SYN on a flow that is (or was) up. It changes nothing until the peer's SYN-ACK matches it (RFC 5961 §4, RFC 9293 §3.10.7.4).
#[inline(always)]
fn syn(flow: &mut Flow, sender: Sender, segment: &Segment) -> Transition {
    let gone = flow.state == State::Closed as u8;
    let waiting = flow.state == State::TimeWait as u8;
    let (from, _) = flow.peers_mut(sender);
    // TIME-WAIT may be left by a SYN above the old numbers (RFC 9293 MAY-2, RFC 6191 §2).
    if gone || (waiting && segment.seq.after(from.end())) {
        return Transition::REOPEN;
    }
    if matches!(sender, Sender::Responder) {
        return Transition::drop(Reason::TcpSynOutOfOrder);
    }
    // The SYN that made this flow, once more and late. Were it remembered, the SYN-ACK that comes with it would begin the flow anew, at
    // numbers both sides have long left behind.
    if segment.seq == flow.initiator.isn() && !flow.initiator.has(peer_flags::RELEARN) {
        return Transition::NO_LEARN;
    }
    remember_syn(flow, segment);
    Transition::NO_LEARN
}

/// Notes a SYN of the initiator that only the responder's SYN-ACK can confirm.
#[inline(always)]
pub fn remember_syn(flow: &mut Flow, segment: &Segment) {
    flow.flags |= flow_flags::PENDING_SYN;
    flow.flags &= !flow_flags::PENDING_SYN_ACK;
    flow.pending = segment.seq.0;
    flow.pending_scale = segment.scale;
}

#[inline(always)]
fn syn_ack(flow: &mut Flow, sender: Sender, segment: &Segment) -> Transition {
    if matches!(sender, Sender::Responder) && flow.has(flow_flags::PENDING_SYN) && segment.ack == Seq(flow.pending).add(1) {
        handshake::rebase(flow, segment);
        return Transition::LEARN;
    }
    // The responder may have begun anew when the reset came; it has yet to hear that nobody waits for its answer.
    let closed = matches!(sender, Sender::Responder) && flow.state == State::Closed as u8;
    // The last of the handshake, repeated because its answer was lost. After bypass nobody can tell, and the endpoint judges it.
    let (from, to) = flow.peers_mut(sender);
    let repeated =
        from.has(peer_flags::RELEARN) || (from.has(peer_flags::SYN_ACK) && segment.seq == from.isn() && !segment.ack.after(to.end()));
    if repeated || closed { Transition::NO_LEARN } else { Transition::drop(Reason::TcpSynAckOutOfOrder) }
}
