//! The settings block.

use core::ptr;

use firewall_common::env::Settings;

use crate::maps;

#[inline(always)]
pub(super) fn read() -> Settings {
    // Each field is one aligned word that userspace stores at once; volatile, so that each is read once.
    match maps::CONFIG.get_ptr(0) {
        // SAFETY: the pointer is to the map's only element.
        Some(config) => unsafe {
            Settings {
                generation: ptr::read_volatile(&raw const (*config).generation),
                flags: ptr::read_volatile(&raw const (*config).flags),
                timeout_scale: ptr::read_volatile(&raw const (*config).timeout_scale),
                event_kinds: ptr::read_volatile(&raw const (*config).event_kinds),
            }
        },
        None => Settings::default(),
    }
}

#[inline(always)]
pub(super) fn secret() -> [u64; 2] {
    match maps::CONFIG.get_ptr(0) {
        // SAFETY: the pointer is to the map's only element; the secret is written once, before any program is attached.
        Some(config) => unsafe { ptr::read_volatile(&raw const (*config).secret) },
        None => [0; 2],
    }
}
