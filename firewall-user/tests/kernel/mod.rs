//! The real object in the kernel as a [`Subject`]: its maps filled, its programs run on single packets by `BPF_PROG_TEST_RUN`. Nothing is
//! attached and nothing is pinned.
//!
//! The pipeline on the host judges every packet too: what the kernel makes of one, to the last byte, is what the host makes of it.

use std::{borrow::BorrowMut, hash::Hash, ops::RangeInclusive, sync::Barrier, thread, time::Duration};

use aya::{
    Ebpf, EbpfLoader, Pod, TestRun, TestRunOptions,
    maps::{Array, HashMap, LpmTrie, Map, MapData, MapError, PerCpuArray, PerCpuValues, RingBuf, lpm_trie::Key},
    programs::{Program, SchedClassifier, Xdp},
};
use firewall_common::{
    abi::{map, program},
    answer,
    application::Applications,
    config::{Config, FULL_SCALE, Interface, interface_flags},
    counter::{Counters, PLACE_NONE, RuleCounters},
    env::Arrival,
    event::{self, Tally},
    evidence::{self, Beginnings, Evidence, Stranger},
    flow::{Address, Flow, FlowKey, LAYOUT_VERSION},
    fragment::{Fragment, FragmentKey},
    guard::Guard,
    hours::{MAX_SCHEDULES, Week},
    limit::{Counts, Source},
    normalize::{
        Profile,
        history::History,
        profile::MAX_PROFILES,
        retransmission::{Digest, Start},
    },
    parse::{self, Descriptor},
    quality::Quality,
    reason::Reason,
    rule::{AddressPrefix, Block, MAX_BLOCKS, MAX_ENTRIES, MAX_ROWS, Row, Rule, ServicePrefix},
    testing::{
        builder::hex,
        play::Subject,
        tables::{THE_RULE, Tables},
        verify::checksums,
        world::{SECRET, World},
    },
    time::Nanos,
    track::shadow,
    verdict::Verdict,
};
use zerocopy::FromBytes as _;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/weir-dataplane"));

/// The interface TEST_RUN says a packet came by: the loopback device.
const LOOPBACK: u32 = 1;
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;
const TC_ACT_UNSPEC: u32 = u32::MAX;
const TC_ACT_SHOT: u32 = 2;
/// `bpf_map_update_elem`: the key must be there.
const BPF_EXIST: u64 = 2;

/// Places of the tests' interfaces, and of none.
const PLACES: RangeInclusive<u8> = PLACE_NONE..=2;

/// The dataplane and everything it reads.
pub struct Kernel {
    pub ebpf: Ebpf,
    config: Array<MapData, Config>,
    interfaces: Array<MapData, Interface>,
    rules: Array<MapData, Rule>,
    profiles: Array<MapData, Profile>,
    schedules: Array<MapData, Week>,
    applications: Array<MapData, Applications>,
    rows: Array<MapData, Row>,
    blocks: Array<MapData, Block>,
    addresses: LpmTrie<MapData, AddressPrefix, u32>,
    services: LpmTrie<MapData, ServicePrefix, u32>,
    established: HashMap<MapData, FlowKey, Flow>,
    embryonic: HashMap<MapData, FlowKey, Flow>,
    fragments: HashMap<MapData, FragmentKey, Fragment>,
    histories: HashMap<MapData, FlowKey, History>,
    guards: HashMap<MapData, FlowKey, Guard>,
    qualities: HashMap<MapData, FlowKey, Quality>,
    digests: HashMap<MapData, Start, Digest>,
    limits: Array<MapData, Counts>,
    sources: HashMap<MapData, Source, Counts>,
    evidence: HashMap<MapData, FlowKey, Evidence>,
    strays: HashMap<MapData, FlowKey, Evidence>,
    strangers: HashMap<MapData, Address, Stranger>,
    beginnings: PerCpuArray<MapData, Beginnings>,
    /// What is remembered of refusals may differ: two packets were judged at once, or the host was not asked.
    pub apart: bool,
    counters: PerCpuArray<MapData, Counters>,
    rule_counters: PerCpuArray<MapData, RuleCounters>,
    events: RingBuf<MapData>,
    tallies: PerCpuArray<MapData, Tally>,
    pub seen: Counters,
    interface: Interface,
    pub settings: Config,
    flags: u8,
    /// The same firewall on the host, and how far its clock is ahead of the kernel's.
    pub host: World,
    pub ahead: Nanos,
}

