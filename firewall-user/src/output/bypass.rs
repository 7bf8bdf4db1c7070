use super::{
    line,
    number::{ago, duration},
    print, table,
};
use crate::api::BypassRule;

/// From then on a bypass that was not needed is remarked on.
const LONG: u64 = 30 * 86_400;
const WEEK: u64 = 7 * 86_400;

/// `weir bypass list`.
pub fn bypass(rules: &[BypassRule]) -> anyhow::Result<()> {
    if rules.is_empty() {
        return line("no bypass rules");
    }
    let header = [
        "RULE",
        "FROM",
        "TO",
        "SERVICE",
        "GUARD",
        "FLOWS",
        "HITS",
        "LAST HIT",
        "NEEDED",
        "LAST NEEDED",
        "EXPIRES",
        "REMARK",
        "PLACE",
        "BECAUSE",
    ];
    let mut rows = table(&header, &[5, 6, 7, 8]);
    for rule in rules {
        rows.add_row([
            rule.name.clone(),
            rule.from.clone(),
            rule.to.clone(),
            rule.service.clone(),
            if rule.guard.is_empty() { "-".to_owned() } else { rule.guard.join(", ") },
            rule.flows.to_string(),
            rule.hits.to_string(),
            ago(rule.last_hit_seconds_ago),
            rule.needed.to_string(),
            needed(rule),
            expires(rule),
            remark(rule),
            format!("{}:{}", rule.file, rule.line),
            rule.because.clone().unwrap_or_default(),
        ]);
    }
    print(&rows)
}

/// When and why, or for how long nothing is known of it.
fn needed(rule: &BypassRule) -> String {
    match (&rule.last_needed, &rule.needed_for) {
        (None, _) => format!("never in {}", duration(rule.known_for_seconds as f64)),
        (Some(_), Some(reason)) => format!("{}, {reason}", ago(rule.last_needed_seconds_ago)),
        (Some(_), None) => ago(rule.last_needed_seconds_ago),
    }
}

fn expires(rule: &BypassRule) -> String {
    match (&rule.expires, rule.expires_in_seconds) {
        (None, _) => "never".to_owned(),
        (Some(at), _) if rule.expired => format!("{at} (expired)"),
        (Some(_), Some(left)) => format!("in {}", duration(left as f64)),
        (Some(at), None) => at.clone(),
    }
}

fn remark(rule: &BypassRule) -> String {
    let soon = rule.expires_in_seconds.is_some_and(|left| left <= WEEK);
    let remarks = [
        (rule.expired, "expired".to_owned()),
        (soon && !rule.expired, "expires soon".to_owned()),
        (rule.not_needed_for_seconds >= LONG, format!("not needed for {} days", rule.not_needed_for_seconds / 86_400)),
    ];
    let told: Vec<String> = remarks.into_iter().filter_map(|(is, remark)| is.then_some(remark)).collect();
    if told.is_empty() { "-".to_owned() } else { told.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(last_needed: Option<u64>, known: u64, left: Option<u64>) -> BypassRule {
        BypassRule {
            name: "vpn".to_owned(),
            file: "a.toml".to_owned(),
            line: 1,
            from: "outside".to_owned(),
            to: "inside".to_owned(),
            service: "tcp/10000".to_owned(),
            guard: Vec::new(),
            because: None,
            expires: left.map(|_| "2027-07-01T00:00:00Z".to_owned()),
            expired: left == Some(0),
            expires_in_seconds: left,
            flows: 0,
            hits: 0,
            last_hit: None,
            last_hit_seconds_ago: None,
            needed: u64::from(last_needed.is_some()),
            last_needed: last_needed.map(|_| "2027-06-01T00:00:00Z".to_owned()),
            last_needed_seconds_ago: last_needed,
            needed_for: last_needed.map(|_| "tcp-seq-past-win".to_owned()),
            known_since: "2027-01-01T00:00:00Z".to_owned(),
            known_for_seconds: known,
            not_needed_for_seconds: last_needed.unwrap_or(known),
        }
    }

    #[test]
    fn a_bypass_says_whether_it_is_needed_and_how_long_it_holds() {
        let fresh = rule(None, 61, None);
        assert_eq!([needed(&fresh), expires(&fresh), remark(&fresh)], ["never in 1m01s", "never", "-"]);
        let used = rule(Some(3), 90 * 86_400, Some(2 * 86_400));
        assert_eq!([needed(&used), expires(&used), remark(&used)], ["3s ago, tcp-seq-past-win", "in 2d00h", "expires soon"]);
        let idle = rule(Some(31 * 86_400), 90 * 86_400, Some(0));
        assert_eq!([expires(&idle), remark(&idle)], ["2027-07-01T00:00:00Z (expired)", "expired, not needed for 31 days"]);
        assert_eq!(remark(&rule(None, 29 * 86_400, Some(8 * 86_400))), "-");
    }
}
