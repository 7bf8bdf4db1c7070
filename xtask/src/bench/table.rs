//! The dataplane's tables as the benchmark fills them: one rule, flows in full conversation.

use std::{fs, os::fd::AsRawFd};

use anyhow::{Context, Result};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap, Map, MapData},
};
use firewall_common::{
    abi::map,
    config::{Config, FULL_SCALE, Interface},
    flow::{Address, Endpoint, Flow, FlowKey, Inspection, LAYOUT_VERSION, State, features, flow_flags, flow_marks, peer_flags},
    normalize::{Profile, randomize},
    rule::{Action, Block, FIXED_ROWS, Row, Rule, Timeouts},
    track::shadow,
};

/// Even: the policy lies in slot 0.
const GENERATION: u32 = 2;
/// PROG_TEST_RUN's frames come in by the loopback device.
const LOOPBACK: u32 = 1;
const ZONE: u8 = 1;
const QUOTA: u32 = 4096;
pub const TCP: u8 = 6;

/// As firewall-ebpf's `bench` drives them.
const INITIATORS: u32 = 0x0a00_0000;
const RESPONDER: [u8; 4] = [203, 0, 113, 1];
const INITIATOR_PORT: u16 = 40_000;
const RESPONDER_PORT: u16 = 443;
const INITIATOR_FIRST: u32 = 1_000;
const RESPONDER_FIRST: u32 = 2_000;

/// Loads the object with room for `capacity` established flows and one rule that allows everything.
pub fn load(object: &[u8], capacity: u32) -> Result<Ebpf> {
    let mut ebpf = EbpfLoader::new().map_max_entries(map::ESTABLISHED, capacity).load(object).context("cannot load the programs")?;
    array::<Interface>(&mut ebpf, map::INTERFACES)?.set(LOOPBACK, Interface { zone: ZONE, place: 1, flags: 0, reserved: 0 }, 0)?;
    let settings =
        Config { layout: LAYOUT_VERSION, generation: GENERATION, timeout_scale: FULL_SCALE, reject_rate: 100, ..Config::default() };
    array::<Config>(&mut ebpf, map::CONFIG)?.set(0, settings, 0)?;
    let (mut first, mut row) = (Block::EMPTY, Row::EMPTY);
    first.0[0] = 1;
    row.summary[0] = 1;
    array::<Block>(&mut ebpf, map::BLOCKS)?.set(0, first, 0)?;
    let mut rows = array::<Row>(&mut ebpf, map::ROWS)?;
    for number in 0..FIXED_ROWS as u32 {
        rows.set(number, row, 0)?;
    }
    Ok(ebpf)
}

/// Makes the one rule inspect as said, with this normalizer profile.
pub fn set_rule(ebpf: &mut Ebpf, inspection: Inspection, profile: &Profile) -> Result<()> {
    const PROFILE: u8 = 1;
    array::<Profile>(ebpf, map::PROFILES)?.set(PROFILE.into(), *profile, 0)?;
    let rule = Rule {
        action: Action::Allow as u8,
        inspection: inspection as u8,
        profile: PROFILE,
        checks: profile.checks,
        one_sided_quota: QUOTA,
        timeouts: Timeouts::DEFAULT,
        ..Rule::default()
    };
    Ok(array::<Rule>(ebpf, map::RULES)?.set(0, rule, 0)?)
}

/// Makes every flow be judged by the rule as it is now: a policy is never changed in place, and the dataplane does not look for that.
pub fn unsettle(ebpf: &mut Ebpf) -> Result<()> {
    let established = ebpf.map_mut(map::ESTABLISHED).context("no table of established flows")?;
    let mut established: HashMap<_, FlowKey, Flow> = HashMap::try_from(established)?;
    let keys: Vec<FlowKey> = established.keys().collect::<Result<_, _>>()?;
    for key in keys {
        let flow = established.get(&key, 0)?;
        established.insert(key, Flow { marks: flow.marks & !flow_marks::STEADY, ..flow }, 0)?;
    }
    Ok(())
}

/// A typed handle on an array of the object.
pub fn array<'a, T: aya::Pod>(ebpf: &'a mut Ebpf, name: &str) -> Result<Array<&'a mut MapData, T>> {
    Ok(Array::try_from(ebpf.map_mut(name).with_context(|| format!("no map {name}"))?)?)
}

