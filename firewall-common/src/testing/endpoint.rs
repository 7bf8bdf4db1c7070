//! A small model of a TCP endpoint (RFC 9293): enough to send legal segments under loss, reordering and duplication, and to tell whether
//! a segment is one it can use. It keeps bytes by their number only.

use std::collections::BTreeMap;

use crate::{
    flow::NO_SCALE,
    seq::Seq,
    wire::tcp::{Segment, flags},
};

/// What an endpoint wants.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Bytes it sends before it closes.
    pub bytes: u32,
    pub segment: u32,
    /// Room for received data.
    pub room: u32,
    /// Shift it offers; [`NO_SCALE`] for none.
    pub scale: u8,
    pub first: u32,
    /// Gives up with a reset after so many segments sent.
    pub abort_after: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Closed,
    SynSent,
    SynReceived,
    Open,
    /// Reset, by either side.
    Dead,
}

/// One end of a connection. Offsets count from its own first number, the SYN being 0.
#[derive(Clone, Debug)]
pub struct Endpoint {
    plan: Plan,
    pub phase: Phase,
    /// Acknowledged by the peer, next to send, and highest sent.
    acknowledged: u32,
    next: u32,
    highest: u32,
    /// Right edge the peer granted.
    granted: u32,
    peer_first: Seq,
    /// Next byte expected of the peer; its SYN is 0, so this begins at 1.
    received: u32,
    /// Segments that came early: where they begin and end.
    early: BTreeMap<u32, u32>,
    /// Where the peer's FIN lies.
    peer_fin: Option<u32>,
    /// Received data the application has yet to take.
    unread: u32,
    shifts: Option<(u8, u8)>,
    /// Highest edge granted to the peer: a window is not taken back.
    edge: u32,
    sent: u32,
    pending: Vec<Segment>,
}

