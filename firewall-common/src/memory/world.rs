//! [`Env`] in memory: tables with room that ends, a clock that is set, inserts that fail when told to, and a policy evaluated by longest
//! match and rows of bits, as the kernel does.

mod beside;
mod env;
mod limits;
mod policy;
mod refusals;
mod table;

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
};

use self::{beside::Beside, limits::Limits, policy::Slot, refusals::Refusals, table::Table};
use crate::{
    config::{Config, DEFAULT_EMBRYONIC, DEFAULT_ESTABLISHED, FULL_SCALE},
    counter::{Counters, RuleCounters},
    env::{Arrival, Env, Notice},
    event::{self, Tally, rate::Rate},
    flow::{Flow, FlowKey},
    fragment::{Fragment, FragmentKey},
    memory::{frame::Changing, tables::Tables},
    normalize::{
        Room,
        retransmission::{Digest, MAX_SEGMENTS, Start},
    },
    parse::Descriptor,
    pipeline::pipeline,
    reason::Reason,
    rule::ZONE_SELF,
    time::Nanos,
    trace::{self, Trace},
    track::shadow,
    verdict::Verdict,
    visit::Visit,
};

/// A record in a table. Whoever found it keeps it, also when the table lets it go: as in the kernel.
type Record = Rc<Cell<Flow>>;

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
    beside: Beside,
    digests: RefCell<Table<Start, Digest>>,
    room: RefCell<Room>,
    limits: Limits,
    counters: RefCell<HashMap<u8, Counters>>,
    rules: RefCell<HashMap<u16, RuleCounters>>,
    refusals: Refusals,
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
            beside: Beside::default(),
            digests: RefCell::new(Table::new(MAX_SEGMENTS as usize, true)),
            room: RefCell::default(),
            limits: Limits::default(),
            counters: RefCell::default(),
            rules: RefCell::default(),
            refusals: Refusals::default(),
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
        self.slots[number as usize].load(tables);
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

    /// Makes a flow older.
    pub fn age(&self, key: &FlowKey, by: Nanos) {
        for table in [&self.established, &self.embryonic] {
            if let Some((record, _)) = table.borrow().entries.get(key) {
                changed(record, |flow| {
                    flow.last_seen = flow.last_seen.saturating_sub(by.0);
                    shadow::grow_older(flow, by);
                });
            }
        }
        self.beside.age(key, by);
    }

    /// Forgets every flow and fragment.
    pub fn clear(&self) {
        self.established.borrow_mut().entries.clear();
        self.embryonic.borrow_mut().entries.clear();
        self.fragments.borrow_mut().entries.clear();
        self.beside.clear();
        self.digests.borrow_mut().entries.clear();
        self.limits.clear();
        self.refusals.clear();
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

/// Changes what a cell holds.
fn changed<V: Copy, R>(cell: &Cell<V>, change: impl FnOnce(&mut V) -> R) -> R {
    let mut value = cell.get();
    let result = change(&mut value);
    cell.set(value);
    result
}
