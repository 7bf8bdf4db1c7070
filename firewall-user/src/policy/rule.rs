//! One `[[rule]]`: its keys, and what they mean together.

use std::path::PathBuf;

use firewall_common::{
    flow::Inspection,
    normalize::{Profile, profile},
    rule::{Action, MAX_SERVICE_PREFIXES, Timeouts},
};
use toml::de::DeTable;

use super::{
    definitions::{Definitions, MAX_ALL_PREFIXES, is_plain, read_services},
    diagnostic::{Place, Report, quoted},
    document::{Text, Value, place},
    guards::Guards,
    hours::{self, Hours},
    key,
    limits::RuleLimits,
    selector::Selector,
    service::{PortRange, ServiceItem, protocol_names},
    timeouts::Overrides,
    warnings,
};

/// What `action` can be.
pub(super) const ACTIONS: [(&str, Action); 3] = [("allow", Action::Allow), ("drop", Action::Drop), ("reject", Action::Reject)];
/// What `inspection` can be.
pub(super) const INSPECTIONS: [(&str, Inspection); 3] = [
    (Inspection::Strict.name(), Inspection::Strict),
    (Inspection::Tolerant.name(), Inspection::Tolerant),
    (Inspection::Bypass.name(), Inspection::Bypass),
];
/// What `sanity` can be, and whether that is off.
pub(super) const SANITY: [(&str, bool); 2] = [("on", false), ("off", true)];
/// What people call keys that have another name here.
const OTHERWISE: [(&str, &str); 5] =
    [("schedule", "hours"), ("time", "hours"), ("limit", "limits"), ("logging", "log"), ("comment", "because")];

/// A rule as the policy gives it, with defaults resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleInfo {
    pub name: String,
    pub enabled: bool,
    pub action: Action,
    pub inspection: Inspection,
    /// `sanity = "off"`: illegal TCP flag sets pass under bypass.
    pub sanity_off: bool,
    pub guards: Guards,
    /// Name of the normalizer profile; none in a rule that makes no flow.
    pub normalizer: Option<String>,
    /// Number of that profile among those in use.
    pub(super) profile: u8,
    pub timeouts: Timeouts,
    /// Established bypass flows seen from one side only that the rule may have; 0 unless it is a bypass rule.
    pub one_sided_flows: u32,
    pub limits: RuleLimits,
    /// When in the week the rule matches, in the policy's time zone; empty for always.
    pub hours: Vec<Hours>,
    /// Number of its hours among those in use, from 1; 0 for always.
    pub(super) schedule: u16,
    /// The moment from which the rule no longer matches.
    pub expires: Option<jiff::Timestamp>,
    /// What it decides and the ends of its flows are written to the log.
    pub log: bool,
    pub because: Option<String>,
    /// Canonical texts.
    pub from: Vec<String>,
    pub to: Vec<String>,
    pub service: Vec<String>,
    pub file: PathBuf,
    /// Line of the rule's name, from 1.
    pub line: usize,
    pub(super) overrides: Overrides,
}

/// What a rule matches, for lowering.
#[derive(Debug)]
pub(super) struct Matches {
    pub(super) from: Vec<Selector>,
    pub(super) to: Vec<Selector>,
    /// `None`: every service.
    pub(super) service: Option<Vec<PortRange>>,
    /// What the rule's normalizer profile asks for.
    pub(super) profile: Profile,
    /// Of the rule's name.
    pub(super) place: Place,
}

/// What the keys say, before it is known what they mean together.
#[derive(Default)]
struct Written<'a> {
    name: Option<Text<'a>>,
    enabled: Option<bool>,
    from: Option<Vec<Selector>>,
    to: Option<Vec<Selector>>,
    service: Option<Vec<ServiceItem>>,
    action: Option<Action>,
    inspection: Option<(Inspection, Place)>,
    sanity: Option<(bool, Place)>,
    guards: Option<(Guards, Place)>,
    normalizer: Option<Text<'a>>,
    overrides: Overrides,
    timers: Option<Place>,
    one_sided_flows: Option<(u32, Place)>,
    limits: Option<(RuleLimits, Place)>,
    hours: Vec<Hours>,
    expires: Option<jiff::Timestamp>,
    log: bool,
    because: Option<String>,
}

/// What all rules of a policy are read with.
#[derive(Clone, Copy)]
pub(super) struct Context<'d> {
    pub(super) definitions: &'d Definitions<'d>,
    pub(super) zones: Option<&'d [String]>,
}

