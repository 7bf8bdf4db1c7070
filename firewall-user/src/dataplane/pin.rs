//! The pin directory of an instance: what lies there, whether it is ours, and how it is replaced or removed.
//!
//! ```text
//! /sys/fs/bpf/weir/<instance>/maps/<MAP>
//!                             programs/{ingress,egress}
//!                             links/<INTERFACE>:{ingress,egress}
//! ```
//! bpffs refuses names with a dot, which interfaces of VLANs have, so a dot is written `%2e` there; a colon can be in no interface's
//! name, so it divides name and hook.

use std::{
    fs, io,
    os::fd::{AsFd as _, AsRawFd as _},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use aya::maps::MapData;
use firewall_common::abi::{map, program};

use super::{DataplaneError, bpf};
use crate::{group, instance::Instance};

/// Pin directory of an instance.
#[derive(Clone, Debug)]
pub struct Pins {
    root: PathBuf,
}

/// Where an interface's traffic is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    Ingress,
    Egress,
}

impl Hook {
    const fn name(self) -> &'static str {
        match self {
            Self::Ingress => program::INGRESS,
            Self::Egress => program::EGRESS,
        }
    }
}

impl Pins {
    #[must_use]
    pub fn of(instance: &Instance) -> Self {
        Self { root: instance.pins() }
    }

    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn maps(&self) -> PathBuf {
        self.root.join("maps")
    }

    /// Where the maps wait that `--discard-flows` is about to replace.
    pub(super) fn old_maps(&self) -> PathBuf {
        self.root.join("maps:old")
    }

    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    /// Tells the maps that are pinned from all that were and will be: none of this boot has the number of their file, and each boot has its own.
    pub fn identity_of_maps(&self) -> Result<String, DataplaneError> {
        const BOOT: &str = "/proc/sys/kernel/random/boot_id";
        let boot = fs::read_to_string(BOOT).map_err(DataplaneError::file("cannot read", BOOT))?;
        let path = self.map(map::RULE_COUNTERS);
        let number = fs::metadata(&path).map_err(DataplaneError::file("cannot read", path.clone()))?.ino();
        Ok(format!("{}/{number}", boot.trim()))
    }

    pub(super) fn programs(&self) -> PathBuf {
        self.root.join("programs")
    }

    fn links(&self) -> PathBuf {
        self.root.join("links")
    }

    pub(super) fn link(&self, interface: &str, hook: Hook) -> PathBuf {
        let name = interface.replace('%', "%25").replace('.', "%2e");
        self.links().join(format!("{name}:{}", hook.name()))
    }

