//! IPv6 header and its extension chain (RFC 8200).

use crate::{
    flow::Address,
    packet::{Packet, missing},
    parse::Descriptor,
    reason::Reason,
    verifier::{self, Step, forgotten, load_u64},
    wire::{be16, protocol},
};

/// Bytes of the fixed header.
pub const HEADER: u32 = 40;
/// Extension headers that are walked. RFC 8200 §4.1 recommends an order of at most seven; more than six is unheard of.
pub const MOST_EXTENSIONS: u32 = 6;
/// Bytes of extension headers that are walked (RFC 9288 §3 tells of boxes that read 128 to 256).
pub const MOST_EXTENSION_BYTES: u32 = 512;

/// The fixed header.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a>(pub &'a [u8; HEADER as usize]);

impl Header<'_> {
    #[inline(always)]
    #[must_use]
    pub const fn version(&self) -> u8 {
        self.0[0] >> 4
    }

    /// Bytes after the fixed header.
    #[inline(always)]
    #[must_use]
    pub fn payload_length(&self) -> u32 {
        u32::from(be16::<4, _>(self.0))
    }

    #[inline(always)]
    #[must_use]
    pub const fn next_header(&self) -> u8 {
        self.0[6]
    }

    #[inline(always)]
    #[must_use]
    pub const fn hop_limit(&self) -> u8 {
        self.0[7]
    }

    #[inline(always)]
    #[must_use]
    pub fn source(&self) -> Address {
        Address::from_words([load_u64::<8, _>(self.0), load_u64::<16, _>(self.0)])
    }

    #[inline(always)]
    #[must_use]
    pub fn destination(&self) -> Address {
        Address::from_words([load_u64::<24, _>(self.0), load_u64::<32, _>(self.0)])
    }
}

/// True for the headers a chain consists of (RFC 7045 §4), but for those that hide what follows: ESP, and AH, which is a flow of its own.
#[inline(always)]
#[must_use]
pub const fn is_extension(next_header: u8) -> bool {
    matches!(next_header, protocol::HOP_BY_HOP | protocol::ROUTING | protocol::FRAGMENT | protocol::DESTINATION_OPTIONS)
        || is_message(next_header)
}

/// True for extension headers that are a protocol's whole message when nothing follows them (RFC 6275 §6.1.1, RFC 7401 §5.1, RFC 5533 §5.2).
#[inline(always)]
const fn is_message(next_header: u8) -> bool {
    matches!(next_header, protocol::MOBILITY | protocol::HIP | protocol::SHIM6)
}

/// The routing header of Mobile IPv6: its one address is the destination's own (RFC 6275 §6.4).
const ROUTING_TYPE_HOME: u8 = 2;

/// True for a routing header that sends the packet on to an address the policy does not see. Type 0 does so by definition and is deprecated
/// (RFC 5095); of others (segment routing, RFC 8754; RPL, RFC 6554) those do that have segments left (RFC 8200 §4.4).
#[inline(always)]
const fn is_source_route(header: &[u8; 8]) -> bool {
    let (kind, segments_left) = (header[2], header[3]);
    kind == 0 || (segments_left != 0 && kind != ROUTING_TYPE_HOME)
}

struct Walk<'a, P> {
    packet: &'a P,
    next: u32,
    at: u32,
    start: u32,
    /// Where the IP packet ends; what the frame holds beyond is padding.
    end: u32,
    headers: u32,
    error: u32,
    fragment_seen: u32,
    fragment_offset: u32,
    fragment_more: u32,
    fragment_identification: u32,
    after_fragment: u32,
}

impl<P: Packet> Walk<'_, P> {
    #[inline(always)]
    fn fail(&mut self, reason: Reason) -> bool {
        self.error = reason as u32;
        false
    }

    /// The chain goes on past the packet's end. In a first fragment that hides what the rest of it holds (RFC 7112 §5).
    #[inline(always)]
    fn incomplete(&mut self) -> bool {
        let reason = if self.fragment_more != 0 { Reason::FragmentTiny } else { Reason::InvalidIpLength };
        self.fail(reason)
    }
}

