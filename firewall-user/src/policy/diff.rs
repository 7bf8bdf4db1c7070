//! What differs between two policies: rules, definitions, defaults and zones. Places and comments do not count, nor how something is written.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt::Write as _,
};

use serde::{Deserialize, Serialize};

use super::{
    Policy, applications,
    definitions::Defaults,
    print::{defaults_table, normalizer_table, rule_table},
    rule::RuleInfo,
};

/// What a change is about, in the order of a policy's print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    Defaults,
    Applications,
    Set,
    Service,
    Normalizer,
    Rule,
    Zone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    Added,
    Removed,
    Changed,
    /// Of a rule: it stands elsewhere among those that are in both policies.
    Moved,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub what: What,
    pub name: String,
    pub change: ChangeKind,
    /// Keys that differ, with their values as a policy's print has them; all keys of what is new or gone.
    pub keys: Vec<KeyChange>,
    /// Of a set or a service that changed: elements that came.
    pub added: Vec<String>,
    /// And those that went.
    pub removed: Vec<String>,
    /// The rule before a rule that is new or moved; null for the first one, and for everything else.
    pub after: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyChange {
    pub key: String,
    /// Null: the key was not there.
    pub old: Option<String>,
    pub new: Option<String>,
}

type Keys = Vec<(&'static str, String)>;

/// What turns `old` into `new`.
#[must_use]
pub fn diff(old: &Policy, new: &Policy) -> Vec<Change> {
    let mut changes = Vec::new();
    let keys = keys_between(&defaults_table(&old.defaults).into_keys(), &defaults_table(&new.defaults).into_keys());
    if !keys.is_empty() {
        changes.push(Change { keys, ..Change::new(What::Defaults, "defaults", ChangeKind::Changed) });
    }
    let keys = keys_between(&applications::table(&old.applications).into_keys(), &applications::table(&new.applications).into_keys());
    if !keys.is_empty() {
        changes.push(Change { keys, ..Change::new(What::Applications, "applications", ChangeKind::Changed) });
    }
    lists(What::Set, &old.sets, &new.sets, &mut changes);
    lists(What::Service, &old.services, &new.services, &mut changes);
    normalizers(old, new, &mut changes);
    rules(&old.rules, &new.rules, &mut changes);
    let (before, after) = (old.zones(), new.zones());
    changes.extend(after.difference(&before).map(|zone| Change::new(What::Zone, zone, ChangeKind::Added)));
    changes.extend(before.difference(&after).map(|zone| Change::new(What::Zone, zone, ChangeKind::Removed)));
    changes
}

/// Changes in one line: `2 rules added, 1 changed; 1 set changed`.
#[must_use]
pub fn summary(changes: &[Change]) -> String {
    let mut counts: BTreeMap<What, BTreeMap<ChangeKind, usize>> = BTreeMap::new();
    for change in changes {
        *counts.entry(change.what).or_default().entry(change.change).or_default() += 1;
    }
    if counts.is_empty() {
        return "nothing differs".to_owned();
    }
    // Rules are what a policy is about.
    let order = [What::Rule, What::Set, What::Service, What::Normalizer, What::Applications, What::Defaults, What::Zone];
    let mut text = String::new();
    for (what, kinds) in order.iter().filter_map(|what| Some((what, counts.get(what)?))) {
        let separator = if text.is_empty() { "" } else { "; " };
        text.push_str(separator);
        if matches!(what, What::Defaults | What::Applications) {
            text.push_str(what.name());
            text.push_str(" changed");
            continue;
        }
        for (index, (kind, count)) in kinds.iter().enumerate() {
            let noun = match (index, *count) {
                (0, 1) => format!(" {}", what.name()),
                (0, _) => format!(" {}s", what.name()),
                _ => String::new(),
            };
            let comma = if index == 0 { "" } else { ", " };
            let _ = write!(text, "{comma}{count}{noun} {}", kind.name());
        }
    }
    text
}

impl What {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Defaults => "defaults",
            Self::Applications => "applications",
            Self::Set => "set",
            Self::Service => "service",
            Self::Normalizer => "normalizer",
            Self::Rule => "rule",
            Self::Zone => "zone",
        }
    }
}

impl ChangeKind {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
            Self::Moved => "moved",
        }
    }
}

impl Change {
    fn new(what: What, name: &str, change: ChangeKind) -> Self {
        Self { what, name: name.to_owned(), change, keys: Vec::new(), added: Vec::new(), removed: Vec::new(), after: None }
    }
}

/// The keys whose values differ, in the order of the new ones, then those that are gone.
fn keys_between(old: &Keys, new: &Keys) -> Vec<KeyChange> {
    let value = |keys: &Keys, key: &str| keys.iter().find(|(known, _)| *known == key).map(|(_, value)| value.clone());
    let gone = old.iter().filter(|(key, _)| value(new, key).is_none());
    let keys = new.iter().chain(gone).map(|(key, _)| KeyChange { key: (*key).to_owned(), old: value(old, key), new: value(new, key) });
    keys.filter(|key| key.old != key.new).collect()
}

