//! strongSwan at both ends: IKEv2 from behind a NAT, and ESP in UDP (RFC 3948).
//!
//! ESP is strongSwan's own here (its plugin kernel-libipsec, a tun device at each end), so the kernel needs none. The plugin knows ESP in
//! UDP only: it tells the other end of a NAT even where there is none. So plain ESP (protocol 50) is not part of this scenario.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use super::{
    certificates::{self, Authority, Identity},
    daemon::Daemon,
    site::{Site, strict},
    tunnel::{self, BEFORE, BEHIND},
};
use crate::{
    command,
    netns::{
        Namespace,
        topology::{CLIENT, SERVER},
    },
    test::{
        lab::{Associations, wait_for},
        stream::joined,
    },
};

/// Where Debian has the daemon: on nobody's PATH.
const CHARON: &str = "/usr/lib/ipsec/charon";
const PLUGINS: &str = "random nonce drbg aes sha1 sha2 hmac kdf pem pkcs1 pkcs8 x509 pubkey constraints gmp kernel-libipsec kernel-netlink \
                       socket-default vici";
const IKE: u16 = 500;
/// IKE and ESP from behind a NAT (RFC 3947, RFC 3948).
const NAT_TRAVERSAL: u16 = 4500;
/// Each way and round of the transfer; it has as many rounds as rekeying takes.
const BYTES: u64 = 16 << 20;
const DPD: &str = "sending DPD request";

pub(super) fn scenario(binary: &Path) -> Result<String> {
    Site::create(binary, &strict(&format!("udp/{IKE}")))?.play(play)
}

fn play(site: &mut Site) -> Result<String> {
    site.topology.translate()?;
    tunnel::add_address(&site.topology.client, BEFORE)?;
    tunnel::add_address(&site.topology.server, BEHIND)?;
    let authority = Authority::create(site.scratch.path())?;
    let server = End::start("server", &site.topology.server, site, &authority, &server_connection())?;
    let client = End::start("client", &site.topology.client, site, &authority, &client_connection())?;

    // UDP/4500 is denied, so there must be no tunnel.
    ensure!(client.initiate(5).is_err(), "a tunnel came up although the policy denies UDP/{NAT_TRAVERSAL}");
    let denied = site.denied()?;
    client.control(&["--terminate", "--ike", "tunnel", "--force"])?;

    site.apply("strict", &strict(&format!("udp/{IKE},{NAT_TRAVERSAL}")))?;
    let result = through_the_tunnel(site, &client);
    if result.is_err() {
        eprintln!("{}\n{}", client.daemon.last_lines(), server.daemon.last_lines());
    }
    let note = result?;
    client.control(&["--terminate", "--ike", "tunnel"])?;
    site.no_drops()?;
    client.daemon.stop()?;
    server.daemon.stop()?;
    site.no_drops()?;
    Ok(format!("{note}\n  UDP/{NAT_TRAVERSAL} denied: no tunnel, {denied} drops"))
}

fn through_the_tunnel(site: &Site, client: &End) -> Result<String> {
    client.initiate(10)?;
    tunnel::pings(&site.topology)?;
    let rounds = transfer_while(site, || client.rekey())?;
    let dead_peer_detections = idle(client)?;
    tunnel::pings(&site.topology).context("after rekeying and a rest")?;
    site.no_drops()?;
    let ports = nat_traversal_flow(site, client, rounds * BYTES)?;
    Ok(format!(
        "{} MiB each way, rekeyed 3 times under way, {dead_peer_detections} dead peer detections answered\n  one flow {ports}",
        (rounds * BYTES) >> 20
    ))
}

/// Sends in both directions until the work is done, at least one round. Returns how many rounds it were.
fn transfer_while(site: &Site, work: impl FnOnce() -> Result<()>) -> Result<u64> {
    let pair = tunnel::connect(&site.topology)?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let mut rounds = 0;
            while rounds == 0 || !done.load(Ordering::Relaxed) {
                pair.exchange_bulk(BYTES).with_context(|| format!("in round {rounds} of the transfer"))?;
                rounds += 1;
            }
            pair.close()?;
            Ok(rounds)
        });
        // So that the first round is under way.
        thread::sleep(Duration::from_millis(100));
        let worked = work();
        done.store(true, Ordering::Relaxed);
        let rounds = joined(sending.join())?;
        worked.map(|()| rounds)
    })
}

