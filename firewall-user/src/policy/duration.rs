//! Spans of time as policies write them: `500ms`, `30s`, `2m`, `1h30m`, `2d`.

/// Units from the largest to the smallest, with their milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DurationError {
    #[error("is not a duration")]
    Syntax,
    #[error("is not a duration: a unit is missing")]
    NoUnit,
    #[error("is no time at all: a duration must be longer than zero")]
    Zero,
    #[error("is too long: a duration must be shorter than 49 days")]
    TooLong,
}

/// Milliseconds of a duration that fits the dataplane's timers.
pub(crate) fn parse(text: &str) -> Result<u32, DurationError> {
    match parse_any(text)? {
        total if total >= 49 * UNITS[0].1 => Err(DurationError::TooLong),
        total => u32::try_from(total).map_err(|_| DurationError::TooLong),
    }
}

/// Milliseconds of a duration of any length.
pub(crate) fn parse_any(text: &str) -> Result<u64, DurationError> {
    let mut rest = text;
    let mut total: u64 = 0;
    let mut smaller_than = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_lowercase).count();
        let (unit, tail) = tail.split_at(letters);
        if digits > 0 && unit.is_empty() && tail.is_empty() {
            return Err(DurationError::NoUnit);
        }
        let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(DurationError::Syntax)?;
        // "1m1h" or "1m1m" is a slip of the pen.
        if digits == 0 || *millis >= smaller_than {
            return Err(DurationError::Syntax);
        }
        smaller_than = *millis;
        let number: u64 = number.parse().map_err(|_| DurationError::TooLong)?;
        total = number.checked_mul(*millis).and_then(|part| total.checked_add(part)).ok_or(DurationError::TooLong)?;
        rest = tail;
    }
    match total {
        _ if text.is_empty() => Err(DurationError::Syntax),
        0 => Err(DurationError::Zero),
        total => Ok(total),
    }
}

/// The units, from the largest to the smallest.
pub(super) fn units() -> impl Iterator<Item = &'static str> {
    UNITS.iter().map(|(name, _)| *name)
}

/// The shortest form [`parse`] reads back.
pub(crate) fn print(millis: u32) -> String {
    let mut rest = u64::from(millis);
    let mut text = String::new();
    for (name, unit) in UNITS {
        if rest >= unit {
            text += &format!("{}{name}", rest / unit);
            rest %= unit;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{DurationError, parse, print};

    #[test]
    fn durations_are_read() {
        for (text, millis) in
            [("500ms", 500), ("30s", 30_000), ("2m", 120_000), ("1h30m", 5_400_000), ("7440s", 7_440_000), ("1d1ms", 86_400_001)]
        {
            assert_eq!(parse(text), Ok(millis), "{text}");
        }
    }

    #[test]
    fn bad_durations_are_refused() {
        for (text, error) in [
            ("", DurationError::Syntax),
            ("2 m", DurationError::Syntax),
            ("-2m", DurationError::Syntax),
            ("2x", DurationError::Syntax),
            ("1m1h", DurationError::Syntax),
            ("120", DurationError::NoUnit),
            ("0s", DurationError::Zero),
            ("49d", DurationError::TooLong),
            ("99999999999999999999d", DurationError::TooLong),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn print_is_read_back() {
        for millis in [1, 999, 1_000, 61_001, 7_440_000, 49 * 86_400_000 - 1] {
            assert_eq!(parse(&print(millis)), Ok(millis));
        }
    }
}
