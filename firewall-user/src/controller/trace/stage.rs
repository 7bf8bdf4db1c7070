//! What a stage saw, in words.

use firewall_common::{
    application::{Application, Sight, sights},
    event::{Compared, Record, evidence},
    flow::{Flow, Inspection, NO_SCALE, Sender, State, peer_flags},
    parse::{Descriptor, Kind},
    reason::Reason,
    rule::{Action, Rule},
    time::Nanos,
    trace::{Ended, Seen, Stage, Stop, Trace},
    verdict::Verdict,
};

use super::{guarding, normalizing, story::Legend};
use crate::output::number::duration;

/// Bytes of an Ethernet header, and of a VLAN tag in it.
const ETHERNET: u32 = 14;
const VLAN_TAG: u32 = 4;

/// The lines below a stage.
pub(super) fn details(stop: &Stop, trace: &Trace, legend: Legend<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    match stop.stage {
        Stage::Parse => lines.extend(parsed(stop, trace.descriptor())),
        Stage::Fragment => fragment(stop, trace, &mut lines),
        Stage::Sanity => lines.extend(sanity(stop)),
        Stage::Revalidate => lines.push("this policy judges the flow's first packet".to_owned()),
        _ => {}
    }
    for seen in &stop.seen {
        lines.extend(note(seen, stop, trace, legend));
    }
    if matches!(stop.stage, Stage::Classify | Stage::Revalidate) && undecided(stop) {
        lines.push("no rule matches: the default is to drop".to_owned());
    }
    if stop.ended == Ended::Settled(Verdict::Drop(Reason::WrongZone)) {
        let arrival = &trace.visit.arrival;
        lines.push(format!("the packet came from zone {}", if arrival.egress { "self".to_owned() } else { legend.zone(arrival.zone) }));
    }
    if stop.stage == Stage::Track {
        lines.extend(record_line(stop, trace));
        lines.extend(tracking(stop, trace));
    }
    lines
}

/// A search that ended without an entry.
fn undecided(stop: &Stop) -> bool {
    stop.ended == Ended::Settled(Verdict::Drop(Reason::AclDrop)) && !stop.seen.iter().any(|seen| matches!(seen, Seen::Entry { .. }))
}

/// What was read beside what the summary says.
fn parsed(stop: &Stop, descriptor: &Descriptor) -> Option<String> {
    if let Ended::Settled(verdict) = stop.ended {
        return (verdict == Verdict::NoLearn).then(|| "a link protocol without IP, which passes".to_owned());
    }
    let mut text = format!("{}, hop limit {}", if descriptor.v4 { "IPv4" } else { "IPv6" }, descriptor.hop_limit);
    let before = descriptor.ip_at.saturating_sub(ETHERNET);
    if before != 0 {
        text += &format!(", {} VLAN {}", before / VLAN_TAG, if before == VLAN_TAG { "tag" } else { "tags" });
    }
    if descriptor.kind == Kind::Tcp {
        text += &format!(", {} bytes of data", descriptor.segment.length);
        let (mss, scale) = (descriptor.options.mss, descriptor.segment.scale);
        if mss != 0 {
            text += &format!(", MSS {mss}");
        }
        if scale != NO_SCALE {
            text += &format!(", window shift {scale}");
        }
    }
    Some(text)
}

fn fragment(stop: &Stop, trace: &Trace, lines: &mut Vec<String>) {
    let later = trace.descriptor().piece.offset != 0;
    let known = stop.seen.iter().any(|seen| matches!(seen, Seen::Datagram | Seen::Flow { .. }));
    lines.push(match (stop.ended, later, known) {
        (Ended::Settled(Verdict::Drop(_)), _, _) => "refused".to_owned(),
        (_, true, true) => "its datagram is known: it has the verdict of the first fragment".to_owned(),
        (_, false, true) => "compared with what has passed of its datagram".to_owned(),
        (Ended::Settled(_), false, false) => "its later fragments will have its verdict".to_owned(),
        _ => "by itself it is one that a sender produces".to_owned(),
    });
}

