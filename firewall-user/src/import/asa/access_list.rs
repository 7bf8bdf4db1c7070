//! Access lists: each line becomes a region of packets that it permits or denies, no wider and no narrower than can be said.
//!
//! Where a line says something that a rule cannot, a permit is taken for what it permits for sure, a deny for all it could deny.

use std::{collections::HashMap, rc::Rc};

use jiff::Timestamp;

use super::{
    ace::{Ace, AceReader, SOURCE_PORT},
    interfaces::Interfaces,
    left::List,
    lines::Line,
    objects::Objects,
    region::Region,
    time_range::{TimeRanges, Validity},
    words::{Dialect, Unreadable, Words},
};

/// Lines of one list: far more than rules of a policy.
const MAX_LINES: usize = 1 << 16;

/// A line of an access list.
#[derive(Clone, Debug)]
pub(super) struct Entry<'t> {
    pub(super) permit: bool,
    pub(super) region: Region,
    pub(super) expires: Option<Timestamp>,
    /// The line, with what it refers to but objects.
    pub(super) lines: Vec<Line<'t>>,
    /// From the remarks before it.
    pub(super) because: Option<String>,
    /// What a reader should know of it.
    pub(super) note: Option<&'static str>,
    /// Its place in the list, from 1.
    pub(super) position: usize,
}

pub(super) type Entries<'t> = Rc<[Entry<'t>]>;

/// What reading an access list needs to know of the rest.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'c, 't> {
    pub(super) dialect: &'c Dialect<'t>,
    pub(super) objects: &'c Objects<'t>,
    pub(super) interfaces: &'c Interfaces<'t>,
    pub(super) times: &'c TimeRanges<'t>,
    pub(super) now: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Extended,
    /// `ipv6 access-list` of releases before 9.0.
    Ipv6,
    /// Of a sort that decides no IP packet.
    Other,
}

#[derive(Debug)]
struct Written<'t> {
    sort: Sort,
    lines: Vec<Line<'t>>,
}

/// The access lists of a configuration; each is read when something uses it.
#[derive(Debug, Default)]
pub(super) struct AccessLists<'t> {
    written: HashMap<&'t str, Written<'t>>,
    order: Vec<&'t str>,
    read: HashMap<&'t str, Entries<'t>>,
    /// One of them has more lines than are read.
    overlong: bool,
}

impl<'t> AccessLists<'t> {
    /// Takes a line of a list; false when it is none.
    pub(super) fn take(&mut self, line: &Line<'t>) -> bool {
        let words = line.words();
        let (name, rest, ipv6) = match words[..] {
            ["access-list", "alert-interval" | "deny-flow-max" | "mode", _] => return false,
            ["access-list", name, ref rest @ ..] if !rest.is_empty() => (name, rest, false),
            ["ipv6", "access-list", name, ref rest @ ..] if !rest.is_empty() => (name, rest, true),
            _ => return false,
        };
        let sort = match rest[0] {
            "standard" | "ethertype" | "webtype" => Some(Sort::Other),
            "remark" => None,
            _ if ipv6 => Some(Sort::Ipv6),
            _ => Some(Sort::Extended),
        };
        if !self.written.contains_key(name) {
            self.order.push(name);
        }
        let written = self.written.entry(name).or_insert_with(|| Written { sort: sort.unwrap_or(Sort::Extended), lines: Vec::new() });
        if sort.is_some_and(|sort| sort != Sort::Extended) {
            written.sort = sort.unwrap_or(Sort::Other);
        }
        if written.lines.len() >= MAX_LINES {
            self.overlong = true;
            return true;
        }
        // `line N` puts it there, before what is there already.
        let at = (rest[0] == "line").then(|| rest.get(1)?.parse::<usize>().ok()?.checked_sub(1)).flatten();
        let at = at.unwrap_or(written.lines.len()).min(written.lines.len());
        written.lines.insert(at, *line);
        true
    }

    pub(super) fn is_overlong(&self) -> bool {
        self.overlong
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.written.contains_key(name)
    }

    /// The lines of a list, read. `None`: there is no such list.
    pub(super) fn entries(&mut self, name: &str, around: Surroundings<'_, 't>, list: &mut List) -> Option<Entries<'t>> {
        let (name, written) = self.written.get_key_value(name)?;
        if let Some(read) = self.read.get(name) {
            return Some(read.clone());
        }
        let mut reader = Reader { around, list, sort: written.sort, remarks: Vec::new(), entries: Vec::new() };
        for (line, position) in written.lines.iter().zip(1..) {
            reader.line(line, position);
        }
        let entries: Entries<'t> = reader.entries.into();
        self.read.insert(name, entries.clone());
        Some(entries)
    }

    /// Lists what nothing used.
    pub(super) fn leave_unused(&self, list: &mut List) {
        for name in &self.order {
            if self.read.contains_key(name) {
                continue;
            }
            let Some(written) = self.written.get(name) else { continue };
            for line in &written.lines {
                let reason = format!("access list `{name}` is bound to no interface and to no class that Weir has");
                let hint = "if it belongs to a VPN, a translation or a route, see to it where you set that up again";
                list.once("unused access list", line, &reason, hint);
            }
        }
    }
}

