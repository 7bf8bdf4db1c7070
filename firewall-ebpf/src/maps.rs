//! Every map of the dataplane: what it holds, who writes it and how it is sized. Names are those of [`firewall_common::abi::map`].

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, bpf_spin_lock},
    btf_maps,
    macros::{btf_map, map},
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf},
};
use firewall_common::{
    application::Applications,
    config::{self, Config, Interface},
    counter::{COUNTER_PLACES, Counters, RuleCounters},
    event::{self, Record, Tally, rate::Rate},
    evidence::{self, Beginnings, Evidence, Stranger},
    flow::{Address, Flow, FlowKey},
    fragment::{Fragment, FragmentKey},
    guard::Guard,
    hours::{MAX_SCHEDULES, Week},
    limit::{self, Counts, Source},
    normalize::{
        Profile, Room,
        history::History,
        profile::MAX_PROFILES,
        retransmission::{Digest, MAX_SEGMENTS, Start},
    },
    quality::Quality,
    rule::{self, AddressPrefix, Block, Row, Rule, ServicePrefix},
    visit::Visit,
};

/// [`Flow`] as the kernel must see it: a lock first, which only the lock helpers touch.
#[repr(C, align(8))]
pub struct LockedFlow {
    pub lock: bpf_spin_lock,
    rest: [u32; size_of::<Flow>() / 4 - 1],
}

const _: () = assert!(size_of::<LockedFlow>() == size_of::<Flow>());

/// Flows both sides have confirmed. Never evicted by the kernel. The dataplane inserts, changes under the lock and removes what it finds
/// expired; the controller's sweep removes the rest. Sized at start.
#[btf_map]
pub static ESTABLISHED: btf_maps::HashMap<FlowKey, LockedFlow, { config::DEFAULT_ESTABLISHED as usize }> = btf_maps::HashMap::new();

/// Flows not yet confirmed by both sides. A flood churns this map and no other. Sized at start.
#[map]
pub static EMBRYONIC: LruHashMap<FlowKey, Flow> = LruHashMap::with_max_entries(config::DEFAULT_EMBRYONIC, 0);

/// Datagrams in fragments. Written by the dataplane alone, under the lock in each record.
#[map]
pub static FRAGMENTS: LruHashMap<FragmentKey, Fragment> = LruHashMap::with_max_entries(config::DEFAULT_FRAGMENTS, 0);

/// The settings block. The controller maps it into its memory and writes single aligned fields; the dataplane reads.
#[map]
pub static CONFIG: Array<Config> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Zone and counter place of each interface, by interface index. Written by the controller.
#[map]
pub static INTERFACES: Array<Interface> = Array::with_max_entries(config::MAX_INTERFACE_INDEX, 0);

/// The entries of both slots: slot * MAX_ENTRIES + entry. Written by the controller, only in the slot not in force.
#[map]
pub static RULES: Array<Rule> = Array::with_max_entries(2 * rule::MAX_ENTRIES as u32, 0);

/// Normalizer profiles of both slots: slot * MAX_PROFILES + number. Written as RULES.
#[map]
pub static PROFILES: Array<Profile> = Array::with_max_entries(2 * MAX_PROFILES as u32, 0);

/// Hours of both slots: slot * MAX_SCHEDULES + number. Written as RULES.
#[map]
pub static SCHEDULES: Array<Week> = Array::with_max_entries(2 * MAX_SCHEDULES as u32, 0);

/// What is recognised, by slot. Written as RULES.
#[map]
pub static APPLICATIONS: Array<Applications> = Array::with_max_entries(2, 0);

/// What the normalizer remembers of established flows whose profile asks for it. Sized as ESTABLISHED, and memory is taken for what is there
/// only. The dataplane inserts, changes and removes with the flow; the controller's sweep removes the rest.
#[map]
pub static HISTORIES: HashMap<FlowKey, History> = HashMap::with_max_entries(config::DEFAULT_ESTABLISHED, BPF_F_NO_PREALLOC);

