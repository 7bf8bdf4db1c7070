//! Where a rule's packets come from or go to: a zone, or any, and addresses in it, or any.

use std::{collections::BTreeMap, fmt};

use super::{
    address::{AddressItem, Addresses, simplify},
    definitions::Definitions,
    diagnostic::{Report, quoted},
    document::Text,
    sets::{TooManyPrefixes, report_too_many},
};

use firewall_common::rule::ZONE_NAME_LENGTH;

/// Word for every zone.
pub(crate) const ANY: &str = "any";
/// The box's own zone.
pub(crate) const SELF: &str = "self";

/// One string of `from` or `to`, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selector {
    /// `None`: any zone.
    pub(super) zone: Option<String>,
    /// As written; empty: any address.
    items: Vec<AddressItem>,
    /// `None`: any address.
    pub(super) addresses: Option<Addresses>,
    /// Prefixes those come to as written.
    pub(super) size: usize,
}

impl Selector {
    pub(super) const fn any() -> Self {
        Self { zone: None, items: Vec::new(), addresses: None, size: 0 }
    }

    /// `zones`: the zones there are, when that is known.
    pub(super) fn parse(text: Text<'_>, zones: Option<&[String]>, definitions: &Definitions<'_>, report: &mut Report<'_>) -> Option<Self> {
        let trimmed = text.value.trim();
        let (zone, rest) = trimmed.split_once(char::is_whitespace).unwrap_or((trimmed, ""));
        let zone = parse_zone(text, zone, trimmed, zones, report)?;
        let items = parse_addresses(text, rest, definitions, report)?;
        match definitions.size(&items) {
            Ok(size) => {
                let addresses = (!items.is_empty()).then(|| definitions.addresses(&items));
                Some(Self { zone, items, addresses, size })
            }
            Err(TooManyPrefixes) => {
                report_too_many(text.place, report);
                None
            }
        }
    }
}

/// `Some(None)` is any zone.
fn parse_zone(text: Text<'_>, zone: &str, whole: &str, zones: Option<&[String]>, report: &mut Report<'_>) -> Option<Option<String>> {
    let place = text.part(zone);
    if zone.is_empty() {
        report.error_with_hint(text.place, "a zone is missing", "write a zone, a zone with addresses, or any");
    } else if zone == ANY {
        return Some(None);
    } else if zone.starts_with(['@', '!']) || AddressItem::parse(zone).is_ok() || zone.parse::<std::net::IpAddr>().is_ok() {
        report.error_with_hint(
            place,
            "a zone must come before the addresses",
            format!("for any zone write {}", quoted(&format!("any {whole}"))),
        );
    } else if zone.contains(',') {
        let parts: Vec<String> = zone.split(',').filter(|part| !part.is_empty()).map(quoted).collect();
        report.error_with_hint(place, "one selector names one zone", format!("write an array: [{}]", parts.join(", ")));
    } else if !is_zone_name(zone) {
        let message = format!("{} cannot be a zone's name", quoted(zone));
        report.error_with_hint(place, message, "a zone's name has up to 31 letters, digits, dots, dashes and underscores");
    } else if let Some(zones) = zones.filter(|zones| zone != SELF && !zones.iter().any(|known| known == zone)) {
        let known = zones.iter().map(String::as_str).chain([SELF, ANY]);
        report.unknown_word(place, format!("no interface is in zone {}", quoted(zone)), zone, known);
    } else {
        return Some(Some(zone.to_owned()));
    }
    None
}

pub(crate) fn is_zone_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty() && name.len() < ZONE_NAME_LENGTH && name.chars().all(plain)
}

/// The addresses of a selector or a set, separated by commas or blanks; `None` if one of them is wrong.
pub(super) fn parse_addresses(
    text: Text<'_>,
    list: &str,
    definitions: &Definitions<'_>,
    report: &mut Report<'_>,
) -> Option<Vec<AddressItem>> {
    let mut items = Some(Vec::new());
    for word in list.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty()) {
        match AddressItem::parse(word) {
            Ok(AddressItem::Set(name)) if !definitions.has_set(&name) => {
                let known = definitions.set_names();
                report.unknown_word(text.part(word), format!("there is no set {}", quoted(&name)), &name, known);
                items = None;
            }
            Ok(item) => {
                if let Some(items) = &mut items {
                    items.push(item);
                }
            }
            Err(error) => {
                let message = format!("{} {error}", quoted(word));
                match error.hint() {
                    Some(hint) => report.error_with_hint(text.part(word), message, hint),
                    None => report.error(text.part(word), message),
                }
                items = None;
            }
        }
    }
    // Commas alone must not come to mean every address, nor a blank text to mean none. After a zone there may be nothing.
    let nothing = list.trim().is_empty() && !text.value.trim().is_empty();
    if items.as_ref().is_some_and(Vec::is_empty) && !nothing {
        report.error(text.place, "an address is missing");
        return None;
    }
    items
}

/// Zones (`None`: any) that share their addresses (`None`: any).
pub(super) type Group = (Option<Vec<String>>, Option<Addresses>);

/// The fewest groups the selectors come to: addresses of one zone are joined, then zones with the same addresses. Sets count by their names:
/// what is in them may change, and the groups may not.
pub(super) fn group(selectors: &[Selector]) -> Vec<Group> {
    let mut by_zone: BTreeMap<Option<&str>, Option<Addresses>> = BTreeMap::new();
    for selector in selectors {
        let joined = by_zone.entry(selector.zone.as_deref()).or_insert_with(|| Some(Addresses::default()));
        match (&mut *joined, &selector.addresses) {
            (Some(joined), Some(more)) => {
                joined.own.extend(&more.own);
                joined.sets.extend(more.sets.iter().cloned());
            }
            (_, None) => *joined = None,
            (None, Some(_)) => {}
        }
    }
    let mut by_addresses: BTreeMap<Option<Addresses>, Option<Vec<String>>> = BTreeMap::new();
    for (zone, addresses) in by_zone {
        let addresses = addresses.map(|Addresses { own, sets }| Addresses { own: simplify(own), sets });
        let zones = by_addresses.entry(addresses).or_insert_with(|| Some(Vec::new()));
        match (&mut *zones, zone) {
            (Some(zones), Some(zone)) => zones.push(zone.to_owned()),
            (_, None) => *zones = None,
            (None, Some(_)) => {}
        }
    }
    by_addresses.into_iter().map(|(addresses, zones)| (zones, addresses)).collect()
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.zone.as_deref().unwrap_or(ANY))?;
        for (index, item) in self.items.iter().enumerate() {
            write!(f, "{} {item}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}
