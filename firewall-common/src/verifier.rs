//! What the kernel's verifier needs and the host does not: the only code of this crate that differs between the two.

/// One turn of a loop whose number of turns the packet decides.
pub trait Step {
    /// Does one turn; false ends the loop.
    fn step(&mut self) -> bool;
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
