//! The TCP handshake: from the initiator's SYN to the packet that confirms both sides (RFC 9293 §3.5, RFC 5961 §4, RFC 7413).
//!
//! The initiator is the sender of the SYN the policy allowed, whatever follows: nothing here turns the roles round. Simultaneous open is
//! legal (RFC 9293 MUST-10) and completes by a SYN-ACK of each side; a responder that answers a SYN with its own SYN and then with a
//! plain acknowledgement (a split handshake) is refused. The price: a simultaneous open in which the initiator's SYN was lost behind us
//! looks the same and must be tried again.

use crate::{
    flow::{Flow, Inspection, NO_SCALE, Peer, Sender, State, flow_flags, flow_marks, peer_flags},
    reason::Reason,
    seq::Seq,
    track::{Transition, tcp_state, tcp_window},
    wire::tcp::{Segment, flags},
};

/// The four kinds of segments a handshake tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Syn,
    SynAck,
    Rst,
    /// Acknowledges: data, FIN or nothing.
    Ack,
}

#[inline(always)]
const fn class(segment: &Segment) -> Class {
    if segment.has(flags::RST) {
        Class::Rst
    } else if !segment.has(flags::SYN) {
        Class::Ack
    } else if segment.has(flags::ACK) {
        Class::SynAck
    } else {
        Class::Syn
    }
}

/// One segment of a flow that is not yet confirmed by both sides.
#[inline(always)]
pub fn step(flow: &mut Flow, sender: Sender, segment: &Segment, inspection: Inspection) -> Transition {
    let class = class(segment);
    match State::from_number(flow.state) {
        Some(State::SynSent) => match sender {
            Sender::Initiator => syn_sent_initiator(flow, class, segment),
            Sender::Responder => syn_sent_responder(flow, class, segment),
        },
        Some(State::SynSentBoth) => syn_sent_both(flow, sender, class, segment),
        Some(State::SynReceived) => match sender {
            Sender::Initiator => syn_received_initiator(flow, class, segment, inspection),
            Sender::Responder => syn_received_responder(flow, class, segment),
        },
        // No other state leads here; a record that says otherwise is not trusted.
        _ => Transition::drop(Reason::Tcp3whsFailed),
    }
}

/// Takes the numbers of a SYN or SYN-ACK as its sender's first.
#[inline(always)]
pub fn learn_syn(peer: &mut Peer, segment: &Segment) {
    peer.isn = segment.seq.0;
    peer.end = segment.end().0;
    peer.flags = if segment.has(flags::ACK) { peer_flags::SYN | peer_flags::SYN_ACK } else { peer_flags::SYN };
    peer.max_window = tcp_window::window(peer, segment);
    peer.ack = 0;
    peer.edge = 0;
    tcp_window::learn_scale(peer, segment);
}

/// True when `ack` acknowledges the SYN of `peer`, with or without the data it carried (RFC 7413 §4.2).
#[inline(always)]
pub const fn acknowledges_syn(peer: &Peer, ack: Seq) -> bool {
    ack.within(peer.isn().add(1), peer.end())
}

#[inline(always)]
fn syn_sent_initiator(flow: &mut Flow, class: Class, segment: &Segment) -> Transition {
    match class {
        Class::Syn => {
            // The last SYN counts: it may offer other options, or be another attempt altogether.
            learn_syn(&mut flow.initiator, segment);
            Transition::LEARN
        }
        // The answer to a challenge (RFC 5961 §4.2): it closes what the responder has left of an earlier connection.
        Class::Rst if flow.responder.has(peer_flags::CHALLENGED) && segment.seq == flow.responder.ack() => Transition::NO_LEARN,
        Class::Rst => Transition::drop(Reason::TcpRstOutOfOrder),
        Class::SynAck | Class::Ack => Transition::drop(Reason::Tcp3whsFailed),
    }
}

#[inline(always)]
fn syn_sent_responder(flow: &mut Flow, class: Class, segment: &Segment) -> Transition {
    let answers = acknowledges_syn(&flow.initiator, segment.ack);
    match class {
        Class::SynAck if answers => {
            accept_syn_ack(flow, segment);
            Transition::LEARN
        }
        Class::SynAck => Transition::drop(Reason::TcpAckSynDiff),
        Class::Syn if flow.responder.has(peer_flags::CHALLENGED) => Transition::drop(Reason::Tcp3whsFailed),
        Class::Syn => {
            learn_syn(&mut flow.responder, segment);
            tcp_window::settle_scale(&mut flow.initiator, &mut flow.responder);
            grant_first_edges(flow);
            flow.state = State::SynSentBoth as u8;
            Transition::LEARN
        }
        // In SYN-SENT only a reset that acknowledges the SYN is obeyed (RFC 9293 §3.10.7.3).
        Class::Rst if segment.has(flags::ACK) && answers => close(flow),
        Class::Rst => Transition::drop(Reason::TcpRstOutOfOrder),
        Class::Ack => challenge(flow, segment, answers),
    }
}

