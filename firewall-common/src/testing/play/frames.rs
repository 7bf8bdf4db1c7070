//! The frame of a script's line.

use super::{Conversation, FROM_CLIENT, FROM_SERVER};
use crate::{
    env::Arrival,
    flow::{Endpoint, FlowKey, NO_SCALE},
    normalize::randomize,
    seq::Seq,
    testing::{
        builder::{Frame, Packet, Part, Payload},
        ctcp,
        host::{CLIENT, Family, Host, OTHER, SERVER},
        script::{About, Edit, Kind, Number, Place, Send, Side},
        world::SECRET,
    },
    wire::{
        ethernet::ether_type,
        protocol,
        tcp::{Segment, flags},
    },
};

pub(super) fn frame(send: &Send, family: Family, conversation: &Conversation) -> (Vec<u8>, Arrival) {
    let (frame, arrival) = tampered(send, family, conversation);
    (frame.bytes, arrival)
}

/// A line's frame with all its edits, and where it comes in.
fn tampered(send: &Send, family: Family, conversation: &Conversation) -> (Frame, Arrival) {
    let (from, to, mut arrival) = match send.side {
        Side::Client => (CLIENT, SERVER, FROM_CLIENT),
        Side::Other => (OTHER, SERVER, FROM_CLIENT),
        Side::Server => (SERVER, CLIENT, FROM_SERVER),
    };
    let mut packet = packet(send, family, conversation, from, to);
    for edit in &send.edits {
        edit_packet(&mut packet, edit, conversation.first[usize::from(send.side != Side::Server)]);
        if let Edit::Zone(zone) = edit {
            arrival.zone = *zone;
        }
    }
    let mut frame = packet.build();
    if let Kind::Ethernet(ether_type) = send.kind {
        frame.bytes[12..14].copy_from_slice(&ether_type.to_be_bytes());
    }
    for edit in &send.edits {
        tamper(&mut frame, family, edit);
    }
    (frame, arrival)
}

fn packet(send: &Send, family: Family, conversation: &Conversation, from: Host, to: Host) -> Packet {
    let own = usize::from(send.side == Side::Server);
    let (sport, dport) = (conversation.ports[own], conversation.ports[1 - own]);
    match send.kind {
        Kind::Tcp(flags) => {
            let shift = shift(send, FlowKey::new(protocol::TCP, end(from, sport, family), end(to, dport, family)));
            let segment = Segment {
                seq: absolute(send.seq, conversation.first[own]).add(shift.0),
                ack: absolute(send.ack, conversation.first[1 - own]).add(shift.1),
                length: send.length,
                window: u16::MAX,
                flags,
                scale: NO_SCALE,
            };
            Packet::tcp(family, (from, sport), (to, dport), &segment)
        }
        Kind::Udp => Packet::udp(family, (from, sport), (to, dport), send.length as usize),
        Kind::Echo { reply } => Packet::echo(family, from, to, reply, conversation.ports[0]),
        Kind::Icmp { kind, code } => Packet::icmp(family, from, to, kind, code, [0; 4], send.length as usize),
        Kind::Ethernet(_) => Packet::other(family, from, to, 0, Vec::new()),
        Kind::Ip(protocol) => Packet::other(family, from, to, protocol, vec![0; 32 + send.length as usize]),
        Kind::Esp { spi, sequence } => Packet::esp(family, from, to, spi, sequence, send.length as usize),
        Kind::Ah { spi, sequence } => Packet::ah(family, from, to, spi, sequence, send.length as usize),
        Kind::Error { about, ref quoted } => {
            let (inner, _) = tampered(quoted, family, conversation);
            Packet::error(family, from, to, error_type(family, about), &quote_of(&inner, send))
        }
    }
}

fn end(host: Host, port: u16, family: Family) -> Endpoint {
    Endpoint { address: host.address(family), port }
}

/// What randomization adds to a segment's sequence and acknowledgement number where the line sees it.
fn shift(send: &Send, (key, source_is_low): (FlowKey, bool)) -> (u32, u32) {
    let (low, high) = randomize::offsets(&SECRET, &key);
    let (own, peer) = if source_is_low { (low, high) } else { (high, low) };
    match send.kind {
        Kind::Tcp(_) if send.edits.contains(&Edit::Behind) => (own, 0),
        Kind::Tcp(set) if send.edits.contains(&Edit::Before) && set & flags::ACK != 0 => (0, peer),
        _ => (0, 0),
    }
}