/// Replaces all established flows by `count` fresh ones.
pub fn fill(ebpf: &mut Ebpf, count: u64, inspection: Inspection) -> Result<()> {
    let established = ebpf.map_mut(map::ESTABLISHED).context("no table of established flows")?;
    let mut established: HashMap<_, FlowKey, Flow> = HashMap::try_from(established)?;
    let old: Vec<FlowKey> = established.keys().collect::<Result<_, _>>()?;
    for key in old {
        established.remove(&key)?;
    }
    for number in 0..count {
        let (key, flow) = flow(number as u32, inspection);
        established.insert(key, flow, 0)?;
    }
    Ok(())
}

fn flow(number: u32, inspection: Inspection) -> (FlowKey, Flow) {
    let initiator = Endpoint { address: Address::v4((INITIATORS | number).to_be_bytes()), port: INITIATOR_PORT };
    let responder = Endpoint { address: Address::v4(RESPONDER), port: RESPONDER_PORT };
    let (key, initiator_is_low) = FlowKey::new(TCP, initiator, responder);
    let now = now();
    let state = if matches!(inspection, Inspection::Bypass) { State::Bypass } else { State::Established };
    let mut flow = Flow {
        generation: GENERATION,
        last_seen: now,
        created: now,
        timeout: Timeouts::DEFAULT.established,
        state: state as u8,
        inspection: inspection as u8,
        flags: flow_flags::REPLIED | if initiator_is_low { flow_flags::INITIATOR_LOW } else { 0 },
        from_zone: ZONE,
        to_zone: ZONE,
        identity: key.identity(),
        ..Flow::default()
    };
    if matches!(inspection, Inspection::Bypass) {
        shadow::set_state(&mut flow, State::Established as u8);
    }
    let window = u32::from(u16::MAX);
    for (peer, first, other) in
        [(&mut flow.initiator, INITIATOR_FIRST, RESPONDER_FIRST), (&mut flow.responder, RESPONDER_FIRST, INITIATOR_FIRST)]
    {
        peer.end = first;
        peer.isn = first - 1;
        peer.ack = other;
        peer.edge = other + window;
        peer.max_window = window;
        peer.flags = peer_flags::SYN | peer_flags::SYN_ACKED;
    }
    (key, flow)
}

/// Makes the one flow's numbers shifted from now on, or no longer; tells by how much, the initiator's and the responder's.
pub fn set_randomized(ebpf: &mut Ebpf, on: bool) -> Result<[u32; 2]> {
    let secret = array::<Config>(ebpf, map::CONFIG)?.get(&0, 0)?.secret;
    let established = ebpf.map_mut(map::ESTABLISHED).context("no table of established flows")?;
    let mut established: HashMap<_, FlowKey, Flow> = HashMap::try_from(established)?;
    let key = established.keys().next().context("one flow")??;
    let mut flow = established.get(&key, 0)?;
    flow.features = if on { features::RANDOMIZED } else { 0 };
    established.insert(key, flow, 0)?;
    let (low, high) = randomize::offsets(&secret, &key);
    Ok(if flow.flags & flow_flags::INITIATOR_LOW != 0 { [low, high] } else { [high, low] })
}

/// The monotonic clock, as the dataplane reads it.
pub fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    (time.tv_sec as u64) * 1_000_000_000 + time.tv_nsec as u64
}

/// Bytes the kernel has allocated for the table of established flows, as it accounts them.
pub fn established_bytes(ebpf: &Ebpf) -> Result<u64> {
    bytes(ebpf, map::ESTABLISHED)
}

/// Bytes the kernel has allocated for a map, as it accounts them.
pub fn bytes(ebpf: &Ebpf, name: &str) -> Result<u64> {
    let Some(Map::HashMap(data) | Map::Array(data) | Map::LpmTrie(data)) = ebpf.map(name) else { anyhow::bail!("no map {name}") };
    let descriptor = data.fd().as_fd_raw();
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}"))?;
    let line = info.lines().find_map(|line| line.strip_prefix("memlock:")).context("the kernel does not say how large the map is")?;
    Ok(line.trim().parse()?)
}

trait RawDescriptor {
    fn as_fd_raw(&self) -> i32;
}

impl RawDescriptor for aya::maps::MapFd {
    fn as_fd_raw(&self) -> i32 {
        use std::os::fd::AsFd;
        self.as_fd().as_raw_fd()
    }
}
