//! The hours in which a rule matches: minutes of the local week, which begins on Monday at midnight.
//!
//! The dataplane knows no time zone. It knows at which moment of its own clock the local week began, so that it finds the minute by itself,
//! week after week, whether or not the controller lives. The controller keeps that moment right when clocks are changed or set.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{classify::Policies, rule::Rule, time::Nanos, verifier};

/// Different hours a policy can have.
pub const MAX_SCHEDULES: usize = 256;
/// Minutes of a week.
pub const MINUTES: u32 = 7 * 24 * 60;
/// Words of a [`Week`].
pub const WORDS: usize = (MINUTES as usize).div_ceil(64);
const NANOS_PER_MINUTE: u64 = 60_000_000_000;
/// Length of a week.
pub const WEEK_NANOS: u64 = MINUTES as u64 * NANOS_PER_MINUTE;

/// A bit for each minute of the week: bit `n % 64` of word `n / 64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Week(pub [u64; WORDS]);

impl Week {
    pub const NEVER: Self = Self([0; WORDS]);

    #[inline(always)]
    #[must_use]
    pub fn has(&self, minute: u32) -> bool {
        // The compiler knows that no minute is too large; the verifier does not.
        self.0.get(verifier::opaque(minute / 64) as usize).is_some_and(|word| word >> (minute % 64) & 1 != 0)
    }

    /// Adds a minute, below [`MINUTES`].
    pub fn add(&mut self, minute: u32) {
        if let Some(word) = self.0.get_mut(minute as usize / 64) {
            *word |= 1 << (minute % 64);
        }
    }
}

/// The minute of the week, below [`MINUTES`], when a week begins at `began`, which is less than a week from the clock's own beginning: that
/// week, or any before or after.
#[inline(always)]
#[must_use]
pub const fn minute(now: Nanos, began: Nanos) -> u32 {
    (now.plus(Nanos(WEEK_NANOS)).since(began).0 % WEEK_NANOS / NANOS_PER_MINUTE) as u32
}

/// True when the entry matches at this time, as far as its hours go; `None` when they cannot be found.
#[inline(always)]
pub fn apply<P: Policies>(policies: &P, slot: u32, rule: &Rule, now: Nanos) -> Option<bool> {
    if rule.schedule == 0 {
        return Some(true);
    }
    let week = policies.week(slot, rule.schedule - 1)?;
    Some(week.has(minute(now, policies.week_began())))
}

const _: () = assert!(size_of::<Week>() == 1264);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weeks_follow_one_another() {
        let began = Nanos(77 * NANOS_PER_MINUTE + 5);
        assert_eq!(minute(began, began), 0);
        assert_eq!(minute(Nanos(began.0 + NANOS_PER_MINUTE - 1), began), 0);
        assert_eq!(minute(Nanos(began.0 + NANOS_PER_MINUTE), began), 1);
        let week = NANOS_PER_MINUTE * u64::from(MINUTES);
        assert_eq!(minute(Nanos(began.0 + week - 1), began), MINUTES - 1);
        assert_eq!(minute(Nanos(began.0 - 1), began), MINUTES - 1, "the week before");
        assert_eq!(minute(Nanos(began.0 + 3 * week + NANOS_PER_MINUTE), began), 1, "nobody has told of the next week");
    }

    #[test]
    fn a_week_has_the_minutes_that_were_added() {
        let mut week = Week::NEVER;
        for minute in [0, 63, 64, MINUTES - 1] {
            week.add(minute);
        }
        let there: Vec<u32> = (0..MINUTES + 200).filter(|minute| week.has(*minute)).collect();
        assert_eq!(there, [0, 63, 64, MINUTES - 1]);
    }
}
