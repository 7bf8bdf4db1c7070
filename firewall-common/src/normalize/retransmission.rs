//! Data sent again must be the data that was sent: otherwise one reader of the stream may be shown what another is not.
//!
//! What is kept of a segment is not its data but a keyed digest, in a table that forgets the oldest. So a repetition is compared when it
//! begins where a remembered segment began: as a whole when it is as long, by its first 64 bytes when it is not. One that begins elsewhere,
//! differs behind its first 64 bytes and in length, or comes after the table has forgotten, is not seen.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    env::Env,
    normalize::{HEADER_ROOM, checks, randomize},
    packet::Packet,
    reason::Reason,
    verifier::{self, Step, forgotten, forgotten_word, load_u64},
    visit::Visit,
};

/// Segments the table holds.
pub const MAX_SEGMENTS: u32 = 32_768;
/// Bytes that are digested at once, and in which repetitions of unequal length are compared.
const CHUNK: u32 = HEADER_ROOM as u32;
/// The longest segment in chunks.
const MOST_CHUNKS: u32 = 65_536 / CHUNK;

/// Where a segment begins. 24 bytes, no padding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Start {
    /// Keyed hash of the flow's key.
    pub flow: u64,
    /// [`super::history::History::begun`] of the flow.
    pub begun: u64,
    pub seq: u32,
    /// 1 for what the key's low endpoint sends.
    pub from_low: u32,
}

/// What is kept of a segment's data, and where it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Digest {
    pub start: Start,
    /// Of all of it.
    pub all: u64,
    /// Of its first 64 bytes.
    pub first: u64,
    pub length: u32,
    pub reserved: u32,
}

impl Digest {
    /// True when both may be of the same data, as far as both tell.
    #[inline(always)]
    const fn agrees(&self, other: &Self) -> bool {
        if self.length == other.length {
            self.all == other.all
        } else if self.length >= CHUNK && other.length >= CHUNK {
            self.first == other.first
        } else {
            true
        }
    }
}

/// A walk over a segment's data.
struct Reading<'a, P> {
    packet: &'a P,
    buffer: &'a mut [u8; HEADER_ROOM],
    at: u32,
    length: u32,
    left: u32,
    /// Odd: multiplying by it loses nothing.
    factor: u64,
    hash: u64,
    first: u64,
    failed: u32,
}

impl<P: Packet> Step for Reading<'_, P> {
    #[inline(always)]
    fn forget(&mut self) {
        self.hash = forgotten_word(self.hash);
        self.first = forgotten_word(self.first);
        for number in [&mut self.at, &mut self.left, &mut self.failed] {
            *number = forgotten(*number);
        }
    }

    #[inline(always)]
    fn step(&mut self) -> bool {
        if self.left == 0 {
            return false;
        }
        let length = if self.left < CHUNK { self.left } else { CHUNK };
        if length < CHUNK {
            verifier::clear(self.buffer);
        }
        if !self.packet.copy(self.at, self.buffer, length) {
            self.failed = 1;
            return false;
        }
        self.absorb();
        if self.left == self.length {
            self.first = self.hash;
        }
        self.at += length;
        self.left -= length;
        true
    }
}

impl<P> Reading<'_, P> {
    #[inline(always)]
    fn absorb(&mut self) {
        self.word(load_u64::<0, _>(self.buffer));
        self.word(load_u64::<8, _>(self.buffer));
        self.word(load_u64::<16, _>(self.buffer));
        self.word(load_u64::<24, _>(self.buffer));
        self.word(load_u64::<32, _>(self.buffer));
        self.word(load_u64::<40, _>(self.buffer));
        self.word(load_u64::<48, _>(self.buffer));
        self.word(load_u64::<56, _>(self.buffer));
    }

    #[inline(always)]
    const fn word(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(self.factor);
        self.hash ^= self.hash >> 32;
    }
}

/// Compares a segment's data with what was sent at its place before.
///
/// # Errors
/// [`Reason::TcpBadRetransmission`]; [`Reason::FrameTooShort`] for data that cannot be read.
#[inline(always)]
pub fn check<P: Packet, E: Env>(packet: &P, env: &E, visit: &mut Visit) -> Result<(), Reason> {
    let descriptor = &visit.descriptor;
    let segment = &descriptor.segment;
    // Of a first fragment's segment the length is not known.
    if !visit.edits.wants(checks::RETRANSMISSION) || segment.length == 0 || descriptor.piece.is_fragment() {
        return Ok(());
    }
    let secret = env.secret();
    let start = Start {
        flow: randomize::hash(&secret, &descriptor.key),
        begun: env.with_history(&descriptor.key, |history| history.begun).unwrap_or(0),
        seq: segment.seq.0,
        from_low: u32::from(descriptor.source_is_low),
    };
    let digested = env.with_room(|room| {
        let at = descriptor.at + (descriptor.length - segment.length);
        let mut reading = Reading {
            packet,
            buffer: &mut room.header,
            at,
            length: segment.length,
            left: segment.length,
            factor: secret[0] | 1,
            hash: secret[1],
            first: 0,
            failed: 0,
        };
        verifier::repeat(MOST_CHUNKS, &mut reading);
        let (failed, all, first) = (reading.failed, reading.hash, reading.first);
        room.digest = Digest { start, all, first, length: segment.length, reserved: 0 };
        let agrees = env.digest(&start).is_none_or(|known| known.agrees(&room.digest));
        if failed != 0 { Err(Reason::FrameTooShort) } else { Ok(agrees) }
    });
    match digested {
        Some(Ok(true)) => {
            visit.edits.digested = true;
            Ok(())
        }
        Some(Ok(false)) => Err(Reason::TcpBadRetransmission),
        Some(Err(reason)) => Err(reason),
        None => Err(Reason::HistoryInsertFailed),
    }
}

/// Remembers the data of a segment that has passed. Of a shorter repetition nothing is kept that the longer one does not tell.
#[inline(always)]
pub fn remember<E: Env>(env: &E, visit: &Visit) {
    if !visit.edits.digested {
        return;
    }
    let _ = env.with_room(|room| {
        let digest = room.digest;
        if env.digest(&digest.start).is_none_or(|known| known.length < digest.length) {
            env.insert_digest(&digest);
        }
    });
}

const _: () = assert!(size_of::<Start>() == 24);
const _: () = assert!(size_of::<Digest>() == 48);
