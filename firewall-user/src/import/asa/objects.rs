//! `name`, `object` and `object-group`: what they stand for, and the sets and services of the policy that have their names.

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
};

use super::{
    left::List,
    lines::{Block, Line},
    literals,
    members::{every_port, network_member, service_member, with_ports},
    namer::Namer,
    ranges::Ranges,
    region::{Addresses, Bounds, Services, TCP, UDP},
    words::{Dialect, Unreadable, Words, ports},
};
use crate::policy::service::ICMP;

/// How deep groups may name groups: an ASA allows any number, a policy's sets sixteen.
const MAX_DEPTH: usize = 16;

/// What a name is a name of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Network,
    /// Protocols with their ports.
    Service,
    /// Ports of the group's protocols.
    Ports(&'static [u8]),
    Protocol,
    IcmpType,
}

/// What a name stands for.
#[derive(Clone, Debug)]
pub(super) enum Meaning {
    Addresses(Bounds<Addresses>),
    Services(Bounds<Services>),
    /// The ports, and the whole group as services.
    Ports(Bounds<Ranges>, Services),
    IcmpTypes(Bounds<Vec<(u8, Option<u8>)>>),
}

/// A `[set.NAME]` or `[service.NAME]` to be written.
#[derive(Clone, Debug)]
pub(super) struct Definition<'t> {
    pub(super) items: Vec<String>,
    pub(super) lines: Vec<Line<'t>>,
}

#[derive(Debug)]
struct Written<'t> {
    kind: Kind,
    lines: Vec<Line<'t>>,
    members: Vec<Line<'t>>,
}

/// Everything that has a name.
#[derive(Debug, Default)]
pub(super) struct Objects<'t> {
    written: HashMap<&'t str, Written<'t>>,
    order: Vec<&'t str>,
    meanings: HashMap<&'t str, Meaning>,
    /// Groups whose members are being read.
    under_way: HashSet<&'t str>,
    /// Names of sets and services of the policy.
    set_names: Namer,
    service_names: Namer,
    pub(super) sets: HashMap<Rc<str>, Definition<'t>>,
    pub(super) services: HashMap<Rc<str>, Definition<'t>>,
}

impl<'t> Objects<'t> {
    /// Takes the block of an object or a group; false when it is of another kind.
    pub(super) fn read(&mut self, block: &Block<'t>, list: &mut List) -> bool {
        let words = block.head.words();
        let kind = match words[..] {
            ["object", "network", _] | ["object-group", "network", _] => Kind::Network,
            ["object", "service", _] | ["object-group", "service", _] => Kind::Service,
            ["object-group", "service", _, "tcp"] => Kind::Ports(&[TCP]),
            ["object-group", "service", _, "udp"] => Kind::Ports(&[UDP]),
            ["object-group", "service", _, "tcp-udp"] => Kind::Ports(&[TCP, UDP]),
            ["object-group", "protocol", _] => Kind::Protocol,
            ["object-group", "icmp-type", _] => Kind::IcmpType,
            _ => return false,
        };
        let name = words[2];
        if !self.written.contains_key(name) {
            self.order.push(name);
        }
        let written = self.written.entry(name).or_insert_with(|| Written { kind, lines: Vec::new(), members: Vec::new() });
        if written.kind != kind {
            let reason = format!("`{name}` is the name of something else already");
            list.add("object", &block.head, reason, "give each object its own name");
            return true;
        }
        // The second block of an object holds its translation only.
        let mut own = Vec::new();
        for line in &block.body {
            match line.first() {
                "description" => own.push(*line),
                "nat" => super::elsewhere::translation(line, list),
                _ => {
                    own.push(*line);
                    written.members.push(*line);
                }
            }
        }
        if written.lines.is_empty() || !own.is_empty() {
            written.lines.push(block.head);
            written.lines.extend(own);
        }
        true
    }

    pub(super) fn kind(&self, name: &str) -> Option<Kind> {
        self.written.get(name).map(|written| written.kind)
    }

    pub(super) fn meaning(&self, name: &str) -> Option<&Meaning> {
        self.meanings.get(name)
    }

