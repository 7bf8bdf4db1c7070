//! Golden settings of the daemon: each `tests/settings/NNN-topic.toml` is good, or has what is said against it in `NNN-topic.err`.
//! `UPDATE_GOLDEN=1 cargo test` writes them anew.

use std::path::Path;

use firewall_user::settings::Partial;

mod golden;
mod messages;
mod texts;

use messages::{sentences_of, shown_by};
use texts::{files, read};

/// Where a settings file is read and checked.
const SOURCES: [&str; 2] = ["src/settings.rs", "src/zone.rs"];

#[test]
fn golden_settings() {
    let mut failures = Vec::new();
    let cases = files(Path::new("tests/settings"), "toml");
    assert!(cases.len() >= 10, "only {} golden settings were found", cases.len());
    for path in cases {
        let failure = Partial::read(&path).and_then(Partial::resolve).err();
        let told = failure.map(|failure| {
            let hint = failure.hint.map_or(String::new(), |hint| format!("hint: {hint}\n"));
            format!("{}\n{hint}", failure.error)
        });
        golden::check(&path, "err", told, &mut failures);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// What is said of a file that is not there, which no golden file can be beside.
fn missing() -> String {
    Partial::read(Path::new("tests/settings/none.toml")).expect_err("no file").error
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let told = missing();
    assert!(told.starts_with("tests/settings/none.toml cannot be read: "), "{told}");
}

#[test]
fn every_message_is_shown() {
    let goldens = files(Path::new("tests/settings"), "err");
    let shown: Vec<String> = goldens.iter().map(|path| read(path)).chain([missing()]).collect();
    let shown: Vec<String> = shown.iter().flat_map(|text| text.lines()).map(str::to_owned).collect();
    for source in SOURCES {
        let messages = sentences_of(Path::new(source));
        assert!(messages.len() > 1, "{source} says nothing");
        for message in messages {
            assert!(shown_by(&shown, &message), "no golden file of tests/settings shows {message:?} of {source}");
        }
    }
}
