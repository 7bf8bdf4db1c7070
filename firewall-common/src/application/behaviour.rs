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
//! | twice in a row data comes again at one number, and the second time it begins with other bytes | what has a number keeps it (RFC 9293 §3.4) |
//!
//! Data that comes again takes all signs back, unless it is the last of these: a sender that fills a hole is a TCP. All of it takes the long way
//! by itself ([`crate::track::steady`] takes only what is in order), so an ordinary segment costs nothing for it.
//!
//! What strict inspection drops is no sign, for a dropped packet leaves no trace in any record.
//!
//! A lost segment, ten of them in one window, or one that was lost again when it was repeated, are no sign: a TCP's receiver never
//! acknowledges past a hole. But where part of a connection's packets take a way around Weir, what fills the hole may do so too, and a real TCP
//! may be taken for a fake one. A SYN's options, its window and its numbers tell nothing that another stack could not do, so nobody looks.
//!
//! Of two segments at one number only the first [`COMPARED`] bytes are compared: a TCP may cut its stream anew when it repeats. Where a sender
//! goes from one number to the next with each of them, as one does that fills holes, nothing is counted.
//!
//! While they are counted, [`Flow::signs`] has how many there are in its lower bits, and [`Flow::mark`] where the last hole began, or a digest of
//! what came again.

use super::{Application, sights};
use crate::{
    env::Env,
    flow::{Flow, Sender, flow_flags, peer_flags},
    packet::Packet,
    parse::Descriptor,
    seq::Seq,
    verifier::load_u64,
    visit::Visit,
};

/// Bytes of data that comes again which are held against what came before it.
pub const COMPARED: u32 = 32;

/// Bits of [`Flow::signs`].
const COUNT: u8 = 0x1f;
/// [`Flow::mark`] is where a hole began.
const HOLE: u8 = 1 << 7;
/// Whose data it is all about.
const OF_RESPONDER: u8 = 1 << 6;
/// [`Flow::mark`] is of what came again: [`NUMBER`], [`ANEW`] and [`DIGEST`].
const CAME_AGAIN: u8 = 1 << 5;
/// A digest of the number it came again at.
const NUMBER: u32 = 0xffff_0000;
/// What came again before had another number.
const ANEW: u32 = 1 << 15;
/// A digest of its first bytes, never 0.
const DIGEST: u32 = ANEW - 1;
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
    if others && sight.has(sights::AGAIN) && flow.signs & (HOLE | CAME_AGAIN) != 0 {
        return;
    }
    let (from, to) = flow.peers_mut(sender);
    let (own_end, edge) = (to.end(), from.edge());
    let segment = &visit.descriptor.segment;
    let is_sign = if sight.has(sights::AGAIN) {
        again(flow, segment.seq, sight.tag.into(), owner)
    } else if repeats {
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

/// Data comes again at a number; `digest` is of its first bytes, 0 for unknown. True when it is not what came again there before.
#[inline(always)]
fn again(flow: &mut Flow, seq: Seq, digest: u32, owner: u8) -> bool {
    let (signs, before) = (flow.signs, flow.mark);
    let known = signs & CAME_AGAIN != 0;
    if digest == 0 {
        // Too short to tell: a probe, or the end of something.
        if !known {
            flow.signs = 0;
        }
        return false;
    }
    if !known {
        flow.signs = CAME_AGAIN | owner;
        flow.mark = of_number(seq) | ANEW | digest;
        return false;
    }
    if before & NUMBER != of_number(seq) {
        if before & ANEW != 0 {
            flow.signs = CAME_AGAIN | owner;
        }
        flow.mark = of_number(seq) | ANEW | digest;
        return false;
    }
    if before & DIGEST == digest {
        flow.signs = 0;
        return false;
    }
    flow.mark = of_number(seq) | digest;
    true
}

/// Other numbers of one connection are a few segments away: all bits of the difference must count.
#[inline(always)]
const fn of_number(seq: Seq) -> u32 {
    seq.0.wrapping_mul(0x9e37_79b1) & NUMBER
}

/// A digest of the first bytes of a segment's data, or 0 where they cannot be had.
#[inline(always)]
pub(super) fn digest<P: Packet, E: Env>(packet: &P, env: &E, descriptor: &Descriptor) -> u16 {
    let length = descriptor.segment.length;
    if length < COMPARED || descriptor.piece.is_fragment() {
        return 0;
    }
    let at = descriptor.at.wrapping_add(descriptor.length).wrapping_sub(length);
    let digest = env.with_room(|room| {
        if !packet.copy(at, &mut room.header, COMPARED) {
            return 0;
        }
        let (a, b) = (load_u64::<0, _>(&room.header), load_u64::<8, _>(&room.header));
        let (c, d) = (load_u64::<16, _>(&room.header), load_u64::<24, _>(&room.header));
        let mixed = (a ^ b.rotate_left(13) ^ c.rotate_left(29) ^ d.rotate_left(43)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 48) as u32 & DIGEST | 1
    });
    digest.unwrap_or(0) as u16
}
