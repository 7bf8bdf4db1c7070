//! The keys a policy's tables can have: the one list that the reader knows keys by, that hints are taken from, and that the schema is made of.
//! A key that is not here is unknown, whatever reads it. The keys of `timeouts` are in [`timeouts`], those of `[applications]` in
//! [`applications`](super::applications), those of a normalizer in [`knob`](super::knob).

use super::{
    definitions::{DEFAULT_ONE_SIDED_FLOWS, DEFAULT_REJECT_RATE, DROP_OR_PASS},
    limits, normalizer, pattern, rule, timeouts,
};

/// A key, and what is to be said of it.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) value: Kind,
    /// A value, as a policy writes it.
    pub(super) example: &'static str,
    /// For people who write a policy: whole sentences.
    pub(super) help: &'static str,
    pub(super) default: Fallback,
    pub(super) needs: Needs,
}

/// What a key can be set to.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Switch,
    /// Any text.
    Text,
    /// A text of this [`pattern`].
    Matching(fn() -> String),
    /// One such text, or an array of at least so many.
    Several(fn() -> String, usize),
    /// One of several words.
    Words(&'static [&'static str]),
    /// A whole number.
    Number {
        least: u32,
        most: u32,
    },
    /// One whole number, or an array of up to so many.
    Numbers {
        least: u32,
        most: u32,
        count: usize,
    },
    /// A date, with or without a time.
    Moment,
    Table(&'static [Key]),
}

/// A whole number of any size that fits.
const NUMBER: Kind = Kind::Number { least: 0, most: u32::MAX };

/// What holds when a key is left out.
#[derive(Clone, Copy)]
pub(super) enum Fallback {
    /// Nothing that its value could say.
    Nothing,
    Switch(bool),
    Word(&'static str),
    Number(u32),
    Milliseconds(u32),
}

/// What else a rule must say to have a key, or a value of it that is not what holds without.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    Nothing,
    /// `action = "allow"`.
    Allow,
    /// `inspection = "bypass"`.
    Bypass,
}

impl Key {
    pub(super) const fn new(name: &'static str, value: Kind, example: &'static str, help: &'static str) -> Self {
        Self { name, value, example, help, default: Fallback::Nothing, needs: Needs::Nothing }
    }

    pub(super) const fn or(self, default: Fallback) -> Self {
        Self { default, ..self }
    }

    const fn needs(self, needs: Needs) -> Self {
        Self { needs, ..self }
    }
}

