//! One scenario's surroundings: a network, a running Weir, and what is asked of both.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::{
    network::{Family, Network, Placement, inside},
    stream::{self, PATIENCE, Pair},
};
use crate::{
    scratch::Scratch,
    vm,
    weir::{Counters, Launch, Weir},
};

const POLL: Duration = Duration::from_millis(50);

/// A flow as `weir flows --json` prints it, as far as it is needed here.
#[derive(Debug, Clone, Deserialize)]
pub struct Flow {
    pub protocol: String,
    pub initiator: FlowEnd,
    pub responder: FlowEnd,
    pub state: String,
    pub inspection: String,
    pub rule: String,
    pub application: Option<String>,
    pub bytes: Both,
    pub packets: Both,
    /// Of ESP and AH, also in UDP.
    #[serde(default)]
    pub ipsec: Option<Ipsec>,
    #[serde(default)]
    pub guard: Option<FlowGuard>,
}

/// Security associations of a flow.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Ipsec {
    pub spi: Associations,
    /// How often an SPI has changed.
    pub rekeys: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Associations {
    pub to_responder: Option<u32>,
    pub to_initiator: Option<u32>,
}

/// What guards remember of a flow.
#[derive(Debug, Clone, Deserialize)]
pub struct FlowGuard {
    pub kinds: Vec<String>,
    /// Of guard `ctcp` alone.
    pub proven: Option<bool>,
    pub spi: Associations,
    pub previous_spi: Associations,
    pub next_spi: Associations,
    pub refused: Both,
}

#[derive(Debug, Clone, Deserialize)]
pub struct FlowEnd {
    pub port: u16,
    pub zone: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Both {
    pub to_responder: u64,
    pub to_initiator: u64,
}

#[derive(Debug)]
pub struct Lab {
    pub weir: Weir,
    pub network: Network,
    scratch: Scratch,
    start: Counters,
}

impl Lab {
    pub fn create(binary: &Path, placement: Placement, policy: &str, more: &[&str]) -> Result<Self> {
        let scratch = Scratch::create("lab")?;
        let policies = scratch.directory_with("first", "policy.toml", policy)?;
        let network = Network::create(placement)?;
        let weir = Weir::start(Launch {
            binary: binary.to_owned(),
            namespace: network.firewall.name().to_owned(),
            instance: format!("test-{}", std::process::id()),
            placement: placement.name(),
            interfaces: placement.interfaces(),
            policies,
            log: scratch.path().join("weir.log"),
            more: more.iter().map(|word| (*word).to_owned()).collect(),
        })?;
        let start = weir.counters()?;
        start.all_native()?;
        Ok(Self { weir, network, scratch, start })
    }

    /// A file of the scenario's own.
    pub fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Writes another policy, to be applied by its directory.
    pub fn policy(&self, name: &str, text: &str) -> Result<PathBuf> {
        self.scratch.directory_with(name, "policy.toml", text)
    }

    /// What Weir has dropped since the start, or since [`Lab::forget`].
    pub fn drops(&self) -> Result<BTreeMap<String, u64>> {
        Ok(self.weir.counters()?.drops_since(&self.start))
    }

    /// Drops so far do not count any more.
    pub fn forget(&mut self) -> Result<()> {
        self.start = self.weir.counters()?;
        Ok(())
    }

    pub fn no_drops(&self) -> Result<()> {
        let drops = self.drops()?;
        if !drops.is_empty() {
            bail!("Weir dropped packets it should have passed: {drops:?}");
        }
        Ok(())
    }

    /// Exactly these drops and no others.
    pub fn only_drops(&self, reason: &str, counts: std::ops::RangeInclusive<u64>) -> Result<u64> {
        let drops = self.drops()?;
        let count = drops.get(reason).copied().unwrap_or(0);
        if drops.keys().any(|other| other != reason) || !counts.contains(&count) {
            bail!("expected {counts:?} drops of {reason} and no others, got {drops:?}");
        }
        Ok(count)
    }

