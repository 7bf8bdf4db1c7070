//! Rows of bits as the dataplane keeps them: made of blocks, equal blocks and equal rows once.

use std::collections::HashMap;

use firewall_common::rule::{BLOCK_WORDS, Block, FIXED_ROWS, MAX_BLOCKS, MAX_ROWS, Row};

/// Rows a policy's classes may come to: what the fixed rows leave.
pub const MAX_CLASSES: usize = MAX_ROWS - FIXED_ROWS;
/// Entries of a block.
const BLOCK_ENTRIES: usize = 64 * BLOCK_WORDS;

/// A few of many entries: the blocks that have any of them, by their place in a row.
#[derive(Clone, Debug, Default)]
pub(super) struct Entries(Vec<(usize, Block)>);

impl Entries {
    /// Adds an entry, which lies behind all that are there.
    pub(super) fn push(&mut self, entry: usize) {
        let (at, bit) = (entry / BLOCK_ENTRIES, entry % BLOCK_ENTRIES);
        if self.0.last().is_none_or(|(last, _)| *last != at) {
            self.0.push((at, Block::EMPTY));
        }
        if let Some((_, block)) = self.0.last_mut() {
            block.0[bit / 64] |= 1 << (bit % 64);
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What a policy has too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    Nodes,
    Classes,
    Blocks,
}

/// The rows of a policy, of all dimensions.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    rows: Vec<Row>,
    blocks: Vec<Block>,
    row_numbers: HashMap<Row, u32>,
    block_numbers: HashMap<Block, u16>,
}

impl Default for Pool {
    fn default() -> Self {
        // The row of nothing, which is made of the block of nothing.
        Self {
            rows: vec![Row::EMPTY],
            blocks: vec![Block::EMPTY],
            row_numbers: HashMap::from([(Row::EMPTY, Self::EMPTY)]),
            block_numbers: HashMap::from([(Block::EMPTY, 0)]),
        }
    }
}

impl Pool {
    /// The row that accepts nothing.
    pub(super) const EMPTY: u32 = 0;

    /// The row that accepts what `outer` does, and `more`.
    pub(super) fn with<'l>(&mut self, outer: u32, more: impl IntoIterator<Item = &'l Entries>) -> Result<u32, Full> {
        let mut row = self.rows[outer as usize];
        let mut changed: Vec<(usize, Block)> = Vec::new();
        for (at, more) in more.into_iter().flat_map(|entries| &entries.0) {
            let place = changed.iter().position(|(known, _)| known == at).unwrap_or_else(|| {
                changed.push((*at, self.blocks[usize::from(row.blocks[*at])]));
                changed.len() - 1
            });
            changed[place].1.0.iter_mut().zip(more.0).for_each(|(word, more)| *word |= more);
        }
        for (at, block) in changed {
            row.blocks[at] = self.block(block)?;
            for (word, _) in block.0.iter().enumerate().filter(|(_, bits)| **bits != 0) {
                let word = at * BLOCK_WORDS + word;
                row.summary[word / 64] |= 1 << (word % 64);
            }
        }
        self.row(row)
    }

    fn block(&mut self, block: Block) -> Result<u16, Full> {
        if let Some(number) = self.block_numbers.get(&block) {
            return Ok(*number);
        }
        let number = u16::try_from(self.blocks.len()).map_err(|_| Full::Blocks)?;
        self.blocks.push(block);
        self.block_numbers.insert(block, number);
        Ok(number)
    }

    fn row(&mut self, row: Row) -> Result<u32, Full> {
        if let Some(number) = self.row_numbers.get(&row) {
            return Ok(*number);
        }
        if self.rows.len() >= MAX_CLASSES {
            return Err(Full::Classes);
        }
        let number = self.rows.len() as u32;
        self.rows.push(row);
        self.row_numbers.insert(row, number);
        Ok(number)
    }

    /// The pool that came to these tables.
    pub(super) fn of_tables(rows: &[Row], blocks: &[Block]) -> Self {
        Self {
            row_numbers: rows.iter().copied().zip(0..).collect(),
            block_numbers: blocks.iter().copied().zip(0..=u16::MAX).collect(),
            rows: rows.to_vec(),
            blocks: blocks.to_vec(),
        }
    }

    /// How many rows and blocks there are.
    pub(super) const fn sizes(&self) -> (usize, usize) {
        (self.rows.len(), self.blocks.len())
    }

    /// The rows behind so many, with their numbers.
    pub(super) fn rows_since(&self, rows: usize) -> impl Iterator<Item = (u32, Row)> {
        (rows as u32..).zip(self.rows.iter().skip(rows).copied())
    }

    /// The same of blocks.
    pub(super) fn blocks_since(&self, blocks: usize) -> impl Iterator<Item = (u16, Block)> {
        (blocks as u32..).map(|number| number as u16).zip(self.blocks.iter().skip(blocks).copied())
    }

    pub(super) fn into_tables(self) -> (Vec<Row>, Vec<Block>) {
        (self.rows, self.blocks)
    }
}

const _: () = assert!(MAX_BLOCKS == u16::MAX as usize + 1);

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(numbers: &[usize]) -> Entries {
        let mut entries = Entries::default();
        numbers.iter().for_each(|number| entries.push(*number));
        entries
    }

    #[test]
    fn equal_rows_and_blocks_are_kept_once() {
        let mut pool = Pool::default();
        let some = pool.with(Pool::EMPTY, [&entries(&[3, 700])]).expect("room");
        assert_eq!(pool.with(Pool::EMPTY, [&entries(&[700]), &entries(&[3])]), Ok(some));
        let more = pool.with(some, [&entries(&[16_383])]).expect("room");
        assert_ne!(more, some);
        assert_eq!(pool.with(more, [&entries(&[3])]), Ok(more));
        let (rows, blocks) = pool.into_tables();
        assert_eq!((rows.len(), blocks.len()), (3, 4));
        assert_eq!(rows[more as usize].summary, [1 | 1 << 10, 0, 0, 1 << 63]);
    }
}
