//! Ethernet II, with up to two VLAN tags (IEEE 802.1Q, 802.1ad).

use crate::{packet::Packet, reason::Reason, wire::be16};

/// Bytes of an untagged header.
pub const HEADER: u32 = 14;
/// Tags that are read: a customer's in a provider's.
pub const VLAN_TAGS: u32 = 2;

pub mod ether_type {
    pub const IPV4: u16 = 0x0800;
    pub const ARP: u16 = 0x0806;
    pub const VLAN: u16 = 0x8100;
    pub const IPV6: u16 = 0x86dd;
    pub const SLOW_PROTOCOLS: u16 = 0x8809;
    pub const EAPOL: u16 = 0x888e;
    pub const PROVIDER_VLAN: u16 = 0x88a8;
    pub const LLDP: u16 = 0x88cc;
    /// Values below this are an 802.3 length, not a type.
    pub const FIRST: u16 = 0x0600;
}

/// What a frame carries, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    pub ether_type: u16,
    /// Offset of the first byte after the link-layer header.
    pub at: u32,
}

/// Reads the link-layer header and its tags.
///
/// # Errors
/// [`Reason::FrameTooShort`], [`Reason::VlanDepth`].
#[inline(always)]
pub fn parse<P: Packet>(packet: &P) -> Result<Payload, Reason> {
    let header: &[u8; HEADER as usize] = packet.read(0).ok_or(Reason::FrameTooShort)?;
    let mut payload = Payload { ether_type: be16::<12, _>(header), at: HEADER };
    if !is_tag(payload.ether_type) {
        return Ok(payload);
    }
    payload = inner(packet, payload.at)?;
    if is_tag(payload.ether_type) {
        payload = inner(packet, payload.at)?;
    }
    if is_tag(payload.ether_type) { Err(Reason::VlanDepth) } else { Ok(payload) }
}

/// After a tag protocol identifier come two bytes of tag and the next type.
#[inline(always)]
fn inner<P: Packet>(packet: &P, at: u32) -> Result<Payload, Reason> {
    let tag: &[u8; 4] = packet.read(at).ok_or(Reason::FrameTooShort)?;
    Ok(Payload { ether_type: be16::<2, _>(tag), at: at + 4 })
}

#[inline(always)]
const fn is_tag(ether_type: u16) -> bool {
    ether_type == ether_type::VLAN || ether_type == ether_type::PROVIDER_VLAN
}

/// Link protocols that carry no user data and that a station needs: they pass unjudged.
#[inline(always)]
#[must_use]
pub const fn is_link_protocol(ether_type: u16) -> bool {
    matches!(ether_type, ether_type::ARP | ether_type::LLDP | ether_type::SLOW_PROTOCOLS | ether_type::EAPOL)
        // 802.3 length: LLC frames, of which spanning tree is the one in use.
        || ether_type < ether_type::FIRST
}
