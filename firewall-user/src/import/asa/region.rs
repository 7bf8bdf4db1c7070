//! What a line of an access list is about: sets of sources, destinations and services, and what two of them have in common.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    rc::Rc,
};

use super::ranges::Ranges;
use crate::policy::{
    address::{AddressItem, range_prefixes},
    service::{ICMP, ICMPV6, PortRange, ServiceItem},
};

/// The IPv6 addresses that stand for IPv4 ones: nobody's, on the wire.
const MAPPED: (u128, u128) = (0xffff << 32, (0xffff << 32) | u32::MAX as u128);
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const SCTP: u8 = 132;

/// What the words of a configuration stand for, as far as it can be said: all of `sure` is meant, and nothing outside of `possible`.
#[derive(Clone, Debug)]
pub(super) struct Bounds<T> {
    pub(super) sure: T,
    pub(super) possible: T,
}

impl<T: Clone> Bounds<T> {
    pub(super) fn exact(value: T) -> Self {
        Self { sure: value.clone(), possible: value }
    }
}

/// Addresses of both families.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    v4: Ranges,
    v6: Ranges,
    /// The set of the policy that has exactly these.
    pub(super) set: Option<Rc<str>>,
}

impl Addresses {
    pub(super) fn none() -> Self {
        Self { v4: Ranges::none(), v6: Ranges::none(), set: None }
    }

    pub(super) fn any() -> Self {
        Self { v4: Self::any4().v4, v6: Self::any6().v6, set: None }
    }

    pub(super) fn any4() -> Self {
        Self { v4: Ranges::new(vec![(0, u32::MAX.into())]), ..Self::none() }
    }

    pub(super) fn any6() -> Self {
        Self { v6: Ranges::new(vec![(0, MAPPED.0 - 1), (MAPPED.1 + 1, u128::MAX)]), ..Self::none() }
    }

    /// The addresses from `first` to `last`, which are of one family.
    pub(super) fn range(first: IpAddr, last: IpAddr) -> Self {
        match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                Self { v4: Ranges::new(vec![(first.to_bits().into(), last.to_bits().into())]), ..Self::none() }
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                let range = Ranges::new(vec![(first.to_bits(), last.to_bits())]);
                Self { v6: range.intersection(&Self::any6().v6), ..Self::none() }
            }
            _ => Self::none(),
        }
    }

    pub(super) fn host(address: IpAddr) -> Self {
        Self::range(address, address)
    }

    /// All addresses of the families that are wanted.
    pub(super) fn of_families((v4, v6): (bool, bool)) -> Self {
        let all = Self::any();
        Self { v4: if v4 { all.v4 } else { Ranges::none() }, v6: if v6 { all.v6 } else { Ranges::none() }, set: None }
    }

    /// Multicast of both families.
    pub(super) fn multicast() -> Self {
        let v4 = Self::range(Ipv4Addr::new(224, 0, 0, 0).into(), Ipv4Addr::new(239, 255, 255, 255).into());
        let v6 = Self::range(Ipv6Addr::from_bits(0xff << 120).into(), Ipv6Addr::from_bits(u128::MAX).into());
        Self::union([&v4, &v6])
    }

    pub(super) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Ranges it takes to say.
    pub(super) fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    pub(super) fn union<'a>(parts: impl IntoIterator<Item = &'a Self> + Clone) -> Self {
        let v4 = Ranges::union(parts.clone().into_iter().map(|part| &part.v4));
        Self { v4, v6: Ranges::union(parts.into_iter().map(|part| &part.v6)), set: None }
    }

    /// True when the two are the same addresses, whatever their names.
    pub(super) fn same(&self, other: &Self) -> bool {
        self.v4 == other.v4 && self.v6 == other.v6
    }

    pub(super) fn covers(&self, other: &Self) -> bool {
        self.v4.covers(&other.v4) && self.v6.covers(&other.v6)
    }

    pub(super) fn intersection(&self, other: &Self) -> Self {
        if other.covers(self) {
            self.clone()
        } else if self.covers(other) {
            other.clone()
        } else {
            Self { v4: self.v4.intersection(&other.v4), v6: self.v6.intersection(&other.v6), set: None }
        }
    }

    /// As a selector or a set lists them; nothing for every address.
    pub(super) fn items(&self) -> Vec<String> {
        if let Some(set) = &self.set {
            return vec![format!("@{set}")];
        }
        let (all4, all6) = (self.v4 == Self::any4().v4, self.v6 == Self::any6().v6);
        if all4 && all6 {
            return Vec::new();
        }
        let v4 = self.v4.iter().map(|(low, high)| item(low, high, 32, |bits| Ipv4Addr::from_bits(bits as u32).into()));
        let mut items: Vec<String> = v4.collect();
        if all6 {
            items.push("::/0".to_owned());
        } else {
            items.extend(self.v6.iter().map(|(low, high)| item(low, high, 128, |bits| Ipv6Addr::from_bits(bits).into())));
        }
        items
    }
}

/// A prefix if the range is one, else the range.
fn item(low: u128, high: u128, width: u8, address: impl Fn(u128) -> IpAddr) -> String {
    match range_prefixes(low, high, width)[..] {
        [(bits, length)] => AddressItem::Network(address(bits), length).to_string(),
        _ => AddressItem::Range(address(low), address(high)).to_string(),
    }
}

