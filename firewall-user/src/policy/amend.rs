//! Changing members of sets in the tables of the policy in force, in place.
//!
//! Rows and blocks that are in use never change: a prefix that is to be of another class gets another row, one that is there or a new one
//! behind all others. So each entry of the address tries can be written by itself, and a packet meets the class its address had before or
//! has after. For that to hold of prefixes inside each other, too, the longest are written first, and then those that are not needed any
//! more are removed, the shortest first: whatever is found on the way is the class before or the class after, and never one between.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use firewall_common::{
    flow::Address,
    rule::{Block, Dimension, FIXED_ROWS, MAX_ADDRESS_PREFIXES, Row},
};

use super::{
    Policy,
    address::{AddressSet, MAPPED, Prefix},
    classes::{self, Classes, Tree},
    expand::{Entry, Lists},
    lower::Lowered,
    members::TooManyMembers,
    rows::{Entries, Full, Pool},
};

/// A member that came or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    pub set: String,
    pub prefix: Prefix,
    /// It came.
    pub present: bool,
}

/// What is to be written to the tables, in this order, in the dataplane's terms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amendment {
    /// Numbers that were free before.
    pub rows: Vec<(u32, Row)>,
    pub blocks: Vec<(u16, Block)>,
    /// Dimension, address, length of the prefix in bits (of 128), row; the longest first.
    pub written: Vec<(Dimension, Address, u8, u32)>,
    /// The shortest first.
    pub removed: Vec<(Dimension, Address, u8)>,
}

impl Amendment {
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        let Self { rows, blocks, written, removed } = self;
        rows.is_empty() && blocks.is_empty() && written.is_empty() && removed.is_empty()
    }
}

/// The tables of a policy in force, with what it takes to change them.
#[derive(Debug)]
pub struct LiveTables {
    pool: Pool,
    sides: [Side; 2],
    /// Numbers of the sets' lists, and what is written in each.
    sets: HashMap<String, (usize, AddressSet)>,
}

/// The addresses of one side.
#[derive(Debug)]
struct Side {
    dimension: Dimension,
    /// Entries of each list.
    lists: Vec<Entries>,
    /// Row of what no prefix covers.
    unnamed: u32,
    prefixes: BTreeMap<Prefix, Node>,
    /// Prefixes of each length: of IPv6, of IPv4.
    lengths: [BTreeMap<u8, usize>; 2],
    /// What the trie holds.
    trie: HashMap<Prefix, u32>,
    /// Combinations of lists by number, for a prefix is in few of many.
    combinations: Vec<Vec<usize>>,
    numbers: HashMap<Vec<usize>, usize>,
    /// Rows by the row above and the combination.
    known: HashMap<(u32, usize), u32>,
}

/// A prefix that lists have.
#[derive(Clone, Copy, Debug)]
struct Node {
    combination: usize,
    row: u32,
}

impl LiveTables {
    /// The tables of a policy as it was lowered.
    #[must_use]
    pub fn of(policy: &Policy) -> Self {
        let Policy { classes, entries, lists, filled, .. } = policy;
        let side = |dimension, tree, of: fn(&Entry) -> Option<&Lists>| {
            let of_lists = classes::entries_of_lists(entries, lists.len(), of).1;
            Side::new(dimension, of_lists, filled, tree, classes)
        };
        let sets = lists.iter().enumerate().filter_map(|(number, list)| Some((list.set.clone()?, (number, list.written.clone()))));
        Self {
            pool: Pool::of_tables(&classes.rows, &classes.blocks),
            sides: [
                side(Dimension::Source, &classes.sources, |entry| entry.source.as_ref()),
                side(Dimension::Destination, &classes.destinations, |entry| entry.destination.as_ref()),
            ],
            sets: sets.collect(),
        }
    }

    /// Refuses changes that are likely to come to more prefixes than a policy may have.
    pub fn have_room(&self, changes: &[Changed]) -> Result<(), TooManyMembers> {
        let mut total: usize = self.sides.iter().map(|side| side.trie.len()).sum();
        for side in &self.sides {
            for Changed { set, prefix, present } in changes {
                let listed = self.sets.get(set).is_some_and(|(list, _)| !side.lists[*list].is_empty());
                match (listed && side.trie.contains_key(prefix) != *present, present) {
                    (true, true) => total += 1,
                    (true, false) => total -= 1,
                    (false, _) => {}
                }
            }
        }
        if total > MAX_ADDRESS_PREFIXES as usize / 2 { Err(classes::TooMuch::Addresses.into()) } else { Ok(()) }
    }

