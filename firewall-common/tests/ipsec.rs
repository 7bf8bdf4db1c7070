//! What a flow's record keeps of its security associations.

use firewall_common::{
    flow::{Flow, Inspection},
    parse::{Descriptor, parse},
    rule::Action,
    testing::{
        builder::{Packet, Payload},
        host::{CLIENT, Family, SERVER},
        play::{FROM_CLIENT, FROM_SERVER},
        tables::Tables,
        world::World,
    },
    verdict::Verdict,
};

/// Sends a packet and returns its flow's record.
fn after(world: &World, packet: &Packet) -> Flow {
    let arrival = if packet.from == CLIENT { FROM_CLIENT } else { FROM_SERVER };
    let frame = packet.build().bytes;
    assert_eq!(world.judge(&frame, arrival), Verdict::Learn, "{packet:?}");
    let mut descriptor = Descriptor::EMPTY;
    parse(&&frame[..], arrival.egress, &mut descriptor).expect("it has been judged");
    world.flow(&descriptor.key).expect("it was learned from").0
}

/// SPI, the one before, highest sequence number, changes.
const fn initiator(flow: &Flow) -> (u32, u32, u32, u16) {
    (flow.initiator.isn, flow.initiator.ack, flow.initiator.end, flow.initiator.gaps)
}

const fn responder(flow: &Flow) -> (u32, u32, u32, u16) {
    (flow.responder.isn, flow.responder.ack, flow.responder.end, flow.responder.gaps)
}

fn world() -> World {
    World::under(&Tables::everything(Action::Allow, Inspection::Strict))
}

/// A whole life of two associations, rekeyed one after the other.
fn rekey(make: impl Fn(bool, u32, u32) -> Packet) {
    let world = world();
    let send = |from_client, spi, sequence| after(&world, &make(from_client, spi, sequence));
    assert_eq!(initiator(&send(true, 0x1000, 1)), (0x1000, 0, 1, 0));
    let flow = send(false, 0x2000, 1);
    assert_eq!((initiator(&flow), responder(&flow)), ((0x1000, 0, 1, 0), (0x2000, 0, 1, 0)));
    assert_eq!(initiator(&send(true, 0x1000, 9)), (0x1000, 0, 9, 0));
    assert_eq!(initiator(&send(true, 0x1000, 7)), (0x1000, 0, 9, 0), "a late packet");
    assert_eq!(initiator(&send(true, 0x1001, 1)), (0x1001, 0x1000, 1, 1), "a rekey");
    assert_eq!(initiator(&send(true, 0x1000, 10)), (0x1001, 0x1000, 1, 1), "a late packet of the old association");
    let flow = send(false, 0x2000, 2);
    assert_eq!((initiator(&flow), responder(&flow)), ((0x1001, 0x1000, 1, 1), (0x2000, 0, 2, 0)), "the other direction has its own");
    assert_eq!(responder(&send(false, 0x2001, 1)), (0x2001, 0x2000, 1, 1));
    assert_eq!(world.flows().len(), 1, "a rekey is no new flow");
}

fn between(from_client: bool) -> (firewall_common::testing::host::Host, firewall_common::testing::host::Host) {
    if from_client { (CLIENT, SERVER) } else { (SERVER, CLIENT) }
}

/// A datagram between the client's port 40 000 and the server's `port`.
fn datagram(family: Family, from_client: bool, port: u16, data: Vec<u8>) -> Packet {
    let (from, to) = between(from_client);
    let (source, destination) = if from_client { (40_000, port) } else { (port, 40_000) };
    Packet::new(family, from, to, Payload::Udp { source, destination, data })
}

fn in_udp(spi: u32, sequence: u32) -> Vec<u8> {
    [&spi.to_be_bytes()[..], &sequence.to_be_bytes(), &[7; 40]].concat()
}

#[test]
fn both_directions_of_esp_and_ah_are_rekeyed() {
    for family in [Family::V4, Family::V6] {
        rekey(|from_client, spi, sequence| {
            let (from, to) = between(from_client);
            Packet::esp(family, from, to, spi, sequence, 40)
        });
        rekey(|from_client, spi, sequence| {
            let (from, to) = between(from_client);
            Packet::ah(family, from, to, spi, sequence, 40)
        });
    }
}

#[test]
fn esp_in_udp_is_told_on_both_its_ports() {
    for family in [Family::V4, Family::V6] {
        for port in [4500, 10_000] {
            rekey(|from_client, spi, sequence| datagram(family, from_client, port, in_udp(spi, sequence)));
        }
    }
}

#[test]
fn what_is_not_esp_tells_nothing() {
    for port in [4500, 10_000] {
        let world = world();
        let send = |data| after(&world, &datagram(Family::V4, true, port, data));
        for data in [vec![0xff], vec![], vec![1; 7], vec![1; 11], [&[0; 4][..], &[9; 40]].concat(), in_udp(255, 1), in_udp(0x1000, 0)] {
            assert_eq!(initiator(&send(data.clone())), (0, 0, 0, 0), "{data:?}");
        }
        assert_eq!(initiator(&send(in_udp(0x1000, 5))), (0x1000, 0, 5, 0));
        // A keepalive keeps the flow, and the association is what it was.
        let flow = send(vec![0xff]);
        assert_eq!((initiator(&flow), flow.initiator.packets), ((0x1000, 0, 5, 0), 9));
    }
    // Elsewhere the same bytes are nobody's association.
    let flow = after(&world(), &datagram(Family::V4, true, 4501, in_udp(0x1000, 1)));
    assert_eq!(initiator(&flow), (0, 0, 0, 0));
}

#[test]
fn sequence_numbers_wrap() {
    let world = world();
    let send = |sequence| after(&world, &Packet::esp(Family::V4, CLIENT, SERVER, 0x1000, sequence, 40));
    assert_eq!(send(u32::MAX).initiator.end, u32::MAX);
    assert_eq!(send(3).initiator.end, 3, "an extended number's lower half went round");
    assert_eq!(send(u32::MAX).initiator.end, 3);
}
