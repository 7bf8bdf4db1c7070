//! Packets of a stream that are not plain TCP, UDP or echo: tunnels and their key exchange, SCTP, group membership, errors that quote a
//! packet of a live connection. And what segments of real hosts carry: options of every kind, sums that are wrong, bits that are reserved.

use crate::{
    testing::{
        builder::{Frame, Packet, Payload},
        host::{Family, Host},
    },
    wire::{
        ctcp,
        ethernet::ether_type,
        protocol,
        tcp::{HEADER, flags},
    },
};

const IGMP: u8 = 2;
const IKE: u16 = 500;
const NAT_TRAVERSAL: u16 = 4500;
/// Bytes of the longest packet an error quotes.
const QUOTED: usize = 96;

fn bytes(random: &mut fastrand::Rng, length: usize) -> Vec<u8> {
    (0..length).map(|_| random.u8(..)).collect()
}

/// A packet of one of the protocols that are no TCP.
pub(super) fn packet(random: &mut fastrand::Rng, family: Family, from: Host, to: Host) -> Packet {
    match random.u8(..8) {
        // A security parameter index, one of a few so that both directions meet again, and a sequence number.
        0 => Packet::other(family, from, to, protocol::ESP, numbered(random, 8)),
        1 => Packet::other(family, from, to, protocol::AH, [&[protocol::TCP, 4, 0, 0][..], &numbered(random, 20)].concat()),
        2 => {
            let keyed = [[0x20, 0, 8, 0], [0x30, 0x81, 0x88, 0x0b], [0, 0, 0x86, 0xdd]];
            let header = keyed[random.usize(..3)];
            Packet::other(family, from, to, protocol::GRE, [&header[..], &numbered(random, 12)].concat())
        }
        3 => sctp(random, family, from, to),
        4 => key_exchange(random, family, from, to),
        5 => {
            let kind = [0x11, 0x12, 0x16, 0x17, 0x22][random.usize(..5)];
            let hop_limit = if random.bool() { 1 } else { 64 };
            Packet { hop_limit, ..Packet::other(family, from, to, IGMP, [&[kind, 0][..], &bytes(random, 6)].concat()) }
        }
        6 => {
            let cut = random.usize(..24);
            let body = bytes(random, cut);
            Packet::other(
                family,
                from,
                to,
                [protocol::ESP, protocol::AH, protocol::GRE, protocol::SCTP, protocol::UDP_LITE][random.usize(..5)],
                body,
            )
        }
        _ => {
            let (number, length) = (random.u8(..), random.usize(..40));
            // An IPv6 extension header is no payload, and the builder knows the sums of these three.
            let number = if matches!(number, protocol::TCP | protocol::UDP | protocol::ICMP | protocol::ICMPV6) { 89 } else { number };
            Packet::other(family, from, to, number, bytes(random, length))
        }
    }
}

/// A number out of a few, and bytes.
fn numbered(random: &mut fastrand::Rng, length: usize) -> Vec<u8> {
    [&[0, 0, 1, random.u8(..4)][..], &bytes(random, length)].concat()
}

fn sctp(random: &mut fastrand::Rng, family: Family, from: Host, to: Host) -> Packet {
    let ports = [2905u16.to_be_bytes(), (2900 + random.u16(..4)).to_be_bytes()];
    let ports = if random.bool() { ports.concat() } else { [ports[1], ports[0]].concat() };
    let chunk = [1, 2, 10, 11, 0, 3, 6, 7, 8, 14][random.usize(..10)];
    Packet::other(family, from, to, protocol::SCTP, [&ports[..], &bytes(random, 8), &[chunk, 0, 0, 4]].concat())
}

/// IKE on its own port, behind a translator with the marker of four zero bytes, ESP in UDP, and the keep-alive of one byte (RFC 3948).
fn key_exchange(random: &mut fastrand::Rng, family: Family, from: Host, to: Host) -> Packet {
    let port = if random.bool() { IKE } else { NAT_TRAVERSAL };
    let (source, destination) = match random.u8(..3) {
        0 => (port, port),
        1 => (2000 + random.u16(..8), port),
        _ => (port, 2000 + random.u16(..8)),
    };
    let data = match random.u8(..4) {
        0 => vec![0xff],
        1 => [&[0; 4][..], &bytes(random, 28)].concat(),
        2 => numbered(random, 24),
        _ => bytes(random, 28),
    };
    Packet::new(family, from, to, Payload::Udp { source, destination, data })
}

