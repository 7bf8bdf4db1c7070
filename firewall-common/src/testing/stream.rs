//! Streams of packets a firewall must judge the same wherever it runs: connections that keep to the rules, packets of them altered, other
//! protocols, fragments, tags, cut frames and garbage. A seed gives the same stream every time.

mod protocols;

use etherparse::TcpHeader;

use crate::{
    env::Arrival,
    flow::NO_SCALE,
    testing::{
        builder::{Packet, Part, Payload},
        endpoint::{Endpoint, Plan},
        host::{CLIENT, Family, Host, OTHER, SERVER},
        train,
    },
    wire::{
        ethernet::ether_type,
        protocol,
        tcp::{Segment, flags},
    },
};

/// Connections under way at once.
const CONNECTIONS: usize = 24;
/// Segments after which a connection makes room for another on new ports.
const LIFE: u32 = 400;

/// Packets that are remembered for errors to quote.
const LATELY: usize = 64;

/// Bytes of the shortest frame the kernel tries an ingress program with.
const SHORTEST: usize = 14;
/// For an egress program the IP header must be whole.
const SHORTEST_EGRESS: usize = 54;

const fn shortest(arrival: Arrival) -> usize {
    if arrival.egress { SHORTEST_EGRESS } else { SHORTEST }
}

/// One connection of the stream.
struct Connection {
    family: Family,
    client: (Host, u16),
    server: (Host, u16),
    ends: [Endpoint; 2],
    sent: u32,
}

/// Where replies come from: the box itself (its egress program) or an interface in its zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replies {
    Egress,
    Ingress,
}

/// An endless stream.
pub struct Stream {
    random: fastrand::Rng,
    connections: Vec<Connection>,
    waiting: Vec<(Vec<u8>, Arrival)>,
    /// Packets sent lately, for ICMP errors to quote.
    lately: Vec<Packet>,
    replies: Replies,
    /// A packet of a live connection, and whether it is the server's: what errors are about.
    last: Option<(Packet, bool)>,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Stream").field("random", &self.random).finish_non_exhaustive()
    }
}

