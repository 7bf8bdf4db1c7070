//! Network namespaces and veth pairs for test traffic, removed by guards whatever happens. The machine's own network is never touched.

pub mod process;
pub mod topology;

use std::{
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

use anyhow::{Context, Result};

use crate::{command, undo};

/// A namespace of its own, removed with everything in it when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    _removal: undo::Guard,
}

impl Namespace {
    /// Creates `weir-<pid>-<role>`, where IPv6 is off: neighbour discovery and multicast reports of a dozen veth ends would be counted
    /// among the packets that tests and the demo measure.
    pub fn create(role: &str) -> Result<Self> {
        let name = format!("weir-{}-{role}", std::process::id());
        // Guarded first: an interruption between the two lines leaves nothing behind.
        let removed = name.clone();
        let removal = undo::Guard::new(move || {
            if let Err(error) = command::output(Command::new("ip").args(["netns", "delete", &removed])) {
                eprintln!("warning: cannot remove namespace {removed}: {error:#}");
            }
        });
        command::output(Command::new("ip").args(["netns", "add", &name]))?;
        let namespace = Self { name, _removal: removal };
        namespace.sysctl("net/ipv6/conf/all/disable_ipv6", "1")?;
        namespace.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run inside. Not for `weir`, which has `--netns`: `ip netns exec` mounts a new /sys, without the BPF file system.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// `ip -netns NAME …`, words separated by blanks.
    pub fn ip(&self, words: &str) -> Result<()> {
        command::output(Command::new("ip").args(["-netns", &self.name]).args(words.split_whitespace())).map(drop)
    }

    /// nftables commands, run as one transaction.
    pub fn nft(&self, commands: &str) -> Result<String> {
        command::output(self.command("nft").arg(commands))
    }

    /// Sets a kernel parameter, named by its path below `/proc/sys`.
    pub fn sysctl(&self, path: &str, value: &str) -> Result<()> {
        // Written by a shell inside: `sysctl` is a package of its own, which a small system lacks.
        let mut shell = self.command("sh");
        command::output(shell.args(["-c", "echo \"$1\" >\"/proc/sys/$0\"", path, value])).map(drop)
    }

    /// A router: forwards between its interfaces.
    pub fn forward(&self) -> Result<()> {
        self.sysctl("net/ipv4/ip_forward", "1")
    }
}

/// One end of a veth pair.
#[derive(Debug, Clone, Copy)]
pub struct End<'a> {
    pub namespace: &'a Namespace,
    pub interface: &'a str,
    /// `ADDRESS/LENGTH`.
    pub address: &'a str,
    pub mac: &'a str,
    /// The other end may carry an XDP program that redirects or answers.
    pub faces_xdp: bool,
}

impl End<'_> {
    fn ip_address(&self) -> &str {
        self.address.split('/').next().unwrap_or(self.address)
    }

    /// Moves a network card into the namespace, under the interface's name.
    fn take_card(&self, card: &str) -> Result<()> {
        let Self { namespace, interface, .. } = self;
        let words = ["link", "set", card, "netns", namespace.name(), "name", interface];
        command::output(Command::new("ip").args(words)).map(drop).with_context(|| format!("cannot move the network card {card}"))
    }

    fn bring_up(&self, neighbour: &End<'_>) -> Result<()> {
        let Self { namespace, interface, address, mac, faces_xdp } = self;
        namespace.ip(&format!("link set {interface} address {mac}"))?;
        // Frames that an XDP program sends on lose what two offloads rest on. `tx`: the mark "checksum still to be filled in" is not part
        // of an XDP frame, so the receiver would meet a wrong checksum. `tso`, `gso`: a frame above the MTU cannot be redirected to
        // another veth. `gro` joins segments, so that a hop would lose many at once; but a veth end takes redirected frames only while
        // it polls, which it does with GRO on or with an XDP program of its own.
        let gro = if *faces_xdp { "on" } else { "off" };
        let offloads = ["--offload", interface, "tx", "off", "tso", "off", "gso", "off", "gro", gro];
        namespace.ip(&format!("address add {address} dev {interface}"))?;
        namespace.ip(&format!("link set {interface} up"))?;
        // Once it is up: GRO turned on before does not make the other end one that frames can be redirected to.
        command::output(namespace.command("ethtool").args(offloads))?;
        // A static neighbour: no resolution whose loss or timing would show in a measurement.
        namespace.ip(&format!("neighbour replace {} lladdr {} dev {interface} nud permanent", neighbour.ip_address(), neighbour.mac))
    }
}

/// Names the pairs of network cards, joined by wires, that [`join`] takes before it makes veth pairs: `eth0-eth1 eth2-eth3`.
pub const CARDS: &str = "WEIR_TEST_CARDS";

/// Joins two namespaces by a pair that is up, with addresses and static neighbours: a veth pair, unless there are [`CARDS`] left.
pub fn join(one: &End<'_>, other: &End<'_>) -> Result<()> {
    match next_cards(&std::env::var(CARDS).unwrap_or_default()) {
        Some((first, second)) => {
            one.take_card(&first)?;
            other.take_card(&second)?;
        }
        None => make_pair(one, other)?,
    }
    one.bring_up(other)?;
    other.bring_up(one)
}

/// The next pair of cards of a list that nobody has taken.
fn next_cards(list: &str) -> Option<(String, String)> {
    static TAKEN: AtomicUsize = AtomicUsize::new(0);
    let pair = list.split_whitespace().nth(TAKEN.load(Ordering::Relaxed))?;
    TAKEN.fetch_add(1, Ordering::Relaxed);
    pair.split_once('-').map(|(first, second)| (first.to_owned(), second.to_owned()))
}

fn make_pair(one: &End<'_>, other: &End<'_>) -> Result<()> {
    let pair = format!(
        "link add name {} netns {} type veth peer name {} netns {}",
        one.interface,
        one.namespace.name(),
        other.interface,
        other.namespace.name()
    );
    one.namespace.ip(&pair).context("cannot create a veth pair")
}
