//! What flows carry, as the whole path recognises it: what proves it, and what must never be taken for it.

use firewall_common::{
    application::{Application, Applications},
    flow::{Flow, Inspection, NO_SCALE, features, flow_marks},
    normalize::{Profile, checks},
    rule::Action,
    seq::Seq,
    testing::{
        builder::{Packet, Part, Payload},
        host::{CLIENT, Family, SERVER},
        play::{FROM_CLIENT, FROM_SERVER},
        tables::Tables,
        world::World,
    },
    wire::{
        ctcp,
        tcp::{Segment, flags},
    },
};

const FIRST: [u32; 2] = [1_000, 700_000];
const CLIENT_PORT: u16 = 40_000;
const CTCP: u16 = 10_000;

/// A connection, and the world it is in: whoever speaks sends what comes next.
struct Connection {
    world: World,
    family: Family,
    port: u16,
    /// What client and server send next.
    next: [u32; 2],
    window: u16,
    tags: Vec<(u16, u16)>,
}

impl Connection {
    fn under(tables: &Tables, family: Family, port: u16) -> Self {
        let next = FIRST.map(|first| first + 1);
        Self { world: World::under(tables), family, port, next, window: u16::MAX, tags: Vec::new() }
    }

    /// One whose handshake is done.
    fn open(tables: &Tables, family: Family, port: u16) -> Self {
        let connection = Self::under(tables, family, port);
        connection.shake_hands();
        connection
    }

    fn strict(port: u16) -> Self {
        Self::open(&Tables::everything(Action::Allow, Inspection::Strict), Family::V4, port)
    }

    fn shake_hands(&self) {
        let [client, server] = FIRST.map(Seq);
        self.pass(0, client, Seq(0), flags::SYN, &[]);
        self.pass(1, server, client.add(1), flags::SYN | flags::ACK, &[]);
        self.pass(0, client.add(1), server.add(1), flags::ACK, &[]);
    }

    fn packet(&self, side: usize, seq: Seq, ack: Seq, flags: u8, bytes: &[u8]) -> Packet {
        let segment = Segment { seq, ack, length: 0, window: self.window, flags, scale: NO_SCALE };
        let (client, server) = ((CLIENT, CLIENT_PORT), (SERVER, self.port));
        let (from, to) = if side == 0 { (client, server) } else { (server, client) };
        let mut packet = Packet::tcp(self.family, from, to, &segment);
        if let Payload::Tcp { data, .. } = &mut packet.payload {
            *data = bytes.to_vec();
        }
        packet.tags.clone_from(&self.tags);
        packet
    }

    fn judge(&self, side: usize, frame: &[u8]) -> bool {
        self.world.judge(frame, if side == 0 { FROM_CLIENT } else { FROM_SERVER }).passes()
    }

    fn pass(&self, side: usize, seq: Seq, ack: Seq, flags: u8, bytes: &[u8]) {
        assert!(self.judge(side, &self.packet(side, seq, ack, flags, bytes).build().bytes), "a packet must pass");
    }

    /// The next data of a side, which acknowledges all of the other's.
    fn send(&mut self, side: usize, bytes: &[u8]) {
        let (seq, ack) = (Seq(self.next[side]), Seq(self.next[1 - side]));
        self.pass(side, seq, ack, flags::ACK, bytes);
        self.next[side] = seq.add(bytes.len() as u32).0;
    }

    /// The same, lost before it comes here.
    fn lose(&mut self, side: usize, length: u32) {
        self.next[side] = Seq(self.next[side]).add(length).0;
    }

    fn flow(&self) -> Flow {
        let flows = self.world.flows();
        assert_eq!(flows.len(), 1, "one flow");
        flows[0].1
    }

    fn application(&self) -> Option<Application> {
        Application::from_number(self.flow().application)
    }

    fn is_looked_at(&self) -> bool {
        self.flow().features & features::LOOKED_AT != 0
    }
}

/// A segment of cTCP: ESP, `length` bytes of it, and the trailer.
fn esp(sequence: u32, length: usize) -> Vec<u8> {
    trailed([&0x0c71_0001u32.to_be_bytes()[..], &sequence.to_be_bytes(), &vec![0xa5; length]].concat(), 50, sequence as u16)
}

