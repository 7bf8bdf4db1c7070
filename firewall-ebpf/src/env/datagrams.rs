//! The table of datagrams in fragments.

use aya_ebpf::bindings::BPF_NOEXIST;
use firewall_common::{
    env::InsertError,
    fragment::{Fragment, FragmentKey},
};

use super::{entries::inserted, words::on_stack};
use crate::{lock, maps};

#[inline(always)]
pub(super) fn with<R>(found: &*mut Fragment, change: impl FnOnce(&mut Fragment) -> R) -> Option<R> {
    let fragment = *found;
    let held = lock::Held::take(fragment)?;
    // SAFETY: the pointer came from a lookup in this program run, and its lock is held; see firewall_common::fragment::datagram for
    // what may happen to it all the same.
    let result = unsafe { change(&mut *fragment) };
    held.release();
    Some(result)
}

#[inline(always)]
pub(super) fn insert(key: &FragmentKey, fill: impl FnOnce(&mut Fragment)) -> Result<(), InsertError> {
    let Some(fragment) = maps::FRAGMENT_SCRATCH.get_ptr_mut(0) else { return Err(InsertError::Refused) };
    // SAFETY: this CPU's own element, whose lock nobody takes; a program is not interrupted by another run on its CPU.
    let fragment = unsafe { &mut *fragment };
    fill(fragment);
    let fragment: &Fragment = fragment;
    inserted(maps::FRAGMENTS.insert(on_stack(key), fragment, u64::from(BPF_NOEXIST)))
}
