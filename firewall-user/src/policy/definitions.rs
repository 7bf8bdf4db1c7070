//! What rules can refer to: `[set.NAME]`, `[service.NAME]` and `[defaults]`, gathered from all files before any rule is read.

use std::collections::{BTreeMap, BTreeSet};

use firewall_common::{
    application::Applications,
    flow::Inspection,
    rule::{MAX_ADDRESS_PREFIXES, Timeouts},
};
use jiff::tz::TimeZone;
use toml::de::DeTable;

use super::{
    applications,
    diagnostic::{Place, Report, quoted},
    document::{Text, Value, place},
    key::{self, Key},
    normalizer::{self, Normalizers},
    service::{self, PortRange, ServiceItem, is_name},
    sets::Set,
    timeouts::Overrides,
};

/// Prefixes that addresses may come to: one policy's share of the table.
pub(super) const MAX_PREFIXES: usize = MAX_ADDRESS_PREFIXES as usize / 2;
/// Prefixes of all sets together, and of all lists of addresses of the rules: bounds the memory a policy can take.
pub(super) const MAX_ALL_PREFIXES: usize = 1 << 20;
/// One-sided bypass flows a rule may have when nothing is said.
pub const DEFAULT_ONE_SIDED_FLOWS: u32 = 1_024;
/// Answers to rejected packets per second when nothing is said.
pub const DEFAULT_REJECT_RATE: u32 = 100;

/// What happens to packets of one kind that are dropped unless the policy says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DropOrPass {
    #[default]
    Drop,
    Pass,
}

/// The words for them.
pub(super) const DROP_OR_PASS: [(&str, DropOrPass); 2] = [("drop", DropOrPass::Drop), ("pass", DropOrPass::Pass)];

/// The policy's defaults: `[defaults]`, and the built-in values for what it does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    pub inspection: Inspection,
    /// Name of the normalizer profile; `None`: as the inspection level has it.
    pub normalizer: Option<String>,
    pub timeouts: Timeouts,
    pub one_sided_flows: u32,
    /// A packet whose flow finds no room; it passes without state.
    pub table_full: DropOrPass,
    /// A fragment that comes before its datagram's first.
    pub fragments_before_first: DropOrPass,
    /// A later fragment with "don't fragment" set.
    pub fragments_dont_fragment: DropOrPass,
    /// Answers to rejected packets per second.
    pub reject_rate: u32,
    /// Name of the time zone that `hours` are in; `None`: the system's.
    pub time_zone: Option<String>,
    pub(super) overrides: Overrides,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            inspection: Inspection::Strict,
            normalizer: None,
            timeouts: Timeouts::DEFAULT,
            one_sided_flows: DEFAULT_ONE_SIDED_FLOWS,
            table_full: DropOrPass::Drop,
            fragments_before_first: DropOrPass::Drop,
            fragments_dont_fragment: DropOrPass::Drop,
            reject_rate: DEFAULT_REJECT_RATE,
            time_zone: None,
            overrides: Overrides::default(),
        }
    }
}

impl Defaults {
    /// The time zone that `hours` are in. A named one that is gone since the policy was read is the system's.
    #[must_use]
    pub fn zone(&self) -> TimeZone {
        let named = self.time_zone.as_deref().and_then(|name| TimeZone::get(name).ok());
        named.unwrap_or_else(TimeZone::system)
    }

    /// The normalizer profile of a rule that names none: what is not inspected is not normalized either, unless the policy says so.
    pub(super) fn normalizer_of(&self, inspection: Inspection) -> &str {
        let built_in = if inspection == Inspection::Bypass { normalizer::OFF } else { normalizer::DEFAULT };
        self.normalizer.as_deref().unwrap_or(built_in)
    }
}

#[derive(Debug)]
struct Service<'a> {
    place: Place,
    texts: Vec<Text<'a>>,
    items: Vec<ServiceItem>,
}

#[derive(Debug, Default)]
pub(super) struct Definitions<'a> {
    pub(super) sets: BTreeMap<String, Set<'a>>,
    services: BTreeMap<String, Service<'a>>,
    pub(super) normalizers: Normalizers<'a>,
    pub(super) applications: Applications,
    applications_place: Option<Place>,
    pub(super) defaults: Defaults,
    defaults_place: Option<Place>,
    /// What `[defaults]` names, to be found once all names are known.
    default_normalizer: Option<Text<'a>>,
    /// Prefixes of all sets so far.
    pub(super) resolved: usize,
}

impl<'a> Definitions<'a> {
    pub(super) fn read_services(&mut self, file: usize, tables: &'a DeTable<'a>, report: &mut Report<'_>) {
        for (name, place, texts) in read_named(file, tables, "service", &key::SERVICE, report) {
            if !is_name(&name) {
                let message = format!("{} cannot be a service's name", quoted(&name));
                report.error_with_hint(place, message, "it must begin with a letter and not be the name of a protocol, or any");
            }
            match self.services.get(&name) {
                Some(first) => report_twice("service", &name, place, first.place, report),
                None => drop(self.services.insert(name, Service { place, texts, items: Vec::new() })),
            }
        }
    }

