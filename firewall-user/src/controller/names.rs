//! Stable numbers for rules and zones. The dataplane knows numbers only; the names lie beside them in pinned maps, so that a rule keeps
//! its number, and with it its counters and flows, through reloads and restarts.

use std::collections::{HashMap, HashSet};

use firewall_common::rule::{MAX_RULE_NUMBERS, MAX_ZONES, ZONE_SELF};

use crate::{
    dataplane::{DataplaneError, Maps},
    policy::Numbers,
};

/// Name of the box's own zone.
const SELF: &str = "self";
/// No rule has this number: flows and counters that name no rule hold it.
const NO_RULE: usize = 0;

/// Names by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    rules: Vec<Option<String>>,
    /// Numbers of the rules by name.
    numbers: HashMap<String, u16>,
    zones: Vec<Option<String>>,
}

/// Numbers that may not be given to another name.
#[derive(Clone, Debug, Default)]
pub struct InUse {
    /// By live flows.
    pub rules: HashSet<u16>,
    /// By live flows and attached interfaces.
    pub zones: HashSet<u8>,
    /// By the policy in force, which goes on admitting flows until the switch, and by the one about to be.
    pub rule_names: HashSet<String>,
    pub zone_names: HashSet<String>,
}

/// A set of names in the making: nothing counts until [`Draft::commit`].
#[derive(Debug)]
pub struct Draft<'a> {
    names: Names,
    in_use: &'a InUse,
    new_rules: Vec<u16>,
    new_zones: Vec<u8>,
    /// The new rules' numbers once more.
    taken: HashSet<usize>,
    /// Below these numbers no rule's is free any more, and none can be taken from a rule that is gone.
    free_from: usize,
    replaceable_from: usize,
}

impl Names {
    /// Reads what an earlier controller left.
    pub fn read(maps: &Maps) -> Result<Self, DataplaneError> {
        Ok(Self::new(maps.rule_names()?, maps.zone_names()?))
    }

    fn new(mut rules: Vec<Option<String>>, mut zones: Vec<Option<String>>) -> Self {
        rules.resize(MAX_RULE_NUMBERS, None);
        zones.resize(MAX_ZONES, None);
        zones[usize::from(ZONE_SELF)] = Some(SELF.to_owned());
        let numbers = rules.iter().zip(0..).filter_map(|(name, number)| Some((name.clone()?, number))).collect();
        Self { rules, numbers, zones }
    }

    /// The rule's name; its number in digits when it has none.
    #[must_use]
    pub fn rule(&self, number: u16) -> String {
        self.rules.get(usize::from(number)).cloned().flatten().unwrap_or_else(|| format!("#{number}"))
    }

    #[must_use]
    pub fn rule_number(&self, name: &str) -> Option<u16> {
        self.numbers.get(name).copied()
    }

    #[must_use]
    pub fn zone(&self, number: u8) -> String {
        self.zones.get(usize::from(number)).cloned().flatten().unwrap_or_else(|| format!("#{number}"))
    }

    #[must_use]
    pub fn zone_number(&self, name: &str) -> Option<u8> {
        position(&self.zones, name).and_then(|number| u8::try_from(number).ok())
    }

    #[must_use]
    pub fn draft<'a>(&self, in_use: &'a InUse) -> Draft<'a> {
        let fresh = NO_RULE + 1;
        Draft {
            names: self.clone(),
            in_use,
            new_rules: Vec::new(),
            new_zones: Vec::new(),
            taken: HashSet::new(),
            free_from: fresh,
            replaceable_from: fresh,
        }
    }
}

fn position(names: &[Option<String>], name: &str) -> Option<usize> {
    names.iter().position(|known| known.as_deref() == Some(name))
}

impl Draft<'_> {
    /// The names, without putting them in force.
    pub fn into_names(self) -> Names {
        self.names
    }

    /// Numbers of rules that had none, which another rule may have had.
    pub fn new_rules(&self) -> &[u16] {
        &self.new_rules
    }

    /// Writes the new names beside their numbers, after what a number's last owner left there is cleared.
    pub fn commit(self, maps: &Maps) -> Result<Names, DataplaneError> {
        for number in self.new_rules {
            maps.clear_rule(number)?;
            maps.set_rule_name(number, &self.names.rule(number))?;
        }
        for number in self.new_zones {
            maps.set_zone_name(number, &self.names.zone(number))?;
        }
        Ok(self.names)
    }
}

