//! Somebody who knows a connection's addresses and ports and sees nothing of it: `xtask ctcp-inject`. It forges segments of the client's, run in
//! the namespace of a hop before the firewall.

use std::{net::SocketAddrV4, thread, time::Duration};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::wire::{Esp, Kind, Segment};

const IPPROTO_RAW: i32 = 255;
/// Bytes of a segment's payload.
const SIZE: usize = 200;
/// So that the network is not what loses them.
const PAUSE: Duration = Duration::from_millis(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Forgery {
    /// Data without the trailer.
    NoTrailer,
    /// ESP of an association that nobody has, in its middle.
    UnknownSpi,
    /// ESP as it has passed before.
    Replay,
    /// ESP of the association in use, far ahead.
    Jump,
}

#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// The client, as whom it sends.
    #[arg(long)]
    source: SocketAddrV4,
    #[arg(long)]
    destination: SocketAddrV4,
    #[arg(long, value_enum)]
    forgery: Forgery,
    /// SPI the client sends with.
    #[arg(long, default_value_t = 0)]
    spi: u32,
    #[arg(long, default_value_t = 100)]
    count: u32,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(IPPROTO_RAW))).context("cannot open a raw socket")?;
    for number in 1..=arguments.count {
        let payload = match arguments.forgery {
            Forgery::NoTrailer => vec![0x55; SIZE],
            Forgery::UnknownSpi => Esp { spi: 0x6666_0000 + number, sequence: 1_000_000 }.encode(SIZE),
            Forgery::Replay => Esp { spi: arguments.spi, sequence: number }.encode(SIZE),
            Forgery::Jump => Esp { spi: arguments.spi, sequence: 1_000_000_000 + number }.encode(SIZE),
        };
        let segment = Segment {
            source: arguments.source,
            destination: arguments.destination,
            kind: Kind::Ack,
            // Whoever guesses it guesses wrong.
            sequence: number.wrapping_mul(2_654_435_761),
            acknowledgement: number,
            payload,
        };
        let packet = segment.encode(u16::try_from(number % 60_000)?);
        socket.send_to(&packet, &SockAddr::from(arguments.destination)).context("cannot send")?;
        thread::sleep(PAUSE);
    }
    Ok(())
}
