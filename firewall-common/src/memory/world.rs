//! [`Env`] in memory: tables with room that ends, a clock that is set, inserts that fail when told to, and a policy evaluated by longest
//! match and rows of bits, as the kernel does.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    hash::Hash,
    rc::Rc,
};

use crate::{
    application::Applications,
    classify::Policies,
    config::{Config, DEFAULT_EMBRYONIC, DEFAULT_ESTABLISHED, FULL_SCALE},
    counter::{Counters, RuleCounters},
    env::{Arrival, Env, Glance, InsertError, Notice, Removed, Settings},
    event::{self, Tally, rate::Rate},
    evidence::{self, Beginnings, Evidence, MAX_FLOWS, MAX_STRANGERS, MAX_STRAYS, Stranger},
    flow::{Address, Flow, FlowKey},
    fragment::{Fragment, FragmentKey},
    guard::Guard,
    hours::{MAX_SCHEDULES, Week},
    limit::{Counts, MAX_SOURCES, Mark, Source, Word},
    memory::{frame::Changing, tables::Tables},
    normalize::{
        Profile, Room,
        history::History,
        profile::MAX_PROFILES,
        retransmission::{Digest, MAX_SEGMENTS, Start},
    },
    parse::Descriptor,
    pipeline::pipeline,
    quality::Quality,
    reason::Reason,
    rule::{Block, Dimension, Row, Rule, ZONE_SELF},
    time::Nanos,
    trace::{self, Trace},
    track::shadow,
    verdict::Verdict,
    visit::Visit,
};

/// A record in a table. Whoever found it keeps it, also when the table lets it go: as in the kernel.
type Record = Rc<Cell<Flow>>;

/// A table with limited room.
#[derive(Debug)]
struct Table<K, V> {
    entries: HashMap<K, (V, u64)>,
    room: usize,
    /// Makes room by forgetting what was used longest ago.
    lru: bool,
    uses: u64,
}

impl<K: Copy + Eq + Hash, V: Clone> Table<K, V> {
    fn new(room: usize, lru: bool) -> Self {
        Self { entries: HashMap::new(), room, lru, uses: 0 }
    }

    fn get(&mut self, key: &K) -> Option<V> {
        self.uses += 1;
        let (value, used) = self.entries.get_mut(key)?;
        *used = self.uses;
        Some(value.clone())
    }

    fn insert(&mut self, key: K, value: V) -> Result<(), InsertError> {
        if !self.entries.contains_key(&key) && self.entries.len() >= self.room {
            let oldest = self.entries.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| *key);
            match oldest {
                Some(oldest) if self.lru => drop(self.entries.remove(&oldest)),
                _ => return Err(InsertError::Refused),
            }
        }
        self.uses += 1;
        self.entries.insert(key, (value, self.uses));
        Ok(())
    }
}

/// One slot's policy, arranged for looking up.
#[derive(Debug, Default)]
struct Slot {
    entries: Vec<Rule>,
    profiles: Vec<Profile>,
    schedules: Vec<Week>,
    applications: Applications,
    rows: Vec<Row>,
    blocks: Vec<Block>,
    addresses: HashMap<(u8, u8, u128), u32>,
    services: HashMap<(u8, u32), u32>,
}

/// Inserts that fail from now on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    pub embryonic: bool,
    pub established: bool,
    pub fragments: bool,
    pub histories: bool,
    pub qualities: bool,
    pub guards: bool,
    /// Another CPU holds every datagram's record.
    pub busy: bool,
    pub sources: bool,
}

/// The secret of firewalls under test.
pub const SECRET: [u64; 2] = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];

/// Way of a packet: zone it leaves by, or why there is none.
type Routes = Box<dyn Fn(&Descriptor) -> Result<u8, Reason>>;

/// What another CPU does in the middle of something.
type Meanwhile = Box<dyn FnOnce(&World)>;

