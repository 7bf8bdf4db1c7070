//! A packet described in words, with right lengths and checksums.

use std::net::{IpAddr, SocketAddr};

use etherparse::{IpNumber, PacketBuilder, PacketBuilderStep, TcpHeader, TcpOptionElement};
use firewall_common::wire::{protocol, tcp::flags};

use super::ethernet;
use crate::{
    api::{Failure, MAX_TRACED_FRAME, PacketToTrace},
    hex, protocol as names,
};

/// Source port when none is said: one of those a client takes.
const SOURCE_PORT: u16 = 50_000;
/// Hop limit when none is said.
pub const HOP_LIMIT: u8 = 64;
/// Window when none is said.
pub const WINDOW: u16 = 65_535;
/// Identifier of an echo.
const ECHO: [u8; 4] = [0x12, 0x34, 0, 1];
/// What a SYN announces: an Ethernet frame less the headers.
const MSS: [u16; 2] = [1460, 1440];

/// What is said of a packet beside who talks to whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Details {
    pub seq: Option<u32>,
    pub ack: Option<u32>,
    pub window: Option<u16>,
    pub length: Option<u16>,
    pub ttl: Option<u8>,
    pub vlan: Option<u16>,
    pub spi: Option<u32>,
}

/// A packet as it is typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    protocol: u8,
    source: SocketAddr,
    destination: SocketAddr,
    what: What,
    details: Details,
}

/// The transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Tcp(u8),
    Udp,
    /// Type and code.
    Icmp(u8, u8),
    /// ESP and AH, with an SPI.
    Security(u32),
    /// Nothing but data.
    Other,
}

/// True for a word that names a protocol.
#[must_use]
pub fn is_protocol(word: &str) -> bool {
    names::number(word).is_some()
}

impl Packet {
    /// Reads `PROTOCOL SOURCE[:PORT] DESTINATION[:PORT] [FLAGS or ICMP type]`.
    pub fn parse(words: &[String], details: Details) -> Result<Self, Failure> {
        let usage = || {
            Failure::usage("a packet is PROTOCOL SOURCE[:PORT] DESTINATION[:PORT] [FLAGS]")
                .hint("for example `weir trace tcp 198.51.100.7 10.71.2.10:443 syn`")
        };
        let (protocol, source, destination, what) = match words {
            [protocol, source, destination] => (protocol, source, destination, None),
            [protocol, source, destination, what] => (protocol, source, destination, Some(what.as_str())),
            _ => return Err(usage()),
        };
        let protocol = names::number(protocol).ok_or_else(|| {
            Failure::usage(format!("`{protocol}` is no protocol")).hint("tcp, udp, icmp, icmpv6, esp, ah, gre, sctp, udplite, or a number")
        })?;
        let ((source, source_port), (destination, destination_port)) = (end(source)?, end(destination)?);
        if source.is_ipv4() != destination.is_ipv4() {
            return Err(Failure::usage(format!("{source} and {destination} are of different families")));
        }
        check_family(protocol, source)?;
        if !names::has_ports(protocol) && (source_port.is_some() || destination_port.is_some()) {
            return Err(Failure::usage(format!("{} has no ports", names::name(protocol))));
        }
        if names::has_ports(protocol) && destination_port.is_none() {
            let example = SocketAddr::new(destination, 443);
            return Err(Failure::usage("the destination's port is missing").hint(format!("write it as {example}")));
        }
        let what = what_of(protocol, what, &details)?;
        details.check(what)?;
        let ports = (source_port.unwrap_or(SOURCE_PORT), destination_port.unwrap_or(0));
        Ok(Self { protocol, source: SocketAddr::new(source, ports.0), destination: SocketAddr::new(destination, ports.1), what, details })
    }

    /// The frame, ready to be traced.
    pub fn frame(&self) -> Result<PacketToTrace, Failure> {
        let mut frame = ethernet(self.source.is_ipv4(), self.details.vlan);
        let data = vec![0; usize::from(self.details.length.unwrap_or(0))];
        self.write(&data, &mut frame).map_err(|error| Failure::usage(format!("such a packet cannot be: {error}")))?;
        if frame.len() > MAX_TRACED_FRAME {
            return Err(Failure::usage(format!("the frame would have more than {MAX_TRACED_FRAME} bytes")));
        }
        Ok(PacketToTrace { frame: hex::write(&frame), time: None, length: None })
    }

