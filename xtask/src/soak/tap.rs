//! Listens on both sides of Weir for segments that go in and do not come out. Weir's counters say whether one was dropped, and why; this
//! says which it was.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    net::{IpAddr, SocketAddr},
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Result;
use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    kind::Kind,
    network::{Host, Network, Path, UPLINK},
};
use crate::test::{frame::Port, network::Family, stream::joined};

/// Bytes of a frame that are read: its headers.
const HEADERS: usize = 128;
/// What the kernel may keep for each side until it is read: a second's worth of segments and more.
const ROOM: usize = 256 << 20;
/// Segments read of one side before the other's turn: what happened at one time is seen at about one time.
const TURN: usize = 32;
/// A segment that has not come out by then will not.
const LOST: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(100);
/// What went in lately, and how much of one flow is shown around a segment that did not come out.
const RECENT: usize = 400_000;
const AROUND: usize = 30;
/// Both sides are read in turns, and on a busy machine one lags behind: what it shows this much later may have been there before.
const AT_ONCE: Duration = Duration::from_secs(1);
/// The last ones are kept, of resets and SYNs and of other segments.
const KEPT: usize = 100;

/// A segment that went in and did not come out, and what its flow sent around it.
#[derive(Debug, Clone)]
pub struct Missing {
    pub segment: Segment,
    around: Vec<(Instant, Segment)>,
    since: Instant,
}

/// A segment of the soak's own traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    pub kind: Kind,
    pub family: Family,
    pub source: SocketAddr,
    pub destination: SocketAddr,
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

    /// Whether a drop for this reason may have been of this segment.
    pub fn fits(&self, reason: &str) -> bool {
        match reason {
            "tcp-rstfin-ooo" => self.has('R'),
            "tcp-syn-ooo" | "tcp-synack-ooo" | "tcp-ack-syn-diff" => self.has('S'),
            "tcp-seq-past-win" | "tcp-data-past-fin" => !self.has('R') && !self.has('S'),
            "tcp-not-syn" => !self.has('S') || self.has('A'),
            _ => true,
        }
    }

    const fn rank(&self) -> usize {
        // Queues lose data; what begins and ends connections is rare, and not to be pushed out by it.
        self.flags[0].1 as usize | self.flags[2].1 as usize
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.segment)?;
        for (at, segment) in &self.around {
            let after = at.saturating_duration_since(self.since).as_secs_f64() - self.since.saturating_duration_since(*at).as_secs_f64();
            write!(formatter, "\n    {:+9.3} ms {segment}", after * 1000.0)?;
        }
        Ok(())
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags: String = self.flags.iter().filter(|(_, set)| *set).map(|(letter, _)| *letter).collect();
        let Self { kind, source, destination, seq, ack, length, window, .. } = self;
        write!(formatter, "{}: {source} → {destination} {flags} seq {seq} ack {ack} length {length} window {window}", kind.name())
    }
}

/// Segments by what identifies them; positive: seen before Weir, negative: behind it.
type Open = HashMap<u64, (i32, Instant, Segment)>;
/// What went in lately, of all flows.
type Recent = VecDeque<(Instant, Segment)>;

/// What went in and did not come out.
#[derive(Debug, Default)]
pub struct Lost {
    /// The last data and acknowledgements, and the last segments that begin or end connections.
    kept: [VecDeque<Missing>; 2],
    /// Resets below what their receiver had acknowledged: it must discard them (RFC 5961 §3.2, RFC 9293 §3.10.7.4). A kernel sends such
    /// ones for each segment that meets a closed socket, with the number that the segment acknowledged.
    pub spent_resets: u64,
}

impl Lost {
    /// Those that one of these reasons can be the reason for. Queues beside Weir lose segments too.
    pub fn fitting<'a>(&'a self, reasons: impl Iterator<Item = &'a String> + Clone) -> Vec<Missing> {
        self.kept.iter().flatten().filter(|missing| reasons.clone().any(|reason| missing.segment.fits(reason))).cloned().collect()
    }
}

