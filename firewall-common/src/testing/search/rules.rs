//! What must hold of one packet and the record before and after it, said anew and from the side of the RFCs: the tracker's own functions
//! are not asked.

use super::firewall::{Record, is_syn};
use crate::{
    flow::{Flow, Inspection, Peer, Sender, State, flow_flags, peer_flags},
    reason::Reason,
    seq::Seq,
    testing::{play::without_notes, script::Side},
    verdict::Verdict,
    wire::tcp::{Segment, flags},
};

/// One packet and what came of it.
#[derive(Debug)]
pub struct Event<'a> {
    pub inspection: Inspection,
    pub side: Side,
    pub segment: &'a Segment,
    pub before: Record,
    pub verdict: Verdict,
    pub after: Record,
}

type Checked = Result<(), String>;

fn must(holds: bool, what: &str) -> Checked {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

/// Every rule about one packet.
pub fn check(event: &Event<'_>) -> Checked {
    untouched(event)?;
    if !super::letters::legal(event.segment.flags) {
        must(!event.verdict.passes(), "a set of flags that no sender produces has passed")?;
    }
    match (event.before, event.after) {
        (None, Some((flow, established))) => created(event, &flow, established),
        (Some((before, _)), None) => removed(event, &before),
        (Some((before, was)), Some((after, is))) => {
            if reopened(event, &before, &after) {
                return created(event, &after, is);
            }
            let low = flow_flags::INITIATOR_LOW;
            must(before.has(low) == after.has(low), "the roles were turned round")?;
            must(is || !was, "an established flow is embryonic again")?;
            if event.inspection == Inspection::Bypass { Ok(()) } else { advanced(event, &before, &after, is) }
        }
        (None, None) => Ok(()),
    }
}

/// What is dropped leaves no trace; what is not learned from leaves notes at most.
fn untouched(event: &Event<'_>) -> Checked {
    let (Some((mut before, was)), Some((mut after, is))) = (event.before, event.after) else {
        return must(event.after.is_none() || event.verdict == Verdict::Learn, "a record came of a packet that is not learned from");
    };
    match event.verdict {
        Verdict::Learn => return Ok(()),
        Verdict::NoLearn => [&mut before, &mut after].map(without_notes).into_iter().for_each(drop),
        Verdict::Drop(_) | Verdict::Answer => {}
    }
    must((before, was) == (after, is), "a packet that is not to be learned from has changed the record")
}

/// A record comes to be by what the policy allows: of the client alone, and by a SYN unless the rule says bypass.
fn created(event: &Event<'_>, flow: &Flow, established: bool) -> Checked {
    must(event.side == Side::Client, "a record by a packet the policy denies")?;
    must(!established && flow.initiator.packets == 1 && flow.responder.packets == 0, "a record that begins in the middle")?;
    if event.inspection == Inspection::Bypass {
        return must(flow.state == State::Bypass as u8, "a record in a wrong state");
    }
    must(is_syn(event.segment), "a record without a SYN")?;
    must(flow.state == State::SynSent as u8, "a record in a wrong state")
}

/// A SYN that begins anew what is over: after a reset, or after both FINs with a number above the old ones.
fn over(event: &Event<'_>, before: &Flow) -> bool {
    let state = State::from_number(before.state);
    let mut before = *before;
    let (from, _) = before.peers_mut(sender(event.side));
    let above = event.segment.seq.after(from.end());
    is_syn(event.segment) && (state == Some(State::Closed) || (state == Some(State::TimeWait) && above))
}

fn removed(event: &Event<'_>, before: &Flow) -> Checked {
    must(over(event, before), "a live record is gone")
}

fn reopened(event: &Event<'_>, before: &Flow, after: &Flow) -> bool {
    over(event, before) && after.state == State::SynSent as u8 && before.state != after.state
}

/// The sender, as long as the client is the initiator.
pub const fn sender(side: Side) -> Sender {
    if matches!(side, Side::Server) { Sender::Responder } else { Sender::Initiator }
}

fn advanced(event: &Event<'_>, before: &Flow, after: &Flow, established: bool) -> Checked {
    let (Some(old), Some(new)) = (State::from_number(before.state), State::from_number(after.state)) else {
        return Err("a state that there is not".to_owned());
    };
    let (mut old_flow, mut new_flow) = (*before, *after);
    let (from, to) = old_flow.peers_mut(sender(event.side));
    let (from_after, to_after) = new_flow.peers_mut(sender(event.side));
    must(!established || rank(new).is_some() || new == State::Closed || new == State::SynReceived, "established without a handshake")?;
    if old != new {
        step_is_due(event, before, (old, new), from, to)?;
    }
    if let (Some(old), Some(new)) = (rank(old), rank(new)) {
        must(old <= new, "the flow went back to an earlier state")?;
        numbers(event, (from, to), (from_after, to_after))?;
    }
    Ok(())
}

/// How far a connection is towards its end; none outside of its synchronized states.
const fn rank(state: State) -> Option<u8> {
    Some(match state {
        State::Established => 0,
        State::FinWait => 1,
        State::HalfClosed => 2,
        State::LastAck => 3,
        State::TimeWait => 4,
        _ => return None,
    })
}

/// Whether this packet may take the flow from the one state to the other.
fn step_is_due(event: &Event<'_>, before: &Flow, (old, new): (State, State), from: &Peer, to: &Peer) -> Checked {
    let segment = event.segment;
    let initiator = event.side == Side::Client;
    let set = segment.flags & (flags::SYN | flags::ACK | flags::RST);
    let acknowledges_syn = set & flags::ACK != 0 && segment.ack.within(to.isn().add(1), to.end());
    let acknowledges_pending = |flag| before.has(flag) && set & flags::ACK != 0 && segment.ack == Seq(before.pending).add(1);
    let due = match (old, new) {
        (State::SynSent, State::SynSentBoth) => !initiator && is_syn(segment),
        (State::SynSent, State::SynReceived) => !initiator && set == flags::SYN | flags::ACK && acknowledges_syn,
        (State::SynSent, State::Closed) => !initiator && set == flags::RST | flags::ACK && acknowledges_syn,
        (State::SynSentBoth, State::Established) => {
            set == flags::SYN | flags::ACK && acknowledges_syn && segment.seq == from.isn() && to.has(peer_flags::SYN_ACK)
        }
        (State::SynSentBoth, State::Closed) => set & flags::RST != 0 && (acknowledges_syn || segment.seq == from.end()),
        (State::SynReceived, State::Closed) => {
            set & flags::RST != 0 && [from.end(), from.isn().add(1), if initiator { to.ack() } else { from.end() }].contains(&segment.seq)
        }
        // The third packet acknowledges the responder's SYN, or the second one it sent.
        (State::SynReceived, _) if rank(new).is_some() => {
            initiator && set == flags::ACK && (acknowledges_syn || acknowledges_pending(flow_flags::PENDING_SYN_ACK))
        }
        // Also after a reset: the SYN came before it, and the responder has taken it up.
        (_, State::SynReceived) if rank(old).is_some() || old == State::Closed => {
            !initiator && set == flags::SYN | flags::ACK && acknowledges_pending(flow_flags::PENDING_SYN)
        }
        (_, State::Closed) if rank(old).is_some() => set & flags::RST != 0 && exact(event, from, to),
        _ => rank(old).is_some() && rank(new).is_some() && set == flags::ACK,
    };
    must(due, &format!("{} became {}", old.name(), new.name()))
}

/// Where a reset closes: at the receiver's last acknowledgement or directly after all its sender has sent; under `tolerant` anywhere in
/// the window.
fn exact(event: &Event<'_>, from: &Peer, to: &Peer) -> bool {
    let seq = event.segment.seq;
    let in_window = seq.within(to.ack(), to.edge());
    seq == to.ack() || seq == from.end() || (event.inspection == Inspection::Tolerant && in_window)
}

/// Numbers of a synchronized flow: they go forward, by what the segment says and no further, and only the sender's.
fn numbers(event: &Event<'_>, (from, to): (&Peer, &Peer), (from_after, to_after): (&Peer, &Peer)) -> Checked {
    let segment = event.segment;
    let forward = |old: Seq, new: Seq, most: Seq| new == old || (new.after(old) && new == most);
    must(forward(from.end(), from_after.end(), segment.end()), "the end is not where the segment says")?;
    must(forward(from.ack(), from_after.ack(), segment.ack), "the acknowledgement is not what the segment says")?;
    must(!from_after.edge().before(from.edge()), "a granted edge was taken back")?;
    must(
        (to.end, to.edge, to.ack, to.max_window) == (to_after.end, to_after.edge, to_after.ack, to_after.max_window),
        "a segment moved the other side's numbers",
    )?;
    let learned = from.end != from_after.end || from.edge != from_after.edge || from.ack != from_after.ack;
    must(!learned || event.verdict == Verdict::Learn, "numbers without learning")?;
    if learned {
        must(!segment.ack.after(to.end()), "learned from an acknowledgement of what was never sent")?;
        // Behind a FIN that lies past a full window, plain acknowledgements come from one further.
        let plain = segment.length == 0 && !segment.has(flags::FIN);
        let past = segment.seq.after(to.edge().add(u32::from(plain)));
        must(!past || event.inspection == Inspection::Tolerant, "learned from a segment past the window")?;
    }
    let fin = from_after.flags & !from.flags & peer_flags::FIN != 0;
    must(
        !fin || (segment.has(flags::FIN) && segment.end().after(from.end()) && !segment.seq.after(to.edge())),
        "a FIN where its sender has already sent data, or past the window",
    )?;
    let acknowledged = to_after.flags & !to.flags & peer_flags::FIN_ACKED != 0;
    must(!acknowledged || (to.has(peer_flags::FIN) && !segment.ack.before(to.end())), "a FIN acknowledged too early")?;
    must(!from.has(peer_flags::FIN) || from.end == from_after.end, "data after the FIN was learned from")
}

/// Reasons whose packets must not be met here: they would mean that the search builds broken frames.
pub const fn misbuilt(reason: Reason) -> bool {
    matches!(reason.stage(), crate::reason::Stage::Parse | crate::reason::Stage::Fragment)
}
