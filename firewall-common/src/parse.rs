//! Stage *parse*: a frame becomes a [`Descriptor`]; later stages never look at the frame again.

use crate::{
    flow::{Address, FlowKey, NO_SCALE},
    packet::{Packet, missing},
    reason::Reason,
    seq::Seq,
    verifier::load_u16,
    wire::{
        be16,
        ethernet::{self, ether_type},
        gre, icmp,
        ipsec::{self, Security},
        ipv4, ipv6, protocol,
        tcp::{self, Options, Segment},
        udp,
    },
};

/// Bytes of SCTP's common header (RFC 9260 §3.1).
const SCTP_HEADER: u32 = 12;

/// What kind of packet the stages have to do with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// No IP in it: ARP and other link protocols.
    Link,
    /// Neighbour discovery and multicast listener messages of this link, yet to be checked ([`crate::neighbour`]).
    LinkScope,
    /// A fragment that is not its datagram's first: it has no ports.
    LaterFragment,
    Tcp,
    Udp,
    EchoRequest,
    EchoReply,
    /// ICMP other than echo and errors: `service` of the descriptor tells which.
    Icmp,
    /// An ICMP error, which quotes the packet it is about ([`crate::relate`]).
    IcmpError,
    /// Known by protocol and addresses alone, or (SCTP, UDP-Lite) by ports too.
    Other,
}

/// How a datagram is fragmented. All zero for a whole one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Piece {
    /// Offset of this payload in the datagram, in bytes.
    pub offset: u32,
    pub identification: u32,
    /// Bytes of extension headers between the fragment header and the transport header.
    pub skipped: u16,
    pub more: bool,
    pub dont_fragment: bool,
}

impl Piece {
    /// True for a packet that is part of a fragmented datagram. An atomic fragment (RFC 6946) is a whole datagram.
    #[inline(always)]
    #[must_use]
    pub const fn is_fragment(&self) -> bool {
        self.more || self.offset != 0
    }
}

/// One packet, read once.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Descriptor {
    pub key: FlowKey,
    /// The packet's source is the key's low endpoint.
    pub source_is_low: bool,
    pub v4: bool,
    pub kind: Kind,
    pub hop_limit: u8,
    /// ICMP type and code; otherwise the destination port in network order: what a service is looked up by.
    pub service: [u8; 2],
    /// Bytes of the whole IP packet.
    pub ip_length: u32,
    /// Offset of the IP header in the frame.
    pub ip_at: u32,
    /// Offset of the transport header in the frame.
    pub at: u32,
    /// Bytes from the transport header to the packet's end.
    pub length: u32,
    pub piece: Piece,
    /// Filled for [`Kind::Tcp`]. Of ESP and AH, also in UDP, `seq` is the SPI and `ack` the sequence number: see [`Self::security`].
    pub segment: Segment,
    /// Likewise.
    pub options: Options,
}

impl Descriptor {
    /// Nothing read yet.
    pub const EMPTY: Self = Self {
        key: FlowKey {
            low: Address::new([0; 16]),
            high: Address::new([0; 16]),
            low_port: [0; 2],
            high_port: [0; 2],
            protocol: 0,
            reserved: [0; 3],
        },
        source_is_low: false,
        v4: false,
        kind: Kind::Link,
        hop_limit: 0,
        service: [0; 2],
        ip_length: 0,
        ip_at: 0,
        at: 0,
        length: 0,
        piece: Piece { offset: 0, identification: 0, skipped: 0, more: false, dont_fragment: false },
        segment: Segment { seq: Seq(0), ack: Seq(0), length: 0, window: 0, flags: 0, scale: NO_SCALE },
        options: Options { sack: Seq(0), timestamp: 0, mss: 0, marks: 0, reserved: 0 },
    };

    #[inline(always)]
    #[must_use]
    pub const fn source(&self) -> &Address {
        if self.source_is_low { &self.key.low } else { &self.key.high }
    }

    #[inline(always)]
    #[must_use]
    pub const fn destination(&self) -> &Address {
        if self.source_is_low { &self.key.high } else { &self.key.low }
    }

    #[inline(always)]
    #[must_use]
    pub const fn source_port(&self) -> u16 {
        u16::from_be_bytes(if self.source_is_low { self.key.low_port } else { self.key.high_port })
    }

    #[inline(always)]
    #[must_use]
    pub const fn destination_port(&self) -> u16 {
        u16::from_be_bytes(if self.source_is_low { self.key.high_port } else { self.key.low_port })
    }

    /// What an IPsec packet says of its security association, of any other packet nothing.
    #[inline(always)]
    #[must_use]
    pub const fn security(&self) -> Option<Security> {
        // No association has SPI 0, so it may stand for none.
        if matches!(self.kind, Kind::Tcp) || self.segment.seq.0 == 0 {
            return None;
        }
        Some(Security { spi: self.segment.seq.0, sequence: self.segment.ack })
    }

