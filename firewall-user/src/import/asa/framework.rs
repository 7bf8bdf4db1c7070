//! The modular policy framework: `class-map`, `policy-map` and `service-policy`, and what they do to connections.

use std::{collections::HashMap, rc::Rc};

use super::{
    access_list::{AccessLists, Entries, Entry, Surroundings},
    left::List,
    limits,
    lines::{Block, Line},
    members::with_ports,
    region::{Region, SCTP, Services, TCP, UDP},
    tcp_map::TcpMaps,
    timeouts::{self, Connection},
    words::{Unreadable, Words, ports},
};

/// An ASA takes 63 classes in one policy map.
const MAX_CLASSES: usize = 255;
/// Words that begin a line of these modes, should it not be indented.
pub(super) const CLASS_WORDS: [&str; 2] = ["match", "description"];
pub(super) const POLICY_WORDS: [&str; 14] = [
    "class",
    "set",
    "inspect",
    "description",
    "police",
    "priority",
    "shape",
    "ips",
    "csc",
    "cxsc",
    "sfr",
    "flow-export",
    "user-statistics",
    "parameters",
];

/// What a class does with its connections, apart from bypass.
#[derive(Clone, Debug)]
pub(super) enum Action<'t> {
    Bypass,
    TcpMap(&'t str),
    Connection(Connection),
}

/// What one class of a policy map does, of one of the things that an ASA looks for separately.
#[derive(Clone, Debug)]
pub(super) struct Class<'t> {
    pub(super) matches: Entries<'t>,
    pub(super) action: Action<'t>,
    /// The lines that say so.
    pub(super) lines: Vec<Line<'t>>,
}

/// The classes of a policy map, in order, by what they do.
#[derive(Clone, Debug, Default)]
pub(super) struct Policy<'t> {
    pub(super) bypass: Vec<Class<'t>>,
    pub(super) tcp_map: Vec<Class<'t>>,
    pub(super) connection: Vec<Class<'t>>,
}

impl Policy<'_> {
    pub(super) fn does_anything(&self) -> bool {
        !(self.bypass.is_empty() && self.tcp_map.is_empty() && self.connection.is_empty())
    }
}

/// The policies in force.
#[derive(Clone, Debug, Default)]
pub(super) struct Policies<'t> {
    global: Rc<Policy<'t>>,
    by_interface: HashMap<&'t str, Rc<Policy<'t>>>,
    /// The lines that apply them, by interface; those of none are the global policy's.
    lines: Vec<(Option<&'t str>, Line<'t>)>,
}

impl<'t> Policies<'t> {
    /// The classes that a first packet from one interface to another meets, in order: those of the interface it comes in by, those of the
    /// one it leaves by, and the global ones unless the first interface has its own for the same thing.
    pub(super) fn between(&self, from: &str, to: &str) -> Policy<'t> {
        let of = |pick: for<'p> fn(&'p Policy<'t>) -> &'p Vec<Class<'t>>| {
            let own = |name: &str| self.by_interface.get(name).map(|policy| pick(policy).clone()).unwrap_or_default();
            let mut classes = own(from);
            let global = if classes.is_empty() { pick(&self.global).clone() } else { Vec::new() };
            if from != to {
                classes.extend(own(to));
            }
            classes.extend(global);
            classes
        };
        Policy { bypass: of(|policy| &policy.bypass), tcp_map: of(|policy| &policy.tcp_map), connection: of(|policy| &policy.connection) }
    }

    /// The lines that apply the policies between two interfaces.
    pub(super) fn lines(&self, from: &str, to: &str) -> impl Iterator<Item = Line<'t>> {
        let about = move |interface: Option<&str>| interface.is_none_or(|name| name == from || name == to);
        self.lines.iter().filter(move |(interface, _)| about(*interface)).map(|(_, line)| *line)
    }

    /// What makes two interfaces be treated alike by [`Self::between`].
    pub(super) fn of(&self, interface: &str) -> Option<&Rc<Policy<'t>>> {
        self.by_interface.get(interface)
    }
}

/// The blocks of the framework, before they are put together.
#[derive(Debug, Default)]
pub(super) struct Framework<'t> {
    classes: HashMap<&'t str, Block<'t>>,
    policies: HashMap<&'t str, Block<'t>>,
    in_force: Vec<Line<'t>>,
}

impl<'t> Framework<'t> {
    pub(super) fn read_class(&mut self, block: &Block<'t>, list: &mut List) {
        match block.head.words()[..] {
            [_, name] | [_, "match-any" | "match-all", name] => drop(self.classes.insert(name, block.clone())),
            _ => leave_inspection(block, list),
        }
    }

    pub(super) fn read_policy(&mut self, block: &Block<'t>, list: &mut List) {
        match block.head.words()[..] {
            [_, name] => drop(self.policies.insert(name, block.clone())),
            _ => leave_inspection(block, list),
        }
    }

