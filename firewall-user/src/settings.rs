//! What `weir run` is told, on the command line or in a file. The command line wins, setting by setting; interfaces of both count.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    str::FromStr,
};

use firewall_common::event;
use serde::Deserialize;

use crate::{
    api::{Failure, ModeRequest},
    dataplane::Sizes,
    instance::Instance,
    policy::{Source, diagnostic},
    zone,
};

/// Longest interface name the kernel knows.
const INTERFACE_NAME_LENGTH: usize = 15;
/// Smallest and largest flow table: the first so that nothing divides by zero, the second so that memory is asked for in gigabytes.
const TABLE_SIZES: std::ops::RangeInclusive<u32> = 64..=33_554_432;

/// Where Weir stands in the path of packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// Protects the box it runs on: everything that comes in goes to zone `self`
    #[default]
    Host,
    /// Routes between its interfaces: the zone a packet goes to comes from the route
    Gateway,
    /// Sits in a cable; not available yet
    Bridge,
}

impl Placement {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Gateway => "gateway",
            Self::Bridge => "bridge",
        }
    }
}

/// What becomes of the dataplane when the daemon ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum OnExit {
    /// It goes on without the daemon; the next `weir run` takes it over
    #[default]
    Keep,
    /// It is detached and removed: packets pass unfiltered
    Detach,
}

/// An interface to attach: `ZONE=IFACE[:native|:generic]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct InterfaceSpec {
    pub zone: String,
    pub name: String,
    pub mode: ModeRequest,
}

impl FromStr for InterfaceSpec {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let syntax = || {
            Failure::usage(format!("`{text}` does not say ZONE=IFACE[:native|:generic]"))
                .hint("for example outside=eth0, or inside=eth1:generic")
        };
        let (zone, rest) = text.split_once('=').ok_or_else(syntax)?;
        let (name, mode) = match rest.split_once(':') {
            Some((name, mode)) => (name, mode.parse()?),
            None => (rest, ModeRequest::Auto),
        };
        zone::check(zone)?;
        if name.is_empty() {
            return Err(syntax());
        }
        check_interface_name(name)?;
        Ok(Self { zone: zone.to_owned(), name: name.to_owned(), mode })
    }
}

impl TryFrom<String> for InterfaceSpec {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map_err(|failure: Failure| failure.sentence())
    }
}

impl fmt::Display for InterfaceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.zone, self.name)
    }
}

/// Refuses what the kernel would refuse as an interface's name.
pub fn check_interface_name(name: &str) -> Result<(), Failure> {
    let illegal = |character: char| character == '/' || character == ':' || character.is_whitespace() || character.is_control();
    if name.is_empty() || name.len() > INTERFACE_NAME_LENGTH || name == "." || name == ".." || name.contains(illegal) {
        return Err(Failure::usage(format!("`{}` is no name of an interface", name.escape_debug())).hint("`ip link` lists the interfaces"));
    }
    Ok(())
}

/// The settings a file may hold, and the command line gives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Partial {
    pub instance: Option<String>,
    pub placement: Option<Placement>,
    #[serde(default)]
    pub interfaces: Vec<InterfaceSpec>,
    pub policies: Option<PathBuf>,
    pub on_exit: Option<OnExit>,
    pub netns: Option<String>,
    pub established: Option<u32>,
    pub embryonic: Option<u32>,
    pub event_rate: Option<u32>,
    pub log_file: Option<PathBuf>,
    pub watch: Option<bool>,
}

/// Everything `weir run` needs, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    pub instance: Instance,
    pub placement: Placement,
    pub interfaces: Vec<InterfaceSpec>,
    /// Absolute.
    pub policies: PathBuf,
    pub on_exit: OnExit,
    pub netns: Option<String>,
    pub sizes: Sizes,
    /// Events of each kind per second and CPU.
    pub event_rate: u32,
    /// Where rules with `log = true` are written to; absolute.
    pub log_file: PathBuf,
    /// Changes of the policy's files are applied by themselves.
    pub watch: bool,
    pub discard_flows: bool,
    pub legacy_egress: bool,
}

