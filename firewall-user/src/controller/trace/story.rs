//! A packet's story in names and words.

use firewall_common::{
    account::NO_RULE,
    event::Kind as EventKind,
    reason::Reason,
    trace::{Ended, Seen, Stage, Stop},
    verdict::Verdict,
};

use super::{Frame, Judging, arrivals::Place, changes, session::Judged, stage, summary};
use crate::{
    api::{TracedPacket, TracedRule, TracedStage},
    controller::events::describe,
    dataplane::Fate,
    hex,
};

/// Names for numbers.
#[derive(Clone, Copy)]
pub(super) struct Legend<'a> {
    pub(super) judging: &'a Judging,
}

/// Tells one packet's story.
pub(super) fn tell(number: usize, frame: &Frame, place: &Place, judged: &Judged, judging: &Judging) -> TracedPacket {
    let legend = Legend { judging };
    let trace = &judged.trace;
    let reason = match trace.verdict {
        Verdict::Drop(reason) => Some(reason),
        Verdict::Answer => Some(Reason::Reject),
        Verdict::Learn | Verdict::NoLearn => None,
    };
    let dropped = judged.events.iter().rev().find(|record| record.kind == EventKind::Dropped as u8);
    let changes = if trace.verdict.passes() { changes::between(&frame.bytes, &judged.bytes, trace.descriptor()) } else { Vec::new() };
    let other = !changes.is_empty() || judged.fate == Some(Fate::Answered);
    TracedPacket {
        number,
        time: frame.time.map(|time| format!("{time:.6}")),
        interface: place.interface.clone(),
        zone: judging.names.zone(place.arrival.zone),
        direction: if place.arrival.egress { "out" } else { "in" }.to_owned(),
        summary: summary::of(&frame.bytes, trace.descriptor()),
        length: u32::try_from(frame.bytes.len()).unwrap_or(u32::MAX),
        captured: frame.captured,
        stages: trace.stops.iter().map(|stop| stage_of(stop, trace, legend)).collect(),
        verdict: word(trace.verdict).to_owned(),
        learned: trace.verdict == Verdict::Learn,
        reason: reason.map(|reason| reason.name().to_owned()),
        meaning: reason.map(|reason| reason.help().to_owned()),
        rule: rule(&trace.stops, legend),
        arithmetic: dropped.and_then(describe::arithmetic),
        changes,
        frame: other.then(|| hex::write(&judged.bytes)),
        host_only: judged.fate.is_none(),
        disagreement: judged.disagreement.clone(),
    }
}

const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Learn | Verdict::NoLearn => "pass",
        Verdict::Drop(_) => "drop",
        Verdict::Answer => "answer",
    }
}

fn stage_of(stop: &Stop, trace: &firewall_common::trace::Trace, legend: Legend<'_>) -> TracedStage {
    let (result, reason) = match stop.ended {
        Ended::GoesOn => ("goes-on", None),
        Ended::Settled(Verdict::Learn) => ("pass", None),
        Ended::Settled(Verdict::NoLearn) => ("pass-without-learning", None),
        Ended::Settled(Verdict::Answer) => ("answer", Some(Reason::Reject)),
        Ended::Settled(Verdict::Drop(reason)) => ("drop", Some(reason)),
    };
    TracedStage {
        stage: stop.stage.name().to_owned(),
        result: result.to_owned(),
        reason: reason.map(|reason| reason.name().to_owned()),
        detail: stage::details(stop, trace, legend),
    }
}

/// The rule that decided last, or whose flow the packet is of.
fn rule(stops: &[Stop], legend: Legend<'_>) -> Option<TracedRule> {
    let number = |seen: &Seen| match seen {
        Seen::Made(Ok(flow)) | Seen::Flow { flow, .. } => Some(flow.rule),
        Seen::Record { after, .. } => Some(after.rule),
        Seen::Entry { rule, .. } => Some(rule.number),
        _ => None,
    };
    let last = stops.last()?;
    // Where no rule matches, the one that the flow had before does not count any more.
    let stops = if matches!(last.stage, Stage::Classify | Stage::Revalidate) { std::slice::from_ref(last) } else { stops };
    let entry = |seen: &&Seen| last.stage != Stage::Revalidate || matches!(seen, Seen::Entry { .. });
    let number = stops.iter().rev().find_map(|stop| stop.seen.iter().rev().filter(entry).find_map(number))?;
    (number != NO_RULE).then(|| legend.rule(number))
}

impl Legend<'_> {
    pub(super) fn zone(&self, number: u8) -> String {
        self.judging.names.zone(number)
    }

    /// A rule by its number; one of an earlier policy has but a name.
    pub(super) fn rule(&self, number: u16) -> TracedRule {
        self.judging.rules.get(&number).cloned().unwrap_or_else(|| TracedRule {
            name: self.judging.names.rule(number),
            file: None,
            line: None,
            because: None,
        })
    }

    /// `rule web (policies/20-web.toml:14)`.
    pub(super) fn named(&self, number: u16) -> String {
        place_of(&self.rule(number))
    }
}

/// `rule web (policies/20-web.toml:14)`.
pub(super) fn place_of(rule: &TracedRule) -> String {
    match (&rule.file, rule.line) {
        (Some(file), Some(line)) => format!("rule {} ({file}:{line})", rule.name),
        _ => format!("rule {} of an earlier policy", rule.name),
    }
}
