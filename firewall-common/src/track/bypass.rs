//! TCP state bypass: TCP is treated like UDP. No handshake, no sequence numbers, no state machine; what is left is a timer.

use crate::{
    flow::{Flow, Sender, State, flow_flags, peer_flags},
    track::{Next, Transition, tcp_window},
    verdict::Verdict,
    wire::tcp::{Segment, flags},
};

/// Packets of one side after which a flow that never saw the other is worth an established entry.
const ONE_SIDED_AFTER: u64 = 2;

/// One segment of a bypass flow.
#[inline(always)]
pub fn step(flow: &mut Flow, sender: Sender, segment: &Segment) -> Transition {
    flow.state = State::Bypass as u8;
    let first_reply = matches!(sender, Sender::Responder) && !flow.has(flow_flags::REPLIED);
    if segment.has(flags::SYN) {
        // Kept for the day the rule becomes strict again: nothing else can tell the window's scale, or a late repetition from an attack.
        let (peer, _) = flow.peers_mut(sender);
        tcp_window::learn_scale(peer, segment);
        peer.isn = segment.seq.0;
        peer.flags |= if segment.has(flags::ACK) { peer_flags::SYN | peer_flags::SYN_ACK } else { peer_flags::SYN };
        flow.flags &= !flow_flags::CLOSING;
    }
    if segment.has(flags::FIN) || segment.has(flags::RST) {
        if !flow.has(flow_flags::CLOSING) {
            // SHORTENED makes the caller compute the timer anew.
            flow.flags |= flow_flags::CLOSING | flow_flags::SHORTENED;
        }
    } else if flow.has(flow_flags::CLOSING) && segment.length > 0 {
        // Traffic goes on: the reset was not the end.
        flow.flags = (flow.flags & !flow_flags::CLOSING) | flow_flags::SHORTENED;
    }
    if first_reply {
        flow.flags &= !flow_flags::ONE_SIDED;
        return Transition::ESTABLISH;
    }
    if flow.has(flow_flags::REPLIED) {
        return Transition::LEARN;
    }
    let (peer, _) = flow.peers_mut(sender);
    if peer.packets + 1 >= ONE_SIDED_AFTER {
        return Transition { verdict: Verdict::Learn, next: Next::EstablishOneSided };
    }
    Transition::LEARN
}
