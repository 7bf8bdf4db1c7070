//! A rule's limits, in stage *admit*: how many flows the rule may have, how many of them not yet confirmed by both sides, how many new ones a
//! second, all together and from each source. Only first packets are held against them; what a limit refuses has made no flow.
//!
//! ## Counting
//! What is alive is what has begun less what has ended, each a number that only goes up (and wraps): [`Count`]. A flow begins to count when it
//! is admitted, and says so in its record ([`flow_marks::LIMITED`]); it ends when its connection is over (a record in time-wait counts
//! no more) or the dataplane removes it, and ceases to be embryonic when both sides have confirmed it. What the dataplane does not see (entries the kernel evicts, flows the controller removes) the controller's
//! sweep makes good within about a second: it counts the flows that say they count, and moves `ended` by what is missing or too much beyond
//! the flows that came and went while it counted. So a count may be wrong by as many as those, for one sweep; and a rule that is shut lets
//! nothing begin, so that its count is exact after the next sweep, whatever was lost. A difference below zero is read as nothing alive: no
//! mistake locks a rule shut.
//!
//! Every limit is kept by one atomic addition whose result decides. Two CPUs that ask for the last place at once may both be refused; they
//! never both get it. A source whose entry the kernel evicts for want of room begins at nothing again, until the sweep has counted.
//! A connection that its endpoints begin anew on a record in time-wait without a SYN that the policy judged
//! ([`crate::track::handshake::rebase`]) does not count again.
//!
//! ## Rates
//! New flows are counted in seconds of the monotonic clock: no more than the limit begin in any of them, and so no more than twice as many in
//! a second that lies across two.

mod counts;

pub use counts::{Count, Counts, Limits, Source};

use crate::{
    env::{Env, Removed},
    event::Kind,
    flow::{Flow, FlowKey, flow_flags, flow_marks},
    reason::Reason,
    rule::{Rule, rule_flags},
    time::Nanos,
    visit::Visit,
};

/// Sources of all rules together that are remembered.
pub const MAX_SOURCES: u32 = 65_536;
const SECOND: u64 = 1_000_000_000;

/// A 32-bit word of [`Counts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    FlowsBegun,
    FlowsEnded,
    EmbryonicBegun,
    EmbryonicEnded,
}

/// A 64-bit word of [`Counts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    Window,
    Told,
}

/// Flows begun in one second of the clock: the second's number in the upper half, how many they were in the lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window(u64);

impl Window {
    #[inline(always)]
    const fn first(second: u64) -> Self {
        Self(second << 32 | 1)
    }

    #[inline(always)]
    const fn is_before(self, second: u64) -> bool {
        self.0 >> 32 < second
    }

    #[inline(always)]
    const fn begun(self) -> u64 {
        self.0 & 0xffff_ffff
    }
}

/// Counts a first packet's flow, or says which limit it is over: nothing of it is counted then.
///
/// # Errors
/// The limit's reason.
#[inline(never)]
pub fn take<E: Env>(env: &E, visit: &mut Visit, rule: &Rule) -> Result<(), Reason> {
    let limits = &rule.limits;
    let Some(all) = env.counts_of_rule(rule.number) else { return Err(Reason::LimitUnknown) };
    let own = if limits.by_source() {
        let source = Source::new(rule.number, *visit.descriptor.source());
        let Some(own) = env.counts_of_source(&source, true) else { return Err(Reason::LimitUnknown) };
        Some(own)
    } else {
        None
    };
    let refused = match over(env, &all, own.as_ref(), limits, 1) {
        Some(reason) => Some(reason),
        None => count(env, &all, own.as_ref(), limits, visit.now),
    };
    let Some(reason) = refused else { return Ok(()) };
    if let Some(own) = own
        && rule.flags & rule_flags::OVERLOAD != 0
        && is_of_source(reason)
        && first_this_second(env, &own, visit.now)
    {
        visit.tell |= Kind::Overload.told();
    }
    Err(reason)
}

