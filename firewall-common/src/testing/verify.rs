//! Checksums, computed anew by plain arithmetic: the dataplane's own only mends them.

use crate::parse::{Descriptor, Kind, parse};

/// Whether a frame's checksums are those of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksums {
    /// Of the IPv4 header; true for IPv6.
    pub ip: bool,
    /// Of the TCP segment. `None` for what is not a whole segment.
    pub tcp: Option<bool>,
}

/// Ones' complement sum of big-endian words, folded.
fn sum(parts: &[&[u8]]) -> u16 {
    let mut total: u32 = 0;
    for part in parts {
        for pair in part.chunks(2) {
            total += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
            total = (total & 0xffff) + (total >> 16);
        }
    }
    total as u16
}

/// Computes a frame's checksums; `None` for a frame that cannot be read.
#[must_use]
pub fn checksums(frame: &[u8]) -> Option<Checksums> {
    let mut descriptor = Descriptor::EMPTY;
    // As for egress: that the IPv4 checksum is right is not taken for granted.
    parse(&frame, true, &mut descriptor).ok()?;
    if descriptor.ip_length == 0 {
        return None;
    }
    let (ip_at, at) = (descriptor.ip_at as usize, descriptor.at as usize);
    let segment = &frame[at..at + descriptor.length as usize];
    let ip = !descriptor.v4 || sum(&[&frame[ip_at..at]]) == 0xffff;
    let whole = matches!(descriptor.kind, Kind::Tcp) && !descriptor.piece.is_fragment();
    let addresses = if descriptor.v4 { &frame[ip_at + 12..ip_at + 20] } else { &frame[ip_at + 8..ip_at + 40] };
    let length = u16::try_from(segment.len()).ok()?.to_be_bytes();
    let tcp = whole.then(|| sum(&[addresses, &[0, 6], &length, segment]) == 0xffff);
    Some(Checksums { ip, tcp })
}
