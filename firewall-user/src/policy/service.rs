//! Services: protocols, ports and ICMP types as policies write them, and the ranges they stand for.

use std::{fmt, sync::Arc};

use super::diagnostic::nearest;

pub(crate) const ICMP: u8 = 1;
pub(crate) const ICMPV6: u8 = 58;

/// Protocols with a name. The first of a number is the one that is printed.
const PROTOCOLS: [(&str, u8); 10] = [
    ("icmp", ICMP),
    ("tcp", 6),
    ("udp", 17),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmpv6", ICMPV6),
    ("sctp", 132),
    ("udplite", 136),
    ("icmp6", ICMPV6),
];
/// The hint for what is no service at all.
const SHAPES: &str = "tcp/443, udp/53, tcp/8000-8100,9000, icmp/echo-request, esp, protocol/89, any or the name of a [service.name]";
pub(super) const WITH_PORTS: [u8; 4] = [6, 17, 132, 136];

const ICMP_TYPES: [(&str, u8); 9] = [
    ("echo-reply", 0),
    ("unreachable", 3),
    ("redirect", 5),
    ("echo-request", 8),
    ("router-advertisement", 9),
    ("router-solicitation", 10),
    ("time-exceeded", 11),
    ("parameter-problem", 12),
    ("timestamp-request", 13),
];
const ICMPV6_TYPES: [(&str, u8); 11] = [
    ("unreachable", 1),
    ("packet-too-big", 2),
    ("time-exceeded", 3),
    ("parameter-problem", 4),
    ("echo-request", 128),
    ("echo-reply", 129),
    ("router-solicitation", 133),
    ("router-advertisement", 134),
    ("neighbor-solicitation", 135),
    ("neighbor-advertisement", 136),
    ("redirect", 137),
];

/// Destination ports `low..=high` of a protocol; for ICMP type and code as one number, for others the whole range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PortRange {
    pub(crate) protocol: u8,
    pub(crate) low: u16,
    pub(crate) high: u16,
}

/// Ranges in order that neither touch nor overlap.
pub(super) type ServiceSet = Arc<[PortRange]>;

/// One service of a rule or a definition, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ServiceItem {
    Any,
    Named(String),
    /// In the order written; never empty, all of one protocol.
    Ports(Vec<PortRange>),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ServiceError {
    #[error("is not a service")]
    Syntax(Option<String>),
    #[error("is not a port: ports lie between 0 and 65535")]
    Port,
    #[error("is a range that ends before it begins")]
    Backwards { low: u16, high: u16 },
    #[error("is not an ICMP type: a name, or numbers from 0 to 255 as type or type/code")]
    IcmpType(Option<&'static str>),
    #[error("is not a protocol number: they lie between 0 and 255")]
    Protocol,
    #[error("has no ports")]
    NoPorts(&'static str),
    #[error("is a number without a protocol")]
    Bare,
}

impl ServiceError {
    pub(super) fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Syntax(Some(near)) => format!("did you mean {near}?"),
            Self::Syntax(None) => SHAPES.to_owned(),
            Self::Backwards { low, high } => format!("did you mean {low}-{high}?"),
            Self::IcmpType(near) => format!("did you mean {}?", (*near)?),
            Self::NoPorts(name) => format!("write {name} alone"),
            Self::Bare => "write tcp/443 or udp/53".to_owned(),
            Self::Port | Self::Protocol => return None,
        })
    }
}

impl ServiceItem {
    /// One word: a protocol, a protocol with ports, `any` or a name.
    pub(super) fn parse(word: &str) -> Result<Self, ServiceError> {
        let (head, rest) = word.split_once('/').map_or((word, None), |(head, rest)| (head, Some(rest)));
        if head == "any" && rest.is_none() {
            return Ok(Self::Any);
        }
        if head == "protocol" {
            let protocol = rest.filter(|rest| !rest.starts_with('+')).and_then(|rest| rest.parse().ok()).ok_or(ServiceError::Protocol)?;
            return Ok(Self::Ports(vec![PortRange::whole(protocol)]));
        }
        match (PROTOCOLS.iter().find(|(name, _)| *name == head), rest) {
            (Some((_, protocol)), None) => Ok(Self::Ports(vec![PortRange::whole(*protocol)])),
            (Some((_, protocol)), Some(ports)) => Ok(Self::Ports(vec![PortRange::parse(*protocol, ports)?])),
            (None, None) if is_name(word) => Ok(Self::Named(word.to_owned())),
            (None, None) if word.starts_with(|c: char| c.is_ascii_digit()) => Err(ServiceError::Bare),
            (None, _) => {
                let near = nearest(head, protocol_names()).map(|near| rest.map_or(near.to_owned(), |rest| format!("{near}/{rest}")));
                Err(ServiceError::Syntax(near))
            }
        }
    }

