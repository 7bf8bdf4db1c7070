//! The dataplane's evidence with what it looks like, one after the other.

use std::collections::{BTreeMap, HashMap, HashSet};

use firewall_common::{
    application::Application,
    evidence::{Evidence, Side, Table, marks},
    flow::{Address, Flow, FlowKey, Inspection},
};

use super::super::{Controller, live::LiveFlow};
use crate::{
    advise::{self, Connection, Finding, Looks, Pair, Source},
    api::Failure,
};

/// Refused packets of one connection, of one pair of hosts, or of a source as a whole.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    pub(super) finding: Finding,
    /// Who would be the source of a rule, and the zones as it would name them.
    pub(super) from: Address,
    pub(super) from_port: Option<u16>,
    /// The destination; `None` of a source that reaches for many.
    pub(super) to: Option<Address>,
    pub(super) from_zone: u8,
    pub(super) to_zone: u8,
    /// The service's port, where it is one.
    pub(super) port: Option<u16>,
    /// A port of the destination that was seen: what a rule is asked about.
    pub(super) seen_port: u16,
    pub(super) refused: u32,
    pub(super) reasons: BTreeMap<&'static str, u64>,
    /// Moments of the monotonic clock.
    pub(super) first: u64,
    pub(super) last: u64,
    /// What it carries, or carried when it was last refused something.
    pub(super) application: Option<Application>,
    pub(super) live: Option<(FlowKey, LiveFlow)>,
}

impl Controller {
    /// Everything that is remembered, and more than [noise](advise::NOISE).
    pub(super) fn observed(&self) -> Result<Vec<Observed>, Failure> {
        let flows = self.maps.evidence(Table::Flows)?;
        let strays = self.maps.evidence(Table::Strays)?;
        let strangers = self.maps.strangers()?;
        let mut observed: Vec<Observed> = flows.iter().filter_map(|(key, evidence)| self.of_flow(key, evidence)).collect();
        let mut by_source: HashMap<Address, Vec<(&FlowKey, &Evidence)>> = HashMap::new();
        for (key, evidence) in &strays {
            for (address, side) in [(key.low, &evidence.low), (key.high, &evidence.high)] {
                if side.packets > 0 {
                    by_source.entry(address).or_default().push((key, evidence));
                }
            }
        }
        let answered = self.two_way();
        for (address, stranger) in &strangers {
            if stranger.packets < advise::NOISE {
                continue;
            }
            let conversations = by_source.remove(address).unwrap_or_default();
            let source = Source { address: *address, stranger, conversations };
            let (pairs, finding) = advise::source(&source);
            let known: Vec<Observed> = pairs
                .into_iter()
                .filter(|pair| !answered.contains(&hosts(pair.source, pair.destination)))
                .map(|pair| of_pair(pair, &source))
                .collect();
            if known.is_empty() {
                observed.push(of_source(&source, finding));
            }
            observed.extend(known);
        }
        Ok(observed)
    }

    fn of_flow(&self, key: &FlowKey, evidence: &Evidence) -> Option<Observed> {
        let live = self.live.get(key).filter(|live| live.flow.created == evidence.created);
        let connection = Connection::new(evidence, live.as_ref().map(|live| &live.flow));
        if connection.refused() < advise::NOISE {
            return None;
        }
        let (from, to) = if evidence.has(marks::INITIATOR_LOW) {
            (key.low_endpoint(), key.high_endpoint())
        } else {
            (key.high_endpoint(), key.low_endpoint())
        };
        Some(Observed {
            finding: advise::connection(&connection),
            from: from.address,
            from_port: Some(from.port),
            to: Some(to.address),
            from_zone: evidence.from_zone,
            to_zone: evidence.to_zone,
            port: Some(to.port),
            seen_port: to.port,
            refused: connection.refused(),
            reasons: reasons(&[&evidence.low, &evidence.high], "other"),
            first: evidence.first,
            last: evidence.last,
            application: Application::from_number(live.as_ref().map_or(evidence.application, |live| live.flow.application)),
            live: live.map(|live| (*key, live)),
        })
    }

