//! Sums over the per-CPU counters.

use aya::{maps::PerCpuValues, util::nr_cpus};
use firewall_common::{
    abi::map,
    counter::{Counters, InterfaceCounters, RuleCounters},
};

use super::{DataplaneError, Maps, maps::locked};

impl Maps {
    /// The dataplane's totals.
    pub fn counters(&self) -> Result<Counters, DataplaneError> {
        let values = locked(&self.counters).get(&0, 0).map_err(DataplaneError::map(map::COUNTERS))?;
        Ok(values.iter().fold(Counters::default(), add))
    }

    /// Totals of the rule with this number.
    pub fn rule_counters(&self, number: u16) -> Result<RuleCounters, DataplaneError> {
        let values = locked(&self.rule_counters).get(&number.into(), 0).map_err(DataplaneError::map(map::RULE_COUNTERS))?;
        Ok(values.iter().fold(RuleCounters::default(), |sum, cpu| RuleCounters {
            hits: sum.hits + cpu.hits,
            packets: sum.packets + cpu.packets,
            bytes: sum.bytes + cpu.bytes,
        }))
    }

    /// Sets a rule's totals and its one-sided flows to zero, before its number is given to another.
    pub fn clear_rule(&self, number: u16) -> Result<(), DataplaneError> {
        let zero = zeros(RuleCounters::default())?;
        locked(&self.rule_counters).set(number.into(), zero, 0).map_err(DataplaneError::map(map::RULE_COUNTERS))?;
        self.set_one_sided(number, 0)
    }

    /// Totals of the interface at `place` (from 1).
    pub fn interface_counters(&self, place: u8) -> Result<InterfaceCounters, DataplaneError> {
        let Some(index) = place.checked_sub(1) else { return Ok(InterfaceCounters::default()) };
        let values = locked(&self.interface_counters).get(&index.into(), 0).map_err(DataplaneError::map(map::INTERFACE_COUNTERS))?;
        Ok(values.iter().fold(InterfaceCounters::default(), |sum, cpu| InterfaceCounters {
            received_packets: sum.received_packets + cpu.received_packets,
            received_bytes: sum.received_bytes + cpu.received_bytes,
            received_dropped: sum.received_dropped + cpu.received_dropped,
            sent_packets: sum.sent_packets + cpu.sent_packets,
            sent_bytes: sum.sent_bytes + cpu.sent_bytes,
            sent_dropped: sum.sent_dropped + cpu.sent_dropped,
        }))
    }

    /// Sets an interface's totals to zero, before its place is given to another.
    pub fn clear_interface_counters(&self, place: u8) -> Result<(), DataplaneError> {
        let Some(index) = place.checked_sub(1) else { return Ok(()) };
        let zero = zeros(InterfaceCounters::default())?;
        locked(&self.interface_counters).set(index.into(), zero, 0).map_err(DataplaneError::map(map::INTERFACE_COUNTERS))
    }
}

fn add(mut sum: Counters, cpu: &Counters) -> Counters {
    for (total, drops) in sum.drops.iter_mut().zip(cpu.drops) {
        *total += drops;
    }
    sum.passed += cpu.passed;
    sum.passed_without_learning += cpu.passed_without_learning;
    sum.link_passed += cpu.link_passed;
    sum.answered += cpu.answered;
    sum.flows_created += cpu.flows_created;
    sum.flows_established += cpu.flows_established;
    sum
}

fn zeros<T: aya::Pod>(zero: T) -> Result<PerCpuValues<T>, DataplaneError> {
    let failed = |source| DataplaneError::System { what: "counting the CPUs", source };
    let cpus = nr_cpus().map_err(|(_, error)| failed(error))?;
    PerCpuValues::try_from(vec![zero; cpus]).map_err(failed)
}
