//! What was seen of a flow's packets goes into its record, until the flow is known or given up. Everything but [`learn`] is pure.

use super::{Application, behaviour, of_protocol, sights};
use crate::{
    env::Env,
    flow::{Flow, FlowKey, Sender, features},
    packet::Packet,
    parse::Kind,
    seq::Seq,
    visit::Visit,
};

/// Signs in a row that prove an application.
const ENOUGH: u8 = 3;
/// Bits of [`Flow::signs`] while a flow is looked at: how many there are in a row. Above them are the lowest bits of the last one's number.
const COUNT: u8 = 3;
const NUMBER: u32 = COUNT.count_ones();
/// Bits of [`Flow::mark`] for the initiator's digest; the responder's are above them.
const TAG: u32 = 0xffff;
/// Looks after which a flow is given up.
pub const MOST_LOOKS: u8 = 8;

/// Takes what was seen of a packet into its flow's record, wherever that is by now.
#[inline(always)]
pub fn learn<P: Packet, E: Env>(packet: &P, env: &E, visit: &mut Visit) {
    let signs = env.applications(visit.slot()).map_or(0, |settings| settings.fake_tcp_signs);
    if signs != 0 && visit.sight.seen & (sights::AGAIN | sights::LOOKED) == sights::AGAIN {
        visit.sight.tag = behaviour::digest(packet, env, &visit.descriptor);
    }
    if let Some(found) = env.established(&visit.descriptor.key) {
        env.with_established(&found, |flow| take(flow, visit, signs));
    } else if visit.sight.has(sights::LOOKED)
        && let Some(found) = env.embryonic(&visit.descriptor.key)
    {
        env.with_embryonic(&found, |flow| take(flow, visit, 0));
    }
}

/// Begins the record of a flow whose first packet this is.
#[inline(always)]
pub fn begin(flow: &mut Flow, visit: &Visit) {
    flow.application = of_protocol(visit.descriptor.key.protocol);
    if visit.sight.has(sights::CANDIDATE) {
        flow.features |= features::LOOKED_AT;
    }
    if visit.sight.has(sights::LOOKED) {
        take_sight(flow, Sender::Initiator, visit);
    } else if visit.sight.application != 0 {
        flow.application = visit.sight.application;
    }
}

/// `signs`: how many make fake TCP, 0 for never.
#[inline(always)]
fn take(flow: &mut Flow, visit: &Visit, signs: u8) {
    // The record's memory may be another flow's by now.
    if flow.identity != FlowKey::identity(&visit.descriptor.key) || flow.application != 0 {
        return;
    }
    let sender = flow.sender(visit.descriptor.source_is_low);
    if flow.features & features::LOOKED_AT != 0 {
        if visit.sight.has(sights::LOOKED) {
            take_sight(flow, sender, visit);
        }
    } else if signs != 0 {
        behaviour::take(flow, sender, visit, signs);
    }
}

/// One more packet of a flow that is looked at.
#[inline(always)]
fn take_sight(flow: &mut Flow, sender: Sender, visit: &Visit) {
    let sight = &visit.sight;
    flow.looks = flow.looks.wrapping_add(1);
    // A stream begins where its initiator's first data does; of another place its bytes tell nothing.
    let tcp = matches!(visit.descriptor.kind, Kind::Tcp);
    let begins = !tcp || (matches!(sender, Sender::Initiator) && visit.descriptor.segment.seq == Seq(flow.initiator.isn).add(1));
    if sight.application != 0 && begins {
        return decide(flow, sight.application);
    }
    if sight.has(sights::SIGN) {
        if sign(flow, sender, visit) >= ENOUGH {
            return decide(flow, proven(&visit.descriptor));
        }
    } else if !sight.has(sights::GO_ON) || (tcp && begins) {
        return decide(flow, 0);
    }
    if flow.looks >= MOST_LOOKS {
        decide(flow, 0);
    }
}

/// Counts a sign, and tells how many there are in a row. Those of a repeated packet are one; where its direction has another digest than
/// before, the counting begins anew.
#[inline(always)]
fn sign(flow: &mut Flow, sender: Sender, visit: &Visit) -> u8 {
    let sight = &visit.sight;
    let place = match sender {
        Sender::Initiator => 0,
        Sender::Responder => 16,
    };
    let (mut count, number) = (flow.signs & COUNT, sight.number << NUMBER);
    let tag = flow.mark >> place & TAG;
    if count == 0 || (tag != u32::from(sight.tag) && tag != 0) {
        count = 1;
    } else if flow.signs & !COUNT != number {
        count += 1;
    }
    flow.signs = count | number;
    flow.mark = flow.mark & !(TAG << place) | u32::from(sight.tag) << place;
    count
}

/// What enough signs prove.
#[inline(always)]
const fn proven(descriptor: &crate::parse::Descriptor) -> u8 {
    use crate::wire::ipsec::NAT_T;
    let nat_t = descriptor.source_port() == NAT_T || descriptor.destination_port() == NAT_T;
    match (descriptor.kind, nat_t) {
        (Kind::Tcp, _) => Application::Ctcp as u8,
        (_, true) => Application::NatT as u8,
        (_, false) => Application::IpsecUdp as u8,
    }
}

/// The flow is known, or given up: nobody looks any more.
#[inline(always)]
const fn decide(flow: &mut Flow, application: u8) {
    flow.application = application;
    flow.features &= !features::LOOKED_AT;
    flow.signs = 0;
    flow.mark = 0;
}
