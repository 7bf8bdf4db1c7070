//! What counts against limits, counted by the sweep: it makes good what the dataplane does not see, entries that the kernel evicts and flows
//! that the controller removes (see [`firewall_common::limit`]).
//!
//! The dataplane goes on while the tables are read, so what was counted and what it says may differ by the flows that began or ended
//! meanwhile, and by those that moved from one table to the other and were seen in both. Only what is beyond these is a mistake. That is
//! never more than was lost, so that a limit is not overrun by it; and once a rule is full nothing begins, so that what is left of the
//! mistake goes with the next sweep.

use std::collections::HashMap;

use firewall_common::{
    flow::{Flow, FlowKey, flow_flags, flow_marks},
    limit::{Count, Source},
    rule::MAX_RULE_NUMBERS,
};

use crate::dataplane::{DataplaneError, Maps};

/// Flows and embryonic flows, as the dataplane counts them.
type Counted = [Count; 2];

/// One sweep's count.
#[derive(Debug)]
pub(super) struct Tally {
    rules_before: Vec<Counted>,
    sources_before: HashMap<Source, Counted>,
    rules: HashMap<u16, [u32; 2]>,
    sources: HashMap<Source, [u32; 2]>,
}

impl Tally {
    /// Notes what the dataplane says before the tables are read.
    pub(super) fn begin(maps: &Maps) -> Result<Self, DataplaneError> {
        let rules_before = (0..MAX_RULE_NUMBERS as u16).map(|rule| maps.limits.read(rule)).collect();
        Ok(Self { rules_before, sources_before: sources(maps)?, rules: HashMap::new(), sources: HashMap::new() })
    }

    pub(super) fn see(&mut self, key: &FlowKey, flow: &Flow, embryonic: bool) {
        if flow.marks & flow_marks::LIMITED == 0 {
            return;
        }
        let source = Source::new(flow.rule, if flow.has(flow_flags::INITIATOR_LOW) { key.low } else { key.high });
        let by_rule = self.rules.entry(flow.rule).or_default();
        let by_source = self.sources_before.contains_key(&source).then(|| self.sources.entry(source).or_default());
        for seen in [Some(by_rule), by_source].into_iter().flatten() {
            seen[0] += 1;
            seen[1] += u32::from(embryonic);
        }
    }

    /// Corrects what the dataplane says.
    pub(super) fn settle(self, maps: &Maps) -> Result<(), DataplaneError> {
        for (rule, before) in (0..).zip(&self.rules_before) {
            let after = maps.limits.read(rule);
            let seen = self.rules.get(&rule).copied().unwrap_or_default();
            // Most numbers are of no rule with limits.
            if after != [Count::default(); 2] || seen != [0; 2] {
                maps.limits.end(rule, missing(before, &after, seen));
            }
        }
        if self.sources_before.is_empty() {
            return Ok(());
        }
        for (source, after) in sources(maps)? {
            // One that has come since was seen by nobody.
            let Some(before) = self.sources_before.get(&source) else { continue };
            let missing = missing(before, &after, self.sources.get(&source).copied().unwrap_or_default());
            if missing != [0; 2] {
                maps.end_of_source(&source, missing)?;
            }
        }
        Ok(())
    }
}

fn sources(maps: &Maps) -> Result<HashMap<Source, Counted>, DataplaneError> {
    let mut sources = HashMap::new();
    maps.read_sources(|source, counts| {
        sources.insert(source, [counts.flows, counts.embryonic]);
    })?;
    Ok(sources)
}

/// How many flows and embryonic flows have ended without being counted; a number that wraps where fewer have.
fn missing(before: &Counted, after: &Counted, seen: [u32; 2]) -> [u32; 2] {
    let [flows_before, embryonic_before] = before;
    let [flows, embryonic] = after;
    // A flow that is confirmed while the tables are read may be seen in both.
    let confirmed = embryonic.ended.wrapping_sub(embryonic_before.ended);
    [
        beyond(*flows, seen[0], churn(*flows_before, *flows).saturating_add(confirmed)),
        beyond(*embryonic, seen[1], churn(*embryonic_before, *embryonic)),
    ]
}

/// Flows that came and went.
const fn churn(before: Count, after: Count) -> u32 {
    after.begun.wrapping_sub(before.begun).saturating_add(after.ended.wrapping_sub(before.ended))
}

/// By how much more than `slack` the count differs from what was seen.
fn beyond(count: Count, seen: u32, slack: u32) -> u32 {
    let alive = i64::from(count.begun.wrapping_sub(count.ended).cast_signed());
    let (difference, slack) = (alive - i64::from(seen), i64::from(slack));
    let mistake = if difference > slack {
        difference - slack
    } else if difference < -slack {
        difference + slack
    } else {
        0
    };
    // The lower half is the same number modulo 2^32, as the dataplane counts.
    mistake.cast_unsigned() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(begun: u32, ended: u32) -> Count {
        Count { begun, ended }
    }

    #[test]
    fn what_was_evicted_is_made_good() {
        let counted = [count(100, 10), count(100, 40)];
        assert_eq!(missing(&counted, &counted, [90, 60]), [0, 0]);
        assert_eq!(missing(&counted, &counted, [70, 40]), [20, 20], "twenty embryonic flows were evicted");
        let wrapped = [count(5, u32::MAX - 4), count(0, 0)];
        assert_eq!(missing(&wrapped, &wrapped, [10, 0]), [0, 0]);
        assert_eq!(missing(&wrapped, &wrapped, [4, 0]), [6, 0]);
    }

    #[test]
    fn a_count_that_is_too_low_is_raised() {
        let counted = [count(10, 12), count(0, 0)];
        let [more, _] = missing(&counted, &counted, [3, 0]);
        assert_eq!(count(10, 12u32.wrapping_add(more)).alive(), 3);
    }

    #[test]
    fn what_comes_and_goes_meanwhile_is_no_mistake() {
        let before = [count(100, 50), count(100, 90)];
        // Ten have begun, of which the tables showed none yet; four have ended that were still seen.
        let after = [count(110, 54), count(110, 94)];
        for seen in 42..=70 {
            assert_eq!(missing(&before, &after, [seen, 16])[0], 0, "{seen}");
        }
        assert_eq!(missing(&before, &after, [30, 16])[0], 8, "56 alive, 30 seen, 18 of them for a reason");
    }
}
