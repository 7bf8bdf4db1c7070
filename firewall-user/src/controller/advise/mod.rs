//! `weir advise`: which streams a stateful check kills, why, and the narrowest rule that would let them live.
//!
//! The dataplane remembers refusals ([`firewall_common::evidence`]), [`crate::advise`] says what they look like, `observed` brings both together
//! with live flows, and `rule` makes of those a rule that the policy in force has a place for.

mod observed;
mod rule;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{Controller, change::Asked, held, judge::Judge, reload::PolicyState, sets};
use crate::{
    advise::Looks,
    api::{Advice, AdviceApplied, AdviseApply, Advised, AdvisedFlow, Failure, Forgotten, How, Kind},
    clock,
    policy::Policy,
};
use observed::Observed;
use rule::Place;

/// What was last refused longer ago says nothing about today.
const OLD: u64 = 24 * 3_600 * 1_000_000_000;
/// How long an advised rule holds unless told otherwise: long enough to mend what is broken, and too short to be forgotten.
pub const DEFAULT_SECONDS: u64 = 30 * 86_400;
/// The shortest and longest time a rule may be advised for.
const SECONDS: std::ops::RangeInclusive<u64> = 60..=3_660 * 86_400;
/// Flows listed of one advice, the latest first.
const LISTED: usize = 64;

impl Controller {
    /// What was refused lately, and what to do about it.
    pub fn advise(&self, for_seconds: Option<u64>) -> Result<Advised, Failure> {
        let seconds = checked(for_seconds)?;
        self.sweep.run(&self.maps, &self.live)?;
        let now = clock::both();
        self.maps.forget_refusals(now.monotonic_ns.saturating_sub(OLD))?;
        let observed = self.observed()?;
        let not_remembered = self.maps.missed_refusals()?;
        let kept = self.attached_zones();
        let state = held(&self.policy);
        let in_force = state.in_force.as_ref().ok_or_else(|| Failure::failed("no policy is in force"))?;
        let policy = in_force.policy.clone().with_members(&state.sets.members()).map_err(|error| sets::too_many(&error))?;
        let lowered = self.lower_beside(&state, (&policy, &policy), &kept, &now)?.before;
        let judge = Judge::new(&policy, &lowered, now.monotonic_ns);
        let placed = observed.into_iter().map(|one| (Place::of(&one, &judge, &state.names), one));
        // Where a bypass is, what was refused was before it.
        let groups = groups(placed.filter(|(place, _)| !place.is_bypassed()));
        let mut advice: Vec<Advice> = groups.iter().map(|(place, group)| rule::advice(group, place, seconds, &now)).collect();
        name(&mut advice, &policy);
        rule::write(&mut advice)?;
        advice.sort_by_key(|advice| (advice.rule.is_none(), std::cmp::Reverse(advice.refused)));
        Ok(Advised { advice, not_remembered })
    }

    /// Adds the rule of an advice, as `weir bypass add` does.
    pub fn advise_apply(&self, request: &AdviseApply, uid: Option<u32>) -> Result<AdviceApplied, Failure> {
        let advised = self.advise(request.for_seconds)?;
        let Some(advice) = advised.advice.into_iter().find(|advice| advice.name == request.name) else {
            return Err(self.no_such_advice(&request.name));
        };
        let Some(rule) = advice.rule else {
            let why = advice.no_rule.unwrap_or_default();
            return Err(Failure::new(Kind::Conflict, format!("`{}` advises no rule: {why}", advice.name))
                .hint("`weir bypass add` adds a rule that you know better about"));
        };
        let session = if request.cut_session { None } else { request.session };
        let asked = Asked { session, ..Asked::by(How::Advise, uid) }.confirmed_within(request.confirm_seconds)?;
        let added = self.add_bypass(&rule::request(&advice.name, &rule), asked)?;
        let file = added.file.display().to_string();
        let (generation, warnings, confirmation) = (added.applied.generation, added.applied.warnings, added.applied.confirmation);
        Ok(AdviceApplied { name: advice.name, file, generation, warnings, expires: rule.expires, confirmation })
    }