fn trailed(payload: Vec<u8>, carried: u8, number: u16) -> Vec<u8> {
    let [a, b, c, d, e] = ctcp::MAGIC;
    let [high, low] = number.to_be_bytes();
    [&payload[..], &[0, 0, 0, 0, high, low, 0, 0, a, b, c, d, e, carried, 1, 0]].concat()
}

/// IKE in cTCP: a UDP header and a message.
fn ike_in_ctcp(number: u16) -> Vec<u8> {
    let message = ike(100);
    let header = [500u16.to_be_bytes(), 500u16.to_be_bytes(), (message.len() as u16 + 8).to_be_bytes(), [0x12, 0x34]].concat();
    trailed([header, message].concat(), 17, number)
}

fn ike(length: u32) -> Vec<u8> {
    let mut message = vec![7; length as usize];
    message[8..20].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 33, 0x20, 34, 8]);
    message[24..28].copy_from_slice(&length.to_be_bytes());
    message
}

#[test]
fn three_segments_with_trailers_are_ctcp() {
    for (family, level) in [
        (Family::V4, Inspection::Strict),
        (Family::V6, Inspection::Strict),
        (Family::V4, Inspection::Tolerant),
        (Family::V4, Inspection::Bypass),
        (Family::V6, Inspection::Bypass),
    ] {
        // Also longer than what lies in a first buffer's reach.
        for length in [8, 200, 1_380] {
            let mut connection = Connection::under(&Tables::everything(Action::Allow, level), family, CTCP);
            connection.tags = vec![(0x8100, 5)];
            connection.shake_hands();
            connection.send(0, &ike_in_ctcp(1));
            connection.send(1, &ike_in_ctcp(900));
            assert_eq!((connection.application(), connection.is_looked_at()), (None, true), "two prove nothing");
            assert_eq!(connection.flow().marks & flow_marks::STEADY, 0);
            connection.send(0, &esp(1, length));
            assert_eq!(
                (connection.application(), connection.is_looked_at()),
                (Some(Application::Ctcp), false),
                "{family:?} {level:?} {length}"
            );
            connection.send(1, &esp(1, length));
            assert_ne!(connection.flow().marks & flow_marks::STEADY, 0, "it costs no more than another flow then");
        }
    }
}

#[test]
fn ah_in_ctcp_is_ctcp_too() {
    let mut connection = Connection::strict(CTCP);
    for sequence in 1..4u32 {
        let header = [&[4, 4, 0, 0][..], &0x1234_5678u32.to_be_bytes(), &sequence.to_be_bytes(), &[0; 12], &[9; 40]].concat();
        connection.send(0, &trailed(header, 51, sequence as u16));
    }
    assert_eq!(connection.application(), Some(Application::Ctcp));
}

#[test]
fn what_does_not_fit_its_trailer_is_not_ctcp() {
    let spi_zero = trailed([&[0; 4][..], &[0, 0, 0, 1], &[7; 40]].concat(), 50, 3);
    let sequence_zero = trailed([&[0, 0, 0x10, 0][..], &[0; 4], &[7; 40]].concat(), 50, 3);
    let no_ike = trailed(vec![7; 60], 17, 3);
    let no_ah = trailed([&[4, 200, 0, 0][..], &[1; 40]].concat(), 51, 3);
    let too_short = esp(3, 0)[1..].to_vec();
    let other_protocol = trailed([&[0, 0, 0x10, 0][..], &[0, 0, 0, 1], &[7; 40]].concat(), 6, 3);
    for (what, third) in [spi_zero, sequence_zero, no_ike, no_ah, too_short, other_protocol].into_iter().enumerate() {
        let mut connection = Connection::strict(CTCP);
        connection.send(0, &esp(1, 100));
        connection.send(0, &esp(2, 100));
        connection.send(0, &third);
        assert_eq!((connection.application(), connection.is_looked_at()), (None, false), "{what}");
        for sequence in 4..12 {
            connection.send(0, &esp(sequence, 100));
        }
        assert_eq!(connection.application(), None, "once given up it is not taken up again: {what}");
    }
}

