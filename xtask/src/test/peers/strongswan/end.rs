//! One end: strongSwan's daemon with its files, and swanctl to drive it.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{
    command,
    netns::{
        Namespace,
        topology::{CLIENT, SERVER},
    },
    test::{
        lab::{Associations, wait_for},
        peers::{
            certificates::{self, Authority, Identity},
            daemon::Daemon,
            site::Site,
            tunnel::{self, BEFORE, BEHIND},
        },
    },
};

/// Where Debian has the daemon: on nobody's PATH.
const CHARON: &str = "/usr/lib/ipsec/charon";
const PLUGINS: &str = "random nonce drbg aes sha1 sha2 hmac kdf pem pkcs1 pkcs8 x509 pubkey constraints gmp kernel-libipsec kernel-netlink \
                       socket-default vici";

/// One strongSwan with its files.
pub(super) struct End {
    pub(super) daemon: Daemon,
    directory: PathBuf,
}

impl End {
    /// The client and the server, with the addresses that a tunnel is to join. The hop translates the client's own address.
    pub(super) fn both(site: &Site) -> Result<(Self, Self)> {
        site.topology.translate()?;
        tunnel::add_address(&site.topology.client, BEFORE)?;
        tunnel::add_address(&site.topology.server, BEHIND)?;
        let authority = Authority::create(site.scratch.path())?;
        let server = Self::start("server", &site.topology.server, site, &authority, &server_connection())?;
        let client = Self::start("client", &site.topology.client, site, &authority, &client_connection())?;
        Ok((client, server))
    }

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
    pub(super) fn control(&self, words: &[&str]) -> Result<String> {
        let mut swanctl = Command::new("swanctl");
        swanctl.args(words).arg("--uri").arg(format!("unix://{}", socket(&self.directory)));
        swanctl.env("SWANCTL_DIR", &self.directory).env("STRONGSWAN_CONF", self.directory.join("strongswan.conf"));
        command::output(&mut swanctl)
    }

    pub(super) fn initiate(&self, seconds: u32) -> Result<()> {
        self.control(&["--initiate", "--child", "net", "--timeout", &seconds.to_string()]).map(drop).context("no tunnel came up")
    }

    /// New keys for ESP, for IKE, and for ESP below the new IKE. Each time both ends must have let go of the old ones.
    pub(super) fn rekey(&self) -> Result<()> {
        self.rekey_child()?;
        self.rekey_one("--ike", "tunnel", "initiator-spi", "IKE_SA deleted")?;
        self.rekey_child()
    }

    pub(super) fn rekey_child(&self) -> Result<()> {
        self.rekey_one("--child", "net", "spi-in", "CHILD_SA closed")
    }

    fn rekey_one(&self, kind: &str, name: &str, field: &str, gone: &str) -> Result<()> {
        let (old, closed) = (self.field(field)?, self.daemon.said(gone));
        self.control(&["--rekey", kind, name])?;
        self.daemon.says(gone, closed)?;
        ensure!(self.field(field)? != old, "after rekeying {name} has the same {field} {old}");
        Ok(())
    }

    /// The SPIs of the ESP that it sends to the server and gets from there. Of the client.
    pub(super) fn associations(&self) -> Result<Associations> {
        let spi = |field: &str| {
            let text = self.field(field)?;
            u32::from_str_radix(&text, 16).map(Some).with_context(|| format!("{field} is {text}"))
        };
        Ok(Associations { to_responder: spi("spi-out")?, to_initiator: spi("spi-in")? })
    }

    /// The last field of this name in what strongSwan says of its security associations: one that replaced another stands behind it.
    pub(super) fn field(&self, name: &str) -> Result<String> {
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
fn connection(own: &str, other: &str, more: &str, ends: [Ipv4Addr; 2]) -> String {
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
