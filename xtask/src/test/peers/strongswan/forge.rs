//! Somebody between the ends, on either side of Weir, who sees all of it and has no keys: forges, and sends again what has passed.

use std::{collections::HashSet, thread, time::Duration};

use anyhow::{Context, Result, ensure};

use super::tap::{Datagram, Direction, Head, Tap, head};
use crate::{netns::topology::Topology, test::lab::wait_for};

/// Of each kind, each time, in each direction.
pub(super) const EACH: usize = 20;
/// So that the network is not what loses them.
const PAUSE: Duration = Duration::from_millis(1);
/// Further than can have been lost, whatever the time, and less than half of all numbers.
const JUMP: u32 = 0x6000_0000;
/// In the middle of an association.
const MIDDLE: u32 = 1_000_000;
/// An association has been in use for so many packets: for more than it takes to be believed.
const IN_USE: usize = 32;
const LENGTH: usize = 100;
/// Stands behind the header, so that each forged payload is another.
const TAG: &[u8; 6] = b"forged";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Forgery {
    /// An association that nobody has agreed on, in its middle.
    UnknownSpi,
    /// An SPI below 256 (RFC 4303 §2.1).
    ReservedSpi,
    /// The association in use, with a number that lies far ahead.
    Jump,
    /// The association in use, with number 0.
    Zero,
    /// What has passed, to the byte.
    Replay,
    /// Less than ESP is.
    Short,
    /// Behind IKE's marker something that is longer than it can be.
    NoIke,
    /// An association that nobody has agreed on, from its first number on. The guard lets one at a time pass beside the one in use.
    Candidate(u32),
}

impl Forgery {
    pub(super) const ALL: [Self; 7] = [Self::UnknownSpi, Self::ReservedSpi, Self::Jump, Self::Zero, Self::Replay, Self::Short, Self::NoIke];
    /// Those that a guard refuses at any moment. For an unknown SPI an association must have been in use for a while.
    pub(super) const WHENEVER: [Self; 6] = [Self::ReservedSpi, Self::Jump, Self::Zero, Self::Replay, Self::Short, Self::NoIke];

    /// Weir's reason for a drop.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::UnknownSpi | Self::ReservedSpi | Self::Candidate(_) => "guard-esp-spi",
            Self::Jump => "guard-esp-jump",
            Self::Zero => "guard-esp-seq-zero",
            Self::Replay => "guard-esp-replay",
            Self::Short => "guard-esp-short",
            Self::NoIke => "guard-ike-bad",
        }
    }

    /// Number `serial` of all that is forged, beside a packet of the association in use.
    fn payload(self, beside: &Datagram, place: u32, serial: u32) -> Result<Vec<u8>> {
        let (spi, sequence) = beside.esp().context("no ESP to forge by")?;
        Ok(match self {
            Self::UnknownSpi => esp(0x6666_0000 + serial, MIDDLE + serial, serial),
            Self::ReservedSpi => esp(1 + serial % 255, sequence.wrapping_add(1), serial),
            Self::Jump => esp(spi, sequence.wrapping_add(JUMP), serial),
            Self::Zero => esp(spi, 0, serial),
            Self::Replay => beside.payload.clone(),
            Self::Short => esp(spi, serial, serial).into_iter().take(8).collect(),
            // Version 2 (RFC 7296 §3.1), and a length that is the bytes behind the tag.
            Self::NoIke => {
                let mut message = esp(0, MIDDLE, serial);
                message.splice(21..22, [0x20]);
                message
            }
            Self::Candidate(spi) => esp(spi, place + 1, serial),
        })
    }
}

fn esp(spi: u32, sequence: u32, serial: u32) -> Vec<u8> {
    let mut payload = [&spi.to_be_bytes()[..], &sequence.to_be_bytes(), TAG, &serial.to_be_bytes()].concat();
    payload.resize(LENGTH, 0x55);
    payload
}

/// One that was sent.
#[derive(Debug, Clone, Copy)]
struct Sent {
    forgery: Forgery,
    direction: Direction,
    head: Head,
}

