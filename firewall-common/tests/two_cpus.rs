//! The other direction's packet meets a flow on another CPU at the very moment the flow is established.

use std::rc::Rc;

use firewall_common::{
    flow::{Flow, FlowKey, Inspection, NO_SCALE, State},
    rule::Action,
    seq::Seq,
    testing::{
        builder::Packet,
        host::{CLIENT, Family, SERVER},
        play::{FROM_CLIENT, FROM_SERVER},
        tables::Tables,
        world::World,
    },
    verdict::Verdict,
    wire::tcp::{Segment, flags},
};

const SYN: u8 = flags::SYN;
const ACK: u8 = flags::ACK;
const FIN: u8 = flags::FIN;
const RST: u8 = flags::RST;
const C: u32 = 1_000;
const S: u32 = 5_000;

fn send(world: &World, from_client: bool, set: u8, seq: u32, ack: u32, length: u32) -> Verdict {
    let segment = Segment { seq: Seq(seq), ack: Seq(ack), length, window: 10_000, flags: set, scale: NO_SCALE };
    let (client, server) = ((CLIENT, 40_000), (SERVER, 443));
    let (from, to) = if from_client { (client, server) } else { (server, client) };
    let frame = Packet::tcp(Family::V4, from, to, &segment).build().bytes;
    world.judge(&frame, if from_client { FROM_CLIENT } else { FROM_SERVER })
}

fn client(world: &World, set: u8, seq: u32, ack: u32, length: u32) -> Verdict {
    send(world, true, set, seq, ack, length)
}

fn server(world: &World, set: u8, seq: u32, ack: u32, length: u32) -> Verdict {
    send(world, false, set, seq, ack, length)
}

fn flow(world: &World) -> Flow {
    let flows: Vec<(FlowKey, Flow, bool)> = world.flows();
    assert_eq!(flows.len(), 1, "one flow in one table");
    assert!(flows[0].2, "it is established");
    flows[0].1
}

/// A handshake whose third packet is being judged when `meanwhile` happens.
fn world(meanwhile: impl Fn(&World) -> Verdict + 'static) -> World {
    let world = World::under(&Tables::everything(Action::Allow, Inspection::Strict));
    assert_eq!(client(&world, SYN, C, 0, 100), Verdict::Learn);
    assert_eq!(server(&world, SYN | ACK, S, C + 101, 0), Verdict::Learn);
    let happened = Rc::new(std::cell::Cell::new(false));
    let noted = Rc::clone(&happened);
    world.while_promoting(move |world| {
        assert_eq!(meanwhile(world), Verdict::Learn);
        noted.set(true);
    });
    assert_eq!(client(&world, ACK, C + 101, S + 1, 0), Verdict::Learn);
    assert!(happened.get());
    world
}

#[test]
fn what_the_responder_sends_meanwhile_can_be_acknowledged() {
    let world = world(|world| server(world, ACK, S + 1, C + 101, 1_000));
    let learned = flow(&world);
    assert_eq!((learned.responder.end, learned.responder.packets), (S + 1_001, 2));
    assert_eq!(client(&world, ACK, C + 101, S + 1_001, 0), Verdict::Learn);
}

#[test]
fn an_end_meanwhile_is_an_end() {
    let finished = world(|world| server(world, FIN | ACK, S + 1, C + 101, 10));
    assert_eq!(flow(&finished).state, State::FinWait as u8);
    assert_eq!(client(&finished, ACK, C + 101, S + 12, 0), Verdict::Learn);
    assert_eq!(flow(&finished).state, State::HalfClosed as u8);

    let reset = world(|world| server(world, RST, S + 1, 0, 0));
    assert_eq!(flow(&reset).state, State::Closed as u8);
    let closed = World::under(&Tables::everything(Action::Allow, Inspection::Strict));
    assert_eq!(client(&closed, SYN, C, 0, 100), Verdict::Learn);
    assert_eq!(server(&closed, SYN | ACK, S, C + 101, 0), Verdict::Learn);
    assert_eq!(client(&closed, ACK, C + 101, S + 1, 0), Verdict::Learn);
    assert_eq!(server(&closed, RST, S + 1, 0, 0), Verdict::Learn);
    assert_eq!(flow(&reset), flow(&closed), "as if one had come after the other");
}
