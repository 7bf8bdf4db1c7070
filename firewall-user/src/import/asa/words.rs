//! Reading a line word by word: the addresses and ports that access lists and objects have in common.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{
    literals,
    ranges::Ranges,
    region::{Addresses, Bounds},
};

/// Why a line, or a part of it, cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unreadable(pub(super) String);

impl Unreadable {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// The words of a line that are still to be read.
#[derive(Clone, Debug)]
pub(super) struct Words<'w, 't> {
    words: &'w [&'t str],
}

impl<'w, 't> Words<'w, 't> {
    pub(super) fn new(words: &'w [&'t str]) -> Self {
        Self { words }
    }

    pub(super) fn peek(&self) -> Option<&'t str> {
        self.words.first().copied()
    }

    pub(super) fn next(&mut self) -> Option<&'t str> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }

    /// The next word, which must be there.
    pub(super) fn expect(&mut self, what: &str) -> Result<&'t str, Unreadable> {
        self.next().ok_or_else(|| Unreadable(format!("it ends where {what} should be")))
    }

    /// Takes the next word if it is this one.
    pub(super) fn take(&mut self, word: &str) -> bool {
        let found = self.peek() == Some(word);
        if found {
            self.next();
        }
        found
    }

    /// Fails when something is left.
    pub(super) fn end(&self) -> Result<(), Unreadable> {
        match self.peek() {
            None => Ok(()),
            Some(word) => Err(Unreadable(format!("`{word}` is not known here"))),
        }
    }
}

/// How a configuration's words for addresses are read.
#[derive(Clone, Debug)]
pub(super) struct Dialect<'t> {
    /// `name ADDRESS NAME` lines.
    pub(super) names: HashMap<&'t str, IpAddr>,
    /// What `any` stands for.
    pub(super) any: Bounds<Addresses>,
}

impl Dialect<'_> {
    /// An address, or a name for one.
    pub(super) fn address(&self, word: &str) -> Option<IpAddr> {
        let address: Option<IpAddr> = word.parse().ok();
        address.or_else(|| self.names.get(word).copied())
    }

    /// The addresses after a word that says none itself: `host A`, `A MASK`, `P/LENGTH`, `any`.
    pub(super) fn addresses(&self, words: &mut Words<'_, '_>) -> Result<Bounds<Addresses>, Unreadable> {
        let first = words.expect("an address")?;
        match first {
            "any" => return Ok(self.any.clone()),
            "any4" => return Ok(Bounds::exact(Addresses::any4())),
            "any6" => return Ok(Bounds::exact(Addresses::any6())),
            "host" => {
                let word = words.expect("a host's address")?;
                let address = self.address(word).ok_or_else(|| Unreadable(format!("`{word}` is not an address")))?;
                return Ok(Bounds::exact(Addresses::host(address)));
            }
            _ => {}
        }
        if let Some((address, length)) = first.split_once('/') {
            return prefix(address, length).map(Bounds::exact);
        }
        match self.address(first) {
            Some(IpAddr::V4(network)) => {
                let word = words.expect("a netmask")?;
                let mask = word.parse().map_err(|_| Unreadable(format!("`{word}` is not a netmask")))?;
                masked(network, mask).map(Bounds::exact)
            }
            Some(IpAddr::V6(_)) => Err(Unreadable(format!("`{first}` has no prefix length"))),
            None => Err(Unreadable(format!("`{first}` is not an address"))),
        }
    }
}

/// The addresses of an IPv4 network by its netmask.
fn masked(network: Ipv4Addr, mask: Ipv4Addr) -> Result<Addresses, Unreadable> {
    let (bits, mask) = (network.to_bits(), mask.to_bits());
    if mask.leading_ones() + mask.trailing_zeros() != 32 && mask != 0 {
        let mask = Ipv4Addr::from_bits(mask);
        return Err(Unreadable(format!("{mask} is not a netmask: an ASA has netmasks in access lists, not wildcards")));
    }
    if bits & !mask != 0 {
        return Err(Unreadable(format!("{network} has bits set beyond its netmask")));
    }
    Ok(Addresses::range(network.into(), Ipv4Addr::from_bits(bits | !mask).into()))
}

