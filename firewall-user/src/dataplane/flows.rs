//! The two flow tables: reading them whole, and removing single flows.

use std::{os::fd::AsFd as _, sync::MutexGuard};

use aya::maps::{IterableMap as _, MapData, MapError};
use firewall_common::{
    abi::map,
    flow::{Flow, FlowKey},
    fragment::{Fragment, FragmentKey},
    quality::Quality,
    time::Nanos,
};

use super::{
    DataplaneError, Maps,
    bpf::read_table,
    maps::{Table as Hash, locked},
};

/// Read and write under the value's lock.
pub(super) const BPF_F_LOCK: u64 = 4;

/// One of the flow tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TableName {
    Embryonic,
    Established,
}

impl TableName {
    /// The name of its map.
    #[must_use]
    pub const fn map(self) -> &'static str {
        match self {
            Self::Embryonic => map::EMBRYONIC,
            Self::Established => map::ESTABLISHED,
        }
    }

    /// Only established flows have a lock.
    const fn flags(self) -> u64 {
        match self {
            Self::Embryonic => 0,
            Self::Established => BPF_F_LOCK,
        }
    }
}

/// A flow table of [`Maps`].
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    name: TableName,
    maps: &'a Maps,
}

impl Maps {
    #[must_use]
    pub fn table(&self, name: TableName) -> Table<'_> {
        Table { name, maps: self }
    }
}

impl Table<'_> {
    fn handle(&self) -> MutexGuard<'_, Hash<FlowKey, Flow>> {
        match self.name {
            TableName::Embryonic => locked(&self.maps.embryonic),
            TableName::Established => locked(&self.maps.established),
        }
    }

    /// How many flows the table can hold.
    pub fn capacity(&self) -> Result<u32, DataplaneError> {
        let handle = self.handle();
        capacity(handle.map(), self.name.map())
    }

    /// Hands every flow to `visit`. Flows that come or go meanwhile may or may not be seen; none is seen in pieces.
    pub fn read(&self, mut visit: impl FnMut(FlowKey, Flow)) -> Result<(), DataplaneError> {
        // The table stays unlocked meanwhile: the descriptor is all that is needed.
        let descriptor = self.handle().map().fd().as_fd().try_clone_to_owned();
        let descriptor = descriptor.map_err(|source| DataplaneError::System { what: "duplicating a map's descriptor", source })?;
        match read_table(descriptor.as_fd(), self.name == TableName::Established, &mut visit) {
            Ok(()) => Ok(()),
            Err(error) => {
                log::debug!("{}: batched reading failed ({error}), reading one by one", self.name.map());
                self.read_singly(visit)
            }
        }
    }

    /// As [`Table::read`], for a kernel that offers no batches. A flow may be visited twice.
    fn read_singly(&self, mut visit: impl FnMut(FlowKey, Flow)) -> Result<(), DataplaneError> {
        let handle = self.handle();
        // A key that goes away while the kernel walks makes the walk start anew: the bound ends it.
        let most = capacity(handle.map(), self.name.map())? as usize * 2;
        for key in handle.keys().take(most) {
            let key = key.map_err(DataplaneError::map(self.name.map()))?;
            match handle.get(&key, self.name.flags()) {
                Ok(flow) => visit(key, flow),
                Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(DataplaneError::map(self.name.map())(error)),
            }
        }
        Ok(())
    }

    /// The flow with this key.
    pub fn get(&self, key: &FlowKey) -> Result<Option<Flow>, DataplaneError> {
        match self.handle().get(key, self.name.flags()) {
            Ok(flow) => Ok(Some(flow)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(DataplaneError::map(self.name.map())(error)),
        }
    }

    /// Removes a flow, and what else is known of it; false when it was gone already.
    pub fn remove(&self, key: &FlowKey) -> Result<bool, DataplaneError> {
        let removed = removed(self.handle().remove(key), self.name.map())?;
        if removed && self.name == TableName::Established {
            // Few flows have a history or a guard, or lose packets.
            let _ = self::removed(locked(&self.maps.histories).remove(key), map::HISTORIES)?;
            let _ = self::removed(locked(&self.maps.guards).remove(key), map::GUARDS)?;
            let _ = self::removed(locked(&self.maps.qualities).remove(key), map::QUALITIES)?;
        }
        Ok(removed)
    }

    /// Removes a flow if its time is still over, and returns what it was; a packet may have come since it was read.
    ///
    /// Between the look and the removal lies a window of less than a microsecond, in which a packet of just this flow could begin it
    /// anew and see its first state lost: it then counts as a first packet once more.
    pub fn remove_expired(&self, key: &FlowKey, now: Nanos, scale: u32) -> Result<Option<Flow>, DataplaneError> {
        let found = self.handle().get(key, self.name.flags());
        match found {
            Ok(flow) if flow.expired(now, scale) => Ok(self.remove(key)?.then_some(flow)),
            Ok(_) | Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(DataplaneError::map(self.name.map())(error)),
        }
    }
}

/// Whether an entry was there to be removed.
fn removed(result: Result<(), MapError>, map: &str) -> Result<bool, DataplaneError> {
    match result {
        Ok(()) => Ok(true),
        Err(MapError::KeyNotFound) => Ok(false),
        Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(DataplaneError::map(map)(error)),
    }
}

impl Maps {
    /// Hands to `visit` where packets of flows are lost, of all flows of which something is known.
    pub fn read_qualities(&self, mut visit: impl FnMut(FlowKey, Quality)) -> Result<(), DataplaneError> {
        let descriptor = locked(&self.qualities).map().fd().as_fd().try_clone_to_owned();
        let descriptor = descriptor.map_err(|source| DataplaneError::System { what: "duplicating a map's descriptor", source })?;
        if read_table(descriptor.as_fd(), false, &mut visit).is_ok() {
            return Ok(());
        }
        let handle = locked(&self.qualities);
        let most = capacity(handle.map(), map::QUALITIES)? as usize;
        for entry in handle.iter().take(most) {
            let (key, quality) = entry.map_err(DataplaneError::map(map::QUALITIES))?;
            visit(key, quality);
        }
        Ok(())
    }

    /// Forgets where packets of a flow are lost that is no more.
    pub fn forget_quality(&self, key: &FlowKey) -> Result<(), DataplaneError> {
        removed(locked(&self.qualities).remove(key), map::QUALITIES).map(drop)
    }

    /// Entries of the fragment table and its size.
    pub fn fragments(&self) -> Result<(u64, u32), DataplaneError> {
        let handle = locked(&self.fragments);
        let mut entries = 0;
        let read = read_table(handle.map().fd().as_fd(), false, |_: FragmentKey, _: Fragment| {
            entries += 1;
        });
        if read.is_err() {
            entries = handle.keys().take(capacity(handle.map(), map::FRAGMENTS)? as usize).filter(Result::is_ok).count() as u64;
        }
        Ok((entries, capacity(handle.map(), map::FRAGMENTS)?))
    }
}

/// The size a map was made with, which may not be the one asked for now.
fn capacity(data: &MapData, name: &str) -> Result<u32, DataplaneError> {
    Ok(data.info().map_err(DataplaneError::map(name))?.max_entries())
}
