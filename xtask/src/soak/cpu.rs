//! Which CPU does what. A veth pair handles a frame on the CPU that sent it: with the clients on one CPU and the server on another, the
//! two directions of a flow meet Weir on different CPUs, at once.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, Map, MapData, PerCpuArray};
use firewall_common::{abi::map, config::Interface, counter::Counters};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::{
    netns::Namespace,
    test::{
        frame::interface_index,
        network::{INSIDE, OUTSIDE, inside},
    },
};

/// Share of a direction's packets that its CPU must have handled. The rest are answers of routers, and timers that fire elsewhere.
const SHARE: f64 = 0.9;

/// The CPUs of the clients and of the server.
pub fn two() -> Result<[usize; 2]> {
    let allowed = sched_getaffinity(None).context("cannot tell which CPUs are allowed")?;
    let mut allowed = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
    let cpus = allowed.next().zip(allowed.next()).context("one CPU only: the two directions of a flow cannot meet Weir on two")?;
    Ok([cpus.0, cpus.1])
}

/// Keeps the calling thread, and those it starts, on one CPU.
pub fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).with_context(|| format!("cannot stay on CPU {cpu}"))
}

/// Packets that came in by each of the gateway's interfaces, by CPU.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Split {
    /// CPUs of the clients and of the server.
    pub cpus: [usize; 2],
    pub outside: Vec<u64>,
    pub inside: Vec<u64>,
}

impl Split {
    /// Reads Weir's own counters, which are kept by CPU.
    pub fn read(gateway: &Namespace, instance: &str, cpus: [usize; 2]) -> Result<Self> {
        let maps = Path::new("/sys/fs/bpf/weir").join(instance).join("maps");
        let [outside, inside_index] = inside(gateway, || Ok([interface_index(OUTSIDE)?, interface_index(INSIDE)?]))?;
        let interfaces: Array<_, Interface> = open(&maps, map::INTERFACES, Map::Array)?;
        let counters: PerCpuArray<_, Counters> = open(&maps, map::COUNTERS, Map::PerCpuArray)?;
        let received = |index: i32| -> Result<Vec<u64>> {
            let place = interfaces.get(&index.try_into()?, 0).context("cannot read an interface")?.place;
            let values = counters.get(&u32::from(place), 0)?;
            Ok(values.iter().map(|counters| counters.traffic.received_packets).collect())
        };
        Ok(Self { cpus, outside: received(outside)?, inside: received(inside_index)? })
    }

    /// Whether each direction was handled by the CPU it was meant for.
    pub fn check(&self) -> Result<()> {
        for (packets, cpu, name) in [(&self.outside, self.cpus[0], OUTSIDE), (&self.inside, self.cpus[1], INSIDE)] {
            let own = packets.get(cpu).copied().unwrap_or(0);
            let all: u64 = packets.iter().sum();
            ensure!(own as f64 > SHARE * all as f64, "of {all} packets from {name} only {own} were handled on CPU {cpu}: {packets:?}");
        }
        Ok(())
    }
}

fn open<T: TryFrom<Map, Error = aya::maps::MapError>>(maps: &Path, name: &str, kind: fn(MapData) -> Map) -> Result<T> {
    let path = maps.join(name);
    let data = MapData::from_pin(&path).with_context(|| format!("cannot open {}", path.display()))?;
    T::try_from(kind(data)).with_context(|| format!("{name} is of another kind"))
}
