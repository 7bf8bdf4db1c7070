//! The packet's path, from top to bottom:
//!
//! ```text
//! parse → fragment → sanity → lookup ─ hit ─→ revalidate → track ─→ account
//!                         │         └ miss → classify → admit ──┘      ↑
//!                         └ ICMP error → relate ───────────────────────┘
//! ```
//!
//! Stage *guard* stands before *track* and after it, for flows whose rule has one. Stage *normalize* stands at several places: before and
//! while a flow's record is changed, and at the end, where a packet that passes is changed itself.
//!
//! Every packet goes through [`pipeline`], in every program, and leaves through [`account`](crate::account::account).

use crate::{
    account::{self, Event, NO_RULE, Outcome},
    admit::{self, Admission},
    answer, application,
    classify::{self, Decision, Zones},
    config::config_flags,
    env::{Env, InsertError, Notice},
    event::{Kind as Told, report},
    evidence,
    flow::{Flow, FlowKey, Inspection, Sender, State, features, flow_flags, flow_marks, peer_flags},
    fragment, guard,
    limit::{self, Holder},
    neighbour,
    normalize::{self, randomize},
    packet::Packet,
    parse::Kind,
    quality,
    reason::Reason,
    relate,
    rule::{Action, Rule, ZONE_SELF, rule_flags},
    sanity,
    time::Nanos,
    track::{
        self, Context, Next, carry, shadow,
        steady::{self, Taken},
        timeout,
    },
    verdict::Verdict,
    visit::Visit,
};

/// Judges one frame and counts it. The visit, [`Visit::new`] when it begins, then holds what the packet is.
#[inline(always)]
pub fn pipeline<P: Packet, E: Env>(packet: &P, env: &E, visit: &mut Visit) -> Verdict {
    // It stays where it is written: a copy would read at once what was written in parts, which takes a CPU longest of all.
    let mut outcome = Outcome::dropped(Reason::NoPolicy);
    let judged = match judge(packet, env, visit, &mut outcome) {
        Ok(Step::Steady) => return account::steady(env, visit, outcome.rule),
        Ok(Step::Needed) => return account::past_window(env, visit, outcome.rule),
        Ok(_) => change(packet, env, visit, &outcome),
        Err(reason) => Err(reason),
    };
    if let Err(reason) = judged {
        outcome = Outcome::dropped(reason);
    }
    if let Verdict::Drop(reason) = outcome.verdict
        && evidence::concerns(reason)
    {
        env.refused(visit, &mut outcome);
    }
    if visit.settings.event_kinds | u32::from(visit.tell) != 0 && report::kind(&outcome).is_some() {
        env.report(visit, &mut outcome);
    }
    if visit.guard.turned != 0 {
        guard::tell(env, visit);
    }
    account::account(env, visit, &outcome)
}

/// Stage *normalize*, last part: a packet that passes is changed as its flow's profile wants it.
#[inline(always)]
fn change<P: Packet, E: Env>(packet: &P, env: &E, visit: &mut Visit, outcome: &Outcome) -> Result<(), Reason> {
    if visit.edits.changes == 0 || !outcome.verdict.passes() { Ok(()) } else { env.rewrite(packet, visit) }
}

