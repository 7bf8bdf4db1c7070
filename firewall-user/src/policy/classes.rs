//! The classes of a policy: which entries each address, service and zone is accepted by.
//!
//! The tries give only the longest match, so the bitmap of a prefix holds every entry one of whose prefixes covers it. A prefix that
//! says the same as the one above it is left out, and equal bitmaps share a class. Class 0 is that of values which no prefix covers.

use std::collections::HashMap;

use firewall_common::{
    flow::Address,
    rule::{Bitmap, Dimension, MAX_ADDRESS_PREFIXES, MAX_SERVICE_PREFIXES},
};

use super::{
    address::{MAPPED, Prefix, range_prefixes},
    expand::Entry,
    service::PortRange,
};

/// Distinct classes a dimension may have. Below the tables' room, so that a later release can add classes of its own.
pub const MAX_DISTINCT_CLASSES: usize = 1_500;

/// What a policy needs too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TooMuch {
    #[error("too many addresses: the policy comes to more than {} prefixes", MAX_ADDRESS_PREFIXES / 2)]
    Addresses,
    #[error("too many services: the policy comes to more than {} ranges of ports", MAX_SERVICE_PREFIXES / 2)]
    Services,
    #[error("too many different {0}: they fall into more than {MAX_DISTINCT_CLASSES} classes that different rules accept")]
    Classes(&'static str),
}

/// Everything but the zones, whose numbers only the controller knows.
#[derive(Clone, Debug, Default)]
pub(super) struct Classes {
    pub(super) bitmaps: Vec<(Dimension, u32, Bitmap)>,
    pub(super) addresses: Vec<(Dimension, Address, u8, u32)>,
    pub(super) services: Vec<(u8, [u8; 2], u8, u32)>,
}

/// Bits of a service: protocol and port.
const SERVICE_BITS: u8 = 24;

pub(super) fn build<'e>(entries: &'e [Entry]) -> Result<Classes, TooMuch> {
    let mut classes = Classes::default();
    for dimension in [Dimension::Source, Dimension::Destination] {
        let side = |entry: &'e Entry| if dimension == Dimension::Source { entry.source.as_ref() } else { entry.destination.as_ref() };
        let (any, lists) = gather(entries, side);
        let mut table = ClassTable::new(any, MAX_ADDRESS_PREFIXES as usize / 2);
        address_nodes(&lists, &mut table).map_err(|full| full.named(TooMuch::Addresses, dimension))?;
        classes.addresses.extend(table.nodes.iter().map(|(prefix, class)| (dimension, prefix.address(), prefix.length, *class)));
        classes.bitmaps.extend(table.bitmaps(dimension));
    }
    if classes.addresses.len() > MAX_ADDRESS_PREFIXES as usize / 2 {
        return Err(TooMuch::Addresses);
    }
    let (any, lists) = gather(entries, |entry| entry.service.as_ref());
    let mut table = ClassTable::new(any, MAX_SERVICE_PREFIXES as usize / 2);
    let mut items: Vec<(Prefix, usize)> = Vec::new();
    for (index, (list, _)) in lists.iter().enumerate() {
        items.extend(list.iter().flat_map(|range| service_prefixes(*range)).map(|prefix| (prefix, index)));
    }
    add_tree(items, &lists, &mut table).map_err(|full| full.named(TooMuch::Services, Dimension::Service))?;
    classes.services.extend(table.nodes.iter().map(|(prefix, class)| {
        let [protocol, high, low, ..] = prefix.bits.to_be_bytes();
        (protocol, [high, low], prefix.length, *class)
    }));
    classes.bitmaps.extend(table.bitmaps(Dimension::Service));
    Ok(classes)
}

/// A list of prefixes or ranges, and the entries that have it.
type Lists<'e, T> = Vec<(&'e [T], Bitmap)>;

/// The entries without a list, and every distinct list with its entries.
fn gather<'e, T: Eq + std::hash::Hash>(
    entries: &'e [Entry],
    side: impl Fn(&'e Entry) -> Option<&'e std::sync::Arc<[T]>>,
) -> (Bitmap, Lists<'e, T>) {
    let mut any = Bitmap::EMPTY;
    let mut lists: Lists<'e, T> = Vec::new();
    let mut known: HashMap<&[T], usize> = HashMap::new();
    for (number, entry) in entries.iter().enumerate() {
        match side(entry) {
            None => any.set(number),
            Some(list) => {
                let index = *known.entry(list).or_insert_with(|| {
                    lists.push((list, Bitmap::EMPTY));
                    lists.len() - 1
                });
                lists[index].1.set(number);
            }
        }
    }
    (any, lists)
}

