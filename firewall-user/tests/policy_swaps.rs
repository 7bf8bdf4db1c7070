//! A thousand policies, one after the other, under packets: each packet is judged by one policy alone, and none is dropped that all of them
//! allow.
//!
//! Three policies take turns, so that a slot never gets back what it held. They have the same hundreds of rules that no packet here matches,
//! with two that do: `d-…` drops one packet, `x-…` allows the other, at another place in each. What is made of parts of two policies
//! would be one of the many rules, or none.

mod bursts;
mod lone;
mod root;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use bursts::{Sent, XDP_DROP, XDP_PASS, hits, send};
use firewall_common::{
    counter::Counters,
    reason::Reason,
    testing::{
        builder::Packet,
        host::{Family, Host, OTHER},
    },
};
use firewall_user::{
    dataplane::{Maps, Slots},
    policy::{self, Clock, Lowered, Numbers, Source},
};
use lone::Lone;
use xtask::mixed::{Mixed, ZONES};

const SWAPS: usize = 1_000;
const FILLERS: usize = 300;
const POLICIES: [&str; 3] = ["a", "b", "c"];
/// Each has the address of [`OTHER`].
const SOURCES: [&str; 3] = ["203.0.113.0/24", "203.0.113.0/25", "203.0.113.96-203.0.113.127"];
const DROPPED: Host = Host { name: "dropped", v4: [198, 18, 0, 1], ..OTHER };
const ALLOWED: Host = Host { name: "allowed", v4: [198, 18, 0, 2], ..OTHER };

/// The many rules have the numbers from 1, then come two of each policy.
struct Numbering;

impl Numbers for Numbering {
    fn zone(&mut self, name: &str) -> Option<u8> {
        ZONES.iter().position(|known| *known == name).map(|place| place as u8)
    }

    fn rule(&mut self, name: &str) -> Option<u16> {
        if let Some(number) = name.strip_prefix('r') {
            return number.parse().ok().map(|number: u16| number + 1);
        }
        let (kind, policy) = name.split_once('-')?;
        let policy = POLICIES.iter().position(|known| *known == policy)?;
        Some((FILLERS + 1 + 2 * policy + usize::from(kind == "x")) as u16)
    }
}

fn number(name: &str) -> u16 {
    Numbering.rule(name).expect("a rule of these policies")
}

/// The policy `POLICIES[which]`: its own two rules lie at the front, in the midst or at the end.
fn lowered(which: usize) -> Lowered {
    let name = POLICIES[which];
    let own = format!(
        "[[rule]]\nname = \"d-{name}\"\nfrom = \"outside {}\"\nto = \"self 198.18.0.1\"\naction = \"drop\"\n\n\
         [[rule]]\nname = \"x-{name}\"\nfrom = \"outside\"\nto = \"self 198.18.0.2/{}\"\nservice = \"udp/{}-2000\"\naction = \"allow\"\n\n",
        SOURCES[which],
        31 + which % 2,
        1_000 + which
    );
    let rest = Mixed::new(FILLERS, 5).text();
    let rules: Vec<usize> = rest.match_indices("[[rule]]").map(|(at, _)| at).collect();
    let at = [rules[0], rules[FILLERS / 2], rest.len()][which];
    let source = Source { path: format!("{name}.toml").into(), text: format!("{}{own}{}", &rest[..at], &rest[at..]) };
    let (policy, _) = policy::load_sources(vec![source], None).unwrap_or_else(|errors| panic!("{errors}"));
    let clock = Clock { monotonic_ns: 0, realtime: jiff::Timestamp::UNIX_EPOCH };
    policy::lower(&policy, &mut Numbering, &clock).expect("there are numbers")
}

fn frame(to: Host) -> Vec<u8> {
    Packet::udp(Family::V4, (OTHER, 40_000), (to, 1_500), 32).build().bytes
}

#[test]
fn no_packet_is_judged_by_parts_of_two_policies() {
    if !root::available() {
        return;
    }
    let policies: Vec<Lowered> = (0..POLICIES.len()).map(lowered).collect();
    let lone = Lone::start("swaps");
    let maps = lone.dataplane.maps();
    let mut slots = Slots::read(maps).expect("the tries can be read");
    slots.switch(maps, &policies[0]).expect("the first policy");
    let (stop, dropped, allowed) = (AtomicBool::new(false), Sent::default(), Sent::default());
    thread::scope(|scope| {
        scope.spawn(|| send(&lone.program(), &frame(DROPPED), &stop, &dropped));
        scope.spawn(|| send(&lone.program(), &frame(ALLOWED), &stop, &allowed));
        let wait = || thread::sleep(Duration::from_micros(10));
        while dropped.packets() == 0 || allowed.packets() == 0 {
            wait();
        }
        for swap in 1..=SWAPS {
            let switched = slots.switch(maps, &policies[swap % POLICIES.len()]);
            if switched.is_err() {
                stop.store(true, Ordering::Relaxed);
            }
            switched.expect("the policy can be switched");
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(dropped.ended_with(&[XDP_DROP]) && allowed.ended_with(&[XDP_PASS]), "{dropped:?}, {allowed:?}");
    let (dropped, allowed) = (dropped.packets(), allowed.packets());
    println!("{SWAPS} swaps under {dropped} packets to be dropped and {allowed} to be allowed");
    judge(maps, dropped, allowed);
}

fn judge(maps: &Maps, dropped: u64, allowed: u64) {
    let Counters { drops, passed, passed_without_learning, .. } = maps.counters().expect("the counters can be read");
    assert_eq!(passed + passed_without_learning, allowed, "every packet that all policies allow passed");
    assert_eq!(drops[Reason::AclDrop.index()], dropped, "every other one was dropped by the policy");
    assert_eq!(drops.iter().sum::<u64>(), dropped, "and nothing was dropped for another reason");
    let by: Vec<u64> = POLICIES.iter().map(|policy| hits(maps, number(&format!("d-{policy}")))).collect();
    assert_eq!(by.iter().sum::<u64>(), dropped, "each by the one rule of one policy: {by:?}");
    assert!(by.iter().all(|by| *by > dropped / 100), "all policies were in force under packets: {by:?}");
    for filler in 1..=FILLERS as u16 {
        assert_eq!(hits(maps, filler), 0, "no packet matches rule {filler} of any policy");
    }
}
