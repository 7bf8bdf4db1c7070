//! Small charts for a terminal: one character a second.

const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Nothing at all differs from little.
const NOTHING: char = '·';

/// One bar for each value, `full` being the height of a whole one. What exceeds it is a whole one too.
pub fn bars(values: &[u64], full: u64) -> String {
    values.iter().map(|value| bar(*value, full)).collect()
}

fn bar(value: u64, full: u64) -> char {
    if value == 0 {
        return NOTHING;
    }
    // Rounded up: something is never drawn as nothing.
    let level = u128::from(value).saturating_mul(8).div_ceil(u128::from(full.max(1)));
    let index = usize::try_from(level).unwrap_or(usize::MAX).clamp(1, LEVELS.len()) - 1;
    LEVELS[index]
}

/// A count with a unit of thousands, three digits or so.
pub fn short(value: u64) -> String {
    match value {
        0..10_000 => value.to_string(),
        10_000..10_000_000 => format!("{} k", value / 1000),
        _ => format!("{} M", value / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_high_as_its_value() {
        assert_eq!(bars(&[0, 1, 100, 101, 400, 500, 800], 800), "·▁▁▂▄▅█");
    }

    #[test]
    fn extremes_are_drawn() {
        assert_eq!(bars(&[900, u64::MAX, 0], 800), "██·");
        assert_eq!(bars(&[0, 1, u64::MAX], 0), "·██", "a scale of nothing is taken for 1");
        assert_eq!(bars(&[], 800), "");
    }

    #[test]
    fn counts_keep_about_three_digits() {
        assert_eq!([392, 9999, 10_000, 4_014_080, 48_000_000].map(short), ["392", "9999", "10 k", "4014 k", "48 M"]);
    }
}