/// What a program's return value means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Passed,
    Dropped,
    Answered,
}

/// A rejected frame as it goes back: the link addresses exchanged, the tags kept, then what the host would answer. One to a group of
/// stations is dropped.
fn answered(frame: &[u8]) -> (Fate, Vec<u8>) {
    let mut descriptor = Descriptor::EMPTY;
    parse::parse(&frame, false, &mut descriptor).expect("a rejected packet can be read");
    let mut room = [0; answer::ROOM];
    match answer::write(&frame, &descriptor, &mut room) {
        Some(length) if frame[0] & 1 == 0 => {
            let link = &frame[12..descriptor.ip_at as usize];
            (Fate::Answered, [&frame[6..12], &frame[..6], link, &room[..length as usize]].concat())
        }
        _ => (Fate::Dropped, frame.to_vec()),
    }
}

fn typed<T: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &str) -> T {
    let map = ebpf.take_map(name).unwrap_or_else(|| panic!("the object has no map {name}"));
    T::try_from(map).unwrap_or_else(|error| panic!("map {name}: {error}"))
}

impl Kernel {
    /// Loads the object with room for so many flows.
    pub fn load(embryonic: u32, established: u32) -> Self {
        let mut loader = EbpfLoader::new();
        loader.map_max_entries(map::ESTABLISHED, established).map_max_entries(map::EMBRYONIC, embryonic);
        let mut ebpf = loader.load(OBJECT).expect("the object loads");
        for name in [program::INGRESS, program::EGRESS] {
            match ebpf.program_mut(name) {
                Some(Program::Xdp(program)) => program.load(),
                Some(Program::SchedClassifier(program)) => program.load(),
                _ => panic!("the object has no program {name}"),
            }
            .unwrap_or_else(|error| panic!("program {name}: {error:?}"));
        }
        let settings = Config {
            layout: LAYOUT_VERSION,
            timeout_scale: FULL_SCALE,
            reject_rate: u32::MAX,
            event_rate: u32::MAX,
            secret: SECRET,
            ..Config::default()
        };
        Self {
            config: typed(&mut ebpf, map::CONFIG),
            interfaces: typed(&mut ebpf, map::INTERFACES),
            rules: typed(&mut ebpf, map::RULES),
            profiles: typed(&mut ebpf, map::PROFILES),
            schedules: typed(&mut ebpf, map::SCHEDULES),
            applications: typed(&mut ebpf, map::APPLICATIONS),
            limits: typed(&mut ebpf, map::LIMITS),
            sources: typed(&mut ebpf, map::SOURCES),
            evidence: typed(&mut ebpf, map::EVIDENCE),
            strays: typed(&mut ebpf, map::STRAYS),
            strangers: typed(&mut ebpf, map::STRANGERS),
            beginnings: typed(&mut ebpf, map::BEGINNINGS),
            apart: false,
            rows: typed(&mut ebpf, map::ROWS),
            blocks: typed(&mut ebpf, map::BLOCKS),
            addresses: typed(&mut ebpf, map::ADDRESSES),
            services: typed(&mut ebpf, map::SERVICES),
            established: typed(&mut ebpf, map::ESTABLISHED),
            embryonic: typed(&mut ebpf, map::EMBRYONIC),
            fragments: typed(&mut ebpf, map::FRAGMENTS),
            histories: typed(&mut ebpf, map::HISTORIES),
            guards: typed(&mut ebpf, map::GUARDS),
            qualities: typed(&mut ebpf, map::QUALITIES),
            digests: typed(&mut ebpf, map::SEGMENTS),
            counters: typed(&mut ebpf, map::COUNTERS),
            rule_counters: typed(&mut ebpf, map::RULE_COUNTERS),
            events: typed(&mut ebpf, map::EVENTS),
            tallies: typed(&mut ebpf, map::EVENT_COUNTERS),
            ebpf,
            seen: Counters::default(),
            interface: Interface::default(),
            settings,
            flags: 0,
            host: World::with_room(embryonic as usize, established as usize),
            // So far that every flow can be made older than the machine.
            ahead: Nanos(1_000_000_000_000_000),
        }
    }