/// Where packets of established flows are lost, of those of which something out of the ordinary was seen. Sized and written as HISTORIES.
#[map]
pub static QUALITIES: HashMap<FlowKey, Quality> = HashMap::with_max_entries(config::DEFAULT_ESTABLISHED, BPF_F_NO_PREALLOC);

/// What an entry of QUALITIES begins as: nothing. Nobody writes it, and on the stack there is no room for one.
#[map]
pub static NO_QUALITY: Array<Quality> = Array::with_max_entries(1, 0);

/// [`Guard`] as the kernel must see it: see [`LockedFlow`].
#[repr(C, align(8))]
pub struct LockedGuard {
    pub lock: bpf_spin_lock,
    rest: [u32; size_of::<Guard>() / 4 - 1],
}

const _: () = assert!(size_of::<LockedGuard>() == size_of::<Guard>());

/// What guards remember of established flows whose rule has one. As HISTORIES, and changed under the entry's lock.
#[btf_map]
pub static GUARDS: btf_maps::HashMap<FlowKey, LockedGuard, { config::DEFAULT_ESTABLISHED as usize }, { BPF_F_NO_PREALLOC as usize }> =
    btf_maps::HashMap::new();

/// What an entry of GUARDS begins as, see NO_QUALITY.
#[map]
pub static NO_GUARD: Array<Guard> = Array::with_max_entries(1, 0);

/// Digests of recent data, for profiles that check retransmissions. Written by the dataplane alone.
#[map]
pub static SEGMENTS: LruHashMap<Start, Digest> = LruHashMap::with_max_entries(MAX_SEGMENTS, 0);

/// Where this CPU works on a segment.
#[map]
pub static ROOM: PerCpuArray<Room> = PerCpuArray::with_max_entries(1, 0);

/// Where this CPU sums bytes.
#[map]
pub static SUM: PerCpuArray<[u8; crate::sum::CHUNK]> = PerCpuArray::with_max_entries(1, 0);

/// Rows of both slots: slot * MAX_ROWS + row. Written as RULES.
#[map]
pub static ROWS: Array<Row> = Array::with_max_entries(2 * rule::MAX_ROWS as u32, 0);

/// Blocks of the rows of both slots: slot * MAX_BLOCKS + block. Written as RULES.
#[map]
pub static BLOCKS: Array<Block> = Array::with_max_entries(2 * rule::MAX_BLOCKS as u32, 0);

/// Row of an address, per slot and side. Written as RULES.
#[map]
pub static ADDRESSES: LpmTrie<AddressPrefix, u32> = LpmTrie::with_max_entries(rule::MAX_ADDRESS_PREFIXES, 0);

/// Row of a service, per slot. Written as RULES.
#[map]
pub static SERVICES: LpmTrie<ServicePrefix, u32> = LpmTrie::with_max_entries(rule::MAX_SERVICE_PREFIXES, 0);

/// Totals by interface place. Written by `account` alone; the controller moves those of a place it gives to another interface.
#[map]
pub static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(COUNTER_PLACES as u32, 0);

/// Totals by rule number. Written by `account` alone; the controller clears a number before it gives it to another rule.
#[map]
pub static RULE_COUNTERS: PerCpuArray<RuleCounters> = PerCpuArray::with_max_entries(rule::MAX_RULE_NUMBERS as u32, 0);

/// One-sided established bypass flows by rule number. The dataplane adds one at a time, the controller's sweep stores the true number.
#[map]
pub static ONE_SIDED: Array<u32> = Array::with_max_entries(rule::MAX_RULE_NUMBERS as u32, 0);

/// What counts against each rule's limits, by rule number. The dataplane adds; the controller, which maps it into its memory, makes good what
/// the dataplane does not see. Both do so by atomic additions.
#[map]
pub static LIMITS: Array<Counts> = Array::with_max_entries(rule::MAX_RULE_NUMBERS as u32, BPF_F_MMAPABLE);

