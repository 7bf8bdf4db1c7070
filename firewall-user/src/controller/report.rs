//! Status, counters and the policy in force, as the API tells them.

use std::{collections::BTreeMap, process};

use firewall_common::{counter, flow::Inspection, limit::Count, reason::Reason};

use super::{
    Controller, held,
    reload::InForce,
    usage::{Counted, Used, on_calendar, seconds_since},
};
use crate::{
    api::{
        Counters, Expiring, Failure, HistoryEntry, Interface, InterfaceCounters, LimitUse, PolicyInForce, PolicyStatus, Profile,
        RuleCounters, RuleInForce, ShownPolicy, Status, TableFill,
    },
    clock,
    dataplane::TableName,
    policy::{Policy, RuleInfo, hours},
};

/// A rule that ends within this time is told of.
const ENDS_SOON: jiff::SignedDuration = jiff::SignedDuration::from_hours(7 * 24);

impl Controller {
    pub fn status(&self) -> Result<Status, Failure> {
        let fill = self.sweep.last();
        let interfaces = self.interfaces();
        let silent = self.silent_addresses();
        let state = held(&self.policy);
        let policy = state.in_force.as_ref().map(|in_force| PolicyStatus {
            path: in_force.path.display().to_string(),
            generation: in_force.generation,
            rules: in_force.policy.rules().len(),
            number: in_force.number,
        });
        let confirmation = state.confirmation.as_ref().map(|confirmation| confirmation.describe(&clock::both()));
        let ready = policy.is_some() && !interfaces.is_empty() && interfaces.iter().all(|interface| interface.attached);
        Ok(Status {
            instance: self.instance.name().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            placement: self.placement.name().to_owned(),
            ready,
            interfaces,
            policy,
            confirmation,
            expiring: state.in_force.as_ref().map_or_else(Vec::new, |in_force| expiring(in_force, jiff::Timestamp::now())),
            flows: fill.embryonic + fill.established,
            silent,
            uptime_seconds: self.started.elapsed().as_secs(),
            adopted: self.adopted,
            pid: process::id(),
        })
    }

    fn interfaces(&self) -> Vec<Interface> {
        let dataplane = held(&self.dataplane);
        let names = held(&self.policy).names.clone();
        let describe = |attached: &crate::dataplane::Attachment| Interface {
            name: attached.name.clone(),
            index: attached.index,
            zone: names.zone(attached.zone),
            mode: attached.mode,
            fell_back: attached.fell_back,
            egress: attached.egress.name().to_owned(),
            attached: dataplane.is_present(attached),
            adopted: attached.adopted,
        };
        dataplane.attachments().map(describe).collect()
    }

    /// All counters; of the drops only those that happened, unless `all`.
    pub fn counters(&self, all: bool) -> Result<Counters, Failure> {
        let fill = self.sweep.run(&self.maps, &self.live)?;
        let totals = self.maps.counters()?;
        let (fragments, fragment_room) = self.maps.fragments()?;
        let tables = [
            ("established", fill.established, self.maps.table(TableName::Established).capacity()?),
            ("embryonic", fill.embryonic, self.maps.table(TableName::Embryonic).capacity()?),
            ("fragments", fragments, fragment_room),
        ];
        Ok(Counters {
            drops: drops(&totals, all),
            passed: totals.passed,
            passed_without_learning: totals.passed_without_learning,
            link_passed: totals.link_passed,
            answered: totals.answered,
            flows_created: totals.flows_created,
            flows_established: totals.flows_established,
            flows_expired: fill.expired,
            events: self.events.counters(&self.maps)?,
            rules: self.rule_counters()?,
            tables: tables.map(|(name, entries, capacity)| (name.to_owned(), TableFill { entries, capacity })).into(),
            interfaces: self.interface_counters(all)?,
        })
    }

