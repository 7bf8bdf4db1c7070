//! What rules can refer to: `[set.NAME]`, `[service.NAME]` and `[defaults]`, gathered from all files before any rule is read.

use std::collections::{BTreeMap, BTreeSet};

use firewall_common::{
    flow::Inspection,
    rule::{MAX_ADDRESS_PREFIXES, Timeouts},
};
use jiff::tz::TimeZone;
use toml::de::DeTable;

use super::{
    address::{AddressItem, AddressSet, Prefix, simplify},
    diagnostic::{Place, Report, quoted},
    document::{Text, Value, place},
    normalizer::{self, Normalizers},
    selector::parse_addresses,
    service::{self, PortRange, ServiceItem, is_name},
    timeouts::Overrides,
};

/// Prefixes that addresses may come to: one policy's share of the table.
pub(super) const MAX_PREFIXES: usize = MAX_ADDRESS_PREFIXES as usize / 2;
/// Prefixes of all sets together, and of all lists of addresses of the rules: bounds the memory a policy can take.
pub(super) const MAX_ALL_PREFIXES: usize = 1 << 20;
/// How deep sets may name sets.
const MAX_DEPTH: usize = 16;
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
struct Set<'a> {
    place: Place,
    texts: Vec<Text<'a>>,
    items: Vec<AddressItem>,
    /// Empty until resolved, and when something is wrong with the set.
    prefixes: AddressSet,
    state: Resolution,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resolution {
    Todo,
    UnderWay,
    Done,
}

#[derive(Debug)]
struct Service<'a> {
    place: Place,
    texts: Vec<Text<'a>>,
    items: Vec<ServiceItem>,
}

#[derive(Debug, Default)]
pub(super) struct Definitions<'a> {
    sets: BTreeMap<String, Set<'a>>,
    services: BTreeMap<String, Service<'a>>,
    pub(super) normalizers: Normalizers<'a>,
    pub(super) defaults: Defaults,
    defaults_place: Option<Place>,
    /// What `[defaults]` names, to be found once all names are known.
    default_normalizer: Option<Text<'a>>,
    /// Prefixes of all sets so far.
    resolved: usize,
}

/// Addresses come to more prefixes than the tables hold.
#[derive(Debug)]
pub(super) struct TooManyPrefixes;

impl<'a> Definitions<'a> {
    pub(super) fn read_sets(&mut self, file: usize, tables: &'a DeTable<'a>, report: &mut Report<'_>) {
        for (name, place, texts) in read_named(file, tables, "set", "addresses", report) {
            let set = Set { place, texts, items: Vec::new(), prefixes: [].into(), state: Resolution::Todo };
            match self.sets.get(&name) {
                Some(first) => report_twice("set", &name, place, first.place, report),
                None => drop(self.sets.insert(name, set)),
            }
        }
    }

