//! Every limit of a policy has its own error, files that cannot be read are named, and diagnostics read as JSON.

use std::{fs, path::PathBuf, process};

use firewall_common::rule::{Action, MAX_ENTRIES};
use firewall_user::policy::{self, Clock, Diagnostics, LowerError, MAX_BYTES, MAX_FILES, MAX_RULES, MAX_SHOWN, Numbers, Policy, Source};

fn check(text: String) -> Result<Policy, Diagnostics> {
    policy::load_sources(vec![Source { path: "limits.toml".into(), text }], None).map(|(policy, _)| policy)
}

fn message(text: String) -> String {
    match check(text) {
        Ok(_) => panic!("the policy is refused"),
        Err(errors) => errors.to_string(),
    }
}

fn rules(count: usize, keys: impl Fn(usize) -> String) -> String {
    (0..count).map(|number| format!("[[rule]]\nname = \"r{number}\"\naction = \"drop\"\n{}\n", keys(number))).collect()
}

/// A directory of its own for each test, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("weir-policy-{name}-{}", process::id()));
        fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

#[test]
fn entries_are_limited() {
    let full = check(rules(MAX_ENTRIES, |number| format!("service = \"udp/{number}\""))).expect("the policy just fits");
    assert_eq!(full.entry_count(), MAX_ENTRIES);
    let zones: Vec<String> = (0..129).map(|zone| format!("\"z{zone} 10.0.0.{zone}\"")).collect();
    let pairs = format!("from = [{0}]\nto = [{0}]", zones.join(", "));
    let errors = message(rules(1, |_| pairs.clone()));
    assert!(
        errors.starts_with("limits.toml:2:8: too many rules: with this one the policy has 16641 entries, the limit is 16384\n"),
        "{errors}"
    );
    let hint = "\n  hint: a rule takes one entry for each pair of a from and a to; zones with the same addresses count once";
    assert!(errors.ends_with(hint), "{errors}");
}

#[test]
fn selectors_that_share_their_addresses_share_an_entry() {
    let policy = check(rules(1, |_| {
        "from = [\"a 10.0.0.1\", \"b 10.0.0.1\", \"a 10.0.0.1\", \"c\", \"d\"]\nto = [\"c\", \"c 10.0.0.1\"]".to_owned()
    }));
    assert_eq!(policy.expect("a good policy").entry_count(), 2);
}

#[test]
fn disabled_rules_take_no_entry_but_are_limited_too() {
    let policy = check(rules(MAX_RULES, |_| "enabled = false".to_owned())).expect("the policy just fits");
    assert_eq!((policy.entry_count(), policy.rules().len()), (0, MAX_RULES));
    let errors = message(rules(MAX_RULES + 1, |_| "enabled = false".to_owned()));
    assert!(errors.starts_with("limits.toml:65538:8: too many rules: a policy can have 16384, disabled ones included"), "{errors}");
}

/// Sets by the bits of their hosts' numbers: every host is in sets of its own.
fn coded(prefix: &str, bits: u32) -> String {
    let set = |bit: u32| {
        let members = (0..1_u32 << bits).filter(|number| number >> bit & 1 != 0);
        let hosts: Vec<String> = members.map(|number| format!("\"10.{}.{}.{}\"", number >> 16, number >> 8 & 255, number & 255)).collect();
        format!("[set.{prefix}{bit}]\naddresses = [{}]\n", hosts.join(","))
    };
    (0..bits).map(set).collect()
}

#[test]
fn classes_are_limited() {
    let sides = rules(30, |number| format!("{} = \"any @s{}\"", if number < 15 { "from" } else { "to" }, number % 15));
    assert!(check(format!("{}{}", coded("s", 14), sides.replace("@s14", "@s0"))).is_ok());
    let errors = message(format!("{}{sides}", coded("s", 15)));
    let expected = "too many different destination addresses: addresses, services and zones fall into more than 65469 classes that different rules accept";
    assert!(errors.contains(expected), "{errors}");
}

/// Rules with the same sets that lie far from each other: every host has a block of its own in either place.
#[test]
fn blocks_are_limited() {
    let spread = |bits: usize| {
        rules(bits + 600 + bits, |number| match number {
            number if number < bits => format!("from = \"a @s{number}\""),
            number if number < bits + 600 => format!("from = \"b\"\nservice = \"udp/{number}\""),
            number => format!("from = \"c @s{}\"", number - bits - 600),
        })
    };
    assert!(check(format!("{}{}", coded("s", 14), spread(14))).is_ok());
    let errors = message(format!("{}{}", coded("s", 15), spread(15)));
    let expected =
        "too many different source addresses: the rules overlap in more ways than the 65536 blocks of 512 rules there is room for";
    assert!(errors.contains(expected), "{errors}");
}