    /// Rules in the order of the policy, then those that only live flows still name.
    fn rule_counters(&self) -> Result<Vec<RuleCounters>, Failure> {
        let flows = self.live.by_rule();
        let clock = clock::both();
        let state = held(&self.policy);
        let in_policy = state.in_force.iter().flat_map(|in_force| in_force.policy.rules());
        let mut numbers: Vec<u16> = in_policy.filter_map(|rule| state.names.rule_number(&rule.name)).collect();
        let mut others: Vec<u16> = flows.keys().copied().filter(|number| !numbers.contains(number)).collect();
        others.sort_unstable();
        numbers.extend(others);
        let policy = state.in_force.as_ref().map(|in_force| &in_force.policy);
        let rules: BTreeMap<&str, &RuleInfo> =
            policy.iter().flat_map(|policy| policy.rules()).map(|rule| (rule.name.as_str(), rule)).collect();
        let count = |number: u16| {
            let totals = self.maps.rule_counters(number)?;
            let name = state.names.rule(number);
            let last_hit = on_calendar(totals.last_hit, &clock).or_else(|| self.usage.get()?.known(&name)?.0.last_hit);
            let flows = flows.get(&number).copied().unwrap_or(0);
            let rule = rules.get(name.as_str()).copied();
            let limits = rule.map(|rule| self.limits(rule, number)).unwrap_or_default();
            let in_hours = rule.and_then(|rule| in_hours(rule, policy?, clock.realtime));
            Ok(RuleCounters {
                hits: totals.hits,
                last_hit: last_hit.map(|at| at.to_string()),
                last_hit_seconds_ago: last_hit.map(|at| seconds_since(at, clock.realtime)),
                flows,
                packets: totals.packets,
                bytes: totals.bytes,
                limits,
                in_hours,
                name,
            })
        };
        numbers.into_iter().map(count).collect()
    }

    /// What the maps say of the rules in force, for what is kept of them.
    fn counted(&self) -> Result<Vec<Counted>, Failure> {
        let state = held(&self.policy);
        let rules = state.in_force.iter().flat_map(|in_force| in_force.policy.rules());
        let numbered = rules.filter_map(|rule| Some((rule, state.names.rule_number(&rule.name)?)));
        let count = |(rule, number): (&RuleInfo, u16)| {
            let bypass = rule.enabled && rule.inspection == Inspection::Bypass;
            Ok(Counted { name: rule.name.clone(), bypass, counters: self.maps.rule_counters(number)? })
        };
        numbered.map(count).collect()
    }

    /// Keeps on disk when rules were last used and needed, if that is due or must be `now`.
    pub(super) fn keep_usage(&self, now: bool) -> Result<(), Failure> {
        match self.usage.get() {
            Some(usage) if now || usage.is_due(self.maps.config.generation()) => usage.keep(&self.counted()?, &clock::both()),
            _ => Ok(()),
        }
    }

    /// What is known of the bypass rules in force, by name, and since when.
    pub(super) fn needs(&self) -> Result<BTreeMap<String, (Used, jiff::Timestamp)>, Failure> {
        let Some(usage) = self.usage.get() else { return Ok(BTreeMap::new()) };
        let clock = clock::both();
        let counted = self.counted()?.into_iter().filter(|counted| counted.bypass);
        Ok(counted.map(|counted| (counted.name.clone(), usage.note(&counted, &clock))).collect())
    }

    /// A rule's limits with what counts against them.
    fn limits(&self, rule: &RuleInfo, number: u16) -> BTreeMap<String, LimitUse> {
        let [flows, embryonic] = self.maps.limits.read(number).map(Count::alive);
        let now = |key: &str| match key {
            "flows" => Some(flows),
            "embryonic" => Some(embryonic),
            _ => None,
        };
        rule.limits.numbers().map(|(key, limit)| (key.to_owned(), LimitUse { limit, now: now(key) })).collect()
    }

    fn interface_counters(&self, all: bool) -> Result<Vec<InterfaceCounters>, Failure> {
        let attached: Vec<_> = held(&self.dataplane).attachments().cloned().collect();
        let names = held(&self.policy).names.clone();
        let count = |attached: crate::dataplane::Attachment| {
            let counters = self.maps.counters_of(attached.place)?;
            let totals = counters.traffic;
            Ok(InterfaceCounters {
                zone: names.zone(attached.zone),
                mode: attached.mode,
                name: attached.name,
                drops: drops(&counters, all),
                packets: totals.received_packets + totals.sent_packets,
                bytes: totals.received_bytes + totals.sent_bytes,
                dropped: totals.received_dropped + totals.sent_dropped,
                received_packets: totals.received_packets,
                received_bytes: totals.received_bytes,
                received_dropped: totals.received_dropped,
                sent_packets: totals.sent_packets,
                sent_bytes: totals.sent_bytes,
                sent_dropped: totals.sent_dropped,
            })
        };
        attached.into_iter().map(count).collect()
    }

    /// The policy in force with what its rules have done.
    pub fn policy_in_force(&self) -> Result<PolicyInForce, Failure> {
        self.sweep.run(&self.maps, &self.live)?;
        let rules = self.rules_in_force(|_| true)?;
        let state = held(&self.policy);
        let in_force: &InForce = state.in_force.as_ref().ok_or_else(|| Failure::failed("no policy is in force"))?;
        Ok(PolicyInForce {
            path: in_force.path.display().to_string(),
            generation: in_force.generation,
            rules,
            text: in_force.policy.to_string(),
        })
    }