/// A message of NDMP: a record mark of the last fragment, and XDR (RFC 5531 §11, NDMP version 4).
fn ndmp(sequence: u32, message: u32, body: &[u8]) -> Vec<u8> {
    let header = [sequence, 0x5f00_0000, 0, message, 0, 0].map(u32::to_be_bytes).concat();
    [&(0x8000_0000 | (header.len() + body.len()) as u32).to_be_bytes()[..], &header, body].concat()
}

#[test]
fn ndmp_is_never_taken_for_ctcp() {
    // NOTIFY_CONNECTED, CONNECT_OPEN, CONFIG_GET_HOST_INFO and what follows; a file's data ends in what could be a trailer.
    let magic = trailed(vec![0; 64], 50, 1);
    for tail_at in 0..6 {
        let mut connection = Connection::strict(CTCP);
        for message in 0..12u32 {
            let side = usize::from(message % 2 == 0);
            let body = if message == tail_at { magic.clone() } else { vec![message as u8; 24] };
            connection.send(side, &ndmp(message + 1, [0x502, 0x900, 0x100, 0x400][message as usize % 4], &body));
        }
        assert_eq!((connection.application(), connection.is_looked_at()), (None, false), "the tail is in message {tail_at}");
    }
}

#[test]
fn a_repeated_segment_is_one_sign() {
    let mut connection = Connection::strict(CTCP);
    let first = Seq(connection.next[0]);
    connection.send(0, &esp(1, 100));
    for _ in 0..3 {
        connection.pass(0, first, Seq(connection.next[1]), flags::ACK, &esp(1, 100));
    }
    assert_eq!(connection.application(), None);
    for _ in 0..9 {
        connection.pass(0, first, Seq(connection.next[1]), flags::ACK, &esp(1, 100));
    }
    assert_eq!((connection.application(), connection.is_looked_at()), (None, false), "and the looks end");
}

#[test]
fn nothing_is_read_of_segments_without_data_or_in_fragments() {
    let mut connection = Connection::strict(CTCP);
    for _ in 0..20 {
        connection.send(0, &[]);
    }
    assert_eq!(connection.flow().looks, 0);
    connection.send(0, &esp(1, 100));
    connection.send(0, &esp(2, 100));
    let third = esp(3, 100);
    let mut packet = connection.packet(0, Seq(connection.next[0]), Seq(connection.next[1]), flags::ACK, &third);
    let whole = packet.datagram_length();
    packet.part = Some(Part { offset: 0, length: Some(whole - whole % 8), more: true, identification: 7 });
    assert!(connection.judge(0, &packet.build().bytes));
    assert_eq!((connection.application(), connection.flow().looks), (None, 2), "a first fragment proves nothing");
}

#[test]
fn a_dropped_segment_proves_nothing() {
    let connection = Connection::strict(CTCP);
    let before = connection.flow();
    for sequence in 1..9 {
        // Past the window, as one who guesses would send it.
        let packet = connection.packet(0, Seq(FIRST[0]).add(1_000_000), Seq(FIRST[1] + 1), flags::ACK, &esp(sequence, 100));
        assert!(!connection.judge(0, &packet.build().bytes));
    }
    assert_eq!(connection.flow(), before);
}

#[test]
fn ports_magic_and_signs_are_the_policys() {
    let allowed = Tables::everything(Action::Allow, Inspection::Strict);
    let other = Connection::strict(443);
    assert!(!other.is_looked_at(), "a port that is not listed costs nothing");
    let mut ports = Applications::DEFAULT;
    ports.ctcp_ports = [0; 10];
    ports.ctcp_ports[3] = 443;
    let tables = Tables { applications: ports, ..allowed.clone() };
    for (port, known) in [(443, Some(Application::Ctcp)), (CTCP, None)] {
        let mut connection = Connection::open(&tables, Family::V4, port);
        (1..5).for_each(|sequence| connection.send(0, &esp(sequence, 100)));
        assert_eq!(connection.application(), known);
    }
    let magic = Applications { ctcp_magic: [1, 2, 3, 4, 5], ..Applications::DEFAULT };
    let mut connection = Connection::open(&Tables { applications: magic, ..allowed }, Family::V4, CTCP);
    (1..5).for_each(|sequence| connection.send(0, &esp(sequence, 100)));
    assert_eq!(connection.application(), None, "another magic is wanted");
}

