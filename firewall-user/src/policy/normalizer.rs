//! `[normalizer.NAME]`: the profiles there are, each made of its base and of what it says itself, and those a policy uses.

use std::collections::BTreeMap;

use firewall_common::normalize::{
    Profile, checks,
    profile::{self, MAX_PROFILES},
};
use toml::de::DeTable;

use super::{
    definitions::{is_plain, report_twice},
    diagnostic::{Place, Report, quoted},
    document::{Text, Value, place},
    key,
    knob::{self, KNOBS, Setting},
    tcp_option::Action,
};

pub(super) const DEFAULT: &str = "default";
pub(super) const OFF: &str = "off";
/// Profiles that always exist.
const BUILT_IN: [(&str, Profile); 3] = [(DEFAULT, Profile::DEFAULT), ("asa", Profile::ASA), (OFF, Profile::OFF)];
/// The key beside the knobs.
const BASE: &str = key::BASE.name;
/// How long a chain of bases may be.
const MAX_DEPTH: usize = 16;
/// Kind of the timestamp option (RFC 7323 §3), and of the MSS.
const TIMESTAMP: u8 = 8;
const MSS: u8 = 2;
/// What bypass allows anyway: nothing is lost when it does not apply.
const ALLOWING: u32 = checks::INVALID_ACK_ALLOW | checks::PAST_WINDOW_ALLOW;

/// A normalizer profile by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Normalizer {
    pub name: String,
    /// The profile it is made from; none for a built-in one.
    pub base: Option<String>,
    profile: Profile,
    /// What the base asks for.
    inherited: Profile,
}

impl Normalizer {
    /// Every knob and what it is set to.
    pub fn settings(&self) -> impl Iterator<Item = (&'static str, Setting)> {
        KNOBS.iter().map(|knob| (knob.key, knob.setting(&self.profile)))
    }

    /// The knobs that differ from the base.
    pub(super) fn differences(&self) -> impl Iterator<Item = (&'static str, Setting)> {
        KNOBS.iter().filter_map(|knob| Some((knob.key, knob.difference(&self.profile, &self.inherited)?)))
    }
}

/// The profiles that exist without a policy.
#[must_use]
pub fn built_in_normalizers() -> Vec<Normalizer> {
    let built_in = |(name, profile): (&str, Profile)| Normalizer { name: name.to_owned(), base: None, profile, inherited: profile };
    BUILT_IN.into_iter().map(built_in).collect()
}

/// The knobs of a profile that bypass cannot keep to.
pub(super) fn not_under_bypass(profile: &Profile) -> Vec<&'static str> {
    let idle = profile.checks & !checks::STATELESS & !ALLOWING;
    KNOBS.iter().filter(|knob| knob.bits() & idle != 0).map(|knob| knob.key).collect()
}

fn built_in(name: &str) -> Option<Profile> {
    BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, profile)| *profile)
}

/// A profile as the policy gives it.
#[derive(Debug)]
struct Definition<'a> {
    file: usize,
    place: Place,
    table: &'a DeTable<'a>,
    base: String,
    inherited: Profile,
    /// Meaningless until resolved.
    profile: Profile,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Todo,
    UnderWay,
    Done,
    /// Something is wrong with it, or with its base, and was reported.
    Wrong,
}

/// The profiles of a policy, by name.
#[derive(Debug, Default)]
pub(super) struct Normalizers<'a>(BTreeMap<String, Definition<'a>>);

impl<'a> Normalizers<'a> {
    pub(super) fn read(&mut self, file: usize, tables: &'a DeTable<'a>, report: &mut Report<'_>) {
        for (name, value) in tables {
            let at = place(file, name.span());
            let name = name.get_ref().as_ref();
            let Some(table) = Value::new(file, value).table(&format!("normalizer.{name}"), report) else { continue };
            if !is_plain(name) {
                let message = format!("{} cannot be a normalizer's name", quoted(name));
                report.error_with_hint(at, message, "a name has up to 63 letters, digits, dots, dashes and underscores");
            } else if built_in(name).is_some() {
                let message = format!("normalizer {} is built in and cannot be given anew", quoted(name));
                report.error_with_hint(at, message, format!("give yours another name, and say {BASE} = \"{name}\""));
            } else if let Some(first) = self.0.get(name) {
                report_twice("normalizer", name, at, first.place, report);
            } else {
                let (base, none) = (DEFAULT.to_owned(), Profile::OFF);
                let definition = Definition { file, place: at, table, base, inherited: none, profile: none, state: State::Todo };
                self.0.insert(name.to_owned(), definition);
            }
        }
    }

