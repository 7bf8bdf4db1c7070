//! GRE (RFC 2784, RFC 2890) and its version 1 in PPTP (RFC 2637).
//!
//! Only soundness is read. A flow of GRE is that of its two addresses: a key (RFC 2890) need not be the same in both directions, and
//! PPTP's call identifier never is, for each side chooses the one it wants to be sent (RFC 2637 §4.1).

use crate::{
    packet::{Packet, missing},
    parse::Descriptor,
    reason::Reason,
    wire::be16,
};

/// Bytes of a header without optional fields.
const HEADER: u32 = 4;

const CHECKSUM: u16 = 0x8000;
const ROUTING: u16 = 0x4000;
const KEY: u16 = 0x2000;
const SEQUENCE: u16 = 0x1000;
/// Strict source route, and the first bit of the recursion count: with the routing bit those that make a receiver discard (RFC 2784 §2.3).
const RESERVED: u16 = 0x0800 | 0x0400;
/// Version 1 only.
const ACKNOWLEDGEMENT: u16 = 0x0080;
const VERSION: u16 = 0x0007;
/// Of PPTP's GRE: PPP, and nothing else.
const PPP: u16 = 0x880b;

/// Checks a header.
///
/// # Errors
/// [`Reason::InvalidGreHeader`]; [`Reason::FragmentTiny`] in a first fragment.
#[inline(always)]
pub fn check<P: Packet>(packet: &P, descriptor: &Descriptor) -> Result<(), Reason> {
    if descriptor.length < HEADER {
        return Err(descriptor.short(Reason::InvalidGreHeader));
    }
    let h: &[u8; HEADER as usize] = packet.read(descriptor.at).ok_or_else(|| missing(packet, descriptor.at + HEADER))?;
    let Some(length) = length(be16::<0, _>(h), be16::<2, _>(h)) else { return Err(Reason::InvalidGreHeader) };
    if descriptor.length < length { Err(descriptor.short(Reason::InvalidGreHeader)) } else { Ok(()) }
}

/// Bytes of a header with these first two fields; nothing when no sender uses them.
#[inline(always)]
fn length(flags: u16, protocol: u16) -> Option<u32> {
    if flags & (ROUTING | RESERVED) != 0 {
        return None;
    }
    let field = |flag: u16| if flags & flag != 0 { 4 } else { 0 };
    match flags & VERSION {
        0 => Some(HEADER + field(CHECKSUM) + field(KEY) + field(SEQUENCE)),
        1 if protocol == PPP && flags & (CHECKSUM | KEY) == KEY => Some(HEADER + 4 + field(SEQUENCE) + field(ACKNOWLEDGEMENT)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::length;

    #[test]
    fn optional_fields_lengthen_the_header() {
        assert_eq!(length(0, 0x0800), Some(4));
        assert_eq!(length(0x2000, 0x6558), Some(8));
        assert_eq!(length(0xb000, 0x0800), Some(16));
        assert_eq!(length(0x3081, 0x880b), Some(16));
        assert_eq!(length(0x2001, 0x880b), Some(8));
    }

    #[test]
    fn what_no_sender_uses_is_refused() {
        for (flags, protocol) in [(0x4000, 0x0800), (0x0800, 0x0800), (0x0400, 0x0800), (2, 0x0800), (0x2001, 0x0800), (0x0001, 0x880b)] {
            assert_eq!(length(flags, protocol), None, "{flags:#06x} {protocol:#06x}");
        }
    }
}
