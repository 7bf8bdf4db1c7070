//! Which flows are meant: `key=value` conditions that must all hold.

use std::{fmt, net::IpAddr, str::FromStr};

use firewall_common::{application::Application, flow::State};

use crate::{
    api::{End, Failure, Flow},
    protocol,
};

/// Keys a condition may have, with an example each.
const KEYS: [(&str, &str); 11] = [
    ("zone", "zone=outside"),
    ("interface", "interface=eth0"),
    ("rule", "rule=vpn-clients"),
    ("state", "state=established"),
    ("inspection", "inspection=bypass"),
    ("address", "address=10.0.0.0/8"),
    ("port", "port=443"),
    ("protocol", "protocol=tcp"),
    ("flags", "flags=b"),
    ("one-sided", "one-sided=yes"),
    ("application", "application=ctcp"),
];
/// Names of the inspection levels.
const LEVELS: [&str; 3] = ["strict", "tolerant", "bypass"];

/// In place of an application: nothing is known of what the flow carries.
const NONE: &str = "none";

/// One condition. Where a flow has two of something, either may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    Zone(String),
    Interface(String),
    Rule(String),
    State(String),
    Inspection(String),
    Address(Prefix),
    Port(u16),
    Protocol(String),
    /// Every letter is set.
    Flags(String),
    /// Only one side of it comes by, or both do.
    OneSided(bool),
    /// The name of what it carries, or [`NONE`].
    Application(String),
}

/// Addresses that begin alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    address: IpAddr,
    bits: u8,
}

/// Conditions that must all hold; none at all means every flow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter(Vec<Condition>);

impl Filter {
    /// Reads conditions as they stand on a command line.
    pub fn parse<T: AsRef<str>>(conditions: &[T]) -> Result<Self, Failure> {
        conditions.iter().map(|text| text.as_ref().parse()).collect::<Result<_, _>>().map(Self)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[must_use]
    pub fn matches(&self, flow: &Flow) -> bool {
        let view = View::of(flow);
        self.0.iter().all(|condition| condition.holds(&view))
    }
}

/// What conditions are held against. What is not known is empty, which no condition asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub sides: [Side<'a>; 2],
    pub protocol: &'a str,
    pub rule: &'a str,
    pub state: &'a str,
    pub inspection: &'a str,
    pub flags: &'a str,
    pub one_sided: bool,
    pub application: Option<&'a str>,
}

/// One of the two sides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Side<'a> {
    pub address: Option<IpAddr>,
    pub port: u16,
    pub zone: Option<&'a str>,
    pub interface: Option<&'a str>,
}

impl<'a> View<'a> {
    fn of(flow: &'a Flow) -> Self {
        let side =
            |end: &'a End| Side { address: Some(end.address), port: end.port, zone: Some(&end.zone), interface: end.interface.as_deref() };
        Self {
            sides: [side(&flow.initiator), side(&flow.responder)],
            protocol: &flow.protocol,
            rule: &flow.rule,
            state: &flow.state,
            inspection: &flow.inspection,
            flags: &flow.flags,
            one_sided: flow.one_sided.is_some(),
            application: flow.application.as_deref(),
        }
    }
}

impl Condition {
    pub(crate) fn holds(&self, view: &View<'_>) -> bool {
        let sides = &view.sides;
        match self {
            Self::Zone(zone) => sides.iter().any(|side| side.zone == Some(zone)),
            Self::Interface(name) => sides.iter().any(|side| side.interface == Some(name)),
            Self::Rule(rule) => view.rule == rule,
            Self::State(state) => view.state == state,
            Self::Inspection(level) => view.inspection == level,
            Self::Address(prefix) => sides.iter().any(|side| side.address.is_some_and(|address| prefix.contains(address))),
            Self::Port(port) => sides.iter().any(|side| side.port == *port),
            Self::Protocol(name) => view.protocol == name,
            Self::Application(name) => view.application.unwrap_or(NONE) == name,
            Self::Flags(letters) => letters.chars().all(|letter| view.flags.contains(letter)),
            Self::OneSided(wanted) => view.one_sided == *wanted,
        }
    }
}

impl FromStr for Condition {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (key, value) = split(text, &KEYS)?;
        let bad = |what: String| Failure::usage(format!("`{text}`: `{value}` is no {key}")).hint(what);
        Ok(match key {
            "zone" => Self::Zone(value.to_owned()),
            "interface" => Self::Interface(value.to_owned()),
            "rule" => Self::Rule(value.to_owned()),
            "state" => {
                let names = State::ALL.map(State::name);
                Self::State(one_of(value, &names).ok_or_else(|| bad(format!("states are {}", names.join(", "))))?)
            }
            "inspection" => Self::Inspection(one_of(value, &LEVELS).ok_or_else(|| bad(format!("levels are {}", LEVELS.join(", "))))?),
            "address" => {
                Self::Address(value.parse().map_err(|()| bad("an address or prefix, such as 10.0.0.0/8 or 2001:db8::1".to_owned()))?)
            }
            "port" => Self::Port(value.parse().map_err(|_| bad("a port is a number up to 65535".to_owned()))?),
            "protocol" => {
                let number = protocol::number(value).ok_or_else(|| bad("tcp, udp, icmp, icmpv6, esp, ah, gre or a number".to_owned()))?;
                Self::Protocol(protocol::name(number).into_owned())
            }
            "application" => {
                let names: Vec<&str> = Application::ALL.into_iter().map(Application::name).chain([NONE]).collect();
                Self::Application(one_of(value, &names).ok_or_else(|| bad(format!("applications are {}", names.join(", "))))?)
            }
            "flags" => Self::Flags(value.to_owned()),
            "one-sided" => match value {
                "yes" => Self::OneSided(true),
                "no" => Self::OneSided(false),
                _ => return Err(bad("it is yes or no".to_owned())),
            },
            other => return Err(unknown(text, other, "flows", &KEYS)),
        })
    }
}

