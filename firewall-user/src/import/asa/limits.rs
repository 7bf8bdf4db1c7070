//! Limits of connections per class: `limits` of the class's rules.

use std::collections::BTreeMap;

use firewall_common::limit::Limits;

use super::{left::List, lines::Line};
use crate::policy::limits::MAX_LIMIT;

const LIMITS: [&str; 4] = ["conn-max", "embryonic-conn-max", "per-client-max", "per-client-embryonic-max"];

pub(super) fn is_limit(word: &str) -> bool {
    LIMITS.contains(&word)
}

/// Reads one limit of a line; true when it is carried over. 0 means no limit on either side.
pub(super) fn read(word: &str, value: &str, line: &Line<'_>, limits: &mut Limits, list: &mut List) -> bool {
    let limit = match word {
        "conn-max" => &mut limits.flows,
        "embryonic-conn-max" => &mut limits.embryonic,
        "per-client-max" => &mut limits.source_flows,
        _ => &mut limits.source_embryonic,
    };
    match value.parse().ok().filter(|value| *value <= MAX_LIMIT) {
        Some(value) => *limit = value,
        None => list.add("limits", line, format!("{word} {value}: it is no number of connections"), "see limits of a rule"),
    }
    *limit != 0
}

/// The limits of a rule. Under bypass an ASA knows no embryonic connections either.
pub(super) const fn of_rule(limits: Limits, bypass: bool) -> Limits {
    if bypass { Limits { embryonic: 0, source_embryonic: 0, ..limits } } else { limits }
}

/// Which lines give limits to how many rules.
#[derive(Debug, Default)]
pub(super) struct Shared<'t>(BTreeMap<usize, (Line<'t>, usize)>);

impl<'t> Shared<'t> {
    /// Notes a rule with limits, by the lines it comes from.
    pub(super) fn note(&mut self, lines: &[Line<'t>]) {
        for line in lines.iter().filter(|line| line.words().iter().any(|word| is_limit(word))) {
            self.0.entry(line.number).or_insert((*line, 0)).1 += 1;
        }
    }

    /// Lists the classes whose limits are no longer one for all of their connections.
    pub(super) fn list(self, list: &mut List) {
        for (line, rules) in self.0.into_values().filter(|(_, rules)| *rules > 1) {
            let reason = format!("the class comes to {rules} rules, and each of them has the limits for itself");
            list.add("limits", &line, reason, "lower the limits, or make one rule of those that may be one");
        }
    }
}
