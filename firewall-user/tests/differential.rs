//! The pipeline on the host and the object in the kernel judge one stream of packets: every verdict, every reason, every event and in the
//! end every record must be the same.
//!
//! `WEIR_SEED` gives another stream, `WEIR_DIFFERENTIAL_PACKETS` a longer or shorter one.

mod kernel;
mod lowered;
mod root;

use std::{collections::BTreeMap, env, time::Instant};

use firewall_common::{
    config::config_flags,
    event,
    flow::{Flow, FlowKey, Inspection},
    normalize::{Profile, checks},
    rule::{Action, Timeouts},
    testing::{
        builder::hex,
        play::Subject,
        profiles::EVERYTHING,
        stream::{Replies, Stream},
        tables::Tables,
        world::World,
    },
    time::Nanos,
    track::shadow,
    verdict::Verdict,
};
use firewall_user::policy::{self, Clock, Numbers, Source};
use kernel::{Kernel, monotonic};

/// Of each of the two streams.
const PACKETS: usize = 60_000;
const ROOM: u32 = 65_536;
/// Packets between two changes of policy, and between two leaps of time.
const POLICY_EVERY: usize = 1_500;
const LEAP_EVERY: usize = 700;
const DEFAULT_SEED: u64 = 0x0077_6569_7200_0001;

fn seed() -> u64 {
    env::var("WEIR_SEED").map_or(DEFAULT_SEED, |text| text.parse().expect("WEIR_SEED is a number"))
}

fn packets() -> usize {
    env::var("WEIR_DIFFERENTIAL_PACKETS").map_or(PACKETS, |text| text.parse().expect("WEIR_DIFFERENTIAL_PACKETS is a number"))
}

/// A policy of several rules, as weir lowers it.
const RULES: &str = r#"
[[rule]]
name = "no-other"
from = "outside 203.0.113.0/24"
to = "self"
service = "tcp/22"
action = "drop"

[[rule]]
name = "vpn"
from = "outside"
service = "tcp/10000"
action = "allow"
inspection = "bypass"
one-sided-flows = 20

[[rule]]
name = "web"
from = "outside 198.51.100.0/24, 2001:db8::/32"
to = "self"
service = "tcp/443, tcp/8080"
action = "allow"

[[rule]]
name = "shell"
from = "outside"
service = "tcp/22, udp"
action = "allow"
inspection = "tolerant"

[[rule]]
name = "pings"
from = "any"
service = "icmp/echo-request, icmpv6/128"
action = "allow"

[[rule]]
name = "sctp"
service = "sctp, protocol/89"
action = "reject"
"#;

struct Numbering;

impl Numbers for Numbering {
    fn zone(&mut self, name: &str) -> Option<u8> {
        (name == "outside").then_some(1)
    }

    fn rule(&mut self, name: &str) -> Option<u16> {
        ["no-other", "vpn", "web", "shell", "pings", "sctp"].iter().position(|known| *known == name).map(|place| place as u16 + 1)
    }
}

fn lowered() -> Tables {
    let source = Source { path: "differential.toml".into(), text: RULES.to_owned() };
    let (policy, _) = policy::load_sources(vec![source], None).unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
    let clock = Clock { monotonic_ns: 0, realtime: jiff::Timestamp::UNIX_EPOCH };
    let lowered = policy::lower(&policy, &mut Numbering, &clock).expect("there are numbers");
    lowered::tables(lowered)
}

/// Timeouts the test does not run into by itself, so that only leaps of time make flows expire: on both sides the same ones. They are short
/// enough to be leapt over on a machine that was booted a few minutes ago.
fn unhurried(tables: Tables) -> Tables {
    let unit = 60_000;
    let timeouts = Timeouts {
        embryonic: unit,
        established: 4 * unit,
        half_closed: 2 * unit,
        transitory: 2 * unit,
        time_wait: unit,
        closed: unit,
        udp_single: unit,
        udp_stream: 2 * unit,
        icmp: unit,
        other: unit,
        bypass: 2 * unit,
        bypass_closing: unit,
    };
    tables.with_timeouts(timeouts)
}

fn policies() -> Vec<Tables> {
    let everything = |inspection| Tables::everything(Action::Allow, inspection);
    // The stream's endpoints see the numbers as they were sent: under a profile that shifts them few connections come to be.
    let unshifted = |profile: Profile| Profile { checks: profile.checks & !checks::RANDOMIZE, ..profile };
    let refusing = unshifted(Profile { checks: EVERYTHING.checks | checks::RESERVED_DROP, ..EVERYTHING });
    [
        everything(Inspection::Strict),
        lowered(),
        everything(Inspection::Bypass),
        everything(Inspection::Tolerant),
        lowered(),
        Tables::from_zone_1(Inspection::Strict),
        everything(Inspection::Strict).with_profile(Profile::DEFAULT),
        everything(Inspection::Strict).with_profile(Profile::ASA),
        everything(Inspection::Tolerant).with_profile(unshifted(EVERYTHING)),
        lowered().with_profile(unshifted(Profile::ASA)),
        everything(Inspection::Bypass).with_profile(EVERYTHING),
        everything(Inspection::Strict).with_profile(refusing),
    ]
    .map(unhurried)
    .into()
}