#[test]
fn a_profile_is_kept_to_while_a_flow_is_looked_at() {
    let profile = Profile { checks: Profile::ASA.checks & !checks::RANDOMIZE, ..Profile::ASA };
    let tables = Tables::everything(Action::Allow, Inspection::Strict).with_profile(profile);
    let mut connection = Connection::open(&tables, Family::V4, CTCP);
    (1..5).for_each(|sequence| connection.send(0, &esp(sequence, 100)));
    assert_eq!(connection.application(), Some(Application::Ctcp));
}

#[test]
fn a_stream_that_begins_with_the_prefix_is_ike_over_tcp() {
    let message = |length: u32| [&(length as u16 + 6).to_be_bytes()[..], &[0; 4], &ike(length)].concat();
    let whole = [&b"IKETCP"[..], &message(200)].concat();
    for (family, level) in [(Family::V4, Inspection::Strict), (Family::V6, Inspection::Strict), (Family::V4, Inspection::Bypass)] {
        for first in [&whole[..], b"IKETCP", &whole[..7]] {
            let mut connection = Connection::open(&Tables::everything(Action::Allow, level), family, 4500);
            assert!(connection.is_looked_at());
            connection.send(0, first);
            assert_eq!((connection.application(), connection.is_looked_at()), (Some(Application::IkeTcp), false));
        }
    }
    // What comes before it in another order, or from the other side, disproves nothing; another beginning does.
    let mut late = Connection::strict(4500);
    late.pass(0, Seq(late.next[0]).add(6), Seq(late.next[1]), flags::ACK, &message(100));
    late.send(1, b"hello");
    late.pass(0, Seq(late.next[0]), Seq(late.next[1]), flags::ACK, b"IKETCP");
    assert_eq!(late.application(), Some(Application::IkeTcp));
    for beginning in [&b"IKETC"[..], b"IKETCQ", b"GET / HTTP/1.1", b"IKETCP\0\x05\0\0\0\0", b"IKETCP\0\x80\0\0\0\x01"] {
        let mut other = Connection::strict(4500);
        other.send(0, beginning);
        other.send(0, b"IKETCP");
        assert_eq!((other.application(), other.is_looked_at()), (None, false), "{beginning:?}");
    }
    let mut responder = Connection::strict(4500);
    for _ in 0..9 {
        responder.send(1, b"IKETCP");
    }
    assert_eq!((responder.application(), responder.is_looked_at()), (None, false), "the originator sends it");
    let mut elsewhere = Connection::strict(4501);
    elsewhere.send(0, &whole);
    assert_eq!(elsewhere.application(), None);
}

#[test]
fn one_port_may_be_for_both() {
    let both = Applications { ike_tcp_ports: [CTCP, 0, 0, 0, 0, 0], ..Applications::DEFAULT };
    let tables = Tables { applications: both, ..Tables::everything(Action::Allow, Inspection::Strict) };
    let mut one = Connection::open(&tables, Family::V4, CTCP);
    one.send(0, b"IKETCP");
    assert_eq!(one.application(), Some(Application::IkeTcp));
    let mut other = Connection::open(&tables, Family::V4, CTCP);
    (1..4).for_each(|sequence| other.send(0, &esp(sequence, 100)));
    assert_eq!(other.application(), Some(Application::Ctcp));
}

/// What a conversation of datagrams to this port is known as: each has its sender and its bytes.
fn datagrams(port: u16, settings: Applications, sent: &[(usize, Vec<u8>)]) -> (Option<Application>, bool) {
    let mut known = Vec::new();
    for family in [Family::V4, Family::V6] {
        let tables = Tables { applications: settings, ..Tables::everything(Action::Allow, Inspection::Strict) };
        let world = World::under(&tables);
        for (side, data) in sent {
            let (client, server) = ((CLIENT, CLIENT_PORT), (SERVER, port));
            let (from, to) = if *side == 0 { (client, server) } else { (server, client) };
            let mut packet = Packet::udp(family, from, to, 0);
            packet.payload = Payload::Udp { source: from.1, destination: to.1, data: data.clone() };
            assert!(world.judge(&packet.build().bytes, if *side == 0 { FROM_CLIENT } else { FROM_SERVER }).passes());
        }
        let (_, flow, _) = world.flows()[0];
        known.push((Application::from_number(flow.application), flow.features & features::LOOKED_AT != 0));
    }
    assert_eq!(known[0], known[1]);
    known[0]
}