#[test]
fn prefixes_are_limited() {
    let host = |number: usize| format!("\"10.{}.{}.{}\"", number >> 15 & 255, number >> 7 & 255, number << 1 & 255);
    let hosts = |count: usize| (0..count).map(host).collect::<Vec<_>>().join(",");
    let errors = message(format!("[set.big]\naddresses = [{}]\n{}", hosts(140_000), rules(1, |_| "from = \"any @big\"".to_owned())));
    assert!(errors.contains("too many addresses: they come to more than 131072 prefixes, the room of a policy\n"), "{errors}");
    let hint = "\n  hint: a range of addresses comes to as few prefixes as possible when it begins and ends at a power of two";
    assert!(errors.ends_with(hint), "{errors}");
    let both = rules(1, |_| "from = \"any @big\"\nto = \"any @big\"".to_owned());
    let errors = message(format!("[set.big]\naddresses = [{}]\n{both}", hosts(70_000)));
    assert!(errors.contains("too many addresses: the policy comes to more than 131072 prefixes"), "{errors}");
    let ports = |protocol: &str| {
        let ports: Vec<String> = (0..20_000).map(|number| (number * 3).to_string()).collect();
        format!("{protocol}/{}", ports.join(","))
    };
    let errors = message(rules(1, |_| format!("service = [\"{}\", \"{}\"]", ports("tcp"), ports("udp"))));
    assert!(errors.contains("too many ports: a policy has room for 32768 ranges"), "{errors}");
    let each = rules(2, |number| format!("service = \"{}\"", ports(["tcp", "udp"][number])));
    let errors = message(each);
    assert!(errors.contains("too many services: the policy comes to more than 32768 ranges of ports"), "{errors}");
}

/// Addresses that come to some 120,000 prefixes, others for each number.
fn wide(number: usize) -> Vec<String> {
    let range = |number: usize| format!("2001:db8:{number:x}::1-2001:db8:{number:x}:ffff:ffff:ffff:ffff:fffe");
    (number * 760..(number + 1) * 760).map(range).collect()
}

fn wide_sets(count: usize) -> String {
    (0..count).map(|set| format!("[set.w{set}]\naddresses = [\"{}\"]\n", wide(set).join("\", \""))).collect()
}

#[test]
fn prefixes_of_all_sets_are_limited() {
    let errors = message(format!("{}{}", wide_sets(9), rules(1, |_| String::new())));
    assert!(errors.contains("too many addresses: all sets together come to more than 1048576 prefixes\n"), "{errors}");
}

#[test]
fn prefixes_of_a_key_are_limited() {
    let selectors: Vec<String> = (0..9).map(|zone| format!("\"zone{zone} @w0\"")).collect();
    let errors = message(format!("{}{}", wide_sets(1), rules(1, |_| format!("from = [{}]", selectors.join(", ")))));
    assert!(errors.contains("too many addresses: from comes to more than 1048576 prefixes\n"), "{errors}");
}

#[test]
fn prefixes_of_all_rules_are_limited() {
    let errors = message(rules(9, |number| format!("from = \"any {}\"", wide(number).join(", "))));
    assert!(errors.contains("too many addresses: the rules' lists of addresses come to more than 1048576 prefixes\n"), "{errors}");
    assert!(errors.ends_with("\n  hint: use the same sets in more rules: equal lists count once"), "{errors}");
}

#[test]
fn hours_are_limited() {
    let errors = message(rules(257, |number| format!("hours = \"{:02}:{:02}-24:00\"", number / 60, number % 60)));
    assert!(errors.contains("too many different hours: a policy can have 256\n"), "{errors}");
    let errors = message(rules(1_025, |_| "hours = \"08:00-18:00\"".to_owned()));
    let expected = "too many rules with hours: with this one they come to 1025 entries, the limit is 1024\n";
    assert!(errors.contains(expected), "{errors}");
    assert!(errors.ends_with("\n  hint: a rule takes one entry for each pair of a from and a to"), "{errors}");
}

#[test]
fn zones_are_limited() {
    let errors = message(rules(32, |number| format!("from = \"zone{number}\"")));
    assert!(errors.contains("too many zones: the policy names 32 beside self, there can be 31"), "{errors}");
}

#[test]
fn sets_may_not_nest_without_end() {
    let sets: String = (0..40).map(|number| format!("[set.s{number:02}]\naddresses = \"@s{:02}\"\n", number + 1)).collect();
    let errors = message(format!("{sets}[set.s40]\naddresses = \"10.0.0.1\"\n{}", rules(1, |_| "from = \"any @s00\"".to_owned())));
    assert!(errors.contains("sets name sets more than 16 deep"), "{errors}");
}

