//! The network of the demo:
//!
//! ```text
//! client ── lossy hop ── gateway ── server
//!       outside of the gateway │ inside
//! ```
//!
//! The hop stands for the internet between a VPN client and the firewall: it loses packets in both directions. What the client sends is
//! lost before the gateway, which sees the hole exactly as the server does; what the server sends is lost after the gateway, which learns
//! of it only by the client's acknowledgements.

use std::{net::Ipv4Addr, process::Command};

use anyhow::{Context, Result};

use super::{End, Namespace, join};
use crate::command;

/// The VPN client.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 20);
/// The VPN head-end behind the gateway, as in the shipped policy.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 71, 2, 10);
/// Names of the gateway's interfaces, which are also those of its zones.
pub const OUTSIDE: &str = "outside";
pub const INSIDE: &str = "inside";
/// The port of IPsec over TCP.
pub const CTCP_PORT: u16 = 10_000;

/// Client, lossy hop, gateway and server, connected and routed. The loss is 0 at first.
#[derive(Debug)]
pub struct Topology {
    pub client: Namespace,
    pub gateway: Namespace,
    pub server: Namespace,
    pub hop: Namespace,
}

impl Topology {
    pub fn create() -> Result<Self> {
        let topology = Self {
            client: Namespace::create("client")?,
            gateway: Namespace::create("gateway")?,
            server: Namespace::create("server")?,
            hop: Namespace::create("hop")?,
        };
        topology.connect().context("cannot connect the namespaces")?;
        Ok(topology)
    }

    fn connect(&self) -> Result<()> {
        let Self { client, gateway, server, hop } = self;
        let end = |namespace, interface, address, mac| End { namespace, interface, address, mac, faces_xdp: false };
        let facing_xdp = |end| End { faces_xdp: true, ..end };
        join(&end(client, "wan", "198.51.100.20/24", "02:00:00:00:00:01"), &end(hop, "clients", "198.51.100.1/24", "02:00:00:00:00:02"))?;
        join(
            &facing_xdp(end(hop, "uplink", "203.0.113.1/30", "02:00:00:00:00:03")),
            &end(gateway, OUTSIDE, "203.0.113.2/30", "02:00:00:00:00:04"),
        )?;
        join(
            &end(gateway, INSIDE, "10.71.2.1/24", "02:00:00:00:00:05"),
            &facing_xdp(end(server, "lan", "10.71.2.10/24", "02:00:00:00:00:06")),
        )?;
        client.ip("route add default via 198.51.100.1")?;
        hop.ip("route add 10.71.2.0/24 via 203.0.113.2")?;
        gateway.ip("route add default via 203.0.113.1")?;
        server.ip("route add default via 10.71.2.1")?;
        hop.forward()?;
        gateway.forward()?;
        for end in [client, server] {
            silence_kernel(end)?;
        }
        self.set_loss(0)
    }

    /// A program on the hop, before the firewall.
    pub fn hop_command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        self.hop.command(program)
    }

    /// Loses this share of the packets that cross the hop, in each direction.
    pub fn set_loss(&self, percent: u8) -> Result<()> {
        let rule = match percent {
            0 => String::new(),
            _ => format!("add rule ip loss forward numgen random mod 100 < {percent} counter name lost drop"),
        };
        // One transaction; `add` before `delete` because only what is there can be deleted.
        self.hop
            .nft(&format!(
                "add table ip loss; delete table ip loss; add table ip loss; add counter ip loss lost; \
                 add chain ip loss forward {{ type filter hook forward priority 0; }}; {rule}"
            ))
            .map(drop)
            .with_context(|| format!("cannot set the hop's loss to {percent} %"))
    }

    /// From now on nothing joins segments on their way to a receiver or to the hop, which so loses them one by one. Frames cannot be
    /// redirected to either any more.
    pub fn keep_segments_apart(&self) -> Result<()> {
        for (namespace, interface) in [(&self.hop, "uplink"), (&self.server, "lan")] {
            command::output(namespace.command("ethtool").args(["--offload", interface, "gro", "off"]))?;
        }
        Ok(())
    }

    /// From now on the hop translates the addresses of clients to its own, and their ports to others.
    pub fn translate(&self) -> Result<()> {
        let rules = "add table ip translate; add chain ip translate postrouting { type nat hook postrouting priority 100; }; \
                     add rule ip translate postrouting oifname uplink masquerade random";
        self.hop.nft(rules).map(drop).context("cannot make the hop translate addresses")
    }

    /// How many packets the hop has lost since the last [`Topology::set_loss`].
    pub fn lost(&self) -> Result<u64> {
        let text = self.hop.nft("list counter ip loss lost")?;
        counted_packets(&text).with_context(|| format!("nft printed no packet counter: {text}"))
    }
}

/// Keeps a kernel from answering segments of an IPsec-over-TCP endpoint in its namespace with resets of its own.
///
/// The endpoint reads packets before netfilter does, so a drop there takes nothing from it. The other way, an address the kernel does not
/// own, would need the address to come and go for every transfer over the kernel's own TCP, with a reset in each gap.
fn silence_kernel(namespace: &Namespace) -> Result<()> {
    namespace
        .nft(&format!(
            "add table ip silence; add chain ip silence prerouting {{ type filter hook prerouting priority -400; }}; \
             add rule ip silence prerouting tcp sport {CTCP_PORT} drop; add rule ip silence prerouting tcp dport {CTCP_PORT} drop"
        ))
        .map(drop)
}

/// The packets of the first counter in nft's listing.
fn counted_packets(listing: &str) -> Option<u64> {
    let mut words = listing.split_whitespace().skip_while(|word| *word != "packets").skip(1);
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_counter_is_read_from_a_listing() {
        let listing = "table ip loss {\n\tcounter lost {\n\t\tpackets 17 bytes 1020\n\t}\n}\n";
        assert_eq!(counted_packets(listing), Some(17));
        assert_eq!(counted_packets("table ip loss {\n}\n"), None);
    }
}
