//! The commands in the documents exist: every `weir …` that a document shows is one that `weir` takes, options, values and filters included.
//!
//! Shown are lines of blocks marked `console` (after `# `) or `sh`, and indented lines that begin with `weir`; synopses, which have their parts in
//! brackets or capitals, are read as far as those. In running text the verb and the options of what stands between backticks must exist.

use std::{fs, path::Path};

use clap::{Command, CommandFactory as _};
use firewall_user::{cli::Cli, filter::Filter};

#[expect(dead_code, reason = "what blocks of TOML have is for other tests")]
mod documents;
mod texts;

use documents::{blocks, documents};

/// Named in the README as not there yet.
const NOT_YET: [&str; 3] = ["capture", "doctor", "top"];

/// A command line as a shell splits it, up to the first `|`, `>` or `&`.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for letter in line.chars() {
        match (letter, quote) {
            ('\'' | '"', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (_, Some(open)) if letter == open => quote = None,
            ('|' | '>' | '&' | '#', None) if word.is_none() => break,
            (' ', None) => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

/// The command lines a document shows, with their line numbers.
fn shown(file: &Path) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for block in blocks(file) {
        let prompt = match block.info.as_str() {
            "console" => "# weir ",
            "sh" => "weir ",
            _ => continue,
        };
        collect(&mut found, block.text.lines().zip(block.line + 1..), |line| {
            line.starts_with(prompt).then(|| line.trim_start_matches("# "))
        });
    }
    let text = fs::read_to_string(file).expect("a document");
    let mut fenced = false;
    let outside = text.lines().zip(1..).filter(|(line, _)| {
        fenced ^= line.trim_start().starts_with("```");
        !fenced
    });
    collect(&mut found, outside, |line| (line.starts_with("    ") && line.trim_start().starts_with("weir ")).then(|| line.trim_start()));
    found
}

/// Lines that `command` finds something in, those that end in `\` with what they go on with.
fn collect<'a>(
    found: &mut Vec<(usize, String)>,
    lines: impl Iterator<Item = (&'a str, usize)>,
    command: impl Fn(&'a str) -> Option<&'a str>,
) {
    let mut open = false;
    for (line, number) in lines {
        let part = if open { Some(line.trim_start()) } else { command(line) };
        let Some(part) = part else { continue };
        let (part, goes_on) = part.strip_suffix('\\').map_or((part, false), |part| (part, true));
        match found.last_mut().filter(|_| open) {
            Some((_, whole)) => *whole += part,
            None => found.push((number, part.to_owned())),
        }
        open = goes_on;
    }
}

/// What stands between backticks and begins with `weir `.
fn mentioned(file: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(file).expect("a document");
    let spans = |(line, number): (&str, usize)| -> Vec<(usize, String)> {
        let inside = line.split('`').enumerate().filter(|(place, _)| place % 2 == 1).map(|(_, span)| span);
        inside.filter(|span| span.starts_with("weir ")).map(|span| (number, span.to_owned())).collect()
    };
    text.lines().zip(1..).flat_map(spans).collect()
}

/// `PATH`, `[FLAGS]` or `…`, which stand for something else.
fn is_placeholder(word: &str) -> bool {
    word.starts_with('[') || word.contains('…') || (word.len() > 1 && word.chars().all(|letter| letter.is_ascii_uppercase()))
}

fn is_synopsis(words: &[String]) -> bool {
    words.iter().any(|word| is_placeholder(word))
}

/// Why `weir` would not take this command line.
fn refused(words: &[String]) -> Option<String> {
    if let Err(error) = Cli::command().try_get_matches_from(words) {
        return Some(error.to_string());
    }
    let filters: Vec<&String> = words.iter().skip(2).filter(|word| !word.starts_with('-') && word.contains('=')).collect();
    let of_flows = words.get(1).is_some_and(|verb| verb == "flows");
    of_flows.then(|| Filter::parse(&filters).err()).flatten().map(|failure| failure.to_string())
}

/// The first verb or option that there is not.
fn unknown(words: &[String]) -> Option<String> {
    let root = Cli::command();
    let mut command: &Command = &root;
    let mut verbs = true;
    let mut words = words.iter().skip(1);
    while let Some(word) = words.next() {
        if let Some(option) = word.strip_prefix("--").map(|option| option.split('=').next().unwrap_or(option)) {
            let known = |command: &Command| command.get_arguments().find(|argument| argument.get_long() == Some(option)).cloned();
            match known(command).or_else(|| known(&root)) {
                Some(argument) if argument.get_action().takes_values() && !word.contains('=') => {
                    // Its value.
                    words.next();
                }
                Some(_) => {}
                None if matches!(option, "help" | "version") => {}
                None => return Some(word.clone()),
            }
        } else if verbs && !is_placeholder(word) {
            // `add|list|remove` names several.
            let names: Vec<&str> = word.split('|').collect();
            match names.iter().map(|name| command.find_subcommand(name)).collect::<Option<Vec<_>>>() {
                Some(found) => command = found.last().copied().unwrap_or(command),
                None if command.get_positionals().next().is_some() => verbs = false,
                None => return Some(word.clone()),
            }
        }
    }
    None
}

#[test]
fn commands_of_the_documents_exist() {
    let (mut lines, mut spans, mut failures) = (0, 0, Vec::new());
    for document in documents() {
        let place = |number: usize| format!("{}:{number}", document.display());
        for (number, line) in shown(&document) {
            let words = words(&line);
            let wrong = if is_synopsis(&words) { unknown(&words) } else { refused(&words) };
            failures.extend(wrong.map(|why| format!("{}: `{line}`: {why}", place(number))));
            lines += 1;
        }
        for (number, span) in mentioned(&document) {
            let words = words(&span);
            if !words.get(1).is_some_and(|verb| NOT_YET.contains(&verb.as_str())) {
                failures.extend(unknown(&words).map(|word| format!("{}: `{span}`: there is no {word}", place(number))));
            }
            spans += 1;
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(lines >= 40 && spans >= 60, "{lines} lines and {spans} mentions: are they still found?");
}

#[test]
fn what_there_is_not_is_noticed() {
    let refused = |line: &str| refused(&words(line)).is_some();
    assert!(!refused("weir bypass add x --from outside --to 'inside 10.0.0.1' --service tcp/1 --because \"a b\" | less"));
    for line in ["weir bypas list", "weir flows --jsn", "weir flows colour=red", "weir status --wait soon", "weir policy apply"] {
        assert!(refused(line), "{line} is taken");
    }
    let unknown = |line: &str| unknown(&words(line));
    assert_eq!(unknown("weir policy chek"), Some("chek".to_owned()));
    assert_eq!(unknown("weir policy apply PATH --confrm 60"), Some("--confrm".to_owned()));
    assert_eq!(unknown("weir bypass add|list|remove"), None);
    assert_eq!(unknown("weir flows kill address=10.0.0.1 --all"), None);
}