    pub(super) fn read_applications(&mut self, file: usize, key: Place, table: &DeTable<'_>, report: &mut Report<'_>) {
        if let Some(first) = self.applications_place.replace(key) {
            let message = format!("[applications] is given twice: first in {}", report.sources().reference(first));
            return report.error_with_hint(key, message, "keep one [applications] for all files of the policy");
        }
        applications::read(file, table, &mut self.applications, report);
    }

    pub(super) fn read_defaults(&mut self, file: usize, key: Place, table: &'a DeTable<'a>, report: &mut Report<'_>) {
        if let Some(first) = self.defaults_place.replace(key) {
            let message = format!("[defaults] is given twice: first in {}", report.sources().reference(first));
            return report.error_with_hint(key, message, "keep one [defaults] for all files of the policy");
        }
        for (key, value) in table {
            let (key_place, key) = (place(file, key.span()), key.get_ref().as_ref());
            let value = Value::new(file, value);
            let defaults = &mut self.defaults;
            match key::listed(&key::DEFAULTS, key) {
                "inspection" => defaults.inspection = read_default_inspection(value, report).unwrap_or_default(),
                "normalizer" => self.default_normalizer = value.string("normalizer", report),
                "timeouts" => {
                    if let Some(table) = value.table("timeouts", report) {
                        defaults.overrides.read_table(file, table, report);
                    }
                }
                "idle-timeout" => defaults.overrides.idle = value.duration("idle-timeout", report),
                "one-sided-flows" => defaults.one_sided_flows = value.number("one-sided-flows", report).unwrap_or_default(),
                "table-full" => defaults.table_full = read_drop_or_pass("table-full", value, report),
                "fragments-before-first" => {
                    defaults.fragments_before_first = read_drop_or_pass("fragments-before-first", value, report);
                }
                "fragments-dont-fragment" => {
                    defaults.fragments_dont_fragment = read_drop_or_pass("fragments-dont-fragment", value, report);
                }
                "reject-rate" => defaults.reject_rate = value.number("reject-rate", report).unwrap_or_default(),
                "time-zone" => defaults.time_zone = read_time_zone(value, report),
                _ => {
                    let message = format!("unknown key {} in [defaults]", quoted(key));
                    report.unknown_word(key_place, message, key, key::names(&key::DEFAULTS));
                }
            }
        }
        self.defaults.timeouts = self.defaults.overrides.apply(Timeouts::DEFAULT, false);
    }

    /// Reads what the sets and services say, once all names are known.
    pub(super) fn resolve(&mut self, report: &mut Report<'_>) {
        self.normalizers.resolve(report);
        let found = self.default_normalizer.filter(|text| self.normalizers.find(*text, report).is_some());
        self.defaults.normalizer = found.map(|text| text.value.to_owned());
        self.resolve_sets(report);
        for service in self.services.values_mut() {
            for text in &service.texts {
                for (item, word) in read_services(*text, report) {
                    if let ServiceItem::Named(name) = &item {
                        let message = format!("a service definition cannot name another one ({})", quoted(name));
                        report.unknown_word(text.part(word), message, name, service::protocol_names());
                    } else {
                        service.items.push(item);
                    }
                }
            }
        }
    }

    /// The ranges of a service's items; `None` for every service.
    pub(super) fn ranges<'i>(&self, items: impl IntoIterator<Item = &'i ServiceItem>) -> Option<Vec<PortRange>> {
        let mut ranges = Vec::new();
        let mut seen = BTreeSet::new();
        for item in items {
            match item {
                ServiceItem::Any => return None,
                ServiceItem::Named(name) if !seen.insert(name) => {}
                ServiceItem::Ports(ports) => ranges.extend(ports),
                ServiceItem::Named(name) => {
                    ranges.extend(self.ranges(self.services.get(name).map(|service| &service.items).into_iter().flatten())?);
                }
            }
        }
        Some(service::simplify(ranges))
    }

    pub(super) fn has_set(&self, name: &str) -> bool {
        self.sets.contains_key(name)
    }

    pub(super) fn set_names(&self) -> impl Iterator<Item = &str> + Clone {
        self.sets.keys().map(String::as_str)
    }

    pub(super) fn has_service(&self, name: &str) -> bool {
        self.services.contains_key(name)
    }

    pub(super) fn service_names(&self) -> impl Iterator<Item = &str> + Clone {
        self.services.keys().map(String::as_str)
    }

    /// Names and canonical texts, for printing.
    pub(super) fn print_sets(&self) -> BTreeMap<String, Vec<String>> {
        self.sets.iter().map(|(name, set)| (name.clone(), set.items.iter().map(ToString::to_string).collect())).collect()
    }

    pub(super) fn print_services(&self) -> BTreeMap<String, Vec<String>> {
        self.services.iter().map(|(name, service)| (name.clone(), service.items.iter().map(ToString::to_string).collect())).collect()
    }
}

