//! Entering a network namespace, and only that one kind.
//!
//! `ip netns exec` makes a mount namespace besides and mounts a new `/sys` in it, which hides `/sys/fs/bpf` and with it every pin: the
//! maps would die with the daemon. Changing the network namespace alone leaves the file systems as they are.

use std::{fs::File, os::fd::AsFd, path::PathBuf};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::api::Failure;

/// Where `ip netns add` leaves namespaces.
const NAMED: &str = "/run/netns";

/// Moves the calling thread, so that threads started later are in the namespace too. Call before any other thread is started.
///
/// `namespace` is a name as `ip netns list` shows it, or a path such as `/proc/1234/ns/net`.
pub fn enter(namespace: &str) -> Result<(), Failure> {
    let path = if namespace.contains('/') { PathBuf::from(namespace) } else { PathBuf::from(NAMED).join(namespace) };
    let file = File::open(&path).map_err(|error| {
        Failure::usage(format!("no network namespace `{namespace}`: {}: {error}", path.display()))
            .hint("`ip netns list` shows those with a name")
    })?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|error| Failure::failed(format!("cannot enter network namespace `{namespace}`: {error}")).hint("this needs CAP_SYS_ADMIN"))
}