#[test]
fn many_errors_are_shown_in_part_and_counted() {
    let errors = check(rules(60, |_| "form = \"x\"".to_owned())).expect_err("the policy is refused");
    assert_eq!((errors.errors.len(), errors.omitted), (MAX_SHOWN, 10));
    assert!(errors.to_string().ends_with("\n10 more errors are not shown"));
    let errors = check(rules(MAX_SHOWN + 1, |_| "form = \"x\"".to_owned())).expect_err("the policy is refused");
    assert!(errors.to_string().ends_with("\none more error is not shown"));
}

#[test]
fn syntax_errors_of_large_files_stop_at_the_first() {
    let small = check("= x\n".repeat(3)).expect_err("not TOML");
    assert!(small.errors.len() >= 3, "{small}");
    let large = check("= x\n".repeat(1 << 19)).expect_err("not TOML");
    assert_eq!((large.errors.len(), large.errors[0].line, large.omitted), (1, Some(1), 0), "{large}");
}

#[test]
fn many_warnings_are_shown_in_part_and_counted() {
    let source = Source { path: "limits.toml".into(), text: rules(61, |_| String::new()) };
    let (_, warnings) = policy::load_sources(vec![source], None).expect("a legal policy");
    assert_eq!(warnings.len(), MAX_SHOWN + 1);
    assert_eq!(warnings[MAX_SHOWN].to_string(), "limits.toml: warning: 10 more warnings are not shown");
}

#[test]
fn unreadable_files_are_named() {
    let directory = Directory::new("unreadable");
    let missing = directory.0.join("missing");
    let errors = policy::load(&missing, None).expect_err("nothing to read").to_string();
    assert!(errors.starts_with(&format!("{}: cannot be read: ", missing.display())), "{errors}");
    fs::write(directory.0.join("a.toml"), "[[rule]]\nname = \"a\"\naction = \"drop\"\n").expect("a file");
    assert!(policy::load(&directory.0, None).is_ok());
    let dangling = directory.0.join("b.toml");
    std::os::unix::fs::symlink(&missing, &dangling).expect("a symbolic link");
    let errors = policy::load(&directory.0, None).expect_err("one file cannot be read").to_string();
    assert!(errors.starts_with(&format!("{}: cannot be read: ", dangling.display())), "{errors}");
    let device = policy::load("/dev/zero".as_ref(), None).expect_err("not a file").to_string();
    assert_eq!(device, "/dev/zero: is not a regular file");
}

#[test]
fn large_files_are_refused() {
    let directory = Directory::new("large");
    for name in ["a.toml", "b.toml"] {
        let comment = vec![b'#'; MAX_BYTES * 2 / 3];
        fs::write(directory.0.join(name), comment).expect("a file");
    }
    let errors = policy::load(&directory.0, None).expect_err("too large").to_string();
    let second = directory.0.join("b.toml");
    assert!(errors.starts_with(&format!("{}: too large: the files of a policy may have 16 MiB together\n", second.display())), "{errors}");
}

#[test]
fn diagnostics_read_as_json() {
    let errors = check("[[rule]]\nname = \"a\"\naction = \"alow\"\n".to_owned()).expect_err("the policy is refused");
    let json = serde_json::to_value(&errors).expect("JSON");
    let expected = serde_json::json!({"errors": [{
        "severity": "error", "file": "limits.toml", "line": 3, "column": 10, "end_line": 3, "end_column": 16,
        "message": "action cannot be \"alow\"", "hint": "did you mean \"allow\"?",
    }], "omitted": 0});
    assert_eq!(json, expected);
}

struct NoZones;
struct NoRules;

impl Numbers for NoZones {
    fn zone(&mut self, _: &str) -> Option<u8> {
        None
    }
    fn rule(&mut self, _: &str) -> Option<u16> {
        Some(1)
    }
}

impl Numbers for NoRules {
    fn zone(&mut self, _: &str) -> Option<u8> {
        Some(1)
    }
    fn rule(&mut self, _: &str) -> Option<u16> {
        // Beyond the table: as good as none.
        Some(u16::MAX)
    }
}

#[test]
fn lowering_says_which_number_is_missing() {
    let policy = check(rules(1, |_| "from = \"outside\"".to_owned())).expect("a good policy");
    let clock = Clock { monotonic_ns: 1, realtime: jiff::Timestamp::UNIX_EPOCH };
    let zones = policy::lower(&policy, &mut NoZones, &clock).expect_err("no zones");
    assert_eq!(zones, LowerError::Zones("outside".to_owned()));
    assert_eq!(zones.to_string(), "no number is left for zone \"outside\": there can be 32 zones, self included");
    let rules = policy::lower(&policy, &mut NoRules, &clock).expect_err("no rules");
    assert_eq!(rules, LowerError::Rules("r0".to_owned()));
    let expected = "no number is left for rule \"r0\": live flows still name 32768 rules of this and earlier policies";
    assert_eq!(rules.to_string(), expected);
}

