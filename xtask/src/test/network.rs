//! The networks of the end-to-end scenarios: a client and a server with the kernel's own TCP/IP, and Weir between them or on the server.
//!
//! ```text
//! gateway:  client ── outside │ firewall │ inside ── server
//! host:     client ── outside │ firewall, which is the server too
//! ```

use std::{
    fs::File,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsFd,
    thread,
};

use anyhow::{Context, Result, anyhow};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{
    command,
    netns::{End, Namespace, join},
};

/// The client's interface, and the firewall's on that side, which is also the name of its zone.
pub const WAN: &str = "wan";
pub const OUTSIDE: &str = "outside";
/// The server's interface, and the firewall's on that side.
pub const LAN: &str = "lan";
pub const INSIDE: &str = "inside";
pub const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub const OUTSIDE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub const INSIDE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 3];
pub const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 4];
/// An address inside that nobody has. Frames to it are sent all the same.
pub const NOBODY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 99);

/// What a call comes to that waits on a socket. One that has a timeout is left early, and not gone on with, when its thread is woken for something
/// else meanwhile.
///
/// # Errors
/// Those of the call, but for that one.
pub fn waited<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub fn client(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(192, 0, 2, 2).into(),
            Self::V6 => Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2).into(),
        }
    }

    fn outside(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(192, 0, 2, 1).into(),
            Self::V6 => Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1).into(),
        }
    }

    fn inside(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(198, 51, 100, 1).into(),
            Self::V6 => Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1).into(),
        }
    }

    fn behind(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(198, 51, 100, 2).into(),
            Self::V6 => Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 2).into(),
        }
    }

    fn length(self) -> u8 {
        match self {
            Self::V4 => 24,
            Self::V6 => 64,
        }
    }
}

/// Where Weir stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    Gateway,
    Host,
}

impl Placement {
    pub fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Host => "host",
        }
    }

    /// What `weir run` is told to attach: native XDP, or it must fail.
    pub fn interfaces(self) -> Vec<String> {
        let names: &[&str] = match self {
            Self::Gateway => &[OUTSIDE, INSIDE],
            Self::Host => &[OUTSIDE],
        };
        names.iter().map(|name| format!("{name}={name}:native")).collect()
    }
}

/// The namespaces, connected and routed for both families.
#[derive(Debug)]
pub struct Network {
    placement: Placement,
    pub client: Namespace,
    pub firewall: Namespace,
    behind: Option<Namespace>,
}

impl Network {
    pub fn create(placement: Placement) -> Result<Self> {
        let behind = match placement {
            Placement::Gateway => Some(Namespace::create("server")?),
            Placement::Host => None,
        };
        let network = Self { placement, client: Namespace::create("client")?, firewall: Namespace::create("firewall")?, behind };
        network.connect().context("cannot connect the namespaces")?;
        Ok(network)
    }

    /// Where servers run: behind the gateway, or on the host itself.
    pub fn server(&self) -> &Namespace {
        self.behind.as_ref().unwrap_or(&self.firewall)
    }

    /// Where a server listens.
    pub fn server_address(&self, family: Family, port: u16) -> SocketAddr {
        let address = match self.placement {
            Placement::Gateway => family.behind(),
            Placement::Host => family.outside(),
        };
        SocketAddr::new(address, port)
    }

    fn connect(&self) -> Result<()> {
        let (client, firewall) = (&self.client, &self.firewall);
        let facing_xdp = |namespace, interface, address, mac| End { namespace, interface, address, mac, faces_xdp: true };
        let own = |interface, address, mac| End { namespace: firewall, interface, address, mac, faces_xdp: false };
        join(&facing_xdp(client, WAN, "192.0.2.2/24", "02:00:00:00:00:01"), &own(OUTSIDE, "192.0.2.1/24", "02:00:00:00:00:02"))?;
        if let Some(server) = &self.behind {
            join(&own(INSIDE, "198.51.100.1/24", "02:00:00:00:00:03"), &facing_xdp(server, LAN, "198.51.100.2/24", "02:00:00:00:00:04"))?;
            enable_v6(server, LAN, Family::V6.behind())?;
            enable_v6(firewall, INSIDE, Family::V6.inside())?;
            firewall.ip(&format!("neighbour replace {NOBODY} lladdr 02:00:00:00:00:99 dev {INSIDE} nud permanent"))?;
            firewall.forward()?;
            firewall.sysctl("net/ipv6/conf/all/forwarding", "1")?;
            server.ip(&format!("route add default via {}", Family::V4.inside()))?;
            server.ip(&format!("-6 route add default via {}", Family::V6.inside()))?;
        } else {
            // The host's own stack sends what a real one does: packets the card has yet to cut up and to sum, which the egress hook meets.
            let offloads = ["--offload", OUTSIDE, "tx", "on", "tso", "on", "gso", "on"];
            command::output(firewall.command("ethtool").args(offloads))?;
        }
        enable_v6(client, WAN, Family::V6.client())?;
        enable_v6(firewall, OUTSIDE, Family::V6.outside())?;
        client.ip(&format!("route add default via {}", Family::V4.outside()))?;
        client.ip(&format!("-6 route add default via {}", Family::V6.outside()))?;
        firewall.ip(&format!("route add default via {}", Family::V4.client()))
    }
}

/// IPv6 without duplicate address detection, whose second nobody needs, and with neighbour discovery as it is.
pub fn enable_v6(namespace: &Namespace, interface: &str, address: IpAddr) -> Result<()> {
    namespace.sysctl(&format!("net/ipv6/conf/{interface}/accept_dad"), "0")?;
    namespace.sysctl(&format!("net/ipv6/conf/{interface}/disable_ipv6"), "0")?;
    namespace.ip(&format!("address add {address}/{} dev {interface} nodad", Family::V6.length()))
}

/// Does work inside a namespace. Sockets opened there stay there, and can be used from everywhere.
pub fn inside<T: Send>(namespace: &Namespace, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let path = format!("/run/netns/{}", namespace.name());
    // A thread of its own, for it cannot go back.
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let file = File::open(&path).with_context(|| format!("cannot open {path}"))?;
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).with_context(|| format!("cannot enter {path}"))?;
            work()
        });
        thread.join().map_err(|_| anyhow!("a thread in {path} panicked"))?
    })
}
