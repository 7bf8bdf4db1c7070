//! One line of an access list, word by word: what it is about, and what of it a rule cannot say.

use super::{
    access_list::Surroundings,
    members::{icmp, protocol, with_ports},
    objects::{Kind, Meaning},
    ranges::Ranges,
    region::{Addresses, Bounds, SCTP, Services, TCP, UDP},
    words::{Unreadable, Words, is_every_port, is_operator, ports},
};
use crate::policy::service::{ICMP, ICMPV6};

/// What is most often in the way.
pub(super) const SOURCE_PORT: &str = "a source port, which a rule of Weir cannot match";

/// A line's words, before it is known when it is in force.
pub(super) struct Ace {
    pub(super) permit: bool,
    pub(super) source: Bounds<Addresses>,
    pub(super) destination: Bounds<Addresses>,
    pub(super) service: Bounds<Services>,
    pub(super) options: Options,
    /// What of it a rule cannot say.
    pub(super) problems: Vec<String>,
}

/// Ports, and the group that they are all of.
type Ports = (Bounds<Ranges>, Option<Services>);

#[derive(Default)]
pub(super) struct Options {
    pub(super) log: bool,
    pub(super) inactive: bool,
    pub(super) time_range: Option<String>,
}
/// Reads lines of one list.
#[derive(Clone, Copy)]
pub(super) struct AceReader<'c, 't> {
    pub(super) around: Surroundings<'c, 't>,
    /// The list is of a release before 9.0, and of IPv6.
    pub(super) ipv6: bool,
}

impl AceReader<'_, '_> {
    pub(super) fn read(&self, words: &mut Words<'_, '_>) -> Result<Ace, Unreadable> {
        let permit = match words.expect("permit or deny")? {
            "permit" => true,
            "deny" => false,
            other => return Err(Unreadable(format!("`{other}` is neither permit nor deny"))),
        };
        let mut problems = Vec::new();
        let (mut service, has_ports) = self.services(words, &mut problems)?;
        let mut other_criterion = identity(words, &mut problems)?;
        let source = self.addresses(words, &mut problems)?;
        other_criterion |= identity(words, &mut problems)?;
        let source_ports = if has_ports { self.ports(words, &mut problems)? } else { None };
        let destination = self.addresses(words, &mut problems)?;
        other_criterion |= identity(words, &mut problems)?;
        if has_ports {
            if let Some((ports, group)) = self.ports(words, &mut problems)? {
                service = restrict(&service, &ports);
                // The group's name serves where the line means all of it.
                if let Some(group) = group.filter(|group| group.same(&service.sure)) {
                    service.sure = group;
                }
            }
        } else {
            self.icmp(words, &mut service, &mut problems)?;
        }
        if source_ports.is_some_and(|(ports, _)| !is_every_port(&ports.sure)) {
            problems.push(SOURCE_PORT.to_owned());
            other_criterion = true;
        }
        if other_criterion {
            service.sure = Services::none();
        }
        let options = options(words)?;
        Ok(Ace { permit, source, destination, service, options, problems })
    }

    /// The protocol of a line, and whether ports may follow.
    fn services(&self, words: &mut Words<'_, '_>, problems: &mut Vec<String>) -> Result<(Bounds<Services>, bool), Unreadable> {
        let word = words.expect("a protocol")?;
        if !matches!(word, "object" | "object-group") {
            let services = protocol(word)?;
            let has_ports = [TCP, UDP, SCTP].iter().any(|number| services.same(&Services::protocol(*number)));
            return Ok((Bounds::exact(services), has_ports));
        }
        let name = words.expect("a name")?;
        let kind = self.around.objects.kind(name);
        match self.around.objects.meaning(name) {
            Some(Meaning::Services(bounds)) => {
                if !bounds.sure.same(&bounds.possible) {
                    problems.push(format!("`{name}` is not known in full"));
                }
                Ok((bounds.clone(), kind == Some(Kind::Protocol)))
            }
            _ => Err(Unreadable(format!("there is no service and no group of protocols `{name}`"))),
        }
    }

    fn addresses(&self, words: &mut Words<'_, '_>, problems: &mut Vec<String>) -> Result<Bounds<Addresses>, Unreadable> {
        match words.peek() {
            Some("object" | "object-group") => {
                words.next();
                let name = words.expect("a name")?;
                let Some(Meaning::Addresses(bounds)) = self.around.objects.meaning(name) else {
                    problems.push(format!("there is no object or group of addresses `{name}`"));
                    return Ok(Bounds { sure: Addresses::none(), possible: Addresses::any() });
                };
                if !bounds.sure.same(&bounds.possible) {
                    problems.push(format!("`{name}` is not known in full"));
                }
                Ok(bounds.clone())
            }
            Some("interface") => {
                words.next();
                let name = words.expect("an interface's name")?;
                problems.push(format!("the address of interface `{name}`, which is the box's own"));
                let possible = self.around.interfaces.address(name).map_or(Addresses::any(), Addresses::host);
                Ok(Bounds { sure: Addresses::none(), possible })
            }
            Some("any") if self.ipv6 => {
                words.next();
                Ok(Bounds::exact(Addresses::any6()))
            }
            _ => self.around.dialect.addresses(words),
        }
    }

