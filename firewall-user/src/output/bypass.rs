use super::{line, print, table};
use crate::api::BypassRule;

/// `weir bypass list`.
pub fn bypass(rules: &[BypassRule]) -> anyhow::Result<()> {
    if rules.is_empty() {
        return line("no bypass rules");
    }
    let mut rows = table(&["RULE", "FROM", "TO", "SERVICE", "FLOWS", "HITS", "EXPIRES", "PLACE", "BECAUSE"], &[4, 5]);
    for rule in rules {
        let expires = match (&rule.expires, rule.expired) {
            (Some(at), true) => format!("{at} (expired)"),
            (Some(at), false) => at.clone(),
            (None, _) => "never".to_owned(),
        };
        rows.add_row([
            rule.name.clone(),
            rule.from.clone(),
            rule.to.clone(),
            rule.service.clone(),
            rule.flows.to_string(),
            rule.hits.to_string(),
            expires,
            format!("{}:{}", rule.file, rule.line),
            rule.because.clone().unwrap_or_default(),
        ]);
    }
    print(&rows)
}
