//! What a policy would say of flows, without putting it in force: their first packets are judged by it on the host.

use firewall_common::{
    flow::{Flow, FlowKey, Inspection, flow_flags},
    rule::Action,
    wire::{icmp, protocol},
};

use super::report::action_name;
use crate::{
    api::{FlowChangeKind, Judged},
    policy::{Evaluator, FirstPacket, Lowered, Policy, RuleInfo},
};

/// A policy that judges.
pub(super) struct Judge<'p> {
    policy: &'p Policy,
    evaluator: Evaluator<'p>,
    now_ns: u64,
}

/// What it says of a first packet: the rule that decides it, if any does.
#[derive(Clone, Copy)]
pub(super) struct Verdict<'p>(Option<&'p RuleInfo>);

impl<'p> Judge<'p> {
    pub(super) fn new(policy: &'p Policy, lowered: &'p Lowered, now_ns: u64) -> Self {
        Self { policy, evaluator: lowered.evaluator(), now_ns }
    }

    pub(super) fn judge(&self, packet: &FirstPacket) -> Verdict<'p> {
        let entry = self.evaluator.first_match(packet, self.now_ns);
        Verdict(entry.and_then(|entry| self.policy.rule_of_entry(entry)))
    }
}

impl<'p> Verdict<'p> {
    /// The rule that decides.
    pub(super) const fn rule(self) -> Option<&'p RuleInfo> {
        self.0
    }

    pub(super) fn allows(self) -> bool {
        self.0.is_some_and(|rule| rule.action == Action::Allow)
    }

    fn inspection(self) -> Option<Inspection> {
        self.0.filter(|_| self.allows()).map(|rule| rule.inspection)
    }

    /// How the judgement of a live flow changes from this one to another.
    pub(super) fn change_to(self, then: Self) -> Option<FlowChangeKind> {
        let rule = |verdict: Self| verdict.0.map(|rule| rule.name.as_str());
        match (self.allows(), then.allows()) {
            (true, false) => Some(FlowChangeKind::Cut),
            (false, true) => Some(FlowChangeKind::Spared),
            (false, false) => None,
            (true, true) if self.inspection() != then.inspection() => Some(FlowChangeKind::Inspection),
            (true, true) => (rule(self) != rule(then)).then_some(FlowChangeKind::Rule),
        }
    }

    pub(super) fn describe(self) -> Judged {
        Judged {
            action: action_name(self.0.map_or(Action::Drop, |rule| rule.action)).to_owned(),
            rule: self.0.map(|rule| rule.name.clone()),
            inspection: self.inspection().map(|inspection| inspection.name().to_owned()),
        }
    }

    /// The verdict for people: `rule "web" drops it`.
    pub(super) fn sentence(self) -> String {
        match self.0 {
            None => "no rule allows it".to_owned(),
            Some(rule) => {
                let does = match rule.action {
                    Action::Allow => "allows",
                    Action::Drop => "drops",
                    Action::Reject => "rejects",
                };
                format!("rule \"{}\" {does} it", rule.name)
            }
        }
    }
}

/// The first packet of a live flow, as the dataplane judges it again under another policy.
///
/// An ICMP flow's key does not tell an echo's identifier from another message's type: it is taken for an echo request.
pub(super) fn first_packet(key: &FlowKey, flow: &Flow) -> FirstPacket {
    let low_first = flow.has(flow_flags::INITIATOR_LOW);
    let (source, destination) = if low_first { (key.low, key.high) } else { (key.high, key.low) };
    let service = match key.protocol {
        protocol::ICMP => [icmp::v4::ECHO_REQUEST, 0],
        protocol::ICMPV6 => [icmp::v6::ECHO_REQUEST, 0],
        _ if low_first => key.high_port,
        _ => key.low_port,
    };
    FirstPacket { from_zone: flow.from_zone, to_zone: flow.to_zone, source, destination, protocol: key.protocol, service }
}

#[cfg(test)]
mod tests {
    use firewall_common::flow::Address;

    use super::*;

    #[test]
    fn a_first_packet_goes_from_the_initiator() {
        let (low, high) = (Address::v4([10, 0, 0, 1]), Address::v4([10, 0, 0, 2]));
        let key = FlowKey { low, high, low_port: [0, 80], high_port: [200, 1], protocol: 6, ..FlowKey::default() };
        let flow = Flow { from_zone: 2, to_zone: 1, ..Flow::default() };
        let packet = first_packet(&key, &flow);
        assert_eq!((packet.source, packet.destination, packet.service), (high, low, [0, 80]));
        let flow = Flow { flags: flow_flags::INITIATOR_LOW, ..flow };
        let packet = first_packet(&key, &flow);
        assert_eq!((packet.source, packet.destination, packet.service), (low, high, [200, 1]));
        assert_eq!((packet.from_zone, packet.to_zone), (2, 1));
        let ping = FlowKey { protocol: 1, low_port: [7, 7], high_port: [7, 7], ..key };
        assert_eq!(first_packet(&ping, &flow).service, [8, 0]);
    }
}