fn security(spi: u32, sequence: u32) -> Vec<u8> {
    [&spi.to_be_bytes()[..], &sequence.to_be_bytes(), &[7; 64]].concat()
}

#[test]
fn datagrams_tell_themselves_apart() {
    let known = |port, sent: &[(usize, Vec<u8>)]| datagrams(port, Applications::DEFAULT, sent);
    let marked = [vec![0; 4], ike(200)].concat();
    let esp = |side, sequence| (side, security(0x1000 + side as u32, sequence));
    assert_eq!(known(500, &[(0, ike(300))]), (Some(Application::Ike), false));
    assert_eq!(known(500, &[(0, ike(300)[1..].to_vec())]), (None, false));
    assert_eq!(known(4500, &[(0, marked.clone())]), (Some(Application::NatT), false));
    assert_eq!(known(4500, &[esp(0, 1), esp(1, 1), esp(0, 2)]).0, None, "two of them have one number");
    assert_eq!(known(4500, &[esp(0, 1), esp(0, 2), esp(1, 1)]), (Some(Application::NatT), false));
    let keep_alive = (0, vec![0xff]);
    assert_eq!(known(4500, &[keep_alive.clone(), keep_alive.clone(), (1, marked)]), (Some(Application::NatT), false));
    assert_eq!(known(4500, &[(0, vec![]), esp(0, 1), esp(0, 2), esp(0, 3)]), (Some(Application::NatT), false));
    assert_eq!(known(10_000, &[esp(0, 1), esp(1, 7), esp(0, 2)]), (Some(Application::IpsecUdp), false));
    assert_eq!(known(53, &[esp(0, 1), esp(0, 2), esp(0, 3)]), (None, false), "elsewhere nobody looks");
    let ports = Applications { ipsec_udp_ports: [0, 12_000, 0, 0], ..Applications::DEFAULT };
    assert_eq!(datagrams(12_000, ports, &[esp(0, 1), esp(1, 7), esp(0, 2)]), (Some(Application::IpsecUdp), false));
    assert_eq!(datagrams(10_000, ports, &[esp(0, 1), esp(1, 7), esp(0, 2)]), (None, false));
}

#[test]
fn what_only_looks_like_esp_is_none() {
    // WireGuard on port 4500: a kind, and a number of the receiver that does not move.
    let handshake = (0, [&[1, 0, 0, 0][..], &0x1234_5678u32.to_be_bytes(), &[7; 140]].concat());
    let data = (0, [&[4, 0, 0, 0][..], &0x1234_5678u32.to_be_bytes(), &[7; 40]].concat());
    let sent: Vec<_> = std::iter::once(handshake).chain(std::iter::repeat_n(data, 12)).collect();
    assert_eq!(datagrams(4500, Applications::DEFAULT, &sent), (None, false));
    // Bytes of any kind: what would be an SPI is another one each time.
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let sent: Vec<_> = (0..12).map(|_| (random.usize(..2), (0..64).map(|_| random.u8(..)).collect())).collect();
        for port in [4500, 10_000] {
            assert_eq!(datagrams(port, Applications::DEFAULT, &sent), (None, false), "seed {seed}");
        }
    }
}

#[test]
fn esp_and_ah_are_told_by_their_protocol() {
    for (packet, application) in [
        (Packet::esp(Family::V4, CLIENT, SERVER, 0x1000, 1, 64), Application::Esp),
        (Packet::ah(Family::V6, CLIENT, SERVER, 0x1000, 1, 64), Application::Ah),
    ] {
        let world = World::under(&Tables::everything(Action::Allow, Inspection::Strict));
        assert!(world.judge(&packet.build().bytes, FROM_CLIENT).passes());
        assert_eq!(Application::from_number(world.flows()[0].1.application), Some(application));
    }
}

