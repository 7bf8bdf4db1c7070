//! Connections between a client and a server over the kernels' TCP, both ends in one hand, every byte compared.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use socket2::SockRef;

use super::network::waited;
use crate::pattern::Pattern;

/// No read or write of a test blocks longer.
pub const PATIENCE: Duration = Duration::from_secs(10);
const CHUNK: usize = 64 * 1024;

/// Both ends of one connection.
#[derive(Debug)]
pub struct Pair {
    pub client: TcpStream,
    pub server: TcpStream,
}

impl Pair {
    pub fn new(client: TcpStream, server: TcpStream) -> Result<Self> {
        for end in [&client, &server] {
            limit(end)?;
        }
        Ok(Self { client, server })
    }

    /// A few bytes there and back.
    pub fn exchange(&self) -> Result<()> {
        transfer(&self.client, &self.server, 100, 1).context("from client to server")?;
        transfer(&self.server, &self.client, 100, 2).context("from server to client")
    }

    /// This many bytes in both directions at once.
    pub fn exchange_bulk(&self, bytes: u64) -> Result<()> {
        thread::scope(|scope| {
            let forth = scope.spawn(|| transfer(&self.client, &self.server, bytes, 3).context("from client to server"));
            let back = transfer(&self.server, &self.client, bytes, 4).context("from server to client");
            joined(forth.join())?;
            back
        })
    }

    /// The client closes first, then the server.
    pub fn close(mut self) -> Result<()> {
        self.client.shutdown(Shutdown::Write).context("the client cannot close")?;
        ended(&mut self.server).context("at the server")?;
        self.server.shutdown(Shutdown::Write).context("the server cannot close")?;
        ended(&mut self.client).context("at the client")
    }

    /// The client ends the connection with a reset.
    pub fn reset(self) -> Result<TcpStream> {
        SockRef::from(&self.client).set_linger(Some(Duration::ZERO)).context("cannot set SO_LINGER")?;
        drop(self.client);
        Ok(self.server)
    }
}

pub fn limit(stream: &TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(())
}

/// The result of a thread that was joined.
pub fn joined<T>(result: thread::Result<Result<T>>) -> Result<T> {
    result.map_err(|_| anyhow!("a thread panicked"))?
}

/// Sends this many bytes one way and compares what arrives.
pub fn transfer(from: &TcpStream, to: &TcpStream, bytes: u64, seed: u64) -> Result<()> {
    thread::scope(|scope| {
        let sending = scope.spawn(move || send(from, bytes, seed));
        let received = receive(to, bytes, seed);
        joined(sending.join())?;
        received
    })
}

fn send(mut stream: &TcpStream, bytes: u64, seed: u64) -> Result<()> {
    let mut pattern = Pattern::new(seed);
    let mut chunk = vec![0; CHUNK];
    let mut left = bytes;
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let piece = chunk.get_mut(..length).unwrap_or_default();
        pattern.fill(piece);
        stream.write_all(piece).with_context(|| format!("cannot send: {left} of {bytes} bytes were left"))?;
        left -= u64::try_from(length).unwrap_or(left);
    }
    Ok(())
}

fn receive(mut stream: &TcpStream, bytes: u64, seed: u64) -> Result<()> {
    let mut pattern = Pattern::new(seed);
    let mut chunk = vec![0; CHUNK];
    let mut left = bytes;
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let room = chunk.get_mut(..length).unwrap_or_default();
        let read = stream.read(room).with_context(|| format!("nothing arrives: {left} of {bytes} bytes were left"))?;
        if read == 0 {
            bail!("the connection ended with {left} of {bytes} bytes left");
        }
        if !pattern.matches(room.get(..read).unwrap_or_default()) {
            bail!("other bytes arrived than were sent, within {read} bytes after {}", bytes - left);
        }
        left -= u64::try_from(read).unwrap_or(left);
    }
    Ok(())
}

/// Nothing but the orderly end follows.
pub fn ended(stream: &mut TcpStream) -> Result<()> {
    match waited(|| stream.read(&mut [0; 1])).context("the end of the connection does not arrive")? {
        0 => Ok(()),
        _ => bail!("data arrived instead of the end of the connection"),
    }
}

/// Accepts within [`PATIENCE`].
pub fn accept(listener: &TcpListener) -> Result<TcpStream> {
    match accept_within(listener, PATIENCE)? {
        Some(stream) => Ok(stream),
        None => bail!("no connection came within {PATIENCE:?}"),
    }
}

/// Accepts a connection if one comes in time.
pub fn accept_within(listener: &TcpListener, patience: Duration) -> Result<Option<TcpStream>> {
    listener.set_nonblocking(true)?;
    let deadline = Instant::now() + patience;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(Some(stream));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => thread::sleep(Duration::from_millis(1)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error).context("cannot accept a connection"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> Pair {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
        Pair::new(client, accept(&listener).expect("accepted")).expect("a pair")
    }

    #[test]
    fn both_directions_are_compared_and_closed() {
        let pair = pair();
        pair.exchange_bulk(300_000).expect("whole");
        pair.close().expect("closed");
    }

    #[test]
    fn a_wrong_byte_is_noticed() {
        let pair = pair();
        send(&pair.client, 1000, 1).expect("sent");
        assert!(receive(&pair.server, 1000, 2).is_err());
    }

    #[test]
    fn a_reset_is_no_orderly_end() {
        let mut server = pair().reset().expect("reset");
        assert!(ended(&mut server).is_err());
    }
}
