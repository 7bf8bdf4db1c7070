//! The object: what maps it wants, whether the pinned ones are those, and loading it.

use std::{collections::BTreeMap, fs, os::fd::AsFd as _};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, Map, MapData, MapInfo},
};
use firewall_common::{
    abi::{map, program},
    config::{self, Config, Interface},
    flow::{Flow, FlowKey, LAYOUT_VERSION},
    rule::ZONE_NAME_LENGTH,
};

use super::{
    DataplaneError,
    bpf::read_table,
    config::ConfigBlock,
    maps::read_names,
    pin::{Pins, list, remove_directory},
};
use crate::policy::Lowered;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/weir-dataplane"));

/// Room in the flow tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    pub established: u32,
    pub embryonic: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { established: config::DEFAULT_ESTABLISHED, embryonic: config::DEFAULT_EMBRYONIC }
    }
}

/// Room for a flow of any layout.
type LargestFlow = [Flow; 4];

/// What makes two maps interchangeable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    /// `None` where the size may differ: it is chosen at start, or rounded up by the loader.
    max_entries: Option<u32>,
    flags: u32,
}

/// What lies in the pin directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing, or what a start that died early left: no flow, no link.
    Nothing,
    /// Maps of this program.
    Ours,
    /// Maps of this program's family that it cannot use; the user agreed to lose them.
    Discarded,
}

/// Compares every pinned map with the object's, before anything is opened for use: aya does not.
pub(super) fn verify(pins: &Pins, discard: bool) -> Result<Found, DataplaneError> {
    let names = list(&pins.maps())?;
    if names.is_empty() {
        return Ok(Found::Nothing);
    }
    let wanted = shapes()?;
    let layout = pinned_layout(pins, &wanted)?;
    let mut mismatch = None;
    for (name, shape) in &wanted {
        let Some(pinned) = pins.open_map(name)? else { continue };
        let info = pinned.info().map_err(DataplaneError::map(name))?;
        if let Some(detail) = shape.difference(&info) {
            mismatch = Some((pins.map(name), detail));
            break;
        }
    }
    let ours = layout.is_some_and(|layout| layout != 0);
    match (mismatch, layout) {
        (None, None | Some(0 | LAYOUT_VERSION)) => Ok(if ours { Found::Ours } else { Found::Nothing }),
        (Some((pin, detail)), _) if !ours => Err(DataplaneError::ForeignPin { pin, detail }),
        _ if discard => Ok(Found::Discarded),
        (_, Some(found)) if found != LAYOUT_VERSION => Err(DataplaneError::Layout { found, flows: pinned_flows(pins) }),
        (Some((pin, detail)), _) => Err(DataplaneError::Shape { pin, detail, flows: pinned_flows(pins) }),
        (None, _) => Ok(Found::Ours),
    }
}

/// Layout version in the pinned settings block; `None` without a valid one.
fn pinned_layout(pins: &Pins, wanted: &BTreeMap<String, Shape>) -> Result<Option<u32>, DataplaneError> {
    let (Some(pinned), Some(shape)) = (pins.open_map(map::CONFIG)?, wanted.get(map::CONFIG)) else { return Ok(None) };
    let info = pinned.info().map_err(DataplaneError::map(map::CONFIG))?;
    if shape.difference(&info).is_some() {
        return Ok(None);
    }
    Ok(Some(ConfigBlock::map(pinned.fd())?.layout()))
}

/// Live flows in the pinned tables, as far as they can be counted; their shape may be any.
fn pinned_flows(pins: &Pins) -> u64 {
    [map::ESTABLISHED, map::EMBRYONIC].iter().filter_map(|name| pins.open_map(name).ok().flatten()).map(|table| count_entries(&table)).sum()
}

/// Entries of a flow table whose values may have another size than ours: the room for one value is the largest any layout may need.
fn count_entries(table: &MapData) -> u64 {
    let fits = |info: MapInfo| info.key_size() as usize == size_of::<FlowKey>() && info.value_size() as usize <= size_of::<LargestFlow>();
    let mut count = 0;
    if table.info().is_ok_and(fits) {
        // Counting alone needs nothing of the values, so what is read of a broken off walk still counts.
        let _ = read_table(table.fd().as_fd(), false, |_: FlowKey, _: LargestFlow| count += 1);
    }
    count
}

/// Shapes of the maps that are pinned, as the object declares them.
fn shapes() -> Result<BTreeMap<String, Shape>, DataplaneError> {
    let object = aya_obj::Object::parse(OBJECT).map_err(|error| DataplaneError::load(error.into()))?;
    let mut shapes = BTreeMap::new();
    for (name, declared) in &object.maps {
        if !map::PINNED.contains(&name.as_str()) {
            continue;
        }
        let sized_at_start =
            matches!(name.as_str(), map::ESTABLISHED | map::EMBRYONIC | map::HISTORIES | map::GUARDS | map::QUALITIES | map::AYA_LOGS);
        let shape = Shape {
            map_type: declared.map_type(),
            key_size: declared.key_size(),
            value_size: declared.value_size(),
            max_entries: (!sized_at_start).then(|| declared.max_entries()),
            flags: declared.map_flags(),
        };
        shapes.insert(name.clone(), shape);
    }
    debug_assert_eq!(shapes.get(map::CONFIG).map(|shape| shape.value_size as usize), Some(size_of::<Config>()));
    Ok(shapes)
}

