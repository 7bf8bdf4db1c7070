//! IKE's fixed header (RFC 7296 §3.1), which versions 1 and 2 share.
//!
//! ```text
//!  0              8              16     17      18      19      20        24      28
//!  +--------------+--------------+------+-------+-------+-------+---------+-------+
//!  | initiator SPI| responder SPI| next |version|  kind | flags |   id    | length|
//!  +--------------+--------------+------+-------+-------+-------+---------+-------+
//! ```

use super::be32;

/// Bytes of the header.
pub const HEADER: u32 = 28;
/// Where it is sent to, and where address translation has no part in it.
pub const PORT: u16 = 500;

/// True for a header of a message of `length` bytes: version 1 or 2, an initiator that has an SPI, and a length that is right. `whole` is false
/// where more of the message may follow elsewhere.
#[inline(always)]
#[must_use]
pub fn is_header(header: &[u8; HEADER as usize], length: u32, whole: bool) -> bool {
    let said = be32::<24, _>(header);
    let version = header[17] >> 4;
    (be32::<0, _>(header) | be32::<4, _>(header)) != 0
        && (version == 1 || version == 2)
        && said >= HEADER
        && length >= HEADER
        && if whole { said == length } else { said >= length }
}

/// True for the UDP header that cTCP puts before a message of IKE: both ports are 500. `length` bytes begin with it; `whole` as above.
#[inline(always)]
#[must_use]
pub fn is_behind_udp(header: &[u8; 8], length: u32, whole: bool) -> bool {
    let ports = be32::<0, _>(header) == (PORT as u32) << 16 | PORT as u32;
    let said = be32::<4, _>(header) >> 16;
    ports && said >= super::udp::HEADER + HEADER && if whole { said == length } else { said <= length }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(version: u8, length: u32) -> [u8; 28] {
        let mut header = [0; 28];
        (header[7], header[16], header[17], header[18]) = (1, 33, version << 4, 34);
        header[24..].copy_from_slice(&length.to_be_bytes());
        header
    }

    #[test]
    fn versions_and_lengths_are_held_against_the_datagram() {
        assert!(is_header(&message(1, 300), 300, true) && is_header(&message(2, 28), 28, true));
        for (header, length) in
            [(message(0, 300), 300), (message(3, 300), 300), (message(2, 301), 300), (message(2, 27), 27), ([0; 28], 28)]
        {
            assert!(!is_header(&header, length, true), "{header:?}");
        }
        assert!(is_header(&message(2, 3000), 1400, false), "the rest is in later fragments");
    }

    #[test]
    fn ctcp_puts_a_udp_header_before_it() {
        let header = |ports: [u8; 4], length: u16| {
            let mut bytes = [0; 8];
            bytes[..4].copy_from_slice(&ports);
            bytes[4..6].copy_from_slice(&length.to_be_bytes());
            bytes
        };
        let ports = [1, 0xf4, 1, 0xf4];
        assert!(is_behind_udp(&header(ports, 100), 100, true));
        assert!(!is_behind_udp(&header(ports, 99), 100, true));
        assert!(!is_behind_udp(&header(ports, 35), 35, true), "no room for a header");
        assert!(!is_behind_udp(&header([1, 0xf4, 1, 0xf5], 100), 100, true));
        assert!(is_behind_udp(&header(ports, 99), 300, false), "more segments follow");
    }
}
