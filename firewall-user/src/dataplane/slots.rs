//! Loading a policy: fill the slot not in force, then one store switches to it. No packet ever meets half a policy.

use std::{collections::HashSet, hash::Hash, thread, time::Duration};

use aya::{
    Pod,
    maps::{LpmTrie, MapData, lpm_trie::Key},
};
use firewall_common::{
    abi::map,
    config::Config,
    flow::Address,
    hours::MAX_SCHEDULES,
    normalize::profile::MAX_PROFILES,
    rule::{AddressPrefix, Dimension, MAX_ADDRESS_PREFIXES, MAX_BLOCKS, MAX_ENTRIES, MAX_ROWS, ServicePrefix},
};
use rustix::thread::{MembarrierCommand, membarrier};

use super::{DataplaneError, Maps, maps::locked};
use crate::policy::{Amendment, Lowered};

/// Wait for packets still under the old policy where the kernel offers no barrier (tickless CPUs): far longer than any packet takes.
const GRACE: Duration = Duration::from_millis(250);

/// The keys of both slots in the two tries, so that filling a slot need not walk them.
#[derive(Debug)]
pub struct Slots {
    addresses: [HashSet<(u32, AddressPrefix)>; 2],
    services: [HashSet<(u32, ServicePrefix)>; 2],
}

impl Slots {
    /// Reads what an earlier controller left.
    pub fn read(maps: &Maps) -> Result<Self, DataplaneError> {
        let mut slots = Self { addresses: Default::default(), services: Default::default() };
        for key in locked(&maps.addresses).keys() {
            let key = key.map_err(DataplaneError::map(map::ADDRESSES))?;
            let data = key.data();
            slots.addresses[usize::from(data.slot & 1)].insert((key.prefix_len(), data));
        }
        for key in locked(&maps.services).keys() {
            let key = key.map_err(DataplaneError::map(map::SERVICES))?;
            let data = key.data();
            slots.services[usize::from(data.slot & 1)].insert((key.prefix_len(), data));
        }
        Ok(slots)
    }

    /// Puts `policy` in force and returns its generation. On failure the old policy stays.
    ///
    /// Returns only when no packet is under the old policy any more, so the next call may fill its slot.
    pub fn switch(&mut self, maps: &Maps, policy: &Lowered) -> Result<u32, DataplaneError> {
        let old = maps.config.generation();
        // Generation 0 means that there is none, and the slot is the lowest bit: past the end follows 1 or 2.
        let generation = old.checked_add(1).unwrap_or(2);
        let slot = Config::slot(generation);
        self.fill(maps, slot, policy)?;
        maps.config.set_week_began(policy.week_began);
        maps.config.set_generation(generation);
        wait_for_packets();
        Ok(generation)
    }

    /// Changes the policy in force in place and returns its generation, which rises by two: the slot stays, and live flows are judged again.
    ///
    /// What is written first is nothing that a packet can meet yet; then each address prefix by itself, in the amendment's order. On failure
    /// a part of the prefixes may have been changed.
    pub fn amend(&mut self, maps: &Maps, amendment: &Amendment) -> Result<u32, DataplaneError> {
        let old = maps.config.generation();
        let slot = Config::slot(old);
        let mut rows = locked(&maps.rows);
        for (number, row) in &amendment.rows {
            rows.set(slot * MAX_ROWS as u32 + number, row, 0).map_err(DataplaneError::map(map::ROWS))?;
        }
        let mut blocks = locked(&maps.blocks);
        for (number, block) in &amendment.blocks {
            blocks.set(slot * MAX_BLOCKS as u32 + u32::from(*number), block, 0).map_err(DataplaneError::map(map::BLOCKS))?;
        }
        self.amend_addresses(&mut locked(&maps.addresses), slot, amendment).map_err(DataplaneError::map(map::ADDRESSES))?;
        // As `switch` goes from the end of the numbers to the beginning, for the same slot.
        let generation = old.checked_add(2).unwrap_or(2 - slot);
        maps.config.set_generation(generation);
        Ok(generation)
    }

    fn amend_addresses(
        &mut self,
        trie: &mut LpmTrie<MapData, AddressPrefix, u32>,
        slot: u32,
        amendment: &Amendment,
    ) -> Result<(), aya::maps::MapError> {
        let index = slot as usize & 1;
        let key = |side: Dimension, address: &Address, length: u8| {
            let prefix = AddressPrefix { slot: index as u8, dimension: side as u8, address: address.octets() };
            (AddressPrefix::FIXED_BITS + u32::from(length), prefix)
        };
        let present = self.addresses[0].len() + self.addresses[1].len();
        if present + amendment.written.len() > MAX_ADDRESS_PREFIXES as usize {
            // No packet is under the policy before: what it left only takes room.
            fill_trie(trie, &mut self.addresses[1 - index], std::iter::empty())?;
        }
        for (side, address, length, row) in &amendment.written {
            let (bits, data) = key(*side, address, *length);
            trie.insert(&Key::new(bits, data), row, 0)?;
            self.addresses[index].insert((bits, data));
        }
        for (side, address, length) in &amendment.removed {
            let (bits, data) = key(*side, address, *length);
            trie.remove(&Key::new(bits, data))?;
            self.addresses[index].remove(&(bits, data));
        }
        Ok(())
    }

