//! The end-to-end scenarios: real TCP stacks in namespaces, a real `weir` in native XDP between them. Each asserts on what the endpoints
//! saw and on what Weir counted.

mod advise;
mod applications;
mod asymmetric;
mod attack;
mod bulk;
mod bypass;
mod connections;
mod crash;
pub(in crate::test) mod datagrams;
mod deny;
mod events;
mod expiry;
mod flood;
mod fragments;
mod guard;
mod host;
mod limits;
mod neighbours;
mod normalize;
mod path_mtu;
mod policy;
mod quality;
mod sets;
mod tags;

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};

use super::{lab::Lab, network::Placement};
use crate::soak;

/// Ports the usual policy allows strictly, allows with a short idle time, rejects, and does not name.
const ALLOWED: u16 = 7000;
const SHORT_LIVED: u16 = 7100;
const REJECTED: u16 = 7200;
const DENIED: u16 = 7300;

const PATIENCE: Duration = Duration::from_secs(120);

/// The policy most scenarios run under. Nothing but what it names passes.
const USUAL: &str = r#"
[[rule]]
name = "served"
from = "outside"
to = "inside"
service = "tcp/7000-7099, udp/7000-7099"
action = "allow"
inspection = "strict"

[[rule]]
name = "short-lived"
from = "outside"
to = "inside"
service = "tcp/7100"
action = "allow"
idle-timeout = "1s"

[[rule]]
name = "refused"
from = "outside"
to = "inside"
service = "tcp/7200, udp/7200"
action = "reject"

[[rule]]
name = "ping"
from = "outside"
to = "inside"
service = "icmp/echo-request, icmpv6/echo-request"
action = "allow"
"#;

/// One end-to-end scenario.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    pub about: &'static str,
    placement: Placement,
    policy: &'static str,
    /// Further arguments of `weir run`.
    more: &'static [&'static str],
    run: Play,
    /// One that takes longer hangs.
    pub(super) patience: Duration,
}

/// What a scenario does. It returns the figures worth showing.
#[derive(Debug, Clone, Copy)]
enum Play {
    InLab(fn(&mut Lab) -> Result<String>),
    /// In surroundings of its own making, with this `weir`.
    Alone(fn(&Path) -> Result<String>),
}

impl Scenario {
    const fn gateway(name: &'static str, about: &'static str, run: fn(&mut Lab) -> Result<String>) -> Self {
        Self { name, about, placement: Placement::Gateway, policy: USUAL, more: &[], run: Play::InLab(run), patience: PATIENCE }
    }

    pub(super) const fn alone(name: &'static str, about: &'static str, run: fn(&Path) -> Result<String>) -> Self {
        Self { name, about, placement: Placement::Gateway, policy: USUAL, more: &[], run: Play::Alone(run), patience: PATIENCE }
    }

    const fn host(name: &'static str, about: &'static str, run: fn(&mut Lab) -> Result<String>) -> Self {
        Self { placement: Placement::Host, policy: host::POLICY, ..Self::gateway(name, about, run) }
    }

    const fn under(self, policy: &'static str) -> Self {
        Self { policy, ..self }
    }

    pub(super) const fn within(self, seconds: u64) -> Self {
        Self { patience: Duration::from_secs(seconds), ..self }
    }

    const fn with(self, more: &'static [&'static str]) -> Self {
        Self { more, ..self }
    }
}

