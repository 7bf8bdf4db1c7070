//! Typed handles on the dataplane's maps.

use std::{
    os::fd::AsFd as _,
    sync::{Mutex, MutexGuard, PoisonError},
};

use aya::{
    Ebpf, Pod,
    maps::{Array, HashMap, IterableMap as _, LpmTrie, Map, MapData, MapError, PerCpuArray},
};
use firewall_common::{
    abi::map,
    application::Applications,
    config::Interface,
    counter::{Counters, RuleCounters},
    evidence::{Beginnings, Evidence, Stranger},
    flow::{Address, Flow, FlowKey},
    fragment::{Fragment, FragmentKey},
    guard::Guard,
    hours::Week,
    limit::{Counts, Source},
    normalize::{Profile, history::History},
    quality::Quality,
    rule::{self, AddressPrefix, Block, Row, Rule, ServicePrefix},
};

use super::{DataplaneError, bpf::read_table, config::ConfigBlock, events::Tallies, limits::LimitBlock};

pub(super) type Table<K, V> = HashMap<MapData, K, V>;

/// Every map but the ring buffers. Shared by the API, the sweep and the policy loader: each map has its own lock, held for single
/// calls only.
pub struct Maps {
    pub(super) established: Mutex<Table<FlowKey, Flow>>,
    pub(super) embryonic: Mutex<Table<FlowKey, Flow>>,
    pub(super) fragments: Mutex<Table<FragmentKey, Fragment>>,
    pub(super) histories: Mutex<Table<FlowKey, History>>,
    pub(super) qualities: Mutex<Table<FlowKey, Quality>>,
    pub(super) guards: Mutex<Table<FlowKey, Guard>>,
    pub(super) interfaces: Mutex<Array<MapData, Interface>>,
    pub(super) rules: Mutex<Array<MapData, Rule>>,
    pub(super) profiles: Mutex<Array<MapData, Profile>>,
    pub(super) schedules: Mutex<Array<MapData, Week>>,
    pub(super) applications: Mutex<Array<MapData, Applications>>,
    pub(super) rows: Mutex<Array<MapData, Row>>,
    pub(super) blocks: Mutex<Array<MapData, Block>>,
    pub(super) addresses: Mutex<LpmTrie<MapData, AddressPrefix, u32>>,
    pub(super) services: Mutex<LpmTrie<MapData, ServicePrefix, u32>>,
    pub(super) counters: Mutex<PerCpuArray<MapData, Counters>>,
    pub(super) rule_counters: Mutex<PerCpuArray<MapData, RuleCounters>>,
    pub(super) event_counters: Mutex<Tallies>,
    pub(super) one_sided: Mutex<Array<MapData, u32>>,
    pub(super) sources: Mutex<Table<Source, Counts>>,
    pub(super) evidence: Mutex<Table<FlowKey, Evidence>>,
    pub(super) strays: Mutex<Table<FlowKey, Evidence>>,
    pub(super) strangers: Mutex<Table<Address, Stranger>>,
    pub(super) beginnings: Mutex<PerCpuArray<MapData, Beginnings>>,
    pub(super) rule_names: Mutex<Array<MapData, [u8; rule::RULE_NAME_LENGTH]>>,
    pub(super) zone_names: Mutex<Array<MapData, [u8; rule::ZONE_NAME_LENGTH]>>,
    pub config: ConfigBlock,
    pub limits: LimitBlock,
}

impl std::fmt::Debug for Maps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Maps").field("config", &self.config).finish_non_exhaustive()
    }
}

