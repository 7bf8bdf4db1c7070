//! Files that are replaced as a whole: a reader, and a machine that loses power, meets the old one or the new one.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// Permissions of a file that was not there.
const NEW_FILE_MODE: u32 = 0o644;

/// Writes beside the file and renames. Owner and permissions stay as they are.
pub fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    // A link stays one: what it points to is replaced.
    let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_path_buf());
    let kept = fs::metadata(&file).ok();
    let prepare = |output: &File| match &kept {
        Some(metadata) => keep_owner(output, metadata),
        None => Ok(()),
    };
    write(&file, bytes, NEW_FILE_MODE, prepare)
}

/// Writes beside the file and renames. The file is then root's (or whoever runs this) and, if there is one, the group's to read.
pub fn write_private(file: &Path, bytes: &[u8], group: Option<u32>) -> io::Result<()> {
    write(file, bytes, 0o600, |output| give_to(output, group, 0o640))
}

/// Lets the group in, if there is one, with these permissions.
pub fn give_to(file: &File, group: Option<u32>, mode: u32) -> io::Result<()> {
    if let Some(group) = group {
        std::os::unix::fs::fchown(file, None, Some(group))?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// Makes a copy to be edited beside the file and returns its path: hidden, and with the file's ending, which editors go by.
pub fn copy_to_edit(file: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_path_buf());
    let copy = prefixed(&file, "edit");
    // One that a crash left.
    let _ = fs::remove_file(&copy);
    let mut output = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&copy)?;
    output.write_all(bytes)?;
    Ok(copy)
}

/// Puts a copy in the file's place in one step, with the file's owner and permissions.
pub fn take_place(copy: &Path, file: &Path) -> io::Result<()> {
    let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_path_buf());
    let written = File::open(copy)?;
    match fs::metadata(&file) {
        Ok(metadata) => keep_owner(&written, &metadata)?,
        Err(_) => written.set_permissions(fs::Permissions::from_mode(NEW_FILE_MODE))?,
    }
    written.sync_all()?;
    fs::rename(copy, &file)?;
    File::open(file.parent().unwrap_or(&file))?.sync_all()
}

/// Keeps text that was not to take the file's place beside it, and returns where.
pub fn keep_rejected(file: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    let kept = prefixed(file, "rejected");
    write(&kept, bytes, 0o600, |_| Ok(())).map(|()| kept)
}

fn keep_owner(file: &File, metadata: &fs::Metadata) -> io::Result<()> {
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (metadata.uid(), metadata.gid()) {
        std::os::unix::fs::fchown(file, Some(metadata.uid()), Some(metadata.gid()))?;
    }
    file.set_permissions(fs::Permissions::from_mode(metadata.mode() & 0o7777))
}

fn write(file: &Path, bytes: &[u8], mode: u32, prepare: impl Fn(&File) -> io::Result<()>) -> io::Result<()> {
    let directory = file.parent().ok_or_else(|| io::Error::other("the file is in no directory"))?;
    let temporary = prefixed(file, "new");
    let written = (|| {
        let mut output = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
        output.write_all(bytes)?;
        prepare(&output)?;
        output.sync_all()?;
        fs::rename(&temporary, file)?;
        File::open(directory)?.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// `.PREFIX.NAME` beside the file: hidden, so that the policy loader passes over what a crash may leave.
fn prefixed(file: &Path, prefix: &str) -> PathBuf {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    file.with_file_name(format!(".{prefix}.{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_takes_the_place_of_its_file() {
        let directory = std::env::temp_dir().join(format!("weir-copies-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let file = directory.join("a.toml");
        fs::write(&file, "one").expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("permissions");
        fs::write(directory.join(".edit.a.toml"), "left by a crash").expect("written");
        let copy = copy_to_edit(&file, b"two").expect("a copy");
        assert_eq!((copy.file_name(), fs::read(&copy).expect("read")), (Some(".edit.a.toml".as_ref()), b"two".to_vec()));
        take_place(&copy, &file).expect("replaced");
        let mode = fs::metadata(&file).expect("there").mode() & 0o777;
        assert_eq!((fs::read(&file).expect("read"), mode, copy.exists()), (b"two".to_vec(), 0o640, false));
        fs::remove_dir_all(&directory).expect("removed");
    }

    #[test]
    fn a_file_is_replaced_with_its_permissions_and_nothing_is_left() {
        let directory = std::env::temp_dir().join(format!("weir-files-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let file = directory.join("a.toml");
        replace(&file, b"one").expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o604)).expect("permissions");
        replace(&file, b"two").expect("written");
        let mode = fs::metadata(&file).expect("there").mode() & 0o777;
        assert_eq!((fs::read(&file).expect("read"), mode), (b"two".to_vec(), 0o604));
        assert!(replace(&directory.join("missing/a.toml"), b"x").is_err());
        assert_eq!(fs::read_dir(&directory).expect("a directory").count(), 1);
        fs::remove_dir_all(&directory).expect("removed");
    }
}
