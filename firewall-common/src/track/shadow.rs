//! What strict inspection would make of a flow under bypass: its *shadow*. It runs the tracker that strict flows have, over the same record,
//! whose numbers bypass itself has no use for, and decides nothing: a packet that it would refuse passes, and is counted as *needed*.
//!
//! A packet is needed when strict inspection, had it let everything so far through, would drop this one. To go on from there, strict must
//! take something from what it refused and yet let through:
//!
//! | refused | what the shadow makes of it |
//! |---|---|
//! | before the other side was heard | nothing: strict still has no connection, and refuses what comes next as well |
//! | after a reset | nothing: strict has given the connection up, and soon forgets it |
//! | a SYN, a SYN-ACK, a reset, or flags that cannot be | nothing: where the data is, it does not say |
//! | past the window | its numbers; what the receiver has granted it has granted no more of |
//! | anything else | all numbers are learned anew, from this segment on, as by [`tcp_window::relearn`] |
//!
//! Times are those strict would have: a connection that a reset has closed is forgotten after its time, whatever goes on, and so is one that
//! only asks. In every other state any packet counts as a sign of life, also one that strict would not learn from. When bypass itself forgets a
//! flow that is idle (after two minutes, where strict has hours), its next packet is a first one, and needed.

use crate::{
    flow::{Flow, Sender, State, flow_flags, flow_marks},
    reason::Reason,
    rule::Timeouts,
    time::Nanos,
    track::{Context, Next, Transition, handshake, tcp_state, tcp_window, timeout},
    verdict::Verdict,
    verifier,
    wire::tcp::{Segment, flags, legal_flags},
};

/// Place of the shadow's state in [`Flow::marks`].
const SHIFT: u32 = flow_marks::SHADOW.trailing_zeros();
/// In place of a state: strict inspection knows of no connection.
pub const NONE: u8 = 0;
/// Flags of the record that are the shadow's own under bypass.
const OWN_FLAGS: u8 = flow_flags::PENDING_SYN | flow_flags::PENDING_SYN_ACK;
/// The record of a connection that only asks, or is closed, holds since when, in units of 2²⁰ ns, where otherwise an initial sequence number
/// waits.
const SINCE_UNIT: u32 = 20;

/// The state a strict flow would be in, as a number; [`NONE`] for no flow.
#[inline(always)]
#[must_use]
pub const fn state(flow: &Flow) -> u8 {
    flow.marks >> SHIFT
}

/// Sets it.
#[inline(always)]
pub const fn set_state(flow: &mut Flow, state: u8) {
    flow.marks = (flow.marks & !flow_marks::SHADOW) | state << SHIFT;
}

/// True for a segment that strict inspection takes for the beginning of a connection.
#[inline(always)]
#[must_use]
pub const fn begins(segment: &Segment) -> bool {
    segment.flags & (flags::SYN | flags::ACK | flags::RST | flags::FIN) == flags::SYN && legal_flags(segment.flags)
}

/// Why strict inspection would refuse a flow's first segment.
#[inline(always)]
#[must_use]
pub const fn refuse_first(segment: &Segment) -> Option<Reason> {
    if begins(segment) {
        None
    } else if legal_flags(segment.flags) {
        Some(Reason::TcpNotSyn)
    } else {
        Some(Reason::BadTcpFlags)
    }
}

/// Begins the shadow of a flow whose first segment this is; [`handshake::learn_syn`] has taken its numbers.
#[inline(always)]
pub fn admit(flow: &mut Flow, segment: &Segment, now: Nanos) {
    set_state(flow, if begins(segment) { State::SynSent as u8 } else { NONE });
    flow.pending = since_mark(now);
    flow.tolerated = u16::from(!begins(segment));
}

