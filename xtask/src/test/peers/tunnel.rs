//! What is sent through a tunnel: pings and transfers between addresses that only the tunnel joins.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use anyhow::{Context, Result};

use crate::{
    netns::{Namespace, topology::Topology},
    test::{
        network::inside,
        scenarios::datagrams,
        stream::{self, PATIENCE, Pair},
    },
};

/// The server's address inside the tunnel, on its loopback interface. No route leads to it but the tunnel's.
pub(super) const BEHIND: Ipv4Addr = Ipv4Addr::new(10, 62, 0, 1);
/// The client's, where the tunnel does not give it one.
pub(super) const BEFORE: Ipv4Addr = Ipv4Addr::new(10, 61, 0, 1);
const PORT: u16 = 7000;
/// Bytes of a ping's payload.
const PING: usize = 56;

pub(super) fn add_address(namespace: &Namespace, address: Ipv4Addr) -> Result<()> {
    namespace.ip(&format!("address add {address}/32 dev lo"))
}

pub(super) fn pings(topology: &Topology) -> Result<()> {
    inside(&topology.client, || datagrams::echoes(SocketAddr::from((BEHIND, 0)), PING)).context("through the tunnel")
}

/// An open connection through the tunnel.
pub(super) fn connect(topology: &Topology) -> Result<Pair> {
    let address = SocketAddr::from((BEHIND, PORT));
    let listener = inside(&topology.server, || TcpListener::bind(address).context("cannot listen"))?;
    let client = inside(&topology.client, || {
        TcpStream::connect_timeout(&address, PATIENCE).with_context(|| format!("cannot connect to {address} through the tunnel"))
    })?;
    Pair::new(client, stream::accept(&listener)?)
}