    /// Makes the profiles, once all names are known.
    pub(super) fn resolve(&mut self, report: &mut Report<'_>) {
        let names: Vec<String> = self.0.keys().cloned().collect();
        for name in &names {
            self.resolve_one(name, &mut Vec::new(), report);
        }
    }

    /// `path`: the profiles under way, each the base of the one before. `None`: something is wrong, and was reported.
    fn resolve_one(&mut self, name: &str, path: &mut Vec<String>, report: &mut Report<'_>) -> Option<Profile> {
        if let Some(profile) = built_in(name) {
            return Some(profile);
        }
        let definition = self.0.get_mut(name)?;
        let (file, at, table) = (definition.file, definition.place, definition.table);
        match definition.state {
            State::Done => return Some(definition.profile),
            State::Wrong => return None,
            State::UnderWay => {
                let begin = path.iter().position(|step| step == name).unwrap_or(0);
                let circle: Vec<&str> = path[begin..].iter().map(String::as_str).chain([name]).collect();
                report.error(at, format!("normalizers are each other's base in a circle: {}", circle.join(" → ")));
                return None;
            }
            State::Todo if path.len() >= MAX_DEPTH => {
                definition.state = State::Wrong;
                report.error(at, format!("normalizers have bases more than {MAX_DEPTH} deep"));
                return None;
            }
            State::Todo => definition.state = State::UnderWay,
        }
        path.push(name.to_owned());
        let base = self.read_base(file, table, report);
        let inherited = base.as_ref().and_then(|base| self.resolve_one(base, path, report));
        path.pop();
        // Of a base that is not known, nothing can be said that is sure; the keys are still read for what is wrong with each.
        let profile = read_knobs(file, at, table, inherited, report);
        let definition = self.0.get_mut(name)?;
        definition.state = if profile.is_some() { State::Done } else { State::Wrong };
        definition.base = base.unwrap_or_default();
        definition.inherited = inherited.unwrap_or_default();
        definition.profile = profile.unwrap_or_default();
        profile
    }

    fn read_base(&self, file: usize, table: &'a DeTable<'a>, report: &mut Report<'_>) -> Option<String> {
        let Some((_, value)) = table.get_key_value(BASE) else { return Some(DEFAULT.to_owned()) };
        let text = Value::new(file, value).string(BASE, report)?;
        self.find(text, report).map(str::to_owned)
    }

    /// The name, if there is such a profile.
    pub(super) fn find<'t>(&self, name: Text<'t>, report: &mut Report<'_>) -> Option<&'t str> {
        if built_in(name.value).is_some() || self.0.contains_key(name.value) {
            return Some(name.value);
        }
        let names = BUILT_IN.iter().map(|(name, _)| *name).chain(self.0.keys().map(String::as_str));
        report.unknown_word(name.place, format!("there is no normalizer {}", quoted(name.value)), name.value, names);
        None
    }

    pub(super) fn get(&self, name: &str) -> Option<Profile> {
        built_in(name).or_else(|| self.0.get(name).map(|definition| definition.profile))
    }

    /// All profiles: the built-in ones, then the policy's by name.
    pub(super) fn into_all(self) -> Vec<Normalizer> {
        let named = |(name, definition): (String, Definition<'_>)| Normalizer {
            name,
            base: Some(definition.base),
            profile: definition.profile,
            inherited: definition.inherited,
        };
        built_in_normalizers().into_iter().chain(self.0.into_iter().map(named)).collect()
    }
}

/// `inherited` changed by a table's knobs; `None` when something is wrong.
fn read_knobs(file: usize, at: Place, table: &DeTable<'_>, inherited: Option<Profile>, report: &mut Report<'_>) -> Option<Profile> {
    let mut profile = inherited.unwrap_or_default();
    let mut places: BTreeMap<&str, Place> = BTreeMap::new();
    let mut complete = true;
    for (key, value) in table {
        let key_place = place(file, key.span());
        let key = key.get_ref().as_ref();
        if let Some(knob) = KNOBS.iter().find(|knob| knob.key == key) {
            places.insert(knob.key, key_place);
            complete &= knob.read(Value::new(file, value), &mut profile, report).is_some();
        } else if key != BASE {
            refuse_key(key, key_place, report);
            complete = false;
        }
    }
    inherited.filter(|_| complete)?;
    let consistent = check_consistent(&profile, at, &places, report);
    consistent.then_some(profile)
}