pub(super) fn report_twice(what: &str, name: &str, place: Place, first: Place, report: &mut Report<'_>) {
    report.error(place, format!("{what} {} is given twice: first in {}", quoted(name), report.sources().reference(first)));
}

/// The tables of `[set.NAME]` or `[service.NAME]`: name, place of the name, strings of the one key they have.
pub(super) fn read_named<'a>(
    file: usize,
    tables: &'a DeTable<'a>,
    what: &str,
    [only]: &'static [Key; 1],
    report: &mut Report<'_>,
) -> Vec<(String, Place, Vec<Text<'a>>)> {
    let mut named = Vec::new();
    for (name, value) in tables {
        let name_place = place(file, name.span());
        let Some(table) = Value::new(file, value).table(&format!("{what}.{}", name.get_ref()), report) else { continue };
        if !is_plain(name.get_ref()) {
            let message = format!("{} cannot be a {what}'s name", quoted(name.get_ref()));
            report.error_with_hint(name_place, message, "a name has up to 63 letters, digits, dots, dashes and underscores");
        }
        let mut texts = Vec::new();
        for (key, value) in table {
            if key.get_ref() == only.name {
                let value = Value::new(file, value);
                // A set may be there for the members that come while the policy is in force.
                texts = if what == "set" && value.is_empty_array() { Vec::new() } else { value.strings(only.name, report) };
            } else {
                let message = format!("unknown key {} in [{what}.{}]", quoted(key.get_ref()), name.get_ref());
                report.unknown_word(place(file, key.span()), message, key.get_ref(), [only.name].into_iter());
            }
        }
        if table.is_empty() {
            let filled = if what == "set" { ", or addresses = [] when its members come while the policy is in force" } else { "" };
            let hint = format!("give it {} = [\"…\"]{filled}", only.name);
            report.error_with_hint(name_place, format!("{what} {} is empty", quoted(name.get_ref())), hint);
        }
        named.push((name.get_ref().to_string(), name_place, texts));
    }
    named
}

/// True for names of rules, sets and services.
pub(crate) fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty() && name.len() < firewall_common::rule::RULE_NAME_LENGTH && name.chars().all(plain)
}

/// The services a string lists, each with the word it began with.
pub(super) fn read_services<'t>(text: Text<'t>, report: &mut Report<'_>) -> Vec<(ServiceItem, &'t str)> {
    let mut items: Vec<(ServiceItem, &str)> = Vec::new();
    for word in text.value.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty()) {
        let continued = items.last_mut().map_or(Ok(false), |(item, _)| item.extend(word));
        let read = continued.and_then(|done| if done { Ok(None) } else { ServiceItem::parse(word).map(Some) });
        match read {
            Ok(item) => items.extend(item.map(|item| (item, word))),
            Err(error) => {
                let message = format!("{} {error}", quoted(word));
                match error.hint() {
                    Some(hint) => report.error_with_hint(text.part(word), message, hint),
                    None => report.error(text.part(word), message),
                }
            }
        }
    }
    if text.value.split(|c: char| c == ',' || c.is_whitespace()).all(str::is_empty) {
        report.error_with_hint(text.place, "a service is missing", "write a service such as tcp/443, or any");
    }
    items
}

fn read_default_inspection(value: Value<'_>, report: &mut Report<'_>) -> Option<Inspection> {
    let text = value.string("inspection", report)?;
    match text.value {
        "strict" => Some(Inspection::Strict),
        "tolerant" => Some(Inspection::Tolerant),
        "bypass" => {
            report.error_with_hint(text.place, "bypass is not for a whole policy", "say inspection = \"bypass\" in the rules that need it");
            None
        }
        other => {
            let message = format!("{} is not an inspection level for [defaults]", quoted(other));
            report.unknown_word(text.place, message, other, ["strict", "tolerant"].into_iter());
            None
        }
    }
}

fn read_time_zone(value: Value<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = value.string("time-zone", report)?;
    if let Err(error) = TimeZone::get(text.value) {
        log::debug!("time zone {}: {error}", text.value);
        let hint = "write a name such as \"Europe/Berlin\" or \"UTC\", of those in /usr/share/zoneinfo (package tzdata)";
        report.error_with_hint(text.place, format!("there is no time zone {}", quoted(text.value)), hint);
        return None;
    }
    Some(text.value.to_owned())
}

fn read_drop_or_pass(key: &str, value: Value<'_>, report: &mut Report<'_>) -> DropOrPass {
    value.word(key, &DROP_OR_PASS, report).unwrap_or_default()
}
