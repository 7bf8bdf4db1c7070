//! A hundred thousand members in the kernel, and a thousand changes under packets: no packet of an address that a change does not name is ever
//! judged otherwise, and one whose address comes and goes is judged by what holds before or by what holds after.

mod bursts;
mod lone;
mod root;

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use aya::{TestRun as _, TestRunOptions, programs::Xdp};
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
    dataplane::Slots,
    policy::{self, Changed, Clock, LiveTables, Members, Numbers, Policy, Prefix, Source},
};
use lone::Lone;
use xtask::mixed::{Mixed, ZONES};

const MEMBERS: u32 = 100_000;
const CHANGES: usize = 1_000;
/// How long to go on beyond these for the packets to meet both of what comes and goes.
const PATIENCE: Duration = Duration::from_secs(60);
const BOX: Host = Host { name: "box", v4: [198, 18, 0, 1], ..OTHER };

struct Numbering;

impl Numbers for Numbering {
    fn zone(&mut self, name: &str) -> Option<u8> {
        ZONES.iter().position(|known| *known == name).map(|place| place as u8)
    }

    fn rule(&mut self, name: &str) -> Option<u16> {
        match name {
            "block" => Some(1),
            "let-in" => Some(2),
            other => other.strip_prefix('r')?.parse().ok().map(|number: u16| number + 3),
        }
    }
}

/// A blocklist that is empty, before what lets everybody in, and many other rules.
fn policy(others: usize) -> Policy {
    let own = "[set.blocked]\naddresses = []\n[[rule]]\nname = \"block\"\nfrom = \"outside @blocked\"\naction = \"drop\"\n\
               [[rule]]\nname = \"let-in\"\nfrom = \"outside\"\nto = \"self 198.18.0.1\"\nservice = \"udp/1500\"\naction = \"allow\"\n";
    let text = format!("{own}{}", Mixed::new(others, 5).text());
    policy::load_sources(vec![Source { path: "large.toml".into(), text }], None).unwrap_or_else(|errors| panic!("{errors}")).0
}

fn lower(policy: &Policy) -> policy::Lowered {
    let clock = Clock { monotonic_ns: 0, realtime: jiff::Timestamp::UNIX_EPOCH };
    policy::lower(policy, &mut Numbering, &clock).expect("there are numbers")
}

fn member(number: u32) -> [u8; 4] {
    // Every other address, so that no two are one prefix.
    (0x6440_0000 + 2 * number).to_be_bytes()
}

fn changed(addresses: impl IntoIterator<Item = [u8; 4]>, present: bool) -> Vec<Changed> {
    let one = |address: [u8; 4]| Changed { set: "blocked".to_owned(), prefix: Prefix::from(std::net::IpAddr::from(address)), present };
    addresses.into_iter().map(one).collect()
}

fn frame(from: [u8; 4]) -> Vec<u8> {
    Packet::udp(Family::V4, (Host { v4: from, ..OTHER }, 40_000), (BOX, 1_500), 32).build().bytes
}

fn verdict(program: &Xdp, frame: &[u8]) -> u32 {
    program.test_run(TestRunOptions { data_in: Some(frame), ..TestRunOptions::new() }).expect("it runs").return_value
}

