//! Stage *classify*: which rule a first packet meets. No rule is walked: five lookups give five rows of bits, and of the bits set in all
//! of them the first in the policy's order is the first match (see [`crate::rule`]).

use crate::{
    config::config_flags,
    env::Env,
    flow::{Address, Inspection},
    guard,
    hours::{self, Week},
    parse::{Descriptor, Kind},
    reason::Reason,
    rule::{Action, BLOCK_WORDS, Block, Dimension, ROW_BLOCKS, ROW_WORDS, Row, Rule, SUMMARY_WORDS, ZONE_SELF},
    time::Nanos,
    verifier::{self, Step, forgotten, forgotten_word},
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

/// The lowered policies of both slots.
pub trait Policies {
    /// Row of an address ([`Dimension::Source`] or [`Dimension::Destination`]); 0 when nothing names it.
    fn address_class(&self, slot: u32, dimension: Dimension, address: &Address) -> u32;
    /// Row of a service; 0 when nothing names it.
    fn service_class(&self, slot: u32, protocol: u8, service: [u8; 2]) -> u32;
    fn row(&self, slot: u32, row: u32) -> Option<&Row>;
    fn block(&self, slot: u32, block: u16) -> Option<&Block>;
    fn rule(&self, slot: u32, entry: u32) -> Option<&Rule>;
    /// Hours by number, from 0.
    fn week(&self, slot: u32, schedule: u16) -> Option<&Week>;
    /// When the local week began: see [`crate::hours`].
    fn week_began(&self) -> Nanos;
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
    let service = env.service_class(slot, descriptor.key.protocol, service);
    let entry = first_match(env, slot, zones, [source, destination, service], visit.now).ok_or(Reason::AclDrop)?;
    let rule = env.rule(slot, entry).ok_or(Reason::AclDrop)?;
    Ok(Decision { entry: entry as u16, rule: rule.number, action: rule.action, inspection: guard::first_level(rule, descriptor.kind) })
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

/// Entries past their expiry that a search passes over. With more of them in its way it does not come to its end and fails closed, until the
/// controller has loaded the policy without them.
const MOST_EXPIRED: u32 = 64;
/// Entries with hours that a policy can have: a search passes over all that are not in theirs.
pub const MOST_SCHEDULED: usize = 1_024;

/// A search for what is in all five rows, is first in the policy's order, has not expired and is in its hours.
struct Search<'a, P> {
    policies: &'a P,
    now: u64,
    rows: [&'a Row; Dimension::COUNT],
    /// Words that may have a bit in all rows: what is left of one word of the summaries.
    candidates: u64,
    /// Bits of the word at hand that are still to be tried.
    bits: u64,
    slot: u32,
    /// The next word of the summaries to look at.
    summary: u32,
    /// The word at hand.
    word: u32,
    found: u32,
    /// Place of what was found in the policy's order.
    order: u32,
    /// Not zero: no word is left, and nothing comes before what was found.
    finished: u32,
}

/// In place of an entry: none found.
const NONE: u32 = u32::MAX;

impl<P: Policies> Search<'_, P> {
    /// The bits of word `self.word` that are set in all rows.
    #[inline(always)]
    fn common(&self) -> Option<u64> {
        let (block, word) = (self.word as usize / BLOCK_WORDS % ROW_BLOCKS, self.word as usize % BLOCK_WORDS);
        let mut common = u64::MAX;
        // The addresses first: in their rows the fewest bits are set.
        for dimension in [Dimension::Source, Dimension::Destination, Dimension::Service, Dimension::FromZone, Dimension::ToZone] {
            common &= self.policies.block(self.slot, self.rows[dimension as usize].blocks[block])?.0[word];
        }
        Some(common)
    }
}

impl<P: Policies> Step for Search<'_, P> {
    #[inline(always)]
    fn forget(&mut self) {
        self.candidates = forgotten_word(self.candidates);
        self.bits = forgotten_word(self.bits);
        for number in [&mut self.summary, &mut self.word, &mut self.found, &mut self.order, &mut self.finished] {
            *number = forgotten(*number);
        }
    }

    #[inline(always)]
    fn step(&mut self) -> bool {
        if self.bits == 0 {
            if self.candidates == 0 {
                if self.summary >= SUMMARY_WORDS as u32 {
                    self.finished = 1;
                    return false;
                }
                let at = self.summary as usize % SUMMARY_WORDS;
                let [from, to, source, destination, service] = self.rows;
                self.candidates = from.summary[at] & to.summary[at] & source.summary[at] & destination.summary[at] & service.summary[at];
                self.summary += 1;
                return true;
            }
            self.word = (self.summary - 1) * 64 + lowest_bit(self.candidates);
            self.candidates &= self.candidates - 1;
            let Some(common) = self.common() else { return false };
            self.bits = common;
            if self.bits == 0 {
                return true;
            }
        }
        let entry = self.word * 64 + lowest_bit(self.bits);
        let Some(rule) = self.policies.rule(self.slot, entry) else { return false };
        if u32::from(rule.order) < self.order {
            let Some(in_hours) = hours::apply(self.policies, self.slot, rule, Nanos(self.now)) else { return false };
            if !in_hours || rule.expires != 0 && self.now >= rule.expires {
                self.bits &= self.bits - 1;
                return true;
            }
        }
        // The entries of one word lie in the policy's order: what follows in this one is later.
        self.bits = 0;
        if u32::from(rule.order) < self.order {
            (self.found, self.order) = (entry, rule.order.into());
        }
        true
    }
}

/// The first entry in the policy's order that accepts the zones and these rows of a source, a destination and a service (0 for what nothing
/// names).
#[inline(always)]
pub fn first_match<P: Policies>(policies: &P, slot: u32, zones: Zones, classes: [u32; 3], now: Nanos) -> Option<u32> {
    let [source, destination, service] = classes;
    let row = |dimension: Dimension, class| policies.row(slot, if class == 0 { dimension.fixed_row(0) } else { class });
    let rows = [
        policies.row(slot, Dimension::FromZone.fixed_row(zones.from))?,
        policies.row(slot, Dimension::ToZone.fixed_row(zones.to))?,
        row(Dimension::Source, source)?,
        row(Dimension::Destination, destination)?,
        row(Dimension::Service, service)?,
    ];
    let mut search =
        Search { policies, now: now.0, rows, candidates: 0, bits: 0, slot, summary: 0, word: 0, found: NONE, order: u32::MAX, finished: 0 };
    verifier::repeat((SUMMARY_WORDS + ROW_WORDS) as u32 + 1 + MOST_EXPIRED + MOST_SCHEDULED as u32, &mut search);
    if search.finished != 0 && search.found != NONE { Some(search.found) } else { None }
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
