//! The sets of a policy: `[set.NAME]`, which may name each other.

use std::collections::{BTreeMap, BTreeSet};

use toml::de::DeTable;

use super::{
    address::{AddressItem, AddressSet, Addresses, Prefix, simplify},
    definitions::{Definitions, MAX_ALL_PREFIXES, MAX_PREFIXES, read_named, report_twice},
    diagnostic::{Place, Report},
    document::Text,
    key,
    members::WrittenSet,
    selector::parse_addresses,
};

/// How deep sets may name sets.
const MAX_DEPTH: usize = 16;

#[derive(Debug)]
pub(super) struct Set<'a> {
    place: Place,
    texts: Vec<Text<'a>>,
    pub(super) items: Vec<AddressItem>,
    /// Line of each item.
    lines: Vec<usize>,
    /// Its prefixes and those of the sets it names. Empty until resolved, and when something is wrong with the set.
    prefixes: AddressSet,
    /// Its own alone.
    own: AddressSet,
    /// Itself and the sets it names, directly or by another set.
    within: BTreeSet<String>,
    state: Resolution,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resolution {
    Todo,
    UnderWay,
    Done,
}

/// Addresses come to more prefixes than the tables hold.
#[derive(Debug)]
pub(super) struct TooManyPrefixes;

impl<'a> Definitions<'a> {
    pub(super) fn read_sets(&mut self, file: usize, tables: &'a DeTable<'a>, report: &mut Report<'_>) {
        for (name, place, texts) in read_named(file, tables, "set", &key::SET, report) {
            match self.sets.get(&name) {
                Some(first) => report_twice("set", &name, place, first.place, report),
                None => drop(self.sets.insert(name, Set::new(place, texts))),
            }
        }
    }

    /// Reads what the sets say, once all their names are known.
    pub(super) fn resolve_sets(&mut self, report: &mut Report<'_>) {
        let names: Vec<String> = self.sets.keys().cloned().collect();
        for name in &names {
            let texts = self.sets.get(name).map(|set| set.texts.clone()).unwrap_or_default();
            let (mut items, mut lines) = (Vec::new(), Vec::new());
            for text in texts {
                items.extend(parse_addresses(text, text.value, self, report).unwrap_or_default());
                lines.resize(items.len(), report.sources().line_number(text.place));
            }
            if let Some(set) = self.sets.get_mut(name) {
                (set.items, set.lines) = (items, lines);
            }
        }
        for name in &names {
            self.resolve_set(name, &mut Vec::new(), report);
        }
    }

    /// `path`: the sets that are being resolved, each named by the one before.
    fn resolve_set(&mut self, name: &str, path: &mut Vec<String>, report: &mut Report<'_>) {
        let Some(set) = self.sets.get_mut(name) else { return };
        if set.state != Resolution::Todo {
            if set.state == Resolution::UnderWay {
                let begin = path.iter().position(|step| step == name).unwrap_or(0);
                let circle: Vec<String> = path[begin..].iter().chain([&name.to_owned()]).map(|step| format!("@{step}")).collect();
                report.error(set.place, format!("sets name each other in a circle: {}", circle.join(" → ")));
            }
            return;
        }
        if path.len() >= MAX_DEPTH {
            set.state = Resolution::Done;
            return report.error(set.place, format!("sets name sets more than {MAX_DEPTH} deep"));
        }
        set.state = Resolution::UnderWay;
        let items = set.items.clone();
        path.push(name.to_owned());
        for item in &items {
            if let AddressItem::Set(inner) = item {
                self.resolve_set(inner, path, report);
            }
        }
        path.pop();
        let Addresses { own, sets: within } = self.addresses(&items);
        // One error is enough, and the work of all the other sets is saved.
        let prefixes = if self.resolved > MAX_ALL_PREFIXES { Ok(Vec::new()) } else { self.prefixes(&items) };
        let Some(set) = self.sets.get_mut(name) else { return };
        set.state = Resolution::Done;
        set.within = within;
        set.within.insert(name.to_owned());
        match prefixes {
            Ok(prefixes) => {
                let fitted = self.resolved <= MAX_ALL_PREFIXES;
                self.resolved += prefixes.len();
                set.prefixes = prefixes.into();
                set.own = if own.len() == set.prefixes.len() { set.prefixes.clone() } else { own.into() };
                if fitted && self.resolved > MAX_ALL_PREFIXES {
                    report.error(set.place, format!("too many addresses: all sets together come to more than {MAX_ALL_PREFIXES} prefixes"));
                }
            }
            Err(TooManyPrefixes) => report_too_many(set.place, report),
        }
    }

