//! The rule that is advised: no wider than what was seen, before the rule that takes such flows now, and with an end.

use std::collections::{BTreeMap, BTreeSet};

use firewall_common::{
    application::Application,
    flow::{Inspection, flow_marks},
    rule::Action,
    wire::protocol,
};

use super::{
    super::{bypass::new_rule, flows::ip, judge::Judge, names::Names, report::action_name},
    end, listed,
    observed::Observed,
    prefix,
};
use crate::{
    advise::Looks,
    api::{AdmittedBy, Advice, AdvisedEnd, AdvisedFlow, AdvisedRule, BypassAdd, Failure},
    clock,
    policy::{Clock, FirstPacket, RuleInfo, edit},
};

/// Ports that clients choose by themselves, for what a server sends to them.
const CLIENT_PORTS: &str = "tcp/1024-65535";
/// As many clients are named one by one in a rule; more than that are for a person to sum up.
const MOST_CLIENTS: usize = 32;

/// Where refused packets stand in the policy.
pub(super) struct Place<'p> {
    /// The rule that decides such flows now.
    rule: Option<&'p RuleInfo>,
    /// Names of the zones; `None` of one that has none any more.
    from: Option<String>,
    to: Option<String>,
}

impl<'p> Place<'p> {
    pub(super) fn of(one: &Observed, judge: &Judge<'p>, names: &Names) -> Self {
        let zone = |number: u8| Some(names.zone(number)).filter(|name| !name.starts_with('#'));
        let rule = one.to.and_then(|to| {
            judge
                .judge(&FirstPacket {
                    from_zone: one.from_zone,
                    to_zone: one.to_zone,
                    source: one.from,
                    destination: to,
                    protocol: protocol::TCP,
                    service: one.seen_port.to_be_bytes(),
                })
                .rule()
        });
        Self { rule, from: zone(one.from_zone), to: zone(one.to_zone) }
    }

    /// The rule that decides such flows now.
    pub(super) fn rule_name(&self) -> Option<&'p str> {
        self.rule.map(|rule| rule.name.as_str())
    }

    /// The policy in force lets such flows live.
    pub(super) fn is_bypassed(&self) -> bool {
        self.rule.is_some_and(|rule| rule.action == Action::Allow && rule.inspection == Inspection::Bypass)
    }

    fn admitted_by(&self) -> Option<AdmittedBy> {
        self.rule.map(|rule| AdmittedBy {
            rule: rule.name.clone(),
            action: action_name(rule.action).to_owned(),
            inspection: rule.inspection.name().to_owned(),
            file: rule.file.display().to_string(),
            line: rule.line,
        })
    }
}

/// What a group of refusals comes to. The rule has no text yet: its name may still change.
pub(super) fn advice(group: &[Observed], place: &Place<'_>, seconds: u64, now: &Clock) -> Advice {
    // The clearest case speaks for all.
    let clearest = group.iter().max_by_key(|one| (one.finding.confidence, one.refused));
    let (looks, confidence) = clearest.map_or((Looks::Unknown, "low"), |one| (one.finding.looks, one.finding.confidence.name()));
    let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
    for (reason, count) in group.iter().flat_map(|one| &one.reasons) {
        *reasons.entry((*reason).to_owned()).or_default() += count;
    }
    let refused = group.iter().map(|one| u64::from(one.refused)).sum();
    let ago = |moment: u64| clock::seconds(firewall_common::time::Nanos(now.monotonic_ns.saturating_sub(moment)));
    let flows: Vec<(u64, AdvisedFlow)> = group.iter().map(|one| (one.last, flow(one, place))).collect();
    let judged = rule(group, place, looks, seconds, now);
    Advice {
        name: basic_name(group, looks),
        looks: looks.name().to_owned(),
        confidence: confidence.to_owned(),
        why: clearest.map_or_else(String::new, |one| one.finding.why.clone()),
        refused,
        reasons,
        first_seconds_ago: ago(group.iter().map(|one| one.first).min().unwrap_or(now.monotonic_ns)),
        last_seconds_ago: ago(group.iter().map(|one| one.last).max().unwrap_or(now.monotonic_ns)),
        instead: instead(looks, group, place, &flows, judged.as_ref().is_ok_and(|rule| !rule.guard.is_empty())),
        flows: listed(flows),
        admitted_by: place.admitted_by(),
        no_rule: judged.as_ref().err().cloned(),
        rule: judged.ok(),
    }
}

fn flow(one: &Observed, place: &Place<'_>) -> AdvisedFlow {
    let zone = |zone: &Option<String>| zone.clone().unwrap_or_else(|| "?".to_owned());
    AdvisedFlow {
        from: AdvisedEnd { address: ip(&one.from), port: one.from_port, zone: zone(&place.from) },
        to: one.to.map(|to| AdvisedEnd { address: ip(&to), port: one.port, zone: zone(&place.to) }),
        refused: one.refused.into(),
        application: one.application.map(|application| application.name().to_owned()),
        live: one.live.as_ref().is_some_and(|(_, live)| live.flow.marks & flow_marks::OVER == 0),
    }
}