/// Named lists: sets and services.
fn lists(what: What, old: &BTreeMap<String, Vec<String>>, new: &BTreeMap<String, Vec<String>>, changes: &mut Vec<Change>) {
    let key = if what == What::Set { "addresses" } else { "ports" };
    let text = |elements: &Vec<String>| Some(elements.join(", "));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        let whole = |kind, old, new| Change { keys: vec![KeyChange { key: key.to_owned(), old, new }], ..Change::new(what, name, kind) };
        changes.extend(match (old.get(name), new.get(name)) {
            (None, Some(new)) => Some(whole(ChangeKind::Added, None, text(new))),
            (Some(old), None) => Some(whole(ChangeKind::Removed, text(old), None)),
            (Some(old), Some(new)) if old != new => {
                let only_in = |these: &[String], others: &[String]| {
                    let others: HashSet<&String> = others.iter().collect();
                    these.iter().filter(|element| !others.contains(element)).cloned().collect()
                };
                Some(Change { added: only_in(new, old), removed: only_in(old, new), ..Change::new(what, name, ChangeKind::Changed) })
            }
            _ => None,
        });
    }
}

fn normalizers(old: &Policy, new: &Policy, changes: &mut Vec<Change>) {
    let own = |policy: &Policy| -> BTreeMap<String, Keys> {
        let named = policy.normalizers.iter().filter_map(|normalizer| Some((normalizer, normalizer.base.as_ref()?)));
        named.map(|(normalizer, base)| (normalizer.name.clone(), normalizer_table(normalizer, base).into_keys())).collect()
    };
    let (old, new) = (own(old), own(new));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    changes.extend(names.into_iter().filter_map(|name| tables(What::Normalizer, name, old.get(name), new.get(name))));
}

/// How one table differs from another of its name.
fn tables(what: What, name: &str, old: Option<&Keys>, new: Option<&Keys>) -> Option<Change> {
    let none = Keys::new();
    let kind = match (old, new) {
        (None, _) => ChangeKind::Added,
        (_, None) => ChangeKind::Removed,
        _ => ChangeKind::Changed,
    };
    let keys = keys_between(old.unwrap_or(&none), new.unwrap_or(&none));
    (!keys.is_empty()).then(|| Change { keys, ..Change::new(what, name, kind) })
}

fn rules(old: &[RuleInfo], new: &[RuleInfo], changes: &mut Vec<Change>) {
    // With the built-in defaults as the base, a rule that changes because [defaults] did is a change too.
    let base = Defaults::default();
    let keys = |rule: &RuleInfo| -> Keys {
        let keys = rule_table(rule, &base).into_keys();
        keys.into_iter().filter(|(key, _)| *key != "name").collect()
    };
    let before: HashMap<&str, (usize, &RuleInfo)> = old.iter().enumerate().map(|(at, rule)| (rule.name.as_str(), (at, rule))).collect();
    let names: HashSet<&str> = new.iter().map(|rule| rule.name.as_str()).collect();
    for rule in old.iter().filter(|rule| !names.contains(rule.name.as_str())) {
        changes.extend(tables(What::Rule, &rule.name, Some(&keys(rule)), None));
    }
    let places: Vec<usize> = new.iter().filter_map(|rule| before.get(rule.name.as_str()).map(|(at, _)| *at)).collect();
    let stayed = longest_rising(&places);
    let mut previous: Option<&str> = None;
    for rule in new {
        let after = previous.replace(&rule.name).map(str::to_owned);
        let Some((at, earlier)) = before.get(rule.name.as_str()) else {
            changes.extend(tables(What::Rule, &rule.name, None, Some(&keys(rule))).map(|change| Change { after, ..change }));
            continue;
        };
        changes.extend(tables(What::Rule, &rule.name, Some(&keys(earlier)), Some(&keys(rule))));
        if !stayed.contains(at) {
            changes.push(Change { after, ..Change::new(What::Rule, &rule.name, ChangeKind::Moved) });
        }
    }
}

