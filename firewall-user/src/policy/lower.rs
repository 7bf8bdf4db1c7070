//! The policy as the dataplane reads it.

use std::collections::BTreeMap;

use firewall_common::{
    flow::{Address, Inspection},
    normalize::{Profile, checks},
    rule::{Bitmap, Dimension, MAX_RULE_NUMBERS, MAX_ZONES, Rule, ZONE_SELF, rule_flags},
};

use super::{Policy, rule::RuleInfo, selector::SELF};

/// Gives zones and rules their stable numbers. `None`: there is no number left.
pub trait Numbers {
    fn zone(&mut self, name: &str) -> Option<u8>;
    fn rule(&mut self, name: &str) -> Option<u16>;
}

/// One moment on both clocks, to turn `expires` into monotonic time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    pub monotonic_ns: u64,
    pub realtime: jiff::Timestamp,
}

/// Why a checked policy could not be lowered: the controller has no number left for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LowerError {
    #[error("no number is left for zone \"{0}\": there can be {MAX_ZONES} zones, self included")]
    Zones(String),
    #[error("no number is left for rule \"{0}\": live flows still name {MAX_RULE_NUMBERS} rules of this and earlier policies")]
    Rules(String),
}

/// A policy in the dataplane's terms, for either slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lowered {
    pub entries: Vec<Rule>,
    /// Normalizer profiles by number.
    pub profiles: Vec<Profile>,
    /// Dimension, class, entries that accept it. Every class of the tables below is here, and every zone number.
    pub bitmaps: Vec<(Dimension, u32, Bitmap)>,
    /// Dimension, address, length of the prefix in bits (of 128), class.
    pub addresses: Vec<(Dimension, Address, u8, u32)>,
    /// Protocol, port (or ICMP type and code), length of the prefix in bits (of 24, the protocol's eight first), class.
    pub services: Vec<(u8, [u8; 2], u8, u32)>,
}

/// Lowers a policy.
pub fn lower(policy: &Policy, numbers: &mut dyn Numbers, clock: &Clock) -> Result<Lowered, LowerError> {
    let mut rule_numbers: Vec<Option<u16>> = vec![None; policy.rules.len()];
    let mut zone_numbers: BTreeMap<&str, u8> = BTreeMap::from([(SELF, ZONE_SELF)]);
    let mut entries = Vec::with_capacity(policy.entries.len());
    for entry in &policy.entries {
        let rule = &policy.rules[entry.rule];
        let number = match rule_numbers[entry.rule] {
            Some(number) => number,
            None => numbers
                .rule(&rule.name)
                .filter(|number| usize::from(*number) < MAX_RULE_NUMBERS)
                .ok_or_else(|| LowerError::Rules(rule.name.clone()))?,
        };
        rule_numbers[entry.rule] = Some(number);
        entries.push(lower_rule(rule, &policy.profiles[usize::from(rule.profile)], number, clock));
        for zone in entry.from.iter().chain(&entry.to).flatten() {
            if !zone_numbers.contains_key(zone.as_str()) {
                let number =
                    numbers.zone(zone).filter(|number| usize::from(*number) < MAX_ZONES).ok_or_else(|| LowerError::Zones(zone.clone()))?;
                zone_numbers.insert(zone, number);
            }
        }
    }
    let mut bitmaps = zone_bitmaps(policy, &zone_numbers);
    bitmaps.extend(&policy.classes.bitmaps);
    Ok(Lowered {
        entries,
        profiles: policy.profiles.clone(),
        bitmaps,
        addresses: policy.classes.addresses.clone(),
        services: policy.classes.services.clone(),
    })
}

fn lower_rule(rule: &RuleInfo, profile: &Profile, number: u16, clock: &Clock) -> Rule {
    // Bypass keeps no state that anything but these could be judged by.
    let applicable = if rule.inspection == Inspection::Bypass { checks::STATELESS } else { u32::MAX };
    Rule {
        expires: rule.expires.map_or(0, |expires| monotonic(expires, clock)),
        number,
        action: rule.action as u8,
        inspection: rule.inspection as u8,
        flags: if rule.sanity_off { rule_flags::SANITY_OFF } else { 0 },
        profile: rule.profile,
        reserved: [0; 2],
        one_sided_quota: rule.one_sided_flows,
        checks: profile.checks & applicable,
        timeouts: rule.timeouts,
    }
}

/// Never 0, which would mean that the entry never expires.
fn monotonic(expires: jiff::Timestamp, clock: &Clock) -> u64 {
    let left = expires.as_nanosecond() - clock.realtime.as_nanosecond();
    let moment = i128::from(clock.monotonic_ns).saturating_add(left).max(1);
    // Beyond five centuries: never.
    u64::try_from(moment).unwrap_or(0)
}

/// A bitmap for every zone number: what the policy names, and "any" for the others.
fn zone_bitmaps(policy: &Policy, numbers: &BTreeMap<&str, u8>) -> Vec<(Dimension, u32, Bitmap)> {
    let mut from = vec![Bitmap::EMPTY; MAX_ZONES];
    let mut to = from.clone();
    for (index, entry) in policy.entries.iter().enumerate() {
        for (zones, bitmaps) in [(&entry.from, &mut from), (&entry.to, &mut to)] {
            match zones {
                None => bitmaps.iter_mut().for_each(|bitmap| bitmap.set(index)),
                Some(zones) => {
                    zones.iter().filter_map(|zone| numbers.get(zone.as_str())).for_each(|zone| bitmaps[usize::from(*zone)].set(index));
                }
            }
        }
    }
    let numbered = |dimension, bitmaps: Vec<Bitmap>| bitmaps.into_iter().zip(0..).map(move |(bitmap, zone)| (dimension, zone, bitmap));
    numbered(Dimension::FromZone, from).chain(numbered(Dimension::ToZone, to)).collect()
}
