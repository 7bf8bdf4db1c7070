//! Where packets are lost, summed over flows: by what each sweep finds new, so that the sums outlive the flows. What a flow loses in the
//! second before its record goes is missed.

mod ledger;
mod sums;

use std::{collections::HashMap, time::Instant};

use firewall_common::{
    flow::{Flow, Sender, flow_flags},
    quality::{Quality, Side, summary},
    time::Nanos,
    wire::protocol::TCP,
};

pub(super) use self::ledger::Ledger;
use self::{
    ledger::{Group, Place, answers, group},
    sums::{Sums, told},
};
use super::{Controller, flows::Legend, live::LiveFlow};
use crate::api::{self, By, Failure, QualityReport, Way};

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
    use firewall_common::flow::Inspection;

    use super::{
        ledger::tests::{flow, quality},
        *,
    };

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
