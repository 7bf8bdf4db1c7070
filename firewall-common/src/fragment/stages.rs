//! The three places in a packet's path that have to do with fragments, see [`crate::fragment`].

use super::{
    Fragment, FragmentKey,
    datagram::{Extent, datagram_flags},
};
use crate::{
    account::{Event, NO_RULE, Outcome},
    config::config_flags,
    env::{Env, InsertError},
    flow::{Flow, FlowKey},
    packet::Packet,
    parse::Kind,
    pipeline::{self, Step},
    reason::Reason,
    rule::ZONE_SELF,
    seq::Seq,
    track::piece,
    verdict::Verdict,
    visit::Visit,
};

/// A first fragment, before its flow is asked: [`Step::Done`] when its datagram refuses it.
#[inline(always)]
pub fn first<P: Packet, E: Env>(_packet: &P, env: &E, visit: &mut Visit, outcome: &mut Outcome) -> Step {
    let key = FragmentKey::of(&visit.descriptor);
    let Some(found) = env.fragment(&key) else { return Step::Unknown };
    let (identity, visit) = (key.identity(), &*visit);
    let compared = env.with_fragment(&found, |record| {
        // Its own zone's datagram is none of its business: the flow will say what becomes of a packet from elsewhere.
        if record.identity != identity || record.over(visit.now) || record.zone != came_from(visit) {
            return Ok(());
        }
        record.enter(&Extent::of(&visit.descriptor), false)
    });
    match compared {
        Some(Ok(())) => Step::Unknown,
        Some(Err(reason)) => refuse(outcome, reason),
        None => refuse(outcome, Reason::FragmentBusy),
    }
}

/// A first fragment, when it is settled what becomes of it: what its later fragments need is remembered. It is dropped after all when that
/// fails, or when another CPU let a fragment pass meanwhile that does not go with it.
#[inline(always)]
pub fn remember<P: Packet, E: Env>(_packet: &P, env: &E, visit: &mut Visit, outcome: &mut Outcome) -> Step {
    let visit = &*visit;
    let key = FragmentKey::of(&visit.descriptor);
    if !outcome.verdict.passes() {
        if visit.settings.flags & config_flags::FRAGMENT_BEFORE_FIRST_PASS != 0 {
            deny(env, &key, visit);
        }
        return Step::Done;
    }
    let (identity, flags) = (key.identity(), first_flags(env, visit, outcome.verdict));
    let rule = outcome.rule;
    let inserted = env.insert_fragment(&key, |record| {
        open(record, identity, visit);
        note_first(record, flags, rule, visit);
    });
    match inserted {
        Ok(()) => return Step::Done,
        Err(InsertError::Exists) => {}
        Err(InsertError::Refused) => return refuse(outcome, Reason::FragmentInsertFailed),
    }
    let Some(found) = env.fragment(&key) else { return refuse(outcome, Reason::FragmentInsertFailed) };
    let begun = env.with_fragment(&found, |record| {
        begin(record, identity, visit)?;
        note_first(record, flags, rule, visit);
        Ok(())
    });
    match begun {
        Some(Ok(())) => Step::Done,
        Some(Err(reason)) => refuse(outcome, reason),
        None => refuse(outcome, Reason::FragmentBusy),
    }
}

/// A later fragment: [`Step::Done`] when it is settled what becomes of it, [`Step::Current`] when its flow must be asked. The descriptor
/// then says what its first fragment was.
#[inline(always)]
pub fn later<P: Packet, E: Env>(_packet: &P, env: &E, visit: &mut Visit, outcome: &mut Outcome) -> Step {
    let key = FragmentKey::of(&visit.descriptor);
    let Some(found) = env.fragment(&key) else {
        *outcome = alone(env, &key, visit);
        return Step::Done;
    };
    let identity = key.identity();
    let mut inherited = Inherited::refused(Reason::FragmentBusy);
    let entered = env.with_fragment(&found, |record| join(record, identity, visit));
    if let Some(entered) = entered {
        inherited = entered;
    }
    *outcome = Outcome::new(inherited.verdict, inherited.rule, Event::None);
    if inherited.has_flow { Step::Current } else { Step::Done }
}

