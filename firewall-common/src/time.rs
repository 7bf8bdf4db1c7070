//! Time in the dataplane: nanoseconds of the kernel's monotonic clock, as `bpf_ktime_get_ns` and `CLOCK_MONOTONIC` give them.

/// A point on the monotonic clock, or a length of time, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Nanos(pub u64);

impl Nanos {
    pub const MILLISECOND: u64 = 1_000_000;

    #[inline(always)]
    #[must_use]
    pub const fn from_millis(millis: u32) -> Self {
        Self(millis as u64 * Self::MILLISECOND)
    }

    /// The time from `earlier` to `self`. Zero when `earlier` is later: two CPUs may read the clock in either order.
    #[inline(always)]
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }

    #[inline(always)]
    #[must_use]
    pub const fn plus(self, length: Self) -> Self {
        Self(self.0.saturating_add(length.0))
    }

    /// Whole milliseconds, at most `u32::MAX` (49 days).
    #[inline(always)]
    #[must_use]
    pub const fn as_millis_saturating(self) -> u32 {
        let millis = self.0 / Self::MILLISECOND;
        if millis > u32::MAX as u64 { u32::MAX } else { millis as u32 }
    }

    /// Whole microseconds, at most `u32::MAX` (71 minutes).
    #[inline(always)]
    #[must_use]
    pub const fn as_micros_saturating(self) -> u32 {
        let micros = self.0 / 1_000;
        if micros > u32::MAX as u64 { u32::MAX } else { micros as u32 }
    }
}
