//! The packet that an ICMP error quotes, put back into its sender's own numbers.
//!
//! Of a flow whose numbers are shifted ([`randomize`]) everybody behind the firewall quotes shifted ones, the box itself included: what came
//! in was changed before the box saw it. A host heeds an error only about what it has sent (RFC 5927 §4.1), so the quote is made what that
//! was (RFC 5508 §4.2, REQ-4 a). Mended are the quoted segment's checksum and the message's (RFC 1624). ICMPv6's has a pseudo-header too,
//! but nothing in that changes.
//!
//! What else a profile has changed in the quoted packet stays: nobody looks for it.

use crate::{
    env::Env,
    flow::features,
    normalize::{checksum, randomize},
    packet::Packet,
    visit::Visit,
    wire::{
        be32, icmp,
        tcp::{self, flags},
    },
};

const SEQ_AT: u32 = 4;
const ACK_AT: u32 = 8;
const FLAGS_AT: usize = 13;

/// Notes by what the quoted segment's numbers differ from its sender's own. `features` are those of its flow.
#[inline(always)]
pub fn prepare<E: Env>(env: &E, quoted: &mut Visit, features: u8) {
    if features & features::RANDOMIZED == 0 {
        return;
    }
    let (low, high) = randomize::offsets(&env.secret(), &quoted.descriptor.key);
    let (own, peer) = if quoted.descriptor.source_is_low { (low, high) } else { (high, low) };
    quoted.edits.seq = own.wrapping_neg();
    quoted.edits.ack = peer.wrapping_neg();
}

/// Puts the quoted numbers back. A quote too short for a TCP header's fixed part has its sequence number put back, by which it is told. False
/// when the packet could not be read or written.
#[inline(always)]
pub fn restore<P: Packet>(packet: &P, quoted: &Visit) -> bool {
    let descriptor = &quoted.descriptor;
    let message = descriptor.ip_at.wrapping_sub(icmp::HEADER);
    let end = message.wrapping_add(descriptor.length);
    let Some(&[kind, code, first, second]) = packet.read::<4>(message) else { return false };
    let whole = descriptor.at.wrapping_add(tcp::HEADER) <= end;
    let grown = if whole { restore_header(packet, quoted) } else { restore_seq(packet, quoted) };
    let Some(grown) = grown else { return false };
    let [first, second] = checksum::mended(u16::from_ne_bytes([first, second]), grown).to_ne_bytes();
    packet.store_word(message, [kind, code, first, second])
}

/// Puts the sequence number back, and tells by what the sum of the quote's words has grown.
#[inline(always)]
fn restore_seq<P: Packet>(packet: &P, quoted: &Visit) -> Option<u32> {
    let at = quoted.descriptor.at + SEQ_AT;
    let seq = be32::<0, _>(packet.read::<4>(at)?);
    put(packet, at, seq, seq.wrapping_add(quoted.edits.seq))
}

/// Puts both numbers back and mends the segment's checksum; tells as above.
#[inline(always)]
fn restore_header<P: Packet>(packet: &P, quoted: &Visit) -> Option<u32> {
    let (at, edits) = (quoted.descriptor.at, &quoted.edits);
    let header = packet.read::<{ tcp::HEADER as usize }>(at)?;
    let (seq, ack) = (be32::<4, _>(header), be32::<8, _>(header));
    let acknowledges = header[FLAGS_AT] & flags::ACK != 0;
    let [first, second, urgent @ ..] = [header[16], header[17], header[18], header[19]];
    let mut grown = put(packet, at + SEQ_AT, seq, seq.wrapping_add(edits.seq))?;
    if acknowledges {
        grown += put(packet, at + ACK_AT, ack, ack.wrapping_sub(edits.ack))?;
    }
    let old = u16::from_ne_bytes([first, second]);
    let new = checksum::mended(old, grown);
    let [first, second] = new.to_ne_bytes();
    let [third, fourth] = urgent;
    if !packet.store_word(at + checksum::FIELD, [first, second, third, fourth]) {
        return None;
    }
    Some(grown + checksum::difference(u64::from(new), u64::from(old)))
}

/// Overwrites a number, and tells by what the sum of its words has grown.
#[inline(always)]
fn put<P: Packet>(packet: &P, at: u32, old: u32, new: u32) -> Option<u32> {
    if packet.store_word(at, new.to_be_bytes()) { Some(checksum::difference(u64::from(new.to_be()), u64::from(old.to_be()))) } else { None }
}
