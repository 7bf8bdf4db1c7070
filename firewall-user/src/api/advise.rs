use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use super::Confirmation;
use crate::session::Session;

/// `GET /v1/advise`: what stateful checks of TCP refuse, and what to do about it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Advised {
    /// Those with a rule to add first, then by how much was refused.
    pub advice: Vec<Advice>,
    /// Refusals of which nothing is remembered, because more came than there is room for.
    pub not_remembered: u64,
}

/// What was refused of one service, or of one source, and what that looks like.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Advice {
    /// `weir advise --apply` goes by it, and so does the rule.
    pub name: String,
    /// `fake-tcp`, `asymmetric`, `forgotten`, `broken-peer`, `injection`, `scan` or `unknown`.
    pub looks: String,
    /// `high`, `medium` or `low`.
    pub confidence: String,
    /// The evidence in one or two sentences, with its figures.
    pub why: String,
    /// Packets refused.
    pub refused: u64,
    /// The same by drop reason, as far as they are told apart; the rest is `other`.
    pub reasons: BTreeMap<String, u64>,
    pub first_seconds_ago: f64,
    pub last_seconds_ago: f64,
    pub flows: Vec<AdvisedFlow>,
    /// The rule that admits such flows now; null where none does.
    pub admitted_by: Option<AdmittedBy>,
    /// The narrowest rule that lets them live; null where none is advised.
    pub rule: Option<AdvisedRule>,
    /// Why none is; null where one is.
    pub no_rule: Option<String>,
    /// What is better than a rule, the best first.
    pub instead: Vec<String>,
}

/// Whom the refused packets are between.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdvisedFlow {
    pub from: AdvisedEnd,
    /// Null of a source that reaches for many.
    pub to: Option<AdvisedEnd>,
    pub refused: u64,
    /// What the flow's data shows; null while nothing looks, and of flows that are gone.
    pub application: Option<String>,
    /// The flow is still there.
    pub live: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdvisedEnd {
    pub address: IpAddr,
    /// Null where there are several.
    pub port: Option<u16>,
    pub zone: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdmittedBy {
    pub rule: String,
    pub action: String,
    pub inspection: String,
    pub file: String,
    pub line: usize,
}

/// A bypass rule to add, as `POST /v1/bypass` takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdvisedRule {
    pub from: Vec<String>,
    pub to: Vec<String>,
    pub service: Vec<String>,
    /// Guards of the bypass: empty where it is not known what the streams carry.
    #[serde(default)]
    pub guard: Vec<String>,
    pub expires: String,
    pub because: String,
    /// Rule it must stand before, which would take its packets otherwise.
    pub before: String,
    /// Exactly what is written into the file.
    pub toml: String,
}

/// Body of `POST /v1/advise`: the advice to follow.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdviseApply {
    pub name: String,
    /// How long the rule is to hold; 30 days when it is left out.
    #[serde(default)]
    pub for_seconds: Option<u64>,
    #[serde(default)]
    pub confirm_seconds: Option<u32>,
    /// The SSH session it is asked for in: it is refused when it would cut that.
    #[serde(default)]
    pub session: Option<Session>,
    /// Not even then.
    #[serde(default)]
    pub cut_session: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AdviceApplied {
    pub name: String,
    pub file: String,
    pub generation: u32,
    pub warnings: Vec<String>,
    pub expires: String,
    /// Null unless it waits to be confirmed.
    pub confirmation: Option<Confirmation>,
}

/// Answer of `DELETE /v1/advise`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Forgotten {
    /// Entries: flows, conversations and sources.
    pub forgotten: u64,
}