/// Counts an admitted fragment on its flow, which must be there and allowed. [`Step::Stale`] when it must be judged again first.
#[inline(always)]
pub fn follow<P: Packet, E: Env>(_packet: &P, env: &E, visit: &mut Visit, outcome: &mut Outcome) -> Step {
    let visit = &*visit;
    let (found, established) = match env.established(&visit.descriptor.key) {
        Some(found) => (found, true),
        None => match env.embryonic(&visit.descriptor.key) {
            Some(found) => (found, false),
            None => return refuse(outcome, Reason::FragmentFlowGone),
        },
    };
    if env.glance(&found).generation != visit.settings.generation && !visit.revalidated {
        return Step::Stale;
    }
    let counted = if established {
        env.with_established(&found, |flow| count(flow, visit))
    } else {
        env.with_embryonic(&found, |flow| count(flow, visit))
    };
    *outcome = Outcome::new(counted.verdict, counted.rule, Event::None);
    Step::Done
}

/// What a later fragment has of its first one. Every field has a value whatever the verdict, see `Tracked` in [`crate::pipeline`].
#[derive(Clone, Copy, Debug)]
struct Inherited {
    verdict: Verdict,
    has_flow: bool,
    rule: u16,
}

impl Inherited {
    #[inline(always)]
    const fn refused(reason: Reason) -> Self {
        Self { verdict: Verdict::Drop(reason), has_flow: false, rule: NO_RULE }
    }

    #[inline(always)]
    const fn passes(rule: u16, has_flow: bool) -> Self {
        Self { verdict: Verdict::NoLearn, has_flow, rule }
    }
}

#[inline(always)]
fn refuse(outcome: &mut Outcome, reason: Reason) -> Step {
    *outcome = Outcome::dropped(reason);
    Step::Done
}

#[inline(always)]
fn came_from(visit: &Visit) -> u8 {
    if visit.arrival.egress { ZONE_SELF } else { visit.arrival.zone }
}

/// Makes the record that of a datagram whose fragment at hand is the first to arrive. Its lock stays as it is.
#[inline(always)]
fn open(record: &mut Fragment, identity: u32, visit: &Visit) {
    let extent = Extent::of(&visit.descriptor);
    record.identity = identity;
    record.since = visit.now.0;
    record.generation = 0;
    record.base = 0;
    record.rule = NO_RULE;
    record.flags = 0;
    record.zone = came_from(visit);
    (record.source_port, record.destination_port, record.service) = ([0; 2], [0; 2], [0; 2]);
    (record.protocol, record.kind) = (0, 0);
    record.restart(&extent);
}

/// [`datagram_flags`] of a first fragment that passes.
#[inline(always)]
fn first_flags<E: Env>(env: &E, visit: &Visit, verdict: Verdict) -> u8 {
    let descriptor = &visit.descriptor;
    let has_flow = env.established(&descriptor.key).is_some() || env.embryonic(&descriptor.key).is_some();
    let teaches = matches!(descriptor.kind, Kind::Tcp) && matches!(verdict, Verdict::Learn);
    datagram_flags::FIRST | if has_flow { datagram_flags::FLOW } else { 0 } | if teaches { datagram_flags::TEACHES } else { 0 }
}

/// What later fragments inherit from a first one that passes.
#[inline(always)]
fn note_first(record: &mut Fragment, flags: u8, rule: u16, visit: &Visit) {
    let descriptor = &visit.descriptor;
    record.flags = record.flags & !datagram_flags::DENIED | flags;
    record.generation = visit.settings.generation;
    record.base = descriptor.segment.end().sub(descriptor.fragment_length()).0;
    record.rule = rule;
    record.source_port = descriptor.source_port().to_be_bytes();
    record.destination_port = descriptor.destination_port().to_be_bytes();
    record.service = descriptor.service;
    record.protocol = descriptor.key.protocol;
    record.kind = descriptor.kind as u8;
}

/// A first fragment whose datagram has a record already: of an earlier datagram, or of fragments that came before it.
#[inline(always)]
fn begin(record: &mut Fragment, identity: u32, visit: &Visit) -> Result<(), Reason> {
    if record.identity != identity {
        return Err(Reason::FragmentInsertFailed);
    }
    if record.over(visit.now) {
        open(record, identity, visit);
        return Ok(());
    }
    if record.zone != came_from(visit) {
        return Err(Reason::WrongZone);
    }
    record.enter(&Extent::of(&visit.descriptor), true)
}