    /// Works out what all names stand for.
    pub(super) fn resolve(&mut self, dialect: &Dialect<'t>, list: &mut List) {
        for name in self.order.clone() {
            self.resolve_one(name, 0, dialect, list);
        }
    }

    fn resolve_one(&mut self, name: &'t str, depth: usize, dialect: &Dialect<'t>, list: &mut List) {
        if self.meanings.contains_key(name) || depth > MAX_DEPTH || self.under_way.contains(name) {
            return;
        }
        let Some(written) = self.written.get(name) else { return };
        let (kind, members, lines) = (written.kind, written.members.clone(), written.lines.clone());
        self.under_way.insert(name);
        for line in &members {
            if let Some(inner) = group_named(line) {
                self.resolve_one(inner, depth + 1, dialect, list);
            }
        }
        self.under_way.remove(name);
        let mut reading = Reading { objects: self, dialect, list, kind };
        let meaning = match kind {
            Kind::Network => reading.network(name, &members, lines),
            Kind::Service | Kind::Protocol => reading.service(name, &members, lines),
            Kind::Ports(protocols) => reading.port_group(name, protocols, &members, lines),
            Kind::IcmpType => reading.icmp_types(&members),
        };
        self.meanings.insert(name, meaning);
    }

    fn define_set(&mut self, name: &str, items: Vec<String>, lines: Vec<Line<'t>>) -> Rc<str> {
        let own: Rc<str> = self.set_names.claim(name).into();
        self.sets.insert(own.clone(), Definition { items, lines });
        own
    }

    fn define_service(&mut self, name: &str, services: &Services, lines: Vec<Line<'t>>) -> Option<Rc<str>> {
        let items = services.items();
        if items.is_empty() {
            return None;
        }
        let plain = super::namer::plain(name);
        let wanted = if crate::policy::service::is_name(&plain) { plain } else { format!("svc-{plain}") };
        let own: Rc<str> = self.service_names.claim(&wanted).into();
        self.services.insert(own.clone(), Definition { items, lines });
        Some(own)
    }
}

/// The object or group that a member names.
fn group_named<'t>(line: &Line<'t>) -> Option<&'t str> {
    match line.words()[..] {
        ["group-object", name] | ["network-object" | "service-object", "object", name] => Some(name),
        _ => None,
    }
}

struct Reading<'o, 't> {
    objects: &'o mut Objects<'t>,
    dialect: &'o Dialect<'t>,
    list: &'o mut List,
    kind: Kind,
}

