//! Reading policy files: which files belong to a policy, in which order, and where a byte of them lies. Files that change while they are
//! read are read again, so that what is read has been there at one moment.

use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, SystemTime},
};

use super::{
    diagnostic::{Diagnostic, Place},
    load::MAX_RULES,
};

/// Bytes of all files of a policy together. Ten thousand rules take some 2 MB; the rest is room for address sets.
pub const MAX_BYTES: usize = 16 << 20;
/// Files of a policy.
pub const MAX_FILES: usize = 1024;
/// Readings of files that change meanwhile, before that is an error.
const ATTEMPTS: u32 = 20;
/// Time between two readings.
const PAUSE: Duration = Duration::from_millis(50);
/// How long files must have been left alone: a writer empties a file before it fills it, and writes one file after the other.
const REST: Duration = Duration::from_millis(100);

/// A file of a policy: where it is, and what it says (or would say, for an edit that is checked before it is written).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub path: PathBuf,
    pub text: String,
}

/// Puts a file in the place of the one at its path, or where its name belongs.
pub fn replace_source(sources: &mut Vec<Source>, source: Source) {
    match sources.binary_search_by(|known| known.path.cmp(&source.path)) {
        Ok(index) => sources[index] = source,
        Err(index) => sources.insert(index, source),
    }
}

/// The files of a policy with their lines found.
pub(super) struct Sources {
    files: Vec<(Source, Vec<usize>)>,
}

impl Sources {
    pub(super) fn new(sources: Vec<Source>) -> Self {
        let with_lines = |source: Source| {
            let starts = std::iter::once(0).chain(source.text.match_indices('\n').map(|(at, _)| at + 1)).collect();
            (source, starts)
        };
        Self { files: sources.into_iter().map(with_lines).collect() }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Source> {
        self.files.iter().map(|(source, _)| source)
    }

    pub(super) fn path(&self, file: usize) -> &Path {
        &self.files[file].0.path
    }

    pub(super) fn text(&self, file: usize) -> &str {
        &self.files[file].0.text
    }

    /// Line and column of a place's first character, from 1.
    pub(super) fn position(&self, place: Place) -> (usize, usize) {
        let (line, start) = self.line_start(place);
        (line, self.text(place.file)[start..].char_indices().take_while(|(at, _)| start + at < place.start).count() + 1)
    }

    /// Line a place begins in, from 1.
    pub(super) fn line_number(&self, place: Place) -> usize {
        self.line_start(place).0
    }

    /// The whole line a place begins in, without its end.
    pub(super) fn line(&self, place: Place) -> &str {
        let (_, start) = self.line_start(place);
        let rest = &self.text(place.file)[start..];
        rest.split(['\n', '\r']).next().unwrap_or(rest)
    }

    /// `file:line` of a place, for messages that point to a second one.
    pub(super) fn reference(&self, place: Place) -> String {
        format!("{}:{}", self.path(place.file).display(), self.line_number(place))
    }

    fn line_start(&self, place: Place) -> (usize, usize) {
        let starts = &self.files[place.file].1;
        let line = starts.partition_point(|start| *start <= place.start);
        (line, starts[line - 1])
    }
}

/// What tells that files of a policy have changed: which there are, and of each the device, inode, length and time of change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(Vec<(PathBuf, Option<[i64; 7]>)>);

/// The fingerprint of the policy in a directory or file.
pub fn fingerprint(path: &Path) -> io::Result<Fingerprint> {
    let file = |path: PathBuf| {
        // One that goes between being listed and looked at is a change too.
        let told = fs::metadata(&path).ok().map(|data| {
            let [device, inode, length] = [data.dev(), data.ino(), data.size()].map(u64::cast_signed);
            [device, inode, length, data.mtime(), data.mtime_nsec(), data.ctime(), data.ctime_nsec()]
        });
        (path, told)
    };
    Ok(Fingerprint(files_of(path)?.into_iter().map(file).collect()))
}

impl Fingerprint {
    /// No file has changed for a while. One that says it will change only later is on a clock that was set: it is taken as it is.
    fn rested(&self) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.0.iter().filter_map(|(_, told)| *told).all(|[.., seconds, nanos]| {
            let changed = Duration::new(seconds.try_into().unwrap_or(0), nanos.try_into().unwrap_or(0));
            now.checked_sub(changed).is_none_or(|age| age >= REST)
        })
    }
}

/// Reads a single file, or the `*.toml` files of a directory in name order (not its subdirectories, no hidden files, no backups).
pub(super) fn read(path: &Path) -> Result<Vec<Source>, Vec<Diagnostic>> {
    let look = || {
        let fingerprint = fingerprint(path).ok();
        let rested = fingerprint.as_ref().is_none_or(Fingerprint::rested);
        (fingerprint, rested)
    };
    read_at_rest(look, || read_once(path)).unwrap_or_else(|| {
        let hint = "wait until whoever writes it is done".to_owned();
        Err(vec![Diagnostic::about(path.to_path_buf(), "keeps changing while it is read".to_owned(), Some(hint))])
    })
}

/// What `read` returns when nothing has changed for a while, nor meanwhile; `None` when something always has. `look` tells what there is, and
/// whether it has been left alone.
fn read_at_rest<F: PartialEq, T>(look: impl Fn() -> (F, bool), read: impl Fn() -> T) -> Option<T> {
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            thread::sleep(PAUSE);
        }
        let (before, rested) = look();
        if !rested {
            continue;
        }
        let read = read();
        if look().0 == before {
            return Some(read);
        }
    }
    None
}

