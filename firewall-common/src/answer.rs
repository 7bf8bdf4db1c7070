//! What a rejected packet is answered with: a TCP reset (RFC 9293 §3.10.7.1), or an ICMP "administratively prohibited" (RFC 1812 §5.2.7.1,
//! RFC 4443 §3.1). It is built from the packet alone: no state is kept for what was refused.
//!
//! An answer never exceeds one small packet, and nothing answers what might itself be an answer: no reset, no ICMP but an echo request.

use crate::{
    packet::Packet,
    parse::{Descriptor, Kind},
    wire::{
        ipv4, ipv6, protocol,
        tcp::{self, flags},
    },
};

/// Room for the largest answer: IPv6, ICMPv6, and the refused packet's IPv6 header with 8 bytes more.
pub const ROOM: usize = 96;

/// Bytes of the refused packet that an ICMP answer quotes: its header and 8 more (RFC 792, RFC 4443 §3.1).
const QUOTE_V4: usize = 28;
const QUOTE_V6: usize = 48;
const ICMP_HEADER: usize = 8;
const TTL: u8 = 64;

const V4_UNREACHABLE: u8 = 3;
const V4_PROHIBITED: u8 = 13;
const V6_UNREACHABLE: u8 = 1;
const V6_PROHIBITED: u8 = 1;

/// True for a packet that may be answered at all.
#[inline(always)]
#[must_use]
pub fn answerable(descriptor: &Descriptor) -> bool {
    let by_kind = match descriptor.kind {
        Kind::Tcp => !descriptor.segment.has(flags::RST),
        Kind::Udp | Kind::EchoRequest | Kind::Other => true,
        Kind::Icmp | Kind::IcmpError | Kind::EchoReply | Kind::Link | Kind::LinkScope | Kind::LaterFragment => false,
    };
    by_kind && !descriptor.piece.is_fragment() && !is_group(descriptor)
}

/// Writes the answer to a refused packet, from its IP header on, and tells its length; `None` when there is to be none.
#[inline(always)]
pub fn write<P: Packet>(packet: &P, descriptor: &Descriptor, out: &mut [u8; ROOM]) -> Option<u32> {
    if !answerable(descriptor) {
        return None;
    }
    match descriptor.kind {
        Kind::Tcp => Some(reset(descriptor, out)),
        Kind::Udp | Kind::EchoRequest | Kind::Other if descriptor.v4 => {
            prohibited_v4(descriptor, packet.read(descriptor.ip_at)?, out);
            Some((ipv4::HEADER as usize + ICMP_HEADER + QUOTE_V4) as u32)
        }
        Kind::Udp | Kind::EchoRequest | Kind::Other => {
            prohibited_v6(descriptor, packet.read(descriptor.ip_at)?, out);
            Some((ipv6::HEADER as usize + ICMP_HEADER + QUOTE_V6) as u32)
        }
        Kind::Icmp | Kind::IcmpError | Kind::EchoReply | Kind::Link | Kind::LinkScope | Kind::LaterFragment => None,
    }
}

/// A packet to a group or to everybody, or from nobody in particular, is answered by no one (RFC 1122 §3.2.2).
#[inline(always)]
fn is_group(descriptor: &Descriptor) -> bool {
    let destination = descriptor.destination();
    if descriptor.v4 {
        destination.v4_bits() >> 28 >= 0xe || descriptor.source().v4_bits() == 0
    } else {
        destination.halves().0 >> 56 == 0xff || descriptor.source().halves() == (0, 0)
    }
}

/// The reset for a segment that is refused; the header has no options.
#[inline(always)]
fn reset(descriptor: &Descriptor, out: &mut [u8; ROOM]) -> u32 {
    let segment = &descriptor.segment;
    let (seq, ack, control) =
        if segment.has(flags::ACK) { (segment.ack.0, 0, flags::RST) } else { (0, segment.end().0, flags::RST | flags::ACK) };
    let mut header = [0; tcp::HEADER as usize];
    header[0..2].copy_from_slice(&descriptor.destination_port().to_be_bytes());
    header[2..4].copy_from_slice(&descriptor.source_port().to_be_bytes());
    header[4..8].copy_from_slice(&seq.to_be_bytes());
    header[8..12].copy_from_slice(&ack.to_be_bytes());
    header[12] = (tcp::HEADER as u8 / 4) << 4;
    header[13] = control;
    let sum = sum(&header) + pseudo_sum(descriptor, protocol::TCP, tcp::HEADER);
    header[16..18].copy_from_slice(&finish(sum));
    if descriptor.v4 {
        header_v4(descriptor, protocol::TCP, tcp::HEADER, out);
        out[20..40].copy_from_slice(&header);
        ipv4::HEADER + tcp::HEADER
    } else {
        header_v6(descriptor, protocol::TCP, tcp::HEADER, out);
        out[40..60].copy_from_slice(&header);
        ipv6::HEADER + tcp::HEADER
    }
}

