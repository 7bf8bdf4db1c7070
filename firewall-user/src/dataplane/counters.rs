//! Sums over the per-CPU counters.

use aya::{
    maps::{MapData, MapError, PerCpuArray, PerCpuValues},
    util::nr_cpus,
};
use firewall_common::{
    abi::map,
    counter::{Counters, PLACE_GONE, PLACE_NONE, RuleCounters},
};

use super::{DataplaneError, Maps, maps::locked};

impl Maps {
    /// The dataplane's totals: those of every interface there is or was, and of none.
    pub fn counters(&self) -> Result<Counters, DataplaneError> {
        let mut sum = Counters::default();
        for place in PLACE_NONE..=PLACE_GONE {
            sum.add(&self.counters_of(place)?);
        }
        Ok(sum)
    }

    /// Totals of the interface at `place`.
    pub fn counters_of(&self, place: u8) -> Result<Counters, DataplaneError> {
        let values = locked(&self.counters).get(&place.into(), 0).map_err(DataplaneError::map(map::COUNTERS))?;
        let mut sum = Counters::default();
        values.iter().for_each(|cpu| sum.add(cpu));
        Ok(sum)
    }

    /// Moves the totals of the interface that was at `place` to those of interfaces gone by, before the place is given to another.
    pub fn retire_counters(&self, place: u8) -> Result<(), DataplaneError> {
        let mut counters = locked(&self.counters);
        retire(&mut counters, place).map_err(DataplaneError::map(map::COUNTERS))
    }

    /// Totals of the rule with this number.
    pub fn rule_counters(&self, number: u16) -> Result<RuleCounters, DataplaneError> {
        let values = locked(&self.rule_counters).get(&number.into(), 0).map_err(DataplaneError::map(map::RULE_COUNTERS))?;
        let mut sum = RuleCounters::default();
        values.iter().for_each(|cpu| sum.add(cpu));
        Ok(sum)
    }

    /// Sets a rule's totals, its one-sided flows and what counts against its limits to zero, before its number is given to another.
    pub fn clear_rule(&self, number: u16) -> Result<(), DataplaneError> {
        let zero = zeros(RuleCounters::default())?;
        locked(&self.rule_counters).set(number.into(), zero, 0).map_err(DataplaneError::map(map::RULE_COUNTERS))?;
        self.limits.clear(number);
        self.set_one_sided(number, 0)
    }
}

fn retire(counters: &mut PerCpuArray<MapData, Counters>, place: u8) -> Result<(), MapError> {
    let gone = counters.get(&PLACE_GONE.into(), 0)?;
    let old = counters.get(&place.into(), 0)?;
    let sum = |(gone, old): (&Counters, &Counters)| {
        let mut sum = *gone;
        sum.add(old);
        sum
    };
    let sums = PerCpuValues::try_from(gone.iter().zip(old.iter()).map(sum).collect::<Vec<_>>())?;
    let zeros = PerCpuValues::try_from(vec![Counters::default(); old.len()])?;
    counters.set(PLACE_GONE.into(), sums, 0)?;
    counters.set(place.into(), zeros, 0)
}

fn zeros<T: aya::Pod>(zero: T) -> Result<PerCpuValues<T>, DataplaneError> {
    let failed = |source| DataplaneError::System { what: "counting the CPUs", source };
    let cpus = nr_cpus().map_err(|(_, error)| failed(error))?;
    PerCpuValues::try_from(vec![zero; cpus]).map_err(failed)
}