struct Reader<'r, 'c, 't> {
    around: Surroundings<'c, 't>,
    list: &'r mut List,
    sort: Sort,
    remarks: Vec<Line<'t>>,
    entries: Vec<Entry<'t>>,
}

const DENIES_MORE: &str = "wider than on the ASA: see the list of what is not carried over";

impl<'t> Reader<'_, '_, 't> {
    fn line(&mut self, line: &Line<'t>, position: usize) {
        let words = line.words();
        // After `access-list NAME`, or `ipv6 access-list NAME`.
        let rest = &words[if words[0] == "ipv6" { 3 } else { 2 }..];
        let mut rest = Words::new(rest);
        if rest.take("line") {
            rest.next();
        }
        if rest.take("remark") {
            return self.remarks.push(*line);
        }
        rest.take("extended");
        let permits = rest.peek() == Some("permit");
        let read = if self.sort == Sort::Other {
            Err(Unreadable::new("a list of this sort does not decide what passes between interfaces"))
        } else {
            AceReader { around: self.around, ipv6: self.sort == Sort::Ipv6 }.read(&mut rest)
        };
        match read {
            Ok(ace) => self.push(ace, line, position),
            Err(error) => self.unreadable(permits, &error, line, position),
        }
    }

    /// What a permit says that cannot be read is not permitted; a deny could be about everything.
    fn unreadable(&mut self, permits: bool, error: &Unreadable, line: &Line<'t>, position: usize) {
        self.remarks.clear();
        if permits {
            let hint = "the line does nothing here: write by hand what it was for";
            return self.list.add("access list", line, format!("it cannot be read: {error}"), hint);
        }
        let hint = "it is carried over as a denial of all that the lines before it do not decide: write it by hand";
        self.list.add("access list", line, format!("it cannot be read: {error}"), hint);
        self.entries.push(Entry {
            permit: false,
            region: Region::all(),
            expires: None,
            lines: vec![*line],
            because: None,
            note: Some(DENIES_MORE),
            position,
        });
    }

    fn push(&mut self, ace: Ace, line: &Line<'t>, position: usize) {
        let remarks = std::mem::take(&mut self.remarks);
        let because = because(&remarks);
        let Ace { permit, source, destination, service, options, mut problems } = ace;
        if options.log {
            let hint = "`weir counters` counts each rule's hits, `weir events` shows every dropped packet";
            self.list.once("logging", line, "logging per line: Weir has none per rule", hint);
        }
        if options.inactive {
            let hint = "nothing to do, unless the line is to come into force some day";
            return self.list.add("access list", line, "it is inactive, and so does nothing", hint);
        }
        let mut lines = remarks;
        lines.push(*line);
        let (mut expires, mut known_time) = (None, true);
        if let Some(name) = &options.time_range {
            lines.extend(self.around.times.lines(name));
            match self.around.times.validity(name, permit, self.around.now) {
                Validity::Always => {}
                Validity::Until(end) => expires = Some(end),
                Validity::Over => {
                    return self.list.add("access list", line, format!("time range `{name}` is over"), "nothing to do");
                }
                Validity::Unknown(why) => {
                    problems.push(format!("time range `{name}`: {why}"));
                    known_time = false;
                }
            }
        }
        let region = if permit {
            Region { source: source.sure, destination: destination.sure, service: service.sure }
        } else {
            Region { source: source.possible, destination: destination.possible, service: service.possible }
        };
        let nothing = region.is_empty() || (permit && !known_time);
        if !problems.is_empty() {
            let hint = match (permit, nothing) {
                (true, true) if problems == [SOURCE_PORT] => {
                    "if it is for the way back of another line's flows, nothing is missing: a flow covers both directions. Else write a rule by hand"
                }
                (true, true) => "the line does nothing here: write by hand what it was for, as narrow as it was",
                (true, false) => "the rest of it is carried over",
                (false, _) => "it is carried over for whatever it could deny: make it as narrow as it was by hand",
            };
            self.list.add("access list", line, problems.join("; "), hint);
        }
        if !nothing {
            let note = (!permit && !problems.is_empty()).then_some(DENIES_MORE);
            self.entries.push(Entry { permit, region, expires, lines, because, note, position });
        }
    }
}

fn because(remarks: &[Line<'_>]) -> Option<String> {
    let texts = remarks.iter().filter_map(|line| line.text.split_once("remark").map(|(_, text)| text.trim()));
    let joined: Vec<&str> = texts.filter(|text| !text.is_empty()).collect();
    (!joined.is_empty()).then(|| joined.join("; "))
}
