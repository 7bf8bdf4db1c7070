//! Editing a policy file: one rule is added or removed, and no other byte changes.
//!
//! The file is parsed only to find where rules begin and end. Adding a rule and removing it again gives back the same text.

use std::ops::Range;

use firewall_common::{flow::Inspection, rule::Action};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{document, limits::RuleLimits, print};

/// A rule to be added. Texts are written as they are: check the edited file with [`super::load_sources`] before it is saved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRule {
    pub name: String,
    /// Empty: the key is left out.
    pub from: Vec<String>,
    pub to: Vec<String>,
    pub service: Vec<String>,
    pub action: Action,
    /// Written unless it is strict.
    pub inspection: Inspection,
    pub sanity_off: bool,
    /// As policies write them.
    pub guards: Vec<String>,
    /// Name of the normalizer profile.
    pub normalizer: Option<String>,
    /// As policies write it: `2m`.
    pub idle_timeout: Option<String>,
    /// Keys of `timeouts` with their durations as policies write them.
    pub timeouts: Vec<(&'static str, String)>,
    pub one_sided_flows: Option<u32>,
    pub limits: RuleLimits,
    pub expires: Option<jiff::Timestamp>,
    pub because: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    #[error("the file is not valid TOML: {0}")]
    Syntax(String),
    #[error("the file already has a rule \"{0}\"")]
    Duplicate(String),
    #[error("the file has no rule \"{0}\"")]
    NoSuchRule(String),
    #[error("the file is written in a way that cannot be edited without changing other parts of it: edit it by hand")]
    Entangled,
    #[error("\"{0}\" is not a date: write 2027-06-30 or 2027-06-30T18:00:00Z")]
    Date(String),
}

/// The moment a date or time names for `expires`: a date means the end of that day, a time without an offset is UTC.
pub fn parse_expires(text: &str) -> Result<jiff::Timestamp, EditError> {
    let written = text.parse().ok();
    written.as_ref().and_then(document::moment).ok_or_else(|| EditError::Date(text.to_owned()))
}

/// Adds a rule at the end, or before the rule named `before` (and the comment right above it).
pub fn add_rule(text: &str, rule: &NewRule, before: Option<&str>) -> Result<String, EditError> {
    let rules = find_rules(text)?;
    if rules.iter().any(|found| found.name.as_deref() == Some(&rule.name)) {
        return Err(EditError::Duplicate(rule.name.clone()));
    }
    let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let block = block(rule).replace('\n', newline);
    let (index, edited) = match before {
        Some(name) => {
            let index = position(&rules, name)?;
            let (head, tail) = text.split_at(comment_start(text, rules[index].range.start));
            (index, format!("{head}{block}{newline}{tail}"))
        }
        None if text.is_empty() => (0, block),
        None if text.ends_with('\n') => (rules.len(), format!("{text}{newline}{block}")),
        // The file ends without a line end, and goes on doing so.
        None => (rules.len(), format!("{text}{newline}{newline}{}", block.trim_end_matches(['\r', '\n']))),
    };
    if others(&edited, index)? == everything(text)? { Ok(edited) } else { Err(EditError::Entangled) }
}

/// Removes a rule, the comment right above it and the blank line that set it off.
pub fn remove_rule(text: &str, name: &str) -> Result<String, EditError> {
    let rules = find_rules(text)?;
    let index = position(&rules, name)?;
    let Range { start, end } = rules[index].range.clone();
    let (mut head, mut tail) = (&text[..comment_start(text, start)], &text[comment_end(text, end)..]);
    let unterminated = !text.ends_with('\n');
    if let Some(rest) = strip_newline_start(tail) {
        tail = rest;
    } else if let Some(rest) = blank_line_before(head).filter(|_| tail.is_empty()) {
        head = if unterminated { strip_newline_end(rest).unwrap_or(rest) } else { rest };
    }
    let edited = format!("{head}{tail}");
    if everything(&edited)? == others(text, index)? { Ok(edited) } else { Err(EditError::Entangled) }
}

