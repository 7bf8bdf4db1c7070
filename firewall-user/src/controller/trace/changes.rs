//! What stage *normalize* changed in a packet, field by field.

use firewall_common::parse::{Descriptor, Kind};

use crate::{api::TracedChange, hex};

/// Bytes of an IPv6 header.
const V6_HEADER: usize = 40;

/// A field of a header: its name, where it is, and how long.
type Field = (&'static str, usize, usize);

const TCP_FIELDS: [Field; 6] = [
    ("tcp seq", 4, 4),
    ("tcp ack", 8, 4),
    ("tcp flags", 13, 1),
    ("tcp window", 14, 2),
    ("tcp checksum", 16, 2),
    ("tcp urgent pointer", 18, 2),
];
/// The byte with the data offset, which stays, and the reserved bits.
const OFFSET_AND_RESERVED: &str = "tcp reserved bits";
const OPTIONS: &str = "tcp options";
/// Bytes of a TCP header without options.
const TCP_HEADER: usize = 20;

/// The fields that differ between a frame and what it has become.
pub(super) fn between(before: &[u8], after: &[u8], descriptor: &Descriptor) -> Vec<TracedChange> {
    if before.len() != after.len() || before == after {
        return Vec::new();
    }
    let mut changes = Vec::new();
    let mut compare = |field: &str, at: usize, length: usize| {
        if let (Some(old), Some(new)) = (before.get(at..at + length), after.get(at..at + length))
            && old != new
        {
            let reserved = |byte: &[u8]| (byte[0] & 0x0f).to_string();
            let (from, to) = match field {
                OFFSET_AND_RESERVED => (reserved(old), reserved(new)),
                OPTIONS => (hex::write(old), hex::write(new)),
                _ => (value(old), value(new)),
            };
            changes.push(TracedChange { field: field.to_owned(), from, to });
        }
    };
    let (ip, transport) = (descriptor.ip_at as usize, descriptor.at as usize);
    if descriptor.v4 {
        compare("ttl", ip + 8, 1);
        compare("ip checksum", ip + 10, 2);
    } else {
        compare("hop limit", ip + 7, 1);
    }
    if descriptor.kind == Kind::Tcp {
        for (name, at, length) in TCP_FIELDS {
            compare(name, transport + at, length);
        }
        compare(OFFSET_AND_RESERVED, transport + 12, 1);
        let header = before.get(transport + 12).map_or(TCP_HEADER, |offset| usize::from(offset >> 4) * 4);
        compare(OPTIONS, transport + TCP_HEADER, header.saturating_sub(TCP_HEADER));
    } else {
        let from = transport.max(ip + if descriptor.v4 { 0 } else { V6_HEADER });
        compare("quoted packet", from, before.len().saturating_sub(from));
    }
    changes
}

/// Numbers as numbers, longer bytes in hexadecimal digits.
fn value(bytes: &[u8]) -> String {
    match *bytes {
        [byte] => byte.to_string(),
        [a, b] => u16::from_be_bytes([a, b]).to_string(),
        [a, b, c, d] => u32::from_be_bytes([a, b, c, d]).to_string(),
        _ => hex::write(bytes),
    }
}
