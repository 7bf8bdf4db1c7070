//! One endpoint, run inside a namespace: `xtask ctcp-endpoint`.
//!
//! It sends by a raw socket and receives by a packet socket, so the kernel's TCP has no part in it (its namespace drops what the kernel
//! would otherwise answer).

use std::{
    io::{ErrorKind, Read},
    net::SocketAddrV4,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{
    receiver::{Acknowledge, Receiver},
    wire::{Esp, Kind, Segment, TRAILER},
};
use crate::report::{Line, Second, Totals};

/// How long a client waits for the SYN-ACK, and how often it tries.
const SYN_WAIT: Duration = Duration::from_secs(3);
const SYN_TRIES: u32 = 4;
/// How long a server waits for its client.
const CLIENT_WAIT: Duration = Duration::from_secs(20);
/// A waiting receiver looks this often whether it is over.
const RECEIVE_WAIT: Duration = Duration::from_millis(50);
const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;
/// Between the last data and the reset, so that what is under way arrives.
const LINGER: Duration = Duration::from_millis(300);
/// Receive offload joins segments of one flow only if the IPv4 identification of packets that may be fragmented grows by one. A segment
/// is a datagram here, and must arrive as it was sent.
const IDENTIFICATION_STEP: u16 = 7;
/// From one SPI of an endpoint to its next.
const SPI_STEP: u32 = 0x100;
const IPPROTO_RAW: i32 = 255;
const ETHERTYPE_IPV4: u16 = 0x0800;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    Client,
    Server,
}

#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    #[arg(long, value_enum)]
    role: Role,
    #[arg(long)]
    local: SocketAddrV4,
    /// The server; a server takes the first client that comes.
    #[arg(long)]
    remote: Option<SocketAddrV4>,
    /// Datagrams a second; 0 sends bare acknowledgements only.
    #[arg(long, default_value_t = 400)]
    rate: u32,
    /// Bytes of a segment's payload, ESP header and trailer included.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(40..=1400))]
    size: u16,
    #[arg(long, default_value_t = 12)]
    seconds: u32,
    #[arg(long, value_enum, default_value = "repeat-at-gap")]
    acknowledge: Acknowledge,
    /// Datagrams after which it changes its SPI and counts from 1 again; 0 for never.
    #[arg(long, default_value_t = 0)]
    rekey_after: u32,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let link = Link::open(arguments.local)?;
    let connection = match (arguments.role, arguments.remote) {
        (Role::Client, Some(remote)) => connect(link, remote, arguments.acknowledge)?,
        (Role::Client, None) => bail!("a client needs --remote"),
        (Role::Server, _) => accept(link, arguments.acknowledge)?,
    };
    Line::Connected.print()?;
    let totals = thread::scope(|scope| {
        let receiving = scope.spawn(|| connection.receive(arguments.rate == 0));
        let sent = connection.send(arguments);
        thread::sleep(LINGER);
        connection.over.store(true, Ordering::Relaxed);
        receiving.join().map_err(|_| anyhow::anyhow!("the receiving thread panicked"))??;
        let receiver = connection.receiver();
        Ok::<_, anyhow::Error>(Totals { sent: sent?, delivered: receiver.delivered, damaged: receiver.damaged })
    })?;
    if arguments.role == Role::Client {
        connection.link.send(&connection.segment(Kind::Reset, 0, 0, Vec::new()))?;
    }
    Line::Done(totals).print()?;
    Ok(())
}

/// The two sockets and the address of this endpoint.
#[derive(Debug)]
struct Link {
    local: SocketAddrV4,
    sending: Socket,
    receiving: Socket,
    identification: AtomicU16,
}

