//! Everything a short sequence of packets can do to one flow, and firewalls with a mistake, which the search must find.
//!
//! `WEIR_SEARCH_DEEPER=1` looks one packet further, which takes about ten times as long.

use std::{env, fmt::Write as _, time::Instant};

use firewall_common::{
    flow::Inspection,
    testing::{
        script::Side,
        search::{
            Model,
            anything::Anything,
            broken::{Broken, Mistake},
            firewall::Single,
            pair::Pair,
            search,
        },
    },
};

/// Segments of data of client and server.
const PLAN: [u8; 2] = [2, 1];

fn look<M: Model>(what: &str, model: &mut M, depth: usize) {
    let deeper = env::var("WEIR_SEARCH_DEEPER").map_or(0, |text| text.parse().expect("WEIR_SEARCH_DEEPER is a number"));
    let start = Instant::now();
    let report = search(model, depth + deeper).unwrap_or_else(|broken| panic!("{what}: {broken}"));
    println!("{what}: {report}, in {:.1} s", start.elapsed().as_secs_f64());
    assert!(report.states > 1000, "a search that sees {} states sees nothing", report.states);
}

#[test]
fn anything_under_strict() {
    look("strict, anything from both sides", &mut Anything::new(Single::new(Inspection::Strict)), 5);
}

#[test]
fn anything_under_tolerant() {
    look("tolerant, anything from both sides", &mut Anything::new(Single::new(Inspection::Tolerant)), 4);
}

#[test]
fn anything_under_bypass() {
    look("bypass, anything from both sides", &mut Anything::new(Single::new(Inspection::Bypass)), 4);
}

fn endpoints(inspection: Inspection, attacker: Option<Side>, crashes: bool, depth: usize) {
    let attacked = attacker.map_or_else(String::new, |side| format!(", attacked from the {side:?}'s side"));
    let forgetful = if crashes { ", forgetful" } else { "" };
    let what = format!("{}, two endpoints{attacked}{forgetful}", inspection.name());
    look(&what, &mut Pair::new(Single::new(inspection), PLAN, attacker, crashes), depth);
}

#[test]
fn endpoints_under_strict() {
    endpoints(Inspection::Strict, None, false, 13);
}

#[test]
fn endpoints_that_lose_their_memory_under_strict() {
    endpoints(Inspection::Strict, None, true, 12);
}

#[test]
fn endpoints_attacked_by_the_clients_neighbour_under_strict() {
    endpoints(Inspection::Strict, Some(Side::Client), false, 8);
}

#[test]
fn endpoints_attacked_by_the_servers_neighbour_under_strict() {
    endpoints(Inspection::Strict, Some(Side::Server), false, 7);
}

#[test]
fn endpoints_under_tolerant() {
    endpoints(Inspection::Tolerant, None, true, 12);
}

#[test]
fn endpoints_under_bypass() {
    endpoints(Inspection::Bypass, None, true, 12);
}

/// Every mistake is found, and by a script that somebody can read.
#[test]
fn mistakes_are_found() {
    let mut found = String::new();
    for mistake in Mistake::ALL {
        let broken = || Broken::new(mistake);
        let report = search(&mut Anything::new(broken()), 4).and_then(|_| search(&mut Pair::new(broken(), PLAN, None, true), 10));
        match report {
            Ok(report) => panic!("{mistake:?} was not found: {report}"),
            Err(script) => {
                assert!(script.contains(mistake.complaint()), "{mistake:?} was found as something else: {script}");
                let _ = writeln!(found, "{mistake:?}: {script}");
            }
        }
    }
    println!("{found}");
}
