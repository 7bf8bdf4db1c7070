//! What texts of a policy look like, as regular expressions for the schema. They are at most as strict as the reader: a text that does not
//! match is refused by it too. Only what the dialects of ECMA-262 and of Rust have in common is used.

use super::{
    duration,
    service::{self, ICMP, ICMPV6, WITH_PORTS},
};
use firewall_common::rule::{RULE_NAME_LENGTH, ZONE_NAME_LENGTH};

/// White space as the reader has it: Unicode's, of which ECMA-262 leaves one out.
const SPACE: &str = r"[\s\u0085]";
/// What stands between the words of a list.
const SEPARATOR: &str = r"[\s\u0085,]";
const PLAIN: &str = "[A-Za-z0-9._-]";
const IPV4: &str = r"[0-9]{1,3}(\.[0-9]{1,3}){3}";
const IPV6: &str = r"[0-9A-Fa-f]*:[0-9A-Fa-f:.]*";
/// 0 to 65535, and 0 to 255.
const PORT: &str = r"0*([0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])";
const BYTE: &str = r"0*([0-9]{1,2}|1[0-9]{2}|2[0-4][0-9]|25[0-5])";

/// Of rules, sets, services and normalizers.
pub(super) fn name() -> String {
    format!("^{}$", plain(RULE_NAME_LENGTH))
}

/// Letters, digits and marks; `length` counts an end that is not written.
fn plain(length: usize) -> String {
    format!("{PLAIN}{{1,{}}}", length - 1)
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

/// Addresses, prefixes, ranges and sets.
pub(super) fn addresses() -> String {
    format!("^{SEPARATOR}*{}$", list(&address()))
}

/// A zone, and addresses in it.
pub(super) fn selector() -> String {
    format!("^{SPACE}*{}({SPACE}{SEPARATOR}*{})?{SPACE}*$", plain(ZONE_NAME_LENGTH), list(&address()))
}

fn address() -> String {
    let address = format!("({IPV4}|{IPV6})");
    format!("(@{}|{address}(/[0-9]+|-{address})?)", plain(RULE_NAME_LENGTH))
}

/// Words of one form.
fn list(word: &str) -> String {
    format!("{word}({SEPARATOR}+{word})*{SEPARATOR}*")
}

/// Protocols with ports or types, and names. Numbers alone continue what is before them.
pub(super) fn services() -> String {
    let with_ports = service::protocols().filter(|(_, number)| WITH_PORTS.contains(number)).map(|(name, _)| name);
    let range = format!("{PORT}(-{PORT})?");
    let first = [
        format!("[A-Za-z]{PLAIN}{{0,{}}}", RULE_NAME_LENGTH - 2),
        format!("({})/{range}", with_ports.collect::<Vec<_>>().join("|")),
        format!("protocol/{BYTE}"),
        icmp(ICMP),
        icmp(ICMPV6),
    ]
    .join("|");
    format!("^{SEPARATOR}*({first})({SEPARATOR}+({first}|{range}|{BYTE}/{BYTE}))*{SEPARATOR}*$")
}

fn icmp(protocol: u8) -> String {
    let names: Vec<&str> = service::protocols().filter(|(_, number)| *number == protocol).map(|(name, _)| name).collect();
    let types: Vec<&str> = service::icmp_types(protocol).iter().map(|(name, _)| *name).collect();
    format!("({})/({}|{BYTE})(/{BYTE})?", names.join("|"), types.join("|"))
}
