//! Members of objects and groups, and what access lists have in common with them: protocols, their ports, ICMP types.

use super::{
    lines::Line,
    literals,
    ranges::Ranges,
    region::{Addresses, Bounds, SCTP, Services, TCP, UDP},
    words::{Dialect, Unreadable, Words, is_every_port, is_operator, ports},
};
use crate::policy::service::{ICMP, ICMPV6};

/// `protocol` with these ports.
pub(super) fn with_ports(protocol: u8, ports: &Ranges) -> Services {
    let each: Vec<Services> = ports.iter().map(|(low, high)| Services::ports(protocol, low as u16, high as u16)).collect();
    Services::union(&each)
}

pub(super) fn every_port() -> Ranges {
    Ranges::new(vec![(0, u16::MAX.into())])
}

/// The addresses of a member that names no group.
pub(super) fn network_member(line: &Line<'_>, dialect: &Dialect<'_>) -> Result<Addresses, Unreadable> {
    let words = line.words();
    let address = |word: &str| dialect.address(word).ok_or_else(|| Unreadable(format!("`{word}` is not an address")));
    match words[..] {
        ["range", first, last] => {
            let range = Addresses::range(address(first)?, address(last)?);
            if range.is_empty() { Err(Unreadable::new("its range of addresses ends before it begins")) } else { Ok(range) }
        }
        ["fqdn", ..] => Err(Unreadable::new("it is the name of a host, whose addresses change")),
        ["host", ..] | ["subnet", ..] | ["network-object", ..] => {
            let mut rest = Words::new(if words[0] == "host" { &words[..] } else { &words[1..] });
            let bounds = dialect.addresses(&mut rest)?;
            rest.end()?;
            Ok(bounds.sure)
        }
        _ => Err(Unreadable::new("it is not a member of an object of addresses")),
    }
}

/// The services of a member that names no group.
pub(super) fn service_member(line: &Line<'_>) -> Result<Bounds<Services>, Unreadable> {
    let words = line.words();
    let mut rest = Words::new(&words[1..]);
    match words[0] {
        "protocol-object" => {
            let word = rest.expect("a protocol")?;
            rest.end()?;
            protocol(word).map(Bounds::exact)
        }
        "service" | "service-object" => service(&mut rest),
        _ => Err(Unreadable::new("it is not a member of an object of services")),
    }
}

/// A protocol by itself, with all its ports.
pub(super) fn protocol(word: &str) -> Result<Services, Unreadable> {
    if word == "ip" {
        return Ok(Services::any());
    }
    literals::protocol(word).map(Services::protocol).ok_or_else(|| Unreadable(format!("`{word}` is not a protocol")))
}

/// What comes after `service` and `service-object`.
fn service(words: &mut Words<'_, '_>) -> Result<Bounds<Services>, Unreadable> {
    let word = words.expect("a protocol")?;
    let protocols: &[u8] = match word {
        "tcp" => &[TCP],
        "udp" => &[UDP],
        "tcp-udp" => &[TCP, UDP],
        "sctp" => &[SCTP],
        "icmp" | "icmp6" if words.peek().is_some() => {
            let number = if word == "icmp" { ICMP } else { ICMPV6 };
            let services = icmp(number, words)?;
            words.end()?;
            return Ok(Bounds::exact(services));
        }
        other => {
            words.end()?;
            return protocol(other).map(Bounds::exact);
        }
    };
    let mut destination = every_port();
    let mut every_source = true;
    while let Some(word) = words.next() {
        match word {
            "source" => {
                let operator = words.expect("a comparison")?;
                every_source &= is_every_port(&ports(operator, words)?);
            }
            "destination" => {
                let operator = words.expect("a comparison")?;
                destination = ports(operator, words)?;
            }
            operator if is_operator(operator) => destination = ports(operator, words)?,
            other => return Err(Unreadable(format!("`{other}` is not known here"))),
        }
    }
    let each: Vec<Services> = protocols.iter().map(|protocol| with_ports(*protocol, &destination)).collect();
    let possible = Services::union(&each);
    Ok(Bounds { sure: if every_source { possible.clone() } else { Services::none() }, possible })
}

/// An ICMP type, and a code if one follows.
pub(super) fn icmp(protocol: u8, words: &mut Words<'_, '_>) -> Result<Services, Unreadable> {
    let word = words.expect("an ICMP type")?;
    let kind = literals::icmp_type(protocol, word).ok_or_else(|| Unreadable(format!("`{word}` is not an ICMP type")))?;
    let code = words.peek().and_then(|word| word.parse().ok());
    if code.is_some() {
        words.next();
    }
    Ok(Services::icmp(protocol, kind, code))
}