    pub(super) fn read_services(&mut self, file: usize, tables: &'a DeTable<'a>, report: &mut Report<'_>) {
        for (name, place, texts) in read_named(file, tables, "service", "ports", report) {
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

    pub(super) fn read_defaults(&mut self, file: usize, key: Place, table: &'a DeTable<'a>, report: &mut Report<'_>) {
        const KEYS: [&str; 10] = [
            "inspection",
            "normalizer",
            "timeouts",
            "idle-timeout",
            "one-sided-flows",
            "table-full",
            "fragments-before-first",
            "fragments-dont-fragment",
            "reject-rate",
            "time-zone",
        ];
        if let Some(first) = self.defaults_place.replace(key) {
            let message = format!("[defaults] is given twice: first in {}", report.sources().reference(first));
            return report.error_with_hint(key, message, "keep one [defaults] for all files of the policy");
        }
        for (key, value) in table {
            let value = Value::new(file, value);
            let defaults = &mut self.defaults;
            match key.get_ref().as_ref() {
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
                other => {
                    let message = format!("unknown key {} in [defaults]", quoted(other));
                    report.unknown_word(place(file, key.span()), message, other, KEYS.into_iter());
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
        let names: Vec<String> = self.sets.keys().cloned().collect();
        for name in &names {
            let texts = self.sets.get(name).map(|set| set.texts.clone()).unwrap_or_default();
            let read = |text: Text<'_>| parse_addresses(text, text.value, self, report).unwrap_or_default();
            let items: Vec<AddressItem> = texts.into_iter().flat_map(read).collect();
            if let Some(set) = self.sets.get_mut(name) {
                set.items = items;
            }
        }
        for name in &names {
            self.resolve_set(name, &mut Vec::new(), report);
        }
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

    /// `path`: the sets that are being resolved, each named by the one before.
    fn resolve_set(&mut self, name: &str, path: &mut Vec<String>, report: &mut Report<'_>) {
        let Some(set) = self.sets.get_mut(name) else { return };
        if set.state != Resolution::Todo {
            if set.state == Resolution::UnderWay {
                let begin = path.iter().position(|step| step == name).unwrap_or(0);
                let circle: Vec<String> = path[begin..].iter().chain([&name.to_owned()]).map(|step| format!("@{step}")).collect();
                report.error(set.place, format!("sets name each other in a circle: {}", circle.join(" → ")));
            }
            return;
        }
        if path.len() >= MAX_DEPTH {
            set.state = Resolution::Done;
            return report.error(set.place, format!("sets name sets more than {MAX_DEPTH} deep"));
        }
        set.state = Resolution::UnderWay;
        let items = set.items.clone();
        path.push(name.to_owned());
        for item in &items {
            if let AddressItem::Set(inner) = item {
                self.resolve_set(inner, path, report);
            }
        }
        path.pop();
        // One error is enough, and the work of all the other sets is saved.
        let prefixes = if self.resolved > MAX_ALL_PREFIXES { Ok(Vec::new()) } else { self.prefixes(&items) };
        let Some(set) = self.sets.get_mut(name) else { return };
        set.state = Resolution::Done;
        match prefixes {
            Ok(prefixes) => {
                let fitted = self.resolved <= MAX_ALL_PREFIXES;
                self.resolved += prefixes.len();
                set.prefixes = prefixes.into();
                if fitted && self.resolved > MAX_ALL_PREFIXES {
                    report.error(set.place, format!("too many addresses: all sets together come to more than {MAX_ALL_PREFIXES} prefixes"));
                }
            }
            Err(TooManyPrefixes) => report_too_many(set.place, report),
        }
    }

    /// What a list of addresses stands for.
    pub(super) fn prefixes(&self, items: &[AddressItem]) -> Result<Vec<Prefix>, TooManyPrefixes> {
        let mut prefixes = Vec::new();
        let mut seen = BTreeSet::new();
        for item in items {
            match item {
                AddressItem::Set(name) if seen.insert(name) => {
                    prefixes.extend(self.sets.get(name).into_iter().flat_map(|set| set.prefixes.iter()));
                }
                AddressItem::Set(_) => {}
                other => prefixes.extend(other.prefixes()),
            }
            if prefixes.len() > 2 * MAX_PREFIXES {
                prefixes = simplify(prefixes);
                if prefixes.len() > MAX_PREFIXES {
                    return Err(TooManyPrefixes);
                }
            }
        }
        let prefixes = simplify(prefixes);
        if prefixes.len() > MAX_PREFIXES { Err(TooManyPrefixes) } else { Ok(prefixes) }
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

pub(super) fn report_too_many(place: Place, report: &mut Report<'_>) {
    let message = format!("too many addresses: they come to more than {MAX_PREFIXES} prefixes, the room of a policy");
    report.error_with_hint(
        place,
        message,
        "a range of addresses comes to as few prefixes as possible when it begins and ends at a power of two",
    );
}

pub(super) fn report_twice(what: &str, name: &str, place: Place, first: Place, report: &mut Report<'_>) {
    report.error(place, format!("{what} {} is given twice: first in {}", quoted(name), report.sources().reference(first)));
}

/// The tables of `[set.NAME]` or `[service.NAME]`: name, place of the name, strings of the one key they have.
fn read_named<'a>(
    file: usize,
    tables: &'a DeTable<'a>,
    what: &str,
    only: &str,
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
            if key.get_ref() == only {
                texts = Value::new(file, value).strings(only, report);
            } else {
                let message = format!("unknown key {} in [{what}.{}]", quoted(key.get_ref()), name.get_ref());
                report.unknown_word(place(file, key.span()), message, key.get_ref(), [only].into_iter());
            }
        }
        if table.is_empty() {
            report.error_with_hint(name_place, format!("{what} {} is empty", quoted(name.get_ref())), format!("give it {only} = [\"…\"]"));
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
    value.word(key, &[("drop", DropOrPass::Drop), ("pass", DropOrPass::Pass)], report).unwrap_or_default()
}
