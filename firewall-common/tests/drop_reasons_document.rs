//! `docs/drop-reasons.md` says what the one list says: a table with a row for each reason, in its order.

use firewall_common::reason::Reason;

const DOCUMENT: &str = include_str!("../../docs/drop-reasons.md");

#[test]
fn the_document_has_the_list() {
    let rows: Vec<&str> =
        DOCUMENT.lines().filter(|line| line.starts_with("| ") && line.as_bytes().get(2).is_some_and(u8::is_ascii_digit)).collect();
    let expected: Vec<String> = Reason::ALL.iter().map(|reason| row(*reason)).collect();
    for (row, expected) in rows.iter().zip(&expected) {
        assert_eq!(row, expected, "the document differs from the list");
    }
    assert_eq!(rows.len(), expected.len(), "the document has another number of reasons; the list's rows are:\n{}", expected.join("\n"));
}

fn row(reason: Reason) -> String {
    let stage = format!("{:?}", reason.stage()).to_lowercase();
    format!("| {} | `{}` | {stage} | {} |", reason as u8, reason.name(), reason.help().replace('|', "\\|"))
}