/// Type and code of an error.
const fn error_type(family: Family, about: About) -> (u8, u8) {
    match (family, about) {
        (Family::V4, About::Unreachable) => (3, 3),
        (Family::V4, About::TooBig) => (3, 4),
        (Family::V4, About::TimeExceeded) => (11, 0),
        (Family::V4, About::ParameterProblem) => (12, 0),
        (Family::V6, About::Unreachable) => (1, 4),
        (Family::V6, About::TooBig) => (2, 0),
        (Family::V6, About::TimeExceeded) => (3, 0),
        (Family::V6, About::ParameterProblem) => (4, 0),
    }
}

/// What an error quotes of a packet: its IP header, and as many bytes behind it as it is told to.
fn quote_of(frame: &Frame, send: &Send) -> Vec<u8> {
    let length = send.edits.iter().find_map(|edit| if let Edit::Quote(length) = edit { Some(*length) } else { None }).unwrap_or(32);
    frame.bytes[frame.ip_at..frame.bytes.len().min(frame.transport_at + length)].to_vec()
}

fn absolute(number: Number, first: u32) -> Seq {
    match number {
        Number::Relative(offset) => Seq(first.wrapping_add(offset as u32)),
        Number::Bare(number) => Seq(number),
    }
}

fn edit_packet(packet: &mut Packet, edit: &Edit, peer_first: u32) {
    match edit {
        Edit::Sack(blocks) => {
            let edge = |offset: i64| peer_first.wrapping_add(offset as u32).to_be_bytes();
            let blocks: Vec<u8> = blocks.iter().flat_map(|(left, right)| [edge(*left), edge(*right)].concat()).collect();
            let head = [1, 1, 5, u8::try_from(2 + blocks.len()).expect("few blocks")];
            edit_payload(&mut packet.payload, &Edit::Options([&head[..], &blocks].concat()));
        }
        Edit::IpOptions(options) => packet.ip_options.clone_from(options),
        Edit::Extensions(numbers) => packet.extensions.extend(numbers.iter().map(|number| (*number, vec![0; 6]))),
        Edit::InnerExtensions(numbers) => packet.inner.extend(numbers.iter().map(|number| (*number, vec![0; 6]))),
        Edit::Routing(kind, left) => packet.extensions.push((protocol::ROUTING, vec![*kind, *left, 0, 0, 0, 0])),
        Edit::LongOptions(length) => packet.extensions.push((protocol::DESTINATION_OPTIONS, vec![0; length - 2])),
        Edit::DontFragment => packet.dont_fragment = true,
        Edit::HopLimit(hops) => packet.hop_limit = *hops,
        Edit::Vlan(tags) => {
            packet.tags =
                (0..*tags).map(|tag| (if tag + 1 == *tags { ether_type::VLAN } else { ether_type::PROVIDER_VLAN }, 100)).collect();
        }
        Edit::Fragment { offset, length, more } => {
            packet.part = Some(Part { offset: *offset, length: Some(*length), more: *more, identification: 4711 });
        }
        Edit::Identification(identification) => packet.part = packet.part.map(|part| Part { identification: *identification, ..part }),
        Edit::Source(place) => packet.from = elsewhere(packet.from, packet.to, *place),
        Edit::Destination(place) => packet.to = elsewhere(packet.to, packet.from, *place),
        _ => edit_payload(&mut packet.payload, edit),
    }
}

