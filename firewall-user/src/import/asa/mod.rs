//! A Cisco ASA's running configuration as a policy: what it permits, bypasses and times, and the list of what is not carried over.
//!
//! Read from the public syntax: Cisco ASA command reference and CLI configuration guides. The policy never permits what the ASA does not;
//! what a rule cannot say is listed. docs/import-asa.md has every command.

mod access_list;
mod ace;
mod compile;
mod elsewhere;
mod framework;
mod interfaces;
mod left;
mod limits;
mod lines;
mod literals;
mod members;
mod namer;
mod objects;
mod ranges;
mod region;
mod tcp_map;
mod time_range;
mod timeouts;
mod words;
mod write;

use std::{collections::HashMap, path::Path};

use jiff::Timestamp;

use access_list::{AccessLists, Surroundings};
use compile::Compiler;
use framework::{CLASS_WORDS, Framework, POLICY_WORDS};
use interfaces::Interfaces;
use left::List;
use lines::{Block, Line};
use objects::Objects;
use region::{Addresses, Bounds};
use tcp_map::TcpMaps;
use time_range::TimeRanges;
use timeouts::BoxTimeouts;
use words::Dialect;

pub use compile::TooMany;
pub use left::Left;
pub use lines::{MAX_BYTES, decode};

use crate::policy::{Diagnostics, Source};

/// The files of an imported policy, in the order they are read.
pub const FILES: [&str; 2] = ["10-definitions.toml", "20-rules.toml"];

/// What a configuration comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Comment that every file begins with.
    pub heading: String,
    /// Defaults, sets, services and normalizer profiles.
    pub definitions: String,
    pub rules: String,
    /// Rules there are.
    pub count: usize,
    pub left: Vec<Left>,
}

impl Imported {
    /// The whole policy as one file.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}", self.heading, self.definitions, self.rules)
    }

    /// The files to be written, for a check before they are.
    #[must_use]
    pub fn sources(&self, directory: &Path) -> Vec<Source> {
        let texts = [&self.definitions, &self.rules];
        FILES
            .iter()
            .zip(texts)
            .map(|(name, text)| Source { path: directory.join(name), text: format!("{}\n{text}", self.heading) })
            .collect()
    }
}

/// Why nothing came of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// It is not one, or not all of one.
    #[error(transparent)]
    Refused(#[from] Diagnostics),
    #[error(transparent)]
    TooMany(#[from] TooMany),
}

/// Makes a policy of a running configuration. `now` decides which time ranges are over.
pub fn import(name: &Path, text: &str, now: Timestamp) -> Result<Imported, ImportError> {
    lines::refuse_truncated(name, text)?;
    let blocks = lines::blocks(text, belongs);
    let mut reading = Configuration::new();
    let known = blocks.iter().filter(|block| reading.block(block)).count();
    if known == 0 {
        return Err(lines::refuse_unknown(name, text, blocks.first().map(|block| &block.head)).into());
    }
    Ok(reading.finish(name, &blocks, now)?)
}

/// Lines of a mode, where they are not indented.
fn belongs(head: &Line<'_>, line: &Line<'_>) -> bool {
    let word = line.first();
    match head.first() {
        "class-map" => CLASS_WORDS.contains(&word),
        "policy-map" => POLICY_WORDS.contains(&word),
        "tcp-map" => tcp_map::WORDS.contains(&word),
        "object-group" => word.ends_with("-object") || word == "group-object" || word == "description",
        "object" => {
            matches!(word, "host" | "subnet" | "range" | "fqdn" | "description")
                || (word == "service" && head.words().get(1) == Some(&"service"))
        }
        "interface" => matches!(word, "nameif" | "security-level" | "management-only" | "shutdown") || line.text.starts_with("ip address"),
        "time-range" => matches!(word, "absolute" | "periodic"),
        _ => false,
    }
}

/// A configuration while it is read.
struct Configuration<'t> {
    names: HashMap<&'t str, std::net::IpAddr>,
    name_lines: Vec<Line<'t>>,
    /// The major release, when the configuration says it.
    release: Option<u32>,
    release_line: Option<Line<'t>>,
    interfaces: Interfaces<'t>,
    objects: Objects<'t>,
    times: TimeRanges<'t>,
    lists: AccessLists<'t>,
    framework: Framework<'t>,
    maps: TcpMaps<'t>,
    timeouts: BoxTimeouts<'t>,
    /// Bindings, for after all interfaces.
    groups: Vec<Line<'t>>,
    /// The first line that says `any`, and whether a line speaks as release 9 does.
    any: Option<Line<'t>>,
    speaks_nine: bool,
    list: List,
}

impl<'t> Configuration<'t> {
    fn new() -> Self {
        Self {
            names: HashMap::new(),
            name_lines: Vec::new(),
            release: None,
            release_line: None,
            interfaces: Interfaces::new(),
            objects: Objects::default(),
            times: TimeRanges::default(),
            lists: AccessLists::default(),
            framework: Framework::default(),
            maps: TcpMaps::new(),
            timeouts: BoxTimeouts::default(),
            groups: Vec::new(),
            any: None,
            speaks_nine: false,
            list: List::default(),
        }
    }