#[test]
fn a_hundred_thousand_members_come_at_once_and_a_thousand_changes_hurt_nobody_else() {
    if !root::available() {
        return;
    }
    let policy = policy(300);
    let lone = Lone::start("set-large");
    let (maps, program) = (lone.dataplane.maps(), lone.program());
    let mut slots = Slots::read(maps).expect("the tries can be read");
    slots.switch(maps, &lower(&policy)).expect("the policy");
    let mut live = LiveTables::of(&policy);

    let blocked = frame(member(MEMBERS / 2));
    assert_eq!(verdict(&program, &blocked), XDP_PASS, "nobody is blocked yet");
    let began = Instant::now();
    let all = changed((0..MEMBERS).map(member), true);
    live.have_room(&all).expect("a hundred thousand fit");
    let amendment = live.change(&all).expect("a hundred thousand fit");
    slots.amend(maps, &amendment).expect("the tables can be changed");
    println!("{MEMBERS} members came in {:?}, {} prefixes", began.elapsed(), amendment.written.len());
    assert_eq!(verdict(&program, &blocked), XDP_DROP, "its flow is judged again");
    for number in [0, 1, 777, MEMBERS - 1] {
        assert_eq!(verdict(&program, &frame(member(number))), XDP_DROP, "member {number}");
    }

    // What comes and goes: an address alone, one of the members' own, and prefixes around addresses that must not mind.
    let (free, moving) = (frame([203, 0, 113, 9]), frame([203, 0, 114, 9]));
    let groups = [vec![[203, 0, 114, 9]], (0..50).map(|last| [203, 0, 115, last]).collect(), vec![member(MEMBERS)]];
    let before = maps.counters().expect("the counters can be read");
    let block = hits(maps, 1);
    let stop = AtomicBool::new(false);
    let [dropped, allowed, either] = std::array::from_fn(|_| Sent::default());
    let mut took = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| send(&lone.program(), &blocked, &stop, &dropped));
        scope.spawn(|| send(&lone.program(), &free, &stop, &allowed));
        scope.spawn(|| send(&lone.program(), &moving, &stop, &either));
        while [&dropped, &allowed, &either].iter().any(|sent| sent.packets() == 0) {
            thread::sleep(Duration::from_micros(10));
        }
        // Go on for as long as it takes until the moving address was seen in and out: where processors are few, its sender may have to wait. What
        // comes last goes.
        let (mut change, deadline) = (0, Instant::now() + PATIENCE);
        let met_both = || either.ended_with(&[XDP_DROP, XDP_PASS]);
        while change < CHANGES || change % 2 != 0 || (!met_both() && Instant::now() < deadline) {
            let (group, present) = (&groups[change / 2 % groups.len()], change % 2 == 0);
            change += 1;
            let began = Instant::now();
            let done = live.change(&changed(group.iter().copied(), present)).map(|amendment| slots.amend(maps, &amendment));
            took.push(began.elapsed());
            if !matches!(done, Ok(Ok(_))) {
                stop.store(true, Ordering::Relaxed);
            }
            done.expect("there is room").expect("the tables can be changed");
        }
        stop.store(true, Ordering::Relaxed);
    });
    took.sort_unstable();
    println!("a change took {:?} in the middle, {:?} at the most", took[took.len() / 2], took[took.len() - 1]);
    let after = maps.counters().expect("the counters can be read");
    assert!(dropped.ended_with(&[XDP_DROP]) && allowed.ended_with(&[XDP_PASS]), "{dropped:?}, {allowed:?}");
    let (dropped, allowed, either) = (dropped.packets(), allowed.packets(), either.packets());
    println!("{} changes under {dropped} packets to be dropped, {allowed} to be allowed and {either} of either kind", took.len());
    let passed = |counters: &Counters| counters.passed + counters.passed_without_learning;
    let moved = passed(&after) - passed(&before) - allowed;
    assert!(moved > 0 && moved < either, "the moving address was in and out: {moved} of {either}");
    let drops = |counters: &Counters| counters.drops[Reason::AclDrop.index()];
    assert_eq!(drops(&after) - drops(&before), dropped + either - moved, "nothing else was dropped, and nothing for another reason");
    assert_eq!(after.drops.iter().sum::<u64>() - before.drops.iter().sum::<u64>(), drops(&after) - drops(&before));
    assert!(hits(maps, 1) > block, "the blocklist's rule drops them");

    // Away with all of them, in one change.
    let amendment = live.change(&changed((0..MEMBERS).map(member), false)).expect("there is room");
    slots.amend(maps, &amendment).expect("the tables can be changed");
    assert_eq!(amendment.removed.len(), MEMBERS as usize);
    assert_eq!(verdict(&program, &blocked), XDP_PASS, "nobody is blocked any more");
}

