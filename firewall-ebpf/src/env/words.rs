//! Memory word by word, where the compiler would call a loop over bytes or keep no copy.

use core::{mem::MaybeUninit, ptr};

/// A key of a map, on the stack: older verifiers (6.1) take none from the memory that a global function was given.
#[inline(always)]
pub(super) fn on_stack<K: Copy>(key: &K) -> K {
    // Word by word, for the compiler would leave the key where it is.
    let mut copy = MaybeUninit::<K>::uninit();
    let (from, to) = (ptr::from_ref(key).cast::<u64>(), copy.as_mut_ptr().cast::<u64>());
    const { assert!(size_of::<K>().is_multiple_of(size_of::<u64>()) && align_of::<K>() == align_of::<u64>()) };
    let mut word = 0;
    while word < size_of::<K>() / size_of::<u64>() {
        // SAFETY: both are as many words long, and aligned to them.
        unsafe { ptr::write_volatile(to.add(word), ptr::read(from.add(word))) };
        word += 1;
    }
    // SAFETY: every word of it is written.
    unsafe { copy.assume_init() }
}

/// Sets a map's element to zero, word by word: the compiler would make one call of it, to a loop over bytes.
///
/// # Safety
/// The element is this CPU's own, aligned to and made of whole words of eight bytes.
#[inline(always)]
pub(super) unsafe fn clear_words<T>(element: *mut T) {
    const { assert!(size_of::<T>().is_multiple_of(size_of::<u64>())) };
    let mut word = 0;
    while word < size_of::<T>() / size_of::<u64>() {
        // SAFETY: the element is as many words long.
        unsafe { ptr::write_volatile(element.cast::<u64>().add(word), 0) };
        word += 1;
    }
}
