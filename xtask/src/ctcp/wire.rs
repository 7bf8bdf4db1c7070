//! The wire format: an IPv4 packet with a TCP header without options, an ESP packet and the 16-byte trailer.
//!
//! Never panics on any input.

use std::net::SocketAddrV4;

use etherparse::{IpHeaders, IpNumber, Ipv4Header, PacketBuilder, SlicedPacket, TcpHeader, TcpSlice, TransportSlice};
use thiserror::Error;

use crate::pattern::Pattern;

/// The window every segment advertises. Nobody scales it, nobody obeys it.
const WINDOW: u16 = u16::MAX;
const TIME_TO_LIVE: u8 = 64;
const ESP_HEADER: usize = 8;
pub(super) const TRAILER: usize = 16;

/// Offsets inside the trailer.
mod field {
    use std::ops::Range;

    pub(super) const ZERO: Range<usize> = 0..4;
    pub(super) const SEQUENCE: Range<usize> = 4..6;
    /// Direction of an IKE message, zero for ESP.
    pub(super) const DIRECTION: Range<usize> = 6..8;
    pub(super) const MAGIC: Range<usize> = 8..13;
    pub(super) const PROTOCOL: usize = 13;
    pub(super) const MAGIC_END: Range<usize> = 14..16;
}

const MAGIC: [u8; 5] = [0x21, 0x45, 0x6c, 0x69, 0x10];
const MAGIC_END: [u8; 2] = [0x01, 0x00];
const PROTOCOL_ESP: u8 = 0x32;

/// Why bytes are not what they should be.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub(super) enum Malformed {
    #[error("not an IPv4 packet with a whole TCP header")]
    NotTcp,
    #[error("the TCP checksum is wrong")]
    Checksum,
    #[error("too short for an ESP header and a trailer")]
    Short,
    #[error("the trailer is not that of an ESP packet")]
    Trailer,
    #[error("the ciphertext is not the one that was sent")]
    Ciphertext,
}

/// What a segment is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Syn,
    SynAck,
    /// Data or a bare acknowledgement: the flags are the same.
    Ack,
    Reset,
    Other,
}

/// One TCP segment with its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) source: SocketAddrV4,
    pub(super) destination: SocketAddrV4,
    pub(super) kind: Kind,
    pub(super) sequence: u32,
    pub(super) acknowledgement: u32,
    pub(super) payload: Vec<u8>,
}

impl Segment {
    /// The IPv4 packet, checksums included.
    pub(super) fn encode(&self, identification: u16) -> Vec<u8> {
        let mut ip = Ipv4Header {
            time_to_live: TIME_TO_LIVE,
            protocol: IpNumber::TCP,
            source: self.source.ip().octets(),
            destination: self.destination.ip().octets(),
            identification,
            ..Ipv4Header::default()
        };
        ip.dont_fragment = false;
        let mut tcp = TcpHeader::new(self.source.port(), self.destination.port(), self.sequence, WINDOW);
        tcp.syn = matches!(self.kind, Kind::Syn | Kind::SynAck);
        tcp.ack = matches!(self.kind, Kind::Ack | Kind::SynAck);
        tcp.rst = self.kind == Kind::Reset;
        tcp.acknowledgment_number = self.acknowledgement;
        let builder = PacketBuilder::ip(IpHeaders::Ipv4(ip, etherparse::Ipv4Extensions::default())).tcp_header(tcp);
        let mut packet = Vec::with_capacity(builder.size(self.payload.len()));
        // Writing into memory fails only for a payload above 64 KiB: the sizes accepted on the command line are far below.
        if builder.write(&mut packet, &self.payload).is_err() {
            packet.clear();
        }
        packet
    }

    pub(super) fn decode(packet: &[u8]) -> Result<Self, Malformed> {
        let sliced = SlicedPacket::from_ip(packet).map_err(|_| Malformed::NotTcp)?;
        let (Some(net), Some(TransportSlice::Tcp(tcp))) = (sliced.net, sliced.transport) else { return Err(Malformed::NotTcp) };
        let ip = net.ipv4_ref().ok_or(Malformed::NotTcp)?.header();
        if tcp.calc_checksum_ipv4(ip.source(), ip.destination()) != Ok(tcp.checksum()) {
            return Err(Malformed::Checksum);
        }
        Ok(Self {
            source: SocketAddrV4::new(ip.source_addr(), tcp.source_port()),
            destination: SocketAddrV4::new(ip.destination_addr(), tcp.destination_port()),
            kind: kind(&tcp),
            sequence: tcp.sequence_number(),
            acknowledgement: tcp.acknowledgment_number(),
            payload: tcp.payload().to_vec(),
        })
    }
}

fn kind(tcp: &TcpSlice<'_>) -> Kind {
    match (tcp.syn(), tcp.ack(), tcp.rst(), tcp.fin()) {
        (true, false, false, false) => Kind::Syn,
        (true, true, false, false) => Kind::SynAck,
        (false, true, false, false) => Kind::Ack,
        (false, _, true, false) => Kind::Reset,
        _ => Kind::Other,
    }
}

/// An ESP packet whose ciphertext follows from SPI and sequence, so that its receiver can tell it from a damaged one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Esp {
    pub(super) spi: u32,
    pub(super) sequence: u32,
}

impl Esp {
    fn ciphertext(self) -> Pattern {
        Pattern::new(u64::from(self.spi) << 32 | u64::from(self.sequence))
    }

    /// The payload of one segment, `length` bytes with header and trailer (less than both is not possible).
    pub(super) fn encode(self, length: usize) -> Vec<u8> {
        let mut payload = Vec::with_capacity(length);
        payload.extend(self.spi.to_be_bytes());
        payload.extend(self.sequence.to_be_bytes());
        let mut ciphertext = vec![0; length.saturating_sub(ESP_HEADER + TRAILER)];
        self.ciphertext().fill(&mut ciphertext);
        payload.extend(ciphertext);
        let mut trailer = [0; TRAILER];
        // The trailer counts with 16 bits: the low half of the ESP sequence.
        trailer[field::SEQUENCE].copy_from_slice(&self.sequence.to_be_bytes()[2..]);
        trailer[field::MAGIC].copy_from_slice(&MAGIC);
        trailer[field::PROTOCOL] = PROTOCOL_ESP;
        trailer[field::MAGIC_END].copy_from_slice(&MAGIC_END);
        payload.extend(trailer);
        payload
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let (packet, trailer) = payload.split_last_chunk::<TRAILER>().ok_or(Malformed::Short)?;
        let (header, ciphertext) = packet.split_first_chunk::<ESP_HEADER>().ok_or(Malformed::Short)?;
        let [s0, s1, s2, s3, n0, n1, n2, n3] = *header;
        let esp = Self { spi: u32::from_be_bytes([s0, s1, s2, s3]), sequence: u32::from_be_bytes([n0, n1, n2, n3]) };
        let genuine = trailer[field::ZERO] == [0; 4]
            && trailer[field::SEQUENCE] == [n2, n3]
            && trailer[field::DIRECTION] == [0; 2]
            && trailer[field::MAGIC] == MAGIC
            && trailer[field::PROTOCOL] == PROTOCOL_ESP
            && trailer[field::MAGIC_END] == MAGIC_END;
        if !genuine {
            return Err(Malformed::Trailer);
        }
        if !esp.ciphertext().matches(ciphertext) {
            return Err(Malformed::Ciphertext);
        }
        Ok(esp)
    }
}

#[cfg(test)]
mod tests;
