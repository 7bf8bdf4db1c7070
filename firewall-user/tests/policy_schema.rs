//! The schema for editors says what the reader does: it never refuses what the reader takes, and it refuses what a schema can.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use firewall_user::policy::{self, Diagnostics, Source};
use jsonschema::{Draft, Validator};
use serde_json::Value as Json;
use toml::{Table, Value};

mod documents;
mod mistakes;
mod texts;

use documents::{blocks, documents};
use mistakes::{make, mistakes, places};
use texts::{files, read};

/// What the reader says of mistakes that a schema sees too.
const SEEN: [&str; 9] = [
    " must be ",
    " must lie between ",
    " cannot be \"",
    "unknown key ",
    "unknown timeout ",
    "the rule has no ",
    " is empty",
    "the array is empty",
    "bypass is not for a whole policy",
];

/// Mistakes that no validator sees: dates are strings to it, and their quotes are gone.
const DATED: [&str; 2] = ["expires must be a date", ", not a date or time"];

/// Validates by draft 7, which the schema names, and by draft 4, which is what Taplo promises. The two must agree.
struct Schema(Validator, Validator);

impl Schema {
    fn new() -> Self {
        let schema = policy::schema();
        let by = |draft| jsonschema::options().with_draft(draft).build(&schema).expect("a schema");
        Self(by(Draft::Draft7), by(Draft::Draft4))
    }

    /// What it has against a file.
    fn errors(&self, file: &Table) -> Option<String> {
        let json = policy::as_json(&Value::Table(file.clone()));
        let said = |validator: &Validator| {
            let errors: Vec<String> = validator.iter_errors(&json).map(|error| format!("{}: {error}", error.instance_path())).collect();
            (!errors.is_empty()).then(|| errors.join("\n"))
        };
        let (seven, four) = (said(&self.0), said(&self.1));
        assert_eq!(seven.is_some(), four.is_some(), "draft 7: {seven:?}\ndraft 4: {four:?}");
        seven
    }
}

/// What the reader has against a policy of one file.
fn refusal(file: &Table) -> Option<Diagnostics> {
    let text = toml::to_string(file).expect("TOML");
    policy::load_sources(vec![Source { path: "mutant.toml".into(), text }], None).err()
}

fn parse(text: &str) -> Table {
    text.parse().unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Every policy file that is known to be good: the golden ones, the shipped ones, and the examples of the documents.
fn good_files() -> Vec<(String, Table)> {
    let mut good: Vec<(String, Table)> = Vec::new();
    for golden in files(Path::new("tests/policies"), "ok") {
        let directory = golden.with_extension("");
        let policy = if directory.is_dir() { directory } else { golden.with_extension("toml") };
        let sources = policy::read_sources(&policy).unwrap_or_else(|errors| panic!("{errors}"));
        good.extend(sources.iter().map(|source| (source.path.display().to_string(), parse(&source.text))));
        // The canonical print is a policy too.
        good.push((golden.display().to_string(), parse(&read(&golden))));
    }
    for name in ["server", "edge", "ipsec-over-tcp"] {
        let shipped = files(&Path::new("../policies").join(name), "toml");
        good.extend(shipped.iter().map(|path| (path.display().to_string(), parse(&read(path)))));
    }
    for path in files(Path::new("tests/import_asa"), "toml") {
        good.push((path.display().to_string(), parse(&read(&path))));
    }
    good.extend(documents().iter().flat_map(|path| examples(path)));
    good
}

fn examples(document: &Path) -> Vec<(String, Table)> {
    let blocks = blocks(document).into_iter().filter(|block| block.info == "toml" && !block.is_settings());
    blocks.map(|block| (block.place(), parse(&block.text))).collect()
}

/// The good files that are policies by themselves, or with a rule; small ones first.
fn good_policies() -> Vec<(String, Table)> {
    let mut good = good_files();
    for (_, file) in &mut good {
        if !file.contains_key("rule") {
            let rule = parse("name = \"r\"\naction = \"drop\"\n");
            file.insert("rule".to_owned(), Value::Array(vec![Value::Table(rule)]));
        }
    }
    good.retain(|(_, file)| refusal(file).is_none());
    good.sort_by_key(|(_, file)| file.to_string().len());
    good
}

#[test]
fn the_schema_takes_every_good_file() {
    let schema = Schema::new();
    let good = good_files();
    assert!(good.len() >= 50, "{} files", good.len());
    for (place, file) in good {
        assert_eq!(schema.errors(&file), None, "{place}");
    }
}

#[test]
fn the_schema_is_one_of_its_draft() {
    let schema = policy::schema();
    jsonschema::draft7::meta::validate(&schema).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
}

/// The properties of a schema's object with those of the objects in them, as paths; names of the user's are `*`.
fn keys(schema: &Json, path: &str, found: &mut BTreeMap<String, Json>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}/{name}");
        keys(property, &path, found);
        keys(&property["items"], &path, found);
        for named in property["patternProperties"].as_object().into_iter().flat_map(|named| named.values()) {
            keys(named, &format!("{path}/*"), found);
        }
        found.insert(path, property.clone());
    }
}

