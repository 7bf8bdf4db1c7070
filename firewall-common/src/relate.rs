//! Stage *relate*: an ICMP error belongs to the flow of the packet it quotes, and passes under that flow's rule or not at all. So path MTU
//! discovery needs no rule, and a forged error needs to know a flow as well as a forged segment does (RFC 5927).
//!
//! Where the flow's sequence numbers are shifted, so are those quoted: they are put back before they are judged, and when the error leaves
//! ([`quote_edit`]).
//!
//! An error changes nothing: it is counted on its flow's rule, and the flow's state, windows and timer are as before. Whatever it says, it
//! is for the endpoint to judge. That is so for a next-hop MTU too low to be true as well: hosts never go below 68 (RFC 1191 §3) or 1280
//! bytes (RFC 8201 §4) for it.
//!
//! An error that quotes no known flow, or a later fragment, which has no ports, is the policy's to judge, as is one that comes in
//! fragments itself.

use crate::{
    account::{Event, NO_RULE, Outcome},
    env::Env,
    flow::{Flow, FlowKey, Inspection, Peer, Sender, features, flow_flags, peer_flags},
    normalize::{changes, quote_edit},
    packet::Packet,
    parse::Kind,
    pipeline::Step,
    reason::Reason,
    rule::ZONE_SELF,
    seq::Seq,
    track::tcp_window,
    verdict::Verdict,
    visit::Visit,
};

/// Judges an ICMP error by the flow it quotes. [`Step::Unknown`] leaves it to the policy.
#[inline(always)]
pub fn relate<P: Packet, E: Env>(packet: &P, env: &E, visit: &Visit, outcome: &mut Outcome) -> Step {
    if visit.descriptor.piece.is_fragment() {
        return Step::Unknown;
    }
    env.aside(visit, |quoted| find(packet, env, quoted, outcome)).unwrap_or(Step::Done)
}

/// Goes with the quoted packet the way it went itself: lookup, and the policy in force if that is a newer one.
#[inline(always)]
fn find<P: Packet, E: Env>(packet: &P, env: &E, quoted: &mut Visit, outcome: &mut Outcome) -> Step {
    if let Err(reason) = packet.quote(&mut quoted.descriptor) {
        *outcome = Outcome::dropped(reason);
        return Step::Done;
    }
    if matches!(quoted.descriptor.kind, Kind::LaterFragment) {
        return Step::Unknown;
    }
    let mut step = env.related(packet, quoted, outcome);
    if matches!(step, Step::Stale) {
        step = env.revalidate(packet, quoted, outcome);
        if matches!(step, Step::Current) {
            quoted.revalidated = true;
            step = env.related(packet, quoted, outcome);
        }
    }
    if !matches!(step, Step::Done) {
        return Step::Unknown;
    }
    if quoted.edits.changes != 0
        && outcome.verdict.passes()
        && let Err(reason) = env.rewrite(packet, quoted)
    {
        *outcome = Outcome::dropped(reason);
    }
    Step::Done
}

/// What the quoted packet's flow says of the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Related {
    verdict: Verdict,
    rule: u16,
    /// The record is another flow's by now, or its time is over.
    gone: bool,
    /// The quoted numbers are not the sender's own.
    shifted: bool,
}

/// The quoted packet's flow, in either table, judges the error. `visit` is the quoted packet's, with the error's arrival.
#[inline(always)]
pub fn related<P: Packet, E: Env>(_packet: &P, env: &E, visit: &mut Visit, outcome: &mut Outcome) -> Step {
    let (found, established) = match env.established(&visit.descriptor.key) {
        Some(found) => (found, true),
        None => match env.embryonic(&visit.descriptor.key) {
            Some(found) => (found, false),
            None => return Step::Unknown,
        },
    };
    let glance = env.glance(&found);
    if glance.generation != visit.settings.generation && !visit.revalidated {
        return Step::Stale;
    }
    quote_edit::prepare(env, visit, glance.features);
    let related = if established {
        env.with_established(&found, |flow| judge(flow, visit))
    } else {
        env.with_embryonic(&found, |flow| judge(flow, visit))
    };
    if related.gone {
        return Step::Unknown;
    }
    if related.shifted {
        visit.edits.changes |= changes::QUOTE;
    }
    *outcome = Outcome::new(related.verdict, related.rule, Event::None);
    Step::Done
}

