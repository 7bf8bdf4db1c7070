//! The canonical print of a policy: one file with defaults, what is recognised, sets, services, normalizer profiles and rules, which reads back to the same print.

use std::fmt::{self, Write as _};

use firewall_common::{flow::Inspection, rule::Action};

use super::{
    Policy, applications,
    definitions::{Defaults, DropOrPass},
    duration,
    normalizer::Normalizer,
    rule::RuleInfo,
};

/// Keys are padded to at least this width, so that the equal signs of most rules stand below each other.
const KEY_WIDTH: usize = 12;
/// Longer arrays get one element per line.
const LINE_WIDTH: usize = 100;

/// A TOML string.
pub(crate) fn string(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}

/// A string when there is one, else an array.
pub(crate) fn strings(texts: &[String]) -> String {
    match texts {
        [only] => string(only),
        more => array(more),
    }
}

pub(crate) fn array(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| string(text)).collect();
    let line = format!("[{}]", quoted.join(", "));
    if line.len() <= LINE_WIDTH { line } else { format!("[\n    {},\n]", quoted.join(",\n    ")) }
}

/// A date for the end of a day, else date and time.
pub(super) fn moment(moment: jiff::Timestamp) -> String {
    let written = jiff::tz::TimeZone::UTC.to_datetime(moment);
    let midnight = jiff::civil::Time::midnight();
    match (written.time() == midnight, written.date().yesterday()) {
        (true, Ok(day)) => day.to_string(),
        _ => format!("{written}Z"),
    }
}

pub(super) const fn action_name(action: Action) -> &'static str {
    match action {
        Action::Allow => "allow",
        Action::Drop => "drop",
        Action::Reject => "reject",
    }
}

