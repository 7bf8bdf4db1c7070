//! Access lists, security levels and service policies, laid over each other, become rules.
//!
//! A packet that comes in by one interface and leaves by another is decided by the list of the first, then by that of the second; what
//! becomes of its connection, by the classes of both. Every rule is what a line of each of them have in common, in the order of the lines,
//! so that the first rule that matches is that of the first line that matches, and no rule is wider than any line it comes from.

use std::{collections::HashSet, rc::Rc};

use jiff::Timestamp;

use super::{
    access_list::{AccessLists, Entries, Entry, Surroundings},
    framework::{Action, Class, Policies, Policy},
    interfaces::{Interface, Interfaces},
    left::List,
    lines::Line,
    region::{Addresses, Region},
    timeouts::Connection,
};
use crate::policy::MAX_RULES;

/// Lines that may be laid over each other: a configuration of more would take minutes.
const MAX_WORK: usize = 4_000_000;
/// Ranges of addresses that all rules may hold.
const MAX_RANGES: usize = 1 << 20;

/// A rule, before its names are written.
#[derive(Clone, Debug)]
pub(super) struct Rule<'t> {
    /// What its name is made of.
    pub(super) stem: String,
    pub(super) region: Region,
    pub(super) permit: bool,
    pub(super) expires: Option<Timestamp>,
    pub(super) because: Option<String>,
    pub(super) note: Option<&'static str>,
    pub(super) lines: Vec<Line<'t>>,
    pub(super) bypass: bool,
    pub(super) tcp_map: Option<&'t str>,
    pub(super) connection: Option<Connection>,
}

/// The rules for what goes from one zone to others.
#[derive(Debug)]
pub(super) struct Section<'t> {
    pub(super) from: String,
    pub(super) to: Vec<String>,
    /// What the section is about.
    pub(super) title: String,
    pub(super) lines: Vec<Line<'t>>,
    pub(super) rules: Vec<Rule<'t>>,
}

/// The configuration comes to more rules than a policy can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration comes to more than a policy can hold: over {MAX_RULES} rules, or addresses and classes without end")]
pub struct TooMany;

/// Interfaces to which the same lines apply.
struct Group<'t> {
    to: Vec<usize>,
    outgoing: Vec<(&'t str, Line<'t>)>,
    policy: Option<Rc<Policy<'t>>>,
    /// Those that both ends have.
    families: (bool, bool),
    why: Vec<Line<'t>>,
}

/// What becomes of permitted packets on their way from one interface to a group of others.
struct Way<'t> {
    /// `None`: no list for what goes out, and all does.
    outgoing: Option<Vec<Entry<'t>>>,
    classes: Policy<'t>,
    families: (bool, bool),
}

pub(super) struct Compiler<'c, 't> {
    pub(super) interfaces: &'c Interfaces<'t>,
    pub(super) lists: &'c mut AccessLists<'t>,
    pub(super) around: Surroundings<'c, 't>,
    pub(super) policies: &'c Policies<'t>,
    pub(super) list: &'c mut List,
    work: usize,
    rules: usize,
    ranges: usize,
}

impl<'c, 't> Compiler<'c, 't> {
    pub(super) fn new(
        interfaces: &'c Interfaces<'t>,
        lists: &'c mut AccessLists<'t>,
        around: Surroundings<'c, 't>,
        policies: &'c Policies<'t>,
        list: &'c mut List,
    ) -> Self {
        Self { interfaces, lists, around, policies, list, work: 0, rules: 0, ranges: 0 }
    }