    /// The policies that were applied, the newest first.
    pub fn history(&self) -> Result<Vec<HistoryEntry>, Failure> {
        Ok(held(&self.policy).history.index().list().collect())
    }

    /// A policy of the history.
    pub fn show(&self, number: u64) -> Result<ShownPolicy, Failure> {
        let state = held(&self.policy);
        let (entry, read) = (state.history.index().show(number)?, state.history.read(number)?);
        Ok(ShownPolicy { entry, text: read.policy.to_string() })
    }

    /// The normalizer profiles there are, those of the policy in force included.
    pub fn profiles(&self) -> Result<Vec<Profile>, Failure> {
        Ok(Profile::all(held(&self.policy).in_force.as_ref().map(|in_force| &in_force.policy)))
    }

    /// The rules in force that `wanted` picks.
    pub(super) fn rules_in_force(&self, wanted: impl Fn(&RuleInfo) -> bool) -> Result<Vec<RuleInForce>, Failure> {
        let figures: BTreeMap<String, RuleCounters> = self.rule_counters()?.into_iter().map(|rule| (rule.name.clone(), rule)).collect();
        let now = jiff::Timestamp::now();
        let state = held(&self.policy);
        let policy = state.in_force.as_ref().map(|in_force| &in_force.policy);
        let rules = state.in_force.iter().flat_map(|in_force| in_force.policy.rules()).filter(|rule| wanted(rule));
        let describe = |rule: &RuleInfo| {
            let figures = figures.get(&rule.name);
            RuleInForce {
                name: rule.name.clone(),
                file: rule.file.display().to_string(),
                line: rule.line,
                from: rule.from.join(", "),
                to: rule.to.join(", "),
                service: rule.service.join(", "),
                enabled: rule.enabled,
                action: action_name(rule.action).to_owned(),
                inspection: rule.inspection.name().to_owned(),
                guard: rule.guards.names(),
                normalizer: rule.normalizer.clone(),
                because: rule.because.clone(),
                expires: rule.expires.map(|expires| expires.to_string()),
                expired: rule.expires.is_some_and(|expires| expires <= now),
                hours: rule.hours.iter().map(ToString::to_string).collect(),
                in_hours: policy.and_then(|policy| in_hours(rule, policy, now)),
                hits: figures.map_or(0, |figures| figures.hits),
                last_hit: figures.and_then(|figures| figures.last_hit.clone()),
                last_hit_seconds_ago: figures.and_then(|figures| figures.last_hit_seconds_ago),
                flows: figures.map_or(0, |figures| figures.flows),
            }
        };
        Ok(rules.map(describe).collect())
    }
}

/// Rules whose time is over or soon will be, the sooner the earlier.
fn expiring(in_force: &InForce, now: jiff::Timestamp) -> Vec<Expiring> {
    let ends_soon = |rule: &&RuleInfo| rule.enabled && rule.expires.is_some_and(|at| at.duration_since(now) <= ENDS_SOON);
    let mut rules: Vec<&RuleInfo> = in_force.policy.rules().iter().filter(ends_soon).collect();
    rules.sort_by_key(|rule| rule.expires);
    let describe = |rule: &RuleInfo| {
        let at = rule.expires?;
        Some(Expiring {
            rule: rule.name.clone(),
            inspection: rule.inspection.name().to_owned(),
            expires: at.to_string(),
            expired: at <= now,
            expires_in_seconds: seconds_since(now, at),
        })
    };
    rules.into_iter().filter_map(describe).collect()
}

/// Whether a rule is in its hours; `None` for a rule without.
fn in_hours(rule: &RuleInfo, policy: &Policy, now: jiff::Timestamp) -> Option<bool> {
    (!rule.hours.is_empty()).then(|| hours::has(&rule.hours, now, &policy.defaults().zone()))
}

/// What was dropped, by reason's name.
fn drops(counters: &counter::Counters, all: bool) -> BTreeMap<String, u64> {
    let drops = Reason::ALL.iter().map(|reason| (reason.name().to_owned(), counters.drops[reason.index()]));
    drops.filter(|(_, count)| all || *count > 0).collect()
}

pub(super) const fn action_name(action: firewall_common::rule::Action) -> &'static str {
    use firewall_common::rule::Action;
    match action {
        Action::Allow => "allow",
        Action::Drop => "drop",
        Action::Reject => "reject",
    }
}
