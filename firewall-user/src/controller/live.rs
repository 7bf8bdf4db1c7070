//! The controller's view of the live flows. The sweep writes it; the API reads it at the same time, flow by flow.

use std::collections::{HashMap, HashSet};

use dashmap::DashMap;
use firewall_common::{
    flow::{Flow, FlowKey},
    time::Nanos,
};

use crate::{
    api::{Both, Rate},
    dataplane::TableName,
};

/// Rates are taken over at least this time: a read soon after another must not turn a burst into a rate.
const RATE_SPAN: Nanos = Nanos(900 * Nanos::MILLISECOND);

/// A flow as last read, and how fast it runs.
#[derive(Clone, Copy, Debug)]
pub struct LiveFlow {
    pub flow: Flow,
    pub table: TableName,
    pub rates: Rate,
    anchor: Anchor,
    round: u64,
}

/// Where the present rate is counted from.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    at: Nanos,
    packets: Both,
    bytes: Both,
}

/// All live flows.
#[derive(Debug, Default)]
pub struct Live {
    flows: DashMap<FlowKey, LiveFlow>,
}

impl Live {
    /// Notes a flow as just read, in the sweep's `round`, and returns the packets it has sent since the last one.
    pub(super) fn see(&self, key: FlowKey, flow: Flow, table: TableName, now: Nanos, round: u64) -> Both {
        let mut before = Both::default();
        self.flows
            .entry(key)
            .and_modify(|live| {
                if live.flow.created == flow.created {
                    before = packets(&live.flow);
                }
                live.update(flow, table, now, round);
            })
            .or_insert_with(|| LiveFlow::new(flow, table, now, round));
        let now = packets(&flow);
        Both {
            to_responder: now.to_responder.saturating_sub(before.to_responder),
            to_initiator: now.to_initiator.saturating_sub(before.to_initiator),
        }
    }

    /// Forgets the flows that the sweep's `round` did not see.
    pub(super) fn forget_unseen(&self, round: u64) {
        self.flows.retain(|_, live| live.round == round);
    }

    pub(super) fn forget(&self, key: &FlowKey) {
        self.flows.remove(key);
    }

    /// One flow, copied.
    pub(super) fn get(&self, key: &FlowKey) -> Option<LiveFlow> {
        self.flows.get(key).map(|live| *live)
    }

    /// Every flow, copied.
    pub fn iter(&self) -> impl Iterator<Item = (FlowKey, LiveFlow)> + '_ {
        self.flows.iter().map(|entry| (*entry.key(), *entry.value()))
    }

    /// Live flows by rule number.
    #[must_use]
    pub fn by_rule(&self) -> HashMap<u16, u64> {
        let mut counts = HashMap::new();
        for entry in &self.flows {
            *counts.entry(entry.flow.rule).or_default() += 1;
        }
        counts
    }

    /// Numbers of the zones that live flows name.
    #[must_use]
    pub fn zones(&self) -> HashSet<u8> {
        self.flows.iter().flat_map(|entry| [entry.flow.from_zone, entry.flow.to_zone]).collect()
    }
}

/// Packets by direction: what the initiator sent goes to the responder.
pub(super) fn packets(flow: &Flow) -> Both {
    Both { to_responder: flow.initiator.packets, to_initiator: flow.responder.packets }
}

/// Bytes by direction.
pub(super) fn bytes(flow: &Flow) -> Both {
    Both { to_responder: flow.initiator.bytes, to_initiator: flow.responder.bytes }
}

impl LiveFlow {
    fn new(flow: Flow, table: TableName, now: Nanos, round: u64) -> Self {
        let anchor = Anchor { at: Nanos(flow.created), packets: Both::default(), bytes: Both::default() };
        let rates = anchor.rates(&flow, now);
        // A flow that is old when first seen (after a restart) shows its mean until a real rate is known.
        let anchor = if now.since(anchor.at) < RATE_SPAN { anchor } else { Anchor::at(&flow, now) };
        Self { flow, table, rates, anchor, round }
    }

