//! A TCP endpoint as RFC 9293 and RFC 5961 describe it, small enough to be searched: it sends a few segments of data and a FIN, may lose
//! its memory, and says at any moment everything it may legally send. Offsets count from its own or its peer's first number.

use super::{
    FIRST,
    firewall::{DATA, segment},
    letters::{NEW_SYN, WINDOW},
};
use crate::{
    seq::Seq,
    testing::script::Side,
    wire::tcp::{Segment, flags},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// No connection: it has not begun, or is over, or forgotten.
    Closed,
    Listen,
    SynSent,
    SynReceived,
    Open,
}

/// What it owes the sender of a segment that belongs to no connection of its own (RFC 9293 §3.10.7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owed {
    Nothing,
    /// A reset where the segment acknowledged.
    ResetAt(u32),
    /// A reset that acknowledges a SYN.
    Refusal(u32),
}

/// One endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    pub side: Side,
    pub phase: Phase,
    /// Connections it has had before: each has first numbers of its own.
    pub life: u8,
    pub owed: Owed,
    /// Segments of data it sends before its FIN.
    segments: u8,
    acknowledged: u32,
    next: u32,
    /// Right edge the peer has granted.
    edge: u32,
    peer_first: u32,
    received: u32,
    /// Segments of data beyond `received` that came early.
    early: u8,
    /// Where the peer's FIN lies; 0 as long as that is not known.
    fin_at: u32,
    granted: u32,
}

/// A segment it may send, and what it is then.
#[derive(Clone, Copy, Debug)]
pub struct Say {
    pub segment: Segment,
    pub then: Peer,
    /// Not meant to be taken: a probe of a shut window.
    pub probe: bool,
}

impl Peer {
    #[must_use]
    pub const fn new(side: Side, segments: u8) -> Self {
        let phase = if matches!(side, Side::Server) { Phase::Listen } else { Phase::Closed };
        Self {
            side,
            phase,
            life: 0,
            owed: Owed::Nothing,
            segments,
            acknowledged: 0,
            next: 0,
            edge: 0,
            peer_first: 0,
            received: 0,
            early: 0,
            fin_at: 0,
            granted: 0,
        }
    }

    /// Its first number in this life.
    #[must_use]
    pub const fn first(&self) -> Seq {
        Seq(FIRST[matches!(self.side, Side::Server) as usize]).add(self.life as u32 * NEW_SYN)
    }

    /// The next number it expects: where a reset must be to be obeyed (RFC 5961 §3.2).
    #[must_use]
    pub const fn expects(&self) -> Seq {
        Seq(self.peer_first).add(self.received)
    }

    /// The first number past what it has granted.
    #[must_use]
    pub const fn grants(&self) -> Seq {
        Seq(self.peer_first).add(self.granted)
    }

    /// True when both are ends of the same connection, as far as this one knows.
    #[must_use]
    pub fn talks_to(&self, peer: &Self) -> bool {
        self.phase == Phase::SynSent || Seq(self.peer_first) == peer.first()
    }

    const fn last(&self) -> u32 {
        1 + self.segments as u32 * DATA
    }