#[test]
fn a_change_under_ten_thousand_rules_takes_milliseconds() {
    if !root::available() {
        return;
    }
    let policy = policy(9_990);
    let lone = Lone::start("set-rules");
    let (maps, program) = (lone.dataplane.maps(), lone.program());
    let mut slots = Slots::read(maps).expect("the tries can be read");
    slots.switch(maps, &lower(&policy)).expect("the policy");
    let began = Instant::now();
    let mut live = LiveTables::of(&policy);
    println!("{} rules: made ready for changes in {:?}", policy.rules().len(), began.elapsed());
    let mut took = Vec::new();
    for number in 0..50 {
        let began = Instant::now();
        let amendment = live.change(&changed([member(number)], true)).expect("there is room");
        slots.amend(maps, &amendment).expect("the tables can be changed");
        took.push(began.elapsed());
        assert_eq!(verdict(&program, &frame(member(number))), XDP_DROP);
    }
    took.sort_unstable();
    println!("an address came in {:?} in the middle, {:?} at the most", took[took.len() / 2], took[took.len() - 1]);
    let began = Instant::now();
    let members =
        Members([("blocked".to_owned(), (0..50).map(|n| Prefix::from(std::net::IpAddr::from(member(n)))).collect::<BTreeSet<_>>())].into());
    let filled = policy.with_members(&members).expect("there is room");
    slots.switch(maps, &lower(&filled)).expect("the policy");
    println!("lowering everything anew takes {:?}", began.elapsed());
    assert_eq!(verdict(&program, &frame(member(7))), XDP_DROP);
    assert_eq!(verdict(&program, &frame(member(77))), XDP_PASS);
}

/// What fits: a hundred thousand on one side, and not on both.
#[test]
fn members_that_do_not_fit_are_refused() {
    let members: BTreeSet<Prefix> = (0..MEMBERS).map(|number| Prefix::from(std::net::IpAddr::from(member(number)))).collect();
    let members = Members([("big".to_owned(), members)].into());
    let load = |keys: &str| {
        let text = format!("[set.big]\naddresses = []\n[[rule]]\nname = \"a\"\naction = \"drop\"\n{keys}");
        policy::load_sources(vec![Source { path: "fit.toml".into(), text }], None).unwrap_or_else(|errors| panic!("{errors}")).0
    };
    assert!(load("from = \"any @big\"").with_members(&members).is_ok());
    let error = load("from = \"any @big\"\nto = \"any @big\"").with_members(&members).expect_err("too many").to_string();
    assert_eq!(error, "too many addresses: the policy comes to more than 131072 prefixes");
    let live = LiveTables::of(&load("from = \"any @big\"\nto = \"any @big\""));
    let changes: Vec<Changed> =
        members.0["big"].iter().map(|prefix| Changed { set: "big".to_owned(), prefix: *prefix, present: true }).collect();
    assert!(live.have_room(&changes[..60_000]).is_ok());
    assert!(live.have_room(&changes).is_err());
}

/// Rows are never used again in place, so an address that is in ever other sets uses them up. Lowering anew makes room.
#[test]
fn places_run_out_and_lowering_anew_frees_them() {
    let sets: String = (0..17).map(|set| format!("[set.s{set}]\naddresses = []\n")).collect();
    let rules: String = (0..17).map(|set| format!("[[rule]]\nname = \"r{set}\"\nfrom = \"any @s{set}\"\naction = \"drop\"\n")).collect();
    let source = Source { path: "places.toml".into(), text: format!("{sets}{rules}") };
    let policy = policy::load_sources(vec![source], None).unwrap_or_else(|errors| panic!("{errors}")).0;
    let mut live = LiveTables::of(&policy);
    let prefix = Prefix::from(std::net::IpAddr::from([10, 0, 0, 1]));
    let mut members = Members::default();
    // Each step changes one set, and no combination comes twice: a Gray code.
    let mut step = |number: u32, live: &mut LiveTables| {
        let set = format!("s{}", number.trailing_zeros());
        let own = members.0.entry(set.clone()).or_default();
        let present = own.insert(prefix) || !own.remove(&prefix);
        live.change(&[Changed { set, prefix, present }]).map(|_| members.clone())
    };
    let full = (1..1 << 17).find(|number| step(*number, &mut live).is_err()).expect("there are not so many places");
    assert!((65_000..65_536).contains(&full), "{full}");
    let members = step(full + 1, &mut LiveTables::of(&policy)).expect("tables that are new have room");
    let anew = policy.with_members(&members).expect("the members fit");
    LiveTables::of(&anew).change(&[Changed { set: "s3".to_owned(), prefix, present: false }]).expect("there is room again");
}
