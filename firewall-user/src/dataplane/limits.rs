//! What counts against the limits of rules, in our own memory, where it is changed as the dataplane changes it: by atomic additions.

use std::{
    mem::offset_of,
    os::fd::AsFd,
    ptr::NonNull,
    sync::atomic::{AtomicU32, Ordering},
};

use aya::maps::{IterableMap as _, MapError};
use firewall_common::{
    abi::map,
    limit::{Count, Counts, Source},
    rule::MAX_RULE_NUMBERS,
};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use zerocopy::IntoBytes;

use super::{DataplaneError, Maps, bpf::read_table, maps::locked};

/// `bpf_map_update_elem`: the key must be there.
const BPF_EXIST: u64 = 2;

/// The dataplane's counts by rule number, mapped into memory for as long as this lives.
#[derive(Debug)]
pub struct LimitBlock {
    start: NonNull<u8>,
}

// SAFETY: the block is only reached through atomics.
unsafe impl Send for LimitBlock {}
// SAFETY: as above.
unsafe impl Sync for LimitBlock {}

impl LimitBlock {
    const BYTES: usize = MAX_RULE_NUMBERS * size_of::<Counts>();

    pub(super) fn map(map: impl AsFd) -> Result<Self, DataplaneError> {
        let failed = |source| DataplaneError::System { what: "mapping the counts of limits into memory", source };
        // SAFETY: a fresh shared mapping at an address of the kernel's choice; the map has as many elements.
        let start = unsafe { mmap(std::ptr::null_mut(), Self::BYTES, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, map, 0) }
            .map_err(|error| failed(error.into()))?;
        NonNull::new(start.cast()).map(|start| Self { start }).ok_or_else(|| failed(std::io::Error::other("mapped at address zero")))
    }

    fn word(&self, rule: u16, offset: usize) -> &AtomicU32 {
        let rule = usize::from(rule) % MAX_RULE_NUMBERS;
        // SAFETY: `offset` is that of a u32 within `Counts`, and the element is one of the map's, which is mapped as long as `self` lives;
        // the dataplane changes the words by atomic operations.
        unsafe { AtomicU32::from_ptr(self.start.as_ptr().add(rule * size_of::<Counts>() + offset).cast()) }
    }

    /// Flows and embryonic flows of a rule.
    #[must_use]
    pub fn read(&self, rule: u16) -> [Count; 2] {
        [offset_of!(Counts, flows), offset_of!(Counts, embryonic)].map(|at| {
            // As in the dataplane: what ends between the two loads is alive, not missing.
            let ended = self.word(rule, at + offset_of!(Count, ended)).load(Ordering::Acquire);
            Count { begun: self.word(rule, at + offset_of!(Count, begun)).load(Ordering::Acquire), ended }
        })
    }

    /// All of a rule's, a word at a time: what changes meanwhile may be of two moments.
    fn counts(&self, rule: u16) -> Counts {
        let mut counts = Counts::default();
        for (place, bytes) in counts.as_mut_bytes().chunks_exact_mut(size_of::<u32>()).enumerate() {
            bytes.copy_from_slice(&self.word(rule, place * size_of::<u32>()).load(Ordering::Acquire).to_ne_bytes());
        }
        counts
    }

    /// Rules that something has been counted of.
    pub fn all(&self) -> impl Iterator<Item = (u16, Counts)> {
        let rules = 0..u16::try_from(MAX_RULE_NUMBERS - 1).unwrap_or(u16::MAX);
        rules.map(|rule| (rule, self.counts(rule))).filter(|(_, counts)| *counts != Counts::default())
    }

    /// Sets all of a rule's, where no packet is judged meanwhile.
    pub(super) fn set(&self, rule: u16, counts: &Counts) {
        for (place, bytes) in counts.as_bytes().chunks_exact(size_of::<u32>()).enumerate() {
            let mut word = [0; size_of::<u32>()];
            word.copy_from_slice(bytes);
            self.word(rule, place * size_of::<u32>()).store(u32::from_ne_bytes(word), Ordering::Release);
        }
    }

    /// Lets so many more flows and embryonic flows have ended: fewer, where the number wraps.
    pub fn end(&self, rule: u16, [flows, embryonic]: [u32; 2]) {
        for (at, more) in [(offset_of!(Counts, flows), flows), (offset_of!(Counts, embryonic), embryonic)] {
            if more != 0 {
                self.word(rule, at + offset_of!(Count, ended)).fetch_add(more, Ordering::AcqRel);
            }
        }
    }

    /// Sets everything of a rule to zero, before its number is given to another.
    pub fn clear(&self, rule: u16) {
        for word in 0..size_of::<Counts>() / size_of::<u32>() {
            self.word(rule, word * size_of::<u32>()).store(0, Ordering::Release);
        }
    }
}

impl Drop for LimitBlock {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this size, and nobody holds a reference into it any more.
        // A failure leaves it mapped, which harms nothing.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), Self::BYTES) };
    }
}

impl Maps {
    /// Hands what counts by source to `visit`.
    pub fn read_sources(&self, mut visit: impl FnMut(Source, Counts)) -> Result<(), DataplaneError> {
        let handle = locked(&self.sources);
        if read_table(handle.map().fd().as_fd(), false, &mut visit).is_ok() {
            return Ok(());
        }
        // A kernel that offers no batches; a source that is visited twice has the same counts twice.
        for entry in handle.iter().take(2 * firewall_common::limit::MAX_SOURCES as usize) {
            let (source, counts) = entry.map_err(DataplaneError::map(map::SOURCES))?;
            visit(source, counts);
        }
        Ok(())
    }

    /// As [`LimitBlock::end`], for a source. What the dataplane adds within the microsecond between the look and the store is lost; the next
    /// call makes it good.
    pub fn end_of_source(&self, source: &Source, [flows, embryonic]: [u32; 2]) -> Result<(), DataplaneError> {
        let mut handle = locked(&self.sources);
        let mut counts = match handle.get(source, 0) {
            Ok(counts) => counts,
            Err(MapError::KeyNotFound) => return Ok(()),
            Err(error) => return Err(DataplaneError::map(map::SOURCES)(error)),
        };
        counts.flows.ended = counts.flows.ended.wrapping_add(flows);
        counts.embryonic.ended = counts.embryonic.ended.wrapping_add(embryonic);
        match handle.insert(source, counts, BPF_EXIST) {
            // The kernel has evicted it meanwhile.
            Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            result => result.map_err(DataplaneError::map(map::SOURCES)),
        }
    }
}