/// Whether the receiver of a reset has acknowledged more than its number.
fn spent(recent: &Recent, reset: &Segment, since: Instant) -> bool {
    recent.iter().any(|(at, other)| {
        *at <= since + AT_ONCE
            && (other.source, other.destination) == (reset.destination, reset.source)
            && other.has('A')
            && other.ack.wrapping_sub(reset.seq).cast_signed() > 0
    })
}

/// Listens until stopped.
#[derive(Debug)]
pub struct Tap {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Lost>>>,
}

impl Tap {
    pub fn start(network: &Network) -> Result<Self> {
        let open = |namespace| Port::open_with_room(namespace, UPLINK, ROOM);
        let ports = [open(&network.west)?, open(&network.east)?];
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        Ok(Self { over, thread: Some(thread::spawn(move || listen(&ports, &ended))) })
    }

    /// Ends it: the last segments that went in and did not come out. Queues between Weir and its neighbours may have lost some too.
    pub fn stop(mut self) -> Result<Lost> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().map_or_else(|| Ok(Lost::default()), |thread| joined(thread.join()))
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn listen(ports: &[Port; 2], over: &AtomicBool) -> Result<Lost> {
    let (mut open, mut recent, mut lost) = (Open::new(), Recent::new(), Lost::default());
    let mut buffer = [0; HEADERS];
    let mut swept = Instant::now();
    let timeout = Timespec::try_from(POLL)?;
    while !over.load(Ordering::Relaxed) {
        let mut ready = ports.each_ref().map(|port| PollFd::from_borrowed_fd(port.as_fd(), PollFlags::IN));
        match poll(&mut ready, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for (port, from_server_is_before) in ports.iter().zip([false, true]) {
            for _ in 0..TURN {
                let Some(length) = port.take(&mut buffer)? else { break };
                if let Some((key, segment)) = read(buffer.get(..length).unwrap_or_default()) {
                    let from_server = segment.source.port() == segment.kind.port();
                    let before = from_server == from_server_is_before;
                    if before {
                        remember(&mut recent, segment);
                    }
                    note(&mut open, key, segment, before);
                }
            }
        }
        if swept.elapsed() >= LOST {
            swept = Instant::now();
            sweep(&mut open, &recent, &mut lost, swept);
        }
    }
    // Traffic has ended, and what was under way has had its time.
    sweep(&mut open, &recent, &mut lost, Instant::now() + LOST);
    Ok(lost)
}

fn note(open: &mut Open, key: u64, segment: Segment, before: bool) {
    let entry = open.entry(key).or_insert((0, Instant::now(), segment));
    entry.0 += if before { 1 } else { -1 };
    if entry.0 == 0 {
        open.remove(&key);
    }
}

fn remember(recent: &mut Recent, segment: Segment) {
    if recent.len() == RECENT {
        recent.pop_front();
    }
    recent.push_back((Instant::now(), segment));
}

/// The last segments of the same flow, both directions.
fn around(recent: &Recent, segment: &Segment) -> Vec<(Instant, Segment)> {
    let same = |other: &Segment| {
        [(other.source, other.destination), (other.destination, other.source)].contains(&(segment.source, segment.destination))
    };
    let mut found: Vec<_> = recent.iter().rev().filter(|(_, other)| same(other)).take(AROUND).copied().collect();
    found.reverse();
    found
}

fn sweep(open: &mut Open, recent: &Recent, lost: &mut Lost, now: Instant) {
    open.retain(|_, (balance, since, segment)| {
        let old = now.saturating_duration_since(*since) >= LOST;
        if old && *balance > 0 && segment.has('R') && spent(recent, segment, *since) {
            lost.spent_resets += u64::from(balance.unsigned_abs());
        } else if old && *balance > 0 {
            let kept = &mut lost.kept[segment.rank()];
            if kept.len() == KEPT {
                kept.pop_front();
            }
            let around = if segment.rank() == 0 { Vec::new() } else { around(recent, segment) };
            kept.push_back(Missing { segment: *segment, around, since: *since });
        }
        !old
    });
}

/// What identifies a segment on both sides of Weir, and the segment. Anything but the soak's own TCP is `None`.
fn read(headers: &[u8]) -> Option<(u64, Segment)> {
    let sliced = LaxSlicedPacket::from_ethernet(headers).ok()?;
    let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { return None };
    let (source, destination, identification, payload): (IpAddr, IpAddr, u16, usize) = match sliced.net? {
        LaxNetSlice::Ipv4(ip) => {
            let header = ip.header();
            let payload = usize::from(header.total_len()).checked_sub(header.slice().len())?;
            (header.source_addr().into(), header.destination_addr().into(), header.identification(), payload)
        }
        LaxNetSlice::Ipv6(ip) => {
            let header = ip.header();
            (header.source_addr().into(), header.destination_addr().into(), 0, header.payload_length().into())
        }
        LaxNetSlice::Arp(_) => return None,
    };
    let (source, destination) = (SocketAddr::new(source, tcp.source_port()), SocketAddr::new(destination, tcp.destination_port()));
    let server = [source, destination].into_iter().find(|end| is_server(end.ip()))?;
    let kind = Kind::of_port(server.port())?;
    let mut hasher = DefaultHasher::new();
    // The header without its checksum, which a normalizer may have to change.
    (source, destination, identification, payload, tcp.sequence_number(), tcp.acknowledgment_number()).hash(&mut hasher);
    (tcp.slice().get(12..16), tcp.options().len(), tcp.urgent_pointer()).hash(&mut hasher);
    let flags = [('S', tcp.syn()), ('F', tcp.fin()), ('R', tcp.rst()), ('P', tcp.psh()), ('U', tcp.urg()), ('A', tcp.ack())];
    let segment = Segment {
        kind,
        family: if source.is_ipv4() { Family::V4 } else { Family::V6 },
        source,
        destination,
        seq: tcp.sequence_number(),
        ack: tcp.acknowledgment_number(),
        flags,
        length: payload.checked_sub(tcp.header_slice().len())?,
        window: tcp.window_size(),
    };
    Some((hasher.finish(), segment))
}

fn is_server(address: IpAddr) -> bool {
    let family = if address.is_ipv4() { Family::V4 } else { Family::V6 };
    Path::ALL.into_iter().any(|path| path.address(Host::Server, family) == address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::frame::Tcp;

    fn segment(seq: u32) -> Vec<u8> {
        let tcp = Tcp {
            source: SocketAddr::new(Path::Clean.address(Host::Modern, Family::V4), 40_000),
            destination: SocketAddr::new(Path::Clean.address(Host::Server, Family::V4), Kind::Short.port()),
            seq,
            ack: 7,
            flags: ".",
            payload: vec![1; 500],
        };
        tcp.frame([2; 6], [4; 6], &[]).expect("written")
    }

    #[test]
    fn a_reset_below_what_was_acknowledged_is_spent() {
        let (_, other) = read(&segment(1)[..HEADERS]).expect("a segment");
        let now = Instant::now();
        let acknowledging = Recent::from([(now, other)]);
        let reset = |seq| Segment { source: other.destination, destination: other.source, seq, ..other };
        assert!(spent(&acknowledging, &reset(6), now), "7 has been acknowledged");
        assert!(!spent(&acknowledging, &reset(7), now), "exactly there it counts");
        assert!(!spent(&acknowledging, &reset(6), now - 2 * AT_ONCE), "not before it was acknowledged");
        assert!(!spent(&acknowledging, &Segment { seq: 6, ..other }, now), "its own side's acknowledgements say nothing");
    }

    #[test]
    fn what_comes_out_is_not_missing_and_what_does_not_is() {
        let (mut open, mut lost) = (Open::new(), Lost::default());
        for (seq, sightings) in [(1, vec![true, false]), (2, vec![true]), (3, vec![false, true])] {
            for before in sightings {
                let frame = segment(seq);
                let (key, segment) = read(&frame[..HEADERS]).expect("a segment, cut short");
                assert_eq!((segment.kind, segment.length), (Kind::Short, 500));
                note(&mut open, key, segment, before);
            }
        }
        sweep(&mut open, &Recent::new(), &mut lost, Instant::now() + LOST);
        assert_eq!(lost.kept.iter().flatten().map(|missing| missing.segment.seq).collect::<Vec<_>>(), [2]);
        assert!(open.is_empty());
    }
}
