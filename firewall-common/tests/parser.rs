//! The parser under any bytes: it answers, reads nothing that is not there, and says of every frame that ends early why it is dropped.

use std::cell::Cell;

use firewall_common::{
    neighbour,
    packet::{OPTIONS_ROOM, Packet as Bytes},
    parse::{Descriptor, Kind, parse},
    reason::Reason,
    seq::Seq,
    testing::{
        builder::{Packet, Payload},
        host::{CLIENT, Family, SERVER},
    },
    wire::{
        quote,
        tcp::{Segment, flags},
    },
};
use proptest::{collection::vec, prelude::*, sample::select};

/// A frame that notes how far it was read, and answers beyond its end as memory would: with something.
struct Watched<'a> {
    frame: &'a [u8],
    reach: Cell<usize>,
}

impl Bytes for Watched<'_> {
    fn length(&self) -> u32 {
        self.frame.len() as u32
    }

    fn read<const N: usize>(&self, at: u32) -> Option<&[u8; N]> {
        let read = self.frame.read(at);
        if read.is_some() {
            self.reach.set(self.reach.get().max(at as usize + N));
        }
        read
    }

    fn copy(&self, at: u32, buffer: &mut [u8; OPTIONS_ROOM], length: u32) -> bool {
        let copied = self.frame.copy(at, buffer, length);
        if copied {
            self.reach.set(self.reach.get().max((at + length) as usize));
        }
        copied
    }

    fn headers_cut(&self, end: u32) -> bool {
        self.frame.headers_cut(end)
    }
}

fn segment() -> Segment {
    Segment { seq: Seq(1), ack: Seq(2), length: 60, window: 100, flags: flags::ACK, scale: 7 }
}

/// A packet of the server's with what its IP version has for options.
fn answer_with_options(family: Family) -> Packet {
    let packet = Packet::tcp(family, (SERVER, 443), (CLIENT, 2000), &segment());
    match family {
        Family::V4 => Packet { ip_options: vec![1; 40], ..packet },
        Family::V6 => Packet { extensions: vec![(0, vec![0; 6]), (60, vec![0; 14])], ..packet },
    }
}

/// An error of the client's about a packet of the server's.
fn error(about: &Packet) -> Vec<u8> {
    let frame = about.build();
    let kind = if about.family == Family::V4 { (3, 4) } else { (2, 0) };
    Packet::error(about.family, CLIENT, SERVER, kind, &frame.bytes[frame.ip_at..frame.transport_at + 20]).build().bytes
}

/// A neighbour solicitation with two options.
fn solicitation() -> Vec<u8> {
    let mut packet = Packet::icmp(Family::V6, CLIENT, SERVER, 135, 0, [0; 4], 40);
    if let Payload::Icmp { data, .. } = &mut packet.payload {
        data[16..].copy_from_slice(&[[14, 1, 0, 0, 0, 0, 0, 0], [14, 1, 0, 0, 0, 0, 0, 0], [1, 1, 2, 0, 0, 0, 0, 7]].concat());
    }
    Packet { hop_limit: 255, ..packet }.build().bytes
}

/// One valid frame of each kind.
fn frames() -> Vec<(&'static str, Vec<u8>)> {
    let mut frames = Vec::new();
    for family in [Family::V4, Family::V6] {
        let (client, server) = ((CLIENT, 2000), (SERVER, 443));
        let tcp = Packet::tcp(family, client, server, &segment());
        let options = Packet { ip_options: if family == Family::V4 { vec![1; 40] } else { Vec::new() }, ..tcp.clone() };
        let chain =
            Packet { extensions: if family == Family::V6 { vec![(0, vec![0; 6]), (60, vec![0; 14])] } else { Vec::new() }, ..tcp.clone() };
        frames.extend([
            ("tcp", tcp.build().bytes),
            ("tcp with IP options", options.build().bytes),
            ("tcp behind extension headers", chain.build().bytes),
            ("tagged", Packet { tags: vec![(0x88a8, 5), (0x8100, 6)], ..tcp }.build().bytes),
            ("udp", Packet::udp(family, client, server, 60).build().bytes),
            ("echo", Packet::echo(family, CLIENT, SERVER, false, 9).build().bytes),
            ("sctp", Packet::other(family, CLIENT, SERVER, 132, vec![1; 60]).build().bytes),
            ("esp", Packet::other(family, CLIENT, SERVER, 50, vec![1; 60]).build().bytes),
            ("ah", Packet::ah(family, CLIENT, SERVER, 4096, 1, 60).build().bytes),
            ("gre", Packet::other(family, CLIENT, SERVER, 47, [&[0xb0, 0, 8, 0][..], &[1; 56]].concat()).build().bytes),
            ("esp in udp", Packet::udp(family, (CLIENT, 4500), (SERVER, 4500), 60).build().bytes),
            ("icmp error", error(&Packet::tcp(family, server, client, &segment()))),
            ("icmp error about extension headers", error(&answer_with_options(family))),
        ]);
    }
    frames.push(("neighbour solicitation", solicitation()));
    frames
}