/// Nothing is sent any more: the ends ask each other whether they live, and stay together.
fn idle(client: &End) -> Result<usize> {
    let before = client.daemon.said(DPD);
    client.daemon.says(DPD, before + 1)?;
    // The second request is sent only when the first has been answered.
    ensure!(client.daemon.said("giving up") == 0, "the server did not answer: {}", client.daemon.last_lines());
    let state = client.field("state")?;
    ensure!(state == "INSTALLED", "after a rest the tunnel is {state}");
    Ok(client.daemon.said(DPD) - before)
}

/// Weir saw one flow with all of it, from a port that the NAT chose, and knows the security associations that the ends use now.
fn nat_traversal_flow(site: &Site, client: &End, bytes: u64) -> Result<String> {
    let flows = site.flows("udp", NAT_TRAVERSAL)?;
    let [flow] = flows.as_slice() else { bail!("expected one flow to UDP/{NAT_TRAVERSAL}, got {flows:?}") };
    let ends = (flow.initiator.port, flow.responder.port);
    ensure!(ends.1 == NAT_TRAVERSAL && ends.0 != NAT_TRAVERSAL, "the flow's ports are {ends:?}, as if there were no NAT");
    ensure!(flow.initiator.zone == "outside" && flow.inspection == "strict", "the flow is {flow:?}");
    ensure!(flow.bytes.to_responder > bytes && flow.bytes.to_initiator > bytes, "the flow has less than was sent: {flow:?}");
    let spi = |field: &str| Ok::<_, anyhow::Error>(u32::from_str_radix(&client.field(field)?, 16).ok());
    let in_use = Associations { to_responder: spi("spi-out")?, to_initiator: spi("spi-in")? };
    let seen = flow.ipsec.context("the flow shows no security associations")?;
    ensure!(in_use.to_responder.is_some() && seen.spi == in_use && seen.rekeys >= 4, "strongSwan uses {in_use:?}, the flow shows {seen:?}");
    Ok(format!("{} > {} with {} changes of an SPI", ends.0, ends.1, seen.rekeys))
}

/// One strongSwan with its files.
struct End {
    daemon: Daemon,
    directory: PathBuf,
}

