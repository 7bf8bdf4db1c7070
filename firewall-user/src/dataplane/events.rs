//! The dataplane's events, on their way to the controller.

use std::io;

use aya::{
    Ebpf,
    maps::{MapData, PerCpuArray, RingBuf},
};
use firewall_common::{
    abi::map,
    event::{RECORD_VERSION, Record, Tally},
};
use tokio::io::{Interest, unix::AsyncFd};
use zerocopy::FromBytes as _;

use super::{
    DataplaneError, Maps,
    maps::{locked, typed},
};

/// Records read in one go: what else there is to do must not wait for a flood of them to end.
const BATCH: usize = 4096;

pub(super) type Tallies = PerCpuArray<MapData, Tally>;

/// The ring buffer of the dataplane's events. It has one reader.
pub struct EventRing(RingBuf<MapData>);

impl std::fmt::Debug for EventRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EventRing")
    }
}

impl EventRing {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, DataplaneError> {
        typed(ebpf, map::EVENTS).map(Self)
    }

    /// To be waited for, in the runtime this is called in.
    pub fn listen(self) -> io::Result<EventReader> {
        // SAFETY: the descriptor is the ring's own, open for as long as the ring lives, and always the same.
        let ready = unsafe { AsyncFd::register_with_interest(self.0, Interest::READABLE) };
        ready.map(EventReader).map_err(|error| error.into_parts().1)
    }
}

/// An [`EventRing`] that can be waited for.
pub struct EventReader(AsyncFd<RingBuf<MapData>>);

impl std::fmt::Debug for EventReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EventReader")
    }
}

impl EventReader {
    /// Waits for events and returns those that are there. Nothing is lost when the wait is given up.
    pub async fn read(&mut self) -> io::Result<Vec<Record>> {
        loop {
            let mut guard = self.0.readable_mut().await?;
            let mut records = Vec::new();
            while records.len() < BATCH {
                let Some(item) = guard.get_inner_mut().next() else {
                    guard.clear_ready();
                    break;
                };
                match Record::read_from_bytes(&item) {
                    Ok(record) if record.version == RECORD_VERSION => records.push(record),
                    // Of an object of another version, whose last records are still there.
                    Ok(_) | Err(_) => log::debug!("an event of another version is left out"),
                }
            }
            if !records.is_empty() {
                return Ok(records);
            }
        }
    }
}

impl Maps {
    /// What became of the dataplane's events.
    pub fn event_tally(&self) -> Result<Tally, DataplaneError> {
        let values = locked(&self.event_counters).get(&0, 0).map_err(DataplaneError::map(map::EVENT_COUNTERS))?;
        Ok(values.iter().fold(Tally::default(), |sum, cpu| Tally {
            sent: sum.sent + cpu.sent,
            limited: sum.limited + cpu.limited,
            lost: sum.lost + cpu.lost,
        }))
    }
}