    /// What kernel and host know of the quality of a packet's flow must be the same, but for times.
    fn compare_quality(&self, frame: &[u8], arrival: Arrival) {
        let mut descriptor = Descriptor::EMPTY;
        if parse::parse(&frame, arrival.egress, &mut descriptor).is_err() {
            return;
        }
        let in_kernel = self.qualities.get(&descriptor.key, 0).ok().map(Quality::timeless);
        let on_host = self.host.quality(&descriptor.key).map(Quality::timeless);
        assert_eq!(in_kernel, on_host, "the quality that kernel and host know after {} by {arrival:?}", hex(frame));
    }

    /// What the counters say of the packet just run: one of them, once.
    pub fn counted(&mut self) -> Verdict {
        let now = self.counters();
        let before = std::mem::replace(&mut self.seen, now);
        let mut verdicts = Vec::new();
        let mut note = |count: u64, verdict| (0..count).for_each(|_| verdicts.push(verdict));
        note(now.passed - before.passed, Verdict::Learn);
        note(now.passed_without_learning - before.passed_without_learning, Verdict::NoLearn);
        note(now.link_passed - before.link_passed, Verdict::NoLearn);
        let answered = now.answered - before.answered;
        for reason in Reason::ALL {
            let drops = now.drops[reason.index()] - before.drops[reason.index()];
            let verdict = if *reason == Reason::Reject && answered == 1 { Verdict::Answer } else { Verdict::Drop(*reason) };
            note(drops, verdict);
        }
        match verdicts[..] {
            [verdict] => verdict,
            _ => panic!("one packet was counted as {verdicts:?}"),
        }
    }

    fn age_in_kernel(&mut self, key: &FlowKey, by: Nanos) {
        for table in [&mut self.established, &mut self.embryonic] {
            if let Ok(mut flow) = table.get(key, 0) {
                older(&mut flow, by);
                table.insert(key, flow, BPF_EXIST).expect("the flow was there");
            }
        }
        if let Ok(mut evidence) = self.evidence.get(key, 0) {
            for moment in [&mut evidence.created, &mut evidence.first, &mut evidence.last] {
                *moment = moment.saturating_sub(by.0);
            }
            self.evidence.insert(key, evidence, BPF_EXIST).expect("the evidence was there");
        }
        if let Ok(mut history) = self.histories.get(key, 0) {
            history.grow_older(by);
            self.histories.insert(key, history, BPF_EXIST).expect("the history was there");
        }
        if let Ok(mut guard) = self.guards.get(key, 0) {
            guard.grow_older(by);
            self.guards.insert(key, guard, BPF_EXIST).expect("the guard was there");
        }
    }

    /// A rule's totals.
    pub fn counters_of_rule(&self, rule: u16) -> RuleCounters {
        let mut sum = RuleCounters::default();
        let values = self.rule_counters.get(&rule.into(), 0).expect("the counters can be read");
        values.iter().for_each(|part| sum.add(part));
        sum
    }

    /// Tells the dataplane what interface a packet is about to come by.
    pub fn arrive(&mut self, index: u32, arrival: Arrival) {
        let interface = Interface { zone: arrival.zone, place: arrival.place, flags: self.flags, reserved: 0 };
        if interface != self.interface {
            self.interfaces.set(index, interface, 0).expect("the interface can be written");
            self.interface = interface;
        }
    }

    /// A packet's verdict, what became of it, and its bytes afterwards: as on the host.
    pub fn judge_whole(&mut self, frame: &[u8], arrival: Arrival) -> (Verdict, Fate, Vec<u8>) {
        self.arrive(LOOPBACK, arrival);
        let needed_before = [self.rule_counters().needed, self.host.rule_counters(THE_RULE).needed];
        let (fate, out) = run(&self.ebpf, frame, arrival.egress);
        let verdict = self.counted();
        self.host.set_clock(monotonic().plus(self.ahead));
        let (on_host, changed) = self.host.judge_and_change(frame, arrival);
        let totals = [self.rule_counters(), self.host.rule_counters(THE_RULE)];
        let needed = [0, 1].map(|side| (totals[side].needed > needed_before[side]).then_some(totals[side].needed_for));
        assert_eq!(needed[0], needed[1], "why the kernel and the host needed the bypass of {} by {arrival:?}", hex(frame));
        assert_eq!(verdict, on_host, "the kernel and the host over {} by {arrival:?}", hex(frame));
        let (expected, bytes) = match verdict {
            Verdict::Learn | Verdict::NoLearn => (Fate::Passed, changed),
            Verdict::Drop(_) => (Fate::Dropped, frame.to_vec()),
            Verdict::Answer => answered(frame),
        };
        self.compare_quality(frame, arrival);
        assert_eq!(fate, expected, "what the program returned for {}, which it counted as {verdict:?}", hex(frame));
        assert_eq!(hex(&out), hex(&bytes), "the bytes of {}, which was counted as {verdict:?}", hex(frame));
        if matches!(expected, Fate::Passed) && out != frame {
            assert_eq!(checksums(&out), checksums(frame), "the checksums of {} before and of {} after", hex(frame), hex(&out));
        }
        (verdict, fate, out)
    }