    pub fn flows(&self, filters: &[&str]) -> Result<Vec<Flow>> {
        self.weir.read("flows", filters)
    }

    /// The one flow that meets the filters.
    pub fn flow(&self, filters: &[&str]) -> Result<Flow> {
        let mut flows = self.flows(filters)?;
        match (flows.pop(), flows.len()) {
            (Some(flow), 0) => Ok(flow),
            (first, more) => bail!("expected one flow for {filters:?}, got {}", more + usize::from(first.is_some())),
        }
    }

    /// Waits until the one flow that meets the filters is in this state.
    pub fn flow_becomes(&self, filters: &[&str], state: &str) -> Result<()> {
        let mut seen = String::new();
        wait_for(&format!("state {state} of the flow {filters:?}"), || {
            seen = self.flow(filters)?.state;
            Ok(seen == state)
        })
        .with_context(|| format!("it is {seen}"))
    }

    pub fn listen(&self, family: Family, port: u16) -> Result<TcpListener> {
        let address = self.network.server_address(family, port);
        inside(self.network.server(), || TcpListener::bind(address).with_context(|| format!("cannot listen on {address}")))
    }

    /// Connects from the client to the server's port.
    pub fn connect(&self, family: Family, port: u16, patience: Duration) -> std::io::Result<TcpStream> {
        let address = self.network.server_address(family, port);
        inside(&self.network.client, || Ok(TcpStream::connect_timeout(&address, patience)))
            .unwrap_or_else(|error| Err(std::io::Error::other(error)))
    }

    /// An open connection to this port, where nobody listens yet.
    pub fn pair(&self, family: Family, port: u16) -> Result<Pair> {
        let listener = self.listen(family, port)?;
        self.pair_with(&listener, family, port)
    }

    pub fn pair_with(&self, listener: &TcpListener, family: Family, port: u16) -> Result<Pair> {
        let client = self.connect(family, port, PATIENCE).with_context(|| format!("cannot connect to port {port}"))?;
        Pair::new(client, stream::accept(listener)?)
    }

    /// A UDP socket at the server's port, and one at the client connected to it.
    pub fn udp(&self, family: Family, port: u16) -> Result<(UdpSocket, UdpSocket)> {
        let address = self.network.server_address(family, port);
        let server = inside(self.network.server(), || UdpSocket::bind(address).with_context(|| format!("cannot bind to {address}")))?;
        let client = inside(&self.network.client, || {
            let socket = UdpSocket::bind(SocketAddr::new(family.client(), 0)).context("cannot bind")?;
            socket.connect(address).with_context(|| format!("cannot connect to {address}"))?;
            Ok(socket)
        })?;
        for socket in [&server, &client] {
            socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        }
        Ok((client, server))
    }

    /// What a person needs to see why the scenario failed.
    pub fn diagnosis(&self) -> String {
        diagnosis(&self.weir)
    }

    /// Ends Weir, which must leave nothing behind.
    pub fn stop(self) -> Result<()> {
        self.weir.stop()
    }
}

/// Everything that an instance says of itself.
pub fn diagnosis(weir: &Weir) -> String {
    let shown = |verb: &str| weir.show(verb).unwrap_or_else(|error| format!("{error:#}"));
    format!("weir's log:\n{}\nweir counters:\n{}\nweir flows:\n{}", weir.log(), shown("counters"), shown("flows"))
}

/// Looks again and again until the condition holds, within [`PATIENCE`], longer on an emulated machine.
pub fn wait_for(what: &str, condition: impl FnMut() -> Result<bool>) -> Result<()> {
    wait_within(PATIENCE * vm::slower(), what, condition)
}

/// The same within another time.
pub fn wait_within(patience: Duration, what: &str, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + patience;
    loop {
        let result = condition();
        if matches!(result, Ok(true)) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            result?;
            bail!("waited {patience:?} in vain for {what}");
        }
        thread::sleep(POLL);
    }
}
