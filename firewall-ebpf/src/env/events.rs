//! Events on their way to the controller, and messages to its log.

use core::ptr;

use aya_ebpf::EbpfContext;
use aya_log_ebpf::warn;
use firewall_common::{
    env::Notice,
    event::{self, Record},
    time::Nanos,
};

use super::words::clear_words;
use crate::maps;

/// Nanoseconds between two messages of the same kind.
const NOTICE_INTERVAL: u64 = 1_000_000_000;

#[inline(always)]
pub(super) fn emit(kind: event::Kind, logged: bool, now: Nanos, fill: impl FnOnce(&mut Record)) {
    let most = match maps::CONFIG.get_ptr(0) {
        // SAFETY: the pointer is to the map's only element.
        Some(config) => unsafe { ptr::read_volatile(&raw const (*config).event_rate) },
        None => 0,
    };
    let (Some(rate), Some(tally)) = (maps::EVENT_RATES.get_ptr_mut(kind.rate_place(logged)), maps::EVENT_COUNTERS.get_ptr_mut(0)) else {
        return;
    };
    // SAFETY: this CPU's own elements; a program is not interrupted by another run of itself on its CPU.
    let (rate, tally) = unsafe { (&mut *rate, &mut *tally) };
    if !rate.admits(now, most) {
        tally.limited += 1;
        return;
    }
    let Some(record) = maps::EVENT_SCRATCH.get_ptr_mut(0) else { return };
    // SAFETY: as above, and a record is whole words.
    let record = unsafe {
        clear_words(record);
        &mut *record
    };
    fill(record);
    match maps::EVENTS.output::<Record>(&*record, 0) {
        Ok(()) => tally.sent += 1,
        Err(_) => tally.lost += 1,
    }
}

#[inline(always)]
pub(super) fn notice(context: &impl EbpfContext, notice: Notice, now: Nanos) {
    let Some(last) = maps::NOTICES.get_ptr_mut(notice as u32) else { return };
    let now = now.0;
    // SAFETY: an aligned word. Two CPUs may both find it old: then there are two messages in that second.
    unsafe {
        if now.saturating_sub(ptr::read_volatile(last)) < NOTICE_INTERVAL {
            return;
        }
        ptr::write_volatile(last, now);
    }
    match notice {
        Notice::EstablishedFull => warn!(context, "the table of established flows is full: a new flow was refused"),
        Notice::EmbryonicRefused => warn!(context, "the table of embryonic flows refused an entry"),
    }
}
