//! `limits` of a rule: how many flows it admits, how fast, and what becomes of a source that wants more.

use firewall_common::limit::Limits;
use toml::de::DeTable;

use super::{
    definitions::Definitions,
    diagnostic::{Place, Report, quoted},
    document::{Value, place},
    duration,
    key::{self, Fallback, Key, Kind},
    pattern, print,
};

/// The keys of a `limits` table, in the order they are printed.
pub(super) const KEYS: [Key; 8] = [
    number("flows", "Flows that the rule may have at a time."),
    number("embryonic", "Flows not yet confirmed by both sides that it may have at a time."),
    number("new-per-second", "Flows that it admits in a second."),
    number("flows-per-source", "Flows that one source may have at a time."),
    number("embryonic-per-source", "Flows not yet confirmed by both sides that one source may have at a time."),
    number("new-per-second-per-source", "Flows that it admits from one source in a second."),
    Key::new(
        "overload",
        Kind::Matching(pattern::name),
        "\"s\"",
        "The set that a source goes to when it is over one of its limits; its name without @.",
    ),
    Key::new("overload-for", Kind::Matching(pattern::duration), "\"1h\"", "How long it stays there.")
        .or(Fallback::Milliseconds(DEFAULT_OVERLOAD)),
];

const fn number(name: &'static str, help: &'static str) -> Key {
    Key::new(name, Kind::Number { least: 1, most: MAX_LIMIT }, "100", help)
}
/// Keys of [`KEYS`] that are numbers, in the order of [`fields`].
const NUMBERS: usize = 6;
/// The largest limit: far more flows than any table holds, and few enough that counts cannot wrap.
pub const MAX_LIMIT: u32 = 100_000_000;
/// How long a source is in its overload set when nothing is said: an hour.
const DEFAULT_OVERLOAD: u32 = 3_600_000;

/// What a rule says of limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleLimits {
    pub limits: Limits,
    pub overload: Option<Overload>,
}

/// Where a source goes that is over one of its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overload {
    /// Name of a set of the policy.
    pub set: String,
    /// For how long, in milliseconds.
    pub millis: u32,
}

const fn fields(limits: &mut Limits) -> [&mut u32; NUMBERS] {
    let Limits { flows, embryonic, new_per_second, source_flows, source_embryonic, source_new_per_second } = limits;
    [flows, embryonic, new_per_second, source_flows, source_embryonic, source_new_per_second]
}

impl RuleLimits {
    /// Reads the table of the key at `key`; `None` when something is wrong with it.
    pub(super) fn read(key: Place, table: &DeTable<'_>, definitions: &Definitions<'_>, report: &mut Report<'_>) -> Option<Self> {
        let mut read = Self::default();
        let (mut complete, mut set, mut millis) = (true, None, None);
        for (name, value) in table {
            let (word, value) = (name.get_ref().as_ref(), Value::new(key.file, value));
            match KEYS.iter().position(|known| known.name == word) {
                Some(index) if index < NUMBERS => match limit(word, value, report) {
                    Some(limit) => *fields(&mut read.limits)[index] = limit,
                    None => complete = false,
                },
                Some(index) if index == NUMBERS => match overload_set(value, definitions, report) {
                    Some(name) => set = Some((name, value.place)),
                    None => complete = false,
                },
                Some(_) => match value.duration("limits.overload-for", report) {
                    Some(read) => millis = Some((read, value.place)),
                    None => complete = false,
                },
                None => {
                    let message = format!("unknown key {} in limits", quoted(word));
                    report.unknown_word(place(key.file, name.span()), message, word, key::names(&KEYS));
                    complete = false;
                }
            }
        }
        if !complete {
            return None;
        }
        if table.is_empty() {
            report.error_with_hint(key, "limits says nothing", "give it a limit: limits = { flows-per-source = 100 }, or leave it out");
            return None;
        }
        if let (Some((_, at)), false) = (&set, read.limits.by_source()) {
            let hint = "add flows-per-source, embryonic-per-source or new-per-second-per-source";
            report.error_with_hint(*at, "overload is for sources, and nothing is limited by source", hint);
            return None;
        }
        match (set, millis) {
            (None, Some((_, at))) => {
                report.error_with_hint(at, "overload-for needs a set for the sources to go to", "add overload = \"NAME\"");
                None
            }
            (set, millis) => {
                read.overload = set.map(|(set, _)| Overload { set, millis: millis.map_or(DEFAULT_OVERLOAD, |(millis, _)| millis) });
                Some(read)
            }
        }
    }

    /// True when nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The limits by the name of their key, without those that are none.
    pub fn numbers(&self) -> impl Iterator<Item = (&'static str, u32)> {
        let mut limits = self.limits;
        key::names(&KEYS).zip(fields(&mut limits).map(|limit| *limit)).filter(|(_, limit)| *limit != 0)
    }

    /// The table as a policy writes it; `None` when there is none.
    pub(super) fn print(&self) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        let mut keys: Vec<String> = self.numbers().map(|(key, limit)| format!("{key} = {limit}")).collect();
        if let Some(overload) = &self.overload {
            keys.push(format!("overload = {}", print::string(&overload.set)));
            keys.push(format!("overload-for = \"{}\"", duration::print(overload.millis)));
        }
        Some(format!("{{ {} }}", keys.join(", ")))
    }
}

fn limit(key: &str, value: Value<'_>, report: &mut Report<'_>) -> Option<u32> {
    let limit = value.number(&format!("limits.{key}"), report)?;
    if limit == 0 {
        let hint = "leave it out for no limit; a rule that admits nothing says action = \"drop\"";
        report.error_with_hint(value.place, format!("{key} = 0 would admit nothing"), hint);
        return None;
    }
    if limit > MAX_LIMIT {
        report.error_with_hint(value.place, format!("{key} can be {MAX_LIMIT} at most"), "leave it out for no limit");
        return None;
    }
    Some(limit)
}

fn overload_set(value: Value<'_>, definitions: &Definitions<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = value.string("limits.overload", report)?;
    if definitions.has_set(text.value) {
        return Some(text.value.to_owned());
    }
    match text.value.strip_prefix('@').filter(|name| definitions.has_set(name)) {
        Some(name) => {
            let message = format!("overload names a set without @, not {}", quoted(text.value));
            report.error_with_hint(text.place, message, format!("write overload = \"{name}\""));
        }
        None => report.unknown_word(text.place, format!("there is no set {}", quoted(text.value)), text.value, definitions.set_names()),
    }
    None
}