fn prefix(address: &str, length: &str) -> Result<Addresses, Unreadable> {
    let wrong = || Unreadable(format!("`{address}/{length}` is not a prefix"));
    let plain = length.len() <= 3 && length.bytes().all(|byte| byte.is_ascii_digit());
    let length: u32 = length.parse().ok().filter(|_| plain).ok_or_else(wrong)?;
    match address.parse().map_err(|_| wrong())? {
        IpAddr::V4(network) if length <= 32 => masked(network, Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - length).unwrap_or(0))),
        IpAddr::V6(network) if length <= 128 => {
            let host = u128::MAX.checked_shr(length).unwrap_or(0);
            if network.to_bits() & host != 0 {
                return Err(Unreadable(format!("{network}/{length} has bits set beyond its prefix length")));
            }
            Ok(Addresses::range(network.into(), Ipv6Addr::from_bits(network.to_bits() | host).into()))
        }
        _ => Err(wrong()),
    }
}

/// The ports after an operator.
pub(super) fn ports(operator: &str, words: &mut Words<'_, '_>) -> Result<Ranges, Unreadable> {
    let mut port = || {
        let word = words.expect("a port")?;
        literals::port(word).ok_or_else(|| Unreadable(format!("`{word}` is not a port")))
    };
    let first = u128::from(port()?);
    let last = u128::from(u16::MAX);
    let below = |port: u128| port.checked_sub(1).map(|high| (0, high));
    let above = (first + 1, last);
    Ok(Ranges::new(match operator {
        "eq" => vec![(first, first)],
        "lt" => below(first).into_iter().collect(),
        "gt" => vec![above],
        "neq" => below(first).into_iter().chain([above]).collect(),
        "range" => {
            let second = u128::from(port()?);
            if second < first {
                return Err(Unreadable::new("its range of ports ends before it begins"));
            }
            vec![(first, second)]
        }
        other => return Err(Unreadable(format!("`{other}` is not a comparison of ports"))),
    }))
}

pub(super) fn is_operator(word: &str) -> bool {
    matches!(word, "eq" | "neq" | "lt" | "gt" | "range")
}

/// True for ports that leave none out but 0, which no sender uses.
pub(super) fn is_every_port(ports: &Ranges) -> bool {
    ports.covers(&Ranges::new(vec![(1, u16::MAX.into())]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<String>, String> {
        let dialect =
            Dialect { names: HashMap::from([("web", "10.1.1.1".parse().expect("an address"))]), any: Bounds::exact(Addresses::any4()) };
        let words: Vec<&str> = text.split(' ').collect();
        dialect.addresses(&mut Words::new(&words)).map(|bounds| bounds.sure.items()).map_err(|error| error.0)
    }

    #[test]
    fn addresses_are_read() {
        for (text, item) in [
            ("host 10.1.1.1", "10.1.1.1"),
            ("host web", "10.1.1.1"),
            ("10.1.0.0 255.255.0.0", "10.1.0.0/16"),
            ("0.0.0.0 0.0.0.0", "0.0.0.0/0"),
            ("any", "0.0.0.0/0"),
            ("any6", "::/0"),
            ("web 255.255.255.255", "10.1.1.1"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("host 2001:db8::1", "2001:db8::1"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(read(text), Ok(vec![item.to_owned()]), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for (text, part) in [
            ("10.1.0.0 0.0.255.255", "not wildcards"),
            ("10.1.0.0 255.0.255.0", "not wildcards"),
            ("10.1.0.1 255.255.0.0", "beyond its netmask"),
            ("2001:db8::1/32", "beyond its prefix length"),
            ("2001:db8::/129", "not a prefix"),
            ("10.0.0.0/+8", "not a prefix"),
            ("2001:db8:: any", "no prefix length"),
            ("nobody 255.255.255.0", "not an address"),
            ("host", "ends where"),
        ] {
            assert!(read(text).is_err_and(|error| error.contains(part)), "{text}: {:?}", read(text));
        }
    }

    #[test]
    fn ports_are_compared() {
        let read = |text: &str| {
            let words: Vec<&str> = text.split(' ').collect();
            ports(words[0], &mut Words::new(&words[1..])).map(|ranges| ranges.iter().collect::<Vec<_>>()).map_err(|error| error.0)
        };
        assert_eq!(read("eq www"), Ok(vec![(80, 80)]));
        assert_eq!(read("neq 80"), Ok(vec![(0, 79), (81, 65_535)]));
        assert_eq!(read("lt 1024"), Ok(vec![(0, 1_023)]));
        assert_eq!(read("gt 65535"), Ok(vec![]));
        assert_eq!(read("lt 0"), Ok(vec![]));
        assert_eq!(read("range ftp-data ftp"), Ok(vec![(20, 21)]));
        assert!(read("range 9 8").is_err() && read("eq 65536").is_err() && read("eq").is_err() && read("ne 1").is_err());
    }
}