/// Settles the packet's outcome; all of it but for [`Step::Steady`] and [`Step::Needed`].
#[inline(always)]
fn judge<P: Packet, E: Env>(packet: &P, env: &E, visit: &mut Visit, outcome: &mut Outcome) -> Result<Step, Reason> {
    if visit.arrival.place == 0 {
        return Err(Reason::NotOurInterface);
    }
    packet.describe(visit.arrival.egress, &mut visit.descriptor)?;
    if matches!(visit.descriptor.kind, Kind::Link) {
        *outcome = Outcome::new(Verdict::NoLearn, NO_RULE, Event::Link);
        return Ok(Step::Done);
    }
    fragment::check(&visit.descriptor, visit.settings.flags)?;
    sanity::check(&visit.descriptor)?;
    match visit.descriptor.kind {
        Kind::LinkScope => {
            neighbour::check(packet, &visit.descriptor)?;
            *outcome = Outcome::new(Verdict::NoLearn, NO_RULE, Event::None);
            return Ok(Step::Done);
        }
        Kind::LaterFragment => {
            later_fragment(packet, env, visit, outcome);
            return Ok(Step::Done);
        }
        _ => {}
    }
    if matches!(visit.descriptor.kind, Kind::IcmpError) && matches!(relate::relate(packet, env, visit, outcome), Step::Done) {
        return Ok(Step::Done);
    }
    if visit.descriptor.piece.more && matches!(env.first_fragment(packet, visit, outcome), Step::Done) {
        return Ok(Step::Done);
    }
    let mut step = look_up(packet, env, visit, outcome);
    if matches!(step, Step::Stale) {
        step = env.revalidate(packet, visit, outcome);
        if matches!(step, Step::Current) {
            // What another CPU makes of the flow's generation meanwhile does not matter: this packet has been judged.
            visit.revalidated = true;
            step = look_up(packet, env, visit, outcome);
        }
    }
    if matches!(step, Step::Look) {
        if matches!(visit.descriptor.kind, Kind::Tcp)
            && let Err(reason) = env.check(packet, visit)
        {
            outcome.verdict = Verdict::Drop(reason);
            return Ok(Step::Done);
        }
        if visit.guard.wants != 0
            && let Err(reason) = env.guard(packet, visit)
        {
            outcome.verdict = Verdict::Drop(reason);
            return Ok(Step::Done);
        }
        if visit.edits.features & features::LOOKED_AT != 0 {
            env.look(packet, visit);
        }
        visit.revalidated = true;
        step = look_up(packet, env, visit, outcome);
    }
    if matches!(step, Step::Over) {
        report::ended(env, visit, Event::Expired);
        limit::forget(env, &visit.descriptor.key);
    }
    match step {
        Step::Steady | Step::Needed => return Ok(step),
        Step::Done => tracked_to_its_end(packet, env, visit, outcome),
        _ => env.first(packet, visit, outcome),
    }
    if visit.descriptor.piece.more {
        env.remember_fragment(packet, visit, outcome);
    }
    Ok(Step::Done)
}

/// What is left to do for a packet of a known flow. Not where it is tracked: all that is called from there adds to one stack.
#[inline(always)]
fn tracked_to_its_end<P: Packet, E: Env>(packet: &P, env: &E, visit: &mut Visit, outcome: &Outcome) {
    if visit.learned {
        normalize::after(env, visit, visit.numbers.other_ack);
        if visit.guard.wants != 0 {
            env.teach_guard(visit);
        }
    }
    if visit.observed && quality::concerns(&visit.descriptor) {
        env.observe(packet, visit);
    }
    if application::note(visit, outcome) {
        env.learn(packet, visit);
    }
    if matches!(outcome.event, Event::Over) {
        limit::close(env, &visit.descriptor.key);
    }
}

/// A later fragment: its datagram's first one was judged, and is judged again when the policy has changed since.
#[inline(always)]
fn later_fragment<P: Packet, E: Env>(packet: &P, env: &E, visit: &mut Visit, outcome: &mut Outcome) {
    if matches!(env.later_fragment(packet, visit, outcome), Step::Done) {
        return;
    }
    let mut step = env.follow_fragment(packet, visit, outcome);
    if matches!(step, Step::Stale) {
        step = env.revalidate(packet, visit, outcome);
        if matches!(step, Step::Current) {
            visit.revalidated = true;
            step = env.follow_fragment(packet, visit, outcome);
        }
    }
    // While its flow was looked for it spoke for the first fragment; whoever comes now must not take it for a whole packet.
    visit.descriptor.kind = Kind::LaterFragment;
    if !matches!(step, Step::Done) {
        *outcome = Outcome::dropped(Reason::FragmentFlowGone);
    }
}

/// Stage *lookup*: the established table first, for most packets are of established flows.
#[inline(always)]
fn look_up<P: Packet, E: Env>(packet: &P, env: &E, visit: &mut Visit, outcome: &mut Outcome) -> Step {
    match env.confirmed(packet, visit, outcome) {
        Step::Unknown => match env.unconfirmed(packet, visit, outcome) {
            Step::Moved => env.confirmed(packet, visit, outcome),
            step => step,
        },
        step => step,
    }
}

