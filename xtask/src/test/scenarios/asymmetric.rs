//! Two gateways, each with a Weir of its own, on the two ways of an asymmetric path: what the client sends goes by one, what the server sends by
//! the other.
//!
//! ```text
//!            outside │ forth │ inside
//!          ┌──────────→─────────────┐
//!   client ┤                        ├ server
//!          └──────────←─────────────┘
//!            outside │ back  │ inside
//! ```

use std::{
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    netns::{End, Namespace, join},
    scratch::Scratch,
    test::{
        lab::{diagnosis, wait_for},
        load::Pump,
        network::{Family, INSIDE, OUTSIDE, enable_v6, inside},
        stream::{self, Pair, joined},
    },
    vm,
    weir::{Counters, Launch, Weir},
};

const PORT: u16 = 7000;
/// No rule names it.
const OTHER_PORT: u16 = 7001;
const BYTES: u64 = 16 << 20;
/// Long enough for a SYN and three repetitions.
const IN_VAIN: Duration = Duration::from_secs(8);
const SHORT: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_secs(1);

/// A link: namespaces by place, names, addresses of both families, and the last bytes of the MACs.
struct Link<'a> {
    ends: [(&'a Namespace, &'static str, &'static str, &'static str); 2],
    macs: [&'static str; 2],
    /// Which of the two is a gateway's.
    gateway: usize,
}

impl Link<'_> {
    fn make(&self) -> Result<()> {
        let end = |place: usize| {
            let (namespace, interface, address, _) = self.ends[place];
            End { namespace, interface, address, mac: self.macs[place], faces_xdp: place != self.gateway }
        };
        join(&end(0), &end(1))?;
        for (namespace, interface, _, address) in self.ends {
            enable_v6(namespace, interface, address.parse::<IpAddr>()?)?;
        }
        Ok(())
    }
}

/// The four namespaces, connected and routed for both families.
#[derive(Debug)]
struct Network {
    client: Namespace,
    server: Namespace,
    forth: Namespace,
    back: Namespace,
}

impl Network {
    fn create() -> Result<Self> {
        let [client, server, forth, back] = ["client", "server", "forth", "back"].map(Namespace::create);
        let network = Self { client: client?, server: server?, forth: forth?, back: back? };
        network.connect().context("cannot connect the namespaces")?;
        Ok(network)
    }

    fn connect(&self) -> Result<()> {
        let Self { client, server, forth, back } = self;
        for namespace in [client, server, forth, back] {
            // A packet may come by another interface than its answer goes by: that is what this is about.
            namespace.sysctl("net/ipv4/conf/all/rp_filter", "0")?;
            namespace.sysctl("net/ipv4/conf/default/rp_filter", "0")?;
        }
        let links = [
            Link {
                ends: [(client, "out", "192.0.2.2/24", "2001:db8:1::2"), (forth, OUTSIDE, "192.0.2.1/24", "2001:db8:1::1")],
                macs: ["02:00:00:00:00:01", "02:00:00:00:00:02"],
                gateway: 1,
            },
            Link {
                ends: [(forth, INSIDE, "198.51.100.1/24", "2001:db8:2::1"), (server, "in", "198.51.100.2/24", "2001:db8:2::2")],
                macs: ["02:00:00:00:00:03", "02:00:00:00:00:04"],
                gateway: 0,
            },
            Link {
                ends: [(server, "out", "203.0.113.6/30", "2001:db8:4::2"), (back, INSIDE, "203.0.113.5/30", "2001:db8:4::1")],
                macs: ["02:00:00:00:00:05", "02:00:00:00:00:06"],
                gateway: 1,
            },
            Link {
                ends: [(back, OUTSIDE, "203.0.113.1/30", "2001:db8:3::1"), (client, "in", "203.0.113.2/30", "2001:db8:3::2")],
                macs: ["02:00:00:00:00:07", "02:00:00:00:00:08"],
                gateway: 0,
            },
        ];
        links.iter().try_for_each(Link::make)?;
        for gateway in [forth, back] {
            gateway.forward()?;
            gateway.sysctl("net/ipv6/conf/all/forwarding", "1")?;
        }
        for (namespace, route) in [
            (client, "route add default via 192.0.2.1"),
            (client, "-6 route add default via 2001:db8:1::1"),
            (server, "route add default via 203.0.113.5"),
            (server, "-6 route add default via 2001:db8:4::1"),
            (back, "route add 192.0.2.0/24 via 203.0.113.2"),
            (back, "-6 route add 2001:db8:1::/64 via 2001:db8:3::2"),
            (back, "route add 198.51.100.0/24 via 203.0.113.6"),
            (back, "-6 route add 2001:db8:2::/64 via 2001:db8:4::2"),
        ] {
            namespace.ip(route)?;
        }
        Ok(())
    }

    fn connect_to(&self, family: Family, port: u16, patience: Duration) -> std::io::Result<TcpStream> {
        connects(&self.client, SocketAddr::new(server(family), port), patience)
    }

