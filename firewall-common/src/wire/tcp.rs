//! TCP header (RFC 9293 §3.1) and the options the tracker reads (RFC 7323).

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

const OPTION_WINDOW_SCALE: u8 = 3;

/// The option list nearly every segment of today carries: two no-operations and a timestamp.
const TIMESTAMP_ONLY: [u8; 4] = [1, 1, 8, 10];
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

#[derive(Default)]
struct WindowScale(u8);

impl options::Visit for WindowScale {
    #[inline(always)]
    fn option(&mut self, kind: u8, length: u8, buffer: &[u8; OPTIONS_ROOM], at: u32) {
        if kind == OPTION_WINDOW_SCALE && length == 3 {
            let shift = options::byte(buffer, at + 2);
            self.0 = if shift > MOST_SCALE { MOST_SCALE } else { shift };
        }
    }
}

/// Reads the segment at `at`, which with its payload is `length` bytes long, and its ports (source, destination; network order).
///
/// # Errors
/// [`Reason::FrameTooShort`], [`Reason::HeadersNotLinear`], [`Reason::InvalidTcpHeaderLength`], [`Reason::BadTcpOptions`].
#[inline(always)]
pub fn parse<P: Packet>(packet: &P, at: u32, length: u32, segment: &mut Segment) -> Result<([u8; 2], [u8; 2]), Reason> {
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
    if header_length > HEADER && !timestamp_only(packet, at, header_length) {
        segment.scale = check_options(packet, at + HEADER, header_length - HEADER)?;
    }
    Ok((load_u16::<0, _>(h).to_ne_bytes(), load_u16::<2, _>(h).to_ne_bytes()))
}

#[inline(always)]
fn timestamp_only<P: Packet>(packet: &P, at: u32, header_length: u32) -> bool {
    header_length == TIMESTAMP_ONLY_HEADER
        && packet.read::<12>(at + HEADER).is_some_and(|o| load_u32::<0, _>(o) == u32::from_ne_bytes(TIMESTAMP_ONLY))
}

/// The window shift among `length` bytes of options at `at`.
#[inline(never)]
fn check_options<P: Packet>(packet: &P, at: u32, length: u32) -> Result<u8, Reason> {
    let mut buffer = [0; OPTIONS_ROOM];
    if !packet.copy(at, &mut buffer, length) {
        return Err(missing(packet, at + length));
    }
    let mut scale = WindowScale(NO_SCALE);
    if options::walk(&buffer, length, &mut scale) { Ok(scale.0) } else { Err(Reason::BadTcpOptions) }
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