    /// Everything is sent and acknowledged, and everything has come.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.phase == Phase::Open && self.acknowledged == self.last() + 1 && self.fin_at != 0 && self.received > self.fin_at
    }

    /// The same endpoint in its next life.
    #[must_use]
    pub const fn again(&self, phase: Phase) -> Self {
        let life = if self.life < 2 { self.life + 1 } else { 2 };
        Self { phase, life, ..Self::new(self.side, self.segments) }
    }

    /// True when the two differ at most in what they owe.
    #[must_use]
    pub fn is_but_for_debts(&self, other: &Self) -> bool {
        Self { owed: other.owed, ..*self } == *other
    }

    /// It waits for a connection.
    #[must_use]
    pub const fn listening(&self) -> Self {
        Self { phase: Phase::Listen, ..*self }
    }

    /// It begins a connection.
    #[must_use]
    pub const fn open(&self) -> Self {
        Self { phase: Phase::SynSent, next: 1, ..*self }
    }

    const fn build(&self, set: u8, offset: u32, length: u32, window: u16) -> Segment {
        segment(set, self.first().add(offset), self.expects(), length, window)
    }

    /// Everything it may send now.
    #[must_use]
    pub fn says(&self) -> Vec<Say> {
        let mut all = Vec::new();
        let plain = |segment, then| Say { segment, then, probe: false };
        let paid = Self { owed: Owed::Nothing, ..*self };
        match self.owed {
            Owed::Nothing => {}
            Owed::ResetAt(at) => all.push(plain(segment(flags::RST, Seq(at), Seq(0), 0, 0), paid)),
            Owed::Refusal(end) => all.push(plain(segment(flags::RST | flags::ACK, Seq(0), Seq(end), 0, 0), paid)),
        }
        match self.phase {
            Phase::Closed | Phase::Listen => {}
            Phase::SynSent => all.push(plain(self.build(flags::SYN, 0, 0, WINDOW), *self)),
            Phase::SynReceived => {
                all.push(plain(self.build(flags::SYN | flags::ACK, 0, 0, WINDOW), *self));
                // The challenge of RFC 5961 §4.
                all.push(plain(self.build(flags::ACK, 1, 0, WINDOW), *self));
            }
            Phase::Open => self.says_open(&mut all),
        }
        all
    }

    fn says_open(&self, all: &mut Vec<Say>) {
        let plain = |segment, then| Say { segment, then, probe: false };
        for window in [WINDOW, 0] {
            all.push(plain(self.build(flags::ACK, self.next, 0, window), self.granting(window)));
        }
        let last = self.last();
        let sends = self.granting(WINDOW);
        if self.acknowledged < self.next {
            let fin = self.acknowledged == last;
            let (set, length) = if fin { (flags::FIN | flags::ACK, 0) } else { (flags::ACK, DATA) };
            all.push(plain(self.build(set, self.acknowledged, length, WINDOW), sends));
        } else if self.next > 1 {
            // A keep-alive (RFC 9293 §3.8.4).
            all.push(plain(self.build(flags::ACK, self.next - 1, 0, WINDOW), sends));
        }
        if self.next < last && self.next + DATA <= self.edge {
            all.push(plain(self.build(flags::ACK, self.next, DATA, WINDOW), Self { next: self.next + DATA, ..sends }));
        } else if self.next == last && self.next <= self.edge {
            all.push(plain(self.build(flags::FIN | flags::ACK, last, 0, WINDOW), Self { next: last + 1, ..sends }));
        } else if self.next < last && self.acknowledged == self.next && self.edge <= self.next {
            all.push(Say { segment: self.build(flags::ACK, self.next, 1, WINDOW), then: sends, probe: true });
        }
        let dead = self.again(if self.side == Side::Server { Phase::Listen } else { Phase::Closed });
        all.push(plain(self.build(flags::RST | flags::ACK, self.next, 0, WINDOW), dead));
    }

    const fn granting(&self, window: u16) -> Self {
        let edge = self.received + window as u32;
        Self { granted: if edge > self.granted { edge } else { self.granted }, ..*self }
    }

    /// A segment arrives.
    #[must_use]
    pub fn receives(&self, segment: &Segment) -> Self {
        match self.phase {
            Phase::Closed | Phase::Listen => self.without_connection(segment),
            Phase::SynSent => self.waiting_for_syn_ack(segment),
            Phase::SynReceived | Phase::Open => self.synchronized(segment),
        }
    }

    fn without_connection(&self, segment: &Segment) -> Self {
        if segment.has(flags::RST) {
            return *self;
        }
        if segment.has(flags::ACK) {
            return Self { owed: Owed::ResetAt(segment.ack.0), ..*self };
        }
        if self.phase == Phase::Closed || !segment.has(flags::SYN) {
            return Self { owed: Owed::Refusal(segment.end().0), ..*self };
        }
        self.meets(segment, Phase::SynReceived)
    }

    fn meets(&self, segment: &Segment, phase: Phase) -> Self {
        let edge = 1 + u32::from(segment.window);
        Self { phase, next: 1, edge, peer_first: segment.seq.0, received: 1, granted: 1 + u32::from(WINDOW), owed: Owed::Nothing, ..*self }
    }

    fn waiting_for_syn_ack(&self, segment: &Segment) -> Self {
        let answers = segment.has(flags::ACK) && segment.ack == self.first().add(1);
        if segment.has(flags::ACK) && !answers {
            return if segment.has(flags::RST) { *self } else { Self { owed: Owed::ResetAt(segment.ack.0), ..*self } };
        }
        if segment.has(flags::RST) {
            return if answers { self.again(Phase::Closed) } else { *self };
        }
        match (segment.has(flags::SYN), answers) {
            (true, true) => Self { acknowledged: 1, ..self.meets(segment, Phase::Open) },
            (true, false) => self.meets(segment, Phase::SynReceived),
            (false, _) => *self,
        }
    }

    /// RFC 9293 §3.10.7.4, with the answers of RFC 5961: a challenge is one of the acknowledgements it may send at any time.
    fn synchronized(&self, segment: &Segment) -> Self {
        let offset = segment.seq.distance(Seq(self.peer_first));
        let (received, granted) = (self.received as i32, self.granted as i32);
        if segment.has(flags::RST) {
            let gone = if self.side == Side::Server { Phase::Listen } else { Phase::Closed };
            return if offset == received { self.again(gone) } else { *self };
        }
        let length = segment.end().distance(segment.seq);
        let touches = if length == 0 { (received..granted).contains(&offset) } else { offset < granted && offset + length > received };
        if segment.has(flags::SYN) || !segment.has(flags::ACK) || !(touches || (length == 0 && offset == received)) {
            return *self;
        }
        let acknowledged = segment.ack.distance(self.first());
        if self.phase == Phase::SynReceived && acknowledged != 1 {
            return Self { owed: Owed::ResetAt(segment.ack.0), ..*self };
        }
        if acknowledged > self.next as i32 || acknowledged < self.acknowledged as i32 - i32::from(WINDOW) {
            return *self;
        }
        let acknowledged = acknowledged.max(1) as u32;
        let edge = self.edge.max(acknowledged + u32::from(segment.window));
        let open = Self { phase: Phase::Open, acknowledged: self.acknowledged.max(acknowledged), edge, ..*self };
        open.takes(offset as u32, segment)
    }

    fn takes(mut self, offset: u32, segment: &Segment) -> Self {
        let end = offset.wrapping_add(segment.length);
        if segment.length == DATA && offset % DATA == 1 && offset >= self.received && offset < 7 * DATA {
            self.early |= 1 << (offset / DATA);
        } else if segment.length > 0 && end > self.received {
            // Not cut as its own peer cuts: only somebody else sends that.
            self.early |= 0x80;
        }
        if segment.has(flags::FIN) {
            self.fin_at = end;
        }
        while self.early >> (self.received / DATA) & 1 == 1 && self.received % DATA == 1 {
            self.early &= !(1 << (self.received / DATA));
            self.received += DATA;
        }
        if self.fin_at == self.received {
            self.received += 1;
        }
        self
    }
}
