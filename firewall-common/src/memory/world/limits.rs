//! What counts against limits.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
};

use super::{World, table::Table};
use crate::limit::{Counts, MAX_SOURCES, Mark, Source, Word};

#[derive(Debug)]
pub(super) struct Limits {
    one_sided: RefCell<HashMap<u16, u32>>,
    rules: RefCell<HashMap<u16, Rc<Cell<Counts>>>>,
    sources: RefCell<Table<Source, Rc<Cell<Counts>>>>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { one_sided: RefCell::default(), rules: RefCell::default(), sources: RefCell::new(Table::new(MAX_SOURCES as usize, true)) }
    }
}

impl Limits {
    pub(super) fn clear(&self) {
        self.one_sided.borrow_mut().clear();
        self.rules.borrow_mut().clear();
        self.sources.borrow_mut().entries.clear();
    }

    pub(super) fn count_one_sided(&self, rule: u16) -> u32 {
        let mut counts = self.one_sided.borrow_mut();
        let count = counts.entry(rule).or_default();
        *count += 1;
        *count - 1
    }

    pub(super) fn of_rule(&self, rule: u16) -> Rc<Cell<Counts>> {
        Rc::clone(self.rules.borrow_mut().entry(rule).or_default())
    }

    pub(super) fn of_source(&self, source: &Source, make: bool) -> Option<Rc<Cell<Counts>>> {
        let mut sources = self.sources.borrow_mut();
        if let Some(counts) = sources.get(source) {
            return Some(counts);
        }
        if !make {
            return None;
        }
        sources.insert(*source, Rc::default()).ok()?;
        sources.get(source)
    }
}

impl World {
    /// How many one-sided flows the rule has.
    pub fn set_one_sided(&self, rule: u16, flows: u32) {
        self.limits.one_sided.borrow_mut().insert(rule, flows);
    }

    /// What counts against a rule's limits.
    #[must_use]
    pub fn limit_counts(&self, rule: u16) -> Counts {
        self.limits.rules.borrow().get(&rule).map(|counts| counts.get()).unwrap_or_default()
    }

    /// Makes this count against a rule's limits.
    pub fn set_limit_counts(&self, rule: u16, counts: Counts) {
        self.limits.rules.borrow_mut().insert(rule, Rc::new(Cell::new(counts)));
    }

    /// Makes this count against the limits of one source.
    pub fn set_source_counts(&self, source: Source, counts: Counts) {
        let _ = self.limits.sources.borrow_mut().insert(source, Rc::new(Cell::new(counts)));
    }

    /// What counts against the limits of one source.
    #[must_use]
    pub fn source_counts(&self, source: &Source) -> Counts {
        self.limits.sources.borrow().entries.get(source).map(|(counts, _)| counts.get()).unwrap_or_default()
    }
}

pub(super) fn read_count(counts: &Rc<Cell<Counts>>, word: Word) -> u32 {
    *count_word(&mut counts.get(), word)
}

pub(super) fn add_to_count(counts: &Rc<Cell<Counts>>, word: Word) {
    let mut changed = counts.get();
    let count = count_word(&mut changed, word);
    *count = count.wrapping_add(1);
    counts.set(changed);
}

pub(super) fn read_mark(counts: &Rc<Cell<Counts>>, mark: Mark) -> u64 {
    *mark_word(&mut counts.get(), mark)
}

pub(super) fn exchange_mark(counts: &Rc<Cell<Counts>>, mark: Mark, from: u64, to: u64) -> u64 {
    let mut changed = counts.get();
    let word = mark_word(&mut changed, mark);
    let there = *word;
    if there == from {
        *word = to;
    }
    counts.set(changed);
    there
}

pub(super) fn add_to_mark(counts: &Rc<Cell<Counts>>, mark: Mark) -> u64 {
    let mut changed = counts.get();
    let word = mark_word(&mut changed, mark);
    *word += 1;
    let before = *word - 1;
    counts.set(changed);
    before
}

const fn count_word(counts: &mut Counts, word: Word) -> &mut u32 {
    match word {
        Word::FlowsBegun => &mut counts.flows.begun,
        Word::FlowsEnded => &mut counts.flows.ended,
        Word::EmbryonicBegun => &mut counts.embryonic.begun,
        Word::EmbryonicEnded => &mut counts.embryonic.ended,
    }
}

const fn mark_word(counts: &mut Counts, mark: Mark) -> &mut u64 {
    match mark {
        Mark::Window => &mut counts.window,
        Mark::Told => &mut counts.told,
    }
}