    /// Hosts with a flow of which both directions come by here: their path is no asymmetric one.
    fn two_way(&self) -> HashSet<(Address, Address)> {
        let two_way = |flow: &Flow| {
            let strict = flow.inspection != Inspection::Bypass as u8;
            strict && flow.initiator.packets > 0 && flow.responder.packets > 0
        };
        self.live.iter().filter(|(_, live)| two_way(&live.flow)).map(|(key, _)| (key.low, key.high)).collect()
    }
}

/// Two hosts in the order that flows' keys have them.
fn hosts(one: Address, other: Address) -> (Address, Address) {
    if one.bits() <= other.bits() { (one, other) } else { (other, one) }
}

fn of_pair(pair: Pair, source: &Source<'_>) -> Observed {
    let own = |(key, evidence): &(&FlowKey, &Evidence)| {
        let (own, other) = if key.low == pair.source { (evidence.low, key.high) } else { (evidence.high, key.low) };
        (other == pair.destination).then_some(own)
    };
    let sides: Vec<Side> = source.conversations.iter().filter_map(own).collect();
    let reason = source.conversations.first().map_or("other", |(_, evidence)| reason_of(evidence));
    Observed {
        from: pair.source,
        from_port: pair.port.is_none().then_some(pair.source_port),
        to: Some(pair.destination),
        from_zone: pair.from_zone,
        to_zone: pair.to_zone,
        port: pair.port,
        seen_port: pair.seen_port,
        refused: pair.refused,
        reasons: reasons(&sides.iter().collect::<Vec<_>>(), reason),
        first: pair.first,
        last: pair.last,
        application: None,
        live: None,
        finding: pair.finding,
    }
}

fn of_source(source: &Source<'_>, finding: Finding) -> Observed {
    // One destination is shown where there is but one.
    let mut destinations: Vec<(Address, u16)> = source
        .conversations
        .iter()
        .map(|(key, _)| if key.low == source.address { key.high_endpoint() } else { key.low_endpoint() })
        .map(|endpoint| (endpoint.address, endpoint.port))
        .collect();
    let seen_port = destinations.first().map_or(0, |(_, port)| *port);
    destinations.sort_by_key(|(address, port)| (address.bits(), *port));
    destinations.dedup();
    let one = destinations.first().filter(|(first, _)| destinations.iter().all(|(address, _)| address == first));
    let to = one.filter(|_| finding.looks != Looks::Scan).map(|(address, _)| *address);
    let zones = source
        .conversations
        .first()
        .map_or((firewall_common::event::NO_ZONE, firewall_common::event::NO_ZONE), |(_, evidence)| (evidence.from_zone, evidence.to_zone));
    let reason = source.conversations.first().map_or("tcp-not-syn", |(_, evidence)| reason_of(evidence));
    Observed {
        finding,
        from: source.address,
        from_port: None,
        to,
        from_zone: zones.0,
        to_zone: zones.1,
        port: if destinations.len() == 1 { Some(seen_port) } else { None },
        seen_port,
        refused: source.stranger.packets,
        reasons: BTreeMap::from([(reason, u64::from(source.stranger.packets))]),
        first: source.stranger.first,
        last: source.stranger.last,
        application: None,
        live: None,
    }
}

/// The drop reason of the first packet.
fn reason_of(evidence: &Evidence) -> &'static str {
    firewall_common::reason::Reason::from_number(evidence.first_reason).map_or("other", firewall_common::reason::Reason::name)
}

/// Refusals by drop reason, as far as the evidence tells them apart.
fn reasons(sides: &[&Side], other: &'static str) -> BTreeMap<&'static str, u64> {
    let sum = |of: fn(&Side) -> u32| sides.iter().map(|side| u64::from(of(side))).sum::<u64>();
    let (all, past, ack) = (sum(|side| side.packets), sum(|side| side.past_window), sum(|side| side.invalid_ack));
    let resets = if other == "other" { sum(|side| side.resets).min(all.saturating_sub(past + ack)) } else { 0 };
    let counts = [
        ("tcp-seq-past-win", past),
        ("tcp-invalid-ack", ack),
        ("tcp-rstfin-ooo", resets),
        (other, all.saturating_sub(past + ack + resets)),
    ];
    counts.into_iter().filter(|(_, count)| *count > 0).collect()
}
