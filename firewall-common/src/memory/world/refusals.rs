//! What is remembered of refusals.

use std::{
    cell::{Cell, RefCell},
    hash::Hash,
    rc::Rc,
};

use super::{World, changed, table::Table};
use crate::{
    evidence::{self, Beginnings, Evidence, MAX_FLOWS, MAX_STRANGERS, MAX_STRAYS, Stranger},
    flow::{Address, FlowKey},
    time::Nanos,
};

/// A table of what is changed in place.
type Remembered<K, V> = RefCell<Table<K, Rc<Cell<V>>>>;

#[derive(Debug)]
pub(super) struct Refusals {
    flows: Remembered<FlowKey, Evidence>,
    strays: Remembered<FlowKey, Evidence>,
    strangers: Remembered<Address, Stranger>,
    beginnings: Cell<Beginnings>,
}

impl Default for Refusals {
    fn default() -> Self {
        Self {
            flows: RefCell::new(Table::new(MAX_FLOWS as usize, true)),
            strays: RefCell::new(Table::new(MAX_STRAYS as usize, true)),
            strangers: RefCell::new(Table::new(MAX_STRANGERS as usize, true)),
            beginnings: Cell::default(),
        }
    }
}

impl Refusals {
    fn flows_or_strays(&self, table: evidence::Table) -> &Remembered<FlowKey, Evidence> {
        match table {
            evidence::Table::Flows => &self.flows,
            evidence::Table::Strays => &self.strays,
        }
    }

    pub(super) fn clear(&self) {
        self.flows.borrow_mut().entries.clear();
        self.strays.borrow_mut().entries.clear();
        self.strangers.borrow_mut().entries.clear();
        self.beginnings.take();
    }

    /// What the table has for this key, or a new one if that is wanted and not too many have begun lately.
    fn remembered<K: Copy + Eq + Hash, V: Default>(
        &self,
        table: &Remembered<K, V>,
        key: &K,
        make: bool,
        now: Nanos,
    ) -> Option<Rc<Cell<V>>> {
        let mut table = table.borrow_mut();
        if let Some(found) = table.get(key) {
            return Some(found);
        }
        let mut beginnings = self.beginnings.get();
        let admitted = make && beginnings.admits(now);
        self.beginnings.set(beginnings);
        if !admitted {
            return None;
        }
        table.insert(*key, Rc::default()).ok()?;
        table.get(key)
    }

    pub(super) fn with_evidence<R>(
        &self,
        table: evidence::Table,
        key: &FlowKey,
        make: bool,
        now: Nanos,
        change: impl FnOnce(&mut Evidence) -> R,
    ) -> Option<R> {
        let found = self.remembered(self.flows_or_strays(table), key, make, now)?;
        Some(changed(&found, change))
    }

    pub(super) fn with_stranger<R>(&self, source: &Address, make: bool, now: Nanos, change: impl FnOnce(&mut Stranger) -> R) -> Option<R> {
        let found = self.remembered(&self.strangers, source, make, now)?;
        Some(changed(&found, change))
    }
}

impl World {
    /// What is remembered of refusals by flow or conversation.
    #[must_use]
    pub fn evidence(&self, table: evidence::Table) -> Vec<(FlowKey, Evidence)> {
        self.refusals.flows_or_strays(table).borrow().entries.iter().map(|(key, (evidence, _))| (*key, evidence.get())).collect()
    }

    /// What is remembered of sources of strays.
    #[must_use]
    pub fn strangers(&self) -> Vec<(Address, Stranger)> {
        self.refusals.strangers.borrow().entries.iter().map(|(source, (stranger, _))| (*source, stranger.get())).collect()
    }

    /// Refusals that were not remembered.
    #[must_use]
    pub fn missed_refusals(&self) -> u64 {
        self.refusals.beginnings.get().missed
    }
}