/// The rule as a file has it.
pub(crate) fn block(rule: &NewRule) -> String {
    let mut table = print::Table::default();
    table.key("name", print::string(&rule.name));
    for (key, texts) in [("from", &rule.from), ("to", &rule.to), ("service", &rule.service)] {
        if !texts.is_empty() {
            table.key(key, print::strings(texts));
        }
    }
    table.key("action", print::string(print::action_name(rule.action)));
    if rule.inspection != Inspection::Strict {
        table.key("inspection", print::string(rule.inspection.name()));
    }
    if rule.sanity_off {
        table.key("sanity", print::string("off"));
    }
    if !rule.guards.is_empty() {
        table.key("guard", print::strings(&rule.guards));
    }
    if let Some(normalizer) = &rule.normalizer {
        table.key("normalizer", print::string(normalizer));
    }
    if let Some(idle) = &rule.idle_timeout {
        table.key("idle-timeout", print::string(idle));
    }
    if !rule.timeouts.is_empty() {
        let written: Vec<String> = rule.timeouts.iter().map(|(key, duration)| format!("{key} = {}", print::string(duration))).collect();
        table.key("timeouts", format_args!("{{ {} }}", written.join(", ")));
    }
    if let Some(quota) = rule.one_sided_flows {
        table.key("one-sided-flows", quota);
    }
    if let Some(limits) = rule.limits.print() {
        table.key("limits", limits);
    }
    if let Some(expires) = rule.expires {
        table.key("expires", print::moment(expires));
    }
    if let Some(because) = &rule.because {
        table.key("because", print::string(because));
    }
    format!("[[rule]]\n{table}")
}

struct Found {
    name: Option<String>,
    /// From the header to the end of the last value.
    range: Range<usize>,
}

fn find_rules(text: &str) -> Result<Vec<Found>, EditError> {
    let document = DeTable::parse(text).map_err(|error| EditError::Syntax(error.message().to_owned()))?;
    let Some(rules) = document.get_ref().get("rule") else { return Ok(Vec::new()) };
    let rules = rules.get_ref().as_array().ok_or(EditError::Entangled)?;
    let found = |rule: &Spanned<DeValue<'_>>| {
        let table = rule.get_ref().as_table()?;
        // An element of `rule = [{ … }]` has no header of its own.
        let headed = text.get(rule.span()).is_some_and(|header| header.starts_with("[["));
        let name = table.get("name").and_then(|name| name.get_ref().as_str()).map(str::to_owned);
        headed.then(|| Found { name, range: rule.span().start..last_end(rule) })
    };
    rules.iter().map(|rule| found(rule).ok_or(EditError::Entangled)).collect()
}

/// The end of the last thing that belongs to a value. A table's own span is only its header.
fn last_end(value: &Spanned<DeValue<'_>>) -> usize {
    let own = value.span().end;
    match value.get_ref() {
        DeValue::Table(table) => table.iter().map(|(key, value)| key.span().end.max(last_end(value))).fold(own, usize::max),
        DeValue::Array(array) => array.iter().map(last_end).fold(own, usize::max),
        _ => own,
    }
}