/// An error of `from` to the sender of a packet, which it quotes, whole or cut, true or altered.
pub(super) fn error_about(random: &mut fastrand::Rng, quoted: &Packet, from: Host) -> Packet {
    let frame = quoted.build();
    let end = frame.bytes.len().min(frame.ip_at + QUOTED);
    let mut data = frame.bytes[frame.ip_at..end].to_vec();
    match random.u8(..4) {
        0 => data.truncate(random.usize(..=data.len())),
        1 => {
            let place = random.usize(..data.len());
            data[place] = random.u8(..);
        }
        _ => {}
    }
    let kinds: &[(u8, u8)] = match quoted.family {
        Family::V4 => &[(3, 0), (3, 1), (3, 3), (3, 4), (3, 13), (4, 0), (5, 1), (11, 0), (12, 0)],
        Family::V6 => &[(1, 0), (1, 3), (1, 4), (2, 0), (3, 0), (3, 1), (4, 0), (4, 1)],
    };
    let (kind, code) = kinds[random.usize(..kinds.len())];
    Packet::new(quoted.family, from, quoted.from, Payload::Icmp { kind, code, rest: [0, 0, 5, 0], data })
}

/// Makes of a segment's data what cTCP carries, if it is long enough: ESP, and the trailer.
pub(super) fn wrap(packet: &mut Packet) {
    let Payload::Tcp { header, data } = &mut packet.payload else { return };
    let Some(trailer_at) = data.len().checked_sub(ctcp::LENGTH as usize).filter(|at| *at >= ctcp::LEAST as usize) else { return };
    let number = header.sequence_number | 1;
    data[..4].copy_from_slice(&[0x0c, 0x71, 0, 1]);
    data[4..8].copy_from_slice(&number.to_be_bytes());
    let ([high, low], [a, b, c, d, e]) = ((number as u16).to_be_bytes(), ctcp::MAGIC);
    data[trailer_at..].copy_from_slice(&[0, 0, 0, 0, high, low, 0, 0, a, b, c, d, e, protocol::ESP, 1, 0]);
}

/// Gives a segment options as hosts send them, and now and then such as none does.
pub(super) fn dress(random: &mut fastrand::Rng, packet: &mut Packet) {
    let Payload::Tcp { header, .. } = &mut packet.payload else { return };
    let mut list = header.options.as_slice().to_vec();
    let kinds = if header.syn { 1..5 } else { 1..3 };
    for _ in 0..random.usize(kinds) {
        let option: &[u8] = match random.u8(..12) {
            0 => &[2, 4, 5, 180],
            1 => &[2, 4, 0, 1],
            2 => &[4, 2, 1, 1],
            3 | 4 => &[1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 8],
            5 => &[1, 1, 5, 10, 0, 0, 1, 0, 0, 0, 2, 0],
            6 => &[5, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 5, 1, 1],
            7 => &[19, 18, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 1, 1],
            8 => &[34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1],
            9 => &[30, 4, 0x20, 1],
            10 => &[253, 6, 0xf9, 0x89, 1, 1, 0, 0],
            _ => &[8, 9, 1, 1],
        };
        if list.len() + option.len() <= 40 {
            list.extend(option);
        }
    }
    header.set_options_raw(&list).expect("forty bytes of options at most");
}

/// What a segment's fixed header has that no sender means: reserved bits, an urgent pointer without its flag, a wrong sum.
pub(super) fn blemish(random: &mut fastrand::Rng, packet: &Packet, frame: &mut Frame) {
    if !matches!(packet.payload, Payload::Tcp { .. }) || frame.bytes.len() < frame.transport_at + HEADER as usize {
        return;
    }
    let at = frame.transport_at;
    match random.u8(..3) {
        0 => frame.bytes[at + 12] |= random.u8(1..16),
        1 => frame.bytes[at + 13] ^= flags::URG,
        _ => frame.bytes[at + 16] ^= random.u8(1..),
    }
}

/// Tags as a provider sets them: one, two, or more than are read.
pub(super) fn tags(random: &mut fastrand::Rng) -> Vec<(u16, u16)> {
    let inner = (ether_type::VLAN, random.u16(..));
    let outer = (if random.bool() { ether_type::PROVIDER_VLAN } else { ether_type::VLAN }, random.u16(..));
    match random.u8(..8) {
        0 => vec![outer, outer, inner],
        1..4 => vec![inner],
        _ => vec![outer, inner],
    }
}
