//! Stage *track*: a packet of a known flow advances the flow's state or is refused. Everything here is pure: a record, a packet's
//! description, the time; no map, no helper, so that it can run inside the flow's lock.

pub mod bypass;
pub mod carry;
pub mod handshake;
pub mod ipsec;
pub mod other;
pub mod piece;
pub mod shadow;
pub mod steady;
pub mod tcp_state;
pub mod tcp_window;
pub mod timeout;

use crate::{
    flow::{Flow, Inspection, Sender, State, flow_flags, flow_marks, peer_flags},
    normalize::record,
    parse::{Descriptor, Kind},
    reason::Reason,
    rule::Timeouts,
    time::Nanos,
    verdict::Verdict,
    verifier,
    wire::tcp::flags,
};

/// What the stage asks of the tables beside its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Stay,
    /// Both sides have confirmed the flow: it belongs into the established table.
    Establish,
    /// The packet begins a new connection on this key: forget the old one and judge the packet as a first one.
    Reopen,
    /// A bypass flow of which only one side is seen: it may be established if its rule's quota has room.
    EstablishOneSided,
    /// The connection has ended: both FINs are acknowledged, or a reset was obeyed. Its record stays for as long as its state says.
    Over,
}

/// Verdict and consequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Transition {
    pub verdict: Verdict,
    pub next: Next,
    /// Why strict inspection would have refused the packet of a bypass flow: the number of a [`Reason`], or 0. See [`shadow`].
    pub needed: u8,
}

impl Transition {
    pub const LEARN: Self = Self::of(Verdict::Learn, Next::Stay);
    pub const NO_LEARN: Self = Self::of(Verdict::NoLearn, Next::Stay);
    pub const ESTABLISH: Self = Self::of(Verdict::Learn, Next::Establish);
    /// The verdict is that of the packet judged anew.
    pub const REOPEN: Self = Self::of(Verdict::NoLearn, Next::Reopen);

    #[inline(always)]
    const fn of(verdict: Verdict, next: Next) -> Self {
        Self { verdict, next, needed: 0 }
    }

    #[inline(always)]
    pub const fn drop(reason: Reason) -> Self {
        Self::of(Verdict::Drop(reason), Next::Stay)
    }
}

/// Everything a step needs beside the record.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    pub descriptor: &'a Descriptor,
    pub sender: Sender,
    pub now: Nanos,
    /// Generation of the policy that `timeouts` and `checks` are of.
    pub generation: u32,
    /// The rule's idle times.
    pub timeouts: &'a Timeouts,
    /// When the rule's time is over; [`Nanos`] of 0 for never.
    pub expires: Nanos,
    /// The rule's [`crate::normalize::checks`].
    pub checks: u32,
    /// The rule has a guard, which looks at each packet.
    pub guarded: bool,
    /// The packet may be of more than one segment: not cut yet, or put together by a device.
    pub merged: bool,
}

/// Takes one packet into the record: state, windows, timer and counters.
///
/// The record is left as it was, but for its counters, unless the verdict is [`Verdict::Learn`]; a few flags may note what a packet
/// that must not be believed yet said ([`flow_flags::PENDING_SYN`] and the like), and an inexact reset may shorten the timer.
#[inline(always)]
pub fn step(flow: &mut Flow, context: &Context<'_>) -> Transition {
    let transition = judge(flow, context);
    if transition.verdict.passes() {
        steady::settle(flow, context);
    }
    transition
}

#[inline(always)]
fn judge(flow: &mut Flow, context: &Context<'_>) -> Transition {
    let state_before = flow.state;
    let inspection = Inspection::from_number(flow.inspection);
    let mut transition = match (context.descriptor.kind, inspection) {
        (Kind::Tcp, _) => tcp(flow, context, inspection),
        _ => other::step(flow, context.sender, context.descriptor),
    };
    if matches!(transition.next, Next::Reopen) {
        return transition;
    }
    match transition.verdict {
        Verdict::Learn => {
            if learned(flow, context, state_before) {
                transition.next = Next::Over;
            }
        }
        Verdict::NoLearn => count(flow, context),
        Verdict::Drop(_) | Verdict::Answer => {}
    }
    transition
}