    /// What makes the tables those with these changes.
    ///
    /// # Errors
    /// There is no room. What was to be changed may then be so in part in here: the policy is to be lowered anew.
    pub fn change(&mut self, changes: &[Changed]) -> Result<Amendment, TooManyMembers> {
        let (rows, blocks) = self.pool.sizes();
        let mut amendment = Amendment::default();
        for side in &mut self.sides {
            let mut touched = BTreeSet::new();
            for Changed { set, prefix, present } in changes {
                // What is written stays whether or not it is a member beside that.
                if let Some((list, written)) = self.sets.get(set)
                    && !side.lists[*list].is_empty()
                    && written.binary_search(prefix).is_err()
                {
                    side.toggle(*prefix, *list, *present);
                    touched.insert(*prefix);
                }
            }
            side.settle(&touched, &mut self.pool, &mut amendment).map_err(|full| classes::TooMuch::of(full, side.dimension))?;
        }
        if self.sides.iter().map(|side| side.trie.len()).sum::<usize>() > MAX_ADDRESS_PREFIXES as usize / 2 {
            return Err(classes::TooMuch::Addresses.into());
        }
        amendment.written.sort_by_key(|(_, _, length, _)| Reverse(*length));
        amendment.removed.sort_by_key(|(_, _, length)| *length);
        amendment.rows = self.pool.rows_since(rows).map(|(number, row)| (FIXED_ROWS as u32 + number, row)).collect();
        amendment.blocks = self.pool.blocks_since(blocks).collect();
        Ok(amendment)
    }
}

impl Side {
    fn new(dimension: Dimension, lists: Vec<Entries>, filled: &[AddressSet], tree: &Tree, classes: &Classes) -> Self {
        let mut side = Self {
            dimension,
            unnamed: tree.unnamed,
            prefixes: BTreeMap::new(),
            lengths: Default::default(),
            trie: HashMap::new(),
            combinations: Vec::new(),
            numbers: HashMap::new(),
            known: HashMap::new(),
            lists,
        };
        let own = classes.addresses.iter().filter(|(of, ..)| *of == dimension);
        side.trie = own.map(|(_, address, length, row)| (Prefix { bits: address.bits(), length: *length }, *row)).collect();
        let mut in_lists: Vec<(Prefix, usize)> = Vec::new();
        for (number, list) in filled.iter().enumerate().filter(|(number, _)| !side.lists[*number].is_empty()) {
            in_lists.extend(list.iter().map(|prefix| (*prefix, number)));
        }
        in_lists.sort_unstable();
        let rows: HashMap<Prefix, u32> = tree.prefixes.iter().map(|named| (named.prefix, named.row)).collect();
        let nodes = in_lists.chunk_by(|(a, _), (b, _)| a == b).filter_map(|same| {
            let prefix = same[0].0;
            let combination = side.combination(same.iter().map(|(_, list)| *list).collect());
            *side.lengths[usize::from(prefix.is_v4())].entry(prefix.length).or_default() += 1;
            Some((prefix, Node { combination, row: *rows.get(&prefix)? }))
        });
        let nodes: Vec<(Prefix, Node)> = nodes.collect();
        side.prefixes = nodes.into_iter().collect();
        side
    }

    fn combination(&mut self, lists: Vec<usize>) -> usize {
        if let Some(number) = self.numbers.get(&lists) {
            return *number;
        }
        let number = self.combinations.len();
        self.combinations.push(lists.clone());
        self.numbers.insert(lists, number);
        number
    }

    /// Puts a prefix into a list, or takes it out. Its row and those within are to be settled after.
    fn toggle(&mut self, prefix: Prefix, list: usize, present: bool) {
        let before = self.prefixes.get(&prefix).copied();
        let mut lists = before.map_or_else(Vec::new, |node| self.combinations[node.combination].clone());
        match (lists.binary_search(&list), present) {
            (Err(at), true) => lists.insert(at, list),
            (Ok(at), false) => drop(lists.remove(at)),
            _ => return,
        }
        let count = self.lengths[usize::from(prefix.is_v4())].entry(prefix.length).or_default();
        if lists.is_empty() {
            self.prefixes.remove(&prefix);
            *count -= 1;
            return;
        }
        *count += usize::from(before.is_none());
        let node = Node { combination: self.combination(lists), row: before.map_or(self.unnamed, |node| node.row) };
        self.prefixes.insert(prefix, node);
    }

