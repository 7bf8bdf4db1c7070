//! Frames, built field by field with lengths and checksums right, and tampered with afterwards.

use etherparse::{IpFragOffset, IpNumber, Ipv4Header, Ipv4Options, Ipv6FragmentHeader, Ipv6Header, TcpHeader, checksum::Sum16BitWords};

use crate::{
    testing::host::{Family, Host},
    wire::{
        ethernet::ether_type,
        icmp, protocol,
        tcp::{Segment, flags},
    },
};

/// What an IP packet carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    Tcp { header: TcpHeader, data: Vec<u8> },
    Udp { source: u16, destination: u16, data: Vec<u8> },
    Icmp { kind: u8, code: u8, rest: [u8; 4], data: Vec<u8> },
    Other { protocol: u8, bytes: Vec<u8> },
}

/// Which part of its datagram a packet is: `length` bytes of the payload from `offset`; `None` for all that is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub offset: usize,
    pub length: Option<usize>,
    pub more: bool,
    pub identification: u32,
}

/// One packet, as its sender means it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub family: Family,
    pub from: Host,
    pub to: Host,
    /// Tag protocol identifier and tag, outermost first.
    pub tags: Vec<(u16, u16)>,
    pub dont_fragment: bool,
    pub hop_limit: u8,
    /// IPv4 options, a multiple of four bytes.
    pub ip_options: Vec<u8>,
    /// IPv6 extension headers: number, and the body after the length byte, eight bytes each less two in the first.
    pub extensions: Vec<(u8, Vec<u8>)>,
    /// The same behind the fragment header: part of what is cut into fragments.
    pub inner: Vec<(u8, Vec<u8>)>,
    pub part: Option<Part>,
    pub payload: Payload,
}

/// A frame's bytes and where its headers begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub bytes: Vec<u8>,
    pub ip_at: usize,
    pub transport_at: usize,
}

impl Packet {
    #[must_use]
    pub const fn new(family: Family, from: Host, to: Host, payload: Payload) -> Self {
        Self {
            family,
            from,
            to,
            tags: Vec::new(),
            dont_fragment: false,
            hop_limit: 64,
            ip_options: Vec::new(),
            extensions: Vec::new(),
            inner: Vec::new(),
            part: None,
            payload,
        }
    }

    /// A TCP segment. Its window shift becomes an option.
    #[must_use]
    pub fn tcp(family: Family, from: (Host, u16), to: (Host, u16), segment: &Segment) -> Self {
        let mut header = TcpHeader::new(from.1, to.1, segment.seq.0, segment.window);
        header.acknowledgment_number = segment.ack.0;
        header.fin = segment.has(flags::FIN);
        header.syn = segment.has(flags::SYN);
        header.rst = segment.has(flags::RST);
        header.psh = segment.has(flags::PSH);
        header.ack = segment.has(flags::ACK);
        header.urg = segment.has(flags::URG);
        header.ece = segment.has(flags::ECE);
        header.cwr = segment.has(flags::CWR);
        if segment.scale != crate::flow::NO_SCALE {
            header.set_options_raw(&[3, 3, segment.scale, 1]).expect("four bytes of options");
        }
        Self::new(family, from.0, to.0, Payload::Tcp { header, data: pattern(segment.length as usize) })
    }

    #[must_use]
    pub fn udp(family: Family, from: (Host, u16), to: (Host, u16), length: usize) -> Self {
        Self::new(family, from.0, to.0, Payload::Udp { source: from.1, destination: to.1, data: pattern(length) })
    }

    /// ICMP of the family; type and code as that family numbers them.
    #[must_use]
    pub fn icmp(family: Family, from: Host, to: Host, kind: u8, code: u8, rest: [u8; 4], length: usize) -> Self {
        Self::new(family, from, to, Payload::Icmp { kind, code, rest, data: pattern(length) })
    }

    #[must_use]
    pub fn echo(family: Family, from: Host, to: Host, reply: bool, identifier: u16) -> Self {
        let kind = match (family, reply) {
            (Family::V4, false) => icmp::v4::ECHO_REQUEST,
            (Family::V4, true) => icmp::v4::ECHO_REPLY,
            (Family::V6, false) => icmp::v6::ECHO_REQUEST,
            (Family::V6, true) => icmp::v6::ECHO_REPLY,
        };
        let [high, low] = identifier.to_be_bytes();
        Self::icmp(family, from, to, kind, 0, [high, low, 0, 1], 48)
    }

    /// An ICMP error of this type and code, about the packet that `quoted` is the beginning of.
    #[must_use]
    pub fn error(family: Family, from: Host, to: Host, (kind, code): (u8, u8), quoted: &[u8]) -> Self {
        Self::new(family, from, to, Payload::Icmp { kind, code, rest: [0; 4], data: quoted.to_vec() })
    }

    /// ESP (RFC 4303): `length` bytes follow the sequence number.
    #[must_use]
    pub fn esp(family: Family, from: Host, to: Host, spi: u32, sequence: u32, length: usize) -> Self {
        Self::other(family, from, to, protocol::ESP, [&spi.to_be_bytes()[..], &sequence.to_be_bytes(), &pattern(length)].concat())
    }

