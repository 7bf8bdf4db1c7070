//! Protocols without a state machine of their own: one direction seen, then both.

use crate::{
    flow::{Flow, Sender, State},
    parse::{Descriptor, Kind},
    reason::Reason,
    track::{Transition, ipsec},
};

/// One packet of a flow that is not TCP.
#[inline(always)]
pub fn step(flow: &mut Flow, sender: Sender, descriptor: &Descriptor) -> Transition {
    // A responder's echo request with the identifier of the initiator's: a flow of its own, which this one must not let in.
    let right_way = match descriptor.kind {
        Kind::EchoRequest => matches!(sender, Sender::Initiator),
        Kind::EchoReply => matches!(sender, Sender::Responder),
        _ => true,
    };
    if !right_way {
        return Transition::drop(Reason::IcmpUnsolicited);
    }
    if let Some(security) = descriptor.security() {
        let (peer, _) = flow.peers_mut(sender);
        ipsec::learn(peer, security);
    }
    if flow.state == State::Single as u8 && matches!(sender, Sender::Responder) {
        flow.state = State::Stream as u8;
        return Transition::ESTABLISH;
    }
    Transition::LEARN
}
