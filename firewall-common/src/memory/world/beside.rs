//! What is remembered beside a flow's record: its history, its quality, what its guards know.

use std::{cell::RefCell, collections::HashMap};

use super::World;
use crate::{flow::FlowKey, guard::Guard, normalize::history::History, quality::Quality, time::Nanos};

#[derive(Debug, Default)]
pub(super) struct Beside {
    pub(super) histories: RefCell<HashMap<FlowKey, History>>,
    pub(super) qualities: RefCell<HashMap<FlowKey, Quality>>,
    pub(super) guards: RefCell<HashMap<FlowKey, Guard>>,
}

impl Beside {
    pub(super) fn remove(&self, key: &FlowKey) {
        self.histories.borrow_mut().remove(key);
        self.qualities.borrow_mut().remove(key);
        self.guards.borrow_mut().remove(key);
    }

    pub(super) fn clear(&self) {
        self.histories.borrow_mut().clear();
        self.qualities.borrow_mut().clear();
        self.guards.borrow_mut().clear();
    }

    pub(super) fn age(&self, key: &FlowKey, by: Nanos) {
        if let Some(history) = self.histories.borrow_mut().get_mut(key) {
            history.grow_older(by);
        }
        if let Some(guard) = self.guards.borrow_mut().get_mut(key) {
            guard.grow_older(by);
        }
    }
}

impl World {
    /// Makes the flow's history what it was elsewhere.
    pub fn put_history(&self, key: &FlowKey, history: History) {
        self.beside.histories.borrow_mut().insert(*key, history);
    }

    /// What is known of a flow's quality.
    #[must_use]
    pub fn quality(&self, key: &FlowKey) -> Option<Quality> {
        self.beside.qualities.borrow().get(key).copied()
    }

    /// What the flow's guards remember.
    #[must_use]
    pub fn guard_of(&self, key: &FlowKey) -> Option<Guard> {
        self.beside.guards.borrow().get(key).copied()
    }

    /// Makes what the flow's guards remember what it was elsewhere.
    pub fn put_guard(&self, key: &FlowKey, guard: Guard) {
        self.beside.guards.borrow_mut().insert(*key, guard);
    }
}