    /// What kernel and host remember of refusals must be the same, but for times.
    pub fn compare_evidence(&self) -> usize {
        use zerocopy::IntoBytes as _;
        let timeless = |entries: Vec<(FlowKey, Evidence)>| {
            let mut entries: Vec<_> = entries.into_iter().map(|(key, evidence)| (key, without_times(evidence))).collect();
            entries.sort_by_key(|(key, _)| key.as_bytes().to_vec());
            entries
        };
        let flows = timeless(entries(&self.evidence));
        let strays = timeless(entries(&self.strays));
        assert_eq!(timeless(self.host.evidence(evidence::Table::Flows)), flows, "what the host remembers of flows, on the left");
        assert_eq!(timeless(self.host.evidence(evidence::Table::Strays)), strays, "what the host remembers of strays, on the left");
        let sources = |entries: Vec<(Address, Stranger)>| {
            let mut entries: Vec<_> =
                entries.into_iter().map(|(source, stranger)| (source.bits(), Stranger { first: 0, last: 0, ..stranger })).collect();
            entries.sort_by_key(|(source, _)| *source);
            entries
        };
        let strangers = sources(entries(&self.strangers));
        assert_eq!(sources(self.host.strangers()), strangers, "what the host remembers of strangers, on the left");
        flows.len() + strays.len() + strangers.len()
    }

    /// Forgets refusals, once kernel and host are known to agree on them.
    fn clear_evidence(&mut self) {
        if !std::mem::take(&mut self.apart) {
            self.compare_evidence();
        }
        empty(&mut self.evidence);
        empty(&mut self.strays);
        empty(&mut self.strangers);
        let cpus = self.beginnings.get(&0, 0).expect("it can be read").len();
        let none = PerCpuValues::try_from(vec![Beginnings::default(); cpus]).expect("one for each CPU");
        self.beginnings.set(0, none, 0).expect("it can be written");
    }

    pub fn configure(&mut self) {
        self.config.set(0, self.settings, 0).expect("the settings can be written");
    }
}

/// Runs a packet: what becomes of it, and its bytes afterwards.
fn run(ebpf: &Ebpf, frame: &[u8], egress: bool) -> (Fate, Vec<u8>) {
    let mut out = vec![0; frame.len() + 256];
    let mut options = TestRunOptions::new();
    options.data_in = Some(frame);
    options.data_out = Some(&mut out);
    let result = if egress {
        let program: &SchedClassifier = program(ebpf, program::EGRESS);
        program.test_run(options)
    } else {
        let program: &Xdp = program(ebpf, program::INGRESS);
        program.test_run(options)
    };
    let result = result.unwrap_or_else(|error| panic!("{} bytes cannot be run: {error}", frame.len()));
    let fate = match (egress, result.return_value) {
        (false, XDP_PASS) | (true, TC_ACT_UNSPEC) => Fate::Passed,
        (false, XDP_DROP) | (true, TC_ACT_SHOT) => Fate::Dropped,
        (false, XDP_TX) => Fate::Answered,
        (_, value) => panic!("the program returned {value}"),
    };
    out.truncate(result.data_size_out as usize);
    (fate, out)
}

fn program<'a, P>(ebpf: &'a Ebpf, name: &str) -> &'a P
where
    &'a P: TryFrom<&'a Program>,
{
    let program = ebpf.program(name).expect("loaded above");
    program.try_into().unwrap_or_else(|_| panic!("program {name} is of another kind"))
}

/// The kernel's clock.
pub fn monotonic() -> Nanos {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Nanos(u64::try_from(now.tv_sec).expect("after boot") * 1_000_000_000 + u64::try_from(now.tv_nsec).expect("below a second"))
}

/// Evidence without what two clocks make different.
fn without_times(evidence: Evidence) -> Evidence {
    let side = |side: evidence::Side| evidence::Side { at: 0, waited: 0, backed_off: 0, ..side };
    Evidence { first: 0, last: 0, created: 0, low: side(evidence.low), high: side(evidence.high), ..evidence }
}

