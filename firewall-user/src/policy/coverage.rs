//! Which rules can never match, because those before them match all that they would.
//!
//! Every value of a dimension is of a class, and all values of a class are accepted by the same entries. So an entry matches nothing when at
//! each point of classes that it accepts an earlier one does. The search takes one point, the one that the fewest entries are likely to
//! accept. When no earlier entry accepts it, the entry has a packet to match: mostly that is all. Otherwise the packets that are left lie
//! outside of that earlier entry, in one dimension or another, and are searched in turn.

use std::{collections::BTreeSet, sync::Arc};

use firewall_common::rule::{BLOCK_WORDS, Dimension, SUMMARY_WORDS};

use super::{
    address::{AddressSet, Prefix},
    classes::{Classes, Tree, ZoneRows, service_prefixes},
    expand::{Entry, Lists},
    rule::RuleInfo,
};

/// Looks at classes after which a search of one entry is given up, and all searches of a policy: it must still load at once.
const MOST_LOOKS: usize = 50_000;
const MOST_LOOKS_OF_ALL: usize = 10_000_000;
/// Earlier entries whose outside is searched at once.
const MOST_DEEP: usize = 12;

/// Why an entry matches nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Never {
    /// Its sources are of one address family, its destinations of the other.
    Families,
    /// These rules match everything before.
    Covered(BTreeSet<usize>),
}

pub(super) struct Coverage<'p> {
    rules: &'p [RuleInfo],
    entries: &'p [Entry],
    lists: &'p [AddressSet],
    classes: &'p Classes,
    /// Rules that have expired match nothing.
    pub(super) expired: Vec<bool>,
    looks: usize,
}

/// A search had to be given up.
struct GivenUp;

/// A row of each dimension.
type Point = [u32; Dimension::COUNT];

/// Entries whose outside is searched, by dimension.
type Outside = [Vec<usize>; Dimension::COUNT];

/// One entry and the family of the packets it is searched for.
#[derive(Clone, Copy)]
struct Subject {
    entry: usize,
    v4: bool,
    /// The looks at which it is given up.
    until: usize,
}

