//! Clients and servers: each client thread makes one connection after the other of its kind, each connection has a thread at the server.

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, Scope},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use socket2::{Domain, SockRef, Socket, Type};

use super::{
    cpu::pin,
    kind::{Kind, Random, Script, family_name},
    network::{Host, Network},
    talk::{Role, SMALL_BUFFER, talk},
};
use crate::{
    pattern::Pattern,
    test::network::{Family, inside},
};

/// A connection comes about within that time, or something is wrong.
const CONNECT: Duration = Duration::from_secs(30);
const GLANCE: Duration = Duration::from_millis(50);
const BACKLOG: i32 = 128;
/// Failures that are reported; after so many a run has told enough.
const MOST_FAILURES: usize = 20;
/// `MSG_FASTOPEN`: connect, and send in the SYN.
const FAST_OPEN: i32 = 0x2000_0000;

/// What came of one kind in one family.
#[derive(Debug, Default)]
pub struct Total {
    pub connections: AtomicU64,
    pub bytes: AtomicU64,
}

/// What came of all of them, and what went wrong.
#[derive(Debug)]
pub struct Ledger {
    totals: [[Total; 2]; Kind::ALL.len()],
    failures: Mutex<Vec<String>>,
    /// No more connections, and no more rounds on those there are.
    over: AtomicBool,
    /// No more servers.
    closed: AtomicBool,
}

impl Ledger {
    fn new() -> Self {
        Self {
            totals: std::array::from_fn(|_| Default::default()),
            failures: Mutex::default(),
            over: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        }
    }

    pub fn total(&self, kind: Kind, family: Family) -> &Total {
        &self.totals[kind as usize][family as usize]
    }

    pub fn failures(&self) -> Vec<String> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn failed(&self, what: String) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() < MOST_FAILURES {
            failures.push(what);
        }
    }

    fn over(&self) -> bool {
        self.over.load(Ordering::Relaxed) || self.failures.lock().unwrap_or_else(PoisonError::into_inner).len() >= MOST_FAILURES
    }
}

/// Runs every kind over both families from both clients for so long. `watch` is called all the while, and may end it.
pub fn run(
    network: &Network,
    cpus: [usize; 2],
    length: Duration,
    seed: u64,
    left_out: &[Kind],
    mut watch: impl FnMut() -> Result<bool>,
) -> Result<Ledger> {
    let ledger = Ledger::new();
    let watched = thread::scope(|scope| {
        let servers = serve(scope, network, cpus[1], left_out, &ledger)?;
        let mut clients = Vec::new();
        for (kind, family, host, number) in everything().filter(|(kind, ..)| !left_out.contains(kind)) {
            let seed = seed ^ ((kind as u64) << 8 | (family as u64) << 16 | u64::from(host.number()) << 24 | (number as u64) << 32);
            let client = Client { kind, family };
            clients.push(scope.spawn({
                let ledger = &ledger;
                move || {
                    let work = || pin(cpus[0]).and_then(|()| client.run(seed, ledger));
                    if let Err(error) = inside(network.host(host), work) {
                        ledger.failed(format!("{} over {} from {}: {error:#}", kind.name(), family_name(family), host.name()));
                    }
                }
            }));
        }
        let deadline = Instant::now() + length;
        let mut watched = Ok(true);
        while Instant::now() < deadline && !ledger.over() && matches!(watched, Ok(true)) {
            thread::sleep(GLANCE);
            watched = watch();
        }
        ledger.over.store(true, Ordering::Relaxed);
        clients.into_iter().for_each(|client| drop(client.join()));
        ledger.closed.store(true, Ordering::Relaxed);
        servers.into_iter().for_each(|server| drop(server.join()));
        watched
    });
    watched.map(|_| ledger)
}

fn everything() -> impl Iterator<Item = (Kind, Family, Host, usize)> {
    let hosts = |kind: Kind, family| Host::CLIENTS.into_iter().map(move |host| (kind, family, host));
    Kind::ALL
        .into_iter()
        .flat_map(move |kind| Family::BOTH.into_iter().flat_map(move |family| hosts(kind, family)))
        .flat_map(|(kind, family, host)| (0..kind.at_once()).map(move |number| (kind, family, host, number)))
}

