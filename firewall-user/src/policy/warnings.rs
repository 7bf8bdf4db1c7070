//! What is legal in a policy and probably not meant.

use std::collections::BTreeSet;

use firewall_common::{flow::Inspection, normalize::Profile};

use super::{
    address::AddressSet,
    classes::Classes,
    coverage::{Coverage, Never},
    diagnostic::{Place, Report, quoted},
    document::Text,
    expand::Entry,
    normalizer,
    rule::RuleInfo,
    service::PortRange,
};

/// Rules that are named together before the others are counted.
const MOST_NAMED: usize = 3;
const TCP: u8 = 6;

/// `entries` as they lie, with the lists of addresses they name and their classes.
pub(super) fn check(
    rules: &[RuleInfo],
    places: &[Place],
    (entries, lists, classes): (&[Entry], &[AddressSet], &Classes),
    now: jiff::Timestamp,
    report: &mut Report<'_>,
) {
    let mut coverage = Coverage::new(rules, (entries, lists, classes), now);
    for (rule, place) in rules.iter().zip(places).zip(&coverage.expired).filter_map(|(rule, expired)| expired.then_some(rule)) {
        if rule.enabled {
            let message = format!("rule {} has expired and matches nothing", quoted(&rule.name));
            report.warn(*place, message, "remove it, or give it a later date");
        }
    }
    let mut in_order: Vec<usize> = (0..entries.len()).collect();
    in_order.sort_unstable_by_key(|entry| entries[*entry].order);
    for own in in_order.chunk_by(|a, b| entries[*a].rule == entries[*b].rule) {
        let number = entries[own[0]].rule;
        let (rule, place) = (&rules[number], places[number]);
        if rule.inspection == Inspection::Bypass {
            let own: Vec<&Entry> = own.iter().map(|entry| &entries[*entry]).collect();
            check_bypass(rule, place, &own, report);
        }
        if coverage.expired[number] {
            continue;
        }
        let filled: Vec<usize> = own.iter().copied().filter(|entry| !coverage.is_unfilled(*entry)).collect();
        let never: Vec<Never> = filled.iter().filter_map(|entry| coverage.find(*entry)).collect();
        if !filled.is_empty() {
            warn_of_covered(rules, number, place, &never, filled.len(), report);
        }
    }
}

/// `never`: why those of the rule's entries can never match that cannot.
fn warn_of_covered(rules: &[RuleInfo], number: usize, place: Place, never: &[Never], entries: usize, report: &mut Report<'_>) {
    let rule = &rules[number];
    let by: BTreeSet<usize> = never
        .iter()
        .flat_map(|never| match never {
            Never::Covered(by) => by.iter().copied().collect(),
            Never::Families => Vec::new(),
        })
        .collect();
    let name = quoted(&rule.name);
    let whole = never.len() == entries;
    let Some(first) = by.first().map(|first| &rules[*first]) else {
        if whole {
            let message = format!("rule {name} can never match: its sources are of one address family, its destinations of the other");
            report.warn(place, message, "IPv4 goes to IPv4, IPv6 to IPv6: a rule for both needs addresses of both on either side");
        }
        return;
    };
    let same = |by: &RuleInfo| by.action == rule.action && by.inspection == rule.inspection && by.normalizer == rule.normalizer;
    let others = named(by.iter().map(|by| &rules[*by]));
    if whole && by.len() == 1 {
        let hint = if same(first) { "remove it" } else { "move it before that rule" };
        report.warn(place, format!("rule {name} can never match: {others} already matches everything it would"), hint);
    } else if whole {
        let hint = if by.iter().all(|by| same(&rules[*by])) { "remove it" } else { "move it before those rules" };
        report.warn(place, format!("rule {name} can never match: {others} together already match everything it would"), hint);
    } else if rule.inspection == Inspection::Bypass {
        let match_ = if by.len() == 1 { "matches" } else { "match" };
        let message = format!("{others} already {match_} a part of what rule {name} would bypass");
        report.warn(place, message, "move the bypass rule before that rule");
    }
}

/// Names and places of rules, as a list that can be read out.
fn named<'r>(rules: impl ExactSizeIterator<Item = &'r RuleInfo>) -> String {
    let count = rules.len();
    let shown = if count > MOST_NAMED { MOST_NAMED - 1 } else { count };
    let mut names: Vec<String> =
        rules.take(shown).map(|rule| format!("{} ({}:{})", quoted(&rule.name), rule.file.display(), rule.line)).collect();
    if count > shown {
        names.push(format!("{} more rules", count - shown));
    }
    match names.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} and {last}", others.join(", ")),
        _ => names.concat(),
    }
}

fn check_bypass(rule: &RuleInfo, place: Place, entries: &[&Entry], report: &mut Report<'_>) {
    let wide = |entry: &Entry| {
        let Entry { from, source, to, destination, service, .. } = entry;
        from.is_none() && source.is_none() && to.is_none() && destination.is_none() && service.is_none()
    };
    if entries.iter().any(|entry| wide(entry)) {
        let message = format!("rule {} takes inspection away from everything", quoted(&rule.name));
        report.warn(place, message, "name the zones, the addresses and the service of the flows that need the bypass");
    } else if entries.iter().all(|entry| entry.service.as_ref().is_some_and(|ranges| ranges.iter().all(|range| range.protocol != TCP))) {
        let message = format!("rule {} bypasses TCP inspection for a service without TCP", quoted(&rule.name));
        report.warn(place, message, "leave inspection out: it would change nothing");
    }
}

/// A rule that names a normalizer profile which, for its flows, asks for nothing or for what cannot be kept to.
///
/// `service`: what the rule matches, or everything.
pub(super) fn check_normalizer(
    name: Text<'_>,
    profile: &Profile,
    inspection: Inspection,
    service: Option<&[PortRange]>,
    report: &mut Report<'_>,
) {
    if service.is_some_and(|ranges| ranges.iter().all(|range| range.protocol != TCP)) {
        let message = format!("normalizer {} is for TCP, which the rule's service has none of", quoted(name.value));
        return report.warn(name.place, message, "leave normalizer out: it would change nothing");
    }
    let idle = if inspection == Inspection::Bypass { normalizer::not_under_bypass(profile) } else { Vec::new() };
    if !idle.is_empty() {
        let message =
            format!("of normalizer {}, these do not apply under bypass, which keeps no state: {}", quoted(name.value), idle.join(", "));
        report.warn(name.place, message, "name a profile without them, or give the rule another inspection level");
    }
}
