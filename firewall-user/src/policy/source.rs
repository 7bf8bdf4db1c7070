//! Reading policy files: which files belong to a policy, in which order, and where a byte of them lies.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use super::{
    diagnostic::{Diagnostic, Place},
    load::MAX_RULES,
};

/// Bytes of all files of a policy together. Ten thousand rules take some 2 MB; the rest is room for address sets.
pub const MAX_BYTES: usize = 16 << 20;

/// A file of a policy: where it is, and what it says (or would say, for an edit that is checked before it is written).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub path: PathBuf,
    pub text: String,
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

/// Reads a single file, or the `*.toml` files of a directory in name order (not its subdirectories, no hidden files, no backups).
pub(super) fn read(path: &Path) -> Result<Vec<Source>, Vec<Diagnostic>> {
    let unreadable =
        |path: &Path, error: &std::io::Error| vec![Diagnostic::about(path.to_path_buf(), format!("cannot be read: {error}"), None)];
    let metadata = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    let paths = if metadata.is_dir() { list(path).map_err(|error| unreadable(path, &error))? } else { vec![path.to_path_buf()] };
    if paths.is_empty() {
        let hint = "a policy is a directory of *.toml files, or one such file".to_owned();
        return Err(vec![Diagnostic::about(path.to_path_buf(), "no rules: the directory holds no *.toml file".to_owned(), Some(hint))]);
    }
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

fn list(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
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
    let unreadable = |error: std::io::Error| (format!("cannot be read: {error}"), None);
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
