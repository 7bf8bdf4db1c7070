//! Part of stage *sanity*: neighbour discovery (RFC 4861) and multicast listener messages (RFC 2710, RFC 3810) of one link.
//!
//! They pass without a rule, for a link does not work without them, and so they are held to what every receiver must check. That they
//! have not crossed a router is the first of it: nobody beyond the link can send them with the hop limit they need. What they say is not
//! judged; against a liar on the link itself only the switch can help (RFC 6105).

use crate::{
    flow::Address,
    packet::{OPTIONS_ROOM, Packet},
    parse::Descriptor,
    reason::Reason,
    verifier::{self, Step, forgotten},
    wire::icmp::v6,
};

/// What a message that never crossed a router has (RFC 4861 §6.1, §7.1).
const HOPS_OF_THE_LINK: u8 = 255;
/// What a listener message has (RFC 3810 §5).
const HOPS_OF_A_LISTENER: u8 = 1;
/// Options that are walked: as many as the smallest ones fill a packet of 2000 bytes with.
const MOST_OPTIONS: u32 = 256;
/// Bytes of type, code, checksum and four more, before the addresses a message names.
const FIXED: u32 = 8;
const ADDRESS: u32 = 16;
const OPTION_SOURCE_LINK_ADDRESS: u32 = 1;

/// Checks a message of [`crate::parse::Kind::LinkScope`].
///
/// # Errors
/// [`Reason::NeighbourInvalid`].
#[inline(never)]
pub fn check<P: Packet>(packet: &P, descriptor: &Descriptor) -> Result<(), Reason> {
    let [kind, code] = descriptor.service;
    let sound = if matches!(kind, v6::ROUTER_SOLICITATION..=v6::REDIRECT) {
        // In a fragment the options that make it unsound could come later (RFC 6980 §5).
        let from_here = descriptor.hop_limit == HOPS_OF_THE_LINK && code == 0 && !descriptor.piece.is_fragment();
        from_here && neighbour(packet, descriptor, kind)
    } else {
        listener(descriptor, kind)
    };
    if sound { Ok(()) } else { Err(Reason::NeighbourInvalid) }
}

/// RFC 3810 §5.1.14 and §5.2.13, RFC 2710 §3, RFC 3590 §4: hop limit 1, a link-local source, and none yet only in what is no query.
#[inline(always)]
fn listener(descriptor: &Descriptor, kind: u8) -> bool {
    let least = if kind == v6::LISTENER_REPORT { FIXED } else { FIXED + ADDRESS };
    let source = descriptor.source();
    let from_here = is_link_local(source) || (kind != v6::LISTENER_QUERY && is_unspecified(source));
    descriptor.hop_limit == HOPS_OF_A_LISTENER && descriptor.length >= least && from_here
}

/// RFC 4861 §6.1.1, §6.1.2, §7.1.1, §7.1.2 and §8.1, one message a row.
#[inline(always)]
fn neighbour<P: Packet>(packet: &P, descriptor: &Descriptor, kind: u8) -> bool {
    let (source, destination) = (descriptor.source(), descriptor.destination());
    let options_at = match kind {
        v6::ROUTER_SOLICITATION => FIXED,
        v6::ROUTER_ADVERTISEMENT => FIXED + 8,
        v6::REDIRECT => FIXED + 2 * ADDRESS,
        _ => FIXED + ADDRESS,
    };
    if descriptor.length < options_at {
        return false;
    }
    let options = options(packet, descriptor, options_at);
    let Some(has_source_link_address) = options else { return false };
    // Who has no address yet has nothing to tell of its own one.
    let unspecified = is_unspecified(source);
    if unspecified && has_source_link_address {
        return false;
    }
    let names = |at: u32| address(packet, descriptor.at + at);
    match kind {
        v6::ROUTER_SOLICITATION => true,
        v6::ROUTER_ADVERTISEMENT => is_link_local(source),
        v6::NEIGHBOUR_SOLICITATION => !is_multicast(&names(FIXED)) && (!unspecified || is_solicited_node(destination)),
        v6::NEIGHBOUR_ADVERTISEMENT => {
            let answers_a_group = is_multicast(destination) && is_solicited(packet, descriptor);
            !unspecified && !is_multicast(&names(FIXED)) && !answers_a_group
        }
        _ => is_link_local(source) && redirects(&names(FIXED), &names(FIXED + ADDRESS)),
    }
}

/// A redirect leads to a router, by its link-local address, or tells that the destination is on the link itself.
#[inline(always)]
fn redirects(target: &Address, destination: &Address) -> bool {
    !is_multicast(destination) && (is_link_local(target) || target == destination)
}

/// The address at `at`; one that is not there counts as multicast, which no message may name.
#[inline(always)]
fn address<P: Packet>(packet: &P, at: u32) -> Address {
    packet.read(at).map_or(Address::new([0xff; 16]), |bytes| Address::new(*bytes))
}

/// The flag of an advertisement that answers somebody in particular.
#[inline(always)]
fn is_solicited<P: Packet>(packet: &P, descriptor: &Descriptor) -> bool {
    packet.read(descriptor.at + 4).is_none_or(|flags: &[u8; 4]| flags[0] & 0x40 != 0)
}

struct Options<'a, P> {
    packet: &'a P,
    at: u32,
    end: u32,
    malformed: u32,
    source_link_address: u32,
}

impl<P: Packet> Step for Options<'_, P> {
    #[inline(always)]
    fn forget(&mut self) {
        for number in [&mut self.at, &mut self.malformed, &mut self.source_link_address] {
            *number = forgotten(*number);
        }
    }

    #[inline(always)]
    fn step(&mut self) -> bool {
        if self.at == self.end {
            return false;
        }
        let mut option = [0; OPTIONS_ROOM];
        // An option with length 0 would be read for ever (RFC 4861 §4.6).
        if !self.packet.copy(self.at, &mut option, 2) || option[1] == 0 || self.at + u32::from(option[1]) * 8 > self.end {
            self.malformed = 1;
            return false;
        }
        if u32::from(option[0]) == OPTION_SOURCE_LINK_ADDRESS {
            self.source_link_address = 1;
        }
        self.at += u32::from(option[1]) * 8;
        true
    }
}

/// Walks a message's options; tells whether one of them is its sender's link-layer address, and nothing when they do not add up.
#[inline(always)]
fn options<P: Packet>(packet: &P, descriptor: &Descriptor, from: u32) -> Option<bool> {
    let (at, end) = (descriptor.at + from, descriptor.at + descriptor.length);
    let mut walk = Options { packet, at, end, malformed: 0, source_link_address: 0 };
    verifier::repeat(MOST_OPTIONS, &mut walk);
    if walk.malformed != 0 || walk.at != walk.end { None } else { Some(walk.source_link_address != 0) }
}

/// `fe80::/10` (RFC 4291 §2.5.6).
#[inline(always)]
const fn is_link_local(address: &Address) -> bool {
    address.halves().0 >> 54 == 0xfe80 >> 6
}

#[inline(always)]
const fn is_multicast(address: &Address) -> bool {
    address.halves().0 >> 56 == 0xff
}

#[inline(always)]
fn is_unspecified(address: &Address) -> bool {
    address.halves() == (0, 0)
}

/// `ff02::1:ff00:0/104`: those who may have the address that is asked for (RFC 4291 §2.7.1).
#[inline(always)]
const fn is_solicited_node(address: &Address) -> bool {
    let (high, low) = address.halves();
    high == 0xff02 << 48 && low >> 24 == 0x1ff
}
