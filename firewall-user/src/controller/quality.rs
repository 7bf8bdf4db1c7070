//! Where packets are lost, summed over flows: by what each sweep finds new, so that the sums outlive the flows. What a flow loses in the
//! second before its record goes is missed.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    ops::AddAssign,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use firewall_common::{
    flow::{Flow, FlowKey, Inspection, Sender, flow_flags},
    quality::{Quality, Side, summary},
    time::Nanos,
    wire::protocol::TCP,
};

use super::{
    Controller,
    flows::Legend,
    live::{Live, LiveFlow},
};
use crate::{
    api::{self, Both, By, Failure, Figures, QualityReport, Way},
    dataplane::{DataplaneError, Maps, TableName},
};

/// What is recent: so many spans of this length, and the one that has just begun.
const SPAN: Duration = Duration::from_secs(10);
const SPANS: usize = 6;

/// One side of Weir, by numbers: its zone, and its interface's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place {
    zone: u8,
    interface: u8,
}

/// Whose packets are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Group {
    rule: u16,
    from: Place,
    to: Place,
}

/// What is counted of one direction. Signed, for a loss may turn out to be none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    packets: i64,
    /// Of these, packets of flows that tell of losses behind Weir.
    answering: i64,
    before: i64,
    behind: i64,
    needless: i64,
    reordered: i64,
    unclear: i64,
    gaps: i64,
    retransmitted: i64,
    duplicate_acks: i64,
    zero_windows: i64,
}

