//! Members of sets that come and go while a policy is in force, beside those that are written in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use super::{
    Diagnostics, Policy, Source,
    address::{AddressItem, AddressSet, Prefix},
    classes::{self, TooMuch},
    diagnostic::{Place, Report, quoted},
    expand::{List, Lists},
    source::Sources,
};

/// The members of sets by name, without what is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members(pub BTreeMap<String, BTreeSet<Prefix>>);

/// A set of the policy, as its files have it.
#[derive(Clone, Debug)]
pub struct WrittenSet {
    pub file: PathBuf,
    /// Line of its name, from 1.
    pub line: usize,
    /// What it holds, each with its line.
    pub(super) items: Vec<(AddressItem, usize)>,
}

/// What makes a word no member of a set, with a hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoMember {
    pub message: String,
    pub hint: Option<String>,
}

/// With these members the policy comes to more than the tables hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct TooManyMembers(#[from] TooMuch);

impl WrittenSet {
    /// `file:line` of the set.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}:{}", self.file.display(), self.line)
    }

    /// What is written in it, and the lines: prefixes, ranges, and sets it names.
    pub fn items(&self) -> impl ExactSizeIterator<Item = (String, usize)> + '_ {
        self.items.iter().map(|(item, line)| (item.to_string(), *line))
    }

    /// The element that holds all of the prefix, and its line.
    #[must_use]
    pub fn written(&self, prefix: &Prefix) -> Option<(String, usize)> {
        let holds = |item: &AddressItem| item.prefixes().iter().any(|own| own.covers(prefix));
        self.items.iter().find(|(item, _)| holds(item)).map(|(item, line)| (item.to_string(), *line))
    }
}

impl Prefix {
    /// What a word stands for as members of a set: one prefix, or those of a range.
    pub fn of_member(word: &str) -> Result<Vec<Self>, NoMember> {
        match AddressItem::parse(word) {
            Ok(AddressItem::Set(name)) => Err(NoMember {
                message: format!("{} is a set: only addresses come and go", quoted(word)),
                hint: Some(format!("name @{name} in the policy, in the set that is to have its members")),
            }),
            Ok(item) => Ok(item.prefixes()),
            Err(error) => Err(NoMember {
                message: format!("{} {error}", quoted(word)),
                hint: error.hint().map(|hint| hint.replace(" or @name of a [set.name]", "")),
            }),
        }
    }
}

/// The members that a file lists: one a line, or several between commas or blanks; the rest of a line from a `#` is a comment.
pub fn read_members(source: Source) -> Result<Vec<Prefix>, Diagnostics> {
    let sources = Sources::new(vec![source]);
    let mut report = Report::new(&sources);
    let text = sources.text(0);
    let mut members = Vec::new();
    for line in text.lines() {
        let listed = line.split('#').next().unwrap_or_default();
        for word in listed.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty()) {
            let start = word.as_ptr().addr() - text.as_ptr().addr();
            let place = Place { file: 0, start, end: start + word.len() };
            match Prefix::of_member(word) {
                Ok(prefixes) => members.extend(prefixes),
                Err(NoMember { message, hint: Some(hint) }) => report.error_with_hint(place, message, hint),
                Err(NoMember { message, hint: None }) => report.error(place, message),
            }
        }
    }
    report.finish().map(|_| members)
}

impl Policy {
    #[must_use]
    pub fn written_set(&self, name: &str) -> Option<&WrittenSet> {
        self.written.get(name)
    }

    /// Names of the sets.
    pub fn set_names(&self) -> impl Iterator<Item = &str> + Clone {
        self.written.keys().map(String::as_str)
    }

    /// Rules that use a set, by itself or in another one, in order.
    #[must_use]
    pub fn rules_of_set(&self, name: &str) -> Vec<&str> {
        let Some(list) = self.lists.iter().position(|list| list.set.as_deref() == Some(name)) else { return Vec::new() };
        let uses = |lists: Option<&Lists>| lists.is_some_and(|lists| lists.contains(&list));
        let used = self.entries.iter().filter(|entry| uses(entry.source.as_ref()) || uses(entry.destination.as_ref()));
        let rules: BTreeSet<usize> = used.map(|entry| entry.rule).collect();
        rules.into_iter().map(|rule| self.rules[rule].name.as_str()).collect()
    }

    /// The set's name that a wrong one was probably meant to be.
    #[must_use]
    pub fn nearest_set(&self, name: &str) -> Option<&str> {
        super::diagnostic::nearest(name, self.set_names())
    }

    /// The policy with these members in its sets, and no others but the written ones.
    pub fn with_members(self, members: &Members) -> Result<Self, TooManyMembers> {
        let filled = fill(&self.lists, members);
        if filled == self.filled {
            return Ok(self);
        }
        let classes = classes::build(&self.entries, &filled)?;
        Ok(Self { filled, classes, ..self })
    }
}

/// The lists with the members of their sets.
pub(super) fn fill(lists: &[List], members: &Members) -> Vec<AddressSet> {
    let filled = |list: &List| {
        let more = list.set.as_ref().and_then(|set| members.0.get(set)).filter(|more| !more.is_empty())?;
        let mut all: Vec<Prefix> = list.written.iter().chain(more).copied().collect();
        all.sort_unstable();
        all.dedup();
        Some(all.into())
    };
    lists.iter().map(|list| filled(list).unwrap_or_else(|| Arc::clone(&list.written))).collect()
}
