//! A connection that carries data for as long as it is wanted, every byte compared.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Instant,
};

use anyhow::{Context, Result, bail};

use super::network::waited;
use super::{
    lab::wait_for,
    stream::{Pair, joined},
};
use crate::pattern::Pattern;

const CHUNK: usize = 16 * 1024;
const SEED: u64 = 11;

/// Sends from client to server until stopped.
#[derive(Debug)]
pub struct Pump {
    shared: Arc<Shared>,
    /// The sender's and the receiver's, each of which returns its count of bytes.
    threads: Option<(Counting, Counting)>,
}

type Counting = JoinHandle<Result<u64>>;

#[derive(Debug)]
struct Shared {
    over: AtomicBool,
    received: AtomicU64,
    last_arrival: Mutex<Instant>,
}

impl Pump {
    pub fn start(pair: Pair) -> Result<Self> {
        let last_arrival = Mutex::new(Instant::now());
        let shared = Arc::new(Shared { over: AtomicBool::new(false), received: AtomicU64::new(0), last_arrival });
        let Pair { client, server } = pair;
        let (of_sender, of_receiver) = (Arc::clone(&shared), Arc::clone(&shared));
        let sending = thread::spawn(move || send(client, &of_sender));
        let receiving = thread::spawn(move || receive(server, &of_receiver));
        Ok(Self { shared, threads: Some((sending, receiving)) })
    }

    /// Waits until this many more bytes have arrived.
    pub fn flows_on(&self, bytes: u64) -> Result<()> {
        let goal = self.received() + bytes;
        wait_for(&format!("{bytes} more bytes to flow"), || Ok(self.received() >= goal))
    }

    /// When data last arrived.
    pub fn last_arrival(&self) -> Instant {
        *self.shared.last_arrival.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the transfer in order, and returns how many bytes arrived, all of them as they were sent.
    pub fn stop(&mut self) -> Result<u64> {
        self.shared.over.store(true, Ordering::Relaxed);
        let (sending, receiving) = self.threads.take().context("stopped already")?;
        let (sent, received) = (joined(sending.join()), joined(receiving.join()));
        let (sent, received) = (sent.context("the sender of the bulk transfer")?, received.context("the receiver of the bulk transfer")?);
        if sent != received {
            bail!("{sent} bytes were sent and {received} arrived");
        }
        Ok(received)
    }

    fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
    }
}

fn send(mut stream: TcpStream, shared: &Shared) -> Result<u64> {
    let mut pattern = Pattern::new(SEED);
    let mut chunk = vec![0; CHUNK];
    let mut sent = 0;
    while !shared.over.load(Ordering::Relaxed) {
        pattern.fill(&mut chunk);
        stream.write_all(&chunk).with_context(|| format!("cannot send after {sent} bytes"))?;
        sent += u64::try_from(CHUNK).unwrap_or(0);
    }
    stream.shutdown(Shutdown::Write).context("cannot end the transfer")?;
    match waited(|| stream.read(&mut [0; 1])).context("the receiver did not close")? {
        0 => Ok(sent),
        _ => bail!("the receiver sent data"),
    }
}

fn receive(mut stream: TcpStream, shared: &Shared) -> Result<u64> {
    let mut pattern = Pattern::new(SEED);
    let mut chunk = vec![0; 4 * CHUNK];
    loop {
        let length = match stream.read(&mut chunk) {
            Ok(0) => return Ok(shared.received.load(Ordering::Relaxed)),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other.context("nothing arrives any more")?,
        };
        if !pattern.matches(chunk.get(..length).unwrap_or_default()) {
            bail!("other bytes arrived than were sent");
        }
        *shared.last_arrival.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        shared.received.fetch_add(u64::try_from(length).unwrap_or(0), Ordering::Relaxed);
    }
}