impl Link {
    fn open(local: SocketAddrV4) -> Result<Self> {
        let sending = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(IPPROTO_RAW))).context("cannot open a raw socket")?;
        let protocol = Protocol::from(i32::from(ETHERTYPE_IPV4.to_be()));
        let receiving = Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol)).context("cannot open a packet socket")?;
        receiving.set_read_timeout(Some(RECEIVE_WAIT)).context("cannot set a read timeout")?;
        // Beyond the system's limit for it: a busy machine must not look like a lossy network.
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&receiving, RECEIVE_BUFFER).context("cannot enlarge a buffer")?;
        Ok(Self { local, sending, receiving, identification: AtomicU16::new(1) })
    }

    fn send(&self, segment: &Segment) -> Result<()> {
        let packet = segment.encode(self.identification.fetch_add(IDENTIFICATION_STEP, Ordering::Relaxed));
        self.sending
            .send_to(&packet, &SockAddr::from(segment.destination))
            .map(drop)
            .with_context(|| format!("cannot send to {}", segment.destination))
    }

    /// The next whole segment for this endpoint, if one comes within [`RECEIVE_WAIT`].
    fn receive(&self, buffer: &mut [u8]) -> Result<Option<Segment>> {
        match (&self.receiving).read(buffer) {
            // What is not a whole TCP segment with a right checksum is no segment: to the endpoint it is lost.
            Ok(length) => {
                let packet = buffer.get(..length).unwrap_or_default();
                Ok(Segment::decode(packet).ok().filter(|segment| segment.destination == self.local))
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => Ok(None),
            Err(error) => Err(error).context("cannot receive"),
        }
    }
}

/// A connection whose handshake is complete.
#[derive(Debug)]
struct Connection {
    link: Link,
    remote: SocketAddrV4,
    spi: u32,
    /// Sequence of our first data byte.
    first: u32,
    receiver: Mutex<Receiver>,
    /// Nothing more is sent or received: the time is up, or the peer has reset the connection.
    over: AtomicBool,
}

fn connect(link: Link, remote: SocketAddrV4, acknowledge: Acknowledge) -> Result<Connection> {
    let initial = initial_sequence();
    let mut buffer = vec![0; usize::from(u16::MAX)];
    let syn =
        Segment { source: link.local, destination: remote, kind: Kind::Syn, sequence: initial, acknowledgement: 0, payload: Vec::new() };
    for _ in 0..SYN_TRIES {
        link.send(&syn)?;
        let deadline = Instant::now() + SYN_WAIT;
        while Instant::now() < deadline {
            let Some(answer) = link.receive(&mut buffer)? else { continue };
            let ours = answer.source == remote && answer.acknowledgement == initial.wrapping_add(1);
            if ours && answer.kind == Kind::SynAck {
                let connection = Connection::new(link, remote, initial, answer.sequence, acknowledge, 0x0c71_0001);
                connection.link.send(&connection.segment(
                    Kind::Ack,
                    connection.first,
                    connection.receiver().acknowledgement(),
                    Vec::new(),
                ))?;
                return Ok(connection);
            }
        }
    }
    bail!("{remote} did not answer {SYN_TRIES} SYNs");
}

fn accept(link: Link, acknowledge: Acknowledge) -> Result<Connection> {
    let initial = initial_sequence();
    let mut buffer = vec![0; usize::from(u16::MAX)];
    let mut client = None;
    Line::Ready.print()?;
    let deadline = Instant::now() + CLIENT_WAIT;
    while Instant::now() < deadline {
        let Some(segment) = link.receive(&mut buffer)? else { continue };
        match (segment.kind, client) {
            (Kind::Syn, _) => {
                client = Some((segment.source, segment.sequence));
                link.send(&Segment {
                    source: link.local,
                    destination: segment.source,
                    kind: Kind::SynAck,
                    sequence: initial,
                    acknowledgement: segment.sequence.wrapping_add(1),
                    payload: Vec::new(),
                })?;
            }
            (Kind::Ack, Some((remote, sequence)))
                if segment.source == remote && segment.acknowledgement.wrapping_sub(initial.wrapping_add(1)) < 1 << 31 =>
            {
                let connection = Connection::new(link, remote, initial, sequence, acknowledge, 0x0c71_0002);
                connection.take(&segment);
                return Ok(connection);
            }
            _ => {}
        }
    }
    bail!("no client completed a handshake within {} s", CLIENT_WAIT.as_secs());
}

impl Connection {
    fn new(link: Link, remote: SocketAddrV4, initial: u32, peer_initial: u32, acknowledge: Acknowledge, spi: u32) -> Self {
        Self {
            link,
            remote,
            spi,
            first: initial.wrapping_add(1),
            receiver: Mutex::new(Receiver::new(acknowledge, peer_initial.wrapping_add(1))),
            over: AtomicBool::new(false),
        }
    }

