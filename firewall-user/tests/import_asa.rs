//! Configurations of a Cisco ASA, written from the public syntax: what they become, and whether that does what the ASA would do.
//!
//! Each `tests/import_asa/NAME.cfg` has the policy it becomes in `NAME.toml` and the list of what is not carried over in `NAME.left`;
//! `UPDATE_GOLDEN=1 cargo test` writes both anew. `NAME.packets` is written by hand: first packets, and what the ASA does with them.
//!
//! ```text
//! FROM SOURCE TO DESTINATION PROTOCOL PORT [at=TIME] = VERDICT [narrowed-to VERDICT] [KEY=VALUE…]
//! ```
//!
//! A verdict is `deny`, `permit` or `bypass`; the port is that of the destination, or ICMP type and code as one number. `narrowed-to` is
//! what the policy does instead, where the ASA's line cannot be said in a rule: always less than the ASA. Keys are `normalizer`, and
//! `established` and `bypass-idle` in seconds.

mod lowered;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
};

use firewall_common::{
    config::config_flags,
    env::Arrival,
    flow::{Inspection, NO_SCALE},
    reason::Reason,
    rule::Action,
    seq::Seq,
    testing::{
        builder::Packet,
        host::{Family, Host},
        world::World,
    },
    verdict::Verdict as Judged,
    wire::tcp::{Segment, flags},
};
use firewall_user::{
    api::NotCarriedOver,
    import::asa::{self, ImportError, Imported},
    output,
    policy::{self, Clock, FirstPacket, Lowered, Numbers, Policy, RuleInfo, Source},
};

/// The day configurations are imported, whatever the real one is.
const TODAY: &str = "2026-06-01T00:00:00Z";
const BOOT: u64 = 1_000_000_000;

fn today() -> jiff::Timestamp {
    TODAY.parse().expect("a timestamp")
}

fn cases() -> Vec<PathBuf> {
    let entries = fs::read_dir("tests/import_asa").expect("the configurations");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a directory entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "cfg"));
    paths.sort();
    assert!(paths.len() >= 10, "only {} configurations were found", paths.len());
    paths
}

fn import(path: &Path) -> Imported {
    let text = asa::decode(path, fs::read(path).expect("a configuration")).unwrap_or_else(|errors| panic!("{errors}"));
    let name = Path::new(path.file_name().expect("a name"));
    asa::import(name, &text, today()).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn load(name: &Path, text: String) -> Policy {
    let loaded = policy::load_sources_at(vec![Source { path: "policy.toml".into(), text }], None, today());
    loaded.unwrap_or_else(|errors| panic!("{} becomes a policy that does not load:\n{errors}", name.display())).0
}

/// Zone and rule numbers, in the order they are asked for.
#[derive(Default)]
struct Table {
    zones: BTreeMap<String, u8>,
    rules: BTreeMap<String, u16>,
}

impl Numbers for Table {
    fn zone(&mut self, name: &str) -> Option<u8> {
        let next = self.zones.len() as u8 + 1;
        Some(*self.zones.entry(name.to_owned()).or_insert(next))
    }

    fn rule(&mut self, name: &str) -> Option<u16> {
        let next = self.rules.len() as u16;
        Some(*self.rules.entry(name.to_owned()).or_insert(next))
    }
}

/// An imported policy that can be asked.
struct Judge {
    policy: Policy,
    lowered: Lowered,
    zones: Table,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Deny,
    Permit,
    Bypass,
}

struct Question<'q> {
    from: &'q str,
    source: std::net::IpAddr,
    to: &'q str,
    destination: std::net::IpAddr,
    protocol: u8,
    port: u16,
    at: jiff::Timestamp,
}

impl Judge {
    fn new(name: &Path, text: String) -> Self {
        let policy = load(name, text);
        let mut zones = Table::default();
        let lowered = policy::lower(&policy, &mut zones, &Clock { monotonic_ns: BOOT, realtime: today() }).expect("numbers for all");
        Self { policy, lowered, zones }
    }

    fn zone(&self, name: &str) -> u8 {
        // A zone that no rule names has a number that none has.
        if name == "self" { 0 } else { self.zones.zones.get(name).copied().unwrap_or(31) }
    }

    fn now(at: jiff::Timestamp) -> u64 {
        BOOT + u64::try_from(at.as_nanosecond() - today().as_nanosecond()).expect("a time after the import")
    }

    fn rule(&self, question: &Question<'_>) -> Option<&RuleInfo> {
        let Question { from, source, to, destination, protocol, port, at } = *question;
        let address = |address: std::net::IpAddr| match address {
            std::net::IpAddr::V4(v4) => firewall_common::flow::Address::v4(v4.octets()),
            std::net::IpAddr::V6(v6) => firewall_common::flow::Address::new(v6.octets()),
        };
        let packet = FirstPacket {
            from_zone: self.zone(from),
            to_zone: self.zone(to),
            source: address(source),
            destination: address(destination),
            protocol,
            service: port.to_be_bytes(),
        };
        let entry = self.lowered.evaluator().first_match(&packet, Self::now(at))?;
        self.policy.rule_of_entry(entry)
    }