    /// AH (RFC 4302) with an integrity value of twelve bytes, then `length` bytes.
    #[must_use]
    pub fn ah(family: Family, from: Host, to: Host, spi: u32, sequence: u32, length: usize) -> Self {
        let header = [&[protocol::TCP, 4, 0, 0], &spi.to_be_bytes()[..], &sequence.to_be_bytes(), &[0; 12]].concat();
        Self::other(family, from, to, protocol::AH, [header, pattern(length)].concat())
    }

    #[must_use]
    pub fn other(family: Family, from: Host, to: Host, protocol: u8, bytes: Vec<u8>) -> Self {
        Self::new(family, from, to, Payload::Other { protocol, bytes })
    }

    const fn protocol(&self) -> u8 {
        match (&self.payload, self.family) {
            (Payload::Tcp { .. }, _) => protocol::TCP,
            (Payload::Udp { .. }, _) => protocol::UDP,
            (Payload::Icmp { .. }, Family::V4) => protocol::ICMP,
            (Payload::Icmp { .. }, Family::V6) => protocol::ICMPV6,
            (Payload::Other { protocol, .. }, _) => *protocol,
        }
    }

    /// The whole datagram's payload, with its checksum.
    fn transport(&self) -> Vec<u8> {
        let (mut bytes, checksum_at) = match &self.payload {
            Payload::Tcp { header, data } => ([&header.to_bytes()[..], data].concat(), Some(16)),
            Payload::Udp { source, destination, data } => {
                let length = (data.len() + 8) as u16;
                let header = [source.to_be_bytes(), destination.to_be_bytes(), length.to_be_bytes(), [0; 2]].concat();
                ([&header[..], data].concat(), Some(6))
            }
            Payload::Icmp { kind, code, rest, data } => ([&[*kind, *code, 0, 0], &rest[..], data].concat(), Some(2)),
            Payload::Other { bytes, .. } => (bytes.clone(), None),
        };
        if let Some(at) = checksum_at {
            let sum = self.pseudo_header(bytes.len()).add_slice(&bytes);
            let sum =
                if matches!(self.payload, Payload::Udp { .. }) { sum.to_ones_complement_with_no_zero() } else { sum.ones_complement() };
            bytes[at..at + 2].copy_from_slice(&sum.to_ne_bytes());
        }
        bytes
    }

    fn pseudo_header(&self, length: usize) -> Sum16BitWords {
        let sum = Sum16BitWords::new();
        if matches!((&self.payload, self.family), (Payload::Icmp { .. }, Family::V4)) {
            return sum;
        }
        let sum = match self.family {
            Family::V4 => sum.add_slice(&self.from.v4).add_slice(&self.to.v4),
            Family::V6 => sum.add_slice(&self.from.v6).add_slice(&self.to.v6),
        };
        sum.add_2bytes([0, self.protocol()]).add_2bytes((length as u16).to_be_bytes())
    }

    /// Bytes of the datagram that fragments are cut from.
    #[must_use]
    pub fn datagram_length(&self) -> usize {
        chain(&self.inner, self.protocol()).len() + self.transport().len()
    }

    /// The frame's bytes.
    #[must_use]
    pub fn build(&self) -> Frame {
        let whole = [chain(&self.inner, self.protocol()), self.transport()].concat();
        let body = match self.part {
            None => &whole[..],
            Some(part) => {
                let start = part.offset.min(whole.len());
                &whole[start..part.length.map_or(whole.len(), |length| (start + length).min(whole.len()))]
            }
        };
        let mut bytes = [self.to.mac, self.from.mac].concat();
        for (tpid, tag) in &self.tags {
            bytes.extend(tpid.to_be_bytes());
            bytes.extend(tag.to_be_bytes());
        }
        let network = match self.family {
            Family::V4 => ether_type::IPV4,
            Family::V6 => ether_type::IPV6,
        };
        bytes.extend(network.to_be_bytes());
        let ip_at = bytes.len();
        match self.family {
            Family::V4 => self.header_v4(&mut bytes, body.len()),
            Family::V6 => self.header_v6(&mut bytes, body.len()),
        }
        let transport_at = bytes.len();
        bytes.extend(body);
        Frame { bytes, ip_at, transport_at }
    }

    fn header_v4(&self, bytes: &mut Vec<u8>, length: usize) {
        let payload = length as u16;
        let mut header =
            Ipv4Header::new(payload, self.hop_limit, IpNumber(self.protocol()), self.from.v4, self.to.v4).expect("a packet fits");
        header.options = Ipv4Options::try_from(&self.ip_options[..]).expect("IPv4 options are a multiple of four bytes, at most forty");
        header.total_len = payload + header.header_len() as u16;
        header.dont_fragment = self.dont_fragment;
        if let Some(part) = self.part {
            header.identification = part.identification as u16;
            header.more_fragments = part.more;
            header.fragment_offset = fragment_offset(part.offset);
        }
        header.header_checksum = header.calc_header_checksum();
        bytes.extend(&header.to_bytes()[..]);
    }