/// The first fragment came after others, and was dropped: so is what is still to come.
#[inline(always)]
fn deny<E: Env>(env: &E, key: &FragmentKey, visit: &Visit) {
    let Some(found) = env.fragment(key) else { return };
    let identity = key.identity();
    let _ = env.with_fragment(&found, |record| {
        if record.identity == identity && !record.has(datagram_flags::FIRST) && record.zone == came_from(visit) {
            record.flags |= datagram_flags::DENIED;
        }
    });
}

/// A later fragment of a datagram with a record.
#[inline(always)]
fn join(record: &mut Fragment, identity: u32, visit: &mut Visit) -> Inherited {
    let before_first = visit.settings.flags & config_flags::FRAGMENT_BEFORE_FIRST_PASS != 0;
    if record.identity != identity {
        return Inherited::refused(Reason::FragmentNoFirst);
    }
    if record.expired(visit.now) {
        if !before_first {
            return Inherited::refused(Reason::FragmentNoFirst);
        }
        open(record, identity, visit);
        return Inherited::passes(NO_RULE, false);
    }
    if record.zone != came_from(visit) {
        return Inherited::refused(Reason::WrongZone);
    }
    let first = record.has(datagram_flags::FIRST);
    if record.has(datagram_flags::DENIED) || !(before_first || first) {
        return Inherited::refused(Reason::FragmentNoFirst);
    }
    let extent = Extent::of(&visit.descriptor);
    if let Err(reason) = record.enter(&extent, true) {
        return Inherited::refused(reason);
    }
    if !first {
        return Inherited::passes(NO_RULE, false);
    }
    if record.has(datagram_flags::FLOW) {
        speak_for_first(record, &extent, visit);
        return Inherited::passes(record.rule, true);
    }
    // Without a flow there is nothing to judge anew: the verdict holds as long as the policy that gave it.
    if record.generation != visit.settings.generation {
        return Inherited::refused(Reason::FragmentFlowGone);
    }
    Inherited::passes(record.rule, false)
}

/// Gives the descriptor what its first fragment's flow is found and judged by.
#[inline(always)]
fn speak_for_first(record: &Fragment, extent: &Extent, visit: &mut Visit) {
    let descriptor = &mut visit.descriptor;
    let (low, high) = if descriptor.source_is_low {
        (record.source_port, record.destination_port)
    } else {
        (record.destination_port, record.source_port)
    };
    (descriptor.key.low_port, descriptor.key.high_port) = (low, high);
    descriptor.key.protocol = record.protocol;
    descriptor.service = record.service;
    descriptor.kind = record.kind();
    if record.has(datagram_flags::TEACHES) {
        descriptor.segment.seq = Seq(record.base).add(extent.start);
        descriptor.segment.length = extent.end - extent.start;
    }
}

/// A later fragment of a datagram nothing is known of.
#[inline(always)]
fn alone<E: Env>(env: &E, key: &FragmentKey, visit: &Visit) -> Outcome {
    if visit.settings.flags & config_flags::FRAGMENT_BEFORE_FIRST_PASS == 0 {
        return Outcome::dropped(Reason::FragmentNoFirst);
    }
    let identity = key.identity();
    match env.insert_fragment(key, |record| open(record, identity, visit)) {
        Ok(()) => Outcome::new(Verdict::NoLearn, NO_RULE, Event::None),
        // Another fragment of it came a moment earlier, on another CPU: what that one covers is not known here.
        Err(InsertError::Exists) => Outcome::dropped(Reason::FragmentBusy),
        Err(InsertError::Refused) => Outcome::dropped(Reason::FragmentInsertFailed),
    }
}

/// Pure, so that it can run inside the flow's lock.
#[inline(always)]
fn count(flow: &mut Flow, visit: &Visit) -> Inherited {
    if flow.identity != FlowKey::identity(&visit.descriptor.key) || flow.expired(visit.now, visit.settings.timeout_scale) {
        return Inherited::refused(Reason::FragmentFlowGone);
    }
    let sender = flow.sender(visit.descriptor.source_is_low);
    if !pipeline::from_right_zone(visit, flow, sender) {
        return Inherited { rule: flow.rule, ..Inherited::refused(Reason::WrongZone) };
    }
    piece::count(flow, sender, &visit.descriptor);
    Inherited::passes(flow.rule, true)
}