    /// The prefixes and sets that a list of addresses names.
    pub(super) fn addresses(&self, items: &[AddressItem]) -> Addresses {
        let mut addresses = Addresses::default();
        for item in items {
            match item {
                AddressItem::Set(name) => addresses.sets.extend(self.sets.get(name).into_iter().flat_map(|set| set.within.clone())),
                other => addresses.own.extend(other.prefixes()),
            }
        }
        addresses.own = simplify(addresses.own);
        addresses
    }

    /// Prefixes that a list of addresses comes to as written, at the most.
    pub(super) fn size(&self, items: &[AddressItem]) -> Result<usize, TooManyPrefixes> {
        let of = |item: &AddressItem| match item {
            AddressItem::Set(name) => self.sets.get(name).map_or(0, |set| set.prefixes.len()),
            other => other.prefixes().len(),
        };
        let total = items.iter().map(of).sum();
        if total > MAX_PREFIXES { self.prefixes(items).map(|prefixes| prefixes.len()) } else { Ok(total) }
    }

    /// What a list of addresses stands for.
    fn prefixes(&self, items: &[AddressItem]) -> Result<Vec<Prefix>, TooManyPrefixes> {
        let mut prefixes = Vec::new();
        let mut seen = BTreeSet::new();
        for item in items {
            match item {
                AddressItem::Set(name) if seen.insert(name) => {
                    prefixes.extend(self.sets.get(name).into_iter().flat_map(|set| set.prefixes.iter()));
                }
                AddressItem::Set(_) => {}
                other => prefixes.extend(other.prefixes()),
            }
            if prefixes.len() > 2 * MAX_PREFIXES {
                prefixes = simplify(prefixes);
                if prefixes.len() > MAX_PREFIXES {
                    return Err(TooManyPrefixes);
                }
            }
        }
        let prefixes = simplify(prefixes);
        if prefixes.len() > MAX_PREFIXES { Err(TooManyPrefixes) } else { Ok(prefixes) }
    }

    /// A set's own prefixes as written.
    pub(super) fn own_prefixes(&self, name: &str) -> AddressSet {
        self.sets.get(name).map_or_else(|| [].into(), |set| set.own.clone())
    }

    /// The sets with the places of what is written in them.
    pub(super) fn written_sets(&self, report: &Report<'_>) -> BTreeMap<String, WrittenSet> {
        let sets = self.sets.iter().map(|(name, set)| {
            let items = set.items.iter().zip(&set.lines).map(|(item, line)| (item.clone(), *line)).collect();
            let file = report.sources().path(set.place.file).to_path_buf();
            (name.clone(), WrittenSet { file, line: report.sources().line_number(set.place), items })
        });
        sets.collect()
    }
}

impl<'a> Set<'a> {
    fn new(place: Place, texts: Vec<Text<'a>>) -> Self {
        Self {
            place,
            texts,
            items: Vec::new(),
            lines: Vec::new(),
            prefixes: [].into(),
            own: [].into(),
            within: BTreeSet::new(),
            state: Resolution::Todo,
        }
    }
}

pub(super) fn report_too_many(place: Place, report: &mut Report<'_>) {
    let message = format!("too many addresses: they come to more than {MAX_PREFIXES} prefixes, the room of a policy");
    report.error_with_hint(
        place,
        message,
        "a range of addresses comes to as few prefixes as possible when it begins and ends at a power of two",
    );
}
