//! Protocols without connections.

use std::{
    io::Read,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use etherparse::{IcmpEchoHeader, Icmpv4Type, Icmpv6Type};
use socket2::{Domain, Protocol, Socket, Type};

use super::ALLOWED;
use crate::{
    pattern::Pattern,
    test::{
        lab::Lab,
        network::{Family, inside, waited},
    },
};

const ROUNDS: u16 = 5;

pub fn udp(lab: &mut Lab) -> Result<String> {
    for family in Family::BOTH {
        let (client, server) = lab.udp(family, ALLOWED)?;
        for round in 0..ROUNDS {
            let sent = round.to_be_bytes();
            client.send(&sent)?;
            let mut buffer = [0; 100];
            let (length, from) =
                waited(|| server.recv_from(&mut buffer)).with_context(|| format!("no datagram at the server, {family:?}"))?;
            server.send_to(&buffer[..length], from)?;
            let length = waited(|| client.recv(&mut buffer)).with_context(|| format!("no datagram back at the client, {family:?}"))?;
            ensure!(buffer[..length] == sent, "another datagram came back");
        }
    }
    let flows = lab.flows(&["protocol=udp"])?;
    ensure!(flows.len() == 2 && flows.iter().all(|flow| flow.state == "stream" && flow.protocol == "udp"), "the flows are {flows:?}");
    lab.no_drops()?;
    Ok(format!("{ROUNDS} each"))
}

pub fn ping(lab: &mut Lab) -> Result<String> {
    pings(lab, 2)?;
    lab.no_drops()?;
    Ok(format!("{ROUNDS} each"))
}

/// Echo requests with so many bytes of payload are answered over both families.
pub(super) fn pings(lab: &Lab, length: usize) -> Result<()> {
    for family in Family::BOTH {
        inside(&lab.network.client, || echoes(lab.network.server_address(family, 0), length))?;
    }
    Ok(())
}

/// The same of one address, from the namespace this thread is in.
pub(in crate::test) fn echoes(address: SocketAddr, length: usize) -> Result<()> {
    let (domain, protocol) = match address {
        SocketAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        SocketAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::RAW, Some(protocol)).context("cannot open a raw socket")?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    (0..ROUNDS).try_for_each(|round| echo(&socket, address, round, length).with_context(|| format!("ping {address}")))
}

/// Sends one echo request and waits for its answer.
fn echo(socket: &Socket, address: SocketAddr, seq: u16, length: usize) -> Result<()> {
    let header = IcmpEchoHeader { id: 0x7765, seq };
    let mut payload = vec![0; length];
    Pattern::new(seq.into()).fill(&mut payload);
    let (mut request, skip, reply_type) = match address.ip() {
        IpAddr::V4(_) => (etherparse::Icmpv4Header::with_checksum(Icmpv4Type::EchoRequest(header), &payload).to_bytes().to_vec(), 20, 0),
        // The kernel sums what leaves by a raw ICMPv6 socket (RFC 3542 §3.1), and hands over no IPv6 header.
        IpAddr::V6(_) => (etherparse::Icmpv6Header::new(Icmpv6Type::EchoRequest(header)).to_bytes().to_vec(), 0, 129),
    };
    request.extend_from_slice(&payload);
    socket.send_to(&request, &address.into()).context("cannot send")?;
    let deadline = Instant::now() + Duration::from_secs(2);
    let mut buffer = vec![0; 200 + length];
    while Instant::now() < deadline {
        let Ok(length) = (&*socket).read(&mut buffer) else { continue };
        // Type, code, checksum, then what was sent.
        let message = buffer.get(skip..length).unwrap_or_default();
        if message.first() == Some(&reply_type) && message.get(4..) == request.get(4..) {
            return Ok(());
        }
    }
    bail!("no answer to request {seq}")
}
