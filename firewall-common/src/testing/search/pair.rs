//! Two endpoints and the record between them; packets may be lost before and behind the firewall, either end may lose its memory, and
//! on one side somebody may send anything in an endpoint's name. Do the endpoints notice that there is a firewall?
//!
//! - What an endpoint may legally send passes, at any moment. What may be dropped all the same is in [`excused`], and nothing else.
//! - What its receiver would refuse ends no flow: not by a reset (RFC 5961 §3), not by a FIN. A firewall must be laxer than the endpoint
//!   where it has not seen what the endpoint has: see [`behind_the_times`].
//! - The rules of one packet hold, too.
//!
//! An attack that an endpoint does fall for is not followed further: from there on the two ends disagree, firewall or not.

use std::hash::Hash;

use zerocopy::IntoBytes as _;

use super::{
    Model,
    anything::came_of,
    firewall::{Firewall, Record, Tally, uncounted},
    letters::letters,
    packet_line,
    peer::{Peer, Phase},
    rules::{self, Event},
};
use crate::{
    flow::{Inspection, State as FlowState, peer_flags},
    testing::script::Side,
    verdict::Verdict,
    wire::tcp::{Segment, flags},
};

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    LostBefore,
    LostBehind,
    Arrives,
}

#[derive(Clone, Copy, Debug)]
pub enum By {
    /// An endpoint sends a segment, and is then this.
    Sends(Segment, Peer, Fate),
    /// An endpoint is from now on this, without a packet: it opens, listens anew, or has lost its memory.
    Turns(Peer),
    /// Somebody on the attacker's side sends this.
    Attack(Segment),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    record: Record,
    peers: [Peer; 2],
}

/// The search.
#[derive(Debug)]
pub struct Pair<F> {
    firewall: F,
    tally: Tally,
    /// Segments of data of client and server.
    plan: [u8; 2],
    attacker: Option<Side>,
    /// Endpoints lose their memory now and then.
    crashes: bool,
}

impl<F: Firewall> Pair<F> {
    pub fn new(firewall: F, plan: [u8; 2], attacker: Option<Side>, crashes: bool) -> Self {
        Self { firewall, tally: Tally::default(), plan, attacker, crashes }
    }

    fn play(&mut self, state: &State, side: Side, segment: &Segment) -> Result<(Verdict, State), String> {
        let (verdict, record) = self.judge(state.record, side, segment);
        let event = Event { inspection: self.firewall.inspection(), side, segment, before: state.record, verdict, after: record };
        rules::check(&event)?;
        Ok((verdict, State { record: uncounted(record), ..*state }))
    }

    fn judge(&mut self, record: Record, side: Side, segment: &Segment) -> (Verdict, Record) {
        self.firewall.put(record);
        let verdict = self.firewall.judge(side, segment);
        self.tally.add(verdict);
        (verdict, self.firewall.record())
    }

    fn sends(&mut self, state: &State, segment: &Segment, then: Peer, fate: Fate) -> Result<State, String> {
        let own = place(then.side);
        let mut after = *state;
        if fate != Fate::LostBefore {
            let (verdict, judged) = self.play(state, then.side, segment)?;
            after = judged;
            if let Verdict::Drop(reason) = verdict {
                if !excused(state, then.side, segment) && !self.has_another_way(state, then.side) {
                    return Err(format!("{} dropped a legal packet", reason.name()));
                }
            } else if fate == Fate::Arrives {
                after.peers[1 - own] = after.peers[1 - own].receives(segment);
            }
        }
        after.peers[own] = then;
        Ok(after)
    }

    /// True when an end between SYN and third packet has something to say that passes: its SYN-ACK or the challenge that heals.
    fn has_another_way(&mut self, state: &State, side: Side) -> bool {
        let own = &state.peers[place(side)];
        own.phase == Phase::SynReceived && own.says().iter().any(|say| self.judge(state.record, side, &say.segment).0.passes())
    }

