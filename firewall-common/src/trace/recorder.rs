//! A world that notes what the stages ask of it and what they make of the answers.

use std::{cell::RefCell, vec::Vec};

use super::{Ended, Seen, Stage, Stop};
use crate::{
    account::Outcome,
    classify::Policies,
    counter::{Counters, RuleCounters},
    env::{Env, Glance, InsertError, Notice, Settings},
    event,
    flow::{Address, Flow, FlowKey},
    fragment::{Fragment, FragmentKey, stages},
    normalize::{
        Profile, Room, check, edit,
        history::History,
        retransmission::{Digest, Start},
    },
    packet::Packet,
    parse::Descriptor,
    pipeline::{self, Step},
    reason::Reason,
    relate,
    rule::{Block, Dimension, Row, Rule},
    time::Nanos,
    verdict::Verdict,
    visit::Visit,
};

/// Stands between the pipeline and a world. The stop that is noted to is always the last.
pub(super) struct Recorder<'a, E> {
    env: &'a E,
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

    fn open(&self, stage: Stage) {
        self.stops.borrow_mut().push(Stop { stage, ended: Ended::GoesOn, seen: Vec::new() });
    }

    fn end(&self, ended: Ended) {
        if let Some(stop) = self.stops.borrow_mut().last_mut() {
            stop.ended = ended;
        }
    }

    fn current(&self) -> Option<Stage> {
        self.stops.borrow().last().map(|stop| stop.stage)
    }

    fn note(&self, seen: Seen) {
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
    fn drop_for(&self, reason: Reason) {
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

    fn settle_current(&self, verdict: Verdict) {
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

    fn flow_of(&self, key: &FlowKey) -> Option<Seen> {
        let established = self.env.established(key).map(|found| self.env.with_established(&found, |flow| *flow));
        if let Some(flow) = established {
            return Some(Seen::Flow { established: true, flow });
        }
        let flow = self.env.embryonic(key).map(|found| self.env.with_embryonic(&found, |flow| *flow))?;
        Some(Seen::Flow { established: false, flow })
    }

    /// A stage that asks one of the tables for the packet's flow and tracks the packet in it.
    fn tracked(&self, found: bool, step: impl FnOnce(&mut Outcome) -> Step, visit_key: &FlowKey, outcome: &mut Outcome) -> Step {
        self.look_up(visit_key);
        if !found {
            return step(outcome);
        }
        self.open(Stage::Track);
        let step = step(outcome);
        match step {
            Step::Steady => self.settle_current(Verdict::Learn),
            Step::Done => self.settle_current(outcome.verdict),
            Step::First => self.note(Seen::Over),
            Step::Stale => {
                self.close_empty();
                self.note(Seen::Stale);
            }
            // Stage normalize has a look first, or the flow has moved: the packet comes back.
            _ => self.close_empty(),
        }
        step
    }
}

impl<E: Env> Policies for Recorder<'_, E> {
    fn address_class(&self, slot: u32, dimension: Dimension, address: &Address) -> u32 {
        let row = self.env.address_class(slot, dimension, address);
        self.note(Seen::Address { dimension, row });
        row
    }

    fn service_class(&self, slot: u32, protocol: u8, service: [u8; 2]) -> u32 {
        let row = self.env.service_class(slot, protocol, service);
        self.note(Seen::Service { row });
        row
    }

    fn row(&self, slot: u32, row: u32) -> Option<&Row> {
        self.env.row(slot, row)
    }

    fn block(&self, slot: u32, block: u16) -> Option<&Block> {
        self.env.block(slot, block)
    }

    fn rule(&self, slot: u32, entry: u32) -> Option<&Rule> {
        let rule = self.env.rule(slot, entry);
        if let Some(rule) = rule
            && matches!(self.current(), Some(Stage::Classify | Stage::Revalidate))
        {
            self.note(Seen::Entry { entry, rule: *rule });
        }
        rule
    }
}

impl<E: Env> Env for Recorder<'_, E> {
    type Found = E::Found;
    type Datagram = E::Datagram;

    fn now(&self) -> Nanos {
        self.env.now()
    }

    fn precise_now(&self) -> Nanos {
        self.env.precise_now()
    }

    fn settings(&self) -> Settings {
        self.env.settings()
    }

    fn established(&self, key: &FlowKey) -> Option<E::Found> {
        self.env.established(key)
    }

    fn embryonic(&self, key: &FlowKey) -> Option<E::Found> {
        self.env.embryonic(key)
    }

    fn glance(&self, found: &E::Found) -> Glance {
        self.env.glance(found)
    }

    fn with_established<R>(&self, found: &E::Found, change: impl FnOnce(&mut Flow) -> R) -> R {
        let (result, before, after) = self.env.with_established(found, |flow| {
            let before = *flow;
            (change(flow), before, *flow)
        });
        self.note(Seen::Record { before, after });
        result
    }

    fn with_embryonic<R>(&self, found: &E::Found, change: impl FnOnce(&mut Flow) -> R) -> R {
        let (result, before, after) = self.env.with_embryonic(found, |flow| {
            let before = *flow;
            (change(flow), before, *flow)
        });
        self.note(Seen::Record { before, after });
        result
    }

    fn insert_embryonic(&self, key: &FlowKey, fill: impl FnOnce(&mut Flow)) -> Result<(), InsertError> {
        if self.current() != Some(Stage::Admit) {
            self.open(Stage::Admit);
        }
        let mut made = Flow::default();
        let inserted = self.env.insert_embryonic(key, |flow| {
            fill(flow);
            made = *flow;
        });
        self.note(Seen::Made(inserted.map(|()| made)));
        inserted
    }

    fn promote(&self, key: &FlowKey, found: &E::Found) -> Result<(), InsertError> {
        let promoted = self.env.promote(key, found);
        self.note(Seen::Established(promoted));
        promoted
    }

    fn retire(&self, key: &FlowKey) {
        self.env.retire(key);
    }

    fn remove(&self, key: &FlowKey) {
        self.env.remove(key);
        self.note(Seen::Removed);
    }

    fn fragment(&self, key: &FragmentKey) -> Option<E::Datagram> {
        self.env.fragment(key)
    }

    fn with_fragment<R>(&self, found: &E::Datagram, change: impl FnOnce(&mut Fragment) -> R) -> Option<R> {
        self.note(Seen::Datagram);
        self.env.with_fragment(found, change)
    }

    fn insert_fragment(&self, key: &FragmentKey, fill: impl FnOnce(&mut Fragment)) -> Result<(), InsertError> {
        self.env.insert_fragment(key, fill)
    }

    fn profile(&self, slot: u32, number: u8) -> Option<&Profile> {
        self.env.profile(slot, number)
    }

    fn secret(&self) -> [u64; 2] {
        self.env.secret()
    }

    fn with_room<R>(&self, work: impl FnOnce(&mut Room) -> R) -> Option<R> {
        self.env.with_room(work)
    }

    fn with_history<R>(&self, key: &FlowKey, change: impl FnOnce(&mut History) -> R) -> Option<R> {
        self.env.with_history(key, change)
    }

    fn insert_history(&self, key: &FlowKey, history: &History) -> Result<(), Reason> {
        self.env.insert_history(key, history)
    }

    fn digest(&self, start: &Start) -> Option<Digest> {
        self.env.digest(start)
    }

    fn insert_digest(&self, digest: &Digest) {
        self.env.insert_digest(digest);
    }

    fn route(&self, descriptor: &Descriptor) -> Result<u8, Reason> {
        let route = self.env.route(descriptor);
        self.note(Seen::Route(route));
        route
    }

    fn may_answer(&self, now: Nanos) -> bool {
        let may = self.env.may_answer(now);
        self.note(Seen::MayAnswer(may));
        may
    }

    fn count_one_sided(&self, rule: u16) -> u32 {
        let flows = self.env.count_one_sided(rule);
        self.note(Seen::OneSided { flows });
        flows
    }

    fn count(&self, place: u8, add: impl FnOnce(&mut Counters)) {
        self.env.count(place, add);
    }

    fn count_rule(&self, rule: u16, add: impl FnOnce(&mut RuleCounters)) {
        self.env.count_rule(rule, add);
    }

    fn notice(&self, notice: Notice) {
        self.env.notice(notice);
    }

    fn emit(&self, kind: event::Kind, now: Nanos, fill: impl FnOnce(&mut event::Record)) {
        self.env.emit(kind, now, fill);
    }

    fn confirmed<P: Packet>(&self, packet: &P, visit: &mut Visit, outcome: &mut Outcome) -> Step {
        let key = visit.descriptor.key;
        let found = self.env.established(&key).is_some();
        self.tracked(found, |outcome| pipeline::confirmed(packet, self, visit, outcome), &key, outcome)
    }

    fn unconfirmed<P: Packet>(&self, packet: &P, visit: &mut Visit, outcome: &mut Outcome) -> Step {
        let key = visit.descriptor.key;
        let found = self.env.embryonic(&key).is_some();
        self.tracked(found, |outcome| pipeline::unconfirmed(packet, self, visit, outcome), &key, outcome)
    }

    fn check<P: Packet>(&self, packet: &P, visit: &mut Visit) -> Result<(), Reason> {
        self.open(Stage::Normalize);
        let checked = check::check(packet, self, visit);
        self.note(Seen::Normalized(visit.edits));
        if let Err(reason) = checked {
            self.drop_for(reason);
        }
        checked
    }

    fn rewrite<P: Packet>(&self, packet: &P, visit: &mut Visit) -> Result<(), Reason> {
        self.open(Stage::Rewrite);
        let written = edit::rewrite(packet, self, visit);
        self.note(Seen::Normalized(visit.edits));
        if let Err(reason) = written {
            self.drop_for(reason);
        }
        written
    }

    fn revalidate<P: Packet>(&self, packet: &P, visit: &mut Visit, outcome: &mut Outcome) -> Step {
        self.open(Stage::Revalidate);
        let step = pipeline::revalidate(packet, self, visit, outcome);
        match step {
            Step::Done => self.settle_current(outcome.verdict),
            Step::First => self.note(Seen::Over),
            _ => {}
        }
        step
    }

    fn related<P: Packet>(&self, packet: &P, visit: &mut Visit, outcome: &mut Outcome) -> Step {
        self.open(Stage::Relate);
        let found = self.flow_of(&visit.descriptor.key);
        self.note(found.unwrap_or(Seen::NoFlow));
        let step = relate::related(packet, self, visit, outcome);
        match step {
            Step::Done => self.settle_current(outcome.verdict),
            Step::Stale => self.note(Seen::Stale),
            _ => {}
        }
        step
    }

    fn first<P: Packet>(&self, packet: &P, visit: &mut Visit, outcome: &mut Outcome) {
        self.open(Stage::Classify);
        pipeline::first(packet, self, visit, outcome);
        self.settle_current(outcome.verdict);
    }

    fn first_fragment<P: Packet>(&self, packet: &P, visit: &mut Visit, outcome: &mut Outcome) -> Step {
        self.open(Stage::Fragment);
        self.settled_if_done(stages::first(packet, self, visit, outcome), outcome)
    }

    fn later_fragment<P: Packet>(&self, packet: &P, visit: &mut Visit, outcome: &mut Outcome) -> Step {
        self.open(Stage::Fragment);
        self.settled_if_done(stages::later(packet, self, visit, outcome), outcome)
    }

    fn follow_fragment<P: Packet>(&self, packet: &P, visit: &mut Visit, outcome: &mut Outcome) -> Step {
        self.open(Stage::Fragment);
        if let Some(flow) = self.flow_of(&visit.descriptor.key) {
            self.note(flow);
        }
        self.settled_if_done(stages::follow(packet, self, visit, outcome), outcome)
    }

    fn remember_fragment<P: Packet>(&self, packet: &P, visit: &mut Visit, outcome: &mut Outcome) {
        if !outcome.verdict.passes() {
            let _ = stages::remember(packet, self.env, visit, outcome);
            return;
        }
        self.open(Stage::Fragment);
        let _ = stages::remember(packet, self, visit, outcome);
        self.settle_current(outcome.verdict);
    }

    fn report(&self, visit: &mut Visit, outcome: &mut Outcome) {
        // What an event says is no part of the packet's path.
        event::report::report(self.env, visit, outcome);
    }
}

impl<E: Env> Recorder<'_, E> {
    fn settled_if_done(&self, step: Step, outcome: &Outcome) -> Step {
        if matches!(step, Step::Done) {
            self.settle_current(outcome.verdict);
        }
        step
    }
}
