//! What the pipeline asks of the world. The kernel side answers with maps and helpers, tests with an in-memory world.

use crate::{
    account::Outcome,
    application::{self, Applications},
    classify::Policies,
    counter::{Counters, RuleCounters},
    event,
    evidence::{self, Evidence, Stranger},
    flow::{Address, Flow, FlowKey},
    fragment::{Fragment, FragmentKey, stages},
    guard::{self, Guard},
    limit::{Mark, Source, Word},
    normalize::{
        self, Profile, Room, check, edit,
        history::History,
        retransmission::{Digest, Start},
    },
    packet::Packet,
    parse::Descriptor,
    pipeline::{self, Step},
    quality::{self, Quality},
    reason::Reason,
    relate,
    time::Nanos,
    visit::Visit,
};

/// Where a packet met the dataplane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Arrival {
    /// Zone of the interface.
    pub zone: u8,
    /// Place of the interface's counters plus one; 0 for an interface that is not ours.
    pub place: u8,
    /// The box itself sends the packet out by this interface.
    pub egress: bool,
}

/// The settings in force while one packet is judged: read once, so that a change never shows half-way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Settings {
    /// Policy generation; its lowest bit is the slot. 0 for none.
    pub generation: u32,
    /// [`crate::config::config_flags`].
    pub flags: u32,
    /// Share of every timeout that applies, in 1/256.
    pub timeout_scale: u32,
    /// Kinds of events somebody listens to, see [`crate::config::Config::event_kinds`].
    pub event_kinds: u32,
}

/// What a first look at an established flow tells without its lock. Each field is one aligned word, written by one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance {
    pub generation: u32,
    /// Place of the rule's entry, valid when `generation` is that in force.
    pub entry: u16,
    /// [`crate::flow::features`].
    pub features: u8,
    /// [`crate::flow::flow_marks`].
    pub marks: u8,
}

/// Why a table took no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsertError {
    /// The key is already there: another CPU was first.
    Exists,
    /// No room, or the kernel's bucket was busy.
    Refused,
}

/// What a removal found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Removed {
    Nothing,
    Embryonic,
    /// It was in the established table, and may have been in the other one too.
    Established,
}

/// Messages for the controller's log: rare by nature, and limited by the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    EstablishedFull,
    EmbryonicRefused,
}

/// The world of the pipeline. Methods take `&self`: in the kernel everything behind them is shared anyway.
pub trait Env: Policies {
    /// A found flow of either table.
    type Found;
    /// A found datagram in fragments.
    type Datagram;
    /// What counts against a rule's limits, found: [`crate::limit::Counts`].
    type Counts;

    /// The time, to a few milliseconds.
    fn now(&self) -> Nanos;
    /// The time to a microsecond: for flows that begin, whose handshake is timed.
    fn precise_now(&self) -> Nanos {
        self.now()
    }
    fn settings(&self) -> Settings;

    /// The flow with this key in the established table.
    fn established(&self, key: &FlowKey) -> Option<Self::Found>;
    /// The flow with this key in the embryonic table.
    fn embryonic(&self, key: &FlowKey) -> Option<Self::Found>;
    fn glance(&self, found: &Self::Found) -> Glance;
    /// Changes an established flow, alone: under its lock. `change` must call nothing of this trait but
    /// [`Self::with_embryonic`].
    fn with_established<R>(&self, found: &Self::Found, change: impl FnOnce(&mut Flow) -> R) -> R;
    /// Changes an embryonic flow. There is no lock: see [`crate::flow`].
    fn with_embryonic<R>(&self, found: &Self::Found, change: impl FnOnce(&mut Flow) -> R) -> R;
    /// Inserts the record that `fill` makes of an all-zero one. (A record on the stack would take a third of the stack there is.)
    ///
    /// # Errors
    /// [`InsertError`].
    fn insert_embryonic(&self, key: &FlowKey, fill: impl FnOnce(&mut Flow)) -> Result<(), InsertError>;
    /// Copies an embryonic flow to the established table. It stays in the other one too, until [`Self::retire`]: it is never in neither.
    /// # Errors
    /// [`InsertError`].
    fn promote(&self, key: &FlowKey, found: &Self::Found) -> Result<(), InsertError>;
    /// Removes a flow that was promoted from the embryonic table.
    fn retire(&self, key: &FlowKey);
    /// Removes the flow from both tables. Who calls it sees to the flow's limits: [`crate::limit::forget`].
    fn remove(&self, key: &FlowKey) -> Removed;