/// The world of one firewall.
pub struct World {
    clock: Cell<Nanos>,
    pub config: Cell<Config>,
    pub faults: Cell<Faults>,
    while_promoting: Cell<Option<Meanwhile>>,
    routes: Routes,
    slots: [Slot; 2],
    established: RefCell<Table<FlowKey, Record>>,
    embryonic: RefCell<Table<FlowKey, Record>>,
    fragments: RefCell<Table<FragmentKey, Rc<Cell<Fragment>>>>,
    /// Every packet comes in by a software device.
    pub software: Cell<bool>,
    histories: RefCell<HashMap<FlowKey, History>>,
    qualities: RefCell<HashMap<FlowKey, Quality>>,
    guards: RefCell<HashMap<FlowKey, Guard>>,
    digests: RefCell<Table<Start, Digest>>,
    room: RefCell<Room>,
    one_sided: RefCell<HashMap<u16, u32>>,
    limits: RefCell<HashMap<u16, Rc<Cell<Counts>>>>,
    sources: RefCell<Table<Source, Rc<Cell<Counts>>>>,
    counters: RefCell<HashMap<u8, Counters>>,
    rules: RefCell<HashMap<u16, RuleCounters>>,
    evidence: RefCell<Table<FlowKey, Rc<Cell<Evidence>>>>,
    strays: RefCell<Table<FlowKey, Rc<Cell<Evidence>>>>,
    strangers: RefCell<Table<Address, Rc<Cell<Stranger>>>>,
    beginnings: Cell<Beginnings>,
    notices: RefCell<Vec<Notice>>,
    events: RefCell<Vec<event::Record>>,
    event_rates: Cell<[Rate; event::Kind::SLOTS]>,
    tally: Cell<Tally>,
    answered: Cell<(Nanos, u64)>,
}

impl Default for World {
    fn default() -> Self {
        Self::with_room(DEFAULT_EMBRYONIC as usize, DEFAULT_ESTABLISHED as usize)
    }
}

impl World {
    /// A world without a policy, at an arbitrary time.
    #[must_use]
    pub fn with_room(embryonic: usize, established: usize) -> Self {
        Self {
            clock: Cell::new(Nanos(1_000_000_000_000_000)),
            config: Cell::new(Config {
                timeout_scale: FULL_SCALE,
                reject_rate: u32::MAX,
                event_rate: u32::MAX,
                secret: SECRET,
                ..Config::default()
            }),
            faults: Cell::default(),
            while_promoting: Cell::default(),
            routes: Box::new(|_| Ok(ZONE_SELF)),
            slots: Default::default(),
            established: RefCell::new(Table::new(established, false)),
            embryonic: RefCell::new(Table::new(embryonic, true)),
            fragments: RefCell::new(Table::new(8192, true)),
            software: Cell::default(),
            histories: RefCell::default(),
            qualities: RefCell::default(),
            guards: RefCell::default(),
            digests: RefCell::new(Table::new(MAX_SEGMENTS as usize, true)),
            room: RefCell::default(),
            one_sided: RefCell::default(),
            limits: RefCell::default(),
            sources: RefCell::new(Table::new(MAX_SOURCES as usize, true)),
            counters: RefCell::default(),
            rules: RefCell::default(),
            evidence: RefCell::new(Table::new(MAX_FLOWS as usize, true)),
            strays: RefCell::new(Table::new(MAX_STRAYS as usize, true)),
            strangers: RefCell::new(Table::new(MAX_STRANGERS as usize, true)),
            beginnings: Cell::default(),
            notices: RefCell::default(),
            events: RefCell::default(),
            event_rates: Cell::default(),
            tally: Cell::default(),
            answered: Cell::new((Nanos(0), 0)),
        }
    }

    /// A world with this policy in force.
    #[must_use]
    pub fn under(tables: &Tables) -> Self {
        let mut world = Self::default();
        world.load(tables);
        world
    }

    /// Puts a policy in force: in the slot that is not, then by the generation's number.
    pub fn load(&mut self, tables: &Tables) {
        let generation = self.config.get().generation + 1;
        let number = Config::slot(generation);
        let slot = &mut self.slots[number as usize];
        slot.entries.clone_from(&tables.entries);
        slot.profiles.clone_from(&tables.profiles);
        slot.schedules.clone_from(&tables.schedules);
        slot.applications = tables.applications;
        slot.rows.clone_from(&tables.rows);
        slot.blocks.clone_from(&tables.blocks);
        slot.addresses = tables
            .addresses
            .iter()
            .map(|(side, address, length, class)| ((*side as u8, *length, prefix_of(address.bits(), *length, 128)), *class))
            .collect();
        slot.services = tables
            .services
            .iter()
            .map(|(protocol, port, length, class)| ((*length, service_bits(*protocol, *port, *length)), *class))
            .collect();
        self.configure(|config| config.generation = generation);
    }

