//! Tells a person how far long work is: a spinner with the newest line on a terminal, plain lines elsewhere.

use std::{
    io::{IsTerminal, stderr},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// One step of long work. Dropped before [`Step::done`] or [`Step::failed`], it counts as failed.
#[derive(Debug)]
pub struct Step {
    title: String,
    started: Instant,
    spinner: Option<ProgressBar>,
    finished: bool,
}

impl Step {
    pub fn start(title: impl Into<String>) -> Self {
        let title = title.into();
        let spinner = stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {prefix} [{elapsed}] {wide_msg:.dim}");
            let spinner = ProgressBar::new_spinner().with_prefix(title.clone());
            spinner.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            spinner.enable_steady_tick(Duration::from_millis(100));
            spinner
        });
        if spinner.is_none() {
            eprintln!("{title} …");
        }
        Self { title, started: Instant::now(), spinner, finished: false }
    }

    /// Shows what is happening just now; only on a terminal.
    pub fn say(&self, text: &str) {
        if let Some(spinner) = &self.spinner {
            spinner.set_message(text.to_owned());
        }
    }

    /// Ends the step well, leaving one line.
    pub fn done(mut self, note: &str) {
        self.finished = true;
        self.leave("✓", note);
    }

    /// Ends the step badly, with the reason.
    pub fn failed(mut self, why: &str) {
        self.finished = true;
        self.leave("✗", why);
    }

    fn leave(&self, mark: &str, note: &str) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
        let gap = if note.is_empty() { "" } else { ": " };
        eprintln!("{mark} {}{gap}{note} ({:.1} s)", self.title, self.started.elapsed().as_secs_f64());
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.finished {
            self.leave("✗", "failed");
        }
    }
}