    fn pair(&self, listener: &TcpListener, family: Family) -> Result<Pair> {
        let client = self.connect_to(family, PORT, stream::PATIENCE).with_context(|| format!("cannot connect over {family:?}"))?;
        Pair::new(client, stream::accept(listener)?)
    }

    fn listen(&self, family: Family) -> Result<TcpListener> {
        inside(&self.server, || TcpListener::bind((server(family), PORT)).context("cannot listen"))
    }
}

fn connects(namespace: &Namespace, to: SocketAddr, patience: Duration) -> std::io::Result<TcpStream> {
    inside(namespace, || Ok(TcpStream::connect_timeout(&to, patience))).unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

/// The server's address on the link to the way forth.
fn server(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from([198, 51, 100, 2]),
        Family::V6 => IpAddr::from([0x2001, 0xdb8, 2, 0, 0, 0, 0, 2]),
    }
}

/// One rule for each direction, as both gateways have them: which of the two a gateway needs hangs on which way it stands on.
fn policy(inspection: &str) -> String {
    let rule = |name: &str, from: &str, to: &str, service: &str| {
        format!(
            "[[rule]]\nname = \"{name}\"\nfrom = [{from}]\nto = [{to}]\nservice = \"{service}\"\naction = \"allow\"\n\
             inspection = \"{inspection}\"\n\n"
        )
    };
    let clients = "\"outside 192.0.2.2\", \"outside 2001:db8:1::2\"";
    let servers = "\"inside 198.51.100.2\", \"inside 2001:db8:2::2\"";
    rule("there", clients, servers, &format!("tcp/{PORT}")) + &rule("back-again", servers, clients, "tcp/32768-60999")
}

/// What a flow says of its missing side.
#[derive(Debug, Clone, Deserialize)]
struct Flow {
    inspection: String,
    rule: String,
    flags: String,
    one_sided: Option<OneSided>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct OneSided {
    missing: String,
    expected_interface: Option<String>,
    attached: bool,
    zone: Option<String>,
    certain: bool,
    why: String,
}

impl OneSided {
    fn points_to(&self, interface: &str) -> bool {
        self.missing == "to_initiator"
            && self.expected_interface.as_deref() == Some(interface)
            && self.attached
            && self.zone.as_deref() == Some(interface)
            && self.why.contains(interface)
    }
}

pub fn two_gateways(binary: &Path) -> Result<String> {
    let scratch = Scratch::create("asymmetric")?;
    let network = Network::create()?;
    let start = |name: &str, namespace: &Namespace| {
        let policies = scratch.directory_with(&format!("{name}-strict"), "policy.toml", &policy("strict"))?;
        Weir::start(Launch::gateway(binary, namespace, &format!("test-{name}"), policies, &scratch))
    };
    let gateways = Gateways { forth: start("forth", &network.forth)?, back: start("back", &network.back)? };
    let result = gateways.play(&network, &scratch);
    if result.is_err() {
        eprintln!("forth: {}\nback: {}", diagnosis(&gateways.forth), diagnosis(&gateways.back));
    }
    let told = result?;
    gateways.forth.stop()?;
    gateways.back.stop()?;
    Ok(told)
}

#[derive(Debug)]
struct Gateways {
    forth: Weir,
    back: Weir,
}

impl Gateways {
    fn play(&self, network: &Network, scratch: &Scratch) -> Result<String> {
        for weir in [&self.forth, &self.back] {
            weir.counters()?.all_native()?;
        }
        let listeners = Family::BOTH.map(|family| network.listen(family));
        let [v4, v6] = listeners;
        let listeners = [v4?, v6?];
        self.strict_names_the_missing_side(network)?;
        for (name, weir) in [("forth", &self.forth), ("back", &self.back)] {
            weir.apply(&scratch.directory_with(&format!("{name}-bypass"), "policy.toml", &policy("bypass"))?)?;
        }
        let before = [self.forth.counters()?, self.back.counters()?];
        let seconds = self.bypass_passes(network, &listeners)?;
        self.nothing_else_was_needed(&before)?;
        self.nothing_else_passes(network, &before)?;
        let last = self.removal_ends_it(network, &listeners[0])?;
        Ok(format!(
            "strict names the missing side on both; 2 × {BYTES} bytes each over IPv4 and IPv6 in {seconds:.1} s; {last:.1?} after removal"
        ))
    }

