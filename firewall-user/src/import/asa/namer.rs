//! Names that a policy takes, each given once.

use std::collections::HashMap;

/// Names of one sort that are in use.
#[derive(Debug, Default)]
pub(super) struct Namer {
    /// With the number that the next one of that name may have.
    taken: HashMap<String, usize>,
}

/// Longest name before a number is put behind it; rules, sets and services have room for a few more letters.
const LONGEST: usize = 56;

/// `name` with what a policy's names cannot have written as dashes.
pub(super) fn plain(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
    let short: String = name.chars().take(LONGEST).map(plain).collect();
    if short.is_empty() { "unnamed".to_owned() } else { short }
}

impl Namer {
    /// With names that must not be given.
    pub(super) fn without(names: &[&str]) -> Self {
        Self { taken: names.iter().map(|name| (name.to_string(), 2)).collect() }
    }

    /// The name, as far as a policy takes it, with a number when another has it.
    pub(super) fn claim(&mut self, name: &str) -> String {
        self.claim_short(name, LONGEST)
    }

    /// As [`Self::claim`], with at most `longest` letters before the number.
    pub(super) fn claim_short(&mut self, name: &str, longest: usize) -> String {
        let mut plain = plain(name);
        plain.truncate(longest);
        let mut number = self.taken.get(&plain).copied().unwrap_or(1);
        let mut own = plain.clone();
        while self.taken.contains_key(&own) {
            own = format!("{plain}-{number}");
            number += 1;
        }
        self.taken.insert(plain, number.max(2));
        self.taken.entry(own.clone()).or_insert(2);
        own
    }
}
