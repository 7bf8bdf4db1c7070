//! `weir trace`: what becomes of a packet, and why, stage by stage.
//!
//! Each packet is judged twice. A second instance of the dataplane's own program runs on it in the kernel, over tables of its own, and gives
//! the verdict, the bytes and the event. The same pipeline runs on the host over a copy of the same tables, and tells what each stage saw.
//! Where the two differ it is said. Nothing of the live instance is written.

mod arrivals;
mod changes;
mod guarding;
mod normalizing;
mod session;
mod stage;
mod story;
mod summary;

use std::collections::HashMap;

use firewall_common::{
    abi::program,
    config::Config,
    event::Kind as EventKind,
    memory::{tables::Tables, world::World},
};

use super::{
    Controller,
    change::check_path,
    held,
    names::{InUse, Names},
    reload, sets,
};
use crate::{
    api::{
        Failure, Kind, MAX_TRACED_BYTES, MAX_TRACED_FRAME, MAX_TRACED_PACKETS, PacketToTrace, TraceRequest, Traced, TracedPolicy,
        TracedProgram, TracedRule,
    },
    clock,
    dataplane::{Pins, Probe},
    hex,
    policy::{self, Defaults, Lowered, Policy},
};
use arrivals::Arrivals;
use session::Session;

/// Room for flows beyond one for each packet: the kernel keeps some places of its tables for each CPU.
const SPARE_ROOM: usize = 2048;

/// A frame as it was on the wire.
struct Frame {
    bytes: Vec<u8>,
    captured: Option<u32>,
    time: Option<jiff::Timestamp>,
}

/// A policy to judge by, as both sides take it.
struct Judging {
    lowered: Lowered,
    names: Names,
    /// Rules by number.
    rules: HashMap<u16, TracedRule>,
    /// What of it the kernel's tables do not hold yet.
    not_in_force: bool,
    config: Config,
    told: TracedPolicy,
    warnings: Vec<String>,
}

impl Controller {
    /// Tells what becomes of packets. Nothing live changes.
    pub fn trace(&self, request: &TraceRequest) -> Result<Traced, Failure> {
        let frames = frames(request)?;
        if request.egress && request.interface.is_none() {
            return Err(Failure::usage("what the box sends needs the interface it leaves by"));
        }
        let judging = self.judging(request)?;
        let arrivals = Arrivals::new(self, request)?;
        let pins = Pins::of(&self.instance);
        let mut placed = Vec::with_capacity(frames.len());
        for (number, frame) in (1..).zip(&frames) {
            placed.push(arrivals.of(&frame.bytes).map_err(|failure| of_packet(number, failure))?);
        }
        let programs: Vec<&'static str> = [(program::INGRESS, false), (program::EGRESS, true)]
            .into_iter()
            .filter(|(_, egress)| placed.iter().any(|place| place.arrival.egress == *egress))
            .map(|(name, _)| name)
            .collect();
        let room = u32::try_from(frames.len() + SPARE_ROOM).unwrap_or(u32::MAX);
        let probe = Probe::load(&pins, room, judging.not_in_force.then_some(&judging.lowered), &programs)?;
        probe.configure(&judging.config);
        arrivals.tell(&probe)?;
        let mut session = Session::new(&self.maps, probe, world(&judging, room), request.fresh)?;
        let mut packets = Vec::with_capacity(frames.len());
        for (number, (frame, place)) in (1..).zip(frames.iter().zip(&placed)) {
            let judged = session.judge(frame, place).map_err(|failure| of_packet(number, failure))?;
            packets.push(story::tell(number, frame, place, &judged, &judging));
        }
        if !judging.not_in_force && self.maps.config.generation() != judging.config.generation {
            return Err(Failure::new(Kind::Conflict, "the policy in force was changed meanwhile").hint("try again"));
        }
        let program = programs.iter().map(|name| tags(session.probe(), &pins, name)).collect::<Result<_, Failure>>()?;
        Ok(Traced { policy: judging.told, program, packets, warnings: judging.warnings })
    }

    /// The policy to judge by, in the numbers of the instance.
    fn judging(&self, request: &TraceRequest) -> Result<Judging, Failure> {
        let mut config = self.maps.config.read();
        (config.event_kinds, config.event_rate) = (EventKind::EVERY, u32::MAX);
        let kept = self.attached_zones();
        let read = match &request.policy {
            Some(path) => {
                check_path(path)?;
                Some(reload::read_with(path, &self.members())?)
            }
            None => None,
        };
        let state = held(&self.policy);
        let in_force = state.in_force.as_ref().ok_or_else(|| Failure::failed("no policy is in force"))?;
        let next = match &read {
            Some(read) => Some(read.policy.clone().with_members(&state.sets.members()).map_err(|error| sets::too_many(&error))?),
            None => None,
        };
        let policy = next.as_ref().unwrap_or(&in_force.policy);
        let in_use: InUse = self.in_use_as_swept(&state, policy, &[], &kept);
        let mut draft = state.names.draft(&in_use);
        let mut lowered =
            policy::lower(policy, &mut draft, &clock::both()).map_err(|error| Failure::new(Kind::Policy, error.to_string()))?;
        if next.is_none() {
            state.sets.bring_up(&mut lowered);
        }
        let names = draft.into_names();
        let told = match &request.policy {
            Some(path) => {
                config = Config { week_began: lowered.week_began, ..settings_of(policy.defaults(), config) };
                // The first slot, and another policy than the one that has judged the live flows.
                config.generation = (config.generation | 1).checked_add(1).unwrap_or(2);
                TracedPolicy { path: path.display().to_string(), in_force: false, generation: None }
            }
            None => {
                config.generation = in_force.generation;
                TracedPolicy { path: in_force.path.display().to_string(), in_force: true, generation: Some(in_force.generation) }
            }
        };
        // How many were answered lately has nothing to do with the packet; that none is to be answered has.
        if config.reject_rate != 0 {
            config.reject_rate = u32::MAX;
        }
        let warnings = read.iter().flat_map(|read| &read.warnings).map(ToString::to_string).collect();
        let rules = rules_by_number(policy, &names);
        Ok(Judging { lowered, names, rules, not_in_force: request.policy.is_some(), config, told, warnings })
    }
}

