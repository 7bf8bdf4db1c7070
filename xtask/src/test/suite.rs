//! What `cargo test` prints, counted.

/// Tests of all its programs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) passed: usize,
    pub(super) failed: usize,
    /// Marked to be left out, which no test here may be.
    pub(super) ignored: usize,
}

impl Tally {
    /// Sums the lines `test result: ok. 3 passed; 0 failed; 0 ignored; …`.
    pub(super) fn of<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        lines.filter_map(|line| line.trim().strip_prefix("test result: ")).fold(Self::default(), |sum, line| {
            let count = |word: &str| count(line, word).unwrap_or(0);
            Self { passed: sum.passed + count("passed"), failed: sum.failed + count("failed"), ignored: sum.ignored + count("ignored") }
        })
    }
}

/// The number before a word.
fn count(line: &str, word: &str) -> Option<usize> {
    let mut before = None;
    for piece in line.split([' ', ';']).filter(|piece| !piece.is_empty()) {
        if piece == word {
            return before?;
        }
        before = Some(piece.parse().ok());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_results_of_all_programs_are_summed() {
        let output = "running 3 tests\ntest a ... ok\n\n\
                      test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\
                      test result: FAILED. 2 passed; 1 failed; 4 ignored; 0 measured; 0 filtered out; finished in 1.00s\n";
        assert_eq!(Tally::of(output.lines()), Tally { passed: 5, failed: 1, ignored: 4 });
        assert_eq!(Tally::of("error: could not compile".lines()), Tally::default());
    }
}
