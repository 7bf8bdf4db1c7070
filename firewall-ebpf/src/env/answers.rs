//! How many answers to rejected packets may go out.

use core::ptr;

use firewall_common::time::Nanos;

use crate::maps;

const SECOND: u64 = 1_000_000_000;

#[inline(always)]
pub(super) fn may_answer(now: Nanos) -> bool {
    let rate = match maps::CONFIG.get_ptr(0) {
        // SAFETY: the pointer is to the map's only element.
        Some(config) => unsafe { ptr::read_volatile(&raw const (*config).reject_rate) },
        None => 0,
    };
    let Some(bucket) = maps::ANSWERS.get_ptr_mut(0) else { return false };
    // SAFETY: this CPU's own element; a program is not interrupted by another run of itself on its CPU.
    let bucket = unsafe { &mut *bucket };
    if now.since(Nanos(bucket.since)).0 >= SECOND {
        bucket.since = now.0;
        bucket.answered = 0;
    }
    if bucket.answered >= u64::from(rate) {
        return false;
    }
    bucket.answered += 1;
    true
}
