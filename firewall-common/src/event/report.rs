//! Telling what happened to a packet's flow, or why the packet was dropped. It runs only when somebody listens.

use super::{Kind, Record, Teardown, evidence, marks};
use crate::{
    account::{Event, Outcome},
    env::Env,
    flow::{Flow, FlowKey, Sender, flow_marks},
    parse,
    reason::Reason,
    rule::ZONE_SELF,
    verdict::Verdict,
    visit::Visit,
};

/// What an outcome tells, if anything. A flow that opened and a packet that was dropped are never of one packet.
#[inline(always)]
#[must_use]
pub const fn kind(outcome: &Outcome) -> Option<Kind> {
    match (outcome.verdict, outcome.event) {
        (Verdict::Drop(_) | Verdict::Answer, _) => Some(Kind::Dropped),
        (_, Event::Established) => Some(Kind::Opened),
        (_, Event::Created) => Some(Kind::Begun),
        (_, Event::Over | Event::Expired | Event::Denied) => Some(Kind::Closed),
        (_, Event::Guard) => Some(Kind::Guard),
        _ => None,
    }
}

/// Tells an outcome to those who listen. The flow, where there is one, must still be in its table.
#[inline(always)]
pub fn report<E: Env>(env: &E, visit: &Visit, outcome: &Outcome) {
    let Some(kind) = kind(outcome) else { return };
    if visit.tell & Kind::Overload.told() != 0 {
        env.emit(Kind::Overload, false, visit.now, |record| {
            record.begin(Kind::Overload, visit.now);
            (record.key, record.rule) = (visit.descriptor.key, outcome.rule);
            record.marks |= marks::ADDRESSES;
            dropped(record, visit, outcome);
        });
    }
    let logged = visit.tell & kind.told() != 0;
    // That a flow has begun is told of logged ones alone: what others listen to is that it has opened.
    let wanted = visit.settings.event_kinds & kind.bit() != 0 && !matches!(kind, Kind::Begun);
    if !logged && !wanted {
        return;
    }
    if matches!(outcome.event, Event::Expired | Event::Denied) && !first_to_end(env, &visit.descriptor.key) {
        return;
    }
    env.emit(kind, logged, visit.now, |record| {
        describe(env, record, kind, visit, outcome);
        if logged {
            record.marks |= marks::LOGGED;
        }
    });
}

/// Notes that the flow's end is being told; false when it has been. Two CPUs, or a CPU and the controller, may find it over at once.
#[inline(always)]
fn first_to_end<E: Env>(env: &E, key: &FlowKey) -> bool {
    if let Some(found) = env.established(key) {
        return env.with_established(&found, mark_over);
    }
    match env.embryonic(key) {
        Some(found) => env.with_embryonic(&found, mark_over),
        None => false,
    }
}

#[inline(always)]
fn mark_over(flow: &mut Flow) -> bool {
    let first = flow.marks & flow_marks::OVER == 0;
    flow.marks |= flow_marks::OVER;
    first
}

#[inline(always)]
fn describe<E: Env>(env: &E, record: &mut Record, kind: Kind, visit: &Visit, outcome: &Outcome) {
    record.begin(kind, visit.now);
    record.key = visit.descriptor.key;
    record.rule = outcome.rule;
    if visit.descriptor.ip_length != 0 {
        record.marks |= marks::ADDRESSES;
    }
    if matches!(kind, Kind::Dropped) {
        dropped(record, visit, outcome);
    }
    if let Some(found) = env.established(&visit.descriptor.key) {
        env.with_established(&found, |flow| of_flow(record, visit, outcome, flow));
    } else if let Some(found) = env.embryonic(&visit.descriptor.key) {
        env.with_embryonic(&found, |flow| of_flow(record, visit, outcome, flow));
    }
}

/// What is known of a dropped packet without its flow.
#[inline(always)]
fn dropped(record: &mut Record, visit: &Visit, outcome: &Outcome) {
    let (descriptor, arrival) = (&visit.descriptor, &visit.arrival);
    record.cause = reason(outcome) as u8;
    if descriptor.source_is_low {
        record.marks |= marks::SOURCE_LOW;
    }
    if arrival.egress {
        (record.source_zone, record.destination_zone) = (ZONE_SELF, arrival.zone);
        record.destination_interface = arrival.place;
    } else {
        (record.source_zone, record.destination_zone) = (arrival.zone, visit.to_zone);
        record.source_interface = arrival.place;
    }
    record.length = descriptor.ip_length;
    record.service = descriptor.service;
    if matches!(descriptor.kind, parse::Kind::Tcp) {
        let segment = &descriptor.segment;
        (record.seq, record.ack, record.payload) = (segment.seq.0, segment.ack.0, segment.length);
        (record.window, record.tcp_flags) = (segment.window, segment.flags);
    }
    evidence::of_guard(record, &visit.guard, reason(outcome));
}

#[inline(always)]
const fn reason(outcome: &Outcome) -> Reason {
    match outcome.verdict {
        Verdict::Drop(reason) => reason,
        _ => Reason::Reject,
    }
}

/// What the packet's flow adds.
#[inline(always)]
fn of_flow(record: &mut Record, visit: &Visit, outcome: &Outcome, flow: &Flow) {
    // The record's memory may be another flow's by now.
    if flow.identity != FlowKey::identity(&visit.descriptor.key) {
        return;
    }
    record.take_flow(flow);
    let sender = flow.sender(visit.descriptor.source_is_low);
    if !matches!(outcome.verdict, Verdict::Drop(_) | Verdict::Answer) {
        record.take_ends(flow);
        record.cause = if matches!(outcome.event, Event::Guard) { visit.guard.turned } else { teardown(outcome, sender, flow) };
        return;
    }
    let (far_zone, far_interface) = match sender {
        Sender::Initiator => (flow.to_zone, flow.responder_interface),
        Sender::Responder => {
            record.marks |= marks::FROM_RESPONDER;
            (flow.from_zone, flow.initiator_interface)
        }
    };
    if !visit.arrival.egress {
        (record.destination_zone, record.destination_interface) = (far_zone, far_interface);
    }
    if matches!(visit.descriptor.kind, parse::Kind::Tcp) {
        evidence::note(record, flow, sender, &visit.descriptor.segment, reason(outcome));
    }
}

/// Why the flow ended, as a number; 0 when it did not.
#[inline(always)]
const fn teardown(outcome: &Outcome, sender: Sender, flow: &Flow) -> u8 {
    let teardown = match outcome.event {
        Event::Expired => Teardown::of_expired(flow),
        Event::Denied => Teardown::Policy,
        Event::Over if flow.state == crate::flow::State::TimeWait as u8 => Teardown::TcpFins,
        Event::Over => match sender {
            Sender::Initiator => Teardown::TcpResetI,
            Sender::Responder => Teardown::TcpResetO,
        },
        _ => return 0,
    };
    teardown as u8
}

/// A flow that a stage is about to remove: told before its record goes.
#[inline(always)]
pub fn ended<E: Env>(env: &E, visit: &mut Visit, event: Event) {
    if (visit.settings.event_kinds | u32::from(visit.tell)) & Kind::Closed.bit() != 0 {
        env.report(visit, &mut Outcome::new(Verdict::NoLearn, crate::account::NO_RULE, event));
    }
}

/// A record without what two clocks make different.
#[cfg(feature = "memory")]
#[must_use]
pub fn timeless(record: Record) -> Record {
    Record { at: 0, created: 0, handshake_micros: 0, ..record }
}
