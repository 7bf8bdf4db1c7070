//! Listens before Weir, on both sides. Weir's events say which packets it dropped, and by what number; this says, by itself, what was on
//! the wire.

use std::{
    collections::VecDeque,
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

use anyhow::Result;
use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::network::{Host, Network, Path, UPLINK};
use crate::test::{frame::Port, network::Family, stream::joined};

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

/// What went into Weir lately, of all flows.
#[derive(Debug, Default)]
struct Recent(VecDeque<(Instant, Segment)>);

impl Recent {
    fn remember(&mut self, segment: Segment) {
        if self.0.len() == RECENT {
            self.0.pop_front();
        }
        self.0.push_back((Instant::now(), segment));
    }

    fn acknowledged(&self, by: SocketAddr, to: SocketAddr, ack: u32) -> bool {
        self.0.iter().any(|(_, segment)| segment.is_from(by, to) && segment.has('A') && !segment.has('R') && segment.ack == ack)
    }

    fn around(&self, source: SocketAddr, destination: SocketAddr, seq: u32) -> String {
        let of_flow = |segment: &Segment| segment.is_from(source, destination) || segment.is_from(destination, source);
        let flow: Vec<_> = self.0.iter().filter(|(_, segment)| of_flow(segment)).collect();
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
    recent: Arc<Mutex<Recent>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Tap {
    pub fn start(network: &Network) -> Result<Self> {
        let open = |namespace| Port::open_with_room(namespace, UPLINK, ROOM);
        let ports = [open(&network.west)?, open(&network.east)?];
        let (recent, over) = (Arc::<Mutex<Recent>>::default(), Arc::new(AtomicBool::new(false)));
        let (kept, ended) = (Arc::clone(&recent), Arc::clone(&over));
        Ok(Self { recent, over, thread: Some(thread::spawn(move || listen(&ports, &kept, &ended))) })
    }

    /// Whether one end sent the other exactly this acknowledgement lately, other than with a reset.
    pub fn acknowledged(&self, by: SocketAddr, to: SocketAddr, ack: u32) -> bool {
        locked(&self.recent).acknowledged(by, to, ack)
    }

    /// What a segment's flow sent around it, one line each.
    pub fn around(&self, source: SocketAddr, destination: SocketAddr, seq: u32) -> String {
        locked(&self.recent).around(source, destination, seq)
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

fn locked(recent: &Mutex<Recent>) -> MutexGuard<'_, Recent> {
    recent.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen(ports: &[Port; 2], recent: &Mutex<Recent>, over: &AtomicBool) -> Result<()> {
    let mut buffer = [0; HEADERS];
    let timeout = Timespec::try_from(POLL)?;
    while !over.load(Ordering::Relaxed) {
        let mut ready = ports.each_ref().map(|port| PollFd::from_borrowed_fd(port.as_fd(), PollFlags::IN));
        match poll(&mut ready, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for (port, at_server) in ports.iter().zip([false, true]) {
            let mut recent = locked(recent);
            for _ in 0..TURN {
                let Some(length) = port.take(&mut buffer)? else { break };
                // What comes from the other side has been through Weir already.
                if let Some(segment) = read(buffer.get(..length).unwrap_or_default())
                    && is_server(segment.source.ip()) == at_server
                {
                    recent.remember(segment);
                }
            }
        }
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
    use crate::{soak::kind::Kind, test::frame::Tcp};

    fn ends() -> (SocketAddr, SocketAddr) {
        let address = |host| Path::Clean.address(host, Family::V4);
        (SocketAddr::new(address(Host::Modern), 40_000), SocketAddr::new(address(Host::Server), Kind::Short.port()))
    }

    fn recent(flags: &'static str) -> Recent {
        let (source, destination) = ends();
        let mut recent = Recent::default();
        for seq in [1, 501, 1001] {
            let tcp = Tcp { source, destination, seq, ack: 7, flags, payload: vec![1; 500] };
            let frame = tcp.frame([2; 6], [4; 6], &[]).expect("written");
            let segment = read(&frame[..HEADERS]).expect("a segment, cut short");
            assert_eq!((segment.length, segment.seq), (500, seq));
            recent.remember(segment);
        }
        recent
    }

    #[test]
    fn an_acknowledgement_is_its_senders_and_no_resets() {
        let (client, server) = ends();
        assert!(recent(".").acknowledged(client, server, 7));
        assert!(!recent(".").acknowledged(client, server, 8), "not this one");
        assert!(!recent(".").acknowledged(server, client, 7), "not its own");
        assert!(!recent("R.").acknowledged(client, server, 7), "a reset grants nothing");
    }

    #[test]
    fn a_segment_is_shown_with_its_flow_around_it() {
        let (client, server) = ends();
        for (from, to) in [(client, server), (server, client)] {
            let shown = recent(".").around(from, to, 501);
            assert_eq!(shown.lines().filter(|line| line.contains("length 500")).count(), 3, "{shown}");
        }
        assert_eq!(Recent::default().around(client, server, 501), "");
        let elsewhere = SocketAddr::new(client.ip(), 40_001);
        assert_eq!(recent(".").around(elsewhere, server, 501), "");
    }
}