impl Numbers for Draft<'_> {
    fn zone(&mut self, name: &str) -> Option<u8> {
        if let Some(number) = self.names.zone_number(name) {
            return Some(number);
        }
        let names = &self.names.zones;
        let free = (0..names.len()).find(|number| names[*number].is_none());
        let number = free.or_else(|| {
            (1..names.len()).find(|number| {
                let kept = names[*number].as_ref().is_some_and(|name| self.in_use.zone_names.contains(name));
                let number = u8::try_from(*number).unwrap_or(ZONE_SELF);
                !kept && !self.in_use.zones.contains(&number) && !self.new_zones.contains(&number)
            })
        })?;
        self.names.zones[number] = Some(name.to_owned());
        let number = u8::try_from(number).ok()?;
        self.new_zones.push(number);
        Some(number)
    }

    fn rule(&mut self, name: &str) -> Option<u16> {
        if let Some(number) = self.names.rule_number(name) {
            return Some(number);
        }
        let names = &self.names.rules;
        let not_live = |number: &usize| u16::try_from(*number).is_ok_and(|number| !self.in_use.rules.contains(&number));
        let free = (self.free_from..names.len()).find(|number| names[*number].is_none() && not_live(number));
        self.free_from = free.unwrap_or(names.len());
        let number = free.or_else(|| {
            let replaceable = |number: &usize| {
                let known = names[*number].as_ref();
                known.is_some_and(|name| !self.in_use.rule_names.contains(name)) && not_live(number) && !self.taken.contains(number)
            };
            let found = (self.replaceable_from..names.len()).find(replaceable);
            self.replaceable_from = found.unwrap_or(names.len());
            found
        })?;
        if let Some(old) = self.names.rules[number].replace(name.to_owned()) {
            self.names.numbers.remove(&old);
        }
        let short = u16::try_from(number).ok()?;
        self.names.numbers.insert(name.to_owned(), short);
        self.taken.insert(number);
        self.new_rules.push(short);
        Some(short)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(except: usize) -> Names {
        let rules = (0..MAX_RULE_NUMBERS).map(|number| (number > 0 && number != except).then(|| format!("old-{number}"))).collect();
        Names::new(rules, Vec::new())
    }

    #[test]
    fn a_rule_keeps_its_number() {
        let in_use = InUse::default();
        let names = Names::new(Vec::new(), Vec::new());
        let mut draft = names.draft(&in_use);
        let first = draft.rule("web");
        assert_eq!(first, Some(1), "0 is for flows that name no rule");
        assert_eq!(draft.rule("web"), first);
        assert_ne!(draft.rule("ssh"), first);
        assert_eq!(draft.new_rules, [1, 2]);
        assert_eq!(names.rule_number("web"), None, "nothing counts before the commit");
    }

    #[test]
    fn self_is_zone_zero() {
        let names = Names::new(Vec::new(), Vec::new());
        let in_use = InUse::default();
        assert_eq!(names.draft(&in_use).zone(SELF), Some(ZONE_SELF));
        assert_eq!(names.draft(&in_use).zone("outside"), Some(1));
    }

    #[test]
    fn numbers_of_live_flows_and_of_policies_are_not_taken() {
        let names = full(0);
        let mut in_use = InUse {
            rules: (1..MAX_RULE_NUMBERS as u16).filter(|number| *number != 7 && *number != 9).collect(),
            rule_names: HashSet::from(["old-7".to_owned()]),
            ..InUse::default()
        };
        assert_eq!(names.draft(&in_use).rule("new"), Some(9));
        in_use.rules.insert(9);
        assert_eq!(names.draft(&in_use).rule("new"), None, "every number is in use");
    }

    #[test]
    fn a_number_that_is_free_is_taken_before_one_with_an_old_name() {
        let in_use = InUse::default();
        let names = full(3000);
        let mut draft = names.draft(&in_use);
        assert_eq!(draft.rule("a"), Some(3000));
        let (second, third) = (draft.rule("b"), draft.rule("c"));
        assert!(second.is_some() && third.is_some() && second != third);
    }

    #[test]
    fn zones_run_out() {
        let in_use = InUse { zones: (0..MAX_ZONES as u8).collect(), ..InUse::default() };
        let names = Names::new(Vec::new(), Vec::new());
        let mut draft = names.draft(&in_use);
        for zone in 1..MAX_ZONES {
            assert!(draft.zone(&format!("z{zone}")).is_some());
        }
        assert_eq!(draft.zone("one-more"), None);
    }
}
