//! The network of the soak:
//!
//! ```text
//! modern ─┬─ west ── outside │ gateway │ inside ── east ─┬─ server
//! plain  ─┘                                              └─
//! ```
//!
//! Every host has two ways to its router: a direct one, and one through a hop that reorders and doubles frames (see [`super::hop`]). Both
//! routers lose packets of one path, and know a smaller MTU for another, of which the sender learns by ICMP alone. So whatever may
//! happen to a packet happens on either side of Weir.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::{Context, Result};

use crate::{
    command,
    netns::{End, Namespace, join},
    test::network::{Family, INSIDE, OUTSIDE, enable_v6},
};

/// The routers' interfaces towards the gateway.
pub const UPLINK: &str = "uplink";
/// The hop's interfaces: towards the host, and towards its router.
pub const NEAR: &str = "near";
pub const FAR: &str = "far";
/// Percentage lost by each router on the lossy path, in each direction.
pub const LOSS: u8 = 2;
/// What the far router's link of the narrow path takes.
const NARROW: u16 = 1300;
/// `net.ipv4.tcp_fastopen`: client and server, without an option of the listening socket.
const FAST_OPEN: &str = "1027";

/// Who talks. Clients differ in what their TCP may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// ECN, timestamps, selective acknowledgements, window scaling.
    Modern,
    /// None of them.
    Plain,
    /// Everything, and whatever the client offers.
    Server,
}

impl Host {
    pub const ALL: [Self; 3] = [Self::Modern, Self::Plain, Self::Server];
    pub const CLIENTS: [Self; 2] = [Self::Modern, Self::Plain];

    pub fn name(self) -> &'static str {
        match self {
            Self::Modern => "modern",
            Self::Plain => "plain",
            Self::Server => "server",
        }
    }

    /// Its byte in addresses.
    pub fn number(self) -> u8 {
        match self {
            Self::Modern => 1,
            Self::Plain => 2,
            Self::Server => 3,
        }
    }
}

/// What packets meet on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    Clean,
    Lossy,
    Reordered,
    Narrow,
}

impl Path {
    pub const ALL: [Self; 4] = [Self::Clean, Self::Lossy, Self::Reordered, Self::Narrow];

    fn number(self) -> u8 {
        match self {
            Self::Clean => 10,
            Self::Lossy => 20,
            Self::Reordered => 30,
            Self::Narrow => 40,
        }
    }

    fn link(self) -> Link {
        if self == Self::Reordered { Link::Hopped } else { Link::Direct }
    }

    /// A host's address on this path.
    pub fn address(self, host: Host, family: Family) -> IpAddr {
        self.link().address(host, family, self.number())
    }
}

/// A way from a host to its router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Direct,
    Hopped,
}

impl Link {
    const BOTH: [Self; 2] = [Self::Direct, Self::Hopped];
    /// Last byte of the router's and the host's own address on it.
    const ROUTER: u8 = 1;
    const HOST: u8 = 2;

    fn address(self, host: Host, family: Family, last: u8) -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::new(10, host.number(), self as u8, last).into(),
            Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, host.number().into(), self as u16, 0, 0, 0, last.into()).into(),
        }
    }

    fn at_host(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Hopped => "hopped",
        }
    }

    fn at_router(self, host: Host) -> String {
        format!("{}{}", self.at_host(), host.number())
    }
}

/// Places on a host's links that have a MAC address.
#[derive(Debug, Clone, Copy)]
pub enum Card {
    Direct = 1,
    RouterDirect = 2,
    Hopped = 3,
    Near = 4,
    Far = 5,
    RouterHopped = 6,
}