/// Counts the flow, and takes that back when another CPU was first or too many have begun in this second.
#[inline(always)]
fn count<E: Env>(env: &E, all: &E::Counts, own: Option<&E::Counts>, limits: &Limits, now: Nanos) -> Option<Reason> {
    begin(env, all);
    if let Some(own) = own {
        begin(env, own);
    }
    let mut refused = over(env, all, own, limits, 0);
    let second = now.0 / SECOND;
    if refused.is_none() && own.is_some_and(|own| !within(env, own, second, limits.source_new_per_second)) {
        refused = Some(Reason::SourceNewFlowRate);
    }
    if refused.is_none() && !within(env, all, second, limits.new_per_second) {
        refused = Some(Reason::NewFlowRate);
    }
    if refused.is_some() {
        end(env, all, true);
        if let Some(own) = own {
            end(env, own, true);
        }
    }
    refused
}

/// The first limit that is exceeded when so many `more` flows are added to those that are counted.
#[inline(always)]
fn over<E: Env>(env: &E, all: &E::Counts, own: Option<&E::Counts>, limits: &Limits, more: u32) -> Option<Reason> {
    let exceeds = |counts: &E::Counts, begun: Word, ended: Word, limit: u32| {
        // Ended first: what ends between the two reads is then alive, not missing.
        let ended = env.read_count(counts, ended);
        let count = Count { begun: env.read_count(counts, begun).wrapping_add(more), ended };
        limit != 0 && count.alive() > limit
    };
    if exceeds(all, Word::FlowsBegun, Word::FlowsEnded, limits.flows) {
        return Some(Reason::FlowLimit);
    }
    if exceeds(all, Word::EmbryonicBegun, Word::EmbryonicEnded, limits.embryonic) {
        return Some(Reason::EmbryonicLimit);
    }
    let own = own?;
    if exceeds(own, Word::FlowsBegun, Word::FlowsEnded, limits.source_flows) {
        return Some(Reason::SourceFlowLimit);
    }
    if exceeds(own, Word::EmbryonicBegun, Word::EmbryonicEnded, limits.source_embryonic) {
        return Some(Reason::SourceEmbryonicLimit);
    }
    None
}

/// True when one more flow may begin in this second; it is then counted.
#[inline(always)]
fn within<E: Env>(env: &E, counts: &E::Counts, second: u64, limit: u32) -> bool {
    if limit == 0 {
        return true;
    }
    let seen = Window(env.read_mark(counts, Mark::Window));
    if seen.is_before(second) && env.exchange_mark(counts, Mark::Window, seen.0, Window::first(second).0) == seen.0 {
        return true;
    }
    // Another CPU has begun this second, or a later one: the clock it read may be a tick ahead.
    if Window(env.read_mark(counts, Mark::Window)).begun() >= u64::from(limit) {
        return false;
    }
    Window(env.add_to_mark(counts, Mark::Window)).begun() < u64::from(limit)
}

/// True once in a second for each source, on whatever CPU.
#[inline(always)]
fn first_this_second<E: Env>(env: &E, own: &E::Counts, now: Nanos) -> bool {
    // From 1 on, for 0 stands for never.
    let second = now.0 / SECOND + 1;
    let told = env.read_mark(own, Mark::Told);
    told < second && env.exchange_mark(own, Mark::Told, told, second) == told
}

#[inline(always)]
const fn is_of_source(reason: Reason) -> bool {
    matches!(reason, Reason::SourceFlowLimit | Reason::SourceEmbryonicLimit | Reason::SourceNewFlowRate)
}

#[inline(always)]
fn begin<E: Env>(env: &E, counts: &E::Counts) {
    env.add_to_count(counts, Word::FlowsBegun);
    env.add_to_count(counts, Word::EmbryonicBegun);
}

#[inline(always)]
fn end<E: Env>(env: &E, counts: &E::Counts, embryonic: bool) {
    env.add_to_count(counts, Word::FlowsEnded);
    if embryonic {
        env.add_to_count(counts, Word::EmbryonicEnded);
    }
}

/// Whom a flow counts against. A number, for it comes out of the flow's lock: the rule in the lower half, and two bits above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder(u32);

impl Holder {
    const LIMITED: u32 = 1 << 16;
    const INITIATOR_LOW: u32 = 1 << 17;
    const NOBODY: Self = Self(0);

    #[inline(always)]
    #[must_use]
    pub const fn of(flow: &Flow) -> Self {
        if flow.marks & flow_marks::LIMITED == 0 {
            return Self::NOBODY;
        }
        let low = if flow.has(flow_flags::INITIATOR_LOW) { Self::INITIATOR_LOW } else { 0 };
        Self(flow.rule as u32 | Self::LIMITED | low)
    }