impl Stream {
    #[must_use]
    pub fn new(seed: u64, replies: Replies) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        Self { random, connections: Vec::new(), waiting: Vec::new(), lately: Vec::new(), replies, last: None }
    }

    fn arrival(&self, from_server: bool) -> Arrival {
        match (from_server, self.replies) {
            (false, _) => Arrival { zone: 1, place: 1, egress: false },
            (true, Replies::Egress) => Arrival { zone: 1, place: 1, egress: true },
            (true, Replies::Ingress) => Arrival { zone: 0, place: 2, egress: false },
        }
    }

    fn connection(&mut self) -> Connection {
        let random = &mut self.random;
        let family = if random.bool() { Family::V4 } else { Family::V6 };
        let client = if random.u8(..4) == 0 { OTHER } else { CLIENT };
        let mut plan = || Plan {
            bytes: random.u32(..60_000),
            segment: random.u32(100..=1300),
            room: random.u32(500..=60_000),
            scale: if random.bool() { NO_SCALE } else { 0 },
            first: if random.bool() { u32::MAX - random.u32(..30_000) } else { random.u32(..) },
            abort_after: (random.u8(..8) == 0).then(|| random.u32(1..60)),
        };
        let mut ends = [Endpoint::new(plan()), Endpoint::new(plan())];
        ends[0].open();
        let ports = [random.u16(1024..1064), [22, 443, 10_000, 8080][random.usize(..4)]];
        Connection { family, client: (client, ports[0]), server: (SERVER, ports[1]), ends, sent: 0 }
    }

    /// A packet of one of the connections; nothing when it had nothing to say.
    fn converse(&mut self) {
        let place = self.random.usize(..CONNECTIONS);
        if place >= self.connections.len() {
            let connection = self.connection();
            self.connections.push(connection);
            return;
        }
        let side = self.random.usize(..2);
        let connection = &mut self.connections[place];
        let end = &mut connection.ends[side];
        match self.random.u8(..8) {
            0..5 => end.push(3),
            5 => end.read(),
            _ => end.timeout(),
        }
        let (from, to) = if side == 0 { (connection.client, connection.server) } else { (connection.server, connection.client) };
        let family = connection.family;
        let segments = end.take();
        connection.sent += segments.len() as u32;
        let over = connection.sent > LIFE;
        for segment in segments {
            if self.random.u8(..16) != 0 {
                self.connections[place].ends[1 - side].receive(&segment);
            }
            let mut packet = Packet::tcp(family, from, to, &segment);
            // Half of what goes to its port is cTCP.
            if to.1.max(from.1) == 10_000 && to.1.min(from.1) % 2 == 0 {
                protocols::wrap(&mut packet);
            }
            if self.random.u8(..4) == 0 {
                protocols::dress(&mut self.random, &mut packet);
            }
            if self.random.u8(..16) == 0 {
                self.train(&packet, side == 1);
            } else {
                self.send(&packet, side == 1);
            }
            self.last = Some((packet, side == 1));
            if self.random.u8(..6) == 0 {
                let mutant = self.mutate(segment);
                let packet = Packet::tcp(family, from, to, &mutant);
                self.send(&packet, side == 1);
            }
        }
        if over {
            self.connections[place] = self.connection();
        }
    }

    /// A segment near the one given, and wrong in one or two ways.
    fn mutate(&mut self, mut segment: Segment) -> Segment {
        let random = &mut self.random;
        for _ in 0..random.usize(1..3) {
            let offset = match random.u8(..4) {
                0 => 1,
                1 => u32::MAX,
                2 => random.u32(..100_000),
                _ => random.u32(..100_000).wrapping_neg(),
            };
            match random.u8(..8) {
                0 => segment.seq = segment.seq.add(offset),
                1 => segment.ack = segment.ack.add(offset),
                2 => segment.flags = random.u8(..),
                3 => segment.flags ^= 1 << random.u8(..6),
                4 => segment.window = random.u16(..),
                5 => segment.flags = flags::RST | (segment.flags & flags::ACK),
                6 => segment.flags = if random.bool() { flags::SYN } else { flags::SYN | flags::ACK },
                _ => segment.length = random.u32(..1400),
            }
        }
        if segment.has(flags::SYN) && random.bool() {
            segment.scale = random.u8(..16);
        }
        segment
    }

    /// Gives a segment options and bits, such as a normalizer has something to say to.
    fn dress(&mut self, header: &mut TcpHeader) {
        let random = &mut self.random;
        let acknowledged = header.acknowledgment_number;
        let edges = [acknowledged.wrapping_add(random.u32(..3000)), acknowledged.wrapping_add(random.u32(..3000))];
        let list = match random.u8(..9) {
            0 => [&[2, 4][..], &random.u16(..2000).to_be_bytes()].concat(),
            1 => [&[1, 1, 5, 10][..], &edges[0].to_be_bytes(), &edges[1].to_be_bytes()].concat(),
            2 => vec![1, 1, 5, random.u8(2..12), 0, 0, 0, 1, 0, 0, 0, 2],
            3 => [&[19, 18][..], &[9; 16]].concat(),
            4 => vec![random.u8(6..), 4, 7, 7, 1, 3, 3, 5],
            5 => vec![4, 2, random.u8(6..), 2, 0, 9, 9, 9],
            _ => [&[1, 1, 8, 10][..], &random.u32(..200).to_be_bytes(), &[0; 4]].concat(),
        };
        // Where a list is there already both may not fit.
        let _ = header.set_options_raw(&[header.options.as_slice(), &list].concat());
        if random.u8(..6) == 0 {
            header.urgent_pointer = random.u16(..100);
        }
    }

    /// Sends a packet, now and then tagged, in fragments, with extension headers, damaged or cut.
    fn send(&mut self, packet: &Packet, from_server: bool) {
        let mut packet = packet.clone();
        // Messages that nobody answers with an error are quoted too, but seldom.
        if !matches!(packet.payload, Payload::Icmp { .. }) || self.random.u8(..8) == 0 {
            if self.lately.len() >= LATELY {
                self.lately.remove(0);
            }
            self.lately.push(packet.clone());
        }
        if self.random.u8(..20) == 0 {
            packet.tags =
                (0..self.random.usize(1..4)).map(|tag| (if tag == 0 { ether_type::PROVIDER_VLAN } else { ether_type::VLAN }, 7)).collect();
        }
        if self.random.u8(..20) == 0 {
            match packet.family {
                Family::V4 => {
                    packet.ip_options =
                        [&[1, 1, 1, 1][..], &[148, 4, 0, 0], &[131, 3, 4, 0], &[68, 200, 0, 0]][self.random.usize(..4)].to_vec();
                }
                Family::V6 => {
                    let numbers = [protocol::HOP_BY_HOP, protocol::DESTINATION_OPTIONS, protocol::ROUTING, protocol::MOBILITY];
                    packet.extensions =
                        (0..self.random.usize(1..9)).map(|_| (numbers[self.random.usize(..4)], vec![self.random.u8(..2); 6])).collect();
                }
            }
        }
        if self.random.u8(..16) == 0 {
            let offset = [0, 0, 8, 64, 512, 65_528][self.random.usize(..6)];
            let length = self.random.bool().then(|| self.random.usize(..128) * 8);
            let more = self.random.bool();
            packet.part = Some(Part { offset, length, more, identification: self.random.u32(..64) });
        }
        if self.random.u8(..32) == 0 {
            packet.tags = protocols::tags(&mut self.random);
        }
        let dressed = self.random.u8(..3) == 0;
        if dressed {
            packet.hop_limit = self.random.u8(50..70);
            if let Payload::Tcp { header, .. } = &mut packet.payload {
                self.dress(header);
            }
        }
        let mut frame = packet.build();
        if dressed && packet.part.is_none() && matches!(packet.payload, Payload::Tcp { .. }) {
            match self.random.u8(..12) {
                0 => frame.set_reserved(self.random.u8(..)),
                1 => frame.patch_transport(16, &self.random.u16(..).to_be_bytes()),
                2 => frame.unfinish(),
                _ => {}
            }
        }
        if self.random.u8(..32) == 0 {
            protocols::blemish(&mut self.random, &packet, &mut frame);
        }
        if self.random.u8(..24) == 0 {
            for _ in 0..self.random.usize(1..4) {
                let place = self.random.usize(..frame.bytes.len().min(120));
                frame.bytes[place] = self.random.u8(..);
            }
            if self.random.bool() {
                // With the checksum mended, the damage is seen by what comes after it.
                frame.patch_ip(0, &[]);
            }
        }
        let arrival = self.arrival(from_server);
        if frame.bytes.len() < shortest(arrival) {
            frame.bytes.resize(shortest(arrival), 0);
        }
        if self.random.u8(..24) == 0 {
            frame.bytes.truncate(self.random.usize(shortest(arrival)..=frame.bytes.len()));
        }
        self.waiting.push((frame.bytes, arrival));
    }

    /// Sends a packet in fragments, half of the times as they should be.
    fn train(&mut self, packet: &Packet, from_server: bool) {
        let mut packet = packet.clone();
        if packet.family == Family::V6 && self.random.u8(..4) == 0 {
            packet.inner.push((protocol::DESTINATION_OPTIONS, vec![0; 6]));
        }
        let mut train = train::cut(&packet, self.random.u32(..1024), &mut self.random);
        if self.random.bool() {
            train::derail(&mut train, &mut self.random);
        }
        let arrival = self.arrival(from_server);
        for fragment in train {
            let mut bytes = fragment.build().bytes;
            bytes.resize(bytes.len().max(shortest(arrival)), 0);
            self.waiting.push((bytes, arrival));
        }
    }

    fn other(&mut self) {
        let family = if self.random.bool() { Family::V4 } else { Family::V6 };
        let from_server = self.random.u8(..3) == 0;
        let client = if self.random.bool() { CLIENT } else { OTHER };
        let (from, to) = if from_server { (SERVER, client) } else { (client, SERVER) };
        let port = self.random.u16(..40);
        let packet = match self.random.u8(..6) {
            0 | 1 => {
                let (sport, dport) = if from_server { (53, 2000 + port) } else { (2000 + port, 53) };
                Packet::udp(family, (from, sport), (to, dport), self.random.usize(..600))
            }
            2 => Packet::echo(family, from, to, self.random.bool(), port),
            3 => Packet::icmp(family, from, to, self.random.u8(..), self.random.u8(..3), [0; 4], self.random.usize(..60)),
            4 => {
                let numbers = [protocol::ESP, protocol::AH, protocol::GRE, protocol::SCTP, protocol::UDP_LITE, 89];
                Packet::other(family, from, to, numbers[self.random.usize(..6)], vec![self.random.u8(1..); self.random.usize(..64)])
            }
            _ => Packet {
                hop_limit: if self.random.bool() { 255 } else { 1 },
                ..Packet::icmp(family, from, to, self.random.u8(130..145), 0, [0; 4], 24)
            },
        };
        if self.random.u8(..4) == 0 {
            self.train(&packet, from_server);
        } else {
            self.send(&packet, from_server);
        }
    }

    /// ESP, AH, ESP in UDP, GRE and SCTP, of few associations and few ports, so that flows of them go on.
    fn tunnel(&mut self) {
        let family = if self.random.bool() { Family::V4 } else { Family::V6 };
        let from_server = self.random.bool();
        let client = if self.random.bool() { CLIENT } else { OTHER };
        let (from, to) = if from_server { (SERVER, client) } else { (client, SERVER) };
        let spi = [0, 1, 256, 4096, 4097, 0x8000_0000][self.random.usize(..6)];
        let sequence = [1, 2, u32::MAX, self.random.u32(..)][self.random.usize(..4)];
        let length = self.random.usize(..40);
        let packet = match self.random.u8(..5) {
            0 => Packet::esp(family, from, to, spi, sequence, length),
            1 => Packet::ah(family, from, to, spi, sequence, length),
            2 => {
                let port = [4500, 10_000, 500][self.random.usize(..3)];
                let ports = if from_server { (port, 4500) } else { (4500, port) };
                let mut packet = Packet::udp(family, (from, ports.0), (to, ports.1), 0);
                if let Payload::Udp { data, .. } = &mut packet.payload {
                    *data = match self.random.u8(..4) {
                        0 => vec![0xff],
                        1 => vec![0; length],
                        _ => [&spi.to_be_bytes()[..], &sequence.to_be_bytes(), &vec![7; length]].concat(),
                    };
                }
                packet
            }
            3 => {
                let headers = [[0, 0, 8, 0], [0xb0, 0, 8, 0], [0x30, 0x81, 0x88, 0x0b], [0x20, 1, 8, 0], [self.random.u8(..), 0, 8, 0]];
                let header = headers[self.random.usize(..headers.len())];
                Packet::other(family, from, to, protocol::GRE, [&header[..], &vec![0; length]].concat())
            }
            _ => {
                let ports = if from_server { [0, 80, 0, 40] } else { [0, 40, 0, 80] };
                Packet::other(family, from, to, protocol::SCTP, [&ports[..], &vec![0; length]].concat())
            }
        };
        self.send(&packet, from_server);
    }

    /// Neighbour discovery and listener messages, most of them as they must be.
    fn neighbour(&mut self) {
        let mut packet = Packet::icmp(Family::V6, CLIENT, SERVER, self.random.u8(130..=143), 0, [0; 4], 0);
        let special = |last: [u8; 16]| Host { v6: last, ..CLIENT };
        let (link_local, group) = ((0xfe80u128 << 112 | 7).to_be_bytes(), (0xff02u128 << 112 | 0x01_ff00_0010).to_be_bytes());
        match self.random.u8(..4) {
            0 => packet.from = special([0; 16]),
            1 => {}
            _ => packet.from = special(link_local),
        }
        if self.random.bool() {
            packet.to = special(group);
        }
        packet.hop_limit = [255, 255, 1, 64][self.random.usize(..4)];
        let body = [0, 8, 16, 16, 32][self.random.usize(..5)];
        let options =
            [&[][..], &[1, 1, 0, 0, 0, 0, 0, 0], &[14, 1, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0], &[1, 0, 0, 0, 0, 0, 0, 0], &[1]];
        if let Payload::Icmp { data, rest, .. } = &mut packet.payload {
            *data = [&vec![0x20; body][..], options[self.random.usize(..options.len())]].concat();
            rest[0] = [0, 0x40][self.random.usize(..2)];
        }
        self.send(&packet, false);
    }

    /// An ICMP error that quotes a packet of the last ones, for the most part to its sender and as it was.
    fn error(&mut self) {
        if self.lately.is_empty() {
            return;
        }
        let about = self.lately[self.random.usize(..self.lately.len())].clone();
        let mut quoted = about.clone();
        let random = &mut self.random;
        if random.u8(..4) == 0
            && let Payload::Tcp { header, .. } = &mut quoted.payload
        {
            header.sequence_number = header.sequence_number.wrapping_add([1, 1_000_000, 70_000u32.wrapping_neg()][random.usize(..3)]);
        }
        if random.u8(..8) == 0 && about.family == Family::V6 {
            quoted.extensions = vec![(protocol::DESTINATION_OPTIONS, vec![0; 6]); random.usize(..8)];
        }
        let frame = quoted.build();
        let length = [7, 8, 28, 200][random.usize(..4)];
        let mut bytes = frame.bytes[frame.ip_at..frame.bytes.len().min(frame.transport_at + length)].to_vec();
        if random.u8(..16) == 0 {
            let place = random.usize(..bytes.len());
            bytes[place] = random.u8(..);
        }
        let kind = match about.family {
            Family::V4 => [(3, 4), (3, 3), (11, 0), (12, 0), (5, 1)][random.usize(..5)],
            Family::V6 => [(2, 0), (1, 4), (3, 0), (4, 1), (5, 0)][random.usize(..5)],
        };
        // By whom the packet was sent to, by somebody on the way, or by one who has nothing to do with it.
        let (from, to) = match random.u8(..8) {
            0 => (about.from, about.to),
            1 => (OTHER, about.from),
            _ => (about.to, about.from),
        };
        let from_server = from == SERVER;
        self.send(&Packet::error(about.family, from, to, kind, &bytes), from_server);
    }

    /// A packet of a protocol that is no TCP, or an error about the last segment.
    fn foreign(&mut self) {
        let from_server = self.random.u8(..3) == 0;
        let client = if self.random.bool() { CLIENT } else { OTHER };
        let (from, to) = if from_server { (SERVER, client) } else { (client, SERVER) };
        if self.random.u8(..4) == 0
            && let Some((quoted, by_server)) = self.last.take()
        {
            let packet = protocols::error_about(&mut self.random, &quoted, if by_server { client } else { SERVER });
            return self.send(&packet, !by_server);
        }
        let family = if self.random.bool() { Family::V4 } else { Family::V6 };
        let packet = protocols::packet(&mut self.random, family, from, to);
        self.send(&packet, from_server);
    }

    fn garbage(&mut self) {
        let from_server = self.random.bool();
        let arrival = self.arrival(from_server);
        let length = self.random.usize(shortest(arrival)..200);
        let mut bytes: Vec<u8> = (0..length).map(|_| self.random.u8(..)).collect();
        let types = [ether_type::IPV4, ether_type::IPV6, ether_type::ARP, ether_type::VLAN, ether_type::LLDP, 0x1234, 0x0040];
        bytes[12..14].copy_from_slice(&types[self.random.usize(..7)].to_be_bytes());
        self.waiting.push((bytes, arrival));
    }
}

impl Iterator for Stream {
    type Item = (Vec<u8>, Arrival);

    fn next(&mut self) -> Option<Self::Item> {
        while self.waiting.is_empty() {
            match self.random.u8(..32) {
                0 => self.garbage(),
                1..5 => self.other(),
                5 => self.tunnel(),
                6 => self.neighbour(),
                7 | 8 => self.error(),
                9 | 10 => self.foreign(),
                _ => self.converse(),
            }
        }
        Some(self.waiting.remove(0))
    }
}
