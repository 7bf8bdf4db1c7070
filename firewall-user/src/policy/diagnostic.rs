//! What is wrong with a policy, and where: `file:line:column: message`, the line, a caret under the exact place and a hint.

use std::{
    fmt::{self, Write as _},
    ops::Range,
    path::PathBuf,
};

use serde::Serialize;

use super::source::{Source, Sources};

/// Errors shown at once; the rest is counted.
pub const MAX_SHOWN: usize = 50;
/// Errors kept before the reader stops collecting: sorting by place needs more than are shown.
const MAX_KEPT: usize = 1_000;
/// Characters of a source line that are shown around the place.
const EXCERPT: usize = 160;
/// Known words an unknown one is compared with: hints must not cost more than the reading.
const MAX_COMPARED: usize = 4_096;
/// Characters of a value that a message quotes.
const QUOTE: usize = 60;

/// Bytes `start..end` of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) file: usize,
    pub(super) start: usize,
    pub(super) end: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Severity {
    Error,
    Warning,
}

/// One finding. Lines and columns (in characters) count from 1; a finding about a whole file has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    severity: Severity,
    pub file: PathBuf,
    pub line: Option<usize>,
    pub column: Option<usize>,
    /// Of the first character behind the place.
    pub end_line: Option<usize>,
    pub end_column: Option<usize>,
    pub message: String,
    pub hint: Option<String>,
    #[serde(skip)]
    excerpt: Option<Excerpt>,
}

/// Something legal that is probably not meant. Shown like an error, marked `warning:`.
pub type Warning = Diagnostic;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Excerpt {
    text: String,
    /// What goes before the carets: a blank for each character, a tab for a tab.
    indent: String,
    carets: usize,
}

/// Why a policy was refused: every error that was found, in the order of the files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct Diagnostics {
    pub errors: Vec<Diagnostic>,
    /// Errors found beyond [`MAX_SHOWN`].
    pub omitted: usize,
}

impl Diagnostic {
    /// A finding about a file or directory as a whole.
    pub(crate) fn about(file: PathBuf, message: String, hint: Option<String>) -> Self {
        let (line, column, end_line, end_column) = (None, None, None, None);
        Self { severity: Severity::Error, file, line, column, end_line, end_column, message, hint, excerpt: None }
    }

    fn at(sources: &Sources, place: Place, severity: Severity, message: String, hint: Option<String>) -> Self {
        let (line, column) = sources.position(place);
        let (end_line, end_column) = sources.position(Place { start: place.end, ..place });
        Self {
            severity,
            file: sources.path(place.file).to_path_buf(),
            line: Some(line),
            column: Some(column),
            end_line: Some(end_line),
            end_column: Some(end_column),
            message,
            hint,
            excerpt: Some(Excerpt::new(sources.line(place), place.end - place.start, column - 1)),
        }
    }
}

impl Excerpt {
    /// `before` characters of `line` precede the place, which is `bytes` long.
    fn new(line: &str, bytes: usize, before: usize) -> Self {
        let skipped = before.saturating_sub(EXCERPT / 2);
        let offset = line.char_indices().nth(before).map_or(line.len(), |(at, _)| at);
        let mut end = line.len().min(offset.saturating_add(bytes));
        while !line.is_char_boundary(end) {
            end += 1;
        }
        let marked = line[offset..end].chars().count();
        // Control characters could drive the reader's terminal.
        let shown = |c: char| if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c };
        let text: String = line.chars().skip(skipped).take(EXCERPT).map(shown).collect();
        let indent = line.chars().take(before).skip(skipped).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        Self { text: text.trim_end().to_owned(), indent, carets: marked.clamp(1, EXCERPT / 2) }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, "{line}:{column}:")?;
        }
        if self.severity == Severity::Warning {
            f.write_str(" warning:")?;
        }
        write!(f, " {}", self.message)?;
        if let Some(Excerpt { text, indent, carets }) = &self.excerpt {
            write!(f, "\n  {text}\n  {indent}{:^<carets$}", "")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                f.write_char('\n')?;
            }
            error.fmt(f)?;
        }
        match self.omitted {
            0 => Ok(()),
            1 => f.write_str("\none more error is not shown"),
            more => write!(f, "\n{more} more errors are not shown"),
        }
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(error: Diagnostic) -> Self {
        Self { errors: vec![error], omitted: 0 }
    }
}

struct Finding {
    place: Place,
    message: String,
    hint: Option<String>,
}