    fn verdict(&self, question: &Question<'_>) -> Verdict {
        match self.rule(question) {
            Some(rule) if rule.action == Action::Allow && rule.inspection == Inspection::Bypass && question.protocol == 6 => {
                Verdict::Bypass
            }
            Some(rule) if rule.action == Action::Allow => Verdict::Permit,
            _ => Verdict::Deny,
        }
    }

    /// The same, by what the dataplane does with a segment in the middle of a connection, and with a SYN.
    fn dataplane(&self, question: &Question<'_>) -> Verdict {
        let tables = lowered::tables(self.lowered.clone());
        let (from, to) = (self.zone(question.from), self.zone(question.to));
        let judge = |set: u8| {
            let mut world = World::under(&tables);
            world.configure(|config| config.flags |= config_flags::ROUTE);
            world.set_routes(move |_| Ok(to));
            world.set_clock(firewall_common::time::Nanos(Self::now(question.at)));
            let segment = Segment { seq: Seq(1_000), ack: Seq(2_000), length: 0, window: 1_000, flags: set, scale: NO_SCALE };
            let (family, source) = host(question.source);
            let (_, destination) = host(question.destination);
            let frame = Packet::tcp(family, (source, 40_000), (destination, question.port), &segment).build().bytes;
            world.judge(&frame, Arrival { zone: from, place: 1, egress: false })
        };
        match (judge(flags::ACK), judge(flags::SYN)) {
            (Judged::Learn | Judged::NoLearn, Judged::Learn | Judged::NoLearn) => Verdict::Bypass,
            (Judged::Drop(Reason::TcpNotSyn), Judged::Learn) => Verdict::Permit,
            (Judged::Drop(Reason::AclDrop), Judged::Drop(Reason::AclDrop)) => Verdict::Deny,
            other => panic!("{other:?}"),
        }
    }
}

fn host(address: std::net::IpAddr) -> (Family, Host) {
    let (family, v4, v6) = match address {
        std::net::IpAddr::V4(v4) => (Family::V4, v4.octets(), [0; 16]),
        std::net::IpAddr::V6(v6) => (Family::V6, [0; 4], v6.octets()),
    };
    (family, Host { name: "host", v4, v6, mac: [2, 0, 0, 0, 0, 1] })
}

fn verdict(word: &str) -> Verdict {
    match word {
        "deny" => Verdict::Deny,
        "permit" => Verdict::Permit,
        "bypass" => Verdict::Bypass,
        other => panic!("{other}"),
    }
}

fn protocol(word: &str) -> u8 {
    match word {
        "icmp" => 1,
        "tcp" => 6,
        "udp" => 17,
        "esp" => 50,
        "icmpv6" => 58,
        other => panic!("{other}"),
    }
}

/// One line of a table of packets; `Err` is what is wrong.
fn ask(judge: &Judge, line: &str) -> Result<(), String> {
    let (question, answer) = line.split_once(" = ").expect(line);
    let words: Vec<&str> = question.split_whitespace().collect();
    let [from, source, to, destination, protocol_word, port, ref rest @ ..] = words[..] else { panic!("{line}") };
    let at = rest.first().map_or_else(today, |word| word.strip_prefix("at=").expect(line).parse().expect(line));
    let question = Question {
        from,
        source: source.parse().expect(line),
        to,
        destination: destination.parse().expect(line),
        protocol: protocol(protocol_word),
        port: port.parse().expect(line),
        at,
    };
    let mut answer = answer.split_whitespace().peekable();
    let on_the_asa = verdict(answer.next().expect(line));
    let mut expected = on_the_asa;
    if answer.next_if_eq(&"narrowed-to").is_some() {
        expected = verdict(answer.next().expect(line));
        assert!(expected < on_the_asa, "{line}: a policy may do less than the ASA, never more");
    }
    let found = judge.verdict(&question);
    let rule = judge.rule(&question);
    if found != expected {
        return Err(format!("{line}\n  found {found:?} by rule {:?}", rule.map(|rule| &rule.name)));
    }
    let sent = question.from != "self" && question.to != "self";
    if sent && question.protocol == 6 && judge.dataplane(&question) != expected {
        return Err(format!("{line}\n  the dataplane says {:?}", judge.dataplane(&question)));
    }
    for key in answer {
        let (name, wanted) = key.split_once('=').expect(line);
        let rule = rule.expect(line);
        let found = match name {
            "normalizer" => rule.normalizer.clone().expect(line),
            "established" => (rule.timeouts.established / 1_000).to_string(),
            "bypass-idle" => (rule.timeouts.bypass / 1_000).to_string(),
            other => panic!("{other}"),
        };
        if found != wanted {
            return Err(format!("{line}\n  {name} is {found} in rule {}", rule.name));
        }
    }
    Ok(())
}