impl<'t> Reading<'_, 't> {
    fn leave(&mut self, line: &Line<'t>, reason: impl std::fmt::Display) {
        let hint = "permits that name it let the rest pass, denies that name it drop more than they say";
        self.list.add("object", line, reason.to_string(), hint);
    }

    /// What a member that is a group stands for, if it is of this kind.
    fn inner(&mut self, line: &Line<'t>, name: &str) -> Option<Meaning> {
        if self.objects.kind(name) == Some(self.kind) {
            if let Some(meaning) = self.objects.meanings.get(name) {
                return Some(meaning.clone());
            }
            self.leave(line, format_args!("`{name}` names itself, or names groups more than {MAX_DEPTH} deep"));
        } else {
            self.leave(line, format_args!("there is no such group as `{name}`"));
        }
        None
    }

    fn network(&mut self, name: &str, members: &[Line<'t>], lines: Vec<Line<'t>>) -> Meaning {
        let nothing = Bounds { sure: Addresses::none(), possible: Addresses::any() };
        let mut parts = Vec::new();
        for line in members {
            parts.push(if let Some(inner) = group_named(line) {
                match self.inner(line, inner) {
                    Some(Meaning::Addresses(bounds)) => bounds,
                    _ => nothing.clone(),
                }
            } else {
                network_member(line, self.dialect).map(Bounds::exact).unwrap_or_else(|error| {
                    self.leave(line, error);
                    nothing.clone()
                })
            });
        }
        let mut sure = Addresses::union(parts.iter().map(|part| &part.sure));
        let mut possible = Addresses::union(parts.iter().map(|part| &part.possible));
        let items: Vec<String> = parts.iter().flat_map(|part| part.sure.items()).collect();
        if !sure.is_empty() && !items.is_empty() {
            sure.set = Some(self.objects.define_set(name, items, lines));
        }
        if sure.same(&possible) {
            possible = sure.clone();
        }
        Meaning::Addresses(Bounds { sure, possible })
    }

    fn service(&mut self, name: &str, members: &[Line<'t>], lines: Vec<Line<'t>>) -> Meaning {
        let nothing = Bounds { sure: Services::none(), possible: Services::any() };
        let mut parts = Vec::new();
        for line in members {
            parts.push(if let Some(inner) = group_named(line) {
                match self.inner(line, inner) {
                    Some(Meaning::Services(bounds)) => bounds,
                    _ => nothing.clone(),
                }
            } else {
                let read = service_member(line).unwrap_or_else(|error| {
                    self.leave(line, error);
                    nothing.clone()
                });
                if read.sure.is_empty() && !read.possible.same(&Services::any()) {
                    self.leave(line, "it names source ports, which a rule of Weir cannot match");
                }
                read
            });
        }
        let mut sure = Services::union(parts.iter().map(|part| &part.sure));
        let mut possible = Services::union(parts.iter().map(|part| &part.possible));
        if !sure.is_empty() {
            sure.service = self.objects.define_service(name, &sure, lines);
        }
        if sure.same(&possible) {
            possible = sure.clone();
        }
        Meaning::Services(Bounds { sure, possible })
    }

    fn port_group(&mut self, name: &str, protocols: &'static [u8], members: &[Line<'t>], lines: Vec<Line<'t>>) -> Meaning {
        let (mut parts, mut complete) = (Vec::new(), true);
        for line in members {
            let words = line.words();
            let read = match words[..] {
                ["group-object", inner] => match self.inner(line, inner) {
                    Some(Meaning::Ports(bounds, _)) => {
                        complete &= bounds.sure == bounds.possible;
                        Ok(bounds.sure)
                    }
                    _ => {
                        complete = false;
                        continue;
                    }
                },
                ["port-object", operator, ..] => {
                    let mut rest = Words::new(&words[2..]);
                    ports(operator, &mut rest).and_then(|ports| rest.end().map(|()| ports))
                }
                _ => Err(Unreadable::new("it is not a member of a group of ports")),
            };
            match read {
                Ok(ports) => parts.push(ports),
                Err(error) => {
                    self.leave(line, error);
                    complete = false;
                }
            }
        }
        let sure = Ranges::union(&parts);
        let each: Vec<Services> = protocols.iter().map(|protocol| with_ports(*protocol, &sure)).collect();
        let whole = Services::union(&each);
        let service = if whole.is_empty() { None } else { self.objects.define_service(name, &whole, lines) };
        let possible = if complete { sure.clone() } else { every_port() };
        Meaning::Ports(Bounds { sure, possible }, Services { service, ..whole })
    }

    fn icmp_types(&mut self, members: &[Line<'t>]) -> Meaning {
        let (mut sure, mut complete) = (Vec::new(), true);
        for line in members {
            let words = line.words();
            match words[..] {
                ["group-object", inner] => match self.inner(line, inner) {
                    Some(Meaning::IcmpTypes(bounds)) => {
                        complete &= bounds.sure.len() == bounds.possible.len();
                        sure.extend(bounds.sure);
                    }
                    _ => complete = false,
                },
                ["icmp-object", word] if literals::icmp_type(ICMP, word).is_some() => {
                    sure.extend(literals::icmp_type(ICMP, word).map(|kind| (kind, None)));
                }
                _ => {
                    self.leave(line, "it is not an ICMP type");
                    complete = false;
                }
            }
        }
        let possible = if complete { sure.clone() } else { (0..=u8::MAX).map(|kind| (kind, None)).collect() };
        Meaning::IcmpTypes(Bounds { sure, possible })
    }
}
