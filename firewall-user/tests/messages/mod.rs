//! The messages in the sources, and whether a text shows one.

use std::{collections::BTreeSet, path::Path};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::texts::read;

/// Macros that write to the log: what they say is not about a file.
const LOGGING: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// The lines of a source's texts that are sentences. Its tests are passed over, and attributes but for the messages of errors.
fn sentences(tokens: TokenStream, found: &mut BTreeSet<String>) {
    let mut tokens = tokens.into_iter().peekable();
    let (mut for_tests, mut word) = (false, String::new());
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(mark) if mark.as_char() == '!' && LOGGING.contains(&word.as_str()) => drop(tokens.next()),
            TokenTree::Punct(mark) if mark.as_char() == '#' => {
                tokens.next_if(|next| matches!(next, TokenTree::Punct(mark) if mark.as_char() == '!'));
                let attribute = tokens.next_if(|next| matches!(next, TokenTree::Group(group) if group.delimiter() == Delimiter::Bracket));
                let Some(TokenTree::Group(attribute)) = attribute else { continue };
                let text = attribute.stream().to_string().replace(' ', "");
                for_tests |= text == "cfg(test)";
                if text.starts_with("error(") {
                    sentences(attribute.stream(), found);
                }
            }
            TokenTree::Group(group) => {
                let item_for_tests = std::mem::take(&mut for_tests) && group.delimiter() == Delimiter::Brace;
                if !item_for_tests {
                    sentences(group.stream(), found);
                }
            }
            TokenTree::Literal(literal) => {
                let text = text(&literal.to_string()).unwrap_or_default();
                found.extend(text.lines().filter(|line| is_sentence(line)).map(str::to_owned));
            }
            TokenTree::Ident(ident) => word = ident.to_string(),
            TokenTree::Punct(_) => {}
        }
    }
}

/// What a string's literal stands for.
fn text(literal: &str) -> Option<String> {
    let inner = literal.strip_prefix('"')?.strip_suffix('"')?;
    let mut text = String::new();
    let mut rest = inner.chars().peekable();
    while let Some(c) = rest.next() {
        match (c, rest.peek()) {
            ('\\', Some('\n')) => while rest.next_if(|c| c.is_whitespace()).is_some() {},
            ('\\', Some(_)) => match rest.next() {
                Some('n') => text.push('\n'),
                escaped => text.extend(escaped),
            },
            (c, _) => text.push(c),
        }
    }
    Some(text)
}

/// Two words at least, beside what is filled in.
fn is_sentence(text: &str) -> bool {
    let text = fixed_parts(text).join("");
    let words = text.split(' ').filter(|word| word.chars().filter(|c| c.is_ascii_alphabetic()).count() > 1);
    words.count() > 1
}

/// What stands between a message's placeholders.
fn fixed_parts(message: &str) -> Vec<String> {
    let (mut parts, mut part) = (Vec::new(), String::new());
    let mut rest = message.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '{' if rest.next_if_eq(&'{').is_none() => {
                parts.push(std::mem::take(&mut part));
                rest.by_ref().find(|c| *c == '}');
            }
            '}' => {
                rest.next_if_eq(&'}');
                part.push('}');
            }
            c => part.push(c),
        }
    }
    parts.push(part);
    parts.retain(|part| !part.is_empty());
    parts
}

fn shows(line: &str, parts: &[String]) -> bool {
    let mut rest = line;
    parts.iter().all(|part| match rest.split_once(part.as_str()) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}

/// True when one of the lines shows the message, whatever is filled in.
pub fn shown_by(lines: &[String], message: &str) -> bool {
    let parts = fixed_parts(message);
    lines.iter().any(|line| shows(line, &parts))
}

/// The lines of a source's texts that are sentences.
pub fn sentences_of(path: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    sentences(read(path).parse().unwrap_or_else(|error| panic!("{}: {error}", path.display())), &mut found);
    found
}