impl Shape {
    /// What differs, in words; `None` when the pinned map can stand in.
    fn difference(&self, pinned: &MapInfo) -> Option<String> {
        let kind = pinned.map_type().map_or(u32::MAX, |kind| kind as u32);
        let pairs = [
            ("type", kind, self.map_type),
            ("key size", pinned.key_size(), self.key_size),
            ("value size", pinned.value_size(), self.value_size),
            ("size", pinned.max_entries(), self.max_entries.unwrap_or(pinned.max_entries())),
            ("flags", pinned.map_flags(), self.flags),
        ];
        let differing: Vec<String> = pairs
            .iter()
            .filter(|(_, is, wanted)| is != wanted)
            .map(|(what, is, wanted)| format!("its {what} is {is}, not {wanted}"))
            .collect();
        (!differing.is_empty()).then(|| differing.join(", "))
    }
}

/// Loads the object against the pinned maps, making and pinning those that are missing. Nothing is attached.
pub(super) fn load(pins: &Pins, sizes: Sizes) -> Result<Ebpf, DataplaneError> {
    let mut loader = EbpfLoader::new();
    loader
        .map_max_entries(map::ESTABLISHED, sizes.established)
        .map_max_entries(map::HISTORIES, sizes.established)
        .map_max_entries(map::QUALITIES, sizes.established)
        .map_max_entries(map::GUARDS, sizes.established)
        .map_max_entries(map::EMBRYONIC, sizes.embryonic);
    for name in map::PINNED {
        loader.map_pin_path(name, pins.map(name));
    }
    let mut ebpf = loader.load(OBJECT).map_err(DataplaneError::load)?;
    for name in [program::INGRESS, program::EGRESS] {
        load_program(&mut ebpf, name)?;
    }
    Ok(ebpf)
}

fn load_program(ebpf: &mut Ebpf, name: &'static str) -> Result<(), DataplaneError> {
    let program = ebpf.program_mut(name).ok_or(DataplaneError::ProgramMissing { name })?;
    match program {
        aya::programs::Program::Xdp(program) => program.load(),
        aya::programs::Program::SchedClassifier(program) => program.load(),
        _ => return Ok(()),
    }
    .map_err(DataplaneError::program(name, "loaded"))
}

/// Places of tables that a probe never fills: their memory is taken for all of them at once.
const FEW: u32 = 64;

/// Loads the object once more, with tables of its own: nothing of it is pinned, and it is attached to nothing. The tables have room for
/// `room` flows. The policy is that of `policy`, in the first slot alone, or the one of the instance, whose tables it only reads.
pub(super) fn load_beside(pins: &Pins, room: u32, policy: Option<&Lowered>, programs: &[&'static str]) -> Result<Ebpf, DataplaneError> {
    let places = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).max(1);
    let mut loader = EbpfLoader::new();
    for name in [map::ESTABLISHED, map::EMBRYONIC, map::HISTORIES, map::GUARDS, map::QUALITIES, map::FRAGMENTS, map::SEGMENTS] {
        loader.map_max_entries(name, room);
    }
    loader.map_max_entries(map::RULE_NAMES, FEW).map_max_entries(map::ZONE_NAMES, FEW);
    match policy {
        Some(policy) => {
            loader
                .map_max_entries(map::RULES, places(policy.entries.len()))
                .map_max_entries(map::ROWS, places(policy.rows.len()))
                .map_max_entries(map::BLOCKS, places(policy.blocks.len()))
                .map_max_entries(map::ADDRESSES, places(policy.addresses.len()))
                .map_max_entries(map::SERVICES, places(policy.services.len()))
                .map_max_entries(map::SCHEDULES, places(policy.schedules.len()));
        }
        None => {
            for name in map::POLICY {
                // The loader would make and pin one that is missing.
                if pins.open_map(name)?.is_none() {
                    return Err(DataplaneError::MapMissing { name });
                }
                loader.map_pin_path(name, pins.map(name));
            }
        }
    }
    let mut ebpf = loader.load(OBJECT).map_err(DataplaneError::load)?;
    for name in programs {
        load_program(&mut ebpf, name)?;
    }
    Ok(ebpf)
}

/// Puts pinned maps aside that are about to be replaced.
pub(super) fn put_aside(pins: &Pins) -> Result<(), DataplaneError> {
    remove_directory(&pins.old_maps())?;
    fs::rename(pins.maps(), pins.old_maps()).map_err(DataplaneError::file("cannot rename", pins.maps()))
}

/// What the maps put aside say of the interface at `index`.
pub(super) fn old_interface(pins: &Pins, index: u32) -> Option<Interface> {
    let pinned = MapData::from_pin(pins.old_maps().join(map::INTERFACES)).ok()?;
    let interfaces: Array<MapData, Interface> = Array::try_from(Map::Array(pinned)).ok()?;
    interfaces.get(&index, 0).ok()
}

/// Zone names in the maps put aside; none where they cannot be read.
pub(super) fn old_zone_names(pins: &Pins) -> Vec<Option<String>> {
    let opened = MapData::from_pin(pins.old_maps().join(map::ZONE_NAMES)).and_then(|pinned| Array::try_from(Map::Array(pinned)));
    let names =
        opened.map_err(DataplaneError::map(map::ZONE_NAMES)).and_then(|names| read_names::<ZONE_NAME_LENGTH>(&names, map::ZONE_NAMES));
    names.unwrap_or_default()
}

/// Undoes [`put_aside`].
pub(super) fn put_back(pins: &Pins) -> Result<(), DataplaneError> {
    remove_directory(&pins.maps())?;
    fs::rename(pins.old_maps(), pins.maps()).map_err(DataplaneError::file("cannot rename", pins.old_maps()))
}