/// How far a packet has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// Its outcome is settled.
    Done = 0,
    /// No flow has its key.
    Unknown = 1,
    /// Its flow was last judged by another policy than the one in force.
    Stale = 2,
    /// Its flow has just been judged anew, and goes on.
    Current = 3,
    /// Its flow is over: it must be judged as a first packet.
    First = 4,
    /// Its flow's profile wants a look at it first: stage *normalize*.
    Look = 5,
    /// It was an ordinary segment of a steady flow: it passes, is learned from, and nothing else is to be done. Only the rule is in its
    /// outcome.
    Steady = 7,
    /// Its flow was established on another CPU while the packet was tracked: the record it was tracked in is no longer the flow's.
    Moved = 6,
    /// As [`Self::Steady`], of a flow under bypass; strict inspection would have dropped it for lying past the window.
    Needed = 8,
    /// Its flow's time was over, or it begins another one in its place: that is to be told and the flow forgotten, and the packet to be judged as
    /// a first one.
    Over = 9,
}

impl Step {
    /// The step with this number; a number that is none asks for everything to be judged.
    #[inline(always)]
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Done,
            1 => Self::Unknown,
            2 => Self::Stale,
            3 => Self::Current,
            5 => Self::Look,
            6 => Self::Moved,
            7 => Self::Steady,
            8 => Self::Needed,
            9 => Self::Over,
            _ => Self::First,
        }
    }
}

/// What a flow's record says of a packet. Every field has a value whatever the verdict: in the kernel an undefined one may be a register
/// with a pointer in it, which the verifier lets nobody store in part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tracked {
    verdict: Verdict,
    next: Next,
    rule: u16,
    /// [`Visit::needed`].
    needed: u8,
}

impl Tracked {
    /// A verdict that nothing was tracked for.
    #[inline(always)]
    const fn untracked(verdict: Verdict, next: Next, rule: u16) -> Self {
        Self { verdict, next, rule, needed: 0 }
    }
}

/// Takes the packet into the flow's record. A record that is not this flow's any more, or whose time is over, asks for the packet to be
/// judged as a first one.
#[inline(always)]
fn track_packet(visit: &mut Visit, now: Nanos, flow: &mut Flow, rule: &Rule) -> Tracked {
    if flow.identity != FlowKey::identity(&visit.descriptor.key) || flow.expired(now, visit.settings.timeout_scale) {
        return Tracked::untracked(Verdict::NoLearn, Next::Reopen, NO_RULE);
    }
    let sender = flow.sender(visit.descriptor.source_is_low);
    if !from_right_zone(visit, flow, sender) {
        return Tracked::untracked(Verdict::Drop(Reason::WrongZone), Next::Stay, flow.rule);
    }
    if rule.flags & rule_flags::SANITY_OFF == 0 && sanity::check_flags(&visit.descriptor).is_err() {
        return Tracked::untracked(Verdict::Drop(Reason::BadTcpFlags), Next::Stay, flow.rule);
    }
    if matches!(sender, Sender::Responder) && flow.responder_interface == 0 && !visit.arrival.egress {
        flow.responder_interface = visit.arrival.place;
    }
    let round_trip = flow.handshake_round_trip(sender);
    let (from, to) = flow.peers_mut(sender);
    visit.numbers.take(from, to, round_trip);
    let merged = visit.arrival.egress || visit.software;
    let generation = visit.settings.generation;
    let context = Context {
        descriptor: &visit.descriptor,
        sender,
        now,
        generation,
        timeouts: &rule.timeouts,
        expires: Nanos(rule.expires),
        checks: rule.checks,
        guarded: rule.flags & rule_flags::GUARDED != 0,
        merged,
    };
    let transition = track::step(flow, &context);
    Tracked { verdict: transition.verdict, next: transition.next, rule: flow.rule, needed: transition.needed }
}