/// The rule, or why there is none.
fn rule(group: &[Observed], place: &Place<'_>, looks: Looks, seconds: u64, now: &Clock) -> Result<AdvisedRule, String> {
    if !looks.bypass_helps() {
        return Err(match looks {
            Looks::Scan | Looks::Injection => "what looks like an attack is never let through",
            Looks::Forgotten => "a bypass would let anybody in whom the policy lets in with a SYN, for connections that are over anyway",
            Looks::BrokenPeer => "the endpoints disagree, and passing more of it would not make them agree",
            _ => "it is not known what it is",
        }
        .to_owned());
    }
    let Some(first) = group.first().filter(|one| one.finding.sure()) else {
        return Err("the evidence does not bear it: an attacker who sees nothing could have sent the same".to_owned());
    };
    let Some(admitting) = place.rule.filter(|rule| rule.action == Action::Allow) else {
        return Err("the policy in force does not allow such flows at all, and a bypass permits nothing by itself".to_owned());
    };
    let (Some(from_zone), Some(to_zone), Some(to)) = (&place.from, &place.to, first.to) else {
        return Err("the zones it was seen between are not there any more".to_owned());
    };
    let clients: BTreeSet<_> = group.iter().map(|one| ip(&one.from)).collect();
    if clients.len() > MOST_CLIENTS {
        return Err(format!("{} sources are too many to name one by one: `weir bypass add` takes a set or a prefix", clients.len()));
    }
    let clients: Vec<String> = clients.iter().map(ToString::to_string).collect();
    let refused: u64 = group.iter().map(|one| u64::from(one.refused)).sum();
    Ok(AdvisedRule {
        from: vec![format!("{from_zone} {}", clients.join(", "))],
        to: vec![format!("{to_zone} {}", ip(&to))],
        service: vec![first.port.map_or_else(|| CLIENT_PORTS.to_owned(), |port| format!("tcp/{port}"))],
        guard: guards(group, looks),
        expires: end(now.realtime, seconds),
        because: format!("advised {}: {}; {refused} packets were refused", now.realtime.strftime("%Y-%m-%d"), looks.words()),
        before: admitting.name.clone(),
        toml: String::new(),
    })
}

/// Guards of the bypass. Where the first data of every flow had the trailer of IPsec over TCP, nothing else needs to be let through.
fn guards(group: &[Observed], looks: Looks) -> Vec<String> {
    let guarded = matches!(looks, Looks::FakeTcp) && group.iter().all(|one| one.application == Some(Application::Ctcp));
    if guarded { vec![Application::Ctcp.name().to_owned()] } else { Vec::new() }
}

/// A name for the advice and its rule: what it is, the server, the port.
fn basic_name(group: &[Observed], looks: Looks) -> String {
    let Some(first) = group.first() else { return prefix(looks).to_owned() };
    // A colon cannot be in a rule's name.
    let address = |address| ip(address).to_string().replace(':', "-");
    match (first.to.filter(|_| looks.bypass_helps()), first.port) {
        (Some(to), Some(port)) => format!("{}-{}-{port}", prefix(looks), address(&to)),
        (Some(to), None) => format!("{}-{}", prefix(looks), address(&to)),
        (None, _) => format!("{}-{}", prefix(looks), address(&first.from)),
    }
}

/// What is better than a rule.
fn instead(looks: Looks, group: &[Observed], place: &Place<'_>, flows: &[(u64, AdvisedFlow)], guarded: bool) -> Vec<String> {
    let port = group.first().and_then(|one| one.port).map_or_else(String::new, |port| format!(" port={port}"));
    let admitting = place.rule.map_or_else(|| "the rule".to_owned(), |rule| format!("rule `{}`", rule.name));
    let ctcp = flows.iter().any(|(_, flow)| flow.application.as_deref() == Some(Application::Ctcp.name()));
    let mut words = match looks {
        Looks::FakeTcp => vec![
            "mend the loss: without one lost packet such a stream needs nothing".to_owned(),
            "carry it over UDP (udp/500 and udp/4500, or ESP), or by a client with a real TCP: both pass under strict inspection"
                .to_owned(),
            "`inspection = \"tolerant\"` in place of bypass lets data past the window and keeps handshakes and resets checked".to_owned(),
        ],
        Looks::Asymmetric => vec!["let both directions go by Weir, or neither".to_owned()],
        Looks::Forgotten => vec![format!("a longer `idle-timeout` in {admitting}, if its connections are idle for so long")],
        Looks::BrokenPeer => vec![format!("`weir flows kill{port}` lets both endpoints begin anew")],
        Looks::Injection => vec!["strict inspection keeps it out; `weir events kind=dropped` shows from where it comes in".to_owned()],
        Looks::Scan => {
            vec!["strict inspection keeps it out; a set that a rule drops, and `weir set add`, keep out the rest of that source".to_owned()]
        }
        Looks::Unknown => vec![format!("`weir events kind=dropped{port}` shows the numbers of each refusal")],
    };
    if ctcp && !guarded {
        words.push(
            "some of it carries the trailer of cTCP: for that, `guard = \"ctcp\"` keeps everything else out of the bypass".to_owned(),
        );
    }
    words
}

/// An advised rule as `weir bypass add` takes it.
pub(super) fn request(name: &str, rule: &AdvisedRule) -> BypassAdd {
    BypassAdd {
        name: name.to_owned(),
        from: rule.from.clone(),
        to: rule.to.clone(),
        service: rule.service.clone(),
        because: Some(rule.because.clone()),
        expires: Some(rule.expires.clone()),
        idle_timeout: None,
        guard: rule.guard.clone(),
        before: Some(rule.before.clone()),
        file: None,
    }
}

/// Writes the rules' texts, now that their names are settled.
pub(super) fn write(advice: &mut [Advice]) -> Result<(), Failure> {
    for one in advice {
        if let Some(rule) = &mut one.rule {
            rule.toml = edit::block(&new_rule(&request(&one.name, rule))?);
        }
    }
    Ok(())
}
