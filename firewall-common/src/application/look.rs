//! A look at a packet's data: what of it tells an application. Nothing is decided here, and no flow is known.
//!
//! The data's first bytes, and the last ones of a segment, are copied: where they lie is no matter then, nor whether a driver or a stack has them in
//! a second buffer.

use super::{Application, Applications, has_data, of_protocol, settings::lists, sights};
use crate::{
    env::Env,
    normalize::HEADER_ROOM,
    packet::Packet,
    parse::Kind,
    verifier,
    visit::Visit,
    wire::{
        be16, be32,
        ctcp::{self, Carried, Trailer},
        ike,
        ipsec::{self, AH_HEADER, FIRST_SPI, NAT_T, NON_ESP_MARKER},
        udp,
    },
};

/// Bytes from the beginning that are looked at: the longest is IKE's header behind its mark (RFC 3948 §2.2).
const HEAD: u32 = NON_ESP_MARKER + ike::HEADER;
/// Bytes of the prefix of IKE over TCP, `IKETCP` (RFC 9329 §3).
const PREFIX: u32 = 6;
/// Bytes until behind the first message's length, which counts itself, and the mark that it is IKE (RFC 9329 §4).
const MARKED: u32 = PREFIX + 2 + NON_ESP_MARKER;

/// Looks at a packet whose flow may be one to recognise, and notes what it sees in [`Visit::sight`].
#[inline(always)]
pub fn look<P: Packet, E: Env>(packet: &P, env: &E, visit: &mut Visit) {
    let Some(settings) = env.applications(visit.slot()) else { return };
    match visit.descriptor.kind {
        Kind::Tcp => tcp(packet, env, settings, visit),
        Kind::Udp => udp(packet, env, settings, visit),
        _ => visit.sight.application = of_protocol(visit.descriptor.key.protocol),
    }
}

/// A copy of the first bytes of `length` at `at`, and zeros where they end; false when they cannot be read.
#[inline(always)]
fn copy_head<P: Packet>(packet: &P, at: u32, length: u32, head: &mut [u8; HEADER_ROOM]) -> bool {
    verifier::clear(head);
    packet.copy(at, head, if length < HEAD { length } else { HEAD })
}

#[inline(always)]
fn tcp<P: Packet, E: Env>(packet: &P, env: &E, settings: &Applications, visit: &mut Visit) {
    let descriptor = &visit.descriptor;
    let (source, destination) = (descriptor.source_port(), descriptor.destination_port());
    let ctcp = lists(&settings.ctcp_ports, source, destination);
    let ike_tcp = lists(&settings.ike_tcp_ports, source, destination);
    if !ctcp && !ike_tcp {
        return;
    }
    visit.sight.seen |= sights::CANDIDATE;
    // Of a segment in fragments this is not all, and its end is elsewhere.
    if !has_data(descriptor) || descriptor.piece.is_fragment() {
        return;
    }
    visit.sight.seen |= sights::LOOKED;
    let length = descriptor.segment.length;
    let end = descriptor.at.wrapping_add(descriptor.length);
    // What a stack has yet to cut, or a device has put together, may be of several segments: the trailer is the last one's.
    let whole = !visit.arrival.egress && !visit.software;
    let seen = env.with_room(|room| {
        let mut trailer = 0;
        if ctcp
            && length >= ctcp::LENGTH + ctcp::LEAST
            && packet.copy(end.wrapping_sub(ctcp::LENGTH), &mut room.header, ctcp::LENGTH)
            && let Some(bytes) = room.header.first_chunk()
            && let Some(found) = Trailer::parse(bytes, &settings.ctcp_magic)
        {
            trailer = (found.carried as u32) << 16 | u32::from(found.sequence);
        }
        if !copy_head(packet, end.wrapping_sub(length), length, &mut room.header) {
            return NOTHING;
        }
        if ike_tcp && begins_ike_tcp(&room.header, length) {
            return IKE_TCP;
        }
        if carries(&room.header, length.wrapping_sub(ctcp::LENGTH), trailer >> 16, whole) { trailer } else { NOTHING }
    });
    let seen = seen.unwrap_or(NOTHING);
    if seen == IKE_TCP {
        visit.sight.application = Application::IkeTcp as u8;
        visit.sight.seen |= sights::GO_ON;
    } else if seen != NOTHING {
        visit.sight.number = seen as u8;
        visit.sight.seen |= sights::SIGN;
    } else if !ctcp {
        // The stream's beginning may be yet to come.
        visit.sight.seen |= sights::GO_ON;
    }
}

