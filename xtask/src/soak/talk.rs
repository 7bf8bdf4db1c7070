//! What the two ends of one connection say to each other. Every byte that arrives is compared with what was sent.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use socket2::{SockRef, TcpKeepalive};

use super::kind::{Closer, Kind, Script};
use crate::{
    pattern::Pattern,
    test::{network::waited, stream::joined},
};

/// A connection on which nothing moves for so long has stalled, however bad its path is.
const STALLED: Duration = Duration::from_secs(30);
/// Bytes between two pauses of a sender that keeps to a rate.
const BURST: u64 = 128 * 1024;
const CHUNK: usize = 32 * 1024;
/// How often a sender or receiver that may be interrupted looks up.
const GLANCE: Duration = Duration::from_millis(10);
/// Half a second of silence is enough for the kernel to ask whether the peer is still there.
const KEEPALIVE: Duration = Duration::from_secs(1);
/// What a kernel gives a socket that asks for this much, header overhead included.
pub const SMALL_BUFFER: usize = 4096;

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Client,
    Server,
}

/// The end's part: how many bytes it received.
pub fn talk(kind: Kind, role: Role, stream: TcpStream, script: &Script, over: &AtomicBool) -> Result<u64> {
    stream.set_read_timeout(Some(STALLED))?;
    stream.set_write_timeout(Some(STALLED))?;
    let end = End { stream, role, script };
    match kind {
        Kind::Idle => end.idle(over),
        Kind::HalfClosed => end.half_closed(),
        Kind::ZeroWindow => end.zero_window(),
        Kind::Reset => end.reset(),
        _ => end.exchange(),
    }
}

struct End<'a> {
    stream: TcpStream,
    role: Role,
    script: &'a Script,
}

impl End<'_> {
    /// Bytes this end sends and receives.
    fn shares(&self) -> (u64, u64) {
        if self.role == Role::Client { (self.script.up, self.script.down) } else { (self.script.down, self.script.up) }
    }

    fn patterns(&self) -> (Pattern, Pattern) {
        let [up, down] = self.script.seeds.map(Pattern::new);
        if self.role == Role::Client { (up, down) } else { (down, up) }
    }

    /// This end does what makes the kind special.
    fn special(&self) -> bool {
        self.script.by_server == (self.role == Role::Server)
    }

    /// Both ways at once, then an orderly end.
    fn exchange(&self) -> Result<u64> {
        let ((send, receive), (mut sending, mut receiving)) = (self.shares(), self.patterns());
        thread::scope(|scope| {
            let sender = scope.spawn(move || push(&self.stream, &mut sending, send, self.script.rate));
            let received = pull(&self.stream, &mut receiving, receive);
            joined(sender.join())?;
            received
        })?;
        self.close()?;
        Ok(receive)
    }

    fn close(&self) -> Result<()> {
        let first = match self.script.closer {
            Closer::Client => self.role == Role::Client,
            Closer::Server => self.role == Role::Server,
            Closer::Both => true,
        };
        if !first {
            ended(&self.stream)?;
        }
        shut(&self.stream)?;
        if first { ended(&self.stream) } else { Ok(()) }
    }

    /// Long silences, in which only the kernels' keep-alives go to and fro, and a few bytes between them.
    fn idle(&self, over: &AtomicBool) -> Result<u64> {
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
        SockRef::from(&self.stream).set_tcp_keepalive(&keepalive).context("cannot ask for keep-alives")?;
        let ((send, receive), (mut sending, mut receiving)) = (self.shares(), self.patterns());
        let mut received = 0;
        for _ in 0..4 {
            if self.role == Role::Client {
                thread::sleep(Duration::from_millis(self.script.wait));
                if over.load(Ordering::Relaxed) {
                    break;
                }
                push(&self.stream, &mut sending, send, None)?;
                pull(&self.stream, &mut receiving, receive)?;
            } else {
                // The client ends the connection between two rounds.
                if !pull_or_end(&self.stream, &mut receiving, receive)? {
                    return shut(&self.stream).map(|()| received);
                }
                push(&self.stream, &mut sending, send, None)?;
            }
            received += receive;
        }
        if self.role == Role::Client {
            shut(&self.stream)?;
            return ended(&self.stream).map(|()| received);
        }
        ended(&self.stream)?;
        shut(&self.stream).map(|()| received)
    }

    /// The client closes its side at once; the server goes on sending for a while, with pauses.
    fn half_closed(&self) -> Result<u64> {
        let ((send, receive), (mut sending, mut receiving)) = (self.shares(), self.patterns());
        if self.role == Role::Client {
            push(&self.stream, &mut sending, send, None)?;
            shut(&self.stream)?;
            pull(&self.stream, &mut receiving, receive)?;
            ended(&self.stream)?;
            return Ok(receive);
        }
        pull(&self.stream, &mut receiving, receive)?;
        ended(&self.stream)?;
        let mut left = send;
        while left > 0 {
            let piece = left.min(send.div_ceil(8));
            push(&self.stream, &mut sending, piece, None)?;
            thread::sleep(Duration::from_millis(self.script.wait));
            left -= piece;
        }
        shut(&self.stream)?;
        Ok(receive)
    }

    /// One end sends more than the other's buffer holds, and the other reads nothing for a while.
    fn zero_window(&self) -> Result<u64> {
        let ((send, receive), (mut sending, mut receiving)) = (self.shares(), self.patterns());
        let received = if self.special() {
            thread::sleep(Duration::from_millis(self.script.wait));
            pull(&self.stream, &mut receiving, receive)?;
            receive
        } else {
            push(&self.stream, &mut sending, send, None)?;
            0
        };
        self.close()?;
        Ok(received)
    }

    /// Both send until one end breaks off: with SO_LINGER 0, or by closing with unread data.
    fn reset(&self) -> Result<u64> {
        self.stream.set_read_timeout(Some(GLANCE))?;
        self.stream.set_write_timeout(Some(GLANCE))?;
        let ((send, _), (mut sending, mut receiving)) = (self.shares(), self.patterns());
        let gone = AtomicBool::new(false);
        let limit = if self.special() { Duration::from_millis(self.script.wait) } else { STALLED };
        let received = thread::scope(|scope| {
            let sender = scope.spawn(|| {
                push_until(&self.stream, &mut sending, send, &gone);
            });
            let received = pull_until(&self.stream, &mut receiving, limit, &gone);
            gone.store(true, Ordering::Relaxed);
            sender.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?;
            received
        });
        let (received, ended) = received?;
        if self.special() {
            if self.script.up.is_multiple_of(2) {
                SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).context("cannot set SO_LINGER")?;
            }
        } else {
            ensure!(ended, "the reset did not arrive within {STALLED:?}");
        }
        Ok(received)
    }
}

