//! The table of cases in the kernel: the same scripts and expectations as on the host, against the real object.

mod kernel;
mod root;

use std::{thread, time::Duration};

use firewall_common::{
    config::config_flags,
    event,
    flow::{Inspection, NO_SCALE, State},
    hours::{MINUTES, WEEK_NANOS, Week},
    limit::Limits,
    reason::Reason,
    rule::Action,
    seq::Seq,
    testing::{
        builder::Packet,
        cases::rows,
        host::{CLIENT, Family, SERVER},
        play::{FROM_CLIENT, FROM_SERVER, Subject, play},
        tables::Tables,
        world::{Faults, World},
    },
    time::Nanos,
    verdict::Verdict,
    wire::tcp::{Segment, flags},
};
use kernel::{Kernel, monotonic};

const SEEDS: u64 = 2;
const ROOM: u32 = 4096;

#[test]
fn every_case_under_every_level() {
    if !root::available() {
        return;
    }
    let mut subject = Kernel::load(ROOM, ROOM);
    let (mut failures, mut sent) = (Vec::new(), 0);
    for case in rows().flat_map(|row| row.cases) {
        for level in [Inspection::Strict, Inspection::Bypass, Inspection::Tolerant] {
            for family in case.families {
                for seed in 0..SEEDS {
                    match play(case, level, *family, seed, &mut subject) {
                        Ok(packets) => sent += packets,
                        Err(failure) => failures.push(failure),
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} plays failed:\n{}", failures.len(), failures.join("\n"));
    println!("{sent} packets");
}

/// Every event of every case: what the host tells, the kernel tells.
#[test]
fn host_and_kernel_tell_the_same() {
    if !root::available() {
        return;
    }
    let (mut host, mut kernel) = (World::with_room(ROOM as usize, ROOM as usize), Kernel::load(ROOM, ROOM));
    Subject::listen(&mut host, event::Kind::EVERY, u32::MAX);
    kernel.listen(event::Kind::EVERY, u32::MAX);
    let mut told = [0; 7];
    for case in rows().flat_map(|row| row.cases) {
        for level in [Inspection::Strict, Inspection::Bypass, Inspection::Tolerant] {
            for family in case.families {
                let place = format!("{}, {}, {family:?}", case.id, level.name());
                play(case, level, *family, 0, &mut host).unwrap_or_else(|failure| panic!("{failure}"));
                play(case, level, *family, 0, &mut kernel).unwrap_or_else(|failure| panic!("{failure}"));
                let (on_host, in_kernel) = (timeless(Subject::take_events(&mut host)), timeless(kernel.take_events()));
                for (number, pair) in on_host.iter().zip(&in_kernel).enumerate() {
                    assert_eq!(pair.0, pair.1, "{place}: event {number}, the host's on the left");
                }
                assert_eq!(on_host.len(), in_kernel.len(), "{place}");
                on_host.iter().for_each(|record| told[usize::from(record.kind)] += 1);
            }
        }
    }
    let [none, opened, closed, dropped, begun, overload, guard] = told;
    println!("{opened} opened, {closed} closed, {dropped} dropped, {begun} begun, {overload} overload, {guard} guard");
    assert!(none == 0 && opened > 100 && closed > 50 && dropped > 200 && begun > 5 && overload > 5 && guard > 30, "{told:?}");
    assert_eq!(kernel.tally(), event::Tally { sent: told.iter().sum(), limited: 0, lost: 0 });
}

fn timeless(records: Vec<event::Record>) -> Vec<event::Record> {
    records.into_iter().map(event::report::timeless).collect()
}

/// With nobody listening nothing is sent; what exceeds the rate, and what finds the ring full, is counted.
#[test]
fn events_are_limited_and_losses_counted() {
    if !root::available() {
        return;
    }
    const DROPS: u64 = 12_000;
    let mut kernel = Kernel::load(ROOM, ROOM);
    kernel.load(&Tables::everything(Action::Drop, Inspection::Strict));
    let frame = segment(2000, true, flags::SYN, 0, 0);
    let drop_all = |kernel: &mut Kernel| (0..DROPS).for_each(|_| assert!(!kernel.judge(&frame, FROM_CLIENT).passes()));
    kernel.listen(event::Kind::Opened.bit() | event::Kind::Closed.bit(), u32::MAX);
    drop_all(&mut kernel);
    assert_eq!((kernel.tally(), kernel.take_events().len()), (event::Tally::default(), 0));

    kernel.listen(event::Kind::Dropped.bit(), u32::MAX);
    drop_all(&mut kernel);
    let tally = kernel.tally();
    assert_eq!((tally.sent + tally.lost, tally.limited), (DROPS, 0));
    assert!(tally.lost > 1000, "the ring holds about seven thousand records: {tally:?}");
    assert_eq!(kernel.take_events().len() as u64, tally.sent);

    kernel.listen(event::Kind::Dropped.bit(), 100);
    // The second in which all of the above were sent has to pass first.
    let mut waited = 0;
    while kernel.tally().sent == tally.sent {
        assert!(!kernel.judge(&frame, FROM_CLIENT).passes());
        waited += 1;
        assert!(waited < 1_000_000, "a new second never begins");
    }
    drop_all(&mut kernel);
    let limited = kernel.tally();
    assert_eq!((limited.sent + limited.limited + limited.lost, limited.lost), (2 * DROPS + waited, tally.lost));
    let sent = limited.sent - tally.sent;
    assert!((100..6000).contains(&sent), "{sent} sent at 100 a second");
    assert_eq!(kernel.take_events().len() as u64, sent);
}

/// The kernel's program finds the minute of the week, and what it decides, as the host does.
#[test]
fn hours_by_the_kernels_clock() {
    if !root::available() {
        return;
    }
    let mut week = Week::NEVER;
    (600..602).for_each(|minute| week.add(minute));
    let mut kernel = Kernel::load(ROOM, ROOM);
    kernel.load(&Tables::everything(Action::Allow, Inspection::Strict).with_hours(week));
    for (minute, passes) in [(0, false), (599, false), (600, true), (601, true), (602, false), (MINUTES - 1, false)] {
        kernel.clear();
        set_minute(&mut kernel, minute);
        assert_eq!(kernel.judge(&segment(2000, true, flags::SYN, 0, 0), FROM_CLIENT).passes(), passes, "minute {minute}");
    }
}

/// From now on it is half past this minute of the week.
fn set_minute(kernel: &mut Kernel, minute: u32) {
    let now = monotonic();
    let elapsed = u64::from(minute) * 60_000_000_000 + 30_000_000_000;
    let began = |now: Nanos| (now.0 % WEEK_NANOS + WEEK_NANOS - elapsed) % WEEK_NANOS;
    kernel.settings.week_began = began(now);
    kernel.configure();
    kernel.host.configure(|config| config.week_began = began(now.plus(kernel.ahead)));
}

/// Waits for another second of the dataplane's clock, which lags by a tick, to begin; what then takes less than half of it is within one.
fn next_second() {
    const SECOND: u64 = 1_000_000_000;
    let began = monotonic().0 / SECOND;
    loop {
        let now = monotonic().0;
        if now / SECOND > began && (SECOND / 20..SECOND / 4).contains(&(now % SECOND)) {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// So many flows begin in a second and no more, of the rule and of a source.
#[test]
fn rates_by_the_kernels_clock() {
    if !root::available() {
        return;
    }
    let (all, source) = (Limits { new_per_second: 5, ..Limits::NONE }, Limits { source_new_per_second: 5, ..Limits::NONE });
    for (limits, reason) in [(all, Reason::NewFlowRate), (source, Reason::SourceNewFlowRate)] {
        let mut kernel = Kernel::load(ROOM, ROOM);
        kernel.load(&Tables::everything(Action::Allow, Inspection::Strict).with_limits(limits));
        for first in [2000, 3000] {
            next_second();
            let verdicts: Vec<_> =
                (first..first + 12).map(|port| kernel.judge(&segment(port, true, flags::SYN, 0, 0), FROM_CLIENT)).collect();
            let passed = verdicts.iter().filter(|verdict| verdict.passes()).count();
            assert_eq!(passed, 5, "{verdicts:?}");
            assert!(verdicts[5..].iter().all(|verdict| *verdict == Verdict::Drop(reason)), "{verdicts:?}");
        }
    }
}

/// One segment of a handshake on `port`.
fn segment(port: u16, from_client: bool, set: u8, seq: u32, ack: u32) -> Vec<u8> {
    let segment = Segment { seq: Seq(seq), ack: Seq(ack), length: 0, window: 1000, flags: set, scale: NO_SCALE };
    let (client, server) = ((CLIENT, port), (SERVER, 443));
    let (from, to) = if from_client { (client, server) } else { (server, client) };
    Packet::tcp(Family::V4, from, to, &segment).build().bytes
}

fn handshake(subject: &mut impl Subject, port: u16) -> [Verdict; 3] {
    [
        subject.judge(&segment(port, true, flags::SYN, 0, 0), FROM_CLIENT),
        subject.judge(&segment(port, false, flags::SYN | flags::ACK, 0, 1), FROM_SERVER),
        subject.judge(&segment(port, true, flags::ACK, 1, 1), FROM_CLIENT),
    ]
}

/// More connections than there is room for: counted, and dropped or passed as configured; those that have room live on.
fn full_table(subject: &mut impl Subject, pass: bool) {
    const CONNECTIONS: u16 = 40;
    subject.load(&Tables::everything(Action::Allow, Inspection::Strict));
    subject.set_flags(if pass { config_flags::TABLE_FULL_PASS } else { 0 });
    let before = subject.counters();
    let mut refused = Vec::new();
    for port in 2000..2000 + CONNECTIONS {
        match handshake(subject, port) {
            [Verdict::Learn, Verdict::Learn, Verdict::Learn] if !pass => {}
            [Verdict::Learn, Verdict::Learn, Verdict::Drop(Reason::FlowTableFull)] if !pass => refused.push(port),
            [Verdict::Learn, Verdict::Learn, Verdict::Learn] => {}
            other => panic!("handshake {port}: {other:?}"),
        }
    }
    let established = subject.flows().iter().filter(|(_, _, established)| *established).count();
    assert_eq!(established, 16, "the table is as full as it can be");
    let counted = subject.counters().drops[Reason::FlowTableFull.index()] - before.drops[Reason::FlowTableFull.index()];
    assert_eq!(counted, refused.len() as u64);
    assert_eq!(refused.len(), if pass { 0 } else { usize::from(CONNECTIONS) - 16 });
    // What found room is not touched by what did not.
    assert_eq!(subject.judge(&segment(2000, true, flags::ACK, 1, 1), FROM_CLIENT), Verdict::Learn);
    if let Some(port) = refused.last() {
        // The client repeats its last packet; room has been made meanwhile.
        subject.judge(&segment(2000, false, flags::RST, 1, 0), FROM_SERVER).passes().then_some(()).expect("an exact reset");
        let (key, flow, _) = subject.flows().into_iter().find(|(_, flow, _)| flow.state == State::Closed as u8).expect("it is closed");
        subject.age(&key, Nanos::from_millis(flow.timeout + 1000));
        assert_eq!(subject.judge(&segment(2000, true, flags::ACK, 1, 1), FROM_CLIENT), Verdict::Drop(Reason::TcpNotSyn));
        assert_eq!(subject.judge(&segment(*port, true, flags::ACK, 1, 1), FROM_CLIENT), Verdict::Learn);
    }
}

#[test]
fn established_table_full() {
    for pass in [false, true] {
        full_table(&mut World::with_room(4096, 16), pass);
        if root::available() {
            full_table(&mut Kernel::load(4096, 16), pass);
        }
    }
}

/// A flood of SYNs churns the table of embryonic flows and touches no established one.
fn flood(subject: &mut impl Subject) {
    subject.load(&Tables::everything(Action::Allow, Inspection::Strict));
    assert_eq!(handshake(subject, 1999), [Verdict::Learn; 3]);
    for port in 2000..6000 {
        assert_eq!(subject.judge(&segment(port, true, flags::SYN, 0, 0), FROM_CLIENT), Verdict::Learn);
    }
    assert!(subject.flows().len() < 3000, "the flood was remembered");
    assert_eq!(subject.judge(&segment(1999, true, flags::ACK, 1, 1), FROM_CLIENT), Verdict::Learn);
}

#[test]
fn syn_flood_spares_established_flows() {
    flood(&mut World::with_room(1024, 16));
    if root::available() {
        flood(&mut Kernel::load(1024, 16));
    }
}

#[test]
fn refused_first_packet_on_the_host() {
    let mut world = World::under(&Tables::everything(Action::Allow, Inspection::Strict));
    world.faults.set(Faults { embryonic: true, ..Faults::default() });
    let syn = segment(2000, true, flags::SYN, 0, 0);
    assert_eq!(world.judge(&syn, FROM_CLIENT), Verdict::Drop(Reason::FlowInsertFailed));
    world.set_flags(config_flags::TABLE_FULL_PASS);
    assert_eq!(world.judge(&syn, FROM_CLIENT), Verdict::NoLearn);
    assert!(world.flows().is_empty());
}
