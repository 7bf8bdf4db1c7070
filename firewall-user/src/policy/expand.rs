//! Rules become entries: one for each pair of a rule's groups of `from` and `to`.

use std::{collections::HashMap, sync::Arc};

use firewall_common::rule::MAX_ENTRIES;

use super::{
    address::{AddressSet, Addresses},
    definitions::{Definitions, MAX_ALL_PREFIXES},
    diagnostic::Report,
    rule::Matches,
    selector::group,
    service::ServiceSet,
};

/// One entry of the lowered policy, with names where numbers will be. `None` is always "any".
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Index of the rule.
    pub(super) rule: usize,
    /// Its place among the entries of the policy: the first that matches decides.
    pub(super) order: u16,
    pub(super) from: Option<Vec<String>>,
    pub(super) source: Option<Lists>,
    pub(super) to: Option<Vec<String>>,
    pub(super) destination: Option<Lists>,
    pub(super) service: Option<ServiceSet>,
}

/// Numbers of the lists an entry's addresses are in, rising.
pub(super) type Lists = Arc<[usize]>;

/// Addresses that entries name together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct List {
    /// The set they are; `None`: a rule's own.
    pub(super) set: Option<String>,
    /// As the policy has them.
    pub(super) written: AddressSet,
}

#[derive(Default)]
pub(super) struct Expansion {
    pub(super) entries: Vec<Entry>,
    /// Lists of addresses in use: the same list is kept once.
    pub(super) lists: Vec<List>,
    known: HashMap<List, usize>,
    sets: HashMap<String, usize>,
    prefixes: usize,
    full: bool,
}

impl Expansion {
    /// Adds the entries of rule number `rule`; the first rule that finds no room is reported.
    pub(super) fn add(&mut self, rule: usize, matches: &Matches, definitions: &Definitions<'_>, report: &mut Report<'_>) {
        if self.full {
            return;
        }
        let (from, to) = (group(&matches.from), group(&matches.to));
        let service: Option<ServiceSet> = matches.service.as_deref().map(Into::into);
        let total = from.len().saturating_mul(to.len()).saturating_add(self.entries.len());
        if total > MAX_ENTRIES {
            self.full = true;
            let message = format!("too many rules: with this one the policy has {total} entries, the limit is {MAX_ENTRIES}");
            let hint = "a rule takes one entry for each pair of a from and a to; zones with the same addresses count once";
            return report.error_with_hint(matches.place, message, hint);
        }
        for (from_zones, source) in &from {
            let source = source.as_ref().map(|addresses| self.lists(addresses, definitions));
            for (to_zones, destination) in &to {
                let destination = destination.as_ref().map(|addresses| self.lists(addresses, definitions));
                let (from, to, source) = (from_zones.clone(), to_zones.clone(), source.clone());
                let order = self.entries.len() as u16;
                self.entries.push(Entry { rule, order, from, source, to, destination, service: service.clone() });
            }
        }
        if self.prefixes > MAX_ALL_PREFIXES {
            self.full = true;
            report.error_with_hint(
                matches.place,
                format!("too many addresses: the rules' lists of addresses come to more than {MAX_ALL_PREFIXES} prefixes"),
                "use the same sets in more rules: equal lists count once",
            );
        }
    }

    fn lists(&mut self, addresses: &Addresses, definitions: &Definitions<'_>) -> Lists {
        let mut numbers = Vec::new();
        for name in &addresses.sets {
            let known = self.sets.get(name).copied();
            numbers.push(known.unwrap_or_else(|| {
                let number = self.new_list(List { set: Some(name.clone()), written: definitions.own_prefixes(name) });
                self.sets.insert(name.clone(), number);
                number
            }));
        }
        if !addresses.own.is_empty() {
            let list = List { set: None, written: addresses.own.as_slice().into() };
            let known = self.known.get(&list).copied();
            numbers.push(known.unwrap_or_else(|| {
                let number = self.new_list(list.clone());
                self.known.insert(list, number);
                number
            }));
        }
        numbers.sort_unstable();
        numbers.into()
    }

    fn new_list(&mut self, list: List) -> usize {
        self.prefixes += list.written.len();
        self.lists.push(list);
        self.lists.len() - 1
    }
}