    fn fragment(&self, key: &FragmentKey) -> Option<Self::Datagram>;
    /// Changes a datagram's record, alone: see [`crate::fragment::datagram`]. `None` when another CPU holds it for too long; `change` is
    /// not called then. It must call nothing of this trait.
    fn with_fragment<R>(&self, found: &Self::Datagram, change: impl FnOnce(&mut Fragment) -> R) -> Option<R>;
    /// Inserts the record that `fill` makes of one with a free lock and anything else in it.
    ///
    /// # Errors
    /// [`InsertError`].
    fn insert_fragment(&self, key: &FragmentKey, fill: impl FnOnce(&mut Fragment)) -> Result<(), InsertError>;

    fn profile(&self, slot: u32, number: u8) -> Option<&Profile>;
    /// What is recognised under a slot's policy.
    fn applications(&self, slot: u32) -> Option<&Applications>;
    /// Secret of this firewall's keyed hashes.
    fn secret(&self) -> [u64; 2];
    /// Lends this CPU's room to work on a segment. `work` must not ask for it again.
    fn with_room<R>(&self, work: impl FnOnce(&mut Room) -> R) -> Option<R>;
    /// Reads or changes what is remembered of a flow; `None` when nothing is.
    fn with_history<R>(&self, key: &FlowKey, change: impl FnOnce(&mut History) -> R) -> Option<R>;
    /// Begins a flow's history.
    /// # Errors
    /// [`Reason::HistoryInsertFailed`].
    fn insert_history(&self, key: &FlowKey, history: &History) -> Result<(), Reason>;
    /// Reads or changes what is known of an established flow's quality; `None` when nothing is. `make`: when nothing is there, begin it; it
    /// may find no room.
    fn with_quality<R>(&self, key: &FlowKey, make: bool, change: impl FnOnce(&mut Quality) -> R) -> Option<R>;
    /// Reads or changes what a flow's guards remember, alone; `None` when nothing is. `change` must call nothing of this trait.
    fn with_guard<R>(&self, key: &FlowKey, change: impl FnOnce(&mut Guard) -> R) -> Option<R>;
    /// Begins it with nothing in it, unless it is there.
    /// # Errors
    /// [`Reason::GuardInsertFailed`].
    fn insert_guard(&self, key: &FlowKey) -> Result<(), Reason>;
    /// What is remembered of the data that began here.
    fn digest(&self, start: &Start) -> Option<Digest>;
    /// Remembers data. The table forgets what is oldest, and may forget this one at once.
    fn insert_digest(&self, digest: &Digest);
    /// Zone a forwarded packet leaves by, or the box itself.
    /// # Errors
    /// [`Reason::NoRoute`].
    fn route(&self, descriptor: &Descriptor) -> Result<u8, Reason>;
    /// True when one more rejected packet may be answered now.
    fn may_answer(&self, now: Nanos) -> bool;
    /// Adds one to a rule's one-sided flows and tells how many there were.
    fn count_one_sided(&self, rule: u16) -> u32;

