//! One daemon and one editor per instance: locks on files, which the kernel releases when the process ends, however it ends.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
    process,
};

use rustix::fs::{FlockOperation, flock};

use super::history::make_private;
use crate::{
    api::{Failure, Kind},
    files, group,
    instance::{Instance, RUNTIME_DIRECTORY},
};

/// Held while a daemon, or a verb that stands in for one, works on an instance.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Locks the instance, or says who has it.
    pub fn take(instance: &Instance) -> Result<Self, Failure> {
        let path = instance.lock();
        let failed = |error: io::Error| {
            let failure = Failure::failed(format!("{}: {error}", path.display()));
            if error.kind() == io::ErrorKind::PermissionDenied { failure.hint("run it as root") } else { failure }
        };
        make_runtime_directory().map_err(failed)?;
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut owner = String::new();
                let _ = file.read_to_string(&mut owner);
                let who = owner.trim().parse::<u32>().map_or_else(|_| String::new(), |pid| format!(" (process {pid})"));
                let error = format!("another weir daemon runs instance `{instance}`{who}");
                return Err(Failure::new(Kind::Conflict, error).hint("stop it first, or choose another --instance"));
            }
            Err(error) => return Err(failed(error.into())),
        }
        // For people only; the lock is what counts.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", process::id()));
        Ok(Self { _file: file })
    }
}

/// Held while somebody edits an instance's policy files.
#[derive(Debug)]
pub struct EditLock {
    _file: Option<File>,
}

impl EditLock {
    /// Makes the file that is locked, for the group `weir` to lock too.
    pub(super) fn prepare(instance: &Instance) -> io::Result<()> {
        let group = group::weir();
        make_private(&instance.state(), group)?;
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(instance.edit_lock())?;
        files::give_to(&file, group, 0o660)
    }

    /// Locks the instance's policy files, or says that somebody else has.
    pub fn take(instance: &Instance) -> Result<Self, Failure> {
        let path = instance.edit_lock();
        let failed = |error: io::Error| Failure::failed(format!("{}: {error}", path.display()));
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            // The daemon could not make it: nobody has locked it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self { _file: None }),
            Err(error) => return Err(failed(error)),
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: Some(file) }),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                Err(Failure::new(Kind::Conflict, "somebody edits the policy of this instance").hint("try again when they are done"))
            }
            Err(error) => Err(failed(error.into())),
        }
    }
}

fn make_runtime_directory() -> io::Result<()> {
    let directory = Path::new(RUNTIME_DIRECTORY);
    match DirBuilder::new().mode(0o755).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fs::metadata(directory).map(|_| ()),
        other => other,
    }
}
