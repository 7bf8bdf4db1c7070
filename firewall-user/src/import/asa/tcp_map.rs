//! `tcp-map` becomes a normalizer profile, command by command as docs/normalizer.md has them.

use std::collections::{BTreeMap, HashMap};

use super::{
    left::List,
    lines::{Block, Line},
    namer::Namer,
};
use crate::policy::print;

/// Words that begin a line of the mode, should it not be indented.
pub(super) const WORDS: [&str; 14] = [
    "check-retransmission",
    "checksum-verification",
    "exceed-mss",
    "invalid-ack",
    "queue-limit",
    "reserved-bits",
    "seq-past-window",
    "synack-data",
    "syn-data",
    "tcp-options",
    "ttl-evasion-protection",
    "urgent-flag",
    "window-variation",
    "default",
];
/// Kinds of the options that knobs look at (RFC 9293 §3.7.1, RFC 7323 §3).
const MSS: u8 = 2;
const TIMESTAMP: u8 = 8;
/// The profile of an ASA's defaults.
pub(super) const ASA: &str = "asa";

/// A profile to be written.
#[derive(Clone, Debug)]
pub(super) struct Profile<'t> {
    pub(super) name: String,
    pub(super) base: String,
    pub(super) keys: BTreeMap<&'static str, String>,
    /// `tcp-options`, by name or range.
    options: BTreeMap<String, &'static str>,
    pub(super) lines: Vec<Line<'t>>,
}

impl Profile<'_> {
    /// The keys with their values, `tcp-options` among them.
    pub(super) fn settings(&self) -> BTreeMap<&'static str, String> {
        let mut settings = self.keys.clone();
        if !self.options.is_empty() {
            let key = |name: &str| if name.starts_with(|c: char| c.is_ascii_digit()) { print::string(name) } else { name.to_owned() };
            let written: Vec<String> = self.options.iter().map(|(name, action)| format!("{} = \"{action}\"", key(name))).collect();
            settings.insert("tcp-options", format!("{{ {} }}", written.join(", ")));
        }
        settings
    }
}

/// The TCP maps, and the profiles that come of them and of what the whole box says.
#[derive(Debug)]
pub(super) struct TcpMaps<'t> {
    maps: HashMap<&'t str, Block<'t>>,
    /// Keys of `sysopt connection tcpmss`.
    whole_box: BTreeMap<&'static str, String>,
    box_lines: Vec<Line<'t>>,
    names: Namer,
    by_use: HashMap<(Option<&'t str>, bool), String>,
    pub(super) profiles: Vec<Profile<'t>>,
}

impl<'t> TcpMaps<'t> {
    pub(super) fn new() -> Self {
        Self {
            maps: HashMap::new(),
            whole_box: BTreeMap::new(),
            box_lines: Vec::new(),
            names: Namer::without(&["default", ASA, "off"]),
            by_use: HashMap::new(),
            profiles: Vec::new(),
        }
    }

