//! Every message and hint about a policy is shown by a golden file, or by the test that is named here: a new one without a test fails.

use std::path::Path;

use firewall_user::policy;

mod messages;
mod texts;

use messages::{sentences_of, shown_by};
use texts::{files, read};

/// Sources that say nothing about the files of a policy.
const SILENT: [&str; 6] = ["diff.rs", "edit.rs", "key.rs", "pattern.rs", "print.rs", "schema.rs"];

/// Tests that show what only a large policy is told, one that cannot be read, or who changes a set.
const ELSEWHERE: [&str; 4] = ["tests/policy_limits.rs", "tests/policy_normalizers.rs", "tests/cli/watching.rs", "tests/cli/sets.rs"];

/// Every text of the schema: what is said of keys is no message.
fn said_by_schema(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::String(text) => found.push(text.clone()),
        serde_json::Value::Array(values) => values.iter().for_each(|value| said_by_schema(value, found)),
        serde_json::Value::Object(values) => values.values().for_each(|value| said_by_schema(value, found)),
        _ => {}
    }
}

#[test]
fn every_message_is_shown_by_a_test() {
    let goldens = ["err", "warn"].into_iter().flat_map(|extension| files(Path::new("tests/policies"), extension));
    let mut shown: Vec<String> = goldens.flat_map(|path| read(&path).lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    said_by_schema(&policy::schema(), &mut shown);
    shown.extend(ELSEWHERE.iter().flat_map(|test| sentences_of(Path::new(test))));
    let (mut count, mut missing) = (0, Vec::new());
    for path in files(Path::new("src/policy"), "rs") {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if SILENT.contains(&name.as_str()) {
            continue;
        }
        for message in sentences_of(&path) {
            count += 1;
            if !shown_by(&shown, &message) {
                missing.push(format!("src/policy/{name}: {message:?}"));
            }
        }
    }
    assert!(missing.is_empty(), "no golden file of tests/policies shows these messages:\n{}", missing.join("\n"));
    assert!(count >= 150, "only {count} messages were found");
}
