//! From files to a checked policy.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
};

use firewall_common::{
    classify::MOST_SCHEDULED,
    hours::{MAX_SCHEDULES, Week},
    rule::{MAX_ENTRIES, MAX_ZONES},
};
use toml::{Spanned, de::DeTable};

use super::{
    Policy, classes,
    definitions::Definitions,
    diagnostic::{Diagnostic, Diagnostics, Place, Report, Warning, quoted},
    document::{Value, place},
    expand::Expansion,
    hours::{self, Hours},
    members::{self, Members},
    normalizer::InUse,
    placement,
    rule::{self, Context},
    selector::SELF,
    source::{self, Source, Sources},
    warnings,
};

/// Rules a policy may have, disabled ones included.
pub const MAX_RULES: usize = MAX_ENTRIES;
/// Bytes of a file up to which all its syntax errors are looked for. Of a larger one only the first is: the parser keeps every error,
/// and a file of nothing else would take gigabytes.
const MAX_RECOVERED: usize = 1 << 20;
/// Keys a policy file may have.
const KEYS: [&str; 6] = ["rule", "set", "service", "normalizer", "applications", "defaults"];

/// Reads and checks the policy in a directory or file. `zones`: the zones of the interfaces, when they are known.
pub fn load(path: &Path, zones: Option<&[String]>) -> Result<(Policy, Vec<Warning>), Diagnostics> {
    load_sources(read_sources(path)?, zones)
}

/// The files of the policy in a directory or file, as [`load`] takes them.
pub fn read_sources(path: &Path) -> Result<Vec<Source>, Diagnostics> {
    source::read(path).map_err(|errors| Diagnostics { errors, omitted: 0 })
}

/// Checks files that were already read, or that are about to be written.
pub fn load_sources(sources: Vec<Source>, zones: Option<&[String]>) -> Result<(Policy, Vec<Warning>), Diagnostics> {
    load_sources_at(sources, zones, jiff::Timestamp::now())
}

/// As [`load_sources`]; `now` decides which rules are warned of as expired.
pub fn load_sources_at(
    sources: Vec<Source>,
    zones: Option<&[String]>,
    now: jiff::Timestamp,
) -> Result<(Policy, Vec<Warning>), Diagnostics> {
    load_sources_with(sources, zones, now, &Members::default())
}

/// As [`load_sources_at`], with members of the sets that are not written in the files.
pub fn load_sources_with(
    sources: Vec<Source>,
    zones: Option<&[String]>,
    now: jiff::Timestamp,
    members: &Members,
) -> Result<(Policy, Vec<Warning>), Diagnostics> {
    let sources = Sources::new(sources);
    let mut report = Report::new(&sources);
    let documents = parse(&sources, &mut report);
    if report.failed() {
        // What a broken file defines is unknown, so everything else that could be said may be wrong.
        return Err(report.into_errors());
    }
    let definitions = read_definitions(&documents, &mut report);
    let read = read_rules(&documents, Context { definitions: &definitions, zones }, &mut report);
    if report.failed() {
        return Err(report.into_errors());
    }
    if read.rules.is_empty() {
        return Err(no_rules(&sources).into());
    }
    let zones = named_zones(&read.expansion, &sources)?;
    let Expansion { mut entries, lists, .. } = read.expansion;
    placement::place(&mut entries, &lists);
    let filled = members::fill(&lists, members);
    let classes = classes::build(&entries, &filled).map_err(|error| about_all(&sources, error.to_string()))?;
    warnings::check(&read.rules, &read.places, (&entries, &filled, &classes), now, &mut report);
    let written = definitions.written_sets(&report);
    let warnings = report.finish()?;
    let policy = Policy {
        rules: read.rules,
        defaults: definitions.defaults.clone(),
        sets: definitions.print_sets(),
        services: definitions.print_services(),
        applications: definitions.applications,
        normalizers: definitions.normalizers.into_all(),
        profiles: read.profiles.into_list(),
        schedules: read.schedules.weeks,
        zones,
        written,
        entries,
        lists,
        filled,
        classes,
    };
    Ok((policy, warnings))
}

type Document<'a> = (usize, Spanned<DeTable<'a>>);

fn parse<'a>(sources: &'a Sources, report: &mut Report<'_>) -> Vec<Document<'a>> {
    let mut documents = Vec::new();
    for (file, source) in sources.iter().enumerate() {
        let (document, errors) = if source.text.len() <= MAX_RECOVERED {
            DeTable::parse_recoverable(&source.text)
        } else {
            match DeTable::parse(&source.text) {
                Ok(document) => (document, Vec::new()),
                Err(error) => (Spanned::new(0..0, DeTable::new()), vec![error]),
            }
        };
        for error in errors {
            let at = clip(&source.text, error.span().unwrap_or_default());
            report.error(place(file, at), error.message().replace('\n', ", "));
        }
        documents.push((file, document));
    }
    documents
}

