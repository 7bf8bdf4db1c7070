//! The stage's two moments: before tracking a packet is judged, after it one that has passed teaches.

use super::{Saw, Turn, carried, proof, wants};
use crate::{
    env::Env,
    flow::{Flow, FlowKey, Inspection, Sender},
    packet::Packet,
    pipeline::from_right_zone,
    reason::Reason,
    rule::Rule,
    seq::Seq,
    visit::Visit,
    wire::{
        ipsec::{FIRST_SPI, Security},
        tcp::flags,
    },
};

/// How a packet stands to the record that has its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Standing {
    /// It is not of this flow, or its flow is over: tracking will see to it.
    Stranger = 0,
    /// Its flow is inspected strictly, and must prove itself.
    Unproven = 1,
    /// Its flow is bypassed, or needs no proof.
    Guarded = 2,
}

/// Judges a packet by its flow's guards, before its record or the record's shadow learns from it.
///
/// # Errors
/// [`Reason::GuardInsertFailed`], and every other reason of the stage.
#[inline(always)]
pub fn check<P: Packet, E: Env>(packet: &P, env: &E, visit: &mut Visit) -> Result<(), Reason> {
    let asked = visit.guard.wants;
    if asked & wants::ESTABLISHED == 0 && asked & wants::CTCP != 0 {
        // Strict inspection judges the handshake.
        return Ok(());
    }
    let read = carried::read(packet, env, visit);
    visit.guard.saw = match read {
        Ok(saw) => saw as u8,
        Err(_) => Saw::Other as u8,
    };
    if asked & wants::ESTABLISHED == 0 {
        return by_shape(visit, read);
    }
    let Some(found) = env.established(&visit.descriptor.key) else { return Ok(()) };
    let (standing, watched) = env.with_established(&found, |flow| {
        let watched = flow.guard & proof::bits::WATCHED != 0;
        (standing(visit, flow), watched)
    });
    if standing == Standing::Stranger as u8 {
        return Ok(());
    }
    // Begun also for a flow that has yet to prove itself: what it is refused for is counted there.
    let kinds = u32::from(asked & !wants::ESTABLISHED);
    if env.with_guard(&visit.descriptor.key, |guard| guard.asked(kinds, watched)).is_none() {
        env.insert_guard(&visit.descriptor.key)?;
    }
    if standing == Standing::Unproven as u8 {
        return Ok(());
    }
    let judged = match read {
        Err(reason) => Err(reason),
        Ok(_) => by_window(env, visit),
    };
    let Err(reason) = judged else { return Ok(()) };
    let low = visit.descriptor.source_is_low;
    let _ = env.with_guard(&visit.descriptor.key, |guard| {
        let side = guard.side_mut(low);
        side.refused = side.refused.saturating_add(1);
    });
    if read.is_err() && asked & wants::CTCP != 0 {
        oppose(env, visit);
    }
    Err(reason)
}

/// Without an established flow there is no window yet, only what no packet may be.
#[inline(always)]
fn by_shape(visit: &Visit, read: Result<Saw, Reason>) -> Result<(), Reason> {
    match read? {
        Saw::Security if visit.guard.spi < FIRST_SPI => Err(Reason::GuardEspSpi),
        Saw::Security if visit.guard.sequence == 0 => Err(Reason::GuardEspSequenceZero),
        _ => Ok(()),
    }
}

/// A number, for what an enum compiles to is told apart by calls.
#[inline(always)]
fn standing(visit: &Visit, flow: &mut Flow) -> u8 {
    let sender = flow.sender(visit.descriptor.source_is_low);
    if flow.identity != FlowKey::identity(&visit.descriptor.key)
        || flow.expired(visit.now, visit.settings.timeout_scale)
        || !from_right_zone(visit, flow, sender)
    {
        return Standing::Stranger as u8;
    }
    flow.guard |= proof::bits::WATCHED;
    if visit.guard.wants & wants::CTCP != 0 && flow.inspection != Inspection::Bypass as u8 {
        Standing::Unproven as u8
    } else {
        Standing::Guarded as u8
    }
}

