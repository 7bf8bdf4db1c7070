//! The classes of a policy: which entries each address, service and zone is accepted by.
//!
//! The tries give only the longest match, so the row of a prefix holds every entry one of whose prefixes covers it. A prefix that says the
//! same as the one above it is left out, and equal rows are kept once.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    sync::Arc,
};

use firewall_common::{
    flow::Address,
    rule::{Block, Dimension, MAX_ADDRESS_PREFIXES, MAX_BLOCKS, MAX_SERVICE_PREFIXES, Row},
};

use super::{
    address::{AddressSet, MAPPED, Prefix, range_prefixes},
    expand::{Entry, Lists},
    rows::{Entries, Full, MAX_CLASSES, Pool},
    service::PortRange,
};

/// What a policy needs too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooMuch {
    #[error("too many addresses: the policy comes to more than {} prefixes", MAX_ADDRESS_PREFIXES / 2)]
    Addresses,
    #[error("too many services: the policy comes to more than {} ranges of ports", MAX_SERVICE_PREFIXES / 2)]
    Services,
    #[error("too many different {0}: addresses, services and zones fall into more than {MAX_CLASSES} classes that different rules accept")]
    Classes(&'static str),
    #[error("too many different {0}: the rules overlap in more ways than the {MAX_BLOCKS} blocks of 512 rules there is room for")]
    Blocks(&'static str),
}

impl TooMuch {
    pub(super) fn of(full: Full, dimension: Dimension) -> Self {
        let what = match dimension {
            Dimension::FromZone | Dimension::ToZone => "zones",
            Dimension::Source => "source addresses",
            Dimension::Destination => "destination addresses",
            Dimension::Service => "services",
        };
        match full {
            Full::Nodes if dimension == Dimension::Service => Self::Services,
            Full::Nodes => Self::Addresses,
            Full::Classes => Self::Classes(what),
            Full::Blocks => Self::Blocks(what),
        }
    }
}

/// Rows are numbers of the pool's.
#[derive(Clone, Debug, Default)]
pub(super) struct Classes {
    pub(super) rows: Vec<Row>,
    pub(super) blocks: Vec<Block>,
    pub(super) addresses: Vec<(Dimension, Address, u8, u32)>,
    pub(super) services: Vec<(u8, [u8; 2], u8, u32)>,
    pub(super) sources: Tree,
    pub(super) destinations: Tree,
    pub(super) ports: Tree,
    pub(super) from: ZoneRows,
    pub(super) to: ZoneRows,
}

/// The classes of addresses or services.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    /// Row of what no prefix covers.
    pub(super) unnamed: u32,
    /// Whether there is such a value: of IPv6 (or a service), of IPv4.
    pub(super) unnamed_exists: [bool; 2],
    /// Every prefix of the rules, in order.
    pub(super) prefixes: Vec<Named>,
}

/// A prefix that rules name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named {
    pub(super) prefix: Prefix,
    pub(super) row: u32,
    /// Whether it has a value that no longer prefix covers.
    pub(super) exists: bool,
}

/// The classes of one side's zones.
#[derive(Clone, Debug, Default)]
pub(super) struct ZoneRows {
    /// Row of a zone that nothing names.
    pub(super) unnamed: u32,
    pub(super) named: BTreeMap<String, u32>,
}

/// Bits of a service: protocol and port.
const SERVICE_BITS: u8 = 24;

/// Builds the classes of entries that lie where they are to lie. `lists`: the addresses by the numbers that entries have for them.
pub(super) fn build(entries: &[Entry], lists: &[AddressSet]) -> Result<Classes, TooMuch> {
    let mut pool = Pool::default();
    let mut classes = Classes::default();
    let zones = |full| TooMuch::of(full, Dimension::FromZone);
    classes.from = zone_rows(entries, |entry| entry.from.as_deref(), &mut pool).map_err(zones)?;
    classes.to = zone_rows(entries, |entry| entry.to.as_deref(), &mut pool).map_err(zones)?;

    let (sources, nodes) = address_tree(gather_addresses(entries, lists, |entry| entry.source.as_ref()), &mut pool)
        .map_err(|full| TooMuch::of(full, Dimension::Source))?;
    classes.sources = sources;
    classes.addresses.extend(nodes.iter().map(|(prefix, row)| (Dimension::Source, prefix.address(), prefix.length, *row)));
    let (destinations, nodes) = address_tree(gather_addresses(entries, lists, |entry| entry.destination.as_ref()), &mut pool)
        .map_err(|full| TooMuch::of(full, Dimension::Destination))?;
    classes.destinations = destinations;
    classes.addresses.extend(nodes.iter().map(|(prefix, row)| (Dimension::Destination, prefix.address(), prefix.length, *row)));
    if classes.addresses.len() > MAX_ADDRESS_PREFIXES as usize / 2 {
        return Err(TooMuch::Addresses);
    }

    let (ports, nodes) =
        service_tree(gather(entries, |entry| entry.service.as_ref()), &mut pool).map_err(|full| TooMuch::of(full, Dimension::Service))?;
    classes.ports = ports;
    classes.services.extend(nodes.iter().map(|(prefix, row)| {
        let [protocol, high, low, ..] = prefix.bits.to_be_bytes();
        (protocol, [high, low], prefix.length, *row)
    }));
    (classes.rows, classes.blocks) = pool.into_tables();
    Ok(classes)
}