/// Takes an ordinary segment into the record of a steady flow and returns the flow's rule, with [`PAST_WINDOW`] where that is to be counted;
/// [`NO_RULE`] when the segment must take the long way, [`track_packet`].
#[inline(always)]
fn track_ordinary(visit: &Visit, flow: &mut Flow) -> u32 {
    let sender = flow.sender(visit.descriptor.source_is_low);
    let known = flow.marks & flow_marks::STEADY != 0
        && flow.identity == FlowKey::identity(&visit.descriptor.key)
        && !flow.expired(visit.now, visit.settings.timeout_scale)
        && from_right_zone(visit, flow, sender);
    if !known {
        return u32::from(NO_RULE);
    }
    match steady::advance(flow, &visit.descriptor, sender, visit.now) {
        Taken::Not => u32::from(NO_RULE),
        Taken::InOrder => u32::from(flow.rule),
        Taken::PastWindow => u32::from(flow.rule) | PAST_WINDOW,
    }
}

/// Beside a rule's number: [`Taken::PastWindow`].
const PAST_WINDOW: u32 = 1 << 16;

/// The zone the packet came from must be that of the side that sent it: a spoofed source does not get into a flow from elsewhere.
#[inline(always)]
pub(crate) fn from_right_zone(visit: &Visit, flow: &Flow, sender: Sender) -> bool {
    let came_from = if visit.arrival.egress { ZONE_SELF } else { visit.arrival.zone };
    let expected = match sender {
        Sender::Initiator => flow.from_zone,
        Sender::Responder => flow.to_zone,
    };
    came_from == expected
}

/// Stage *revalidate*, second half: the flow goes on under the rule that the policy in force gives it. Returns whose limits it counted
/// against before, and does now.
#[inline(always)]
fn adopt(visit: &Visit, flow: &mut Flow, decision: &Decision, rule: &Rule) -> (Holder, Holder) {
    let before = Holder::of(flow);
    flow.generation = visit.settings.generation;
    flow.rule = decision.rule;
    flow.entry = decision.entry;
    // A connection that is over, and only waits for what may still be on its way, counts against nothing.
    let marks = if flow.marks & flow_marks::OVER == 0 { admit::marks_under(rule) } else { 0 };
    flow.marks = flow.marks & !(flow_marks::LIMITED | flow_marks::LOGGED) | marks;
    let inspection = guard::proof::adopted_level(flow, rule, decision.inspection());
    track::relevel(flow, visit.descriptor.kind, inspection);
    flow.timeout = timeout::of(flow, visit.descriptor.key.protocol, &rule.timeouts);
    (before, Holder::of(flow))
}

/// True when the time of the flow's rule is over: no flow outlives its rule, whether or not a controller is there to make that a new policy.
#[inline(always)]
const fn is_over(visit: &Visit, rule: &Rule) -> bool {
    rule.expires != 0 && visit.now.0 >= rule.expires && !visit.revalidated
}

/// Stage *track* for a flow in the established table.
#[inline(always)]
pub fn confirmed<P: Packet, E: Env>(_packet: &P, env: &E, visit: &mut Visit, outcome: &mut Outcome) -> Step {
    let Some(found) = env.established(&visit.descriptor.key) else { return Step::Unknown };
    let glance = env.glance(&found);
    if glance.generation != visit.settings.generation && !visit.revalidated {
        return Step::Stale;
    }
    if glance.marks & flow_marks::STEADY != 0 && steady::is_ordinary(&visit.descriptor) {
        let rule = env.with_established(&found, |flow| track_ordinary(visit, flow));
        if rule != u32::from(NO_RULE) {
            outcome.rule = rule as u16;
            return if rule & PAST_WINDOW == 0 { Step::Steady } else { Step::Needed };
        }
    }
    tell_of_end(visit, glance.marks);
    let Some(rule) = env.rule(visit.slot(), u32::from(glance.entry)) else { return Step::Done };
    if is_over(visit, rule) {
        return Step::Stale;
    }
    if normalize::asks(visit, rule, glance.features, true) | guard::asks(visit, rule, true) {
        *outcome = Outcome::new(Verdict::Drop(Reason::NoPolicy), rule.number, Event::None);
        return Step::Look;
    }
    let now = visit.now;
    let tracked = env.with_established(&found, |flow| track_packet(visit, now, flow, rule));
    visit.needed = tracked.needed;
    visit.learned = matches!(tracked.verdict, Verdict::Learn);
    visit.observed = tracked.verdict.passes() && !matches!(tracked.next, Next::Reopen);
    conclude(&tracked, outcome)
}