    /// Ports after an address, if there are any, and the group they are of.
    fn ports(&self, words: &mut Words<'_, '_>, problems: &mut Vec<String>) -> Result<Option<Ports>, Unreadable> {
        let mut ahead = words.clone();
        match (ahead.next(), ahead.next()) {
            (Some(operator), _) if is_operator(operator) => {
                words.next();
                Ok(Some((Bounds::exact(ports(operator, words)?), None)))
            }
            (Some("object-group"), Some(name)) if matches!(self.around.objects.kind(name), Some(Kind::Ports(_)) | None) => {
                // A name that is nowhere could be one of ports or of addresses: there must be addresses behind it.
                let Some(Meaning::Ports(bounds, group)) = self.around.objects.meaning(name) else { return Ok(None) };
                *words = ahead;
                if bounds.sure != bounds.possible {
                    problems.push(format!("`{name}` is not known in full"));
                }
                Ok(Some((bounds.clone(), Some(group.clone()))))
            }
            _ => Ok(None),
        }
    }

    /// An ICMP type, if the line is about ICMP and has one.
    fn icmp(&self, words: &mut Words<'_, '_>, service: &mut Bounds<Services>, problems: &mut Vec<String>) -> Result<(), Unreadable> {
        let number = [ICMP, ICMPV6].into_iter().find(|number| service.sure.same(&Services::protocol(*number)));
        let Some(number) = number else { return Ok(()) };
        match words.peek() {
            None | Some("log" | "time-range" | "inactive") => Ok(()),
            Some("object-group") => {
                words.next();
                let name = words.expect("a name")?;
                let Some(Meaning::IcmpTypes(types)) = self.around.objects.meaning(name) else {
                    problems.push(format!("there is no group of ICMP types `{name}`"));
                    service.sure = Services::none();
                    return Ok(());
                };
                if types.sure.len() != types.possible.len() {
                    problems.push(format!("`{name}` is not known in full"));
                }
                let union = |types: &[(u8, Option<u8>)]| {
                    let each: Vec<Services> = types.iter().map(|(kind, code)| Services::icmp(number, *kind, *code)).collect();
                    Services::union(&each)
                };
                *service = Bounds { sure: union(&types.sure), possible: union(&types.possible) };
                Ok(())
            }
            Some(_) => {
                *service = Bounds::exact(icmp(number, words)?);
                Ok(())
            }
        }
    }
}

/// What only an ASA knows: who the user is, and which security group a host is in.
fn identity(words: &mut Words<'_, '_>, problems: &mut Vec<String>) -> Result<bool, Unreadable> {
    let mut found = false;
    loop {
        let count = match words.peek() {
            Some("user" | "user-group" | "object-group-user" | "object-group-security") => 1,
            Some("security-group") => 2,
            _ => return Ok(found),
        };
        let word = words.expect("a criterion")?;
        for _ in 0..count {
            words.expect("a name")?;
        }
        problems.push(format!("`{word}`: Weir knows neither users nor security groups"));
        found = true;
    }
}

/// The protocols with ports, restricted to these.
fn restrict(service: &Bounds<Services>, ports: &Bounds<Ranges>) -> Bounds<Services> {
    let only = |services: &Services, ports: &Ranges| {
        let with = [TCP, UDP, SCTP].into_iter().filter(|number| services.covers(&Services::protocol(*number)));
        let each: Vec<Services> = with.map(|number| with_ports(number, ports)).collect();
        Services::union(&each)
    };
    // Of a protocol without ports it is not said what such a line means.
    let with_ports_all = Services::union(&[TCP, UDP, SCTP].map(Services::protocol));
    let plain = with_ports_all.covers(&service.possible);
    let possible = if plain { only(&service.possible, &ports.possible) } else { service.possible.clone() };
    Bounds { sure: only(&service.sure, &ports.sure), possible }
}

fn options(words: &mut Words<'_, '_>) -> Result<Options, Unreadable> {
    let mut options = Options::default();
    while let Some(word) = words.next() {
        match word {
            "log" => {
                options.log = true;
                while words.peek().is_some_and(|word| !matches!(word, "time-range" | "inactive")) {
                    words.next();
                }
            }
            "inactive" => options.inactive = true,
            "time-range" => options.time_range = Some(words.expect("a time range")?.to_owned()),
            other => return Err(Unreadable(format!("`{other}` is not known here"))),
        }
    }
    Ok(options)
}
