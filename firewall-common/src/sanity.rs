//! Stage *sanity*: what no sender that means well puts on a network. It needs no state and stays on under bypass.

use crate::{
    flow::Address,
    parse::{Descriptor, Kind},
    reason::Reason,
    wire::{protocol, tcp},
};

/// Checks addresses and ports; flags of TCP are left to [`check_flags`], which a rule may switch off.
///
/// # Errors
/// [`Reason::LandAttack`], [`Reason::Martian`], [`Reason::PortZero`].
#[inline(always)]
pub fn check(descriptor: &Descriptor) -> Result<(), Reason> {
    let (low, high) = (&descriptor.key.low, &descriptor.key.high);
    if low == high {
        return Err(Reason::LandAttack);
    }
    let plain = descriptor.v4 && is_plain_v4(low) && is_plain_v4(high);
    if !plain && is_martian(descriptor) {
        return Err(Reason::Martian);
    }
    let later = matches!(descriptor.kind, Kind::LaterFragment);
    let has_ports = matches!(descriptor.kind, Kind::Tcp | Kind::Udp) || (descriptor.key.protocol == protocol::SCTP && !later);
    if has_ports && descriptor.key.has_port_zero() {
        return Err(Reason::PortZero);
    }
    Ok(())
}

/// Refuses sets of TCP flags that no sender produces.
///
/// # Errors
/// [`Reason::BadTcpFlags`].
#[inline(always)]
pub fn check_flags(descriptor: &Descriptor) -> Result<(), Reason> {
    if matches!(descriptor.kind, Kind::Tcp) && !tcp::legal_flags(descriptor.segment.flags) { Err(Reason::BadTcpFlags) } else { Ok(()) }
}

#[inline(always)]
fn is_martian(descriptor: &Descriptor) -> bool {
    let (source, destination) = (descriptor.source(), descriptor.destination());
    if descriptor.v4 { martian_v4(descriptor, source, destination) } else { martian_v6(descriptor, source, destination) }
}

/// True for an address that may be a packet's source and its destination: one look at what nearly all are, whichever of the two it is.
#[inline(always)]
const fn is_plain_v4(address: &Address) -> bool {
    let first = address.v4_bits() >> 24;
    first != 0 && first != 127 && first < 224
}

/// RFC 1812 §5.3.7 and RFC 6890: sources 0/8, 127/8, multicast and above; destinations 0/8 and 127/8.
#[inline(always)]
fn martian_v4(descriptor: &Descriptor, source: &Address, destination: &Address) -> bool {
    let source_first = source.v4_bits() >> 24;
    let destination_first = destination.v4_bits() >> 24;
    if source_first == 0 {
        return !is_dhcp_client(descriptor, source, destination);
    }
    source_first == 127 || source_first >= 224 || destination_first == 127 || destination_first == 0
}

/// A host that has no address yet asks for one from 0.0.0.0:68 to 255.255.255.255:67 (RFC 2131 §4.1).
#[inline(always)]
fn is_dhcp_client(descriptor: &Descriptor, source: &Address, destination: &Address) -> bool {
    matches!(descriptor.kind, Kind::Udp)
        && source.v4_bits() == 0
        && destination.v4_bits() == u32::MAX
        && descriptor.source_port() == 68
        && descriptor.destination_port() == 67
}

/// RFC 4291 §2.5 and §2.7: no loopback, no multicast source, no embedded IPv4; the unspecified source only while an address is being
/// chosen (RFC 4862 §5.4), by the few messages that [`crate::neighbour`] lets have it.
#[inline(always)]
fn martian_v6(descriptor: &Descriptor, source: &Address, destination: &Address) -> bool {
    let multicast_source = source.halves().0 >> 56 == 0xff;
    let unspecified_source = source.halves() == (0, 0) && !matches!(descriptor.kind, Kind::LinkScope);
    multicast_source || unspecified_source || is_loopback_or_mapped(source) || is_loopback_or_mapped(destination)
}

#[inline(always)]
fn is_loopback_or_mapped(address: &Address) -> bool {
    address.halves() == (0, 1) || address.is_v4()
}