#[derive(Debug)]
pub(super) struct Forger {
    /// Before Weir for what goes to the server, and behind it for what goes to the client.
    hop: Tap,
    /// The other way round.
    lan: Tap,
    sent: Vec<Sent>,
    serial: u32,
}

impl Forger {
    pub(super) fn create(topology: &Topology) -> Result<Self> {
        let (hop, lan) = (Tap::open(&topology.hop, "uplink")?, Tap::open(&topology.server, "lan")?);
        Ok(Self { hop, lan, sent: Vec::new(), serial: 0 })
    }

    const fn before(&self, direction: Direction) -> &Tap {
        match direction {
            Direction::ToServer => &self.hop,
            Direction::ToClient => &self.lan,
        }
    }

    const fn behind(&self, direction: Direction) -> &Tap {
        match direction {
            Direction::ToServer => &self.lan,
            Direction::ToClient => &self.hop,
        }
    }

    /// ESP packets that have lately come through Weir, of the newest association that has, the newest last.
    fn passed(&self, direction: Direction) -> Vec<Datagram> {
        let mut packets = self.before(direction).latest(direction);
        packets.retain(|packet| self.behind(direction).times(direction, &head(&packet.payload)) > 0);
        let newest = packets.last().and_then(Datagram::esp).map(|(spi, _)| spi);
        packets.retain(|packet| packet.esp().map(|(spi, _)| spi) == newest);
        packets
    }

    /// Waits until the newest association of both directions has been in use for a while.
    pub(super) fn wait_for_use(&self) -> Result<()> {
        wait_for("both directions' newest associations to be used", || {
            Ok(Direction::BOTH.iter().all(|direction| self.passed(*direction).len() >= IN_USE))
        })
    }

    /// Sends some of each of these in both directions.
    pub(super) fn forge(&mut self, forgeries: &[Forgery]) -> Result<()> {
        for direction in Direction::BOTH {
            forgeries.iter().try_for_each(|forgery| self.forge_towards(direction, *forgery))?;
        }
        Ok(())
    }

    pub(super) fn forge_towards(&mut self, direction: Direction, forgery: Forgery) -> Result<()> {
        let passed = self.passed(direction);
        ensure!(!passed.is_empty(), "no ESP has passed {direction:?}");
        // Again and again from the oldest to the newest, if there are fewer.
        let beside = passed.iter().cycle().skip(passed.len().saturating_sub(EACH)).take(EACH);
        for (place, packet) in (0..).zip(beside) {
            let payload = forgery.payload(packet, place, self.serial)?;
            self.before(direction).send(&packet.frame_with(&payload)?)?;
            self.sent.push(Sent { forgery, direction, head: head(&payload) });
            self.serial += 1;
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Waits until all that has passed Weir is counted. The tunnel must be at rest.
    pub(super) fn settle(&self) -> Result<()> {
        self.hop.settle()?;
        self.lan.settle()
    }

    /// How many of these were sent in a direction, and how many have come through Weir.
    pub(super) fn tally(&self, direction: Direction, forgery: Forgery) -> Tally {
        let sent: Vec<_> = self.sent.iter().filter(|sent| (sent.direction, sent.forgery) == (direction, forgery)).collect();
        let heads: HashSet<&Head> = sent.iter().map(|sent| &sent.head).collect();
        // What is sent again has passed once before.
        let honest = u64::from(forgery == Forgery::Replay);
        let times = |head: &&Head| self.behind(direction).times(direction, head).saturating_sub(honest);
        Tally { sent: sent.len() as u64, arrived: heads.iter().map(times).sum() }
    }

    /// Nothing was sent yet, and nothing is remembered that could be sent again.
    pub(super) fn forget(&mut self) {
        self.sent.clear();
        self.hop.forget_latest();
        self.lan.forget_latest();
    }

    /// Fails when anything of what came by was not seen.
    pub(super) fn stop(self) -> Result<()> {
        self.hop.stop()?;
        self.lan.stop()
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) sent: u64,
    pub(super) arrived: u64,
}