    fn write(&self, data: &[u8], frame: &mut Vec<u8>) -> Result<(), Box<dyn std::error::Error>> {
        let ttl = self.details.ttl.unwrap_or(HOP_LIMIT);
        let header: PacketBuilderStep<_> = match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => PacketBuilder::ipv4(source.octets(), destination.octets(), ttl),
            (IpAddr::V6(source), IpAddr::V6(destination)) => PacketBuilder::ipv6(source.octets(), destination.octets(), ttl),
            _ => return Err("two families".into()),
        };
        let (from, to) = (self.source.port(), self.destination.port());
        match self.what {
            What::Tcp(bits) => header.tcp_header(self.tcp(bits)?).write(frame, data)?,
            What::Udp => header.udp(from, to).write(frame, data)?,
            What::Icmp(kind, code) if self.source.is_ipv4() => header.icmpv4_raw(kind, code, ECHO).write(frame, data)?,
            What::Icmp(kind, code) => header.icmpv6_raw(kind, code, ECHO).write(frame, data)?,
            What::Security(spi) => {
                let body = security(self.protocol, spi, self.details.seq.unwrap_or(1), data);
                header.write(frame, IpNumber(self.protocol), &body)?;
            }
            What::Other => {
                // SCTP and UDP-Lite begin with their ports.
                let ports = if names::has_ports(self.protocol) { [from.to_be_bytes(), to.to_be_bytes()].concat() } else { Vec::new() };
                let rest = if ports.is_empty() { Vec::new() } else { vec![0; 8] };
                header.write(frame, IpNumber(self.protocol), &[&ports, &rest, data].concat())?;
            }
        }
        Ok(())
    }

    fn tcp(&self, bits: u8) -> Result<TcpHeader, Box<dyn std::error::Error>> {
        let Details { seq, ack, window, .. } = self.details;
        let has = |bit: u8| bits & bit != 0;
        let mut header = TcpHeader::new(self.source.port(), self.destination.port(), seq.unwrap_or(1), window.unwrap_or(WINDOW));
        header.acknowledgment_number = ack.unwrap_or(0);
        (header.fin, header.syn, header.rst, header.psh) = (has(flags::FIN), has(flags::SYN), has(flags::RST), has(flags::PSH));
        (header.ack, header.urg, header.ece, header.cwr) = (has(flags::ACK), has(flags::URG), has(flags::ECE), has(flags::CWR));
        if header.syn {
            header.set_options(&[TcpOptionElement::MaximumSegmentSize(MSS[usize::from(self.source.is_ipv6())])])?;
        }
        Ok(header)
    }
}

impl Details {
    /// Refuses what has no meaning for the packet.
    fn check(&self, what: What) -> Result<(), Failure> {
        let tcp = matches!(what, What::Tcp(_));
        let security = matches!(what, What::Security(_));
        for (option, given, fits) in [
            ("--seq", self.seq.is_some(), tcp || security),
            ("--ack", self.ack.is_some(), tcp),
            ("--window", self.window.is_some(), tcp),
            ("--spi", self.spi.is_some(), security),
        ] {
            if given && !fits {
                return Err(Failure::usage(format!("{option} has no meaning for this protocol")));
            }
        }
        Ok(())
    }
}

/// `ADDRESS`, `ADDRESS:PORT` or `[ADDRESS]:PORT`.
fn end(word: &str) -> Result<(IpAddr, Option<u16>), Failure> {
    if let Ok(address) = word.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        return Ok((address, None));
    }
    let with_port: Result<SocketAddr, _> = word.parse();
    with_port.map(|end| (end.ip(), Some(end.port()))).map_err(|_| {
        Failure::usage(format!("`{word}` is no address, with or without a port"))
            .hint("write 198.51.100.7, 198.51.100.7:40000, 2001:db8::7 or [2001:db8::7]:40000")
    })
}

fn check_family(protocol: u8, address: IpAddr) -> Result<(), Failure> {
    match (protocol, address) {
        (protocol::ICMP, IpAddr::V6(_)) => Err(Failure::usage("icmp is IPv4's").hint("IPv6 has icmpv6")),
        (protocol::ICMPV6, IpAddr::V4(_)) => Err(Failure::usage("icmpv6 is IPv6's").hint("IPv4 has icmp")),
        _ => Ok(()),
    }
}

