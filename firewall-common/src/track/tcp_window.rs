//! Sequence numbers and windows: van Rooij's rules as nf_conntrack states them, with three outcomes.
//!
//! For a segment of sender *s* to receiver *r*:
//!
//! | rule | test | fails |
//! |---|---|---|
//! | I   | `seq` is not past the edge *r* granted | drop (`strict`), count (`tolerant`) |
//! | II  | `end` is not more than *r*'s largest window below *s*'s highest end | pass without learning |
//! | III | `ack` is not past *r*'s highest end | drop |
//! | IV  | `ack` is not more than twice *s*'s largest window (at least 66 000) below *r*'s highest end | pass without learning |
//!
//! Right edges are enforced: what lies past them was never asked for. Left edges are not: old data and old acknowledgements must reach
//! the endpoint, for it answers them, and the answer is what heals a connection whose packets were lost on our far side.
//! A granted edge is never withdrawn (RFC 9293 MUST-34: a sender must cope with a window that shrinks, so data in flight is legal).

use crate::{
    flow::{Flow, Inspection, NO_SCALE, Peer, flow_flags, peer_flags},
    reason::Reason,
    seq::Seq,
    time::Nanos,
    wire::tcp::{MOST_SCALE, Segment, flags},
};

/// Bytes below the newest data that an acknowledgement may always be: a 64 KiB window and one more burst (van Rooij 2000, §4).
const SLACK: u32 = 66_000;

/// What the rules say of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// In the window.
    In,
    /// Below it: legal, but nothing to learn from.
    Old,
    /// Past the right edge, and let pass (`tolerant`).
    Past,
    Refused(Reason),
}

/// Judges a segment without SYN or RST against both windows.
#[inline(always)]
#[must_use]
pub fn fit(sender: &Peer, receiver: &Peer, segment: &Segment, inspection: Inspection) -> Fit {
    let end = segment.end();
    let mut past = false;
    // A receiver that has yet to speak again after bypass has granted nothing we know of.
    if !receiver.has(peer_flags::RELEARN) {
        if !sender.has(peer_flags::RELEARN) && segment.ack.after(most_sent(sender, receiver)) {
            return Fit::Refused(Reason::TcpInvalidAck);
        }
        past = past_edge(receiver, segment);
        if refused_past_edge(receiver, segment, inspection) {
            return Fit::Refused(Reason::TcpSeqPastWindow);
        }
    }
    if sender.has(peer_flags::RELEARN) {
        return Fit::In;
    }
    if sender.has(peer_flags::FIN) && end.after(sender.end()) {
        return Fit::Refused(Reason::TcpDataPastFin);
    }
    let old_data = end.before(sender.end().sub(receiver.max_window));
    let old_ack = !receiver.has(peer_flags::RELEARN) && segment.ack.before(oldest_ack(sender, receiver));
    if old_data || old_ack {
        return Fit::Old;
    }
    if past { Fit::Past } else { Fit::In }
}

/// The highest number `receiver` can have sent. After bypass the first segment seen may be an old one sent again, while what followed it
/// arrived long ago: then only the edge that was granted is certain.
#[inline(always)]
#[must_use]
pub const fn most_sent(sender: &Peer, receiver: &Peer) -> Seq {
    if receiver.has(peer_flags::MIDSTREAM) { receiver.end().max(sender.edge()) } else { receiver.end() }
}

/// The lowest acknowledgement of `sender` that is learned from (rule IV). Not one that its receiver takes may lie below, or data that came
/// with it would arrive, and what acknowledges it be refused here: the receiver is at most a window past what it has heard acknowledged, and
/// takes what lies a window below that (RFC 5961 §5.2).
#[inline(always)]
#[must_use]
pub const fn oldest_ack(sender: &Peer, receiver: &Peer) -> Seq {
    let twice = sender.max_window.saturating_mul(2);
    receiver.end().sub(if twice > SLACK { twice } else { SLACK })
}

