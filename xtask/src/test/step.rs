//! What came of a step, and the table at the end.

use std::{fmt::Write, time::Duration};

use super::Outcomes;

#[derive(Debug, Clone, Default)]
pub(super) struct Outcome {
    pub(super) title: String,
    pub(super) passed: usize,
    pub(super) failed: usize,
    /// Figures, or the reason of the failure.
    pub(super) note: String,
    pub(super) took: Duration,
}

impl Outcome {
    pub(super) fn passed(title: &str, note: impl Into<String>) -> Self {
        Self { title: title.to_owned(), passed: 1, note: note.into(), ..Self::default() }
    }

    pub(super) fn failed(title: &str, note: impl Into<String>) -> Self {
        Self { title: title.to_owned(), failed: 1, note: note.into(), ..Self::default() }
    }
}

/// One line per step.
pub(super) fn table(outcomes: &Outcomes, took: Duration) -> String {
    let width = outcomes.iter().map(|(_, outcome)| outcome.title.chars().count()).max().unwrap_or(0);
    let mut text = format!("\n{:<7} {:<width$} {:>6} {:>6} {:>7}\n", "LEVEL", "STEP", "PASSED", "FAILED", "SECONDS");
    for (level, outcome) in outcomes {
        let Outcome { title, passed, failed, note, took } = outcome;
        let first = note.lines().next().unwrap_or_default();
        let line = format!("{:<7} {title:<width$} {passed:>6} {failed:>6} {:>7.1}  {first}", level.name(), took.as_secs_f64());
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let _ = writeln!(text, "{:.0} s in all", took.as_secs_f64());
    text
}
