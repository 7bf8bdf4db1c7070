//! Headers as they are on the wire: one protocol a file. Field accessors return host order; nothing here panics.

pub mod ctcp;
pub mod ethernet;
pub mod gre;
pub mod icmp;
pub mod ike;
pub mod ipsec;
pub mod ipv4;
pub mod ipv6;
pub mod options;
pub mod quote;
pub mod tcp;
pub mod udp;

use crate::verifier;

/// The 16-bit field at `AT` in host order.
#[inline(always)]
#[must_use]
pub fn be16<const AT: usize, const N: usize>(header: &[u8; N]) -> u16 {
    u16::from_be(verifier::load_u16::<AT, N>(header))
}

/// The 32-bit field at `AT` in host order.
#[inline(always)]
#[must_use]
pub fn be32<const AT: usize, const N: usize>(header: &[u8; N]) -> u32 {
    u32::from_be(verifier::load_u32::<AT, N>(header))
}

/// IP protocol numbers (IANA).
pub mod protocol {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ICMP: u8 = 1;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const GRE: u8 = 47;
    pub const ESP: u8 = 50;
    pub const AH: u8 = 51;
    pub const ICMPV6: u8 = 58;
    pub const NO_NEXT_HEADER: u8 = 59;
    pub const DESTINATION_OPTIONS: u8 = 60;
    pub const SCTP: u8 = 132;
    pub const UDP_LITE: u8 = 136;
    pub const MOBILITY: u8 = 135;
    pub const HIP: u8 = 139;
    pub const SHIM6: u8 = 140;
}
