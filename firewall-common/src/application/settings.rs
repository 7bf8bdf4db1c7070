//! Ports and constants of recognition, as a policy says them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{verifier::opaque, wire::ctcp};

/// TCP ports on which cTCP is looked for: as many as IOS takes.
pub const MOST_CTCP_PORTS: usize = 10;
/// TCP ports on which IKE over TCP is looked for.
pub const MOST_IKE_TCP_PORTS: usize = 6;
/// UDP ports on which Cisco's IPsec over UDP is looked for.
pub const MOST_IPSEC_UDP_PORTS: usize = 4;
/// The most signs that can be asked for before a flow is taken for fake TCP.
pub const MOST_FAKE_TCP_SIGNS: u8 = 31;

/// The settings of one slot. All zero: nothing is looked for. Ports are in host order, and a port of 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Applications {
    pub ctcp_ports: [u16; MOST_CTCP_PORTS],
    pub ike_tcp_ports: [u16; MOST_IKE_TCP_PORTS],
    pub ipsec_udp_ports: [u16; MOST_IPSEC_UDP_PORTS],
    /// Bytes 8 to 12 of cTCP's trailer.
    pub ctcp_magic: [u8; 5],
    /// Signs after which a flow is taken for fake TCP, see [`super::behaviour`]; 0 for never.
    pub fake_tcp_signs: u8,
    pub reserved: [u8; 2],
}

impl Applications {
    /// What holds where a policy says nothing.
    pub const DEFAULT: Self = Self {
        ctcp_ports: [10_000, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ike_tcp_ports: [4_500, 0, 0, 0, 0, 0],
        ipsec_udp_ports: [10_000, 0, 0, 0],
        ctcp_magic: ctcp::MAGIC,
        fake_tcp_signs: 3,
        reserved: [0; 2],
    };
}

impl Default for Applications {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// True when one of the two ports is listed. Without a branch: each would double the paths that the verifier follows.
#[inline(always)]
#[must_use]
pub(super) fn lists<const N: usize>(ports: &[u16; N], one: u16, other: u16) -> bool {
    let mut found = 0;
    let mut index = 0;
    while index < N {
        found |= equal(ports[index], one) | equal(ports[index], other);
        index += 1;
    }
    // No packet of TCP or UDP has port 0: see stage *sanity*.
    found != 0
}

/// 1 when both are the same, else 0.
#[inline(always)]
fn equal(one: u16, other: u16) -> u32 {
    opaque(u32::from(one ^ other)).wrapping_sub(1) >> 31
}

const _: () = assert!(size_of::<Applications>() == 48);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_port_may_be_listed() {
        let ports = [10_000, 443, 0];
        assert!(lists(&ports, 10_000, 40_000) && lists(&ports, 40_000, 10_000) && lists(&ports, 40_000, 443));
        assert!(!lists(&ports, 40_000, 10_001));
        assert!(!lists(&[0; 3], 1, 65_535));
    }
}
