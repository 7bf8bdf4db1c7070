//! The list of what is not carried over: each line with why, and what to do about it by hand.

use std::collections::{HashMap, HashSet};

use super::lines::{Block, Line};

/// Something that the policy does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// What sort of thing it is, in a word or two.
    pub kind: &'static str,
    /// The first line it is about, from 1; 0 for the configuration as a whole.
    pub line: usize,
    pub text: String,
    /// All lines it is about.
    pub lines: Vec<usize>,
    pub reason: String,
    pub hint: String,
}

#[derive(Debug, Default)]
pub(super) struct List {
    entries: Vec<Left>,
    once: HashMap<(&'static str, String), usize>,
}

impl List {
    /// One line.
    pub(super) fn add(&mut self, kind: &'static str, line: &Line<'_>, reason: impl Into<String>, hint: impl Into<String>) {
        let (reason, hint) = (reason.into(), hint.into());
        self.entries.push(Left { kind, line: line.number, text: line.text.to_owned(), lines: vec![line.number], reason, hint });
    }

    /// A line of a kind that is listed once, with how many there are.
    pub(super) fn once(&mut self, kind: &'static str, line: &Line<'_>, reason: &str, hint: &str) {
        let key = (kind, reason.to_owned());
        match self.once.get(&key) {
            Some(index) => self.entries[*index].lines.push(line.number),
            None => {
                self.once.insert(key, self.entries.len());
                self.add(kind, line, reason, hint);
            }
        }
    }

    /// A command with the lines of its mode.
    pub(super) fn block(&mut self, kind: &'static str, block: &Block<'_>, reason: &str, hint: &str) {
        self.add(kind, &block.head, reason, hint);
        if let Some(entry) = self.entries.last_mut() {
            entry.lines.extend(block.body.iter().map(|line| line.number));
        }
    }

    /// Something that no line says.
    pub(super) fn whole(&mut self, kind: &'static str, reason: &str, hint: &str) {
        let (reason, hint) = (reason.to_owned(), hint.to_owned());
        self.entries.push(Left { kind, line: 0, text: String::new(), lines: Vec::new(), reason, hint });
    }

    /// Lists every line that is neither in the list nor among those the policy `said` to come from.
    pub(super) fn sweep<'t>(&mut self, lines: impl Iterator<Item = &'t Line<'t>>, said: &HashSet<usize>) {
        let listed: HashSet<usize> = self.entries.iter().flat_map(|left| left.lines.iter().copied()).collect();
        for line in lines.filter(|line| !said.contains(&line.number) && !listed.contains(&line.number)) {
            let (reason, hint) = match line.first() {
                "access-list" | "ipv6" => (
                    "no rule comes of it: lines before it decide all that it is about, or what it is about never passes",
                    "look whether a line of its list that is not carried over, or not as it was, stands before it",
                ),
                _ => ("nothing of the policy comes of it: nothing uses it, or it only describes", "nothing to do"),
            };
            self.once("no effect", line, reason, hint);
        }
    }

    /// In the order of the lines.
    pub(super) fn finish(self) -> Vec<Left> {
        let mut entries = self.entries;
        entries.sort_by_key(|left| left.line);
        entries
    }
}