/// A flow that was inspected goes on under bypass: its shadow goes on from where it is.
#[inline(always)]
pub const fn take_over(flow: &mut Flow) {
    set_state(flow, flow.state);
    // Nothing has been learned since it came into such a state.
    if is_timed(flow) {
        flow.pending = since_mark(Nanos(flow.last_seen));
    }
}

/// What of a record is bypass's own, while the tracker has it.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    timeout: u32,
    flags: u8,
    marks: u8,
}

impl Kept {
    #[inline(always)]
    #[must_use]
    pub const fn of(flow: &Flow) -> Self {
        Self { timeout: flow.timeout, flags: flow.flags, marks: flow.marks }
    }
}

/// Lends a bypass flow's record to the tracker, as that of a strict flow. Segments that are not for it to judge meet a state it does not know,
/// and leave no trace.
#[inline(always)]
pub fn enter(flow: &mut Flow, context: &Context<'_>) {
    if forgotten(flow, context) {
        set_state(flow, NONE);
    }
    flow.state = if legal_flags(context.descriptor.segment.flags) { state(flow) } else { NONE };
}

/// Takes the record back, whatever the tracker said, and tells why strict inspection would have refused the segment: the number of a
/// [`Reason`], or 0. The record is as bypass left it, but for the shadow's own.
#[inline(always)]
pub fn leave(flow: &mut Flow, context: &Context<'_>, kept: &Kept, transition: &Transition) -> u8 {
    let segment = &context.descriptor.segment;
    let before = state(flow);
    // The record's own idle time is kept, and its place free.
    let said = verifier::merged(said(transition), &mut flow.timeout);
    let refused = refused(segment, before, said);
    if refused != 0 {
        flow.state = before;
        go_on(flow, context.sender, segment, before, said);
        flow.tolerated = flow.tolerated.saturating_add(1);
    } else if said == AS_FIRST || before == NONE {
        begin(flow, context.sender, segment);
    }
    flow.marks = kept.marks;
    set_state(flow, flow.state);
    if flow.state != before && is_timed(flow) {
        flow.pending = since_mark(context.now);
    }
    flow.state = State::Bypass as u8;
    flow.timeout = kept.timeout;
    flow.flags = kept.flags & !OWN_FLAGS | flow.flags & OWN_FLAGS;
    refused
}

/// What the tracker said, as a number: the reason it refuses for, or one of these.
#[inline(always)]
const fn said(transition: &Transition) -> u32 {
    match (transition.verdict, transition.next) {
        (Verdict::Drop(reason), _) => reason as u32,
        (_, Next::Reopen) => AS_FIRST,
        _ => PASSES,
    }
}

const PASSES: u32 = 0;
/// The packet is to be judged as a first one.
const AS_FIRST: u32 = 1 << 8;

/// Why strict inspection would have refused the segment: a reason's number, or 0. A number it stays, for to make a reason of it is a call,
/// which older verifiers (6.1) allow none of under a lock.
#[inline(always)]
const fn refused(segment: &Segment, before: u8, said: u32) -> u8 {
    if before == NONE {
        return match refuse_first(segment) {
            Some(reason) => reason as u8,
            None => 0,
        };
    }
    if !legal_flags(segment.flags) { Reason::BadTcpFlags as u8 } else { said as u8 }
}

/// What becomes of the shadow once a segment has passed that was refused.
#[inline(always)]
fn go_on(flow: &mut Flow, sender: Sender, segment: &Segment, before: u8, said: u32) {
    let unheard = before == NONE || before == State::SynSent as u8;
    let silent = segment.flags & (flags::SYN | flags::RST) != 0 || !legal_flags(segment.flags);
    if silent || before == State::Closed as u8 || (unheard && matches!(sender, Sender::Initiator)) {
        return;
    }
    if before == NONE {
        forget(flow);
    }
    let up = before >= State::Established as u8;
    if !up || said != Reason::TcpSeqPastWindow as u32 {
        tcp_window::relearn(flow);
        flow.flags &= !OWN_FLAGS;
    }
    let (from, to) = flow.peers_mut(sender);
    tcp_window::learn(from, to, segment);
    flow.state = tcp_state::closing(&flow.initiator, &flow.responder) as u8;
}

