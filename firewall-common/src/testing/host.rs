//! Named hosts, so that tests read as people talk: the client in zone 1, the server on the box's side.

use crate::flow::Address;

/// IP version of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    V4,
    V6,
}

/// A host with an address of each family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    pub name: &'static str,
    pub v4: [u8; 4],
    pub v6: [u8; 16],
    pub mac: [u8; 6],
}

const fn host(name: &'static str, v4: [u8; 4], last: u8) -> Host {
    Host { name, v4, v6: [0x20, 0x01, 0x0d, 0xb8, 0, 0x71, 0, 0, 0, 0, 0, 0, 0, 0, 0, last], mac: [0x02, 0, 0, 0, 0, last] }
}

/// Begins connections, from zone 1.
pub const CLIENT: Host = host("client", [198, 51, 100, 7], 7);
/// Answers them.
pub const SERVER: Host = host("server", [10, 71, 2, 10], 0x10);
/// Another host beside the client.
pub const OTHER: Host = host("other", [203, 0, 113, 99], 0x99);

impl Host {
    /// The address as the dataplane keeps it.
    #[must_use]
    pub const fn address(&self, family: Family) -> Address {
        match family {
            Family::V4 => Address::v4(self.v4),
            Family::V6 => Address::new(self.v6),
        }
    }
}
