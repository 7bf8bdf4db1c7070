//! Policies of many rules as a grown firewall has them: prefixes of both families that lie in each other, hosts, ranges, sets of a thousand
//! addresses, ports and ranges of ports, several zones. With packets for them, and the rule that decides each, found by walking the rules.

use std::{
    collections::HashSet,
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::pattern::Pattern;

/// Addresses of a set.
const SET: usize = 1_000;
/// Rules for each set.
const RULES_PER_SET: usize = 400;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// A policy.
#[derive(Debug, Clone)]
pub struct Mixed {
    pub rules: Vec<Rule>,
    sets: Vec<Vec<Ipv4Addr>>,
    members: Vec<HashSet<Ipv4Addr>>,
}

/// Rules are named `r` and their number.
#[derive(Debug, Clone)]
pub struct Rule {
    /// `None`: any zone.
    pub from: Option<&'static str>,
    pub to: Option<&'static str>,
    pub source: Addresses,
    pub destination: Addresses,
    /// Protocol, first and last port (type and code for ICMP); none for every service.
    pub services: Vec<(u8, u16, u16)>,
    pub allow: bool,
}

/// Addresses of one side of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addresses {
    Any,
    Network(IpAddr, u8),
    Range(IpAddr, IpAddr),
    Set(usize),
}

/// A first packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    pub from: &'static str,
    pub to: &'static str,
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    /// Destination port; type and code for ICMP.
    pub port: u16,
}

/// Zones of the rules, the box's own first.
pub const ZONES: [&str; 4] = ["self", "outside", "inside", "dmz"];

struct Draw(Pattern);

impl Draw {
    /// Below `end`.
    fn below(&mut self, end: usize) -> usize {
        (self.0.next_word() >> 11) as usize % end
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn v4(&mut self) -> Ipv4Addr {
        // A company's networks: 40 of a /16 each.
        let network = self.below(40) as u32;
        Ipv4Addr::from_bits(0x0a00_0000 | network << 16 | self.below(1 << 16) as u32)
    }

    fn v6(&mut self) -> Ipv6Addr {
        let (site, host) = (self.below(40) as u128, self.below(1 << 24) as u128);
        Ipv6Addr::from_bits(0x2001_0db8 << 96 | site << 80 | host << 56 | self.below(1 << 16) as u128)
    }

    fn port(&mut self) -> u16 {
        if self.below(2) == 0 { self.one_of(&[22, 25, 53, 80, 443, 3389, 5432, 8080]) } else { 1_024 + self.below(40_000) as u16 }
    }

    fn services(&mut self) -> Vec<(u8, u16, u16)> {
        let protocol = if self.below(4) == 0 { UDP } else { TCP };
        match self.below(10) {
            0 | 1 => {
                let first = self.port();
                vec![(protocol, first, first + self.below(2_000) as u16)]
            }
            2 => (0..3).map(|_| self.port()).map(|port| (protocol, port, port)).collect(),
            3 => vec![(protocol, 0, u16::MAX)],
            _ => {
                let port = self.port();
                vec![(protocol, port, port)]
            }
        }
    }

    fn network_v4(&mut self) -> Addresses {
        let length = self.one_of(&[12, 16, 20, 24, 24, 26, 28, 32, 32, 32]);
        Addresses::Network(Ipv4Addr::from_bits(self.v4().to_bits() & u32::MAX << (32 - length)).into(), length as u8)
    }

    fn network_v6(&mut self) -> Addresses {
        let length = self.one_of(&[40, 48, 56, 64, 64, 96, 128, 128]);
        Addresses::Network(Ipv6Addr::from_bits(self.v6().to_bits() & u128::MAX << (128 - length)).into(), length as u8)
    }

    fn range_v4(&mut self) -> Addresses {
        let first = self.v4().to_bits();
        let last = (first | 0xff).min(first + 1 + self.below(200) as u32);
        if first == last {
            Addresses::Network(Ipv4Addr::from_bits(first).into(), 32)
        } else {
            Addresses::Range(Ipv4Addr::from_bits(first).into(), Ipv4Addr::from_bits(last).into())
        }
    }

    fn rule(&mut self, number: usize, sets: usize) -> Rule {
        let kind = [0, 7, 2, 4, 9, 5, 8, 3, 6, 1][number % 10];
        let (source, destination) = match kind {
            0 | 1 => (self.network_v4(), self.network_v4()),
            2 => (Addresses::Any, self.network_v4()),
            3 => (self.network_v4(), Addresses::Any),
            4 => (Addresses::Set(self.below(sets)), self.network_v4()),
            5 => (self.network_v4(), Addresses::Set(self.below(sets))),
            6 => (self.range_v4(), self.network_v4()),
            7 | 8 => (self.network_v6(), self.network_v6()),
            _ => (Addresses::Any, self.network_v6()),
        };
        Rule {
            from: self.one_of(&[Some("outside"), Some("outside"), Some("outside"), Some("inside"), Some("dmz"), None]),
            to: self.one_of(&[Some("self"), Some("self"), Some("self"), Some("inside"), Some("dmz"), None]),
            source,
            destination,
            services: match self.below(50) {
                0 if kind >= 7 => vec![(ICMPV6, 128 << 8, 128 << 8 | 255)],
                0 => vec![(ICMP, 8 << 8, 8 << 8 | 255)],
                _ => self.services(),
            },
            allow: self.below(5) > 0,
        }
    }
}

impl Mixed {
    /// As many rules, always the same for a seed.
    pub fn new(rules: usize, seed: u64) -> Self {
        let mut draw = Draw(Pattern::new(seed));
        let sets: Vec<Vec<Ipv4Addr>> = (0..rules.div_ceil(RULES_PER_SET)).map(|_| (0..SET).map(|_| draw.v4()).collect()).collect();
        let members = sets.iter().map(|set| set.iter().copied().collect()).collect();
        let rules = (0..rules).map(|number| draw.rule(number, sets.len())).collect();
        Self { rules, sets, members }
    }