    /// What counts against a rule's limits.
    fn counts_of_rule(&self, rule: u16) -> Option<Self::Counts>;
    /// The same of one source. `make`: when nothing is there, begin it at nothing; it may find no room.
    fn counts_of_source(&self, source: &Source, make: bool) -> Option<Self::Counts>;
    fn read_count(&self, counts: &Self::Counts, word: Word) -> u32;
    /// Adds one, at once for all CPUs.
    fn add_to_count(&self, counts: &Self::Counts, word: Word);
    fn read_mark(&self, counts: &Self::Counts, mark: Mark) -> u64;
    /// Puts `to` where `from` is, at once for all CPUs, and returns what was there.
    fn exchange_mark(&self, counts: &Self::Counts, mark: Mark, from: u64, to: u64) -> u64;
    /// Adds one, at once for all CPUs, and returns what was there.
    fn add_to_mark(&self, counts: &Self::Counts, mark: Mark) -> u64;

    /// `place` as in [`Arrival::place`].
    fn count(&self, place: u8, add: impl FnOnce(&mut Counters));
    fn count_rule(&self, rule: u16, add: impl FnOnce(&mut RuleCounters));
    fn notice(&self, notice: Notice);
    /// Sends an event to those who listen: the record that `fill` makes of an all-zero one. Counted instead when too many of its kind were
    /// sent in this second; those of logged rules are counted apart.
    fn emit(&self, kind: event::Kind, logged: bool, now: Nanos, fill: impl FnOnce(&mut event::Record));

    /// Reads or changes what is remembered of refusals under this key; `None` when nothing is. `make`: begin it at nothing then, unless this
    /// CPU has begun too many lately. `change` must call nothing of this trait but [`Self::with_established`].
    fn with_evidence<R>(
        &self,
        table: evidence::Table,
        key: &FlowKey,
        make: bool,
        now: Nanos,
        change: impl FnOnce(&mut Evidence) -> R,
    ) -> Option<R>;
    /// The same of a source of strays.
    fn with_stranger<R>(&self, source: &Address, make: bool, now: Nanos, change: impl FnOnce(&mut Stranger) -> R) -> Option<R>;

    /// Lends a copy of the visit, for the packet that the visit's packet quotes. The kernel keeps it off the stack, and has none when a map
    /// is not as it must be.
    fn aside<R>(&self, visit: &Visit, with: impl FnOnce(&mut Visit) -> R) -> Option<R> {
        let mut quoted = *visit;
        Some(with(&mut quoted))
    }

    /// Stage *track* for a flow in the established table: [`pipeline::confirmed`], which see. The kernel side makes of this and of the
    /// methods below functions of their own, which the verifier checks once each and not once for every way that leads to them.
    fn confirmed<P: Packet>(&self, packet: &P, visit: &mut Visit, outcome: &mut Outcome) -> Step
    where
        Self: Sized,
    {
        pipeline::confirmed(packet, self, visit, outcome)
    }

    /// Stage *normalize*, before tracking: [`check::check`].
    /// # Errors
    /// The reason to drop the segment for.
    fn check<P: Packet>(&self, packet: &P, visit: &mut Visit) -> Result<(), Reason>
    where
        Self: Sized,
    {
        check::check(packet, self, visit)
    }

    /// Stage *recognize*, before tracking: [`application::look()`].
    fn look<P: Packet>(&self, packet: &P, visit: &mut Visit)
    where
        Self: Sized,
    {
        application::look(packet, self, visit);
    }

    /// Stage *recognize*, after tracking: [`application::learn()`].
    fn learn<P: Packet>(&self, packet: &P, visit: &mut Visit)
    where
        Self: Sized,
    {
        application::learn(packet, self, visit);
    }

    /// Stage *normalize*, after tracking: [`normalize::remember`].
    fn remember(&self, visit: &Visit, last_ack: u32)
    where
        Self: Sized,
    {
        normalize::remember(self, visit, last_ack);
    }

    /// Takes a packet into what is known of its flow's quality: [`quality::observe`].
    fn observe<P: Packet>(&self, packet: &P, visit: &mut Visit)
    where
        Self: Sized,
    {
        quality::observe(packet, self, visit);
    }

