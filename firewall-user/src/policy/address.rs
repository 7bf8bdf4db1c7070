//! Addresses as policies write them, and the sets of prefixes they stand for.
//!
//! Prefixes of both families live in one 128-bit space, IPv4 in its mapped part (`::ffff:0:0/96`). The families stay apart all the same:
//! `::/0` does not cover IPv4.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use firewall_common::flow::Address;

/// Bits before the IPv4 address in the mapped space.
pub(super) const MAPPED_BITS: u8 = 96;
/// The mapped space itself.
pub(super) const MAPPED: Prefix = Prefix { bits: 0xffff << 32, length: MAPPED_BITS };

/// The first `length` bits of `bits`; the others are zero. Ordered so that a prefix comes right before those it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    pub(super) bits: u128,
    pub(super) length: u8,
}

/// Prefixes in order, each once.
pub(super) type AddressSet = Arc<[Prefix]>;

/// What a list of addresses comes to: prefixes of its own, and the sets it names, directly or by another set. Those may change while the
/// policy is in force, so they stay names.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Addresses {
    pub(super) own: Vec<Prefix>,
    pub(super) sets: BTreeSet<String>,
}

impl Prefix {
    pub(super) fn new(bits: u128, length: u8) -> Self {
        Self { bits: bits & mask(length), length }
    }

    pub(super) fn is_v4(&self) -> bool {
        self.length >= MAPPED_BITS && self.bits >> 32 == 0xffff
    }

    /// True when every value of `other` is one of this prefix, whatever the family.
    pub(super) fn contains(&self, other: &Self) -> bool {
        self.length <= other.length && other.bits & mask(self.length) == self.bits
    }

    /// How many values there are; one too few for the whole space.
    pub(super) fn size(&self) -> u128 {
        if self.length == 0 { u128::MAX } else { 1 << (128 - self.length) }
    }

    pub(super) fn address(&self) -> Address {
        Address::new(self.bits.to_be_bytes())
    }

    /// The prefix of this length that covers this one.
    pub(super) const fn shortened(&self, length: u8) -> Self {
        Self { bits: self.bits & mask(length), length }
    }

    /// The last prefix in order that this one covers: its last address.
    pub(super) const fn last(&self) -> Self {
        Self { bits: self.bits | !mask(self.length), length: 128 }
    }

    /// True when every address of the other is one of this prefix.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.is_v4() == other.is_v4() && self.contains(other)
    }

    /// True when an address is one of this prefix. IPv4 is not one of an IPv6 prefix.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        self.covers(&address.into())
    }
}

impl From<IpAddr> for Prefix {
    fn from(address: IpAddr) -> Self {
        Self::new(to_bits(address), 128)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_v4() {
            AddressItem::Network(Ipv4Addr::from_bits(self.bits as u32).into(), self.length - MAPPED_BITS).fmt(f)
        } else {
            AddressItem::Network(Ipv6Addr::from_bits(self.bits).into(), self.length).fmt(f)
        }
    }
}

pub(super) const fn mask(length: u8) -> u128 {
    if length == 0 { 0 } else { u128::MAX << (128 - length as u32) }
}

/// The fewest prefixes that make up `first..=last`, in a space whose values have `width` bits.
pub(crate) fn range_prefixes(first: u128, last: u128, width: u8) -> Vec<(u128, u8)> {
    let mut prefixes = Vec::new();
    let mut at = first;
    while at <= last {
        // The largest aligned block that begins here and does not pass the end.
        let mut host = if at == 0 { u32::from(width) } else { at.trailing_zeros().min(u32::from(width)) };
        let size = |host: u32| if host >= 128 { u128::MAX } else { (1 << host) - 1 };
        while size(host) > last - at {
            host -= 1;
        }
        prefixes.push((at, width - host as u8));
        match at.checked_add(size(host)).and_then(|end| end.checked_add(1)) {
            Some(next) => at = next,
            None => break,
        }
    }
    prefixes
}

/// Sorts, and removes what something else covers.
pub(super) fn simplify(mut prefixes: Vec<Prefix>) -> Vec<Prefix> {
    prefixes.sort_unstable();
    // What covers a prefix comes before it, and of the kept ones of a family only the last can.
    let (mut last_v4, mut last_v6): (Option<Prefix>, Option<Prefix>) = (None, None);
    prefixes.retain(|prefix| {
        let last = if prefix.is_v4() { &mut last_v4 } else { &mut last_v6 };
        let keep = !last.is_some_and(|last| last.contains(prefix));
        if keep {
            *last = Some(*prefix);
        }
        keep
    });
    prefixes
}

/// One address of a selector or set, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AddressItem {
    Network(IpAddr, u8),
    Range(IpAddr, IpAddr),
    Set(String),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AddressError {
    #[error("is not an address, a prefix, a range or a @set")]
    Syntax,
    #[error("has a prefix length that is not between 0 and {0}")]
    Length(u8),
    #[error("has bits set beyond its prefix length")]
    HostBits(AddressItem),
    #[error("is a range between two address families")]
    Families,
    #[error("is a range that ends before it begins")]
    Backwards(AddressItem),
    #[error("is an IPv4 address written as IPv6")]
    Mapped(Ipv4Addr),
    #[error("is negated: there is no `!`")]
    Negated,
}

