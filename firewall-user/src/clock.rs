//! The clocks: the dataplane's monotonic one, and the calendar.

use std::time::Duration;

use firewall_common::time::Nanos;
use rustix::time::{ClockId, clock_gettime};

use crate::policy::Clock;

/// Now, as `bpf_ktime_get_ns` tells it.
#[must_use]
pub fn monotonic() -> Nanos {
    let now = clock_gettime(ClockId::Monotonic);
    Nanos(now.tv_sec.cast_unsigned().saturating_mul(1_000_000_000).saturating_add(now.tv_nsec.cast_unsigned()))
}

/// Now on both clocks.
#[must_use]
pub fn both() -> Clock {
    Clock { monotonic_ns: monotonic().0, realtime: jiff::Timestamp::now() }
}

/// A length of time in seconds, for people and programs.
#[must_use]
pub fn seconds(length: Nanos) -> f64 {
    // Milliseconds are as exact as anybody reads.
    Duration::from_nanos(length.0).as_millis() as f64 / 1000.0
}
