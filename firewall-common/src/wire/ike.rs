//! IKE's fixed header (RFC 7296 §3.1), which versions 1 and 2 share.
//!
//! ```text
//!  0              8              16     17      18      19      20        24      28
//!  +--------------+--------------+------+-------+-------+-------+---------+-------+
//!  | initiator SPI| responder SPI| next |version|  kind | flags |   id    | length|
//!  +--------------+--------------+------+-------+-------+-------+---------+-------+
//! ```
//!
//! Its length counts the header and all payloads. RFC 7296 §3.1 puts one message into a datagram and says nothing of bytes behind it. RFC 2408
//! §5.1 has a message of version 1 refused unless both lengths are the same, but asks in the same breath only that the datagram be long enough;
//! receivers (libreswan for one) go by that, for some of Cisco's clients add 16 bytes. So there are two bounds, for two uses:
//!
//! | | of a whole datagram or segment | of a part |
//! |---|---|---|
//! | [`is_header`], a sign of what a flow is | fills it | of a first fragment: fills it, or goes beyond |
//! | [`is_behind_udp`], the same in cTCP | fills it up to the trailer | of segments put together: fits in |
//! | [`fits`], whether a guard lets it pass | fits in | of a first fragment: says anything |
//!
//! A sign must not name an application for what only resembles IKE; a message that it passes over is no loss, for its flow sends others. A guard
//! must not refuse what the receiver takes, and bytes may follow: those 16, cTCP's trailer where no guard asks for one, and the next datagrams or
//! segments, where a stack has put some together or has yet to cut them. Then the first one's message is read, and the last one's trailer.

use super::{be32, udp};

/// Bytes of the header.
pub const HEADER: u32 = 28;
/// Where it is sent to, and where address translation has no part in it.
pub const PORT: u16 = 500;

/// True for the header of a message that fills `length` bytes: version 1 or 2, an initiator that has an SPI, and a length that is right. `whole`
/// is false where more of the message may follow elsewhere.
#[inline(always)]
#[must_use]
pub fn is_header(header: &[u8; HEADER as usize], length: u32, whole: bool) -> bool {
    let said = said(header);
    said >= HEADER && length >= HEADER && if whole { said == length } else { said >= length }
}

/// True for the header of a message that is in `length` bytes, whatever else is; the rest as above.
#[inline(always)]
#[must_use]
pub fn fits(header: &[u8; HEADER as usize], length: u32, whole: bool) -> bool {
    let said = said(header);
    said >= HEADER && length >= HEADER && (said <= length || !whole)
}

/// The length that a header says; 0 for one of another version, or whose initiator has no SPI.
#[inline(always)]
fn said(header: &[u8; HEADER as usize]) -> u32 {
    let version = header[17] >> 4;
    let known = (be32::<0, _>(header) | be32::<4, _>(header)) != 0 && (version == 1 || version == 2);
    if known { be32::<24, _>(header) } else { 0 }
}

/// True for the UDP header that cTCP puts before a message of IKE: both ports are 500. `length` bytes begin with it. `whole` is false where a
/// stack may have put further segments behind it.
#[inline(always)]
#[must_use]
pub fn is_behind_udp(header: &[u8; udp::HEADER as usize], length: u32, whole: bool) -> bool {
    let said = be32::<4, _>(header) >> 16;
    has_ports(header) && said >= udp::HEADER + HEADER && if whole { said == length } else { said <= length }
}

/// True for a UDP header, or its first bytes, from port 500 to port 500.
#[inline(always)]
#[must_use]
pub fn has_ports<const N: usize>(header: &[u8; N]) -> bool {
    be32::<0, _>(header) == (PORT as u32) << 16 | PORT as u32
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
    fn a_sign_fills_its_datagram_and_a_guard_lets_bytes_follow() {
        for version in [1, 2] {
            let header = message(version, 300);
            // (bytes there are, whole, a sign, passes a guard)
            for (length, whole, sign, passes) in [
                (300, true, true, true),
                (301, true, false, true),
                (316, true, false, true),
                (299, true, false, false),
                (299, false, true, true),
                (300, false, true, true),
                (316, false, false, true),
                (28, false, true, true),
                (27, false, false, false),
            ] {
                let found = (is_header(&header, length, whole), fits(&header, length, whole));
                assert_eq!(found, (sign, passes), "{length} bytes, whole {whole}");
            }
        }
    }

    #[test]
    fn no_bound_makes_a_header_of_what_is_none() {
        for (header, length) in [(message(0, 300), 300), (message(3, 300), 300), (message(2, 27), 300), (message(2, 0), 300), ([0; 28], 28)]
        {
            for whole in [true, false] {
                assert!(!is_header(&header, length, whole) && !fits(&header, length, whole), "{header:?}");
            }
        }
        assert!(!fits(&message(2, u32::MAX), 1400, true));
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
        assert!(!is_behind_udp(&header(ports, 301), 300, false));
        assert!(has_ports(&ports) && !has_ports(&[1, 0xf4, 0, 0xf4]) && !has_ports(&[0, 0xf4, 1, 0xf4]));
    }
}