#[test]
fn idle_times_and_quotas_are_resolved() {
    let text = "[defaults]\nidle-timeout = \"1h\"\ntimeouts = { icmp = \"5s\", bypass-closing = \"20s\" }\none-sided-flows = 9\n\
                [[rule]]\nname = \"vpn\"\naction = \"allow\"\ninspection = \"bypass\"\nidle-timeout = \"15s\"\ntimeouts = { other = \"1s\" }\n\
                [[rule]]\nname = \"rest\"\naction = \"allow\"\nexpires = 1969-12-31\n";
    let policy = check(text.to_owned()).expect("a good policy");
    let [vpn, rest] = policy.rules() else { panic!("two rules") };
    assert_eq!(
        (vpn.timeouts.established, vpn.timeouts.udp_stream, vpn.timeouts.other, vpn.timeouts.bypass),
        (15_000, 15_000, 1_000, 15_000)
    );
    assert_eq!((vpn.timeouts.bypass_closing, vpn.timeouts.icmp, vpn.timeouts.embryonic), (15_000, 5_000, 30_000));
    assert_eq!((rest.timeouts.established, rest.timeouts.other, rest.timeouts.bypass), (3_600_000, 3_600_000, 120_000));
    assert_eq!((vpn.one_sided_flows, rest.one_sided_flows), (9, 0));
    assert_eq!((rest.action, rest.expires), (Action::Allow, Some(jiff::Timestamp::UNIX_EPOCH)));
    // What has expired must not become what never does.
    let clock = Clock { monotonic_ns: 7, realtime: jiff::Timestamp::UNIX_EPOCH };
    struct Any;
    impl Numbers for Any {
        fn zone(&mut self, _: &str) -> Option<u8> {
            Some(1)
        }
        fn rule(&mut self, _: &str) -> Option<u16> {
            Some(1)
        }
    }
    let lowered = policy::lower(&policy, &mut Any, &clock).expect("numbers for all");
    assert_eq!(lowered.entries.iter().map(|entry| entry.expires).collect::<Vec<_>>(), [0, 7]);
}

const TOO_LARGE: &str = "too large: the files of a policy may have 16 MiB together\n  hint: a policy can have 16384 rules, which take some 4 MB; the rest \
                         is room for sets of addresses";

#[test]
fn a_policy_of_a_million_rules_is_refused() {
    let directory = Directory::new("million");
    let million = rules(1_000_000, |_| String::new());
    assert!(million.len() > MAX_BYTES);
    let path = directory.0.join("rules.toml");
    fs::write(&path, &million).expect("a file");
    let errors = policy::load(&directory.0, None).expect_err("too large").to_string();
    assert_eq!(errors, format!("{}: {TOO_LARGE}", path.display()));
    // As many as the files may hold: the number of rules is what is refused.
    let most = &million[..million[..MAX_BYTES].rfind("[[rule]]").expect("a rule")];
    fs::write(&path, most).expect("a file");
    let errors = policy::load(&directory.0, None).expect_err("too many").to_string();
    assert!(errors.starts_with(&format!("{}:", path.display())) && errors.contains("too many rules: a policy can have 16384"), "{errors}");
}

#[test]
fn a_file_of_100_megabytes_is_refused() {
    let directory = Directory::new("hundred");
    let path = directory.0.join("holes.toml");
    fs::File::create(&path).and_then(|file| file.set_len(100_000_000)).expect("a file of holes");
    let errors = policy::load(&path, None).expect_err("too large").to_string();
    assert_eq!(errors, format!("{}: {TOO_LARGE}", path.display()));
}

#[test]
fn the_number_of_files_is_limited() {
    let directory = Directory::new("files");
    for number in 0..=MAX_FILES {
        fs::write(
            directory.0.join(format!("{number:04}.toml")),
            format!("[[rule]]\nname = \"r{number}\"\nenabled = false\naction = \"drop\"\n"),
        )
        .expect("a file");
    }
    let errors = policy::load(&directory.0, None).expect_err("too many").to_string();
    assert_eq!(errors, format!("{}: too many files: a policy may have 1024, the directory holds 1025", directory.0.display()));
    fs::remove_file(directory.0.join("0000.toml")).expect("removed");
    assert_eq!(policy::load(&directory.0, None).expect("it just fits").0.rules().len(), MAX_FILES);
}
