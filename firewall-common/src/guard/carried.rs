//! What a packet carries: ESP, AH, IKE, or something that a guard refuses.

use super::{Look, Saw, wants};
use crate::{
    env::Env,
    packet::Packet,
    parse::Kind,
    reason::Reason,
    verifier::opaque,
    visit::Visit,
    wire::{
        be32,
        ctcp::{self, Carried, Trailer},
        ike,
        ipsec::{AH_HEADER, AH_SPI, ESP_HEADER, ESP_LEAST, FIRST_SPI, NAT_T, NON_ESP_MARKER},
        udp,
    },
};

/// Reads what a packet carries; SPI and sequence number go into `visit.guard`.
///
/// # Errors
/// [`Reason::GuardNoTrailer`], [`Reason::GuardBadTrailer`], [`Reason::GuardEspShort`], [`Reason::GuardEspSpi`],
/// [`Reason::GuardIkeBad`].
#[inline(always)]
pub(super) fn read<P: Packet, E: Env>(packet: &P, env: &E, visit: &mut Visit) -> Result<Saw, Reason> {
    match visit.descriptor.kind {
        Kind::Tcp => by_tcp(packet, env, visit),
        Kind::Udp => by_udp(packet, visit),
        _ => match visit.descriptor.security() {
            Some(security) => {
                (visit.guard.spi, visit.guard.sequence) = (security.spi, security.sequence.0);
                Ok(Saw::Security)
            }
            None => Err(Reason::GuardEspShort),
        },
    }
}

/// A segment without data says nothing. One with data has the trailer, where that is asked for, and an IPsec packet before it.
#[inline(always)]
fn by_tcp<P: Packet, E: Env>(packet: &P, env: &E, visit: &mut Visit) -> Result<Saw, Reason> {
    let data = visit.descriptor.segment.length;
    if data == 0 {
        return Ok(Saw::Nothing);
    }
    let at = visit.descriptor.at.wrapping_add(visit.descriptor.length.wrapping_sub(data));
    if visit.guard.wants & wants::CTCP == 0 {
        // Nothing but its first word tells the one from the other: IKE comes with its UDP header, from port 500 to port 500.
        return if is_ike_over_udp(packet, at) { ike_with_ports(packet, visit, at, data) } else { esp(packet, &mut visit.guard, at, data) };
    }
    let carried = trailer(packet, env, visit)?;
    let rest = data.wrapping_sub(ctcp::LENGTH);
    match carried {
        Carried::Ike => ike_with_ports(packet, visit, at, rest),
        Carried::Esp => esp(packet, &mut visit.guard, at, rest),
        Carried::Ah if rest < AH_HEADER => Err(Reason::GuardEspShort),
        Carried::Ah => esp(packet, &mut visit.guard, at + AH_SPI, rest),
    }
}

/// What the trailer says the segment carries.
#[inline(always)]
fn trailer<P: Packet, E: Env>(packet: &P, env: &E, visit: &Visit) -> Result<Carried, Reason> {
    let descriptor = &visit.descriptor;
    // The trailer of a datagram in fragments is in the last one.
    if descriptor.piece.is_fragment() || descriptor.segment.length < ctcp::LENGTH + ctcp::LEAST {
        return Err(Reason::GuardNoTrailer);
    }
    let at = descriptor.at.wrapping_add(descriptor.length).wrapping_sub(ctcp::LENGTH);
    // It lies beyond what can be read in place, so it is copied.
    let found = env.with_room(|room| {
        if !packet.copy(at, &mut room.header, ctcp::LENGTH) {
            return Err(Reason::GuardNoTrailer);
        }
        let Some(bytes) = room.header.first_chunk::<{ ctcp::LENGTH as usize }>() else { return Err(Reason::GuardNoTrailer) };
        let magic = be32::<8, _>(bytes) == u32::from_be_bytes([ctcp::MAGIC[0], ctcp::MAGIC[1], ctcp::MAGIC[2], ctcp::MAGIC[3]]);
        match Trailer::parse(bytes, &ctcp::MAGIC) {
            Some(trailer) => Ok(trailer.carried),
            None if magic => Err(Reason::GuardBadTrailer),
            None => Err(Reason::GuardNoTrailer),
        }
    });
    found.unwrap_or(Err(Reason::GuardNoTrailer))
}