#[inline(always)]
fn judge(flow: &Flow, visit: &Visit) -> Related {
    if flow.identity != FlowKey::identity(&visit.descriptor.key) || flow.expired(visit.now, visit.settings.timeout_scale) {
        return Related { verdict: Verdict::NoLearn, rule: NO_RULE, gone: true, shifted: false };
    }
    let sender = flow.sender(visit.descriptor.source_is_low);
    let shifted = is_shifted(flow, sender, visit);
    let seq = visit.descriptor.segment.seq.add(if shifted { visit.edits.seq } else { 0 });
    let verdict = if !from_far_side(flow, sender, visit) {
        Verdict::Drop(Reason::IcmpErrorOtherFlow)
    } else if !sent_lately(flow, sender, visit, seq) {
        Verdict::Drop(Reason::IcmpErrorOffWindow)
    } else {
        Verdict::NoLearn
    };
    Related { verdict, rule: flow.rule, gone: false, shifted }
}

/// The quoted packet of a shifted flow has been shifted itself, unless the box complains of what came from its own side: that was to be
/// shifted on its way out, which it had not gone yet.
#[inline(always)]
const fn is_shifted(flow: &Flow, sender: Sender, visit: &Visit) -> bool {
    let came_from = match sender {
        Sender::Initiator => flow.from_zone,
        Sender::Responder => flow.to_zone,
    };
    flow.features & features::RANDOMIZED != 0 && !(visit.arrival.egress && came_from == ZONE_SELF)
}

/// Who complains of a packet has had it: whoever is where it went, or the box itself.
#[inline(always)]
const fn from_far_side(flow: &Flow, sender: Sender, visit: &Visit) -> bool {
    let went_to = match sender {
        Sender::Initiator => flow.to_zone,
        Sender::Responder => flow.from_zone,
    };
    visit.arrival.egress || visit.arrival.zone == went_to
}

/// True when the quoted packet can be one of the flow's. Only TCP's numbers tell, and under bypass nobody keeps them. `seq` is in the
/// sender's own.
#[inline(always)]
fn sent_lately(flow: &Flow, sender: Sender, visit: &Visit, seq: Seq) -> bool {
    if !matches!(visit.descriptor.kind, Kind::Tcp) || flow.inspection == Inspection::Bypass as u8 {
        return true;
    }
    let (from, to, pending) = match sender {
        Sender::Initiator => (&flow.initiator, &flow.responder, flow_flags::PENDING_SYN),
        Sender::Responder => (&flow.responder, &flow.initiator, flow_flags::PENDING_SYN_ACK),
    };
    (flow.has(pending) && seq == Seq(flow.pending)) || in_flight(from, to, seq)
}

/// RFC 5927 §4.1: a segment that its sender may still send again. Below that, as much as its receiver's largest window: an error may come
/// after the acknowledgement of what was sent again meanwhile. The highest number is a segment's without data.
#[inline(always)]
fn in_flight(sender: &Peer, receiver: &Peer, seq: Seq) -> bool {
    // After bypass nobody knows the numbers until both have spoken.
    if (sender.flags | receiver.flags) & peer_flags::RELEARN != 0 {
        return true;
    }
    if !sender.has(peer_flags::SYN) {
        return false;
    }
    let highest = tcp_window::most_sent(receiver, sender);
    if !sender.has(peer_flags::SYN_ACKED) && seq.within(sender.isn(), highest) {
        return true;
    }
    let window = sender.end().sub(receiver.max_window);
    // What `tolerant` let past the window is in flight too.
    let acknowledged = sender.has(peer_flags::SYN_ACKED) && seq.within(receiver.ack(), highest);
    acknowledged || seq.within(window, highest)
}