impl AddressError {
    pub(super) fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Syntax => "10.0.0.0/8, 10.0.0.1, 10.0.0.1-10.0.0.9, 2001:db8::/32 or @name of a [set.name]".to_owned(),
            Self::HostBits(meant) => format!("did you mean {meant}?"),
            Self::Backwards(meant) => format!("did you mean {meant}?"),
            Self::Mapped(address) => format!("write {address}"),
            Self::Negated => "put a rule for the exceptions before this one".to_owned(),
            Self::Length(_) | Self::Families => return None,
        })
    }
}

impl AddressItem {
    pub(super) fn parse(text: &str) -> Result<Self, AddressError> {
        if text.starts_with('!') {
            return Err(AddressError::Negated);
        }
        if let Some(name) = text.strip_prefix('@') {
            return Ok(Self::Set(name.to_owned()));
        }
        if let Some((first, last)) = text.split_once('-') {
            return Self::parse_range(first, last);
        }
        let Some((address, length)) = text.split_once('/') else {
            let address = parse_ip(text)?;
            return Ok(Self::Network(address, width(address)));
        };
        let address = parse_ip(address)?;
        let width = width(address);
        if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(AddressError::Syntax);
        }
        let length = length.parse().ok().filter(|length| *length <= width).ok_or(AddressError::Length(width))?;
        let network = network(address, length);
        if network == address { Ok(Self::Network(address, length)) } else { Err(AddressError::HostBits(Self::Network(network, length))) }
    }

    fn parse_range(first: &str, last: &str) -> Result<Self, AddressError> {
        let (first, last) = (parse_ip(first)?, parse_ip(last)?);
        if first.is_ipv4() != last.is_ipv4() {
            return Err(AddressError::Families);
        }
        match first.cmp(&last) {
            std::cmp::Ordering::Less => Ok(Self::Range(first, last)),
            std::cmp::Ordering::Equal => Ok(Self::Network(first, width(first))),
            std::cmp::Ordering::Greater => Err(AddressError::Backwards(Self::Range(last, first))),
        }
    }

    /// The prefixes an address stands for; none for a set, which only the policy's definitions know.
    pub(super) fn prefixes(&self) -> Vec<Prefix> {
        match self {
            Self::Set(_) => Vec::new(),
            Self::Network(address, length) => vec![Prefix::new(to_bits(*address), *length + (128 - width(*address)))],
            Self::Range(first, last) => {
                let is_v4 = first.is_ipv4();
                let prefixes = range_prefixes(to_bits(*first), to_bits(*last), 128);
                // The part of an IPv6 range that lies in the mapped space is nobody's address.
                prefixes.into_iter().map(|(bits, length)| Prefix { bits, length }).filter(|prefix| prefix.is_v4() == is_v4).collect()
            }
        }
    }
}

fn parse_ip(text: &str) -> Result<IpAddr, AddressError> {
    let address: IpAddr = text.parse().map_err(|_| AddressError::Syntax)?;
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(Ok(address), |v4| Err(AddressError::Mapped(v4))),
        IpAddr::V4(_) => Ok(address),
    }
}

const fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn to_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn network(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask(length + MAPPED_BITS) as u32)),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask(length))),
    }
}

impl fmt::Display for AddressItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(address, length) if *length == width(*address) => write!(f, "{address}"),
            Self::Network(address, length) => write!(f, "{address}/{length}"),
            Self::Range(first, last) => write!(f, "{first}-{last}"),
            Self::Set(name) => write!(f, "@{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{AddressItem, Prefix, range_prefixes, simplify};

    fn prefixes(text: &str) -> Vec<Prefix> {
        AddressItem::parse(text).expect(text).prefixes()
    }

    #[test]
    fn ranges_become_the_fewest_prefixes() {
        assert_eq!(range_prefixes(1, 9, 16), [(1, 16), (2, 15), (4, 14), (8, 15)]);
        assert_eq!(range_prefixes(0, 65_535, 16), [(0, 0)]);
        assert_eq!(range_prefixes(65_535, 65_535, 16), [(65_535, 16)]);
        assert_eq!(range_prefixes(0, u128::MAX, 128), [(0, 0)]);
        assert_eq!(range_prefixes(1, u128::MAX, 128).len(), 128);
    }

    #[test]
    fn families_stay_apart() {
        let both = simplify([prefixes("::/0"), prefixes("10.0.0.0/8"), prefixes("10.1.0.0/16"), prefixes("2001:db8::/32")].concat());
        assert_eq!(both, [prefixes("::/0"), prefixes("10.0.0.0/8")].concat());
        assert!(prefixes("::1-::1:0:ffff:0").iter().all(|prefix| !prefix.is_v4()));
        assert_eq!(prefixes("0.0.0.0-255.255.255.255"), prefixes("0.0.0.0/0"));
    }
}
