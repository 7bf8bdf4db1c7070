//! Whether this machine can run the dataplane at all: kernel, privileges, BPF file system.

use std::{io, path::Path};

use rustix::{
    fs::statfs,
    mount::{MountFlags, mount},
    thread::{CapabilitySet, capabilities},
};

use super::DataplaneError;
use crate::instance::BPFFS;

/// `f_type` of a BPF file system.
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
/// Oldest kernel the dataplane loads on.
const OLDEST_KERNEL: (u32, u32) = (6, 1);
/// First kernel with TCX.
const FIRST_TCX: (u32, u32) = (6, 6);

/// Refuses a kernel or a user that cannot run the dataplane, and sees to a BPF file system.
pub(super) fn check() -> Result<(), DataplaneError> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    if version(&release).is_some_and(|version| version < OLDEST_KERNEL) {
        return Err(DataplaneError::KernelTooOld(release));
    }
    check_privileges()?;
    ensure_bpffs()
}

/// Whether the running kernel has TCX.
pub(super) fn has_tcx() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    version(&release).is_some_and(|version| version >= FIRST_TCX)
}

/// Major and minor number of a kernel release such as `6.1.0-44-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Refuses a user who may not talk to bpf(2).
pub fn check_privileges() -> Result<(), DataplaneError> {
    let held = capabilities(None).map_err(|error| DataplaneError::System { what: "reading capabilities", source: error.into() })?.effective;
    // CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON.
    let bpf = held.contains(CapabilitySet::SYS_ADMIN);
    let needed = [
        ("CAP_BPF", bpf || held.contains(CapabilitySet::BPF)),
        ("CAP_PERFMON", bpf || held.contains(CapabilitySet::PERFMON)),
        ("CAP_NET_ADMIN", held.contains(CapabilitySet::NET_ADMIN)),
    ];
    let missing: Vec<&str> = needed.iter().filter(|(_, held)| !held).map(|(name, _)| *name).collect();
    if missing.is_empty() { Ok(()) } else { Err(DataplaneError::NotPermitted(format!("missing {}", missing.join(", ")))) }
}

fn ensure_bpffs() -> Result<(), DataplaneError> {
    let path = Path::new(BPFFS);
    let is_bpffs = || statfs(path).is_ok_and(|status| status.f_type.cast_unsigned() == BPF_FS_MAGIC);
    if is_bpffs() {
        return Ok(());
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let refused = |source| DataplaneError::NoBpffs { path: path.to_owned(), source };
    mount("bpf", path, "bpf", flags, None).map_err(|error| refused(error.into()))?;
    if is_bpffs() {
        log::info!("mounted the BPF file system at {BPFFS}");
        return Ok(());
    }
    Err(refused(io::Error::other("something else is mounted there")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_releases_are_read() {
        assert_eq!(version("6.1.0-44-amd64"), Some((6, 1)));
        assert_eq!(version("6.18.44-fc-v657"), Some((6, 18)));
        assert_eq!(version("5.15.0"), Some((5, 15)));
        assert_eq!(version("linux"), None);
        assert!(version("5.15.0").is_some_and(|version| version < OLDEST_KERNEL));
    }
}
