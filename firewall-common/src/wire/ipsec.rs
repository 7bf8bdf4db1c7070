//! ESP (RFC 4303), AH (RFC 4302), and ESP in UDP (RFC 3948).
//!
//! A security association has one direction, its SPI is the receiver's choice, and a new one replaces it now and then: the SPI cannot be
//! part of a flow's key. It is read so that a flow can show it.

use crate::{
    packet::{Packet, missing},
    parse::Descriptor,
    reason::Reason,
    seq::Seq,
    wire::{be32, protocol},
};

/// Bytes of ESP before its payload: SPI and sequence number.
pub const ESP_HEADER: u32 = 8;
/// Bytes of AH before its integrity value (RFC 4302 §2).
pub const AH_HEADER: u32 = 12;
/// Where in AH its SPI lies, and behind it the sequence number.
pub const AH_SPI: u32 = 4;
/// ESP is padded to whole words (RFC 4303 §2.4), and has two bytes of trailer, which are in the last of them.
pub const ESP_LEAST: u32 = ESP_HEADER + 4;
/// SPIs below are reserved (RFC 4303 §2.1).
pub const FIRST_SPI: u32 = 256;

/// IKE and ESP through address translation (RFC 3948 §2.1).
pub const NAT_T: u16 = 4500;
/// Bytes of zeros that tell an IKE message from ESP there (RFC 3948 §2.2).
pub const NON_ESP_MARKER: u32 = 4;
/// Cisco's older encapsulation: ESP in UDP without IKE beside it.
const IPSEC_OVER_UDP: u16 = 10_000;

/// What a packet says of its security association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Security {
    pub spi: u32,
    /// The sequence number, of an extended one its lower half (RFC 4303 §2.2.1).
    pub sequence: Seq,
}

/// Reads an ESP or AH header.
///
/// # Errors
/// [`Reason::InvalidIpsecHeader`], [`Reason::IpsecSpiZero`]; [`Reason::FragmentTiny`] in a first fragment.
#[inline(always)]
pub fn parse<P: Packet>(packet: &P, descriptor: &mut Descriptor) -> Result<(), Reason> {
    let authentication = descriptor.key.protocol == protocol::AH;
    let header = if authentication { AH_HEADER } else { ESP_HEADER };
    if descriptor.length < header {
        return Err(descriptor.short(Reason::InvalidIpsecHeader));
    }
    let at = descriptor.at;
    let mut from = at;
    if authentication {
        let h: &[u8; 4] = packet.read(at).ok_or_else(|| missing(packet, at + 4))?;
        let length = (u32::from(h[1]) + 2) * 4;
        if length < AH_HEADER {
            return Err(Reason::InvalidIpsecHeader);
        }
        if length > descriptor.length {
            return Err(descriptor.short(Reason::InvalidIpsecHeader));
        }
        from = at + AH_SPI;
    }
    let h: &[u8; 8] = packet.read(from).ok_or_else(|| missing(packet, from + 8))?;
    let security = Security { spi: be32::<0, _>(h), sequence: Seq(be32::<4, _>(h)) };
    if security.spi == 0 {
        return Err(Reason::IpsecSpiZero);
    }
    descriptor.set_security(security);
    Ok(())
}

/// Reads ESP in UDP, where it is that.
///
/// On port 4500 four zero bytes mark IKE, and a single byte 0xff keeps a translation alive (RFC 3948 §2.2, §2.3): both, and whatever else
/// comes there, are UDP and no more. It is not refused, for a host may have been given that port for anything else. On port 10000 there is
/// nothing to tell ESP by but its shape.
#[inline(always)]
pub fn parse_udp<P: Packet>(packet: &P, descriptor: &mut Descriptor, source: u16, destination: u16) {
    let nat_t = source == NAT_T || destination == NAT_T;
    if !nat_t && source != IPSEC_OVER_UDP && destination != IPSEC_OVER_UDP {
        return;
    }
    if !may_be_esp(descriptor.length - super::udp::HEADER, descriptor.piece.is_fragment()) {
        return;
    }
    let Some(h) = packet.read::<8>(descriptor.at + super::udp::HEADER) else { return };
    if let Some(security) = association(h) {
        descriptor.set_security(security);
    }
}

/// True for as many bytes of a datagram's data as a packet of ESP can have. A first fragment ends anywhere.
#[inline(always)]
#[must_use]
pub const fn may_be_esp(length: u32, fragment: bool) -> bool {
    length >= ESP_LEAST && (fragment || length.is_multiple_of(4))
}

/// What bytes say that have the form of ESP's header.
#[inline(always)]
#[must_use]
pub fn association(header: &[u8; 8]) -> Option<Security> {
    let security = Security { spi: be32::<0, _>(header), sequence: Seq(be32::<4, _>(header)) };
    (security.spi >= FIRST_SPI && security.sequence.0 != 0).then_some(security)
}
