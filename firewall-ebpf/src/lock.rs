//! The lock of a datagram's record: a word in it, taken with compare-and-swap. The kernel's own locks are not for LRU maps; what this one
//! protects, and what it cannot, is said in [`firewall_common::fragment::datagram`].

use core::{
    intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xchg},
    ptr,
};

use firewall_common::{
    fragment::Fragment,
    verifier::{self, Step, forgotten},
};

const FREE: u32 = 0;
const TAKEN: u32 = 1;
/// Attempts to take a lock: some microseconds, in which its holder has long been done, unless the machine took its CPU away.
const ATTEMPTS: u32 = 256;

/// A lock that is taken.
pub struct Held(*mut u32);

struct Take {
    word: *mut u32,
    taken: u32,
}

impl Step for Take {
    #[inline(always)]
    fn forget(&mut self) {
        self.taken = forgotten(self.taken);
    }

    #[inline(always)]
    fn step(&mut self) -> bool {
        // SAFETY: an aligned word of a map's value, which every CPU reaches by atomic operations only.
        let (before, _) = unsafe { atomic_cxchg::<u32, { AtomicOrdering::AcqRel }, { AtomicOrdering::Acquire }>(self.word, FREE, TAKEN) };
        self.taken = u32::from(before == FREE);
        before != FREE
    }
}

impl Held {
    /// Takes the lock of a record, or `None` when others hold it all the time.
    #[inline(always)]
    pub fn take(fragment: *mut Fragment) -> Option<Self> {
        // SAFETY: the record is the value of a lookup; only its lock's address is taken.
        let word = unsafe { ptr::addr_of_mut!((*fragment).lock) };
        let mut take = Take { word, taken: 0 };
        verifier::repeat(ATTEMPTS, &mut take);
        if take.taken == 0 { None } else { Some(Self(word)) }
    }

    #[inline(always)]
    pub fn release(self) {
        // SAFETY: as in `take`. An exchange, because on this target it is the plainest operation that orders what came before it.
        unsafe {
            atomic_xchg::<u32, { AtomicOrdering::AcqRel }>(self.0, FREE);
        }
    }
}