#[inline(always)]
fn prohibited_v4(descriptor: &Descriptor, quote: &[u8; QUOTE_V4], out: &mut [u8; ROOM]) {
    header_v4(descriptor, protocol::ICMP, (ICMP_HEADER + QUOTE_V4) as u32, out);
    let mut header = [V4_UNREACHABLE, V4_PROHIBITED, 0, 0, 0, 0, 0, 0];
    let checksum = finish(sum(&header) + sum(quote));
    header[2..4].copy_from_slice(&checksum);
    out[20..28].copy_from_slice(&header);
    out[28..56].copy_from_slice(quote);
}

#[inline(always)]
fn prohibited_v6(descriptor: &Descriptor, quote: &[u8; QUOTE_V6], out: &mut [u8; ROOM]) {
    let length = (ICMP_HEADER + QUOTE_V6) as u32;
    header_v6(descriptor, protocol::ICMPV6, length, out);
    let mut header = [V6_UNREACHABLE, V6_PROHIBITED, 0, 0, 0, 0, 0, 0];
    let checksum = finish(sum(&header) + sum(quote) + pseudo_sum(descriptor, protocol::ICMPV6, length));
    header[2..4].copy_from_slice(&checksum);
    out[40..48].copy_from_slice(&header);
    out[48..96].copy_from_slice(quote);
}

/// The IPv4 header of an answer with `length` bytes of payload: addresses turned round.
#[inline(always)]
fn header_v4(descriptor: &Descriptor, protocol: u8, length: u32, out: &mut [u8; ROOM]) {
    let mut header = [0; ipv4::HEADER as usize];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&((ipv4::HEADER + length) as u16).to_be_bytes());
    // Don't fragment, and so no identification (RFC 6864 §4.1).
    header[6] = 0x40;
    header[8] = TTL;
    header[9] = protocol;
    header[12..16].copy_from_slice(&descriptor.destination().v4_bits().to_be_bytes());
    header[16..20].copy_from_slice(&descriptor.source().v4_bits().to_be_bytes());
    let checksum = finish(sum(&header));
    header[10..12].copy_from_slice(&checksum);
    out[..20].copy_from_slice(&header);
}

#[inline(always)]
fn header_v6(descriptor: &Descriptor, protocol: u8, length: u32, out: &mut [u8; ROOM]) {
    out[..4].copy_from_slice(&[0x60, 0, 0, 0]);
    out[4..6].copy_from_slice(&(length as u16).to_be_bytes());
    out[6] = protocol;
    out[7] = TTL;
    out[8..24].copy_from_slice(&descriptor.destination().octets());
    out[24..40].copy_from_slice(&descriptor.source().octets());
}

/// Sum of the words of a header or quote of even length (RFC 1071), not yet folded.
#[inline(always)]
fn sum<const N: usize>(bytes: &[u8; N]) -> u32 {
    let mut total = 0;
    let mut at = 0;
    while at + 1 < N {
        total += u32::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
        at += 2;
    }
    total
}

/// Sum of the pseudo-header (RFC 9293 §3.1, RFC 8200 §8.1); it is the same in both directions.
#[inline(always)]
fn pseudo_sum(descriptor: &Descriptor, protocol: u8, length: u32) -> u32 {
    let half = |bits: u64| ((bits >> 48) + (bits >> 32 & 0xffff) + (bits >> 16 & 0xffff) + (bits & 0xffff)) as u32;
    let (source, destination) = (descriptor.source(), descriptor.destination());
    let addresses = if descriptor.v4 {
        half(u64::from(source.v4_bits())) + half(u64::from(destination.v4_bits()))
    } else {
        half(source.halves().0) + half(source.halves().1) + half(destination.halves().0) + half(destination.halves().1)
    };
    addresses + u32::from(protocol) + length
}

