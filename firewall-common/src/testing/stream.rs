//! Streams of packets a firewall must judge the same wherever it runs: connections that keep to the rules, packets of them altered, other
//! protocols, fragments, tags, cut frames and garbage. A seed gives the same stream every time.

mod protocols;

use crate::{
    env::Arrival,
    flow::NO_SCALE,
    testing::{
        builder::{Packet, Part},
        endpoint::{Endpoint, Plan},
        host::{CLIENT, Family, Host, OTHER, SERVER},
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
        Self { random: fastrand::Rng::with_seed(seed), connections: Vec::new(), waiting: Vec::new(), replies, last: None }
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
            if self.random.u8(..4) == 0 {
                protocols::dress(&mut self.random, &mut packet);
            }
            self.send(&packet, side == 1);
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

    /// Sends a packet, now and then tagged, in fragments, with extension headers, damaged or cut.
    fn send(&mut self, packet: &Packet, from_server: bool) {
        let mut packet = packet.clone();
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
        let mut frame = packet.build();
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
        self.send(&packet, from_server);
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
                5..8 => self.foreign(),
                _ => self.converse(),
            }
        }
        Some(self.waiting.remove(0))
    }
}
