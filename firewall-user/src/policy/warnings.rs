//! What is legal in a policy and probably not meant.

use std::sync::Arc;

use firewall_common::{flow::Inspection, normalize::Profile};

use super::{
    address::Prefix,
    diagnostic::{Place, Report, quoted},
    document::Text,
    expand::Entry,
    normalizer,
    rule::RuleInfo,
    service::PortRange,
};

/// Comparisons of prefixes and ranges after which no more covered rules are looked for: a policy of huge sets must still load at once.
const MAX_COMPARISONS: usize = 20_000_000;
const TCP: u8 = 6;

pub(super) fn check(rules: &[RuleInfo], places: &[Place], entries: &[Entry], now: jiff::Timestamp, report: &mut Report<'_>) {
    let expired = |rule: &RuleInfo| rule.expires.is_some_and(|expires| expires <= now);
    for (rule, place) in rules.iter().zip(places) {
        if rule.enabled && expired(rule) {
            let message = format!("rule {} has expired and matches nothing", quoted(&rule.name));
            report.warn(*place, message, "remove it, or give it a later date");
        }
    }
    let mut coverage = Coverage { rules, comparisons: 0 };
    for own in entries.chunk_by(|a, b| a.rule == b.rule) {
        let (rule, place) = (&rules[own[0].rule], places[own[0].rule]);
        if rule.inspection == Inspection::Bypass {
            check_bypass(rule, place, own, report);
        }
        if expired(rule) {
            continue;
        }
        let before = entries.iter().take_while(|entry| entry.rule < own[0].rule).filter(|entry| !expired(&rules[entry.rule]));
        let earlier: Vec<&Entry> = before.collect();
        let covering: Vec<usize> = own.iter().filter_map(|entry| coverage.find(&earlier, entry)).collect();
        let Some(by) = covering.first() else { continue };
        let by = &rules[*by];
        let other = format!("{} ({}:{})", quoted(&by.name), by.file.display(), by.line);
        if covering.len() == own.len() {
            let hint = if by.action == rule.action && by.inspection == rule.inspection && by.normalizer == rule.normalizer {
                "remove it"
            } else {
                "move it before that rule"
            };
            report.warn(place, format!("rule {} can never match: {other} already matches everything it would", quoted(&rule.name)), hint);
        } else if rule.inspection == Inspection::Bypass {
            let message = format!("{other} already matches a part of what rule {} would bypass", quoted(&rule.name));
            report.warn(place, message, "move the bypass rule before that rule");
        }
    }
}

fn check_bypass(rule: &RuleInfo, place: Place, entries: &[Entry], report: &mut Report<'_>) {
    let wide = |entry: &Entry| {
        let Entry { from, source, to, destination, service, .. } = entry;
        from.is_none() && source.is_none() && to.is_none() && destination.is_none() && service.is_none()
    };
    if entries.iter().any(wide) {
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

struct Coverage<'r> {
    rules: &'r [RuleInfo],
    comparisons: usize,
}

impl Coverage<'_> {
    /// The rule of the first entry in `earlier` that matches all that `entry` would, for as long.
    fn find(&mut self, earlier: &[&Entry], entry: &Entry) -> Option<usize> {
        let until = self.rules[entry.rule].expires;
        let lasts = |rule: usize| match (self.rules[rule].expires, until) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(earlier), Some(later)) => later <= earlier,
        };
        let candidates: Vec<&Entry> = earlier.iter().copied().filter(|candidate| lasts(candidate.rule)).collect();
        candidates.into_iter().find(|candidate| self.covers(candidate, entry)).map(|candidate| candidate.rule)
    }

    fn covers(&mut self, outer: &Entry, inner: &Entry) -> bool {
        self.comparisons < MAX_COMPARISONS
            && zones_cover(outer.from.as_deref(), inner.from.as_deref())
            && zones_cover(outer.to.as_deref(), inner.to.as_deref())
            && self.list_covers(outer.service.as_ref(), inner.service.as_ref(), range_covered)
            && self.list_covers(outer.source.as_ref(), inner.source.as_ref(), prefix_covered)
            && self.list_covers(outer.destination.as_ref(), inner.destination.as_ref(), prefix_covered)
    }

    fn list_covers<T>(&mut self, outer: Option<&Arc<[T]>>, inner: Option<&Arc<[T]>>, covered: fn(&[T], &T) -> bool) -> bool {
        match (outer, inner) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(outer), Some(inner)) => {
                Arc::ptr_eq(outer, inner)
                    || inner.iter().all(|element| {
                        self.comparisons += 1;
                        covered(outer, element)
                    })
            }
        }
    }
}

fn zones_cover(outer: Option<&[String]>, inner: Option<&[String]>) -> bool {
    match (outer, inner) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(outer), Some(inner)) => inner.iter().all(|zone| outer.contains(zone)),
    }
}

/// `list` is sorted and holds no element within another of its family.
fn prefix_covered(list: &[Prefix], prefix: &Prefix) -> bool {
    let before = &list[..list.partition_point(|other| other <= prefix)];
    let nearest = match before.last() {
        // The IPv4 prefixes lie in the midst of the IPv6 ones: what could cover an IPv6 prefix is before them all.
        Some(last) if last.is_v4() && !prefix.is_v4() => before[..before.partition_point(|other| !other.is_v4())].last(),
        last => last,
    };
    nearest.is_some_and(|nearest| nearest.covers(prefix))
}

fn range_covered(list: &[PortRange], range: &PortRange) -> bool {
    let before = list.partition_point(|other| (other.protocol, other.low) <= (range.protocol, range.low));
    list[..before].last().is_some_and(|other| other.protocol == range.protocol && range.high <= other.high)
}
