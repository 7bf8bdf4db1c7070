//! [`Env`] over the maps and helpers of the kernel: what is more than a lookup or the call of a stage has its subject's file.

mod answers;
mod beside;
mod datagrams;
mod entries;
mod events;
mod evidence;
mod flows;
mod limits;
mod policies;
mod settings;
mod visits;
mod words;

use aya_ebpf::{
    bindings::BPF_ANY,
    helpers::generated::{bpf_ktime_get_coarse_ns, bpf_ktime_get_ns},
};
use firewall_common::{
    account::Outcome,
    application::Applications,
    counter::{Counters, RuleCounters},
    env::{Env, Glance, InsertError, Notice, Removed, Settings},
    event::{self, Record},
    evidence::{Evidence, Stranger, Table},
    flow::{Address, Flow, FlowKey},
    fragment::{Fragment, FragmentKey},
    guard::Guard,
    limit::{Counts, Mark, Source, Word},
    normalize::{
        Profile, Room,
        history::History,
        retransmission::{Digest, Start},
    },
    packet::Packet,
    parse::Descriptor,
    pipeline::Step,
    quality::Quality,
    reason::Reason,
    time::Nanos,
    visit::Visit,
};

use self::words::on_stack;
use crate::{
    maps::{self, LockedFlow},
    route,
    stages::Stages,
};

/// The world of one program run.
pub struct Kernel<'a, C> {
    context: &'a C,
}

impl<'a, C> Kernel<'a, C> {
    #[inline(always)]
    pub fn new(context: &'a C) -> Self {
        Self { context }
    }
}

