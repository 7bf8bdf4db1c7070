//! Random normalizer profiles: what is lowered is what a plain evaluation of the texts says, and prints read back as the same policy.

use std::{collections::BTreeMap, fmt::Write as _};

use firewall_common::{
    flow::Inspection,
    normalize::{OptionSet, Profile, checks, profile::MAX_PROFILES},
};
use firewall_user::policy::{self, Clock, Diagnostics, Lowered, Numbers, Policy, Source};
use proptest::{collection::vec, prelude::*, sample::select};

/// Knobs with one value: the values there are, and what the profiles `default`, `asa` and `off` have.
const KNOBS: [(&str, &[&str], [&str; 3]); 18] = [
    ("check-retransmission", &["true", "false"], ["false", "false", "false"]),
    ("checksum-verification", &["off", "control", "all"], ["control", "control", "off"]),
    ("exceed-mss", &["allow", "drop"], ["allow", "allow", "allow"]),
    ("invalid-ack", &["allow", "drop"], ["drop", "drop", "drop"]),
    ("invalid-sack", &["allow", "drop"], ["drop", "drop", "allow"]),
    ("mss-clamp", &["off", "48", "1360", "65495"], ["off", "off", "off"]),
    ("mss-minimum", &["off", "48", "1361"], ["off", "off", "off"]),
    ("out-of-order", &["allow", "drop"], ["allow", "allow", "allow"]),
    ("randomize-sequence-numbers", &["true", "false"], ["false", "true", "false"]),
    ("reserved-bits", &["allow", "clear", "drop"], ["allow", "allow", "allow"]),
    ("seq-past-window", &["allow", "drop"], ["drop", "drop", "drop"]),
    ("syn-data", &["allow", "drop"], ["allow", "allow", "allow"]),
    ("synack-data", &["allow", "drop"], ["allow", "drop", "allow"]),
    ("timestamp-check", &["true", "false"], ["false", "true", "false"]),
    ("ttl-evasion-protection", &["true", "false"], ["false", "true", "false"]),
    ("unnegotiated-md5", &["allow", "drop"], ["drop", "drop", "allow"]),
    ("urgent-flag", &["allow", "clear"], ["allow", "clear", "allow"]),
    ("window-variation", &["allow", "drop"], ["allow", "allow", "allow"]),
];
const BUILT_IN: [&str; 3] = ["default", "asa", "off"];
/// Keys of `tcp-options` and the options they name.
const OPTIONS: [(&str, &[u8]); 16] = [
    ("mss", &[2]),
    ("window-scale", &[3]),
    ("sack-permitted", &[4]),
    ("sack", &[5]),
    ("timestamp", &[8]),
    ("md5", &[19]),
    ("user-timeout", &[28]),
    ("tcp-ao", &[29]),
    ("mptcp", &[30]),
    ("fast-open", &[34]),
    ("accecn", &[172, 174]),
    ("experimental", &[253, 254]),
    ("3", &[3]),
    ("6-8", &[6, 7, 8]),
    ("172-175", &[172, 173, 174, 175]),
    ("255", &[255]),
];
const ACTIONS: [&str; 3] = ["allow", "clear", "drop"];

/// What the texts of a profile come to.
#[derive(Clone)]
struct Plain {
    knobs: BTreeMap<&'static str, &'static str>,
    options: Vec<&'static str>,
}

/// A profile as it is written: the number of its base (the built-in ones first), knobs, options.
#[derive(Clone, Debug)]
struct Written {
    base: usize,
    knobs: Vec<(&'static str, &'static str)>,
    options: Vec<(&'static str, &'static str)>,
}

#[derive(Clone, Debug)]
struct WrittenRule {
    inspection: &'static str,
    allow: bool,
    normalizer: Option<usize>,
}

fn name(number: usize) -> String {
    // Their order by name is not that of their bases.
    BUILT_IN.get(number).map_or_else(|| format!("p{}.{number}", number * 7 % 5), |name| (*name).to_owned())
}

fn built_in(number: usize) -> Plain {
    let knobs = KNOBS.iter().map(|(key, _, values)| (*key, values[number])).collect();
    let cleared = |kind: u16| number == 1 && matches!(kind, 6 | 7 | 9..);
    Plain { knobs, options: (0..256).map(|kind| if cleared(kind) { "clear" } else { "allow" }).collect() }
}

impl Plain {
    fn with(mut self, written: &Written) -> Self {
        self.knobs.extend(written.knobs.iter().copied());
        for (key, action) in &written.options {
            kinds(key).iter().for_each(|kind| self.options[usize::from(*kind)] = action);
        }
        self
    }