#[test]
fn every_key_is_described() {
    let mut found = BTreeMap::new();
    keys(&policy::schema(), "", &mut found);
    assert!(found.len() >= 80, "{} keys", found.len());
    for (path, property) in &found {
        // Names of options and sections have no value of their own to show.
        let plain = !path.contains("/tcp-options/") && path.matches('/').count() > 1;
        let said = property["description"].as_str().is_some_and(|text| text.ends_with('.'));
        assert!(said || path.contains("/tcp-options/"), "{path} is not described");
        assert!(!plain || property["examples"].as_array().is_some_and(|examples| !examples.is_empty()), "{path} has no example");
    }
}

/// The keys a file has, as [`keys`] calls them.
fn used(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Table(table) => {
            let named = ["/set", "/service", "/normalizer"].contains(&path);
            for (key, value) in table {
                let path = format!("{path}/{}", if named { "*" } else { key });
                used(value, &path, found);
                found.insert(path);
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| used(element, path, found)),
        _ => {}
    }
}

#[test]
fn the_reference_shows_every_key() {
    let reference = Path::new("../policies/README.md");
    let mut shown = BTreeSet::new();
    for (_, example) in examples(reference) {
        used(&Value::Table(example), "", &mut shown);
    }
    let text = read(reference);
    let mut known = BTreeMap::new();
    keys(&policy::schema(), "", &mut known);
    for key in known.keys() {
        // Keys of a table within a table may be rows of a table instead; of options by name a few are enough.
        let (table, name) = key.rsplit_once('/').expect("a path");
        let row = table.matches('/').count() > 1 && text.contains(&format!("\n| `{name}` |"));
        let told = row || shown.contains(key);
        assert!(told || table.ends_with("/tcp-options"), "policies/README.md shows no {key}");
    }
}

#[test]
fn the_reference_lists_the_keys_of_a_rule() {
    let text = read(Path::new("../policies/README.md"));
    let section = text.split("\n## Keys of a rule\n").nth(1).and_then(|rest| rest.split("\n```").next()).expect("the section");
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let listed: BTreeSet<String> = cells.flat_map(|cell| cell.split(", ")).map(|name| name.trim_matches('`').to_owned()).collect();
    let schema = policy::schema();
    let known = schema["properties"]["rule"]["items"]["properties"].as_object().expect("the keys of a rule");
    assert_eq!(listed, known.keys().cloned().collect::<BTreeSet<_>>());
}

/// What both say of a policy with mistakes; true when the reader takes it.
fn compare(schema: &Schema, mutant: &Table, told: &dyn Fn() -> String) -> bool {
    match (refusal(mutant), schema.errors(mutant)) {
        (None, Some(errors)) => panic!("the schema refuses what the reader takes: {}\n{mutant}\n{errors}", told()),
        (None, None) => true,
        (Some(refusal), None) => {
            let dated = |message: &str| DATED.iter().any(|words| message.contains(words));
            let seen = |message: &str| SEEN.iter().any(|words| message.contains(words)) && !dated(message);
            let missed = refusal.errors.iter().find(|error| seen(&error.message));
            assert!(missed.is_none(), "the schema takes what it could refuse: {}\n{mutant}\n{refusal}", told());
            false
        }
        (Some(_), Some(_)) => false,
    }
}

#[test]
fn at_every_key_reader_and_schema_refuse_the_same() {
    let schema = Schema::new();
    let (mut known, mut taken, mut refused) = (BTreeSet::new(), 0, 0);
    for (place, file) in good_policies() {
        let mut found = Vec::new();
        places(&Value::Table(file.clone()), &mut Vec::new(), "", &mut found);
        for (name, steps) in found {
            if !known.insert(name.clone()) {
                continue;
            }
            for mistake in mistakes() {
                let mut mutant = file.clone();
                if make(&mut mutant, &steps, &mistake) {
                    let told = || format!("{mistake:?} at {name} of {place}");
                    *(if compare(&schema, &mutant, &told) { &mut taken } else { &mut refused }) += 1;
                }
            }
        }
    }
    let mut keys_of_schema = BTreeMap::new();
    keys(&policy::schema(), "", &mut keys_of_schema);
    for key in keys_of_schema.keys().filter(|key| !key.contains("/tcp-options/")) {
        assert!(known.contains(key), "no good policy has {key}");
    }
    assert!(taken >= 200 && refused >= 2_000, "{taken} taken, {refused} refused");
}

#[test]
fn what_the_reader_takes_the_schema_takes() {
    let schema = Schema::new();
    let good = good_policies();
    let mistakes = mistakes();
    let mut random = fastrand::Rng::with_seed(7);
    let mut taken = 0;
    for round in 0..3_000 {
        let (place, file) = &good[random.usize(..good.len())];
        let mut mutant = file.clone();
        for _ in 0..random.usize(1..4) {
            let mut found = Vec::new();
            places(&Value::Table(mutant.clone()), &mut Vec::new(), "", &mut found);
            if let Some((_, steps)) = random.choice(&found) {
                make(&mut mutant, steps, &mistakes[random.usize(..mistakes.len())]);
            }
        }
        taken += usize::from(compare(&schema, &mutant, &|| format!("round {round}, {place}")));
    }
    assert!(taken >= 100, "{taken} taken");
}

#[test]
fn the_command_prints_the_schema() {
    let output = Command::new(env!("CARGO_BIN_EXE_weir")).args(["policy", "schema"]).output().expect("weir runs");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert_eq!(serde_json::from_slice::<Json>(&output.stdout).expect("JSON"), policy::schema());
}