    /// Forgets everything that was refused so far.
    pub fn advise_forget(&self) -> Result<Forgotten, Failure> {
        let forgotten = self.maps.forget_refusals(u64::MAX)?;
        log::info!("forgot {forgotten} entries of refusals on request");
        Ok(Forgotten { forgotten: forgotten as u64 })
    }

    fn no_such_advice(&self, name: &str) -> Failure {
        let state: &PolicyState = &held(&self.policy);
        let rule = state.in_force.iter().flat_map(|in_force| in_force.policy.rules()).find(|rule| rule.name == name);
        match rule {
            Some(rule) => Failure::new(Kind::Conflict, format!("there is a rule `{name}` already")).hint(format!(
                "it is in {}:{}; `weir advise` shows what is advised now",
                rule.file.display(),
                rule.line
            )),
            None => Failure::new(Kind::NotFound, format!("there is no advice `{name}`, or no longer"))
                .hint("`weir advise` shows what is advised now"),
        }
    }
}

fn checked(for_seconds: Option<u64>) -> Result<u64, Failure> {
    match for_seconds {
        None => Ok(DEFAULT_SECONDS),
        Some(seconds) if SECONDS.contains(&seconds) => Ok(seconds),
        Some(seconds) => Err(Failure::usage(format!("{seconds} s is no time for a rule to hold")).hint("between a minute and ten years")),
    }
}

/// What is alike is advised about together: clients of one service that one rule takes now, or all that one source has sent.
fn groups<'p>(observed: impl Iterator<Item = (Place<'p>, Observed)>) -> Vec<(Place<'p>, Vec<Observed>)> {
    let mut groups: BTreeMap<_, (Place<'p>, Vec<Observed>)> = BTreeMap::new();
    for (place, one) in observed {
        let source = if one.finding.looks.bypass_helps() { None } else { Some(one.from.bits()) };
        let to = one.to.map(|to| to.bits());
        // What may be advised is kept apart from what may not.
        let key = (one.finding.looks, one.finding.sure(), one.from_zone, one.to_zone, to, one.port, source, place.rule_name());
        groups.entry(key).or_insert_with(|| (place, Vec::new())).1.push(one);
    }
    groups.into_values().collect()
}

/// Names that no rule and no other advice has.
fn name(advice: &mut [Advice], policy: &Policy) {
    let mut taken: BTreeSet<String> = policy.rules().iter().map(|rule| rule.name.clone()).collect();
    for one in advice {
        let mut name = one.name.clone();
        let mut number = 2;
        while !taken.insert(name.clone()) {
            name = format!("{}-{number}", one.name);
            number += 1;
        }
        one.name = name;
    }
}

/// The last day, or for less than a day the second, on which a rule holds that begins now.
fn end(now: Timestamp, seconds: u64) -> String {
    let span = jiff::SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
    let end = now.checked_add(span).unwrap_or(Timestamp::MAX);
    if seconds >= 86_400 { end.strftime("%Y-%m-%d").to_string() } else { end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string() }
}

/// What a person is told of somebody who is not to be let in.
fn listed(mut flows: Vec<(u64, AdvisedFlow)>) -> Vec<AdvisedFlow> {
    flows.sort_by_key(|(last, _)| std::cmp::Reverse(*last));
    flows.truncate(LISTED);
    flows.into_iter().map(|(_, flow)| flow).collect()
}

/// Where an advice's name begins.
const fn prefix(looks: Looks) -> &'static str {
    looks.name()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_ends_with_a_day_or_with_a_second() {
        let now: Timestamp = "2026-11-28T17:30:05.5Z".parse().expect("a moment");
        assert_eq!(end(now, DEFAULT_SECONDS), "2026-12-28");
        assert_eq!(end(now, 3_600), "2026-11-28T18:30:05Z");
        assert!(crate::policy::edit::parse_expires(&end(now, 86_400)).is_ok() && crate::policy::edit::parse_expires(&end(now, 60)).is_ok());
        assert_eq!(checked(None), Ok(DEFAULT_SECONDS));
        assert!(checked(Some(1)).is_err() && checked(Some(u64::MAX)).is_err());
    }
}
