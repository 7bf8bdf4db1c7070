//! A world that notes what the stages ask of it and what they make of the answers.

use super::{Seen, Stage, recorder::Recorder};
use crate::{
    account::Outcome,
    application::{self, Applications, Sight},
    classify::Policies,
    counter::{Counters, RuleCounters},
    env::{Env, Glance, InsertError, Notice, Removed, Settings},
    event,
    evidence::{self, Evidence, Stranger},
    flow::{Address, Flow, FlowKey},
    fragment::{Fragment, FragmentKey, stages},
    guard::{self, Guard},
    hours::{self, Week},
    limit::{Mark, Source, Word},
    normalize::{
        Profile, Room, check, edit,
        history::History,
        retransmission::{Digest, Start},
    },
    packet::Packet,
    parse::Descriptor,
    pipeline::{self, Step},
    quality::Quality,
    reason::Reason,
    relate,
    rule::{Block, Dimension, Row, Rule},
    time::Nanos,
    visit::Visit,
};

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

    fn week(&self, slot: u32, schedule: u16) -> Option<&Week> {
        self.env.week(slot, schedule)
    }

    fn week_began(&self) -> Nanos {
        self.env.week_began()
    }

    fn block(&self, slot: u32, block: u16) -> Option<&Block> {
        self.env.block(slot, block)
    }

    fn rule(&self, slot: u32, entry: u32) -> Option<&Rule> {
        let rule = self.env.rule(slot, entry);
        if let Some(rule) = rule
            && matches!(self.current(), Some(Stage::Classify | Stage::Revalidate))
            && self.is_in_force(slot, rule)
        {
            self.note(Seen::Entry { entry, rule: *rule });
        }
        rule
    }
}

impl<E: Env> Recorder<'_, E> {
    /// False for an entry that the search only passes over: its time is over, or it is not in its hours.
    fn is_in_force(&self, slot: u32, rule: &Rule) -> bool {
        let now = self.env.now();
        hours::apply(self.env, slot, rule, now) == Some(true) && (rule.expires == 0 || now.0 < rule.expires)
    }
}

impl<E: Env> Env for Recorder<'_, E> {
    type Found = E::Found;
    type Datagram = E::Datagram;
    type Counts = E::Counts;

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

    fn remove(&self, key: &FlowKey) -> Removed {
        let removed = self.env.remove(key);
        self.note(Seen::Removed);
        removed
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

    fn applications(&self, slot: u32) -> Option<&Applications> {
        self.env.applications(slot)
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

    fn with_quality<R>(&self, key: &FlowKey, make: bool, change: impl FnOnce(&mut Quality) -> R) -> Option<R> {
        self.env.with_quality(key, make, change)
    }

    fn with_guard<R>(&self, key: &FlowKey, change: impl FnOnce(&mut Guard) -> R) -> Option<R> {
        self.env.with_guard(key, change)
    }

    fn insert_guard(&self, key: &FlowKey) -> Result<(), Reason> {
        self.env.insert_guard(key)
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

    fn counts_of_rule(&self, rule: u16) -> Option<E::Counts> {
        self.env.counts_of_rule(rule)
    }

    fn counts_of_source(&self, source: &Source, make: bool) -> Option<E::Counts> {
        self.env.counts_of_source(source, make)
    }

    fn read_count(&self, counts: &E::Counts, word: Word) -> u32 {
        self.env.read_count(counts, word)
    }

    fn add_to_count(&self, counts: &E::Counts, word: Word) {
        self.env.add_to_count(counts, word);
    }

    fn read_mark(&self, counts: &E::Counts, mark: Mark) -> u64 {
        self.env.read_mark(counts, mark)
    }

    fn exchange_mark(&self, counts: &E::Counts, mark: Mark, from: u64, to: u64) -> u64 {
        self.env.exchange_mark(counts, mark, from, to)
    }

    fn add_to_mark(&self, counts: &E::Counts, mark: Mark) -> u64 {
        self.env.add_to_mark(counts, mark)
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

    fn emit(&self, kind: event::Kind, logged: bool, now: Nanos, fill: impl FnOnce(&mut event::Record)) {
        self.env.emit(kind, logged, now, fill);
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

    fn guard<P: Packet>(&self, packet: &P, visit: &mut Visit) -> Result<(), Reason> {
        self.open(Stage::Guard);
        let checked = guard::check(packet, self.env, visit);
        self.note(Seen::Guarded(visit.guard));
        if let Err(reason) = checked {
            self.drop_for(reason);
        }
        checked
    }

    fn teach_guard(&self, visit: &mut Visit) {
        guard::learn(self.env, visit);
        if visit.guard.turned != 0 {
            self.note(Seen::Guarded(visit.guard));
        }
    }

    fn look<P: Packet>(&self, packet: &P, visit: &mut Visit) {
        application::look(packet, self.env, visit);
        if visit.sight != Sight::NOTHING {
            self.open(Stage::Recognize);
            self.note(Seen::Sight(visit.sight));
        }
    }

    fn learn<P: Packet>(&self, packet: &P, visit: &mut Visit) {
        let key = visit.descriptor.key;
        let known = || self.flow_of(&key).map_or(0, |seen| if let Seen::Flow { flow, .. } = seen { flow.application } else { 0 });
        let before = known();
        application::learn(packet, self.env, visit);
        let after = known();
        if after != before {
            self.note(Seen::Recognized(after));
        }
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

    fn with_evidence<R>(
        &self,
        table: evidence::Table,
        key: &FlowKey,
        make: bool,
        now: Nanos,
        change: impl FnOnce(&mut Evidence) -> R,
    ) -> Option<R> {
        self.env.with_evidence(table, key, make, now, change)
    }

    fn with_stranger<R>(&self, source: &Address, make: bool, now: Nanos, change: impl FnOnce(&mut Stranger) -> R) -> Option<R> {
        self.env.with_stranger(source, make, now, change)
    }

    fn refused(&self, visit: &mut Visit, outcome: &mut Outcome) {
        // What is remembered of a refusal is no part of the packet's path.
        evidence::note(self.env, visit, outcome);
    }
}
