//! Datagrams larger than the MTU, and fragments no sender makes.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use super::{ALLOWED, datagrams};
use crate::{
    pattern::Pattern,
    test::{
        frame::{Fragment, Port, udp},
        lab::{Lab, wait_for},
        network::{CLIENT_MAC, Family, OUTSIDE_MAC, WAN, waited},
    },
};

const LENGTH: usize = 4000;
/// Fragments of a datagram of so many bytes, with a header, at an MTU of 1500.
const FRAGMENTS: u64 = 3;
/// Where the fragments made by hand are cut.
const CUT: u16 = 512;

pub fn both(lab: &mut Lab) -> Result<String> {
    let mut sent = vec![0; LENGTH];
    Pattern::new(7).fill(&mut sent);
    for family in Family::BOTH {
        there_and_back(lab, family, &sent)?;
    }
    datagrams::pings(lab, LENGTH)?;
    lab.no_drops()?;
    for flow in lab.flows(&["protocol=udp"])? {
        let packets = (flow.packets.to_responder, flow.packets.to_initiator);
        ensure!(packets == (FRAGMENTS, FRAGMENTS), "not every fragment counts on its flow: {flow:?}");
    }

    let port = Port::open(&lab.network.client, WAN)?;
    for family in Family::BOTH {
        let (client, server) = lab.udp(family, ALLOWED)?;
        server.set_read_timeout(Some(Duration::from_millis(300)))?;
        let train = Train::new(&port, client.local_addr()?, lab.network.server_address(family, ALLOWED), &sent[..1000])?;
        in_order(&train, &server).with_context(|| format!("{family:?}"))?;
        lab.no_drops()?;
        teardrop(lab, &train, &server).with_context(|| format!("{family:?}"))?;
        alone(lab, &train).with_context(|| format!("{family:?}"))?;
    }
    Ok(format!("UDP and echo of {LENGTH} bytes there and back; a teardrop and a fragment alone do not pass"))
}

fn there_and_back(lab: &Lab, family: Family, sent: &[u8]) -> Result<()> {
    let (client, server) = lab.udp(family, ALLOWED)?;
    client.send(sent)?;
    let mut buffer = vec![0; 2 * LENGTH];
    let (length, from) =
        waited(|| server.recv_from(&mut buffer)).with_context(|| format!("no whole datagram at the server, {family:?}"))?;
    ensure!(buffer.get(..length) == Some(sent), "the datagram was damaged, {family:?}");
    server.send_to(sent, from)?;
    let length = waited(|| client.recv(&mut buffer)).with_context(|| format!("no whole datagram back at the client, {family:?}"))?;
    ensure!(buffer.get(..length) == Some(sent), "the datagram was damaged on its way back, {family:?}");
    Ok(())
}

/// A datagram whose fragments are sent one by one, below the client's TCP/IP.
struct Train<'a> {
    port: &'a Port,
    source: IpAddr,
    destination: IpAddr,
    payload: &'a [u8],
    datagram: Vec<u8>,
}

impl<'a> Train<'a> {
    fn new(port: &'a Port, source: SocketAddr, destination: SocketAddr, payload: &'a [u8]) -> Result<Self> {
        let datagram = udp(source, destination, payload)?;
        Ok(Self { port, source: source.ip(), destination: destination.ip(), payload, datagram })
    }

    fn send(&self, identification: u16, start: u16, end: Option<u16>) -> Result<()> {
        let bytes = self.datagram.get(start.into()..end.map_or(self.datagram.len(), usize::from)).context("past the datagram")?;
        let fragment = Fragment { identification, offset: start, more: end.is_some(), bytes };
        self.port.send(&fragment.frame(CLIENT_MAC, OUTSIDE_MAC, self.source, self.destination)?)
    }

    fn arrives(&self, server: &UdpSocket) -> Result<bool> {
        let mut buffer = vec![0; 2 * LENGTH];
        match waited(|| server.recv(&mut buffer)) {
            Ok(length) if buffer.get(..length) == Some(self.payload) => Ok(true),
            Ok(length) => bail!("a datagram of {length} bytes that nobody sent"),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(false),
            Err(error) => Err(error).context("cannot receive"),
        }
    }
}

fn in_order(train: &Train<'_>, server: &UdpSocket) -> Result<()> {
    train.send(1, 0, Some(CUT))?;
    train.send(1, CUT, None)?;
    ensure!(train.arrives(server)?, "a datagram in fragments made by hand does not arrive");
    Ok(())
}

/// The second fragment reaches back into the first. What would have completed the datagram is dropped with it.
fn teardrop(lab: &mut Lab, train: &Train<'_>, server: &UdpSocket) -> Result<()> {
    train.send(2, 0, Some(CUT))?;
    train.send(2, CUT - 16, None)?;
    train.send(2, CUT, None)?;
    ensure!(!train.arrives(server)?, "a datagram with an overlap has arrived");
    wait_for("two fragments counted as fragment-overlap", || Ok(lab.drops()?.get("fragment-overlap") == Some(&2)))?;
    lab.only_drops("fragment-overlap", 2..=2)?;
    lab.forget()
}

fn alone(lab: &mut Lab, train: &Train<'_>) -> Result<()> {
    for _ in 0..3 {
        train.send(3, CUT, None)?;
    }
    wait_for("fragments alone counted as fragment-no-first", || Ok(lab.drops()?.get("fragment-no-first") == Some(&3)))?;
    lab.only_drops("fragment-no-first", 3..=3)?;
    lab.forget()
}