/// Protocols with their destination ports, or ICMP types and codes.
#[derive(Clone, Debug)]
pub(super) struct Services {
    /// Of numbers that have the protocol above sixteen bits of port.
    pub(super) ranges: Ranges,
    /// The service of the policy that is exactly this.
    pub(super) service: Option<Rc<str>>,
}

impl Services {
    fn of(low: u128, high: u128) -> Self {
        Self { ranges: Ranges::new(vec![(low, high)]), service: None }
    }

    pub(super) fn none() -> Self {
        Self { ranges: Ranges::none(), service: None }
    }

    pub(super) fn any() -> Self {
        Self::of(0, 0xff_ffff)
    }

    pub(super) fn protocol(protocol: u8) -> Self {
        Self::ports(protocol, 0, u16::MAX)
    }

    pub(super) fn ports(protocol: u8, low: u16, high: u16) -> Self {
        let base = u128::from(protocol) << 16;
        Self::of(base | u128::from(low), base | u128::from(high))
    }

    pub(super) fn icmp(protocol: u8, kind: u8, code: Option<u8>) -> Self {
        let port = |code: u8| u16::from_be_bytes([kind, code]);
        Self::ports(protocol, port(code.unwrap_or(0)), port(code.unwrap_or(u8::MAX)))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub(super) fn union<'s>(parts: impl IntoIterator<Item = &'s Self>) -> Self {
        Self { ranges: Ranges::union(parts.into_iter().map(|part| &part.ranges)), service: None }
    }

    pub(super) fn covers(&self, other: &Self) -> bool {
        self.ranges.covers(&other.ranges)
    }

    pub(super) fn intersection(&self, other: &Self) -> Self {
        if other.covers(self) {
            self.clone()
        } else if self.covers(other) {
            other.clone()
        } else {
            Self { ranges: self.ranges.intersection(&other.ranges), service: None }
        }
    }

    /// True when the two are the same services, whatever their names.
    pub(super) fn same(&self, other: &Self) -> bool {
        self.ranges == other.ranges
    }

    /// As a rule or a service lists them; nothing for every service.
    pub(super) fn items(&self) -> Vec<String> {
        if let Some(service) = &self.service {
            return vec![service.to_string()];
        }
        if self.covers(&Self::any()) {
            return Vec::new();
        }
        let mut by_protocol: Vec<Vec<PortRange>> = Vec::new();
        for (low, high) in self.ranges.iter() {
            for protocol in (low >> 16)..=(high >> 16) {
                let base = protocol << 16;
                let (low, high) = (low.max(base) - base, high.min(base | 0xffff) - base);
                let own = split_types(PortRange { protocol: protocol as u8, low: low as u16, high: high as u16 });
                match by_protocol.last_mut().filter(|ranges| ranges[0].protocol == protocol as u8) {
                    Some(ranges) => ranges.extend(own),
                    None => by_protocol.push(own),
                }
            }
        }
        by_protocol.into_iter().map(|ranges| ServiceItem::Ports(ranges).to_string()).collect()
    }
}

/// ICMP messages go by type, or by type and code; a range of them is each by itself.
fn split_types(range: PortRange) -> Vec<PortRange> {
    let PortRange { protocol, low, high } = range;
    if !matches!(protocol, ICMP | ICMPV6) || (low == 0 && high == u16::MAX) {
        return vec![range];
    }
    let mut split = Vec::new();
    let mut at = low;
    loop {
        let end = at | 0xff;
        let whole = at & 0xff == 0 && end <= high;
        split.push(PortRange { protocol, low: at, high: if whole { end } else { at } });
        let last = if whole { end } else { at };
        match last.checked_add(1) {
            Some(next) if next <= high => at = next,
            _ => return split,
        }
    }
}

/// Packets by where they come from, where they go and what they carry.
#[derive(Clone, Debug)]
pub(super) struct Region {
    pub(super) source: Addresses,
    pub(super) destination: Addresses,
    pub(super) service: Services,
}

impl Region {
    pub(super) fn all() -> Self {
        Self { source: Addresses::any(), destination: Addresses::any(), service: Services::any() }
    }

    pub(super) fn is_empty(&self) -> bool {
        // A packet has both addresses of one family.
        self.families() == (false, false) || self.service.is_empty()
    }

    pub(super) fn covers(&self, other: &Self) -> bool {
        self.source.covers(&other.source) && self.destination.covers(&other.destination) && self.service.covers(&other.service)
    }

    /// What both have; `None` when that is nothing.
    pub(super) fn intersection(&self, other: &Self) -> Option<Self> {
        let common = Self {
            source: self.source.intersection(&other.source),
            destination: self.destination.intersection(&other.destination),
            service: self.service.intersection(&other.service),
        };
        (!common.is_empty()).then_some(common)
    }

    /// Whether packets of IPv4 and of IPv6 are in it.
    pub(super) fn families(&self) -> (bool, bool) {
        let both = |one: &Ranges, two: &Ranges| !one.is_empty() && !two.is_empty();
        (both(&self.source.v4, &self.destination.v4), both(&self.source.v6, &self.destination.v6))
    }

    pub(super) fn has_tcp(&self) -> bool {
        !self.service.intersection(&Services::protocol(TCP)).is_empty()
    }
}
