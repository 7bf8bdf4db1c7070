//! All that is counted of where packets are lost, by rule, zones and interfaces, for ever and lately.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use firewall_common::{
    flow::{Flow, FlowKey, Inspection, Sender, flow_flags},
    quality::Quality,
    time::Nanos,
    wire::protocol::TCP,
};

use super::sums::Sums;
use crate::{
    api::Both,
    controller::live::Live,
    dataplane::{DataplaneError, Maps, TableName},
};

/// What is recent: so many spans of this length, and the one that has just begun.
const SPAN: Duration = Duration::from_secs(10);
const SPANS: usize = 6;

/// One side of Weir, by numbers: its zone, and its interface's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) zone: u8,
    pub(super) interface: u8,
}

/// Whose packets are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Group {
    pub(super) rule: u16,
    pub(super) from: Place,
    pub(super) to: Place,
}

/// All that is counted, from one sweep to the next.
#[derive(Debug)]
pub(in crate::controller) struct Ledger {
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) since: Instant,
    pub(super) totals: HashMap<Group, Sums>,
    pub(super) recent: VecDeque<(Instant, HashMap<Group, Sums>)>,
    /// What is known of each flow, and what of it is in the sums already: of the initiator, of the responder.
    pub(super) flows: HashMap<FlowKey, (Quality, [Sums; 2])>,
    /// The first sweep finds flows that are older than the daemon: what they have lost is not recent.
    settled: bool,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                since: Instant::now(),
                totals: HashMap::new(),
                recent: VecDeque::new(),
                flows: HashMap::new(),
                settled: false,
            }),
        }
    }
}

impl Ledger {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what flows have sent since the last sweep.
    pub(in crate::controller) fn sent(&self, sent: &HashMap<FlowKey, Both>, live: &Live) {
        let mut state = self.state();
        for (key, packets) in sent {
            let Some(flow) = live.get(key) else { continue };
            let answers = answers(key.protocol, &flow.flow);
            for (sender, packets) in [(Sender::Initiator, packets.to_responder), (Sender::Responder, packets.to_initiator)] {
                let packets = i64::try_from(packets).unwrap_or(i64::MAX);
                state.add(group(&flow.flow, sender), Sums { packets, answering: if answers { packets } else { 0 }, ..Sums::default() });
            }
        }
    }

    /// Takes what the dataplane knows of every flow, and removes what it knows of flows that are no more.
    pub(in crate::controller) fn take(&self, maps: &Maps, live: &Live, now: Nanos) -> Result<(), DataplaneError> {
        let mut found = HashMap::new();
        maps.read_qualities(|key, quality| {
            found.insert(key, quality);
        })?;
        let mut state = self.state();
        state.flows.retain(|key, _| found.contains_key(key));
        for (key, quality) in found {
            match live.get(&key) {
                Some(live) => state.see(key, &quality, &live.flow, now),
                // Its flow may have come since the tables were read.
                None if maps.table(TableName::Established).get(&key)?.is_none() => {
                    state.flows.remove(&key);
                    maps.forget_quality(&key)?;
                }
                None => {}
            }
        }
        state.settled = true;
        Ok(())
    }

    /// What is known of a flow.
    pub(in crate::controller) fn of(&self, key: &FlowKey) -> Option<Quality> {
        self.state().flows.get(key).map(|(quality, _)| *quality)
    }

    /// A rule's number goes to another rule: what was counted by it is not that one's.
    pub(in crate::controller) fn forget_rules(&self, numbers: &[u16]) {
        self.state().forget(|group| numbers.contains(&group.rule));
    }

    /// The same of an interface's place.
    pub(in crate::controller) fn forget_place(&self, place: u8) {
        self.state().forget(|group| group.from.interface == place || group.to.interface == place);
    }
}

impl State {
    fn see(&mut self, key: FlowKey, quality: &Quality, flow: &Flow, now: Nanos) {
        let (initiator, responder) = quality.sides(flow.has(flow_flags::INITIATOR_LOW));
        let sums = [Sums::of(initiator, now), Sums::of(responder, now)];
        let before = match self.flows.entry(key) {
            Entry::Occupied(mut entry) => {
                let before = entry.get().1;
                entry.insert((*quality, sums));
                // A later flow under the same key has a record of its own, which began at nothing.
                if sums[0].gaps < before[0].gaps || sums[1].gaps < before[1].gaps { Default::default() } else { before }
            }
            Entry::Vacant(entry) => {
                entry.insert((*quality, sums));
                <[Sums; 2]>::default()
            }
        };
        for (sender, (now, before)) in [Sender::Initiator, Sender::Responder].into_iter().zip(sums.into_iter().zip(before)) {
            self.add(group(flow, sender), now.less(&before));
        }
    }