/// Collects findings while a policy is read.
pub(super) struct Report<'s> {
    sources: &'s Sources,
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
    unkept: usize,
}

impl<'s> Report<'s> {
    pub(super) fn new(sources: &'s Sources) -> Self {
        Self { sources, errors: Vec::new(), warnings: Vec::new(), unkept: 0 }
    }

    pub(super) fn sources(&self) -> &'s Sources {
        self.sources
    }

    pub(super) fn error(&mut self, place: Place, message: impl Into<String>) {
        self.push(place, message.into(), None);
    }

    pub(super) fn error_with_hint(&mut self, place: Place, message: impl Into<String>, hint: impl Into<String>) {
        self.push(place, message.into(), Some(hint.into()));
    }

    /// An error about a word that `known` does not hold; the hint is the nearest known word, else the whole list.
    pub(super) fn unknown_word<'k>(
        &mut self,
        place: Place,
        message: impl Into<String>,
        word: &str,
        known: impl Iterator<Item = &'k str> + Clone,
    ) {
        let hint = nearest(word, known.clone()).map(|near| format!("did you mean {}?", quoted(near))).or_else(|| {
            let list: Vec<&str> = known.take(24).collect();
            (!list.is_empty()).then(|| format!("known: {}", list.join(", ")))
        });
        self.push(place, message.into(), hint);
    }

    pub(super) fn warn(&mut self, place: Place, message: impl Into<String>, hint: impl Into<String>) {
        if self.warnings.len() < MAX_KEPT {
            self.warnings.push(Finding { place, message: message.into(), hint: Some(hint.into()) });
        } else {
            self.unkept += 1;
        }
    }

    pub(super) fn failed(&self) -> bool {
        !self.errors.is_empty()
    }

    /// True when nothing more would be kept.
    pub(super) fn full(&self) -> bool {
        self.errors.len() >= MAX_KEPT
    }

    /// The warnings, or every error if there was one.
    pub(super) fn finish(self) -> Result<Vec<Warning>, Diagnostics> {
        if self.failed() {
            return Err(self.into_errors());
        }
        let (mut shown, omitted) = show(self.sources, self.warnings, Severity::Warning);
        if let (1.., Some(last)) = (omitted + self.unkept, shown.last()) {
            let message = format!("{} more warnings are not shown", omitted + self.unkept);
            let more = Diagnostic::about(last.file.clone(), message, None);
            shown.push(Diagnostic { severity: Severity::Warning, ..more });
        }
        Ok(shown)
    }

    /// Every error, of a report that has failed.
    pub(super) fn into_errors(self) -> Diagnostics {
        let (errors, omitted) = show(self.sources, self.errors, Severity::Error);
        Diagnostics { errors, omitted: omitted + self.unkept }
    }

    fn push(&mut self, place: Place, message: String, hint: Option<String>) {
        if self.full() {
            self.unkept += 1;
        } else {
            self.errors.push(Finding { place, message, hint });
        }
    }
}

/// The first findings in the order of the files, and how many there are beside them.
fn show(sources: &Sources, mut findings: Vec<Finding>, severity: Severity) -> (Vec<Diagnostic>, usize) {
    findings.sort_by_key(|finding| finding.place);
    let omitted = findings.len().saturating_sub(MAX_SHOWN);
    let show = |finding: Finding| Diagnostic::at(sources, finding.place, severity, finding.message, finding.hint);
    (findings.into_iter().take(MAX_SHOWN).map(show).collect(), omitted)
}

/// The one error of a file that is no policy: at a range of its bytes.
pub(crate) fn refuse(source: Source, at: Range<usize>, message: &str, hint: &str) -> Diagnostics {
    let sources = Sources::new(vec![source]);
    let place = Place { file: 0, start: at.start, end: at.end };
    Diagnostic::at(&sources, place, Severity::Error, message.to_owned(), Some(hint.to_owned())).into()
}

/// The known word a typing error may have made `word` of.
pub(super) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    // A longer word than any name can be is no typing error, and comparing it would cost its length.
    let word = (word.len() <= 80).then(|| word.to_ascii_lowercase())?;
    let slips = (word.chars().count() / 3).max(1);
    known
        .take(MAX_COMPARED)
        .map(|candidate| (strsim::osa_distance(&word, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= slips)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// A value as messages quote it: escaped, and clipped when long.
pub(super) fn quoted(value: &str) -> String {
    let clipped: String = value.chars().take(QUOTE).collect();
    let more = if clipped.len() < value.len() { "…" } else { "" };
    format!("\"{}{more}\"", clipped.escape_debug())
}