/// The listed key of this name, as it is written in the list; empty when there is none.
pub(super) fn listed(keys: &'static [Key], name: &str) -> &'static str {
    keys.iter().find(|key| key.name == name).map_or("", |key| key.name)
}

pub(super) fn names(keys: &'static [Key]) -> impl Iterator<Item = &'static str> + Clone {
    keys.iter().map(|key| key.name)
}

/// The words of a list that gives each its meaning.
pub(super) const fn words<T: Copy, const N: usize>(list: &[(&'static str, T); N]) -> [&'static str; N] {
    let mut words = [""; N];
    let mut index = 0;
    while index < N {
        words[index] = list[index].0;
        index += 1;
    }
    words
}

/// Of a `[[rule]]`, in the order they are printed.
pub(super) const RULE: [Key; 18] = [
    Key::new("name", Kind::Matching(pattern::name), "\"web\"", "The rule's name, unique in the policy. Flows and counters go by it."),
    Key::new("enabled", Kind::Switch, "false", "`false` keeps the rule in the file and out of force.").or(Fallback::Switch(true)),
    Key::new(
        "from",
        Kind::Several(pattern::selector, 1),
        "\"inside 10.1.0.0/16, 2001:db8::/32\"",
        "Where packets come from: a zone, alone or followed by addresses. An array matches if one of its selectors does.",
    )
    .or(Fallback::Word("any")),
    Key::new(
        "to",
        Kind::Several(pattern::selector, 1),
        "[\"outside\", \"self\"]",
        "Where packets go to: a zone, alone or followed by addresses. `self` is the box. An array matches if one of its selectors does.",
    )
    .or(Fallback::Word("any")),
    Key::new(
        "service",
        Kind::Several(pattern::services, 1),
        "[\"tcp/443\", \"udp/53\"]",
        "Protocols, with destination ports or ICMP types, or names of a [service.NAME].",
    )
    .or(Fallback::Word("any")),
    Key::new(
        "action",
        Kind::Words(&words(&rule::ACTIONS)),
        "\"allow\"",
        "What becomes of packets that match. `reject` drops them and tells the sender.",
    ),
    Key::new(
        "inspection",
        Kind::Words(&words(&rule::INSPECTIONS)),
        "\"tolerant\"",
        "How closely TCP is looked at. `bypass` treats it like UDP: keep such a rule narrow. Without it: as in [defaults], else strict.",
    )
    .needs(Needs::Allow),
    Key::new("sanity", Kind::Words(&words(&rule::SANITY)), "\"off\"", "`off` lets illegal TCP flag sets pass; only under bypass.")
        .or(Fallback::Word("on"))
        .needs(Needs::Bypass),
    Key::new(
        "guard",
        Kind::Several(pattern::guard, 1),
        "\"esp\"",
        "What must keep proving that it is IPsec. `ctcp`: strict until the trailer of IPsec over TCP proves it, bypass from then on. `esp`: SPI \
         and sequence number follow an anti-replay window.",
    )
    .needs(Needs::Allow),
    Key::new(
        "normalizer",
        Kind::Matching(pattern::name),
        "\"asa\"",
        "A profile of what TCP segments may look like. Without it: as in [defaults], else `default`, or `off` under bypass.",
    )
    .needs(Needs::Allow),
    Key::new(
        "idle-timeout",
        Kind::Matching(pattern::duration),
        "\"2m\"",
        "Short for the timeouts `established`, `udp-stream` and `other`, and in a bypass rule for `bypass` too.",
    )
    .needs(Needs::Allow),
    Key::new(
        "timeouts",
        Kind::Table(&timeouts::KEYS),
        "{ icmp = \"15s\" }",
        "Idle times of the rule's flows. Without it: as in [defaults].",
    )
    .needs(Needs::Allow),
    Key::new(
        "one-sided-flows",
        NUMBER,
        "64",
        "How many flows of which only one direction was ever seen may be held; only for bypass. Without it: as in [defaults].",
    )
    .needs(Needs::Bypass),
    Key::new(
        "limits",
        Kind::Table(&limits::KEYS),
        "{ flows-per-source = 100 }",
        "How many flows the rule admits, and how fast, in all and from one source.",
    )
    .needs(Needs::Allow),
    Key::new(
        "hours",
        Kind::Several(pattern::hours, 1),
        "[\"mon-fri 08:00-18:00\", \"sat,sun 10:00-24:00\"]",
        "When in the week the rule matches, in the time zone of [defaults]. Without it: always.",
    ),
    Key::new(
        "expires",
        Kind::Moment,
        "2027-06-30T18:00:00Z",
        "The last day (UTC) of the rule, or the moment it ends. A date of TOML's own, without quotes. Without it: never.",
    ),
    Key::new("log", Kind::Switch, "true", "`true` writes what the rule decides, and the ends of its flows, to the log.")
        .or(Fallback::Switch(false)),
    Key::new("because", Kind::Text, "\"until the new server is there\"", "Free text, shown beside the rule."),
];

/// Of `[defaults]`.
pub(super) const DEFAULTS: [Key; 10] = [
    Key::new(
        "inspection",
        Kind::Words(&["strict", "tolerant"]),
        "\"tolerant\"",
        "How closely TCP is looked at. Bypass is said per rule, never for a whole policy.",
    )
    .or(Fallback::Word("strict")),
    Key::new("normalizer", Kind::Matching(pattern::name), "\"asa\"", "The profile of rules that name none, bypass rules included."),
    Key::new("timeouts", Kind::Table(&timeouts::KEYS), "{ icmp = \"15s\" }", "Idle times of flows."),
    Key::new(
        "idle-timeout",
        Kind::Matching(pattern::duration),
        "\"3h\"",
        "Short for the timeouts `established`, `udp-stream` and `other`.",
    ),
    Key::new("one-sided-flows", NUMBER, "256", "How many flows of which only one direction was ever seen a bypass rule may hold.")
        .or(Fallback::Number(DEFAULT_ONE_SIDED_FLOWS)),
    Key::new(
        "table-full",
        Kind::Words(&words(&DROP_OR_PASS)),
        "\"pass\"",
        "What becomes of a packet whose flow finds no room. `pass` lets it through without state.",
    )
    .or(Fallback::Word("drop")),
    Key::new(
        "fragments-before-first",
        Kind::Words(&words(&DROP_OR_PASS)),
        "\"pass\"",
        "What becomes of a fragment that overtakes its datagram's first one. `pass` lets it through unjudged.",
    )
    .or(Fallback::Word("drop")),
    Key::new(
        "fragments-dont-fragment",
        Kind::Words(&words(&DROP_OR_PASS)),
        "\"pass\"",
        "What becomes of a fragment but the first with \"don't fragment\" set.",
    )
    .or(Fallback::Word("drop")),
    Key::new("reject-rate", NUMBER, "50", "Answers to rejected packets, per second.").or(Fallback::Number(DEFAULT_REJECT_RATE)),
    Key::new("time-zone", Kind::Text, "\"Europe/Berlin\"", "The time zone that `hours` are in. Without it: the system's."),
];

/// Of a `[set.NAME]`.
pub(super) const SET: [Key; 1] = [Key::new(
    "addresses",
    Kind::Several(pattern::addresses, 0),
    "[\"10.1.1.0/24\", \"192.0.2.20-192.0.2.29\", \"2001:db8::/32\"]",
    "IPv4 and IPv6 addresses, prefixes and ranges, and other sets as @NAME. Rules name the set in `from` and `to` as @NAME.",
)];

/// Of a `[service.NAME]`.
pub(super) const SERVICE: [Key; 1] = [Key::new(
    "ports",
    Kind::Several(pattern::services, 1),
    "[\"tcp/80,443\", \"udp/443\"]",
    "Protocols, with destination ports or ICMP types. A definition names no other one.",
)];

/// Of a `[normalizer.NAME]`, beside its knobs.
pub(super) const BASE: Key =
    Key::new("base", Kind::Matching(pattern::name), "\"asa\"", "The profile this one is made of: it says only what differs.")
        .or(Fallback::Word(normalizer::DEFAULT));

#[cfg(test)]
mod tests {
    use super::{super::*, *};
    use crate::policy::applications;

    fn load(text: &str) -> Result<Policy, Diagnostics> {
        load_sources(vec![Source { path: "key.toml".into(), text: text.to_owned() }], None).map(|(policy, _)| policy)
    }

    /// A policy whose one rule has `keys`, and what it needs beside them.
    fn rule(keys: &str, needs: Needs) -> String {
        let also = match needs {
            Needs::Nothing | Needs::Allow => "",
            Needs::Bypass => "inspection = \"bypass\"\n",
        };
        let given = |key: &str, line: &'static str| if keys.starts_with(key) { "" } else { line };
        // A guard is for what carries IPsec.
        let service = if keys.contains("guard =") { "service = \"esp\"\n" } else { "" };
        format!("[[rule]]\n{}{}{service}{also}{keys}\n", given("name =", "name = \"r\"\n"), given("action =", "action = \"allow\"\n"))
    }

    fn defaults(keys: &str) -> String {
        format!("[defaults]\n{keys}\n{}", rule("", Needs::Bypass))
    }

    /// Both say yes to what `write` makes of each key's example.
    fn assert_read(keys: &'static [Key], write: impl Fn(&Key, String) -> String) {
        let schema = jsonschema::draft7::new(&schema()).expect("a schema");
        for key in keys {
            let text = write(key, format!("{} = {}", key.name, key.example));
            load(&text).unwrap_or_else(|errors| panic!("{} is listed and not read:\n{errors}", key.name));
            let file = toml::Value::Table(text.parse().expect("TOML"));
            assert!(schema.is_valid(&as_json(&file)), "{text}");
        }
    }

    #[test]
    fn every_listed_key_is_read() {
        assert_read(&RULE, |key, written| rule(&written, key.needs));
        assert_read(&DEFAULTS, |_, written| defaults(&written));
        assert_read(&timeouts::KEYS, |_, written| defaults(&format!("timeouts = {{ {written} }}")));
        assert_read(&applications::KEYS, |_, written| format!("[applications]\n{written}\n{}", rule("", Needs::Nothing)));
        assert_read(&SET, |_, written| format!("[set.s]\n{written}\n{}", rule("", Needs::Nothing)));
        assert_read(&SERVICE, |_, written| format!("[service.s]\n{written}\n{}", rule("", Needs::Nothing)));
        assert_read(&[BASE], |_, written| format!("[normalizer.n]\n{written}\n{}", rule("", Needs::Nothing)));
    }

    #[test]
    fn what_a_key_needs_is_asked_for() {
        for key in RULE.iter().filter(|key| key.needs != Needs::Nothing) {
            let without = match key.needs {
                Needs::Bypass => format!("action = \"allow\"\n{} = {}", key.name, key.example),
                _ => format!("action = \"drop\"\n{} = {}", key.name, key.example),
            };
            let text = rule(&without, Needs::Nothing);
            assert!(load(&text).is_err(), "{text}");
            let file = toml::Value::Table(text.parse().expect("TOML"));
            assert!(!jsonschema::is_valid(&schema(), &as_json(&file)), "{text}");
        }
    }

    #[test]
    fn defaults_are_what_holds_without_a_key() {
        let said = |key: &Key| Some(format!("{} = {}", key.name, schema::default(key.default)?));
        // What was written is not kept in rules and defaults, only what it means.
        let rules = |text: &str| {
            let mut policy = load(text).unwrap_or_else(|errors| panic!("{errors}"));
            policy.rules[0].overrides = Default::default();
            policy.rules
        };
        for key in &RULE {
            let Some(written) = said(key) else { continue };
            assert_eq!(rules(&rule(&written, key.needs)), rules(&rule("", key.needs)), "{written}");
        }
        let meant = |text: &str| {
            let policy = load(text).unwrap_or_else(|errors| panic!("{errors}"));
            (Defaults { overrides: Default::default(), ..policy.defaults.clone() }, rules(text)[0].timeouts)
        };
        for (key, table) in DEFAULTS.iter().map(|key| (key, false)).chain(timeouts::KEYS.iter().map(|key| (key, true))) {
            let Some(written) = said(key) else { continue };
            let written = if table { format!("timeouts = {{ {written} }}") } else { written };
            assert_eq!(meant(&defaults(&written)), meant(&defaults("")), "{written}");
        }
        let recognised = |text: &str| {
            let text = format!("[applications]\n{text}\n{}", rule("", Needs::Nothing));
            *load(&text).unwrap_or_else(|errors| panic!("{errors}")).applications()
        };
        for written in applications::KEYS.iter().filter_map(said) {
            assert_eq!(recognised(&written), recognised(""), "{written}");
        }
        let profile = |base: &str| load(&format!("[normalizer.n]\n{base}\n{}", rule("", Needs::Nothing))).expect("a policy").normalizers;
        assert_eq!(profile(&said(&BASE).expect("a base")), profile(""));
    }
}
