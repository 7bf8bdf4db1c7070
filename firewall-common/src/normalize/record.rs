//! The stage's second moment: what a flow's record tells of a segment. Pure, for it runs inside the record's lock.

use crate::{
    flow::{Flow, Inspection, Peer, Sender, State, features, peer_flags},
    normalize::checks,
    parse::Descriptor,
    reason::Reason,
    track::{Context, tcp_window, timeout},
    wire::tcp::{Options, flags, marks},
};

/// The MSS of a SYN that announces none (RFC 9293 §3.7.1).
const DEFAULT_MSS_V4: u16 = 536;
const DEFAULT_MSS_V6: u16 = 1220;

/// Checks that concern every segment; the others concern only those with an option of theirs.
pub const WHATEVER_COMES: u32 = checks::EXCEED_MSS | checks::OUT_OF_ORDER | checks::WINDOW_VARIATION;

/// Refuses what the profile does not want on this flow, as its record tells.
#[inline(always)]
pub fn refuse(flow: &mut Flow, context: &Context<'_>) -> Option<Reason> {
    let marked = context.descriptor.options.has(marks::MD5 | marks::SACK);
    if context.checks & WHATEVER_COMES == 0 && !marked {
        return None;
    }
    let options = &context.descriptor.options;
    if context.checks & checks::MD5 != 0 && options.has(marks::MD5) && !may_sign(flow, context) {
        return Some(Reason::TcpMd5);
    }
    if context.descriptor.segment.has(flags::SYN) || flow.state == State::Closed as u8 {
        return None;
    }
    let (from, to) = flow.peers_mut(context.sender);
    if context.checks & checks::SACK != 0 && options.has(marks::SACK) && !sack_fits(from, to, options) {
        return Some(Reason::TcpBadSack);
    }
    by_numbers(flow, context)
}

/// A segment may be signed when both SYNs were (RFC 2385 §2.0). Where a SYN was not seen nobody can tell.
#[inline(always)]
fn may_sign(flow: &Flow, context: &Context<'_>) -> bool {
    let segment = &context.descriptor.segment;
    if (flow.initiator.flags | flow.responder.flags) & peer_flags::MIDSTREAM != 0 {
        return true;
    }
    if segment.has(flags::SYN) {
        // The initiator's SYN asks for it, the responder's answers.
        return matches!(context.sender, Sender::Initiator) || flow.features & features::MD5_INITIATOR != 0;
    }
    const BOTH: u8 = features::MD5_INITIATOR | features::MD5_RESPONDER;
    flow.features & BOTH == BOTH
}

/// A selective acknowledgement is of data that its receiver has sent. Below the acknowledgement it says what came twice (RFC 2883 §4).
#[inline(always)]
fn sack_fits(from: &Peer, to: &Peer, options: &Options) -> bool {
    if options.has(marks::SACK_MALFORMED) {
        return false;
    }
    to.has(peer_flags::RELEARN) || from.has(peer_flags::RELEARN) || !options.sack.after(tcp_window::most_sent(from, to))
}

/// Size, order and window.
#[inline(always)]
fn by_numbers(flow: &mut Flow, context: &Context<'_>) -> Option<Reason> {
    let segment = &context.descriptor.segment;
    let (from, to) = flow.peers_mut(context.sender);
    let wants = |check| context.checks & check != 0;
    // What has not been cut into segments yet, or has been put together again, is longer than any of them.
    if wants(checks::EXCEED_MSS) && !context.merged && to.mss != 0 && segment.length > u32::from(to.mss) {
        return Some(Reason::TcpMssExceeded);
    }
    if (from.flags | to.flags) & (peer_flags::RELEARN | peer_flags::MIDSTREAM) != 0 {
        return None;
    }
    if wants(checks::OUT_OF_ORDER) && segment.end() != segment.seq && segment.seq.after(from.end()) {
        return Some(Reason::TcpOutOfOrder);
    }
    if wants(checks::WINDOW_VARIATION) && takes_back(from, to, context) && is_open(flow.state) {
        flow.state = State::Closed as u8;
        flow.timeout = timeout::of(flow, context.descriptor.key.protocol, context.timeouts);
        return Some(Reason::TcpWindowVariation);
    }
    None
}

const fn is_open(state: u8) -> bool {
    state >= State::Established as u8 && state <= State::LastAck as u8
}

/// True when the segment's right edge lies before one that was granted.
///
/// An old acknowledgement or segment says nothing of today's window (as in RFC 9293 §3.10.7.4, SND.WL1 and SND.WL2); a shift hides what is below its unit (RFC 7323 §2.4). A reset's window has no
/// meaning, and a segment that nothing else would let pass closes nothing.
#[inline(always)]
fn takes_back(from: &Peer, to: &Peer, context: &Context<'_>) -> bool {
    let segment = &context.descriptor.segment;
    let current = segment.ack.within(from.ack(), to.end()) && segment.seq.within(to.ack(), to.edge()) && !segment.seq.before(from.end());
    let unit = 1 << (from.scale & 0x0f);
    let edge = segment.ack.add(tcp_window::window(from, segment)).add(unit - 1);
    current && !segment.has(flags::RST) && edge.before(from.edge())
}

/// How the right edge of the window is kept on a flow: the profile may open it.
#[inline(always)]
#[must_use]
pub const fn edge_inspection(inspection: Inspection, checks: u32) -> Inspection {
    if checks & checks::PAST_WINDOW_ALLOW != 0 { Inspection::Tolerant } else { inspection }
}

/// True for an acknowledgement of unseen data that the profile lets pass, when nothing else is wrong with its segment.
#[inline(always)]
#[must_use]
pub fn tolerates_ack(flow: &mut Flow, context: &Context<'_>) -> bool {
    let edge = edge_inspection(Inspection::from_number(flow.inspection), context.checks);
    let (_, to) = flow.peers_mut(context.sender);
    context.checks & checks::INVALID_ACK_ALLOW != 0 && !tcp_window::refused_past_edge(to, &context.descriptor.segment, edge)
}

/// What a SYN that has passed tells of its sender.
#[inline(always)]
pub fn learn_syn(flow: &mut Flow, sender: Sender, descriptor: &Descriptor) {
    let options = &descriptor.options;
    let (md5, timestamps) = match sender {
        Sender::Initiator => (features::MD5_INITIATOR, features::TIMESTAMPS_INITIATOR),
        Sender::Responder => (features::MD5_RESPONDER, features::TIMESTAMPS_RESPONDER),
    };
    flow.features &= !(md5 | timestamps);
    if options.has(marks::MD5) {
        flow.features |= md5;
    }
    if options.has(marks::TIMESTAMPS) {
        flow.features |= timestamps;
    }
    let default = if descriptor.v4 { DEFAULT_MSS_V4 } else { DEFAULT_MSS_V6 };
    let (from, _) = flow.peers_mut(sender);
    from.mss = if options.has(marks::MSS) && options.mss != 0 { options.mss } else { default };
}