/// Listens for every kind and family, and answers.
fn serve<'scope, 'a: 'scope>(
    scope: &'scope Scope<'scope, 'a>,
    network: &'a Network,
    cpu: usize,
    left_out: &[Kind],
    ledger: &'scope Ledger,
) -> Result<Vec<thread::ScopedJoinHandle<'scope, ()>>> {
    let mut servers = Vec::new();
    for family in Family::BOTH {
        for kind in Kind::ALL.into_iter().filter(|kind| !left_out.contains(kind)) {
            let address = SocketAddr::new(kind.path().address(Host::Server, family), kind.port());
            let listener = inside(network.host(Host::Server), || listen(kind, address))?;
            servers.push(scope.spawn(move || {
                let served = pin(cpu).and_then(|()| accept(kind, family, &listener, ledger));
                if let Err(error) = served {
                    ledger.failed(format!("the server of {} over {}: {error:#}", kind.name(), family_name(family)));
                }
            }));
        }
    }
    Ok(servers)
}

fn socket(kind: Kind, address: IpAddr) -> Result<Socket> {
    let domain = if address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::STREAM, None).context("cannot open a socket")?;
    if kind == Kind::SmallBuffers {
        // Before the handshake, which settles the window's scale by it.
        socket.set_recv_buffer_size(SMALL_BUFFER).context("cannot shrink a buffer")?;
        socket.set_send_buffer_size(SMALL_BUFFER).context("cannot shrink a buffer")?;
    }
    Ok(socket)
}

fn listen(kind: Kind, address: SocketAddr) -> Result<TcpListener> {
    let socket = socket(kind, address.ip())?;
    socket.bind(&address.into()).with_context(|| format!("cannot bind to {address}"))?;
    socket.listen(BACKLOG).with_context(|| format!("cannot listen on {address}"))?;
    Ok(socket.into())
}

fn accept(kind: Kind, family: Family, listener: &TcpListener, ledger: &Ledger) -> Result<()> {
    SockRef::from(listener).set_read_timeout(Some(GLANCE)).context("cannot set a timeout")?;
    thread::scope(|scope| {
        while !ledger.closed.load(Ordering::Relaxed) {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => continue,
                Err(error) => return Err(error).context("cannot accept a connection"),
            };
            scope.spawn(move || {
                let result = answer(kind, stream, ledger).map(|bytes| {
                    ledger.total(kind, family).bytes.fetch_add(bytes, Ordering::Relaxed);
                });
                if let Err(error) = result {
                    ledger.failed(format!("{} over {} at the server: {error:#}", kind.name(), family_name(family)));
                }
            });
        }
        Ok(())
    })
}

fn answer(kind: Kind, mut stream: TcpStream, ledger: &Ledger) -> Result<u64> {
    stream.set_read_timeout(Some(CONNECT))?;
    let mut seed = [0; 8];
    stream.read_exact(&mut seed).context("the connection's first bytes did not come")?;
    talk(kind, Role::Server, stream, &Script::new(kind, u64::from_le_bytes(seed)), &ledger.over)
}

#[derive(Debug, Clone, Copy)]
struct Client {
    kind: Kind,
    family: Family,
}

impl Client {
    fn run(self, seed: u64, ledger: &Ledger) -> Result<()> {
        let Self { kind, family } = self;
        let mut random = Random(Pattern::new(seed));
        while !ledger.over() {
            let seed = random.below(0..u64::MAX);
            let script = Script::new(kind, seed);
            let stream = self.connect(seed)?;
            let from = stream.local_addr().context("a connection without an address")?;
            let bytes = talk(kind, Role::Client, stream, &script, &ledger.over).with_context(|| format!("the connection from {from}"))?;
            let total = ledger.total(kind, family);
            total.connections.fetch_add(1, Ordering::Relaxed);
            total.bytes.fetch_add(bytes, Ordering::Relaxed);
            if matches!(kind, Kind::Short | Kind::FastOpen) {
                thread::sleep(Duration::from_millis(script.wait));
            }
        }
        Ok(())
    }

    /// A connection over which the script's seed has been sent.
    fn connect(self, seed: u64) -> Result<TcpStream> {
        let address = SocketAddr::new(self.kind.path().address(Host::Server, self.family), self.kind.port());
        let socket = socket(self.kind, address.ip())?;
        let seed = seed.to_le_bytes();
        if self.kind == Kind::FastOpen {
            let sent = socket.send_to_with_flags(&seed, &address.into(), FAST_OPEN).context("cannot open fast")?;
            anyhow::ensure!(sent == seed.len(), "a fast open took {sent} bytes only");
            return Ok(socket.into());
        }
        socket.connect_timeout(&address.into(), CONNECT).with_context(|| format!("cannot connect to {address}"))?;
        let mut stream = TcpStream::from(socket);
        stream.write_all(&seed).context("cannot send the first bytes")?;
        Ok(stream)
    }
}
