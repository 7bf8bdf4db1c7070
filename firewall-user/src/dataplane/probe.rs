//! The dataplane once more, for single packets: the same object with tables of its own, run by `BPF_PROG_TEST_RUN`. It is attached to
//! nothing and pinned nowhere; what it learns, counts and tells goes with it.

use std::{io, mem::offset_of};

use aya::{
    Ebpf, TestRun as _, TestRunOptions,
    maps::{MapData, MapError, PerCpuArray, PerCpuValues, RingBuf},
    programs::{Program, ProgramInfo, SchedClassifier, Xdp},
    util::nr_cpus,
};
use firewall_common::{
    abi::{map, program},
    config::{Config, Interface},
    env::Arrival,
    event::Record,
    flow::{Flow, FlowKey},
    fragment::{Fragment, FragmentKey},
    guard::Guard,
    limit::{Counts, Source},
    normalize::history::History,
    reason::Reason,
    time::Nanos,
    verdict::Verdict,
    visit::Visit,
};
use zerocopy::{FromBytes as _, Immutable, IntoBytes};

use super::{
    DataplaneError, Maps, Pins, TableName,
    flows::BPF_F_LOCK,
    load::load_beside,
    maps::{locked, typed},
    slots::Slots,
};
use crate::policy::Lowered;

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;
const TC_ACT_UNSPEC: u32 = u32::MAX;
const TC_ACT_SHOT: u32 = 2;

/// Room for a frame that has become longer.
const MORE: usize = 256;
/// Least bytes of a frame that the kernel runs a program on: an Ethernet header.
const LEAST_FRAME: usize = 14;
/// Most bytes of a frame that the kernel runs the egress program on: it wants the frame, and what it keeps around one, in a page.
const MOST_SENT: usize = 3_072;

type RawVisit = [u8; size_of::<Visit>()];

/// `struct xdp_md`, as the kernel takes it for a test run.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct XdpContext {
    data: u32,
    data_end: u32,
    data_meta: u32,
    ingress_ifindex: u32,
    rx_queue_index: u32,
    egress_ifindex: u32,
}

/// The beginning of `struct __sk_buff`; what follows may be left out when it is zero.
#[derive(Default, IntoBytes, Immutable)]
#[repr(C)]
struct SkbContext {
    before: [u32; 9],
    ingress_ifindex: u32,
    ifindex: u32,
}

/// A second instance of the dataplane.
pub struct Probe {
    ebpf: Ebpf,
    maps: Maps,
    events: RingBuf<MapData>,
    visits: PerCpuArray<MapData, RawVisit>,
}

/// What the dataplane remembers of a packet's flow or datagram.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    pub flow: Option<(Flow, bool)>,
    pub history: Option<History>,
    pub guard: Option<Guard>,
}

/// What became of a packet, as the program's return value tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Passes,
    Dropped,
    Answered,
}

/// One packet's run.
#[derive(Clone, Debug)]
pub struct Ran {
    pub fate: Fate,
    /// As it was counted.
    pub verdict: Verdict,
    /// The frame afterwards.
    pub bytes: Vec<u8>,
    /// When it was judged.
    pub now: Nanos,
    /// Zone the kernel's route lookup found.
    pub to_zone: u8,
    pub events: Vec<Record>,
}

impl std::fmt::Debug for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Probe").field("maps", &self.maps).finish_non_exhaustive()
    }
}

impl Maps {
    /// What a flow's guards remember of it.
    pub fn guard(&self, key: &FlowKey) -> Result<Option<Guard>, DataplaneError> {
        found(locked(&self.guards).get(key, BPF_F_LOCK), map::GUARDS)
    }

    /// What is known of a flow: its record, whether it is established, and what the normalizer and its guards remember of it.
    pub fn known(&self, key: &FlowKey) -> Result<Known, DataplaneError> {
        let established = self.table(TableName::Established).get(key)?.map(|flow| (flow, true));
        let flow = match established {
            None => self.table(TableName::Embryonic).get(key)?.map(|flow| (flow, false)),
            found => found,
        };
        let history = found(locked(&self.histories).get(key, 0), map::HISTORIES)?;
        Ok(Known { flow, history, guard: self.guard(key)? })
    }

    /// What has passed of a datagram in fragments.
    pub fn fragment(&self, key: &FragmentKey) -> Result<Option<Fragment>, DataplaneError> {
        found(locked(&self.fragments).get(key, 0), map::FRAGMENTS)
    }
}