/// Compares an ESP or AH packet with its direction's window, and an IKE message with how many there have been.
#[inline(always)]
fn by_window<E: Env>(env: &E, visit: &mut Visit) -> Result<(), Reason> {
    let (saw, low, now) = (visit.guard.saw, visit.descriptor.source_is_low, visit.now);
    if visit.guard.wants & wants::ESP == 0 || !Saw::proves(saw) {
        return Ok(());
    }
    let ike = saw == Saw::Ike as u8;
    let security = Security { spi: visit.guard.spi, sequence: Seq(visit.guard.sequence) };
    let judged = env.with_guard(&visit.descriptor.key, |guard| {
        let side = guard.side(low);
        if ike {
            return (if side.admits_ike(now) { 0 } else { Reason::GuardIkeRate as u32 }, 0);
        }
        let refused = side.refuse(security, now, guard.side(!low).renewed);
        (refused, side.expected(security.spi, refused))
    });
    // It was there a moment ago; without it nothing can be compared.
    let Some((refused, expected)) = judged else { return Err(Reason::GuardInsertFailed) };
    visit.guard.expected = expected;
    if refused == 0 { Ok(()) } else { Err(Reason::from_number(refused as u8).unwrap_or(Reason::GuardEspReplay)) }
}

/// A segment without a good trailer on a proven flow.
#[expect(
    clippy::redundant_closure,
    reason = "a function that is handed over is called, not inlined, and kernel 6.1 takes no call under a lock"
)]
#[inline(always)]
fn oppose<E: Env>(env: &E, visit: &mut Visit) {
    if with_flow(env, visit, |flow, sender, rule| proof::oppose(flow, sender, rule)) {
        visit.guard.turned = Turn::NoTrailer as u8;
    }
}

/// Takes a packet that has passed, and that its flow's record has learned from, into what its guards remember.
#[expect(
    clippy::redundant_closure,
    reason = "a function that is handed over is called, not inlined, and kernel 6.1 takes no call under a lock"
)]
#[inline(always)]
pub fn learn<E: Env>(env: &E, visit: &mut Visit) {
    if visit.guard.wants & wants::ESTABLISHED == 0 {
        return;
    }
    let (saw, low, now) = (visit.guard.saw, visit.descriptor.source_is_low, visit.now);
    if visit.guard.wants & wants::ESP != 0 && Saw::proves(saw) {
        let ike = saw == Saw::Ike as u8;
        let security = Security { spi: visit.guard.spi, sequence: Seq(visit.guard.sequence) };
        let _ = env.with_guard(&visit.descriptor.key, |guard| {
            let (side, other) = guard.sides_mut(low);
            if ike {
                side.take_ike(now);
            } else {
                side.take(security, now, &mut other.renewed);
            }
        });
    }
    if visit.guard.wants & wants::CTCP == 0 {
        return;
    }
    if visit.descriptor.segment.flags & (flags::SYN | flags::ACK) == flags::SYN | flags::ACK {
        handshake(env, visit);
    } else if Saw::proves(saw) {
        if with_flow(env, visit, |flow, sender, rule| proof::support(flow, sender, rule)) {
            visit.guard.turned = Turn::Proven as u8;
        }
    } else if saw == Saw::Other as u8 {
        with_flow(env, visit, |flow, _, _| {
            proof::interrupt(flow);
            false
        });
    }
}

/// The responder of a proven flow answers a SYN: a new connection, which has to prove itself. A SYN alone shows nothing, for anybody may forge it.
#[inline(always)]
fn handshake<E: Env>(env: &E, visit: &mut Visit) {
    let ended = with_flow(env, visit, |flow, sender, rule| {
        let ends = proof::is_proven(flow) && matches!(sender, Sender::Responder);
        if ends {
            proof::end(flow, rule);
        }
        ends
    });
    if ended {
        visit.guard.turned = Turn::Handshake as u8;
    }
}

/// Changes the packet's flow under its lock, if it is still the packet's, and its rule that of the policy in force.
#[inline(always)]
fn with_flow<E: Env>(env: &E, visit: &Visit, change: impl FnOnce(&mut Flow, Sender, &Rule) -> bool) -> bool {
    let Some(found) = env.established(&visit.descriptor.key) else { return false };
    let Some(rule) = env.rule(visit.slot(), u32::from(env.glance(&found).entry)) else { return false };
    let (identity, low) = (FlowKey::identity(&visit.descriptor.key), visit.descriptor.source_is_low);
    env.with_established(&found, |flow| {
        if flow.identity != identity || flow.generation != visit.settings.generation {
            return false;
        }
        let sender = flow.sender(low);
        change(flow, sender, rule)
    })
}
