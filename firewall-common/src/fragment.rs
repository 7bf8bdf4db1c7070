//! Stage *fragment*: a later fragment carries no ports, so it gets the verdict of its datagram's first fragment. Nothing is reassembled.
//!
//! A first fragment must hold the whole transport header and goes through the pipeline like any packet; when it passes, its datagram
//! is remembered. A later fragment of a remembered datagram passes; any other is dropped, also one that arrives before the first.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    config::FRAGMENT_LIFETIME,
    env::Env,
    flow::Address,
    parse::{Descriptor, Kind},
    reason::Reason,
    time::Nanos,
    visit::Visit,
};

/// The largest datagram there can be, header included (RFC 791 §3.1).
const LARGEST_DATAGRAM: u32 = 65_535;

/// One datagram in fragments (RFC 791 §3.2, RFC 8200 §4.5). 40 bytes, no padding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FragmentKey {
    pub source: Address,
    pub destination: Address,
    /// Identification in host order; IPv4's 16 bits are extended with zeros.
    pub identification: u32,
    /// IP protocol number of the transport header.
    pub protocol: u8,
    pub reserved: [u8; 3],
}

/// What is remembered of a datagram whose first fragment passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Fragment {
    /// When the first fragment passed.
    pub since: u64,
    /// Payload bytes the first fragment held: a later one that begins before them overlaps.
    pub first_length: u32,
    /// Rule that admitted the flow.
    pub rule: u16,
    pub reserved: u16,
}

/// Refuses fragments no sender produces: one that ends past the largest datagram.
///
/// # Errors
/// [`Reason::FragmentTooLong`].
#[inline(always)]
pub fn check(descriptor: &Descriptor) -> Result<(), Reason> {
    let piece = &descriptor.piece;
    if piece.is_fragment() && piece.offset + descriptor.length > LARGEST_DATAGRAM { Err(Reason::FragmentTooLong) } else { Ok(()) }
}

/// Judges a later fragment by its datagram's first one, and tells the rule that let that pass.
///
/// # Errors
/// [`Reason::FragmentNoFirst`], [`Reason::FragmentTiny`].
#[inline(never)]
pub fn inherit<E: Env>(env: &E, visit: &Visit) -> Result<u16, Reason> {
    let descriptor = &visit.descriptor;
    let first = env.fragment(&key(descriptor)).ok_or(Reason::FragmentNoFirst)?;
    if visit.now.since(Nanos(first.since)).0 > Nanos::from_millis(FRAGMENT_LIFETIME).0 {
        return Err(Reason::FragmentNoFirst);
    }
    // It would write over what the first fragment was judged by.
    if descriptor.piece.offset < first.first_length {
        return Err(Reason::FragmentTiny);
    }
    Ok(first.rule)
}

/// Remembers a datagram whose first fragment has passed.
///
/// # Errors
/// [`Reason::FragmentInsertFailed`].
#[inline(never)]
pub fn remember<E: Env>(env: &E, visit: &Visit, rule: u16) -> Result<(), Reason> {
    let descriptor = &visit.descriptor;
    if !descriptor.piece.more || matches!(descriptor.kind, Kind::LaterFragment) {
        return Ok(());
    }
    let first = Fragment { since: visit.now.0, first_length: descriptor.length, rule, reserved: 0 };
    env.insert_fragment(&key(descriptor), &first).map_err(|_| Reason::FragmentInsertFailed)
}

#[inline(always)]
fn key(descriptor: &Descriptor) -> FragmentKey {
    FragmentKey {
        source: *descriptor.source(),
        destination: *descriptor.destination(),
        identification: descriptor.piece.identification,
        protocol: descriptor.key.protocol,
        reserved: [0; 3],
    }
}

const _: () = assert!(size_of::<FragmentKey>() == 40);
const _: () = assert!(size_of::<Fragment>() == 16);
