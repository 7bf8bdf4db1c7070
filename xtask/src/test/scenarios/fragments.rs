//! Datagrams larger than the MTU.

use anyhow::{Context, Result, ensure};

use super::ALLOWED;
use crate::{
    pattern::Pattern,
    test::{
        frame::{Port, last_fragment},
        lab::{Lab, wait_for},
        network::{CLIENT_MAC, Family, OUTSIDE_MAC, WAN},
    },
};

const LENGTH: usize = 4000;

pub fn both(lab: &mut Lab) -> Result<String> {
    let mut sent = vec![0; LENGTH];
    Pattern::new(7).fill(&mut sent);
    for family in Family::BOTH {
        let (client, server) = lab.udp(family, ALLOWED)?;
        client.send(&sent)?;
        let mut buffer = vec![0; 2 * LENGTH];
        let (length, from) = server.recv_from(&mut buffer).with_context(|| format!("no whole datagram at the server, {family:?}"))?;
        ensure!(buffer.get(..length) == Some(&sent), "the datagram was damaged, {family:?}");
        server.send_to(&sent, from)?;
        let length = client.recv(&mut buffer).with_context(|| format!("no whole datagram back at the client, {family:?}"))?;
        ensure!(buffer.get(..length) == Some(&sent), "the datagram was damaged on its way back, {family:?}");
    }
    lab.no_drops()?;

    let port = Port::open(&lab.network.client, WAN)?;
    let server = lab.network.server_address(Family::V4, ALLOWED).ip();
    let alone = last_fragment(CLIENT_MAC, OUTSIDE_MAC, Family::V4.client(), server, 1480, &[0; 100])?;
    for _ in 0..3 {
        port.send(&alone)?;
    }
    wait_for("fragments alone counted as fragment-no-first", || Ok(lab.drops()?.get("fragment-no-first") == Some(&3)))?;
    lab.only_drops("fragment-no-first", 3..=3)?;
    Ok(format!("{LENGTH} bytes there and back, 3 × fragment-no-first"))
}