fn service_prefixes(range: PortRange) -> impl Iterator<Item = Prefix> {
    let protocol = u128::from(range.protocol) << 16;
    let first = protocol | u128::from(range.low);
    range_prefixes(first, protocol | u128::from(range.high), SERVICE_BITS)
        .into_iter()
        .map(|(bits, length)| Prefix { bits: bits << (128 - u32::from(SERVICE_BITS)), length })
}

/// The trees of both families. `::/0` must not accept IPv4, so the mapped space gets a root of its own when an IPv6 prefix lies above it.
fn address_nodes(lists: &Lists<'_, Prefix>, table: &mut ClassTable) -> Result<(), Full> {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for (index, (list, _)) in lists.iter().enumerate() {
        for prefix in list.iter() {
            if prefix.is_v4() { &mut v4 } else { &mut v6 }.push((*prefix, index));
        }
    }
    let overshadowed = v6.iter().any(|(prefix, _)| prefix.contains(&MAPPED));
    add_tree(v6, lists, table)?;
    let before = table.nodes.len();
    add_tree(v4, lists, table)?;
    if overshadowed && !table.nodes[before..].iter().any(|(prefix, _)| *prefix == MAPPED) {
        let class = 0;
        table.nodes.push((MAPPED, class));
    }
    Ok(())
}

/// Adds a node for every prefix that says something else than the one above it.
fn add_tree<T>(mut items: Vec<(Prefix, usize)>, lists: &Lists<'_, T>, table: &mut ClassTable) -> Result<(), Full> {
    items.sort_unstable();
    // The prefixes above the current one, outermost first, with everything that accepts them.
    let mut above: Vec<(Prefix, Bitmap)> = Vec::new();
    for same in items.chunk_by(|(a, _), (b, _)| a == b) {
        let prefix = same[0].0;
        while above.last().is_some_and(|(outer, _)| !outer.contains(&prefix)) {
            above.pop();
        }
        let outer = above.last().map_or(table.any, |(_, bitmap)| *bitmap);
        let mut bitmap = outer;
        for (_, list) in same {
            for (word, more) in bitmap.0.iter_mut().zip(lists[*list].1.0) {
                *word |= more;
            }
        }
        if bitmap != outer {
            table.add(prefix, bitmap)?;
        }
        above.push((prefix, bitmap));
    }
    Ok(())
}

enum Full {
    Nodes,
    Classes,
}

impl Full {
    fn named(self, nodes: TooMuch, dimension: Dimension) -> TooMuch {
        match self {
            Self::Nodes => nodes,
            Self::Classes => TooMuch::Classes(match dimension {
                Dimension::FromZone | Dimension::ToZone => "zones",
                Dimension::Source => "source addresses",
                Dimension::Destination => "destination addresses",
                Dimension::Service => "services",
            }),
        }
    }
}

/// Classes of one dimension, numbered as they come up.
struct ClassTable {
    any: Bitmap,
    classes: HashMap<Bitmap, u32>,
    nodes: Vec<(Prefix, u32)>,
    room: usize,
}

impl ClassTable {
    fn new(any: Bitmap, room: usize) -> Self {
        Self { any, classes: HashMap::from([(any, 0)]), nodes: Vec::new(), room }
    }

    fn add(&mut self, prefix: Prefix, bitmap: Bitmap) -> Result<(), Full> {
        if self.nodes.len() >= self.room {
            return Err(Full::Nodes);
        }
        let next = self.classes.len() as u32;
        let class = *self.classes.entry(bitmap).or_insert(next);
        if self.classes.len() > MAX_DISTINCT_CLASSES {
            return Err(Full::Classes);
        }
        self.nodes.push((prefix, class));
        Ok(())
    }

    fn bitmaps(&self, dimension: Dimension) -> Vec<(Dimension, u32, Bitmap)> {
        let mut bitmaps: Vec<_> = self.classes.iter().map(|(bitmap, class)| (dimension, *class, *bitmap)).collect();
        bitmaps.sort_unstable_by_key(|(_, class, _)| *class);
        bitmaps
    }
}