    /// Names of the interfaces whose ingress link is pinned.
    pub fn linked_interfaces(&self) -> Result<Vec<String>, DataplaneError> {
        let suffix = format!(":{}", Hook::Ingress.name());
        let names = list(&self.links())?;
        let mut names: Vec<String> = names.iter().filter_map(|name| name.strip_suffix(&suffix)).map(decode).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Makes the directories that are missing, closed to everyone but root and the group `weir`.
    pub(super) fn create(&self) -> Result<(), DataplaneError> {
        let group = group::weir();
        let mode = if group.is_some() { 0o750 } else { 0o700 };
        let parent = self.root.parent().unwrap_or(&self.root).to_path_buf();
        for directory in [parent, self.root.clone(), self.maps(), self.programs(), self.links()] {
            match fs::DirBuilder::new().mode(mode).create(&directory) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(DataplaneError::file("cannot create", directory)(error));
                }
                _ => {}
            }
            set_owner(&directory, mode, group)?;
        }
        Ok(())
    }

    /// Removes every pin of the instance, links first: from then on no packet meets the dataplane.
    pub fn remove(&self) -> Result<(), DataplaneError> {
        for directory in [self.links(), self.programs(), self.maps(), self.old_maps()] {
            remove_directory(&directory)?;
        }
        ignore_missing(fs::remove_dir(&self.root)).map_err(DataplaneError::file("cannot remove", &self.root))?;
        // The directory of all instances goes with the last one.
        if let Some(parent) = self.root.parent() {
            let _ = fs::remove_dir(parent);
        }
        Ok(())
    }

    pub(super) fn remove_link(&self, interface: &str, hook: Hook) -> Result<(), DataplaneError> {
        let pin = self.link(interface, hook);
        if let Err(error) = bpf::detach_link(&pin) {
            // Without its pin the link goes all the same; there is none where the device is gone.
            log::debug!("{}: not detached at once: {error}", pin.display());
        }
        ignore_missing(fs::remove_file(&pin)).map_err(DataplaneError::file("cannot remove", pin))
    }

    /// Moves an interface's links to its new name.
    pub(super) fn rename_links(&self, from: &str, to: &str) -> Result<(), DataplaneError> {
        for hook in [Hook::Ingress, Hook::Egress] {
            let pin = self.link(from, hook);
            ignore_missing(fs::rename(&pin, self.link(to, hook))).map_err(DataplaneError::file("cannot rename", pin))?;
        }
        Ok(())
    }

    /// The pinned map called `name`, when there is one.
    pub(super) fn open_map(&self, name: &str) -> Result<Option<MapData>, DataplaneError> {
        let pin = self.map(name);
        if !pin.exists() {
            return Ok(None);
        }
        match MapData::from_pin(&pin) {
            Ok(map) if is_map(&map) => Ok(Some(map)),
            Ok(_) => Err(DataplaneError::ForeignPin { pin, detail: "it is no map".to_owned() }),
            Err(error) => Err(DataplaneError::ForeignPin { pin, detail: format!("it cannot be opened as a map ({error})") }),
        }
    }
}

/// Opening a pin says nothing of its kind, and a program's description reads as a map's; the descriptor's name tells them apart.
fn is_map(map: &MapData) -> bool {
    let descriptor = map.fd().as_fd().as_raw_fd();
    fs::read_link(format!("/proc/self/fd/{descriptor}")).is_ok_and(|name| name.to_string_lossy().contains("bpf-map"))
}

fn decode(name: &str) -> String {
    name.replace("%2e", ".").replace("%25", "%")
}

fn set_owner(directory: &Path, mode: u32, group: Option<u32>) -> Result<(), DataplaneError> {
    let failed = || DataplaneError::file("cannot set the permissions of", directory);
    let metadata = fs::metadata(directory).map_err(failed())?;
    if let Some(group) = group.filter(|group| *group != metadata.gid()) {
        std::os::unix::fs::chown(directory, None, Some(group)).map_err(failed())?;
    }
    if metadata.mode() & 0o777 != mode {
        fs::set_permissions(directory, fs::Permissions::from_mode(mode)).map_err(failed())?;
    }
    Ok(())
}

/// Names in a directory; none when it does not exist.
pub(super) fn list(directory: &Path) -> Result<Vec<String>, DataplaneError> {
    let failed = || DataplaneError::file("cannot read", directory);
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed()(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(failed())?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

/// Removes a directory of pins and what lies in it.
pub(super) fn remove_directory(directory: &Path) -> Result<(), DataplaneError> {
    for name in list(directory)? {
        let pin = directory.join(name);
        ignore_missing(fs::remove_file(&pin)).map_err(DataplaneError::file("cannot remove", pin))?;
    }
    ignore_missing(fs::remove_dir(directory)).map_err(DataplaneError::file("cannot remove", directory))
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_names_survive_what_interfaces_may_be_called() {
        let pins = Pins { root: PathBuf::from("/nowhere") };
        for name in ["eth0", "eth0.100", "br-a%b", "x%2ey", "100%.1"] {
            let pin = pins.link(name, Hook::Ingress);
            let file = pin.file_name().expect("a link has a name").to_string_lossy().into_owned();
            assert!(!file.contains('.'), "{file} would be refused by bpffs");
            assert_eq!(decode(file.strip_suffix(":ingress").expect("the hook is last")), name);
        }
    }
}
