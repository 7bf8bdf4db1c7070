//! A configuration's lines: what is refused before anything is read, and which lines belong to the one above.

use std::path::Path;

use crate::policy::{Diagnostic, Diagnostics, Source, diagnostic};

/// Bytes a configuration may have: a hundred thousand lines of access lists take a tenth of it.
pub const MAX_BYTES: usize = 16 << 20;
/// What a terminal puts between the pages of a long listing.
const PAGER: &str = "<--- More --->";

/// One line of a configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'t> {
    /// From 1.
    pub(super) number: usize,
    /// Without blanks around it.
    pub(super) text: &'t str,
    /// Blanks before it, beyond those of the whole text.
    indent: usize,
}

impl<'t> Line<'t> {
    pub(super) fn words(&self) -> Vec<&'t str> {
        self.text.split_whitespace().collect()
    }

    pub(super) fn first(&self) -> &'t str {
        self.text.split_whitespace().next().unwrap_or("")
    }
}

/// A command with the lines of its mode, such as an interface with its name.
#[derive(Clone, Debug)]
pub(super) struct Block<'t> {
    pub(super) head: Line<'t>,
    pub(super) body: Vec<Line<'t>>,
}

/// The text of a configuration, unless it cannot be one.
pub fn decode(name: &Path, bytes: Vec<u8>) -> Result<String, Diagnostics> {
    let about = |message: &str, hint: &str| Diagnostic::about(name.to_path_buf(), message.to_owned(), Some(hint.to_owned())).into();
    if bytes.len() > MAX_BYTES {
        let message = format!("too large: a configuration may have {} MiB", MAX_BYTES >> 20);
        return Err(about(&message, "give the output of `show running-config` alone"));
    }
    if bytes.contains(&0) {
        return Err(about("is not text: it holds a zero byte", "give the output of `show running-config`, saved as text"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        about(&format!("is not UTF-8: the first bad byte is in line {line}"), "save the file as UTF-8")
    })
}

/// The blocks of a configuration. `belongs` says whether a line that is not indented is of the mode of a block's head.
pub(super) fn blocks<'t>(text: &'t str, belongs: impl Fn(&Line<'t>, &Line<'t>) -> bool) -> Vec<Block<'t>> {
    let mut blocks: Vec<Block<'t>> = Vec::new();
    // A recipe in a document may be indented as a whole.
    let margin = lines(text, 0).map(|line| line.indent).min().unwrap_or(0);
    for line in lines(text, margin) {
        match blocks.last_mut().filter(|block| line.indent > 0 || belongs(&block.head, &line)) {
            Some(block) => block.body.push(line),
            None => blocks.push(Block { head: line, body: Vec::new() }),
        }
    }
    blocks
}

fn lines(text: &str, margin: usize) -> impl Iterator<Item = Line<'_>> {
    text.lines().zip(1..).filter_map(move |(written, number)| {
        let unpaged = written.rfind(PAGER).map_or(written, |at| &written[at + PAGER.len()..]);
        // After a page the terminal takes its own words back with returns, backspaces and blanks.
        let returned = unpaged.trim_end_matches('\r').rsplit(['\r', '\x08']).next().unwrap_or_default();
        let text = returned.trim();
        let comment = text.is_empty() || text.starts_with(['!', ':']) || matches!(text, "quit" | "exit");
        let indent = (returned.len() - returned.trim_start().len()).saturating_sub(margin);
        (!comment).then_some(Line { number, text, indent })
    })
}

/// Refuses a listing that stops before its end: what is missing could be what denies.
pub(super) fn refuse_truncated(name: &Path, text: &str) -> Result<(), Diagnostics> {
    let plain = |line: &&str| !line.trim().is_empty() && line.trim() != "!";
    // A terminal's prompt may stand before it.
    let begun = text.lines().filter(plain).take(3).any(|line| line.trim_start().starts_with(": Saved"));
    let ended = text.lines().rev().map(str::trim).any(|line| line == ": end" || line.starts_with("Cryptochecksum:"));
    if !begun || ended {
        return Ok(());
    }
    let last = text.trim_end();
    let start = last.rfind('\n').map_or(0, |at| at + 1);
    let source = Source { path: name.to_path_buf(), text: text.to_owned() };
    let message = "the configuration ends in the middle: it begins with `: Saved` and has no `: end`";
    Err(diagnostic::refuse(source, start..last.len(), message, "fetch it again, after `terminal pager 0`"))
}

/// Refuses what holds no line that an ASA could have written.
pub(super) fn refuse_unknown(name: &Path, text: &str, first: Option<&Line<'_>>) -> Diagnostics {
    let hint = "give the output of `show running-config`";
    let Some(line) = first else {
        return Diagnostic::about(name.to_path_buf(), "holds no command".to_owned(), Some(hint.to_owned())).into();
    };
    let start = line.text.as_ptr() as usize - text.as_ptr() as usize;
    let source = Source { path: name.to_path_buf(), text: text.to_owned() };
    diagnostic::refuse(source, start..start + line.text.len(), "none of the lines is of an ASA's configuration; this is the first", hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indented_lines_and_those_of_a_mode_belong_to_the_one_above() {
        let text = "interface e0\n nameif outside\n!\nclass-map c\nmatch any\n\n<--- More --->\r              \r access-group\nroute\n";
        let found = blocks(text, |head, line| head.first() == "class-map" && line.first() == "match");
        let shape: Vec<(usize, Vec<&str>)> =
            found.iter().map(|block| (block.head.number, block.body.iter().map(|line| line.text).collect())).collect();
        assert_eq!(shape, [(1, vec!["nameif outside"]), (4, vec!["match any", "access-group"]), (8, vec![])]);
    }
}
