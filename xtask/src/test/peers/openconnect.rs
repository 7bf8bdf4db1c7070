//! ocserv and openconnect: the way out of IPsec over TCP that AnyConnect is. TLS over TCP/443, and DTLS over UDP/443 where that gets through.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Instant};

use anyhow::{Context, Result, ensure};

use super::{
    certificates::{Authority, Identity},
    daemon::Daemon,
    site::{Site, strict},
    tunnel::{self, BEHIND},
};
use crate::{
    netns::topology::SERVER,
    test::lab::{Flow, wait_for},
};

const PORT: u16 = 443;
/// The client's interface into the tunnel.
const DEVICE: &str = "vpn0";
/// SYNs of a client that is denied, before it is believed.
const TRIES: u64 = 3;
/// What the script says when it has given the client its address and route.
const CONNECTED: &str = "the tunnel is configured";
const DTLS: &str = "Established DTLS connection";

/// One connection, from the client's start to its end.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// Percentage lost in each direction.
    loss: u8,
    dtls: bool,
}

const RUNS: [Run; 4] =
    [Run { loss: 0, dtls: true }, Run { loss: 0, dtls: false }, Run { loss: 2, dtls: true }, Run { loss: 2, dtls: false }];
/// Sent each way through the tunnel.
const BYTES: u64 = 16 << 20;

pub(super) fn scenario(binary: &Path) -> Result<String> {
    Site::create(binary, &strict("udp/443"))?.play(play)
}

fn play(site: &mut Site) -> Result<String> {
    tunnel::add_address(&site.topology.server, BEHIND)?;
    let files = Files::create(site)?;
    let server = start_server(site, &files)?;
    let result = connections(site, &files);
    if result.is_err() {
        eprintln!("{}", server.last_lines());
    }
    let notes = result?;
    server.stop()?;
    site.no_drops()?;
    Ok(notes)
}

fn connections(site: &mut Site, files: &Files) -> Result<String> {
    let mut notes = Vec::new();
    // TCP/443 is denied, so there must be no tunnel.
    let client = start_client(site, files, "denied", false)?;
    wait_for("the client's tries", || Ok(site.drops()?.values().sum::<u64>() >= TRIES))?;
    ensure!(client.said(CONNECTED) == 0, "a tunnel came up although the policy denies TCP/443");
    client.stop()?;
    notes.push(format!("TCP/443 denied: no tunnel, {} drops", site.denied()?));

    // UDP/443 is denied, so the tunnel must do without.
    site.apply("tls", &strict("tcp/443"))?;
    let client = start_client(site, files, "tls", true)?;
    client.says(CONNECTED, 0)?;
    tunnel::pings(&site.topology)?;
    ensure!(client.said(DTLS) == 0, "DTLS came up although the policy denies UDP/443");
    client.stop()?;
    notes.push(format!("UDP/443 denied: TLS alone, {} drops", site.denied()?));

    site.apply("both", &strict("tcp/443, udp/443"))?;
    for run in RUNS {
        // openconnect 9.01 was seen to send nothing again when its DTLS handshake lost a packet: so DTLS meets the loss once it stands.
        site.topology.set_loss(if run.dtls { 0 } else { run.loss })?;
        let client = start_client(site, files, &format!("{}-{}", run.loss, run.dtls), run.dtls)?;
        let note = connection(site, &client, run).with_context(|| format!("{run:?}\n{}", client.last_lines()))?;
        client.stop()?;
        site.no_drops()?;
        notes.push(note);
    }
    Ok(format!("{} connections of {} MiB each way\n  {}", RUNS.len(), BYTES >> 20, notes.join("\n  ")))
}

fn connection(site: &Site, client: &Daemon, run: Run) -> Result<String> {
    let before = Carried::now(site)?;
    client.says(CONNECTED, 0)?;
    if run.dtls {
        client.says(DTLS, 0)?;
        site.topology.set_loss(run.loss)?;
    }
    let start = Instant::now();
    tunnel::connect(&site.topology)?.exchange_bulk(BYTES)?;
    let seconds = start.elapsed().as_secs_f64();
    let lost = site.topology.lost()?;
    site.topology.set_loss(0)?;
    ensure!((lost > 0) == (run.loss > 0), "at {} % the hop lost {lost} packets", run.loss);
    site.no_drops()?;
    let carried = Carried::now(site)?;
    let (tcp, udp) = (carried.tcp - before.tcp, carried.udp - before.udp);
    let (used, other) = if run.dtls { (udp, tcp) } else { (tcp, udp) };
    ensure!(used > 2 * BYTES && other < BYTES / 8, "Weir counted {tcp} bytes of TCP and {udp} of UDP");
    let way = if run.dtls { "DTLS" } else { "TLS" };
    Ok(format!("{way} at {} %: {seconds:.1} s, {lost} packets lost", run.loss))
}