/// A parser's span as a range of whole characters of `text`.
fn clip(text: &str, span: std::ops::Range<usize>) -> std::ops::Range<usize> {
    let boundary = |at: usize| (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let start = boundary(span.start);
    start..boundary(span.end).max(start)
}

fn read_definitions<'a>(documents: &'a [Document<'a>], report: &mut Report<'_>) -> Definitions<'a> {
    let mut definitions = Definitions::default();
    for (file, document) in documents {
        for (key, value) in document.get_ref() {
            let key_place = place(*file, key.span());
            let value = Value::new(*file, value);
            match key.get_ref().as_ref() {
                "rule" => {}
                "set" => {
                    if let Some(tables) = value.table("set", report) {
                        definitions.read_sets(*file, tables, report);
                    }
                }
                "service" => {
                    if let Some(tables) = value.table("service", report) {
                        definitions.read_services(*file, tables, report);
                    }
                }
                "defaults" => {
                    if let Some(table) = value.table("defaults", report) {
                        definitions.read_defaults(*file, key_place, table, report);
                    }
                }
                "applications" => {
                    if let Some(table) = value.table("applications", report) {
                        definitions.read_applications(*file, key_place, table, report);
                    }
                }
                "normalizer" => {
                    if let Some(tables) = value.table("normalizer", report) {
                        definitions.normalizers.read(*file, tables, report);
                    }
                }
                other => report.unknown_word(key_place, format!("unknown key {}", quoted(other)), other, KEYS.into_iter()),
            }
        }
    }
    definitions.resolve(report);
    definitions
}

#[derive(Default)]
struct Rules {
    rules: Vec<rule::RuleInfo>,
    places: Vec<Place>,
    expansion: Expansion,
    profiles: InUse,
    schedules: Schedules,
}

/// The hours that rules have, the same ones once.
#[derive(Default)]
struct Schedules {
    weeks: Vec<Week>,
    numbers: HashMap<Week, u16>,
    /// Entries with hours.
    entries: usize,
}

impl Schedules {
    /// The number, from 1, of a rule's hours, and 0 for always; the rule has so many `entries`.
    fn number(&mut self, hours: &[Hours], entries: usize, place: Place, report: &mut Report<'_>) -> u16 {
        if hours.is_empty() {
            return 0;
        }
        self.entries += entries;
        if self.entries > MOST_SCHEDULED && self.entries - entries <= MOST_SCHEDULED {
            let message =
                format!("too many rules with hours: with this one they come to {} entries, the limit is {MOST_SCHEDULED}", self.entries);
            report.error_with_hint(place, message, "a rule takes one entry for each pair of a from and a to");
        }
        let week = hours::week(hours);
        if let Some(number) = self.numbers.get(&week) {
            return *number;
        }
        if self.weeks.len() == MAX_SCHEDULES {
            report.error(place, format!("too many different hours: a policy can have {MAX_SCHEDULES}"));
            return 0;
        }
        self.weeks.push(week);
        let number = u16::try_from(self.weeks.len()).unwrap_or(0);
        self.numbers.insert(week, number);
        number
    }
}

fn read_rules(documents: &[Document<'_>], context: Context<'_>, report: &mut Report<'_>) -> Rules {
    let mut read = Rules::default();
    let mut names: BTreeMap<String, Place> = BTreeMap::new();
    for (file, document) in documents {
        let Some((_, value)) = document.get_ref().get_key_value("rule") else { continue };
        for (table, table_place) in Value::new(*file, value).tables("rule", report) {
            if report.full() {
                return read;
            }
            let Some((mut info, matches)) = rule::read(table, table_place, context, report) else { continue };
            if let Some(first) = names.get(&info.name) {
                let message = format!("rule {} is given twice: first in {}", quoted(&info.name), report.sources().reference(*first));
                report.error_with_hint(matches.place, message, "flows and counters go by a rule's name: give each its own");
                continue;
            }
            if read.rules.len() >= MAX_RULES {
                report.error(matches.place, format!("too many rules: a policy can have {MAX_RULES}, disabled ones included"));
                return read;
            }
            names.insert(info.name.clone(), matches.place);
            if info.enabled {
                let before = read.expansion.entries.len();
                read.expansion.add(read.rules.len(), &matches, context.definitions, report);
                info.schedule = read.schedules.number(&info.hours, read.expansion.entries.len() - before, matches.place, report);
                info.profile = read.profiles.number(&matches.profile, matches.place, report);
            }
            read.places.push(matches.place);
            read.rules.push(info);
        }
    }
    read
}

fn named_zones(expansion: &Expansion, sources: &Sources) -> Result<BTreeSet<String>, Diagnostics> {
    let named = expansion.entries.iter().flat_map(|entry| entry.from.iter().chain(&entry.to).flatten());
    let zones: BTreeSet<String> = named.filter(|zone| *zone != SELF).cloned().collect();
    if zones.len() >= MAX_ZONES {
        let message = format!("too many zones: the policy names {} beside self, there can be {}", zones.len(), MAX_ZONES - 1);
        return Err(about_all(sources, message));
    }
    Ok(zones)
}

/// An error that no single place is at fault for.
fn about_all(sources: &Sources, message: String) -> Diagnostics {
    Diagnostic::about(whole(sources), message, None).into()
}

fn no_rules(sources: &Sources) -> Diagnostic {
    let hint = "a policy needs at least one [[rule]]; without rules everything would be dropped";
    Diagnostic::about(whole(sources), "no rules".to_owned(), Some(hint.to_owned()))
}

/// The one file, or the directory of several.
fn whole(sources: &Sources) -> PathBuf {
    let mut paths = sources.iter().map(|source| source.path.as_path());
    match (paths.next(), paths.next()) {
        (Some(only), None) => only.to_path_buf(),
        (Some(first), Some(_)) => first.parent().unwrap_or(first).to_path_buf(),
        (None, _) => PathBuf::from("policy"),
    }
}
