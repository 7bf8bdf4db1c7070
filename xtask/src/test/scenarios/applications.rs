//! What flows carry, recognised on the way of real sockets: backups on cTCP's port are not taken for it.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr},
};

use anyhow::{Context, Result, ensure};

use crate::{
    pattern::Pattern,
    test::{
        frame::{Port, Tcp},
        lab::{Lab, wait_for},
        network::{CLIENT_MAC, Family, INSIDE_MAC, LAN, NOBODY, OUTSIDE, OUTSIDE_MAC, SERVER_MAC, WAN, waited},
    },
};

/// Everything from the client, inspected strictly.
pub const POLICY: &str = r#"
[[rule]]
name = "all"
from = "outside"
to = "inside"
action = "allow"
"#;

const CTCP: u16 = 10_000;
const IKE_TCP: u16 = 4500;
const IKE: u16 = 500;
const NAT_T: u16 = 4500;
/// A client without a TCP of its own.
const TUNNEL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 66);
const REWOUND: u16 = 7443;
const REPEATED: u16 = 7444;

pub fn recognised(lab: &mut Lab) -> Result<String> {
    for family in Family::BOTH {
        backup(lab, family)?;
        stream(lab, family)?;
        datagrams(lab, family, IKE, &[ike(200)], "ike")?;
        datagrams(lab, family, NAT_T, &[[vec![0; 4], ike(200)].concat()], "nat-t")?;
        let esp: Vec<Vec<u8>> = (1..4u32).map(|sequence| [&[0, 0, 0x10, 1][..], &sequence.to_be_bytes(), &[7; 64]].concat()).collect();
        datagrams(lab, family, CTCP, &esp, "ipsec-udp")?;
    }
    tunnels(lab)?;
    let known = lab.flows(&["application=ipsec-udp"])?;
    ensure!(known.len() == 2 && known.iter().all(|flow| flow.protocol == "udp"), "the filter finds {known:?}");
    ensure!(lab.flows(&["application=ctcp"])?.is_empty(), "something was taken for cTCP");
    lab.no_drops()?;
    Ok("NDMP on TCP/10000 is not taken for cTCP; IKE over TCP, IKE, NAT traversal and IPsec over UDP are known, over both families; other data \
        under an old number is fake TCP, the same again is not"
        .to_owned())
}

/// Messages of NDMP over a real connection to cTCP's port, with a record now and then that ends as cTCP's trailer would.
fn backup(lab: &Lab, family: Family) -> Result<()> {
    let mut pair = lab.pair(family, CTCP)?;
    let trailer = [0, 0, 0, 0, 0, 1, 0, 0, 0x21, 0x45, 0x6c, 0x69, 0x10, 50, 1, 0];
    for number in 0..20u32 {
        let mut body = vec![number as u8; 40];
        if number % 7 == 3 {
            body.extend(trailer);
        }
        let header = [number + 1, 0x5f00_0000, 0, 0x502, 0, 0].map(u32::to_be_bytes).concat();
        let mark = (0x8000_0000 | (header.len() + body.len()) as u32).to_be_bytes();
        let message = [&mark[..], &header, &body].concat();
        let (from, to) = if number % 2 == 0 { (&mut pair.server, &mut pair.client) } else { (&mut pair.client, &mut pair.server) };
        from.write_all(&message).context("a message was not sent")?;
        let mut arrived = vec![0; message.len()];
        to.read_exact(&mut arrived).context("a message did not arrive")?;
        ensure!(arrived == message, "another message arrived");
    }
    let flow = lab.flow(&["protocol=tcp", &format!("port={CTCP}"), &address(family)])?;
    ensure!(flow.application.is_none(), "a backup was taken for something else: {flow:?}");
    Ok(())
}

/// The beginning of a stream of IKE over TCP.
fn stream(lab: &Lab, family: Family) -> Result<()> {
    let mut pair = lab.pair(family, IKE_TCP)?;
    let message = ike(200);
    let beginning = [&b"IKETCP"[..], &(message.len() as u16 + 6).to_be_bytes(), &[0; 4], &message].concat();
    pair.client.write_all(&beginning).context("the stream's beginning was not sent")?;
    let mut arrived = vec![0; beginning.len()];
    pair.server.read_exact(&mut arrived).context("the stream's beginning did not arrive")?;
    let flow = lab.flow(&["protocol=tcp", &format!("port={IKE_TCP}"), &address(family)])?;
    ensure!(flow.application.as_deref() == Some("ike-tcp") && flow.inspection == "strict", "the stream is {flow:?}");
    Ok(())
}