/// The checksum field for a sum.
#[inline(always)]
const fn finish(sum: u32) -> [u8; 2] {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    (!(sum as u16)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use etherparse::{IcmpEchoHeader, Icmpv4Type, Icmpv6Type, NetHeaders, PacketBuilder, PacketHeaders, TransportHeader};

    use super::*;

    const CLIENT: [u8; 4] = [198, 51, 100, 20];
    const SERVER: [u8; 4] = [10, 71, 2, 10];

    /// The answer to a frame, as etherparse reads it: with every checksum verified by its own arithmetic.
    fn answer(frame: &[u8]) -> Option<(PacketHeaders<'static>, Vec<u8>)> {
        let mut descriptor = Descriptor::EMPTY;
        crate::parse::parse(&frame, false, &mut descriptor).expect("a sound frame");
        let mut out = [0; ROOM];
        let length = write(&frame, &descriptor, &mut out)? as usize;
        let bytes: &'static [u8] = Box::leak(out[..length].to_vec().into_boxed_slice());
        Some((PacketHeaders::from_ip_slice(bytes).expect("a sound answer"), bytes.to_vec()))
    }

    fn frame(builder: etherparse::PacketBuilderStep<etherparse::TcpHeader>, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        builder.write(&mut bytes, payload).expect("room");
        bytes
    }

    #[test]
    fn a_syn_gets_a_reset_that_acknowledges_it() {
        let v4 = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(CLIENT, SERVER, 64).tcp(40_000, 22, 7_000, 1_000).syn();
        let v6 = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6([0x20; 16], [0x21; 16], 64).tcp(40_000, 22, 7_000, 1_000).syn();
        for frame in [frame(v4, &[]), frame(v6, &[])] {
            let (headers, _) = answer(&frame).expect("an answer");
            let Some(TransportHeader::Tcp(tcp)) = headers.transport else { panic!("not TCP") };
            assert!(tcp.rst && tcp.ack && !tcp.syn);
            assert_eq!((tcp.source_port, tcp.destination_port, tcp.acknowledgment_number), (22, 40_000, 7_001));
            let checksum = match headers.net {
                Some(NetHeaders::Ipv4(ip, _)) => {
                    assert_eq!((ip.source, ip.destination), (SERVER, CLIENT));
                    assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                    tcp.calc_checksum_ipv4(&ip, &[])
                }
                Some(NetHeaders::Ipv6(ip, _)) => tcp.calc_checksum_ipv6(&ip, &[]),
                _ => panic!("no IP"),
            };
            assert_eq!(checksum.expect("a checksum"), tcp.checksum);
        }
    }

    #[test]
    fn a_segment_that_acknowledges_gets_the_number_it_expects() {
        let data = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(CLIENT, SERVER, 64).tcp(40_000, 22, 7_000, 1_000).ack(9_000);
        let (headers, _) = answer(&frame(data, b"data")).expect("an answer");
        let Some(TransportHeader::Tcp(tcp)) = headers.transport else { panic!("not TCP") };
        assert!(tcp.rst && !tcp.ack);
        assert_eq!(tcp.sequence_number, 9_000);
    }

    #[test]
    fn a_datagram_gets_an_icmp_message_that_quotes_it() {
        let mut v4 = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(CLIENT, SERVER, 64).udp(40_000, 53).write(&mut v4, b"query").expect("room");
        let (headers, bytes) = answer(&v4).expect("an answer");
        let Some(TransportHeader::Icmpv4(icmp)) = headers.transport else { panic!("not ICMP") };
        assert!(matches!(icmp.icmp_type, Icmpv4Type::DestinationUnreachable(_)), "{:?}", icmp.icmp_type);
        assert_eq!(icmp.icmp_type.calc_checksum(&bytes[28..]), icmp.checksum);
        assert_eq!(bytes[28..56], v4[14..42]);

        let mut v6 = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6([0x20; 16], [0x21; 16], 64).udp(40_000, 53).write(&mut v6, b"query").expect("room");
        let (headers, bytes) = answer(&v6).expect("an answer");
        let Some(TransportHeader::Icmpv6(icmp)) = headers.transport else { panic!("not ICMPv6") };
        assert!(matches!(icmp.icmp_type, Icmpv6Type::DestinationUnreachable(_)), "{:?}", icmp.icmp_type);
        let checksum = icmp.icmp_type.calc_checksum([0x21; 16], [0x20; 16], &bytes[48..]).expect("a checksum");
        assert_eq!(checksum, icmp.checksum);
        assert_eq!(bytes[48..96], v6[14..62]);
    }

    #[test]
    fn nothing_answers_an_answer_or_a_group() {
        let rst = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(CLIENT, SERVER, 64).tcp(40_000, 22, 7_000, 1_000).rst();
        assert!(answer(&frame(rst, &[])).is_none());
        let group = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(CLIENT, [224, 0, 0, 251], 64).tcp(40_000, 22, 7_000, 1_000).syn();
        assert!(answer(&frame(group, &[])).is_none());
        let mut reply = Vec::new();
        let echo = IcmpEchoHeader { id: 1, seq: 1 };
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(CLIENT, SERVER, 64).icmpv4(Icmpv4Type::EchoReply(echo));
        builder.write(&mut reply, &[0; 8]).expect("room");
        assert!(answer(&reply).is_none());
    }
}
