//! The packet an ICMP error quotes, and what an error does to its flow: nothing.

use firewall_common::{
    flow::{FlowKey, Inspection, NO_SCALE},
    parse::{Descriptor, Kind, parse},
    reason::Reason,
    rule::Action,
    seq::Seq,
    testing::{
        builder::{Packet, Part},
        host::{CLIENT, Family, OTHER, SERVER},
        play::{FROM_CLIENT, FROM_SERVER},
        tables::{THE_RULE, Tables},
        world::World,
    },
    verdict::Verdict,
    wire::{
        protocol, quote,
        tcp::{Segment, flags},
    },
};
use proptest::{collection::vec, prelude::*};

const BOTH: [Family; 2] = [Family::V4, Family::V6];

const fn too_big(family: Family) -> (u8, u8) {
    match family {
        Family::V4 => (3, 4),
        Family::V6 => (2, 0),
    }
}

fn segment(seq: u32) -> Segment {
    Segment { seq: Seq(seq), ack: Seq(2), length: 60, window: 100, flags: flags::ACK, scale: NO_SCALE }
}

fn server_segment(family: Family) -> Packet {
    Packet::tcp(family, (SERVER, 443), (CLIENT, 2000), &segment(77))
}

/// An error of the client's about `packet`, of which `length` bytes behind the IP header are quoted.
fn error(packet: &Packet, length: usize) -> Vec<u8> {
    let frame = packet.build();
    let quoted = &frame.bytes[frame.ip_at..frame.bytes.len().min(frame.transport_at + length)];
    Packet::error(packet.family, CLIENT, SERVER, too_big(packet.family), quoted).build().bytes
}

/// Reads an error and the packet it quotes.
fn read(frame: &[u8]) -> Result<Descriptor, Reason> {
    let mut descriptor = Descriptor::EMPTY;
    parse(&frame, false, &mut descriptor)?;
    assert_eq!(descriptor.kind, Kind::IcmpError);
    quote::read(&frame, &mut descriptor)?;
    Ok(descriptor)
}

/// The descriptor of the packet itself, as it went by.
fn itself(packet: &Packet) -> Descriptor {
    let mut descriptor = Descriptor::EMPTY;
    let frame = packet.build().bytes;
    parse(&&frame[..], true, &mut descriptor).expect("a good packet");
    descriptor
}

#[test]
fn a_quote_has_the_key_of_its_packet() {
    for family in BOTH {
        let (server, client) = ((SERVER, 53), (CLIENT, 2000));
        let sctp = [0, 80, 0, 90, 0, 0, 0, 1, 0, 0, 0, 0].to_vec();
        let packets = [
            server_segment(family),
            Packet { ip_options: if family == Family::V4 { vec![1; 40] } else { Vec::new() }, ..server_segment(family) },
            Packet {
                extensions: if family == Family::V6 { vec![(protocol::DESTINATION_OPTIONS, vec![0; 14]); 3] } else { Vec::new() },
                ..server_segment(family)
            },
            Packet::udp(family, server, client, 100),
            Packet::echo(family, SERVER, CLIENT, false, 77),
            Packet::echo(family, SERVER, CLIENT, true, 77),
            Packet::esp(family, SERVER, CLIENT, 4096, 1, 40),
            Packet::ah(family, SERVER, CLIENT, 4096, 1, 40),
            Packet::other(family, SERVER, CLIENT, protocol::GRE, vec![0, 0, 8, 0, 0, 0, 0, 0]),
            Packet::other(family, SERVER, CLIENT, protocol::SCTP, sctp),
            Packet::other(family, SERVER, CLIENT, 89, vec![0; 20]),
        ];
        for packet in packets {
            for length in [8, 9, 40, 500] {
                let (quoted, own) = (read(&error(&packet, length)).expect("a good quote"), itself(&packet));
                assert_eq!((quoted.key, quoted.source_is_low), (own.key, own.source_is_low), "{packet:?}");
                assert_eq!((quoted.kind, quoted.service), (own.kind, own.service), "{packet:?}");
                if own.kind == Kind::Tcp {
                    assert_eq!(quoted.segment.seq, own.segment.seq);
                }
            }
        }
    }
}

