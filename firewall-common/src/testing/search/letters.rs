//! The alphabet: every kind of segment at every place that a tracker could tell apart, seen from a flow's record.
//!
//! Places of the sequence number: far below the window, old, the last byte again, next, after a hole, exactly at the right edge, one past
//! it, far past, the receiver's last acknowledgement, the sender's first number. Places of the acknowledgement: exact, old, far below any
//! window, one beyond what was sent, of the SYN, of a remembered SYN.

use super::{
    FIRST,
    firewall::{DATA, segment},
};
use crate::{
    flow::{Flow, Peer, Sender, flow_flags},
    seq::Seq,
    testing::script::Side,
    wire::tcp::{Segment, flags},
};

/// The window every endpoint has room for: two segments of data.
pub const WINDOW: u16 = 2 * DATA as u16;
/// Further than any window and the slack old acknowledgements have.
const FAR: u32 = 200_000;
/// A first number of another connection, above the old ones.
pub const NEW_SYN: u32 = 100_000;

/// Numbers as the record has them, for whoever sends next.
struct Numbers {
    from: Peer,
    to: Peer,
    pending: Option<Seq>,
}

impl Numbers {
    fn of(flow: Option<&Flow>, side: Side) -> Self {
        let own = usize::from(side == Side::Server);
        let unheard = |first: u32| Peer { isn: first, end: first, ack: first, edge: first, ..Peer::default() };
        let Some(flow) = flow else { return Self { from: unheard(FIRST[own]), to: unheard(FIRST[1 - own]), pending: None } };
        let mut flow = *flow;
        let pending = flow.has(flow_flags::PENDING_SYN) || flow.has(flow_flags::PENDING_SYN_ACK);
        let pending = pending.then_some(Seq(flow.pending));
        // Who has not been heard of yet will begin where its first number is.
        if flow.responder.flags == 0 && flow.responder.packets == 0 {
            flow.responder = Peer { isn: FIRST[1], end: FIRST[1], edge: flow.initiator.end, ack: flow.responder.ack, ..flow.responder };
        }
        let (from, to) = flow.peers_mut(if own == 0 { Sender::Initiator } else { Sender::Responder });
        Self { from: *from, to: *to, pending }
    }

    fn places(&self) -> Vec<Seq> {
        let (end, edge) = (self.from.end(), self.to.edge());
        let below = [end.sub(FAR), end.sub(DATA), end.sub(1), end];
        let above = [end.add(5), edge, edge.add(1), edge.add(FAR)];
        [&below[..], &above, &[self.to.ack(), self.from.isn()]].concat()
    }

    fn acknowledgements(&self) -> Vec<Seq> {
        let end = self.to.end();
        let mut all = vec![end, end.sub(DATA), end.sub(FAR), end.add(1), self.to.isn().add(1)];
        all.extend(self.pending.map(|pending| pending.add(1)));
        all
    }
}

/// Every segment worth trying next: those of legal sets of flags, and one of each other set, at the numbers most likely to be taken.
#[must_use]
pub fn letters(flow: Option<&Flow>, side: Side) -> Vec<Segment> {
    let numbers = Numbers::of(flow, side);
    let (places, acknowledgements) = (numbers.places(), numbers.acknowledgements());
    let (next, exact) = (numbers.from.end(), numbers.to.end());
    let mut all = Vec::new();
    for seq in &places {
        for ack in &acknowledgements {
            for length in [0, DATA] {
                all.push(segment(flags::ACK, *seq, *ack, length, WINDOW));
                all.push(segment(flags::FIN | flags::ACK, *seq, *ack, length, WINDOW));
            }
            all.push(segment(flags::RST | flags::ACK, *seq, *ack, 0, WINDOW));
            all.push(segment(flags::SYN | flags::ACK, *seq, *ack, 0, WINDOW));
        }
        all.push(segment(flags::ACK, *seq, exact, 0, 0));
        all.push(segment(flags::RST, *seq, exact, 0, 0));
    }
    let first = numbers.from.isn();
    for seq in [first, next, first.add(NEW_SYN), first.sub(NEW_SYN)] {
        let syn = segment(flags::SYN, seq, exact, 0, WINDOW);
        all.extend([syn, Segment { length: DATA, ..syn }, Segment { scale: 2, ..syn }]);
        all.extend(acknowledgements.iter().map(|ack| segment(flags::SYN | flags::ACK, seq, *ack, 0, WINDOW)));
    }
    all.push(segment(flags::RST | flags::ACK, Seq(0), numbers.to.isn().add(1), 0, 0));
    all.extend(illegal_sets().map(|set| segment(set, next, exact, 0, WINDOW)));
    all.sort_by_key(|one| (one.flags, one.seq.0, one.ack.0, one.length, one.window, one.scale));
    all.dedup();
    all
}

/// Sets of flags senders produce, PSH, ECE and CWR aside.
const LEGAL: [u8; 9] = {
    use flags::{ACK, FIN, RST, SYN, URG};
    [SYN, SYN | URG, SYN | ACK, RST, RST | ACK, ACK, ACK | URG, FIN | ACK, FIN | ACK | URG]
};

/// True for a set of flags that some sender produces.
#[must_use]
pub fn legal(set: u8) -> bool {
    LEGAL.contains(&(set & 0x37))
}

/// Every other set, without PSH, ECE and CWR.
pub fn illegal_sets() -> impl Iterator<Item = u8> {
    (0..64u8).filter(|set| set & flags::PSH == 0 && !legal(*set))
}