fn sanity(stop: &Stop) -> Option<String> {
    match stop.ended {
        Ended::Settled(Verdict::Drop(_)) => None,
        Ended::Settled(_) => Some("sound neighbour discovery of this link: it needs no rule".to_owned()),
        Ended::GoesOn => Some("addresses and ports are ones that a sender may use".to_owned()),
    }
}

fn note(seen: &Seen, stop: &Stop, trace: &Trace, legend: Legend<'_>) -> Vec<String> {
    match seen {
        Seen::NoFlow if stop.stage == Stage::Relate => vec!["it quotes no known flow: the policy judges it".to_owned()],
        Seen::NoFlow => vec!["no flow has its addresses and ports: a first packet".to_owned()],
        Seen::Flow { established, flow } => vec![flow_line(*established, flow, stop.stage == Stage::Relate, trace, legend)],
        Seen::Stale => vec!["the flow was last judged by an earlier policy".to_owned()],
        Seen::Over => vec!["the flow's time is over: judged as a first packet".to_owned()],
        Seen::Route(Ok(zone)) => vec![format!("the route to its destination leads to zone {}", legend.zone(*zone))],
        Seen::Route(Err(_)) => vec!["there is no route to its destination".to_owned()],
        Seen::Entry { rule, .. } => rule_lines(rule, trace, legend),
        Seen::Made(Ok(flow)) => vec![format!(
            "a flow is made: {}, {}, {} without a packet end it",
            state(flow),
            Inspection::from_number(flow.inspection).name(),
            duration(f64::from(flow.timeout) / 1000.0)
        )],
        Seen::Made(Err(error)) => vec![format!("no flow could be made: {error:?}")],
        Seen::Established(Ok(())) => vec!["both sides have confirmed the flow: it moves to the established ones".to_owned()],
        Seen::Established(Err(error)) => vec![format!("it could not be moved to the established flows: {error:?}")],
        Seen::Removed => vec!["the flow is removed".to_owned()],
        Seen::OneSided { flows } => vec![format!("its rule has {flows} one-sided flows already")],
        Seen::MayAnswer(true) => vec!["it is answered".to_owned()],
        Seen::MayAnswer(false) => vec!["as many packets were answered in this second as the policy allows".to_owned()],
        Seen::Guarded(look) => guarding::lines(look),
        Seen::Normalized(edits) => normalizing::lines(edits, stop.stage),
        Seen::Sight(sight) => vec![sight_line(sight, trace.descriptor())],
        Seen::Recognized(0) => vec!["what its flow carries is looked for no more".to_owned()],
        Seen::Recognized(number) => {
            let name = Application::from_number(*number).map_or("unknown", Application::name);
            vec![format!("its flow is known to carry {name} now")]
        }
        Seen::Record { .. } | Seen::Address { .. } | Seen::Service { .. } | Seen::Datagram => Vec::new(),
    }
}

/// What a look at the packet's data found.
fn sight_line(sight: &Sight, descriptor: &Descriptor) -> String {
    let shape = match (sight.application, descriptor.kind) {
        (0, _) if !sight.has(sights::LOOKED) => return "its port is one where what a flow carries is looked for".to_owned(),
        (0, _) if !sight.has(sights::SIGN) => return "its data has the form of nothing that is looked for".to_owned(),
        (0, Kind::Tcp) => "its data ends in a cTCP trailer and begins as that says",
        (0, _) => "its data has the form of ESP",
        (known, _) => return format!("its data is that of {}", Application::from_number(known).map_or("unknown", Application::name)),
    };
    format!("{shape}: one sign of a few that are wanted")
}

fn state(flow: &Flow) -> &'static str {
    State::from_number(flow.state).map_or("unknown", State::name)
}