#[test]
fn who_is_acknowledged_past_holes_it_never_fills_is_no_tcp() {
    for level in [Inspection::Strict, Inspection::Tolerant, Inspection::Bypass] {
        let mut tunnel = Connection::open(&Tables::everything(Action::Allow, level), Family::V4, 443);
        for hole in 0..4 {
            assert_eq!(tunnel.application(), None, "{level:?}: {hole} holes were acknowledged over");
            tunnel.send(0, &[7; 500]);
            tunnel.lose(0, 500);
            tunnel.send(0, &[7; 500]);
            // It acknowledges the highest that came.
            tunnel.send(1, &[7; 100]);
        }
        assert_eq!(tunnel.application(), Some(Application::FakeTcp), "{level:?}");
        let never = Applications { fake_tcp_signs: 0, ..Applications::DEFAULT };
        let mut off = Connection::open(&Tables { applications: never, ..Tables::everything(Action::Allow, level) }, Family::V4, 443);
        for _ in 0..9 {
            off.lose(0, 500);
            off.send(0, &[7; 500]);
            off.send(1, &[7; 100]);
        }
        assert_eq!((off.application(), off.flow().signs), (None, 0));
    }
}

#[test]
fn who_fills_its_holes_is_a_tcp() {
    let mut connection = Connection::strict(443);
    for _ in 0..50 {
        // Ten holes in a row, which the receiver repeats its acknowledgement at.
        let (begin, ack) = (Seq(connection.next[0]), Seq(connection.next[1]));
        for place in 0..10u32 {
            connection.pass(0, begin.add(place * 1_000 + 500), ack, flags::ACK, &[7; 500]);
            connection.pass(1, ack, begin, flags::ACK, &[]);
        }
        for place in 0..10u32 {
            connection.pass(0, begin.add(place * 1_000), ack, flags::ACK, &[7; 500]);
        }
        connection.lose(0, 10_000);
        connection.send(1, &[]);
    }
    assert_eq!(connection.application(), None);
    assert!(connection.flow().initiator.gaps >= 500, "{:?}", connection.flow().initiator);
}

#[test]
fn who_goes_on_past_the_window_is_no_tcp() {
    // The receiver's acknowledgement is stuck at a hole; the sender neither stops nor fills it.
    for level in [Inspection::Tolerant, Inspection::Bypass] {
        let mut tunnel = Connection::open(&Tables::everything(Action::Allow, level), Family::V4, 443);
        tunnel.lose(0, 1_000);
        let stuck = Seq(tunnel.next[0]).sub(1_000);
        for number in 0..90 {
            tunnel.send(0, &[7; 1_000]);
            tunnel.pass(1, Seq(tunnel.next[1]), stuck, flags::ACK, &[]);
            if number < 60 {
                assert_eq!(tunnel.application(), None, "{level:?}: within the window, {number}");
            }
        }
        assert_eq!(tunnel.application(), Some(Application::FakeTcp), "{level:?}");
    }
}

/// Bytes that no two datagrams have in common.
fn datagram(number: u32, length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(number.into());
    (0..length).map(|_| random.u8(..)).collect()
}

#[test]
fn who_sends_other_data_under_old_numbers_is_no_tcp() {
    for level in [Inspection::Strict, Inspection::Tolerant, Inspection::Bypass] {
        for side in [0, 1] {
            // All of it has one number: the second segment comes again, and three more are each another one.
            let mut tunnel = Connection::open(&Tables::everything(Action::Allow, level), Family::V6, 443);
            let (seq, ack) = (Seq(tunnel.next[side]), Seq(tunnel.next[1 - side]));
            tunnel.send(side, &datagram(0, 1_200));
            for number in 1..5 {
                assert_eq!(tunnel.application(), None, "{level:?}: after {number} segments");
                tunnel.pass(side, seq, ack, flags::ACK, &datagram(number, 1_200 - 100 * number as usize));
            }
            assert_eq!(tunnel.application(), Some(Application::FakeTcp), "{level:?}, side {side}");
            assert_eq!((tunnel.flow().signs, tunnel.flow().mark), (0, 0));
        }
    }
}