/// Key and value of a condition.
pub(crate) fn split<'a>(text: &'a str, keys: &[(&str, &str)]) -> Result<(&'a str, &'a str), Failure> {
    let Some((key, value)) = text.split_once('=') else {
        return Err(Failure::usage(format!("`{text}` is no filter: it needs key=value")).hint(examples(keys)));
    };
    if value.is_empty() {
        return Err(Failure::usage(format!("`{text}`: `{value}` is no {key}")).hint(examples(keys)));
    }
    Ok((key, value))
}

/// There is no such key.
pub(crate) fn unknown(text: &str, key: &str, what: &str, keys: &[(&str, &str)]) -> Failure {
    let near = keys.iter().map(|(known, _)| *known).min_by_key(|known| strsim::osa_distance(known, key));
    let near = near.filter(|known| strsim::osa_distance(known, key) <= 2);
    let hint = near.map_or_else(|| examples(keys), |near| format!("did you mean `{near}`?"));
    Failure::usage(format!("`{text}`: {what} cannot be filtered by `{key}`")).hint(hint)
}

fn one_of(value: &str, names: &[&str]) -> Option<String> {
    names.contains(&value).then(|| value.to_owned())
}

fn examples(keys: &[(&str, &str)]) -> String {
    let examples: Vec<&str> = keys.iter().map(|(_, example)| *example).collect();
    format!("filters are {}", examples.join(", "))
}

impl FromStr for Prefix {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| ())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| ())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(width);
        if bits > width { Err(()) } else { Ok(Self { address, bits }) }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl Prefix {
    fn contains(&self, address: IpAddr) -> bool {
        let bits = u32::from(self.bits);
        match (self.address, address) {
            (IpAddr::V4(prefix), IpAddr::V4(address)) => (prefix.to_bits() ^ address.to_bits()).checked_shr(32 - bits).unwrap_or(0) == 0,
            (IpAddr::V6(prefix), IpAddr::V6(address)) => (prefix.to_bits() ^ address.to_bits()).checked_shr(128 - bits).unwrap_or(0) == 0,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Both, End, Quality, Rate};

    fn flow() -> Flow {
        let end = |address: &str, port, zone: &str| End {
            address: address.parse().expect("an address"),
            port,
            zone: zone.to_owned(),
            interface: Some("eth0".to_owned()),
        };
        Flow {
            protocol: "tcp".to_owned(),
            initiator: end("10.1.2.3", 40000, "outside"),
            responder: end("192.0.2.1", 10000, "inside"),
            state: "bypass".to_owned(),
            inspection: "bypass".to_owned(),
            rule: "vpn".to_owned(),
            application: Some("ctcp".to_owned()),
            flags: "Ub".to_owned(),
            packets: Both::default(),
            bytes: Both::default(),
            rates: Rate::default(),
            age_seconds: 0.0,
            idle_seconds: 0.0,
            expires_in_seconds: 0.0,
            quality: Quality::default(),
            needed: 0,
            ipsec: None,
            one_sided: None,
            guard: None,
        }
    }

    fn matches(conditions: &[&str]) -> bool {
        Filter::parse(conditions).expect("legal").matches(&flow())
    }

    #[test]
    fn conditions_are_anded_and_either_end_counts() {
        for condition in [
            "zone=inside",
            "zone=outside",
            "address=10.0.0.0/8",
            "address=192.0.2.1",
            "address=0.0.0.0/0",
            "port=10000",
            "protocol=6",
            "flags=b",
            "one-sided=no",
            "application=ctcp",
        ] {
            assert!(matches(&[condition]), "{condition} should match");
        }
        for condition in [
            "zone=dmz",
            "address=11.0.0.0/8",
            "address=::/0",
            "port=1",
            "protocol=udp",
            "state=established",
            "flags=bi",
            "one-sided=yes",
            "application=none",
        ] {
            assert!(!matches(&[condition]), "{condition} should not match");
        }
        assert!(matches(&["zone=inside", "rule=vpn"]));
        assert!(!matches(&["zone=inside", "rule=other"]));
        assert!(matches(&[]));
    }

    #[test]
    fn nonsense_is_refused_with_a_hint() {
        for text in [
            "",
            "tcp",
            "port=",
            "port=x",
            "port=65536",
            "address=10.0.0.0/33",
            "address=::/129",
            "state=open",
            "zoen=a",
            "protocol=999",
            "one-sided=maybe",
            "application=vpn",
        ] {
            let failure = Filter::parse(&[text]).expect_err(text);
            assert!(failure.hint.is_some(), "{text}: no hint");
            assert_eq!(failure.kind.exit_code(), 2);
        }
        let typo = Filter::parse(&["zoen=a"]).expect_err("a typo");
        assert_eq!(typo.hint.as_deref(), Some("did you mean `zone`?"));
    }
}