fn refuse_key(key: &str, at: Place, report: &mut Report<'_>) {
    match key {
        "queue-limit" => report.error_with_hint(
            at,
            "queue-limit cannot be kept to: XDP cannot hold packets back to sort them",
            "say out-of-order = \"drop\" to pass segments in order only, or leave the key out",
        ),
        "sack" => report.error_with_hint(
            at,
            "sack is an option of tcp-options",
            "for the option write tcp-options = { sack = \"clear\" }; for what it acknowledges, invalid-sack = \"drop\"",
        ),
        other => {
            let known = KNOBS.iter().map(|knob| knob.key).chain([BASE]);
            report.unknown_word(at, format!("unknown key {} in a normalizer", quoted(other)), other, known);
        }
    }
}

/// Reports knobs that contradict each other; the later one of those the profile itself turns is at fault.
fn check_consistent(profile: &Profile, at: Place, places: &BTreeMap<&str, Place>, report: &mut Report<'_>) -> bool {
    let mut consistent = true;
    let mut refuse = |keys: [&str; 2], message: String, hint: &str| {
        let written = keys.iter().filter_map(|key| places.get(key)).max();
        report.error_with_hint(written.copied().unwrap_or(at), message, hint);
        consistent = false;
    };
    let asks = |bit: u32| profile.checks & bit != 0;
    let taken = |kind: u8| knob::action(profile, kind) != Action::Allow;
    if asks(checks::TIMESTAMPS) && taken(TIMESTAMP) {
        refuse(
            [knob::TCP_OPTIONS, "timestamp-check"],
            format!("timestamp-check has nothing to check: the option timestamp is {}", outcome(profile, TIMESTAMP)),
            "say timestamp-check = false, or let the option pass",
        );
    }
    if asks(checks::MSS) && taken(MSS) {
        let key = if profile.mss_most > 0 { knob::MSS_CLAMP } else { knob::MSS_MINIMUM };
        refuse(
            [knob::TCP_OPTIONS, key],
            format!("{key} has nothing to look at: the option mss is {}", outcome(profile, MSS)),
            "leave one of the two out",
        );
    }
    if profile.mss_most > 0 && profile.mss_least > profile.mss_most {
        refuse(
            [knob::MSS_CLAMP, knob::MSS_MINIMUM],
            format!("mss-minimum ({}) lies above mss-clamp ({})", profile.mss_least, profile.mss_most),
            "what was clamped would be dropped: give a smaller minimum",
        );
    }
    if asks(checks::OUT_OF_ORDER) && asks(checks::PAST_WINDOW_ALLOW) {
        refuse(
            ["out-of-order", "seq-past-window"],
            "seq-past-window = \"allow\" lets nothing pass that out-of-order = \"drop\" does not drop".to_owned(),
            "say out-of-order = \"allow\", or leave seq-past-window out",
        );
    }
    consistent
}

fn outcome(profile: &Profile, kind: u8) -> &'static str {
    match knob::action(profile, kind) {
        Action::Allow => "allowed",
        Action::Clear => "cleared",
        Action::Drop => "dropped with its segment",
    }
}

/// What the profiles of a policy's enabled rules ask for; equal ones share a number. Number 0 is `off`, whether or not a rule has it.
pub(super) struct InUse {
    profiles: Vec<Profile>,
    full: bool,
}

impl Default for InUse {
    fn default() -> Self {
        Self { profiles: vec![Profile::OFF], full: false }
    }
}

impl InUse {
    /// The number of `profile`; the first rule that finds none is reported.
    pub(super) fn number(&mut self, profile: &Profile, rule: Place, report: &mut Report<'_>) -> u8 {
        let known = self.profiles.iter().position(|known| known == profile);
        let number = known.unwrap_or(self.profiles.len());
        if known.is_none() {
            if self.profiles.len() >= MAX_PROFILES {
                if !std::mem::replace(&mut self.full, true) {
                    let message = format!("too many normalizers: the rules have more than {MAX_PROFILES} different ones, off included");
                    report.error_with_hint(
                        rule,
                        message,
                        "profiles that ask for the same count once: give this rule one of those before it",
                    );
                }
                return profile::OFF;
            }
            self.profiles.push(*profile);
        }
        u8::try_from(number).unwrap_or(profile::OFF)
    }

    pub(super) fn into_list(self) -> Vec<Profile> {
        self.profiles
    }
}