    /// Fills the first slot of tables that nobody else has.
    pub(super) fn fill_first(maps: &Maps, policy: &Lowered) -> Result<(), DataplaneError> {
        Self { addresses: Default::default(), services: Default::default() }.fill(maps, 0, policy)
    }

    fn fill(&mut self, maps: &Maps, slot: u32, policy: &Lowered) -> Result<(), DataplaneError> {
        let index = slot as usize & 1;
        let number = index as u8;
        let addresses = policy.addresses.iter().map(|(dimension, address, bits, row)| {
            let prefix = AddressPrefix { slot: number, dimension: *dimension as u8, address: address.octets() };
            ((AddressPrefix::FIXED_BITS + u32::from(*bits), prefix), *row)
        });
        fill_trie(&mut locked(&maps.addresses), &mut self.addresses[index], addresses).map_err(DataplaneError::map(map::ADDRESSES))?;
        let services = policy.services.iter().map(|(protocol, port, bits, row)| {
            let prefix = ServicePrefix { slot: number, protocol: *protocol, port: *port };
            ((ServicePrefix::FIXED_BITS + u32::from(*bits), prefix), *row)
        });
        fill_trie(&mut locked(&maps.services), &mut self.services[index], services).map_err(DataplaneError::map(map::SERVICES))?;

        let mut rows = locked(&maps.rows);
        for (number, row) in (0..).zip(policy.rows.iter().take(MAX_ROWS)) {
            rows.set(slot * MAX_ROWS as u32 + number, row, 0).map_err(DataplaneError::map(map::ROWS))?;
        }
        let mut blocks = locked(&maps.blocks);
        for (number, block) in (0..).zip(policy.blocks.iter().take(MAX_BLOCKS)) {
            blocks.set(slot * MAX_BLOCKS as u32 + number, block, 0).map_err(DataplaneError::map(map::BLOCKS))?;
        }
        let mut profiles = locked(&maps.profiles);
        for (number, profile) in (0..).zip(policy.profiles.iter().take(MAX_PROFILES)) {
            profiles.set(slot * MAX_PROFILES as u32 + number, profile, 0).map_err(DataplaneError::map(map::PROFILES))?;
        }
        let mut schedules = locked(&maps.schedules);
        for (number, week) in (0..).zip(policy.schedules.iter().take(MAX_SCHEDULES)) {
            schedules.set(slot * MAX_SCHEDULES as u32 + number, week, 0).map_err(DataplaneError::map(map::SCHEDULES))?;
        }
        locked(&maps.applications).set(slot, policy.applications, 0).map_err(DataplaneError::map(map::APPLICATIONS))?;
        let mut rules = locked(&maps.rules);
        for (entry, rule) in (0..).zip(policy.entries.iter().take(MAX_ENTRIES)) {
            rules.set(slot * MAX_ENTRIES as u32 + entry, rule, 0).map_err(DataplaneError::map(map::RULES))?;
        }
        Ok(())
    }
}

/// Makes `trie` hold exactly `wanted` of the slot whose keys are `present`.
fn fill_trie<K: Pod + Copy + Eq + Hash>(
    trie: &mut LpmTrie<MapData, K, u32>,
    present: &mut HashSet<(u32, K)>,
    wanted: impl Iterator<Item = ((u32, K), u32)>,
) -> Result<(), aya::maps::MapError> {
    let wanted: Vec<((u32, K), u32)> = wanted.collect();
    let keep: HashSet<(u32, K)> = wanted.iter().map(|(key, _)| *key).collect();
    // Stale keys go first: the trie has room for two policies, not for three.
    for (bits, data) in present.iter().filter(|key| !keep.contains(key)).copied().collect::<Vec<_>>() {
        trie.remove(&Key::new(bits, data))?;
        present.remove(&(bits, data));
    }
    for ((bits, data), class) in wanted {
        trie.insert(&Key::new(bits, data), class, 0)?;
        present.insert((bits, data));
    }
    Ok(())
}

/// Returns when every packet that was in the dataplane before the call has left it: the barrier waits for an RCU grace period, and a
/// packet's path is one RCU read section.
fn wait_for_packets() {
    if membarrier(MembarrierCommand::Global).is_err() {
        thread::sleep(GRACE);
    }
}
