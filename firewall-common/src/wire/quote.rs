//! The packet an ICMP error quotes: its IP header and at least eight bytes behind it (RFC 792, RFC 1812 §4.3.2.3, RFC 4443 §2.4 c).
//!
//! It is what a router had in its hands, so less is asked of it than of a packet: its lengths count what was not quoted, and its checksum
//! may be that of a packet whose hop count had been changed.

use crate::{
    flow::Address,
    packet::Packet,
    parse::{Descriptor, Kind},
    reason::Reason,
    seq::Seq,
    verifier::load_u16,
    wire::{be32, icmp, ipv4, ipv6, protocol},
};

/// Bytes of the transport header that must be there: ports, and the sequence number of TCP.
const LEAST: u32 = 8;

/// Reads the packet that the error in `descriptor` quotes, and makes the descriptor that of the quoted packet. Its `ip_length` stays that
/// of the error. A later fragment's kind is [`Kind::LaterFragment`]: it has no ports.
///
/// # Errors
/// [`Reason::IcmpErrorBadQuote`]; [`Reason::IcmpErrorOtherFlow`] when the quoted packet's sender is not who the error is sent to.
#[inline(always)]
pub fn read<P: Packet>(packet: &P, descriptor: &mut Descriptor) -> Result<(), Reason> {
    let end = descriptor.at + descriptor.length;
    let receiver = *descriptor.destination();
    descriptor.at += icmp::HEADER;
    descriptor.ip_at = descriptor.at;
    let source = if descriptor.v4 { header_v4(packet, descriptor)? } else { header_v6(packet, end, descriptor)? };
    // What lies behind the error in its frame is no part of it.
    if descriptor.at > end {
        return Err(Reason::IcmpErrorBadQuote);
    }
    if source != receiver {
        return Err(Reason::IcmpErrorOtherFlow);
    }
    if descriptor.piece.offset != 0 {
        descriptor.kind = Kind::LaterFragment;
        return Ok(());
    }
    if descriptor.at + LEAST > end {
        return Err(Reason::IcmpErrorBadQuote);
    }
    transport(packet, descriptor)?;
    descriptor.source_is_low = descriptor.key.order();
    Ok(())
}

/// Reads the quoted IPv4 header, options passed over; tells its source.
#[inline(always)]
fn header_v4<P: Packet>(packet: &P, descriptor: &mut Descriptor) -> Result<Address, Reason> {
    let header = ipv4::Header(packet.read(descriptor.at).ok_or(Reason::IcmpErrorBadQuote)?);
    if header.version() != 4 || header.length() < ipv4::HEADER {
        return Err(Reason::IcmpErrorBadQuote);
    }
    descriptor.key.low = header.source();
    descriptor.key.high = header.destination();
    descriptor.key.protocol = header.protocol();
    descriptor.piece.offset = header.fragment_offset();
    descriptor.piece.more = header.more_fragments();
    descriptor.at += header.length();
    Ok(header.source())
}

/// Reads the quoted IPv6 header and its extension headers, which do not go on past the error's `end`; tells its source.
#[inline(always)]
fn header_v6<P: Packet>(packet: &P, end: u32, descriptor: &mut Descriptor) -> Result<Address, Reason> {
    let header = ipv6::Header(packet.read(descriptor.at).ok_or(Reason::IcmpErrorBadQuote)?);
    if header.version() != 6 {
        return Err(Reason::IcmpErrorBadQuote);
    }
    let source = header.source();
    descriptor.key.low = source;
    descriptor.key.high = header.destination();
    descriptor.key.protocol = header.next_header();
    descriptor.at += ipv6::HEADER;
    if ipv6::is_extension(descriptor.key.protocol) {
        ipv6::walk_chain(packet, end, descriptor).map_err(|_| Reason::IcmpErrorBadQuote)?;
    }
    Ok(source)
}

/// Both ports of a flow's key, source first.
type Ports = ([u8; 2], [u8; 2]);

/// Reads what the quoted packet's flow is told by.
#[inline(always)]
fn transport<P: Packet>(packet: &P, descriptor: &mut Descriptor) -> Result<(), Reason> {
    let h: &[u8; LEAST as usize] = packet.read(descriptor.at).ok_or(Reason::IcmpErrorBadQuote)?;
    let ports = (load_u16::<0, _>(h).to_ne_bytes(), load_u16::<2, _>(h).to_ne_bytes());
    let (kind, (low, high)) = match descriptor.key.protocol {
        protocol::TCP => {
            descriptor.segment.seq = Seq(be32::<4, _>(h));
            (Kind::Tcp, ports)
        }
        protocol::UDP => (Kind::Udp, ports),
        protocol::SCTP | protocol::UDP_LITE => (Kind::Other, ports),
        protocol::ICMP | protocol::ICMPV6 => message(descriptor, h)?,
        _ => (Kind::Other, ([0; 2], [0; 2])),
    };
    descriptor.kind = kind;
    descriptor.key.low_port = low;
    descriptor.key.high_port = high;
    descriptor.service = match kind {
        Kind::EchoRequest | Kind::EchoReply | Kind::Icmp => [h[0], h[1]],
        _ => high,
    };
    Ok(())
}

/// A quoted ICMP message: both ports of its key are an echo's identifier, or its type and code.
#[inline(always)]
fn message(descriptor: &Descriptor, h: &[u8; LEAST as usize]) -> Result<(Kind, Ports), Reason> {
    let protocol = descriptor.key.protocol;
    // No host sends ICMP of one family in packets of the other, and none answers an error with an error.
    if (protocol == protocol::ICMP) != descriptor.v4 || icmp::never_quoted(protocol, h[0]) {
        return Err(Reason::IcmpErrorBadQuote);
    }
    let kind = icmp::echo(protocol, h[0]).unwrap_or(Kind::Icmp);
    let which = if matches!(kind, Kind::Icmp) { [h[0], h[1]] } else { [h[4], h[5]] };
    Ok((kind, (which, which)))
}