/// Stage *track* for a flow in the embryonic table.
#[inline(always)]
pub fn unconfirmed<P: Packet, E: Env>(_packet: &P, env: &E, visit: &mut Visit, outcome: &mut Outcome) -> Step {
    let Some(found) = env.embryonic(&visit.descriptor.key) else { return Step::Unknown };
    let glance = env.glance(&found);
    if glance.generation != visit.settings.generation && !visit.revalidated {
        return Step::Stale;
    }
    tell_of_end(visit, glance.marks);
    let Some(rule) = env.rule(visit.slot(), u32::from(glance.entry)) else { return Step::Done };
    if is_over(visit, rule) {
        return Step::Stale;
    }
    if normalize::asks(visit, rule, glance.features, false) | guard::asks(visit, rule, false) {
        *outcome = Outcome::new(Verdict::Drop(Reason::NoPolicy), rule.number, Event::None);
        return Step::Look;
    }
    // A handshake is timed by it, and what it says holds for the rest of the packet's way: the clock of ticks lags behind what began the flow.
    let now = env.precise_now();
    visit.now = now;
    let tracked = env.with_embryonic(&found, |flow| track_packet(visit, now, flow, rule));
    visit.needed = tracked.needed;
    let establish = match tracked.next {
        Next::Establish => true,
        Next::EstablishOneSided => env.count_one_sided(tracked.rule) < rule.one_sided_quota,
        Next::Stay | Next::Reopen | Next::Over => false,
    };
    if !establish {
        // The other direction's packet may have moved the flow meanwhile, without what this one has taught: a server that answers
        // before the third packet (RFC 7413 §4.2) sends while that one is judged. Then it teaches once more, where the flow is now.
        if matches!(tracked.verdict, Verdict::Learn) && env.established(&visit.descriptor.key).is_some() {
            return Step::Moved;
        }
        return conclude(&tracked, outcome);
    }
    *outcome = establish_flow(env, visit, &found, &tracked, rule);
    Step::Done
}

/// The end of a logged rule's flow is told, should this packet bring it.
#[inline(always)]
fn tell_of_end(visit: &mut Visit, marks: u8) {
    if marks & flow_marks::LOGGED != 0 {
        visit.tell |= Told::Closed.told();
    }
}

/// Stage *revalidate*: the policy has changed since it last judged the flow, so it judges it again, as it would the flow's first
/// packet. A flow that it no longer allows ends here.
#[inline(always)]
pub fn revalidate<P: Packet, E: Env>(_packet: &P, env: &E, visit: &mut Visit, outcome: &mut Outcome) -> Step {
    let (found, established) = match env.established(&visit.descriptor.key) {
        Some(found) => (found, true),
        None => match env.embryonic(&visit.descriptor.key) {
            Some(found) => (found, false),
            None => return Step::First,
        },
    };
    let by = if established {
        env.with_established(&found, |flow| judged_by(flow, visit))
    } else {
        env.with_embryonic(&found, |flow| judged_by(flow, visit))
    };
    visit.to_zone = by.zones.to;
    tell_of_end(visit, env.glance(&found).marks);
    if by.gone {
        report::ended(env, visit, Event::Expired);
        limit::forget(env, &visit.descriptor.key);
        return Step::First;
    }
    let decision = match classify::classify(env, visit, by.zones, by.reversed) {
        Ok(decision) if matches!(decision.action(), Action::Allow) => decision,
        Err(Reason::NoPolicy) => return Step::Done,
        Ok(_) | Err(_) => {
            report::ended(env, visit, Event::Denied);
            limit::forget(env, &visit.descriptor.key);
            *outcome = Outcome::dropped(Reason::AclDrop);
            return Step::Done;
        }
    };
    let Some(rule) = env.rule(visit.slot(), u32::from(decision.entry)) else { return Step::Done };
    let (before, after) = if established {
        env.with_established(&found, |flow| adopt(visit, flow, &decision, rule))
    } else {
        env.with_embryonic(&found, |flow| adopt(visit, flow, &decision, rule))
    };
    if before != after {
        limit::leave(env, &visit.descriptor.key, before, established);
        limit::join(env, &visit.descriptor.key, after, established, rule.limits.by_source());
    }
    Step::Current
}