    /// Adds a word that continues the item, as `9000` does in `tcp/8000-8100,9000`. False when it cannot be a continuation.
    pub(super) fn extend(&mut self, word: &str) -> Result<bool, ServiceError> {
        match self {
            Self::Ports(ranges) if word.starts_with(|c: char| c.is_ascii_digit()) && !ranges[0].is_whole() => {
                let range = PortRange::parse(ranges[0].protocol, word)?;
                if range.is_whole() {
                    ranges.clear();
                }
                ranges.push(range);
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

/// True for what may be the name of a `[service.NAME]`: nothing that could be a protocol or a port.
pub(crate) fn is_name(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let taken = word == "any" || word == "protocol" || PROTOCOLS.iter().any(|(name, _)| *name == word);
    word.len() < 64 && word.starts_with(|c: char| c.is_ascii_alphabetic()) && word.chars().all(plain) && !taken
}

/// Protocols with a name, and their numbers.
pub(super) fn protocols() -> impl Iterator<Item = (&'static str, u8)> {
    PROTOCOLS.into_iter()
}

/// Words a service can begin with, for hints.
pub(super) fn protocol_names<'a>() -> impl Iterator<Item = &'a str> + Clone {
    PROTOCOLS.iter().map(|(name, _)| *name).chain(["any", "protocol"])
}

impl PortRange {
    pub(super) const fn whole(protocol: u8) -> Self {
        Self { protocol, low: 0, high: u16::MAX }
    }

    pub(super) const fn is_whole(&self) -> bool {
        self.low == 0 && self.high == u16::MAX
    }

    fn parse(protocol: u8, text: &str) -> Result<Self, ServiceError> {
        if protocol == ICMP || protocol == ICMPV6 {
            return Self::parse_icmp(protocol, text);
        }
        if !WITH_PORTS.contains(&protocol) {
            return Err(ServiceError::NoPorts(protocol_name(protocol).unwrap_or("it")));
        }
        let port = |text: &str| if text.starts_with('+') { Err(ServiceError::Port) } else { text.parse().map_err(|_| ServiceError::Port) };
        let (low, high) = match text.split_once('-') {
            Some((low, high)) => (port(low)?, port(high)?),
            None => (port(text)?, port(text)?),
        };
        if low > high { Err(ServiceError::Backwards { low: high, high: low }) } else { Ok(Self { protocol, low, high }) }
    }

    fn parse_icmp(protocol: u8, text: &str) -> Result<Self, ServiceError> {
        let names = icmp_types(protocol);
        let (kind, code) = text.split_once('/').map_or((text, None), |(kind, code)| (kind, Some(code)));
        let number = |text: &str| text.parse::<u8>().ok().filter(|_| !text.starts_with('+'));
        let known = names.iter().find(|(name, _)| *name == kind).map(|(_, number)| *number);
        let error = || ServiceError::IcmpType(nearest(kind, names.iter().map(|(name, _)| *name)));
        let kind = known.or_else(|| number(kind)).ok_or_else(error)?;
        Ok(match code {
            None => Self { protocol, low: u16::from_be_bytes([kind, 0]), high: u16::from_be_bytes([kind, u8::MAX]) },
            Some(code) => {
                let port = u16::from_be_bytes([kind, number(code).ok_or(ServiceError::IcmpType(None))?]);
                Self { protocol, low: port, high: port }
            }
        })
    }

    /// The part after `protocol/`.
    fn write_ports(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.protocol == ICMP || self.protocol == ICMPV6 {
            let [kind, code] = self.low.to_be_bytes();
            match icmp_types(self.protocol).iter().find(|(_, number)| *number == kind) {
                Some((name, _)) => f.write_str(name)?,
                None => write!(f, "{kind}")?,
            }
            return if self.low == self.high { write!(f, "/{code}") } else { Ok(()) };
        }
        if self.low == self.high { write!(f, "{}", self.low) } else { write!(f, "{}-{}", self.low, self.high) }
    }
}

fn icmp_types(protocol: u8) -> &'static [(&'static str, u8)] {
    if protocol == ICMP { &ICMP_TYPES } else { &ICMPV6_TYPES }
}

fn protocol_name(protocol: u8) -> Option<&'static str> {
    PROTOCOLS.iter().find(|(_, number)| *number == protocol).map(|(name, _)| *name)
}

/// Sorts and joins what touches.
pub(super) fn simplify(mut ranges: Vec<PortRange>) -> Vec<PortRange> {
    ranges.sort_unstable();
    let mut joined: Vec<PortRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last) if last.protocol == range.protocol && u32::from(range.low) <= u32::from(last.high) + 1 => {
                last.high = last.high.max(range.high);
            }
            _ => joined.push(range),
        }
    }
    joined
}

impl fmt::Display for ServiceItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranges = match self {
            Self::Any => return f.write_str("any"),
            Self::Named(name) => return f.write_str(name),
            Self::Ports(ranges) => ranges,
        };
        for (index, range) in ranges.iter().enumerate() {
            let name = protocol_name(range.protocol);
            match (index, name) {
                (0, None) => write!(f, "protocol/{}", range.protocol)?,
                (0, Some(name)) => f.write_str(name)?,
                _ => {}
            }
            if !range.is_whole() {
                f.write_str(if index == 0 { "/" } else { "," })?;
                // A name does not continue an item, only a number does.
                if index == 0 || !matches!(range.protocol, ICMP | ICMPV6) {
                    range.write_ports(f)?;
                } else {
                    write_icmp_numbers(f, range)?;
                }
            }
        }
        Ok(())
    }
}

fn write_icmp_numbers(f: &mut fmt::Formatter<'_>, range: &PortRange) -> fmt::Result {
    let [kind, code] = range.low.to_be_bytes();
    if range.low == range.high { write!(f, "{kind}/{code}") } else { write!(f, "{kind}") }
}