impl<P: Packet> Step for Walk<'_, P> {
    #[inline(always)]
    fn forget(&mut self) {
        for number in [&mut self.next, &mut self.at, &mut self.headers, &mut self.error, &mut self.fragment_seen] {
            *number = forgotten(*number);
        }
        for number in [&mut self.fragment_offset, &mut self.fragment_more, &mut self.fragment_identification, &mut self.after_fragment] {
            *number = forgotten(*number);
        }
    }

    #[inline(always)]
    fn step(&mut self) -> bool {
        let next = self.next as u8;
        if !is_extension(next) || (self.fragment_seen != 0 && self.fragment_offset != 0) {
            return false;
        }
        // Hop-by-hop options may only come first; a second fragment header makes no sense.
        if (next == protocol::HOP_BY_HOP && self.headers != 0) || (next == protocol::FRAGMENT && self.fragment_seen != 0) {
            return self.fail(Reason::Ipv6ExtensionChain);
        }
        if self.headers >= MOST_EXTENSIONS {
            return self.fail(Reason::Ipv6ExtensionChain);
        }
        if self.at + 8 > self.end {
            return self.incomplete();
        }
        let Some(header): Option<&[u8; 8]> = self.packet.read(self.at) else {
            return self.fail(missing(self.packet, self.at + 8));
        };
        let length = if next == protocol::FRAGMENT { 8 } else { (u32::from(header[1]) + 1) * 8 };
        if self.at + length > self.end {
            return self.incomplete();
        }
        if self.at + length - self.start > MOST_EXTENSION_BYTES {
            return self.fail(Reason::Ipv6ExtensionChain);
        }
        if is_message(next) && header[0] == protocol::NO_NEXT_HEADER {
            return false;
        }
        if next == protocol::ROUTING && is_source_route(header) {
            return self.fail(Reason::IpOptionSourceRoute);
        }
        self.at += length;
        if next == protocol::FRAGMENT {
            self.fragment_seen = 1;
            self.fragment_offset = u32::from(u16::from_be_bytes([header[2], header[3]]) & 0xfff8);
            self.fragment_more = u32::from(header[3] & 1);
            self.fragment_identification = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
            self.after_fragment = self.at;
        }
        self.next = u32::from(header[0]);
        self.headers += 1;
        true
    }
}

/// Walks the extension headers from the descriptor's transport offset on, in a packet that ends at `end`: `at`, `protocol` and `piece` are
/// then those of the end of the chain. A later fragment ends it, for what follows is the middle of a datagram.
///
/// # Errors
/// [`Reason::Ipv6ExtensionChain`], [`Reason::IpOptionSourceRoute`], [`Reason::InvalidIpLength`], [`Reason::FragmentTiny`],
/// [`Reason::FrameTooShort`], [`Reason::HeadersNotLinear`].
#[inline(never)]
pub fn walk_chain<P: Packet>(packet: &P, end: u32, descriptor: &mut Descriptor) -> Result<(), Reason> {
    let mut walk = Walk {
        packet,
        next: u32::from(descriptor.key.protocol),
        at: descriptor.at,
        start: descriptor.at,
        end,
        headers: 0,
        error: 0,
        fragment_seen: 0,
        fragment_offset: 0,
        fragment_more: 0,
        fragment_identification: 0,
        after_fragment: 0,
    };
    verifier::repeat(MOST_EXTENSIONS + 1, &mut walk);
    if let Some(reason) = Reason::from_number(walk.error as u8) {
        return Err(reason);
    }
    descriptor.key.protocol = walk.next as u8;
    descriptor.at = walk.at;
    descriptor.piece.offset = walk.fragment_offset;
    descriptor.piece.more = walk.fragment_more != 0;
    descriptor.piece.identification = walk.fragment_identification;
    if walk.fragment_seen != 0 {
        descriptor.piece.skipped = walk.at.wrapping_sub(walk.after_fragment) as u16;
    }
    Ok(())
}
