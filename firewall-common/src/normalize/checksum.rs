//! Ones' complement sums (RFC 1071): verifying a segment's checksum, and mending one after a change (RFC 1624).
//!
//! Such a sum does not depend on byte order (RFC 1071 §2), so words are added as the machine has them.

use crate::{normalize::HEADER_ROOM, packet::Packet, parse::Descriptor, verifier::load_u64, wire::protocol};

/// Offset of the checksum in a TCP header.
pub const FIELD: u32 = 16;

/// A sum of 32-bit words folded to 16 bits. It is 0 only for a sum of nothing but zeros.
#[inline(always)]
#[must_use]
pub const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// Sum of the pseudo-header (RFC 9293 §3.1, RFC 8200 §8.1).
#[inline(always)]
#[must_use]
pub fn pseudo(descriptor: &Descriptor) -> u64 {
    let (source, destination) = (descriptor.source(), descriptor.destination());
    let addresses = if descriptor.v4 {
        u64::from(source.v4_bits().to_be()) + u64::from(destination.v4_bits().to_be())
    } else {
        let ([a, b], [c, d]) = (source.words(), destination.words());
        halves(a) + halves(b) + halves(c) + halves(d)
    };
    addresses + u64::from(u16::from(protocol::TCP).to_be()) + u64::from(descriptor.length.to_be())
}

/// The field as the machine loads it.
#[inline(always)]
fn field<P: Packet>(packet: &P, descriptor: &Descriptor) -> Option<u16> {
    packet.read::<2>(descriptor.at + FIELD).map(|bytes| u16::from_ne_bytes(*bytes))
}

/// True when the segment's checksum is that of its bytes. One that cannot all be read is not.
#[inline(always)]
fn intact<P: Packet>(packet: &P, descriptor: &Descriptor) -> bool {
    match packet.sum(descriptor.at, descriptor.length) {
        Some(sum) => fold(pseudo(descriptor) + u64::from(sum)) == 0xffff,
        None => false,
    }
}

/// True when the field holds nothing but the pseudo-header's sum: a local stack has left the rest to a device that never was.
#[inline(always)]
fn is_unfinished<P: Packet>(packet: &P, descriptor: &Descriptor) -> bool {
    field(packet, descriptor).is_some_and(|field| field == fold(pseudo(descriptor)))
}

/// True for a checksum that is right, or, on a software device, one that is unfinished.
#[inline(always)]
#[must_use]
pub fn acceptable<P: Packet>(packet: &P, descriptor: &Descriptor, software: bool) -> bool {
    (software && is_unfinished(packet, descriptor)) || intact(packet, descriptor)
}

/// True when a change of the segment must leave the field as it is. Only the whole sum tells an unfinished checksum from a finished one
/// that happens to look like it.
#[inline(always)]
#[must_use]
pub fn is_left_alone<P: Packet>(packet: &P, descriptor: &Descriptor, software: bool) -> bool {
    software && is_unfinished(packet, descriptor) && !intact(packet, descriptor)
}

/// The field after a change of what it covers by `difference`: the sum of the new words less that of the old ones.
///
/// As the kernel does it: the result is never 0xffff, which stands for the same sum as 0 (RFC 1624 §3).
#[inline(always)]
#[must_use]
pub const fn mended(field: u16, difference: u32) -> u16 {
    !fold(difference as u64 + (!(field as u32)) as u64)
}

/// Sum of a header's copy but for its checksum.
#[inline(never)]
#[must_use]
pub fn of_header(header: &[u8; HEADER_ROOM]) -> u64 {
    // The word at 16 begins with the checksum.
    let checksum = u64::from_ne_bytes([0xff, 0xff, 0, 0, 0, 0, 0, 0]);
    halves(load_u64::<0, _>(header))
        + halves(load_u64::<8, _>(header))
        + halves(load_u64::<16, _>(header) & !checksum)
        + halves(load_u64::<24, _>(header))
        + halves(load_u64::<32, _>(header))
        + halves(load_u64::<40, _>(header))
        + halves(load_u64::<48, _>(header))
        + halves(load_u64::<56, _>(header))
}

/// Both halves of a word, added.
#[inline(always)]
const fn halves(word: u64) -> u64 {
    (word & 0xffff_ffff) + (word >> 32)
}

/// What [`mended`] takes: the new sum less the old one, in ones' complement.
#[inline(always)]
#[must_use]
pub const fn difference(new: u64, old: u64) -> u32 {
    fold(new + (!fold(old)) as u64) as u32
}
