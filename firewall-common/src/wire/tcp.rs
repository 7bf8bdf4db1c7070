//! TCP header (RFC 9293 §3.1) and the options the tracker and the normalizer read (RFC 7323, RFC 2018, RFC 2385, RFC 5925).

use crate::{
    flow::NO_SCALE,
    packet::{OPTIONS_ROOM, Packet, missing},
    reason::Reason,
    seq::Seq,
    verifier::{load_u16, load_u32},
    wire::{be16, be32, options},
};

/// Bytes of a header without options.
pub const HEADER: u32 = 20;
/// Largest window shift (RFC 7323 §2.3): a larger one counts as this.
pub const MOST_SCALE: u8 = 14;

/// Control bits.
pub mod flags {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const PSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;
    pub const URG: u8 = 0x20;
    pub const ECE: u8 = 0x40;
    pub const CWR: u8 = 0x80;
}

/// Option kinds (IANA).
pub mod kind {
    pub const END: u8 = 0;
    pub const NO_OPERATION: u8 = 1;
    pub const MSS: u8 = 2;
    pub const WINDOW_SCALE: u8 = 3;
    pub const SACK_PERMITTED: u8 = 4;
    pub const SACK: u8 = 5;
    pub const TIMESTAMPS: u8 = 8;
    /// RFC 2385.
    pub const MD5: u8 = 19;
    /// TCP-AO (RFC 5925).
    pub const AUTHENTICATION: u8 = 29;
}

/// The option list nearly every segment of today carries: two no-operations and a timestamp.
pub(crate) const TIMESTAMP_ONLY: [u8; 4] = [1, 1, 8, 10];
const TIMESTAMP_ONLY_HEADER: u32 = HEADER + 12;

/// What the tracker needs of a segment. Numbers are in host order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Segment {
    pub seq: Seq,
    pub ack: Seq,
    /// Bytes of payload.
    pub length: u32,
    /// As in the header, not scaled.
    pub window: u16,
    /// [`flags`].
    pub flags: u8,
    /// Window shift offered (only in a SYN), at most [`MOST_SCALE`]; [`NO_SCALE`] for none.
    pub scale: u8,
}

impl Segment {
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Sequence number after the segment: payload, SYN and FIN count.
    #[inline(always)]
    #[must_use]
    pub const fn end(&self) -> Seq {
        let controls = (self.flags & flags::FIN) as u32 + ((self.flags & flags::SYN) >> 1) as u32;
        self.seq.add(self.length.wrapping_add(controls))
    }
}

/// What the normalizer needs of a segment's header beside what the tracker does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Options {
    /// Right edge of the selective acknowledgement that lies furthest ahead; with [`marks::SACK`].
    pub sack: Seq,
    /// TSval; with [`marks::TIMESTAMPS`].
    pub timestamp: u32,
    /// With [`marks::MSS`].
    pub mss: u16,
    /// [`marks`].
    pub marks: u8,
    /// The four bits between data offset and flags. The lowest is AE of Accurate ECN (RFC 9768).
    pub reserved: u8,
}

impl Options {
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, mark: u8) -> bool {
        self.marks & mark != 0
    }
}

/// Bits of [`Options::marks`].
pub mod marks {
    pub const MD5: u8 = 1 << 0;
    pub const AUTHENTICATION: u8 = 1 << 1;
    pub const SACK: u8 = 1 << 2;
    /// A selective acknowledgement of another length than one to four blocks have, or a block that ends before it begins (RFC 2018 §3).
    pub const SACK_MALFORMED: u8 = 1 << 3;
    pub const TIMESTAMPS: u8 = 1 << 4;
    pub const MSS: u8 = 1 << 5;
    /// The list has, or may have, more than a timestamp.
    pub const LISTED: u8 = 1 << 6;
    /// The first block lies below what the segment acknowledges: it tells what its receiver has twice (RFC 2883 §4). With [`SACK`].
    pub const DUPLICATE_SACK: u8 = 1 << 7;
}

/// What a walk over the options finds.
struct Found<'a> {
    scale: u8,
    /// What the segment acknowledges: selective acknowledgements are compared by how far ahead of it they are.
    ack: Seq,
    options: &'a mut Options,
}

/// Bytes of a block of a selective acknowledgement, and how many blocks forty bytes of options hold.
const SACK_BLOCK: u8 = 8;
const SACK_BLOCKS: u8 = 4;

impl Found<'_> {
    #[inline(always)]
    fn sack(&mut self, length: u8, buffer: &[u8; OPTIONS_ROOM], at: u32) {
        let blocks = (length - 2) / SACK_BLOCK;
        if blocks == 0 || blocks > SACK_BLOCKS || length != 2 + blocks * SACK_BLOCK {
            self.options.marks |= marks::SACK | marks::SACK_MALFORMED;
            return;
        }
        let mut furthest = self.ack;
        let mut block = 0;
        while block < SACK_BLOCKS {
            if block < blocks {
                let place = at + 2 + u32::from(block * SACK_BLOCK);
                let (left, right) = (Seq(options::word(buffer, place)), Seq(options::word(buffer, place + 4)));
                if !right.after(left) {
                    self.options.marks |= marks::SACK_MALFORMED;
                }
                if block == 0 && !right.after(self.ack) {
                    self.options.marks |= marks::DUPLICATE_SACK;
                }
                if right.distance(self.ack) > furthest.distance(self.ack) {
                    furthest = right;
                }
            }
            block += 1;
        }
        self.options.sack = furthest;
        self.options.marks |= marks::SACK;
    }
}

