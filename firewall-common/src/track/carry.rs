//! What an embryonic record was taught while it was being copied to the established table.

use crate::{
    flow::{Flow, Peer, State, flow_flags, flow_marks, peer_flags},
    track::{shadow, tcp_state},
};

/// Bits of a peer that are set and never cleared once its SYN is acknowledged.
const LASTING: u8 = peer_flags::SYN_ACKED | peer_flags::FIN | peer_flags::FIN_ACKED;

/// Takes what is newer in `late` into `flow`, its copy. Everything only grows, so that it does no harm to take something twice.
#[inline(always)]
pub fn over(flow: &mut Flow, late: &Flow) {
    // The record's memory may be another flow's by now.
    if flow.identity != late.identity {
        return;
    }
    peer(&mut flow.initiator, &late.initiator);
    peer(&mut flow.responder, &late.responder);
    flow.flags |= late.flags & (flow_flags::REPLIED | flow_flags::RESET);
    flow.marks = (flow.marks | late.marks & !flow_marks::SHADOW) & !flow_marks::STEADY;
    if late.last_seen > flow.last_seen {
        flow.last_seen = late.last_seen;
    }
    if flow.state == State::Bypass as u8 {
        shadow::carry(flow, late);
        return;
    }
    let state = if late.state == State::Closed as u8 {
        State::Closed as u8
    } else if (flow.initiator.flags | flow.responder.flags) & peer_flags::FIN != 0 && flow.state == State::Established as u8 {
        tcp_state::closing(&flow.initiator, &flow.responder) as u8
    } else {
        return;
    };
    flow.state = state;
    if late.state == state {
        flow.timeout = late.timeout;
    }
}

#[inline(always)]
fn peer(peer: &mut Peer, late: &Peer) {
    if late.has(peer_flags::RELEARN) {
        return;
    }
    if peer.has(peer_flags::RELEARN) {
        // The copy knows none of its numbers.
        *peer = *late;
        return;
    }
    peer.end = peer.end().max(late.end()).0;
    peer.edge = peer.edge().max(late.edge()).0;
    peer.ack = peer.ack().max(late.ack()).0;
    if late.max_window > peer.max_window {
        peer.max_window = late.max_window;
    }
    if late.packets > peer.packets {
        (peer.packets, peer.bytes) = (late.packets, late.bytes);
    }
    peer.flags |= late.flags & LASTING;
}
