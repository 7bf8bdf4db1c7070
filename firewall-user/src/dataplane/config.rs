//! The settings block in our own memory: one aligned store per field, so that no packet reads half a value.

use std::{
    mem::offset_of,
    os::fd::AsFd,
    ptr::NonNull,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use firewall_common::config::Config;
use rustix::{
    mm::{MapFlags, ProtFlags, mmap, munmap},
    rand::{GetRandomFlags, getrandom},
};

use super::DataplaneError;

/// The dataplane's [`Config`], mapped into memory for as long as this lives.
#[derive(Debug)]
pub struct ConfigBlock {
    start: NonNull<u8>,
}

// SAFETY: the block is only reached through atomics.
unsafe impl Send for ConfigBlock {}
// SAFETY: as above.
unsafe impl Sync for ConfigBlock {}

impl ConfigBlock {
    pub(super) fn map(map: impl AsFd) -> Result<Self, DataplaneError> {
        let failed = |source| DataplaneError::System { what: "mapping the settings block into memory", source };
        // SAFETY: a fresh shared mapping at an address of the kernel's choice; the map's first page holds the block.
        let start =
            unsafe { mmap(std::ptr::null_mut(), size_of::<Config>(), ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, map, 0) }
                .map_err(|error| failed(error.into()))?;
        NonNull::new(start.cast()).map(|start| Self { start }).ok_or_else(|| failed(std::io::Error::other("mapped at address zero")))
    }

    fn field(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: `offset` is that of a u32 field of `Config`, the mapping is page-aligned and lives as long as `self`; the dataplane
        // only reads the block, with aligned loads.
        unsafe { AtomicU32::from_ptr(self.start.as_ptr().add(offset).cast()) }
    }

    /// The whole block, each field whole.
    #[must_use]
    pub fn read(&self) -> Config {
        let mut words = [0; size_of::<Config>() / size_of::<u32>()];
        for (place, word) in words.iter_mut().enumerate() {
            *word = self.field(place * size_of::<u32>()).load(Ordering::Acquire);
        }
        zerocopy::transmute!(words)
    }

    /// Overwrites the block; for one that no packet is judged by meanwhile.
    pub(super) fn write(&self, config: &Config) {
        let words: [u32; size_of::<Config>() / size_of::<u32>()] = zerocopy::transmute!(*config);
        for (place, word) in words.into_iter().enumerate() {
            self.field(place * size_of::<u32>()).store(word, Ordering::Release);
        }
    }

    #[must_use]
    pub fn layout(&self) -> u32 {
        self.field(offset_of!(Config, layout)).load(Ordering::Acquire)
    }

    pub fn set_layout(&self, layout: u32) {
        self.field(offset_of!(Config, layout)).store(layout, Ordering::Release);
    }

    /// Gives the dataplane its secret, once: flows whose numbers are shifted by it live as long as the pins do.
    pub(super) fn ensure_secret(&self) -> Result<(), DataplaneError> {
        const WORDS: usize = 4;
        let word = |place: usize| self.field(offset_of!(Config, secret) + place * size_of::<u32>());
        if (0..WORDS).any(|place| word(place).load(Ordering::Acquire) != 0) {
            return Ok(());
        }
        let mut bytes = [0; WORDS * size_of::<u32>()];
        let mut filled = 0;
        while filled < bytes.len() {
            let got = getrandom(&mut bytes[filled..], GetRandomFlags::empty());
            filled += got.map_err(|error| DataplaneError::System { what: "drawing a secret", source: error.into() })?;
        }
        for (place, random) in bytes.chunks_exact(size_of::<u32>()).enumerate() {
            let random = <[u8; 4]>::try_from(random).map_or(0, u32::from_ne_bytes);
            word(place).store(random, Ordering::Release);
        }
        Ok(())
    }

    #[must_use]
    pub fn generation(&self) -> u32 {
        self.field(offset_of!(Config, generation)).load(Ordering::Acquire)
    }

    /// The one store that switches policies. Everything written to the new slot is visible before it.
    pub fn set_generation(&self, generation: u32) {
        self.field(offset_of!(Config, generation)).store(generation, Ordering::SeqCst);
    }

    /// When the local week began: see [`firewall_common::hours`].
    pub fn set_week_began(&self, began: u64) {
        // SAFETY: the offset is that of an aligned u64 field of `Config`; otherwise as in `field`.
        let field = unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(offset_of!(Config, week_began)).cast()) };
        field.store(began, Ordering::Release);
    }

    #[must_use]
    pub fn flags(&self) -> u32 {
        self.field(offset_of!(Config, flags)).load(Ordering::Acquire)
    }

    pub fn set_flags(&self, flags: u32) {
        self.field(offset_of!(Config, flags)).store(flags, Ordering::Release);
    }

    #[must_use]
    pub fn timeout_scale(&self) -> u32 {
        self.field(offset_of!(Config, timeout_scale)).load(Ordering::Acquire)
    }

    pub fn set_timeout_scale(&self, scale: u32) {
        self.field(offset_of!(Config, timeout_scale)).store(scale, Ordering::Release);
    }

    pub fn set_reject_rate(&self, rate: u32) {
        self.field(offset_of!(Config, reject_rate)).store(rate, Ordering::Release);
    }

    #[must_use]
    pub fn event_rate(&self) -> u32 {
        self.field(offset_of!(Config, event_rate)).load(Ordering::Acquire)
    }

    pub fn set_event_rate(&self, rate: u32) {
        self.field(offset_of!(Config, event_rate)).store(rate, Ordering::Release);
    }

    #[must_use]
    pub fn event_kinds(&self) -> u32 {
        self.field(offset_of!(Config, event_kinds)).load(Ordering::Acquire)
    }

    pub fn set_event_kinds(&self, kinds: u32) {
        self.field(offset_of!(Config, event_kinds)).store(kinds, Ordering::Release);
    }
}

impl Drop for ConfigBlock {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this size, and nobody holds a reference into it any more.
        // A failure leaves one page mapped, which harms nothing.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), size_of::<Config>()) };
    }
}