    /// The policy's file.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (number, set) in self.sets.iter().enumerate() {
            let addresses: Vec<String> = set.iter().map(|address| format!("\"{address}\"")).collect();
            let _ = writeln!(text, "[set.s{number}]\naddresses = [{}]\n", addresses.join(", "));
        }
        for (number, rule) in self.rules.iter().enumerate() {
            let side = |zone: Option<&str>, addresses: Addresses| match addresses {
                Addresses::Any => zone.unwrap_or("any").to_owned(),
                Addresses::Network(address, length) => format!("{} {address}/{length}", zone.unwrap_or("any")),
                Addresses::Range(first, last) => format!("{} {first}-{last}", zone.unwrap_or("any")),
                Addresses::Set(set) => format!("{} @s{set}", zone.unwrap_or("any")),
            };
            let services: Vec<String> = rule.services.iter().map(|service| written(*service)).collect();
            let _ = writeln!(
                text,
                "[[rule]]\nname = \"r{number}\"\nfrom = \"{}\"\nto = \"{}\"\nservice = \"{}\"\naction = \"{}\"\n",
                side(rule.from, rule.source),
                side(rule.to, rule.destination),
                services.join(", "),
                if rule.allow { "allow" } else { "drop" }
            );
        }
        text
    }

    /// The first rule that matches, found by looking at one after the other.
    pub fn decide(&self, packet: &Packet) -> Option<usize> {
        let zone = |named: Option<&str>, zone: &str| named.is_none_or(|named| named == zone);
        self.rules.iter().position(|rule| {
            zone(rule.from, packet.from)
                && zone(rule.to, packet.to)
                && rule
                    .services
                    .iter()
                    .any(|(protocol, low, high)| *protocol == packet.protocol && *low <= packet.port && packet.port <= *high)
                && self.contains(rule.source, packet.source)
                && self.contains(rule.destination, packet.destination)
        })
    }

    fn contains(&self, addresses: Addresses, address: IpAddr) -> bool {
        match (addresses, address) {
            (Addresses::Any, _) => true,
            (Addresses::Network(IpAddr::V4(network), length), IpAddr::V4(address)) => {
                (network.to_bits() ^ address.to_bits()).leading_zeros() >= length.into()
            }
            (Addresses::Network(IpAddr::V6(network), length), IpAddr::V6(address)) => {
                (network.to_bits() ^ address.to_bits()).leading_zeros() >= length.into()
            }
            (Addresses::Range(first, last), address) => first.is_ipv4() == address.is_ipv4() && first <= address && address <= last,
            (Addresses::Set(set), IpAddr::V4(address)) => self.members[set].contains(&address),
            (Addresses::Network(..) | Addresses::Set(_), _) => false,
        }
    }

    /// Packets that a rule matches, or an earlier one, and packets that differ from those in one thing.
    pub fn packets(&self, count: usize, seed: u64) -> Vec<Packet> {
        let mut draw = Draw(Pattern::new(seed));
        (0..count)
            .map(|_| {
                let rule = draw.below(self.rules.len());
                let mut packet = self.packet(rule, &mut draw);
                let other = self.packet(draw.below(self.rules.len()), &mut draw);
                match draw.below(6) {
                    0 => packet.port = if packet.protocol == other.protocol { other.port } else { packet.port },
                    1 if packet.source.is_ipv4() == other.source.is_ipv4() => packet.source = other.source,
                    2 if packet.source.is_ipv4() == other.source.is_ipv4() => packet.destination = other.destination,
                    3 => packet.to = other.to,
                    _ => {}
                }
                packet
            })
            .collect()
    }

    /// Packets of TCP or UDP from `outside` to the box that are decided by a rule of these, which allows them; fewer when there are not as many.
    pub fn allowed_by(&self, rules: std::ops::Range<usize>, count: usize, seed: u64) -> Vec<Packet> {
        let decided = |rule: &Option<usize>| rule.is_some_and(|rule| rules.contains(&rule) && self.rules[rule].allow);
        self.inbound(rules.clone(), count, seed, decided)
    }

    /// The same that no rule matches.
    pub fn unmatched(&self, count: usize, seed: u64) -> Vec<Packet> {
        self.inbound(0..self.rules.len(), count, seed, |rule| rule.is_none())
    }

    fn inbound(&self, rules: std::ops::Range<usize>, count: usize, seed: u64, wanted: impl Fn(&Option<usize>) -> bool) -> Vec<Packet> {
        let mut draw = Draw(Pattern::new(seed));
        let tries = (0..100 * count).map(|_| {
            let mut packet = self.packet(rules.start + draw.below(rules.len()), &mut draw);
            if draw.below(2) == 0 {
                packet.port = draw.port();
            }
            Packet { from: "outside", to: "self", ..packet }
        });
        tries.filter(|packet| matches!(packet.protocol, TCP | UDP) && wanted(&self.decide(packet))).take(count).collect()
    }

    /// A packet the rule matches.
    fn packet(&self, rule: usize, draw: &mut Draw) -> Packet {
        let rule = &self.rules[rule];
        let family = [rule.source, rule.destination].into_iter().find_map(|side| match side {
            Addresses::Any => None,
            Addresses::Network(address, _) | Addresses::Range(address, _) => Some(address.is_ipv4()),
            Addresses::Set(_) => Some(true),
        });
        let v4 = family.unwrap_or(true);
        let (protocol, low, high) = draw.one_of(&rule.services);
        let zone = |named: Option<&'static str>, draw: &mut Draw| named.unwrap_or_else(|| draw.one_of(&ZONES[1..]));
        Packet {
            from: zone(rule.from, draw),
            to: rule.to.unwrap_or("self"),
            source: self.address(rule.source, v4, draw),
            destination: self.address(rule.destination, v4, draw),
            protocol,
            port: (low + draw.below(usize::from(high - low) + 1) as u16).max(1),
        }
    }

    fn address(&self, addresses: Addresses, v4: bool, draw: &mut Draw) -> IpAddr {
        match addresses {
            Addresses::Any if v4 => draw.v4().into(),
            Addresses::Any => draw.v6().into(),
            Addresses::Network(IpAddr::V4(network), length) => {
                let host = draw.v4().to_bits() & u32::MAX.checked_shr(length.into()).unwrap_or(0);
                Ipv4Addr::from_bits(network.to_bits() | host).into()
            }
            Addresses::Network(IpAddr::V6(network), length) => {
                let host = draw.v6().to_bits() & u128::MAX.checked_shr(length.into()).unwrap_or(0);
                Ipv6Addr::from_bits(network.to_bits() | host).into()
            }
            Addresses::Range(IpAddr::V4(first), IpAddr::V4(last)) => {
                let offset = draw.below((last.to_bits() - first.to_bits()) as usize + 1) as u32;
                Ipv4Addr::from_bits(first.to_bits() + offset).into()
            }
            Addresses::Range(first, _) => first,
            Addresses::Set(set) => draw.one_of(&self.sets[set]).into(),
        }
    }
}

