//! `interface`, `same-security-traffic` and `access-group`: zones, which of them speak with which, and the access lists in between.

use std::{collections::HashMap, net::IpAddr};

use super::{
    left::List,
    lines::{Block, Line},
    namer::Namer,
};
use crate::policy::selector::{ANY, SELF};

/// Longest zone name, with room for a number.
const LONGEST_ZONE: usize = 28;

/// An interface with a name.
#[derive(Clone, Debug)]
pub(super) struct Interface<'t> {
    pub(super) name: &'t str,
    /// Its zone's name in the policy.
    pub(super) zone: String,
    pub(super) level: u8,
    /// Nothing passes through it.
    pub(super) management_only: bool,
    pub(super) address: Option<IpAddr>,
    /// IPv4 and IPv6: a family without an address does not pass. Both, where nothing is said of addresses.
    pub(super) families: (bool, bool),
    /// Its name and security level.
    pub(super) lines: Vec<Line<'t>>,
    /// Access lists for what comes in and for what goes out, with the lines that bind them.
    pub(super) incoming: Vec<(&'t str, Line<'t>)>,
    pub(super) outgoing: Vec<(&'t str, Line<'t>)>,
}

#[derive(Debug, Default)]
pub(super) struct Interfaces<'t> {
    pub(super) all: Vec<Interface<'t>>,
    by_name: HashMap<&'t str, usize>,
    zones: Namer,
    /// `same-security-traffic permit inter-interface` and `intra-interface`.
    pub(super) between_equals: Option<Line<'t>>,
    pub(super) within_one: Option<Line<'t>>,
    /// Access lists for what comes in by any interface.
    pub(super) global: Vec<(&'t str, Line<'t>)>,
}

impl<'t> Interfaces<'t> {
    pub(super) fn new() -> Self {
        Self { zones: Namer::without(&[ANY, SELF]), ..Self::default() }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Interface<'t>> {
        self.by_name.get(name).map(|index| &self.all[*index])
    }

    pub(super) fn address(&self, name: &str) -> Option<IpAddr> {
        self.get(name)?.address
    }

    pub(super) fn read(&mut self, block: &Block<'t>, list: &mut List) {
        let mut name = None;
        let (mut level, mut address, mut management_only) = (None, None, false);
        let (mut says_addresses, mut families) = (false, (false, false));
        let mut lines = vec![block.head];
        for line in &block.body {
            match line.words()[..] {
                ["nameif", own] => {
                    name = Some(own);
                    lines.push(*line);
                }
                ["security-level", number] => {
                    level = number.parse().ok().filter(|level| *level <= 100);
                    if level.is_none() {
                        let hint = "the interface is taken for one of level 0";
                        list.add("interface", line, "a security level lies between 0 and 100", hint);
                    }
                    lines.push(*line);
                }
                ["management-only", ..] => management_only = true,
                ["no", "nameif" | "security-level"] | ["description", ..] => {}
                ["ip", "address", own, ..] => {
                    (says_addresses, families.0) = (true, true);
                    address = own.parse().ok();
                    leave_settings(line, list);
                }
                ["ipv6", "address" | "enable", ..] => {
                    (says_addresses, families.1) = (true, true);
                    leave_settings(line, list);
                }
                ["no", "ip", "address"] => {
                    says_addresses = true;
                    leave_settings(line, list);
                }
                _ => leave_settings(line, list),
            }
        }
        let Some(name) = name else { return };
        if self.by_name.contains_key(name) {
            return list.add("interface", &block.head, format!("interface `{name}` is given twice"), "give each interface its own name");
        }
        self.by_name.insert(name, self.all.len());
        let zone = self.zones.claim_short(name, LONGEST_ZONE);
        let level = level.unwrap_or(if name == "inside" { 100 } else { 0 });
        let (incoming, outgoing) = (Vec::new(), Vec::new());
        let families = if says_addresses { families } else { (true, true) };
        self.all.push(Interface { name, zone, level, management_only, address, families, lines, incoming, outgoing });
    }

    /// `same-security-traffic permit …`.
    pub(super) fn same_security(&mut self, line: &Line<'t>, list: &mut List) {
        match line.words()[..] {
            [_, "permit", "inter-interface"] => self.between_equals = Some(*line),
            [_, "permit", "intra-interface"] => self.within_one = Some(*line),
            _ => list.add("unknown", line, "the line is not known", "see whether it decides what passes"),
        }
    }

    /// `access-group LIST {in | out} interface NAME`, `access-group LIST global`.
    pub(super) fn bind(&mut self, line: &Line<'t>, list: &mut List) {
        let words = line.words();
        let (name, way, interface, rest) = match words[..] {
            [_, name, way @ ("in" | "out"), "interface", interface, ref rest @ ..] => (name, way, interface, rest),
            [_, name, "global"] => return self.global.push((name, *line)),
            _ => return list.add("access group", line, "it cannot be read", "bind the list by hand"),
        };
        if rest.contains(&"control-plane") {
            let hint = "write rules with to = \"self\" for it";
            return list.add("access group", line, "its list is about what is sent to the box itself", hint);
        }
        if !rest.is_empty() {
            let hint = "nothing to do, unless users bring access lists of their own";
            list.add("access group", line, format!("`{}`: the list itself is carried over", rest.join(" ")), hint);
        }
        let Some(index) = self.by_name.get(interface) else {
            return list.add("access group", line, format!("there is no interface `{interface}`"), "give the whole configuration");
        };
        let own = &mut self.all[*index];
        if way == "in" { own.incoming.push((name, *line)) } else { own.outgoing.push((name, *line)) }
    }

    /// Every access list that is bound, with the line that does.
    pub(super) fn bindings(&self) -> Vec<(&'t str, Line<'t>)> {
        let own = self.all.iter().flat_map(|interface| interface.incoming.iter().chain(&interface.outgoing));
        own.chain(&self.global).copied().collect()
    }

    /// Why traffic may go from one interface to another at all, or `None`.
    pub(super) fn connected(&self, from: usize, to: usize) -> Option<Vec<Line<'t>>> {
        let (one, two) = (&self.all[from], &self.all[to]);
        if one.management_only || two.management_only {
            None
        } else if from == to {
            self.within_one.map(|line| vec![line])
        } else if one.level == two.level {
            self.between_equals.map(|line| vec![line])
        } else {
            Some(Vec::new())
        }
    }
}

fn leave_settings(line: &Line<'_>, list: &mut List) {
    let hint = "set addresses, links and routes up with the system's own tools";
    list.once("interface settings", line, "an interface's address and link are the system's", hint);
}
