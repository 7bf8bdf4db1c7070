//! The policy as the dataplane reads it.

use std::collections::BTreeMap;

use firewall_common::{
    application::Applications,
    flow::{Address, Inspection},
    hours::Week,
    normalize::{Profile, checks},
    rule::{Block, Dimension, FIXED_ROWS, MAX_RULE_NUMBERS, MAX_ZONES, Row, Rule, ZONE_SELF, rule_flags},
};

use super::{Policy, classes::ZoneRows, hours, rule::RuleInfo, selector::SELF};

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
    /// Hours by number, from 0.
    pub schedules: Vec<Week>,
    /// What is recognised.
    pub applications: Applications,
    /// When the local week began, as the policy's time zone has it: [`hours::week_began`].
    pub week_began: u64,
    /// Rows by number: the fixed ones first.
    pub rows: Vec<Row>,
    /// Blocks of the rows by number.
    pub blocks: Vec<Block>,
    /// Dimension, address, length of the prefix in bits (of 128), row.
    pub addresses: Vec<(Dimension, Address, u8, u32)>,
    /// Protocol, port (or ICMP type and code), length of the prefix in bits (of 24, the protocol's eight first), row.
    pub services: Vec<(u8, [u8; 2], u8, u32)>,
}

/// Lowers a policy.
pub fn lower(policy: &Policy, numbers: &mut dyn Numbers, clock: &Clock) -> Result<Lowered, LowerError> {
    let mut rule_numbers = Vec::with_capacity(policy.rules.len());
    for rule in &policy.rules {
        let number = if rule.enabled { Some(rule_number(rule, numbers)?) } else { None };
        rule_numbers.push(number.unwrap_or_default());
    }
    let mut zone_numbers: BTreeMap<&str, u8> = BTreeMap::from([(SELF, ZONE_SELF)]);
    for zone in &policy.zones {
        let number = numbers.zone(zone).filter(|number| usize::from(*number) < MAX_ZONES).ok_or_else(|| LowerError::Zones(zone.clone()))?;
        zone_numbers.insert(zone, number);
    }
    let entries = policy.entries.iter().map(|entry| {
        let rule = &policy.rules[entry.rule];
        let lowered = lower_rule(rule, &policy.profiles[usize::from(rule.profile)], rule_numbers[entry.rule], clock);
        Rule { order: entry.order, ..lowered }
    });
    let classes = &policy.classes;
    let mut rows = fixed_rows(policy, &zone_numbers);
    rows.extend(&classes.rows);
    let behind = FIXED_ROWS as u32;
    Ok(Lowered {
        entries: entries.collect(),
        profiles: policy.profiles.clone(),
        schedules: policy.schedules.clone(),
        applications: policy.applications,
        week_began: hours::week_began(clock, &policy.defaults.zone()),
        rows,
        blocks: classes.blocks.clone(),
        addresses: classes.addresses.iter().map(|(side, address, length, row)| (*side, *address, *length, behind + row)).collect(),
        services: classes.services.iter().map(|(protocol, port, length, row)| (*protocol, *port, *length, behind + row)).collect(),
    })
}

fn rule_number(rule: &RuleInfo, numbers: &mut dyn Numbers) -> Result<u16, LowerError> {
    let number = numbers.rule(&rule.name).filter(|number| usize::from(*number) < MAX_RULE_NUMBERS);
    number.ok_or_else(|| LowerError::Rules(rule.name.clone()))
}

/// Rows of every zone number, and of the addresses and services that nothing names.
fn fixed_rows(policy: &Policy, numbers: &BTreeMap<&str, u8>) -> Vec<Row> {
    let classes = &policy.classes;
    // A policy without any entry has no rows either.
    let row = |number: u32| classes.rows.get(number as usize).copied().unwrap_or(Row::EMPTY);
    let mut rows = vec![Row::EMPTY; FIXED_ROWS];
    for (dimension, zones) in [(Dimension::FromZone, &classes.from), (Dimension::ToZone, &classes.to)] {
        let ZoneRows { unnamed, named } = zones;
        for zone in 0..MAX_ZONES as u8 {
            rows[dimension.fixed_row(zone) as usize] = row(*unnamed);
        }
        for (zone, number) in named.iter().filter_map(|(name, named)| Some((numbers.get(name.as_str())?, named))) {
            rows[dimension.fixed_row(*zone) as usize] = row(*number);
        }
    }
    for (dimension, tree) in
        [(Dimension::Source, &classes.sources), (Dimension::Destination, &classes.destinations), (Dimension::Service, &classes.ports)]
    {
        rows[dimension.fixed_row(0) as usize] = row(tree.unnamed);
    }
    rows
}

fn lower_rule(rule: &RuleInfo, profile: &Profile, number: u16, clock: &Clock) -> Rule {
    // Bypass keeps no state that anything but these could be judged by.
    let applicable = if rule.inspection == Inspection::Bypass { checks::STATELESS } else { u32::MAX };
    Rule {
        expires: rule.expires.map_or(0, |expires| monotonic(expires, clock)),
        number,
        action: rule.action as u8,
        inspection: rule.inspection as u8,
        flags: flags(rule),
        profile: rule.profile,
        order: 0,
        one_sided_quota: rule.one_sided_flows,
        checks: profile.checks & applicable,
        timeouts: rule.timeouts,
        limits: rule.limits.limits,
        schedule: rule.schedule,
        reserved: [0; 6],
    }
}

fn flags(rule: &RuleInfo) -> u8 {
    let flags = [
        (rule.sanity_off, rule_flags::SANITY_OFF),
        (!rule.limits.is_empty(), rule_flags::LIMITED),
        (rule.limits.overload.is_some(), rule_flags::OVERLOAD),
        (rule.log, rule_flags::LOGGED),
    ];
    flags.into_iter().filter(|(set, _)| *set).fold(rule.guards.flags(), |flags, (_, flag)| flags | flag)
}

/// Never 0, which would mean that the entry never expires.
fn monotonic(expires: jiff::Timestamp, clock: &Clock) -> u64 {
    let left = expires.as_nanosecond() - clock.realtime.as_nanosecond();
    let moment = i128::from(clock.monotonic_ns).saturating_add(left).max(1);
    // Beyond five centuries: never.
    u64::try_from(moment).unwrap_or(0)
}
