//! What counts against limits. Additions are atomic.

use core::{
    intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd},
    ptr,
};

use firewall_common::limit::{Counts, Mark, Source, Word};

use super::entries::find_or_begin;
use crate::maps;

#[inline(always)]
pub(super) fn count_one_sided(rule: u16) -> u32 {
    let Some(count) = maps::ONE_SIDED.get_ptr_mut(u32::from(rule)) else { return u32::MAX };
    // SAFETY: a valid, aligned element; the addition is atomic and its result is used, hence AcqRel (a relaxed one returns the
    // operand on this target).
    unsafe { atomic_xadd::<u32, u32, { AtomicOrdering::AcqRel }>(count, 1) }
}

#[inline(always)]
pub(super) fn of_source(source: &Source, make: bool) -> Option<*mut Counts> {
    find_or_begin(&maps::SOURCES, source, || make.then(Counts::default))
}

#[inline(always)]
pub(super) fn read_count(counts: &*mut Counts, word: Word) -> u32 {
    // SAFETY: an aligned word of a value that a lookup in this program run has found; volatile, so that it is read once, here.
    unsafe { ptr::read_volatile(count_word(*counts, word)) }
}

#[inline(always)]
pub(super) fn add_to_count(counts: &*mut Counts, word: Word) {
    // SAFETY: as above; the addition is atomic.
    unsafe {
        atomic_xadd::<u32, u32, { AtomicOrdering::AcqRel }>(count_word(*counts, word), 1);
    }
}

#[inline(always)]
pub(super) fn read_mark(counts: &*mut Counts, mark: Mark) -> u64 {
    // SAFETY: as `read_count`.
    unsafe { ptr::read_volatile(mark_word(*counts, mark)) }
}

#[inline(always)]
pub(super) fn exchange_mark(counts: &*mut Counts, mark: Mark, from: u64, to: u64) -> u64 {
    // SAFETY: as `add_to_count`.
    unsafe { atomic_cxchg::<u64, { AtomicOrdering::AcqRel }, { AtomicOrdering::Acquire }>(mark_word(*counts, mark), from, to).0 }
}

#[inline(always)]
pub(super) fn add_to_mark(counts: &*mut Counts, mark: Mark) -> u64 {
    // SAFETY: as `add_to_count`. The result is used, hence AcqRel (a relaxed addition returns its operand on this target).
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::AcqRel }>(mark_word(*counts, mark), 1) }
}

#[inline(always)]
fn count_word(counts: *mut Counts, word: Word) -> *mut u32 {
    // SAFETY: the value's own fields; nothing is read.
    unsafe {
        match word {
            Word::FlowsBegun => &raw mut (*counts).flows.begun,
            Word::FlowsEnded => &raw mut (*counts).flows.ended,
            Word::EmbryonicBegun => &raw mut (*counts).embryonic.begun,
            Word::EmbryonicEnded => &raw mut (*counts).embryonic.ended,
        }
    }
}

#[inline(always)]
fn mark_word(counts: *mut Counts, mark: Mark) -> *mut u64 {
    // SAFETY: as above.
    unsafe {
        match mark {
            Mark::Window => &raw mut (*counts).window,
            Mark::Told => &raw mut (*counts).told,
        }
    }
}
