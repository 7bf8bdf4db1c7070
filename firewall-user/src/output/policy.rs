use super::{line, number::ago, print, table};
use crate::api::PolicyInForce;

/// `weir policy show --hits`: the policy in its canonical form, then what its rules have done.
pub fn policy(policy: &PolicyInForce) -> anyhow::Result<()> {
    line(&format!("# {}, generation {}\n", policy.path, policy.generation))?;
    line(policy.text.trim_end())?;
    line("")?;
    let mut rows = table(&["# RULE", "HITS", "LAST HIT", "FLOWS", "PLACE"], &[1, 2, 3]);
    for rule in &policy.rules {
        let note = match (rule.enabled, rule.expired, rule.in_hours) {
            (false, ..) => " (disabled)",
            (true, true, _) => " (expired)",
            (true, false, Some(false)) => " (not in its hours)",
            (true, false, Some(true)) => " (in its hours)",
            (true, false, None) => "",
        };
        rows.add_row([
            format!("# {}{note}", rule.name),
            rule.hits.to_string(),
            ago(rule.last_hit_seconds_ago),
            rule.flows.to_string(),
            format!("{}:{}", rule.file, rule.line),
        ]);
    }
    print(&rows)
}