fn what_of(protocol: u8, word: Option<&str>, details: &Details) -> Result<What, Failure> {
    match protocol {
        protocol::TCP => Ok(What::Tcp(tcp_flags(word.unwrap_or("syn"))?)),
        protocol::ICMP | protocol::ICMPV6 => icmp(protocol, word.unwrap_or("echo-request")),
        _ if word.is_some() => {
            Err(Failure::usage(format!("`{}` is one word too many: {} has no flags", word.unwrap_or_default(), names::name(protocol))))
        }
        protocol::UDP => Ok(What::Udp),
        protocol::ESP | protocol::AH => Ok(What::Security(details.spi.unwrap_or(0x1000))),
        _ => Ok(What::Other),
    }
}

/// What hosts send, by name, or the flags' letters.
fn tcp_flags(word: &str) -> Result<u8, Failure> {
    Ok(match word.to_ascii_lowercase().as_str() {
        "syn" => flags::SYN,
        "syn-ack" | "synack" => flags::SYN | flags::ACK,
        "ack" => flags::ACK,
        "data" => flags::PSH | flags::ACK,
        "fin" => flags::FIN | flags::ACK,
        "rst" => flags::RST,
        "rst-ack" => flags::RST | flags::ACK,
        "none" => 0,
        letters => {
            let mut bits = 0;
            for letter in letters.chars() {
                bits |= match letter {
                    's' => flags::SYN,
                    'a' => flags::ACK,
                    'f' => flags::FIN,
                    'r' => flags::RST,
                    'p' => flags::PSH,
                    'u' => flags::URG,
                    'e' => flags::ECE,
                    'c' => flags::CWR,
                    _ => {
                        return Err(Failure::usage(format!("`{word}` are no TCP flags"))
                            .hint("syn, syn-ack, ack, data, fin, rst, rst-ack, none, or letters of SAFRPUEC"));
                    }
                };
            }
            bits
        }
    })
}

/// `echo-request`, `echo-reply`, or `TYPE[/CODE]` in numbers.
fn icmp(protocol: u8, word: &str) -> Result<What, Failure> {
    let v4 = protocol == protocol::ICMP;
    match word {
        "echo-request" => return Ok(What::Icmp(if v4 { 8 } else { 128 }, 0)),
        "echo-reply" => return Ok(What::Icmp(if v4 { 0 } else { 129 }, 0)),
        _ => {}
    }
    let (kind, code) = word.split_once('/').unwrap_or((word, "0"));
    match (kind.parse(), code.parse()) {
        (Ok(kind), Ok(code)) => Ok(What::Icmp(kind, code)),
        _ => Err(Failure::usage(format!("`{word}` is no ICMP message")).hint("echo-request, echo-reply, TYPE or TYPE/CODE in numbers")),
    }
}

/// An ESP packet (RFC 4303 §2), or an AH header with a checksum of twelve bytes before the data (RFC 4302 §2).
fn security(protocol: u8, spi: u32, sequence: u32, data: &[u8]) -> Vec<u8> {
    const NO_NEXT_HEADER: u8 = 59;
    /// In words of four bytes, less two.
    const AH_LENGTH: u8 = 4;
    let mut body = if protocol == protocol::AH { vec![NO_NEXT_HEADER, AH_LENGTH, 0, 0] } else { Vec::new() };
    body.extend(spi.to_be_bytes());
    body.extend(sequence.to_be_bytes());
    // An ESP trailer and its check value, or AH's check value.
    body.extend([0; 12]);
    body.extend(data);
    body
}

#[cfg(test)]
mod tests {
    use firewall_common::{
        normalize::checksum,
        parse::{self, Descriptor, Kind},
    };

    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn bytes(text: &str, details: Details) -> Vec<u8> {
        let packet = Packet::parse(&words(text), details).unwrap_or_else(|failure| panic!("{text}: {failure}"));
        let frame = packet.frame().expect("a frame").frame;
        hex::read(&frame).expect("digits")
    }