    /// Keeps what [`Self::security`] tells.
    #[inline(always)]
    pub const fn set_security(&mut self, security: Security) {
        self.segment.seq = Seq(security.spi);
        self.segment.ack = security.sequence;
    }

    /// Bytes of its datagram that a fragment holds.
    #[inline(always)]
    #[must_use]
    pub const fn fragment_length(&self) -> u32 {
        self.length + self.piece.skipped as u32
    }

    /// The transport header does not fit the packet: in a first fragment that is an attempt to hide it (RFC 1858).
    #[inline(always)]
    pub(crate) const fn short(&self, otherwise: Reason) -> Reason {
        if self.piece.is_fragment() { Reason::FragmentTiny } else { otherwise }
    }
}

/// Describes a frame. `egress` is true for what the box itself sends: lengths of packets the kernel has yet to segment may then be
/// missing, and checksums unfinished.
///
/// While the stages below work, the key's low endpoint is the source; only at the end are the endpoints put into order.
///
/// # Errors
/// The reason to drop the frame for.
#[inline(always)]
pub fn parse<P: Packet>(packet: &P, egress: bool, descriptor: &mut Descriptor) -> Result<(), Reason> {
    let read = headers(packet, egress, descriptor);
    // Also of a packet that cannot be read to its end: what was read of it is told.
    descriptor.source_is_low = descriptor.key.order();
    read
}

#[inline(always)]
fn headers<P: Packet>(packet: &P, egress: bool, descriptor: &mut Descriptor) -> Result<(), Reason> {
    let link = ethernet::parse(packet)?;
    descriptor.ip_at = link.at;
    match link.ether_type {
        ether_type::IPV4 => network_v4(packet, egress, descriptor)?,
        ether_type::IPV6 => network_v6(packet, egress, descriptor)?,
        other if ethernet::is_link_protocol(other) => return Ok(()),
        _ => return Err(Reason::L2Acl),
    }
    transport(packet, descriptor)
}

#[inline(always)]
fn network_v4<P: Packet>(packet: &P, egress: bool, descriptor: &mut Descriptor) -> Result<(), Reason> {
    let at = descriptor.ip_at;
    let header = ipv4::Header(packet.read(at).ok_or_else(|| missing(packet, at + ipv4::HEADER))?);
    let header_length = header.length();
    if header.version() != 4 || header_length < ipv4::HEADER {
        return Err(Reason::InvalidIpHeader);
    }
    // A packet larger than 64 KiB has total length 0 until the kernel segments it (BIG TCP); none comes in from a network.
    let total = if egress && header.total_length() == 0 { packet.length().wrapping_sub(at) } else { header.total_length() };
    if total < header_length || !packet.holds(at + total) {
        return Err(Reason::InvalidIpLength);
    }
    if header_length > ipv4::HEADER {
        ipv4::check_options(packet, at, header_length, egress)?;
    } else if !egress && !ipv4::checksum_intact(&header) {
        return Err(Reason::BadIpChecksum);
    }
    descriptor.v4 = true;
    descriptor.key.low = header.source();
    descriptor.key.high = header.destination();
    descriptor.key.protocol = header.protocol();
    descriptor.hop_limit = header.hop_limit();
    descriptor.ip_length = total;
    descriptor.at = at + header_length;
    descriptor.length = total - header_length;
    descriptor.piece.offset = header.fragment_offset();
    descriptor.piece.more = header.more_fragments();
    descriptor.piece.dont_fragment = header.dont_fragment();
    descriptor.piece.identification = header.identification() as u32;
    Ok(())
}

#[inline(always)]
fn network_v6<P: Packet>(packet: &P, egress: bool, descriptor: &mut Descriptor) -> Result<(), Reason> {
    let at = descriptor.ip_at;
    let header = ipv6::Header(packet.read(at).ok_or_else(|| missing(packet, at + ipv6::HEADER))?);
    if header.version() != 6 {
        return Err(Reason::InvalidIpHeader);
    }
    // Payload length 0 stands for a jumbo payload (RFC 2675), which only a kernel that has yet to segment it produces (BIG TCP).
    let jumbo = egress && header.payload_length() == 0;
    let total = if jumbo { packet.length().wrapping_sub(at) } else { ipv6::HEADER + header.payload_length() };
    if total < ipv6::HEADER || !packet.holds(at.wrapping_add(total)) {
        return Err(Reason::InvalidIpLength);
    }
    descriptor.key.low = header.source();
    descriptor.key.high = header.destination();
    descriptor.key.protocol = header.next_header();
    descriptor.hop_limit = header.hop_limit();
    descriptor.ip_length = total;
    descriptor.at = at + ipv6::HEADER;
    if ipv6::is_extension(descriptor.key.protocol) {
        ipv6::walk_chain(packet, at + total, descriptor)?;
    }
    let used = descriptor.at - at;
    if used > total {
        return Err(Reason::InvalidIpLength);
    }
    descriptor.length = total - used;
    Ok(())
}