impl End {
    fn start(name: &'static str, namespace: &Namespace, site: &Site, authority: &Authority, connection: &str) -> Result<Self> {
        let directory = site.scratch.path().join(name);
        fs::create_dir(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
        let Identity { key, certificate } = authority.issue(name, &format!("{name}Auth"))?;
        certificates::copy(&certificate, &directory.join("x509"), "own.pem")?;
        certificates::copy(&key, &directory.join("private"), "own.key")?;
        certificates::copy(&authority.certificate, &directory.join("x509ca"), "authority.pem")?;
        let settings = directory.join("strongswan.conf");
        fs::write(&settings, self::settings(&directory)).context("cannot write strongSwan's settings")?;
        fs::write(directory.join("swanctl.conf"), connection).context("cannot write strongSwan's connection")?;
        let variables = [("STRONGSWAN_CONF", settings.to_str().context("a path that is not UTF-8")?)];
        let daemon = Daemon::start(name, namespace, CHARON, &[], &variables, log(&directory))?;
        let end = Self { daemon, directory };
        end.daemon.says("worker threads", 0)?;
        wait_for("strongSwan to take its connection", || end.control(&["--load-all"]).map(|_| true))?;
        Ok(end)
    }

    /// Runs swanctl with this daemon.
    fn control(&self, words: &[&str]) -> Result<String> {
        let mut swanctl = Command::new("swanctl");
        swanctl.args(words).arg("--uri").arg(format!("unix://{}", socket(&self.directory)));
        swanctl.env("SWANCTL_DIR", &self.directory).env("STRONGSWAN_CONF", self.directory.join("strongswan.conf"));
        command::output(&mut swanctl)
    }

    fn initiate(&self, seconds: u32) -> Result<()> {
        self.control(&["--initiate", "--child", "net", "--timeout", &seconds.to_string()]).map(drop).context("no tunnel came up")
    }

    /// New keys for ESP, for IKE, and for ESP below the new IKE. Each time both ends must have let go of the old ones.
    fn rekey(&self) -> Result<()> {
        for (kind, name, field, gone) in [
            ("--child", "net", "spi-in", "CHILD_SA closed"),
            ("--ike", "tunnel", "initiator-spi", "IKE_SA deleted"),
            ("--child", "net", "spi-in", "CHILD_SA closed"),
        ] {
            let (old, closed) = (self.field(field)?, self.daemon.said(gone));
            self.control(&["--rekey", kind, name])?;
            self.daemon.says(gone, closed)?;
            ensure!(self.field(field)? != old, "after rekeying {name} has the same {field} {old}");
        }
        Ok(())
    }

    /// The last field of this name in what strongSwan says of its security associations: one that replaced another stands behind it.
    fn field(&self, name: &str) -> Result<String> {
        let text = self.control(&["--list-sas", "--raw"])?;
        last_field(&text, name).map(str::to_owned).with_context(|| format!("strongSwan names no {name}: {text}"))
    }
}

/// From text like `{name=net spi-in=a4ef6217}`.
fn last_field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut words = text.rsplit([' ', '{', '}']).filter_map(|word| word.split_once('='));
    words.find(|(field, _)| *field == name).map(|(_, value)| value)
}

fn socket(directory: &Path) -> String {
    directory.join("vici").display().to_string()
}

fn log(directory: &Path) -> PathBuf {
    directory.join("charon.log")
}

fn settings(directory: &Path) -> String {
    let (socket, log) = (socket(directory), log(directory).display().to_string());
    format!(
        "charon {{\n  load = {PLUGINS}\n  keep_alive = 2s\n  plugins {{ vici {{ socket = unix://{socket} }} }}\n  filelog {{\n    out {{\n      \
         path = {log}\n      default = 1\n      flush_line = yes\n    }}\n  }}\n}}\nswanctl {{\n  \
         load = random nonce sha1 sha2 hmac pem pkcs1 pkcs8 x509 pubkey gmp\n}}\n"
    )
}

fn client_connection() -> String {
    connection("client", "server", &format!("local_addrs = {CLIENT}\n    remote_addrs = {SERVER}\n    dpd_delay = 2s"), [BEFORE, BEHIND])
}

fn server_connection() -> String {
    connection("server", "client", &format!("local_addrs = {SERVER}"), [BEHIND, BEFORE])
}

/// `ends`: the two addresses that the tunnel joins, the own one first.
fn connection(own: &str, other: &str, more: &str, ends: [std::net::Ipv4Addr; 2]) -> String {
    let [here, there] = ends;
    format!(
        "connections {{\n  tunnel {{\n    version = 2\n    {more}\n    proposals = aes128-sha256-modp2048\n    local {{\n      auth = pubkey\n      \
         certs = own.pem\n      id = {own}\n    }}\n    remote {{\n      auth = pubkey\n      id = {other}\n    }}\n    children {{\n      net {{\n        \
         local_ts = {here}/32\n        remote_ts = {there}/32\n        esp_proposals = aes128-sha256-modp2048\n      }}\n    }}\n  }}\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::last_field;

    #[test]
    fn of_two_associations_the_newer_one_is_read() {
        let text =
            "list-sa event {tunnel {state=ESTABLISHED child-sas {net-1 {state=DELETED spi-in=1a} net-2 {state=INSTALLED spi-in=2b}}}}";
        assert_eq!(last_field(text, "spi-in"), Some("2b"));
        assert_eq!(last_field(text, "state"), Some("INSTALLED"));
        assert_eq!(last_field(text, "spi"), None);
    }
}