/// A map's lock. A panic elsewhere leaves a map whole: every write is one system call.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Maps {
    /// Takes the maps out of the loaded object.
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, DataplaneError> {
        let config = match ebpf.take_map(map::CONFIG) {
            Some(Map::Array(data)) => ConfigBlock::map(data.fd())?,
            _ => return Err(DataplaneError::MapMissing { name: map::CONFIG }),
        };
        let limits = match ebpf.take_map(map::LIMITS) {
            Some(Map::Array(data)) => LimitBlock::map(data.fd())?,
            _ => return Err(DataplaneError::MapMissing { name: map::LIMITS }),
        };
        Ok(Self {
            established: Mutex::new(typed(ebpf, map::ESTABLISHED)?),
            embryonic: Mutex::new(typed(ebpf, map::EMBRYONIC)?),
            fragments: Mutex::new(typed(ebpf, map::FRAGMENTS)?),
            histories: Mutex::new(typed(ebpf, map::HISTORIES)?),
            qualities: Mutex::new(typed(ebpf, map::QUALITIES)?),
            guards: Mutex::new(typed(ebpf, map::GUARDS)?),
            interfaces: Mutex::new(typed(ebpf, map::INTERFACES)?),
            rules: Mutex::new(typed(ebpf, map::RULES)?),
            profiles: Mutex::new(typed(ebpf, map::PROFILES)?),
            schedules: Mutex::new(typed(ebpf, map::SCHEDULES)?),
            applications: Mutex::new(typed(ebpf, map::APPLICATIONS)?),
            rows: Mutex::new(typed(ebpf, map::ROWS)?),
            blocks: Mutex::new(typed(ebpf, map::BLOCKS)?),
            addresses: Mutex::new(typed(ebpf, map::ADDRESSES)?),
            services: Mutex::new(typed(ebpf, map::SERVICES)?),
            counters: Mutex::new(typed(ebpf, map::COUNTERS)?),
            rule_counters: Mutex::new(typed(ebpf, map::RULE_COUNTERS)?),
            event_counters: Mutex::new(typed(ebpf, map::EVENT_COUNTERS)?),
            one_sided: Mutex::new(typed(ebpf, map::ONE_SIDED)?),
            sources: Mutex::new(typed(ebpf, map::SOURCES)?),
            evidence: Mutex::new(typed(ebpf, map::EVIDENCE)?),
            strays: Mutex::new(typed(ebpf, map::STRAYS)?),
            strangers: Mutex::new(typed(ebpf, map::STRANGERS)?),
            beginnings: Mutex::new(typed(ebpf, map::BEGINNINGS)?),
            rule_names: Mutex::new(typed(ebpf, map::RULE_NAMES)?),
            zone_names: Mutex::new(typed(ebpf, map::ZONE_NAMES)?),
            config,
            limits,
        })
    }

    /// Names by number, as an earlier controller left them.
    pub fn rule_names(&self) -> Result<Vec<Option<String>>, DataplaneError> {
        read_names(&locked(&self.rule_names), map::RULE_NAMES)
    }

    /// As [`Maps::rule_names`], for zones.
    pub fn zone_names(&self) -> Result<Vec<Option<String>>, DataplaneError> {
        read_names(&locked(&self.zone_names), map::ZONE_NAMES)
    }

    pub fn set_rule_name(&self, number: u16, name: &str) -> Result<(), DataplaneError> {
        let text = padded(name);
        locked(&self.rule_names).set(number.into(), text, 0).map_err(DataplaneError::map(map::RULE_NAMES))
    }

    pub fn set_zone_name(&self, number: u8, name: &str) -> Result<(), DataplaneError> {
        let text = padded(name);
        locked(&self.zone_names).set(number.into(), text, 0).map_err(DataplaneError::map(map::ZONE_NAMES))
    }

    /// What the dataplane knows of the interface at `index`.
    pub fn interface(&self, index: u32) -> Result<Interface, DataplaneError> {
        locked(&self.interfaces).get(&index, 0).map_err(DataplaneError::map(map::INTERFACES))
    }

    pub fn set_interface(&self, index: u32, interface: Interface) -> Result<(), DataplaneError> {
        locked(&self.interfaces).set(index, interface, 0).map_err(DataplaneError::map(map::INTERFACES))
    }

    /// One-sided established bypass flows the dataplane counts against a rule.
    pub fn one_sided(&self, rule: u16) -> Result<u32, DataplaneError> {
        locked(&self.one_sided).get(&rule.into(), 0).map_err(DataplaneError::map(map::ONE_SIDED))
    }

    /// The same of every rule, by number.
    pub fn all_one_sided(&self) -> Result<Vec<u32>, DataplaneError> {
        let handle = locked(&self.one_sided);
        let mut counts = vec![0; handle.len() as usize];
        let read = read_table(handle.map().fd().as_fd(), false, |rule: u32, flows: u32| {
            if let Some(count) = counts.get_mut(rule as usize) {
                *count = flows;
            }
        });
        read.map_err(|source| DataplaneError::System { what: "reading the one-sided flows of all rules", source })?;
        Ok(counts)
    }

    pub fn set_one_sided(&self, rule: u16, flows: u32) -> Result<(), DataplaneError> {
        locked(&self.one_sided).set(rule.into(), flows, 0).map_err(DataplaneError::map(map::ONE_SIDED))
    }
}

pub(super) fn typed<T>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, DataplaneError>
where
    T: TryFrom<Map, Error = MapError>,
{
    let map = ebpf.take_map(name).ok_or(DataplaneError::MapMissing { name })?;
    T::try_from(map).map_err(DataplaneError::map(name))
}

pub(super) fn read_names<const N: usize>(names: &Array<MapData, [u8; N]>, map: &'static str) -> Result<Vec<Option<String>>, DataplaneError>
where
    [u8; N]: Pod,
{
    let mut read = Vec::with_capacity(names.len() as usize);
    for name in names.iter() {
        let bytes = name.map_err(DataplaneError::map(map))?;
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(N);
        read.push((end > 0).then(|| String::from_utf8_lossy(&bytes[..end]).into_owned()));
    }
    Ok(read)
}

/// A name as the maps hold it. The policy and the command line refuse longer ones, so nothing is cut in practice.
fn padded<const N: usize>(name: &str) -> [u8; N] {
    let mut bytes = [0; N];
    for (to, from) in bytes.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    bytes
}