    fn attack(&mut self, state: &State, side: Side, segment: &Segment) -> Result<Option<State>, String> {
        let (verdict, after) = self.play(state, side, segment)?;
        let victim = &state.peers[1 - place(side)];
        let taken = victim.receives(segment);
        if !verdict.passes() {
            return Ok(None);
        }
        if !taken.is_but_for_debts(victim) {
            return Ok(None);
        }
        let closes =
            |record: Record| record.is_none_or(|(flow, _)| [FlowState::Closed as u8, FlowState::TimeWait as u8].contains(&flow.state));
        let fins = |record: Record| record.map_or(0, |(flow, _)| (flow.initiator.flags | flow.responder.flags) & peer_flags::FIN);
        let torn = (closes(after.record) && !closes(state.record)) || fins(after.record) > fins(state.record);
        if self.firewall.inspection() != Inspection::Bypass && !torn && changed(state.record, after.record) {
            // Who hits the number of a SYN-ACK has completed the handshake as far as a firewall can see.
            return Ok(None);
        }
        if acknowledged(state.record) != acknowledged(after.record) {
            // Who hits both numbers of one side is as good as that side.
            return Ok(None);
        }
        if self.firewall.inspection() == Inspection::Bypass || !torn {
            return Ok((after != *state).then_some(after));
        }
        if behind_the_times(self.firewall.inspection(), state, side, segment) {
            return Ok(None);
        }
        Err("a packet its receiver refuses has closed the flow".to_owned())
    }
}

const fn place(side: Side) -> usize {
    matches!(side, Side::Server) as usize
}

/// Legal packets that may be dropped, for their receivers can do without them:
///
/// - a reset that its receiver would not obey, or that is about an earlier connection than the SYN that passed: the challenge to that SYN
///   brings it once more;
/// - of what an end between SYN and third packet may say, SYN-ACK and challenge, one ([`Pair::has_another_way`]);
/// - what the responder says while the record has the attacker's SYN in place of the initiator's, which comes again;
/// - anything but a pure acknowledgement from an end whose peer has begun another connection: that acknowledgement is the challenge.
fn excused(state: &State, side: Side, segment: &Segment) -> bool {
    let (own, other) = (&state.peers[place(side)], &state.peers[1 - place(side)]);
    if segment.has(flags::RST) {
        let reset = other.receives(segment);
        return reset.phase == other.phase || earlier_connection(state);
    }
    let foreign =
        state.record.is_some_and(|(flow, _)| flow.state == FlowState::SynSent as u8 && flow.initiator.isn() != state.peers[0].first());
    if foreign && side == Side::Server && state.peers[0].phase == Phase::SynSent {
        return true;
    }
    let pure = segment.length == 0 && !segment.has(flags::FIN);
    !pure && !own.talks_to(other)
}

fn acknowledged(record: Record) -> Option<[u32; 2]> {
    record.map(|(flow, _)| [flow.initiator.ack, flow.responder.ack])
}

/// A SYN has passed, and nothing of the responder since.
fn earlier_connection(state: &State) -> bool {
    state.record.is_some_and(|(flow, _)| flow.state == FlowState::SynSent as u8 && !flow.responder.has(peer_flags::CHALLENGED))
}

fn changed(before: Record, after: Record) -> bool {
    before.map(|(flow, _)| flow.state) != after.map(|(flow, _)| flow.state)
}

/// Where the firewall knows less than the endpoint, or more: the SYN-ACK or the third packet has passed and not arrived, or the endpoint's
/// connection is gone and nobody has said so; or a reset stands at a number
/// the endpoint has left behind or not come to, for it has received more than its acknowledgements that passed say, or less than its peer
/// has sent; or a FIN stands at the very edge, where the firewall must let probes pass.
fn behind_the_times(inspection: Inspection, state: &State, side: Side, segment: &Segment) -> bool {
    let Some((mut flow, _)) = state.record else { return false };
    let (from, to) = flow.peers_mut(rules::sender(side));
    if state.peers[1 - place(side)].phase != Phase::Open {
        return true;
    }
    if !segment.has(flags::RST) {
        return !segment.seq.before(state.peers[1 - place(side)].grants());
    }
    let expected = state.peers[1 - place(side)].expects();
    let lags = [to.ack(), from.end(), from.isn().add(1)].into_iter().any(|number| number != expected && segment.seq == number);
    lags || (inspection == Inspection::Tolerant && segment.seq.within(to.ack(), to.edge()))
}