/// All that is counted, from one sweep to the next.
#[derive(Debug)]
pub(super) struct Ledger {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    since: Instant,
    totals: HashMap<Group, Sums>,
    recent: VecDeque<(Instant, HashMap<Group, Sums>)>,
    /// What is known of each flow, and what of it is in the sums already: of the initiator, of the responder.
    flows: HashMap<FlowKey, (Quality, [Sums; 2])>,
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
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what flows have sent since the last sweep.
    pub(super) fn sent(&self, sent: &HashMap<FlowKey, Both>, live: &Live) {
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
    pub(super) fn take(&self, maps: &Maps, live: &Live, now: Nanos) -> Result<(), DataplaneError> {
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
    pub(super) fn of(&self, key: &FlowKey) -> Option<Quality> {
        self.state().flows.get(key).map(|(quality, _)| *quality)
    }

    /// A rule's number goes to another rule: what was counted by it is not that one's.
    pub(super) fn forget_rules(&self, numbers: &[u16]) {
        self.state().forget(|group| numbers.contains(&group.rule));
    }

    /// The same of an interface's place.
    pub(super) fn forget_place(&self, place: u8) {
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

    fn age(&mut self, now: Instant) {
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
fn answers(protocol: u8, flow: &Flow) -> bool {
    let heard = [&flow.initiator, &flow.responder].iter().any(|peer| peer.retransmitted != 0 || peer.duplicate_acks != 0);
    protocol == TCP && (Inspection::from_number(flow.inspection) != Inspection::Bypass || heard)
}

fn group(flow: &Flow, sender: Sender) -> Group {
    let initiator = Place { zone: flow.from_zone, interface: flow.initiator_interface };
    let responder = Place { zone: flow.to_zone, interface: flow.responder_interface };
    let (from, to) = match sender {
        Sender::Initiator => (initiator, responder),
        Sender::Responder => (responder, initiator),
    };
    Group { rule: flow.rule, from, to }
}

impl Sums {
    fn of(side: &Side, now: Nanos) -> Self {
        let loss = summary::Loss::of(side, now);
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        Self {
            before: signed(loss.before),
            behind: signed(loss.behind),
            needless: signed(loss.needless),
            reordered: signed(loss.reordered),
            unclear: side.unclear.into(),
            gaps: side.gaps.into(),
            retransmitted: i64::from(side.lost) + i64::from(side.again) + i64::from(side.needless) + i64::from(side.unclear),
            duplicate_acks: side.duplicate_acks.into(),
            zero_windows: side.zero_windows.into(),
            ..Self::default()
        }
    }

    const fn less(mut self, other: &Self) -> Self {
        self.packets -= other.packets;
        self.answering -= other.answering;
        self.before -= other.before;
        self.behind -= other.behind;
        self.needless -= other.needless;
        self.reordered -= other.reordered;
        self.unclear -= other.unclear;
        self.gaps -= other.gaps;
        self.retransmitted -= other.retransmitted;
        self.duplicate_acks -= other.duplicate_acks;
        self.zero_windows -= other.zero_windows;
        self
    }

    fn figures(&self) -> Figures {
        let count = |signed: i64| u64::try_from(signed).unwrap_or(0);
        let loss = summary::Loss {
            before: count(self.before),
            behind: count(self.behind),
            needless: count(self.needless),
            reordered: count(self.reordered),
        };
        Figures {
            packets: count(self.packets),
            loss: told(&loss, count(self.packets), self.answering > 0, count(self.unclear)),
            gaps: count(self.gaps),
            retransmitted: count(self.retransmitted),
            duplicate_acks: count(self.duplicate_acks),
            zero_windows: count(self.zero_windows),
        }
    }
}

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        // What is taken from nothing is there.
        *self = self.less(&Self::default().less(&other));
    }
}

fn told(loss: &summary::Loss, arrived: u64, answers: bool, unclear: u64) -> api::Loss {
    let (before, behind) = loss.shares(arrived);
    let percent = |share: f64| (share * 100_000.0).round() / 1_000.0;
    api::Loss {
        lost: loss.place(answers).name().to_owned(),
        before: loss.before,
        before_percent: percent(before),
        behind: loss.behind,
        behind_percent: percent(behind),
        needless: loss.needless,
        reordered: loss.reordered,
        unclear,
    }
}

/// Where packets of a flow are lost, of what its initiator sends and its responder; nothing for what has no numbers to tell it by.
pub(super) fn of_flow(protocol: u8, flow: &Flow, quality: Option<&Quality>, now: Nanos) -> Option<api::LossByDirection> {
    // Of IPsec the first number is the SPI.
    if protocol != TCP && flow.initiator.isn == 0 && flow.responder.isn == 0 {
        return None;
    }
    let nothing = Quality::default();
    let (initiator, responder) = quality.unwrap_or(&nothing).sides(flow.has(flow_flags::INITIATOR_LOW));
    let answers = answers(protocol, flow);
    let told = |side: &Side, arrived| told(&summary::Loss::of(side, now), arrived, answers, side.unclear.into());
    Some(api::LossByDirection {
        to_responder: told(initiator, flow.initiator.packets),
        to_initiator: told(responder, flow.responder.packets),
    })
}

/// From Weir to the end that is this sender, and back: as last measured, or as the handshake told it.
pub(super) fn round_trip(flow: &Flow, sender: Sender, quality: Option<&Quality>) -> Option<f64> {
    let sides = quality.map(|quality| quality.sides(flow.has(flow_flags::INITIATOR_LOW)));
    let measured = sides.map_or(0, |(initiator, responder)| match sender {
        Sender::Initiator => initiator.round_trip,
        Sender::Responder => responder.round_trip,
    });
    let micros = if measured == 0 { flow.handshake_round_trip(sender) } else { measured };
    (micros != 0).then(|| f64::from(micros) / 1_000.0)
}

/// Sums of one way, and the round trips to both its ends.
#[derive(Default)]
struct Shown {
    total: Sums,
    recent: Sums,
    trips: [Vec<f64>; 2],
}

impl Controller {
    /// Where packets are lost, by what is asked for.
    pub fn quality(&self, by: By) -> Result<QualityReport, Failure> {
        self.sweep.run(&self.maps, &self.live)?;
        let legend = self.legend();
        let mut ways: HashMap<Group, Shown> = HashMap::new();
        let kept = |group: &Group| Group { rule: if by == By::Rule { group.rule } else { 0 }, ..*group };
        let mut state = self.sweep.ledger.state();
        let now = Instant::now();
        state.age(now);
        for (group, sums) in &state.totals {
            ways.entry(kept(group)).or_default().total += *sums;
        }
        for (group, sums) in state.recent.iter().flat_map(|(_, recent)| recent) {
            ways.entry(kept(group)).or_default().recent += *sums;
        }
        for (key, LiveFlow { flow, .. }) in self.live.iter() {
            let quality = state.flows.get(&key).map(|(quality, _)| quality);
            for (sender, receiver) in [(Sender::Initiator, Sender::Responder), (Sender::Responder, Sender::Initiator)] {
                let Some(shown) = ways.get_mut(&kept(&group(&flow, sender))) else { continue };
                for (trips, end) in shown.trips.iter_mut().zip([sender, receiver]) {
                    trips.extend(round_trip(&flow, end, quality));
                }
            }
        }
        let seconds = state.since.elapsed().as_secs();
        let recent_seconds = state.recent.front().map_or(0, |(since, _)| since.elapsed().as_secs());
        drop(state);
        let mut ways: Vec<Way> = ways.into_iter().map(|(group, shown)| way(&legend, by, &group, shown)).collect();
        ways.sort_by_key(|way| {
            let names = (way.rule.clone(), way.from.zone.clone(), way.to.zone.clone(), way.from.interface.clone());
            (std::cmp::Reverse(way.total.loss.before + way.total.loss.behind), names)
        });
        Ok(QualityReport { by, seconds, recent_seconds, ways })
    }
}

fn way(legend: &Legend, by: By, group: &Group, mut shown: Shown) -> Way {
    let place = |place: Place| {
        let (zone, interface) = legend.place(place.zone, place.interface);
        api::Place { zone, interface }
    };
    let [from, to] = &mut shown.trips;
    Way {
        rule: (by == By::Rule).then(|| legend.rule(group.rule)),
        from: place(group.from),
        to: place(group.to),
        total: shown.total.figures(),
        recent: shown.recent.figures(),
        round_trip_milliseconds: api::Ends { from: median(from), to: median(to) },
    }
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use firewall_common::flow::Peer;

    use super::*;

    fn flow(packets: u64) -> Flow {
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

    fn quality(lost: u32) -> Quality {
        Quality { low: Side { lost, gaps: lost, ..Side::default() }, ..Quality::default() }
    }

    fn key(protocol: u8) -> FlowKey {
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

    #[test]
    fn a_flow_without_numbers_tells_nothing() {
        assert_eq!(of_flow(17, &flow(9), None, Nanos(1)), None);
        let told = of_flow(TCP, &flow(98), Some(&quality(2)), Nanos(1)).expect("TCP has numbers");
        assert_eq!((told.to_responder.lost.as_str(), told.to_responder.before_percent), ("before", 2.0));
        assert_eq!(told.to_initiator.lost, "nowhere");
        let bypassed = Flow { inspection: Inspection::Bypass as u8, ..flow(9) };
        assert_eq!(of_flow(TCP, &bypassed, None, Nanos(1)).expect("TCP").to_responder.lost, "unknown");
    }

    #[test]
    fn round_trips_are_those_measured_or_the_handshake() {
        let flow = Flow { answer_micros: 2_000, handshake_micros: 12_000, ..flow(1) };
        assert_eq!([Sender::Initiator, Sender::Responder].map(|end| round_trip(&flow, end, None)), [Some(10.0), Some(2.0)]);
        let measured = Quality { low: Side { round_trip: 7_000, ..Side::default() }, ..Quality::default() };
        assert_eq!(round_trip(&flow, Sender::Initiator, Some(&measured)), Some(7.0));
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut []), None);
    }
}