    fn header_v6(&self, bytes: &mut Vec<u8>, length: usize) {
        let inner = self.inner.first().map_or(self.protocol(), |(number, _)| *number);
        let fragment = self.part.map(|part| Ipv6FragmentHeader {
            next_header: IpNumber(inner),
            fragment_offset: fragment_offset(part.offset),
            more_fragments: part.more,
            identification: part.identification,
        });
        let last = if fragment.is_some() { protocol::FRAGMENT } else { inner };
        let mut chain = chain(&self.extensions, last);
        if let Some(fragment) = fragment {
            chain.extend(fragment.to_bytes());
        }
        let header = Ipv6Header {
            payload_length: (chain.len() + length) as u16,
            next_header: IpNumber(self.extensions.first().map_or(last, |(number, _)| *number)),
            hop_limit: self.hop_limit,
            source: self.from.v6,
            destination: self.to.v6,
            ..Ipv6Header::default()
        };
        bytes.extend(header.to_bytes());
        bytes.extend(chain);
    }
}

/// Extension headers, the last of which names `last` as what follows.
fn chain(extensions: &[(u8, Vec<u8>)], last: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (place, (_, body)) in extensions.iter().enumerate() {
        let next = extensions.get(place + 1).map_or(last, |(number, _)| *number);
        assert_eq!((body.len() + 2) % 8, 0, "an extension header is a multiple of eight bytes");
        bytes.extend([next, (body.len() / 8) as u8]);
        bytes.extend(body);
    }
    bytes
}

fn fragment_offset(bytes: usize) -> IpFragOffset {
    IpFragOffset::try_new((bytes / 8) as u16).expect("a fragment offset has thirteen bits")
}

/// Payload that shows where it was cut.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

impl Frame {
    /// Overwrites bytes of the IP header and mends an IPv4 header's checksum.
    pub fn patch_ip(&mut self, at: usize, bytes: &[u8]) {
        self.patch(self.ip_at + at, bytes);
        if self.bytes[self.ip_at] >> 4 != 4 {
            return;
        }
        self.bytes[self.ip_at + 10..self.ip_at + 12].fill(0);
        let length = usize::from(self.bytes[self.ip_at] & 0x0f) * 4;
        let end = (self.ip_at + length).min(self.bytes.len());
        let sum = Sum16BitWords::new().add_slice(&self.bytes[self.ip_at..end]).ones_complement();
        self.bytes[self.ip_at + 10..self.ip_at + 12].copy_from_slice(&sum.to_ne_bytes());
    }

    /// Overwrites bytes of the transport header; checksums stay as they were.
    pub fn patch_transport(&mut self, at: usize, bytes: &[u8]) {
        self.patch(self.transport_at + at, bytes);
    }

    /// Sets the reserved bits of a TCP header, and mends its checksum.
    pub fn set_reserved(&mut self, bits: u8) {
        let at = self.transport_at + 12;
        let (old, new) = (self.bytes[at], self.bytes[at] & 0xf0 | bits & 0x0f);
        self.bytes[at] = new;
        let sum = self.transport_at + 16;
        let field = u16::from_be_bytes([self.bytes[sum], self.bytes[sum + 1]]);
        // RFC 1624 §3, equation 3.
        let total = u32::from(!field) + u32::from(!(u16::from(old) << 8)) + (u32::from(new) << 8);
        let total = (total & 0xffff) + (total >> 16);
        let total = (total & 0xffff) + (total >> 16);
        self.bytes[sum..sum + 2].copy_from_slice(&(!(total as u16)).to_be_bytes());
    }

    /// Leaves a TCP checksum as a local stack leaves it for a device: the sum of the pseudo-header.
    pub fn unfinish(&mut self) {
        let length = ((self.bytes.len() - self.transport_at) as u16).to_be_bytes();
        let addresses = if self.bytes[self.ip_at] >> 4 == 4 { 12..20 } else { 8..40 };
        let pseudo = Sum16BitWords::new()
            .add_slice(&self.bytes[self.ip_at + addresses.start..self.ip_at + addresses.end])
            .add_2bytes([0, protocol::TCP])
            .add_2bytes(length);
        let field = (!pseudo.ones_complement()).to_ne_bytes();
        self.patch_transport(16, &field);
    }

    /// Overwrites a TCP header from the sequence number to the window, and mends the checksum.
    pub fn write_tcp(&mut self, fields: &[u8; 12]) {
        let at = self.transport_at;
        // The sum changes by the difference of the words that do (RFC 1624 §3).
        let old: [u8; 12] = self.bytes[at + 4..at + 16].try_into().expect("twelve bytes");
        let sum: [u8; 2] = self.bytes[at + 16..at + 18].try_into().expect("two bytes");
        let inverted = old.map(|byte| !byte);
        let sum = Sum16BitWords::new().add_2bytes(sum.map(|byte| !byte)).add_slice(&inverted).add_slice(fields).ones_complement();
        self.patch(at + 4, fields);
        self.patch(at + 16, &sum.to_ne_bytes());
    }

    fn patch(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// As a line of hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> String {
        hex(&self.bytes)
    }
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