    fn add(&mut self, group: Group, sums: Sums) {
        if sums == Sums::default() {
            return;
        }
        *self.totals.entry(group).or_default() += sums;
        if !self.settled {
            return;
        }
        let now = Instant::now();
        if self.recent.back().is_none_or(|(since, _)| now - *since >= SPAN) {
            self.recent.push_back((now, HashMap::new()));
        }
        if let Some((_, recent)) = self.recent.back_mut() {
            *recent.entry(group).or_default() += sums;
        }
        self.age(now);
    }

    pub(super) fn age(&mut self, now: Instant) {
        let span = SPAN * SPANS as u32;
        while self.recent.front().is_some_and(|(since, _)| now - *since > span) {
            self.recent.pop_front();
        }
    }

    fn forget(&mut self, of: impl Fn(&Group) -> bool) {
        self.totals.retain(|group, _| !of(group));
        for (_, recent) in &mut self.recent {
            recent.retain(|group, _| !of(group));
        }
    }
}

/// Whether the flow's ends repeat what is lost or complain of it, so that a loss behind Weir shows.
pub(super) fn answers(protocol: u8, flow: &Flow) -> bool {
    let heard = [&flow.initiator, &flow.responder].iter().any(|peer| peer.retransmitted != 0 || peer.duplicate_acks != 0);
    protocol == TCP && (Inspection::from_number(flow.inspection) != Inspection::Bypass || heard)
}

pub(super) fn group(flow: &Flow, sender: Sender) -> Group {
    let initiator = Place { zone: flow.from_zone, interface: flow.initiator_interface };
    let responder = Place { zone: flow.to_zone, interface: flow.responder_interface };
    let (from, to) = match sender {
        Sender::Initiator => (initiator, responder),
        Sender::Responder => (responder, initiator),
    };
    Group { rule: flow.rule, from, to }
}

#[cfg(test)]
pub(super) mod tests {
    use firewall_common::{flow::Peer, quality::Side};

    use super::*;

    pub(in crate::controller::quality) fn flow(packets: u64) -> Flow {
        Flow {
            flags: flow_flags::INITIATOR_LOW,
            rule: 3,
            from_zone: 1,
            to_zone: 2,
            initiator_interface: 1,
            responder_interface: 2,
            initiator: Peer { packets, ..Peer::default() },
            ..Flow::default()
        }
    }

    pub(in crate::controller::quality) fn quality(lost: u32) -> Quality {
        Quality { low: Side { lost, gaps: lost, ..Side::default() }, ..Quality::default() }
    }

    pub(in crate::controller::quality) fn key(protocol: u8) -> FlowKey {
        FlowKey { protocol, ..FlowKey::default() }
    }

    #[test]
    fn what_is_new_is_counted_once_and_outlives_its_flow() {
        let ledger = Ledger::default();
        let mut state = ledger.state();
        state.settled = true;
        for lost in [3, 3, 5] {
            state.see(key(TCP), &quality(lost), &flow(100), Nanos(1));
        }
        let group = group(&flow(100), Sender::Initiator);
        assert_eq!(state.totals[&group].before, 5);
        assert_eq!(state.recent[0].1[&group].before, 5);
        // Another flow with this key begins at nothing.
        state.see(key(TCP), &quality(1), &flow(100), Nanos(1));
        assert_eq!(state.totals[&group].before, 6);
        state.flows.clear();
        assert_eq!(state.totals[&group].figures().loss.before, 6);
        state.forget(|group| group.rule == 3);
        assert!(state.totals.is_empty() && state.recent[0].1.is_empty());
    }

    #[test]
    fn what_was_lost_before_the_daemon_began_is_not_recent() {
        let ledger = Ledger::default();
        let mut state = ledger.state();
        state.see(key(TCP), &quality(7), &flow(100), Nanos(1));
        assert!(state.recent.is_empty() && state.totals.len() == 1);
    }

    #[test]
    fn a_loss_that_was_none_is_taken_back() {
        let ledger = Ledger::default();
        let mut state = ledger.state();
        let again = Quality { low: Side { again: 4, ..Side::default() }, ..Quality::default() };
        let doubled = Quality { low: Side { again: 4, doubled: 3, ..Side::default() }, ..Quality::default() };
        state.see(key(TCP), &again, &flow(100), Nanos(1));
        state.see(key(TCP), &doubled, &flow(100), Nanos(1));
        let sums = state.totals[&group(&flow(100), Sender::Initiator)];
        assert_eq!((sums.behind, sums.needless), (1, 3));
    }
}