/// Reads a rule; `None` when something is wrong with it.
pub(super) fn read(table: &DeTable<'_>, table_place: Place, context: Context<'_>, report: &mut Report<'_>) -> Option<(RuleInfo, Matches)> {
    let mut written = Written::default();
    let mut complete = true;
    for (key, value) in table {
        let key_place = place(table_place.file, key.span());
        complete &= written.read_key(key.get_ref(), key_place, Value::new(table_place.file, value), context, report).is_some();
    }
    let at = written.name.map_or(table_place, |name| name.place);
    if written.name.is_none() && !table.contains_key("name") {
        report.error_with_hint(table_place, "the rule has no name", "give it one: name = \"web\"");
        complete = false;
    }
    if written.action.is_none() && !table.contains_key("action") {
        report.error_with_hint(at, "the rule has no action", "give it one: action = \"allow\", \"drop\" or \"reject\"");
        complete = false;
    }
    complete &= written.consistent(report);
    if !complete {
        return None;
    }
    written.finish(at, context, report)
}

impl<'a> Written<'a> {
    /// `None` when the key or its value is wrong.
    fn read_key(&mut self, key: &str, key_place: Place, value: Value<'a>, context: Context<'_>, report: &mut Report<'_>) -> Option<()> {
        // What is in no list is no key, whatever is read below.
        match key::listed(&key::RULE, key) {
            "name" => self.name = Some(read_name(value, report)?),
            "enabled" => self.enabled = Some(value.boolean(key, report)?),
            "from" => self.from = Some(read_selectors(key, value, context, report)?),
            "to" => self.to = Some(read_selectors(key, value, context, report)?),
            "service" => self.service = Some(read_service(value, context.definitions, report)?),
            "action" => self.action = Some(value.word(key, &ACTIONS, report)?),
            "inspection" => self.inspection = Some((value.word(key, &INSPECTIONS, report)?, value.place)),
            "sanity" => self.sanity = Some((value.word(key, &SANITY, report)?, value.place)),
            "guard" => self.guards = Some((Guards::read(value, report)?, value.place)),
            "normalizer" => {
                let text = value.string(key, report)?;
                context.definitions.normalizers.find(text, report)?;
                self.normalizer = Some(text);
            }
            "idle-timeout" => {
                self.timers = Some(key_place);
                self.overrides.idle = Some(value.duration(key, report)?);
            }
            "timeouts" => {
                self.timers = Some(key_place);
                self.overrides.read_table(key_place.file, value.table(key, report)?, report);
            }
            "one-sided-flows" => self.one_sided_flows = Some((value.number(key, report)?, value.place)),
            "limits" => {
                let limits = RuleLimits::read(key_place, value.table(key, report)?, context.definitions, report)?;
                self.limits = Some((limits, key_place));
            }
            "hours" => self.hours = hours::read(value, report)?,
            "log" => self.log = value.boolean(key, report)?,
            "expires" => self.expires = Some(value.end_of_validity(key, report)?),
            "because" => self.because = Some(value.string(key, report)?.value.to_owned()),
            _ => {
                if let Some((_, here)) = OTHERWISE.iter().find(|(known, _)| *known == key) {
                    report.error_with_hint(key_place, format!("unknown key {} in a rule", quoted(key)), format!("did you mean {here}?"));
                } else {
                    report.unknown_word(key_place, format!("unknown key {} in a rule", quoted(key)), key, key::names(&key::RULE));
                }
                return None;
            }
        }
        Some(())
    }

    /// Reports keys that contradict each other.
    fn consistent(&self, report: &mut Report<'_>) -> bool {
        let mut consistent = true;
        let mut refuse = |place: Place, message: &str, hint: &str| {
            report.error_with_hint(place, message, hint);
            consistent = false;
        };
        let bypass = matches!(self.inspection, Some((Inspection::Bypass, _)));
        if let (Some((_, place)), Some(Action::Drop | Action::Reject)) = (&self.limits, self.action) {
            refuse(
                *place,
                "a rule that does not allow admits nothing that could be limited",
                "leave limits out, or say action = \"allow\"",
            );
        }
        if let (Some((limits, place)), true) = (&self.limits, bypass)
            && limits.limits.embryonic | limits.limits.source_embryonic != 0
        {
            let hint = "limit flows or flows-per-source, or give the rule another inspection level";
            refuse(*place, "under bypass there is no handshake, so no flow is embryonic", hint);
        }
        if matches!(self.action, Some(Action::Drop | Action::Reject)) {
            let guards = self.guards.map(|(_, place)| place);
            let keys = [self.inspection.map(|(_, place)| place), guards, self.normalizer.map(|name| name.place), self.timers];
            for place in keys.into_iter().flatten() {
                refuse(
                    place,
                    "a rule that does not allow makes no flow that could be inspected, normalized or timed",
                    "leave the key out, or say action = \"allow\"",
                );
            }
        }
        if let (Some((true, place)), false) = (self.sanity, bypass) {
            refuse(place, "sanity can only be off under bypass", "say inspection = \"bypass\", or leave the key out");
        }
        if let (Some((_, place)), false) = (self.one_sided_flows, bypass) {
            refuse(place, "one-sided-flows is for bypass rules", "say inspection = \"bypass\", or leave the key out");
        }
        consistent
    }

