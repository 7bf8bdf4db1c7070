//! What is remembered beside a flow's record: its history, its quality, what its guards know.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::generated::{bpf_spin_lock, bpf_spin_unlock},
};
use firewall_common::{flow::FlowKey, guard::Guard, normalize::history::History, quality::Quality, reason::Reason};

use super::{
    entries::{begun, find_or_begin},
    words::on_stack,
};
use crate::maps::{self, LockedGuard};

#[inline(always)]
pub(super) fn with_history<R>(key: &FlowKey, change: impl FnOnce(&mut History) -> R) -> Option<R> {
    // SAFETY: the pointer came from a lookup in this program run. Another CPU may change the entry too; see
    // firewall_common::normalize::history.
    maps::HISTORIES.get_ptr_mut(on_stack(key)).map(|history| change(unsafe { &mut *history }))
}

#[inline(always)]
pub(super) fn insert_history(key: &FlowKey, history: &History) -> Result<(), Reason> {
    begun(maps::HISTORIES.insert(on_stack(key), history, u64::from(BPF_NOEXIST)), Reason::HistoryInsertFailed)
}

#[inline(always)]
pub(super) fn with_quality<R>(key: &FlowKey, make: bool, change: impl FnOnce(&mut Quality) -> R) -> Option<R> {
    let key = on_stack(key);
    let quality = find_or_begin(&maps::QUALITIES, &key, || if make { maps::NO_QUALITY.get(0) } else { None })?;
    // SAFETY: the pointer came from a lookup in this program run. Another CPU may change the entry too; see firewall_common::quality.
    Some(change(unsafe { &mut *quality }))
}

#[inline(always)]
pub(super) fn with_guard<R>(key: &FlowKey, change: impl FnOnce(&mut Guard) -> R) -> Option<R> {
    let guard = maps::GUARDS.get_ptr_mut(on_stack(key))?;
    // SAFETY: the pointer came from a lookup just now; between the two calls no other CPU is in such a section of this entry. `change`
    // calls no helper and does not touch the lock.
    unsafe {
        let lock = &raw mut (*guard).lock;
        bpf_spin_lock(lock);
        let result = change(&mut *guard.cast::<Guard>());
        bpf_spin_unlock(lock);
        Some(result)
    }
}

#[inline(always)]
pub(super) fn insert_guard(key: &FlowKey) -> Result<(), Reason> {
    let Some(nothing) = maps::NO_GUARD.get_ptr(0) else { return Err(Reason::GuardInsertFailed) };
    // SAFETY: the map's only element, which is as large, and which nobody writes.
    let nothing = unsafe { &*nothing.cast::<LockedGuard>() };
    begun(maps::GUARDS.insert(on_stack(key), nothing, u64::from(BPF_NOEXIST)), Reason::GuardInsertFailed)
}
