//! The kernel of the virtual machine: Debian's 6.1, from its package, unpacked and not installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{build, command};

/// What the package sources' names of it are like.
const PATTERN: &str = r"^linux-image-6\.1\.[0-9]+-[0-9]+-amd64$";

/// A kernel that was unpacked.
#[derive(Debug, Clone)]
pub(super) struct Kernel {
    pub(super) image: PathBuf,
    /// Directory that holds `RELEASE/`, the modules.
    pub(super) modules: PathBuf,
    pub(super) release: String,
}

impl Kernel {
    /// Downloads and unpacks it, unless that has been done.
    pub(super) fn prepare() -> Result<Self> {
        let directory = build::workspace().join("target/vm");
        fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
        let unpacked = directory.join("kernel");
        if let Ok(kernel) = Self::find(&unpacked) {
            return Ok(kernel);
        }
        let package = package()?;
        command::output(Command::new("apt-get").args(["download", &package]).current_dir(&directory))?;
        let archive = named(&directory, &format!("{package}_"))?;
        // Under another name until all of it is there.
        let partial = directory.join("kernel.partial");
        if partial.exists() {
            fs::remove_dir_all(&partial).with_context(|| format!("cannot remove {}", partial.display()))?;
        }
        command::output(Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(&partial))?;
        fs::remove_file(&archive).with_context(|| format!("cannot remove {}", archive.display()))?;
        let kernel = Self::find(&partial)?;
        command::output(Command::new("busybox").arg("depmod").arg("-b").arg(&partial).arg(&kernel.release))?;
        fs::rename(&partial, &unpacked).with_context(|| format!("cannot create {}", unpacked.display()))?;
        Self::find(&unpacked)
    }

    fn find(root: &Path) -> Result<Self> {
        let image = named(&root.join("boot"), "vmlinuz-")?;
        let name = image.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let release = name.trim_start_matches("vmlinuz-").to_owned();
        Ok(Self { modules: root.join("lib/modules"), release, image })
    }

    /// The file of a module.
    pub(super) fn module(&self, name: &str) -> Result<PathBuf> {
        let list = self.modules.join(&self.release).join("modules.dep");
        let text = fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
        let path = text.lines().filter_map(|line| line.split_once(':')).map(|(path, _)| path);
        let mut found = path.filter(|path| path.ends_with(&format!("/{name}.ko")));
        Ok(self.modules.join(&self.release).join(found.next().with_context(|| format!("the kernel has no module {name}"))?))
    }
}

/// The newest package there is of this kernel.
fn package() -> Result<String> {
    let search = || command::output(Command::new("apt-cache").args(["search", "--names-only", PATTERN]));
    let mut found = search()?;
    if found.trim().is_empty() {
        command::output(Command::new("apt-get").arg("update"))?;
        found = search()?;
    }
    match newest(&found) {
        Some(package) => Ok(package.to_owned()),
        None => bail!("the package sources have no kernel 6.1 (Debian 12 has it as linux-image-amd64)"),
    }
}

/// Of lines `PACKAGE - DESCRIPTION` the package with the highest number of its interface.
fn newest(found: &str) -> Option<&str> {
    let number = |package: &str| package.split('-').nth(3).and_then(|number| number.parse::<u32>().ok());
    found.lines().filter_map(|line| line.split_whitespace().next()).max_by_key(|package| number(package))
}

/// The file of a directory whose name begins so.
fn named(directory: &Path, beginning: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let mut fitting = paths.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(beginning)));
    fitting.next().with_context(|| format!("{} has no {beginning}…", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_package_is_taken() {
        let found = "linux-image-6.1.0-9-amd64 - Linux 6.1\nlinux-image-6.1.0-56-amd64 - Linux 6.1\nlinux-image-6.1.0-48-amd64 - Linux\n";
        assert_eq!(newest(found), Some("linux-image-6.1.0-56-amd64"));
        assert_eq!(newest(""), None);
    }
}