    /// Takes a block; false when nobody knows it.
    fn block(&mut self, block: &Block<'t>) -> bool {
        let head = &block.head;
        match head.first() {
            "ASA" | "PIX" if head.words().get(1) == Some(&"Version") => {
                let version = head.words().get(2).copied().unwrap_or_default();
                self.release_line = Some(*head);
                self.release = version.split('.').next().and_then(|major| major.parse().ok());
            }
            "name" if self.name(head) => {}
            "interface" => self.interfaces.read(block, &mut self.list),
            "same-security-traffic" => self.interfaces.same_security(head, &mut self.list),
            "object" | "object-group" if self.objects.read(block, &mut self.list) => {}
            "time-range" => self.times.read(block),
            "clock" => self.times.read_clock(head),
            "access-list" | "ipv6" if self.lists.take(head) => self.notice_release(head),
            "access-group" => self.groups.push(*head),
            "class-map" => self.framework.read_class(block, &mut self.list),
            "policy-map" => self.framework.read_policy(block, &mut self.list),
            "service-policy" => self.framework.read_service(head),
            "tcp-map" => self.maps.read(block),
            "timeout" => self.timeouts.read(head, &mut self.list),
            "sysopt" if self.maps.read_mss(head, &mut self.list) => {}
            _ if elsewhere::list(block, &mut self.list) => {}
            _ => {
                self.list.block("unknown", block, "the command is not known", "see whether it decides what passes");
                return false;
            }
        }
        true
    }

    /// `name ADDRESS NAME`; false when it is something else.
    fn name(&mut self, line: &Line<'t>) -> bool {
        let [_, address, name, ..] = line.words()[..] else { return false };
        let Ok(address) = address.parse() else { return false };
        self.names.insert(name, address);
        self.name_lines.push(*line);
        true
    }

    /// Whether `any` is of both families depends on the release, and not every file says it.
    fn notice_release(&mut self, line: &Line<'t>) {
        let words = line.words();
        if words.contains(&"any") && words[0] == "access-list" {
            self.any = self.any.or(Some(*line));
        }
        let nine = |word: &&str| {
            matches!(*word, "any4" | "any6")
                || (word.contains(':') && word.split('/').next().is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok()))
        };
        self.speaks_nine |= words[0] == "access-list" && words.iter().any(nine);
    }

    fn dialect(&mut self) -> Dialect<'t> {
        let both = self.speaks_nine || self.release.is_some_and(|release| release >= 9);
        let any = match (both, self.release) {
            (true, _) => Bounds::exact(Addresses::any()),
            (false, Some(_)) => Bounds::exact(Addresses::any4()),
            (false, None) => {
                if let Some(line) = &self.any {
                    let reason = "`any`: since release 9.0 it is of both families, before of IPv4; the file does not say which it is of. A permit is \
                                  carried over for IPv4, a deny for both";
                    self.list.add(
                        "release",
                        line,
                        reason,
                        "put the line `ASA Version 9.0` first if that is what it is of, and import again",
                    );
                }
                Bounds { sure: Addresses::any4(), possible: Addresses::any() }
            }
        };
        Dialect { names: std::mem::take(&mut self.names), any }
    }

    fn finish(mut self, name: &Path, blocks: &'t [Block<'t>], now: Timestamp) -> Result<Imported, TooMany> {
        let dialect = self.dialect();
        let mut list = self.list;
        for line in &self.groups {
            self.interfaces.bind(line, &mut list);
        }
        self.objects.resolve(&dialect, &mut list);
        for (bound, line) in self.interfaces.bindings() {
            if !self.lists.has(bound) {
                let hint = "nothing passes by it here: give the whole configuration";
                list.add("access group", &line, format!("there is no access list `{bound}`"), hint);
            }
        }
        let around = Surroundings { dialect: &dialect, objects: &self.objects, interfaces: &self.interfaces, times: &self.times, now };
        let policies = self.framework.resolve(&mut self.lists, around, &self.maps, &mut list);
        let sections = Compiler::new(&self.interfaces, &mut self.lists, around, &policies, &mut list).sections()?;
        self.lists.leave_unused(&mut list);
        let mut written = write::rules(&sections, &mut self.maps, &mut list);
        self.maps.leave_unused(&mut list);
        let hint = "nothing reaches the box but what rules with to = \"self\" allow, its ssh included, and it sends only what rules with from = \
                    \"self\" allow: write those before you apply the policy";
        list.whole("the box itself", "what is sent to the box, and what it sends", hint);
        let definitions = write::definitions(&mut written, &self.objects, &self.timeouts, &mut self.maps);
        let heading = write::heading(name, self.release_line.iter().chain(&self.name_lines), &mut written);
        list.sweep(blocks.iter().flat_map(|block| std::iter::once(&block.head).chain(&block.body)), &written.said);
        Ok(Imported { heading, definitions, rules: written.text, count: written.rules, left: list.finish() })
    }
}
