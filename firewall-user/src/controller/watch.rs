//! Policy files that change by themselves apply, if the settings say so: once they have been left alone for a while, so that nothing
//! half-written is ever looked at.

use std::{io, os::fd::OwnedFd, path::PathBuf, sync::Arc, time::Duration};

use firewall_common::time::Nanos;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::{Interest, unix::AsyncFd};

use super::{Controller, blocking};
use crate::{
    api::{Failure, How},
    clock,
    policy::{self, Fingerprint},
};

/// How long the files must have been left alone.
const QUIET: Duration = Duration::from_millis(500);
/// Time between two looks when nothing tells of changes: on network file systems nothing does, and a directory may be swapped for another.
const POLL: Duration = Duration::from_secs(2);

/// Where the policy is and what its files look like; `None` while they are not there.
type Seen = (PathBuf, Option<Fingerprint>);

/// Decides when a change has come to rest.
#[derive(Debug)]
struct Debounce<F> {
    /// What was last acted upon.
    judged: Option<F>,
    /// What was last seen, and since when it has not changed.
    last: Option<(F, Nanos)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Nothing has changed.
    Rest,
    /// Something has: look again after this time.
    Wait(Duration),
    /// It has been left alone for long enough.
    Act,
}

impl<F: PartialEq> Debounce<F> {
    const fn new() -> Self {
        Self { judged: None, last: None }
    }

    /// `touched`: something was written since the last look, although what is seen may be the same.
    fn look(&mut self, seen: F, touched: bool, now: Nanos) -> Next {
        let since = match self.last.take() {
            Some((last, since)) if last == seen && !touched => since,
            _ => now,
        };
        let rest = self.judged.as_ref() == Some(&seen);
        self.last = Some((seen, since));
        let passed = Duration::from_nanos(now.since(since).0);
        match QUIET.checked_sub(passed) {
            _ if rest => Next::Rest,
            Some(left) if !left.is_zero() => Next::Wait(left),
            _ => {
                self.judged = self.last.take().map(|(seen, _)| seen);
                Next::Act
            }
        }
    }
}

/// Tells that something in a directory was written.
#[derive(Debug)]
struct Bell(AsyncFd<OwnedFd>);

impl Bell {
    fn new() -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        // SAFETY: the descriptor is owned by what is registered, open for as long as it lives, and always the same.
        let ready = unsafe { AsyncFd::register_with_interest(inotify, Interest::READABLE) };
        ready.map(Self).map_err(|error| error.into_parts().1)
    }

    /// Listens to a directory or file too. Saying it again does no harm, and what cannot be listened to is looked at now and then.
    fn listen(&self, path: &std::path::Path) {
        let what = WatchFlags::CLOSE_WRITE
            | WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF;
        if let Err(error) = inotify::add_watch(self.0.get_ref(), path, what) {
            log::debug!("{} cannot be watched: {error}", path.display());
        }
    }

    /// Waits until it rings, and takes everything that was said.
    async fn ring(&self) -> io::Result<()> {
        let mut guard = self.0.readable().await?;
        let mut buffer = [0_u8; 4096];
        loop {
            match guard.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut buffer)?)) {
                Ok(read) => drop(read?),
                Err(_would_block) => return Ok(()),
            }
        }
    }
}

/// Watches from now on.
pub(super) fn begin(controller: Arc<Controller>) -> Result<(), Failure> {
    let bell = Bell::new().map_err(|error| Failure::failed(format!("the policy's files cannot be watched: {error}")))?;
    tokio::spawn(watch(controller, bell));
    Ok(())
}

async fn watch(controller: Arc<Controller>, bell: Bell) {
    let mut debounce: Debounce<Seen> = Debounce::new();
    let mut touched = false;
    loop {
        // Listened to before it is looked at: no change falls between.
        let Ok(path) = blocking(&controller, Controller::policy_path).await else { return };
        bell.listen(&path);
        let fingerprint = policy::fingerprint(&path).ok();
        let pause = match debounce.look((path, fingerprint), touched, clock::monotonic()) {
            Next::Rest => POLL,
            Next::Wait(left) => left,
            Next::Act => {
                apply(&controller).await;
                Duration::ZERO
            }
        };
        touched = match tokio::time::timeout(pause, bell.ring()).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                log::warn!("changes of the policy's files are no longer told of: {error}");
                tokio::time::sleep(POLL).await;
                false
            }
            Err(_nothing) => false,
        };
    }
}

async fn apply(controller: &Arc<Controller>) {
    if let Err(failure) = blocking(controller, |controller| controller.reload(How::Watch)).await {
        log::error!("the policy's files have changed, and the policy stays as it was:\n{}", failure.sentence());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Nanos {
        Nanos(1_000_000_000 + millis * 1_000_000)
    }

    const fn wait(millis: u64) -> Next {
        Next::Wait(Duration::from_millis(millis))
    }

    #[test]
    fn a_change_is_acted_upon_once_it_has_come_to_rest() {
        let mut debounce = Debounce::new();
        assert_eq!(debounce.look(1, false, at(0)), wait(500), "what is there at the beginning is a change too");
        assert_eq!(debounce.look(1, false, at(500)), Next::Act);
        assert_eq!(debounce.look(1, false, at(501)), Next::Rest);
        assert_eq!(debounce.look(2, true, at(1_000)), wait(500));
        assert_eq!(debounce.look(2, false, at(1_400)), wait(100));
        assert_eq!(debounce.look(3, true, at(1_450)), wait(500), "the writer goes on");
        assert_eq!(debounce.look(3, true, at(1_900)), wait(500), "and on, though nothing shows");
        assert_eq!(debounce.look(3, false, at(2_400)), Next::Act);
        assert_eq!(debounce.look(3, false, at(9_000)), Next::Rest);
    }

    #[test]
    fn a_change_that_is_taken_back_is_none() {
        let mut debounce = Debounce::new();
        debounce.look(1, false, at(0));
        assert_eq!(debounce.look(1, false, at(600)), Next::Act);
        assert_eq!(debounce.look(2, true, at(700)), wait(500));
        assert_eq!(debounce.look(1, true, at(800)), Next::Rest);
        assert_eq!(debounce.look(2, true, at(900)), wait(500), "its time begins anew");
    }
}
