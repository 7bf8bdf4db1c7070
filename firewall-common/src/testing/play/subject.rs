//! What a script is played against.

use crate::{
    counter::{Counters, RuleCounters},
    env::Arrival,
    event,
    flow::{Flow, FlowKey},
    testing::{
        tables::{THE_RULE, Tables},
        world::{Faults, World},
    },
    time::Nanos,
    verdict::Verdict,
};

/// A firewall under test.
pub trait Subject {
    /// Puts a policy in force.
    fn load(&mut self, tables: &Tables);
    /// Judges a frame, and tells what bytes it goes on with if it passes.
    fn judge_and_change(&mut self, frame: &[u8], arrival: Arrival) -> (Verdict, Vec<u8>);
    fn judge(&mut self, frame: &[u8], arrival: Arrival) -> Verdict {
        self.judge_and_change(frame, arrival).0
    }
    /// The flow with this key, and whether it is established.
    fn flow(&mut self, key: &FlowKey) -> Option<(Flow, bool)>;
    /// Lets time pass for every flow and fragment.
    fn advance(&mut self, by: Nanos);
    /// Forgets every flow and fragment.
    fn clear(&mut self);
    /// Sets the bits of [`crate::config::config_flags`].
    fn set_flags(&mut self, flags: u32);
    /// Says whether packets come in by a software device, see [`crate::config::interface_flags::UNFINISHED_CHECKSUMS`].
    fn set_software(&mut self, software: bool);
    /// Every flow, and whether it is established.
    fn flows(&mut self) -> Vec<(FlowKey, Flow, bool)>;
    /// Lets time pass for one flow only.
    fn age(&mut self, key: &FlowKey, by: Nanos);
    fn counters(&mut self) -> Counters;
    /// Totals of the one rule of the policies of [`Tables`].
    fn rule_counters(&mut self) -> RuleCounters;
    /// From now on another CPU holds the record of every datagram there is, or lets go of it.
    fn hold_datagrams(&mut self, held: bool);
    /// Judges two packets at once where there are CPUs for it, and tells which passed.
    fn race(&mut self, frames: [&[u8]; 2], arrival: Arrival) -> [bool; 2];
    /// Asks for events of these kinds, see [`crate::config::Config::event_kinds`], and so many of each in a second.
    fn listen(&mut self, kinds: u32, rate: u32);
    /// The events since the last call.
    fn take_events(&mut self) -> Vec<event::Record>;
    /// What became of the events so far.
    fn tally(&mut self) -> event::Tally;
}

impl Subject for World {
    fn load(&mut self, tables: &Tables) {
        Self::load(self, tables);
    }

    fn judge_and_change(&mut self, frame: &[u8], arrival: Arrival) -> (Verdict, Vec<u8>) {
        Self::judge_and_change(self, frame, arrival)
    }

    fn flow(&mut self, key: &FlowKey) -> Option<(Flow, bool)> {
        Self::flow(self, key)
    }

    fn advance(&mut self, by: Nanos) {
        Self::advance(self, by);
    }

    fn clear(&mut self) {
        Self::clear(self);
    }

    fn set_flags(&mut self, flags: u32) {
        self.configure(|config| config.flags = flags);
    }

    fn set_software(&mut self, software: bool) {
        self.software.set(software);
    }

    fn flows(&mut self) -> Vec<(FlowKey, Flow, bool)> {
        Self::flows(self)
    }

    fn age(&mut self, key: &FlowKey, by: Nanos) {
        Self::age(self, key, by);
    }

    fn counters(&mut self) -> Counters {
        Self::counters(self)
    }

    fn rule_counters(&mut self) -> RuleCounters {
        Self::rule_counters(self, THE_RULE)
    }

    fn hold_datagrams(&mut self, held: bool) {
        self.faults.set(Faults { busy: held, ..self.faults.get() });
    }

    fn race(&mut self, frames: [&[u8]; 2], arrival: Arrival) -> [bool; 2] {
        frames.map(|frame| Self::judge(self, frame, arrival).passes())
    }

    fn listen(&mut self, kinds: u32, rate: u32) {
        self.configure(|config| (config.event_kinds, config.event_rate) = (kinds, rate));
    }

    fn take_events(&mut self) -> Vec<event::Record> {
        Self::take_events(self)
    }

    fn tally(&mut self) -> event::Tally {
        Self::tally(self)
    }
}
