//! A place on the path where somebody reads all that goes to and from UDP/4500, and sends what they like. Below the ends' own sockets and below
//! netfilter.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Result, ensure};
use etherparse::{SlicedPacket, TransportSlice};

use super::NAT_TRAVERSAL;
use crate::{
    netns::Namespace,
    test::{
        frame::{self, Fragment, Port},
        lab::wait_for,
        stream::joined,
    },
};

/// What the kernel may keep until it is read: seconds of a transfer.
const ROOM: usize = 128 << 20;
/// Longer than any frame of these networks.
const FRAME: usize = 2048;
/// So long without a frame is silence.
const SILENCE: Duration = Duration::from_millis(50);
/// How many ESP packets of each direction are kept whole.
const LATEST: usize = 200;
/// ESP packets have a header of eight bytes and more than nothing behind it.
const ESP_HEADER: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Direction {
    ToServer,
    ToClient,
}

impl Direction {
    pub(super) const BOTH: [Self; 2] = [Self::ToServer, Self::ToClient];
}

/// First bytes of a payload, by which it is known again: of ESP its SPI, its number, and 12 bytes that no key makes twice.
pub(super) type Head = [u8; 20];

pub(super) fn head(payload: &[u8]) -> Head {
    let mut head = Head::default();
    head.iter_mut().zip(payload).for_each(|(to, from)| *to = *from);
    head
}

/// A datagram in its frame.
#[derive(Debug, Clone)]
pub(super) struct Datagram {
    macs: [[u8; 6]; 2],
    source: SocketAddr,
    destination: SocketAddr,
    pub(super) payload: Vec<u8>,
}

impl Datagram {
    /// Anything but UDP over IPv4 is `None`.
    fn read(frame: &[u8]) -> Option<Self> {
        let sliced = SlicedPacket::from_ethernet(frame).ok()?;
        let net = sliced.net?;
        let ip = net.ipv4_ref()?.header();
        let TransportSlice::Udp(udp) = sliced.transport? else { return None };
        let mac = |at: usize| frame.get(at..at + 6)?.try_into().ok();
        Some(Self {
            macs: [mac(6)?, mac(0)?],
            source: SocketAddr::new(ip.source_addr().into(), udp.source_port()),
            destination: SocketAddr::new(ip.destination_addr().into(), udp.destination_port()),
            payload: udp.payload().to_vec(),
        })
    }

    fn direction(&self) -> Option<Direction> {
        match (self.source.port(), self.destination.port()) {
            (_, NAT_TRAVERSAL) => Some(Direction::ToServer),
            (NAT_TRAVERSAL, _) => Some(Direction::ToClient),
            _ => None,
        }
    }

    /// SPI and sequence number, if it carries ESP: IKE begins with four zeros (RFC 3948 §2.2), a keepalive is one byte.
    pub(super) fn esp(&self) -> Option<(u32, u32)> {
        let (header, rest) = self.payload.split_first_chunk::<ESP_HEADER>()?;
        let [a, b, c, d, e, f, g, h] = *header;
        let (spi, sequence) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
        (spi != 0 && !rest.is_empty()).then_some((spi, sequence))
    }

    /// A frame that goes the same way with another payload.
    pub(super) fn frame_with(&self, payload: &[u8]) -> Result<Vec<u8>> {
        let udp = frame::udp(self.source, self.destination, payload)?;
        let [from, to] = self.macs;
        let whole = Fragment { identification: 0, offset: 0, more: false, bytes: &udp };
        whole.frame(from, to, self.source.ip(), self.destination.ip())
    }
}

/// What came by in one direction.
#[derive(Debug, Default)]
struct Seen {
    times: HashMap<Head, u64>,
    /// ESP alone, the newest last.
    latest: VecDeque<Datagram>,
}

impl Seen {
    fn note(&mut self, datagram: Datagram) {
        *self.times.entry(head(&datagram.payload)).or_default() += 1;
        if datagram.esp().is_some() {
            if self.latest.len() == LATEST {
                self.latest.pop_front();
            }
            self.latest.push_back(datagram);
        }
    }
}

#[derive(Debug, Default)]
struct Log {
    to_server: Seen,
    to_client: Seen,
    /// How often nothing was left to be read.
    silent: u64,
}

