//! The segment that a connection mostly consists of, judged in a few steps: data or an acknowledgement, next in its sender's order, on a
//! connection that is up and of which nothing out of the ordinary is known. Under bypass that is what its [`shadow`] knows; and there a
//! segment in order may lie past the window, for of a stream that repeats nothing all do, once something was lost.
//!
//! It decides nothing of its own. Whatever it takes, [`super::step`] would take with the same effect on the record, down to each counter;
//! what it does not know it leaves to that. A test holds both against each other.
//!
//! That nothing is known of the flow is itself a mark in its record, [`flow_marks::STEADY`]: each packet that takes the long way
//! [`settle`]s it, and whoever changes the record otherwise clears it.

use crate::{
    flow::{Flow, Inspection, Peer, Sender, State, flow_flags, flow_marks, peer_flags},
    normalize::{self, record},
    parse::{Descriptor, Kind},
    time::Nanos,
    track::{Context, shadow, tcp_window},
    wire::tcp::{Segment, flags, marks},
};

/// Flags that say nothing to the state machine.
const ANY: u8 = flags::PSH | flags::ECE | flags::CWR;
/// What makes one side's numbers more than numbers.
const UNUSUAL: u8 = peer_flags::FIN | peer_flags::RELEARN;
/// A flow whose rule's time is over so soon takes the long way, where the clock is looked at: no packet of it passes after that.
const RULE_ENDS_SOON: u64 = 86_400_000 * Nanos::MILLISECOND;

/// True for a segment that [`advance`] may take.
#[inline(always)]
#[must_use]
pub const fn is_ordinary(descriptor: &Descriptor) -> bool {
    matches!(descriptor.kind, Kind::Tcp)
        && descriptor.segment.flags & !ANY == flags::ACK
        && !descriptor.options.has(marks::MD5 | marks::SACK)
        && !descriptor.piece.more
}

/// Notes whether the next ordinary segment of the flow may take the short way, under the rule that it now has.
#[inline(always)]
pub fn settle(flow: &mut Flow, context: &Context<'_>) {
    // Another CPU may have given the flow to another rule since this packet's was looked up.
    let steady = !context.guarded
        && flow.generation == context.generation
        && (is_up(flow) || is_bypassed(flow, context))
        && (context.expires.0 == 0 || context.now.0.wrapping_add(RULE_ENDS_SOON) < context.expires.0)
        && flow.flags & (flow_flags::REPLIED | flow_flags::SHORTENED) == flow_flags::REPLIED
        && context.checks & record::WHATEVER_COMES == 0
        && normalize::idle(context.checks, flow.features, false);
    flow.marks = if steady { flow.marks | flow_marks::STEADY } else { flow.marks & !flow_marks::STEADY };
}

#[inline(always)]
const fn is_up(flow: &Flow) -> bool {
    flow.state == State::Established as u8
        && flow.inspection != Inspection::Bypass as u8
        && (flow.initiator.flags | flow.responder.flags) & UNUSUAL == 0
}

#[inline(always)]
const fn is_bypassed(flow: &Flow, context: &Context<'_>) -> bool {
    flow.state == State::Bypass as u8
        && flow.inspection == Inspection::Bypass as u8
        && !flow.has(flow_flags::CLOSING)
        && shadow::is_up(flow, UNUSUAL, context.timeouts)
}

/// What the short way made of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Taken {
    /// Nothing: it must take the long way, and the record is as before.
    Not,
    /// Learned from.
    InOrder,
    /// Of a bypass flow, and learned from; strict inspection would have dropped it for [`Reason::TcpSeqPastWindow`].
    ///
    /// [`Reason::TcpSeqPastWindow`]: crate::reason::Reason::TcpSeqPastWindow
    PastWindow,
}

/// Takes an ordinary segment into the record of a steady flow, or leaves it to the long way.
#[inline(always)]
pub fn advance(flow: &mut Flow, descriptor: &Descriptor, sender: Sender, now: Nanos) -> Taken {
    let bypass = flow.inspection == Inspection::Bypass as u8;
    let (from, to) = flow.peers_mut(sender);
    let mut taken = Taken::InOrder;
    if !follows(from, to, &descriptor.segment) {
        if !bypass || !continues_past(from, to, &descriptor.segment) {
            return Taken::Not;
        }
        taken = Taken::PastWindow;
    }
    learn(from, &descriptor.segment);
    from.packets += 1;
    from.bytes += u64::from(descriptor.ip_length);
    flow.last_seen = now.0;
    if matches!(taken, Taken::PastWindow) {
        flow.tolerated = flow.tolerated.saturating_add(1);
    }
    taken
}

#[inline(always)]
fn learn(from: &mut Peer, segment: &Segment) {
    let window = tcp_window::window(from, segment);
    let edge = segment.ack.add(window);
    from.end = segment.seq.add(segment.length).0;
    from.ack = from.ack().max(segment.ack).0;
    if edge.after(from.edge()) {
        from.edge = edge.0;
    }
    if window > from.max_window {
        from.max_window = window;
    }
}

/// True for data that begins where the last segment ended, and past what its receiver granted.
#[inline(always)]
const fn continues_past(from: &Peer, to: &Peer, segment: &Segment) -> bool {
    segment.seq.0 == from.end
        && segment.window != 0
        && segment.length != 0
        && segment.seq.after(to.edge())
        && !segment.ack.after(tcp_window::most_sent(from, to))
}

/// True for a segment that begins where the last one ended, within what its receiver granted, and acknowledges something that its receiver
/// has sent and that was not acknowledged long ago; one without data acknowledges something new.
#[inline(always)]
const fn follows(from: &Peer, to: &Peer, segment: &Segment) -> bool {
    let news = segment.ack.distance(from.ack());
    segment.seq.0 == from.end
        && segment.window != 0
        && !segment.seq.after(to.edge())
        && (news > 0 || (news == 0 && segment.length != 0))
        && segment.ack.within(tcp_window::oldest_ack(from, to), to.end())
}
