//! A directory for the files of one run, removed whatever happens.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context, Result};

use crate::undo;

#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    _removal: undo::Guard,
}

impl Scratch {
    /// Creates `weir-<pid>-<role>` among the temporary files. One that is there already is somebody else's, and an error.
    pub fn create(role: &str) -> Result<Self> {
        let path = env::temp_dir().join(format!("weir-{}-{role}", process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        let removed = path.clone();
        let removal = undo::Guard::new(move || {
            if let Err(error) = fs::remove_dir_all(&removed) {
                eprintln!("warning: cannot remove {}: {error}", removed.display());
            }
        });
        Ok(Self { path, _removal: removal })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file of a subdirectory of its own and returns that directory.
    pub fn directory_with(&self, directory: &str, file: &str, contents: &str) -> Result<PathBuf> {
        let directory = self.path.join(directory);
        let file = directory.join(file);
        fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
        fs::write(&file, contents).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(directory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_goes_with_its_files() {
        let scratch = Scratch::create("scratch-test").expect("created");
        let directory = scratch.directory_with("policy", "rule.toml", "text").expect("written");
        assert_eq!(fs::read_to_string(directory.join("rule.toml")).expect("readable"), "text");
        assert!(Scratch::create("scratch-test").is_err(), "what is there is not taken over");
        let path = scratch.path().to_owned();
        drop(scratch);
        assert!(!path.exists());
    }
}