    pub(super) fn read_service(&mut self, line: &Line<'t>) {
        self.in_force.push(*line);
    }

    /// Puts together what is in force. Policy maps that nothing applies are listed.
    pub(super) fn resolve(
        &self,
        lists: &mut AccessLists<'t>,
        around: Surroundings<'_, 't>,
        maps: &TcpMaps<'t>,
        list: &mut List,
    ) -> Policies<'t> {
        let mut policies = Policies::default();
        let mut used: HashMap<&'t str, Rc<Policy<'t>>> = HashMap::new();
        for line in &self.in_force {
            let (name, interface) = match line.words()[..] {
                [_, name, "global", ..] => (name, None),
                [_, name, "interface", interface, ..] => (name, Some(interface)),
                _ => {
                    list.add("service policy", line, "it cannot be read", "name it in the rules it is for by hand");
                    continue;
                }
            };
            if interface.is_some_and(|interface| around.interfaces.get(interface).is_none()) {
                list.add("service policy", line, "there is no such interface", "give the whole configuration");
                continue;
            }
            let Some(block) = self.policies.get(name) else {
                list.add("service policy", line, format!("there is no policy map `{name}`"), "give the whole configuration");
                continue;
            };
            let policy = used.entry(name).or_insert_with(|| {
                Rc::new(Reading { framework: self, lists, around, maps, list, policy: Policy::default() }.policy_map(block))
            });
            policies.lines.push((interface, *line));
            match interface {
                None => policies.global = policy.clone(),
                Some(interface) => drop(policies.by_interface.insert(interface, policy.clone())),
            }
        }
        let mut unused: Vec<&Block<'t>> =
            self.policies.iter().filter(|(name, _)| !used.contains_key(*name)).map(|(_, block)| block).collect();
        unused.sort_by_key(|block| block.head.number);
        for block in unused {
            list.add("policy map", &block.head, "no service policy applies it", "nothing to do, unless one is to");
        }
        policies
    }
}

/// Class maps and policy maps of a type are about what connections carry.
fn leave_inspection(block: &Block<'_>, list: &mut List) {
    for line in std::iter::once(&block.head).chain(&block.body) {
        leave_inspected(line, list);
    }
}

fn leave_inspected(line: &Line<'_>, list: &mut List) {
    let hint =
        "protocols that open further connections, such as FTP and SIP, need rules for those; what connections carry is not looked at";
    list.once("inspection", line, "inspection of what connections carry: Weir has none above TCP", hint);
}

struct Reading<'r, 'c, 't> {
    framework: &'r Framework<'t>,
    lists: &'r mut AccessLists<'t>,
    around: Surroundings<'c, 't>,
    maps: &'r TcpMaps<'t>,
    list: &'r mut List,
    policy: Policy<'t>,
}

/// The class of a policy map that is being read.
struct Current<'t> {
    /// `None`: what it matches cannot be said, and was listed if it mattered.
    matches: Result<Entries<'t>, Unreadable>,
    lines: Vec<Line<'t>>,
    connection: Connection,
    connection_lines: Vec<Line<'t>>,
}

impl<'t> Reading<'_, '_, 't> {
    fn policy_map(mut self, block: &Block<'t>) -> Policy<'t> {
        let mut current: Option<Current<'t>> = None;
        let mut classes = 0;
        for line in &block.body {
            let words = line.words();
            match (&words[..], &mut current) {
                (["class", name], _) => {
                    self.close(current.take());
                    classes += 1;
                    if classes > MAX_CLASSES {
                        let hint = "an ASA takes 63: is this a configuration of one?";
                        self.list.add("policy map", line, format!("a policy map has at most {MAX_CLASSES} classes here"), hint);
                        return self.policy;
                    }
                    current = Some(self.class(name, line, block.head));
                }
                (["description", ..], _) => {}
                (["set", "connection", actions @ ..], Some(class)) => self.connection(line, actions, class),
                (["inspect", ..], _) => leave_inspected(line, self.list),
                _ => {
                    let hint = "look whether it decides what passes";
                    self.list.add("policy map", line, "Weir has nothing like it", hint);
                }
            }
        }
        self.close(current);
        self.policy
    }

    fn class(&mut self, name: &str, line: &Line<'t>, policy: Line<'t>) -> Current<'t> {
        let mut lines = vec![policy, *line];
        let everything = |service: Services, lines: Vec<Line<'t>>| -> Entries<'t> {
            let region = Region { service, ..Region::all() };
            Rc::from([Entry { permit: true, region, expires: None, lines, because: None, note: None, position: 1 }])
        };
        let matches = if name == "class-default" {
            Ok(everything(Services::any(), Vec::new()))
        } else if let Some(block) = self.framework.classes.get(name) {
            lines.insert(0, block.head);
            let own: Vec<&Line<'t>> = block.body.iter().filter(|line| line.first() == "match").collect();
            match own[..] {
                [only] => self.matched(only, &mut lines, everything),
                [] => Err(Unreadable(format!("class map `{name}` matches nothing"))),
                _ => Err(Unreadable(format!("class map `{name}` has several matches"))),
            }
        } else {
            Err(Unreadable(format!("there is no class map `{name}`")))
        };
        Current { matches, lines, connection: Connection::default(), connection_lines: Vec::new() }
    }

