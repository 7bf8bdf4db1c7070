//! A table with limited room, as the kernel's maps have it.

use std::{collections::HashMap, hash::Hash};

use crate::env::InsertError;

/// A table with limited room.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    pub(super) entries: HashMap<K, (V, u64)>,
    room: usize,
    /// Makes room by forgetting what was used longest ago.
    lru: bool,
    uses: u64,
}

impl<K: Copy + Eq + Hash, V: Clone> Table<K, V> {
    pub(super) fn new(room: usize, lru: bool) -> Self {
        Self { entries: HashMap::new(), room, lru, uses: 0 }
    }

    pub(super) fn get(&mut self, key: &K) -> Option<V> {
        self.uses += 1;
        let (value, used) = self.entries.get_mut(key)?;
        *used = self.uses;
        Some(value.clone())
    }

    pub(super) fn insert(&mut self, key: K, value: V) -> Result<(), InsertError> {
        if !self.entries.contains_key(&key) && self.entries.len() >= self.room {
            let oldest = self.entries.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| *key);
            match oldest {
                Some(oldest) if self.lru => drop(self.entries.remove(&oldest)),
                _ => return Err(InsertError::Refused),
            }
        }
        self.uses += 1;
        self.entries.insert(key, (value, self.uses));
        Ok(())
    }
}
