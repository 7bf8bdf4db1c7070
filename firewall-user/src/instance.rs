//! The name of an instance and the places that belong to it. Several instances may run at once, in different network namespaces.

use std::{fmt, path::PathBuf, str::FromStr};

/// Directory of sockets and locks.
pub const RUNTIME_DIRECTORY: &str = "/run/weir";
/// Directory of what outlives a daemon and the machine's running: the history of policies.
pub const STATE_DIRECTORY: &str = "/var/lib/weir";
/// Directory of the logs of rules with `log = true`.
pub const LOG_DIRECTORY: &str = "/var/log/weir";
/// Where the BPF file system belongs.
pub const BPFFS: &str = "/sys/fs/bpf";
/// Longest instance name: it becomes part of a socket path, which may have 107 bytes.
const MAX_LENGTH: usize = 32;

/// Name of an instance: 1 to 32 of `a`–`z`, `0`–`9` and `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance(String);

#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no instance name: use 1 to {MAX_LENGTH} of a-z, 0-9 and -")]
pub struct InvalidInstance(String);

impl Instance {
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }

    /// The unix socket the daemon answers on.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        PathBuf::from(RUNTIME_DIRECTORY).join(format!("{}.sock", self.0))
    }

    /// Locked by the daemon for as long as it runs.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        PathBuf::from(RUNTIME_DIRECTORY).join(format!("{}.lock", self.0))
    }

    /// What the instance keeps on disk.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        PathBuf::from(STATE_DIRECTORY).join(&self.0)
    }

    /// Where rules with `log = true` are written to when nothing is said.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        PathBuf::from(LOG_DIRECTORY).join(format!("{}.log", self.0))
    }

    /// Locked by whoever edits the instance's policy files.
    #[must_use]
    pub fn edit_lock(&self) -> PathBuf {
        self.state().join("edit.lock")
    }

    /// Root of everything the instance pins.
    #[must_use]
    pub fn pins(&self) -> PathBuf {
        PathBuf::from(BPFFS).join("weir").join(&self.0)
    }
}

impl Default for Instance {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Instance {
    type Err = InvalidInstance;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=MAX_LENGTH).contains(&name.len()) && name.bytes().all(legal) {
            Ok(Self(name.to_owned()))
        } else {
            Err(InvalidInstance(name.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_the_directory_are_refused() {
        for name in ["", "..", "a/b", "A", "a.b", "a b", &"x".repeat(33)] {
            assert!(name.parse::<Instance>().is_err(), "{name:?} was accepted");
        }
        for name in ["default", "edge-1", "0", &"x".repeat(32)] {
            assert!(name.parse::<Instance>().is_ok(), "{name:?} was refused");
        }
    }
}
