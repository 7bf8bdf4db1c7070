//! The log of rules with `log = true`: one line of JSON for each event, as `weir events --json` prints it.
//!
//! The file is opened anew for every few lines that come together, so that it may be renamed or removed at any time.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
    sync::{Mutex, atomic::AtomicU64, atomic::Ordering},
};

use super::held;

/// The file, and how it fared.
#[derive(Debug)]
pub(super) struct FlowLog {
    path: PathBuf,
    /// It could not be written the last time: that has been said.
    failing: Mutex<bool>,
    written: AtomicU64,
    failed: AtomicU64,
}

impl FlowLog {
    /// Nothing is opened before there is a line to write.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, failing: Mutex::default(), written: AtomicU64::new(0), failed: AtomicU64::new(0) }
    }

    /// Appends so many whole lines.
    pub(super) fn write(&self, lines: &[u8], count: u64) {
        if lines.is_empty() {
            return;
        }
        let mut failing = held(&self.failing);
        match self.append(lines) {
            Ok(()) => {
                if std::mem::take(&mut *failing) {
                    log::info!("the log {} is written again", self.path.display());
                }
                self.written.fetch_add(count, Ordering::Relaxed);
            }
            Err(error) => {
                if !std::mem::replace(&mut *failing, true) {
                    log::error!("the log {} cannot be written, and lines for it are lost: {error}", self.path.display());
                }
                self.failed.fetch_add(count, Ordering::Relaxed);
            }
        }
    }

    fn append(&self, lines: &[u8]) -> io::Result<()> {
        if let Some(directory) = self.path.parent() {
            fs::create_dir_all(directory)?;
        }
        // Who talks to whom is nobody's business but the administrators'.
        OpenOptions::new().append(true).create(true).mode(0o640).open(&self.path)?.write_all(lines)
    }

    /// Lines that were written and that could not be.
    pub(super) fn counts(&self) -> [u64; 2] {
        [&self.written, &self.failed].map(|count| count.load(Ordering::Relaxed))
    }
}
