//! Stage *admit*: the first packet of a flow, once the policy allows it, becomes an entry of the embryonic table.

use crate::{
    application,
    classify::{Decision, Zones},
    config::config_flags,
    env::{Env, InsertError, Notice},
    flow::{Flow, FlowKey, Inspection, NO_SCALE, Sender, State, flow_flags, flow_marks},
    normalize::record,
    parse::{Descriptor, Kind},
    reason::Reason,
    rule::{Rule, rule_flags},
    time::Nanos,
    track::{handshake, ipsec, shadow, timeout},
    verdict::Verdict,
    visit::Visit,
    wire::tcp::flags,
};

/// Whether a packet can begin a flow at all.
///
/// # Errors
/// [`Reason::TcpNotSyn`], [`Reason::IcmpUnsolicited`].
#[inline(always)]
pub fn check(descriptor: &Descriptor, inspection: Inspection) -> Result<(), Reason> {
    if matches!(descriptor.kind, Kind::EchoReply) {
        return Err(Reason::IcmpUnsolicited);
    }
    let bypass = matches!(inspection, Inspection::Bypass);
    let syn_only = descriptor.segment.flags & (flags::SYN | flags::ACK | flags::RST | flags::FIN) == flags::SYN;
    if matches!(descriptor.kind, Kind::Tcp) && !bypass && !syn_only {
        return Err(Reason::TcpNotSyn);
    }
    Ok(())
}

/// Makes a flow of an allowed first packet that [can begin one](check).
///
/// # Errors
/// [`Reason::FlowInsertFailed`].
#[inline(never)]
pub fn admit<E: Env>(env: &E, visit: &Visit, place: &Admission<'_>) -> Result<Verdict, Reason> {
    let descriptor = &visit.descriptor;
    let now = env.precise_now();
    match env.insert_embryonic(&descriptor.key, |flow| first_packet(flow, visit, now, place)) {
        Ok(()) => Ok(Verdict::Learn),
        // Another CPU had the same packet, or its repetition, a moment earlier: its entry serves both.
        Err(InsertError::Exists) => Ok(Verdict::NoLearn),
        Err(InsertError::Refused) => {
            env.notice(Notice::EmbryonicRefused);
            if visit.settings.flags & config_flags::TABLE_FULL_PASS != 0 { Ok(Verdict::NoLearn) } else { Err(Reason::FlowInsertFailed) }
        }
    }
}

/// Why and under what a flow is admitted.
#[derive(Clone, Copy, Debug)]
pub struct Admission<'a> {
    pub decision: Decision,
    pub zones: Zones,
    /// [`crate::flow::features`] the flow begins with.
    pub features: u8,
    pub rule: &'a Rule,
}

#[inline(always)]
fn first_packet(flow: &mut Flow, visit: &Visit, now: Nanos, place: &Admission<'_>) {
    let (descriptor, arrival) = (&visit.descriptor, &visit.arrival);
    let state = match (descriptor.kind, place.decision.inspection()) {
        (Kind::Tcp, Inspection::Bypass) => State::Bypass,
        (Kind::Tcp, _) => State::SynSent,
        _ => State::Single,
    };
    if matches!(descriptor.kind, Kind::Tcp) && descriptor.segment.has(flags::SYN) {
        handshake::learn_syn(&mut flow.initiator, &descriptor.segment);
        record::learn_syn(flow, Sender::Initiator, descriptor);
    }
    if matches!(state, State::Bypass) {
        shadow::admit(flow, &descriptor.segment, now);
    }
    flow.features |= place.features;
    application::learn::begin(flow, visit);
    if let Some(security) = descriptor.security() {
        ipsec::learn(&mut flow.initiator, security);
    }
    flow.initiator.packets = 1;
    flow.initiator.bytes = u64::from(descriptor.ip_length);
    flow.generation = visit.settings.generation;
    flow.last_seen = now.0;
    flow.created = now.0;
    flow.rule = place.decision.rule;
    flow.entry = place.decision.entry;
    flow.state = state as u8;
    flow.inspection = place.decision.inspection() as u8;
    flow.flags = if descriptor.source_is_low { flow_flags::INITIATOR_LOW } else { 0 };
    flow.marks |= marks_under(place.rule);
    flow.from_zone = place.zones.from;
    flow.to_zone = place.zones.to;
    if arrival.egress {
        flow.responder_interface = arrival.place;
    } else {
        flow.initiator_interface = arrival.place;
    }
    flow.pending_scale = NO_SCALE;
    flow.identity = FlowKey::identity(&descriptor.key);
    flow.timeout = timeout::of(flow, descriptor.key.protocol, &place.rule.timeouts);
}

/// The marks that a rule gives its flows.
#[inline(always)]
#[must_use]
pub const fn marks_under(rule: &Rule) -> u8 {
    let limited = if rule.flags & rule_flags::LIMITED == 0 { 0 } else { flow_marks::LIMITED };
    let logged = if rule.flags & rule_flags::LOGGED == 0 { 0 } else { flow_marks::LOGGED };
    limited | logged
}