/// The most of `values` that rise from left to right: rules that need not move for the others to stand where they do.
fn longest_rising(values: &[usize]) -> HashSet<usize> {
    // Patience sorting: the last index of the best run of each length, and each index's predecessor.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(values.len());
    for (index, value) in values.iter().enumerate() {
        let length = ends.partition_point(|end| values[*end] < *value);
        before.push(length.checked_sub(1).map(|shorter| ends[shorter]));
        if length == ends.len() { ends.push(index) } else { ends[length] = index }
    }
    std::iter::successors(ends.last().copied(), |index| before[*index]).map(|index| values[index]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Source, load_sources};

    fn policy(text: &str) -> Policy {
        load_sources(vec![Source { path: "diff.toml".into(), text: text.to_owned() }], None).expect("a good policy").0
    }

    fn rules(names: &str) -> String {
        names.chars().map(|name| format!("[[rule]]\nname = \"{name}\"\nfrom = \"{name}\"\naction = \"drop\"\n")).collect()
    }

    /// `+a -b ~c >d:after`, in the order of the changes.
    fn short(changes: &[Change]) -> String {
        let one = |change: &Change| match change.change {
            ChangeKind::Added => format!("+{}", change.name),
            ChangeKind::Removed => format!("-{}", change.name),
            ChangeKind::Changed => format!("~{}", change.name),
            ChangeKind::Moved => format!(">{}:{}", change.name, change.after.as_deref().unwrap_or("first")),
        };
        changes.iter().filter(|change| change.what != What::Zone).map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn rules_come_go_and_move() {
        let between = |old: &str, new: &str| short(&diff(&policy(&rules(old)), &policy(&rules(new))));
        assert_eq!(between("abc", "abc"), "");
        assert_eq!(between("abc", "axbc"), "+x");
        assert_eq!(between("abc", "ac"), "-b");
        assert_eq!(between("abcde", "eabcd"), ">e:first", "the others stand as they did");
        assert_eq!(between("abcde", "bcdea"), ">a:e");
        assert_eq!(between("abc", "cxa"), "-b >c:first +x");
    }

    #[test]
    fn the_order_of_rules_is_all_that_moves() {
        let changes = diff(&policy(&rules("abc")), &policy(&rules("cab")));
        assert_eq!(changes.len(), 1, "{changes:?}");
        assert_eq!((changes[0].change, changes[0].keys.len()), (ChangeKind::Moved, 0));
    }

    #[test]
    fn keys_tell_what_was_and_what_is() {
        let old = policy("[[rule]]\nname = \"a\"\nfrom = \"outside\"\nservice = \"tcp/80\"\naction = \"allow\"\nbecause = \"x\"\n");
        let new = policy(
            "# other\n[[rule]]\naction = \"allow\"\nname = \"a\"\nfrom = \"outside\"\nservice = \"tcp/81\"\nidle-timeout = \"1m\"\n",
        );
        let changes = diff(&old, &new);
        let keys: Vec<_> = changes[0].keys.iter().map(|key| (key.key.as_str(), key.old.as_deref(), key.new.as_deref())).collect();
        assert_eq!(
            keys,
            [("service", Some("\"tcp/80\""), Some("\"tcp/81\"")), ("idle-timeout", None, Some("\"1m\"")), ("because", Some("\"x\""), None)]
        );
        assert_eq!(summary(&changes), "1 rule changed");
    }

    #[test]
    fn defaults_change_the_rules_that_have_them() {
        let rule = "[[rule]]\nname = \"a\"\naction = \"allow\"\n";
        let changes = diff(&policy(rule), &policy(&format!("[defaults]\ninspection = \"tolerant\"\n{rule}")));
        assert_eq!(short(&changes), "~defaults ~a");
        assert_eq!(summary(&changes), "1 rule changed; defaults changed");
    }

    #[test]
    fn what_is_recognised_is_compared_with_what_holds_anyway() {
        let rule = "[[rule]]\nname = \"a\"\naction = \"allow\"\n";
        let changes = diff(&policy(rule), &policy(&format!("[applications]\nctcp-ports = [10000, 443]\n{rule}")));
        assert_eq!(short(&changes), "~applications");
        assert_eq!((changes[0].keys[0].old.as_deref(), changes[0].keys[0].new.as_deref()), (None, Some("[443, 10000]")));
        assert_eq!(summary(&changes), "applications changed");
        assert!(diff(&policy(rule), &policy(&format!("[applications]\nctcp-ports = 10000\n{rule}"))).is_empty());
    }

    #[test]
    fn definitions_tell_their_elements() {
        let text = |elements: &str, mss: u32| {
            format!(
                "[set.hosts]\naddresses = [{elements}]\n[normalizer.own]\nbase = \"asa\"\nmss-clamp = {mss}\n[[rule]]\nname = \"a\"\n\
                 from = \"outside @hosts\"\naction = \"allow\"\nnormalizer = \"own\"\n"
            )
        };
        let changes = diff(&policy(&text("\"10.0.0.1\", \"10.0.0.2\"", 1300)), &policy(&text("\"10.0.0.2\", \"10.0.0.3\"", 1360)));
        assert_eq!(short(&changes), "~hosts ~own");
        assert_eq!((&changes[0].added[..], &changes[0].removed[..]), (&["10.0.0.3".to_owned()][..], &["10.0.0.1".to_owned()][..]));
        assert_eq!((changes[1].keys[0].key.as_str(), changes[1].keys[0].new.as_deref()), ("mss-clamp", Some("1360")));
        assert_eq!(summary(&changes), "1 set changed; 1 normalizer changed");
    }

    #[test]
    fn zones_are_told_of() {
        let changes = diff(&policy(&rules("ab")), &policy(&rules("ac")));
        let zones: Vec<_> = changes.iter().filter(|change| change.what == What::Zone).map(|c| (c.name.as_str(), c.change)).collect();
        assert_eq!(zones, [("c", ChangeKind::Added), ("b", ChangeKind::Removed)]);
        assert_eq!(summary(&changes), "1 rule added, 1 removed; 1 zone added, 1 removed");
        assert_eq!(summary(&[]), "nothing differs");
    }
}