// What a segment shows. A number, for an enum with data would be undefined where it has none, which the verifier lets nobody keep: otherwise
// it is a trailer's protocol, which is not 0, and below it its number.
const NOTHING: u32 = 0;
const IKE_TCP: u32 = 1;

/// True for a stream that begins as IKE over TCP does, as far as the segment goes.
#[inline(always)]
fn begins_ike_tcp(head: &[u8; HEADER_ROOM], length: u32) -> bool {
    let prefix = be32::<0, _>(head) == u32::from_be_bytes(*b"IKET") && be16::<4, _>(head) == u16::from_be_bytes(*b"CP");
    // The first message is IKE, for there is no association yet.
    let message = length < MARKED || (u32::from(be16::<6, _>(head)) >= 2 + NON_ESP_MARKER + ike::HEADER && be32::<8, _>(head) == 0);
    length >= PREFIX && prefix && message
}

/// True when a segment begins with what its trailer says, a [`Carried`] as a number; `length` bytes come before that.
#[inline(always)]
fn carries(head: &[u8; HEADER_ROOM], length: u32, carried: u32, whole: bool) -> bool {
    let Some(first) = head.first_chunk() else { return false };
    if carried == Carried::Esp as u32 {
        be32::<0, _>(head) >= FIRST_SPI && be32::<4, _>(head) != 0
    } else if carried == Carried::Ike as u32 {
        ike::is_behind_udp(first, length, whole)
    } else if carried == Carried::Ah as u32 {
        // It counts its words, less two.
        let said = (u32::from(head[1]) + 2) * 4;
        said >= AH_HEADER && said <= length && be32::<4, _>(head) >= FIRST_SPI && be32::<8, _>(head) != 0
    } else {
        false
    }
}

#[inline(always)]
fn udp<P: Packet, E: Env>(packet: &P, env: &E, settings: &Applications, visit: &mut Visit) {
    let descriptor = &visit.descriptor;
    let (source, destination) = (descriptor.source_port(), descriptor.destination_port());
    let ike = source == ike::PORT || destination == ike::PORT;
    let nat_t = source == NAT_T || destination == NAT_T;
    if !ike && !nat_t && !lists(&settings.ipsec_udp_ports, source, destination) {
        return;
    }
    let at = descriptor.at.wrapping_add(udp::HEADER);
    let length = descriptor.length.wrapping_sub(udp::HEADER);
    let fragment = descriptor.piece.is_fragment();
    let sight = &mut visit.sight;
    if !ike {
        sight.seen |= sights::CANDIDATE;
    }
    let _ = env.with_room(|room| {
        if !copy_head(packet, at, length, &mut room.header) {
            return;
        }
        let (Some(first), Some(message), Some(marked)) = (
            room.header.first_chunk::<8>(),
            room.header.first_chunk(),
            room.header.last_chunk::<{ HEADER_ROOM - NON_ESP_MARKER as usize }>().and_then(|behind| behind.first_chunk()),
        ) else {
            return;
        };
        if ike {
            if ike::is_header(message, length, !fragment) {
                sight.application = Application::Ike as u8;
            }
            return;
        }
        sight.seen |= sights::LOOKED;
        match ipsec::association(first) {
            Some(security) if ipsec::may_be_esp(length, fragment) => {
                sight.seen |= sights::SIGN;
                sight.number = security.sequence.0 as u8;
                sight.tag = digest(security.spi);
            }
            // A keep-alive: one byte on port 4500 (RFC 3948 §2.3), and on the other ports nobody says what.
            _ if !nat_t || length <= 1 => sight.seen |= sights::GO_ON,
            _ if be32::<0, _>(&room.header) == 0 && ike::is_header(marked, length.wrapping_sub(NON_ESP_MARKER), !fragment) => {
                sight.application = Application::NatT as u8;
            }
            _ => {}
        }
    });
}

/// Two bytes of an SPI, never 0.
#[inline(always)]
const fn digest(spi: u32) -> u16 {
    (spi ^ spi >> 16) as u16 | 1
}