#[test]
fn a_number_may_serve_a_few_segments_and_then_the_next_one_does() {
    for seed in 0..50 {
        // It goes on, by what it sent last, with every fifth segment or so.
        let mut random = fastrand::Rng::with_seed(seed);
        let tunnel = Connection::strict(443);
        let (mut seq, ack) = (Seq(tunnel.next[0]), Seq(tunnel.next[1]));
        let mut sent = 0;
        while tunnel.application().is_none() && sent < 200 {
            let data = datagram(sent, random.usize(40..1_400));
            tunnel.pass(0, seq, ack, flags::ACK, &data);
            if random.u8(0..5) == 0 {
                seq = seq.add(data.len() as u32);
            }
            sent += 1;
        }
        assert_eq!(tunnel.application(), Some(Application::FakeTcp), "seed {seed}");
    }
}

#[test]
fn who_repeats_what_it_sent_is_a_tcp_however_it_cuts_it() {
    let stream = datagram(1, 400_000);
    for (seed, level) in [(1, Inspection::Strict), (2, Inspection::Bypass)] {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut connection = Connection::open(&Tables::everything(Action::Allow, level), Family::V4, 443);
        let (begin, ack, mut sent) = (Seq(connection.next[0]), Seq(connection.next[1]), 0);
        let mut again = 0;
        while sent + 1_400 < stream.len() {
            let length = random.usize(1..1_400);
            connection.send(0, &stream[sent..sent + length]);
            sent += length;
            // Some of what was sent last, twice or three times, from places that are near each other or the same.
            let at = sent - random.usize(1..=sent.min(3_000));
            for _ in 0..random.usize(0..4) {
                let at = at + if random.bool() { 0 } else { random.usize(0..(sent - at)) };
                let length = random.usize(1..=(sent - at).min(1_400));
                connection.pass(0, begin.add(at as u32), ack, flags::ACK, &stream[at..at + length]);
                again += 1;
            }
            connection.send(1, &[]);
        }
        assert_eq!(connection.application(), None, "{level:?}: {again} came again");
        assert!(again > 500 && connection.flow().initiator.retransmitted > 500);
    }
}

#[test]
fn the_same_again_or_too_little_of_it_takes_signs_back_or_is_none() {
    let mut connection = Connection::strict(443);
    let (seq, ack) = (Seq(connection.next[0]), Seq(connection.next[1]));
    let again = |connection: &Connection, number, length| connection.pass(0, seq, ack, flags::ACK, &datagram(number, length));
    connection.send(0, &datagram(0, 100));
    for _ in 0..5 {
        // Two signs of three, and then what came last once more.
        for number in [1, 2, 3, 3] {
            again(&connection, number, 100);
        }
        assert_eq!((connection.application(), connection.flow().signs), (None, 0));
    }
    for number in 0..20 {
        again(&connection, number, 31);
    }
    assert_eq!((connection.application(), connection.flow().signs), (None, 0), "what is so short is not compared");
    // What every number has only once more is what a sender does that has lost them all.
    for number in 0..40 {
        let at = Seq(connection.next[0]);
        connection.send(0, &datagram(number, 100));
        connection.pass(0, at, ack, flags::ACK, &datagram(100 + number, 100));
    }
    assert_eq!(connection.application(), None);
}

#[test]
fn a_flood_of_trailers_changes_nothing_for_others() {
    for level in [Inspection::Strict, Inspection::Bypass] {
        let mut connection = Connection::open(&Tables::everything(Action::Allow, level), Family::V4, CTCP);
        connection.send(0, &esp(1, 100));
        let before = connection.flow();
        let mut random = fastrand::Rng::with_seed(7);
        for port in 1_024..21_024 {
            let segment =
                Segment { seq: Seq(random.u32(..)), ack: Seq(random.u32(..)), length: 0, window: 1, flags: flags::ACK, scale: NO_SCALE };
            let mut packet = Packet::tcp(Family::V4, (CLIENT, port), (SERVER, CTCP), &segment);
            if let Payload::Tcp { data, .. } = &mut packet.payload {
                *data = esp(random.u32(1..), 100);
            }
            if port != CLIENT_PORT {
                let _ = connection.judge(0, &packet.build().bytes);
            }
        }
        let flows = connection.world.flows();
        assert!(flows.iter().any(|(_, flow, established)| *established && *flow == before), "the flow is as it was");
        assert!(flows.iter().all(|(_, flow, _)| flow.application == 0), "one packet proves nothing");
    }
}