pub const ALL: &[Scenario] = &[
    Scenario::gateway("bulk", "64 MiB each way, every byte compared, nothing dropped", bulk::v4),
    Scenario::gateway("bulk-v6", "the same over IPv6, neighbours discovered through Weir", bulk::v6),
    Scenario::gateway("short-connections", "200 connections end in time-wait, nothing dropped", connections::short),
    Scenario::gateway("half-close", "a server goes on sending after its client has closed", connections::half_close),
    Scenario::gateway("reset", "a reset closes the flow", connections::reset),
    Scenario::gateway("udp", "datagrams come back over IPv4 and IPv6", datagrams::udp),
    Scenario::gateway("ping", "echo requests are answered over IPv4 and IPv6", datagrams::ping),
    Scenario::gateway("denied", "a port no rule names cannot be reached", deny::denied),
    Scenario::gateway("rejected", "a rejected port refuses at once", deny::rejected),
    Scenario::gateway("applications", "what flows carry is recognised, and a backup on TCP/10000 is none of it", applications::recognised)
        .under(applications::POLICY),
    Scenario::gateway("vlan", "tagged frames are read and judged", tags::judged),
    Scenario::gateway("attack", "a blind attacker does not disturb an open connection", attack::blind),
    Scenario::gateway("spoofed-side", "an attacker on the wrong side does not get into a flow", attack::wrong_side),
    Scenario::gateway("fragments", "large datagrams and pings pass in fragments, a teardrop and a fragment alone do not", fragments::both),
    Scenario::gateway("neighbours", "duplicate IPv6 addresses are detected through Weir", neighbours::duplicates),
    Scenario::gateway("path-mtu", "a narrow path is discovered under a policy without ICMP", path_mtu::discovered).under(path_mtu::POLICY),
    Scenario::gateway("forged-errors", "a forged ICMP error does not reach its victim", path_mtu::forged).under(path_mtu::POLICY),
    Scenario::gateway("path-mtu-randomized", "the same where sequence numbers are randomized", path_mtu::discovered)
        .under(path_mtu::RANDOMIZED),
    Scenario::gateway(
        "forged-errors-randomized",
        "a forged ICMP error must know a randomized number",
        path_mtu::forged_under_randomization,
    )
    .under(path_mtu::RANDOMIZED),
    Scenario::gateway("normalizer", "profile asa: other numbers, cleared options and urgent data, right checksums", normalize::gateway)
        .under(normalize::GATEWAY),
    Scenario::host("normalizer-host", "the same for a host's own connections, in both directions", normalize::host).under(normalize::HOST),
    Scenario::gateway("mss-clamp", "a SYN's MSS is clamped, and segments are no larger", normalize::clamped).under(normalize::GATEWAY),
    Scenario::gateway("bad-checksum", "a SYN, FIN or RST with a wrong checksum does not pass", normalize::checksums),
    Scenario::gateway("events", "flows and drops are told as they happen, with their arithmetic", events::told).under(events::POLICY),
    Scenario::gateway("events-limited", "of a flood of drops every event is sent, limited or lost", events::limited).with(events::RATE),
    Scenario::gateway("expiry", "a flow ends with its idle time", expiry::idle),
    Scenario::gateway("flood", "50 000 SYNs do not disturb an open connection", flood::syns).with(&["--embryonic", "4096"]),
    Scenario::gateway(
        "limits-flood",
        "of 20 000 SYNs as many pass as the rule allows, and an open connection goes on",
        limits::flood_of_syns,
    )
    .under(limits::POLICY),
    Scenario::gateway("limits-source", "each source has as many connections as the rule allows", limits::connections_per_source)
        .under(limits::POLICY),
    Scenario::gateway("policy-swap", "50 changes of policy under load lose nothing", policy::swap),
    Scenario::gateway("policy-cut", "a policy that denies cuts a live flow within a second", policy::cut),
    Scenario::gateway("policy-relearn", "a live flow goes from bypass to strict without a loss", policy::relearn),
    Scenario::gateway("policy-trial", "what is not confirmed goes, through a killed controller and without a loss", policy::trial),
    Scenario::gateway("set-cut", "an address added to a set is cut within a second, and let in again when it is removed", sets::cut),
    Scenario::gateway("crash", "traffic and denial outlive a killed controller", crash::killed),
    Scenario::host("host-served", "a host's open port is reached, a closed one is not", host::served),
    Scenario::host("host-outgoing", "a host's own connections work, unsolicited packets do not", host::outgoing),
    Scenario::alone(
        "asymmetric",
        "two gateways that see one side each name the other, and pass it by bypass rules and nothing else",
        asymmetric::two_gateways,
    ),
    Scenario::alone("advise", "IPsec over TCP dies of its losses, the advice is followed, and it lives", advise::fake_tcp),
    Scenario::gateway("advise-one-sided", "a path on which replies go elsewhere is known, and its rule helps", advise::one_sided),
    Scenario::gateway("advise-attack", "scans and blind injections are known, and never let through", advise::attacked),
    Scenario::alone(
        "guard-injection",
        "a guarded bypass refuses what is injected, and its stream goes on through changes of keys",
        guard::injection,
    ),
    Scenario::alone("bypass-needed", "IPsec over TCP needs its bypass when packets are lost, real TCP never does", bypass::needed),
    Scenario::alone("quality", "the side of a loss is found for 95 of 100 real connections with 1 to 5 % lost", quality::side),
    Scenario::alone("soak", "20 s of TCP of eleven kinds over good and bad paths, nothing dropped", soak::scenario),
];

/// Runs one scenario in this process. The error says everything there is to know.
pub fn run(scenario: &Scenario, binary: &Path) -> Result<String> {
    let play = match scenario.run {
        Play::InLab(play) => play,
        Play::Alone(play) => return play(binary),
    };
    let mut lab = Lab::create(binary, scenario.placement, scenario.policy, scenario.more).context("the scenario cannot begin")?;
    let result = play(&mut lab);
    if let Err(error) = result {
        eprintln!("{}", lab.diagnosis());
        return Err(error);
    }
    lab.stop()?;
    result
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::ALL;

    #[test]
    fn every_scenario_has_a_name_of_its_own() {
        let names: BTreeSet<_> = ALL.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), ALL.len());
    }
}
