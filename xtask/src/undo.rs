//! What must be undone whatever happens: at the end of a scope, on an error, on a panic, and when a person presses Ctrl-C.
//!
//! An action runs exactly once, newest first. Actions may block, and must not create guards.

use std::{
    collections::BTreeMap,
    process,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

use anyhow::{Context, Result};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

type Action = Box<dyn FnOnce() + Send>;

static PENDING: Mutex<(u64, BTreeMap<u64, Action>)> = Mutex::new((0, BTreeMap::new()));

/// Runs its action when dropped.
#[derive(Debug)]
#[must_use = "dropping the guard runs its action at once"]
pub struct Guard {
    number: u64,
}

impl Guard {
    pub fn new(action: impl FnOnce() + Send + 'static) -> Self {
        let mut pending = pending();
        let number = pending.0;
        pending.0 += 1;
        pending.1.insert(number, Box::new(action));
        Self { number }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let action = pending().1.remove(&self.number);
        if let Some(action) = action {
            action();
        }
    }
}

/// From now on SIGINT, SIGTERM and SIGHUP undo everything pending and end the process.
pub fn on_signals() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot handle signals")?;
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            eprintln!("\ninterrupted: cleaning up");
            // Held to the end: the main thread, whose children are dying, can neither start anything new nor exit before all is undone.
            let mut pending = pending();
            while let Some((_, action)) = pending.1.pop_last() {
                action();
            }
            process::exit(128 + signal);
        }
    });
    Ok(())
}

/// A panic inside an action leaves nothing half done in the list itself.
fn pending() -> MutexGuard<'static, (u64, BTreeMap<u64, Action>)> {
    PENDING.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use super::*;

    #[test]
    fn an_action_runs_once_and_also_on_a_panic() {
        let runs = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&runs);
        let guard = Guard::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        assert_eq!(runs.load(Ordering::SeqCst), 0);
        let panicking = thread::spawn(move || {
            let _guard = guard;
            panic!("on purpose");
        });
        assert!(panicking.join().is_err());
        assert_eq!(runs.load(Ordering::SeqCst), 1);
    }
}