impl<F: Firewall> Model for Pair<F> {
    type State = State;
    type Move = By;

    fn start(&mut self) -> State {
        let peers = [Peer::new(Side::Client, self.plan[0]), Peer::new(Side::Server, self.plan[1])];
        State { record: None, peers }
    }

    fn digest(&self, state: &State) -> impl Hash {
        let record = state.record.map(|(flow, established)| (flow.as_bytes().to_vec(), established));
        (record, state.peers)
    }

    fn moves(&self, state: &State) -> Vec<By> {
        let mut all = Vec::new();
        for peer in &state.peers {
            for say in peer.says() {
                all.push(By::Sends(say.segment, say.then, Fate::LostBehind));
                if !say.probe {
                    all.push(By::Sends(say.segment, say.then, Fate::Arrives));
                }
                if say.then != *peer {
                    all.push(By::Sends(say.segment, say.then, Fate::LostBefore));
                }
            }
            all.extend(turns(peer, self.crashes).map(By::Turns));
        }
        if let Some(side) = self.attacker {
            all.extend(letters(state.record.as_ref().map(|(flow, _)| flow), side).into_iter().map(By::Attack));
        }
        all
    }

    fn step(&mut self, state: &State, by: &By) -> Result<Option<State>, String> {
        match by {
            By::Sends(segment, then, fate) => self.sends(state, segment, *then, *fate).map(Some),
            By::Turns(peer) => {
                let mut after = *state;
                after.peers[place(peer.side)] = *peer;
                Ok(Some(after))
            }
            By::Attack(segment) => match self.attacker {
                Some(side) => self.attack(state, side, segment),
                None => Ok(None),
            },
        }
    }

    fn line(&mut self, state: &State, by: &By) -> String {
        let (side, segment, fate) = match by {
            By::Sends(segment, then, Fate::LostBefore) => {
                return format!("# {} is lost before the firewall", packet_line(then.side, segment));
            }
            By::Turns(peer) => return format!("# {:?}: {:?} in life {}", peer.side, peer.phase, peer.life),
            By::Sends(segment, then, fate) => (then.side, segment, if *fate == Fate::Arrives { "" } else { "  # lost behind" }),
            By::Attack(segment) => (self.attacker.unwrap_or(Side::Client), segment, "  # the attacker"),
        };
        let (verdict, after) = self.judge(state.record, side, segment);
        format!("{:<32} -> {}{fate}", packet_line(side, segment), came_of(verdict, state.record, after))
    }

    fn conclude(&mut self) -> Result<(), String> {
        self.tally.compare(&self.firewall.counters())
    }
}

/// What an endpoint may become without a packet.
fn turns(peer: &Peer, crashes: bool) -> impl Iterator<Item = Peer> {
    let rests = if peer.side == Side::Server { Phase::Listen } else { Phase::Closed };
    let opens = peer.side == Side::Client && peer.phase == Phase::Closed && peer.life < 2;
    let connected = !matches!(peer.phase, Phase::Closed | Phase::Listen);
    let forgets = crashes && connected && peer.life == 0;
    let listens = crashes && peer.side == Side::Server && peer.phase == Phase::Closed;
    [
        opens.then(|| peer.open()),
        peer.finished().then(|| peer.again(rests)),
        forgets.then(|| peer.again(Phase::Closed)),
        listens.then(|| peer.listening()),
    ]
    .into_iter()
    .flatten()
}