/// Keys and values of a table, in order.
#[derive(Default)]
pub(crate) struct Table(Vec<(&'static str, String)>);

impl Table {
    /// Keys with the values they are printed with.
    pub(super) fn into_keys(self) -> Vec<(&'static str, String)> {
        self.0
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn key(&mut self, key: &'static str, value: impl fmt::Display) {
        self.0.push((key, value.to_string()));
    }

    pub(super) fn duration(&mut self, key: &'static str, millis: Option<u32>) {
        if let Some(millis) = millis {
            self.key(key, format_args!("\"{}\"", duration::print(millis)));
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|(key, _)| key.len()).max().unwrap_or(0).max(KEY_WIDTH);
        self.0.iter().try_for_each(|(key, value)| writeln!(f, "{key:width$} = {value}"))
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let defaults = write_defaults(&self.defaults, f)?;
        let mut first = !defaults;
        let recognised = applications::table(&self.applications);
        if !recognised.is_empty() {
            separate(&mut first, f)?;
            write!(f, "[applications]\n{recognised}")?;
        }
        for (kind, only, tables) in [("set", "addresses", &self.sets), ("service", "ports", &self.services)] {
            for (name, texts) in tables {
                separate(&mut first, f)?;
                writeln!(f, "[{kind}.{}]\n{only} = {}", table_name(name), array(texts))?;
            }
        }
        for normalizer in &self.normalizers {
            if let Some(base) = &normalizer.base {
                separate(&mut first, f)?;
                write_normalizer(normalizer, base, f)?;
            }
        }
        for rule in &self.rules {
            separate(&mut first, f)?;
            write_rule(rule, &self.defaults, f)?;
        }
        f.write_str("\n# Everything else is dropped.\n")
    }
}

/// A bare key may not hold a dot; a quoted one may hold anything.
pub(crate) fn table_name(name: &str) -> String {
    if name.contains('.') { format!("\"{name}\"") } else { name.to_owned() }
}

fn write_normalizer(normalizer: &Normalizer, base: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "[normalizer.{}]\n{}", table_name(&normalizer.name), normalizer_table(normalizer, base))
}

/// What differs from the base.
pub(super) fn normalizer_table(normalizer: &Normalizer, base: &str) -> Table {
    let mut table = Table::default();
    table.key("base", string(base));
    for (key, setting) in normalizer.differences() {
        table.key(key, setting);
    }
    table
}

fn separate(first: &mut bool, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if std::mem::take(first) { Ok(()) } else { f.write_char('\n') }
}

/// Writes what differs from the built-in defaults; false when nothing does.
fn write_defaults(defaults: &Defaults, f: &mut fmt::Formatter<'_>) -> Result<bool, fmt::Error> {
    if *defaults == Defaults::default() {
        return Ok(false);
    }
    write!(f, "[defaults]\n{}", defaults_table(defaults))?;
    Ok(true)
}

/// What differs from the built-in defaults.
pub(super) fn defaults_table(defaults: &Defaults) -> Table {
    let built_in = Defaults::default();
    let mut table = Table::default();
    if defaults.inspection != built_in.inspection {
        table.key("inspection", string(defaults.inspection.name()));
    }
    if let Some(normalizer) = &defaults.normalizer {
        table.key("normalizer", string(normalizer));
    }
    table.duration("idle-timeout", defaults.overrides.idle);
    if let Some(timeouts) = defaults.overrides.print_table() {
        table.key("timeouts", timeouts);
    }
    if defaults.one_sided_flows != built_in.one_sided_flows {
        table.key("one-sided-flows", defaults.one_sided_flows);
    }
    for (key, what) in [
        ("table-full", defaults.table_full),
        ("fragments-before-first", defaults.fragments_before_first),
        ("fragments-dont-fragment", defaults.fragments_dont_fragment),
    ] {
        if what == DropOrPass::Pass {
            table.key(key, "\"pass\"");
        }
    }
    if defaults.reject_rate != built_in.reject_rate {
        table.key("reject-rate", defaults.reject_rate);
    }
    if let Some(zone) = &defaults.time_zone {
        table.key("time-zone", string(zone));
    }
    table
}

fn write_rule(rule: &RuleInfo, defaults: &Defaults, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "[[rule]]\n{}", rule_table(rule, defaults))
}

/// What a rule says beside `defaults`.
pub(super) fn rule_table(rule: &RuleInfo, defaults: &Defaults) -> Table {
    let mut table = Table::default();
    table.key("name", string(&rule.name));
    if !rule.enabled {
        table.key("enabled", false);
    }
    table.key("from", strings(&rule.from));
    table.key("to", strings(&rule.to));
    table.key("service", strings(&rule.service));
    table.key("action", string(action_name(rule.action)));
    if rule.action == Action::Allow && rule.inspection != defaults.inspection {
        table.key("inspection", string(rule.inspection.name()));
    }
    if rule.sanity_off {
        table.key("sanity", "\"off\"");
    }
    if let Some(guards) = rule.guards.print() {
        table.key("guard", guards);
    }
    if let Some(normalizer) = rule.normalizer.as_deref().filter(|name| *name != defaults.normalizer_of(rule.inspection)) {
        table.key("normalizer", string(normalizer));
    }
    table.duration("idle-timeout", rule.overrides.idle);
    if let Some(timeouts) = rule.overrides.print_table() {
        table.key("timeouts", timeouts);
    }
    if rule.inspection == Inspection::Bypass && rule.one_sided_flows != defaults.one_sided_flows {
        table.key("one-sided-flows", rule.one_sided_flows);
    }
    if let Some(limits) = rule.limits.print() {
        table.key("limits", limits);
    }
    if !rule.hours.is_empty() {
        let hours: Vec<String> = rule.hours.iter().map(ToString::to_string).collect();
        table.key("hours", strings(&hours));
    }
    if let Some(expires) = rule.expires {
        table.key("expires", moment(expires));
    }
    if rule.log {
        table.key("log", true);
    }
    if let Some(because) = &rule.because {
        table.key("because", string(because));
    }
    table
}