    fn bytes(&self, key: &str) -> u16 {
        self.knobs[key].parse().unwrap_or(0)
    }

    fn contradicts_itself(&self) -> bool {
        let (clamp, minimum) = (self.bytes("mss-clamp"), self.bytes("mss-minimum"));
        let timestamps = self.knobs["timestamp-check"] == "true" && self.options[8] != "allow";
        let order = self.knobs["out-of-order"] == "drop" && self.knobs["seq-past-window"] == "allow";
        timestamps || order || (clamp > 0 && minimum > clamp) || ((clamp > 0 || minimum > 0) && self.options[2] != "allow")
    }

    fn profile(&self) -> Profile {
        let set = |action: &str| {
            let kinds = (0..=u8::MAX).filter(|kind| self.options[usize::from(*kind)] == action);
            kinds.fold(OptionSet::EMPTY, |set, kind| set.with(kind, kind))
        };
        let (options_clear, options_drop) = (set("clear"), set("drop"));
        let (mss_most, mss_least) = (self.bytes("mss-clamp"), self.bytes("mss-minimum"));
        let options = if self.options.iter().all(|action| *action == "allow") { 0 } else { checks::OPTIONS };
        let mss = if mss_most == 0 && mss_least == 0 { 0 } else { checks::MSS };
        let knobs = self.knobs.iter().map(|(key, value)| bits(key, value)).sum::<u32>();
        Profile { checks: knobs + options + mss, mss_most, mss_least, options_clear, options_drop }
    }
}

fn bits(key: &str, value: &str) -> u32 {
    match (key, value) {
        ("check-retransmission", "true") => checks::RETRANSMISSION,
        ("checksum-verification", "control") => checks::CHECKSUM_CONTROL,
        ("checksum-verification", "all") => checks::CHECKSUM_CONTROL + checks::CHECKSUM_ALL,
        ("exceed-mss", "drop") => checks::EXCEED_MSS,
        ("invalid-ack", "allow") => checks::INVALID_ACK_ALLOW,
        ("invalid-sack", "drop") => checks::SACK,
        ("out-of-order", "drop") => checks::OUT_OF_ORDER,
        ("randomize-sequence-numbers", "true") => checks::RANDOMIZE,
        ("reserved-bits", "clear") => checks::RESERVED_CLEAR,
        ("reserved-bits", "drop") => checks::RESERVED_DROP,
        ("seq-past-window", "allow") => checks::PAST_WINDOW_ALLOW,
        ("syn-data", "drop") => checks::SYN_DATA,
        ("synack-data", "drop") => checks::SYNACK_DATA,
        ("timestamp-check", "true") => checks::TIMESTAMPS,
        ("ttl-evasion-protection", "true") => checks::TTL_EVASION,
        ("unnegotiated-md5", "drop") => checks::MD5,
        ("urgent-flag", "clear") => checks::URGENT_CLEAR,
        ("window-variation", "drop") => checks::WINDOW_VARIATION,
        _ => 0,
    }
}

fn kinds(key: &str) -> &'static [u8] {
    OPTIONS.iter().find(|(known, _)| *known == key).map_or(&[], |(_, kinds)| kinds)
}

/// Options without two keys that give one option different actions.
fn agreeing(options: Vec<(&'static str, &'static str)>) -> Vec<(&'static str, &'static str)> {
    let mut kept: Vec<(&str, &str)> = Vec::new();
    for (key, action) in options {
        let overlaps = |other: &str| other == key || kinds(other).iter().any(|kind| kinds(key).contains(kind));
        if !kept.iter().any(|(other, first)| other == &key || (overlaps(other) && *first != action)) {
            kept.push((key, action));
        }
    }
    kept
}

fn written(number: usize) -> impl Strategy<Value = Written> {
    let knobs = KNOBS.map(|(key, values, _)| proptest::option::weighted(0.15, select(values)).prop_map(move |value| Some((key, value?))));
    let options = vec((select(&OPTIONS[..]).prop_map(|(key, _)| key), select(&ACTIONS[..])), 0..4);
    (0..number, Vec::from(knobs), options).prop_map(|(base, knobs, options)| {
        let knobs = knobs.into_iter().flatten().collect();
        Written { base, knobs, options: agreeing(options) }
    })
}

