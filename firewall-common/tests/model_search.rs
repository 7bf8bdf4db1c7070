//! Everything a short sequence of packets can do to one flow.

use firewall_common::{
    flow::Inspection,
    testing::search::{anything::Anything, firewall::Single, search},
};

fn anything(inspection: Inspection, depth: usize) {
    let start = std::time::Instant::now();
    let report = search(&mut Anything::new(Single::new(inspection)), depth).unwrap_or_else(|broken| panic!("{broken}"));
    println!("{inspection:?}: {report} {:?}", start.elapsed());
}

#[test]
fn strict() {
    let depth = std::env::var("DEPTH").map_or(4, |d| d.parse().unwrap());
    anything(Inspection::Strict, depth);
}
#[test]
fn tolerant() {
    let depth = std::env::var("DEPTH").map_or(4, |d| d.parse().unwrap());
    anything(Inspection::Tolerant, depth);
}
#[test]
fn bypass() {
    let depth = std::env::var("DEPTH").map_or(4, |d| d.parse().unwrap());
    anything(Inspection::Bypass, depth);
}