impl<C: Stages> Env for Kernel<'_, C> {
    /// Points into either table; which one, the caller knows.
    type Found = *mut Flow;
    type Datagram = *mut Fragment;
    type Counts = *mut Counts;

    #[inline(always)]
    fn now(&self) -> Nanos {
        // The coarse clock is that of the last timer tick, a few milliseconds ago at most: no timeout is as short, and it is a plain load
        // where the precise one reads a counter.
        // SAFETY: takes nothing, cannot fail.
        Nanos(unsafe { bpf_ktime_get_coarse_ns() })
    }

    #[inline(always)]
    fn precise_now(&self) -> Nanos {
        // SAFETY: takes nothing, cannot fail.
        Nanos(unsafe { bpf_ktime_get_ns() })
    }

    #[inline(always)]
    fn settings(&self) -> Settings {
        settings::read()
    }

    #[inline(always)]
    fn established(&self, key: &FlowKey) -> Option<*mut Flow> {
        maps::ESTABLISHED.get_ptr_mut(on_stack(key)).map(<*mut LockedFlow>::cast)
    }

    #[inline(always)]
    fn embryonic(&self, key: &FlowKey) -> Option<*mut Flow> {
        maps::EMBRYONIC.get_ptr_mut(on_stack(key))
    }

    #[inline(always)]
    fn glance(&self, found: &*mut Flow) -> Glance {
        flows::glance(found)
    }

    #[inline(always)]
    fn with_established<R>(&self, found: &*mut Flow, change: impl FnOnce(&mut Flow) -> R) -> R {
        flows::with_established(found, change)
    }

    #[inline(always)]
    fn with_embryonic<R>(&self, found: &*mut Flow, change: impl FnOnce(&mut Flow) -> R) -> R {
        flows::with_embryonic(found, change)
    }

    #[inline(always)]
    fn insert_embryonic(&self, key: &FlowKey, fill: impl FnOnce(&mut Flow)) -> Result<(), InsertError> {
        flows::insert_embryonic(key, fill)
    }

    #[inline(always)]
    fn promote(&self, key: &FlowKey, found: &*mut Flow) -> Result<(), InsertError> {
        flows::promote(key, found)
    }

    #[inline(always)]
    fn retire(&self, key: &FlowKey) {
        // Absence is as good: the kernel may have evicted it.
        let _ = maps::EMBRYONIC.remove(on_stack(key));
    }

    #[inline(always)]
    fn remove(&self, key: &FlowKey) -> Removed {
        flows::remove(key)
    }

    #[inline(always)]
    fn fragment(&self, key: &FragmentKey) -> Option<*mut Fragment> {
        maps::FRAGMENTS.get_ptr_mut(on_stack(key))
    }

    #[inline(always)]
    fn with_fragment<R>(&self, found: &*mut Fragment, change: impl FnOnce(&mut Fragment) -> R) -> Option<R> {
        datagrams::with(found, change)
    }

    #[inline(always)]
    fn insert_fragment(&self, key: &FragmentKey, fill: impl FnOnce(&mut Fragment)) -> Result<(), InsertError> {
        datagrams::insert(key, fill)
    }

    #[inline(always)]
    fn profile(&self, slot: u32, number: u8) -> Option<&Profile> {
        policies::profile(slot, number)
    }

    #[inline(always)]
    fn applications(&self, slot: u32) -> Option<&Applications> {
        maps::APPLICATIONS.get(slot)
    }

    #[inline(always)]
    fn secret(&self) -> [u64; 2] {
        settings::secret()
    }

    #[inline(always)]
    fn with_room<R>(&self, work: impl FnOnce(&mut Room) -> R) -> Option<R> {
        // SAFETY: this CPU's own element; a program is not interrupted by another run on its CPU.
        maps::ROOM.get_ptr_mut(0).map(|room| work(unsafe { &mut *room }))
    }

    #[inline(always)]
    fn with_history<R>(&self, key: &FlowKey, change: impl FnOnce(&mut History) -> R) -> Option<R> {
        beside::with_history(key, change)
    }

    #[inline(always)]
    fn insert_history(&self, key: &FlowKey, history: &History) -> Result<(), Reason> {
        beside::insert_history(key, history)
    }

    #[inline(always)]
    fn with_quality<R>(&self, key: &FlowKey, make: bool, change: impl FnOnce(&mut Quality) -> R) -> Option<R> {
        beside::with_quality(key, make, change)
    }

    #[inline(always)]
    fn with_guard<R>(&self, key: &FlowKey, change: impl FnOnce(&mut Guard) -> R) -> Option<R> {
        beside::with_guard(key, change)
    }

    #[inline(always)]
    fn insert_guard(&self, key: &FlowKey) -> Result<(), Reason> {
        beside::insert_guard(key)
    }

    #[inline(always)]
    fn digest(&self, start: &Start) -> Option<Digest> {
        // SAFETY: the value is copied at once; what another CPU could do to it meanwhile is to put another segment's in its place.
        unsafe { maps::SEGMENTS.get(start).copied() }
    }

    #[inline(always)]
    fn insert_digest(&self, digest: &Digest) {
        // A digest that finds no room is one that was forgotten at once.
        let _ = maps::SEGMENTS.insert(digest.start, digest, u64::from(BPF_ANY));
    }

    #[inline(always)]
    fn route(&self, descriptor: &Descriptor) -> Result<u8, Reason> {
        route::zone(self.context, self.context.interface(), descriptor)
    }

    #[inline(always)]
    fn may_answer(&self, now: Nanos) -> bool {
        answers::may_answer(now)
    }

    #[inline(always)]
    fn count_one_sided(&self, rule: u16) -> u32 {
        limits::count_one_sided(rule)
    }

    #[inline(always)]
    fn counts_of_rule(&self, rule: u16) -> Option<*mut Counts> {
        maps::LIMITS.get_ptr_mut(u32::from(rule))
    }

    #[inline(always)]
    fn counts_of_source(&self, source: &Source, make: bool) -> Option<*mut Counts> {
        limits::of_source(source, make)
    }

    #[inline(always)]
    fn read_count(&self, counts: &*mut Counts, word: Word) -> u32 {
        limits::read_count(counts, word)
    }

    #[inline(always)]
    fn add_to_count(&self, counts: &*mut Counts, word: Word) {
        limits::add_to_count(counts, word);
    }

    #[inline(always)]
    fn read_mark(&self, counts: &*mut Counts, mark: Mark) -> u64 {
        limits::read_mark(counts, mark)
    }

    #[inline(always)]
    fn exchange_mark(&self, counts: &*mut Counts, mark: Mark, from: u64, to: u64) -> u64 {
        limits::exchange_mark(counts, mark, from, to)
    }

    #[inline(always)]
    fn add_to_mark(&self, counts: &*mut Counts, mark: Mark) -> u64 {
        limits::add_to_mark(counts, mark)
    }

    #[inline(always)]
    fn count(&self, place: u8, add: impl FnOnce(&mut Counters)) {
        if let Some(counters) = maps::COUNTERS.get_ptr_mut(u32::from(place)) {
            // SAFETY: this CPU's own element.
            unsafe { add(&mut *counters) };
        }
    }

    #[inline(always)]
    fn count_rule(&self, rule: u16, add: impl FnOnce(&mut RuleCounters)) {
        if let Some(counters) = maps::RULE_COUNTERS.get_ptr_mut(u32::from(rule)) {
            // SAFETY: this CPU's own element.
            unsafe { add(&mut *counters) };
        }
    }

    #[inline(always)]
    fn notice(&self, notice: Notice) {
        events::notice(self.context, notice, self.now());
    }

    #[inline(always)]
    fn check<P: Packet>(&self, _packet: &P, visit: &mut Visit) -> Result<(), Reason> {
        self.context.check(visit)
    }

    #[inline(always)]
    fn guard<P: Packet>(&self, _packet: &P, visit: &mut Visit) -> Result<(), Reason> {
        self.context.guard(visit)
    }

    #[inline(always)]
    fn teach_guard(&self, visit: &mut Visit) {
        self.context.teach_guard(visit);
    }

    #[inline(always)]
    fn remember(&self, visit: &Visit, last_ack: u32) {
        self.context.remember(visit, last_ack);
    }

    #[inline(always)]
    fn observe<P: Packet>(&self, _packet: &P, visit: &mut Visit) {
        self.context.observe(visit);
    }

    #[inline(always)]
    fn look<P: Packet>(&self, _packet: &P, visit: &mut Visit) {
        self.context.look(visit);
    }

    #[inline(always)]
    fn learn<P: Packet>(&self, _packet: &P, visit: &mut Visit) {
        self.context.learn(visit);
    }

    #[inline(always)]
    fn rewrite<P: Packet>(&self, _packet: &P, visit: &mut Visit) -> Result<(), Reason> {
        self.context.rewrite(visit)
    }

    #[inline(always)]
    fn aside<R>(&self, visit: &Visit, with: impl FnOnce(&mut Visit) -> R) -> Option<R> {
        visits::aside(visit, with)
    }

    #[inline(always)]
    fn confirmed<P: Packet>(&self, _packet: &P, visit: &mut Visit, outcome: &mut Outcome) -> Step {
        self.context.confirmed(visit, outcome)
    }

    #[inline(always)]
    fn unconfirmed<P: Packet>(&self, _packet: &P, visit: &mut Visit, outcome: &mut Outcome) -> Step {
        self.context.unconfirmed(visit, outcome)
    }

    #[inline(always)]
    fn revalidate<P: Packet>(&self, _packet: &P, visit: &mut Visit, outcome: &mut Outcome) -> Step {
        self.context.revalidate(visit, outcome)
    }

    #[inline(always)]
    fn related<P: Packet>(&self, _packet: &P, visit: &mut Visit, outcome: &mut Outcome) -> Step {
        self.context.related(visit, outcome)
    }

    #[inline(always)]
    fn first<P: Packet>(&self, _packet: &P, visit: &mut Visit, outcome: &mut Outcome) {
        self.context.first(visit, outcome);
    }

    #[inline(always)]
    fn first_fragment<P: Packet>(&self, _packet: &P, visit: &mut Visit, outcome: &mut Outcome) -> Step {
        self.context.first_fragment(visit, outcome)
    }

    #[inline(always)]
    fn later_fragment<P: Packet>(&self, _packet: &P, visit: &mut Visit, outcome: &mut Outcome) -> Step {
        self.context.later_fragment(visit, outcome)
    }

    #[inline(always)]
    fn follow_fragment<P: Packet>(&self, _packet: &P, visit: &mut Visit, outcome: &mut Outcome) -> Step {
        self.context.follow_fragment(visit, outcome)
    }

    #[inline(always)]
    fn remember_fragment<P: Packet>(&self, _packet: &P, visit: &mut Visit, outcome: &mut Outcome) {
        self.context.remember_fragment(visit, outcome);
    }

    #[inline(always)]
    fn emit(&self, kind: event::Kind, logged: bool, now: Nanos, fill: impl FnOnce(&mut Record)) {
        events::emit(kind, logged, now, fill);
    }

    #[inline(always)]
    fn with_evidence<R>(&self, table: Table, key: &FlowKey, make: bool, now: Nanos, change: impl FnOnce(&mut Evidence) -> R) -> Option<R> {
        evidence::with_evidence(table, key, make, now, change)
    }

    #[inline(always)]
    fn with_stranger<R>(&self, source: &Address, make: bool, now: Nanos, change: impl FnOnce(&mut Stranger) -> R) -> Option<R> {
        evidence::with_stranger(source, make, now, change)
    }

    #[inline(always)]
    fn refused(&self, visit: &mut Visit, outcome: &mut Outcome) {
        self.context.refused(visit, outcome);
    }

    #[inline(always)]
    fn report(&self, visit: &mut Visit, outcome: &mut Outcome) {
        self.context.report(visit, outcome);
    }
}
