//! A child process that ends with its guard: asked first, then killed, always waited for.

use std::{
    process::{Child, Command, ExitStatus},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::undo;

/// How long a process may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

/// A running child process.
#[derive(Debug)]
pub struct Process {
    title: String,
    child: Arc<Mutex<Child>>,
    _end: undo::Guard,
}

impl Process {
    pub fn spawn(title: &str, command: &mut Command) -> Result<Self> {
        let child = command.spawn().with_context(|| format!("cannot start {title}"))?;
        let child = Arc::new(Mutex::new(child));
        let ended = Arc::clone(&child);
        Ok(Self { title: title.to_owned(), child, _end: undo::Guard::new(move || end(&ended)) })
    }

    /// The child itself, for its pipes.
    pub fn child(&self) -> MutexGuard<'_, Child> {
        lock(&self.child)
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Result<Option<ExitStatus>> {
        self.child().try_wait().with_context(|| format!("cannot wait for {}", self.title))
    }

    /// Waits for the process to end by itself.
    pub fn wait(&self, patience: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!("{} did not end within {} s", self.title, patience.as_secs());
            }
            thread::sleep(POLL);
        }
    }

    /// Asks the process to end (SIGTERM) and waits until it has.
    pub fn terminate(&self, patience: Duration) -> Result<ExitStatus> {
        ask(&mut self.child());
        self.wait(patience)
    }
}

/// The lock is released between two looks, so that a signal's cleanup never waits for a waiting main thread.
fn end(child: &Arc<Mutex<Child>>) {
    ask(&mut lock(child));
    let deadline = Instant::now() + GRACE;
    while Instant::now() < deadline {
        if !matches!(lock(child).try_wait(), Ok(None)) {
            return;
        }
        thread::sleep(POLL);
    }
    let mut child = lock(child);
    let _ = child.kill();
    let _ = child.wait();
}

/// Sends SIGTERM, but only to a child not yet waited for: its number cannot have gone to another process.
fn ask(child: &mut Child) {
    if matches!(child.try_wait(), Ok(None))
        && let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw)
    {
        let _ = kill_process(pid, Signal::TERM);
    }
}

fn lock(child: &Arc<Mutex<Child>>) -> MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_process_is_gone_and_waited_for() {
        let process = Process::spawn("sleep", Command::new("sleep").arg("600")).expect("sleep starts");
        let pid = process.child().id();
        assert!(process.ended().expect("it can be waited for").is_none());
        drop(process);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "neither running nor a zombie");
    }

    #[test]
    fn waiting_has_a_limit_and_terminating_reports_the_signal() {
        let process = Process::spawn("sleep", Command::new("sleep").arg("600")).expect("sleep starts");
        assert!(process.wait(Duration::from_millis(50)).is_err());
        let status = process.terminate(GRACE).expect("sleep ends on SIGTERM");
        assert!(!status.success());
    }
}