/// A service as policies write it.
fn written((protocol, low, high): (u8, u16, u16)) -> String {
    match protocol {
        ICMP => format!("icmp/{}", low >> 8),
        ICMPV6 => format!("icmpv6/{}", low >> 8),
        _ => {
            let name = if protocol == TCP { "tcp" } else { "udp" };
            match (low, high) {
                (0, u16::MAX) => name.to_owned(),
                (low, high) if low == high => format!("{name}/{low}"),
                _ => format!("{name}/{low}-{high}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_meet_the_rules_they_are_made_for() {
        let mixed = Mixed::new(1_000, 1);
        for packet in mixed.allowed_by(900..1_000, 50, 2) {
            let rule = mixed.decide(&packet).expect("a rule matches");
            assert!(mixed.rules[rule].allow && (900..1_000).contains(&rule));
        }
        assert_eq!(mixed.unmatched(50, 3).len(), 50);
        let decided: HashSet<_> = mixed.packets(1_000, 4).iter().map(|packet| mixed.decide(packet)).collect();
        assert!(decided.contains(&None) && decided.len() > 300, "{} rules", decided.len());
    }

    #[test]
    fn the_same_seed_gives_the_same_policy() {
        assert_eq!(Mixed::new(100, 7).text(), Mixed::new(100, 7).text());
        assert_ne!(Mixed::new(100, 7).text(), Mixed::new(100, 8).text());
    }
}
