//! Sets of numbers as ranges: what addresses, protocols and ports come to when access lists are laid over each other.

use std::rc::Rc;

/// Inclusive ranges in order, which neither touch nor overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ranges(Rc<[(u128, u128)]>);

impl Ranges {
    pub(super) fn none() -> Self {
        Self(Rc::from([]))
    }

    pub(super) fn new(mut ranges: Vec<(u128, u128)>) -> Self {
        ranges.sort_unstable();
        let mut joined: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
        for (low, high) in ranges.into_iter().filter(|(low, high)| low <= high) {
            match joined.last_mut() {
                Some(last) if low <= last.1.saturating_add(1) => last.1 = last.1.max(high),
                _ => joined.push((low, high)),
            }
        }
        Self(joined.into())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u128, u128)> {
        self.0.iter().copied()
    }

    pub(super) fn union<'r>(parts: impl IntoIterator<Item = &'r Self>) -> Self {
        Self::new(parts.into_iter().flat_map(Self::iter).collect())
    }

    pub(super) fn intersection(&self, other: &Self) -> Self {
        let (mut left, mut right) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut common = Vec::new();
        while let (Some(one), Some(two)) = (left.peek(), right.peek()) {
            let (low, high) = (one.0.max(two.0), one.1.min(two.1));
            if low <= high {
                common.push((low, high));
            }
            if one.1 <= two.1 {
                left.next()
            } else {
                right.next()
            };
        }
        Self(common.into())
    }

    /// True when every number of `other` is one of these.
    pub(super) fn covers(&self, other: &Self) -> bool {
        other.iter().all(|(low, high)| {
            let before = &self.0[..self.0.partition_point(|range| range.0 <= low)];
            before.last().is_some_and(|range| high <= range.1)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::Ranges;

    fn small() -> impl Strategy<Value = Vec<(u128, u128)>> {
        vec((0_u128..40, 0_u128..6).prop_map(|(low, size)| (low, low + size)), 0..6)
    }

    fn has(ranges: &[(u128, u128)], number: u128) -> bool {
        ranges.iter().any(|(low, high)| (*low..=*high).contains(&number))
    }

    proptest! {
        #[test]
        fn ranges_are_sets_of_numbers(a in small(), b in small()) {
            let (one, two) = (Ranges::new(a.clone()), Ranges::new(b.clone()));
            let (both, either) = (one.intersection(&two), Ranges::union([&one, &two]));
            for number in 0..50 {
                let (in_a, in_b) = (has(&a, number), has(&b, number));
                prop_assert_eq!(has(&both.0, number), in_a && in_b);
                prop_assert_eq!(has(&either.0, number), in_a || in_b);
            }
            prop_assert_eq!(one.covers(&two), (0..50).all(|number| has(&a, number) || !has(&b, number)));
            prop_assert!(either.0.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
        }
    }
}
