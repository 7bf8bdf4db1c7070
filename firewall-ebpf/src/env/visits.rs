//! Where the visit of a packet lies.

use core::ptr;

use firewall_common::{
    env::{Arrival, Env},
    visit::Visit,
};

use super::Kernel;
use crate::{maps, stages::Stages};

impl<C: Stages> Kernel<'_, C> {
    /// A packet's visit, begun now; `None` when the map it lies in is not as it must be.
    #[inline(always)]
    pub fn visit(&self, arrival: Arrival) -> Option<&'static mut Visit> {
        let visit = maps::VISITS.get_ptr_mut(u32::from(arrival.egress))?;
        // Word by word: the compiler would make one call of it, to a loop over bytes.
        let mut word = 0;
        while word < Visit::CLEARED {
            // SAFETY: this CPU's own element, see the map for why nobody else uses it meanwhile.
            unsafe { ptr::write_volatile(visit.cast::<u64>().add(word), 0) };
            word += 1;
        }
        // SAFETY: as above; an earlier packet's visit is a visit.
        let visit = unsafe { &mut *visit };
        visit.begin(arrival, self.settings(), self.now());
        Some(visit)
    }
}

#[inline(always)]
pub(super) fn aside<R>(visit: &Visit, with: impl FnOnce(&mut Visit) -> R) -> Option<R> {
    let quoted = maps::QUOTED.get_ptr_mut(0)?;
    // Word by word: the compiler would make one call of it, to a loop over bytes.
    let mut word = 0;
    while word < size_of::<Visit>() / size_of::<u64>() {
        // SAFETY: both are as many words long; the element is this CPU's own, and a program is not interrupted by another run of itself
        // on its CPU.
        unsafe { ptr::write_volatile(quoted.cast::<u64>().add(word), ptr::from_ref(visit).cast::<u64>().add(word).read_volatile()) };
        word += 1;
    }
    // SAFETY: as above; the element now is a copy of a visit.
    Some(with(unsafe { &mut *quoted }))
}