    fn update(&mut self, flow: Flow, table: TableName, now: Nanos, round: u64) {
        if flow.created != self.flow.created || flow.initiator.packets < self.anchor.packets.to_responder {
            // Another connection under the same key.
            *self = Self::new(flow, table, now, round);
            return;
        }
        if now.since(self.anchor.at) >= RATE_SPAN {
            self.rates = self.anchor.rates(&flow, now);
            self.anchor = Anchor::at(&flow, now);
        }
        (self.flow, self.table, self.round) = (flow, table, round);
    }
}

impl Anchor {
    fn at(flow: &Flow, now: Nanos) -> Self {
        Self { at: now, packets: packets(flow), bytes: bytes(flow) }
    }

    fn rates(&self, flow: &Flow, now: Nanos) -> Rate {
        let span = now.since(self.at);
        let both = |new: Both, old: Both| Both {
            to_responder: per_second(new.to_responder.saturating_sub(old.to_responder), span),
            to_initiator: per_second(new.to_initiator.saturating_sub(old.to_initiator), span),
        };
        Rate { packets: both(packets(flow), self.packets), bytes: both(bytes(flow), self.bytes) }
    }
}

/// `count` in `span` as a rate. Spans below [`RATE_SPAN`] count as that long.
fn per_second(count: u64, span: Nanos) -> u64 {
    let nanos = u128::from(span.0.max(RATE_SPAN.0));
    u64::try_from(u128::from(count) * 1_000_000_000 / nanos).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use firewall_common::flow::Peer;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn flow(created: u64, packets: u64) -> Flow {
        Flow { created, initiator: Peer { packets, bytes: packets * 100, ..Peer::default() }, ..Flow::default() }
    }

    #[test]
    fn rates_are_taken_between_sweeps() {
        let mut live = LiveFlow::new(flow(10 * SECOND, 1000), TableName::Established, Nanos(20 * SECOND), 1);
        assert_eq!(live.rates.packets.to_responder, 100, "the mean since its beginning");
        live.update(flow(10 * SECOND, 1500), TableName::Established, Nanos(21 * SECOND), 2);
        assert_eq!((live.rates.packets.to_responder, live.rates.bytes.to_responder), (500, 50_000));
        live.update(flow(10 * SECOND, 1600), TableName::Established, Nanos(21 * SECOND + SECOND / 10), 3);
        assert_eq!(live.rates.packets.to_responder, 500, "a tenth of a second is too short for a new rate");
        live.update(flow(10 * SECOND, 1600), TableName::Established, Nanos(23 * SECOND), 4);
        assert_eq!(live.rates.packets.to_responder, 50);
    }

    #[test]
    fn a_burst_in_a_new_flow_is_no_rate_of_billions() {
        let live = LiveFlow::new(flow(SECOND, 90), TableName::Embryonic, Nanos(SECOND + 1000), 1);
        assert_eq!(live.rates.packets.to_responder, 100);
    }

    #[test]
    fn a_new_connection_under_an_old_key_begins_anew() {
        let mut live = LiveFlow::new(flow(SECOND, 5000), TableName::Established, Nanos(100 * SECOND), 1);
        live.update(flow(100 * SECOND, 9), TableName::Embryonic, Nanos(101 * SECOND), 2);
        assert_eq!(live.rates.packets.to_responder, 9);
    }

    #[test]
    fn flows_not_seen_again_are_forgotten() {
        let live = Live::default();
        let (stays, goes) = (FlowKey { protocol: 6, ..FlowKey::default() }, FlowKey { protocol: 17, ..FlowKey::default() });
        live.see(stays, flow(1, 1), TableName::Established, Nanos(2), 1);
        live.see(goes, flow(1, 1), TableName::Established, Nanos(2), 1);
        live.see(stays, flow(1, 1), TableName::Established, Nanos(3), 2);
        live.forget_unseen(2);
        assert_eq!(live.iter().map(|(key, _)| key).collect::<Vec<_>>(), [stays]);
    }
}