#[inline(always)]
fn transport<P: Packet>(packet: &P, descriptor: &mut Descriptor) -> Result<(), Reason> {
    if descriptor.piece.offset != 0 {
        descriptor.kind = Kind::LaterFragment;
        return Ok(());
    }
    let (source_port, destination_port) = match descriptor.key.protocol {
        protocol::TCP => {
            descriptor.kind = Kind::Tcp;
            tcp::parse(packet, descriptor.at, descriptor.length, &mut descriptor.segment, &mut descriptor.options)
                .map_err(|reason| if matches!(reason, Reason::InvalidTcpHeaderLength) { descriptor.short(reason) } else { reason })?
        }
        protocol::UDP => {
            descriptor.kind = Kind::Udp;
            udp(packet, descriptor)?
        }
        protocol::SCTP | protocol::UDP_LITE => {
            descriptor.kind = Kind::Other;
            ports(packet, descriptor)?
        }
        protocol::ESP | protocol::AH => {
            descriptor.kind = Kind::Other;
            return ipsec::parse(packet, descriptor);
        }
        protocol::GRE => {
            descriptor.kind = Kind::Other;
            return gre::check(packet, descriptor);
        }
        protocol::ICMP | protocol::ICMPV6 => return icmp(packet, descriptor),
        _ => {
            descriptor.kind = Kind::Other;
            return Ok(());
        }
    };
    descriptor.key.low_port = source_port;
    descriptor.key.high_port = destination_port;
    descriptor.service = destination_port;
    Ok(())
}

/// Source and destination port of SCTP or UDP-Lite.
#[inline(always)]
fn ports<P: Packet>(packet: &P, descriptor: &Descriptor) -> Result<([u8; 2], [u8; 2]), Reason> {
    if descriptor.key.protocol == protocol::SCTP && descriptor.length < SCTP_HEADER {
        return Err(descriptor.short(Reason::InvalidSctpHeader));
    }
    if descriptor.length < 4 {
        return Err(descriptor.short(Reason::FrameTooShort));
    }
    let h: &[u8; 4] = packet.read(descriptor.at).ok_or_else(|| missing(packet, descriptor.at + 4))?;
    Ok((load_u16::<0, _>(h).to_ne_bytes(), load_u16::<2, _>(h).to_ne_bytes()))
}

#[inline(always)]
fn udp<P: Packet>(packet: &P, descriptor: &mut Descriptor) -> Result<([u8; 2], [u8; 2]), Reason> {
    if descriptor.length < udp::HEADER {
        return Err(descriptor.short(Reason::InvalidUdpLength));
    }
    let h: &[u8; udp::HEADER as usize] = packet.read(descriptor.at).ok_or_else(|| missing(packet, descriptor.at + udp::HEADER))?;
    let length = u32::from(be16::<4, _>(h));
    // A fragmented datagram's length counts what later fragments bring; 0 stands for a jumbo one (RFC 2675 §4).
    let whole = !descriptor.piece.is_fragment();
    if (length != 0 && length < udp::HEADER) || (whole && length > descriptor.length) {
        return Err(Reason::InvalidUdpLength);
    }
    ipsec::parse_udp(packet, descriptor, be16::<0, _>(h), be16::<2, _>(h));
    Ok((load_u16::<0, _>(h).to_ne_bytes(), load_u16::<2, _>(h).to_ne_bytes()))
}

#[inline(always)]
fn icmp<P: Packet>(packet: &P, descriptor: &mut Descriptor) -> Result<(), Reason> {
    if descriptor.length < icmp::HEADER {
        return Err(descriptor.short(Reason::FrameTooShort));
    }
    let h: &[u8; icmp::HEADER as usize] = packet.read(descriptor.at).ok_or_else(|| missing(packet, descriptor.at + icmp::HEADER))?;
    let (kind, code) = (h[0], h[1]);
    descriptor.service = [kind, code];
    let protocol = descriptor.key.protocol;
    descriptor.kind = match icmp::echo(protocol, kind) {
        Some(echo) => echo,
        None if protocol == protocol::ICMPV6 && icmp::is_link_scope_v6(kind) => Kind::LinkScope,
        None if icmp::is_error(protocol, kind) => Kind::IcmpError,
        None => Kind::Icmp,
    };
    // Echo is told apart by its identifier. Every other message is a flow of its type and code: an allowed type must open no other.
    let identifier = if matches!(descriptor.kind, Kind::EchoRequest | Kind::EchoReply) { [h[4], h[5]] } else { [kind, code] };
    descriptor.key.low_port = identifier;
    descriptor.key.high_port = identifier;
    Ok(())
}