/// Profiles, each with a base before it.
fn profiles() -> impl Strategy<Value = Vec<Written>> {
    (0..6_usize).prop_flat_map(|count| (BUILT_IN.len()..BUILT_IN.len() + count).map(written).collect::<Vec<_>>())
}

fn rule(profiles: usize) -> impl Strategy<Value = WrittenRule> {
    let inspection = select(&["strict", "tolerant", "bypass"][..]);
    (inspection, proptest::bool::weighted(0.9), proptest::option::of(0..profiles)).prop_map(|(inspection, allow, normalizer)| WrittenRule {
        inspection,
        allow,
        normalizer,
    })
}

fn policies() -> impl Strategy<Value = (Vec<Written>, Option<usize>, Vec<WrittenRule>)> {
    profiles().prop_flat_map(|written| {
        let all = BUILT_IN.len() + written.len();
        (Just(written), proptest::option::of(0..all), vec(rule(all), 1..8))
    })
}

fn text(profiles: &[Written], by_default: Option<usize>, rules: &[WrittenRule]) -> String {
    let mut text = String::new();
    for (rule, number) in rules.iter().zip(0..) {
        let action = if rule.allow { "allow" } else { "drop" };
        writeln!(text, "[[rule]]\nname = \"rule-{number}\"\nservice = \"tcp/{number}\"\naction = \"{action}\"").expect("a string");
        if rule.allow {
            writeln!(text, "inspection = \"{}\"", rule.inspection).expect("a string");
            rule.normalizer.iter().for_each(|own| writeln!(text, "normalizer = \"{}\"", name(*own)).expect("a string"));
        }
    }
    for (number, profile) in (BUILT_IN.len()..).zip(profiles) {
        writeln!(text, "[normalizer.\"{}\"]\nbase = \"{}\"", name(number), name(profile.base)).expect("a string");
        for (key, value) in &profile.knobs {
            let bare = matches!(*value, "true" | "false") || value.parse::<u16>().is_ok();
            writeln!(text, "{key} = {}", if bare { (*value).to_owned() } else { format!("\"{value}\"") }).expect("a string");
        }
        let options: Vec<String> = profile.options.iter().map(|(key, action)| format!("\"{key}\" = \"{action}\"")).collect();
        writeln!(text, "tcp-options = {{ {} }}", options.join(", ")).expect("a string");
    }
    by_default.iter().for_each(|number| writeln!(text, "[defaults]\nnormalizer = \"{}\"", name(*number)).expect("a string"));
    text
}

struct Table;

impl Numbers for Table {
    fn zone(&mut self, _: &str) -> Option<u8> {
        Some(1)
    }

    fn rule(&mut self, name: &str) -> Option<u16> {
        name.strip_prefix("rule-")?.parse().ok()
    }
}

fn load(text: &str) -> Result<Policy, Diagnostics> {
    let source = Source { path: "random.toml".into(), text: text.to_owned() };
    policy::load_sources(vec![source], None).map(|(policy, _)| policy)
}

fn lower(policy: &Policy) -> Lowered {
    let clock = Clock { monotonic_ns: 0, realtime: jiff::Timestamp::UNIX_EPOCH };
    policy::lower(policy, &mut Table, &clock).expect("the table has every number")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn profiles_are_lowered_as_they_are_written((written, by_default, rules) in policies()) {
        let mut plain: Vec<Plain> = (0..BUILT_IN.len()).map(built_in).collect();
        for profile in &written {
            let own = plain[profile.base].clone().with(profile);
            plain.push(own);
        }
        let text = text(&written, by_default, &rules);
        let loaded = load(&text);
        if plain.iter().any(Plain::contradicts_itself) {
            prop_assert!(loaded.is_err(), "{}", text);
            return Ok(());
        }
        let policy = loaded.map_err(|errors| TestCaseError::fail(format!("{errors}\n{text}")))?;
        let lowered = lower(&policy);
        prop_assert_eq!(lowered.profiles.first(), Some(&Profile::OFF));
        prop_assert!(lowered.profiles.len() <= rules.len() + 1, "equal profiles share a number");
        for (rule, entry) in rules.iter().zip(&lowered.entries) {
            let bypass = rule.inspection == "bypass";
            let chosen = rule.normalizer.or(by_default).unwrap_or(if bypass { 2 } else { 0 });
            let expected = if rule.allow { plain[chosen].profile() } else { Profile::OFF };
            prop_assert_eq!(lowered.profiles.get(usize::from(entry.profile)), Some(&expected), "{:?}\n{}", rule, text);
            let applicable = if rule.allow && bypass { checks::STATELESS } else { u32::MAX };
            prop_assert_eq!(entry.checks, expected.checks & applicable, "{:?}\n{}", rule, text);
        }
        let print = policy.to_string();
        let again = load(&print).map_err(|errors| TestCaseError::fail(format!("{errors}\n{print}")))?;
        prop_assert_eq!(again.to_string(), &*print);
        prop_assert_eq!(again.normalizers(), policy.normalizers());
        prop_assert_eq!(lower(&again), lowered);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "(\\[normalizer\\.[ab]\\]\n|base|mss-clamp|tcp-options|sack| = |\"(a|b|asa|off|drop|clear)\"|\\{ |[0-9-]{1,5}| \\}|\n){0,24}") {
        if let Err(errors) = load(&text) {
            prop_assert!(!errors.to_string().is_empty());
        }
    }
}