    pub fn configure(&self, change: impl FnOnce(&mut Config)) {
        let mut config = self.config.get();
        change(&mut config);
        self.config.set(config);
    }

    /// Where packets go; asked only with [`crate::config::config_flags::ROUTE`] set.
    pub fn set_routes(&mut self, routes: impl Fn(&Descriptor) -> Result<u8, Reason> + 'static) {
        self.routes = Box::new(routes);
    }

    pub fn advance(&self, by: Nanos) {
        self.clock.set(self.clock.get().plus(by));
    }

    pub fn set_clock(&self, now: Nanos) {
        self.clock.set(now);
    }

    /// What another CPU does when the next flow is established: after its record has been copied, before the copy is to be found.
    pub fn while_promoting(&self, meanwhile: impl FnOnce(&Self) + 'static) {
        self.while_promoting.set(Some(Box::new(meanwhile)));
    }

    /// Judges one frame.
    pub fn judge(&self, frame: &[u8], arrival: Arrival) -> Verdict {
        self.judge_and_change(frame, arrival).0
    }

    /// Judges one frame, and tells what bytes it goes on with if it passes.
    pub fn judge_and_change(&self, frame: &[u8], arrival: Arrival) -> (Verdict, Vec<u8>) {
        let changing = Changing::new(frame);
        let mut visit = Visit::new(arrival, self.settings(), self.now());
        visit.software = self.software.get();
        let verdict = pipeline(&changing, self, &mut visit);
        (verdict, changing.into_bytes())
    }

    /// As [`Self::judge_and_change`], and tells what each stage said.
    pub fn trace(&self, frame: &[u8], arrival: Arrival) -> (Trace, Vec<u8>) {
        let changing = Changing::new(frame);
        let mut visit = Visit::new(arrival, self.settings(), self.now());
        visit.software = self.software.get();
        let trace = trace::trace(&changing, self, visit);
        (trace, changing.into_bytes())
    }

    /// The flow with this key, and whether it is established.
    #[must_use]
    pub fn flow(&self, key: &FlowKey) -> Option<(Flow, bool)> {
        let of = |table: &RefCell<Table<FlowKey, Record>>| table.borrow().entries.get(key).map(|(record, _)| record.get());
        of(&self.established).map(|flow| (flow, true)).or_else(|| of(&self.embryonic).map(|flow| (flow, false)))
    }

    /// Every flow, and whether it is established.
    #[must_use]
    pub fn flows(&self) -> Vec<(FlowKey, Flow, bool)> {
        let of = |table: &RefCell<Table<FlowKey, Record>>, established: bool| -> Vec<_> {
            table.borrow().entries.iter().map(|(key, (record, _))| (*key, record.get(), established)).collect()
        };
        [of(&self.established, true), of(&self.embryonic, false)].concat()
    }

    /// Makes the table hold this for the key, and nothing else: no record, or one and whether it is established.
    pub fn put(&self, key: &FlowKey, record: Option<(Flow, bool)>) {
        self.remove(key);
        let Some((flow, established)) = record else { return };
        let table = if established { &self.established } else { &self.embryonic };
        table.borrow_mut().insert(*key, Rc::new(Cell::new(flow))).expect("a table with room");
    }

    /// Makes the flow's history what it was elsewhere.
    pub fn put_history(&self, key: &FlowKey, history: History) {
        self.histories.borrow_mut().insert(*key, history);
    }

    /// What is known of a flow's quality.
    #[must_use]
    pub fn quality(&self, key: &FlowKey) -> Option<Quality> {
        self.qualities.borrow().get(key).copied()
    }

    /// What the flow's guards remember.
    #[must_use]
    pub fn guard_of(&self, key: &FlowKey) -> Option<Guard> {
        self.guards.borrow().get(key).copied()
    }

    /// Makes what the flow's guards remember what it was elsewhere.
    pub fn put_guard(&self, key: &FlowKey, guard: Guard) {
        self.guards.borrow_mut().insert(*key, guard);
    }