fn datagrams(lab: &Lab, family: Family, port: u16, sent: &[Vec<u8>], application: &str) -> Result<()> {
    let (client, server) = lab.udp(family, port)?;
    let mut buffer = [0; 1_000];
    for datagram in sent {
        client.send(datagram)?;
        let length = waited(|| server.recv(&mut buffer)).with_context(|| format!("no datagram at port {port}, {family:?}"))?;
        ensure!(buffer[..length] == datagram[..], "another datagram arrived");
    }
    let mut seen = None;
    wait_for(&format!("a flow of {application}"), || {
        seen = lab.flow(&["protocol=udp", &format!("port={port}"), &address(family)])?.application;
        Ok(seen.as_deref() == Some(application))
    })
    .with_context(|| format!("it is {seen:?}"))
}

/// A message of IKE with nothing in it but its header.
fn ike(length: u32) -> Vec<u8> {
    let mut message = vec![7; length as usize];
    message[8..20].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 33, 0x20, 34, 8]);
    message[24..28].copy_from_slice(&length.to_be_bytes());
    message
}

/// Two that send all of their data under one number: the one other data each time, as a tunnel does that only looks like TCP; the other the same
/// again.
fn tunnels(lab: &Lab) -> Result<()> {
    lab.network.firewall.ip(&format!("neighbour replace {TUNNEL} lladdr 02:00:00:00:00:66 dev {OUTSIDE} nud permanent"))?;
    let mut data = Pattern::new(5);
    let mut fresh = || {
        let mut bytes = vec![0; 100];
        data.fill(&mut bytes);
        bytes
    };
    tunnel(lab, REWOUND, &std::array::from_fn(|_| fresh()))?;
    let same = fresh();
    tunnel(lab, REPEATED, &std::array::from_fn(|_| same.clone()))?;
    wait_for("the flow that goes back to be known", || {
        Ok(lab.flow(&[&format!("port={REWOUND}")])?.application.as_deref() == Some("fake-tcp"))
    })?;
    let repeated = lab.flow(&[&format!("port={REPEATED}")])?;
    ensure!(repeated.application.is_none() && repeated.state == "established", "what repeats was taken for something else: {repeated:?}");
    let fake = lab.flows(&["application=fake-tcp"])?;
    ensure!(fake.len() == 1, "the filter finds {fake:?}");
    Ok(())
}

fn tunnel(lab: &Lab, port: u16, sent: &[Vec<u8>; 6]) -> Result<()> {
    let (near, far) = (Port::open(&lab.network.client, WAN)?, Port::open(lab.network.server(), LAN)?);
    let (source, destination) = (SocketAddr::new(TUNNEL.into(), 40_000), SocketAddr::new(NOBODY.into(), port));
    let out = |seq, ack, flags, payload: &[u8]| {
        near.send(&Tcp { source, destination, seq, ack, flags, payload: payload.to_vec() }.frame(CLIENT_MAC, OUTSIDE_MAC, &[])?)
    };
    out(1_000, 0, "S", b"")?;
    wait_for("the tunnel's SYN", || Ok(!lab.flows(&[&format!("port={port}")])?.is_empty()))?;
    let answer = Tcp { source: destination, destination: source, seq: 5_000, ack: 1_001, flags: "S.", payload: Vec::new() };
    far.send(&answer.frame(SERVER_MAC, INSIDE_MAC, &[])?)?;
    lab.flow_becomes(&[&format!("port={port}")], "syn-received")?;
    out(1_001, 5_001, ".", b"")?;
    lab.flow_becomes(&[&format!("port={port}")], "established")?;
    sent.iter().try_for_each(|payload| out(1_001, 5_001, ".", payload))?;
    wait_for("all of it to have passed", || Ok(lab.flow(&[&format!("port={port}")])?.packets.to_responder == 2 + sent.len() as u64))
}

/// The filter for flows of a family.
fn address(family: Family) -> String {
    format!("address={}", family.client())
}