    fn matched(
        &mut self,
        line: &Line<'t>,
        lines: &mut Vec<Line<'t>>,
        everything: impl Fn(Services, Vec<Line<'t>>) -> Entries<'t>,
    ) -> Result<Entries<'t>, Unreadable> {
        lines.insert(1, *line);
        match line.words()[..] {
            [_, "any"] => Ok(everything(Services::any(), Vec::new())),
            [_, "access-list", name] => {
                let entries = self.lists.entries(name, self.around, self.list);
                entries.ok_or_else(|| Unreadable(format!("there is no access list `{name}`")))
            }
            [_, "port", protocol, operator, ref rest @ ..] => {
                let protocols = [("tcp", TCP), ("udp", UDP), ("sctp", SCTP)];
                let number = protocols.iter().find(|(name, _)| *name == protocol).map(|(_, number)| *number);
                let number = number.ok_or_else(|| Unreadable(format!("`{protocol}` has no ports")))?;
                let mut rest = Words::new(rest);
                let ports = ports(operator, &mut rest)?;
                rest.end()?;
                Ok(everything(with_ports(number, &ports), Vec::new()))
            }
            _ => Err(Unreadable(format!("`{}` cannot be said in a rule", line.text))),
        }
    }

    /// `set connection …`.
    fn connection(&mut self, line: &Line<'t>, actions: &[&'t str], class: &mut Current<'t>) {
        if let Err(error) = &class.matches {
            let hint = "give the rules of these connections by hand what the class gives them";
            return self.list.add("class", line, format!("what the class matches: {error}"), hint);
        }
        match actions {
            ["advanced-options", "tcp-state-bypass"] => self.add(class, line, Action::Bypass),
            ["advanced-options", name] if self.maps.has(name) => self.add(class, line, Action::TcpMap(name)),
            ["advanced-options", name, ..] => {
                self.list.add(
                    "class",
                    line,
                    format!("there is no TCP map `{name}`"),
                    "give the whole configuration, or look whether Weir has it",
                );
            }
            ["timeout", rest @ ..] => {
                if timeouts::read_class(line, rest, &mut class.connection, self.list) {
                    class.connection_lines.push(*line);
                }
            }
            _ => {
                let mut words = Words::new(actions);
                let mut used = false;
                while let Some(word) = words.next() {
                    let value = words.peek();
                    match (word, value) {
                        ("random-sequence-number", Some("disable")) => {
                            class.connection.keep_numbers = true;
                            used = true;
                        }
                        ("random-sequence-number", Some("enable")) => {}
                        (limit, Some(value)) if limits::is_limit(limit) => {
                            used |= limits::read(limit, value, line, &mut class.connection.limits, self.list);
                        }
                        _ => {
                            let hint = "look whether Weir has it under another name";
                            self.list.add("class", line, format!("`{word}` is not known"), hint);
                            break;
                        }
                    }
                    words.next();
                }
                if used {
                    class.connection_lines.push(*line);
                }
            }
        }
    }

    fn add(&mut self, class: &Current<'t>, line: &Line<'t>, action: Action<'t>) {
        let Ok(matches) = &class.matches else { return };
        let mut lines = class.lines.clone();
        lines.push(*line);
        let bypass = matches!(action, Action::Bypass);
        // Both are about TCP alone.
        let own = Class { matches: only_tcp(matches), action, lines };
        if bypass { self.policy.bypass.push(own) } else { self.policy.tcp_map.push(own) }
    }

    /// Takes what the class says of timeouts, sequence numbers and limits, once it is read.
    fn close(&mut self, class: Option<Current<'t>>) {
        let Some(Current { matches: Ok(matches), mut lines, connection, connection_lines }) = class else { return };
        if connection_lines.is_empty() {
            return;
        }
        lines.extend(connection_lines);
        self.policy.connection.push(Class { matches, action: Action::Connection(connection), lines });
    }
}

/// What of the entries is about TCP.
fn only_tcp<'t>(entries: &Entries<'t>) -> Entries<'t> {
    let tcp = Region { service: Services::protocol(TCP), ..Region::all() };
    entries.iter().filter_map(|entry| Some(Entry { region: entry.region.intersection(&tcp)?, ..entry.clone() })).collect()
}
