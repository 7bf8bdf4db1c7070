//! IPsec over TCP ("cTCP"), as Cisco's clients and gateways speak it on TCP/10000: each segment is one IPsec packet with a trailer of 16 bytes.
//!
//! ```text
//!  0       4      6       8         13       14
//!  +-------+------+-------+---------+--------+-----+
//!  | zeros | seq. | dir.  |  magic  | prot.  | 01 0|
//!  +-------+------+-------+---------+--------+-----+
//! ```
//!
//! Nobody has published a specification; this is what Wireshark's dissector (`packet-ipsec-tcp.c`) and independent implementations agree on.
//! Numbers are in network order. What precedes the trailer is an ESP or AH packet, or a UDP header and an IKE message.

use crate::wire::{be16, be32, protocol};

/// Bytes of the trailer.
pub const LENGTH: u32 = 16;
/// Least bytes of an IPsec packet before it: an ESP header.
pub const LEAST: u32 = 8;
/// Bytes 8 to 12 of the trailer.
pub const MAGIC: [u8; 5] = [0x21, 0x45, 0x6c, 0x69, 0x10];
/// Its last two bytes.
const END: u16 = 0x0100;

/// What a segment carries, by its trailer's byte 13: an IP protocol number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Carried {
    Ike = protocol::UDP,
    Esp = protocol::ESP,
    Ah = protocol::AH,
}

/// A trailer whose constant bytes are right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    pub carried: Carried,
    /// Counts packets: of ESP the lower half of its sequence number.
    pub sequence: u16,
    /// Of IKE `0x4000` when the client sends; of ESP zero.
    pub direction: u16,
}

impl Trailer {
    /// What 16 bytes say, if they are a trailer with this `magic`.
    #[inline(always)]
    #[must_use]
    pub fn parse(bytes: &[u8; LENGTH as usize], magic: &[u8; 5]) -> Option<Self> {
        let [a, b, c, d, e] = *magic;
        let constant = be32::<0, _>(bytes) == 0
            && be32::<8, _>(bytes) == u32::from_be_bytes([a, b, c, d])
            && bytes[12] == e
            && be16::<14, _>(bytes) == END;
        let carried = match bytes[13] {
            protocol::UDP => Carried::Ike,
            protocol::ESP => Carried::Esp,
            protocol::AH => Carried::Ah,
            _ => return None,
        };
        constant.then(|| Self { carried, sequence: be16::<4, _>(bytes), direction: be16::<6, _>(bytes) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ESP: [u8; 16] = [0, 0, 0, 0, 0x12, 0x34, 0, 0, 0x21, 0x45, 0x6c, 0x69, 0x10, 50, 1, 0];

    #[test]
    fn every_constant_byte_counts() {
        let trailer = Trailer { carried: Carried::Esp, sequence: 0x1234, direction: 0 };
        assert_eq!(Trailer::parse(&ESP, &MAGIC), Some(trailer));
        for at in [0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15] {
            let mut bytes = ESP;
            bytes[at] ^= 0x80;
            assert_eq!(Trailer::parse(&bytes, &MAGIC), None, "byte {at}");
        }
    }

    #[test]
    fn it_tells_what_the_segment_carries() {
        for (number, carried) in [(17, Carried::Ike), (50, Carried::Esp), (51, Carried::Ah)] {
            let mut bytes = ESP;
            (bytes[6], bytes[13]) = (0x40, number);
            assert_eq!(Trailer::parse(&bytes, &MAGIC), Some(Trailer { carried, sequence: 0x1234, direction: 0x4000 }));
        }
    }

    #[test]
    fn another_magic_can_be_asked_for() {
        let mut bytes = ESP;
        bytes[8..13].copy_from_slice(&[1, 2, 3, 4, 5]);
        assert_eq!(Trailer::parse(&bytes, &MAGIC), None);
        assert!(Trailer::parse(&bytes, &[1, 2, 3, 4, 5]).is_some());
    }
}
