//! [`Env`] over the tables of a [`World`].

use std::{cell::Cell, rc::Rc};

use super::{Record, World, changed, limits};
use crate::{
    application::Applications,
    counter::{Counters, RuleCounters},
    env::{Env, Glance, InsertError, Notice, Removed, Settings},
    event,
    evidence::{self, Evidence, Stranger},
    flow::{Address, Flow, FlowKey},
    fragment::{Fragment, FragmentKey},
    guard::Guard,
    limit::{Counts, Mark, Source, Word},
    normalize::{
        Profile, Room,
        history::History,
        retransmission::{Digest, Start},
    },
    parse::Descriptor,
    quality::Quality,
    reason::Reason,
    time::Nanos,
};

impl Env for World {
    type Found = Record;
    type Datagram = Rc<Cell<Fragment>>;
    type Counts = Rc<Cell<Counts>>;

    fn now(&self) -> Nanos {
        self.clock.get()
    }

    fn settings(&self) -> Settings {
        let config = self.config.get();
        Settings {
            generation: config.generation,
            flags: config.flags,
            timeout_scale: config.timeout_scale,
            event_kinds: config.event_kinds,
        }
    }

    fn established(&self, key: &FlowKey) -> Option<Record> {
        self.established.borrow_mut().get(key)
    }

    fn embryonic(&self, key: &FlowKey) -> Option<Record> {
        self.embryonic.borrow_mut().get(key)
    }

    fn glance(&self, found: &Record) -> Glance {
        let flow = found.get();
        Glance { generation: flow.generation, entry: flow.entry, features: flow.features, marks: flow.marks }
    }

    fn with_established<R>(&self, found: &Record, with: impl FnOnce(&mut Flow) -> R) -> R {
        changed(found, with)
    }

    fn with_embryonic<R>(&self, found: &Record, with: impl FnOnce(&mut Flow) -> R) -> R {
        changed(found, with)
    }

    fn insert_embryonic(&self, key: &FlowKey, fill: impl FnOnce(&mut Flow)) -> Result<(), InsertError> {
        let mut flow = Flow::default();
        fill(&mut flow);
        let mut table = self.embryonic.borrow_mut();
        if table.entries.contains_key(key) {
            return Err(InsertError::Exists);
        }
        if self.faults.get().embryonic { Err(InsertError::Refused) } else { table.insert(*key, Rc::new(Cell::new(flow))) }
    }

    fn promote(&self, key: &FlowKey, found: &Record) -> Result<(), InsertError> {
        let copy = found.get();
        if let Some(meanwhile) = self.while_promoting.take() {
            meanwhile(self);
        }
        let mut table = self.established.borrow_mut();
        if table.entries.contains_key(key) {
            return Err(InsertError::Exists);
        }
        if self.faults.get().established {
            return Err(InsertError::Refused);
        }
        table.insert(*key, Rc::new(Cell::new(copy)))
    }

    fn retire(&self, key: &FlowKey) {
        self.embryonic.borrow_mut().entries.remove(key);
    }

    fn remove(&self, key: &FlowKey) -> Removed {
        let established = self.established.borrow_mut().entries.remove(key).is_some();
        let embryonic = self.embryonic.borrow_mut().entries.remove(key).is_some();
        self.beside.remove(key);
        match (established, embryonic) {
            (true, _) => Removed::Established,
            (false, true) => Removed::Embryonic,
            (false, false) => Removed::Nothing,
        }
    }

    fn fragment(&self, key: &FragmentKey) -> Option<Rc<Cell<Fragment>>> {
        self.fragments.borrow_mut().get(key)
    }

    fn with_fragment<R>(&self, found: &Rc<Cell<Fragment>>, change: impl FnOnce(&mut Fragment) -> R) -> Option<R> {
        if self.faults.get().busy {
            return None;
        }
        Some(changed(found, change))
    }

    fn insert_fragment(&self, key: &FragmentKey, fill: impl FnOnce(&mut Fragment)) -> Result<(), InsertError> {
        let mut table = self.fragments.borrow_mut();
        if table.entries.contains_key(key) {
            return Err(InsertError::Exists);
        }
        let mut fragment = Fragment::default();
        fill(&mut fragment);
        if self.faults.get().fragments { Err(InsertError::Refused) } else { table.insert(*key, Rc::new(Cell::new(fragment))) }
    }

    fn profile(&self, slot: u32, number: u8) -> Option<&Profile> {
        self.slots[slot as usize & 1].profile(number)
    }

    fn applications(&self, slot: u32) -> Option<&Applications> {
        Some(&self.slots[slot as usize & 1].applications)
    }

    fn secret(&self) -> [u64; 2] {
        self.config.get().secret
    }

    fn with_room<R>(&self, work: impl FnOnce(&mut Room) -> R) -> Option<R> {
        Some(work(&mut self.room.borrow_mut()))
    }

