//! What the dataplane remembers of its refusals.

use std::os::fd::AsFd as _;

use aya::maps::{IterableMap as _, MapData};
use firewall_common::{
    abi::map,
    evidence::{Evidence, Stranger, Table},
    flow::{Address, FlowKey},
};
use zerocopy::FromBytes;

use super::{
    DataplaneError, Maps,
    bpf::read_table,
    flows::removed,
    maps::{Table as Hash, locked},
};

impl Maps {
    /// What is remembered by flow, or by conversation.
    pub fn evidence(&self, table: Table) -> Result<Vec<(FlowKey, Evidence)>, DataplaneError> {
        match table {
            Table::Flows => all(&locked(&self.evidence), map::EVIDENCE),
            Table::Strays => all(&locked(&self.strays), map::STRAYS),
        }
    }

    /// What is remembered of the sources of strays.
    pub fn strangers(&self) -> Result<Vec<(Address, Stranger)>, DataplaneError> {
        all(&locked(&self.strangers), map::STRANGERS)
    }

    /// Refusals that found no place, since this controller loaded the programs.
    pub fn missed_refusals(&self) -> Result<u64, DataplaneError> {
        let beginnings = locked(&self.beginnings).get(&0, 0).map_err(DataplaneError::map(map::BEGINNINGS))?;
        Ok(beginnings.iter().map(|beginnings| beginnings.missed).sum())
    }

    /// Forgets what is remembered of refusals that happened before this moment of the monotonic clock; returns how many entries that were.
    pub fn forget_refusals(&self, before: u64) -> Result<usize, DataplaneError> {
        let mut forgotten = 0;
        for (table, handle, name) in [(Table::Flows, &self.evidence, map::EVIDENCE), (Table::Strays, &self.strays, map::STRAYS)] {
            for (key, _) in self.evidence(table)?.iter().filter(|(_, evidence)| evidence.last < before) {
                forgotten += usize::from(removed(locked(handle).remove(key), name)?);
            }
        }
        for (source, _) in self.strangers()?.iter().filter(|(_, stranger)| stranger.last < before) {
            forgotten += usize::from(removed(locked(&self.strangers).remove(source), map::STRANGERS)?);
        }
        Ok(forgotten)
    }
}

/// Every entry of a map.
fn all<K, V>(handle: &Hash<K, V>, name: &'static str) -> Result<Vec<(K, V)>, DataplaneError>
where
    K: aya::Pod + FromBytes,
    V: aya::Pod + FromBytes,
{
    let map: &MapData = handle.map();
    let mut entries = Vec::new();
    if read_table(map.fd().as_fd(), false, |key, value| entries.push((key, value))).is_ok() {
        return Ok(entries);
    }
    // A kernel that offers no batches. What comes and goes meanwhile makes the walk start anew: the bound ends it.
    entries.clear();
    let most = map.info().map_err(DataplaneError::map(name))?.max_entries() as usize;
    for entry in handle.iter().take(2 * most) {
        entries.push(entry.map_err(DataplaneError::map(name))?);
    }
    Ok(entries)
}
