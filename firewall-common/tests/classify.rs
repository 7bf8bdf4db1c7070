//! The search for a first packet's rule, over tables made by hand: the policy's order, expiry, and what happens at the limits.

use firewall_common::{
    classify::{MOST_SCHEDULED, Zones, first_match},
    hours::Week,
    rule::{BLOCK_WORDS, Block, FIXED_ROWS, MAX_ENTRIES, ROW_BLOCKS, ROW_WORDS, Row, Rule},
    testing::{tables::Tables, world::World},
    time::Nanos,
};

const NOW: Nanos = Nanos(1_000);
/// Entries past their expiry that a search passes over.
const MOST_EXPIRED: usize = 64;

/// Entries that all accept everything: each has this place in the policy and expires then.
fn tables(entries: &[(u16, u64)]) -> Tables {
    let rules = entries.iter().map(|(order, expires)| Rule { order: *order, expires: *expires, ..Rule::default() });
    let (mut blocks, mut row) = (vec![Block::EMPTY; ROW_BLOCKS], Row::EMPTY);
    for entry in 0..entries.len() {
        let word = entry / 64;
        blocks[word / BLOCK_WORDS].0[word % BLOCK_WORDS] |= 1 << (entry % 64);
        row.summary[word / 64] |= 1 << (word % 64);
    }
    (0..).zip(&mut row.blocks).for_each(|(number, block)| *block = number);
    Tables { entries: rules.collect(), blocks, rows: vec![row; FIXED_ROWS], ..Tables::default() }
}

fn found(tables: &Tables) -> Option<u32> {
    first_match(&World::under(tables), 1, Zones { from: 1, to: 0 }, [0; 3], NOW)
}

#[test]
fn the_first_in_the_policy_s_order_decides_wherever_it_lies() {
    // Every word's entries lie in order, the words do not.
    for first in 0..ROW_WORDS {
        let order = |entry: usize| (((entry / 64 + ROW_WORDS - first) % ROW_WORDS) * 64 + entry % 64) as u16;
        let entries: Vec<(u16, u64)> = (0..MAX_ENTRIES).map(|entry| (order(entry), 0)).collect();
        assert_eq!(found(&tables(&entries)), Some(first as u32 * 64));
    }
}

#[test]
fn what_has_expired_is_passed_over() {
    assert_eq!(found(&tables(&[(0, NOW.0), (1, NOW.0 + 1), (2, 0)])), Some(1));
    assert_eq!(found(&tables(&[(0, NOW.0)])), None);
    let mut words: Vec<(u16, u64)> = (0..128).map(|order| (order, 0)).collect();
    words[0].1 = 1;
    assert_eq!(found(&tables(&words)), Some(1));
}

#[test]
fn a_search_that_does_not_come_to_its_end_finds_nothing() {
    // Every word has its candidate, and as many entries have expired as a search passes over, or one more. A match was seen before either way.
    // The last of a word's entries to have expired costs nothing: the word would have taken a turn anyway.
    let full = |expired: usize| {
        let order = |entry: usize| if entry < 64 { 16_000 + entry as u16 } else { entry as u16 };
        let mut entries: Vec<(u16, u64)> = (0..MAX_ENTRIES).map(|entry| (order(entry), 0)).collect();
        entries[64..64 + expired].iter_mut().for_each(|(_, expires)| *expires = 1);
        tables(&entries)
    };
    assert_eq!(found(&full(63)), Some(64 + 63));
    // Of a word's 64 entries 63 cost a turn each.
    let turns = MOST_EXPIRED + MOST_SCHEDULED;
    let most = turns / 63 * 64 + turns % 63;
    assert_eq!(found(&full(most)), Some((64 + most) as u32));
    assert_eq!(found(&full(most + 1)), None);
}

#[test]
fn what_is_not_in_its_hours_is_passed_over() {
    let scheduled = |entries: &mut [Rule]| entries.iter_mut().for_each(|rule| rule.schedule = 1);
    let mut all = tables(&(0..=MOST_SCHEDULED as u16).map(|order| (order, 0)).collect::<Vec<_>>());
    scheduled(&mut all.entries[..MOST_SCHEDULED]);
    all.schedules = vec![Week::NEVER];
    assert_eq!(found(&all), Some(MOST_SCHEDULED as u32), "as many as a policy can have");
    all.schedules[0].add(0);
    assert_eq!(found(&all), Some(0), "the first minute of the week");
    // Hours that cannot be found leave nothing decided: no rule behind them may take over.
    all.entries[0].schedule = u16::MAX;
    assert_eq!(found(&all), None);
}

#[test]
fn no_entry_is_no_match() {
    assert_eq!(found(&Tables { rows: vec![Row::EMPTY; FIXED_ROWS], ..Tables::default() }), None);
}