    /// Makes the table hold this for the datagram.
    pub fn put_fragment(&self, key: &FragmentKey, fragment: Fragment) {
        // A table that forgets always has room.
        let _ = self.fragments.borrow_mut().insert(*key, Rc::new(Cell::new(fragment)));
    }

    /// What is known of a datagram.
    #[must_use]
    pub fn fragment_record(&self, key: &FragmentKey) -> Option<Fragment> {
        self.fragments.borrow().entries.get(key).map(|(record, _)| record.get())
    }

    /// How many one-sided flows the rule has.
    pub fn set_one_sided(&self, rule: u16, flows: u32) {
        self.one_sided.borrow_mut().insert(rule, flows);
    }

    /// Makes a flow older.
    pub fn age(&self, key: &FlowKey, by: Nanos) {
        for table in [&self.established, &self.embryonic] {
            if let Some((record, _)) = table.borrow().entries.get(key) {
                change(record, |flow| {
                    flow.last_seen = flow.last_seen.saturating_sub(by.0);
                    shadow::grow_older(flow, by);
                });
            }
        }
        if let Some(history) = self.histories.borrow_mut().get_mut(key) {
            history.grow_older(by);
        }
        if let Some(guard) = self.guards.borrow_mut().get_mut(key) {
            guard.grow_older(by);
        }
    }

    /// Forgets every flow and fragment.
    pub fn clear(&self) {
        self.established.borrow_mut().entries.clear();
        self.embryonic.borrow_mut().entries.clear();
        self.fragments.borrow_mut().entries.clear();
        self.histories.borrow_mut().clear();
        self.qualities.borrow_mut().clear();
        self.guards.borrow_mut().clear();
        self.digests.borrow_mut().entries.clear();
        self.one_sided.borrow_mut().clear();
        self.limits.borrow_mut().clear();
        self.sources.borrow_mut().entries.clear();
        self.forget_refusals();
    }

    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        self.counters.borrow().values().for_each(|place| sum.add(place));
        sum
    }

    #[must_use]
    pub fn rule_counters(&self, rule: u16) -> RuleCounters {
        self.rules.borrow().get(&rule).copied().unwrap_or_default()
    }

    /// What counts against a rule's limits.
    #[must_use]
    pub fn limit_counts(&self, rule: u16) -> Counts {
        self.limits.borrow().get(&rule).map(|counts| counts.get()).unwrap_or_default()
    }

    /// Makes this count against a rule's limits.
    pub fn set_limit_counts(&self, rule: u16, counts: Counts) {
        self.limits.borrow_mut().insert(rule, Rc::new(Cell::new(counts)));
    }

    /// Makes this count against the limits of one source.
    pub fn set_source_counts(&self, source: Source, counts: Counts) {
        let _ = self.sources.borrow_mut().insert(source, Rc::new(Cell::new(counts)));
    }

    /// What counts against the limits of one source.
    #[must_use]
    pub fn source_counts(&self, source: &Source) -> Counts {
        self.sources.borrow().entries.get(source).map(|(counts, _)| counts.get()).unwrap_or_default()
    }

    /// What is remembered of refusals by flow or conversation.
    #[must_use]
    pub fn evidence(&self, table: evidence::Table) -> Vec<(FlowKey, Evidence)> {
        self.evidence_table(table).borrow().entries.iter().map(|(key, (evidence, _))| (*key, evidence.get())).collect()
    }

    /// What is remembered of sources of strays.
    #[must_use]
    pub fn strangers(&self) -> Vec<(Address, Stranger)> {
        self.strangers.borrow().entries.iter().map(|(source, (stranger, _))| (*source, stranger.get())).collect()
    }

    /// Refusals that were not remembered.
    #[must_use]
    pub fn missed_refusals(&self) -> u64 {
        self.beginnings.get().missed
    }

    fn evidence_table(&self, table: evidence::Table) -> &RefCell<Table<FlowKey, Rc<Cell<Evidence>>>> {
        match table {
            evidence::Table::Flows => &self.evidence,
            evidence::Table::Strays => &self.strays,
        }
    }

    fn forget_refusals(&self) {
        self.evidence.borrow_mut().entries.clear();
        self.strays.borrow_mut().entries.clear();
        self.strangers.borrow_mut().entries.clear();
        self.beginnings.take();
    }

    /// What the table has for this key, or a new one if that is wanted and not too many have begun lately.
    fn remembered<K: Copy + Eq + Hash, V: Default>(
        &self,
        table: &RefCell<Table<K, Rc<Cell<V>>>>,
        key: &K,
        make: bool,
        now: Nanos,
    ) -> Option<Rc<Cell<V>>> {
        let mut table = table.borrow_mut();
        if let Some(found) = table.get(key) {
            return Some(found);
        }
        let mut beginnings = self.beginnings.get();
        let admitted = make && beginnings.admits(now);
        self.beginnings.set(beginnings);
        if !admitted {
            return None;
        }
        table.insert(*key, Rc::default()).ok()?;
        table.get(key)
    }

    #[must_use]
    pub fn counters_of(&self, place: u8) -> Counters {
        self.counters.borrow().get(&place).copied().unwrap_or_default()
    }

    #[must_use]
    pub fn notices(&self) -> Vec<Notice> {
        self.notices.borrow().clone()
    }

    /// The events since the last call.
    pub fn take_events(&self) -> Vec<event::Record> {
        self.events.take()
    }

    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally.get()
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("World")
            .field("clock", &self.clock)
            .field("config", &self.config)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