/// The MAC address of a card.
pub fn mac(host: Host, card: Card) -> [u8; 6] {
    [2, 0, 0, 0, host.number(), card as u8]
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// The namespaces, connected and routed for both families.
#[derive(Debug)]
pub struct Network {
    pub west: Namespace,
    pub gateway: Namespace,
    pub east: Namespace,
    hosts: [Namespace; 3],
    hops: [Namespace; 3],
}

impl Network {
    pub fn create() -> Result<Self> {
        let create = |role: &dyn fmt::Display| Namespace::create(&role.to_string());
        let [modern, plain, server] = Host::ALL;
        let network = Self {
            west: create(&"west")?,
            gateway: create(&"gateway")?,
            east: create(&"east")?,
            hosts: [create(&modern.name())?, create(&plain.name())?, create(&server.name())?],
            hops: [create(&"hop1")?, create(&"hop2")?, create(&"hop3")?],
        };
        network.connect().context("cannot connect the namespaces")?;
        Ok(network)
    }

    pub fn host(&self, host: Host) -> &Namespace {
        &self.hosts[host as usize]
    }

    pub fn hop(&self, host: Host) -> &Namespace {
        &self.hops[host as usize]
    }

    fn router(&self, host: Host) -> &Namespace {
        if host == Host::Server { &self.east } else { &self.west }
    }

    fn connect(&self) -> Result<()> {
        self.connect_gateway()?;
        for host in Host::ALL {
            self.connect_host(host)?;
            self.address_host(host)?;
        }
        for family in [Family::V4, Family::V6] {
            self.route(family)?;
        }
        for client in Host::CLIENTS {
            for path in Path::ALL {
                self.route_to_server(client, path)?;
            }
        }
        self.lose()?;
        self.tune()
    }

    fn connect_gateway(&self) -> Result<()> {
        let Self { west, gateway, east, .. } = self;
        let end = |namespace, interface, address, mac| End { namespace, interface, address, mac, faces_xdp: false };
        join(&end(west, UPLINK, "10.9.1.1/24", "02:00:00:00:09:01"), &end(gateway, OUTSIDE, "10.9.1.2/24", "02:00:00:00:09:02"))?;
        join(&end(gateway, INSIDE, "10.9.2.2/24", "02:00:00:00:09:03"), &end(east, UPLINK, "10.9.2.1/24", "02:00:00:00:09:04"))?;
        for (namespace, interface, address) in [
            (west, UPLINK, "2001:db8:9:1::1"),
            (gateway, OUTSIDE, "2001:db8:9:1::2"),
            (gateway, INSIDE, "2001:db8:9:2::2"),
            (east, UPLINK, "2001:db8:9:2::1"),
        ] {
            enable_v6(namespace, interface, address.parse().context("an address")?)?;
        }
        for router in [west, gateway, east] {
            router.forward()?;
            router.sysctl("net/ipv6/conf/all/forwarding", "1")?;
        }
        Ok(())
    }

    /// The host's two links. What lies between the ends of the second one is the hop's to carry, ARP and neighbour discovery included.
    fn connect_host(&self, host: Host) -> Result<()> {
        let address = |link: Link, last| format!("{}/24", link.address(host, Family::V4, last));
        let (own, router, hop) = (self.host(host), self.router(host), self.hop(host));
        let pair = |one: (&Namespace, &str, &str, Card), other: (&Namespace, &str, &str, Card)| {
            let macs = [text(mac(host, one.3)), text(mac(host, other.3))];
            let end = |(namespace, interface, address, _), mac| End { namespace, interface, address, mac, faces_xdp: false };
            join(&end(one, &macs[0]), &end(other, &macs[1]))
        };
        let [direct, hopped] = Link::BOTH.map(|link| link.at_router(host));
        let own_addresses = Link::BOTH.map(|link| address(link, Link::HOST));
        let router_addresses = Link::BOTH.map(|link| address(link, Link::ROUTER));
        pair((own, Link::Direct.at_host(), &own_addresses[0], Card::Direct), (router, &direct, &router_addresses[0], Card::RouterDirect))?;
        // The hop itself answers to nobody: its addresses only fill the form.
        pair((own, Link::Hopped.at_host(), &own_addresses[1], Card::Hopped), (hop, NEAR, "192.0.2.1/32", Card::Near))?;
        pair((hop, FAR, "192.0.2.2/32", Card::Far), (router, &hopped, &router_addresses[1], Card::RouterHopped))
    }

    fn address_host(&self, host: Host) -> Result<()> {
        let (own, router) = (self.host(host), self.router(host));
        for link in Link::BOTH {
            enable_v6(own, link.at_host(), link.address(host, Family::V6, Link::HOST))?;
            enable_v6(router, &link.at_router(host), link.address(host, Family::V6, Link::ROUTER))?;
        }
        for path in Path::ALL {
            let interface = path.link().at_host();
            own.ip(&format!("address add {}/24 dev {interface}", path.address(host, Family::V4)))?;
            own.ip(&format!("address add {}/64 dev {interface} nodad", path.address(host, Family::V6)))?;
        }
        Ok(())
    }

    fn route(&self, family: Family) -> Result<()> {
        let (ip, nets, towards) = match family {
            Family::V4 => {
                ("", Host::ALL.map(|host| format!("10.{}.0.0/16", host.number())), ["10.9.1.1", "10.9.1.2", "10.9.2.2", "10.9.2.1"])
            }
            Family::V6 => (
                "-6",
                Host::ALL.map(|host| format!("2001:db8:{}::/48", host.number())),
                ["2001:db8:9:1::1", "2001:db8:9:1::2", "2001:db8:9:2::2", "2001:db8:9:2::1"],
            ),
        };
        let [west, outside, inside, east] = towards;
        let [modern, plain, server] = nets;
        for net in [modern, plain] {
            self.gateway.ip(&format!("{ip} route add {net} via {west}"))?;
            self.east.ip(&format!("{ip} route add {net} via {inside}"))?;
        }
        self.gateway.ip(&format!("{ip} route add {server} via {east}"))?;
        self.west.ip(&format!("{ip} route add {server} via {outside}"))?;
        for host in Host::ALL {
            let router = Link::Direct.address(host, family, Link::ROUTER);
            self.host(host).ip(&format!("{ip} route add default via {router}"))?;
            let narrow = Path::Narrow.address(host, family);
            let link = Link::Direct.at_router(host);
            self.router(host).ip(&format!("{ip} route add {narrow} dev {link} mtu {NARROW}"))?;
        }
        Ok(())
    }

    /// A client's way to the server on a path, and the server's way back where it is not the usual one.
    fn route_to_server(&self, client: Host, path: Path) -> Result<()> {
        for (ip, family) in [("", Family::V4), ("-6", Family::V6)] {
            let way = |from: Host, to: Host| {
                let router = path.link().address(from, family, Link::ROUTER);
                let (source, destination) = (path.address(from, family), path.address(to, family));
                self.host(from).ip(&format!("{ip} route add {destination} via {router} src {source}"))
            };
            way(client, Host::Server)?;
            way(Host::Server, client)?;
        }
        Ok(())
    }

    /// Both routers lose packets of the lossy path. Neither is next to Weir's own queues: what is lost here is lost on purpose.
    fn lose(&self) -> Result<()> {
        let addresses = |family| Host::ALL.map(|host| Path::Lossy.address(host, family).to_string()).join(", ");
        let (v4, v6) = (addresses(Family::V4), addresses(Family::V6));
        for router in [&self.west, &self.east] {
            router.nft(&format!(
                "add table inet loss; add chain inet loss forward {{ type filter hook forward priority 0; }}; \
                 add rule inet loss forward ip daddr {{ {v4} }} numgen random mod 100 < {LOSS} drop; \
                 add rule inet loss forward ip6 daddr {{ {v6} }} numgen random mod 100 < {LOSS} drop"
            ))?;
        }
        Ok(())
    }

    /// What each host's TCP offers.
    fn tune(&self) -> Result<()> {
        for host in Host::ALL {
            let on = if host == Host::Plain { "0" } else { "1" };
            for key in ["tcp_ecn", "tcp_timestamps", "tcp_sack", "tcp_window_scaling"] {
                self.host(host).sysctl(&format!("net/ipv4/{key}"), on)?;
            }
        }
        Ok(())
    }

    /// Turns on TCP Fast Open at both ends. False: this kernel has none.
    pub fn fast_open(&self) -> bool {
        Host::ALL.iter().all(|host| self.host(*host).sysctl("net/ipv4/tcp_fastopen", FAST_OPEN).is_ok())
    }

    /// Lets a host's kernel receive on one CPU only, whatever CPU the frame was sent by: what it answers leaves from there too.
    pub fn receive_on(&self, host: Host, cpu: usize) -> Result<()> {
        // Groups of 32 CPUs, the highest first.
        let mask = (0..=cpu / 32).rev().map(|group| format!("{:x}", if group == cpu / 32 { 1_u32 << (cpu % 32) } else { 0 }));
        let mask = mask.collect::<Vec<_>>().join(",");
        for link in Link::BOTH {
            let file = format!("/sys/class/net/{}/queues/rx-0/rps_cpus", link.at_host());
            let mut shell = self.host(host).command("sh");
            command::output(shell.args(["-c", "echo \"$1\" >\"$0\"", &file, &mask]))
                .with_context(|| format!("cannot choose the CPU that {} receives on", host.name()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_has_its_own_addresses() {
        let mut seen = std::collections::BTreeSet::new();
        for host in Host::ALL {
            for path in Path::ALL {
                assert!(Family::BOTH.into_iter().all(|family| seen.insert(path.address(host, family))));
            }
        }
        assert_eq!(Path::Reordered.address(Host::Server, Family::V4).to_string(), "10.3.1.30");
        assert_eq!(Path::Lossy.address(Host::Plain, Family::V6).to_string(), "2001:db8:2::14");
    }
}
