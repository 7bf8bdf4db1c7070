//! TCP sequence numbers: 32 bits that wrap (RFC 9293 §3.4).

/// A sequence or acknowledgement number in host byte order. Comparison is modulo 2³²: `<` on the bare integer would be wrong after a
/// wrap, so this type has no `Ord`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Seq(pub u32);

impl Seq {
    /// The number `count` bytes further on.
    #[inline(always)]
    #[must_use]
    pub const fn add(self, count: u32) -> Self {
        Self(self.0.wrapping_add(count))
    }

    /// The number `count` bytes earlier.
    #[inline(always)]
    #[must_use]
    pub const fn sub(self, count: u32) -> Self {
        Self(self.0.wrapping_sub(count))
    }

    /// How far `self` lies after `other`; negative when it lies before.
    #[inline(always)]
    #[must_use]
    pub const fn distance(self, other: Self) -> i32 {
        self.0.wrapping_sub(other.0) as i32
    }

    /// True when `self` lies strictly before `other`.
    #[inline(always)]
    #[must_use]
    pub const fn before(self, other: Self) -> bool {
        self.distance(other) < 0
    }

    /// True when `self` lies strictly after `other`.
    #[inline(always)]
    #[must_use]
    pub const fn after(self, other: Self) -> bool {
        self.distance(other) > 0
    }

    /// The later of the two.
    #[inline(always)]
    #[must_use]
    pub const fn max(self, other: Self) -> Self {
        if self.before(other) { other } else { self }
    }

    /// True when `first <= self <= last`, the closed range being shorter than 2³¹.
    #[inline(always)]
    #[must_use]
    pub const fn within(self, first: Self, last: Self) -> bool {
        !self.before(first) && !self.after(last)
    }
}