#[test]
fn configurations_do_as_policies_what_they_did_on_the_asa() {
    let mut failures = Vec::new();
    for path in cases() {
        let judge = Judge::new(&path, import(&path).text());
        let packets = fs::read_to_string(path.with_extension("packets")).expect("a table of packets for each configuration");
        let lines: Vec<&str> = packets.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        assert!(lines.len() >= 4, "{}: a table of {} packets says little", path.display(), lines.len());
        failures.extend(lines.iter().filter_map(|line| ask(&judge, line).err()).map(|failure| format!("{}: {failure}", path.display())));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn check_golden(path: &Path, extension: &str, text: &str, failures: &mut Vec<String>) {
    let golden = path.with_extension(extension);
    if env::var_os("UPDATE_GOLDEN").is_some() {
        return fs::write(&golden, text).expect("the golden file can be written");
    }
    let expected = fs::read_to_string(&golden).unwrap_or_default();
    if expected != text {
        failures.push(format!("{}\n--- expected\n{expected}--- found\n{text}", golden.display()));
    }
}

#[test]
fn golden_imports() {
    let mut failures = Vec::new();
    for path in cases() {
        let imported = import(&path);
        let name = Path::new(path.file_name().expect("a name"));
        check_golden(&path, "toml", &imported.text(), &mut failures);
        check_golden(&path, "left", &output::not_carried_over(&NotCarriedOver::all(name, &imported)), &mut failures);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_files_of_a_directory_are_the_same_policy_as_the_text() {
    for path in cases() {
        let imported = import(&path);
        let sources = imported.sources(Path::new("dir"));
        let (both, _) = policy::load_sources_at(sources, None, today()).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(both.to_string(), load(&path, imported.text()).to_string(), "{}", path.display());
        assert_eq!(both.rules().len(), imported.count);
    }
}

/// Every line of a configuration stands above something of the policy, or is in the list.
#[test]
fn no_line_is_lost() {
    for path in cases() {
        let imported = import(&path);
        let policy = imported.text();
        let said: BTreeSet<&str> = policy.lines().collect();
        let listed: BTreeSet<usize> = imported.left.iter().flat_map(|left| left.lines.iter().copied()).collect();
        let text = fs::read_to_string(&path).expect("a configuration");
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            let command = !line.is_empty() && !line.starts_with(['!', ':']) && line != "quit";
            let found = said.contains(format!("# {number}: {line}").as_str()) || listed.contains(&number);
            assert!(found || !command, "{}:{number}: {line}", path.display());
        }
    }
}

/// The example of docs/import-asa.md becomes what stands below it, but for the comments.
#[test]
fn the_example_of_the_page_is_true() {
    let page = fs::read_to_string("../docs/import-asa.md").expect("the page");
    let block = |kind: &str| {
        let rest = page.split_once(&format!("```{kind}\n")).expect("a block").1;
        rest.split_once("```").expect("its end").0
    };
    let before = "ASA Version 9.8(1)\ninterface e0\n nameif outside\n security-level 0\ninterface e1\n nameif inside\n security-level 100\n\
                  object network HEADEND\n host 10.71.2.10\n";
    let after = "service-policy global_policy global\naccess-group outside_in in interface outside\n";
    let imported = asa::import(Path::new("asa.cfg"), &format!("{before}{}{after}", block("text")), today()).expect("a configuration");
    let text: String = imported.text().lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    for part in block("toml").split("\n\n") {
        assert!(text.contains(&format!("{}\n", part.trim_end())), "{part}\n--- is not in\n{text}");
    }
}

fn refused(name: &str, bytes: &[u8]) -> String {
    let path = Path::new(name);
    let imported = asa::decode(path, bytes.to_vec()).map_err(ImportError::from).and_then(|text| asa::import(path, &text, today()));
    imported.expect_err("a bad configuration").to_string()
}

#[test]
fn bad_input_is_refused_with_its_place() {
    for (bytes, message) in [
        (&b""[..], "a.cfg: holds no command\n  hint: give the output of `show running-config`"),
        (b"! nothing\n: end\n", "a.cfg: holds no command"),
        (b"\x7fELF\0\0", "a.cfg: is not text: it holds a zero byte"),
        (b"interface e0\n nameif \xff\n", "a.cfg: is not UTF-8: the first bad byte is in line 2"),
        (
            b"[[rule]]\nname = \"web\"\n",
            "a.cfg:1:1: none of the lines is of an ASA's configuration; this is the first\n  [[rule]]\n  ^^^^^^^^\n  hint: give the output of `show running-config`",
        ),
        (
            b"fw# show running-config\n: Saved\nASA Version 9.8(1)\naccess-list a extended permit tc",
            "a.cfg:4:1: the configuration ends in the middle: it begins with `: Saved` and has no `: end`\n  access-list a extended permit tc\n  ^^^^^",
        ),
    ] {
        let found = refused("a.cfg", bytes);
        assert!(found.starts_with(message), "{found}");
    }
    let large = vec![b'a'; asa::MAX_BYTES + 1];
    assert!(refused("a.cfg", &large).contains("too large: a configuration may have 16 MiB"));
}
