//! How an entry of a table begins.

use core::borrow::Borrow;

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    maps::{HashMap, LruHashMap},
};
use firewall_common::{env::InsertError, reason::Reason};

const EEXIST: i32 = -17;

/// A table that forgets, or one that takes memory by use: what both do with an entry.
pub(super) trait Table<K, V> {
    fn find(&self, key: &K) -> Option<*mut V>;
    fn begin(&self, key: &K, value: &V) -> Result<(), i32>;
}

impl<K, V> Table<K, V> for HashMap<K, V> {
    #[inline(always)]
    fn find(&self, key: &K) -> Option<*mut V> {
        self.get_ptr_mut(key)
    }

    #[inline(always)]
    fn begin(&self, key: &K, value: &V) -> Result<(), i32> {
        self.insert(key, value, u64::from(BPF_NOEXIST))
    }
}

impl<K, V> Table<K, V> for LruHashMap<K, V> {
    #[inline(always)]
    fn find(&self, key: &K) -> Option<*mut V> {
        self.get_ptr_mut(key)
    }

    #[inline(always)]
    fn begin(&self, key: &K, value: &V) -> Result<(), i32> {
        self.insert(key, value, u64::from(BPF_NOEXIST))
    }
}

/// What a table has for a key, or else an entry that begins as `nothing` says, if it says anything. The key is lent, and lies on the stack: more
/// copies of it would not fit there.
#[inline(always)]
pub(super) fn find_or_begin<K, V, N: Borrow<V>>(table: &impl Table<K, V>, key: &K, nothing: impl FnOnce() -> Option<N>) -> Option<*mut V> {
    if let Some(found) = table.find(key) {
        return Some(found);
    }
    // Whether this CPU makes it or another one: what is there now is what counts.
    let _ = table.begin(key, nothing()?.borrow());
    table.find(key)
}

#[inline(always)]
pub(super) const fn inserted(result: Result<(), i32>) -> Result<(), InsertError> {
    match result {
        Ok(()) => Ok(()),
        Err(EEXIST) => Err(InsertError::Exists),
        Err(_) => Err(InsertError::Refused),
    }
}

/// The same for an entry that is as good when another CPU's packet of the flow began it.
#[inline(always)]
pub(super) const fn begun(result: Result<(), i32>, refused: Reason) -> Result<(), Reason> {
    match inserted(result) {
        Ok(()) | Err(InsertError::Exists) => Ok(()),
        Err(InsertError::Refused) => Err(refused),
    }
}