/// A record without what the two clocks make different.
fn timeless(flow: Flow) -> Flow {
    shadow::timeless(Flow { last_seen: 0, created: 0, handshake_micros: 0, answer_micros: 0, ..flow })
}

fn records(subject: &mut impl Subject) -> BTreeMap<Vec<u8>, (FlowKey, Flow, bool)> {
    use zerocopy::IntoBytes as _;
    subject.flows().into_iter().map(|(key, flow, established)| (key.as_bytes().to_vec(), (key, timeless(flow), established))).collect()
}

fn compare_records(host: &mut World, kernel: &mut Kernel) -> usize {
    let (on_host, in_kernel) = (records(host), records(kernel));
    for (key, record) in &on_host {
        assert_eq!(Some(record), in_kernel.get(key), "the host's record on the left");
    }
    assert_eq!(on_host.len(), in_kernel.len(), "the kernel has records the host has not");
    on_host.len()
}

/// What both tell of a packet, but for times.
fn compare_events(host: &mut World, kernel: &mut Kernel, number: usize) -> usize {
    let timeless = |records: Vec<event::Record>| -> Vec<_> { records.into_iter().map(event::report::timeless).collect() };
    let on_host = timeless(Subject::take_events(host));
    assert_eq!(on_host, timeless(kernel.take_events()), "the events of packet {number}, the host's on the left");
    on_host.len()
}

fn differ(replies: Replies, seed: u64) {
    if !root::available() {
        return;
    }
    let mut host = World::with_room(ROOM as usize, ROOM as usize);
    let mut kernel = Kernel::load(ROOM, ROOM);
    Subject::listen(&mut host, event::Kind::EVERY, u32::MAX);
    kernel.listen(event::Kind::EVERY, u32::MAX);
    let mut events = 0;
    let packets = packets();
    let mut random = fastrand::Rng::with_seed(seed);
    let policies = policies();
    let mut verdicts: BTreeMap<String, usize> = BTreeMap::new();
    let start = Instant::now();
    // The host's world begins at the kernel's moment, so that a flow can be made as much older in one as in the other.
    let beginning = monotonic();
    host.set_clock(beginning);
    for (number, (frame, arrival)) in Stream::new(seed, replies).take(packets).enumerate() {
        if number % POLICY_EVERY == 0 {
            let tables = &policies[(number / POLICY_EVERY) % policies.len()];
            host.load(tables);
            kernel.load(tables);
            let lenient = [0, config_flags::FRAGMENT_BEFORE_FIRST_PASS, config_flags::FRAGMENT_DF_PASS][(number / POLICY_EVERY) % 3];
            host.set_flags(config_flags::TABLE_FULL_PASS | lenient);
            kernel.set_flags(config_flags::TABLE_FULL_PASS | lenient);
        }
        if number % LEAP_EVERY == LEAP_EVERY - 1 {
            leap(&mut host, &mut kernel, &mut random);
        }
        // The kernel's clock goes on meanwhile.
        host.set_clock(beginning.plus(Nanos(u64::try_from(start.elapsed().as_nanos()).expect("a short test"))));
        let (on_host, in_kernel): (Verdict, Verdict) = (host.judge(&frame, arrival), kernel.judge(&frame, arrival));
        assert_eq!(on_host, in_kernel, "host and kernel differ over packet {number} of seed {seed} by {arrival:?}: {}", hex(&frame));
        events += compare_events(&mut host, &mut kernel, number);
        *verdicts.entry(format!("{on_host:?}")).or_default() += 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    let flows = compare_records(&mut host, &mut kernel);
    let counted = kernel.counters();
    assert_eq!(host.counters(), counted);
    assert_eq!((Subject::tally(&mut host), kernel.tally().sent), (kernel.tally(), events as u64));
    println!(
        "seed {seed}, {replies:?}: {packets} packets, {events} events, {flows} flows compared, {:.0} packets/s",
        packets as f64 / seconds
    );
    verdicts.iter().for_each(|(verdict, count)| println!("  {verdict}: {count}"));
    // A stream that meets few of the reasons compares little.
    assert!(events > packets / 10, "only {events} events");
    assert!(verdicts.len() >= 25, "only {} different verdicts", verdicts.len());
}

/// Makes a few flows older, by times around the timeouts.
fn leap(host: &mut World, kernel: &mut Kernel, random: &mut fastrand::Rng) {
    use zerocopy::IntoBytes as _;
    let mut flows = Subject::flows(host);
    flows.sort_by_key(|(key, _, _)| key.as_bytes().to_vec());
    for (key, flow, _) in flows {
        if random.u8(..16) == 0 {
            // Never near the end of a flow's time: the clocks differ by milliseconds.
            let by = Nanos::from_millis(if random.bool() { flow.timeout / 25 * 7 } else { flow.timeout * 2 });
            // A machine that was booted a moment ago has no such past.
            if by.0 + Nanos::from_millis(1000).0 > flow.last_seen {
                continue;
            }
            Subject::age(host, &key, by);
            kernel.age(&key, by);
        }
    }
}

#[test]
fn host_and_kernel_agree_with_replies_from_the_box() {
    differ(Replies::Egress, seed());
}

#[test]
fn host_and_kernel_agree_with_replies_by_an_interface() {
    differ(Replies::Ingress, seed().wrapping_add(1));
}