#[test]
fn rules_say_which_profile_they_have() {
    let text = "[normalizer.site]\nbase = \"asa\"\n\
                [[rule]]\nname = \"rule-0\"\naction = \"allow\"\n[[rule]]\nname = \"rule-1\"\naction = \"allow\"\ninspection = \"bypass\"\n\
                [[rule]]\nname = \"rule-2\"\naction = \"allow\"\nnormalizer = \"site\"\n[[rule]]\nname = \"rule-3\"\naction = \"drop\"\n";
    let names = |text: &str| {
        let policy = load(text).expect("a good policy");
        policy.rules().iter().map(|rule| rule.normalizer.clone().unwrap_or_default()).collect::<Vec<_>>()
    };
    assert_eq!(names(text), ["default", "off", "site", ""]);
    assert_eq!(names(&format!("{text}[defaults]\nnormalizer = \"asa\"\n")), ["asa", "asa", "site", ""]);
    let policy = load(text).expect("a good policy");
    assert_eq!(policy.rules()[1].inspection, Inspection::Bypass);
    let lowered = lower(&policy);
    assert_eq!(lowered.profiles, [Profile::OFF, Profile::DEFAULT, Profile::ASA], "equal to asa: one number for both");
    assert_eq!(lowered.entries.iter().map(|entry| entry.profile).collect::<Vec<_>>(), [1, 0, 2, 0]);
}

/// One rule for each of `count` different profiles.
fn different(count: usize, enabled: bool) -> String {
    let one = |number: usize| {
        let mss = 1_000 + number;
        format!(
            "[normalizer.p{number}]\nmss-clamp = {mss}\n\
             [[rule]]\nname = \"rule-{number}\"\nenabled = {enabled}\nservice = \"tcp/{mss}\"\naction = \"allow\"\nnormalizer = \"p{number}\"\n"
        )
    };
    (0..count).map(one).collect()
}

#[test]
fn profiles_in_use_are_limited() {
    let full = load(&different(MAX_PROFILES - 1, true)).expect("the policy just fits");
    assert_eq!(lower(&full).profiles.len(), MAX_PROFILES);
    let errors = load(&different(MAX_PROFILES + 5, true)).expect_err("the policy is refused").to_string();
    let expected = "random.toml:252:8: too many normalizers: the rules have more than 32 different ones, off included\n";
    assert!(errors.starts_with(expected) && errors.matches("too many").count() == 1, "{errors}");
    let hint = "\n  hint: profiles that ask for the same count once: give this rule one of those before it";
    assert!(errors.ends_with(hint), "{errors}");
    // What no rule in force has takes no room.
    let unused = format!("{}[[rule]]\nname = \"rule-99\"\naction = \"allow\"\n", different(MAX_PROFILES + 5, false));
    assert_eq!(lower(&load(&unused).expect("a good policy")).profiles, [Profile::OFF, Profile::DEFAULT]);
}

#[test]
fn chains_of_bases_are_limited() {
    let chain = |count: usize| {
        let one = |number: usize| format!("[normalizer.p{number}]\nbase = \"p{}\"\n", number + 1);
        let profiles: String = (0..count).map(one).collect();
        load(&format!("{profiles}[normalizer.p{count}]\n[[rule]]\nname = \"rule-0\"\naction = \"allow\"\nnormalizer = \"p0\"\n"))
    };
    assert!(chain(15).is_ok());
    let errors = chain(16).expect_err("the policy is refused").to_string();
    assert!(errors.contains("random.toml:33:13: normalizers have bases more than 16 deep\n"), "{errors}");
    // Deep enough to overflow the stack of a reader that does not count.
    assert!(chain(20_000).is_err());
}