    fn receiver(&self) -> MutexGuard<'_, Receiver> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn segment(&self, kind: Kind, sequence: u32, acknowledgement: u32, payload: Vec<u8>) -> Segment {
        Segment { source: self.link.local, destination: self.remote, kind, sequence, acknowledgement, payload }
    }

    /// Takes a segment of the peer. A bare acknowledgement says nothing to an endpoint that sends nothing twice.
    fn take(&self, segment: &Segment) {
        if segment.kind == Kind::Ack && !segment.payload.is_empty() {
            // A damaged datagram is in the totals; there is no one to complain to.
            let _ = self.receiver().take(segment.sequence, &segment.payload);
        }
    }

    fn receive(&self, bare_acknowledgements: bool) -> Result<()> {
        let mut buffer = vec![0; usize::from(u16::MAX)];
        while !self.over.load(Ordering::Relaxed) {
            let Some(segment) = self.link.receive(&mut buffer)? else { continue };
            if segment.source != self.remote {
                continue;
            }
            if segment.kind == Kind::Reset {
                self.over.store(true, Ordering::Relaxed);
            }
            self.take(&segment);
            if bare_acknowledgements && !segment.payload.is_empty() {
                let acknowledgement = self.receiver().acknowledgement();
                self.link.send(&self.segment(Kind::Ack, self.first, acknowledgement, Vec::new()))?;
            }
        }
        Ok(())
    }

    /// Sends at the given rate and reports every second. Returns how many datagrams were sent.
    fn send(&self, arguments: &Arguments) -> Result<u64> {
        let start = Instant::now();
        let (mut sent, mut delivered) = (0_u64, 0_u64);
        let mut sequence = self.first;
        for second in 1..=arguments.seconds {
            let sent_before = sent;
            let end = start + Duration::from_secs(u64::from(second));
            // An endpoint that was held up catches up, so that the rate holds on average.
            while let Some(due) = due(start, sent, arguments.rate).filter(|due| *due < end) {
                sleep_until(due);
                if self.over.load(Ordering::Relaxed) {
                    return Ok(sent);
                }
                let number = u32::try_from(sent).context("the ESP sequence is used up")?;
                let esp = association(self.spi, number, arguments.rekey_after);
                let payload = esp.encode(usize::from(arguments.size).max(TRAILER));
                let next = sequence.wrapping_add(u32::from(arguments.size));
                let acknowledgement = self.receiver().acknowledgement();
                self.link.send(&self.segment(Kind::Ack, sequence, acknowledgement, payload))?;
                sequence = next;
                sent += 1;
            }
            sleep_until(end);
            let total = self.receiver().delivered;
            Line::Second(Second { second, sent: sent - sent_before, delivered: total - delivered }).print()?;
            delivered = total;
        }
        Ok(sent)
    }
}

/// The SPI and the sequence number of a datagram, counted from 0.
fn association(spi: u32, number: u32, rekey_after: u32) -> Esp {
    match number.checked_div(rekey_after) {
        Some(changes) => Esp { spi: spi + changes * SPI_STEP, sequence: number % rekey_after + 1 },
        None => Esp { spi, sequence: number + 1 },
    }
}

/// When the datagram with this number leaves; never at rate 0.
fn due(start: Instant, number: u64, rate: u32) -> Option<Instant> {
    let nanoseconds = number.checked_mul(1_000_000_000)?.checked_div(u64::from(rate))?;
    start.checked_add(Duration::from_nanos(nanoseconds))
}

fn sleep_until(instant: Instant) {
    thread::sleep(instant.saturating_duration_since(Instant::now()));
}

/// Differs from run to run; nothing here rests on its being secret.
fn initial_sequence() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.subsec_nanos().wrapping_mul(2_654_435_761))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_change_after_so_many_datagrams_and_never_by_themselves() {
        assert_eq!(association(7, 349, 350), Esp { spi: 7, sequence: 350 });
        assert_eq!(association(7, 350, 350), Esp { spi: 7 + SPI_STEP, sequence: 1 });
        assert_eq!(association(7, 350, 0), Esp { spi: 7, sequence: 351 });
    }

    #[test]
    fn datagrams_leave_evenly_and_never_at_rate_zero() {
        let start = Instant::now();
        assert_eq!(due(start, 0, 400), Some(start));
        assert_eq!(due(start, 1, 400), Some(start + Duration::from_micros(2500)));
        assert_eq!(due(start, 400, 400), Some(start + Duration::from_secs(1)));
        assert_eq!(due(start, 1, 0), None);
    }
}