    #[inline(always)]
    const fn is_nobody(self) -> bool {
        self.0 & Self::LIMITED == 0
    }

    #[inline(always)]
    const fn rule(self) -> u16 {
        self.0 as u16
    }

    #[inline(always)]
    const fn source(self, key: &FlowKey) -> Source {
        Source::new(self.rule(), if self.0 & Self::INITIATOR_LOW == 0 { key.high } else { key.low })
    }
}

/// What of a flow has ended: all of it, or its being embryonic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Established,
    Embryonic,
    Handshake,
}

#[inline(always)]
fn ended<E: Env>(env: &E, key: &FlowKey, holder: Holder, what: Ended) {
    if holder.is_nobody() {
        return;
    }
    let note = |counts: &E::Counts| match what {
        Ended::Established => end(env, counts, false),
        Ended::Embryonic => end(env, counts, true),
        Ended::Handshake => env.add_to_count(counts, Word::EmbryonicEnded),
    };
    if let Some(all) = env.counts_of_rule(holder.rule()) {
        note(&all);
    }
    if let Some(own) = env.counts_of_source(&holder.source(key), false) {
        note(&own);
    }
}

/// A flow that was counted has not been made after all.
#[inline(never)]
pub fn give_back<E: Env>(env: &E, visit: &Visit, rule: u16) {
    let low = if visit.descriptor.source_is_low { Holder::INITIATOR_LOW } else { 0 };
    ended(env, &visit.descriptor.key, Holder(u32::from(rule) | Holder::LIMITED | low), Ended::Embryonic);
}

/// Both sides have confirmed the flow.
#[inline(never)]
pub fn established<E: Env>(env: &E, key: &FlowKey, holder: Holder) {
    ended(env, key, holder, Ended::Handshake);
}

/// Removes a flow from its table and from what is counted.
#[inline(never)]
pub fn forget<E: Env>(env: &E, key: &FlowKey) {
    let holder = match env.established(key) {
        Some(found) => env.with_established(&found, |flow| Holder::of(flow)),
        None => match env.embryonic(key) {
            Some(found) => env.with_embryonic(&found, |flow| Holder::of(flow)),
            None => Holder::NOBODY,
        },
    };
    match env.remove(key) {
        Removed::Nothing => {}
        Removed::Embryonic => ended(env, key, holder, Ended::Embryonic),
        // Whoever moved it up has counted that its handshake is over.
        Removed::Established => ended(env, key, holder, Ended::Established),
    }
}

/// The connection is over: its record stays for a while, and counts no longer.
#[inline(never)]
pub fn close<E: Env>(env: &E, key: &FlowKey) {
    let cease = |flow: &mut Flow| {
        let holder = Holder::of(flow);
        flow.marks &= !flow_marks::LIMITED;
        holder
    };
    if let Some(found) = env.established(key) {
        ended(env, key, env.with_established(&found, cease), Ended::Established);
    } else if let Some(found) = env.embryonic(key) {
        ended(env, key, env.with_embryonic(&found, cease), Ended::Embryonic);
    }
}

/// A new policy has taken the flow from its rule, or that rule's limits away.
#[inline(never)]
pub fn leave<E: Env>(env: &E, key: &FlowKey, holder: Holder, established: bool) {
    ended(env, key, holder, if established { Ended::Established } else { Ended::Embryonic });
}

/// A new policy has given the flow to a rule with limits, or its rule limits. It goes on whatever they say. `by_source`: some are.
#[inline(never)]
pub fn join<E: Env>(env: &E, key: &FlowKey, holder: Holder, established: bool, by_source: bool) {
    if holder.is_nobody() {
        return;
    }
    let note = |counts: &E::Counts| {
        env.add_to_count(counts, Word::FlowsBegun);
        if !established {
            env.add_to_count(counts, Word::EmbryonicBegun);
        }
    };
    if let Some(all) = env.counts_of_rule(holder.rule()) {
        note(&all);
    }
    if by_source && let Some(own) = env.counts_of_source(&holder.source(key), true) {
        note(&own);
    }
}