fn found<T>(result: Result<T, MapError>, name: &str) -> Result<Option<T>, DataplaneError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(error) => Err(DataplaneError::map(name)(error)),
    }
}

impl Probe {
    /// Loads the object with room for `room` flows, and of its programs those that are asked for. The policy is `policy`, or the one in
    /// force of the instance whose pins these are.
    pub fn load(pins: &Pins, room: u32, policy: Option<&Lowered>, programs: &[&'static str]) -> Result<Self, DataplaneError> {
        let mut ebpf = load_beside(pins, room, policy, programs)?;
        let visits = typed(&mut ebpf, map::VISITS)?;
        let events = typed(&mut ebpf, map::EVENTS)?;
        let maps = Maps::take(&mut ebpf)?;
        if let Some(policy) = policy {
            Slots::fill_first(&maps, policy)?;
        }
        Ok(Self { ebpf, maps, events, visits })
    }

    /// The settings packets are judged under.
    pub fn configure(&self, config: &Config) {
        self.maps.config.write(config);
    }

    pub fn set_interface(&self, index: u32, interface: Interface) -> Result<(), DataplaneError> {
        self.maps.set_interface(index, interface)
    }

    pub fn set_one_sided(&self, rule: u16, flows: u32) -> Result<(), DataplaneError> {
        self.maps.set_one_sided(rule, flows)
    }

    pub fn set_limit_counts(&self, rule: u16, counts: &Counts) {
        self.maps.limits.set(rule, counts);
    }

    pub fn set_source_counts(&self, source: &Source, counts: &Counts) -> Result<(), DataplaneError> {
        locked(&self.maps.sources).insert(source, counts, 0).map_err(DataplaneError::map(map::SOURCES))
    }

    /// What its own tables know of a flow.
    pub fn known(&self, key: &FlowKey) -> Result<Known, DataplaneError> {
        self.maps.known(key)
    }

    pub fn fragment(&self, key: &FragmentKey) -> Result<Option<Fragment>, DataplaneError> {
        self.maps.fragment(key)
    }

    /// Makes its tables know this of a flow.
    pub fn put(&self, key: &FlowKey, known: &Known) -> Result<(), DataplaneError> {
        if let Some((flow, established)) = known.flow {
            let name = if established { map::ESTABLISHED } else { map::EMBRYONIC };
            let table = if established { &self.maps.established } else { &self.maps.embryonic };
            locked(table).insert(key, Flow { lock: 0, ..flow }, 0).map_err(DataplaneError::map(name))?;
        }
        if let Some(history) = &known.history {
            locked(&self.maps.histories).insert(key, history, 0).map_err(DataplaneError::map(map::HISTORIES))?;
        }
        if let Some(guard) = &known.guard {
            let guard = Guard { lock: 0, ..*guard };
            locked(&self.maps.guards).insert(key, guard, 0).map_err(DataplaneError::map(map::GUARDS))?;
        }
        Ok(())
    }

    pub fn put_fragment(&self, key: &FragmentKey, fragment: &Fragment) -> Result<(), DataplaneError> {
        let fragment = Fragment { lock: 0, ..*fragment };
        locked(&self.maps.fragments).insert(key, fragment, 0).map_err(DataplaneError::map(map::FRAGMENTS))
    }

    /// Whether the kernel runs a program on such a frame.
    #[must_use]
    pub const fn runs(frame: &[u8], egress: bool) -> bool {
        frame.len() >= LEAST_FRAME && !(egress && frame.len() > MOST_SENT)
    }

    /// Judges one frame as if it came in by the interface, or were about to leave by it.
    pub fn run(&mut self, frame: &[u8], index: u32, arrival: Arrival) -> Result<Ran, DataplaneError> {
        self.forget_visits()?;
        let (value, bytes) = self.test_run(frame, index, arrival.egress)?;
        let fate = match (arrival.egress, value) {
            (false, XDP_PASS) | (true, TC_ACT_UNSPEC) => Fate::Passes,
            (false, XDP_DROP) | (true, TC_ACT_SHOT) => Fate::Dropped,
            (false, XDP_TX) => Fate::Answered,
            (_, value) => return Err(strange(format!("the program returned {value}"))),
        };
        let verdict = self.counted(arrival.place)?;
        let (now, to_zone) = self.visit(arrival.egress)?;
        Ok(Ran { fate, verdict, bytes, now, to_zone, events: self.told() })
    }

    fn test_run(&self, frame: &[u8], index: u32, egress: bool) -> Result<(u32, Vec<u8>), DataplaneError> {
        let mut bytes = vec![0; frame.len() + MORE];
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut bytes);
        let name = if egress { program::EGRESS } else { program::INGRESS };
        let missing = || DataplaneError::ProgramMissing { name };
        let loaded = self.ebpf.program(name).ok_or_else(missing)?;
        let result = if egress {
            let context = SkbContext { ifindex: index, ..SkbContext::default() };
            options.ctx_in = Some(context.as_bytes());
            <&SchedClassifier>::try_from(loaded).and_then(|program| program.test_run(options))
        } else {
            let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
            let context =
                XdpContext { data: 0, data_end: length, data_meta: 0, ingress_ifindex: index, rx_queue_index: 0, egress_ifindex: 0 };
            options.ctx_in = Some(context.as_bytes());
            <&Xdp>::try_from(loaded).and_then(|program| program.test_run(options))
        };
        let result = result.map_err(DataplaneError::program(name, "run on a packet"))?;
        bytes.truncate(result.data_size_out as usize);
        Ok((result.return_value, bytes))
    }

