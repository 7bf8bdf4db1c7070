//! A JSON Schema of policy files, for editors: made of the lists the reader goes by, so that it knows every key and word there is.
//!
//! It is as strict as a schema can be without refusing what the reader takes. What a file means together with others (names that are given
//! nowhere, or twice) is for `weir policy check`.

use serde_json::{Map, Value, json};

use super::{
    applications, duration,
    key::{self, Fallback, Key, Kind, Needs},
    knob::{self, KNOBS, Knob, Values},
    pattern, tcp_option,
};

/// The newest draft that Taplo, and with it the TOML support of most editors, validates by. Beyond annotations only keywords that draft 4 has
/// too are used: Taplo promises no more.
const DRAFT: &str = "http://json-schema.org/draft-07/schema#";

/// The schema of one file of a policy.
#[must_use]
pub fn schema() -> Value {
    let rules = json!({
        "type": "array",
        "items": object(properties(&key::RULE), &["name", "action"], dependencies(&key::RULE)),
        "description": "The rules, in order: the first one that matches a flow's first packet decides. What no rule matches is dropped.",
    });
    let described = |mut value: Value, help: &str| {
        value["description"] = json!(help);
        value
    };
    let table = |keys: &'static [Key], required: &[&str]| object(properties(keys), required, Map::new());
    let sections = [
        ("rule", rules),
        ("set", described(named(table(&key::SET, &["addresses"])), "Sets of addresses by name: [set.NAME].")),
        ("service", described(named(table(&key::SERVICE, &["ports"])), "Services by name: [service.NAME].")),
        (
            "normalizer",
            described(named(object(knobs(), &[], Map::new())), "Profiles of what TCP segments may look like: [normalizer.NAME]."),
        ),
        (
            "applications",
            described(
                table(&applications::KEYS, &[]),
                "Where what flows carry is looked for, and by what it is told. Given once in a policy.",
            ),
        ),
        ("defaults", described(table(&key::DEFAULTS, &[]), "What holds for rules that do not say otherwise. Given once in a policy.")),
    ];
    let mut schema = object(sections.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(), &[], Map::new());
    schema["$schema"] = json!(DRAFT);
    schema["title"] = json!("Weir policy");
    schema["description"] = json!("A file of a policy of the Weir firewall. `weir policy check` says what a schema cannot.");
    schema
}

/// A TOML value as validators of JSON see it: dates and times are strings.
#[must_use]
pub fn as_json(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => json!(text),
        toml::Value::Integer(number) => json!(number),
        toml::Value::Float(number) => json!(number),
        toml::Value::Boolean(on) => json!(on),
        toml::Value::Datetime(moment) => json!(moment.to_string()),
        toml::Value::Array(elements) => elements.iter().map(as_json).collect(),
        toml::Value::Table(table) => Value::Object(table.iter().map(|(key, value)| (key.clone(), as_json(value))).collect()),
    }
}

/// A table with these keys and no others.
fn object(properties: Map<String, Value>, required: &[&str], dependencies: Map<String, Value>) -> Value {
    let mut object = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    if !dependencies.is_empty() {
        object["dependencies"] = json!(dependencies);
    }
    object
}

/// Tables of one form by names that are the user's.
fn named(table: Value) -> Value {
    json!({ "type": "object", "patternProperties": { pattern::name(): table }, "additionalProperties": false })
}

fn properties(keys: &'static [Key]) -> Map<String, Value> {
    keys.iter().map(|key| (key.name.to_owned(), property(key))).collect()
}

fn property(key: &Key) -> Value {
    let mut property = value(key.value);
    property["description"] = json!(key.help);
    property["examples"] = example(key.example).into_iter().collect();
    if let Some(default) = default(key.default) {
        property["default"] = default;
    }
    property
}

fn example(written: &str) -> Option<Value> {
    toml::from_str::<toml::Table>(&format!("example = {written}")).ok()?.get("example").map(as_json)
}