    /// Stage *guard*, before tracking: [`guard::check()`].
    /// # Errors
    /// The reason to drop the packet for.
    fn guard<P: Packet>(&self, packet: &P, visit: &mut Visit) -> Result<(), Reason>
    where
        Self: Sized,
    {
        guard::check(packet, self, visit)
    }

    /// Stage *guard*, after tracking: [`guard::learn`].
    fn teach_guard(&self, visit: &mut Visit)
    where
        Self: Sized,
    {
        guard::learn(self, visit);
    }

    /// Stage *normalize*, at the end: [`edit::rewrite`].
    /// # Errors
    /// [`Reason::RewriteFailed`].
    fn rewrite<P: Packet>(&self, packet: &P, visit: &mut Visit) -> Result<(), Reason>
    where
        Self: Sized,
    {
        edit::rewrite(packet, self, visit)
    }

    /// Stage *track* for a flow in the embryonic table: [`pipeline::unconfirmed`].
    fn unconfirmed<P: Packet>(&self, packet: &P, visit: &mut Visit, outcome: &mut Outcome) -> Step
    where
        Self: Sized,
    {
        pipeline::unconfirmed(packet, self, visit, outcome)
    }

    /// Stage *revalidate*: [`pipeline::revalidate`].
    fn revalidate<P: Packet>(&self, packet: &P, visit: &mut Visit, outcome: &mut Outcome) -> Step
    where
        Self: Sized,
    {
        pipeline::revalidate(packet, self, visit, outcome)
    }

    /// Stage *relate*, once the quoted packet has been read: [`relate::related`].
    fn related<P: Packet>(&self, packet: &P, visit: &mut Visit, outcome: &mut Outcome) -> Step
    where
        Self: Sized,
    {
        relate::related(packet, self, visit, outcome)
    }

    /// Stages *classify* and *admit*: [`pipeline::first`].
    fn first<P: Packet>(&self, packet: &P, visit: &mut Visit, outcome: &mut Outcome)
    where
        Self: Sized,
    {
        pipeline::first(packet, self, visit, outcome);
    }

    /// Stage *fragment* before the flow is looked up: [`stages::first`].
    fn first_fragment<P: Packet>(&self, packet: &P, visit: &mut Visit, outcome: &mut Outcome) -> Step
    where
        Self: Sized,
    {
        stages::first(packet, self, visit, outcome)
    }

    /// Stage *fragment* for a later fragment: [`stages::later`].
    fn later_fragment<P: Packet>(&self, packet: &P, visit: &mut Visit, outcome: &mut Outcome) -> Step
    where
        Self: Sized,
    {
        stages::later(packet, self, visit, outcome)
    }

    /// Stage *fragment* for a later fragment of a flow: [`stages::follow`].
    fn follow_fragment<P: Packet>(&self, packet: &P, visit: &mut Visit, outcome: &mut Outcome) -> Step
    where
        Self: Sized,
    {
        stages::follow(packet, self, visit, outcome)
    }

    /// Stage *fragment* once a first fragment is judged: [`stages::remember`].
    fn remember_fragment<P: Packet>(&self, packet: &P, visit: &mut Visit, outcome: &mut Outcome)
    where
        Self: Sized,
    {
        let _ = stages::remember(packet, self, visit, outcome);
    }

    /// Tells what became of the packet: [`event::report::report`]. Called only when somebody listens.
    fn report(&self, visit: &mut Visit, outcome: &mut Outcome)
    where
        Self: Sized,
    {
        event::report::report(self, visit, outcome);
    }

    /// Remembers a refusal that [concerns](evidence::concerns) `weir advise`: [`evidence::note`].
    fn refused(&self, visit: &mut Visit, outcome: &mut Outcome)
    where
        Self: Sized,
    {
        evidence::note(self, visit, outcome);
    }
}