#[test]
fn a_frame_that_ends_early_has_a_reason() {
    for (name, frame) in frames() {
        let mut descriptor = Descriptor::EMPTY;
        assert_eq!(parse(&&frame[..], false, &mut descriptor), Ok(()), "{name} whole");
        for length in 0..frame.len() {
            let mut descriptor = Descriptor::EMPTY;
            let cut = parse(&&frame[..length], false, &mut descriptor);
            let early = [Reason::FrameTooShort, Reason::InvalidIpLength, Reason::BadIpChecksum];
            assert!(cut.is_err_and(|reason| early.contains(&reason)), "{name} cut to {length}: {cut:?}");
        }
    }
}

#[test]
fn what_follows_the_packet_is_not_read() {
    for (name, mut frame) in frames() {
        let mut descriptor = Descriptor::EMPTY;
        assert_eq!(parse(&&frame[..], false, &mut descriptor), Ok(()), "{name}");
        frame.extend([0xee; 300]);
        let mut padded = Descriptor::EMPTY;
        assert_eq!(parse(&&frame[..], false, &mut padded), Ok(()), "{name}");
        assert_eq!(format!("{descriptor:?}"), format!("{padded:?}"), "{name}");
    }
}

/// Bytes that get past the link layer now and then, and further.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let headed = (vec(any::<u8>(), 0..200), select(vec![[8, 0, 0x45], [8, 0, 0x4f], [0x86, 0xdd, 0x60], [0x81, 0, 0]])).prop_map(
        |(mut bytes, head)| {
            for (place, byte) in (12..).zip(head) {
                if let Some(at) = bytes.get_mut(place) {
                    *at = byte;
                }
            }
            bytes
        },
    );
    let damaged = (select(frames()), vec((any::<prop::sample::Index>(), any::<u8>()), 0..6), any::<prop::sample::Index>()).prop_map(
        |((_, mut frame), damage, end)| {
            for (place, byte) in damage {
                let at = place.index(frame.len());
                frame[at] = byte;
            }
            let end = end.index(2 * frame.len());
            frame.truncate(end);
            frame
        },
    );
    prop_oneof![vec(any::<u8>(), 0..200), headed, damaged.clone(), damaged]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_judged_and_none_read_that_is_not_there(frame in bytes(), egress: bool) {
        let watched = Watched { frame: &frame, reach: Cell::new(0) };
        let mut descriptor = Descriptor::EMPTY;
        let parsed = parse(&watched, egress, &mut descriptor);
        if parsed.is_ok() && descriptor.kind == Kind::LinkScope {
            let _ = neighbour::check(&watched, &descriptor);
        }
        let mut quoted = descriptor;
        if parsed.is_ok() && descriptor.kind == Kind::IcmpError && quote::read(&watched, &mut quoted).is_ok() {
            prop_assert!(quoted.at <= descriptor.at + descriptor.length);
        }
        prop_assert!(watched.reach.get() <= frame.len());
        if parsed.is_ok() && descriptor.ip_length != 0 {
            // What the descriptor says lies in the frame.
            prop_assert!(descriptor.ip_at as usize + descriptor.ip_length as usize <= frame.len());
            prop_assert!(descriptor.at + descriptor.length <= descriptor.ip_at + descriptor.ip_length);
            prop_assert!(descriptor.segment.length <= descriptor.length);
            prop_assert!(descriptor.key.low.bits() <= descriptor.key.high.bits());
        }
    }
}
