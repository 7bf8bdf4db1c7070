//! A hop that carries frames between two interfaces as a bad path does: some come late, so that later ones overtake them, and some come
//! twice. Nothing is lost here, and what is held is bounded in time and number.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Result;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    cpu::pin,
    network::{Card, FAR, Host, NEAR, Network, mac},
};
use crate::{
    pattern::Pattern,
    test::{frame::Port, stream::joined},
};

/// One frame in so many is held, and one is doubled.
const HOLD_ONE_IN: u8 = 24;
const DOUBLE_ONE_IN: u8 = 100;
/// How late a frame may come, in milliseconds, and how many may be late at once.
const LATEST: u8 = 8;
const HELD: usize = 512;
const LONGEST: usize = 2048;
/// How often a hop looks whether it is over.
const POLL: Duration = Duration::from_millis(50);

/// What all hops did.
#[derive(Debug, Default)]
pub struct Figures {
    pub carried: AtomicU64,
    pub late: AtomicU64,
    pub doubled: AtomicU64,
}

/// Hops that carry until they are stopped.
#[derive(Debug)]
pub struct Hops {
    over: Arc<AtomicBool>,
    figures: Arc<Figures>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Hops {
    /// One hop for each host. `cpus` are those of the two directions: frames of clients, frames of the server.
    pub fn start(network: &Network, cpus: [usize; 2], seed: u64) -> Result<Self> {
        let mut hops = Self { over: Arc::default(), figures: Arc::default(), threads: Vec::new() };
        for host in Host::ALL {
            let near = Arc::new(Port::open(network.hop(host), NEAR)?);
            let far = Arc::new(Port::open(network.hop(host), FAR)?);
            let (out, back) = if host == Host::Server { (cpus[1], cpus[0]) } else { (cpus[0], cpus[1]) };
            let seed = seed ^ u64::from(host.number());
            hops.carry(&near, &far, mac(host, Card::Hopped), out, seed);
            hops.carry(&far, &near, mac(host, Card::RouterHopped), back, !seed);
        }
        Ok(hops)
    }

    fn carry(&mut self, from: &Arc<Port>, to: &Arc<Port>, sender: [u8; 6], cpu: usize, seed: u64) {
        let way = Way { from: Arc::clone(from), to: Arc::clone(to), sender, random: Pattern::new(seed), late: BinaryHeap::new() };
        let (over, figures) = (Arc::clone(&self.over), Arc::clone(&self.figures));
        self.threads.push(thread::spawn(move || {
            pin(cpu)?;
            way.run(&over, &figures)
        }));
    }

    /// Ends them: frames carried, held back, doubled.
    pub fn stop(mut self) -> Result<[u64; 3]> {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            joined(thread.join())?;
        }
        let Figures { carried, late, doubled } = &*self.figures;
        Ok([carried, late, doubled].map(|figure| figure.load(Ordering::Relaxed)))
    }
}

impl Drop for Hops {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// One direction of a hop.
#[derive(Debug)]
struct Way {
    from: Arc<Port>,
    to: Arc<Port>,
    /// Whose frames are carried; others seen on the interface are those that leave by it.
    sender: [u8; 6],
    random: Pattern,
    /// Frames that are due later, the next one on top.
    late: BinaryHeap<Reverse<(Instant, Vec<u8>)>>,
}

impl Way {
    fn run(mut self, over: &AtomicBool, figures: &Figures) -> Result<()> {
        let mut buffer = vec![0; LONGEST];
        while !over.load(Ordering::Relaxed) {
            self.wait()?;
            while let Some(length) = self.from.take(&mut buffer)? {
                let frame = buffer.get(..length).unwrap_or_default();
                if frame.get(6..12) == Some(&self.sender) {
                    self.pass(frame, figures)?;
                }
            }
            self.release(Instant::now())?;
        }
        Ok(())
    }

    /// Until a frame comes or a held one is due.
    fn wait(&self) -> Result<()> {
        let due = self.late.peek().map_or(POLL, |Reverse((due, _))| due.saturating_duration_since(Instant::now()));
        let timeout = Timespec::try_from(due.min(POLL))?;
        let port = self.from.as_fd();
        match poll(&mut [PollFd::from_borrowed_fd(port, PollFlags::IN)], Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn pass(&mut self, frame: &[u8], figures: &Figures) -> Result<()> {
        figures.carried.fetch_add(1, Ordering::Relaxed);
        let mut chance = [0; 4];
        self.random.fill(&mut chance);
        let [hold, double, by, again] = chance;
        let room = self.late.len() < HELD;
        if room && double.is_multiple_of(DOUBLE_ONE_IN) {
            figures.doubled.fetch_add(1, Ordering::Relaxed);
            self.hold(frame, again);
        }
        if room && hold.is_multiple_of(HOLD_ONE_IN) {
            figures.late.fetch_add(1, Ordering::Relaxed);
            self.hold(frame, by);
            return Ok(());
        }
        self.to.send(frame)
    }

    fn hold(&mut self, frame: &[u8], by: u8) {
        let due = Instant::now() + Duration::from_millis(u64::from(by % LATEST) + 1);
        self.late.push(Reverse((due, frame.to_vec())));
    }

    fn release(&mut self, now: Instant) -> Result<()> {
        while self.late.peek().is_some_and(|Reverse((due, _))| *due <= now) {
            if let Some(Reverse((_, frame))) = self.late.pop() {
                self.to.send(&frame)?;
            }
        }
        Ok(())
    }
}