impl Log {
    fn of(&mut self, direction: Direction) -> &mut Seen {
        match direction {
            Direction::ToServer => &mut self.to_server,
            Direction::ToClient => &mut self.to_client,
        }
    }
}

/// Reads until stopped. What it sends itself it does not see.
#[derive(Debug)]
pub(super) struct Tap {
    port: Arc<Port>,
    log: Arc<Mutex<Log>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Tap {
    pub(super) fn open(namespace: &Namespace, interface: &str) -> Result<Self> {
        let port = Arc::new(Port::open_with_room(namespace, interface, ROOM)?);
        let (log, over) = (Arc::<Mutex<Log>>::default(), Arc::new(AtomicBool::new(false)));
        let (listening, kept, ended) = (Arc::clone(&port), Arc::clone(&log), Arc::clone(&over));
        let thread = thread::spawn(move || listen(&listening, &kept, &ended));
        Ok(Self { port, log, over, thread: Some(thread) })
    }

    pub(super) fn send(&self, frame: &[u8]) -> Result<()> {
        self.port.send(frame)
    }

    /// The latest ESP packets of a direction, the newest last.
    pub(super) fn latest(&self, direction: Direction) -> Vec<Datagram> {
        locked(&self.log).of(direction).latest.iter().cloned().collect()
    }

    /// How often a payload has come by.
    pub(super) fn times(&self, direction: Direction, head: &Head) -> u64 {
        locked(&self.log).of(direction).times.get(head).copied().unwrap_or(0)
    }

    /// Begins the latest ones anew.
    pub(super) fn forget_latest(&self) {
        let mut log = locked(&self.log);
        Direction::BOTH.iter().for_each(|direction| log.of(*direction).latest.clear());
    }

    /// Waits until all that has come by is read.
    pub(super) fn settle(&self) -> Result<()> {
        let before = locked(&self.log).silent;
        wait_for("silence at UDP/4500", || Ok(locked(&self.log).silent > before + 1))
    }

    /// Fails when it has not seen everything.
    pub(super) fn stop(mut self) -> Result<()> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().map_or(Ok(()), |thread| joined(thread.join()))
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn locked(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen(port: &Port, log: &Mutex<Log>, over: &AtomicBool) -> Result<()> {
    let mut buffer = [0; FRAME];
    let note = |frame: &[u8]| {
        if let Some(datagram) = Datagram::read(frame)
            && let Some(direction) = datagram.direction()
        {
            locked(log).of(direction).note(datagram);
        }
    };
    while !over.load(Ordering::Relaxed) {
        if let Some(length) = port.take(&mut buffer)? {
            note(buffer.get(..length).unwrap_or_default());
        } else if let Some(frame) = port.next(SILENCE)? {
            note(&frame);
        } else {
            locked(log).silent += 1;
        }
    }
    let missed = port.missed()?;
    ensure!(missed == 0, "a tap missed {missed} frames: what it has not seen may have passed all the same");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(payload: &[u8]) -> Datagram {
        let (source, destination) = ("203.0.113.1:1024".parse().expect("an address"), "10.71.2.10:4500".parse().expect("an address"));
        Datagram { macs: [[2; 6], [4; 6]], source, destination, payload: payload.to_vec() }
    }

    #[test]
    fn a_frame_is_read_back() {
        let read = Datagram::read(&datagram(b"").frame_with(&[0, 0, 1, 0, 0, 0, 0, 9, 77]).expect("written")).expect("a datagram");
        assert_eq!((read.direction(), read.esp(), read.macs), (Some(Direction::ToServer), Some((256, 9)), [[2; 6], [4; 6]]));
        for other in [&[0; 20][..], &[0xff], &[0, 0, 1, 0, 0, 0, 0]] {
            assert_eq!(datagram(other).esp(), None);
        }
    }

    #[test]
    fn the_latest_are_kept_and_all_are_counted() {
        let mut seen = Seen::default();
        let number = |number: usize| [&[1; 6][..], &u16::try_from(number).expect("small").to_be_bytes(), &[5; 30]].concat();
        (0..LATEST + 5).for_each(|at| seen.note(datagram(&number(at))));
        seen.note(datagram(&number(0)));
        assert_eq!((seen.latest.len(), seen.times.len()), (LATEST, LATEST + 5));
        assert_eq!((seen.times[&head(&number(0))], seen.times[&head(&number(1))]), (2, 1));
    }
}
