//! The history's files: an index, and one file for each policy. Only root and the group `weir` may read them.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Index, VERSION};
use crate::{api::Failure, files, group, instance::Instance, policy::Source};

/// Where one instance's history lies.
#[derive(Debug)]
pub(super) struct Store {
    directory: PathBuf,
    group: Option<u32>,
}

/// The files of a policy.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    version: u32,
    files: Vec<KeptFile>,
}

#[derive(Debug, Serialize, Deserialize)]
struct KeptFile {
    path: PathBuf,
    text: String,
}

impl Store {
    pub(super) fn new(instance: &Instance) -> Self {
        Self { directory: instance.state(), group: group::weir() }
    }

    /// The index; an empty one when there is none yet.
    pub(super) fn index(&self) -> Result<Index, Failure> {
        let path = self.directory.join("history.json");
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Index::default()),
            read => {
                let index: Index = parse(&path, read)?;
                if index.version == VERSION { Ok(index) } else { Err(of_another_version(&path, index.version)) }
            }
        }
    }

    pub(super) fn keep_index(&self, index: &Index) -> Result<(), Failure> {
        self.write("history.json", index)
    }

    /// The files of a policy as they were kept.
    pub(super) fn sources(&self, number: u64) -> Result<Vec<Source>, Failure> {
        let path = self.directory.join(file_name(number));
        let kept: Kept = parse(&path, fs::read(&path))?;
        if kept.version != VERSION {
            return Err(of_another_version(&path, kept.version));
        }
        Ok(kept.files.into_iter().map(|file| Source { path: file.path, text: file.text }).collect())
    }

    pub(super) fn keep(&self, number: u64, sources: &[Source]) -> Result<(), Failure> {
        let files = sources.iter().map(|source| KeptFile { path: source.path.clone(), text: source.text.clone() }).collect();
        self.write(&file_name(number), &Kept { version: VERSION, files })
    }

    /// Removes policies that the index no longer names. One that stays does no harm.
    pub(super) fn remove(&self, numbers: &[u64]) {
        for number in numbers {
            let _ = fs::remove_file(self.directory.join(file_name(*number)));
        }
    }

    fn write(&self, name: &str, value: &impl Serialize) -> Result<(), Failure> {
        let path = self.directory.join(name);
        let failed = |error: io::Error| Failure::failed(format!("{} cannot be written: {error}", path.display()));
        make_private(&self.directory, self.group).map_err(failed)?;
        let bytes = serde_json::to_vec(value).map_err(|error| failed(error.into()))?;
        files::write_private(&path, &bytes, self.group).map_err(failed)
    }
}

fn file_name(number: u64) -> String {
    format!("policy-{number}.json")
}

fn parse<T: DeserializeOwned>(path: &Path, read: io::Result<Vec<u8>>) -> Result<T, Failure> {
    let unread = |error: &dyn std::fmt::Display| Failure::failed(format!("{} cannot be read: {error}", path.display()));
    serde_json::from_slice(&read.map_err(|error| unread(&error))?).map_err(|error| unread(&error))
}

fn of_another_version(path: &Path, version: u32) -> Failure {
    Failure::failed(format!("{} is of version {version}, this weir knows version {VERSION}", path.display()))
}

/// Makes the directory for root, and for the group `weir` to look into.
pub(in crate::controller) fn make_private(directory: &Path, group: Option<u32>) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(directory.parent().unwrap_or(directory))?;
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        made => made?,
    }
    files::give_to(&File::open(directory)?, group, 0o750)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use xtask::scratch::Scratch;

    use super::{super::History, *};
    use crate::api::How;

    fn history(name: &str) -> (Scratch, History) {
        let scratch = Scratch::create(&format!("history-{name}")).expect("created");
        let store = Store { directory: scratch.path().join("instance"), group: None };
        (scratch, History { store, index: Index::default() })
    }

    fn add(history: &mut History, text: &str) -> Result<u64, Failure> {
        let new = super::super::NewEntry {
            time: jiff::Timestamp::UNIX_EPOCH,
            how: How::Apply,
            uid: None,
            path: "p".to_owned(),
            rules: 1,
            summary: String::new(),
        };
        let sources = [Source { path: "p/a.toml".into(), text: text.to_owned() }];
        history.add(new, None, &sources)
    }

    #[test]
    fn what_is_kept_is_read_again_and_nobody_else_may() {
        let (scratch, mut history) = history("kept");
        assert_eq!(add(&mut history, "one").expect("kept"), 1);
        assert_eq!(add(&mut history, "two").expect("kept"), 2);
        let directory = scratch.path().join("instance");
        let again = Store { directory: directory.clone(), group: None };
        assert_eq!(again.index().expect("read"), history.index);
        assert_eq!(again.sources(1).expect("read")[0].text, "one");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&directory), 0o700);
        for entry in fs::read_dir(&directory).expect("a directory") {
            assert_eq!(mode(&entry.expect("an entry").path()), 0o600);
        }
    }

    #[test]
    fn policies_beyond_the_bound_leave_the_disk() {
        let (scratch, mut history) = history("bound");
        for _ in 0..super::super::KEPT + 5 {
            add(&mut history, "x").expect("kept");
        }
        assert_eq!(fs::read_dir(scratch.path().join("instance")).expect("a directory").count(), super::super::KEPT + 1);
        assert!(history.store.sources(5).is_err() && history.store.sources(6).is_ok());
    }

    #[test]
    fn what_cannot_be_written_changes_nothing() {
        let (scratch, mut history) = history("unwritten");
        add(&mut history, "one").expect("kept");
        let before = history.index.clone();
        // A directory in the index's place.
        let index = scratch.path().join("instance/history.json");
        fs::remove_file(&index).expect("removed");
        fs::create_dir_all(index.join("x")).expect("made");
        let failure = add(&mut history, "two").expect_err("not writable");
        assert!(failure.error.contains("history.json cannot be written"), "{failure}");
        assert_eq!(history.index, before);
    }

    #[test]
    fn a_broken_index_is_told_of() {
        let (scratch, mut history) = history("broken");
        add(&mut history, "one").expect("kept");
        let path = scratch.path().join("instance/history.json");
        for (text, word) in [("{", "EOF"), ("{\"version\":2,\"next\":1,\"entries\":[]}", "version 2")] {
            fs::write(&path, text).expect("written");
            let failure = history.store.index().expect_err("broken");
            assert!(failure.error.contains(word), "{failure}");
        }
    }
}