/// ESP in UDP (RFC 3948), Cisco's older encapsulation, and IKE.
#[inline(always)]
fn by_udp<P: Packet>(packet: &P, visit: &mut Visit) -> Result<Saw, Reason> {
    let (source, destination) = (visit.descriptor.source_port(), visit.descriptor.destination_port());
    let (at, data) = (visit.descriptor.at.wrapping_add(udp::HEADER), visit.descriptor.length.wrapping_sub(udp::HEADER));
    if source == ike::PORT || destination == ike::PORT {
        return message(packet, visit, at, data);
    }
    if data == 1 {
        // The one byte that keeps a translation alive (RFC 3948 §2.3). Read with the one before it: of a single byte's bound the compiler makes
        // a comparison that tells the verifier nothing.
        return match peek(packet, at.wrapping_sub(1)) {
            Some([_, 0xff]) => Ok(Saw::Nothing),
            _ => Err(Reason::GuardEspShort),
        };
    }
    let nat_t = source == NAT_T || destination == NAT_T;
    let marked = nat_t && data >= NON_ESP_MARKER && matches!(peek::<4, _>(packet, at), Some([0, 0, 0, 0]));
    if marked {
        return message(packet, visit, at + NON_ESP_MARKER, data - NON_ESP_MARKER);
    }
    esp(packet, &mut visit.guard, at, data)
}

/// Bytes of the packet. Their offset is a sum here, of which the compiler would compare one part with what is left of the other; the verifier
/// of kernel 6.1 wants the sum itself compared.
#[inline(always)]
fn peek<const N: usize, P: Packet>(packet: &P, at: u32) -> Option<&[u8; N]> {
    packet.read(opaque(at))
}

/// SPI and sequence number at `at`, in a packet with `length` bytes left.
#[inline(always)]
fn esp<P: Packet>(packet: &P, look: &mut Look, at: u32, length: u32) -> Result<Saw, Reason> {
    if length < ESP_LEAST {
        return Err(Reason::GuardEspShort);
    }
    let Some(header) = peek::<{ ESP_HEADER as usize }, _>(packet, at) else { return Err(Reason::GuardEspShort) };
    (look.spi, look.sequence) = (be32::<0, _>(header), be32::<4, _>(header));
    if look.spi < FIRST_SPI { Err(Reason::GuardEspSpi) } else { Ok(Saw::Security) }
}

/// True for a UDP header between IKE's own ports.
#[inline(always)]
fn is_ike_over_udp<P: Packet>(packet: &P, at: u32) -> bool {
    peek::<4, _>(packet, at).is_some_and(ike::has_ports)
}

/// An IKE message with the UDP header that IPsec over TCP leaves before it.
#[inline(always)]
fn ike_with_ports<P: Packet>(packet: &P, visit: &Visit, at: u32, length: u32) -> Result<Saw, Reason> {
    if length < udp::HEADER || !is_ike_over_udp(packet, at) {
        return Err(Reason::GuardIkeBad);
    }
    message(packet, visit, at + udp::HEADER, length - udp::HEADER)
}

/// An IKE message in `length` bytes. Something may follow it: see [`ike`] for what.
#[inline(always)]
fn message<P: Packet>(packet: &P, visit: &Visit, at: u32, length: u32) -> Result<Saw, Reason> {
    let Some(header) = peek::<{ ike::HEADER as usize }, _>(packet, at) else { return Err(Reason::GuardIkeBad) };
    // A first fragment has only part of what the message says it is.
    if ike::fits(header, length, !visit.descriptor.piece.is_fragment()) { Ok(Saw::Ike) } else { Err(Reason::GuardIkeBad) }
}
