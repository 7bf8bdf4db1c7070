//! The stage's last moment: a packet that passes is changed in place. Nothing moves: its length stays, and options that go become NOP.

use crate::{
    env::Env,
    normalize::{Edits, HEADER_ROOM, Place, Profile, Room, changes, check, checksum, quote_edit},
    packet::Packet,
    reason::Reason,
    verifier::{self, Step},
    visit::Visit,
    wire::{
        ipv4, ipv6,
        options::{self, advance, byte, word},
        tcp::{self, flags, kind},
    },
};

const ACK_AT: u32 = 8;
const OFFSET_AT: usize = 12;
const FLAGS_AT: usize = 13;
const URGENT_AT: usize = 18;
/// Offsets of the words that hold the hop limit.
const V4_HOP_LIMIT_WORD: u32 = 8;
const V6_HOP_LIMIT_WORD: u32 = 4;

/// Changes the packet as its visit's [`Edits`] say.
///
/// # Errors
/// [`Reason::RewriteFailed`]: the packet could not be read or written, and must not go on.
#[inline(always)]
pub fn rewrite<P: Packet, E: Env>(packet: &P, env: &E, visit: &Visit) -> Result<(), Reason> {
    let changed = visit.edits.changes;
    let done = (changed & changes::HEADER == 0 || rewrite_header(packet, env, visit))
        && (changed & changes::HOP_LIMIT == 0 || rewrite_hop_limit(packet, visit))
        && (changed & changes::QUOTE == 0 || quote_edit::restore(packet, visit));
    if done { Ok(()) } else { Err(Reason::RewriteFailed) }
}

#[inline(always)]
fn rewrite_header<P: Packet, E: Env>(packet: &P, env: &E, visit: &Visit) -> bool {
    let Some(profile) = env.profile(visit.slot(), visit.edits.profile) else { return false };
    let descriptor = &visit.descriptor;
    let length = descriptor.length.wrapping_sub(descriptor.segment.length);
    let left_alone =
        !visit.arrival.egress && !descriptor.piece.is_fragment() && checksum::is_left_alone(packet, descriptor, visit.software);
    let written = env.with_room(|room| {
        // Behind a short header lies what another packet left: it must not count.
        verifier::clear(&mut room.header);
        if !packet.copy(descriptor.at, &mut room.header, length) {
            return false;
        }
        let difference = edit(room, length, &visit.edits, profile);
        packet.store_header(descriptor.at, &room.header, length, if left_alone { None } else { Some(difference) })
    });
    written.unwrap_or(false)
}

/// Changes the TCP header of `length` bytes in `room`, but for its checksum, and tells by what the sum of its words has grown.
#[inline(always)]
pub fn edit(room: &mut Room, length: u32, edits: &Edits, profile: &Profile) -> u32 {
    let Room { header, place, .. } = room;
    let before = checksum::of_header(header);
    if edits.changes & changes::NUMBERS != 0 {
        set(header, 4, word(header, 4).wrapping_add(edits.seq));
        if header[FLAGS_AT] & flags::ACK != 0 {
            set(header, ACK_AT, word(header, ACK_AT).wrapping_sub(edits.ack));
        }
    }
    if edits.changes & changes::RESERVED != 0 {
        header[OFFSET_AT] &= 0xf0;
    }
    if edits.changes & changes::URGENT != 0 {
        header[FLAGS_AT] &= !flags::URG;
        header[URGENT_AT] = 0;
        header[URGENT_AT + 1] = 0;
    }
    if edits.changes & (changes::OPTIONS | changes::MSS | changes::NUMBERS) != 0 && length > tcp::HEADER {
        let syn = header[FLAGS_AT] & flags::SYN != 0;
        *place = Place { at: tcp::HEADER, ..Place::default() };
        let mut rewrite = Rewrite { header, place, end: length % HEADER_ROOM as u32, syn, edits, profile };
        verifier::repeat(2 * options::MOST, &mut rewrite);
    }
    checksum::difference(checksum::of_header(header), before)
}

