//! TCP state bypass: TCP is treated like UDP. No handshake, no sequence numbers, no state machine; what is left is a timer.
//!
//! What strict inspection would have said is followed beside it ([`super::shadow`]). Nothing here looks at that.

use crate::{
    flow::{Flow, Sender, State, flow_flags},
    track::{Next, Transition},
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
        return Transition { next: Next::EstablishOneSided, ..Transition::LEARN };
    }
    Transition::LEARN
}
