//! The examples of all documents are true: policies load, settings are read, and what is shown as wrong is refused with the words shown.
//!
//! A block marked `toml` is a policy, or a part of one; `toml bad` is refused, and the block `text` after it says how. One that begins with
//! `# weir.toml` is the daemon's settings.

use std::{env, fs, process};

use firewall_user::{
    policy::{self, Diagnostics, Policy, Source, Warning},
    settings::Partial,
};

mod documents;
mod texts;

use documents::{Block, blocks, documents};

/// The day the examples are judged by: their own `expires` must not make the test fail one day.
const TODAY: &str = "2027-01-01T00:00:00Z";

fn check(text: String) -> Result<(Policy, Vec<Warning>), Diagnostics> {
    policy::load_sources_at(vec![Source { path: "web.toml".into(), text }], None, TODAY.parse().expect("a timestamp"))
}

/// Definitions alone are no policy: a rule completes them.
fn completed(block: &str) -> String {
    let rule = if block.contains("[[rule]]") { "" } else { "[[rule]]\nname = \"r\"\naction = \"drop\"\n" };
    format!("{block}{rule}")
}

fn check_settings(block: &Block) {
    let file = env::temp_dir().join(format!("weir-examples-{}.toml", process::id()));
    fs::write(&file, &block.text).expect("a temporary file");
    let read = Partial::read(&file).and_then(Partial::resolve);
    fs::remove_file(&file).expect("removed");
    read.unwrap_or_else(|error| panic!("{}: {error}", block.place()));
}

#[test]
fn examples_of_the_documents_are_true() {
    let (mut good, mut bad, mut settings) = (0, 0, 0);
    for document in documents() {
        let blocks = blocks(&document);
        for (index, block) in blocks.iter().enumerate() {
            match block.info.as_str() {
                "toml" if block.is_settings() => {
                    check_settings(block);
                    settings += 1;
                }
                "toml" => {
                    check(completed(&block.text)).unwrap_or_else(|errors| panic!("{}:\n{errors}", block.place()));
                    good += 1;
                }
                "toml bad" => {
                    let errors = check(block.text.clone()).err().unwrap_or_else(|| panic!("{} is accepted", block.place()));
                    let told = blocks.get(index + 1).filter(|told| told.info == "text").map(|told| told.text.as_str());
                    assert_eq!(told, Some(format!("{errors}\n").as_str()), "{}", block.place());
                    bad += 1;
                }
                other => assert!(!other.contains("toml"), "{}: nobody checks blocks marked `{other}`", block.place()),
            }
        }
    }
    assert!(good >= 12 && bad >= 1 && settings >= 1, "{good} good and {bad} bad policies, {settings} settings");
}
