//! Whether a packet fared as its line says: its verdict, its bytes, and what became of its flow's record.

use super::{needed_since, subject::Subject};
use crate::{
    env::Arrival,
    flow::{Flow, FlowKey, Peer, State, flow_flags, flow_marks, peer_flags},
    guard::proof::bits,
    parse::{self, Descriptor},
    testing::{
        builder::hex,
        script::{Expect, Outcome, Record},
    },
    verdict::Verdict,
    wire::quote,
};

pub(super) fn check(subject: &mut impl Subject, frame: &[u8], arrival: Arrival, expect: &Expect, becomes: &[u8]) -> Result<(), String> {
    let mut descriptor = Descriptor::EMPTY;
    // A packet that cannot be read has no flow; then the key is that of nothing. An error's flow is that of the packet it quotes.
    let readable = parse::parse(&frame, arrival.egress, &mut descriptor).is_ok();
    if readable && matches!(descriptor.kind, parse::Kind::IcmpError) {
        let own = descriptor;
        if quote::read(&frame, &mut descriptor).is_err() {
            descriptor = own;
        }
    }
    let key = if readable { descriptor.key } else { FlowKey::default() };
    let before = subject.flow(&key);
    let needed_before = subject.rule_counters().needed;
    let (verdict, changed) = subject.judge_and_change(frame, arrival);
    let after = subject.flow(&key);
    let wanted = match expect.outcome {
        Outcome::Pass | Outcome::Needed(_) | Outcome::Unneeded => Verdict::Learn,
        Outcome::NoState | Outcome::Noted | Outcome::Untouched | Outcome::Forward => Verdict::NoLearn,
        Outcome::Drop(reason) | Outcome::Close(reason) => Verdict::Drop(reason),
        Outcome::Answer => Verdict::Answer,
    };
    if verdict != wanted {
        return Err(format!("{verdict:?}, not {wanted:?}; the record was {before:?}"));
    }
    if verdict.passes() && changed != becomes {
        return Err(format!("it goes on as {}, not {}", hex(&changed), hex(becomes)));
    }
    let wanted = match expect.outcome {
        Outcome::Needed(reason) => Some(Some(reason)),
        Outcome::Unneeded | Outcome::Drop(_) => Some(None),
        _ => None,
    };
    let needed = needed_since(subject, needed_before);
    if wanted.is_some_and(|wanted| wanted != needed) {
        return Err(format!("needed for {needed:?}; the record was {before:?}, and is {after:?}"));
    }
    match (expect.record, after) {
        (Record::None, Some((flow, _))) => return Err(format!("a record is left: {flow:?}")),
        (Record::In(state), Some((flow, _))) if flow.state != state as u8 => {
            return Err(format!("state {}, not {}: {flow:?}", flow.state, state as u8));
        }
        (Record::In(state), None) => return Err(format!("no record, where {} was expected", state.name())),
        _ => {}
    }
    let removal = expect.record == Record::None;
    match (expect.outcome, before, after) {
        (Outcome::Drop(_) | Outcome::NoState | Outcome::Noted | Outcome::Untouched, Some(_), None) if !removal => {
            Err("the record is gone".to_owned())
        }
        (Outcome::Drop(_) | Outcome::NoState | Outcome::Noted | Outcome::Untouched, None, Some(flow)) => {
            Err(format!("a record came to be: {flow:?}"))
        }
        (outcome, Some((before, _)), Some((after, _))) => unchanged(outcome, &before, &after),
        _ => Ok(()),
    }
}

/// What an outcome other than `pass` leaves as it was.
fn unchanged(outcome: Outcome, before: &Flow, after: &Flow) -> Result<(), String> {
    // A packet that meets a new policy first has its flow judged again.
    let judged_again = before.generation != after.generation;
    let (mut old, mut new) = (*before, *after);
    // A guard notes what it has looked at, and counts what it refuses; when that is enough the flow is another's to judge.
    if (old.guard ^ new.guard) & bits::PROVEN != 0 && matches!(outcome, Outcome::Drop(_)) {
        return Ok(());
    }
    (old.guard, new.guard) = (0, 0);
    match outcome {
        Outcome::Pass | Outcome::Needed(_) | Outcome::Unneeded | Outcome::Forward | Outcome::Answer => return Ok(()),
        Outcome::Close(_) if after.state == State::Closed as u8 => return Ok(()),
        Outcome::Close(_) => return Err(format!("the connection is not over: {after:?}")),
        Outcome::Drop(_) | Outcome::NoState | Outcome::Noted | Outcome::Untouched if judged_again => return Ok(()),
        Outcome::Drop(_) | Outcome::Untouched => {}
        Outcome::NoState => [&mut old, &mut new].map(without_counters).into_iter().for_each(drop),
        Outcome::Noted => [&mut old, &mut new].map(without_notes).into_iter().for_each(drop),
    }
    if old == new { Ok(()) } else { Err(format!("the record has changed:\n    from {before:?}\n    to   {after:?}")) }
}

/// Nor without what follows from the rest of the record, and is only noted with a packet that passes.
fn without_counters(flow: &mut Flow) {
    flow.marks &= !flow_marks::STEADY;
    for peer in [&mut flow.initiator, &mut flow.responder] {
        *peer = Peer { packets: 0, bytes: 0, ..*peer };
    }
}

/// What a packet that is not believed yet may note, see [`crate::track::step`].
pub(in crate::testing) fn without_notes(flow: &mut Flow) {
    without_counters(flow);
    flow.flags &= !(flow_flags::PENDING_SYN | flow_flags::PENDING_SYN_ACK | flow_flags::SHORTENED);
    (flow.pending, flow.pending_scale, flow.timeout) = (0, 0, 0);
    flow.responder.flags &= !peer_flags::CHALLENGED;
    if flow.state == State::SynSent as u8 {
        flow.responder.ack = 0;
    }
}