impl Endpoint {
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        Self {
            plan,
            phase: Phase::Closed,
            acknowledged: 0,
            next: 0,
            highest: 0,
            granted: 0,
            peer_first: Seq(0),
            received: 0,
            early: BTreeMap::new(),
            peer_fin: None,
            unread: 0,
            shifts: None,
            edge: 0,
            sent: 0,
            pending: Vec::new(),
        }
    }

    /// Begins the connection.
    pub fn open(&mut self) {
        self.phase = Phase::SynSent;
        let syn = self.syn(flags::SYN);
        self.pending.push(syn);
    }

    /// Everything it has sent since the last call.
    pub fn take(&mut self) -> Vec<Segment> {
        std::mem::take(&mut self.pending)
    }

    /// Everything is sent and acknowledged, the FIN as well.
    #[must_use]
    pub const fn finished(&self) -> bool {
        matches!(self.phase, Phase::Open) && self.acknowledged == self.plan.bytes + 2
    }

    /// All of the peer's data has arrived, its FIN as well.
    #[must_use]
    pub fn has_all(&self) -> bool {
        self.peer_fin.is_some_and(|fin| self.received > fin)
    }

    /// Bytes acknowledged to the peer.
    #[must_use]
    pub const fn progress(&self) -> u32 {
        self.received
    }

    /// The number a reset must have to be obeyed.
    #[must_use]
    pub const fn expects(&self) -> Seq {
        self.peer_first.add(self.received)
    }

    fn syn(&self, set: u8) -> Segment {
        let window = self.plan.room.min(u32::from(u16::MAX)) as u16;
        let ack = if set & flags::ACK == 0 { Seq(0) } else { self.expects() };
        Segment { seq: Seq(self.plan.first), ack, length: 0, window, flags: set, scale: self.plan.scale }
    }

    fn segment(&mut self, offset: u32, length: u32, set: u8) -> Segment {
        let shift = self.shifts.map_or(0, |(own, _)| own);
        let room = self.plan.room - self.unread;
        let window = (room >> shift).min(u32::from(u16::MAX));
        self.edge = self.edge.max(self.received + (window << shift));
        let seq = Seq(self.plan.first).add(offset);
        Segment { seq, ack: self.expects(), length, window: window as u16, flags: set | flags::ACK, scale: NO_SCALE }
    }

    fn acknowledge(&mut self) {
        let answer = self.segment(self.highest.max(1), 0, 0);
        self.pending.push(answer);
    }

    /// Sends what the window allows; at most `most` segments.
    pub fn push(&mut self, most: usize) {
        if self.phase != Phase::Open {
            return;
        }
        let last = self.plan.bytes + 1;
        for _ in 0..most {
            if self.next > last || self.next > self.granted {
                return;
            }
            let length = self.plan.segment.min(last - self.next).min(self.granted - self.next);
            let fin = self.next + length == last && self.next + length < self.granted.max(1);
            if length == 0 && !fin {
                return;
            }
            let set = if fin { flags::FIN | flags::PSH } else { flags::PSH };
            let segment = self.segment(self.next, length, set);
            self.pending.push(segment);
            self.next += length + u32::from(fin);
            self.highest = self.highest.max(self.next);
            self.sent += 1;
            if self.plan.abort_after.is_some_and(|after| self.sent >= after) {
                self.abort();
                return;
            }
        }
    }

    fn abort(&mut self) {
        let reset = self.segment(self.highest, 0, flags::RST);
        self.pending.push(reset);
        self.phase = Phase::Dead;
    }

    /// The application takes what has arrived.
    pub fn read(&mut self) {
        let closed = self.unread > self.plan.room / 2;
        self.unread = 0;
        if closed && self.phase == Phase::Open {
            self.acknowledge();
        }
    }

    /// The retransmission timer: what is oldest goes again, or a probe where the window is shut.
    pub fn timeout(&mut self) {
        match self.phase {
            Phase::SynSent => {
                let syn = self.syn(flags::SYN);
                self.pending.push(syn);
            }
            Phase::SynReceived => {
                let answer = self.syn(flags::SYN | flags::ACK);
                self.pending.push(answer);
            }
            Phase::Open if self.acknowledged < self.highest => {
                self.next = self.acknowledged;
                self.push(1);
                if self.pending.is_empty() {
                    self.probe();
                }
            }
            Phase::Open if self.acknowledged < self.plan.bytes + 1 => self.probe(),
            Phase::Open => {
                self.push(1);
                if !self.finished() && self.pending.is_empty() {
                    self.probe();
                }
            }
            Phase::Closed | Phase::Dead => {}
        }
    }

    /// A keep-alive: the byte before the next one, which the peer has (RFC 9293 §3.8.4).
    fn probe(&mut self) {
        let offset = self.acknowledged.max(1) - 1;
        let length = u32::from(offset > 0 && offset <= self.plan.bytes);
        let probe = self.segment(offset.max(1), length, 0);
        self.pending.push(probe);
    }

    /// A segment arrives.
    pub fn receive(&mut self, segment: &Segment) {
        match self.phase {
            Phase::Closed => self.receive_syn(segment),
            Phase::SynSent => self.receive_syn_ack(segment),
            Phase::SynReceived | Phase::Open => self.receive_open(segment),
            Phase::Dead if !segment.has(flags::RST) => {
                // RFC 9293 §3.10.7.1: a reset where the segment acknowledges.
                self.pending.push(Segment { seq: segment.ack, ack: Seq(0), length: 0, window: 0, flags: flags::RST, scale: NO_SCALE });
            }
            Phase::Dead => {}
        }
    }

    fn receive_syn(&mut self, segment: &Segment) {
        if !segment.has(flags::SYN) || segment.has(flags::ACK) {
            return;
        }
        self.meet(segment);
        self.phase = Phase::SynReceived;
        let answer = self.syn(flags::SYN | flags::ACK);
        self.pending.push(answer);
    }

    /// Takes the peer's first number, window and shift.
    fn meet(&mut self, segment: &Segment) {
        self.peer_first = segment.seq;
        self.received = 1;
        self.granted = 1 + u32::from(segment.window);
        self.highest = 1;
        self.next = 1;
        let offered = self.plan.scale != NO_SCALE && segment.scale != NO_SCALE;
        self.shifts = offered.then_some((self.plan.scale, segment.scale));
        self.edge = 1 + self.plan.room.min(u32::from(u16::MAX));
    }

    fn receive_syn_ack(&mut self, segment: &Segment) {
        let set = flags::SYN | flags::ACK;
        if segment.flags & (set | flags::RST) != set || segment.ack != Seq(self.plan.first).add(1) {
            return;
        }
        self.meet(segment);
        self.acknowledged = 1;
        self.phase = Phase::Open;
        self.acknowledge();
    }

    fn receive_open(&mut self, segment: &Segment) {
        if segment.has(flags::SYN) {
            if self.phase == Phase::SynReceived && !segment.has(flags::ACK) {
                let answer = self.syn(flags::SYN | flags::ACK);
                self.pending.push(answer);
            } else if self.phase == Phase::Open {
                // The challenge of RFC 5961 §4.
                self.acknowledge();
            }
            return;
        }
        if segment.has(flags::RST) {
            if segment.seq == self.expects() {
                self.phase = Phase::Dead;
            }
            return;
        }
        let acknowledged = segment.ack.distance(Seq(self.plan.first));
        if acknowledged < 1 || acknowledged as u32 > self.highest {
            self.acknowledge();
            return;
        }
        self.phase = Phase::Open;
        let acknowledged = acknowledged as u32;
        self.acknowledged = self.acknowledged.max(acknowledged);
        self.next = self.next.max(self.acknowledged);
        let shift = self.shifts.map_or(0, |(_, peer)| peer);
        self.granted = self.granted.max(acknowledged + (u32::from(segment.window) << shift));
        self.receive_data(segment);
    }

    fn receive_data(&mut self, segment: &Segment) {
        let start = segment.seq.distance(self.peer_first);
        let end = start + segment.length as i32;
        let occupies = segment.length > 0 || segment.has(flags::FIN);
        if start > self.received as i32 && start as u32 > self.edge {
            self.acknowledge();
            return;
        }
        if segment.has(flags::FIN) {
            self.peer_fin = Some(end as u32);
        }
        if occupies && end >= self.received as i32 {
            let start = start.max(1) as u32;
            let reach = self.early.entry(start).or_insert(end as u32);
            *reach = (*reach).max(end as u32);
        }
        let before = self.received;
        while let Some((start, end)) = self.early.first_key_value().map(|(start, end)| (*start, *end)) {
            if start > self.received {
                break;
            }
            self.early.remove(&start);
            self.received = self.received.max(end);
        }
        self.unread = (self.unread + self.received - before).min(self.plan.room);
        if self.peer_fin == Some(self.received) {
            self.received += 1;
        }
        if occupies || start < before as i32 {
            self.acknowledge();
        }
    }
}
