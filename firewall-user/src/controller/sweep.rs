//! The sweep: once a second it reads both flow tables, shows them to the API, returns the memory of expired flows and tells their end, counts the one-sided
//! ones and what counts against limits, sums up what is lost, and shortens timeouts when the table fills up.
//!
//! Whether a flow has expired is judged by the dataplane on every lookup; the sweep only gives memory back.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use firewall_common::{
    config::FULL_SCALE,
    event::Teardown,
    flow::{FlowKey, flow_flags},
    rule::MAX_RULE_NUMBERS,
};

use super::{counted::Tally, events::Events, live::Live, quality::Ledger};
use crate::{
    clock,
    dataplane::{DataplaneError, Maps, TableName},
};

/// Time between sweeps.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// A sweep takes at most this share of one CPU: with very large tables the interval grows instead.
const LARGEST_SHARE: u32 = 4;
/// Fill, in percent, from which timeouts shrink.
const SHRINK_FROM: u64 = 60;
/// Share of the timeouts left when the table is full, in 1/256: about a tenth.
const SMALLEST_SCALE: u32 = 26;

/// State from one sweep to the next.
#[derive(Debug)]
pub struct Sweep {
    state: Mutex<State>,
    /// Who is told of the flows that end here.
    events: Arc<Events>,
    /// Where packets are lost.
    pub(super) ledger: Ledger,
}

#[derive(Debug)]
struct State {
    round: u64,
    started: Option<Instant>,
    /// One-sided flows by rule number, as last written to the dataplane.
    one_sided: Vec<u32>,
    filled: [u64; 2],
    expired: u64,
}

/// What a sweep found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    pub embryonic: u64,
    pub established: u64,
    /// Flows the sweeps have removed since the controller started.
    pub expired: u64,
}

impl Sweep {
    pub fn new(events: Arc<Events>) -> Self {
        // What an earlier controller wrote is unknown: the first sweep writes every number that is not zero, and those that were.
        let state = State { round: 0, started: None, one_sided: vec![u32::MAX; MAX_RULE_NUMBERS], filled: [0; 2], expired: 0 };
        Self { state: Mutex::new(state), events, ledger: Ledger::default() }
    }

    /// Sees to it that everything which happened before the call is seen. Callers that wait for the same sweep share it.
    pub fn run(&self, maps: &Maps, live: &Live) -> Result<Fill, DataplaneError> {
        let called = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.started.is_none_or(|started| started < called) {
            let started = Instant::now();
            state.sweep(maps, live, &self.events, &self.ledger)?;
            state.started = Some(started);
        }
        Ok(state.fill())
    }

    /// What the last sweep found, about a second ago at most.
    pub fn last(&self) -> Fill {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).fill()
    }
}

impl State {
    fn fill(&self) -> Fill {
        let [embryonic, established] = self.filled;
        Fill { embryonic, established, expired: self.expired }
    }

    fn sweep(&mut self, maps: &Maps, live: &Live, events: &Events, ledger: &Ledger) -> Result<(), DataplaneError> {
        self.round += 1;
        let now = clock::monotonic();
        let scale = maps.config.timeout_scale();
        let mut tally = Tally::begin(maps)?;
        let mut one_sided = vec![0u32; MAX_RULE_NUMBERS];
        let mut sent = HashMap::new();
        // Established flows last: one that has just moved up may be met in both tables, and its new state counts.
        for (place, name) in [TableName::Embryonic, TableName::Established].into_iter().enumerate() {
            let table = maps.table(name);
            let mut expired: Vec<FlowKey> = Vec::new();
            let mut count = 0;
            table.read(|key, flow| {
                if flow.expired(now, scale) {
                    expired.push(key);
                    return;
                }
                count += 1;
                let counts = name == TableName::Established && flow.has(flow_flags::ONE_SIDED);
                if let Some(number) = one_sided.get_mut(usize::from(flow.rule)).filter(|_| counts) {
                    *number += 1;
                }
                tally.see(&key, &flow, name == TableName::Embryonic);
                let packets = live.see(key, flow, name, now, self.round);
                if packets.sum() != 0 {
                    *sent.entry(key).or_default() += packets;
                }
            })?;
            for key in &expired {
                let now = clock::monotonic();
                if let Some(flow) = table.remove_expired(key, now, scale)? {
                    self.expired += 1;
                    events.closed(*key, &flow, Teardown::of_expired(&flow), now);
                }
            }
            self.filled[place] = count;
        }
        tally.settle(maps)?;
        live.forget_unseen(self.round);
        ledger.sent(&sent, live);
        ledger.take(maps, live, now)?;
        maps.config.set_timeout_scale(scale_for(self.filled[1], maps.table(TableName::Established).capacity()?.into()));
        self.write_one_sided(maps, one_sided)
    }

    /// The dataplane adds to these numbers as flows come; what it added since the tables were read is counted by the next sweep.
    fn write_one_sided(&mut self, maps: &Maps, counted: Vec<u32>) -> Result<(), DataplaneError> {
        let there = maps.all_one_sided()?;
        for (rule, ((count, written), there)) in (0..).zip(counted.iter().zip(&self.one_sided).zip(there)) {
            // A rule without any needs no write, unless it had some, or the dataplane has counted one that is gone already.
            if *count != 0 || *written != 0 || there != 0 {
                maps.set_one_sided(rule, *count)?;
            }
        }
        self.one_sided = counted;
        Ok(())
    }
}

/// How long to wait after a sweep that took `taken`.
#[must_use]
pub fn pause_after(taken: Duration) -> Duration {
    INTERVAL.saturating_sub(taken).max(taken * (LARGEST_SHARE - 1))
}

/// Share of every timeout that applies, in 1/256: all of it up to [`SHRINK_FROM`] percent fill, then linearly less (after pf's adaptive
/// timeouts).
#[must_use]
pub fn scale_for(entries: u64, capacity: u64) -> u32 {
    let capacity = capacity.max(1);
    let start = capacity * SHRINK_FROM / 100;
    if entries <= start {
        return FULL_SCALE;
    }
    let over = entries.min(capacity) - start;
    let span = u64::from(FULL_SCALE - SMALLEST_SCALE);
    FULL_SCALE - u32::try_from(over * span / (capacity - start).max(1)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_shrink_linearly_as_the_table_fills() {
        assert_eq!(scale_for(0, 1000), 256);
        assert_eq!(scale_for(600, 1000), 256);
        assert_eq!(scale_for(601, 1000), 256);
        assert_eq!(scale_for(800, 1000), 141);
        assert_eq!(scale_for(1000, 1000), 26);
        assert_eq!(scale_for(5000, 1000), 26, "more than there is room for");
        assert_eq!(scale_for(0, 0), 256);
        let scales: Vec<u32> = (0..=1000).map(|entries| scale_for(entries, 1000)).collect();
        assert!(scales.is_sorted_by(|earlier, later| earlier >= later));
    }

    #[test]
    fn a_slow_sweep_leaves_the_cpu_to_others() {
        assert_eq!(pause_after(Duration::from_millis(10)), Duration::from_millis(990));
        assert_eq!(pause_after(Duration::from_millis(600)), Duration::from_millis(1800));
    }
}
