//! [`Env`] over the maps and helpers of the kernel. The flow's lock lives here.

use core::{
    borrow::Borrow,
    ffi::c_void,
    intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd},
    mem::MaybeUninit,
    ptr,
    sync::atomic::{Ordering, compiler_fence},
};

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    helpers::generated::{bpf_fib_lookup, bpf_ktime_get_coarse_ns, bpf_ktime_get_ns, bpf_map_update_elem, bpf_spin_lock, bpf_spin_unlock},
    maps::{HashMap, LruHashMap, lpm_trie::Key},
};
use aya_log_ebpf::warn;
use firewall_common::{
    account::Outcome,
    application::Applications,
    classify::Policies,
    counter::{Counters, RuleCounters},
    env::{Arrival, Env, Glance, InsertError, Notice, Removed, Settings},
    event::{self, Record},
    evidence::{self, Evidence, Stranger},
    flow::{Address, Flow, FlowKey},
    fragment::{Fragment, FragmentKey},
    guard::Guard,
    hours::{MAX_SCHEDULES, Week},
    limit::{Counts, Mark, Source, Word},
    normalize::{
        Profile, Room,
        history::History,
        profile::MAX_PROFILES,
        retransmission::{Digest, Start},
    },
    packet::Packet,
    parse::Descriptor,
    pipeline::Step,
    quality::Quality,
    reason::Reason,
    rule::{AddressPrefix, Block, Dimension, MAX_BLOCKS, MAX_ENTRIES, MAX_ROWS, Row, Rule, ServicePrefix, ZONE_SELF},
    time::Nanos,
    visit::Visit,
};

use crate::{
    lock,
    maps::{self, LockedFlow, LockedGuard},
    route,
    stages::Stages,
};

/// Nanoseconds between two messages of the same kind.
const NOTICE_INTERVAL: u64 = 1_000_000_000;
const EEXIST: i32 = -17;

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

impl<C: Stages> Kernel<'_, C> {
    /// A packet's visit, begun now; `None` when the map it lies in is not as it must be.
    #[inline(always)]
    pub fn visit(&self, arrival: Arrival) -> Option<&'static mut Visit> {
        let visit = maps::VISITS.get_ptr_mut(u32::from(arrival.egress))?;
        // Word by word: the compiler would make one call of it, to a loop over bytes.
        let mut word = 0;
        while word < Visit::CLEARED {
            // SAFETY: this CPU's own element, see the map for why nobody else uses it meanwhile.
            unsafe { ptr::write_volatile(visit.cast::<u64>().add(word), 0) };
            word += 1;
        }
        // SAFETY: as above; an earlier packet's visit is a visit.
        let visit = unsafe { &mut *visit };
        visit.begin(arrival, self.settings(), self.now());
        Some(visit)
    }
}