fn flow_line(established: bool, flow: &Flow, quoted: bool, trace: &Trace, legend: Legend<'_>) -> String {
    let idle = trace.visit.now.since(Nanos(flow.last_seen));
    format!(
        "{} {} flow: {}, {}, {} > {}, {}, idle {} of {}",
        if quoted { "it quotes an" } else { "an" },
        if established { "established" } else { "embryonic" },
        state(flow),
        Inspection::from_number(flow.inspection).name(),
        legend.zone(flow.from_zone),
        legend.zone(flow.to_zone),
        legend.named(flow.rule),
        duration(idle.0 as f64 / 1e9),
        duration(f64::from(flow.timeout) / 1000.0),
    )
}

fn rule_lines(rule: &Rule, trace: &Trace, legend: Legend<'_>) -> Vec<String> {
    let does = match Action::from_number(rule.action) {
        Action::Allow => "allows it",
        Action::Drop => "drops it",
        Action::Reject => "rejects it",
    };
    let visit = &trace.visit;
    let from = if visit.arrival.egress { "self".to_owned() } else { legend.zone(visit.arrival.zone) };
    let inspection = match Action::from_number(rule.action) {
        Action::Allow => format!(", inspection {}", Inspection::from_number(rule.inspection).name()),
        Action::Drop | Action::Reject => String::new(),
    };
    let to = if visit.to_zone == firewall_common::event::NO_ZONE { "self".to_owned() } else { legend.zone(visit.to_zone) };
    let mut lines = vec![format!("{from} > {to}: {} {does}{inspection}", legend.named(rule.number))];
    lines.extend(legend.rule(rule.number).because.map(|because| format!("because {because}")));
    lines
}

/// A record may be looked at twice: the short way and the long way.
fn record_line(stop: &Stop, trace: &Trace) -> Option<String> {
    let mut records =
        stop.seen.iter().filter_map(|seen| if let Seen::Record { before, after } = seen { Some((before, after)) } else { None });
    let (before, mut after) = records.next()?;
    if let Some((_, last)) = records.next_back() {
        after = last;
    }
    let sender = match after.sender(trace.descriptor().source_is_low) {
        Sender::Initiator => "initiator",
        Sender::Responder => "responder",
    };
    if before.state == after.state {
        return Some(format!("from the {sender}, state {}", state(after)));
    }
    Some(format!("from the {sender}, state {} > {}", state(before), state(after)))
}

/// The numbers that decided, or that were compared and found good.
fn tracking(stop: &Stop, trace: &Trace) -> Vec<String> {
    let record = stop.seen.iter().find_map(|seen| if let Seen::Record { before, .. } = seen { Some(before) } else { None });
    let (Some(flow), Kind::Tcp) = (record, trace.descriptor().kind) else { return Vec::new() };
    if flow.inspection == Inspection::Bypass as u8 {
        return vec!["under bypass no number is looked at".to_owned()];
    }
    if let Ended::Settled(Verdict::Drop(reason)) = stop.ended {
        return compared(flow, trace, reason).into_iter().collect();
    }
    let known = (flow.initiator.flags | flow.responder.flags) & peer_flags::RELEARN == 0;
    if flow.state < State::Established as u8 || flow.state > State::TimeWait as u8 || !known {
        return Vec::new();
    }
    [Reason::TcpSeqPastWindow, Reason::TcpInvalidAck].into_iter().filter_map(|reason| compared(flow, trace, reason)).collect()
}

/// What the segment was compared with under this reason.
fn compared(flow: &Flow, trace: &Trace, reason: Reason) -> Option<String> {
    let descriptor = trace.descriptor();
    let mut record = Record::default();
    evidence::note(&mut record, flow, flow.sender(descriptor.source_is_low), &descriptor.segment, reason);
    let name = Compared::from_number(record.compared).filter(|compared| *compared != Compared::Nothing)?.name();
    let Record { number, lowest, highest, distance, .. } = record;
    let span = highest.wrapping_sub(lowest);
    Some(if number.wrapping_sub(lowest) <= span {
        format!("{name} {number} lies within {lowest} to {highest}")
    } else if lowest == highest {
        format!("{name} {number} instead of {highest}, {distance:+}")
    } else {
        format!("{name} {number} lies outside {lowest} to {highest}, by {distance:+}")
    })
}