fn edit_payload(payload: &mut Payload, edit: &Edit) {
    match (payload, edit) {
        (Payload::Tcp { header, .. }, Edit::Window(window)) => header.window_size = *window,
        (Payload::Tcp { header, .. }, Edit::Urgent(pointer)) => header.urgent_pointer = *pointer,
        (Payload::Tcp { header, .. }, Edit::Options(more)) => {
            let options = [header.options.as_slice(), more].concat();
            header.set_options_raw(&options).expect("forty bytes of options at most");
        }
        (payload @ Payload::Tcp { .. }, Edit::Timestamp(value)) => {
            let option = [&[1, 1, 8, 10][..], &value.to_be_bytes(), &[0; 4]].concat();
            edit_payload(payload, &Edit::Options(option));
        }
        (Payload::Tcp { data, .. }, Edit::Data(byte)) => data.fill(*byte),
        (Payload::Tcp { data, .. }, Edit::Ctcp { spi, sequence, trailer }) => {
            ctcp::esp(data, *spi, *sequence);
            if *trailer {
                ctcp::trailer(data, protocol::ESP);
            }
        }
        (Payload::Tcp { data, .. }, Edit::CtcpIke) => {
            ctcp::ike(data);
            ctcp::trailer(data, protocol::UDP);
        }
        (Payload::Tcp { data, .. }, Edit::Spoil(what)) => ctcp::spoil(data, *what),
        (Payload::Tcp { header, .. }, Edit::SourcePort(port)) => header.source_port = *port,
        (Payload::Tcp { header, .. }, Edit::DestinationPort(port)) => header.destination_port = *port,
        (Payload::Udp { data: own, .. } | Payload::Icmp { data: own, .. } | Payload::Other { bytes: own, .. }, Edit::Bytes(bytes)) => {
            let rest = own.split_off(bytes.len().min(own.len()));
            *own = [&bytes[..], &rest].concat();
        }
        (Payload::Udp { data: own, .. } | Payload::Icmp { data: own, .. } | Payload::Other { bytes: own, .. }, Edit::Size(size)) => {
            own.resize(*size, 0);
        }
        (Payload::Icmp { rest, .. }, Edit::Rest(bytes)) => *rest = *bytes,
        (Payload::Icmp { rest, .. }, Edit::Mtu(mtu)) => rest[2..].copy_from_slice(&mtu.to_be_bytes()),
        (Payload::Udp { source, .. }, Edit::SourcePort(port)) => *source = *port,
        (Payload::Udp { destination, .. }, Edit::DestinationPort(port)) => *destination = *port,
        _ => {}
    }
}

fn elsewhere(host: Host, peer: Host, place: Place) -> Host {
    let (v4, v6) = match place {
        Place::Peer => return peer,
        Place::Client => return CLIENT,
        Place::LinkLocal => ([169, 254, 0, 1], (0xfe80u128 << 112 | 1).to_be_bytes()),
        Place::Solicited => ([224, 0, 0, 1], (0xff02u128 << 112 | 0x01_ff00_0010).to_be_bytes()),
        Place::Loopback => ([127, 0, 0, 1], 1u128.to_be_bytes()),
        Place::Zero => ([0, 0, 0, 1], [0; 16]),
        Place::Multicast => ([224, 0, 0, 5], (0xff02u128 << 112 | 5).to_be_bytes()),
    };
    Host { v4, v6, ..host }
}

fn tamper(frame: &mut Frame, family: Family, edit: &Edit) {
    let version = frame.bytes[frame.ip_at];
    match edit {
        Edit::DataOffset(words) => frame.patch_transport(12, &[words << 4]),
        Edit::IpLength(length) => frame.patch_ip(if family == Family::V4 { 2 } else { 4 }, &length.to_be_bytes()),
        Edit::HeaderLength(words) => frame.patch_ip(0, &[version & 0xf0 | words]),
        Edit::Version(number) => {
            let ip_at = frame.ip_at;
            frame.bytes[ip_at] = number << 4 | version & 0x0f;
        }
        Edit::Cut(bytes) => frame.bytes.truncate(frame.transport_at + bytes),
        Edit::Pad(bytes) => frame.bytes.extend(vec![0; *bytes]),
        Edit::BadChecksum => {
            let at = frame.ip_at + 10;
            frame.bytes[at] ^= 0x55;
        }
        Edit::TcpChecksum { unfinished: false } => frame.bytes[frame.transport_at + 16] ^= 0x55,
        Edit::TcpChecksum { unfinished: true } => frame.unfinish(),
        Edit::Reserved(bits) => frame.set_reserved(*bits),
        Edit::UdpLength(length) => frame.patch_transport(4, &length.to_be_bytes()),
        Edit::NextHeader(number) => frame.bytes[frame.transport_at - 8] = *number,
        _ => {}
    }
}
