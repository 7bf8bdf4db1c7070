//! The policies that scripts name.

use crate::{
    flow::Inspection,
    hours::{self, Week},
    limit::Limits,
    rule::{Action, Rule, rule_flags},
    testing::{profiles, tables::Tables},
};

/// The policy of this name, and of this inspection level where the name leaves it open.
pub(super) fn policy(name: &str, level: Inspection) -> Result<Tables, String> {
    let everything = |inspection| Tables::everything(Action::Allow, inspection);
    Ok(match name {
        "strict" => everything(Inspection::Strict),
        "tolerant" => everything(Inspection::Tolerant),
        "bypass" => everything(Inspection::Bypass),
        "no-icmp" => everything(level).without_icmp(),
        "from-zone-1" => Tables::from_zone_1(Inspection::Strict),
        "drop" => Tables::everything(Action::Drop, Inspection::Strict),
        "reject" => Tables::everything(Action::Reject, Inspection::Strict),
        "sanity-off" => everything(Inspection::Bypass).without_sanity(),
        "no-quota" => {
            let bypass = everything(Inspection::Bypass);
            Tables::single(Rule { one_sided_quota: 0, ..bypass.entries[0] })
        }
        "logged" => everything(level).logged(),
        "drop logged" => Tables::everything(Action::Drop, Inspection::Strict).logged(),
        "hours always" => everything(Inspection::Strict).with_hours(Week([u64::MAX; hours::WORDS])),
        "guard ctcp" => everything(Inspection::Bypass).guarded(rule_flags::GUARD_CTCP),
        "guard esp" => everything(Inspection::Bypass).guarded(rule_flags::GUARD_ESP),
        "guard ctcp esp" => everything(Inspection::Bypass).guarded(rule_flags::GUARDED),
        "hours never" => everything(Inspection::Strict).with_hours(Week::NEVER),
        other => match (other.strip_prefix("profile "), other.strip_prefix("limits ")) {
            (Some(name), _) => profiled(name)?,
            (_, Some(limits)) => limited(limits)?,
            (None, None) => return Err(format!("no policy: {other}")),
        },
    })
}

/// `strict`, or `bypass` when that word is among them, with limits such as `flows=1`.
fn limited(words: &str) -> Result<Tables, String> {
    let mut inspection = Inspection::Strict;
    let mut limits = Limits::NONE;
    for word in words.split_whitespace() {
        let (key, value) = word.split_once('=').unwrap_or((word, "0"));
        let limit = match key {
            "bypass" => {
                inspection = Inspection::Bypass;
                continue;
            }
            "flows" => &mut limits.flows,
            "embryonic" => &mut limits.embryonic,
            "source-flows" => &mut limits.source_flows,
            "source-embryonic" => &mut limits.source_embryonic,
            _ => return Err(format!("no limit: {word}")),
        };
        *limit = value.parse().map_err(|_| format!("no number: {word}"))?;
    }
    Ok(Tables::everything(Action::Allow, inspection).with_limits(limits))
}

/// `strict` with a normalizer profile, or `bypass` with what of it applies there.
fn profiled(name: &str) -> Result<Tables, String> {
    let (name, inspection) = match name.strip_suffix(" bypass") {
        Some(name) => (name, Inspection::Bypass),
        None => (name, Inspection::Strict),
    };
    let profile = profiles::named(name).ok_or_else(|| format!("no profile: {name}"))?;
    Ok(Tables::everything(Action::Allow, inspection).with_profile(profile))
}
