//! `cargo xtask codegen`: writes the parts of the documents that are made from the code. A test fails when one is out of date.

use std::{fs, process::ExitCode};

use anyhow::{Context, Result};
use firewall_common::reason::Reason;

use crate::build;

const DOCUMENT: &str = "docs/drop-reasons.md";
/// Lines around the table of drop reasons.
const BEGIN: &str = "<!-- The table is generated from firewall-common/src/reason.rs: cargo xtask codegen -->";
const END: &str = "<!-- End of the generated table. -->";

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Write nothing; fail when something is out of date.
    #[arg(long)]
    check: bool,
}

/// # Errors
/// When the document cannot be read or written, or lacks the lines that mark its generated part.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let path = build::workspace().join(DOCUMENT);
    let document = fs::read_to_string(&path).with_context(|| format!("cannot read {DOCUMENT}"))?;
    let renewed = renewed(&document)?;
    if renewed == document {
        println!("{DOCUMENT} is up to date");
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.check {
        eprintln!("{DOCUMENT} is out of date: cargo xtask codegen");
        return Ok(ExitCode::FAILURE);
    }
    fs::write(&path, renewed).with_context(|| format!("cannot write {DOCUMENT}"))?;
    println!("{DOCUMENT} is written");
    Ok(ExitCode::SUCCESS)
}

/// The document with the table as the list says it.
fn renewed(document: &str) -> Result<String> {
    let (before, rest) = document.split_once(BEGIN).with_context(|| format!("{DOCUMENT} lacks the line {BEGIN}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("{DOCUMENT} lacks the line {END}"))?;
    let rows: String = Reason::ALL.iter().map(|reason| row(*reason)).collect();
    Ok(format!("{before}{BEGIN}\n| number | name | stage | help |\n|---|---|---|---|\n{rows}{END}{after}"))
}

fn row(reason: Reason) -> String {
    let stage = format!("{:?}", reason.stage()).to_lowercase();
    format!("| {} | `{}` | {stage} | {} |\n", reason as u8, reason.name(), reason.help().replace('|', "\\|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_the_list() {
        let document = fs::read_to_string(build::workspace().join(DOCUMENT)).expect("it can be read");
        let renewed = renewed(&document).expect("it has the lines around the table");
        for (is, should) in document.lines().zip(renewed.lines()) {
            assert_eq!(is, should, "{DOCUMENT} differs from the list: cargo xtask codegen");
        }
        assert_eq!(document, renewed, "{DOCUMENT} differs from the list: cargo xtask codegen");
    }

    #[test]
    fn what_stands_around_the_table_stays() {
        let document = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let renewed = renewed(&document).expect("marked");
        assert!(renewed.starts_with("before\n") && renewed.ends_with("\nafter\n") && !renewed.contains("\nold\n"));
        assert!(renewed.contains("| 23 | `acl-drop` | classify |"));
        assert!(super::renewed("no marks").is_err());
    }
}
