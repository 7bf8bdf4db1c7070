use std::fmt::Write as _;

use crate::api::NotCarriedOver;

/// Characters of a configuration's line that are shown.
const EXCERPT: usize = 160;

/// The list of what an import did not carry over.
#[must_use]
pub fn not_carried_over(list: &[NotCarriedOver]) -> String {
    let mut text = String::new();
    for left in list {
        // Control characters could drive the reader's terminal.
        let shown = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
        let place = left.line.map(|line| format!(":{line}")).unwrap_or_default();
        let excerpt: String = left.text.as_deref().unwrap_or_default().chars().take(EXCERPT).map(shown).collect();
        let more = match left.lines.len() {
            0 | 1 => String::new(),
            2 => " (and one more line)".to_owned(),
            lines => format!(" (and {} more lines)", lines - 1),
        };
        let reason: String = left.reason.chars().map(shown).collect();
        let _ = writeln!(text, "{}{place}: not carried over: {reason}{more}", left.file);
        if !excerpt.is_empty() {
            let _ = writeln!(text, "  {excerpt}");
        }
        let _ = writeln!(text, "  hint: {}", left.hint);
    }
    text
}
