//! One packet in one line.

use firewall_common::{
    parse::{Descriptor, Kind},
    wire::{ethernet::ether_type, icmp, protocol},
};

use super::super::{events::describe::flags, flows::ip};
use crate::protocol as names;

/// `tcp 198.51.100.7:40000 > 10.71.2.10:443 S seq 1 window 65535, 40 bytes`.
pub(super) fn of(frame: &[u8], descriptor: &Descriptor) -> String {
    if descriptor.ip_length == 0 {
        return without_ip(frame);
    }
    let ports =
        matches!(descriptor.kind, Kind::Tcp | Kind::Udp) || names::has_ports(descriptor.key.protocol) && descriptor.kind == Kind::Other;
    let end = |address: &firewall_common::flow::Address, port: u16| match ip(address) {
        address if ports => std::net::SocketAddr::new(address, port).to_string(),
        address => address.to_string(),
    };
    let source = end(descriptor.source(), descriptor.source_port());
    let destination = end(descriptor.destination(), descriptor.destination_port());
    let name = names::name(descriptor.key.protocol);
    format!("{name} {source} > {destination}{}, {} bytes", more(descriptor), descriptor.ip_length)
}

/// A frame by the type that stands after its addresses and VLAN tags.
fn without_ip(frame: &[u8]) -> String {
    let tag = |kind: u16| matches!(kind, ether_type::VLAN | ether_type::PROVIDER_VLAN);
    let mut types =
        frame.get(12..).unwrap_or_default().chunks(4).filter_map(|chunk| Some(u16::from_be_bytes([*chunk.first()?, *chunk.get(1)?])));
    match types.find(|kind| !tag(*kind)) {
        Some(ether_type::ARP) => format!("arp, {} bytes", frame.len()),
        Some(kind) => format!("frame of type {kind:#06x}, {} bytes", frame.len()),
        None => format!("{} bytes, which are no frame", frame.len()),
    }
}

fn more(descriptor: &Descriptor) -> String {
    let mut text = String::new();
    let segment = &descriptor.segment;
    match (descriptor.kind, descriptor.security()) {
        (Kind::Tcp, _) => {
            let letters = if segment.flags == 0 { "no flags".to_owned() } else { flags(segment.flags) };
            text += &format!(" {letters} seq {}", segment.seq.0);
            if segment.flags & firewall_common::wire::tcp::flags::ACK != 0 {
                text += &format!(" ack {}", segment.ack.0);
            }
            text += &format!(" window {}", segment.window);
        }
        (_, Some(security)) => text += &format!(" spi {:#010x} sequence {}", security.spi, security.sequence.0),
        (Kind::EchoRequest | Kind::EchoReply | Kind::Icmp | Kind::IcmpError, _) => text += &icmp_text(descriptor),
        _ => {}
    }
    if descriptor.piece.is_fragment() {
        let piece = &descriptor.piece;
        text += &format!(" fragment at {}{}", piece.offset, if piece.more { ", more follow" } else { ", the last" });
    }
    text
}

fn icmp_text(descriptor: &Descriptor) -> String {
    let [kind, code] = descriptor.service;
    let name = match (descriptor.key.protocol, kind) {
        (protocol::ICMP, icmp::v4::ECHO_REQUEST) | (protocol::ICMPV6, icmp::v6::ECHO_REQUEST) => " (echo request)",
        _ if descriptor.kind == Kind::EchoReply => " (echo reply)",
        _ => "",
    };
    format!(" type {kind} code {code}{name}")
}
