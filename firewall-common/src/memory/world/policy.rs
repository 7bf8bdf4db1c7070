//! A policy evaluated by longest match and rows of bits, as the kernel does.

use std::collections::HashMap;

use super::World;
use crate::{
    application::Applications,
    classify::Policies,
    flow::Address,
    hours::{MAX_SCHEDULES, Week},
    memory::tables::Tables,
    normalize::{Profile, profile::MAX_PROFILES},
    rule::{Block, Dimension, Row, Rule},
    time::Nanos,
};

/// One slot's policy, arranged for looking up.
#[derive(Debug, Default)]
pub(super) struct Slot {
    entries: Vec<Rule>,
    profiles: Vec<Profile>,
    schedules: Vec<Week>,
    pub(super) applications: Applications,
    rows: Vec<Row>,
    blocks: Vec<Block>,
    addresses: HashMap<(u8, u8, u128), u32>,
    services: HashMap<(u8, u32), u32>,
}

impl Slot {
    /// Holds what `tables` say, and nothing else.
    pub(super) fn load(&mut self, tables: &Tables) {
        self.entries.clone_from(&tables.entries);
        self.profiles.clone_from(&tables.profiles);
        self.schedules.clone_from(&tables.schedules);
        self.applications = tables.applications;
        self.rows.clone_from(&tables.rows);
        self.blocks.clone_from(&tables.blocks);
        self.addresses = tables
            .addresses
            .iter()
            .map(|(side, address, length, class)| ((*side as u8, *length, prefix_of(address.bits(), *length, 128)), *class))
            .collect();
        self.services = tables
            .services
            .iter()
            .map(|(protocol, port, length, class)| ((*length, service_bits(*protocol, *port, *length)), *class))
            .collect();
    }

    pub(super) fn profile(&self, number: u8) -> Option<&Profile> {
        // As in the kernel, what nobody wrote asks for nothing.
        let written = self.profiles.get(usize::from(number));
        (usize::from(number) < MAX_PROFILES).then(|| written.unwrap_or(&Profile::OFF))
    }
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

/// The first `length` of `width` bits.
const fn prefix_of(bits: u128, length: u8, width: u32) -> u128 {
    let rest = width - length as u32;
    if rest >= 128 { 0 } else { bits >> rest << rest }
}

const fn service_bits(protocol: u8, port: [u8; 2], length: u8) -> u32 {
    prefix_of(u32::from_be_bytes([0, protocol, port[0], port[1]]) as u128, length, 24) as u32
}