/// Sends this many bytes, at most `rate` of them a second.
fn push(mut stream: &TcpStream, pattern: &mut Pattern, bytes: u64, rate: Option<u64>) -> Result<()> {
    let start = Instant::now();
    let mut chunk = vec![0; CHUNK];
    let mut sent = 0;
    while sent < bytes {
        let length = usize::try_from(bytes - sent).unwrap_or(CHUNK).min(CHUNK);
        let piece = chunk.get_mut(..length).unwrap_or_default();
        pattern.fill(piece);
        stream.write_all(piece).with_context(|| format!("cannot send after {sent} of {bytes} bytes"))?;
        sent += u64::try_from(length).unwrap_or(0);
        if let Some(rate) = rate
            && sent % BURST < CHUNK as u64
        {
            let due = Duration::from_millis(sent.saturating_mul(1000) / rate.max(1));
            thread::sleep(due.saturating_sub(start.elapsed()));
        }
    }
    Ok(())
}

fn pull(stream: &TcpStream, pattern: &mut Pattern, bytes: u64) -> Result<()> {
    ensure!(pull_or_end(stream, pattern, bytes)? || bytes == 0, "the connection ended with {bytes} bytes still to come");
    Ok(())
}

/// Receives this many bytes; false if the connection ended before the first of them.
fn pull_or_end(mut stream: &TcpStream, pattern: &mut Pattern, bytes: u64) -> Result<bool> {
    let mut chunk = vec![0; CHUNK];
    let mut received = 0;
    while received < bytes {
        let room = usize::try_from(bytes - received).unwrap_or(CHUNK).min(CHUNK);
        let length = match stream.read(chunk.get_mut(..room).unwrap_or_default()) {
            Ok(0) if received == 0 => return Ok(false),
            Ok(0) => bail!("the connection ended after {received} of {bytes} bytes"),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other.with_context(|| format!("nothing arrives after {received} of {bytes} bytes"))?,
        };
        ensure!(pattern.matches(chunk.get(..length).unwrap_or_default()), "other bytes arrived than were sent, after {received}");
        received += u64::try_from(length).unwrap_or(0);
    }
    Ok(true)
}

/// Sends until the peer or the other direction has had enough.
fn push_until(mut stream: &TcpStream, pattern: &mut Pattern, bytes: u64, gone: &AtomicBool) {
    let mut chunk = vec![0; CHUNK];
    let (mut pending, mut sent): (&[u8], u64) = (&[], 0);
    while sent < bytes && !gone.load(Ordering::Relaxed) {
        if pending.is_empty() {
            thread::sleep(GLANCE);
            pattern.fill(&mut chunk);
            pending = &chunk;
        }
        match stream.write(pending) {
            Ok(length) => {
                sent += u64::try_from(length).unwrap_or(0);
                pending = pending.get(length..).unwrap_or_default();
            }
            Err(error) if waiting(&error) => {}
            // The peer is gone; the receiver will hear of it.
            Err(_) => return,
        }
    }
}

/// Receives until the end of the connection, of whatever kind, or the time is over: how much came, and whether the connection ended.
fn pull_until(mut stream: &TcpStream, pattern: &mut Pattern, limit: Duration, gone: &AtomicBool) -> Result<(u64, bool)> {
    let start = Instant::now();
    let mut chunk = vec![0; CHUNK];
    let mut received = 0;
    while start.elapsed() < limit {
        let length = match stream.read(&mut chunk) {
            Ok(0) => return Ok((received, true)),
            Ok(length) => length,
            Err(error) if waiting(&error) => continue,
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => return Ok((received, true)),
            Err(error) => return Err(error).context("the connection did not end by a reset"),
        };
        ensure!(pattern.matches(chunk.get(..length).unwrap_or_default()), "other bytes arrived than were sent, after {received}");
        received += u64::try_from(length).unwrap_or(0);
        if gone.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok((received, false))
}

fn waiting(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn shut(stream: &TcpStream) -> Result<()> {
    match stream.shutdown(Shutdown::Write) {
        // The peer has closed too, and the kernel is done with the connection.
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(()),
        other => other.context("cannot close"),
    }
}

/// Nothing but the orderly end follows.
fn ended(mut stream: &TcpStream) -> Result<()> {
    match waited(|| stream.read(&mut [0; 1])).context("the end of the connection does not arrive")? {
        0 => Ok(()),
        _ => bail!("data arrived instead of the end of the connection"),
    }
}