/// A responder that still has an earlier connection answers the SYN with an acknowledgement of that one. It must pass, or the
/// initiator cannot reset the old connection (RFC 5961 §4.2).
#[inline(always)]
fn challenge(flow: &mut Flow, segment: &Segment, answers: bool) -> Transition {
    if answers || segment.length != 0 || segment.has(flags::FIN) {
        return Transition::drop(Reason::Tcp3whsFailed);
    }
    flow.responder.flags |= peer_flags::CHALLENGED;
    flow.responder.ack = segment.ack.0;
    Transition::NO_LEARN
}

/// Takes a SYN-ACK that answers the initiator's SYN.
#[inline(always)]
fn accept_syn_ack(flow: &mut Flow, segment: &Segment) {
    learn_syn(&mut flow.responder, segment);
    flow.responder.ack = segment.ack.0;
    flow.responder.edge = segment.ack.add(tcp_window::window(&flow.responder, segment)).0;
    flow.initiator.flags |= peer_flags::SYN_ACKED;
    flow.initiator.edge = flow.responder.isn().add(1).add(flow.initiator.max_window).0;
    tcp_window::settle_scale(&mut flow.initiator, &mut flow.responder);
    flow.flags &= !(flow_flags::PENDING_SYN | flow_flags::PENDING_SYN_ACK);
    flow.state = State::SynReceived as u8;
}

/// After two SYNs crossed: each side's window counts from the other's first number.
#[inline(always)]
fn grant_first_edges(flow: &mut Flow) {
    flow.initiator.edge = flow.responder.isn().add(1).add(flow.initiator.max_window).0;
    flow.responder.edge = flow.initiator.isn().add(1).add(flow.responder.max_window).0;
}

/// Simultaneous open: each side repeats its SYN with an acknowledgement of the other's.
#[inline(always)]
fn syn_sent_both(flow: &mut Flow, sender: Sender, class: Class, segment: &Segment) -> Transition {
    let (from, to) = flow.peers_mut(sender);
    let answers = acknowledges_syn(to, segment.ack);
    match class {
        Class::Syn if segment.seq == from.isn() => Transition::NO_LEARN,
        Class::Syn => Transition::drop(Reason::TcpSynOutOfOrder),
        Class::SynAck if answers && segment.seq == from.isn() => {
            from.flags |= peer_flags::SYN_ACK;
            from.ack = segment.ack.0;
            to.flags |= peer_flags::SYN_ACKED;
            if from.has(peer_flags::SYN_ACKED) {
                flow.state = State::Established as u8;
                return Transition::ESTABLISH;
            }
            Transition::LEARN
        }
        Class::SynAck => Transition::drop(Reason::TcpAckSynDiff),
        Class::Rst if (segment.has(flags::ACK) && answers) || segment.seq == from.end() => close(flow),
        Class::Rst => Transition::drop(Reason::TcpRstOutOfOrder),
        Class::Ack => Transition::drop(Reason::Tcp3whsFailed),
    }
}

#[inline(always)]
fn syn_received_initiator(flow: &mut Flow, class: Class, segment: &Segment, inspection: Inspection) -> Transition {
    match class {
        Class::Syn if segment.seq == flow.initiator.isn() => Transition::NO_LEARN,
        Class::Syn => {
            tcp_state::remember_syn(flow, segment);
            Transition::NO_LEARN
        }
        Class::SynAck => Transition::drop(Reason::Tcp3whsFailed),
        Class::Rst => reset(flow, Sender::Initiator, segment),
        Class::Ack => third(flow, segment, inspection),
    }
}

