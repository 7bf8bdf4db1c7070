//! What the kernel's verifier needs and the host does not: the only code of this crate that differs between the two.

/// One turn of a loop whose number of turns the packet decides.
pub trait Step {
    /// Does one turn; false ends the loop.
    fn step(&mut self) -> bool;

    /// Passes each number that a turn changes through [`forgotten`].
    ///
    /// A verifier that follows the state through one turn only (6.1) takes what it is at the beginning, and what one turn makes of it, for all
    /// there is; what only later turns come to it takes for unreachable, and removes. So it must not know how a loop begins.
    fn forget(&mut self);
}

/// Calls `state.step()` until it returns false, at most `most` times.
///
/// In the kernel this is `bpf_loop`, which verifies the body once. A plain loop is verified once per turn and path: over option bytes
/// that is more than the million instructions the verifier will look at.
#[cfg(not(target_arch = "bpf"))]
pub fn repeat<S: Step>(most: u32, state: &mut S) {
    for _ in 0..most {
        if !state.step() {
            return;
        }
    }
}

#[cfg(target_arch = "bpf")]
#[inline(always)]
pub fn repeat<S: Step>(most: u32, state: &mut S) {
    use core::ffi::c_void;

    state.forget();
    extern "C" fn turn<S: Step>(_index: u32, state: *mut c_void) -> i64 {
        // SAFETY: the kernel hands the callback the pointer given to bpf_loop below, which is `state`, exclusively ours meanwhile.
        let state = unsafe { &mut *state.cast::<S>() };
        if state.step() { 0 } else { 1 }
    }

    type BpfLoop = unsafe extern "C" fn(u32, *mut c_void, *mut c_void, u64) -> i64;
    const BPF_LOOP: usize = 181;
    // SAFETY: helper functions are called by number on this target; 181 is bpf_loop, which has this signature since kernel 5.17.
    let bpf_loop: BpfLoop = unsafe { core::mem::transmute(BPF_LOOP) };
    // SAFETY: `turn` has the callback's signature, and `state` outlives the call.
    unsafe {
        bpf_loop(most, turn::<S> as *mut c_void, core::ptr::from_mut(state).cast(), 0);
    }
}

/// Fills a buffer with zeros, a word at a time: the compiler would call a loop over its bytes.
#[cfg(not(target_arch = "bpf"))]
pub const fn clear(buffer: &mut [u8; 64]) {
    *buffer = [0; 64];
}

#[cfg(target_arch = "bpf")]
#[inline(always)]
pub fn clear(buffer: &mut [u8; 64]) {
    let words = buffer.as_mut_ptr().cast::<u64>();
    let mut word = 0;
    while word < 8 {
        // SAFETY: eight words are 64 bytes, and this machine stores words anywhere.
        unsafe { words.add(word).write_volatile(0) };
        word += 1;
    }
}

/// The same value, as one the compiler knows nothing of: a bound that is checked on it stays where it is checked.
#[cfg(not(target_arch = "bpf"))]
#[inline(always)]
#[must_use]
pub const fn opaque(value: u32) -> u32 {
    value
}

#[cfg(target_arch = "bpf")]
#[inline(always)]
#[must_use]
pub fn opaque(mut value: u32) -> u32 {
    // SAFETY: one move to itself. (Nothing at all would leave two lines of the source at one instruction, which the kernel refuses.)
    unsafe { core::arch::asm!("{value} = {value}", value = inout(wreg) value, options(pure, nomem, nostack)) };
    value
}

/// The same value, as one that the verifier knows nothing of.
#[cfg(not(target_arch = "bpf"))]
#[inline(always)]
#[must_use]
pub const fn forgotten(value: u32) -> u32 {
    value
}

#[cfg(target_arch = "bpf")]
#[inline(always)]
#[must_use]
pub fn forgotten(value: u32) -> u32 {
    value.wrapping_add(nothing() as u32)
}

/// As [`forgotten`], for a word of eight bytes.
#[cfg(not(target_arch = "bpf"))]
#[inline(always)]
#[must_use]
pub const fn forgotten_word(value: u64) -> u64 {
    value
}

#[cfg(target_arch = "bpf")]
#[inline(always)]
#[must_use]
pub fn forgotten_word(value: u64) -> u64 {
    value.wrapping_add(nothing())
}

/// Zero. To the verifier it is the difference of two pointers, which may be any number.
#[cfg(target_arch = "bpf")]
#[inline(always)]
fn nothing() -> u64 {
    let nothing: u64;
    // SAFETY: two moves between registers; r10 is the frame's, and can be read by everyone.
    unsafe { core::arch::asm!("{nothing} = r10", "{nothing} -= r10", nothing = out(reg) nothing, options(nomem, nostack)) };
    nothing
}

/// Sets a word to zero by a store of its own. Of a run of zeros the compiler makes a call, and older verifiers (6.1) allow none under a lock.
#[inline(always)]
pub fn clear_word(word: &mut u32) {
    // SAFETY: a reference is valid to be written.
    unsafe { core::ptr::write_volatile(word, 0) }
}

/// A byte of a record, loaded here and nowhere else: what is known of an earlier load is not known of this one.
#[inline(always)]
#[must_use]
pub fn reread(byte: &u8) -> u8 {
    // SAFETY: a reference is valid to be read.
    unsafe { core::ptr::read_volatile(byte) }
}

/// The same value, by way of a record's word that is free for it: all paths that lead here are one from here on, whatever value each has.
#[inline(always)]
#[must_use]
pub fn merged(value: u32, by: &mut u32) -> u32 {
    // SAFETY: a reference is valid to be written and read.
    unsafe {
        core::ptr::write_volatile(by, value);
        core::ptr::read_volatile(by)
    }
}

macro_rules! loads {
    ($($load:ident -> $word:ty, $bytes:literal, $instruction:literal;)+) => {
        $(
            /// The word at `AT`, as the machine loads it: its bytes are in wire order.
            #[cfg(not(target_arch = "bpf"))]
            #[inline(always)]
            #[must_use]
            pub fn $load<const AT: usize, const N: usize>(bytes: &[u8; N]) -> $word {
                const { assert!(AT + $bytes <= N) };
                let mut word = [0; $bytes];
                word.copy_from_slice(&bytes[AT..AT + $bytes]);
                <$word>::from_ne_bytes(word)
            }

            /// The word at `AT`, as the machine loads it: its bytes are in wire order.
            ///
            /// Header fields are at odd addresses, and for those the compiler loads byte by byte; the kernels Weir runs on load whole words
            /// from anywhere in a packet.
            #[cfg(target_arch = "bpf")]
            #[inline(always)]
            #[must_use]
            pub fn $load<const AT: usize, const N: usize>(bytes: &[u8; N]) -> $word {
                const { assert!(AT + $bytes <= N) };
                let word: u64;
                // SAFETY: one load from inside the array.
                unsafe {
                    core::arch::asm!(
                        $instruction,
                        word = out(reg) word,
                        bytes = in(reg) bytes.as_ptr(),
                        at = const AT,
                        options(pure, readonly, nostack),
                    );
                }
                word as $word
            }
        )+
    };
}

loads! {
    load_u16 -> u16, 2, "{word} = *(u16 *)({bytes} + {at})";
    load_u32 -> u32, 4, "{word} = *(u32 *)({bytes} + {at})";
    load_u64 -> u64, 8, "{word} = *(u64 *)({bytes} + {at})";
}