impl Partial {
    /// Reads a settings file.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).map_err(|error| Failure::usage(format!("{} cannot be read: {error}", path.display())))?;
        toml::from_str(&text).map_err(|error| {
            let at = error.span().unwrap_or_default();
            let message = error.message().replace('\n', ", ");
            let source = Source { path: path.to_path_buf(), text };
            Failure::usage(diagnostic::refuse(source, at, &message, "`weir run --help` lists the settings").to_string())
        })
    }

    /// These settings, and those of `other` where these say nothing.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        self.interfaces.extend(other.interfaces);
        Self {
            instance: self.instance.or(other.instance),
            placement: self.placement.or(other.placement),
            interfaces: self.interfaces,
            policies: self.policies.or(other.policies),
            on_exit: self.on_exit.or(other.on_exit),
            netns: self.netns.or(other.netns),
            established: self.established.or(other.established),
            embryonic: self.embryonic.or(other.embryonic),
            event_rate: self.event_rate.or(other.event_rate),
            log_file: self.log_file.or(other.log_file),
            watch: self.watch.or(other.watch),
        }
    }

    /// Checks that the settings make sense together and fills in the defaults.
    pub fn resolve(self) -> Result<Settings, Failure> {
        let placement = self.placement.unwrap_or_default();
        if placement == Placement::Bridge {
            return Err(Failure::usage("placement `bridge` is not available yet").hint("use `host` or `gateway`"));
        }
        for (index, spec) in self.interfaces.iter().enumerate() {
            if self.interfaces[..index].iter().any(|earlier| earlier.name == spec.name) {
                return Err(Failure::usage(format!("interface {} is given twice", spec.name)).hint("an interface is in one zone"));
            }
        }
        let policies = self.policies.ok_or_else(|| {
            Failure::usage("no policy: --policies is missing")
                .hint("without a policy everything would be dropped; give a directory of *.toml files")
        })?;
        let policies = std::path::absolute(&policies).map_err(|error| Failure::usage(format!("{}: {error}", policies.display())))?;
        let defaults = Sizes::default();
        let sizes = Sizes {
            established: check_size("--established", self.established.unwrap_or(defaults.established))?,
            embryonic: check_size("--embryonic", self.embryonic.unwrap_or(defaults.embryonic))?,
        };
        let instance = match self.instance {
            Some(name) => name.parse().map_err(|error: crate::instance::InvalidInstance| Failure::usage(error.to_string()))?,
            None => Instance::default(),
        };
        let log_file = self.log_file.unwrap_or_else(|| instance.log());
        let log_file = std::path::absolute(&log_file).map_err(|error| Failure::usage(format!("{}: {error}", log_file.display())))?;
        Ok(Settings {
            instance,
            placement,
            interfaces: self.interfaces,
            policies,
            on_exit: self.on_exit.unwrap_or_default(),
            netns: self.netns,
            sizes,
            event_rate: self.event_rate.unwrap_or(event::DEFAULT_RATE),
            log_file,
            watch: self.watch.unwrap_or(false),
            discard_flows: false,
            legacy_egress: false,
        })
    }
}

fn check_size(name: &str, size: u32) -> Result<u32, Failure> {
    if TABLE_SIZES.contains(&size) {
        return Ok(size);
    }
    Err(Failure::usage(format!("{name} {size} is out of range")).hint(format!(
        "between {} and {} flows",
        TABLE_SIZES.start(),
        TABLE_SIZES.end()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_read() {
        let spec: InterfaceSpec = "outside=eth0.100:generic".parse().expect("legal");
        assert_eq!(spec, InterfaceSpec { zone: "outside".into(), name: "eth0.100".into(), mode: ModeRequest::Generic });
        assert_eq!("inside=e".parse::<InterfaceSpec>().map(|spec| spec.mode), Ok(ModeRequest::Auto));
        for text in
            ["", "eth0", "=eth0", "self=eth0", "outside=", "outside=eth0:fast", "outside=a/b", "outside=sixteen-bytes-xx", "x=a:b:c"]
        {
            assert!(text.parse::<InterfaceSpec>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let file: Partial =
            toml::from_str("placement = 'gateway'\non-exit = 'detach'\npolicies = '/p'\ninterfaces = ['a=eth0']\n").expect("legal");
        let line = Partial { placement: Some(Placement::Host), interfaces: vec!["b=eth1".parse().expect("legal")], ..Partial::default() };
        let settings = line.or(file).resolve().expect("complete");
        assert_eq!((settings.placement, settings.on_exit, settings.interfaces.len()), (Placement::Host, OnExit::Detach, 2));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let complete = || Partial { policies: Some("/p".into()), ..Partial::default() };
        assert!(complete().resolve().is_ok());
        assert!(Partial::default().resolve().is_err(), "no policy");
        assert!(Partial { placement: Some(Placement::Bridge), ..complete() }.resolve().is_err(), "bridge");
        assert!(Partial { established: Some(0), ..complete() }.resolve().is_err(), "an empty table");
        let twice = vec!["a=eth0".parse().expect("legal"), "b=eth0".parse().expect("legal")];
        assert!(Partial { interfaces: twice, ..complete() }.resolve().is_err(), "an interface in two zones");
        assert!(toml::from_str::<Partial>("colour = 'red'").is_err(), "an unknown key");
    }
}
