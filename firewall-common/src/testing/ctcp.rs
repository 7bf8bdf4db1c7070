//! Payloads of IPsec over TCP, written over what a segment had.

use crate::{testing::script::Spoiled, wire::ctcp::MAGIC};

/// Bytes of the trailer.
const TRAILER: usize = 16;
/// Bytes of a UDP header, and of an IKE header behind it.
const UDP: usize = 8;
const IKE: usize = 28;

fn put(data: &mut [u8], at: usize, bytes: &[u8]) {
    data[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Makes it begin as ESP.
pub fn esp(data: &mut [u8], spi: u32, sequence: u32) {
    put(data, 0, &spi.to_be_bytes());
    put(data, 4, &sequence.to_be_bytes());
}

/// Makes all but the trailer an IKE message of version 2, behind a UDP header from port 500 to port 500.
pub fn ike(data: &mut [u8]) {
    let message = data.len() - TRAILER - UDP;
    put(data, 0, &[0x01, 0xf4, 0x01, 0xf4]);
    put(data, 4, &u16::try_from(message + UDP).expect("a short message").to_be_bytes());
    put(data, UDP, &[[0x11; 8].as_slice(), &[0; 8], &[0x21, 0x20, 0x22, 0x08, 0, 0, 0, 0]].concat());
    put(data, UDP + IKE - 4, &u32::try_from(message).expect("a short message").to_be_bytes());
}

/// Makes it end in the trailer. Its number is the lower half of an ESP packet's.
pub fn trailer(data: &mut [u8], protocol: u8) {
    let at = data.len() - TRAILER;
    let number = [data[6], data[7]];
    put(data, at, &[0; TRAILER]);
    put(data, at + 4, &number);
    put(data, at + 8, &MAGIC);
    put(data, at + 13, &[protocol, 1, 0]);
}

/// Makes one byte wrong.
pub fn spoil(data: &mut [u8], what: Spoiled) {
    let at = match what {
        Spoiled::Magic => data.len() - TRAILER + 9,
        Spoiled::Trailer => data.len() - 1,
        // The version becomes one that there is not.
        Spoiled::Ike => UDP + 17,
    };
    data[at] ^= 0x80;
}
