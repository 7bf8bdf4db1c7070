//! The stage's first moment: a segment is refused before its flow's record has been changed, or it is noted what is to be changed in it.

use crate::{
    env::Env,
    normalize::{HEADER_ROOM, Profile, changes, checks, checksum, history, randomize, retransmission},
    packet::{OPTIONS_ROOM, Packet, missing},
    reason::Reason,
    visit::Visit,
    wire::{
        options,
        tcp::{self, flags, kind, marks},
    },
};

/// Offset of the urgent pointer in a TCP header.
const URGENT_POINTER: u32 = 18;

/// Everything the profile wants of a segment before its record is looked at.
///
/// # Errors
/// The reason to drop the segment for.
#[inline(always)]
pub fn check<P: Packet, E: Env>(packet: &P, env: &E, visit: &mut Visit) -> Result<(), Reason> {
    by_options(packet, env, visit)?;
    by_checksum(packet, visit)?;
    by_header(packet, visit)?;
    randomize::translate(env, visit);
    history::check(env, visit)?;
    retransmission::check(packet, env, visit)
}

/// A checksum is verified where the segment came in from a network and is whole: what the box itself sends has yet to get its own, and
/// a first fragment has only part of what was summed.
#[inline(always)]
fn by_checksum<P: Packet>(packet: &P, visit: &Visit) -> Result<(), Reason> {
    let control = visit.descriptor.segment.flags & (flags::SYN | flags::FIN | flags::RST) != 0;
    let wanted = visit.edits.wants(checks::CHECKSUM_ALL) || (control && visit.edits.wants(checks::CHECKSUM_CONTROL));
    if !wanted || visit.arrival.egress || visit.descriptor.piece.is_fragment() {
        return Ok(());
    }
    if checksum::acceptable(packet, &visit.descriptor, visit.software) { Ok(()) } else { Err(Reason::BadTcpChecksum) }
}

/// What the fixed part of the header tells.
#[inline(always)]
fn by_header<P: Packet>(packet: &P, visit: &mut Visit) -> Result<(), Reason> {
    let segment = &visit.descriptor.segment;
    if segment.has(flags::SYN) && segment.length > 0 {
        if segment.has(flags::ACK) {
            if visit.edits.wants(checks::SYNACK_DATA) {
                return Err(Reason::TcpSynAckData);
            }
        } else if visit.edits.wants(checks::SYN_DATA) {
            return Err(Reason::TcpSynData);
        }
    }
    if visit.descriptor.options.reserved != 0 {
        if visit.edits.wants(checks::RESERVED_DROP) {
            return Err(Reason::TcpReservedSet);
        }
        if visit.edits.wants(checks::RESERVED_CLEAR) {
            visit.edits.changes |= changes::RESERVED;
        }
    }
    if visit.edits.wants(checks::URGENT_CLEAR) {
        let at = visit.descriptor.at + URGENT_POINTER;
        let pointer: &[u8; 2] = packet.read(at).ok_or_else(|| missing(packet, at + 2))?;
        if *pointer != [0; 2] || visit.descriptor.segment.has(flags::URG) {
            visit.edits.changes |= changes::URGENT;
        }
    }
    Ok(())
}

/// What options a segment has, beside the profile's lists.
struct Listed<'a> {
    profile: &'a Profile,
    syn: bool,
    refused: bool,
    cleared: bool,
}

impl options::Visit for Listed<'_> {
    #[inline(always)]
    fn option(&mut self, kind: u8, _length: u8, _buffer: &[u8; OPTIONS_ROOM], _at: u32) {
        self.refused |= self.profile.options_drop.contains(kind);
        self.cleared |= is_cleared(self.profile, kind, self.syn);
    }
}

/// True for an option that is overwritten: the profile says so, or it has a meaning only in a SYN and stands elsewhere (RFC 9293 §3.2,
/// RFC 7323 §2.2, RFC 2018 §2).
#[inline(always)]
#[must_use]
pub const fn is_cleared(profile: &Profile, option: u8, syn: bool) -> bool {
    let misplaced = !syn && matches!(option, kind::MSS | kind::WINDOW_SCALE | kind::SACK_PERMITTED);
    misplaced || profile.options_clear.contains(option)
}

/// Options and the MSS among them.
#[inline(always)]
fn by_options<P: Packet, E: Env>(packet: &P, env: &E, visit: &mut Visit) -> Result<(), Reason> {
    if !visit.edits.wants(checks::OPTIONS | checks::MSS) {
        return Ok(());
    }
    let Some(profile) = env.profile(visit.slot(), visit.edits.profile) else { return Err(Reason::NoPolicy) };
    let descriptor = &visit.descriptor;
    let syn = descriptor.segment.has(flags::SYN);
    if visit.edits.wants(checks::MSS) && syn && descriptor.options.has(marks::MSS) {
        if descriptor.options.mss < profile.mss_least {
            return Err(Reason::TcpMssTooSmall);
        }
        if profile.mss_most != 0 && descriptor.options.mss > profile.mss_most {
            visit.edits.changes |= changes::MSS;
        }
    }
    if !visit.edits.wants(checks::OPTIONS) {
        return Ok(());
    }
    let listed = if descriptor.options.has(marks::LISTED) {
        listed(packet, env, visit, profile)?
    } else if descriptor.options.has(marks::TIMESTAMPS) {
        // Timestamps alone, as nearly every segment of today has them.
        (profile.options_drop.contains(kind::TIMESTAMPS), profile.options_clear.contains(kind::TIMESTAMPS))
    } else {
        (false, false)
    };
    if listed.0 {
        return Err(Reason::TcpOption);
    }
    if listed.1 {
        visit.edits.changes |= changes::OPTIONS;
    }
    Ok(())
}

/// Whether an option of the list is refused, and whether one is cleared.
#[inline(always)]
fn listed<P: Packet, E: Env>(packet: &P, env: &E, visit: &Visit, profile: &Profile) -> Result<(bool, bool), Reason> {
    const { assert!(HEADER_ROOM == OPTIONS_ROOM) };
    let at = visit.descriptor.at + tcp::HEADER;
    let length = visit.descriptor.length.wrapping_sub(visit.descriptor.segment.length).wrapping_sub(tcp::HEADER);
    let syn = visit.descriptor.segment.has(flags::SYN);
    let found = env.with_room(|room| {
        if length > options::MOST || !packet.copy(at, &mut room.header, length) {
            return None;
        }
        let mut listed = Listed { profile, syn, refused: false, cleared: false };
        options::walk_by(&mut room.place.at, &room.header, length, &mut listed).then_some((listed.refused, listed.cleared))
    });
    found.flatten().ok_or(Reason::BadTcpOptions)
}