    pub(super) fn sections(mut self) -> Result<Vec<Section<'t>>, TooMany> {
        let interfaces = self.interfaces;
        let mut sections = Vec::new();
        if self.lists.is_overlong() {
            return Err(TooMany);
        }
        for (from, interface) in interfaces.all.iter().enumerate() {
            self.work += interfaces.all.len();
            if self.work > MAX_WORK {
                return Err(TooMany);
            }
            let bound: Vec<(&'t str, Line<'t>)> = interface.incoming.iter().chain(&interfaces.global).copied().collect();
            let groups = self.groups(from, bound.is_empty());
            for group in &groups {
                let several = (groups.len() > 1).then(|| interfaces.all[group.to[0]].zone.clone());
                sections.push(self.section(interface, &bound, group, several.as_deref())?);
            }
        }
        Ok(sections)
    }

    /// Where packets from an interface may go at all; without an access list, only to lower security levels and to equal ones.
    fn groups(&self, from: usize, by_level: bool) -> Vec<Group<'t>> {
        let all = &self.interfaces.all;
        let mut groups: Vec<Group<'t>> = Vec::new();
        for (to, interface) in all.iter().enumerate() {
            let Some(why) = self.interfaces.connected(from, to) else { continue };
            if by_level && all[from].level < interface.level {
                continue;
            }
            let policy = self.policies.of(interface.name).filter(|_| from != to).cloned();
            let (one, two) = (all[from].families, interface.families);
            let families = (one.0 && two.0, one.1 && two.1);
            let pointer = |policy: &Option<Rc<Policy<'t>>>| policy.as_ref().map(Rc::as_ptr);
            let names = |bound: &[(&'t str, Line<'t>)]| bound.iter().map(|(name, _)| *name).collect::<Vec<_>>();
            let alike = |group: &&mut Group<'t>| {
                names(&group.outgoing) == names(&interface.outgoing)
                    && pointer(&group.policy) == pointer(&policy)
                    && group.families == families
            };
            match groups.iter_mut().find(alike) {
                Some(group) => {
                    group.to.push(to);
                    group.why.extend(why);
                }
                None => groups.push(Group { to: vec![to], outgoing: interface.outgoing.clone(), policy, families, why }),
            }
        }
        groups
    }

    fn section(
        &mut self,
        from: &Interface<'t>,
        bound: &[(&'t str, Line<'t>)],
        group: &Group<'t>,
        several: Option<&str>,
    ) -> Result<Section<'t>, TooMany> {
        let to: Vec<&Interface<'t>> = group.to.iter().map(|index| &self.interfaces.all[*index]).collect();
        let zones: Vec<String> = to.iter().map(|interface| interface.zone.clone()).collect();
        let mut lines = from.lines.clone();
        lines.extend(to.iter().filter(|to| to.name != from.name).flat_map(|to| to.lines.clone()));
        lines.extend(bound.iter().chain(&group.outgoing).map(|(_, line)| *line).chain(group.why.iter().copied()));
        let classes = self.policies.between(from.name, to[0].name);
        if classes.does_anything() {
            lines.extend(to.iter().flat_map(|to| self.policies.lines(from.name, to.name)));
        }
        lines.sort_by_key(|line| line.number);
        lines.dedup_by_key(|line| line.number);
        let way = Way { outgoing: self.bound_entries(&group.outgoing), classes, families: group.families };
        let mut rules = Vec::new();
        if bound.is_empty() {
            let stem = format!("{}-by-level{}", from.zone, several.map(|zone| format!("-to-{zone}")).unwrap_or_default());
            for (entry, suffix) in by_level().into_iter().zip(["-multicast", ""]) {
                self.entry(&entry, &format!("{stem}{suffix}"), &way, &mut rules)?;
            }
        }
        for (name, _) in bound {
            let prefix = if self.is_shared(name) { format!("{}-", from.zone) } else { String::new() };
            let suffix = several.map(|zone| format!("-to-{zone}")).unwrap_or_default();
            for entry in self.entries(name).iter() {
                let stem = format!("{prefix}{name}-{}{suffix}", entry.position);
                self.entry(entry, &stem, &way, &mut rules)?;
            }
        }
        let title =
            if bound.is_empty() { "no access list: what goes to lower or equal security levels passes" } else { "access lists decide" };
        Ok(Section { from: from.zone.clone(), to: zones, title: title.to_owned(), lines, rules })
    }

    /// True for a list that more than one interface has, so that its name alone says too little.
    fn is_shared(&self, name: &str) -> bool {
        let interfaces = self.interfaces;
        let incoming = interfaces.all.iter().flat_map(|interface| &interface.incoming).filter(|(bound, _)| *bound == name).count();
        incoming > 1 || interfaces.global.iter().any(|(bound, _)| *bound == name)
    }

    fn entries(&mut self, name: &str) -> Entries<'t> {
        self.lists.entries(name, self.around, self.list).unwrap_or_else(|| Rc::from([]))
    }

    /// The lines of the lists for what goes out; `None`: there is none, and all goes out.
    fn bound_entries(&mut self, bound: &[(&'t str, Line<'t>)]) -> Option<Vec<Entry<'t>>> {
        let lists: Vec<Entries<'t>> = bound.iter().map(|(name, _)| self.entries(name)).collect();
        (!bound.is_empty()).then(|| lists.iter().flat_map(|entries| entries.iter().cloned()).collect())
    }

    /// The rules of one line.
    fn entry(&mut self, entry: &Entry<'t>, stem: &str, way: &Way<'t>, rules: &mut Vec<Rule<'t>>) -> Result<(), TooMany> {
        let Entry { permit, mut region, expires, lines, because, mut note, .. } = entry.clone();
        let (v4, v6) = region.families();
        if permit && ((v4 && !way.families.0) || (v6 && !way.families.1)) {
            region.source = region.source.intersection(&Addresses::of_families(way.families));
            note = note.or(Some("of one family: not both interfaces have an address of the other"));
        }
        if region.is_empty() {
            return Ok(());
        }
        let plain =
            Rule { stem: stem.to_owned(), region, permit, expires, because, note, lines, bypass: false, tcp_map: None, connection: None };
        let mut own = Vec::new();
        if permit {
            for piece in self.leaving(plain, way.outgoing.as_ref())? {
                if piece.permit { self.treat(&piece, &way.classes, &mut own)? } else { self.push(piece, &mut own)? }
            }
        } else {
            self.push(plain, &mut own)?;
        }
        rules.append(&mut own);
        Ok(())
    }

    /// What the lists for what goes out make of a permitted region.
    fn leaving(&mut self, rule: Rule<'t>, outgoing: Option<&Vec<Entry<'t>>>) -> Result<Vec<Rule<'t>>, TooMany> {
        let Some(outgoing) = outgoing else { return Ok(vec![rule]) };
        let mut pieces = Vec::new();
        for entry in outgoing {
            let Some(mut piece) = self.within(&rule, entry)? else { continue };
            piece.permit = entry.permit;
            piece.note = piece.note.or(entry.note);
            pieces.push(piece);
            if decides_all(entry, &rule) {
                return Ok(pieces);
            }
        }
        pieces.push(Rule {
            permit: false,
            note: Some("the list for what goes out permits no more of it"),
            stem: format!("{}-out", rule.stem),
            ..rule
        });
        Ok(pieces)
    }

    /// What classes make of a permitted region: first bypass, for what it leaves the others are about.
    fn treat(&mut self, rule: &Rule<'t>, classes: &Policy<'t>, rules: &mut Vec<Rule<'t>>) -> Result<(), TooMany> {
        let mut bypassed = Vec::new();
        self.refine(rule, &classes.bypass, &mut bypassed)?;
        for piece in bypassed {
            let mut mapped = Vec::new();
            // An ASA does not normalize what it bypasses.
            let maps: &[Class<'t>] = if piece.bypass { &[] } else { &classes.tcp_map };
            self.refine(&piece, maps, &mut mapped)?;
            for piece in mapped {
                let mut timed = Vec::new();
                self.refine(&piece, &classes.connection, &mut timed)?;
                for mut piece in timed {
                    if piece.bypass {
                        piece.stem.push_str("-bypass");
                    } else if piece.tcp_map.is_some() || piece.connection.is_some() {
                        piece.stem.push_str("-class");
                    }
                    self.push(piece, rules)?;
                }
            }
        }
        Ok(())
    }

    /// Splits a rule by the first of the classes that matches; what none matches stays as it is.
    fn refine(&mut self, rule: &Rule<'t>, classes: &[Class<'t>], pieces: &mut Vec<Rule<'t>>) -> Result<(), TooMany> {
        let Some((class, rest)) = classes.split_first() else {
            pieces.push(rule.clone());
            return if pieces.len() > MAX_RULES { Err(TooMany) } else { Ok(()) };
        };
        for entry in class.matches.iter() {
            let Some(mut piece) = self.within(rule, entry)? else { continue };
            if entry.permit {
                piece.lines.extend(&class.lines);
                match &class.action {
                    Action::Bypass => piece.bypass = true,
                    Action::TcpMap(name) => piece.tcp_map = Some(name),
                    Action::Connection(connection) => piece.connection = Some(connection.clone()),
                }
                pieces.push(piece);
            } else {
                // Not of this class: of the next one, perhaps.
                self.refine(&piece, rest, pieces)?;
            }
            if decides_all(entry, rule) {
                return Ok(());
            }
        }
        self.refine(rule, rest, pieces)
    }

    /// What of a rule an entry is about, for as long as both last.
    fn within(&mut self, rule: &Rule<'t>, entry: &Entry<'t>) -> Result<Option<Rule<'t>>, TooMany> {
        self.work += 1 + (entry.region.source.len() + entry.region.destination.len() + rule.lines.len() + entry.lines.len()) / 16;
        if self.work > MAX_WORK {
            return Err(TooMany);
        }
        let Some(region) = rule.region.intersection(&entry.region) else { return Ok(None) };
        let mut piece = Rule { region, ..rule.clone() };
        piece.expires = [rule.expires, entry.expires].into_iter().flatten().min();
        piece.lines.extend(&entry.lines);
        Ok(Some(piece))
    }

    /// Adds a rule to those of its line, unless they leave nothing for it.
    fn push(&mut self, mut rule: Rule<'t>, rules: &mut Vec<Rule<'t>>) -> Result<(), TooMany> {
        self.work += rules.len();
        if rules.iter().any(|earlier| lasts(earlier.expires, rule.expires) && earlier.region.covers(&rule.region)) {
            return Ok(());
        }
        self.rules += 1;
        self.ranges += rule.region.source.len() + rule.region.destination.len();
        if self.rules > MAX_RULES || self.ranges > MAX_RANGES || self.work > MAX_WORK {
            return Err(TooMany);
        }
        let mut seen = HashSet::new();
        rule.lines.retain(|line| seen.insert(line.number));
        rules.push(rule);
        Ok(())
    }
}

/// True when nothing of the rule is left for what comes after the entry.
fn decides_all(entry: &Entry<'_>, rule: &Rule<'_>) -> bool {
    lasts(entry.expires, rule.expires) && entry.region.covers(&rule.region)
}

/// True when what ends at `first` is in force for as long as what ends at `second`.
fn lasts(first: Option<Timestamp>, second: Option<Timestamp>) -> bool {
    match (first, second) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(first), Some(second)) => first >= second,
    }
}

/// What passes without an access list: unicast, of both families.
fn by_level<'t>() -> [Entry<'t>; 2] {
    let entry = |permit: bool, destination: Addresses, because: &str| Entry {
        permit,
        region: Region { destination, ..Region::all() },
        expires: None,
        lines: Vec::new(),
        because: Some(because.to_owned()),
        note: None,
        position: 0,
    };
    [
        entry(false, Addresses::multicast(), "without an access list an ASA passes no multicast"),
        entry(true, Addresses::any(), "without an access list an ASA passes what goes to lower or equal security levels"),
    ]
}
