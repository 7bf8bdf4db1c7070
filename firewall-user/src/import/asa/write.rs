//! The policy's text: definitions and rules, each with the lines it comes from as a comment.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::Path,
    rc::Rc,
};

use firewall_common::{flow::Inspection, rule::Action};

use super::{
    compile::{Rule, Section},
    left::List,
    limits,
    lines::Line,
    namer::Namer,
    objects::{Definition, Objects},
    region::Addresses,
    tcp_map::TcpMaps,
    timeouts::BoxTimeouts,
};
use crate::policy::{
    duration,
    edit::{self, NewRule},
    print::{self, Table},
};

/// The rules, and the sets and services they name.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) text: String,
    pub(super) rules: usize,
    sets: BTreeSet<Rc<str>>,
    services: BTreeSet<Rc<str>>,
    /// Lines of the configuration that stand above something.
    pub(super) said: HashSet<usize>,
}

/// A line of the configuration as a comment.
fn comment(line: &Line<'_>) -> String {
    let text: String =
        line.text.chars().map(|c| if c.is_control() { if c == '\t' { ' ' } else { char::REPLACEMENT_CHARACTER } } else { c }).collect();
    format!("# {}: {text}\n", line.number)
}

/// Lines as comments, remembered in `said`.
fn comments(lines: &[Line<'_>], said: &mut HashSet<usize>) -> String {
    said.extend(lines.iter().map(|line| line.number));
    lines.iter().map(comment).collect()
}

/// What every file begins with: the lines that say how all the others are to be read.
pub(super) fn heading<'l>(name: &Path, lines: impl Iterator<Item = &'l Line<'l>>, written: &mut Written) -> String {
    let name = name.display().to_string();
    let title = format!("# From the ASA configuration {}; the numbers are those of its lines.\n", name.escape_debug());
    let lines: Vec<Line<'_>> = lines.copied().collect();
    title + &comments(&lines, &mut written.said)
}

pub(super) fn rules<'t>(sections: &[Section<'t>], maps: &mut TcpMaps<'t>, list: &mut List) -> Written {
    let mut written = Written::default();
    let mut names = Namer::default();
    let of_box = maps.of_box();
    let mut limited = limits::Shared::default();
    for section in sections.iter().filter(|section| !section.rules.is_empty()) {
        let separator = if written.text.is_empty() { "" } else { "\n" };
        let title = format!("{separator}# From {} to {}: {}.\n", section.from, section.to.join(", "), section.title);
        written.text += &title;
        written.text += &comments(&section.lines, &mut written.said);
        for rule in &section.rules {
            let new = new_rule(rule, section, maps, &of_box, &mut names, list);
            if !new.limits.is_empty() {
                limited.note(&rule.lines);
            }
            written.text.push('\n');
            written.text += &comments(&rule.lines, &mut written.said);
            if let Some(note) = rule.note {
                written.text += &format!("# {note}\n");
            }
            written.text += &edit::block(&new);
            written.rules += 1;
            let (source, destination) = (&rule.region.source, &rule.region.destination);
            written.sets.extend([source, destination].into_iter().filter_map(|addresses| addresses.set.clone()));
            written.services.extend(rule.region.service.service.clone());
        }
    }
    limited.list(list);
    written
}

fn new_rule<'t>(
    rule: &Rule<'t>,
    section: &Section<'t>,
    maps: &mut TcpMaps<'t>,
    of_box: &str,
    names: &mut Namer,
    list: &mut List,
) -> NewRule {
    let selector = |zone: &str, addresses: &Addresses| {
        let items = addresses.items();
        if items.is_empty() { zone.to_owned() } else { format!("{zone} {}", items.join(", ")) }
    };
    let mut new = NewRule {
        name: names.claim(&rule.stem),
        from: vec![selector(&section.from, &rule.region.source)],
        to: section.to.iter().map(|zone| selector(zone, &rule.region.destination)).collect(),
        service: rule.region.service.items(),
        action: if rule.permit { Action::Allow } else { Action::Drop },
        expires: rule.expires,
        because: rule.because.clone(),
        ..NewRule::default()
    };
    if !rule.permit {
        return new;
    }
    let keep_numbers = rule.connection.as_ref().is_some_and(|connection| connection.keep_numbers);
    if rule.bypass {
        new.inspection = Inspection::Bypass;
        new.normalizer = Some("off".to_owned());
    } else if rule.region.has_tcp() {
        new.normalizer = Some(maps.of_rule(rule.tcp_map, keep_numbers, list)).filter(|name| name != of_box);
    }
    if let Some(connection) = &rule.connection {
        (new.idle_timeout, new.timeouts) = connection.keys(rule.bypass);
        new.limits.limits = limits::of_rule(connection.limits, rule.bypass);
    }
    new
}

/// Defaults, and what the rules name.
pub(super) fn definitions<'t>(written: &mut Written, objects: &Objects<'t>, timeouts: &BoxTimeouts<'t>, maps: &mut TcpMaps<'t>) -> String {
    let mut text = String::from("# What an ASA does by itself: its normalizer, and its idle times where the configuration has them.\n");
    text += &comments(&timeouts.lines, &mut written.said);
    let mut table = Table::default();
    table.key("normalizer", print::string(&maps.of_box()));
    if !timeouts.keys.is_empty() {
        let each: Vec<String> = timeouts.keys.iter().map(|(key, millis)| format!("{key} = \"{}\"", duration::print(*millis))).collect();
        table.key("timeouts", format_args!("{{ {} }}", each.join(", ")));
    }
    text += &format!("[defaults]\n{table}");
    for (name, definition) in sets_with_theirs(&written.sets, &objects.sets) {
        text += &define("set", &name, "addresses", definition, &mut written.said);
    }
    for name in std::mem::take(&mut written.services) {
        if let Some(definition) = objects.services.get(&name) {
            text += &define("service", &name, "ports", definition, &mut written.said);
        }
    }
    for profile in &maps.profiles {
        let mut table = Table::default();
        table.key("base", print::string(&profile.base));
        for (key, value) in profile.settings() {
            table.key(key, value);
        }
        text += &format!("\n{}[normalizer.{}]\n{table}", comments(&profile.lines, &mut written.said), print::table_name(&profile.name));
    }
    text
}

/// The sets that are named, and those that they name.
fn sets_with_theirs<'d, 't>(used: &BTreeSet<Rc<str>>, all: &'d HashMap<Rc<str>, Definition<'t>>) -> BTreeMap<Rc<str>, &'d Definition<'t>> {
    let mut found: BTreeMap<Rc<str>, &Definition<'t>> = BTreeMap::new();
    let mut todo: Vec<Rc<str>> = used.iter().cloned().collect();
    while let Some(name) = todo.pop() {
        let Some(definition) = all.get(&name).filter(|_| !found.contains_key(&name)) else { continue };
        todo.extend(definition.items.iter().filter_map(|item| item.strip_prefix('@')).map(Rc::from));
        found.insert(name, definition);
    }
    found
}

fn define(kind: &str, name: &str, key: &str, definition: &Definition<'_>, said: &mut HashSet<usize>) -> String {
    let mut seen = HashSet::new();
    let items: Vec<String> = definition.items.iter().filter(|item| seen.insert(*item)).cloned().collect();
    format!("\n{}[{kind}.{}]\n{key} = {}\n", comments(&definition.lines, said), print::table_name(name), print::array(&items))
}