/// A segment of TCP. The tracker is asked once, in one place, whether what it says counts or is only the flow's [`shadow`]: two of it would be
/// more than the verifier has patience for.
#[inline(always)]
fn tcp(flow: &mut Flow, context: &Context<'_>, inspection: Inspection) -> Transition {
    let kept = shadow::Kept::of(flow);
    if matches!(inspection, Inspection::Bypass) {
        shadow::enter(flow, context);
    } else if let Some(reason) = record::refuse(flow, context) {
        return Transition::drop(reason);
    }
    let level = inspection.of_tracker();
    let edge = record::edge_inspection(level, context.checks);
    let transition = tcp_state::step(flow, context.sender, &context.descriptor.segment, level, edge, context.now);
    // Read again, so that the verifier need not remember over all of the tracker which of the two it was.
    if verifier::reread(&flow.inspection) == Inspection::Bypass as u8 {
        let needed = shadow::leave(flow, context, &kept, &transition);
        return Transition { needed, ..bypass::step(flow, context.sender, &context.descriptor.segment) };
    }
    match transition.verdict {
        // A dropped segment has left no trace, so it may still pass without one.
        Verdict::Drop(Reason::TcpInvalidAck) if record::tolerates_ack(flow, context) => Transition::NO_LEARN,
        _ => transition,
    }
}

/// True when the packet has ended the connection.
#[inline(always)]
fn learned(flow: &mut Flow, context: &Context<'_>, state_before: u8) -> bool {
    count(flow, context);
    if context.descriptor.segment.has(flags::SYN) {
        record::learn_syn(flow, context.sender, context.descriptor);
    }
    // A repeated SYN must not keep an unanswered flow alive: the embryonic time counts from the last progress.
    let progress = flow.state != state_before;
    if progress || flow.state != State::SynSent as u8 {
        flow.last_seen = context.now.0;
    }
    if progress || flow.has(flow_flags::SHORTENED) {
        flow.flags &= !flow_flags::SHORTENED;
        flow.timeout = timeout::of(flow, context.descriptor.key.protocol, context.timeouts);
    }
    if matches!(context.sender, Sender::Responder) {
        flow.flags |= flow_flags::REPLIED;
    }
    if progress {
        time_handshake(flow, context.now);
    }
    let over = progress && over(flow.state) && flow.marks & flow_marks::OVER == 0;
    if over {
        flow.marks |= flow_marks::OVER;
    }
    over
}

/// What came twice tells no time: nobody knows which of the two was answered.
#[inline(always)]
fn time_handshake(flow: &mut Flow, now: Nanos) {
    let micros = now.since(Nanos(flow.created)).as_micros_saturating();
    if flow.state == State::SynReceived as u8 {
        flow.answer_micros = if flow.initiator.packets == 1 && flow.responder.packets == 1 { micros } else { 0 };
    }
    if confirmed(flow.state) && flow.handshake_micros == 0 {
        flow.handshake_micros = micros;
        if flow.responder.packets != 1 {
            flow.answer_micros = 0;
        }
    }
}

const fn over(state: u8) -> bool {
    state == State::TimeWait as u8 || state == State::Closed as u8
}

const fn confirmed(state: u8) -> bool {
    state == State::Established as u8 || state == State::Stream as u8
}

#[inline(always)]
fn count(flow: &mut Flow, context: &Context<'_>) {
    let bytes = u64::from(context.descriptor.ip_length);
    let (peer, _) = flow.peers_mut(context.sender);
    peer.packets += 1;
    peer.bytes += bytes;
}

/// Gives a live flow to another rule, or to the same rule with another inspection.
///
/// A flow that leaves bypass may have had any numbers: the next segment of each side teaches them, and none is dropped for it. Of one that
/// comes under bypass strict inspection goes on in its [`shadow`].
#[inline(always)]
pub fn relevel(flow: &mut Flow, kind: Kind, inspection: Inspection) {
    let before = Inspection::from_number(flow.inspection);
    flow.inspection = inspection as u8;
    flow.marks &= !flow_marks::STEADY;
    if !matches!(kind, Kind::Tcp) || (before as u8 == Inspection::Bypass as u8) == (inspection as u8 == Inspection::Bypass as u8) {
        return;
    }
    flow.flags &= !(flow_flags::ONE_SIDED | flow_flags::CLOSING);
    if inspection as u8 == Inspection::Bypass as u8 {
        shadow::take_over(flow);
        flow.state = State::Bypass as u8;
        // A flow in the middle of its handshake is still embryonic: the next reply establishes it.
        flow.flags &= !flow_flags::REPLIED;
        return;
    }
    shadow::set_state(flow, shadow::NONE);
    flow.flags &= !(flow_flags::PENDING_SYN | flow_flags::PENDING_SYN_ACK);
    if flow.initiator.packets == 1
        && flow.initiator.flags & (peer_flags::SYN | peer_flags::SYN_ACK) == peer_flags::SYN
        && !flow.has(flow_flags::REPLIED)
    {
        // Only its SYN was seen, and that was learned from: the handshake goes on as if it had never been bypassed.
        flow.state = State::SynSent as u8;
    } else {
        tcp_window::relearn(flow);
        flow.state = State::Established as u8;
    }
}