fn zone_rows<'e>(entries: &'e [Entry], side: impl Fn(&'e Entry) -> Option<&'e [String]>, pool: &mut Pool) -> Result<ZoneRows, Full> {
    let mut any = Entries::default();
    let mut named: BTreeMap<&str, Entries> = BTreeMap::new();
    for (number, entry) in entries.iter().enumerate() {
        match side(entry) {
            None => any.push(number),
            Some(zones) => zones.iter().for_each(|zone| named.entry(zone).or_default().push(number)),
        }
    }
    let unnamed = pool.with(Pool::EMPTY, [&any])?;
    let rows = named.into_iter().map(|(zone, entries)| Ok((zone.to_owned(), pool.with(unnamed, [&entries])?)));
    Ok(ZoneRows { unnamed, named: rows.collect::<Result<_, Full>>()? })
}

/// What the entries say of one dimension.
struct Sides<'e, T> {
    /// Entries without a list: they accept everything.
    any: Entries,
    /// Every distinct list with its entries.
    lists: Vec<(&'e [T], Entries)>,
}

/// The same of addresses, whose lists are known by their numbers. One that no entry names on this side is empty here.
fn gather_addresses<'e>(entries: &[Entry], lists: &'e [AddressSet], side: impl Fn(&Entry) -> Option<&Lists>) -> Sides<'e, Prefix> {
    let (any, of_lists) = entries_of_lists(entries, lists.len(), side);
    let lists = lists
        .iter()
        .map(|list| &**list)
        .zip(of_lists)
        .map(|(list, entries)| if entries.is_empty() { (&[][..], entries) } else { (list, entries) });
    Sides { any, lists: lists.collect() }
}

/// Entries that accept every address of one side, and those of each list.
pub(super) fn entries_of_lists(entries: &[Entry], lists: usize, side: impl Fn(&Entry) -> Option<&Lists>) -> (Entries, Vec<Entries>) {
    let (mut any, mut of_lists) = (Entries::default(), vec![Entries::default(); lists]);
    for (number, entry) in entries.iter().enumerate() {
        match side(entry) {
            None => any.push(number),
            Some(lists) => lists.iter().for_each(|list| of_lists[*list].push(number)),
        }
    }
    (any, of_lists)
}

fn gather<'e, T: Eq + Hash>(entries: &'e [Entry], side: impl Fn(&'e Entry) -> Option<&'e Arc<[T]>>) -> Sides<'e, T> {
    let mut gathered = Sides { any: Entries::default(), lists: Vec::new() };
    // Long lists are shared, and then need not be compared.
    let mut shared: HashMap<*const T, usize> = HashMap::new();
    let mut known: HashMap<&[T], usize> = HashMap::new();
    for (number, entry) in entries.iter().enumerate() {
        let Some(list) = side(entry) else {
            gathered.any.push(number);
            continue;
        };
        let lists = &mut gathered.lists;
        let index = *shared.entry(list.as_ptr()).or_insert_with(|| {
            *known.entry(list).or_insert_with(|| {
                lists.push((list, Entries::default()));
                lists.len() - 1
            })
        });
        lists[index].1.push(number);
    }
    gathered
}

pub(super) fn service_prefixes(range: PortRange) -> impl Iterator<Item = Prefix> {
    let protocol = u128::from(range.protocol) << 16;
    let first = protocol | u128::from(range.low);
    range_prefixes(first, protocol | u128::from(range.high), SERVICE_BITS)
        .into_iter()
        .map(|(bits, length)| Prefix { bits: bits << (128 - u32::from(SERVICE_BITS)), length })
}

/// A tree, and those of its prefixes that the trie needs.
type Built = (Tree, Vec<(Prefix, u32)>);