    fn finish(self, at: Place, context: Context<'_>, report: &mut Report<'_>) -> Option<(RuleInfo, Matches)> {
        let defaults = &context.definitions.defaults;
        let action = self.action?;
        let by_default = if action == Action::Allow { defaults.inspection } else { Inspection::Strict };
        let inspection = self.inspection.map_or(by_default, |(level, _)| level);
        let bypass = inspection == Inspection::Bypass;
        let from = self.from.unwrap_or_else(|| vec![Selector::any()]);
        let to = self.to.unwrap_or_else(|| vec![Selector::any()]);
        let items = self.service.unwrap_or_else(|| vec![ServiceItem::Any]);
        let texts = |selectors: &[Selector]| selectors.iter().map(ToString::to_string).collect();
        let service = context.definitions.ranges(&items);
        if let Some((guards, place)) = self.guards
            && !guards.fit(place, inspection, service.as_deref(), report)
        {
            return None;
        }
        let normalizer = (action == Action::Allow).then(|| self.normalizer.map_or(defaults.normalizer_of(inspection), |name| name.value));
        let profile = normalizer.and_then(|name| context.definitions.normalizers.get(name)).unwrap_or_default();
        if let (Some(name), true) = (self.normalizer, self.enabled.unwrap_or(true)) {
            warnings::check_normalizer(name, &profile, inspection, service.as_deref(), report);
        }
        let rule = RuleInfo {
            name: self.name?.value.to_owned(),
            enabled: self.enabled.unwrap_or(true),
            action,
            inspection,
            sanity_off: matches!(self.sanity, Some((true, _))),
            guards: self.guards.map(|(guards, _)| guards).unwrap_or_default(),
            normalizer: normalizer.map(str::to_owned),
            profile: profile::OFF,
            timeouts: self.overrides.apply(defaults.timeouts, bypass),
            one_sided_flows: if bypass { self.one_sided_flows.map_or(defaults.one_sided_flows, |(quota, _)| quota) } else { 0 },
            limits: self.limits.map(|(limits, _)| limits).unwrap_or_default(),
            hours: self.hours,
            schedule: 0,
            expires: self.expires,
            log: self.log,
            because: self.because,
            from: texts(&from),
            to: texts(&to),
            service: items.iter().map(ToString::to_string).collect(),
            file: report.sources().path(at.file).to_path_buf(),
            line: report.sources().line_number(at),
            overrides: self.overrides,
        };
        Some((rule, Matches { service, profile, from, to, place: at }))
    }
}

fn read_name<'a>(value: Value<'a>, report: &mut Report<'_>) -> Option<Text<'a>> {
    let text = value.string("name", report)?;
    if is_plain(text.value) {
        return Some(text);
    }
    let message = format!("{} cannot be a rule's name", quoted(text.value));
    report.error_with_hint(text.place, message, "a name has up to 63 letters, digits, dots, dashes and underscores");
    None
}

fn read_selectors(key: &str, value: Value<'_>, context: Context<'_>, report: &mut Report<'_>) -> Option<Vec<Selector>> {
    let texts = value.strings(key, report);
    let written = texts.len();
    let mut total = 0;
    let mut selectors = Vec::new();
    for text in texts {
        let selector = Selector::parse(text, context.zones, context.definitions, report);
        total += selector.as_ref().map_or(0, |selector| selector.size);
        if total > MAX_ALL_PREFIXES {
            report.error(value.place, format!("too many addresses: {key} comes to more than {MAX_ALL_PREFIXES} prefixes"));
            return None;
        }
        selectors.extend(selector);
    }
    (written > 0 && selectors.len() == written).then_some(selectors)
}

fn read_service(value: Value<'_>, definitions: &Definitions<'_>, report: &mut Report<'_>) -> Option<Vec<ServiceItem>> {
    let mut items = Vec::new();
    let mut known = true;
    for text in value.strings("service", report) {
        for (item, word) in read_services(text, report) {
            if let ServiceItem::Named(name) = &item
                && !definitions.has_service(name)
            {
                let names = definitions.service_names().chain(protocol_names());
                report.unknown_word(text.part(word), format!("there is no service {}", quoted(name)), name, names);
                known = false;
            }
            items.push(item);
        }
    }
    if known && definitions.ranges(&items).is_some_and(|ranges| ranges.len() > MAX_SERVICE_PREFIXES as usize / 2) {
        let message = format!("too many ports: a policy has room for {} ranges", MAX_SERVICE_PREFIXES / 2);
        report.error(value.place, message);
        known = false;
    }
    (known && !items.is_empty()).then_some(items)
}