#[inline(always)]
fn put(header: &mut [u8; HEADER_ROOM], at: u32, value: u8) {
    header[at as usize % HEADER_ROOM] = value;
}

#[inline(always)]
fn set(header: &mut [u8; HEADER_ROOM], at: u32, value: u32) {
    let [a, b, c, d] = value.to_be_bytes();
    put(header, at, a);
    put(header, at + 1, b);
    put(header, at + 2, c);
    put(header, at + 3, d);
}

/// A walk over options that changes them, a step a turn: an option, an edge of a selective acknowledgement, or a byte that becomes NOP.
struct Rewrite<'a> {
    header: &'a mut [u8; HEADER_ROOM],
    place: &'a mut Place,
    end: u32,
    syn: bool,
    edits: &'a Edits,
    profile: &'a Profile,
}

impl Step for Rewrite<'_> {
    /// All that changes is in a map's memory, of which no verifier knows what it holds.
    #[inline(always)]
    fn forget(&mut self) {}

    #[inline(always)]
    fn step(&mut self) -> bool {
        let at = self.place.at;
        if at >= self.end {
            return false;
        }
        if self.place.clear > 0 {
            put(self.header, at, kind::NO_OPERATION);
            self.place.clear -= 1;
            self.place.at = advance(at, 1);
            return true;
        }
        if self.place.edges > 0 {
            let edge = word(self.header, at).wrapping_sub(self.edits.ack);
            set(self.header, at, edge);
            self.place.edges -= 1;
            self.place.at = advance(at, 4);
            return true;
        }
        let option = byte(self.header, at);
        if option == kind::END {
            return false;
        }
        if option == kind::NO_OPERATION {
            self.place.at = advance(at, 1);
            return true;
        }
        let length = byte(self.header, at + 1);
        // The parser has refused such a list.
        if length < 2 || at + u32::from(length) > self.end {
            return false;
        }
        self.option(at, option, length);
        true
    }
}

impl Rewrite<'_> {
    #[inline(always)]
    fn option(&mut self, at: u32, option: u8, length: u8) {
        let asked = self.edits.changes;
        if asked & changes::OPTIONS != 0 && check::is_cleared(self.profile, option, self.syn) {
            self.place.clear = u32::from(length);
            return;
        }
        if asked & changes::NUMBERS != 0 && option == kind::SACK {
            self.place.edges = u32::from(length - 2) / 4;
            self.place.at = advance(at, 2);
            return;
        }
        if asked & changes::MSS != 0 && option == kind::MSS && length == 4 && self.syn {
            let announced = u16::from_be_bytes([byte(self.header, at + 2), byte(self.header, at + 3)]);
            if announced > self.profile.mss_most {
                let [high, low] = self.profile.mss_most.to_be_bytes();
                put(self.header, at + 2, high);
                put(self.header, at + 3, low);
            }
        }
        self.place.at = advance(at, u32::from(length));
    }
}

/// Lowers the hop limit and mends an IPv4 header's checksum.
#[inline(always)]
fn rewrite_hop_limit<P: Packet>(packet: &P, visit: &Visit) -> bool {
    let (at, hop_limit) = (visit.descriptor.ip_at, visit.edits.hop_limit);
    if !visit.descriptor.v4 {
        let Some(header) = packet.read::<{ ipv6::HEADER as usize }>(at) else { return false };
        let bytes = [header[4], header[5], header[6], hop_limit];
        return packet.store_word(at + V6_HOP_LIMIT_WORD, bytes);
    }
    let Some(header) = packet.read::<{ ipv4::HEADER as usize }>(at) else { return false };
    let (old, new) = (u16::from_ne_bytes([header[8], header[9]]), u16::from_ne_bytes([hop_limit, header[9]]));
    let field = u16::from_ne_bytes([header[10], header[11]]);
    let [c, d] = checksum::mended(field, checksum::difference(u64::from(new), u64::from(old))).to_ne_bytes();
    packet.store_word(at + V4_HOP_LIMIT_WORD, [hop_limit, header[9], c, d])
}
