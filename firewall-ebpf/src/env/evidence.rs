//! What is remembered of refusals.

use firewall_common::{
    evidence::{self, Evidence, Stranger},
    flow::{Address, FlowKey},
    time::Nanos,
};

use super::{entries::find_or_begin, words::on_stack};
use crate::maps;

#[inline(always)]
pub(super) fn with_evidence<R>(
    table: evidence::Table,
    key: &FlowKey,
    make: bool,
    now: Nanos,
    change: impl FnOnce(&mut Evidence) -> R,
) -> Option<R> {
    let table = match table {
        evidence::Table::Flows => &maps::EVIDENCE,
        evidence::Table::Strays => &maps::STRAYS,
    };
    let key = on_stack(key);
    let found = find_or_begin(table, &key, || if make && may_begin(now) { maps::NO_EVIDENCE.get(0) } else { None })?;
    // SAFETY: the pointer came from a lookup in this program run. Another CPU may change the entry too; see firewall_common::evidence.
    Some(change(unsafe { &mut *found }))
}

#[inline(always)]
pub(super) fn with_stranger<R>(source: &Address, make: bool, now: Nanos, change: impl FnOnce(&mut Stranger) -> R) -> Option<R> {
    let source = on_stack(source);
    let found = find_or_begin(&maps::STRANGERS, &source, || (make && may_begin(now)).then(Stranger::default))?;
    // SAFETY: as above.
    Some(change(unsafe { &mut *found }))
}

/// Whether this CPU may begin one more entry of what is remembered of refusals.
#[inline(always)]
fn may_begin(now: Nanos) -> bool {
    let Some(beginnings) = maps::BEGINNINGS.get_ptr_mut(0) else { return false };
    // SAFETY: this CPU's own element; of the two programs the later to store may undo the other's count.
    unsafe { (*beginnings).admits(now) }
}