fn position(rules: &[Found], name: &str) -> Result<usize, EditError> {
    let named = |rule: &Found| rule.name.as_deref() == Some(name);
    rules.iter().position(named).ok_or_else(|| EditError::NoSuchRule(name.to_owned()))
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// Where the comment lines right above a header begin; the header's line when there are none.
fn comment_start(text: &str, header: usize) -> usize {
    let mut start = text[..header].rfind('\n').map_or(0, |at| at + 1);
    while let Some(above) = text[..start].split_inclusive('\n').next_back().filter(|line| is_comment(line)) {
        start -= above.len();
    }
    start
}

/// Where a rule's lines end: after its last value's line and the comments right below it, unless those are another rule's.
fn comment_end(text: &str, last_value: usize) -> usize {
    let own = text[last_value..].find('\n').map_or(text.len(), |at| last_value + at + 1);
    let comments: usize = text[own..].split_inclusive('\n').take_while(|line| is_comment(line)).map(str::len).sum();
    let after = &text[own + comments..];
    if after.is_empty() || strip_newline_start(after).is_some() { own + comments } else { own }
}

fn strip_newline_start(text: &str) -> Option<&str> {
    text.strip_prefix("\r\n").or_else(|| text.strip_prefix('\n'))
}

fn strip_newline_end(text: &str) -> Option<&str> {
    text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n'))
}

/// `text` without the blank line at its end.
fn blank_line_before(text: &str) -> Option<&str> {
    strip_newline_end(text).filter(|rest| rest.is_empty() || rest.ends_with('\n'))
}

fn everything(text: &str) -> Result<toml::Table, EditError> {
    let mut table: toml::Table = text.parse().map_err(|error: toml::de::Error| EditError::Syntax(error.message().to_owned()))?;
    // No rule and an empty list of rules are the same.
    if table.get("rule").and_then(toml::Value::as_array).is_some_and(Vec::is_empty) {
        table.remove("rule");
    }
    Ok(table)
}

/// What a file says without one of its rules.
fn others(text: &str, rule: usize) -> Result<toml::Table, EditError> {
    let mut table = everything(text)?;
    if let Some(rules) = table.get_mut("rule").and_then(toml::Value::as_array_mut).filter(|rules| rule < rules.len()) {
        rules.remove(rule);
        if rules.is_empty() {
            table.remove("rule");
        }
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::{EditError, NewRule, add_rule, parse_expires, remove_rule};
    use firewall_common::{flow::Inspection, rule::Action};

    fn vpn() -> NewRule {
        NewRule {
            name: "vpn".to_owned(),
            from: vec!["outside".to_owned()],
            to: vec!["inside 10.71.2.10".to_owned()],
            service: vec!["tcp/10000".to_owned()],
            action: Action::Allow,
            inspection: Inspection::Bypass,
            idle_timeout: Some("2m".to_owned()),
            expires: parse_expires("2027-06-30").ok(),
            because: Some("until \"AnyConnect\" is rolled out".to_owned()),
            ..NewRule::default()
        }
    }

    const VPN: &str = r#"[[rule]]
name         = "vpn"
from         = "outside"
to           = "inside 10.71.2.10"
service      = "tcp/10000"
action       = "allow"
inspection   = "bypass"
idle-timeout = "2m"
expires      = 2027-06-30
because      = 'until "AnyConnect" is rolled out'
"#;

    const FILE: &str = "# The site's rules.\n\n# Web.\n[[rule]]\nname = \"web\"   # public\naction = \"allow\"\n# from = \"outside\"\n\n\
                        [set.a] # a set\naddresses = [\n  \"10.0.0.1\", # one\n]\n# Last.\n[[rule]]\nname = \"last\"\naction = \"drop\"\n";

    #[test]
    fn a_rule_is_added_at_the_end() {
        assert_eq!(add_rule(FILE, &vpn(), None), Ok(format!("{FILE}\n{VPN}")));
        assert_eq!(add_rule("", &vpn(), None), Ok(VPN.to_owned()));
    }

    #[test]
    fn a_rule_is_added_before_another_and_its_comment() {
        let (head, tail) = FILE.split_at(FILE.find("# Last").expect("the comment"));
        assert_eq!(add_rule(FILE, &vpn(), Some("last")), Ok(format!("{head}{VPN}\n{tail}")));
    }

    #[test]
    fn a_rule_goes_with_its_comments() {
        let rest = "# The site's rules.\n\n[set.a] # a set\naddresses = [\n  \"10.0.0.1\", # one\n]\n# Last.\n[[rule]]\nname = \"last\"\naction = \"drop\"\n";
        assert_eq!(remove_rule(FILE, "web"), Ok(rest.to_owned()));
    }

    #[test]
    fn impossible_edits_are_refused() {
        let added = add_rule(FILE, &vpn(), None).expect("the rule can be added");
        assert_eq!(add_rule(&added, &vpn(), None), Err(EditError::Duplicate("vpn".to_owned())));
        assert_eq!(add_rule(FILE, &vpn(), Some("wbe")), Err(EditError::NoSuchRule("wbe".to_owned())));
        assert_eq!(remove_rule(FILE, "vpn"), Err(EditError::NoSuchRule("vpn".to_owned())));
        assert!(matches!(add_rule("[[rule", &vpn(), None), Err(EditError::Syntax(_))));
        assert_eq!(remove_rule("rule = [{ name = \"a\" }]", "a"), Err(EditError::Entangled));
        let interleaved = "[[rule]]\nname = \"a\"\n[set.b]\naddresses = \"10.0.0.1\"\n[rule.timeouts]\nicmp = \"5s\"\n";
        assert_eq!(remove_rule(interleaved, "a"), Err(EditError::Entangled));
        assert_eq!(parse_expires("2027-02-30"), Err(EditError::Date("2027-02-30".to_owned())));
    }
}
