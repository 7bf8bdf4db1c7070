//! Traffic between the client and the server of a [`Topology`], measured at both ends.

mod peer;

use std::{net::SocketAddrV4, path::Path, thread, time::Duration};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::{
    ctcp::receiver::Acknowledge,
    netns::topology::{CLIENT, CTCP_PORT, SERVER, Topology},
    report::{Second, Totals},
};
use peer::Peer;

/// Port of the TCP transfer.
pub const TCP_PORT: u16 = 5201;
/// Datagrams a second and their size: fast enough that a window of 65535 bytes is used up a fifth of a second after the first hole.
pub const CTCP_RATE: u32 = 400;
const CTCP_SIZE: u16 = 1000;
/// Bytes a second of the transfer.
pub const TCP_RATE: u64 = 4_000_000;
/// Both ends run without loss this long first: a VPN that dies has always worked for a while.
const LOSSLESS: Duration = Duration::from_millis(1500);
const CONNECT_PATIENCE: Duration = Duration::from_secs(15);
/// Beyond the seconds asked for, until an endpoint must have ended.
const END_PATIENCE: Duration = Duration::from_secs(15);

/// How to run.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// This program, whose hidden verbs are the endpoints.
    pub xtask: &'a Path,
    pub seconds: u32,
    /// Percentage lost in each direction, from `LOSSLESS` after the start.
    pub loss: u8,
}

/// One direction, second by second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Direction {
    /// Sent in each whole second, at the sender.
    pub sent: Vec<u64>,
    /// Delivered in each whole second, at the receiver.
    pub delivered: Vec<u64>,
    pub sent_total: u64,
    pub delivered_total: u64,
    pub damaged: u64,
}

/// What both directions did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Figures {
    pub to_server: Direction,
    pub to_client: Direction,
    /// Packets that the lossy hop dropped.
    pub lost_packets: u64,
}

/// Runs a pair of IPsec-over-TCP endpoints, both sending. `client_port` differs from run to run, so that no flow is met again;
/// `halfway` is called in the middle of the run.
pub fn ctcp(
    topology: &Topology,
    plan: Plan<'_>,
    acknowledge: Acknowledge,
    client_port: u16,
    halfway: impl FnOnce() -> Result<()>,
) -> Result<Figures> {
    ctcp_with(topology, plan, acknowledge, client_port, &[], halfway)
}

/// As [`ctcp`], with more arguments for both endpoints.
pub fn ctcp_with(
    topology: &Topology,
    plan: Plan<'_>,
    acknowledge: Acknowledge,
    client_port: u16,
    more: &[&str],
    halfway: impl FnOnce() -> Result<()>,
) -> Result<Figures> {
    let client = SocketAddrV4::new(CLIENT, client_port).to_string();
    let server = SocketAddrV4::new(SERVER, CTCP_PORT).to_string();
    let (rate, size, seconds) = (CTCP_RATE.to_string(), CTCP_SIZE.to_string(), plan.seconds.to_string());
    let common = ["ctcp-endpoint", "--rate", &rate, "--size", &size, "--seconds", &seconds, "--acknowledge", acknowledge.argument()];
    let common = [&common[..], more].concat();
    let server_arguments = [&common[..], &["--role", "server", "--local", &server]].concat();
    let client_arguments = [&common[..], &["--role", "client", "--local", &client, "--remote", &server]].concat();
    pair(topology, plan, &server_arguments, &client_arguments, halfway)
}

/// Runs a transfer from client to server over the kernels' TCP.
pub fn tcp(topology: &Topology, plan: Plan<'_>, halfway: impl FnOnce() -> Result<()>) -> Result<Figures> {
    let server = SocketAddrV4::new(SERVER, TCP_PORT).to_string();
    let (rate, seconds) = (TCP_RATE.to_string(), plan.seconds.to_string());
    let common = ["tcp-endpoint", "--rate", &rate, "--seconds", &seconds, "--address", &server, "--role"];
    pair(topology, plan, &[&common[..], &["server"]].concat(), &[&common[..], &["client"]].concat(), halfway)
}

/// Runs one endpoint in each namespace and puts their figures together.
fn pair(topology: &Topology, plan: Plan<'_>, server: &[&str], client: &[&str], halfway: impl FnOnce() -> Result<()>) -> Result<Figures> {
    topology.set_loss(0)?;
    let mut server = Peer::start(plan.xtask, &topology.server, "the server", server)?;
    server.ready(CONNECT_PATIENCE)?;
    let mut client = Peer::start(plan.xtask, &topology.client, "the client", client)?;
    client.connected(CONNECT_PATIENCE)?;
    server.connected(CONNECT_PATIENCE)?;
    thread::sleep(LOSSLESS);
    topology.set_loss(plan.loss)?;
    thread::sleep((Duration::from_secs(u64::from(plan.seconds)) / 2).saturating_sub(LOSSLESS));
    halfway()?;
    let patience = Duration::from_secs(u64::from(plan.seconds)) + END_PATIENCE;
    let (client_seconds, client_totals) = client.finish(patience)?;
    let (server_seconds, server_totals) = server.finish(patience)?;
    let lost_packets = topology.lost()?;
    topology.set_loss(0)?;
    let count = usize::try_from(plan.seconds).context("too many seconds")?;
    Ok(Figures {
        to_server: Direction::new(count, (&client_seconds, client_totals), (&server_seconds, server_totals)),
        to_client: Direction::new(count, (&server_seconds, server_totals), (&client_seconds, client_totals)),
        lost_packets,
    })
}

impl Direction {
    fn new(seconds: usize, sender: (&[Second], Totals), receiver: (&[Second], Totals)) -> Self {
        // A second that an endpoint did not live to report is a second in which nothing happened.
        let series = |reported: &[Second], value: fn(&Second) -> u64| {
            let mut values: Vec<u64> = reported.iter().map(value).collect();
            values.resize(seconds, 0);
            values
        };
        Self {
            sent: series(sender.0, |second| second.sent),
            delivered: series(receiver.0, |second| second.delivered),
            sent_total: sender.1.sent,
            delivered_total: receiver.1.delivered,
            damaged: receiver.1.damaged,
        }
    }

    /// Delivered in each of the last `count` seconds.
    pub fn last(&self, count: usize) -> &[u64] {
        self.delivered.get(self.delivered.len().saturating_sub(count)..).unwrap_or_default()
    }
}