    /// What the counters say of the packet just run: one of them, once.
    fn counted(&self, place: u8) -> Result<Verdict, DataplaneError> {
        let now = self.maps.counters_of(place)?;
        let mut verdicts = Vec::new();
        let mut note = |count: u64, verdict| (0..count).for_each(|_| verdicts.push(verdict));
        note(now.passed, Verdict::Learn);
        note(now.passed_without_learning + now.link_passed, Verdict::NoLearn);
        for reason in Reason::ALL {
            let verdict = if *reason == Reason::Reject && now.answered == 1 { Verdict::Answer } else { Verdict::Drop(*reason) };
            note(now.drops[reason.index()], verdict);
        }
        // They begin at zero for the next one.
        self.maps.retire_counters(place)?;
        match verdicts[..] {
            [verdict] => Ok(verdict),
            _ => Err(strange(format!("one packet was counted as {verdicts:?}"))),
        }
    }

    fn forget_visits(&mut self) -> Result<(), DataplaneError> {
        let failed = |source| DataplaneError::System { what: "counting the CPUs", source };
        let cpus = nr_cpus().map_err(|(_, error)| failed(error))?;
        for program in 0..2 {
            let blank: PerCpuValues<RawVisit> = PerCpuValues::try_from(vec![[0; size_of::<Visit>()]; cpus]).map_err(failed)?;
            self.visits.set(program, blank, 0).map_err(DataplaneError::map(map::VISITS))?;
        }
        Ok(())
    }

    /// When the packet just run was judged, and the zone it goes to.
    fn visit(&self, egress: bool) -> Result<(Nanos, u8), DataplaneError> {
        const NOW: usize = offset_of!(Visit, now);
        let visits = self.visits.get(&u32::from(egress), 0).map_err(DataplaneError::map(map::VISITS))?;
        let mut found = visits.iter().filter_map(|visit| {
            let now = u64::from_ne_bytes(visit[NOW..NOW + size_of::<u64>()].try_into().ok()?);
            (now != 0).then_some((Nanos(now), visit[offset_of!(Visit, to_zone)]))
        });
        found.next().ok_or_else(|| strange("the program judged no packet".to_owned()))
    }

    fn told(&mut self) -> Vec<Record> {
        let mut records = Vec::new();
        while let Some(item) = self.events.next() {
            records.extend(Record::read_from_bytes(&item));
        }
        records
    }

    /// The kernel's digest of a program's instructions: of the one loaded here, and of the one that judges the instance's packets.
    pub fn tags(&self, pins: &Pins, name: &'static str) -> Result<(u64, Option<u64>), DataplaneError> {
        let failed = DataplaneError::program(name, "looked at");
        let own = match self.ebpf.program(name) {
            Some(Program::Xdp(program)) => program.info(),
            Some(Program::SchedClassifier(program)) => program.info(),
            _ => return Err(DataplaneError::ProgramMissing { name }),
        };
        let live = ProgramInfo::from_pin(pins.programs().join(name)).ok().map(|info| info.tag());
        Ok((own.map_err(failed)?.tag(), live))
    }
}

fn strange(words: String) -> DataplaneError {
    DataplaneError::System { what: "running a packet", source: io::Error::other(words) }
}