/// What a live flow's first packet was judged by.
#[derive(Clone, Copy, Debug)]
struct JudgedBy {
    /// The record changed hands, or its time was over before the new policy saw it: a longer time does not bring it back.
    gone: bool,
    zones: Zones,
    reversed: bool,
}

#[inline(always)]
fn judged_by(flow: &Flow, visit: &Visit) -> JudgedBy {
    JudgedBy {
        gone: flow.identity != FlowKey::identity(&visit.descriptor.key) || flow.expired(visit.now, visit.settings.timeout_scale),
        zones: Zones { from: flow.from_zone, to: flow.to_zone },
        reversed: matches!(flow.sender(visit.descriptor.source_is_low), Sender::Responder),
    }
}

/// Moves a flow that both sides have confirmed (or a one-sided bypass flow within its quota) to the established table.
#[inline(always)]
fn establish_flow<E: Env>(env: &E, visit: &Visit, found: &E::Found, tracked: &Tracked, rule: &Rule) -> Outcome {
    if matches!(tracked.next, Next::EstablishOneSided) {
        env.with_embryonic(found, |flow| flow.flags |= flow_flags::ONE_SIDED);
    }
    match env.promote(&visit.descriptor.key, found) {
        Ok(()) => {
            carry_over(env, visit, found);
            let holder = env.with_embryonic(found, |flow| Holder::of(flow));
            limit::established(env, &visit.descriptor.key, holder);
            env.retire(&visit.descriptor.key);
            Outcome::new(tracked.verdict, tracked.rule, Event::Established)
        }
        Err(InsertError::Exists) => Outcome::new(tracked.verdict, tracked.rule, Event::None),
        Err(InsertError::Refused) => {
            env.notice(Notice::EstablishedFull);
            if visit.settings.flags & config_flags::TABLE_FULL_PASS == 0 {
                // The sender will try again; the record must then be where it was.
                env.with_embryonic(found, |flow| step_back(flow, visit.descriptor.key.protocol, rule));
                Outcome::dropped(Reason::FlowTableFull)
            } else {
                Outcome::new(tracked.verdict, tracked.rule, Event::None)
            }
        }
    }
}

/// The other direction's packet may have taught the embryonic record something after it was copied, and before the copy was to be found.
/// What comes later finds the copy: see [`unconfirmed`].
#[inline(always)]
fn carry_over<E: Env>(env: &E, visit: &Visit, found: &E::Found) {
    if !matches!(visit.descriptor.kind, Kind::Tcp) {
        return;
    }
    if let Some(established) = env.established(&visit.descriptor.key) {
        env.with_established(&established, |flow| env.with_embryonic(found, |late| carry::over(flow, late)));
    }
}

/// Undoes the state of a flow that found no room, so that the packet's repetition asks for room again.
#[inline(always)]
fn step_back(flow: &mut Flow, protocol: u8, rule: &Rule) {
    // A flow that came back from bypass has no handshake to go back to.
    if flow.state == State::Established as u8 && !flow.responder.has(peer_flags::MIDSTREAM) {
        flow.state = State::SynReceived as u8;
    } else if flow.state == State::Stream as u8 {
        flow.state = State::Single as u8;
    }
    flow.flags &= !(flow_flags::REPLIED | flow_flags::ONE_SIDED);
    flow.marks &= !flow_marks::STEADY;
    flow.timeout = timeout::of(flow, protocol, &rule.timeouts);
}