fn service_tree(lists: Sides<'_, PortRange>, pool: &mut Pool) -> Result<Built, Full> {
    let mut items: Vec<(Prefix, usize)> = Vec::new();
    for (index, (list, _)) in lists.lists.iter().enumerate() {
        items.extend(list.iter().flat_map(|range| service_prefixes(*range)).map(|prefix| (prefix, index)));
    }
    let mut builder = Builder::new(lists, MAX_SERVICE_PREFIXES as usize / 2, pool)?;
    let whole = Prefix { bits: 0, length: 0 };
    builder.tree.unnamed_exists = [builder.add(items, whole)?; 2];
    Ok(builder.finish())
}

/// The trees of both families. `::/0` must not accept IPv4, so the mapped space gets a root of its own when an IPv6 prefix lies above it.
fn address_tree(lists: Sides<'_, Prefix>, pool: &mut Pool) -> Result<Built, Full> {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for (index, (list, _)) in lists.lists.iter().enumerate() {
        for prefix in list.iter() {
            if prefix.is_v4() { &mut v4 } else { &mut v6 }.push((*prefix, index));
        }
    }
    let overshadowed = v6.iter().any(|(prefix, _)| prefix.contains(&MAPPED));
    let mut builder = Builder::new(lists, MAX_ADDRESS_PREFIXES as usize / 2, pool)?;
    let unnamed_v6 = builder.add(v6, Prefix { bits: 0, length: 0 })?;
    let before = builder.nodes.len();
    builder.tree.unnamed_exists = [unnamed_v6, builder.add(v4, MAPPED)?];
    if overshadowed && !builder.nodes[before..].iter().any(|(prefix, _)| *prefix == MAPPED) {
        let unnamed = builder.tree.unnamed;
        builder.nodes.push((MAPPED, unnamed));
    }
    Ok(builder.finish())
}

/// Finds the row of every prefix of one dimension.
struct Builder<'p> {
    pool: &'p mut Pool,
    /// Entries of each list.
    lists: Vec<Entries>,
    /// Rows by the row above and the lists that a prefix is in: the addresses of a set have one.
    known: HashMap<(u32, Vec<usize>), u32>,
    tree: Tree,
    nodes: Vec<(Prefix, u32)>,
    room: usize,
}

impl<'p> Builder<'p> {
    fn new<T>(lists: Sides<'_, T>, room: usize, pool: &'p mut Pool) -> Result<Self, Full> {
        let unnamed = pool.with(Pool::EMPTY, [&lists.any])?;
        let lists = lists.lists.into_iter().map(|(_, entries)| entries).collect();
        let tree = Tree { unnamed, ..Tree::default() };
        Ok(Self { pool, lists, known: HashMap::new(), tree, nodes: Vec::new(), room })
    }

    /// Adds a node for every prefix that says something else than the one above it. Tells whether `whole` has a value that none covers.
    fn add(&mut self, mut items: Vec<(Prefix, usize)>, whole: Prefix) -> Result<bool, Full> {
        items.sort_unstable();
        let mut uncovered = whole.size();
        // The prefixes above the current one, outermost first, by their place; and how many of their values none below them covers.
        let mut above: Vec<(usize, u128)> = Vec::new();
        for same in items.chunk_by(|(a, _), (b, _)| a == b) {
            let prefix = same[0].0;
            while let Some((outer, left)) = above.pop_if(|(outer, _)| !self.tree.prefixes[*outer].prefix.contains(&prefix)) {
                self.tree.prefixes[outer].exists = left > 0;
            }
            let outer = above.last().map_or(self.tree.unnamed, |(outer, _)| self.tree.prefixes[*outer].row);
            let left = above.last_mut().map_or(&mut uncovered, |(_, left)| left);
            *left = left.saturating_sub(prefix.size());
            let row = self.row(outer, same.iter().map(|(_, list)| *list).collect())?;
            if row != outer {
                if self.nodes.len() >= self.room {
                    return Err(Full::Nodes);
                }
                self.nodes.push((prefix, row));
            }
            above.push((self.tree.prefixes.len(), prefix.size()));
            self.tree.prefixes.push(Named { prefix, row, exists: true });
        }
        for (outer, left) in above {
            self.tree.prefixes[outer].exists = left > 0;
        }
        Ok(uncovered > 0)
    }

    fn row(&mut self, outer: u32, lists: Vec<usize>) -> Result<u32, Full> {
        let key = (outer, lists);
        if let Some(row) = self.known.get(&key) {
            return Ok(*row);
        }
        let row = self.pool.with(outer, key.1.iter().map(|list| &self.lists[*list]))?;
        self.known.insert(key, row);
        Ok(row)
    }

    fn finish(mut self) -> Built {
        self.tree.prefixes.sort_unstable_by_key(|named| named.prefix);
        (self.tree, self.nodes)
    }
}