    fn described(text: &str, details: Details) -> Descriptor {
        let frame = bytes(text, details);
        let mut descriptor = Descriptor::EMPTY;
        parse::parse(&frame.as_slice(), false, &mut descriptor).unwrap_or_else(|reason| panic!("{text}: {reason:?}"));
        if descriptor.kind == Kind::Tcp {
            assert!(checksum::acceptable(&frame.as_slice(), &descriptor, false), "{text}: the checksum is wrong");
        }
        descriptor
    }

    #[test]
    fn described_packets_are_what_was_said() {
        let details = Details { seq: Some(7), ack: Some(9), window: Some(100), length: Some(5), ttl: Some(3), ..Details::default() };
        let packet = described("tcp 198.51.100.7:40000 10.71.2.10:443 data", details);
        assert_eq!((packet.segment.seq.0, packet.segment.ack.0, packet.segment.window, packet.segment.length), (7, 9, 100, 5));
        assert_eq!((packet.source_port(), packet.destination_port(), packet.hop_limit, packet.segment.flags), (40000, 443, 3, 0x18));
        let packet = described("tcp 2001:db8::7 [2001:db8::10]:443", Details::default());
        assert_eq!((packet.source_port(), packet.segment.flags, packet.options.mss, packet.v4), (SOURCE_PORT, 0x02, 1440, false));
        assert_eq!(described("udp 192.0.2.1 192.0.2.2:53", Details::default()).kind, Kind::Udp);
        assert_eq!(described("icmp 192.0.2.1 192.0.2.2", Details::default()).service, [8, 0]);
        assert_eq!(described("icmp 192.0.2.1 192.0.2.2 13/2", Details::default()).service, [13, 2]);
        assert_eq!(described("icmpv6 2001:db8::1 2001:db8::2 echo-reply", Details::default()).kind, Kind::EchoReply);
        let spi = Details { spi: Some(0xabcd), ..Details::default() };
        for protocol in ["esp", "ah"] {
            let packet = described(&format!("{protocol} 192.0.2.1 192.0.2.2"), spi);
            assert_eq!(packet.security().map(|security| security.spi), Some(0xabcd), "{protocol}");
        }
        assert_eq!(described("sctp 192.0.2.1:9 192.0.2.2:80", Details::default()).destination_port(), 80);
        assert_eq!(described("89 192.0.2.1 192.0.2.2", Details::default()).key.protocol, 89);
        let tagged = bytes("udp 192.0.2.1 192.0.2.2:53", Details { vlan: Some(7), ..Details::default() });
        assert_eq!(tagged[12..18], [0x81, 0, 0, 7, 8, 0]);
    }

    #[test]
    fn flags_are_words_or_letters() {
        for (word, bits) in
            [("syn", 0x02), ("SA", 0x12), ("Syn-Ack", 0x12), ("fin", 0x11), ("F", 0x01), ("none", 0), ("rst", 4), ("ec", 0xc0)]
        {
            assert_eq!(tcp_flags(word), Ok(bits), "{word}");
        }
        assert!(tcp_flags("sx").is_err());
    }

    #[test]
    fn mistakes_are_told() {
        for (text, word) in [
            ("tcp 192.0.2.1", "PROTOCOL"),
            ("tpc 192.0.2.1 192.0.2.2:1", "no protocol"),
            ("tcp 192.0.2.1 192.0.2.2", "port is missing"),
            ("tcp 192.0.2.1 2001:db8::1", "families"),
            ("tcp 192.0.2.1 192.0.2:80", "no address"),
            ("icmp 2001:db8::1 2001:db8::2", "IPv4's"),
            ("icmp 192.0.2.1:7 192.0.2.2", "no ports"),
            ("icmp 192.0.2.1 192.0.2.2 ping", "no ICMP message"),
            ("udp 192.0.2.1 192.0.2.2:53 syn", "one word too many"),
            ("tcp 192.0.2.1 192.0.2.2:1 syn x", "PROTOCOL"),
        ] {
            let failure = Packet::parse(&words(text), Details::default()).expect_err(text);
            assert!(failure.error.contains(word), "{text}: {failure}");
        }
        let spi = Details { spi: Some(1), ..Details::default() };
        assert!(Packet::parse(&words("udp 192.0.2.1 192.0.2.2:53"), spi).is_err_and(|failure| failure.error.contains("--spi")));
    }
}