fn older(flow: &mut Flow, by: Nanos) {
    // A machine may not have been up for so long; then the flow's time is made shorter instead.
    let missing = by.0.saturating_sub(flow.last_seen) / Nanos::MILLISECOND;
    flow.timeout = flow.timeout.saturating_sub(u32::try_from(missing).unwrap_or(u32::MAX));
    flow.last_seen = flow.last_seen.saturating_sub(by.0);
    flow.created = flow.created.saturating_sub(by.0);
    shadow::grow_older(flow, by);
}

fn entries<K: Pod, V: Pod>(table: &HashMap<MapData, K, V>) -> Vec<(K, V)> {
    table.iter().map(|entry| entry.expect("nothing changes the table meanwhile")).collect()
}

fn empty<K: Pod, V: Pod>(table: &mut HashMap<MapData, K, V>) {
    for (key, _) in entries(table) {
        table.remove(&key).expect("the entry was there");
    }
}

fn refill<K: Pod + Copy + Eq + Hash, T: BorrowMut<MapData>>(
    trie: &mut LpmTrie<T, K, u32>,
    slot: impl Fn(&K) -> bool,
    wanted: &[(u32, K, u32)],
) {
    let old: Vec<_> = trie.keys().map(|key| key.expect("nothing changes the trie meanwhile")).filter(|key| slot(&key.data())).collect();
    for key in old {
        trie.remove(&key).expect("the prefix was there");
    }
    for (bits, data, class) in wanted {
        trie.insert(&Key::new(*bits, *data), *class, 0).expect("the trie has room");
    }
}

impl Subject for Kernel {
    fn load(&mut self, tables: &Tables) {
        let generation = self.settings.generation + 1;
        let slot = Config::slot(generation);
        let number = slot as u8;
        for (entry, rule) in (0..).zip(&tables.entries) {
            self.rules.set(slot * MAX_ENTRIES as u32 + entry, rule, 0).expect("the rule can be written");
        }
        for (number, profile) in (0..).zip(&tables.profiles) {
            self.profiles.set(slot * MAX_PROFILES as u32 + number, profile, 0).expect("the profile can be written");
        }
        self.applications.set(slot, tables.applications, 0).expect("what is recognised can be written");
        for (number, week) in (0..).zip(&tables.schedules) {
            self.schedules.set(slot * MAX_SCHEDULES as u32 + number, week, 0).expect("the hours can be written");
        }
        for (number, row) in (0..).zip(&tables.rows) {
            self.rows.set(slot * MAX_ROWS as u32 + number, row, 0).expect("the row can be written");
        }
        for (number, block) in (0..).zip(&tables.blocks) {
            self.blocks.set(slot * MAX_BLOCKS as u32 + number, block, 0).expect("the block can be written");
        }
        let addresses: Vec<_> = tables
            .addresses
            .iter()
            .map(|(side, address, bits, class)| {
                let prefix = AddressPrefix { slot: number, dimension: *side as u8, address: address.octets() };
                (AddressPrefix::FIXED_BITS + u32::from(*bits), prefix, *class)
            })
            .collect();
        refill(&mut self.addresses, |prefix| prefix.slot == number, &addresses);
        let services: Vec<_> = tables
            .services
            .iter()
            .map(|(protocol, port, bits, class)| {
                (ServicePrefix::FIXED_BITS + u32::from(*bits), ServicePrefix { slot: number, protocol: *protocol, port: *port }, *class)
            })
            .collect();
        refill(&mut self.services, |prefix| prefix.slot == number, &services);
        self.settings.generation = generation;
        self.configure();
        self.host.load(tables);
    }

    fn judge_and_change(&mut self, frame: &[u8], arrival: Arrival) -> (Verdict, Vec<u8>) {
        let (verdict, _, out) = self.judge_whole(frame, arrival);
        (verdict, out)
    }

    fn flow(&mut self, key: &FlowKey) -> Option<(Flow, bool)> {
        let established = self.established.get(key, 0).ok().map(|flow| (flow, true));
        established.or_else(|| self.embryonic.get(key, 0).ok().map(|flow| (flow, false)))
    }

