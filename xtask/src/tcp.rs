//! A transfer over the kernel's own TCP: `xtask tcp-endpoint`. The server compares every byte with what the client must have sent.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    ctcp::endpoint::Role,
    pattern::Pattern,
    report::{Line, Second, Totals},
    test::network::waited,
};

/// Seed of the bytes that travel.
const SEED: u64 = 0x7765_6972;
const CHUNK: usize = 16 * 1024;
/// No read or write blocks longer, so that every second is reported in time.
const WAIT: Duration = Duration::from_millis(20);
const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// How long the rest of the data may take after the last second.
const REST: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    #[arg(long, value_enum)]
    role: Role,
    /// Where a server listens or a client connects to.
    #[arg(long)]
    address: SocketAddr,
    /// Bytes a second that a client offers.
    #[arg(long, default_value_t = 4_000_000)]
    rate: u64,
    #[arg(long, default_value_t = 12)]
    seconds: u32,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let totals = match arguments.role {
        Role::Client => send(arguments)?,
        Role::Server => receive(arguments)?,
    };
    Line::Done(totals).print()?;
    Ok(())
}

/// Prints a line for every whole second that has passed.
#[derive(Debug)]
struct Clock {
    start: Instant,
    reported: u32,
    bytes: u64,
}

impl Clock {
    fn start() -> Self {
        Self { start: Instant::now(), reported: 0, bytes: 0 }
    }

    /// `bytes` is the total so far; `line` makes the second's figures from its share.
    fn tick(&mut self, bytes: u64, line: impl Fn(u32, u64) -> Second) -> Result<()> {
        while self.start.elapsed() >= Duration::from_secs(u64::from(self.reported) + 1) {
            self.reported += 1;
            Line::Second(line(self.reported, bytes - self.bytes)).print()?;
            self.bytes = bytes;
        }
        Ok(())
    }
}

fn send(arguments: &Arguments) -> Result<Totals> {
    let mut stream =
        TcpStream::connect_timeout(&arguments.address, CONNECT_WAIT).with_context(|| format!("cannot connect to {}", arguments.address))?;
    stream.set_write_timeout(Some(WAIT))?;
    Line::Connected.print()?;
    let mut clock = Clock::start();
    let duration = Duration::from_secs(u64::from(arguments.seconds));
    let mut pattern = Pattern::new(SEED);
    let mut chunk = vec![0; CHUNK];
    let mut pending: &[u8] = &[];
    let mut sent = 0_u64;
    loop {
        let elapsed = clock.start.elapsed();
        if elapsed >= duration && pending.is_empty() {
            break;
        }
        if elapsed >= duration + REST {
            bail!("the server takes no more data");
        }
        clock.tick(sent, |second, sent| Second { second, sent, delivered: 0 })?;
        let allowed = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).saturating_mul(arguments.rate) / 1000;
        if pending.is_empty() {
            if sent >= allowed {
                thread::sleep(Duration::from_millis(2));
                continue;
            }
            pattern.fill(&mut chunk);
            pending = &chunk;
        }
        let length = moved(stream.write(pending))?;
        pending = pending.get(length..).unwrap_or_default();
        sent += u64::try_from(length).unwrap_or(0);
    }
    clock.tick(sent, |second, sent| Second { second, sent, delivered: 0 })?;
    stream.shutdown(Shutdown::Write).context("cannot end the transfer")?;
    // The server closes when it has read everything.
    stream.set_read_timeout(Some(REST))?;
    if waited(|| stream.read(&mut [0; 1])).context("the server did not confirm the end of the transfer")? != 0 {
        bail!("the server answered with data, which it never sends");
    }
    Ok(Totals { sent, ..Totals::default() })
}

fn receive(arguments: &Arguments) -> Result<Totals> {
    let listener = TcpListener::bind(arguments.address).with_context(|| format!("cannot listen on {}", arguments.address))?;
    Line::Ready.print()?;
    let (mut stream, _) = listener.accept().context("cannot accept a connection")?;
    stream.set_read_timeout(Some(WAIT))?;
    Line::Connected.print()?;
    let mut clock = Clock::start();
    let mut pattern = Pattern::new(SEED);
    let mut buffer = vec![0; 4 * CHUNK];
    let mut totals = Totals::default();
    loop {
        clock.tick(totals.delivered, |second, delivered| Second { second, sent: 0, delivered })?;
        if clock.start.elapsed() > Duration::from_secs(u64::from(arguments.seconds)) + REST {
            bail!("the client neither sends nor ends");
        }
        let length = match stream.read(&mut buffer) {
            Ok(0) => break,
            other => moved(other)?,
        };
        let bytes = buffer.get(..length).unwrap_or_default();
        totals.damaged += u64::from(!pattern.matches(bytes));
        totals.delivered += u64::try_from(length).unwrap_or(0);
    }
    // The client's seconds began a moment earlier: the last one here is complete only now.
    thread::sleep(Duration::from_secs(u64::from(arguments.seconds)).saturating_sub(clock.start.elapsed()));
    clock.tick(totals.delivered, |second, delivered| Second { second, sent: 0, delivered })?;
    Ok(totals)
}

/// A timeout moved nothing, and is no failure.
fn moved(result: std::io::Result<usize>) -> Result<usize> {
    match result {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => Ok(0),
        other => other.context("the connection broke"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_is_whole_and_a_wrong_byte_is_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        drop(listener);
        let arguments = move |role| Arguments { role, address, rate: 1_000_000, seconds: 1 };
        let server = thread::spawn(move || receive(&arguments(Role::Server)));
        let sent = loop {
            // Until the server listens.
            match send(&arguments(Role::Client)) {
                Ok(totals) => break totals.sent,
                Err(error) if error.to_string().starts_with("cannot connect") => thread::sleep(WAIT),
                Err(error) => panic!("{error:#}"),
            }
        };
        let received = server.join().expect("no panic").expect("a whole transfer");
        assert!(sent >= 900_000, "{sent}");
        assert_eq!(received, Totals { sent: 0, delivered: sent, damaged: 0 });
    }
}