impl<'p> Coverage<'p> {
    /// `lists`: the addresses the classes were built with.
    pub(super) fn new(
        rules: &'p [RuleInfo],
        (entries, lists, classes): (&'p [Entry], &'p [AddressSet], &'p Classes),
        now: jiff::Timestamp,
    ) -> Self {
        let expired = rules.iter().map(|rule| rule.expires.is_some_and(|expires| expires <= now)).collect();
        Self { rules, entries, lists, classes, expired, looks: 0 }
    }

    /// True when the entry names addresses and there are none: a set that is empty may be filled later.
    pub(super) fn is_unfilled(&self, entry: usize) -> bool {
        let unfilled = |lists: Option<&Lists>| lists.is_some_and(|lists| lists.iter().all(|list| self.lists[*list].is_empty()));
        unfilled(self.entries[entry].source.as_ref()) || unfilled(self.entries[entry].destination.as_ref())
    }

    /// Why the entry can never match; `None` when it can, or when that would take too long to find out.
    pub(super) fn find(&mut self, entry: usize) -> Option<Never> {
        let mut by = BTreeSet::new();
        let until = self.looks.saturating_add(MOST_LOOKS).min(MOST_LOOKS_OF_ALL);
        let mut empty = 0;
        for v4 in [true, false] {
            let subject = Subject { entry, v4, until };
            match self.point(subject, &Outside::default()) {
                Err(GivenUp) => return None,
                Ok(None) => empty += 1,
                Ok(Some(point)) => by.extend(self.covering(subject, &point)?),
            }
        }
        Some(if empty == 2 { Never::Families } else { Never::Covered(by) })
    }

    /// Rules that cover the subject, of which `point` is one point: a single one if there is one.
    fn covering(&mut self, subject: Subject, point: &Point) -> Option<BTreeSet<usize>> {
        let earlier = self.earlier(subject.entry, point);
        for other in &earlier {
            if self.covers(*other, subject).ok()? {
                return Some(BTreeSet::from([self.entries[*other].rule]));
            }
        }
        let mut by = BTreeSet::new();
        let covered = self.exhausted(subject, &mut Outside::default(), &mut by);
        covered.is_ok_and(|covered| covered).then_some(by)
    }

    /// True when the other entry accepts every point of the subject.
    fn covers(&mut self, other: usize, subject: Subject) -> Result<bool, GivenUp> {
        for dimension in Dimension::ALL {
            if !self.same(dimension, other, subject.entry) && self.class(subject, dimension, &[other])?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// True when earlier entries accept every point of the subject outside of these; `by` gathers their rules.
    fn exhausted(&mut self, subject: Subject, outside: &mut Outside, by: &mut BTreeSet<usize>) -> Result<bool, GivenUp> {
        if outside.iter().map(Vec::len).sum::<usize>() > MOST_DEEP {
            return Err(GivenUp);
        }
        let Some(point) = self.point(subject, outside)? else { return Ok(true) };
        let Some(other) = self.earlier(subject.entry, &point).first().copied() else { return Ok(false) };
        by.insert(self.entries[other].rule);
        for dimension in Dimension::ALL {
            if self.same(dimension, other, subject.entry) {
                continue;
            }
            outside[dimension as usize].push(other);
            let exhausted = self.exhausted(subject, outside, by);
            outside[dimension as usize].pop();
            if !exhausted? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// True when the other entry says nothing of a dimension, or what this one says: then nothing lies outside of it.
    fn same(&self, dimension: Dimension, other: usize, entry: usize) -> bool {
        fn same<T>(other: Option<&Arc<[T]>>, own: Option<&Arc<[T]>>) -> bool {
            other.is_none_or(|other| own.is_some_and(|own| Arc::ptr_eq(other, own)))
        }
        fn same_lists(other: Option<&Lists>, own: Option<&Lists>) -> bool {
            other.is_none_or(|other| own.is_some_and(|own| other == own))
        }
        let (other, own) = (&self.entries[other], &self.entries[entry]);
        match dimension {
            Dimension::FromZone => other.from.is_none() || other.from == own.from,
            Dimension::ToZone => other.to.is_none() || other.to == own.to,
            Dimension::Source => same_lists(other.source.as_ref(), own.source.as_ref()),
            Dimension::Destination => same_lists(other.destination.as_ref(), own.destination.as_ref()),
            Dimension::Service => same(other.service.as_ref(), own.service.as_ref()),
        }
    }

    /// A point of the subject outside of these entries.
    fn point(&mut self, subject: Subject, outside: &Outside) -> Result<Option<Point>, GivenUp> {
        let mut point = Point::default();
        for dimension in Dimension::ALL {
            match self.class(subject, dimension, &outside[dimension as usize])? {
                Some(row) => point[dimension as usize] = row,
                None => return Ok(None),
            }
        }
        Ok(Some(point))
    }

    /// A class of one dimension that the subject accepts and none of these entries does.
    fn class(&mut self, subject: Subject, dimension: Dimension, outside: &[usize]) -> Result<Option<u32>, GivenUp> {
        let (entry, classes) = (&self.entries[subject.entry], self.classes);
        let lists = self.lists;
        let of = |numbers: Option<&Lists>| -> Option<Vec<&'p [Prefix]>> {
            numbers.map(|numbers| numbers.iter().map(|number| &*lists[*number]).collect())
        };
        let mut looks = self.looks;
        let mut wanted = |row: &u32| {
            looks += 1;
            looks > subject.until || !outside.iter().any(|other| accepts(classes, *row, *other))
        };
        let row = match dimension {
            Dimension::FromZone => zone_rows(&classes.from, entry.from.as_deref()).find(&mut wanted),
            Dimension::ToZone => zone_rows(&classes.to, entry.to.as_deref()).find(&mut wanted),
            Dimension::Source => address_rows(&classes.sources, of(entry.source.as_ref()).as_deref(), subject.v4).find(&mut wanted),
            Dimension::Destination => {
                address_rows(&classes.destinations, of(entry.destination.as_ref()).as_deref(), subject.v4).find(&mut wanted)
            }
            Dimension::Service => {
                let prefixes: Option<Vec<Prefix>> =
                    entry.service.as_ref().map(|ranges| ranges.iter().flat_map(|range| service_prefixes(*range)).collect());
                let prefixes = prefixes.as_deref().map(|prefixes| [prefixes]);
                rows(&classes.ports, classes.ports.unnamed_exists[0], prefixes.as_ref().map(<[_; 1]>::as_slice), |_| true).find(&mut wanted)
            }
        };
        self.looks = looks;
        if looks > subject.until { Err(GivenUp) } else { Ok(row) }
    }

    /// Entries before this one that accept the point and do so as long as this one can, in the policy's order.
    fn earlier(&self, entry: usize, point: &Point) -> Vec<usize> {
        let own = &self.entries[entry];
        let (until, schedule) = (self.rules[own.rule].expires, self.rules[own.rule].schedule);
        let lasts = |rule: usize| match (self.rules[rule].expires, until) {
            _ if self.expired[rule] => false,
            // Out of its hours it covers nothing, unless the other has the same.
            _ if self.rules[rule].schedule != 0 && self.rules[rule].schedule != schedule => false,
            (None, _) => true,
            (Some(_), None) => false,
            (Some(earlier), Some(later)) => later <= earlier,
        };
        let mut found: Vec<usize> = common(self.classes, point)
            .filter(|other| self.entries[*other].order < own.order && lasts(self.entries[*other].rule))
            .collect();
        found.sort_unstable_by_key(|other| self.entries[*other].order);
        found
    }
}

/// Word `word` of a row.
fn word(classes: &Classes, row: u32, word: usize) -> u64 {
    let row = &classes.rows[row as usize];
    if row.summary[word / 64] >> (word % 64) & 1 == 0 {
        return 0;
    }
    classes.blocks[usize::from(row.blocks[word / BLOCK_WORDS])].0[word % BLOCK_WORDS]
}

fn accepts(classes: &Classes, row: u32, entry: usize) -> bool {
    word(classes, row, entry / 64) >> (entry % 64) & 1 != 0
}

/// The entries that accept a point, as they lie.
fn common<'c>(classes: &'c Classes, point: &'c Point) -> impl Iterator<Item = usize> + 'c {
    let summary = |at: usize| point.iter().fold(u64::MAX, |bits, row| bits & classes.rows[*row as usize].summary[at]);
    let words = (0..SUMMARY_WORDS).flat_map(move |at| ones(summary(at)).map(move |bit| at * 64 + bit));
    words.flat_map(move |at| ones(point.iter().fold(u64::MAX, |bits, row| bits & word(classes, *row, at))).map(move |bit| at * 64 + bit))
}

/// Places of the bits that are set.
fn ones(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = bits.trailing_zeros() as usize;
        bits &= bits.wrapping_sub(1);
        (lowest < 64).then_some(lowest)
    })
}

/// Rows of the zones an entry accepts; those no rule names first, for the fewest accept them.
fn zone_rows<'c>(zones: &'c ZoneRows, names: Option<&'c [String]>) -> impl Iterator<Item = u32> + 'c {
    let every = names.is_none().then(|| std::iter::once(zones.unnamed).chain(zones.named.values().copied()));
    let named = names.unwrap_or_default().iter().filter_map(|name| zones.named.get(name).copied());
    every.into_iter().flatten().chain(named)
}

fn address_rows<'c>(tree: &'c Tree, list: Option<&'c [&'c [Prefix]]>, v4: bool) -> impl Iterator<Item = u32> + 'c {
    rows(tree, tree.unnamed_exists[usize::from(v4)], list, move |prefix| prefix.is_v4() == v4)
}

/// Rows of the values an entry accepts: of the prefixes it names first, then of those within them.
fn rows<'c>(
    tree: &'c Tree,
    unnamed: bool,
    list: Option<&'c [&'c [Prefix]]>,
    family: impl Fn(&Prefix) -> bool + Copy + 'c,
) -> impl Iterator<Item = u32> + 'c {
    let unnamed = (list.is_none() && unnamed).then_some(tree.unnamed);
    let every = if list.is_none() { tree.prefixes.as_slice() } else { &[] };
    let named = move || list.unwrap_or_default().iter().flat_map(|list| list.iter()).filter(move |prefix| family(prefix));
    let place = |prefix: &Prefix| tree.prefixes.partition_point(|named| named.prefix < *prefix);
    let own = named().filter_map(move |prefix| tree.prefixes.get(place(prefix)));
    let within = named().flat_map(move |prefix| tree.prefixes[place(prefix)..].iter().take_while(|named| prefix.contains(&named.prefix)));
    let prefixes = every.iter().chain(own).chain(within).filter(move |named| named.exists && family(&named.prefix));
    unnamed.into_iter().chain(prefixes.map(|named| named.row))
}
