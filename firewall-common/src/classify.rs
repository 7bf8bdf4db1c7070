//! Stage *classify*: which rule a first packet meets. No rule is walked: five lookups give five bitmaps, and the first bit set in all of
//! them is the first match (see [`crate::rule`]).

use crate::{
    config::config_flags,
    env::Env,
    flow::Inspection,
    parse::{Descriptor, Kind},
    reason::Reason,
    rule::{Action, BITMAP_WORDS, Bitmap, Dimension, ZONE_SELF},
    time::Nanos,
    verifier::{self, Step},
    visit::Visit,
    wire::{icmp, protocol},
};

/// The zones a first packet goes between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zones {
    pub from: u8,
    pub to: u8,
}

/// What the policy says of a packet.
///
/// Numbers, not enums: a `Result` of this type is returned by functions of their own in the kernel's program, and the type information of
/// an enum that hides its tag in another one is refused there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    pub entry: u16,
    /// Stable number of the rule.
    pub rule: u16,
    action: u8,
    inspection: u8,
}

impl Decision {
    #[inline(always)]
    #[must_use]
    pub const fn action(&self) -> Action {
        Action::from_number(self.action)
    }

    #[inline(always)]
    #[must_use]
    pub const fn inspection(&self) -> Inspection {
        Inspection::from_number(self.inspection)
    }
}

/// The zones of a first packet.
///
/// # Errors
/// [`Reason::NoRoute`].
#[inline(never)]
pub fn zones<E: Env>(env: &E, visit: &Visit) -> Result<Zones, Reason> {
    if visit.arrival.egress {
        return Ok(Zones { from: ZONE_SELF, to: visit.arrival.zone });
    }
    let to = if visit.settings.flags & config_flags::ROUTE == 0 { ZONE_SELF } else { env.route(&visit.descriptor)? };
    Ok(Zones { from: visit.arrival.zone, to })
}

/// The first entry that accepts the packet in the direction from `source` to `destination` given by the descriptor, or its reverse: a
/// live flow is judged again as its first packet was, whoever sent the packet at hand.
///
/// # Errors
/// [`Reason::NoPolicy`]; [`Reason::AclDrop`] when no entry accepts.
#[inline(never)]
pub fn classify<E: Env>(env: &E, visit: &Visit, zones: Zones, reversed: bool) -> Result<Decision, Reason> {
    if visit.settings.generation == 0 {
        return Err(Reason::NoPolicy);
    }
    let (slot, descriptor) = (visit.slot(), &visit.descriptor);
    let service = if reversed { reversed_service(descriptor) } else { descriptor.service };
    // The key's low endpoint is the first packet's source when exactly one of "sent by it" and "reversed" holds.
    let low_is_source = descriptor.source_is_low != reversed;
    let (low, high) = if low_is_source { (Dimension::Source, Dimension::Destination) } else { (Dimension::Destination, Dimension::Source) };
    let low = env.address_class(slot, low, &descriptor.key.low);
    let high = env.address_class(slot, high, &descriptor.key.high);
    let (source, destination) = if low_is_source { (low, high) } else { (high, low) };
    let classes =
        [u32::from(zones.from), u32::from(zones.to), source, destination, env.service_class(slot, descriptor.key.protocol, service)];
    let entry = first_match(env, slot, &classes, visit.now).ok_or(Reason::AclDrop)?;
    let rule = env.rule(slot, entry).ok_or(Reason::AclDrop)?;
    Ok(Decision { entry: entry as u16, rule: rule.number, action: rule.action, inspection: rule.inspection })
}

/// The service of the first packet of a flow whose responder sent the packet at hand.
#[inline(always)]
fn reversed_service(descriptor: &Descriptor) -> [u8; 2] {
    match (descriptor.kind, descriptor.key.protocol) {
        (Kind::EchoReply | Kind::EchoRequest, protocol::ICMP) => [icmp::v4::ECHO_REQUEST, 0],
        (Kind::EchoReply | Kind::EchoRequest, _) => [icmp::v6::ECHO_REQUEST, 0],
        (Kind::Icmp | Kind::IcmpError, _) => descriptor.service,
        _ => descriptor.source_port().to_be_bytes(),
    }
}

/// Entries past their expiry that a search passes over. With more of them before the first match the search ends without one: it fails
/// closed until the controller has loaded the policy without them.
const MOST_EXPIRED: u32 = 64;

/// A search for the first bit that is set in all five bitmaps and whose entry has not expired.
struct Search<'a, E> {
    env: &'a E,
    slot: u32,
    now: u64,
    bitmaps: [&'a Bitmap; Dimension::COUNT],
    /// The next word to look at.
    word: u32,
    /// Bits of the word before it that are still to be tried.
    bits: u64,
    found: u32,
}

/// In place of an entry: none found.
const NONE: u32 = u32::MAX;

impl<E: Env> Step for Search<'_, E> {
    #[inline(always)]
    fn step(&mut self) -> bool {
        if self.bits == 0 {
            if self.word >= BITMAP_WORDS as u32 {
                return false;
            }
            let word = self.word as usize % BITMAP_WORDS;
            let [from, to, source, destination, service] = self.bitmaps;
            self.bits = from.0[word] & to.0[word] & source.0[word] & destination.0[word] & service.0[word];
            self.word += 1;
            if self.bits == 0 {
                return true;
            }
        }
        let entry = (self.word - 1) * 64 + lowest_bit(self.bits);
        let Some(rule) = self.env.rule(self.slot, entry) else { return false };
        if rule.expires == 0 || self.now < rule.expires {
            self.found = entry;
            return false;
        }
        self.bits &= self.bits - 1;
        true
    }
}

#[inline(always)]
fn first_match<E: Env>(env: &E, slot: u32, classes: &[u32; Dimension::COUNT], now: Nanos) -> Option<u32> {
    let [from, to, source, destination, service] = *classes;
    let bitmaps = [
        env.bitmap(Dimension::FromZone.bitmap_index(slot, from))?,
        env.bitmap(Dimension::ToZone.bitmap_index(slot, to))?,
        env.bitmap(Dimension::Source.bitmap_index(slot, source))?,
        env.bitmap(Dimension::Destination.bitmap_index(slot, destination))?,
        env.bitmap(Dimension::Service.bitmap_index(slot, service))?,
    ];
    let mut search = Search { env, slot, now: now.0, bitmaps, word: 0, bits: 0, found: NONE };
    verifier::repeat(BITMAP_WORDS as u32 + MOST_EXPIRED, &mut search);
    if search.found == NONE { None } else { Some(search.found) }
}

/// Index of the lowest bit set: the number of ones below it, counted in parallel. BPF has no instruction for either, and branches would
/// multiply the paths the verifier walks.
#[inline(always)]
const fn lowest_bit(word: u64) -> u32 {
    let below = (word & word.wrapping_neg()).wrapping_sub(1);
    let pairs = below - ((below >> 1) & 0x5555_5555_5555_5555);
    let nibbles = (pairs & 0x3333_3333_3333_3333) + ((pairs >> 2) & 0x3333_3333_3333_3333);
    let bytes = (nibbles + (nibbles >> 4)) & 0x0f0f_0f0f_0f0f_0f0f;
    (bytes.wrapping_mul(0x0101_0101_0101_0101) >> 56) as u32
}

#[cfg(test)]
mod tests {
    use super::lowest_bit;

    #[test]
    fn lowest_bit_is_trailing_zeros() {
        for bit in 0..64 {
            assert_eq!(lowest_bit(1 << bit), bit);
            assert_eq!(lowest_bit(u64::MAX << bit), bit);
        }
    }
}