/// The same of each source, under rules that limit them by source. Written as LIMITS, but the controller has to write a whole element.
#[map]
pub static SOURCES: LruHashMap<Source, Counts> = LruHashMap::with_max_entries(limit::MAX_SOURCES, 0);

/// Rule names by number: the controller's memory across restarts. The dataplane does not read it.
#[map]
pub static RULE_NAMES: Array<[u8; rule::RULE_NAME_LENGTH]> = Array::with_max_entries(rule::MAX_RULE_NUMBERS as u32, 0);

/// Zone names by number: the controller's memory across restarts. The dataplane does not read it.
#[map]
pub static ZONE_NAMES: Array<[u8; rule::ZONE_NAME_LENGTH]> = Array::with_max_entries(rule::MAX_ZONES as u32, 0);

/// What happened to flows and packets, for the controller, which alone reads it. Empty unless somebody listens.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(event::RING_BYTES, 0);

/// What became of the events. Written where they are sent, and nowhere else.
#[map]
pub static EVENT_COUNTERS: PerCpuArray<Tally> = PerCpuArray::with_max_entries(1, 0);

/// The events' rate on each CPU, by the number of their kind.
#[map]
pub static EVENT_RATES: PerCpuArray<Rate> = PerCpuArray::with_max_entries(event::Kind::SLOTS as u32, 0);

/// Where this CPU puts an event's record together.
#[map]
pub static EVENT_SCRATCH: PerCpuArray<Record> = PerCpuArray::with_max_entries(1, 0);

/// What is known of established flows whose packets a stateful check refused. The dataplane inserts and changes; the controller forgets what is
/// old. The kernel evicts the oldest.
#[map]
pub static EVIDENCE: LruHashMap<FlowKey, Evidence> = LruHashMap::with_max_entries(evidence::MAX_FLOWS, 0);

/// The same of packets that are of no established flow, by conversation.
#[map]
pub static STRAYS: LruHashMap<FlowKey, Evidence> = LruHashMap::with_max_entries(evidence::MAX_STRAYS, 0);

/// The same by source.
#[map]
pub static STRANGERS: LruHashMap<Address, Stranger> = LruHashMap::with_max_entries(evidence::MAX_STRANGERS, 0);

/// How many entries of these this CPU has begun in this second.
#[map]
pub static BEGINNINGS: PerCpuArray<Beginnings> = PerCpuArray::with_max_entries(1, 0);

/// What an entry of EVIDENCE or STRAYS begins as, see NO_QUALITY.
#[map]
pub static NO_EVIDENCE: Array<Evidence> = Array::with_max_entries(1, 0);

/// When a message of each kind was last sent to the controller's log, by the number of the kind.
#[map]
pub static NOTICES: Array<u64> = Array::with_max_entries(8, 0);

/// How many rejected packets this CPU has answered in the second that began at `since`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Answers {
    pub since: u64,
    pub answered: u64,
}

/// The answers' rate, one element per CPU.
#[map]
pub static ANSWERS: PerCpuArray<Answers> = PerCpuArray::with_max_entries(1, 0);

/// Where this CPU puts a new flow's record together: it is too large for the stack.
#[map]
pub static SCRATCH: PerCpuArray<Flow> = PerCpuArray::with_max_entries(1, 0);

/// Where this CPU keeps the visit of the packet it judges, of the ingress program and of the egress one: the stack is short. Neither program is
/// interrupted by another run of itself on its CPU, for both run with the kernel's bottom halves off.
#[map]
pub static VISITS: PerCpuArray<Visit> = PerCpuArray::with_max_entries(2, 0);

/// Where this CPU keeps the visit of a packet that an ICMP error quotes.
#[map]
pub static QUOTED: PerCpuArray<Visit> = PerCpuArray::with_max_entries(1, 0);

/// Where this CPU puts a new datagram's record together. Its lock stays free.
#[map]
pub static FRAGMENT_SCRATCH: PerCpuArray<Fragment> = PerCpuArray::with_max_entries(1, 0);
