//! Listens before Weir, on both sides. Weir's events say which packets it dropped, and by what number; this says, by itself, what was on
//! the wire.

use std::{
    collections::{HashMap, VecDeque},
    fmt::{self, Write},
    net::{IpAddr, SocketAddr},
    os::fd::AsFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use super::{
    kind::Kind,
    network::{Host, Network, Path, UPLINK},
};
use crate::test::{frame::Port, lab::wait_for, network::Family, stream::joined};

/// Bytes of a frame that are read: its headers.
const HEADERS: usize = 128;
/// What the kernel may keep for each side until it is read: a second's worth of segments and more.
const ROOM: usize = 256 << 20;
/// Segments read of one side before the other's turn: what happened at one time is seen at about one time.
const TURN: usize = 32;
const POLL: Duration = Duration::from_millis(100);
/// How many segments are remembered, some seconds of them; and how many of a flow are shown before and behind one of them.
const RECENT: usize = 400_000;
const AROUND: usize = 15;
/// How far a late reset lies behind its receiver's acknowledgement at most; it tells the connections of one pair of ports apart.
const FAR: u32 = 1 << 24;

/// A segment of the soak's own traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Segment {
    source: SocketAddr,
    destination: SocketAddr,
    seq: u32,
    ack: u32,
    flags: [(char, bool); 6],
    length: usize,
    window: u16,
}

impl Segment {
    fn has(&self, letter: char) -> bool {
        self.flags.contains(&(letter, true))
    }

    fn is_of(&self, kind: Kind) -> bool {
        [self.source, self.destination].iter().any(|end| end.port() == kind.port())
    }

    fn is_from(&self, source: SocketAddr, destination: SocketAddr) -> bool {
        (self.source, self.destination) == (source, destination)
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags: String = self.flags.iter().filter(|(_, set)| *set).map(|(letter, _)| *letter).collect();
        let Self { source, destination, seq, ack, length, window, .. } = self;
        write!(formatter, "{source} → {destination} {flags} seq {seq} ack {ack} length {length} window {window}")
    }
}

/// What went into Weir: lately, of all flows, and how far each has acknowledged.
#[derive(Debug, Default)]
struct Seen {
    recent: VecDeque<(Instant, Segment)>,
    /// The furthest acknowledgement that one end sent the other, other than with a reset: of each of their connections, for ports come again.
    acknowledged: HashMap<(SocketAddr, SocketAddr), Vec<Option<u32>>>,
    /// How often nothing was left to be read of connections that reset.
    idle: u64,
    /// Segments of connections that reset that found no room.
    missed: u64,
}

impl Seen {
    fn remember(&mut self, segment: Segment) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((Instant::now(), segment));
    }

    fn note_acknowledgement(&mut self, segment: &Segment) {
        let connections = self.acknowledged.entry((segment.source, segment.destination)).or_default();
        if segment.has('S') || connections.is_empty() {
            connections.push(None);
        }
        if let Some(furthest) = connections.last_mut().filter(|_| segment.has('A') && !segment.has('R')) {
            let ahead = furthest.is_none_or(|furthest| segment.ack.wrapping_sub(furthest).cast_signed() > 0);
            *furthest = if ahead { Some(segment.ack) } else { *furthest };
        }
    }

    fn acknowledged_past(&self, by: SocketAddr, to: SocketAddr, seq: u32) -> bool {
        let past = |furthest: &u32| (1..=FAR).contains(&furthest.wrapping_sub(seq));
        self.acknowledged.get(&(by, to)).is_some_and(|connections| connections.iter().flatten().any(past))
    }

    fn around(&self, source: SocketAddr, destination: SocketAddr, seq: u32) -> String {
        let of_flow = |segment: &Segment| segment.is_from(source, destination) || segment.is_from(destination, source);
        let flow: Vec<_> = self.recent.iter().filter(|(_, segment)| of_flow(segment)).collect();
        let meant = |segment: &Segment| segment.is_from(source, destination) && segment.seq == seq;
        let place = flow.iter().rposition(|(_, segment)| meant(segment)).unwrap_or(flow.len().saturating_sub(1));
        let mut text = String::new();
        for (at, segment) in flow.iter().skip(place.saturating_sub(AROUND)).take(2 * AROUND + 1) {
            let since = flow[place].0;
            let after = at.saturating_duration_since(since).as_secs_f64() - since.saturating_duration_since(*at).as_secs_f64();
            let _ = write!(text, "\n    {:+9.3} ms {segment}", after * 1000.0);
        }
        text
    }
}

