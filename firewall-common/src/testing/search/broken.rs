//! Firewalls with one mistake each. A search that finds them good is no search.

use super::firewall::{Firewall, Record, Single};
use crate::{
    counter::Counters,
    flow::{Flow, Inspection, State, flow_flags, peer_flags},
    reason::Reason,
    testing::script::Side,
    verdict::Verdict,
    wire::tcp::{Segment, flags},
};

/// What a broken firewall does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// A reset anywhere in the window closes.
    TakesInexactReset,
    /// Data sent again is dropped.
    DropsOldData,
    /// The responder's SYN-ACK makes it the initiator.
    TurnsRolesRound,
    /// A segment past the window moves the numbers although it is dropped.
    LearnsFromDropped,
    /// An acknowledgement makes a flow.
    AdmitsMidstream,
    /// A FIN counts wherever it lies.
    TakesAnyFin,
    /// A challenge is dropped.
    DropsChallenges,
    /// A SYN on a live flow begins it anew.
    ReopensLiveFlows,
    /// Some drops are not counted.
    Miscounts,
}

impl Mistake {
    pub const ALL: [Self; 9] = [
        Self::TakesInexactReset,
        Self::DropsOldData,
        Self::TurnsRolesRound,
        Self::LearnsFromDropped,
        Self::AdmitsMidstream,
        Self::TakesAnyFin,
        Self::DropsChallenges,
        Self::ReopensLiveFlows,
        Self::Miscounts,
    ];

    /// What a search says of it.
    #[must_use]
    pub const fn complaint(self) -> &'static str {
        match self {
            Self::TakesInexactReset => "became closed",
            Self::DropsOldData | Self::DropsChallenges => "dropped a legal packet",
            Self::TurnsRolesRound => "the roles were turned round",
            Self::LearnsFromDropped => "has changed the record",
            Self::AdmitsMidstream => "a record without a SYN",
            Self::TakesAnyFin => "a FIN where its sender has already sent data",
            Self::ReopensLiveFlows => "became syn-sent",
            Self::Miscounts => "drops counted, not",
        }
    }
}

/// The pipeline with a mistake.
#[derive(Debug)]
pub struct Broken {
    inner: Single,
    mistake: Mistake,
    counters: Counters,
}

impl Broken {
    #[must_use]
    pub fn new(mistake: Mistake) -> Self {
        Self { inner: Single::new(Inspection::Strict), mistake, counters: Counters::default() }
    }

    fn change(&mut self, change: impl FnOnce(&mut Flow)) {
        if let Some((mut flow, established)) = self.inner.record() {
            change(&mut flow);
            self.inner.put(Some((flow, established)));
        }
    }

    /// Makes the mistake, where there is occasion.
    fn err(&mut self, before: Record, side: Side, segment: &Segment, verdict: Verdict) -> Verdict {
        let (reset, fin) = (segment.has(flags::RST), segment.has(flags::FIN));
        match self.mistake {
            Mistake::TakesInexactReset if reset && verdict == Verdict::NoLearn => {
                self.change(|flow| flow.state = State::Closed as u8);
                Verdict::Learn
            }
            Mistake::DropsOldData if segment.length > 0 && before.is_some_and(|(flow, _)| is_old(flow, side, segment)) => {
                self.inner.put(before);
                Verdict::Drop(Reason::TcpSeqPastWindow)
            }
            Mistake::TurnsRolesRound if segment.has(flags::SYN) && segment.has(flags::ACK) && verdict == Verdict::Learn => {
                self.change(|flow| flow.flags ^= flow_flags::INITIATOR_LOW);
                verdict
            }
            Mistake::LearnsFromDropped if verdict == Verdict::Drop(Reason::TcpSeqPastWindow) => {
                self.change(|flow| flow.initiator.end = flow.initiator.end.wrapping_add(1));
                verdict
            }
            Mistake::AdmitsMidstream if verdict == Verdict::Drop(Reason::TcpNotSyn) => {
                let syn = Segment { flags: flags::SYN, ..*segment };
                self.inner.judge(side, &syn)
            }
            Mistake::TakesAnyFin if fin && verdict == Verdict::Learn => {
                self.change(|flow| flow.peers_mut(super::rules::sender(side)).0.flags |= peer_flags::FIN);
                verdict
            }
            Mistake::DropsChallenges if verdict == Verdict::NoLearn && is_challenge(before) => {
                self.inner.put(before);
                Verdict::Drop(Reason::Tcp3whsFailed)
            }
            Mistake::ReopensLiveFlows if super::firewall::is_syn(segment) && side == Side::Client && before.is_some() => {
                self.inner.put(None);
                self.inner.judge(side, segment)
            }
            _ => verdict,
        }
    }

    fn count(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Learn => self.counters.passed += 1,
            Verdict::NoLearn => self.counters.passed_without_learning += 1,
            Verdict::Drop(Reason::TcpInvalidAck) if self.mistake == Mistake::Miscounts => {}
            Verdict::Drop(reason) => self.counters.drops[reason.index()] += 1,
            Verdict::Answer => self.counters.answered += 1,
        }
    }
}

fn is_old(mut flow: Flow, side: Side, segment: &Segment) -> bool {
    !segment.end().after(flow.peers_mut(super::rules::sender(side)).0.end())
}

/// Whatever passes unlearned before the SYN-ACK is a challenge or its answer.
fn is_challenge(before: Record) -> bool {
    before.is_some_and(|(flow, _)| flow.state == State::SynSent as u8)
}

impl Firewall for Broken {
    fn judge(&mut self, side: Side, segment: &Segment) -> Verdict {
        let before = self.inner.record();
        let verdict = self.inner.judge(side, segment);
        let verdict = self.err(before, side, segment, verdict);
        self.count(verdict);
        verdict
    }

    fn record(&self) -> Record {
        self.inner.record()
    }

    fn put(&mut self, record: Record) {
        self.inner.put(record);
    }

    fn counters(&self) -> Counters {
        self.counters
    }

    fn inspection(&self) -> Inspection {
        self.inner.inspection()
    }
}