    fn advance(&mut self, by: Nanos) {
        for (key, _, _) in self.flows() {
            self.age_in_kernel(&key, by);
        }
        let fragments = entries(&self.fragments);
        // A datagram has no time of its own that could be made shorter, so the machine has to have been up for as long.
        while !fragments.is_empty() && monotonic().0 < by.0 {
            thread::sleep(Duration::from_millis(100));
        }
        for (key, mut fragment) in fragments {
            fragment.since = fragment.since.saturating_sub(by.0);
            self.fragments.insert(key, fragment, BPF_EXIST).expect("the fragment was there");
        }
        self.ahead = self.ahead.plus(by);
    }

    fn clear(&mut self) {
        empty(&mut self.established);
        empty(&mut self.embryonic);
        empty(&mut self.fragments);
        empty(&mut self.histories);
        empty(&mut self.guards);
        empty(&mut self.qualities);
        empty(&mut self.digests);
        empty(&mut self.sources);
        self.clear_evidence();
        self.limits.set(THE_RULE.into(), Counts::default(), 0).expect("the counts can be written");
        self.host.clear();
    }

    fn set_flags(&mut self, flags: u32) {
        self.settings.flags = flags;
        self.configure();
        self.host.set_flags(flags);
    }

    fn set_software(&mut self, software: bool) {
        self.flags = if software { interface_flags::UNFINISHED_CHECKSUMS } else { 0 };
        self.host.set_software(software);
    }

    fn flows(&mut self) -> Vec<(FlowKey, Flow, bool)> {
        let of = |table, established| entries(table).into_iter().map(move |(key, flow)| (key, flow, established));
        of(&self.established, true).chain(of(&self.embryonic, false)).collect()
    }

    fn age(&mut self, key: &FlowKey, by: Nanos) {
        self.age_in_kernel(key, by);
        World::age(&self.host, key, by);
    }

    fn listen(&mut self, kinds: u32, rate: u32) {
        (self.settings.event_kinds, self.settings.event_rate) = (kinds, rate);
        self.configure();
    }

    fn take_events(&mut self) -> Vec<event::Record> {
        let mut records = Vec::new();
        while let Some(item) = self.events.next() {
            records.push(event::Record::read_from_bytes(&item).expect("an item of the ring is one record"));
        }
        records
    }

    fn tally(&mut self) -> Tally {
        let tallies = self.tallies.get(&0, 0).expect("the counters can be read");
        tallies.iter().fold(Tally::default(), |sum, part| Tally {
            sent: sum.sent + part.sent,
            limited: sum.limited + part.limited,
            lost: sum.lost + part.lost,
        })
    }

    fn counters(&mut self) -> Counters {
        let mut sum = Counters::default();
        for place in PLACES {
            let values = self.counters.get(&place.into(), 0).expect("the counters can be read");
            values.iter().for_each(|part| sum.add(part));
        }
        sum
    }

    fn rule_counters(&mut self) -> RuleCounters {
        self.counters_of_rule(THE_RULE)
    }

    fn hold_datagrams(&mut self, held: bool) {
        for (key, fragment) in entries(&self.fragments) {
            let fragment = Fragment { lock: u32::from(held), ..fragment };
            self.fragments.insert(key, fragment, BPF_EXIST).expect("the datagram was there");
        }
        self.host.hold_datagrams(held);
    }

    fn race(&mut self, frames: [&[u8]; 2], arrival: Arrival) -> [bool; 2] {
        let interface = Interface { zone: arrival.zone, place: arrival.place, flags: 0, reserved: 0 };
        self.interfaces.set(LOOPBACK, interface, 0).expect("the interface can be written");
        self.interface = interface;
        self.apart = true;
        let ebpf = &self.ebpf;
        let start = Barrier::new(2);
        let passes = |frame| {
            start.wait();
            run(ebpf, frame, arrival.egress).0 == Fate::Passed
        };
        let [first, second] = frames;
        let passed = thread::scope(|scope| {
            let other = scope.spawn(|| passes(second));
            [passes(first), other.join().expect("the other thread ends")]
        });
        self.seen = self.counters();
        self.host.set_clock(monotonic().plus(self.ahead));
        // The host has one CPU: what passed in the kernel goes first there.
        let (first, then): (Vec<_>, Vec<_>) = frames.into_iter().zip(passed).partition(|(_, passed)| *passed);
        for (frame, passed) in first.into_iter().chain(then) {
            assert_eq!(World::judge(&self.host, frame, arrival).passes(), passed, "the host over {}", hex(frame));
        }
        passed
    }
}
