//! What was refused of what one endpoint has sent.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    flow::{Flow, Peer, Sender},
    reason::Reason,
    seq::Seq,
    wire::tcp::{Segment, flags},
};

/// A step forward of an acknowledgement is less than this: the largest window there is (RFC 7323 §2.3).
const LARGEST_STEP: i32 = 1 << 30;

/// Numbers of an endpoint's record, as they were with a refusal. [`crate::flow::Peer`] says what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Numbers {
    /// Packets that had passed, modulo 2³².
    pub packets: u32,
    pub end: u32,
    pub ack: u32,
    pub edge: u32,
    pub max_window: u32,
    pub gaps: u16,
    pub retransmitted: u16,
    pub duplicate_acks: u16,
    pub zero_windows: u16,
}

/// One direction of a flow or of a conversation of strays. Counts stay at their maximum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Side {
    /// Packets refused.
    pub packets: u32,
    /// Of these: past the window,
    pub past_window: u32,
    /// with an acknowledgement of what was never seen,
    pub invalid_ack: u32,
    /// with other data than was sent under the same numbers before,
    pub rewound: u32,
    /// resets,
    pub resets: u32,
    /// with SYN.
    pub syns: u32,
    /// Packets whose place among the numbers counts: data, SYN, FIN and resets.
    pub placed: u32,
    /// Of these: begin exactly where the one before ended,
    pub in_order: u32,
    /// begin where the one before began: sent again,
    pub repeated: u32,
    /// and have waited half as long again as the time before: a retransmission timer that backs off (RFC 6298 §5.5).
    pub backed_off: u32,
    /// Packets that acknowledge what the one before did,
    pub acks_repeated: u32,
    /// or more.
    pub acks_forward: u32,
    /// Of the last of these: its first number, and the one behind its last.
    pub seq: u32,
    pub next: u32,
    /// Acknowledgement of the last packet that had one.
    pub ack: u32,
    /// When the last of these came, in milliseconds after the entry's first packet, and how long after the one before.
    pub at: u32,
    pub waited: u32,
    /// How far the first one past the window began behind all that its sender had sent.
    pub ahead: u32,
    /// How far the first invalid acknowledgement lay behind all that the other endpoint had sent.
    pub ack_ahead: u32,
    /// Most bytes that one began past the window.
    pub farthest: u32,
    /// What the other endpoint had acknowledged when the first packet of this one was refused, and how many of its packets had passed, modulo
    /// 2³². These and the following are zero of strays.
    pub peer_ack: u32,
    pub peer_packets: u32,
    /// The endpoint's record when its first packet was refused.
    pub before: Numbers,
    /// The same when the last packet of either was.
    pub latest: Numbers,
}

impl Numbers {
    /// Takes a record's numbers over.
    #[inline(always)]
    pub fn take(&mut self, peer: &Peer) {
        self.packets = peer.packets as u32;
        self.end = peer.end;
        self.ack = peer.ack;
        self.edge = peer.edge;
        self.max_window = peer.max_window;
        self.gaps = peer.gaps;
        self.retransmitted = peer.retransmitted;
        self.duplicate_acks = peer.duplicate_acks;
        self.zero_windows = peer.zero_windows;
    }
}

#[inline(always)]
const fn count(counter: &mut u32) {
    *counter = counter.saturating_add(1);
}

impl Side {
    /// Takes a refused segment in. `at`: milliseconds after the entry's first packet.
    #[inline(always)]
    pub(super) fn refuse(&mut self, segment: &Segment, reason: Reason, at: u32) {
        count(&mut self.packets);
        match reason {
            Reason::TcpSeqPastWindow => count(&mut self.past_window),
            Reason::TcpInvalidAck => count(&mut self.invalid_ack),
            Reason::TcpBadRetransmission => count(&mut self.rewound),
            _ => {}
        }
        if segment.has(flags::RST) {
            count(&mut self.resets);
        }
        if segment.has(flags::SYN) {
            count(&mut self.syns);
        }
        if segment.has(flags::ACK) {
            self.acknowledge(segment.ack);
        }
        if segment.end() != segment.seq || segment.has(flags::RST) {
            self.send(segment, at);
        }
    }

    #[inline(always)]
    fn acknowledge(&mut self, ack: Seq) {
        let step = ack.distance(Seq(self.ack));
        if self.packets > 1 && step == 0 {
            count(&mut self.acks_repeated);
        } else if self.packets > 1 && step > 0 && step < LARGEST_STEP {
            count(&mut self.acks_forward);
        }
        self.ack = ack.0;
    }

    #[inline(always)]
    fn send(&mut self, segment: &Segment, at: u32) {
        let waited = at.wrapping_sub(self.at);
        if self.placed > 0 && segment.seq.0 == self.next {
            count(&mut self.in_order);
        } else if self.placed > 0 && segment.seq.0 == self.seq {
            // From the second wait on there is one to compare it with.
            if self.repeated > 0 && waited > self.waited.saturating_add(self.waited >> 1) {
                count(&mut self.backed_off);
            }
            count(&mut self.repeated);
            self.waited = waited;
        }
        count(&mut self.placed);
        self.at = at;
        (self.seq, self.next) = (segment.seq.0, segment.end().0);
    }

    /// Keeps what the records of an established flow say: of the packet's sender, and of its receiver.
    #[inline(always)]
    pub(super) fn compare(&mut self, segment: &Segment, reason: Reason, from: &Peer, to: &Peer) {
        if self.packets <= 1 {
            self.before.take(from);
            (self.peer_ack, self.peer_packets) = (to.ack, to.packets as u32);
        }
        match reason {
            Reason::TcpSeqPastWindow => {
                if self.past_window <= 1 {
                    self.ahead = segment.seq.distance(from.end()).max(0) as u32;
                }
                let past = segment.seq.distance(to.edge()).max(0) as u32;
                if past > self.farthest {
                    self.farthest = past;
                }
            }
            Reason::TcpInvalidAck if self.invalid_ack <= 1 => self.ack_ahead = segment.ack.distance(to.end()).max(0) as u32,
            _ => {}
        }
    }
}

/// Keeps what a flow's record says now.
#[inline(always)]
pub(super) fn keep(low: &mut Side, high: &mut Side, flow: &Flow) {
    let (of_low, of_high) = match flow.sender(true) {
        Sender::Initiator => (&flow.initiator, &flow.responder),
        Sender::Responder => (&flow.responder, &flow.initiator),
    };
    low.latest.take(of_low);
    high.latest.take(of_high);
}
