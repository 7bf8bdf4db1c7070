//! Stage *fragment*: a later fragment carries no ports, so it gets the verdict and the flow of its datagram's first fragment. Nothing is
//! reassembled, for a program of this kind cannot hold a packet back; what overlaps, hides or exceeds never gets out instead.
//!
//! - [`check`] refuses what no sender produces, by the fragment alone.
//! - A first fragment must hold the whole transport header. [`stages::first`] compares it with what has passed of its datagram, then it goes
//!   through the pipeline like any packet; when it passes, [`stages::remember`] keeps what its later fragments need.
//! - [`stages::later`] admits a later fragment that covers bytes nothing covered before, and counts it on its flow.
//!
//! What has passed of a datagram is in its record, see [`datagram`].

pub mod cover;
pub mod datagram;
pub mod stages;

pub use self::datagram::{Fragment, FragmentKey};

use crate::{
    config::config_flags,
    parse::{Descriptor, Kind},
    reason::Reason,
    wire::{protocol, tcp},
};

/// The largest datagram there can be: with its header for IPv4 (RFC 791 §3.1), without the fixed header for IPv6 (RFC 8200 §4.5).
const LARGEST_DATAGRAM: u32 = 65_535;
/// Bytes of an IPv6 packet's fixed and fragment headers, which are no part of the reassembled packet's payload length.
const HEADERS_V6: u32 = 48;
/// Bytes of SCTP's common header (RFC 9260 §3.1).
const SCTP_HEADER: u32 = 12;
/// Least a first fragment holds of any other protocol: no fragment but the last is shorter.
const LEAST: u32 = 8;

/// Refuses fragments no sender produces. `flags` are [`config_flags`].
///
/// # Errors
/// [`Reason::FragmentTooLong`], [`Reason::FragmentBadLength`], [`Reason::FragmentTiny`], [`Reason::FragmentDf`].
#[inline(always)]
pub fn check(descriptor: &Descriptor, flags: u32) -> Result<(), Reason> {
    if descriptor.piece.is_fragment() { check_fragment(descriptor, flags) } else { Ok(()) }
}

#[inline(always)]
fn check_fragment(descriptor: &Descriptor, flags: u32) -> Result<(), Reason> {
    let piece = &descriptor.piece;
    let length = descriptor.fragment_length();
    let headers = descriptor.at.wrapping_sub(descriptor.ip_at).wrapping_sub(u32::from(piece.skipped));
    let before = if descriptor.v4 { headers } else { headers.wrapping_sub(HEADERS_V6) };
    if before + piece.offset + length > LARGEST_DATAGRAM {
        return Err(Reason::FragmentTooLong);
    }
    if length == 0 || (piece.more && !length.is_multiple_of(cover::UNIT)) {
        return Err(Reason::FragmentBadLength);
    }
    if hides_header(descriptor) {
        return Err(Reason::FragmentTiny);
    }
    if piece.dont_fragment && piece.offset != 0 && flags & config_flags::FRAGMENT_DF_PASS == 0 {
        return Err(Reason::FragmentDf);
    }
    Ok(())
}

/// True for a first fragment without the transport header that the parser did not need whole (RFC 7112), and for a later one that would
/// bring part of a TCP header (RFC 1858 §3, RFC 3128).
#[inline(always)]
fn hides_header(descriptor: &Descriptor) -> bool {
    if descriptor.piece.offset != 0 {
        return descriptor.key.protocol == protocol::TCP && descriptor.piece.offset < tcp::HEADER;
    }
    let least = if descriptor.key.protocol == protocol::SCTP { SCTP_HEADER } else { LEAST };
    matches!(descriptor.kind, Kind::Other) && descriptor.length < least
}