/// Bytes of the flows to the server's port, in both directions.
struct Carried {
    tcp: u64,
    udp: u64,
}

impl Carried {
    fn now(site: &Site) -> Result<Self> {
        let sum = |flows: Vec<Flow>| flows.iter().map(|flow| flow.bytes.to_responder + flow.bytes.to_initiator).sum();
        Ok(Self { tcp: sum(site.flows("tcp", PORT)?), udp: sum(site.flows("udp", PORT)?) })
    }
}

/// What the two programs are given.
struct Files {
    authority: Authority,
    server: Identity,
    client: Identity,
    script: String,
}

impl Files {
    fn create(site: &Site) -> Result<Self> {
        let authority = Authority::create(site.scratch.path())?;
        let server = authority.issue(&SERVER.to_string(), "serverAuth")?;
        let client = authority.issue("client", "clientAuth")?;
        let script = site.scratch.path().join("configure");
        fs::write(&script, configure()).and_then(|()| fs::set_permissions(&script, fs::Permissions::from_mode(0o700)))?;
        Ok(Self { authority, server, client, script: word(&script)? })
    }
}

/// Instead of vpnc-script, which would also write the machine's list of name servers.
fn configure() -> String {
    format!(
        "#!/bin/sh\n[ \"$reason\" = connect ] || exit 0\nip address add \"$INTERNAL_IP4_ADDRESS/32\" dev \"$TUNDEV\" &&\n\
         ip link set \"$TUNDEV\" mtu \"$INTERNAL_IP4_MTU\" up &&\nip route add {BEHIND}/32 dev \"$TUNDEV\" &&\necho {CONNECTED}\n"
    )
}

fn start_server(site: &Site, files: &Files) -> Result<Daemon> {
    let scratch = site.scratch.path();
    let settings = scratch.join("ocserv.conf");
    let (authority, certificate, key) = (word(&files.authority.certificate)?, word(&files.server.certificate)?, word(&files.server.key)?);
    let text = format!(
        "auth = \"certificate\"\nca-cert = {authority}\ncert-user-oid = 2.5.4.3\nserver-cert = {certificate}\nserver-key = {key}\n\
         tcp-port = {PORT}\nudp-port = {PORT}\nsocket-file = /run/ocserv.socket\npid-file = /run/ocserv.pid\nrun-as-user = root\n\
         run-as-group = root\nuse-occtl = false\nisolate-workers = false\ndevice = vpns\nipv4-network = 10.63.0.0/24\n\
         route = {BEHIND}/32\nkeepalive = 5\ndpd = 5\nmtu = 1400\ntry-mtu-discovery = false\ndtls-psk = true\nmax-clients = 8\n"
    );
    fs::write(&settings, text).with_context(|| format!("cannot write {}", settings.display()))?;
    let settings = word(&settings)?;
    let arguments = ["--foreground", "--debug", "2", "--config", &settings];
    let server = Daemon::start("ocserv", &site.topology.server, "ocserv", &arguments, &[], scratch.join("ocserv.log"))?;
    server.says("initialized", 0)?;
    Ok(server)
}

fn start_client(site: &Site, files: &Files, name: &str, dtls: bool) -> Result<Daemon> {
    let (certificate, key) = (word(&files.client.certificate)?, word(&files.client.key)?);
    let (authority, address) = (word(&files.authority.certificate)?, format!("https://{SERVER}"));
    let mut arguments = vec!["--non-inter", "--verbose", "--interface", DEVICE, "--script", &files.script];
    arguments.extend(["--certificate", &certificate, "--sslkey", &key, "--cafile", &authority, "--no-system-trust"]);
    arguments.extend((!dtls).then_some("--no-dtls"));
    arguments.push(&address);
    let log = site.scratch.path().join(format!("openconnect-{name}.log"));
    Daemon::start("openconnect", &site.topology.client, "openconnect", &arguments, &[], log)
}

fn word(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).context("a path that is not UTF-8")
}