/// True when a segment begins past the edge its receiver granted. An acknowledgement may be one further: some senders put their FIN behind
/// data that fills the window, and from then on acknowledge from there.
#[inline(always)]
const fn past_edge(receiver: &Peer, segment: &Segment) -> bool {
    let plain = segment.length == 0 && !segment.has(flags::FIN);
    segment.seq.after(receiver.edge().add(plain as u32))
}

/// True when a segment is dropped for beginning past the edge its receiver granted.
///
/// A FIN past the edge would close what nobody can check: `tolerant` lets only data be past it.
#[inline(always)]
#[must_use]
pub const fn refused_past_edge(receiver: &Peer, segment: &Segment, inspection: Inspection) -> bool {
    past_edge(receiver, segment) && (!matches!(inspection, Inspection::Tolerant) || segment.has(flags::FIN))
}

/// The window a segment advertises, in bytes, and at least 1: a zero window still admits the probe at its edge (RFC 9293 §3.8.6.1).
/// The window of a SYN is never scaled (RFC 7323 §2.2).
#[inline(always)]
#[must_use]
pub const fn window(peer: &Peer, segment: &Segment) -> u32 {
    let shift = if segment.has(flags::SYN) { 0 } else { peer.scale & 0x0f };
    let window = (segment.window as u32) << shift;
    if window == 0 { 1 } else { window }
}

/// Takes an acceptable segment's numbers into both records.
#[inline(always)]
pub fn learn(sender: &mut Peer, receiver: &mut Peer, segment: &Segment) {
    let end = segment.end();
    let window = window(sender, segment);
    let fin = segment.has(flags::FIN) && ends_the_data(sender, end);
    if sender.has(peer_flags::RELEARN) {
        sender.flags &= !peer_flags::RELEARN;
        sender.end = end.0;
        sender.ack = segment.ack.0;
        // It may have granted more before, and its window have shrunk since.
        sender.edge = segment.ack.add(window).add(SLACK).0;
        sender.max_window = window;
    } else {
        observe(sender, receiver, segment);
        if end.0 != segment.seq.0 {
            // A plain acknowledgement has the number its sender is at, and what lies before it may have been lost before us, a FIN as well.
            sender.end = sender.end().max(end).0;
        }
        sender.edge = sender.edge().max(segment.ack.add(window)).0;
        sender.ack = sender.ack().max(segment.ack).0;
        if window > sender.max_window {
            sender.max_window = window;
        }
    }
    if receiver.has(peer_flags::RELEARN) {
        // Until it speaks, the receiver has sent what the sender has received of it.
        receiver.end = segment.ack.0;
    }
    if fin {
        sender.flags |= peer_flags::FIN;
    }
    if receiver.has(peer_flags::FIN) && !segment.ack.before(receiver.end()) {
        receiver.flags |= peer_flags::FIN_ACKED;
    }
}

/// True when a FIN that ends at `end` lies behind everything its sender has sent. One in the place of data that has passed is no end: the
/// receiver has that byte and discards the FIN (RFC 9293 §3.10.7.4), and what the sender goes on to send is legal.
///
/// After bypass the FIN may have passed before its sender's numbers were known again.
#[inline(always)]
#[must_use]
pub const fn ends_the_data(sender: &Peer, end: Seq) -> bool {
    end.after(sender.end()) || sender.has(peer_flags::RELEARN) || (sender.has(peer_flags::MIDSTREAM) && !end.before(sender.end()))
}

/// Quality figures, from what the numbers tell before they are learned.
#[inline(always)]
fn observe(sender: &mut Peer, receiver: &Peer, segment: &Segment) {
    if segment.window == 0 {
        sender.zero_windows = sender.zero_windows.saturating_add(1);
    }
    if segment.length == 0 {
        // Repeats the last acknowledgement while there is data to acknowledge (RFC 5681 §2, without the window, which our `edge` covers).
        let same_edge = segment.ack.add(window(sender, segment)) == sender.edge();
        if segment.ack == sender.ack() && same_edge && receiver.end().after(segment.ack) && !segment.has(flags::FIN) {
            sender.duplicate_acks = sender.duplicate_acks.saturating_add(1);
        }
        return;
    }
    if segment.seq.after(sender.end()) {
        sender.gaps = sender.gaps.saturating_add(1);
    } else if !segment.end().after(sender.end()) && (segment.length > 1 || segment.end() != sender.end()) {
        // One byte that ends where the data ends is a keep-alive (RFC 9293 §3.8.4), not a retransmission.
        sender.retransmitted = sender.retransmitted.saturating_add(1);
    }
}

