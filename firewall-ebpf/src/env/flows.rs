//! The tables of flows. An established flow's lock lives here.

use core::{
    ffi::c_void,
    ptr,
    sync::atomic::{Ordering, compiler_fence},
};

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::generated::{bpf_map_update_elem, bpf_spin_lock, bpf_spin_unlock},
};
use firewall_common::{
    env::{Glance, InsertError, Removed},
    flow::{Flow, FlowKey},
};

use super::{
    entries::inserted,
    words::{clear_words, on_stack},
};
use crate::maps::{self, LockedFlow};

#[inline(always)]
pub(super) fn glance(found: &*mut Flow) -> Glance {
    // SAFETY: the pointer came from a lookup in this program run; the fields are aligned words.
    unsafe {
        Glance {
            generation: ptr::read_volatile(&raw const (**found).generation),
            entry: ptr::read_volatile(&raw const (**found).entry),
            features: ptr::read_volatile(&raw const (**found).features),
            marks: ptr::read_volatile(&raw const (**found).marks),
        }
    }
}

#[inline(always)]
pub(super) fn with_established<R>(found: &*mut Flow, change: impl FnOnce(&mut Flow) -> R) -> R {
    let flow = *found;
    // SAFETY: the pointer came from a lookup in the established table, whose values begin with the lock; between the two calls no
    // other CPU is in such a section of this record. `change` calls no helper and does not touch the lock.
    unsafe {
        let lock = &raw mut (*flow.cast::<LockedFlow>()).lock;
        if cfg!(not(feature = "unlocked")) {
            bpf_spin_lock(lock);
        }
        let result = change(&mut *flow);
        if cfg!(not(feature = "unlocked")) {
            bpf_spin_unlock(lock);
        }
        result
    }
}

#[inline(always)]
pub(super) fn with_embryonic<R>(found: &*mut Flow, change: impl FnOnce(&mut Flow) -> R) -> R {
    // As a lock would, the fences keep the compiler from moving loads over them; without, it keeps so many values that they do not fit
    // the stack.
    compiler_fence(Ordering::SeqCst);
    // SAFETY: the pointer came from a lookup in this program run. Another CPU may change the record too; see firewall_common::flow.
    let result = unsafe { change(&mut **found) };
    compiler_fence(Ordering::SeqCst);
    result
}

#[inline(always)]
pub(super) fn insert_embryonic(key: &FlowKey, fill: impl FnOnce(&mut Flow)) -> Result<(), InsertError> {
    let Some(flow) = maps::SCRATCH.get_ptr_mut(0) else { return Err(InsertError::Refused) };
    // SAFETY: this CPU's own element; a program is not interrupted by another run on its CPU.
    let flow = unsafe {
        clear_words(flow);
        &mut *flow
    };
    fill(flow);
    let flow: &Flow = flow;
    inserted(maps::EMBRYONIC.insert(on_stack(key), flow, u64::from(BPF_NOEXIST)))
}

#[inline(always)]
pub(super) fn promote(key: &FlowKey, found: &*mut Flow) -> Result<(), InsertError> {
    // The kernel copies the record straight from one map to the other; its lock begins released.
    // SAFETY: key and value have the established table's sizes.
    let status = unsafe {
        bpf_map_update_elem(
            (&raw const maps::ESTABLISHED).cast_mut().cast::<c_void>(),
            ptr::from_ref(&on_stack(key)).cast::<c_void>(),
            (*found).cast_const().cast::<c_void>(),
            u64::from(BPF_NOEXIST),
        )
    };
    inserted(if status == 0 { Ok(()) } else { Err(status as i32) })
}

#[inline(always)]
pub(super) fn remove(key: &FlowKey) -> Removed {
    match remove_everywhere(key) {
        ESTABLISHED => Removed::Established,
        EMBRYONIC => Removed::Embryonic,
        _ => Removed::Nothing,
    }
}

/// Where a flow was that has been removed.
const ESTABLISHED: u32 = 1;
const EMBRYONIC: u32 = 2;

/// Removes what all tables have of a flow. A function of its own, for its copy of the key is too much for the frames of those who call it.
#[inline(never)]
#[expect(clippy::needless_borrows_for_generic_args, reason = "the key is lent: three copies of it would not fit the stack")]
fn remove_everywhere(key: &FlowKey) -> u32 {
    let key = on_stack(key);
    let established = maps::ESTABLISHED.remove(&key).is_ok();
    let embryonic = maps::EMBRYONIC.remove(&key).is_ok();
    // Absence is as good.
    let _ = maps::HISTORIES.remove(&key);
    let _ = maps::QUALITIES.remove(&key);
    let _ = maps::GUARDS.remove(&key);
    if established {
        ESTABLISHED
    } else if embryonic {
        EMBRYONIC
    } else {
        0
    }
}
