//! The table of cases on the host.

use std::collections::{BTreeMap, BTreeSet};

use firewall_common::{
    flow::Inspection,
    testing::{
        cases::{REQUIRED, Test, corpus::FAMILIES, rows},
        play::play,
        world::World,
    },
};

const SEEDS: u64 = 20;

#[test]
fn every_case_under_every_level() {
    let mut failures = Vec::new();
    let mut sent = 0;
    for case in rows().flat_map(|row| row.cases) {
        for level in [Inspection::Strict, Inspection::Bypass, Inspection::Tolerant] {
            for family in case.families {
                // A case that fails with one seed fails with most; one report of it will do.
                let played = (0..SEEDS).try_fold(0, |sum, seed| Ok(sum + play(case, level, *family, seed, &mut World::default())?));
                played.map_or_else(|failure: String| failures.push(failure), |packets| sent += packets);
            }
        }
    }
    assert!(failures.is_empty(), "{} of the cases failed:\n{}", failures.len(), failures.join("\n"));
    println!("{} rows, {sent} packets", rows().count());
}

/// The behaviours connection tracking is tested for, each with the number of packets it refuses.
const REFUSED: [(&str, u64); 6] = [
    ("nf/ack-loss-stall", 0),
    ("nf/inexact-rst", 0),
    ("nf/rst-invalid", 4),
    ("nf/syn-challenge-ack", 0),
    ("nf/synack-old", 1),
    ("nf/synack-reuse", 0),
];

#[test]
fn what_connection_tracking_refuses_is_refused_and_no_more() {
    for (id, refused) in REFUSED {
        let row = rows().find(|row| row.id == id).unwrap_or_else(|| panic!("there is no row {id}"));
        let mut world = World::default();
        for case in row.cases {
            play(case, Inspection::Strict, case.families[0], 1, &mut world).unwrap_or_else(|failure| panic!("{failure}"));
        }
        assert_eq!(world.counters().drops.iter().sum::<u64>(), refused, "{id}");
    }
}

/// A test that a row names must exist.
fn assert_is_there(test: &Test) {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../").to_owned() + test.file;
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
    assert!(text.contains(&format!("fn {}(", test.name)), "there is no {} in {file}", test.name);
}

#[test]
fn every_required_row_is_there_once() {
    let mut seen = BTreeMap::new();
    for row in rows() {
        *seen.entry(row.id).or_insert(0) += 1;
        assert!(!row.cases.is_empty() || !row.beside.is_empty(), "{} covers nothing", row.id);
        row.beside.iter().for_each(assert_is_there);
    }
    for id in REQUIRED {
        assert_eq!(seen.get(id), Some(&1), "row {id}");
    }
    for (id, times) in &seen {
        assert_eq!(*times, 1, "row {id}");
        let listed = REQUIRED.contains(id) || ["nf/", "own/", "corpus/"].iter().any(|list| id.starts_with(list));
        assert!(listed, "row {id} is of no list");
    }
    assert_eq!(seen.keys().filter(|id| id.starts_with("nf/")).count(), 6, "the six behaviours of connection tracking");
}

#[test]
fn every_family_of_attacks_has_rows() {
    let with_cases: BTreeSet<_> = rows().filter(|row| !row.cases.is_empty()).map(|row| row.id).collect();
    let mut used = BTreeSet::new();
    for family in FAMILIES {
        assert!(!family.rows.is_empty(), "{} is in no row", family.name);
        for id in family.rows {
            assert!(with_cases.contains(id), "{}: there is no row {id} with cases", family.name);
            used.insert(*id);
        }
        family.beside.iter().for_each(assert_is_there);
    }
    let names: BTreeSet<_> = FAMILIES.iter().map(|family| family.name).collect();
    assert_eq!(names.len(), FAMILIES.len(), "each family once");
    for row in rows().filter(|row| row.id.starts_with("corpus/")) {
        assert!(used.contains(row.id), "row {} is of no family", row.id);
    }
}