/// Listens until stopped.
#[derive(Debug)]
pub struct Tap {
    seen: Arc<Mutex<Seen>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Tap {
    pub fn start(network: &Network) -> Result<Self> {
        // What comes in there has been through Weir already. Connections that reset have sockets of their own, which keep up where those of
        // everything may not.
        let open = |namespace, port| Port::open_with_room(namespace, UPLINK, ROOM)?.only_outgoing(HEADERS as u32, port);
        let resets = Some(Kind::Reset.port());
        let ports = Ports {
            resets: [open(&network.west, resets)?, open(&network.east, resets)?],
            everything: [open(&network.west, None)?, open(&network.east, None)?],
        };
        let (seen, over) = (Arc::<Mutex<Seen>>::default(), Arc::new(AtomicBool::new(false)));
        let (kept, ended) = (Arc::clone(&seen), Arc::clone(&over));
        Ok(Self { seen, over, thread: Some(thread::spawn(move || listen(&ports, &kept, &ended))) })
    }

    /// Whether one end has acknowledged what lies behind this number of the other's.
    pub fn acknowledged_past(&self, by: SocketAddr, to: SocketAddr, seq: u32) -> bool {
        locked(&self.seen).acknowledged_past(by, to, seq)
    }

    /// Waits until every segment of connections that reset has been read.
    pub fn settle(&self) -> Result<()> {
        let idle = || locked(&self.seen).idle;
        let before = idle();
        wait_for("the tap to have read what resets meet", || Ok(idle() > before + 1))?;
        let missed = locked(&self.seen).missed;
        ensure!(missed == 0, "the tap missed {missed} segments of connections that reset: of these nothing is known");
        Ok(())
    }

    /// What a segment's flow sent around it, one line each.
    pub fn around(&self, source: SocketAddr, destination: SocketAddr, seq: u32) -> String {
        locked(&self.seen).around(source, destination, seq)
    }

    pub fn stop(mut self) -> Result<()> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().map_or(Ok(()), |thread| joined(thread.join()))
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn locked(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the tap listens, on both sides of Weir.
#[derive(Debug)]
struct Ports {
    resets: [Port; 2],
    everything: [Port; 2],
}

impl Ports {
    fn wait(&self) -> Result<()> {
        let mut ready: Vec<_> =
            self.resets.iter().chain(&self.everything).map(|port| PollFd::from_borrowed_fd(port.as_fd(), PollFlags::IN)).collect();
        match poll(&mut ready, Some(&Timespec::try_from(POLL)?)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads what there is, in turn. False when there was nothing of connections that reset; of everything there may be more than can be read.
    fn read(&self, seen: &Mutex<Seen>) -> Result<bool> {
        let mut any = false;
        for port in &self.resets {
            any |= segments(port, |segment| locked(seen).note_acknowledgement(&segment))?;
        }
        for port in &self.everything {
            segments(port, |segment| {
                let mut seen = locked(seen);
                if !segment.is_of(Kind::Reset) {
                    seen.note_acknowledgement(&segment);
                }
                seen.remember(segment);
            })?;
        }
        Ok(any)
    }
}

/// The next segments of one socket. False when there is none.
fn segments(port: &Port, mut with: impl FnMut(Segment)) -> Result<bool> {
    let mut buffer = [0; HEADERS];
    for turn in 0..TURN {
        let Some(length) = port.take(&mut buffer)? else { return Ok(turn > 0) };
        read(buffer.get(..length).unwrap_or_default()).into_iter().for_each(&mut with);
    }
    Ok(true)
}

fn listen(ports: &Ports, seen: &Mutex<Seen>, over: &AtomicBool) -> Result<()> {
    while !over.load(Ordering::Relaxed) {
        ports.wait()?;
        let idle = !ports.read(seen)?;
        let mut missed = 0;
        for port in &ports.resets {
            missed += u64::from(port.missed()?);
        }
        let mut seen = locked(seen);
        seen.idle += u64::from(idle);
        seen.missed += missed;
    }
    Ok(())
}

/// Anything but the soak's own TCP is `None`.
fn read(headers: &[u8]) -> Option<Segment> {
    let sliced = LaxSlicedPacket::from_ethernet(headers).ok()?;
    let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { return None };
    let (source, destination, payload): (IpAddr, IpAddr, usize) = match sliced.net? {
        LaxNetSlice::Ipv4(ip) => {
            let header = ip.header();
            let payload = usize::from(header.total_len()).checked_sub(header.slice().len())?;
            (header.source_addr().into(), header.destination_addr().into(), payload)
        }
        LaxNetSlice::Ipv6(ip) => {
            let header = ip.header();
            (header.source_addr().into(), header.destination_addr().into(), header.payload_length().into())
        }
        LaxNetSlice::Arp(_) => return None,
    };
    if !is_server(source) && !is_server(destination) {
        return None;
    }
    Some(Segment {
        source: SocketAddr::new(source, tcp.source_port()),
        destination: SocketAddr::new(destination, tcp.destination_port()),
        seq: tcp.sequence_number(),
        ack: tcp.acknowledgment_number(),
        flags: [('S', tcp.syn()), ('F', tcp.fin()), ('R', tcp.rst()), ('P', tcp.psh()), ('U', tcp.urg()), ('A', tcp.ack())],
        length: payload.checked_sub(tcp.header_slice().len())?,
        window: tcp.window_size(),
    })
}

fn is_server(address: IpAddr) -> bool {
    let family = if address.is_ipv4() { Family::V4 } else { Family::V6 };
    Path::ALL.into_iter().any(|path| path.address(Host::Server, family) == address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::frame::Tcp;

    fn ends() -> (SocketAddr, SocketAddr) {
        let address = |host| Path::Clean.address(host, Family::V4);
        (SocketAddr::new(address(Host::Modern), 40_000), SocketAddr::new(address(Host::Server), Kind::Short.port()))
    }

    fn seen(flags: &'static str) -> Seen {
        let (source, destination) = ends();
        let mut seen = Seen::default();
        for seq in [1, 501, 1001] {
            let tcp = Tcp { source, destination, seq, ack: 7, flags, payload: vec![1; 500] };
            let frame = tcp.frame([2; 6], [4; 6], &[]).expect("written");
            let segment = read(&frame[..HEADERS]).expect("a segment, cut short");
            assert_eq!((segment.length, segment.seq), (500, seq));
            seen.remember(segment);
            seen.note_acknowledgement(&segment);
        }
        seen
    }

    #[test]
    fn an_acknowledgement_is_its_senders_and_no_resets() {
        let (client, server) = ends();
        assert!(seen(".").acknowledged_past(client, server, 6));
        assert!(seen(".").acknowledged_past(client, server, u32::MAX), "numbers wrap");
        assert!(!seen(".").acknowledged_past(client, server, 1 << 31), "another connection's number");
        assert!(!seen(".").acknowledged_past(client, server, 7), "up to there, not past it");
        assert!(!seen(".").acknowledged_past(server, client, 6), "not its own");
        assert!(!seen("R.").acknowledged_past(client, server, 6), "a reset grants nothing");
    }

    #[test]
    fn a_segment_is_shown_with_its_flow_around_it() {
        let (client, server) = ends();
        for (from, to) in [(client, server), (server, client)] {
            let shown = seen(".").around(from, to, 501);
            assert_eq!(shown.lines().filter(|line| line.contains("length 500")).count(), 3, "{shown}");
        }
        assert_eq!(Seen::default().around(client, server, 501), "");
        let elsewhere = SocketAddr::new(client.ip(), 40_001);
        assert_eq!(seen(".").around(elsewhere, server, 501), "");
    }
}
