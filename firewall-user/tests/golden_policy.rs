//! Golden policies: each `tests/policies/NNN-topic.toml` (or directory of that name) has its canonical print in `NNN-topic.ok`, with its
//! warnings in `NNN-topic.warn`, or its diagnostics in `NNN-topic.err`. `UPDATE_GOLDEN=1 cargo test` writes them anew.
//!
//! A first line `# zones: inside outside` gives the zones that exist; without it every zone is accepted.

use std::{
    fs,
    path::{Path, PathBuf},
};

use firewall_user::policy::{self, Diagnostics, Source};

mod golden;

use golden::check;

/// Expired rules are judged by this day, whatever the real one is.
const TODAY: &str = "2026-06-01T12:00:00Z";

fn cases() -> Vec<PathBuf> {
    // Relative: the diagnostics show the path.
    let entries = fs::read_dir("tests/policies").expect("the golden policies");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a directory entry").path()).collect();
    paths.retain(|path| path.is_dir() || path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    paths
}

fn zones(path: &Path) -> Option<Vec<String>> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().next()?.strip_prefix("# zones:")?;
    Some(line.split_whitespace().map(str::to_owned).collect())
}

fn load(path: &Path) -> Result<(policy::Policy, Vec<policy::Warning>), Diagnostics> {
    let now = TODAY.parse().expect("a timestamp");
    policy::load_sources_at(policy::read_sources(path)?, zones(path).as_deref(), now)
}

#[test]
fn golden_policies() {
    let mut failures = Vec::new();
    let cases = cases();
    assert!(cases.len() >= 30, "only {} golden policies were found", cases.len());
    for path in cases {
        let (ok, warnings, errors) = match load(&path) {
            Ok((policy, warnings)) => {
                let print = policy.to_string();
                let warnings: String = warnings.iter().map(|warning| format!("{warning}\n")).collect();
                (Some(print), (!warnings.is_empty()).then_some(warnings), None)
            }
            Err(errors) => (None, None, Some(format!("{errors}\n"))),
        };
        check(&path, "ok", ok, &mut failures);
        check(&path, "warn", warnings, &mut failures);
        check(&path, "err", errors, &mut failures);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn canonical_prints_are_fixpoints() {
    let mut seen = 0;
    for path in cases() {
        let Ok((policy, _)) = load(&path) else { continue };
        let print = policy.to_string();
        let again = policy::load_sources(vec![Source { path: "print.toml".into(), text: print.clone() }], None);
        let (again, _) = again.unwrap_or_else(|errors| panic!("{} prints as something that does not load:\n{errors}", path.display()));
        assert_eq!(again.to_string(), print, "{}", path.display());
        seen += 1;
    }
    assert!(seen >= 5, "only {seen} golden policies load");
}