    fn with_history<R>(&self, key: &FlowKey, change: impl FnOnce(&mut History) -> R) -> Option<R> {
        self.beside.histories.borrow_mut().get_mut(key).map(change)
    }

    fn insert_history(&self, key: &FlowKey, history: &History) -> Result<(), Reason> {
        if self.faults.get().histories {
            return Err(Reason::HistoryInsertFailed);
        }
        self.beside.histories.borrow_mut().insert(*key, *history);
        Ok(())
    }

    fn with_quality<R>(&self, key: &FlowKey, make: bool, change: impl FnOnce(&mut Quality) -> R) -> Option<R> {
        let mut qualities = self.beside.qualities.borrow_mut();
        if make && !self.faults.get().qualities {
            qualities.entry(*key).or_default();
        }
        qualities.get_mut(key).map(change)
    }

    fn with_guard<R>(&self, key: &FlowKey, change: impl FnOnce(&mut Guard) -> R) -> Option<R> {
        self.beside.guards.borrow_mut().get_mut(key).map(change)
    }

    fn insert_guard(&self, key: &FlowKey) -> Result<(), Reason> {
        if self.faults.get().guards {
            return Err(Reason::GuardInsertFailed);
        }
        self.beside.guards.borrow_mut().entry(*key).or_default();
        Ok(())
    }

    fn digest(&self, start: &Start) -> Option<Digest> {
        self.digests.borrow_mut().get(start)
    }

    fn insert_digest(&self, digest: &Digest) {
        // A table that forgets always has room.
        let _ = self.digests.borrow_mut().insert(digest.start, *digest);
    }

    fn route(&self, descriptor: &Descriptor) -> Result<u8, Reason> {
        (self.routes)(descriptor)
    }

    fn may_answer(&self, now: Nanos) -> bool {
        let (since, answered) = self.answered.get();
        let (since, answered) = if now.since(since).0 >= 1_000_000_000 { (now, 0) } else { (since, answered) };
        let may = answered < u64::from(self.config.get().reject_rate);
        self.answered.set((since, answered + u64::from(may)));
        may
    }

    fn count_one_sided(&self, rule: u16) -> u32 {
        self.limits.count_one_sided(rule)
    }

    fn counts_of_rule(&self, rule: u16) -> Option<Rc<Cell<Counts>>> {
        Some(self.limits.of_rule(rule))
    }

    fn counts_of_source(&self, source: &Source, make: bool) -> Option<Rc<Cell<Counts>>> {
        self.limits.of_source(source, make && !self.faults.get().sources)
    }

    fn read_count(&self, counts: &Rc<Cell<Counts>>, word: Word) -> u32 {
        limits::read_count(counts, word)
    }

    fn add_to_count(&self, counts: &Rc<Cell<Counts>>, word: Word) {
        limits::add_to_count(counts, word);
    }

    fn read_mark(&self, counts: &Rc<Cell<Counts>>, mark: Mark) -> u64 {
        limits::read_mark(counts, mark)
    }

    fn exchange_mark(&self, counts: &Rc<Cell<Counts>>, mark: Mark, from: u64, to: u64) -> u64 {
        limits::exchange_mark(counts, mark, from, to)
    }

    fn add_to_mark(&self, counts: &Rc<Cell<Counts>>, mark: Mark) -> u64 {
        limits::add_to_mark(counts, mark)
    }

    fn count(&self, place: u8, add: impl FnOnce(&mut Counters)) {
        add(self.counters.borrow_mut().entry(place).or_default());
    }

    fn count_rule(&self, rule: u16, add: impl FnOnce(&mut RuleCounters)) {
        add(self.rules.borrow_mut().entry(rule).or_default());
    }

    fn notice(&self, notice: Notice) {
        self.notices.borrow_mut().push(notice);
    }

    fn emit(&self, kind: event::Kind, logged: bool, now: Nanos, fill: impl FnOnce(&mut event::Record)) {
        let (mut rates, mut tally) = (self.event_rates.get(), self.tally.get());
        let admitted = rates[kind.rate_place(logged) as usize].admits(now, self.config.get().event_rate);
        if admitted {
            let mut record = event::Record::default();
            fill(&mut record);
            self.events.borrow_mut().push(record);
            tally.sent += 1;
        } else {
            tally.limited += 1;
        }
        self.event_rates.set(rates);
        self.tally.set(tally);
    }

    fn with_evidence<R>(
        &self,
        table: evidence::Table,
        key: &FlowKey,
        make: bool,
        now: Nanos,
        change: impl FnOnce(&mut Evidence) -> R,
    ) -> Option<R> {
        self.refusals.with_evidence(table, key, make, now, change)
    }

    fn with_stranger<R>(&self, source: &Address, make: bool, now: Nanos, change: impl FnOnce(&mut Stranger) -> R) -> Option<R> {
        self.refusals.with_stranger(source, make, now, change)
    }
}