    /// No connection comes up, and each gateway says which packets it misses and where they should come by.
    fn strict_names_the_missing_side(&self, network: &Network) -> Result<()> {
        thread::scope(|scope| {
            let tries = Family::BOTH.map(|family| scope.spawn(move || network.connect_to(family, PORT, IN_VAIN)));
            tries.into_iter().try_for_each(|one| {
                let connected = joined(one.join().map(|result| Ok(result.is_ok())))?;
                ensure!(!connected, "strict inspection let a connection of which each gateway sees one side come up");
                Ok(())
            })
        })?;
        for family in Family::BOTH {
            let flow = one(&self.forth, &[&format!("address={}", server(family)), "one-sided=yes"])?;
            let named = flow.one_sided.as_ref().is_some_and(|one_sided| one_sided.points_to(INSIDE) && !one_sided.certain);
            ensure!(named && flow.flags.contains('1'), "the way forth does not name what it misses: {flow:?}");
            let client = family.client().to_string();
            let status: Value = self.back.read("status", &[])?;
            let silent = status["silent"].as_array().and_then(|list| list.iter().find(|silent| silent["address"] == client.as_str()));
            let silent = silent.with_context(|| format!("the way back does not say that it misses {client}: {status}"))?;
            ensure!(silent["expected_interface"] == OUTSIDE && silent["certain"] == true && silent["attached"] == true, "{silent}");
            ensure!(silent["dropped_answers"].as_u64() >= Some(2), "{silent}");
        }
        let drops = self.back.counters()?.drops;
        ensure!(drops.keys().eq(["tcp-not-syn"]), "the way back dropped for another reason: {drops:?}");
        ensure!(flows(&self.back, &[])?.is_empty(), "the way back has flows");
        ensure!(self.forth.counters()?.drops.is_empty(), "the way forth dropped something");
        Ok(())
    }

    /// Every byte arrives, and it still shows that each gateway sees one side.
    fn bypass_passes(&self, network: &Network, listeners: &[TcpListener; 2]) -> Result<f64> {
        let pairs: Vec<Pair> =
            Family::BOTH.into_iter().zip(listeners).map(|(family, listener)| network.pair(listener, family)).collect::<Result<_>>()?;
        let began = Instant::now();
        for pair in &pairs {
            pair.exchange_bulk(BYTES)?;
        }
        let seconds = began.elapsed().as_secs_f64();
        for (family, pair) in Family::BOTH.into_iter().zip(&pairs) {
            let port = format!("port={}", pair.client.local_addr()?.port());
            for (weir, rule, missing) in [(&self.forth, "there", INSIDE), (&self.back, "back-again", OUTSIDE)] {
                wait_for(&format!("a one-sided flow by rule {rule} over {family:?}"), || {
                    let flow = one(weir, &[&port])?;
                    let named = flow.one_sided.as_ref().is_some_and(|one_sided| one_sided.points_to(missing) && one_sided.certain);
                    Ok(named && flow.rule == rule && flow.inspection == "bypass")
                })?;
            }
        }
        pairs.into_iter().try_for_each(Pair::close)?;
        Ok(seconds)
    }

    /// One rule on each way, and not a packet dropped.
    fn nothing_else_was_needed(&self, before: &[Counters; 2]) -> Result<()> {
        for ((weir, before), used) in [&self.forth, &self.back].into_iter().zip(before).zip(["there", "back-again"]) {
            let counters = weir.all_counters()?;
            let hit: Vec<&str> = counters["rules"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|rule| rule["hits"].as_u64() > Some(0))
                .filter_map(|rule| rule["name"].as_str())
                .collect();
            ensure!(hit == [used], "rules that decided something: {hit:?}, expected {used}");
            let drops = weir.counters()?.drops_since(before);
            ensure!(drops.is_empty(), "bypass dropped something: {drops:?}");
        }
        Ok(())
    }

    /// What the rules do not name does not pass, on either way.
    fn nothing_else_passes(&self, network: &Network, before: &[Counters; 2]) -> Result<()> {
        let _listening = inside(&network.server, || TcpListener::bind((server(Family::V4), OTHER_PORT)).context("cannot listen"))?;
        ensure!(network.connect_to(Family::V4, OTHER_PORT, SHORT).is_err(), "a port that no rule names was reached");
        let client = SocketAddr::new(Family::V4.client(), OTHER_PORT);
        let _listening = inside(&network.client, || TcpListener::bind(client).context("cannot listen"))?;
        ensure!(connects(&network.server, client, SHORT).is_err(), "the server reached a port that no rule names");
        for (weir, before) in [&self.forth, &self.back].into_iter().zip(before) {
            let drops = weir.counters()?.drops_since(before);
            ensure!(drops.keys().eq(["acl-drop"]), "expected nothing but acl-drop: {drops:?}");
        }
        Ok(())
    }

    /// Without its rule a live connection ends within a second.
    fn removal_ends_it(&self, network: &Network, listener: &TcpListener) -> Result<Duration> {
        let pump = Pump::start(network.pair(listener, Family::V4)?)?;
        pump.flows_on(1 << 20)?;
        let soon = SOON * vm::slower();
        let given = Instant::now();
        let _: Value = self.forth.read("bypass", &["remove", "there"])?;
        wait_for("the flow's bytes to stop", || Ok(pump.last_arrival().elapsed() > soon))?;
        let after = pump.last_arrival().saturating_duration_since(given);
        ensure!(after < soon, "bytes still arrived {after:?} after the rule's removal");
        Ok(after)
    }
}

fn flows(weir: &Weir, filters: &[&str]) -> Result<Vec<Flow>> {
    weir.read("flows", filters)
}

/// The one flow that meets the filters.
fn one(weir: &Weir, filters: &[&str]) -> Result<Flow> {
    let mut flows = flows(weir, filters)?;
    ensure!(flows.len() == 1, "expected one flow for {filters:?}: {flows:?}");
    flows.pop().context("a flow that was there")
}