impl options::Visit for Found<'_> {
    #[inline(always)]
    fn option(&mut self, kind: u8, length: u8, buffer: &[u8; OPTIONS_ROOM], at: u32) {
        match (kind, length) {
            (kind::WINDOW_SCALE, 3) => {
                let shift = options::byte(buffer, at + 2);
                self.scale = if shift > MOST_SCALE { MOST_SCALE } else { shift };
            }
            (kind::MSS, 4) => {
                self.options.mss = u16::from_be_bytes([options::byte(buffer, at + 2), options::byte(buffer, at + 3)]);
                self.options.marks |= marks::MSS;
            }
            (kind::TIMESTAMPS, 10) => {
                self.options.timestamp = options::word(buffer, at + 2);
                self.options.marks |= marks::TIMESTAMPS;
            }
            (kind::SACK, _) => self.sack(length, buffer, at),
            (kind::MD5, _) => self.options.marks |= marks::MD5,
            (kind::AUTHENTICATION, _) => self.options.marks |= marks::AUTHENTICATION,
            _ => {}
        }
    }
}

/// Reads the segment at `at`, which with its payload is `length` bytes long, and its ports (source, destination; network order).
///
/// # Errors
/// [`Reason::FrameTooShort`], [`Reason::HeadersNotLinear`], [`Reason::InvalidTcpHeaderLength`], [`Reason::BadTcpOptions`].
#[inline(always)]
pub fn parse<P: Packet>(
    packet: &P,
    at: u32,
    length: u32,
    segment: &mut Segment,
    options: &mut Options,
) -> Result<([u8; 2], [u8; 2]), Reason> {
    if length < HEADER {
        return Err(Reason::InvalidTcpHeaderLength);
    }
    let h: &[u8; HEADER as usize] = packet.read(at).ok_or_else(|| missing(packet, at + HEADER))?;
    let header_length = u32::from(h[12] >> 4) * 4;
    if header_length < HEADER || header_length > length {
        return Err(Reason::InvalidTcpHeaderLength);
    }
    *segment = Segment {
        seq: Seq(be32::<4, _>(h)),
        ack: Seq(be32::<8, _>(h)),
        length: length - header_length,
        window: be16::<14, _>(h),
        flags: h[13],
        scale: NO_SCALE,
    };
    options.reserved = h[12] & 0x0f;
    if header_length > HEADER && !timestamp_only(packet, at, header_length, options) {
        check_options(packet, at + HEADER, header_length - HEADER, segment, options)?;
    }
    Ok((load_u16::<0, _>(h).to_ne_bytes(), load_u16::<2, _>(h).to_ne_bytes()))
}

#[inline(always)]
fn timestamp_only<P: Packet>(packet: &P, at: u32, header_length: u32, options: &mut Options) -> bool {
    if header_length != TIMESTAMP_ONLY_HEADER {
        return false;
    }
    match packet.read::<12>(at + HEADER) {
        Some(list) if load_u32::<0, _>(list) == u32::from_ne_bytes(TIMESTAMP_ONLY) => {
            options.timestamp = be32::<4, _>(list);
            options.marks = marks::TIMESTAMPS;
            true
        }
        _ => false,
    }
}

/// Reads `length` bytes of options at `at`.
#[inline(never)]
fn check_options<P: Packet>(packet: &P, at: u32, length: u32, segment: &mut Segment, options: &mut Options) -> Result<(), Reason> {
    let mut buffer = [0; OPTIONS_ROOM];
    if !packet.copy(at, &mut buffer, length) {
        return Err(missing(packet, at + length));
    }
    options.marks = marks::LISTED;
    let mut found = Found { scale: NO_SCALE, ack: segment.ack, options };
    if !options::walk(&buffer, length, &mut found) {
        return Err(Reason::BadTcpOptions);
    }
    segment.scale = found.scale;
    Ok(())
}

/// Flag sets a sender may produce, PSH, ECE and CWR aside (RFC 9293 §3.10.7, RFC 3168, RFC 9768): bit *n* is set when the set with index
/// *n* is legal; the index is FIN, SYN, RST, ACK, URG from the lowest bit.
const LEGAL: u32 = {
    const FIN: u32 = 1;
    const SYN: u32 = 2;
    const RST: u32 = 4;
    const ACK: u32 = 8;
    const URG: u32 = 16;
    1 << SYN
        | 1 << (SYN | URG)
        | 1 << (SYN | ACK)
        | 1 << RST
        | 1 << (RST | ACK)
        | 1 << (FIN | ACK)
        | 1 << (FIN | ACK | URG)
        | 1 << ACK
        | 1 << (ACK | URG)
};

/// True for a set of flags that some sender produces.
#[inline(always)]
#[must_use]
pub const fn legal_flags(flags: u8) -> bool {
    let index = (flags & 0x07) | (flags & 0x30) >> 1;
    LEGAL >> index & 1 != 0
}
