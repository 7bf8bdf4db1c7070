//! The notes of one packet's way: stop after stop, and how each ended.

use std::{cell::RefCell, vec::Vec};

use super::{Ended, Seen, Stage, Stop};
use crate::{account::Outcome, env::Env, flow::FlowKey, pipeline::Step, reason::Reason, verdict::Verdict};

/// Stands between the pipeline and a world. The stop that is noted to is always the last.
pub(super) struct Recorder<'a, E> {
    pub(super) env: &'a E,
    stops: RefCell<Vec<Stop>>,
}

impl<'a, E: Env> Recorder<'a, E> {
    pub(super) const fn new(env: &'a E) -> Self {
        Self { env, stops: RefCell::new(Vec::new()) }
    }

    /// A stage that let the packet go on, or dropped it.
    pub(super) fn pass(&self, stage: Stage, checked: Result<(), Reason>) {
        self.open(stage);
        if let Err(reason) = checked {
            self.drop_for(reason);
        }
    }

    /// A stage that settled what becomes of the packet.
    pub(super) fn settle(&self, stage: Stage, verdict: Verdict) {
        self.open(stage);
        self.end(Ended::Settled(verdict));
    }

    /// The stops, the last of them the one that settled it.
    pub(super) fn finish(self, verdict: Verdict) -> Vec<Stop> {
        let settled = self.stops.borrow().last().is_some_and(|stop| stop.ended == Ended::Settled(verdict));
        if !settled && let Verdict::Drop(reason) = verdict {
            self.drop_for(reason);
        }
        self.stops.into_inner()
    }

    pub(super) fn open(&self, stage: Stage) {
        self.stops.borrow_mut().push(Stop { stage, ended: Ended::GoesOn, seen: Vec::new() });
    }

    fn end(&self, ended: Ended) {
        if let Some(stop) = self.stops.borrow_mut().last_mut() {
            stop.ended = ended;
        }
    }

    pub(super) fn current(&self) -> Option<Stage> {
        self.stops.borrow().last().map(|stop| stop.stage)
    }

    pub(super) fn note(&self, seen: Seen) {
        if let Some(stop) = self.stops.borrow_mut().last_mut() {
            // Of the entries that a search looks at, the last decides.
            if matches!(seen, Seen::Entry { .. }) {
                stop.seen.retain(|seen| !matches!(seen, Seen::Entry { .. }));
            }
            stop.seen.push(seen);
        }
    }

    /// Takes back a stop that came to nothing.
    fn close_empty(&self) {
        self.stops.borrow_mut().pop();
    }

    /// The packet is dropped: by the stage at hand if the reason is one of its own, else by the reason's stage.
    pub(super) fn drop_for(&self, reason: Reason) {
        let last = self.stops.borrow().last().map(|stop| (stop.stage, stop.ended));
        match last {
            Some((stage, Ended::GoesOn)) if stage.gives(reason) => {}
            // The zone and the flags are looked at with the record in hand, before the packet is tracked in it.
            Some((Stage::Track, Ended::GoesOn)) => {
                self.close_empty();
                if self.current() != Some(Stage::of(reason)) {
                    self.open(Stage::of(reason));
                }
            }
            _ => self.open(Stage::of(reason)),
        }
        self.end(Ended::Settled(Verdict::Drop(reason)));
    }

    pub(super) fn settle_current(&self, verdict: Verdict) {
        match verdict {
            Verdict::Drop(reason) => self.drop_for(reason),
            _ => self.end(Ended::Settled(verdict)),
        }
    }

    /// What stage *lookup* found, once.
    fn look_up(&self, key: &FlowKey) {
        let looked = |stop: &Stop| stop.stage == Stage::Lookup && !stop.seen.contains(&Seen::NoFlow);
        if self.stops.borrow().iter().any(looked) {
            return;
        }
        // The same question twice, of the established flows and of the embryonic ones.
        let asked = self.current() == Some(Stage::Lookup);
        if !asked {
            self.open(Stage::Lookup);
        }
        let found = self.flow_of(key);
        if let Some(stop) = self.stops.borrow_mut().last_mut() {
            stop.seen = std::vec![found.unwrap_or(Seen::NoFlow)];
        }
    }

    pub(super) fn flow_of(&self, key: &FlowKey) -> Option<Seen> {
        let established = self.env.established(key).map(|found| self.env.with_established(&found, |flow| *flow));
        if let Some(flow) = established {
            return Some(Seen::Flow { established: true, flow });
        }
        let flow = self.env.embryonic(key).map(|found| self.env.with_embryonic(&found, |flow| *flow))?;
        Some(Seen::Flow { established: false, flow })
    }

    /// A stage that asks one of the tables for the packet's flow and tracks the packet in it.
    pub(super) fn tracked(&self, found: bool, step: impl FnOnce(&mut Outcome) -> Step, visit_key: &FlowKey, outcome: &mut Outcome) -> Step {
        self.look_up(visit_key);
        if !found {
            return step(outcome);
        }
        self.open(Stage::Track);
        let step = step(outcome);
        match step {
            Step::Steady | Step::Needed => self.settle_current(Verdict::Learn),
            Step::Done => self.settle_current(outcome.verdict),
            Step::First | Step::Over => self.note(Seen::Over),
            Step::Stale => {
                self.close_empty();
                self.note(Seen::Stale);
            }
            // Stage normalize has a look first, or the flow has moved: the packet comes back.
            _ => self.close_empty(),
        }
        step
    }

    pub(super) fn settled_if_done(&self, step: Step, outcome: &Outcome) -> Step {
        if matches!(step, Step::Done) {
            self.settle_current(outcome.verdict);
        }
        step
    }
}
