//! What texts of a policy look like, as regular expressions for the schema. They are at most as strict as the reader: a text that does not
//! match is refused by it too. Editors show them in their errors, so they are short, and leave it to the reader whether a number is too large
//! or an address exists. Only what the dialects of ECMA-262 and of Rust have in common is used.

use firewall_common::rule::{RULE_NAME_LENGTH, ZONE_NAME_LENGTH};

use super::{
    duration,
    guards::GUARDS,
    key::words,
    service::{self, ICMP, ICMPV6, WITH_PORTS},
};

/// White space as the reader has it: Unicode's, of which ECMA-262 leaves one out.
const SPACE: &str = r"[\s\u0085]";
/// What stands between the words of a list.
const SEPARATOR: &str = r"[\s\u0085,]";
const PLAIN: &str = "[A-Za-z0-9._-]";
/// An address, a prefix, a range or a set.
const ADDRESS: &str = "@[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+([/-][0-9A-Fa-f:.]+)?";

/// Of rules, sets, services and normalizers.
pub(super) fn name() -> String {
    format!("^{}$", plain(RULE_NAME_LENGTH))
}

/// Letters, digits and marks; `length` counts an end that is not written.
fn plain(length: usize) -> String {
    format!("{PLAIN}{{1,{}}}", length - 1)
}

/// Five bytes in hex digits.
pub(super) fn magic() -> String {
    "^[0-9A-Fa-f]{10}$".to_owned()
}

/// `500ms`, `1h30m`.
pub(super) fn duration() -> String {
    let units: String = duration::units().map(|unit| format!("([0-9]+{unit})?")).collect();
    format!("^{units}$")
}

/// A date, a time in it, and its distance from UTC.
pub(super) fn moment() -> String {
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?([Zz]|[+-][0-9]{2}:[0-9]{2})?)?$".to_owned()
}

/// Guards of a rule.
pub(super) fn guard() -> String {
    format!("^({})$", words(&GUARDS).join("|"))
}

/// Days of the week, a stretch of the day, or both.
pub(super) fn hours() -> String {
    const DAYS: &str = "[A-Za-z]{3}(-[A-Za-z]{3})?(,[A-Za-z]{3}(-[A-Za-z]{3})?)*";
    const TIMES: &str = "[0-9]{2}:[0-9]{2}-[0-9]{2}:[0-9]{2}";
    format!("^{SPACE}*({DAYS}|({DAYS}{SPACE}+)?{TIMES}){SPACE}*$")
}

/// Addresses, prefixes, ranges and sets.
pub(super) fn addresses() -> String {
    format!("^{SEPARATOR}*{}+$", word(ADDRESS))
}

/// A zone, and addresses in it.
pub(super) fn selector() -> String {
    format!("^{SPACE}*{}({SPACE}{SEPARATOR}*|$){}*$", plain(ZONE_NAME_LENGTH), word(ADDRESS))
}

/// Protocols with ports or types, and names. Numbers alone continue what is before them.
pub(super) fn services() -> String {
    let with_ports = protocols(|number| WITH_PORTS.contains(&number));
    let icmp = protocols(|number| [ICMP, ICMPV6].contains(&number));
    let forms = [
        format!("({with_ports})/[0-9]+(-[0-9]+)?"),
        format!("({icmp})/[a-z0-9-]+(/[0-9]+)?"),
        "protocol/[0-9]+".to_owned(),
        format!("[A-Za-z]{PLAIN}*"),
        "[0-9]+([-/][0-9]+)?".to_owned(),
    ];
    format!("^{SEPARATOR}*{}+$", word(&forms.join("|")))
}

fn protocols(among: impl Fn(u8) -> bool) -> String {
    let names: Vec<&str> = service::protocols().filter(|(_, number)| among(*number)).map(|(name, _)| name).collect();
    names.join("|")
}

/// A word of a list, and what sets it off from the next.
fn word(form: &str) -> String {
    format!("(({form})({SEPARATOR}+|$))")
}