/// The first `length` of `width` bits.
const fn prefix_of(bits: u128, length: u8, width: u32) -> u128 {
    let rest = width - length as u32;
    if rest >= 128 { 0 } else { bits >> rest << rest }
}

const fn service_bits(protocol: u8, port: [u8; 2], length: u8) -> u32 {
    prefix_of(u32::from_be_bytes([0, protocol, port[0], port[1]]) as u128, length, 24) as u32
}

const fn count_word(counts: &mut Counts, word: Word) -> &mut u32 {
    match word {
        Word::FlowsBegun => &mut counts.flows.begun,
        Word::FlowsEnded => &mut counts.flows.ended,
        Word::EmbryonicBegun => &mut counts.embryonic.begun,
        Word::EmbryonicEnded => &mut counts.embryonic.ended,
    }
}

const fn mark_word(counts: &mut Counts, mark: Mark) -> &mut u64 {
    match mark {
        Mark::Window => &mut counts.window,
        Mark::Told => &mut counts.told,
    }
}

fn change<R>(record: &Record, change: impl FnOnce(&mut Flow) -> R) -> R {
    let mut flow = record.get();
    let result = change(&mut flow);
    record.set(flow);
    result
}

impl Policies for World {
    fn address_class(&self, slot: u32, dimension: Dimension, address: &Address) -> u32 {
        let addresses = &self.slots[slot as usize & 1].addresses;
        let longest = (0..=128).rev().find_map(|length| addresses.get(&(dimension as u8, length, prefix_of(address.bits(), length, 128))));
        longest.copied().unwrap_or(0)
    }

    fn service_class(&self, slot: u32, protocol: u8, service: [u8; 2]) -> u32 {
        let services = &self.slots[slot as usize & 1].services;
        let longest = (0..=24).rev().find_map(|length| services.get(&(length, service_bits(protocol, service, length))));
        longest.copied().unwrap_or(0)
    }

    fn row(&self, slot: u32, row: u32) -> Option<&Row> {
        // The kernel's table has an element for every number; what nobody set is empty.
        Some(self.slots[slot as usize & 1].rows.get(row as usize).unwrap_or(&Row::EMPTY))
    }

    fn block(&self, slot: u32, block: u16) -> Option<&Block> {
        Some(self.slots[slot as usize & 1].blocks.get(usize::from(block)).unwrap_or(&Block::EMPTY))
    }

    fn rule(&self, slot: u32, entry: u32) -> Option<&Rule> {
        self.slots[slot as usize & 1].entries.get(entry as usize)
    }

    fn week(&self, slot: u32, schedule: u16) -> Option<&Week> {
        let written = self.slots[slot as usize & 1].schedules.get(usize::from(schedule));
        (usize::from(schedule) < MAX_SCHEDULES).then(|| written.unwrap_or(&Week::NEVER))
    }

