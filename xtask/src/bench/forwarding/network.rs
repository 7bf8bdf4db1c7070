//! The network of the forwarding benchmark:
//!
//! ```text
//! generator out ── west gateway east ── in sink
//! ```

use anyhow::{Context, Result};

use crate::netns::{End, Namespace, join};

/// Whom all connections go to, behind the sink's end.
pub const RESPONDER: [u8; 4] = [203, 0, 113, 1];

/// A link between a host and the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    pub host_interface: &'static str,
    /// The name is also that of the zone.
    pub gateway_interface: &'static str,
    /// The last but one byte of both ends' addresses and MAC addresses.
    number: u8,
}

pub const WEST: Link = Link { host_interface: "out", gateway_interface: "west", number: 1 };
pub const EAST: Link = Link { host_interface: "in", gateway_interface: "east", number: 2 };

impl Link {
    pub const fn host_mac_bytes(self) -> [u8; 6] {
        [2, 0, 0, 0, self.number, 2]
    }

    pub const fn gateway_mac_bytes(self) -> [u8; 6] {
        [2, 0, 0, 0, self.number, 1]
    }

    fn connect(self, host: &Namespace, gateway: &Namespace) -> Result<()> {
        let (number, mac) = (self.number, |bytes: [u8; 6]| bytes.map(|byte| format!("{byte:02x}")).join(":"));
        let (host_mac, gateway_mac) = (mac(self.host_mac_bytes()), mac(self.gateway_mac_bytes()));
        let (host_address, gateway_address) = (format!("192.168.{number}.2/24"), format!("192.168.{number}.1/24"));
        let end = |namespace, interface, address, mac| End { namespace, interface, address, mac, faces_xdp: true };
        // The generator's frames are handed over as a program's redirected ones are: the gateway's ends take them while no program is
        // attached to them either.
        join(
            &end(host, self.host_interface, &host_address, &host_mac),
            &end(gateway, self.gateway_interface, &gateway_address, &gateway_mac),
        )
    }
}

/// The three namespaces, connected and routed.
#[derive(Debug)]
pub struct Network {
    pub generator: Namespace,
    pub gateway: Namespace,
    pub sink: Namespace,
}

impl Network {
    pub fn create() -> Result<Self> {
        let network =
            Self { generator: Namespace::create("generator")?, gateway: Namespace::create("gateway")?, sink: Namespace::create("sink")? };
        network.connect().context("cannot connect the namespaces")?;
        Ok(network)
    }

    fn connect(&self) -> Result<()> {
        WEST.connect(&self.generator, &self.gateway)?;
        EAST.connect(&self.sink, &self.gateway)?;
        self.gateway.ip("route add 10.0.0.0/8 via 192.168.1.2")?;
        self.gateway.ip("route add 203.0.113.0/24 via 192.168.2.2")?;
        self.gateway.forward()
    }
}
