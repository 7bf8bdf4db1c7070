//! IPv4 header (RFC 791 §3.1).

use crate::{
    flow::Address,
    packet::{OPTIONS_ROOM, Packet},
    reason::Reason,
    verifier::load_u32,
    wire::{be16, options},
};

/// Bytes of a header without options.
pub const HEADER: u32 = 20;

const OPTION_LOOSE_SOURCE_ROUTE: u8 = 131;
const OPTION_STRICT_SOURCE_ROUTE: u8 = 137;

/// The fixed part of a header.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a>(pub &'a [u8; HEADER as usize]);

impl Header<'_> {
    #[inline(always)]
    #[must_use]
    pub const fn version(&self) -> u8 {
        self.0[0] >> 4
    }

    /// Bytes of the header with its options.
    #[inline(always)]
    #[must_use]
    pub const fn length(&self) -> u32 {
        (self.0[0] & 0x0f) as u32 * 4
    }

    /// Bytes of header and payload.
    #[inline(always)]
    #[must_use]
    pub fn total_length(&self) -> u32 {
        u32::from(be16::<2, _>(self.0))
    }

    #[inline(always)]
    #[must_use]
    pub fn identification(&self) -> u16 {
        be16::<4, _>(self.0)
    }

    /// Offset of the payload in its datagram, in bytes.
    #[inline(always)]
    #[must_use]
    pub fn fragment_offset(&self) -> u32 {
        u32::from(be16::<6, _>(self.0) & 0x1fff) * 8
    }

    #[inline(always)]
    #[must_use]
    pub const fn dont_fragment(&self) -> bool {
        self.0[6] & 0x40 != 0
    }

    #[inline(always)]
    #[must_use]
    pub const fn more_fragments(&self) -> bool {
        self.0[6] & 0x20 != 0
    }

    /// Time to live.
    #[inline(always)]
    #[must_use]
    pub const fn hop_limit(&self) -> u8 {
        self.0[8]
    }

    #[inline(always)]
    #[must_use]
    pub const fn protocol(&self) -> u8 {
        self.0[9]
    }

    #[inline(always)]
    #[must_use]
    pub fn source(&self) -> Address {
        Address::from_v4_word(load_u32::<12, _>(self.0))
    }

    #[inline(always)]
    #[must_use]
    pub fn destination(&self) -> Address {
        Address::from_v4_word(load_u32::<16, _>(self.0))
    }

    /// Sum of the header's words, not yet folded. The ones' complement sum does not depend on byte order (RFC 1071 §2), so words are
    /// added as the machine has them.
    #[inline(always)]
    fn sum(&self) -> u64 {
        let h = self.0;
        u64::from(load_u32::<0, _>(h))
            + u64::from(load_u32::<4, _>(h))
            + u64::from(load_u32::<8, _>(h))
            + u64::from(load_u32::<12, _>(h))
            + u64::from(load_u32::<16, _>(h))
    }
}

#[inline(always)]
const fn word(bytes: [u8; 4]) -> u64 {
    u32::from_ne_bytes(bytes) as u64
}

/// True when a sum over a header that includes its checksum is that of an intact one.
#[inline(always)]
const fn intact(sum: u64) -> bool {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum == 0xffff
}

/// Checks the checksum of a header without options.
#[inline(always)]
#[must_use]
pub fn checksum_intact(header: &Header<'_>) -> bool {
    intact(header.sum())
}

#[derive(Default)]
struct SourceRoute(bool);

impl options::Visit for SourceRoute {
    #[inline(always)]
    fn option(&mut self, kind: u8, _length: u8, _buffer: &[u8; OPTIONS_ROOM], _at: u32) {
        if kind == OPTION_LOOSE_SOURCE_ROUTE || kind == OPTION_STRICT_SOURCE_ROUTE {
            self.0 = true;
        }
    }
}

/// Checks the options of a header of `length` bytes at `at`, more than [`HEADER`], and the checksum over all of it unless `trusted`.
///
/// # Errors
/// [`Reason::FrameTooShort`], [`Reason::BadIpChecksum`], [`Reason::BadIpOptions`], [`Reason::IpOptionSourceRoute`].
#[inline(never)]
pub fn check_options<P: Packet>(packet: &P, at: u32, length: u32, trusted: bool) -> Result<(), Reason> {
    let mut buffer = [0; OPTIONS_ROOM];
    let Some(header) = packet.read(at) else { return Err(Reason::FrameTooShort) };
    if length <= HEADER || !packet.copy(at + HEADER, &mut buffer, length - HEADER) {
        return Err(Reason::FrameTooShort);
    }
    let mut sum = Header(header).sum();
    let mut position = 0;
    while position < options::MOST as usize {
        sum += word([buffer[position], buffer[position + 1], buffer[position + 2], buffer[position + 3]]);
        position += 4;
    }
    if !trusted && !intact(sum) {
        return Err(Reason::BadIpChecksum);
    }
    let mut source_route = SourceRoute::default();
    if !options::walk(&buffer, length - HEADER, &mut source_route) {
        return Err(Reason::BadIpOptions);
    }
    if source_route.0 { Err(Reason::IpOptionSourceRoute) } else { Ok(()) }
}
