//! The one exit of the packet's path: every packet is counted here, once, and nowhere else.

use crate::{
    counter::{Counters, RuleCounters, Traffic},
    env::Env,
    reason::Reason,
    time::Nanos,
    verdict::Verdict,
    visit::Visit,
};

/// No rule has to do with the packet.
pub const NO_RULE: u16 = u16::MAX;

/// What the stages made of a packet. Without a gap between its fields: a copy of one would be of a register that was never set, which the
/// verifier refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[must_use]
pub struct Outcome {
    /// Stable number of the rule whose flow it is, or that decided; [`NO_RULE`] for none.
    pub rule: u16,
    pub verdict: Verdict,
    pub event: Event,
}

/// What else happened to the packet's flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Event {
    None,
    /// No IP in the frame.
    Link,
    /// A rule decided over a first packet.
    Decided,
    /// A first packet made a flow.
    Created,
    /// Both sides have confirmed the flow.
    Established,
    /// The packet ended its connection.
    Over,
    /// The packet found its flow's time over. Only [`crate::event`] is told.
    Expired,
    /// The policy in force no longer allows the packet's flow. Only [`crate::event`] is told.
    Denied,
    /// What the flow has proven to its guard puts it under another inspection. Only [`crate::event`] is told.
    Guard,
}

const _: () = assert!(size_of::<Outcome>() == 4);

impl Outcome {
    #[inline(always)]
    pub const fn new(verdict: Verdict, rule: u16, event: Event) -> Self {
        Self { verdict, rule, event }
    }

    #[inline(always)]
    pub const fn dropped(reason: Reason) -> Self {
        Self { verdict: Verdict::Drop(reason), rule: NO_RULE, event: Event::None }
    }
}

/// Counts a packet and returns its verdict. Its bytes are those of its IP packet; 0 when it has none that could be read.
#[inline(always)]
pub fn account<E: Env>(env: &E, visit: &Visit, outcome: &Outcome) -> Verdict {
    let (arrival, bytes) = (&visit.arrival, visit.descriptor.ip_length);
    env.count(arrival.place, |counters| {
        total(counters, outcome);
        traffic(&mut counters.traffic, arrival.egress, bytes, !outcome.verdict.passes());
    });
    if outcome.rule != NO_RULE {
        env.count_rule(outcome.rule, |counters| {
            if matches!(outcome.event, Event::Created | Event::Decided) {
                counters.hits += 1;
                counters.last_hit = visit.now.0;
            }
            if outcome.verdict.passes() {
                counters.packets += 1;
                counters.bytes += u64::from(bytes);
                if visit.needed != 0 {
                    needed(counters, u32::from(visit.needed), visit.now);
                }
            }
        });
    }
    outcome.verdict
}

/// Counts a packet that passes and was learned from, of a flow of this rule, and returns its verdict: [`account`] where nothing else happened.
#[inline(always)]
pub fn steady<E: Env>(env: &E, visit: &Visit, rule: u16) -> Verdict {
    let (arrival, bytes) = (&visit.arrival, visit.descriptor.ip_length);
    env.count(arrival.place, |counters| {
        counters.passed += 1;
        traffic(&mut counters.traffic, arrival.egress, bytes, false);
    });
    env.count_rule(rule, |counters| {
        counters.packets += 1;
        counters.bytes += u64::from(bytes);
    });
    Verdict::Learn
}

/// As [`steady`], for a packet of a bypass flow that strict inspection would have dropped for lying past the window.
#[inline(always)]
pub fn past_window<E: Env>(env: &E, visit: &Visit, rule: u16) -> Verdict {
    env.count_rule(rule, |counters| needed(counters, Reason::TcpSeqPastWindow as u32, visit.now));
    steady(env, visit, rule)
}

#[inline(always)]
fn needed(counters: &mut RuleCounters, reason: u32, now: Nanos) {
    counters.needed += 1;
    counters.last_needed = now.0;
    counters.needed_for = reason;
}

#[inline(always)]
fn total(counters: &mut Counters, outcome: &Outcome) {
    match outcome.verdict {
        Verdict::Learn => counters.passed += 1,
        Verdict::NoLearn if matches!(outcome.event, Event::Link) => counters.link_passed += 1,
        Verdict::NoLearn => counters.passed_without_learning += 1,
        Verdict::Drop(reason) => count_drop(counters, reason),
        Verdict::Answer => {
            count_drop(counters, Reason::Reject);
            counters.answered += 1;
        }
    }
    match outcome.event {
        Event::None | Event::Link | Event::Decided | Event::Over | Event::Expired | Event::Denied | Event::Guard => {}
        Event::Created => counters.flows_created += 1,
        Event::Established => counters.flows_established += 1,
    }
}

#[inline(always)]
fn traffic(traffic: &mut Traffic, egress: bool, bytes: u32, dropped: bool) {
    if egress {
        traffic.sent_packets += 1;
        traffic.sent_bytes += u64::from(bytes);
        traffic.sent_dropped += u64::from(dropped);
    } else {
        traffic.received_packets += 1;
        traffic.received_bytes += u64::from(bytes);
        traffic.received_dropped += u64::from(dropped);
    }
}

#[inline(always)]
fn count_drop(counters: &mut Counters, reason: Reason) {
    if let Some(drops) = counters.drops.get_mut(reason.index()) {
        *drops += 1;
    }
}
