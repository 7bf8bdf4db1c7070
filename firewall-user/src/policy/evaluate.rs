//! The lowered policy, evaluated on the host: the dataplane's five lookups, over tables arranged for many packets.

use std::collections::{BTreeMap, HashMap};

use firewall_common::{
    flow::Address,
    rule::{BITMAP_WORDS, Bitmap, Dimension, Rule},
};

use super::{address, lower::Lowered};

/// What a policy can name of a flow's first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstPacket {
    pub from_zone: u8,
    pub to_zone: u8,
    pub source: Address,
    pub destination: Address,
    pub protocol: u8,
    /// Destination port in network order, ICMP type and code, or zero.
    pub service: [u8; 2],
}

/// Classes by the bits of a prefix, by its length.
type Trie<B> = BTreeMap<u8, HashMap<B, u32>>;

/// A lowered policy, arranged for looking up.
#[derive(Debug)]
pub struct Evaluator<'l> {
    entries: &'l [Rule],
    bitmaps: HashMap<(Dimension, u32), &'l Bitmap>,
    sources: Trie<u128>,
    destinations: Trie<u128>,
    services: Trie<u32>,
}

impl Lowered {
    #[must_use]
    pub fn evaluator(&self) -> Evaluator<'_> {
        let side = |side: Dimension| {
            let mut trie = Trie::new();
            for (_, prefix, length, class) in self.addresses.iter().filter(|(dimension, ..)| *dimension == side) {
                trie.entry(*length).or_insert_with(HashMap::new).insert(address_bits(prefix, *length), *class);
            }
            trie
        };
        let mut services = Trie::new();
        for (protocol, port, length, class) in &self.services {
            services.entry(*length).or_insert_with(HashMap::new).insert(service_bits(*protocol, *port, *length), *class);
        }
        Evaluator {
            entries: &self.entries,
            bitmaps: self.bitmaps.iter().map(|(dimension, class, bitmap)| ((*dimension, *class), bitmap)).collect(),
            sources: side(Dimension::Source),
            destinations: side(Dimension::Destination),
            services,
        }
    }
}

impl Evaluator<'_> {
    /// The entry that decides a first packet, as the dataplane finds it; `None` is the default deny.
    #[must_use]
    pub fn first_match(&self, packet: &FirstPacket, now_ns: u64) -> Option<usize> {
        let classes = [
            (Dimension::FromZone, u32::from(packet.from_zone)),
            (Dimension::ToZone, u32::from(packet.to_zone)),
            (Dimension::Source, longest(&self.sources, |length| address_bits(&packet.source, length))),
            (Dimension::Destination, longest(&self.destinations, |length| address_bits(&packet.destination, length))),
            (Dimension::Service, longest(&self.services, |length| service_bits(packet.protocol, packet.service, length))),
        ];
        let mut accepting = Bitmap([u64::MAX; BITMAP_WORDS]);
        for class in classes {
            let bitmap = self.bitmaps.get(&class)?;
            accepting.0.iter_mut().zip(bitmap.0).for_each(|(word, other)| *word &= other);
        }
        let in_force = |entry: &Rule| entry.expires == 0 || now_ns < entry.expires;
        let accepting = (0..).step_by(64).zip(accepting.0).flat_map(|(first, word)| bits(word).map(move |bit| first + bit));
        accepting.into_iter().find(|entry| self.entries.get(*entry).is_some_and(in_force))
    }
}

/// The bits that are set, from the lowest.
fn bits(word: u64) -> impl Iterator<Item = usize> {
    let others = |word: u64| (word != 0).then_some(word);
    std::iter::successors(others(word), move |word| others(word & (word - 1))).map(|word| word.trailing_zeros() as usize)
}

/// The class of the longest prefix; 0 when there is none.
fn longest<B: std::hash::Hash + Eq>(trie: &Trie<B>, bits: impl Fn(u8) -> B) -> u32 {
    trie.iter().rev().find_map(|(length, classes)| classes.get(&bits(*length))).copied().unwrap_or(0)
}

fn address_bits(address: &Address, length: u8) -> u128 {
    address.bits() & address::mask(length)
}

/// The protocol's eight bits, then the port's: `length` counts both.
fn service_bits(protocol: u8, port: [u8; 2], length: u8) -> u32 {
    let bits = u32::from_be_bytes([protocol, port[0], port[1], 0]);
    bits & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
}