pub(super) fn default(fallback: Fallback) -> Option<Value> {
    match fallback {
        Fallback::Nothing => None,
        Fallback::Switch(on) => Some(json!(on)),
        Fallback::Word(word) => Some(json!(word)),
        Fallback::Number(number) => Some(json!(number)),
        Fallback::Milliseconds(span) => Some(json!(duration::print(span))),
    }
}

fn value(kind: Kind) -> Value {
    match kind {
        Kind::Switch => json!({ "type": "boolean" }),
        Kind::Text => json!({ "type": "string" }),
        Kind::Words(words) => json!({ "type": "string", "enum": words }),
        // No text is empty, and a pattern is not always the place to say so.
        Kind::Matching(pattern) => json!({ "type": "string", "pattern": pattern(), "minLength": 1 }),
        Kind::Several(pattern, least) => one_or_several(&pattern(), least),
        Kind::Number { least, most } => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Kind::Numbers { least, most, count } => json!({
            "type": ["integer", "array"],
            "minimum": least,
            "maximum": most,
            "items": { "type": "integer", "minimum": least, "maximum": most },
            "maxItems": count,
        }),
        // TOML's own type; to a validator it is a string.
        Kind::Moment => json!({ "type": "string", "pattern": pattern::moment() }),
        Kind::Table(keys) => object(properties(keys), &[], Map::new()),
    }
}

fn one_or_several(pattern: &str, least: usize) -> Value {
    // Said of strings and of arrays each, without `anyOf`: validators then point to the element that is wrong.
    json!({ "type": ["string", "array"], "pattern": pattern, "items": { "type": "string", "pattern": pattern }, "minItems": least })
}

/// What a rule must say beside its keys.
fn dependencies(keys: &[Key]) -> Map<String, Value> {
    keys.iter().filter_map(|key| Some((key.name.to_owned(), dependency(key)?))).collect()
}

fn dependency(key: &Key) -> Option<Value> {
    let says = |key: &str, value: &str| json!({ "properties": { key: { "enum": [value] } }, "required": [key] });
    match (key.needs, default(key.default)) {
        (Needs::Nothing, _) => None,
        (Needs::Allow, _) => Some(says("action", "allow")),
        (Needs::Bypass, None) => Some(says("inspection", "bypass")),
        (Needs::Bypass, Some(idle)) => {
            Some(json!({ "anyOf": [{ "properties": { key.name: { "enum": [idle] } } }, says("inspection", "bypass")] }))
        }
    }
}

fn knobs() -> Map<String, Value> {
    let knobs = KNOBS.iter().map(|knob| (knob.key.to_owned(), knob_property(knob)));
    knobs.chain([(key::BASE.name.to_owned(), property(&key::BASE))]).collect()
}

fn knob_property(knob: &Knob) -> Value {
    let (mut property, example) = match knob.values {
        Values::Switch(_) => (json!({ "type": "boolean" }), json!(true)),
        Values::Words(words) => {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            (json!({ "type": "string", "enum": words }), json!(words.last()))
        }
        Values::Limit(_) => (
            json!({ "type": ["integer", "string"], "minimum": knob::MSS.start(), "maximum": knob::MSS.end(), "pattern": format!("^{}$", knob::NO_LIMIT) }),
            json!(1360),
        ),
        Values::Options => (options(), json!({ "mptcp": "clear", "253-254": "drop" })),
    };
    property["description"] = json!(format!("{} Without it: as the base has it.", knob.help));
    property["examples"] = json!([example]);
    property
}

/// Of `tcp-options`.
fn options() -> Value {
    let action = json!({ "type": "string", "enum": key::words(&tcp_option::Action::WORDS) });
    let names: Map<String, Value> = tcp_option::NAMES.iter().map(|(name, _)| ((*name).to_owned(), action.clone())).collect();
    let mut options = object(names, &[], Map::new());
    options["patternProperties"] = json!({ "^[0-9]{1,3}(-[0-9]{1,3})?$": action });
    options
}
