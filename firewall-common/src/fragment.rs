//! Stage *fragment*: a later fragment carries no ports, so it gets the verdict of its datagram's first fragment. Nothing is reassembled.
//!
//! A first fragment must hold the whole transport header and goes through the pipeline like any packet; when it passes, its datagram
//! is remembered. A later fragment of a remembered datagram passes; any other is dropped, also one that arrives before the first.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::flow::Address;

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

const _: () = assert!(size_of::<FragmentKey>() == 40);
const _: () = assert!(size_of::<Fragment>() == 16);
