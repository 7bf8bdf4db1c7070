//! Randomized initial sequence numbers, for hosts whose own can be guessed (RFC 6528).
//!
//! Each side's numbers are shifted by an offset that is a keyed hash of the flow's addresses and ports. So nothing has to be stored but
//! that a flow is shifted, and one that comes back on the same ports is shifted by as much as before: where its host's numbers grew, the
//! shifted ones have grown too, as TIME-WAIT needs it (RFC 6191 §2). The tracker works in each side's own numbers: an acknowledgement is
//! put back into its receiver's before it is judged, a sequence number is shifted when the segment leaves.
//!
//! A connection that signs its numbers is left alone: MD5 (RFC 2385 §2.0) and TCP-AO (RFC 5925 §5.1).

use crate::{
    env::Env,
    flow::{FlowKey, features},
    normalize::{changes, checks},
    parse::{Descriptor, Kind},
    rule::Rule,
    visit::Visit,
    wire::tcp::{flags, marks},
};

/// SipHash-2-4 of a flow's key.
#[inline(never)]
#[must_use]
pub fn hash(secret: &[u64; 2], key: &FlowKey) -> u64 {
    let words: [u64; 5] = zerocopy::transmute!(*key);
    let mut state = Sip {
        a: secret[0] ^ 0x736f_6d65_7073_6575,
        b: secret[1] ^ 0x646f_7261_6e64_6f6d,
        c: secret[0] ^ 0x6c79_6765_6e65_7261,
        d: secret[1] ^ 0x7465_6462_7974_6573,
    };
    let mut at = 0;
    while at < words.len() {
        state.absorb(words[at].to_le());
        at += 1;
    }
    state.absorb((size_of::<FlowKey>() as u64) << 56);
    state.c ^= 0xff;
    state.round();
    state.round();
    state.round();
    state.round();
    state.a ^ state.b ^ state.c ^ state.d
}

/// SipHash's state.
struct Sip {
    a: u64,
    b: u64,
    c: u64,
    d: u64,
}

impl Sip {
    #[inline(always)]
    const fn absorb(&mut self, word: u64) {
        self.d ^= word;
        self.round();
        self.round();
        self.a ^= word;
    }

    #[inline(always)]
    const fn round(&mut self) {
        self.a = self.a.wrapping_add(self.b);
        self.b = self.b.rotate_left(13) ^ self.a;
        self.a = self.a.rotate_left(32);
        self.c = self.c.wrapping_add(self.d);
        self.d = self.d.rotate_left(16) ^ self.c;
        self.a = self.a.wrapping_add(self.d);
        self.d = self.d.rotate_left(21) ^ self.a;
        self.c = self.c.wrapping_add(self.b);
        self.b = self.b.rotate_left(17) ^ self.c;
        self.c = self.c.rotate_left(32);
    }
}

/// By what the numbers of the key's low and high endpoint are greater on the other's side than on their own.
#[inline(always)]
#[must_use]
pub fn offsets(secret: &[u64; 2], key: &FlowKey) -> (u32, u32) {
    let hash = hash(secret, key);
    (hash as u32, (hash >> 32) as u32)
}

/// Whether a flow that begins with this packet is to be shifted, as [`features`].
#[inline(always)]
#[must_use]
pub const fn of_first(descriptor: &Descriptor, rule: &Rule) -> u8 {
    let wanted = rule.checks & checks::RANDOMIZE != 0 && matches!(descriptor.kind, Kind::Tcp) && descriptor.segment.has(flags::SYN);
    if wanted && !descriptor.options.has(marks::MD5 | marks::AUTHENTICATION) { features::RANDOMIZED } else { 0 }
}

/// Puts a shifted flow's acknowledgement back into its receiver's own numbers, and notes the shift for the segment that leaves.
#[inline(always)]
pub fn translate<E: Env>(env: &E, visit: &mut Visit) {
    if visit.edits.features & features::RANDOMIZED == 0 {
        return;
    }
    let (low, high) = offsets(&env.secret(), &visit.descriptor.key);
    let (own, peer) = if visit.descriptor.source_is_low { (low, high) } else { (high, low) };
    visit.edits.changes |= changes::NUMBERS;
    visit.edits.seq = own;
    visit.edits.ack = peer;
    shift_back(visit, peer);
}

/// Undoes [`translate`].
#[inline(always)]
pub fn undo(visit: &mut Visit) {
    if visit.edits.changes & changes::NUMBERS != 0 {
        let peer = visit.edits.ack;
        shift_back(visit, peer.wrapping_neg());
        visit.edits.changes &= !changes::NUMBERS;
    }
}

#[inline(always)]
fn shift_back(visit: &mut Visit, by: u32) {
    if visit.descriptor.segment.has(flags::ACK) {
        visit.descriptor.segment.ack = visit.descriptor.segment.ack.sub(by);
    }
    visit.descriptor.options.sack = visit.descriptor.options.sack.sub(by);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        flow::Endpoint,
        testing::host::{CLIENT, Family, SERVER},
    };

    /// The test vector of SipHash's authors has a message of bytes 0, 1, 2 …; 40 of them are as long as a key.
    #[test]
    fn it_is_siphash() {
        let bytes: [u8; 40] = std::array::from_fn(|at| at as u8);
        let key: FlowKey = zerocopy::transmute!(bytes);
        let secret = [u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7]), u64::from_le_bytes([8, 9, 10, 11, 12, 13, 14, 15])];
        #[expect(deprecated, reason = "the standard library's own SipHash-2-4, written by others")]
        let expected = {
            use std::hash::{Hasher as _, SipHasher};
            let mut hasher = SipHasher::new_with_keys(secret[0], secret[1]);
            hasher.write(&bytes);
            hasher.finish()
        };
        assert_eq!(hash(&secret, &key), expected);
    }

    #[test]
    fn offsets_belong_to_endpoints_and_to_the_secret() {
        let (client, server) =
            (Endpoint { address: CLIENT.address(Family::V4), port: 5000 }, Endpoint { address: SERVER.address(Family::V4), port: 443 });
        let (there, _) = FlowKey::new(6, client, server);
        let (back, _) = FlowKey::new(6, server, client);
        assert_eq!(offsets(&[1, 2], &there), offsets(&[1, 2], &back));
        assert_ne!(offsets(&[1, 2], &there), offsets(&[1, 3], &there));
        let (other, _) = FlowKey::new(6, Endpoint { port: 5001, ..client }, server);
        assert_ne!(offsets(&[1, 2], &there), offsets(&[1, 2], &other));
    }
}