#[test]
fn a_quote_without_eight_bytes_of_transport_is_refused() {
    for family in BOTH {
        let packet = server_segment(family);
        for length in 0..8 {
            assert_eq!(read(&error(&packet, length)).err(), Some(Reason::IcmpErrorBadQuote), "{length} bytes");
        }
        let frame = packet.build();
        for length in 0..frame.transport_at - frame.ip_at {
            let quoted = &frame.bytes[frame.ip_at..frame.ip_at + length];
            let error = Packet::error(family, CLIENT, SERVER, too_big(family), quoted).build().bytes;
            assert_eq!(read(&error).err(), Some(Reason::IcmpErrorBadQuote), "{length} bytes of the IP header");
        }
    }
}

#[test]
fn a_quote_of_somebody_elses_packet_is_refused() {
    for family in BOTH {
        for from in [CLIENT, OTHER] {
            let packet = Packet::tcp(family, (from, 443), (SERVER, 2000), &segment(77));
            assert_eq!(read(&error(&packet, 20)).err(), Some(Reason::IcmpErrorOtherFlow));
        }
    }
}

#[test]
fn a_quoted_fragment_has_ports_only_when_it_is_the_first() {
    for family in BOTH {
        let part = |offset| Some(Part { offset, length: Some(40), more: true, identification: 9 });
        let datagram = Packet::udp(family, (SERVER, 53), (CLIENT, 2000), 200);
        let first = read(&error(&Packet { part: part(0), ..datagram.clone() }, 30)).expect("a good quote");
        assert_eq!((first.kind, first.key), (Kind::Udp, itself(&datagram).key));
        let later = read(&error(&Packet { part: part(64), ..datagram }, 30)).expect("a good quote");
        assert_eq!(later.kind, Kind::LaterFragment);
    }
}

/// A world that allows everything but ICMP, and a connection in it that both sides have confirmed.
fn connected(family: Family) -> (World, FlowKey) {
    let world = World::under(&Tables::everything(Action::Allow, Inspection::Strict).without_icmp());
    let (client, server) = ((CLIENT, 2000), (SERVER, 443));
    let send = |from, to, seq, ack, set, arrival| {
        let segment = Segment { seq: Seq(seq), ack: Seq(ack), length: 0, window: 1000, flags: set, scale: NO_SCALE };
        assert_eq!(world.judge(&Packet::tcp(family, from, to, &segment).build().bytes, arrival), Verdict::Learn);
    };
    send(client, server, 0, 0, flags::SYN, FROM_CLIENT);
    send(server, client, 76, 1, flags::SYN | flags::ACK, FROM_SERVER);
    send(client, server, 1, 77, flags::ACK, FROM_CLIENT);
    (world, itself(&server_segment(family)).key)
}

#[test]
fn an_error_is_counted_on_its_flows_rule_and_changes_nothing() {
    for family in BOTH {
        let (world, key) = connected(family);
        let (before, counted) = (world.flow(&key), world.rule_counters(THE_RULE));
        let frame = error(&server_segment(family), 20);
        assert_eq!(world.judge(&frame, FROM_CLIENT), Verdict::NoLearn);
        let after = world.rule_counters(THE_RULE);
        assert_eq!(world.flow(&key), before);
        assert_eq!((after.packets, after.hits), (counted.packets + 1, counted.hits));
        assert_eq!(after.bytes - counted.bytes, frame.len() as u64 - 14);
        assert_eq!(world.flows().len(), 1, "an error is no flow");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// Whatever an error quotes, it makes no flow, changes none, and is passed or dropped.
    #[test]
    fn no_bytes_in_a_quote_touch_a_flow(
        v4: bool,
        length in 0usize..90,
        kind in prop::sample::select(vec![1u8, 2, 3, 4, 5, 11, 12]),
        damage in vec((0usize..90, any::<u8>()), 0..5),
    ) {
        let family = if v4 { Family::V4 } else { Family::V6 };
        let (world, key) = connected(family);
        let before = world.flow(&key);
        let frame = server_segment(family).build();
        let mut quoted = frame.bytes[frame.ip_at..].to_vec();
        quoted.truncate(length);
        for (place, byte) in damage {
            if let Some(at) = quoted.get_mut(place) {
                *at = byte;
            }
        }
        let _ = world.judge(&Packet::error(family, CLIENT, SERVER, (kind, 0), &quoted).build().bytes, FROM_CLIENT);
        prop_assert_eq!(world.flow(&key), before);
        prop_assert_eq!(world.flows().len(), 1);
    }
}
