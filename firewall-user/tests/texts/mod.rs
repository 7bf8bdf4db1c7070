//! Files that tests read: their paths are relative to the crate's directory.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The files of a directory with this extension, in order.
pub fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a directory entry").path()).collect();
    paths.retain(|path| path.is_file() && path.extension().is_some_and(|own| own == extension));
    paths.sort();
    paths
}

pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