    /// Finds the rows of prefixes that were put in or taken out, and of those within them, and what the trie is to have for them.
    fn settle(&mut self, touched: &BTreeSet<Prefix>, pool: &mut Pool, amendment: &mut Amendment) -> Result<(), Full> {
        for gone in touched.iter().filter(|prefix| !self.prefixes.contains_key(prefix)).copied().collect::<Vec<_>>() {
            self.want(gone, self.unnamed, self.unnamed, amendment);
        }
        let mut done: Option<Prefix> = None;
        for root in touched {
            // The prefixes come in order, so what one before covers has been settled with it.
            if done.is_some_and(|done| done.covers(root)) {
                continue;
            }
            done = Some(*root);
            let outer = self.row_above(root);
            let within: Vec<Prefix> = self.prefixes.range(*root..=root.last()).map(|(prefix, _)| *prefix).collect();
            let mut above: Vec<(Prefix, u32)> = Vec::new();
            for prefix in within.into_iter().filter(|prefix| prefix.is_v4() == root.is_v4()) {
                while above.pop_if(|(outer, _)| !outer.contains(&prefix)).is_some() {}
                let outer = above.last().map_or(outer, |(_, row)| *row);
                let row = self.row(outer, self.prefixes[&prefix].combination, pool)?;
                if let Some(node) = self.prefixes.get_mut(&prefix) {
                    node.row = row;
                }
                self.want(prefix, row, outer, amendment);
                above.push((prefix, row));
            }
        }
        // An IPv6 prefix above all of IPv4 may have come or gone.
        if touched.iter().any(|prefix| !prefix.is_v4() && prefix.contains(&MAPPED)) {
            let row = self.prefixes.get(&MAPPED).map_or(self.unnamed, |node| node.row);
            self.want(MAPPED, row, self.unnamed, amendment);
        }
        Ok(())
    }

    /// Row of the nearest prefix above.
    fn row_above(&self, prefix: &Prefix) -> u32 {
        let v4 = prefix.is_v4();
        let lengths = self.lengths[usize::from(v4)].range(..prefix.length).rev().filter(|(_, count)| **count > 0);
        let mut above = lengths.filter_map(|(length, _)| self.prefixes.get_key_value(&prefix.shortened(*length)));
        above.find(|(above, _)| above.is_v4() == v4).map_or(self.unnamed, |(_, node)| node.row)
    }

    fn row(&mut self, outer: u32, combination: usize, pool: &mut Pool) -> Result<u32, Full> {
        if let Some(row) = self.known.get(&(outer, combination)) {
            return Ok(*row);
        }
        let row = pool.with(outer, self.combinations[combination].iter().map(|list| &self.lists[*list]))?;
        self.known.insert((outer, combination), row);
        Ok(row)
    }

    /// A prefix is in the trie when it says something else than the one above it. The mapped space is so, too, below a prefix of IPv6.
    fn want(&mut self, prefix: Prefix, row: u32, outer: u32, amendment: &mut Amendment) {
        let wanted = row != outer || (prefix == MAPPED && self.is_overshadowed());
        if !wanted {
            if self.trie.remove(&prefix).is_some() {
                amendment.removed.push((self.dimension, prefix.address(), prefix.length));
            }
        } else if self.trie.insert(prefix, row) != Some(row) {
            amendment.written.push((self.dimension, prefix.address(), prefix.length, FIXED_ROWS as u32 + row));
        }
    }

    fn is_overshadowed(&self) -> bool {
        let lengths = self.lengths[0].range(..MAPPED.length).filter(|(_, count)| **count > 0);
        lengths.into_iter().any(|(length, _)| self.prefixes.contains_key(&MAPPED.shortened(*length)))
    }
}

impl LiveTables {
    /// Makes of the tables of the policy as it was lowered those that there are now.
    pub fn bring_up(&self, lowered: &mut Lowered) {
        for (number, row) in self.pool.rows_since(0) {
            put(&mut lowered.rows, FIXED_ROWS + number as usize, row);
        }
        for (number, block) in self.pool.blocks_since(0) {
            put(&mut lowered.blocks, usize::from(number), block);
        }
        let of_side = |side: &Side| -> Vec<_> {
            side.trie.iter().map(|(prefix, row)| (side.dimension, prefix.address(), prefix.length, FIXED_ROWS as u32 + row)).collect()
        };
        lowered.addresses = self.sides.iter().flat_map(of_side).collect();
    }
}

impl Lowered {
    /// The tables as they are after an amendment.
    pub fn amend(&mut self, amendment: &Amendment) {
        for (number, row) in &amendment.rows {
            put(&mut self.rows, *number as usize, *row);
        }
        for (number, block) in &amendment.blocks {
            put(&mut self.blocks, usize::from(*number), *block);
        }
        let changed = amendment.written.iter().map(|(side, address, length, _)| (*side, *address, *length));
        let gone: std::collections::HashSet<_> = changed.chain(amendment.removed.iter().copied()).collect();
        self.addresses.retain(|(side, address, length, _)| !gone.contains(&(*side, *address, *length)));
        self.addresses.extend(&amendment.written);
    }
}

fn put<T: Copy + Default>(table: &mut Vec<T>, number: usize, value: T) {
    if table.len() <= number {
        table.resize(number + 1, T::default());
    }
    table[number] = value;
}
