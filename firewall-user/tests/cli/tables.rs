//! Every byte of an instance's pinned tables, to show that something left them alone.

use std::{collections::BTreeMap, path::Path};

use aya::maps::{Array, HashMap, LpmTrie, Map, MapData, MapError, PerCpuArray, lpm_trie::Key};
use firewall_common::{
    abi::map,
    config::{Config, Interface},
    counter::{Counters, RuleCounters},
    event::Tally,
    flow::{Flow, FlowKey},
    fragment::{Fragment, FragmentKey},
    normalize::{
        Profile,
        history::History,
        retransmission::{Digest, Start},
    },
    quality::Quality,
    rule::{AddressPrefix, Block, RULE_NAME_LENGTH, Row, Rule, ServicePrefix, ZONE_NAME_LENGTH},
};

type Bytes<const N: usize> = [u8; N];
type Table = BTreeMap<Vec<u8>, Vec<u8>>;

fn opened<T: TryFrom<Map, Error = MapError>>(pins: &Path, name: &str, kind: impl FnOnce(MapData) -> Map) -> T {
    let data = MapData::from_pin(pins.join("maps").join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    T::try_from(kind(data)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn hash<const K: usize, const V: usize>(pins: &Path, name: &str, kind: impl FnOnce(MapData) -> Map) -> Table {
    let table: HashMap<MapData, Bytes<K>, Bytes<V>> = opened(pins, name, kind);
    table.iter().map(|entry| entry.expect("nothing changes meanwhile")).map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
}

fn array<const V: usize>(pins: &Path, name: &str) -> Table {
    let table: Array<MapData, Bytes<V>> = opened(pins, name, Map::Array);
    (0u32..).zip(table.iter()).map(|(place, value)| (place.to_be_bytes().to_vec(), value.expect("a value").to_vec())).collect()
}

fn per_cpu<const V: usize>(pins: &Path, name: &str) -> Table {
    let table: PerCpuArray<MapData, Bytes<V>> = opened(pins, name, Map::PerCpuArray);
    let value = |place: u32| table.get(&place, 0).expect("a value").iter().flatten().copied().collect();
    (0..table.len()).map(|place| (place.to_be_bytes().to_vec(), value(place))).collect()
}

fn trie<const K: usize>(pins: &Path, name: &str) -> Table {
    let table: LpmTrie<MapData, Bytes<K>, u32> = opened(pins, name, Map::LpmTrie);
    let told = |(key, value): (Key<Bytes<K>>, u32)| {
        ([key.prefix_len().to_be_bytes().to_vec(), key.data().to_vec()].concat(), value.to_be_bytes().to_vec())
    };
    table.iter().map(|entry| told(entry.expect("an entry"))).collect()
}

/// The record of the one established flow there is.
pub fn only_flow(pins: &Path) -> Flow {
    let table: HashMap<MapData, FlowKey, Flow> = opened(pins, map::ESTABLISHED, Map::HashMap);
    let flows: Vec<_> = table.iter().map(|entry| entry.expect("an entry").1).collect();
    assert_eq!(flows.len(), 1, "{flows:?}");
    flows[0]
}

/// Every pinned table but the ring buffers.
pub fn all(pins: &Path) -> BTreeMap<&'static str, Table> {
    const KEY: usize = size_of::<FlowKey>();
    BTreeMap::from([
        (map::ESTABLISHED, hash::<KEY, { size_of::<Flow>() }>(pins, map::ESTABLISHED, Map::HashMap)),
        (map::EMBRYONIC, hash::<KEY, { size_of::<Flow>() }>(pins, map::EMBRYONIC, Map::LruHashMap)),
        (map::HISTORIES, hash::<KEY, { size_of::<History>() }>(pins, map::HISTORIES, Map::HashMap)),
        (map::QUALITIES, hash::<KEY, { size_of::<Quality>() }>(pins, map::QUALITIES, Map::HashMap)),
        (map::SEGMENTS, hash::<{ size_of::<Start>() }, { size_of::<Digest>() }>(pins, map::SEGMENTS, Map::LruHashMap)),
        (map::FRAGMENTS, hash::<{ size_of::<FragmentKey>() }, { size_of::<Fragment>() }>(pins, map::FRAGMENTS, Map::LruHashMap)),
        (map::CONFIG, array::<{ size_of::<Config>() }>(pins, map::CONFIG)),
        (map::INTERFACES, array::<{ size_of::<Interface>() }>(pins, map::INTERFACES)),
        (map::RULES, array::<{ size_of::<Rule>() }>(pins, map::RULES)),
        (map::PROFILES, array::<{ size_of::<Profile>() }>(pins, map::PROFILES)),
        (map::ROWS, array::<{ size_of::<Row>() }>(pins, map::ROWS)),
        (map::BLOCKS, array::<{ size_of::<Block>() }>(pins, map::BLOCKS)),
        (map::ADDRESSES, trie::<{ size_of::<AddressPrefix>() }>(pins, map::ADDRESSES)),
        (map::SERVICES, trie::<{ size_of::<ServicePrefix>() }>(pins, map::SERVICES)),
        (map::COUNTERS, per_cpu::<{ size_of::<Counters>() }>(pins, map::COUNTERS)),
        (map::RULE_COUNTERS, per_cpu::<{ size_of::<RuleCounters>() }>(pins, map::RULE_COUNTERS)),
        (map::EVENT_COUNTERS, per_cpu::<{ size_of::<Tally>() }>(pins, map::EVENT_COUNTERS)),
        (map::ONE_SIDED, array::<4>(pins, map::ONE_SIDED)),
        (map::RULE_NAMES, array::<RULE_NAME_LENGTH>(pins, map::RULE_NAMES)),
        (map::ZONE_NAMES, array::<ZONE_NAME_LENGTH>(pins, map::ZONE_NAMES)),
    ])
}