/// The settings that a policy's defaults ask for.
fn settings_of(defaults: &Defaults, config: Config) -> Config {
    let with = |flags: u32, (flag, on): (u32, bool)| if on { flags | flag } else { flags & !flag };
    let flags = reload::flags_of(defaults).into_iter().fold(config.flags, with);
    Config { flags, reject_rate: defaults.reject_rate, ..config }
}

fn rules_by_number(policy: &Policy, names: &Names) -> HashMap<u16, TracedRule> {
    let rules = policy.rules().iter().filter_map(|rule| {
        let told = TracedRule {
            name: rule.name.clone(),
            file: Some(rule.file.display().to_string()),
            line: Some(rule.line),
            because: rule.because.clone(),
        };
        Some((names.rule_number(&rule.name)?, told))
    });
    rules.collect()
}

/// The world on the host with the same policy and settings.
fn world(judging: &Judging, room: u32) -> World {
    let mut world = World::with_room(room as usize, room as usize);
    let Lowered { entries, profiles, schedules, applications, rows, blocks, addresses, services, week_began: _ } = judging.lowered.clone();
    // Loading makes it the generation after this one, which is the one wanted.
    world.configure(|config| *config = Config { generation: judging.config.generation.wrapping_sub(1), ..judging.config });
    world.load(&Tables { entries, profiles, schedules, applications, rows, blocks, addresses, services });
    world
}

fn tags(probe: &Probe, pins: &Pins, name: &'static str) -> Result<TracedProgram, Failure> {
    let (tag, live) = probe.tags(pins, name)?;
    let text = |tag: u64| format!("{tag:016x}");
    Ok(TracedProgram { name: name.to_owned(), tag: text(tag), live_tag: live.map(text), same: live == Some(tag) })
}

/// The request's frames, within the limits.
fn frames(request: &TraceRequest) -> Result<Vec<Frame>, Failure> {
    let count = request.packets.len();
    if count == 0 {
        return Err(Failure::usage("there is no packet to trace"));
    }
    if count > MAX_TRACED_PACKETS {
        return Err(Failure::usage(format!("{count} packets are more than the {MAX_TRACED_PACKETS} of one trace")));
    }
    let mut total = 0;
    let mut frames = Vec::with_capacity(count);
    for (number, packet) in (1..).zip(&request.packets) {
        let frame = frame(packet).map_err(|failure| of_packet(number, failure))?;
        total += frame.bytes.len();
        if total > MAX_TRACED_BYTES {
            return Err(Failure::usage(format!("the packets have more than the {MAX_TRACED_BYTES} bytes of one trace")));
        }
        frames.push(frame);
    }
    Ok(frames)
}

fn frame(packet: &PacketToTrace) -> Result<Frame, Failure> {
    let mut bytes = hex::read(&packet.frame).ok_or_else(|| Failure::usage("its frame is not written in hexadecimal digits"))?;
    let captured = bytes.len();
    if let Some(length) = packet.length.map(|length| length as usize).filter(|length| *length > captured) {
        bytes.resize(length.min(MAX_TRACED_FRAME + 1), 0);
    }
    if bytes.len() > MAX_TRACED_FRAME {
        return Err(Failure::usage(format!("its frame has more than {MAX_TRACED_FRAME} bytes")));
    }
    let cut = (bytes.len() != captured).then(|| u32::try_from(captured).unwrap_or(u32::MAX));
    Ok(Frame { bytes, captured: cut, time: packet.time })
}

fn of_packet(number: usize, failure: impl Into<Failure>) -> Failure {
    let failure = failure.into();
    Failure { error: format!("packet {number}: {}", failure.error), ..failure }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_captured_is_zero() {
        let packet = PacketToTrace { frame: "0102".to_owned(), length: Some(5), time: None };
        let frame = frame(&packet).expect("a frame");
        assert_eq!((frame.bytes, frame.captured), (vec![1, 2, 0, 0, 0], Some(2)));
    }

    #[test]
    fn limits_are_named() {
        let packets = |count| TraceRequest { packets: vec![PacketToTrace::default(); count], ..TraceRequest::default() };
        assert!(frames(&packets(0)).is_err_and(|failure| failure.error.contains("no packet")));
        assert!(frames(&packets(4097)).is_err_and(|failure| failure.error.contains("4096")));
        let long = PacketToTrace { length: Some(65_001), ..PacketToTrace::default() };
        assert!(frame(&long).is_err_and(|failure| failure.error.contains("65000")));
        let heavy = PacketToTrace { length: Some(65_000), ..PacketToTrace::default() };
        let request = TraceRequest { packets: vec![heavy; 70], ..TraceRequest::default() };
        assert!(frames(&request).is_err_and(|failure| failure.error.contains("4194304")));
    }
}