fn read_once(path: &Path) -> Result<Vec<Source>, Vec<Diagnostic>> {
    let paths = files_of(path).map_err(|error| vec![Diagnostic::about(path.to_path_buf(), format!("cannot be read: {error}"), None)])?;
    if paths.is_empty() {
        let hint = "a policy is a directory of *.toml files, or one such file".to_owned();
        return Err(vec![Diagnostic::about(path.to_path_buf(), "no rules: the directory holds no *.toml file".to_owned(), Some(hint))]);
    }
    if paths.len() > MAX_FILES {
        let message = format!("too many files: a policy may have {MAX_FILES}, the directory holds {}", paths.len());
        return Err(vec![Diagnostic::about(path.to_path_buf(), message, None)]);
    }
    read_files(paths)
}

fn read_files(paths: Vec<PathBuf>) -> Result<Vec<Source>, Vec<Diagnostic>> {
    let mut room = MAX_BYTES;
    let (mut sources, mut errors) = (Vec::new(), Vec::new());
    for path in paths {
        match read_file(&path, room) {
            Ok(text) => {
                room -= text.len();
                sources.push(Source { path, text });
            }
            Err((message, hint)) => errors.push(Diagnostic::about(path, message, hint)),
        }
    }
    if errors.is_empty() { Ok(sources) } else { Err(errors) }
}

/// The files of the policy in a directory or file, in order.
pub fn files_of(path: &Path) -> io::Result<Vec<PathBuf>> {
    if fs::metadata(path)?.is_dir() { list(path) } else { Ok(vec![path.to_path_buf()]) }
}

fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(".toml") && !name.starts_with('.') && !path.is_dir() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// The text of one file of at most `room` bytes, else a message and a hint.
fn read_file(path: &Path, room: usize) -> Result<String, (String, Option<String>)> {
    let unreadable = |error: io::Error| (format!("cannot be read: {error}"), None);
    // Opening a FIFO would wait for its writer.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(("is not a regular file".to_owned(), None));
    }
    let mut bytes = Vec::new();
    fs::File::open(path).map_err(unreadable)?.take(room as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > room {
        let hint = format!("a policy can have {MAX_RULES} rules, which take some 4 MB; the rest is room for sets of addresses");
        return Err((format!("too large: the files of a policy may have {} MiB together", MAX_BYTES >> 20), Some(hint)));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        (format!("is not UTF-8: the first bad byte is in line {line}"), Some("save the file as UTF-8".to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_changes_while_it_is_read_is_read_again() {
        let (state, readings) = (Cell::new(0), Cell::new(0));
        // The first two readings see a writer at work.
        let read = || {
            readings.set(readings.get() + 1);
            if readings.get() <= 2 {
                state.set(state.get() + 1);
            }
            state.get()
        };
        assert_eq!(read_at_rest(|| (state.get(), true), read), Some(2));
        assert_eq!(readings.get(), 3);
    }

    #[test]
    fn a_file_that_goes_between_being_listed_and_read_is_no_error() {
        let directory = std::env::temp_dir().join(format!("weir-going-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let going = directory.join("b.toml");
        fs::write(directory.join("a.toml"), "# a").expect("written");
        fs::write(&going, "# b").expect("written");
        let outcomes = Cell::new(Vec::new());
        let read = || {
            let paths = files_of(&directory).expect("listed");
            if paths.contains(&going) {
                fs::remove_file(&going).expect("removed");
            }
            let read = read_files(paths);
            outcomes.set([outcomes.take(), vec![read.is_ok()]].concat());
            read
        };
        let look = || (fingerprint(&directory).ok(), true);
        let sources = read_at_rest(look, read).expect("it rests").expect("it is read");
        fs::remove_dir_all(&directory).expect("removed");
        assert_eq!(sources.iter().map(|source| source.text.as_str()).collect::<Vec<_>>(), ["# a"]);
        assert_eq!(outcomes.take(), [false, true], "the first reading met the file that was gone");
    }

    #[test]
    fn what_has_just_changed_is_not_read_yet() {
        let (looks, readings) = (Cell::new(0), Cell::new(0));
        let look = || {
            looks.set(looks.get() + 1);
            ((), looks.get() > 3)
        };
        assert_eq!(read_at_rest(look, || readings.set(readings.get() + 1)), Some(()));
        assert_eq!((looks.get(), readings.get()), (5, 1));
    }

    #[test]
    fn what_never_rests_is_refused() {
        let state = Cell::new(0);
        let read = || state.set(state.get() + 1);
        assert_eq!(read_at_rest(|| (state.get(), true), read), None);
        assert_eq!(state.get(), ATTEMPTS);
        assert_eq!(read_at_rest(|| ((), false), || panic!("it was read")), None::<()>);
    }

    #[test]
    fn files_rest_some_time_after_they_were_written() {
        let told = |changed: SystemTime| {
            let changed = changed.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
            let [seconds, nanos] = [changed.as_secs().cast_signed(), changed.subsec_nanos().into()];
            Fingerprint(vec![("old".into(), Some([0; 7])), ("new".into(), Some([0, 0, 0, 0, 0, seconds, nanos])), ("gone".into(), None)])
        };
        let now = SystemTime::now();
        assert!(!told(now).rested());
        assert!(told(now - REST).rested());
        assert!(told(now + Duration::from_secs(3600)).rested(), "the clock was set back");
    }
}
