//! The IPv6 link of a gateway: what neighbour discovery needs beyond finding a neighbour.

use anyhow::{Context, Result};

use super::ALLOWED;
use crate::{
    command,
    netns::Namespace,
    test::{
        lab::{Lab, wait_for},
        network::{Family, OUTSIDE, WAN},
    },
};

/// `ip -6 address show` of an interface.
fn addresses(namespace: &Namespace, interface: &str) -> Result<String> {
    command::output(namespace.command("ip").args(["-6", "address", "show", "dev", interface])).context("cannot read the addresses")
}

/// The line of an address, with its flags.
fn line_of<'a>(listing: &'a str, address: &str) -> Option<&'a str> {
    listing.lines().find(|line| line.contains(address))
}

pub fn duplicates(lab: &mut Lab) -> Result<String> {
    let (client, firewall) = (&lab.network.client, &lab.network.firewall);
    for (namespace, interface) in [(client, WAN), (firewall, OUTSIDE)] {
        namespace.sysctl(&format!("net/ipv6/conf/{interface}/accept_dad"), "1")?;
        namespace.sysctl(&format!("net/ipv6/conf/{interface}/dad_transmits"), "1")?;
    }
    // The client asks for the firewall's address from `::`, and the firewall must be able to say no; then the other way round.
    let taken = [(client, WAN, "2001:db8:1::1"), (firewall, OUTSIDE, "2001:db8:1::2")];
    for (namespace, interface, address) in taken {
        namespace.ip(&format!("-6 address add {address}/64 dev {interface}"))?;
        wait_for(&format!("{address} to be found taken"), || {
            let listing = addresses(namespace, interface)?;
            Ok(line_of(&listing, address).is_some_and(|line| line.contains("dadfailed")))
        })?;
        namespace.ip(&format!("-6 address delete {address}/64 dev {interface}"))?;
    }
    // One that nobody has is found free.
    client.ip(&format!("-6 address add 2001:db8:1::77/64 dev {WAN}"))?;
    wait_for("a free address to be usable", || {
        let listing = addresses(client, WAN)?;
        Ok(line_of(&listing, "2001:db8:1::77").is_some_and(|line| !line.contains("tentative") && !line.contains("dadfailed")))
    })?;
    // And the link still works for both.
    let pair = lab.pair(Family::V6, ALLOWED)?;
    pair.exchange()?;
    pair.close()?;
    lab.no_drops()?;
    Ok("2 duplicates found, 1 free address, nothing dropped".to_owned())
}