/// Takes the scale a SYN offers.
#[inline(always)]
pub fn learn_scale(peer: &mut Peer, segment: &Segment) {
    if segment.scale == NO_SCALE {
        peer.scale = 0;
        peer.flags &= !peer_flags::SCALE_OFFERED;
    } else {
        peer.scale = segment.scale;
        peer.flags |= peer_flags::SCALE_OFFERED;
    }
}

/// Scaling counts only when both SYNs offered it (RFC 7323 §2.2). To be called when the second one has been accepted.
#[inline(always)]
pub fn settle_scale(one: &mut Peer, other: &mut Peer) {
    if !(one.has(peer_flags::SCALE_OFFERED) && other.has(peer_flags::SCALE_OFFERED)) {
        one.scale = 0;
        other.scale = 0;
    }
}

/// Prepares a flow that comes back from bypass: numbers unknown, handshake taken as done. Where a SYN was not seen its scale is not
/// known either, and the largest is assumed: too wide a window drops nothing legal.
#[inline(always)]
pub fn relearn(flow: &mut Flow) {
    let both_seen = flow.initiator.has(peer_flags::SYN) && flow.responder.has(peer_flags::SYN);
    if both_seen {
        settle_scale(&mut flow.initiator, &mut flow.responder);
    } else {
        // As if both SYNs had offered it, so that it is still there the next time.
        for peer in [&mut flow.initiator, &mut flow.responder] {
            peer.scale = MOST_SCALE;
            peer.flags |= peer_flags::SCALE_OFFERED;
        }
    }
    let known = peer_flags::SCALE_OFFERED | peer_flags::SYN_ACK;
    let unknown = peer_flags::SYN | peer_flags::SYN_ACKED | peer_flags::RELEARN | peer_flags::MIDSTREAM;
    flow.initiator.flags = (flow.initiator.flags & known) | unknown;
    flow.responder.flags = (flow.responder.flags & known) | unknown;
}

/// Judges a reset on a flow whose handshake is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// The endpoint will obey it.
    Exact,
    /// In the window: the endpoint answers with a challenge (RFC 5961 §3.2), and an exact one follows if it was meant. Or at the number of
    /// its sender's acknowledged FIN: kernels that have closed send such ones, and some kernels obey them.
    Inexact,
    Refused,
}

/// A reset is exact where the receiver's last acknowledgement points, or directly after the sender's own last byte (when data before
/// it was lost on our far side).
#[inline(always)]
#[must_use]
pub fn reset(sender: &Peer, receiver: &Peer, seq: Seq, inspection: Inspection) -> Reset {
    if sender.has(peer_flags::RELEARN) || receiver.has(peer_flags::RELEARN) {
        return Reset::Inexact;
    }
    let in_window = seq.within(receiver.ack(), receiver.edge());
    let exact = seq == receiver.ack() || seq == sender.end();
    let at_fin = sender.has(peer_flags::FIN_ACKED) && seq.add(1) == sender.end();
    match (exact, in_window, inspection) {
        (true, _, _) | (_, true, Inspection::Tolerant) => Reset::Exact,
        (false, true, _) => Reset::Inexact,
        (false, false, _) if at_fin => Reset::Inexact,
        (false, false, _) => Reset::Refused,
    }
}

/// Ends the flow so many milliseconds from now, if nobody is heard of until then and its own timer is not sooner. The flow may have been
/// idle for longer than that already, and is not over for it.
#[inline(always)]
pub fn shorten(flow: &mut Flow, now: Nanos, most: u32) {
    let timeout = now.since(Nanos(flow.last_seen)).as_millis_saturating().saturating_add(most);
    if flow.timeout > timeout {
        flow.timeout = timeout;
        flow.flags |= flow_flags::SHORTENED;
    }
}
