//! Which bytes of a datagram have passed: a few ranges that neither overlap nor touch, in no order.
//!
//! A datagram whose fragments come in order has one range that grows. Each hole costs one more; fragments that would open more holes than
//! there is room for are dropped.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::verifier::{self, Step, forgotten};

/// Offsets of fragments count units of so many bytes (RFC 791 §3.1, RFC 8200 §4.5).
pub const UNIT: u32 = 8;
/// Ranges there is room for.
pub const MOST_RANGES: usize = 8;

/// The units from `start` to before `end`; empty when both are zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Range {
    pub start: u16,
    pub end: u16,
}

/// What has passed of one datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Cover(pub [Range; MOST_RANGES]);

/// What a fragment is to the ranges there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// None of it has passed.
    New,
    /// All of it has passed.
    Inside,
    /// Part of it has passed.
    Overlaps,
}

/// In place of a range's number: there is none.
const NONE: u32 = MOST_RANGES as u32;

/// A fragment held against all ranges.
pub struct Scan<'a> {
    ranges: &'a [Range; MOST_RANGES],
    start: u32,
    end: u32,
    turn: u32,
    inside: bool,
    overlaps: bool,
    /// The range that ends where the fragment begins, the one that begins where it ends, and an empty one.
    before: u32,
    behind: u32,
    free: u32,
    /// The highest end of all ranges.
    reach: u32,
}

impl core::fmt::Debug for Scan<'_> {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.debug_struct("Scan").field("start", &self.start).field("end", &self.end).finish_non_exhaustive()
    }
}

impl Step for Scan<'_> {
    /// Whether ranges overlap one turn tells as well as many.
    #[inline(always)]
    fn forget(&mut self) {
        for number in [&mut self.turn, &mut self.before, &mut self.behind, &mut self.free, &mut self.reach] {
            *number = forgotten(*number);
        }
    }

    #[inline(always)]
    fn step(&mut self) -> bool {
        let turn = self.turn;
        let range = self.ranges[turn as usize % MOST_RANGES];
        let (start, end) = (u32::from(range.start), u32::from(range.end));
        self.turn = turn + 1;
        if end == 0 {
            self.free = turn;
            return true;
        }
        if start < self.end && self.start < end {
            self.overlaps = true;
            self.inside = start <= self.start && self.end <= end;
        }
        if end == self.start {
            self.before = turn;
        }
        if start == self.end {
            self.behind = turn;
        }
        if end > self.reach {
            self.reach = end;
        }
        true
    }
}

impl Scan<'_> {
    /// Ranges never touch, so what has passed whole lies in a single one.
    #[inline(always)]
    #[must_use]
    pub const fn fit(&self) -> Fit {
        match (self.overlaps, self.inside) {
            (false, _) => Fit::New,
            (true, true) => Fit::Inside,
            (true, false) => Fit::Overlaps,
        }
    }

    /// The unit after the last that has passed.
    #[inline(always)]
    #[must_use]
    pub const fn reach(&self) -> u32 {
        self.reach
    }

    /// Where the fragment goes.
    #[inline(always)]
    #[must_use]
    pub const fn place(&self) -> Place {
        Place { start: self.start as u16, end: self.end as u16, before: self.before, behind: self.behind, free: self.free }
    }
}

/// Where a new fragment goes, see [`Cover::add`].
#[derive(Clone, Copy, Debug)]
pub struct Place {
    start: u16,
    end: u16,
    before: u32,
    behind: u32,
    free: u32,
}

impl Cover {
    /// One range.
    #[inline(always)]
    #[must_use]
    pub const fn of(start: u16, end: u16) -> Self {
        let mut ranges = [Range { start: 0, end: 0 }; MOST_RANGES];
        ranges[0] = Range { start, end };
        Self(ranges)
    }

    /// Holds the units from `start` to before `end` against what has passed.
    #[inline(always)]
    #[must_use]
    pub fn scan(&self, start: u32, end: u32) -> Scan<'_> {
        let mut scan =
            Scan { ranges: &self.0, start, end, turn: 0, inside: false, overlaps: false, before: NONE, behind: NONE, free: NONE, reach: 0 };
        verifier::repeat(MOST_RANGES as u32, &mut scan);
        scan
    }

    /// Adds a fragment that is [`Fit::New`], joined with the ranges it touches. Returns the range it is now part of, or `None` when there
    /// is no room for one more.
    #[inline(always)]
    pub const fn add(&mut self, place: &Place) -> Option<Range> {
        let (before, behind) = (place.before as usize % MOST_RANGES, place.behind as usize % MOST_RANGES);
        let mut range = Range { start: place.start, end: place.end };
        let mut at = place.free;
        if place.behind != NONE {
            range.end = self.0[behind].end;
            at = place.behind;
        }
        if place.before != NONE {
            range.start = self.0[before].start;
            if place.behind != NONE {
                self.0[behind] = Range { start: 0, end: 0 };
            }
            at = place.before;
        }
        if at == NONE {
            return None;
        }
        self.0[at as usize % MOST_RANGES] = range;
        Some(range)
    }
}

const _: () = assert!(size_of::<Cover>() == 32);

#[cfg(test)]
mod tests {
    use super::{Cover, Fit, MOST_RANGES, Range};

    fn add(cover: &mut Cover, start: u32, end: u32) -> Option<Range> {
        let scan = cover.scan(start, end);
        assert_eq!(scan.fit(), Fit::New);
        let place = scan.place();
        cover.add(&place)
    }

    #[test]
    fn neighbours_are_joined() {
        let mut cover = Cover::default();
        assert_eq!(add(&mut cover, 0, 4), Some(Range { start: 0, end: 4 }));
        assert_eq!(add(&mut cover, 8, 12), Some(Range { start: 8, end: 12 }));
        assert_eq!(add(&mut cover, 4, 8), Some(Range { start: 0, end: 12 }));
        assert_eq!(add(&mut cover, 12, 13), Some(Range { start: 0, end: 13 }));
        assert_eq!(cover.0.iter().filter(|range| range.end != 0).count(), 1);
        assert_eq!(cover.scan(0, 13).fit(), Fit::Inside);
        assert_eq!(cover.scan(12, 14).fit(), Fit::Overlaps);
        assert_eq!(cover.scan(13, 14).fit(), Fit::New);
        assert_eq!(cover.scan(13, 14).reach(), 13);
    }

    #[test]
    fn what_swallows_several_ranges_overlaps() {
        let mut cover = Cover::default();
        add(&mut cover, 2, 4);
        add(&mut cover, 6, 8);
        assert_eq!(cover.scan(0, 10).fit(), Fit::Overlaps);
        assert_eq!(cover.scan(3, 7).fit(), Fit::Overlaps);
        assert_eq!(cover.scan(4, 6).fit(), Fit::New);
    }

    #[test]
    fn room_ends_and_comes_back() {
        let mut cover = Cover::default();
        for hole in 0..MOST_RANGES as u32 {
            assert!(add(&mut cover, hole * 2, hole * 2 + 1).is_some());
        }
        assert_eq!(add(&mut cover, 100, 101), None);
        assert_eq!(add(&mut cover, 1, 2), Some(Range { start: 0, end: 3 }));
        assert!(add(&mut cover, 100, 101).is_some());
    }
}
