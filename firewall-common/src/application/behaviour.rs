//! TCP that is none, told by what it does: a tunnel that puts datagrams into segments and neither sends anything twice nor heeds a window
//! (cTCP on any port, Phantun, udp2raw and their like).
//!
//! What a TCP never does counts as a sign, and enough signs with nothing in between that only a TCP does make the flow `fake-tcp`:
//!
//! | sign | what a TCP does instead |
//! |---|---|
//! | data was lost before Weir, and its receiver has acknowledged past the hole, which nothing has filled | the hole is filled first, and what fills it comes by here |
//! | data begins past the window that its receiver has granted, while some of what was sent is not acknowledged, and passes under bypass | it waits (RFC 9293 §3.8.6) |
//! | an acknowledgement is repeated, and more has been sent than was ever granted with it | the same |
//!
//! Data that comes again takes all signs back: a sender that fills a hole is a TCP. All of it takes the long way by itself
//! ([`crate::track::steady`] takes only what is in order), so an ordinary segment costs nothing for it.
//!
//! What strict inspection drops is no sign, for a dropped packet leaves no trace in any record.
//!
//! A lost segment, ten of them in one window, or one that was lost again when it was repeated, are no sign: a TCP's receiver never
//! acknowledges past a hole. But where part of a connection's packets take a way around Weir, what fills the hole may do so too, and a real TCP
//! may be taken for a fake one. A SYN's options, its window and its numbers tell nothing that another stack could not do, so nobody looks.
//!
//! While they are counted, [`Flow::signs`] has how many there are in its lower bits, and [`Flow::mark`] where the last hole began.

use super::{Application, sights};
use crate::{
    flow::{Flow, Sender, flow_flags, peer_flags},
    seq::Seq,
    visit::Visit,
};

/// Bits of [`Flow::signs`].
const COUNT: u8 = 0x1f;
/// [`Flow::mark`] is where a hole began.
const HOLE: u8 = 1 << 7;
/// Whose data it is all about.
const OF_RESPONDER: u8 = 1 << 6;
/// Bytes past the granted edge that data may begin and still be the flow's own: an attacker who guesses is rarely as near.
const NEAR: u32 = 65_536;
/// Bytes past the granted edge that are no sign: a probe of a closed window, or a last segment that did not fit.
const SLACK: u32 = 2_048;

/// Takes what a segment of an established flow shows. `enough`: how many signs make fake TCP.
#[inline(always)]
pub fn take(flow: &mut Flow, sender: Sender, visit: &Visit, enough: u8) {
    // The numbers of a flow that was met in mid-stream, or comes from bypass, are guesses: what seems a hole may have passed long ago. Of one whose
    // other side was never heard there are none.
    let unknown = (flow.initiator.flags | flow.responder.flags) & (peer_flags::RELEARN | peer_flags::MIDSTREAM);
    if unknown != 0 || !flow.has(flow_flags::REPLIED) {
        return;
    }
    let sight = &visit.sight;
    let repeats = sight.has(sights::REPEATS);
    // A repeated acknowledgement tells of the other side's data.
    let of_responder = matches!(sender, Sender::Responder) != repeats;
    let owner = if of_responder { OF_RESPONDER } else { 0 };
    let others = flow.signs & OF_RESPONDER != owner;
    if others && flow.signs & COUNT != 0 {
        // One side at a time: the one that signs were first seen of.
        return;
    }
    if sight.has(sights::AGAIN) {
        if !others {
            flow.signs = 0;
        }
        return;
    }
    let (from, to) = flow.peers_mut(sender);
    let (own_end, edge) = (to.end(), from.edge());
    let segment = &visit.descriptor.segment;
    let is_sign = if repeats {
        own_end.after(edge.add(SLACK))
    } else if sight.has(sights::PAST_WINDOW) {
        let end = Seq(visit.numbers.end);
        segment.seq.within(end, end.add(NEAR)) && Seq(visit.numbers.other_ack).before(end)
    } else {
        hole(flow, visit, if others { 0 } else { flow.signs }, owner)
    };
    if is_sign {
        if others {
            flow.signs = owner;
        }
        flow.signs = flow.signs & !COUNT | (flow.signs & COUNT).wrapping_add(1) & COUNT;
        if flow.signs & COUNT >= enough {
            flow.application = Application::FakeTcp as u8;
            flow.signs = 0;
            flow.mark = 0;
        }
    }
}

/// A hole opens where the sender's data ended; `signs` are those of its own side, `owner`. True when an earlier one has been acknowledged over meanwhile.
#[inline(always)]
fn hole(flow: &mut Flow, visit: &Visit, signs: u8, owner: u8) -> bool {
    let open = signs & HOLE != 0;
    let passed_over = open && Seq(visit.numbers.other_ack).after(Seq(flow.mark));
    if !open || passed_over {
        flow.signs = signs & COUNT | HOLE | owner;
        flow.mark = visit.numbers.end;
    }
    passed_over
}