    fn week_began(&self) -> Nanos {
        Nanos(self.config.get().week_began)
    }
}

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
        change(found, with)
    }

    fn with_embryonic<R>(&self, found: &Record, with: impl FnOnce(&mut Flow) -> R) -> R {
        change(found, with)
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
        self.histories.borrow_mut().remove(key);
        self.qualities.borrow_mut().remove(key);
        self.guards.borrow_mut().remove(key);
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
        let mut fragment = found.get();
        let result = change(&mut fragment);
        found.set(fragment);
        Some(result)
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
        // As in the kernel, what nobody wrote asks for nothing.
        let written = self.slots[slot as usize & 1].profiles.get(usize::from(number));
        (usize::from(number) < MAX_PROFILES).then(|| written.unwrap_or(&Profile::OFF))
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
        self.histories.borrow_mut().get_mut(key).map(change)
    }

    fn insert_history(&self, key: &FlowKey, history: &History) -> Result<(), Reason> {
        if self.faults.get().histories {
            return Err(Reason::HistoryInsertFailed);
        }
        self.histories.borrow_mut().insert(*key, *history);
        Ok(())
    }

    fn with_quality<R>(&self, key: &FlowKey, make: bool, change: impl FnOnce(&mut Quality) -> R) -> Option<R> {
        let mut qualities = self.qualities.borrow_mut();
        if make && !self.faults.get().qualities {
            qualities.entry(*key).or_default();
        }
        qualities.get_mut(key).map(change)
    }

    fn with_guard<R>(&self, key: &FlowKey, change: impl FnOnce(&mut Guard) -> R) -> Option<R> {
        self.guards.borrow_mut().get_mut(key).map(change)
    }

    fn insert_guard(&self, key: &FlowKey) -> Result<(), Reason> {
        if self.faults.get().guards {
            return Err(Reason::GuardInsertFailed);
        }
        self.guards.borrow_mut().entry(*key).or_default();
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
        let mut counts = self.one_sided.borrow_mut();
        let count = counts.entry(rule).or_default();
        *count += 1;
        *count - 1
    }

    fn counts_of_rule(&self, rule: u16) -> Option<Rc<Cell<Counts>>> {
        Some(Rc::clone(self.limits.borrow_mut().entry(rule).or_default()))
    }

    fn counts_of_source(&self, source: &Source, make: bool) -> Option<Rc<Cell<Counts>>> {
        let mut sources = self.sources.borrow_mut();
        if let Some(counts) = sources.get(source) {
            return Some(counts);
        }
        if !make || self.faults.get().sources {
            return None;
        }
        sources.insert(*source, Rc::default()).ok()?;
        sources.get(source)
    }

    fn read_count(&self, counts: &Rc<Cell<Counts>>, word: Word) -> u32 {
        *count_word(&mut counts.get(), word)
    }

    fn add_to_count(&self, counts: &Rc<Cell<Counts>>, word: Word) {
        let mut changed = counts.get();
        let count = count_word(&mut changed, word);
        *count = count.wrapping_add(1);
        counts.set(changed);
    }

    fn read_mark(&self, counts: &Rc<Cell<Counts>>, mark: Mark) -> u64 {
        *mark_word(&mut counts.get(), mark)
    }

    fn exchange_mark(&self, counts: &Rc<Cell<Counts>>, mark: Mark, from: u64, to: u64) -> u64 {
        let mut changed = counts.get();
        let word = mark_word(&mut changed, mark);
        let there = *word;
        if there == from {
            *word = to;
        }
        counts.set(changed);
        there
    }

    fn add_to_mark(&self, counts: &Rc<Cell<Counts>>, mark: Mark) -> u64 {
        let mut changed = counts.get();
        let word = mark_word(&mut changed, mark);
        *word += 1;
        let before = *word - 1;
        counts.set(changed);
        before
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
        let found = self.remembered(self.evidence_table(table), key, make, now)?;
        let mut evidence = found.get();
        let result = change(&mut evidence);
        found.set(evidence);
        Some(result)
    }

    fn with_stranger<R>(&self, source: &Address, make: bool, now: Nanos, change: impl FnOnce(&mut Stranger) -> R) -> Option<R> {
        let found = self.remembered(&self.strangers, source, make, now)?;
        let mut stranger = found.get();
        let result = change(&mut stranger);
        found.set(stranger);
        Some(result)
    }
}
