//! Sums over bytes that may lie anywhere in a frame: piece by piece through a buffer, because only the helpers reach all of it.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_csum_diff;
use firewall_common::verifier::{self, Step, forgotten, opaque};

use crate::maps;

/// Bytes summed at once: the most that every kernel's helper takes.
pub const CHUNK: usize = 512;
/// Pieces of the longest packet.
const MOST: u32 = 65_536 / CHUNK as u32 + 1;

/// Copies bytes of a frame: `length` from offset `at`.
pub trait Source {
    fn load(&self, at: u32, to: *mut c_void, length: u32) -> bool;
}

struct Summing<'a, S> {
    source: &'a S,
    at: u32,
    left: u32,
    sum: u32,
    failed: u32,
}

impl<S: Source> Step for Summing<'_, S> {
    #[inline(always)]
    fn forget(&mut self) {
        for number in [&mut self.at, &mut self.left, &mut self.sum, &mut self.failed] {
            *number = forgotten(*number);
        }
    }

    #[inline(always)]
    fn step(&mut self) -> bool {
        if self.left == 0 {
            return false;
        }
        let Some(buffer) = maps::SUM.get_ptr_mut(0) else {
            self.failed = 1;
            return false;
        };
        // The last byte's place, from which every length is made: the mask is what the verifier knows of it.
        let end = opaque(if self.left < CHUNK as u32 { self.left - 1 } else { CHUNK as u32 - 1 }) & (CHUNK as u32 - 1);
        let length = end + 1;
        // The helper sums whole words: what a last, broken one has beyond the bytes must be zero.
        let last = (end & !3) as usize;
        // SAFETY: this CPU's own element, with four bytes at any multiple of four below its size.
        unsafe { buffer.cast::<u8>().add(last).cast::<u32>().write_volatile(0) };
        if !self.source.load(self.at, buffer.cast::<c_void>(), length) {
            self.failed = 1;
            return false;
        }
        // SAFETY: the buffer holds as many bytes; there is nothing to take away.
        let sum = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, buffer.cast::<u32>(), (last as u32) + 4, self.sum) };
        self.failed |= u32::from(sum < 0);
        self.sum = sum as u32;
        self.at += length;
        self.left -= length;
        self.failed == 0
    }
}

/// Ones' complement sum of `length` bytes from offset `at`.
#[inline(always)]
pub fn sum<S: Source>(source: &S, at: u32, length: u32) -> Option<u32> {
    let mut summing = Summing { source, at, left: length, sum: 0, failed: 0 };
    verifier::repeat(MOST, &mut summing);
    (summing.failed == 0 && summing.left == 0).then_some(summing.sum)
}