    pub(super) fn read(&mut self, block: &Block<'t>) {
        if let Some(name) = block.head.words().get(1) {
            self.maps.insert(name, block.clone());
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.maps.contains_key(name)
    }

    /// `sysopt connection tcpmss [minimum] N`; false when the line is another.
    pub(super) fn read_mss(&mut self, line: &Line<'t>, list: &mut List) -> bool {
        let (key, bytes) = match line.words()[..] {
            ["sysopt", "connection", "tcpmss", "minimum", bytes] => (None, bytes),
            ["sysopt", "connection", "tcpmss", bytes] => (Some("mss-clamp"), bytes),
            _ => return false,
        };
        match (key, bytes.parse::<u16>()) {
            (_, Ok(0)) => {}
            (None, _) => {
                let hint = "mss-minimum of a normalizer profile drops such a SYN instead";
                list.add(
                    "TCP map",
                    line,
                    "an ASA raises a smaller MSS; Weir does not, for a sender must not be told more than its peer takes",
                    hint,
                );
            }
            (Some(key), Ok(bytes)) if (48..=65_495).contains(&bytes) => {
                self.whole_box.insert(key, bytes.to_string());
                self.box_lines.push(*line);
            }
            _ => list.add("TCP map", line, "it is not a size that an MSS can have", "see mss-clamp of a normalizer profile"),
        }
        true
    }

    /// The profile of all rules that name none.
    pub(super) fn of_box(&mut self) -> String {
        if self.whole_box.is_empty() {
            return ASA.to_owned();
        }
        if let Some(name) = self.by_use.get(&(None, false)) {
            return name.clone();
        }
        let name = self.names.claim("asa-box");
        let (keys, lines) = (self.whole_box.clone(), self.box_lines.clone());
        self.profiles.push(Profile { name: name.clone(), base: ASA.to_owned(), keys, options: BTreeMap::new(), lines });
        self.by_use.insert((None, false), name.clone());
        name
    }

    /// The profile of a rule by its map, and by whether its sequence numbers are to stay as they are.
    pub(super) fn of_rule(&mut self, map: Option<&'t str>, keep_numbers: bool, list: &mut List) -> String {
        if map.is_none() && !keep_numbers {
            return self.of_box();
        }
        if let Some(name) = self.by_use.get(&(map, keep_numbers)) {
            return name.clone();
        }
        let base = if keep_numbers { self.of_rule(map, false, list) } else { self.of_box() };
        let profile = match map.filter(|_| !keep_numbers).and_then(|map| self.maps.get(map)) {
            Some(block) => read_map(block, base, list),
            None => Profile {
                name: format!("{base}-own-numbers"),
                base,
                keys: BTreeMap::from([("randomize-sequence-numbers", "false".to_owned())]),
                options: BTreeMap::new(),
                lines: Vec::new(),
            },
        };
        let name = self.names.claim(&profile.name);
        self.profiles.push(Profile { name: name.clone(), ..profile });
        self.by_use.insert((map, keep_numbers), name.clone());
        name
    }

    /// Lists the maps that no class uses.
    pub(super) fn leave_unused(&self, list: &mut List) {
        let used = |name: &str| self.by_use.keys().any(|(map, _)| *map == Some(name));
        for (_, block) in self.maps.iter().filter(|(name, _)| !used(name)) {
            list.add("TCP map", &block.head, "no rule comes to use it", "nothing to do, unless one is to");
        }
    }
}

fn read_map<'t>(block: &Block<'t>, base: String, list: &mut List) -> Profile<'t> {
    let name = block.head.words().get(1).copied().unwrap_or_default().to_owned();
    let mut profile = Profile { name, base, keys: BTreeMap::new(), options: BTreeMap::new(), lines: vec![block.head] };
    for line in &block.body {
        let words = line.words();
        match read_command(&words, &mut profile) {
            Ok(()) => profile.lines.push(*line),
            Err((reason, hint)) => list.add("TCP map", line, reason, hint),
        }
    }
    profile
}

type Refusal = (&'static str, &'static str);

const UNKNOWN: Refusal = ("it is not known", "docs/normalizer.md has every command of a TCP map");