/// Settles a tracked packet's outcome, unless its flow is over and it must be judged as a first one.
#[inline(always)]
const fn conclude(tracked: &Tracked, outcome: &mut Outcome) -> Step {
    if matches!(tracked.next, Next::Reopen) {
        return Step::Over;
    }
    let event = if matches!(tracked.next, Next::Over) { Event::Over } else { Event::None };
    *outcome = Outcome::new(tracked.verdict, tracked.rule, event);
    Step::Done
}

/// A first packet: stages *classify* and *admit*.
#[inline(always)]
pub fn first<P: Packet, E: Env>(packet: &P, env: &E, visit: &mut Visit, outcome: &mut Outcome) {
    *outcome = match try_first(packet, env, visit) {
        Ok(outcome) => outcome,
        Err(reason) => {
            // No rule has decided that.
            visit.tell = 0;
            Outcome::dropped(reason)
        }
    };
}

#[inline(always)]
fn try_first<P: Packet, E: Env>(packet: &P, env: &E, visit: &mut Visit) -> Result<Outcome, Reason> {
    normalize::begin_anew(visit);
    guard::begin_anew(visit);
    let zones = classify::zones(env, visit)?;
    visit.to_zone = zones.to;
    let decision = classify::classify(env, visit, zones, false)?;
    let Some(rule) = env.rule(visit.slot(), u32::from(decision.entry)) else { return Err(Reason::NoPolicy) };
    if rule.flags & rule_flags::LOGGED != 0 {
        visit.tell |= Told::Begun.told() | Told::Dropped.told();
    }
    match decision.action() {
        Action::Drop => return Ok(Outcome::new(Verdict::Drop(Reason::AclDrop), decision.rule, Event::Decided)),
        Action::Reject => return Ok(reject(env, visit, &decision)),
        Action::Allow => {}
    }
    if rule.flags & rule_flags::SANITY_OFF == 0 {
        sanity::check_flags(&visit.descriptor)?;
    }
    let features = randomize::of_first(&visit.descriptor, rule);
    if normalize::asks(visit, rule, features, false)
        && let Err(reason) = env.check(packet, visit)
    {
        return Ok(Outcome::new(Verdict::Drop(reason), decision.rule, Event::None));
    }
    admit::check(&visit.descriptor, decision.inspection())?;
    if guard::asks(visit, rule, false)
        && let Err(reason) = env.guard(packet, visit)
    {
        return Ok(Outcome::new(Verdict::Drop(reason), decision.rule, Event::None));
    }
    if application::is_looked_for(&visit.descriptor) {
        env.look(packet, visit);
    }
    let limited = rule.flags & rule_flags::LIMITED != 0;
    if limited && let Err(reason) = limit::take(env, visit, rule) {
        return Ok(Outcome::new(Verdict::Drop(reason), decision.rule, Event::Decided));
    }
    let admitted = admit::admit(env, visit, &Admission { decision, zones, features, rule });
    if limited && !matches!(admitted, Ok(Verdict::Learn)) {
        limit::give_back(env, visit, decision.rule);
    }
    let verdict = admitted?;
    if matches!(decision.inspection(), Inspection::Bypass) && matches!(visit.descriptor.kind, Kind::Tcp) {
        visit.needed = shadow::refuse_first(&visit.descriptor.segment).map_or(0, |reason| reason as u8);
    }
    if features != 0 && matches!(verdict, Verdict::NoLearn) {
        // Another CPU's flow, or none: then nothing would shift its answers back.
        let randomized = env.embryonic(&visit.descriptor.key).is_some_and(|found| env.glance(&found).features & features != 0);
        if !randomized {
            randomize::undo(visit);
        }
    }
    let event = if matches!(verdict, Verdict::Learn) { Event::Created } else { Event::None };
    Ok(Outcome::new(verdict, decision.rule, event))
}

/// A refused packet is answered when it came in by a network, is whole, and no more were answered lately than the policy allows.
#[inline(always)]
fn reject<E: Env>(env: &E, visit: &Visit, decision: &Decision) -> Outcome {
    let answerable = !visit.arrival.egress && answer::answerable(&visit.descriptor);
    let verdict = if answerable && env.may_answer(visit.now) { Verdict::Answer } else { Verdict::Drop(Reason::Reject) };
    Outcome::new(verdict, decision.rule, Event::Decided)
}