/// The third packet of the handshake, or any later one if it was lost before us.
#[inline(always)]
fn third(flow: &mut Flow, segment: &Segment, inspection: Inspection) -> Transition {
    let second_syn_ack = flow.has(flow_flags::PENDING_SYN_ACK) && segment.ack == Seq(flow.pending).add(1);
    if !acknowledges_syn(&flow.responder, segment.ack) && !second_syn_ack {
        return Transition::drop(Reason::TcpInvalidAck);
    }
    if segment.seq.before(flow.initiator.isn().add(1)) {
        return Transition::drop(Reason::Tcp3whsFailed);
    }
    // Nothing below may refuse the segment: a dropped one leaves no trace.
    if tcp_window::refused_past_edge(&flow.responder, segment, inspection) {
        return Transition::drop(Reason::TcpSeqPastWindow);
    }
    if second_syn_ack {
        // The responder repeated its SYN-ACK with another first number (SYN cookies do), and that is the one that arrived.
        let shift = flow.pending.wrapping_sub(flow.responder.isn);
        flow.responder.isn = flow.pending;
        flow.responder.end = flow.responder.end.wrapping_add(shift);
        flow.initiator.edge = flow.initiator.edge.wrapping_add(shift);
    }
    flow.flags &= !(flow_flags::PENDING_SYN | flow_flags::PENDING_SYN_ACK);
    flow.responder.flags |= peer_flags::SYN_ACKED;
    // From here on the numbers are judged like any other segment's; the acknowledgement field has no value before the first segment.
    flow.initiator.ack = segment.ack.0;
    let transition = tcp_state::data(flow, Sender::Initiator, segment, inspection);
    if !transition.verdict.passes() {
        return transition;
    }
    if flow.state == State::SynReceived as u8 {
        flow.state = State::Established as u8;
    }
    Transition::ESTABLISH
}

#[inline(always)]
fn syn_received_responder(flow: &mut Flow, class: Class, segment: &Segment) -> Transition {
    let answers = acknowledges_syn(&flow.initiator, segment.ack);
    match class {
        Class::SynAck if flow.has(flow_flags::PENDING_SYN) && segment.ack == Seq(flow.pending).add(1) => {
            rebase(flow, segment);
            Transition::LEARN
        }
        Class::SynAck if !answers => Transition::drop(Reason::TcpAckSynDiff),
        Class::SynAck if segment.seq == flow.responder.isn() => Transition::NO_LEARN,
        Class::SynAck => {
            flow.flags = (flow.flags & !flow_flags::PENDING_SYN) | flow_flags::PENDING_SYN_ACK;
            flow.pending = segment.seq.0;
            Transition::NO_LEARN
        }
        Class::Syn => Transition::drop(Reason::TcpSynOutOfOrder),
        Class::Rst => reset(flow, Sender::Responder, segment),
        Class::Ack => early_data(flow, segment),
    }
}

/// A responder may send before the third packet when the SYN carried data (RFC 7413 §4.2).
#[inline(always)]
fn early_data(flow: &mut Flow, segment: &Segment) -> Transition {
    let first = flow.responder.isn().add(1);
    if !acknowledges_syn(&flow.initiator, segment.ack) || segment.seq.before(first) {
        return Transition::drop(Reason::Tcp3whsFailed);
    }
    if segment.seq.after(flow.initiator.edge()) {
        return Transition::drop(Reason::TcpSeqPastWindow);
    }
    if segment.has(flags::FIN) && segment.end().after(flow.responder.end()) {
        flow.responder.flags |= peer_flags::FIN;
    }
    flow.responder.end = flow.responder.end().max(segment.end()).0;
    Transition::LEARN
}

/// A reset before the third packet: exact at the sender's next number, or where the other side's SYN-ACK points.
#[inline(always)]
fn reset(flow: &mut Flow, sender: Sender, segment: &Segment) -> Transition {
    let (from, to) = flow.peers_mut(sender);
    let acknowledged = matches!(sender, Sender::Initiator) && segment.seq == to.ack();
    let inexact = segment.seq.within(from.isn().add(1), to.edge());
    if acknowledged || segment.seq == from.end() || segment.seq == from.isn().add(1) {
        return close(flow);
    }
    // The SYN-ACK was lost behind us, the SYN came again, and now nobody listens: an initiator that waits obeys this reset.
    let refusal = matches!(sender, Sender::Responder) && tcp_state::refuses(flow, segment);
    if refusal || inexact {
        return Transition::NO_LEARN;
    }
    Transition::drop(Reason::TcpRstOutOfOrder)
}

#[inline(always)]
fn close(flow: &mut Flow) -> Transition {
    flow.flags |= flow_flags::RESET;
    flow.state = State::Closed as u8;
    Transition::LEARN
}

/// The responder's SYN-ACK confirms the SYN in `pending`: both sides begin anew, on the same key and under the same rule.
#[inline(always)]
pub fn rebase(flow: &mut Flow, segment: &Segment) {
    let pending = Seq(flow.pending);
    flow.marks &= !flow_marks::OVER;
    flow.initiator.isn = pending.0;
    flow.initiator.end = pending.add(1).0;
    flow.initiator.flags = peer_flags::SYN;
    flow.initiator.max_window = u32::from(u16::MAX);
    flow.initiator.ack = 0;
    if flow.pending_scale == NO_SCALE {
        flow.initiator.scale = 0;
    } else {
        flow.initiator.scale = flow.pending_scale;
        flow.initiator.flags |= peer_flags::SCALE_OFFERED;
    }
    accept_syn_ack(flow, segment);
}