fn read_command(words: &[&str], profile: &mut Profile<'_>) -> Result<(), Refusal> {
    const ALLOW_DROP: &[&str] = &["allow", "drop"];
    let mut word = |key: &'static str, value: &str, known: &[&str]| {
        let value = known.iter().find(|known| **known == value).ok_or(UNKNOWN)?;
        profile.keys.insert(key, print::string(value));
        Ok::<(), Refusal>(())
    };
    match *words {
        ["check-retransmission"] => drop(profile.keys.insert("check-retransmission", "true".to_owned())),
        ["no", "check-retransmission"] => drop(profile.keys.insert("check-retransmission", "false".to_owned())),
        ["checksum-verification"] => word("checksum-verification", "all", &["all"])?,
        ["no", "checksum-verification"] => word("checksum-verification", "off", &["off"])?,
        ["ttl-evasion-protection"] => drop(profile.keys.insert("ttl-evasion-protection", "true".to_owned())),
        ["no", "ttl-evasion-protection"] => drop(profile.keys.insert("ttl-evasion-protection", "false".to_owned())),
        ["exceed-mss", value] => word("exceed-mss", value, ALLOW_DROP)?,
        ["invalid-ack", value] => word("invalid-ack", value, ALLOW_DROP)?,
        ["seq-past-window", value] => word("seq-past-window", value, ALLOW_DROP)?,
        ["syn-data", value] => word("syn-data", value, ALLOW_DROP)?,
        ["synack-data", value] => word("synack-data", value, ALLOW_DROP)?,
        ["reserved-bits", value] => word("reserved-bits", value, &["allow", "clear", "drop"])?,
        ["urgent-flag", value] => word("urgent-flag", value, &["allow", "clear"])?,
        ["window-variation", "allow-connection"] => word("window-variation", "allow", ALLOW_DROP)?,
        ["window-variation", "drop-connection"] => word("window-variation", "drop", ALLOW_DROP)?,
        ["queue-limit", ..] => {
            return Err((
                "XDP cannot hold packets back to sort them",
                "leave segments out of order alone, as Weir does, or pass them in order only: out-of-order = \"drop\"",
            ));
        }
        ["tcp-options", ref rest @ ..] => read_option(rest, profile)?,
        _ => return Err(UNKNOWN),
    }
    Ok(())
}

fn read_option(words: &[&str], profile: &mut Profile<'_>) -> Result<(), Refusal> {
    let action = |word: &str| ["allow", "clear", "drop"].into_iter().find(|known| *known == word).ok_or(UNKNOWN);
    match *words {
        ["range", first, last, word] => {
            let number = |word: &str| word.parse::<u8>().ok().filter(|number| *number >= 2);
            let (first, last) = number(first).zip(number(last)).filter(|(first, last)| first <= last).ok_or(UNKNOWN)?;
            let key = if first == last { first.to_string() } else { format!("{first}-{last}") };
            set_range(profile, key, first..=last, action(word)?)
        }
        [_, "maximum", _] | [_, _, _, ..] => {
            Err(("there is no such setting of an option", "see mss-clamp and tcp-options of a normalizer profile"))
        }
        [name, word] => {
            let action = action(word).map_err(|_| ("there is no such setting of an option", "see tcp-options of a normalizer profile"))?;
            let options: &[(&str, u8)] = match name {
                "selective-ack" | "sack" => &[("sack-permitted", 4), ("sack", 5)],
                "timestamp" => &[("timestamp", 8)],
                "window-scale" => &[("window-scale", 3)],
                "mss" => &[("mss", 2)],
                "md5" => &[("md5", 19)],
                _ => return Err(UNKNOWN),
            };
            for (option, kind) in options {
                set_range(profile, (*option).to_owned(), *kind..=*kind, action)?;
            }
            Ok(())
        }
        _ => Err(UNKNOWN),
    }
}

/// A profile may not give one option two actions.
fn set_range(profile: &mut Profile<'_>, key: String, kinds: std::ops::RangeInclusive<u8>, action: &'static str) -> Result<(), Refusal> {
    let overlaps = |other: &str| {
        let (first, last) = match other {
            "sack-permitted" => (4, 4),
            "sack" => (5, 5),
            "timestamp" => (8, 8),
            "window-scale" => (3, 3),
            "mss" => (2, 2),
            "md5" => (19, 19),
            range => {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                (first.parse().unwrap_or(0), last.parse().unwrap_or(0))
            }
        };
        first <= *kinds.end() && *kinds.start() <= last
    };
    if profile.options.iter().any(|(other, set)| *other != key && *set != action && overlaps(other)) {
        return Err(("it gives an option a second action", "split the range around the option by hand"));
    }
    profile.options.insert(key, action);
    // What looks at an option has nothing left to look at: on an ASA, too, PAWS ends without timestamps.
    if action != "allow" && kinds.contains(&MSS) {
        profile.keys.insert("mss-clamp", print::string("off"));
    }
    if action != "allow" && kinds.contains(&TIMESTAMP) {
        profile.keys.insert("timestamp-check", "false".to_owned());
    }
    Ok(())
}
