//! By which interface packets of an address should come: the way the kernel would take back to it.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use super::super::{Controller, held};
use crate::dataplane::{Router, Way, interface_names};

/// Addresses looked up for one answer. Whoever floods must not have the kernel asked for each of his sources.
const MOST_LOOKUPS: usize = 1024;

/// The way of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    kind: Kind,
    pub interface: Option<String>,
    pub attached: bool,
    pub zone: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    By,
    Here,
    Nowhere,
    /// Not asked, or there was no answer.
    Unknown,
}

/// The ways of addresses, each looked up once.
#[derive(Debug)]
pub struct Paths {
    /// Zones of the attached interfaces, by index.
    zones: BTreeMap<u32, String>,
    /// `None` once it has failed.
    router: Option<Router>,
    names: HashMap<u32, String>,
    known: HashMap<IpAddr, Path>,
}

impl Controller {
    pub(in crate::controller) fn paths(&self) -> Paths {
        let attached: Vec<(u32, u8)> = held(&self.dataplane).attachments().map(|attached| (attached.index, attached.zone)).collect();
        let names = &held(&self.policy).names;
        Paths::new(attached.into_iter().map(|(index, zone)| (index, names.zone(zone))).collect())
    }
}

impl Paths {
    pub(super) fn new(zones: BTreeMap<u32, String>) -> Self {
        Self { zones, router: Router::open().inspect_err(told).ok(), names: HashMap::new(), known: HashMap::new() }
    }

    pub fn of(&mut self, address: IpAddr) -> Path {
        if let Some(known) = self.known.get(&address) {
            return known.clone();
        }
        if self.known.len() >= MOST_LOOKUPS {
            return Path::of(Kind::Unknown);
        }
        let path = self.look_up(address);
        self.known.insert(address, path.clone());
        path
    }

    fn look_up(&mut self, address: IpAddr) -> Path {
        let Some(router) = &mut self.router else { return Path::of(Kind::Unknown) };
        match router.way(address) {
            Ok(Way::Behind(index)) => self.by(index),
            Ok(Way::Here) => Path::of(Kind::Here),
            Ok(Way::Nowhere) => Path::of(Kind::Nowhere),
            Err(error) => {
                told(&error);
                self.router = None;
                Path::of(Kind::Unknown)
            }
        }
    }

    fn by(&mut self, index: u32) -> Path {
        if self.names.is_empty() {
            self.names = interface_names().inspect_err(told).unwrap_or_default();
        }
        let zone = self.zones.get(&index).cloned();
        let Some(interface) = self.names.get(&index).cloned() else { return Path::of(Kind::Unknown) };
        Path { kind: Kind::By, interface: Some(interface), attached: zone.is_some(), zone }
    }
}

fn told(error: &crate::dataplane::DataplaneError) {
    log::warn!("where packets should come by is not known: {error}");
}

impl Path {
    const fn of(kind: Kind) -> Self {
        Self { kind, interface: None, attached: false, zone: None }
    }

    /// The way leads by an interface that Weir is not on.
    pub fn is_elsewhere(&self) -> bool {
        self.kind == Kind::By && !self.attached
    }

    /// What is known of the packets of `address`, which are missing.
    pub fn told(&self, address: IpAddr) -> String {
        let interface = self.interface.as_deref().unwrap_or_default();
        match (self.kind, &self.zone) {
            (Kind::By, Some(zone)) => format!("packets of {address} should come by {interface} (zone {zone}) and never do"),
            (Kind::By, None) => format!("packets of {address} come by {interface}, if at all, and Weir is not on it"),
            (Kind::Here, _) => format!("{address} is the box itself, and sends nothing back"),
            (Kind::Nowhere, _) => format!("packets of {address} never come, and there is no route to it"),
            (Kind::Unknown, _) => format!("packets of {address} never come"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_follow_the_way() {
        let address: IpAddr = "203.0.113.7".parse().expect("an address");
        let by = |zone: Option<&str>| Path {
            kind: Kind::By,
            interface: Some("eth1".to_owned()),
            attached: zone.is_some(),
            zone: zone.map(str::to_owned),
        };
        assert_eq!(by(Some("inside")).told(address), "packets of 203.0.113.7 should come by eth1 (zone inside) and never do");
        assert_eq!(by(None).told(address), "packets of 203.0.113.7 come by eth1, if at all, and Weir is not on it");
        assert!(by(None).is_elsewhere() && !by(Some("inside")).is_elsewhere() && !Path::of(Kind::Nowhere).is_elsewhere());
        assert_eq!(Path::of(Kind::Here).told(address), "203.0.113.7 is the box itself, and sends nothing back");
        assert_eq!(Path::of(Kind::Nowhere).told(address), "packets of 203.0.113.7 never come, and there is no route to it");
    }

    #[test]
    fn the_kernel_is_asked_and_not_for_ever() {
        let mut paths = Paths::new(BTreeMap::new());
        assert_eq!(paths.of("127.0.0.1".parse().expect("an address")), Path::of(Kind::Here));
        paths.known.extend((0..MOST_LOOKUPS as u32).map(|number| (IpAddr::V4(number.into()), Path::of(Kind::Nowhere))));
        assert_eq!(paths.of("127.0.0.2".parse().expect("an address")), Path::of(Kind::Unknown));
        assert_eq!(paths.of("127.0.0.1".parse().expect("an address")), Path::of(Kind::Here), "what is known stays");
    }
}
