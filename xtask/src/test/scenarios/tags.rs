//! VLAN and QinQ tags.

use std::net::SocketAddr;

use anyhow::Result;

use super::{ALLOWED, DENIED};
use crate::test::{
    frame::{Port, Tcp},
    lab::{Lab, wait_for},
    network::{CLIENT_MAC, Family, OUTSIDE_MAC, WAN},
};

/// What is behind a tag is judged like what has none: by the rules.
pub fn judged(lab: &mut Lab) -> Result<String> {
    let port = Port::open(&lab.network.client, WAN)?;
    let mut expected = 0;
    for family in Family::BOTH {
        for tags in [&[5][..], &[5, 6]] {
            let syn = |to, seq| Tcp {
                source: SocketAddr::new(family.client(), 40_000),
                destination: lab.network.server_address(family, to),
                seq,
                ack: 0,
                flags: "S",
                payload: Vec::new(),
            };
            port.send(&syn(DENIED, 1).frame(CLIENT_MAC, OUTSIDE_MAC, tags)?)?;
            expected += 1;
            wait_for("a tagged SYN to a denied port counted as acl-drop", || Ok(lab.drops()?.get("acl-drop") == Some(&expected)))?;
            // The same to an allowed port makes a flow, which shows that the drop was the policy's.
            port.send(&syn(ALLOWED, 1).frame(CLIENT_MAC, OUTSIDE_MAC, tags)?)?;
        }
        let count = if family == Family::V4 { 1 } else { 2 };
        wait_for("a flow of a tagged SYN to an allowed port", || Ok(lab.flows(&["port=7000"])?.len() == count))?;
    }
    lab.only_drops("acl-drop", expected..=expected)?;
    Ok(format!("{expected} × acl-drop"))
}
