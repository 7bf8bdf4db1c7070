//! The arithmetic of a refusal: which number of a segment was compared, and with what.
//!
//! It is worked out from the flow's record after the packet was dropped, so that packets that pass cost nothing. A dropped packet has
//! changed nothing in the record; only the other direction, on another CPU, may have moved an edge in the microsecond between.

use super::{Compared, Record};
use crate::{
    flow::{Flow, Peer, Sender, State, flow_flags, peer_flags},
    guard::{
        Look,
        association::{AHEAD, WINDOW},
    },
    reason::Reason,
    seq::Seq,
    track::tcp_window,
    wire::tcp::{Segment, flags},
};

/// A number that lay outside the closed range that would have been accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Evidence {
    compared: Compared,
    number: Seq,
    lowest: Seq,
    highest: Seq,
}

impl Evidence {
    const NOTHING: Self = Self { compared: Compared::Nothing, number: Seq(0), lowest: Seq(0), highest: Seq(0) };

    #[inline(always)]
    const fn seq(segment: &Segment, lowest: Seq, highest: Seq) -> Self {
        Self { compared: Compared::Seq, number: segment.seq, lowest, highest }
    }

    #[inline(always)]
    const fn ack(segment: &Segment, lowest: Seq, highest: Seq) -> Self {
        Self { compared: Compared::Ack, number: segment.ack, lowest, highest }
    }

    #[inline(always)]
    const fn exactly(compared: Compared, number: Seq, expected: Seq) -> Self {
        Self { compared, number, lowest: expected, highest: expected }
    }

    /// The acknowledgement must be of `peer`'s SYN, with or without the data it carried.
    #[inline(always)]
    const fn ack_of_syn(segment: &Segment, peer: &Peer) -> Self {
        Self::ack(segment, peer.isn().add(1), peer.end())
    }

    /// How far the number lies outside.
    #[inline(always)]
    const fn distance(&self) -> i32 {
        if self.number.after(self.highest) { self.number.distance(self.highest) } else { self.number.distance(self.lowest) }
    }
}

/// Notes in `record` why `segment`, of `sender`, was refused for `reason`.
#[inline(always)]
pub fn note(record: &mut Record, flow: &Flow, sender: Sender, segment: &Segment, reason: Reason) {
    let evidence = find(flow, sender, segment, reason);
    if matches!(evidence.compared, Compared::Nothing) {
        return;
    }
    record.compared = evidence.compared as u8;
    record.number = evidence.number.0;
    record.highest = evidence.highest.0;
    // Under `tolerant` a sender may have gone past the edge before, so that what is left of the window lies behind it.
    record.lowest = if evidence.lowest.after(evidence.highest) { evidence.highest.0 } else { evidence.lowest.0 };
    record.distance = evidence.distance();
}

/// The arithmetic of stage *guard*, which has noted what it compared with.
#[inline(always)]
pub fn of_guard(record: &mut Record, look: &Look, reason: Reason) {
    let (expected, sequence) = (Seq(look.expected), Seq(look.sequence));
    let oldest = expected.sub(WINDOW - 1);
    let (compared, number, lowest, highest, distance) = match reason {
        Reason::GuardEspSpi => (Compared::Spi, Seq(look.spi), expected, expected, 0),
        // What was there, or is too old: anything new lies behind the highest.
        Reason::GuardEspReplay => {
            let lowest = if sequence.before(oldest) { oldest } else { expected.add(1) };
            (Compared::EspSeq, sequence, lowest, expected.add(AHEAD), sequence.distance(lowest))
        }
        Reason::GuardEspJump => (Compared::EspSeq, sequence, oldest, expected.add(AHEAD), sequence.distance(expected.add(AHEAD))),
        _ => return,
    };
    record.compared = compared as u8;
    (record.number, record.lowest, record.highest, record.distance) = (number.0, lowest.0, highest.0, distance);
}

#[inline(always)]
fn find(flow: &Flow, sender: Sender, segment: &Segment, reason: Reason) -> Evidence {
    let (from, to) = match sender {
        Sender::Initiator => (&flow.initiator, &flow.responder),
        Sender::Responder => (&flow.responder, &flow.initiator),
    };
    // Rule II of the windows: older data passes, and teaches nothing.
    let oldest = from.end().sub(to.max_window);
    match reason {
        Reason::TcpSeqPastWindow => Evidence::seq(segment, oldest, to.edge()),
        Reason::TcpDataPastFin => Evidence { compared: Compared::End, number: segment.end(), lowest: oldest, highest: from.end() },
        Reason::TcpInvalidAck if flow.state == State::SynReceived as u8 => Evidence::ack_of_syn(segment, to),
        Reason::TcpInvalidAck => Evidence::ack(segment, tcp_window::oldest_ack(from, to), tcp_window::most_sent(from, to)),
        Reason::TcpAckSynDiff => Evidence::ack_of_syn(segment, to),
        Reason::TcpRstOutOfOrder => reset(flow, sender, segment, from, to),
        Reason::Tcp3whsFailed if flow.state == State::SynReceived as u8 && !segment.has(flags::SYN) => third(sender, segment, from, to),
        Reason::TcpSynOutOfOrder if flow.state == State::SynSentBoth as u8 => Evidence::exactly(Compared::Seq, segment.seq, from.isn()),
        Reason::TcpSynAckOutOfOrder => syn_ack(flow, segment, from, to),
        _ => Evidence::NOTHING,
    }
}

/// Where a reset would have been obeyed depends on how far the flow had come.
#[inline(always)]
fn reset(flow: &Flow, sender: Sender, segment: &Segment, from: &Peer, to: &Peer) -> Evidence {
    let acknowledges = segment.has(flags::ACK);
    match State::from_number(flow.state) {
        Some(State::SynSent) if matches!(sender, Sender::Responder) && acknowledges => Evidence::ack_of_syn(segment, to),
        Some(State::SynSent) if matches!(sender, Sender::Initiator) && to.has(peer_flags::CHALLENGED) => {
            Evidence::exactly(Compared::Seq, segment.seq, to.ack())
        }
        Some(State::SynSent) => Evidence::NOTHING,
        Some(State::SynSentBoth) if acknowledges => Evidence::ack_of_syn(segment, to),
        Some(State::SynSentBoth) => Evidence::exactly(Compared::Seq, segment.seq, from.end()),
        Some(State::SynReceived) => Evidence::seq(segment, from.isn().add(1), to.edge()),
        _ => Evidence::seq(segment, to.ack(), to.edge()),
    }
}

/// A segment in place of the handshake's third: of the initiator it begins too low, of the responder that or it acknowledges no SYN.
#[inline(always)]
fn third(sender: Sender, segment: &Segment, from: &Peer, to: &Peer) -> Evidence {
    let answers = segment.ack.within(to.isn().add(1), to.end());
    if matches!(sender, Sender::Responder) && !answers {
        return Evidence::ack_of_syn(segment, to);
    }
    Evidence::seq(segment, from.isn().add(1), to.edge())
}

#[inline(always)]
fn syn_ack(flow: &Flow, segment: &Segment, from: &Peer, to: &Peer) -> Evidence {
    if from.has(peer_flags::SYN_ACK) && segment.seq == from.isn() {
        return Evidence::ack(segment, to.isn().add(1), to.end());
    }
    if from.has(peer_flags::SYN_ACK) {
        return Evidence::exactly(Compared::Seq, segment.seq, from.isn());
    }
    if flow.has(flow_flags::PENDING_SYN) {
        return Evidence::exactly(Compared::Ack, segment.ack, Seq(flow.pending).add(1));
    }
    Evidence::NOTHING
}