impl<C: Stages> Policies for Kernel<'_, C> {
    #[inline(always)]
    fn address_class(&self, slot: u32, dimension: Dimension, address: &Address) -> u32 {
        let key = Key::new(AddressPrefix::BITS, AddressPrefix { slot: slot as u8, dimension: dimension as u8, address: address.octets() });
        maps::ADDRESSES.get(&key).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn service_class(&self, slot: u32, protocol: u8, service: [u8; 2]) -> u32 {
        let key = Key::new(ServicePrefix::BITS, ServicePrefix { slot: slot as u8, protocol, port: service });
        maps::SERVICES.get(&key).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn row(&self, slot: u32, row: u32) -> Option<&Row> {
        if row >= MAX_ROWS as u32 {
            return None;
        }
        maps::ROWS.get(slot * MAX_ROWS as u32 + row)
    }

    #[inline(always)]
    fn block(&self, slot: u32, block: u16) -> Option<&Block> {
        maps::BLOCKS.get(slot * MAX_BLOCKS as u32 + u32::from(block))
    }

    #[inline(always)]
    fn rule(&self, slot: u32, entry: u32) -> Option<&Rule> {
        if entry >= MAX_ENTRIES as u32 {
            return None;
        }
        maps::RULES.get(slot * MAX_ENTRIES as u32 + entry)
    }

    #[inline(always)]
    fn week(&self, slot: u32, schedule: u16) -> Option<&Week> {
        if usize::from(schedule) >= MAX_SCHEDULES {
            return None;
        }
        maps::SCHEDULES.get(slot * MAX_SCHEDULES as u32 + u32::from(schedule))
    }

    #[inline(always)]
    fn week_began(&self) -> Nanos {
        match maps::CONFIG.get_ptr(0) {
            // SAFETY: the pointer is to the map's only element.
            Some(config) => Nanos(unsafe { ptr::read_volatile(&raw const (*config).week_began) }),
            None => Nanos(0),
        }
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
        // Each field is one aligned word that userspace stores at once; volatile, so that each is read once.
        match maps::CONFIG.get_ptr(0) {
            // SAFETY: the pointer is to the map's only element.
            Some(config) => unsafe {
                Settings {
                    generation: ptr::read_volatile(&raw const (*config).generation),
                    flags: ptr::read_volatile(&raw const (*config).flags),
                    timeout_scale: ptr::read_volatile(&raw const (*config).timeout_scale),
                    event_kinds: ptr::read_volatile(&raw const (*config).event_kinds),
                }
            },
            None => Settings::default(),
        }
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
        // SAFETY: the pointer came from a lookup in this program run; the fields are aligned words.
        unsafe {
            Glance {
                generation: ptr::read_volatile(&raw const (**found).generation),
                entry: ptr::read_volatile(&raw const (**found).entry),
                features: ptr::read_volatile(&raw const (**found).features),
                marks: ptr::read_volatile(&raw const (**found).marks),
            }
        }
    }

    #[inline(always)]
    fn with_established<R>(&self, found: &*mut Flow, change: impl FnOnce(&mut Flow) -> R) -> R {
        let flow = *found;
        // SAFETY: the pointer came from a lookup in the established table, whose values begin with the lock; between the two calls no
        // other CPU is in such a section of this record. `change` calls no helper and does not touch the lock.
        unsafe {
            let lock = &raw mut (*flow.cast::<LockedFlow>()).lock;
            if cfg!(not(feature = "unlocked")) {
                bpf_spin_lock(lock);
            }
            let result = change(&mut *flow);
            if cfg!(not(feature = "unlocked")) {
                bpf_spin_unlock(lock);
            }
            result
        }
    }

    #[inline(always)]
    fn with_embryonic<R>(&self, found: &*mut Flow, change: impl FnOnce(&mut Flow) -> R) -> R {
        // As a lock would, the fences keep the compiler from moving loads over them; without, it keeps so many values that they do not fit
        // the stack.
        compiler_fence(Ordering::SeqCst);
        // SAFETY: the pointer came from a lookup in this program run. Another CPU may change the record too; see firewall_common::flow.
        let result = unsafe { change(&mut **found) };
        compiler_fence(Ordering::SeqCst);
        result
    }

    #[inline(always)]
    fn insert_embryonic(&self, key: &FlowKey, fill: impl FnOnce(&mut Flow)) -> Result<(), InsertError> {
        let Some(flow) = maps::SCRATCH.get_ptr_mut(0) else { return Err(InsertError::Refused) };
        // SAFETY: this CPU's own element; a program is not interrupted by another run on its CPU.
        let flow = unsafe {
            clear_words(flow);
            &mut *flow
        };
        fill(flow);
        let flow: &Flow = flow;
        inserted(maps::EMBRYONIC.insert(on_stack(key), flow, u64::from(BPF_NOEXIST)))
    }

    #[inline(always)]
    fn promote(&self, key: &FlowKey, found: &*mut Flow) -> Result<(), InsertError> {
        // The kernel copies the record straight from one map to the other; its lock begins released.
        // SAFETY: key and value have the established table's sizes.
        let status = unsafe {
            bpf_map_update_elem(
                (&raw const maps::ESTABLISHED).cast_mut().cast::<c_void>(),
                ptr::from_ref(&on_stack(key)).cast::<c_void>(),
                (*found).cast_const().cast::<c_void>(),
                u64::from(BPF_NOEXIST),
            )
        };
        inserted(if status == 0 { Ok(()) } else { Err(status as i32) })
    }

    #[inline(always)]
    fn retire(&self, key: &FlowKey) {
        // Absence is as good: the kernel may have evicted it.
        let _ = maps::EMBRYONIC.remove(on_stack(key));
    }

    #[inline(always)]
    fn remove(&self, key: &FlowKey) -> Removed {
        match remove_everywhere(key) {
            ESTABLISHED => Removed::Established,
            EMBRYONIC => Removed::Embryonic,
            _ => Removed::Nothing,
        }
    }

    #[inline(always)]
    fn fragment(&self, key: &FragmentKey) -> Option<*mut Fragment> {
        maps::FRAGMENTS.get_ptr_mut(on_stack(key))
    }

    #[inline(always)]
    fn with_fragment<R>(&self, found: &*mut Fragment, change: impl FnOnce(&mut Fragment) -> R) -> Option<R> {
        let fragment = *found;
        let held = lock::Held::take(fragment)?;
        // SAFETY: the pointer came from a lookup in this program run, and its lock is held; see firewall_common::fragment::datagram for
        // what may happen to it all the same.
        let result = unsafe { change(&mut *fragment) };
        held.release();
        Some(result)
    }

    #[inline(always)]
    fn insert_fragment(&self, key: &FragmentKey, fill: impl FnOnce(&mut Fragment)) -> Result<(), InsertError> {
        let Some(fragment) = maps::FRAGMENT_SCRATCH.get_ptr_mut(0) else { return Err(InsertError::Refused) };
        // SAFETY: this CPU's own element, whose lock nobody takes; a program is not interrupted by another run on its CPU.
        let fragment = unsafe { &mut *fragment };
        fill(fragment);
        let fragment: &Fragment = fragment;
        inserted(maps::FRAGMENTS.insert(on_stack(key), fragment, u64::from(BPF_NOEXIST)))
    }

    #[inline(always)]
    fn profile(&self, slot: u32, number: u8) -> Option<&Profile> {
        if usize::from(number) >= MAX_PROFILES {
            return None;
        }
        maps::PROFILES.get(slot * MAX_PROFILES as u32 + u32::from(number))
    }

    #[inline(always)]
    fn applications(&self, slot: u32) -> Option<&Applications> {
        maps::APPLICATIONS.get(slot)
    }

    #[inline(always)]
    fn secret(&self) -> [u64; 2] {
        match maps::CONFIG.get_ptr(0) {
            // SAFETY: the pointer is to the map's only element; the secret is written once, before any program is attached.
            Some(config) => unsafe { ptr::read_volatile(&raw const (*config).secret) },
            None => [0; 2],
        }
    }

    #[inline(always)]
    fn with_room<R>(&self, work: impl FnOnce(&mut Room) -> R) -> Option<R> {
        // SAFETY: this CPU's own element; a program is not interrupted by another run on its CPU.
        maps::ROOM.get_ptr_mut(0).map(|room| work(unsafe { &mut *room }))
    }

    #[inline(always)]
    fn with_history<R>(&self, key: &FlowKey, change: impl FnOnce(&mut History) -> R) -> Option<R> {
        // SAFETY: the pointer came from a lookup in this program run. Another CPU may change the entry too; see
        // firewall_common::normalize::history.
        maps::HISTORIES.get_ptr_mut(on_stack(key)).map(|history| change(unsafe { &mut *history }))
    }

    #[inline(always)]
    fn insert_history(&self, key: &FlowKey, history: &History) -> Result<(), Reason> {
        begun(maps::HISTORIES.insert(on_stack(key), history, u64::from(BPF_NOEXIST)), Reason::HistoryInsertFailed)
    }

    #[inline(always)]
    fn with_quality<R>(&self, key: &FlowKey, make: bool, change: impl FnOnce(&mut Quality) -> R) -> Option<R> {
        let key = on_stack(key);
        let quality = find_or_begin(&maps::QUALITIES, &key, || if make { maps::NO_QUALITY.get(0) } else { None })?;
        // SAFETY: the pointer came from a lookup in this program run. Another CPU may change the entry too; see firewall_common::quality.
        Some(change(unsafe { &mut *quality }))
    }

    #[inline(always)]
    fn with_guard<R>(&self, key: &FlowKey, change: impl FnOnce(&mut Guard) -> R) -> Option<R> {
        let guard = maps::GUARDS.get_ptr_mut(on_stack(key))?;
        // SAFETY: the pointer came from a lookup just now; between the two calls no other CPU is in such a section of this entry. `change`
        // calls no helper and does not touch the lock.
        unsafe {
            let lock = &raw mut (*guard).lock;
            bpf_spin_lock(lock);
            let result = change(&mut *guard.cast::<Guard>());
            bpf_spin_unlock(lock);
            Some(result)
        }
    }

    #[inline(always)]
    fn insert_guard(&self, key: &FlowKey) -> Result<(), Reason> {
        let Some(nothing) = maps::NO_GUARD.get_ptr(0) else { return Err(Reason::GuardInsertFailed) };
        // SAFETY: the map's only element, which is as large, and which nobody writes.
        let nothing = unsafe { &*nothing.cast::<LockedGuard>() };
        begun(maps::GUARDS.insert(on_stack(key), nothing, u64::from(BPF_NOEXIST)), Reason::GuardInsertFailed)
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
        let mut lookup = route::Lookup::new(descriptor, self.context.interface());
        // SAFETY: the structure has the helper's layout and length.
        let status = unsafe { bpf_fib_lookup(self.context.as_ptr(), (&raw mut lookup).cast(), size_of::<route::Lookup>() as i32, 0) };
        match route::Route::from_status(status) {
            route::Route::Local => Ok(ZONE_SELF),
            route::Route::Forwarded => {
                // An interface that is not ours is in no zone: nothing may be let out there unseen.
                let out = maps::INTERFACES.get(lookup.interface).copied().unwrap_or_default();
                if out.place == 0 { Err(Reason::NoRoute) } else { Ok(out.zone) }
            }
            route::Route::None => Err(Reason::NoRoute),
        }
    }

    #[inline(always)]
    fn may_answer(&self, now: Nanos) -> bool {
        let rate = match maps::CONFIG.get_ptr(0) {
            // SAFETY: the pointer is to the map's only element.
            Some(config) => unsafe { ptr::read_volatile(&raw const (*config).reject_rate) },
            None => 0,
        };
        let Some(bucket) = maps::ANSWERS.get_ptr_mut(0) else { return false };
        // SAFETY: this CPU's own element; a program is not interrupted by another run of itself on its CPU.
        let bucket = unsafe { &mut *bucket };
        if now.since(Nanos(bucket.since)).0 >= NOTICE_INTERVAL {
            bucket.since = now.0;
            bucket.answered = 0;
        }
        if bucket.answered >= u64::from(rate) {
            return false;
        }
        bucket.answered += 1;
        true
    }

    #[inline(always)]
    fn count_one_sided(&self, rule: u16) -> u32 {
        let Some(count) = maps::ONE_SIDED.get_ptr_mut(u32::from(rule)) else { return u32::MAX };
        // SAFETY: a valid, aligned element; the addition is atomic and its result is used, hence AcqRel (a relaxed one returns the
        // operand on this target).
        unsafe { atomic_xadd::<u32, u32, { AtomicOrdering::AcqRel }>(count, 1) }
    }

    #[inline(always)]
    fn counts_of_rule(&self, rule: u16) -> Option<*mut Counts> {
        maps::LIMITS.get_ptr_mut(u32::from(rule))
    }

    #[inline(always)]
    fn counts_of_source(&self, source: &Source, make: bool) -> Option<*mut Counts> {
        find_or_begin(&maps::SOURCES, source, || make.then(Counts::default))
    }

    #[inline(always)]
    fn read_count(&self, counts: &*mut Counts, word: Word) -> u32 {
        // SAFETY: an aligned word of a value that a lookup in this program run has found; volatile, so that it is read once, here.
        unsafe { ptr::read_volatile(count_word(*counts, word)) }
    }

    #[inline(always)]
    fn add_to_count(&self, counts: &*mut Counts, word: Word) {
        // SAFETY: as above; the addition is atomic.
        unsafe {
            atomic_xadd::<u32, u32, { AtomicOrdering::AcqRel }>(count_word(*counts, word), 1);
        }
    }

    #[inline(always)]
    fn read_mark(&self, counts: &*mut Counts, mark: Mark) -> u64 {
        // SAFETY: as `read_count`.
        unsafe { ptr::read_volatile(mark_word(*counts, mark)) }
    }

    #[inline(always)]
    fn exchange_mark(&self, counts: &*mut Counts, mark: Mark, from: u64, to: u64) -> u64 {
        // SAFETY: as `add_to_count`.
        unsafe { atomic_cxchg::<u64, { AtomicOrdering::AcqRel }, { AtomicOrdering::Acquire }>(mark_word(*counts, mark), from, to).0 }
    }

    #[inline(always)]
    fn add_to_mark(&self, counts: &*mut Counts, mark: Mark) -> u64 {
        // SAFETY: as `add_to_count`. The result is used, hence AcqRel (a relaxed addition returns its operand on this target).
        unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::AcqRel }>(mark_word(*counts, mark), 1) }
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
        let Some(last) = maps::NOTICES.get_ptr_mut(notice as u32) else { return };
        let now = self.now().0;
        // SAFETY: an aligned word. Two CPUs may both find it old: then there are two messages in that second.
        unsafe {
            if now.saturating_sub(ptr::read_volatile(last)) < NOTICE_INTERVAL {
                return;
            }
            ptr::write_volatile(last, now);
        }
        match notice {
            Notice::EstablishedFull => warn!(self.context, "the table of established flows is full: a new flow was refused"),
            Notice::EmbryonicRefused => warn!(self.context, "the table of embryonic flows refused an entry"),
        }
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
    fn learn(&self, visit: &mut Visit) {
        self.context.learn(visit);
    }

    #[inline(always)]
    fn rewrite<P: Packet>(&self, _packet: &P, visit: &mut Visit) -> Result<(), Reason> {
        self.context.rewrite(visit)
    }

    #[inline(always)]
    fn aside<R>(&self, visit: &Visit, with: impl FnOnce(&mut Visit) -> R) -> Option<R> {
        let quoted = maps::QUOTED.get_ptr_mut(0)?;
        // Word by word: the compiler would make one call of it, to a loop over bytes.
        let mut word = 0;
        while word < size_of::<Visit>() / size_of::<u64>() {
            // SAFETY: both are as many words long; the element is this CPU's own, and a program is not interrupted by another run of itself
            // on its CPU.
            unsafe { ptr::write_volatile(quoted.cast::<u64>().add(word), ptr::from_ref(visit).cast::<u64>().add(word).read_volatile()) };
            word += 1;
        }
        // SAFETY: as above; the element now is a copy of a visit.
        Some(with(unsafe { &mut *quoted }))
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
        let most = match maps::CONFIG.get_ptr(0) {
            // SAFETY: the pointer is to the map's only element.
            Some(config) => unsafe { ptr::read_volatile(&raw const (*config).event_rate) },
            None => 0,
        };
        let (Some(rate), Some(tally)) = (maps::EVENT_RATES.get_ptr_mut(kind.rate_place(logged)), maps::EVENT_COUNTERS.get_ptr_mut(0))
        else {
            return;
        };
        // SAFETY: this CPU's own elements; a program is not interrupted by another run of itself on its CPU.
        let (rate, tally) = unsafe { (&mut *rate, &mut *tally) };
        if !rate.admits(now, most) {
            tally.limited += 1;
            return;
        }
        let Some(record) = maps::EVENT_SCRATCH.get_ptr_mut(0) else { return };
        // SAFETY: as above, and a record is whole words.
        let record = unsafe {
            clear_words(record);
            &mut *record
        };
        fill(record);
        match maps::EVENTS.output::<Record>(&*record, 0) {
            Ok(()) => tally.sent += 1,
            Err(_) => tally.lost += 1,
        }
    }

    #[inline(always)]
    fn with_evidence<R>(
        &self,
        table: evidence::Table,
        key: &FlowKey,
        make: bool,
        now: Nanos,
        change: impl FnOnce(&mut Evidence) -> R,
    ) -> Option<R> {
        let table = match table {
            evidence::Table::Flows => &maps::EVIDENCE,
            evidence::Table::Strays => &maps::STRAYS,
        };
        let key = on_stack(key);
        let found = find_or_begin(table, &key, || if make && may_begin(now) { maps::NO_EVIDENCE.get(0) } else { None })?;
        // SAFETY: the pointer came from a lookup in this program run. Another CPU may change the entry too; see firewall_common::evidence.
        Some(change(unsafe { &mut *found }))
    }

    #[inline(always)]
    fn with_stranger<R>(&self, source: &Address, make: bool, now: Nanos, change: impl FnOnce(&mut Stranger) -> R) -> Option<R> {
        let source = on_stack(source);
        let found = find_or_begin(&maps::STRANGERS, &source, || (make && may_begin(now)).then(Stranger::default))?;
        // SAFETY: as above.
        Some(change(unsafe { &mut *found }))
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

/// Whether this CPU may begin one more entry of what is remembered of refusals.
#[inline(always)]
fn may_begin(now: Nanos) -> bool {
    let Some(beginnings) = maps::BEGINNINGS.get_ptr_mut(0) else { return false };
    // SAFETY: this CPU's own element; of the two programs the later to store may undo the other's count.
    unsafe { (*beginnings).admits(now) }
}

/// Where a flow was that has been removed.
const ESTABLISHED: u32 = 1;
const EMBRYONIC: u32 = 2;

/// Removes what all tables have of a flow. A function of its own, for its copy of the key is too much for the frames of those who call it.
#[inline(never)]
#[expect(clippy::needless_borrows_for_generic_args, reason = "the key is lent: three copies of it would not fit the stack")]
fn remove_everywhere(key: &FlowKey) -> u32 {
    let key = on_stack(key);
    let established = maps::ESTABLISHED.remove(&key).is_ok();
    let embryonic = maps::EMBRYONIC.remove(&key).is_ok();
    // Absence is as good.
    let _ = maps::HISTORIES.remove(&key);
    let _ = maps::QUALITIES.remove(&key);
    let _ = maps::GUARDS.remove(&key);
    if established {
        ESTABLISHED
    } else if embryonic {
        EMBRYONIC
    } else {
        0
    }
}

/// A key of a map, on the stack: older verifiers (6.1) take none from the memory that a global function was given.
#[inline(always)]
fn on_stack<K: Copy>(key: &K) -> K {
    // Word by word, for the compiler would leave the key where it is.
    let mut copy = MaybeUninit::<K>::uninit();
    let (from, to) = (ptr::from_ref(key).cast::<u64>(), copy.as_mut_ptr().cast::<u64>());
    const { assert!(size_of::<K>().is_multiple_of(size_of::<u64>()) && align_of::<K>() == align_of::<u64>()) };
    let mut word = 0;
    while word < size_of::<K>() / size_of::<u64>() {
        // SAFETY: both are as many words long, and aligned to them.
        unsafe { ptr::write_volatile(to.add(word), ptr::read(from.add(word))) };
        word += 1;
    }
    // SAFETY: every word of it is written.
    unsafe { copy.assume_init() }
}

#[inline(always)]
fn count_word(counts: *mut Counts, word: Word) -> *mut u32 {
    // SAFETY: the value's own fields; nothing is read.
    unsafe {
        match word {
            Word::FlowsBegun => &raw mut (*counts).flows.begun,
            Word::FlowsEnded => &raw mut (*counts).flows.ended,
            Word::EmbryonicBegun => &raw mut (*counts).embryonic.begun,
            Word::EmbryonicEnded => &raw mut (*counts).embryonic.ended,
        }
    }
}

#[inline(always)]
fn mark_word(counts: *mut Counts, mark: Mark) -> *mut u64 {
    // SAFETY: as above.
    unsafe {
        match mark {
            Mark::Window => &raw mut (*counts).window,
            Mark::Told => &raw mut (*counts).told,
        }
    }
}

/// Sets a map's element to zero, word by word: the compiler would make one call of it, to a loop over bytes.
///
/// # Safety
/// The element is this CPU's own, aligned to and made of whole words of eight bytes.
#[inline(always)]
unsafe fn clear_words<T>(element: *mut T) {
    const { assert!(size_of::<T>().is_multiple_of(size_of::<u64>())) };
    let mut word = 0;
    while word < size_of::<T>() / size_of::<u64>() {
        // SAFETY: the element is as many words long.
        unsafe { ptr::write_volatile(element.cast::<u64>().add(word), 0) };
        word += 1;
    }
}

/// A table that forgets, or one that takes memory by use: what both do with an entry.
trait Table<K, V> {
    fn find(&self, key: &K) -> Option<*mut V>;
    fn begin(&self, key: &K, value: &V) -> Result<(), i32>;
}

impl<K, V> Table<K, V> for HashMap<K, V> {
    #[inline(always)]
    fn find(&self, key: &K) -> Option<*mut V> {
        self.get_ptr_mut(key)
    }

    #[inline(always)]
    fn begin(&self, key: &K, value: &V) -> Result<(), i32> {
        self.insert(key, value, u64::from(BPF_NOEXIST))
    }
}

impl<K, V> Table<K, V> for LruHashMap<K, V> {
    #[inline(always)]
    fn find(&self, key: &K) -> Option<*mut V> {
        self.get_ptr_mut(key)
    }

    #[inline(always)]
    fn begin(&self, key: &K, value: &V) -> Result<(), i32> {
        self.insert(key, value, u64::from(BPF_NOEXIST))
    }
}

/// What a table has for a key, or else an entry that begins as `nothing` says, if it says anything. The key is lent, and lies on the stack: more
/// copies of it would not fit there.
#[inline(always)]
fn find_or_begin<K, V, N: Borrow<V>>(table: &impl Table<K, V>, key: &K, nothing: impl FnOnce() -> Option<N>) -> Option<*mut V> {
    if let Some(found) = table.find(key) {
        return Some(found);
    }
    // Whether this CPU makes it or another one: what is there now is what counts.
    let _ = table.begin(key, nothing()?.borrow());
    table.find(key)
}

#[inline(always)]
const fn inserted(result: Result<(), i32>) -> Result<(), InsertError> {
    match result {
        Ok(()) => Ok(()),
        Err(EEXIST) => Err(InsertError::Exists),
        Err(_) => Err(InsertError::Refused),
    }
}

/// The same for an entry that is as good when another CPU's packet of the flow began it.
#[inline(always)]
const fn begun(result: Result<(), i32>, refused: Reason) -> Result<(), Reason> {
    match inserted(result) {
        Ok(()) | Err(InsertError::Exists) => Ok(()),
        Err(InsertError::Refused) => Err(refused),
    }
}