/// A connection begins on the key. Under bypass the flow keeps its initiator; when the other side begins one, nothing can be said of the
/// handshake, and its numbers are learned as they come.
#[inline(always)]
fn begin(flow: &mut Flow, sender: Sender, segment: &Segment) {
    flow.flags &= !OWN_FLAGS;
    forget(flow);
    if matches!(sender, Sender::Initiator) {
        handshake::learn_syn(&mut flow.initiator, segment);
        flow.state = State::SynSent as u8;
    } else {
        tcp_window::relearn(flow);
        flow.state = State::Established as u8;
    }
}

/// Forgets the numbers of an earlier connection.
#[inline(always)]
fn forget(flow: &mut Flow) {
    for peer in [&mut flow.initiator, &mut flow.responder] {
        for number in [&mut peer.end, &mut peer.edge, &mut peer.max_window, &mut peer.ack, &mut peer.isn] {
            verifier::clear_word(number);
        }
        (peer.scale, peer.flags) = (0, 0);
    }
}

/// True when the time is over that strict inspection remembers the connection for.
#[inline(always)]
const fn forgotten(flow: &Flow, context: &Context<'_>) -> bool {
    let lifetime = timeout::of_state(state(flow), context.timeouts) as u64 * Nanos::MILLISECOND;
    if is_timed(flow) {
        // Another CPU's clock may be a moment ahead.
        let passed = since_mark(context.now).wrapping_sub(flow.pending) as i32;
        return passed > 0 && ((passed as u64) << SINCE_UNIT) > lifetime;
    }
    context.now.0 > flow.last_seen.wrapping_add(lifetime)
}

/// True in the states whose time is counted from their beginning, unless a SYN that waits for its answer is where that would be kept.
#[inline(always)]
const fn is_timed(flow: &Flow) -> bool {
    let state = state(flow);
    (state == State::Closed as u8 || state == State::SynSent as u8) && flow.flags & OWN_FLAGS == 0
}

#[inline(always)]
const fn since_mark(now: Nanos) -> u32 {
    (now.0 >> SINCE_UNIT) as u32
}

/// True while ordinary segments may take the short way: see [`super::steady`]. `unusual` are flags of a peer that speak against it.
#[inline(always)]
#[must_use]
pub const fn is_up(flow: &Flow, unusual: u8, timeouts: &Timeouts) -> bool {
    state(flow) == State::Established as u8
        && (flow.initiator.flags | flow.responder.flags) & unusual == 0
        // A flow is never idle for so long that strict inspection would forget it.
        && timeouts.bypass <= timeouts.established
}

/// What the other direction's packet taught the shadow while its record was copied, see [`super::carry`]. Called once the peers have been
/// carried over.
#[inline(always)]
pub fn carry(flow: &mut Flow, late: &Flow) {
    let closed = State::Closed as u8;
    if state(late) == closed {
        set_state(flow, closed);
        flow.pending = late.pending;
    } else if state(flow) == State::Established as u8 {
        let state = tcp_state::closing(&flow.initiator, &flow.responder) as u8;
        set_state(flow, state);
    }
}

/// Lets time pass for what the shadow remembers.
#[cfg(feature = "memory")]
pub const fn grow_older(flow: &mut Flow, by: Nanos) {
    if is_timed(flow) {
        flow.pending = flow.pending.wrapping_sub((by.0 >> SINCE_UNIT) as u32);
    }
}

/// A record without what two clocks make different.
#[cfg(feature = "memory")]
#[must_use]
pub const fn timeless(mut flow: Flow) -> Flow {
    // Without a flag that says what it is it is a time, or was one.
    if flow.flags & OWN_FLAGS == 0 {
        flow.pending = 0;
    }
    flow
}
