//! A traced packet is judged as any other, and its story ends with what became of it: over the whole table of cases, under every level.

use std::collections::{BTreeMap, BTreeSet};

use firewall_common::{
    counter::{Counters, RuleCounters},
    env::Arrival,
    event,
    flow::{Flow, FlowKey, Inspection},
    reason::Reason,
    testing::{
        builder::hex,
        cases::rows,
        play::{Subject, play},
        tables::Tables,
        world::World,
    },
    time::Nanos,
    trace::{Ended, Stage, Stop},
    verdict::Verdict,
};

/// Two firewalls that are asked the same: one as ever, one traced.
#[derive(Default)]
struct Both {
    plain: World,
    traced: World,
    /// Stages that settled packets, by verdict.
    ends: BTreeMap<String, BTreeSet<&'static str>>,
    packets: usize,
}

/// The last stage is the one that settled it, and no other did.
fn check_story(stops: &[Stop], verdict: Verdict, frame: &[u8]) -> Option<Stage> {
    let told = || format!("{} was {verdict:?}: {stops:#?}", hex(frame));
    let settled: Vec<&Stop> = stops.iter().filter(|stop| stop.ended != Ended::GoesOn).collect();
    if let Verdict::Drop(reason) = verdict {
        let last = stops.last().unwrap_or_else(|| panic!("no stage: {}", told()));
        assert_eq!(last.ended, Ended::Settled(Verdict::Drop(reason)), "{}", told());
        let own = Stage::of(reason);
        let elsewhere =
            matches!((last.stage, own), (Stage::Revalidate, Stage::Classify) | (Stage::Track | Stage::Rewrite, Stage::Normalize));
        assert!(last.stage == own || elsewhere, "{}", told());
        return Some(last.stage);
    }
    let last = settled.last().unwrap_or_else(|| panic!("nothing settled: {}", told()));
    assert_eq!(last.ended, Ended::Settled(verdict), "{}", told());
    Some(last.stage)
}

impl Subject for Both {
    fn load(&mut self, tables: &Tables) {
        World::load(&mut self.plain, tables);
        World::load(&mut self.traced, tables);
    }

    fn judge_and_change(&mut self, frame: &[u8], arrival: Arrival) -> (Verdict, Vec<u8>) {
        let plain = World::judge_and_change(&self.plain, frame, arrival);
        let (trace, bytes) = self.traced.trace(frame, arrival);
        assert_eq!((trace.verdict, &bytes), (plain.0, &plain.1), "{}", hex(frame));
        let stage = check_story(&trace.stops, trace.verdict, frame);
        self.ends.entry(format!("{:?}", trace.verdict)).or_default().extend(stage.map(Stage::name));
        self.packets += 1;
        plain
    }

    fn flow(&mut self, key: &FlowKey) -> Option<(Flow, bool)> {
        let plain = World::flow(&self.plain, key);
        assert_eq!(World::flow(&self.traced, key), plain);
        plain
    }

    fn advance(&mut self, by: Nanos) {
        World::advance(&self.plain, by);
        World::advance(&self.traced, by);
    }

    fn clear(&mut self) {
        World::clear(&self.plain);
        World::clear(&self.traced);
    }

    fn set_flags(&mut self, flags: u32) {
        Subject::set_flags(&mut self.plain, flags);
        Subject::set_flags(&mut self.traced, flags);
    }

    fn set_software(&mut self, software: bool) {
        Subject::set_software(&mut self.plain, software);
        Subject::set_software(&mut self.traced, software);
    }

    fn flows(&mut self) -> Vec<(FlowKey, Flow, bool)> {
        World::flows(&self.plain)
    }

    fn age(&mut self, key: &FlowKey, by: Nanos) {
        World::age(&self.plain, key, by);
        World::age(&self.traced, key, by);
    }

    fn counters(&mut self) -> Counters {
        let plain = World::counters(&self.plain);
        assert_eq!(World::counters(&self.traced), plain, "a traced packet is counted as any other");
        plain
    }

    fn rule_counters(&mut self) -> RuleCounters {
        let plain = Subject::rule_counters(&mut self.plain);
        assert_eq!(Subject::rule_counters(&mut self.traced), plain);
        plain
    }

    fn hold_datagrams(&mut self, held: bool) {
        Subject::hold_datagrams(&mut self.plain, held);
        Subject::hold_datagrams(&mut self.traced, held);
    }

    fn race(&mut self, frames: [&[u8]; 2], arrival: Arrival) -> [bool; 2] {
        frames.map(|frame| self.judge(frame, arrival).passes())
    }

    fn listen(&mut self, kinds: u32, rate: u32) {
        Subject::listen(&mut self.plain, kinds, rate);
        Subject::listen(&mut self.traced, kinds, rate);
    }

    fn take_events(&mut self) -> Vec<event::Record> {
        let plain = World::take_events(&self.plain);
        assert_eq!(World::take_events(&self.traced), plain);
        plain
    }

    fn tally(&mut self) -> event::Tally {
        World::tally(&self.plain)
    }
}

#[test]
fn a_traced_packet_is_judged_as_any_other_and_its_last_stage_says_why() {
    let mut ends: BTreeMap<String, BTreeSet<&'static str>> = BTreeMap::new();
    let mut packets = 0;
    for case in rows().flat_map(|row| row.cases) {
        for level in [Inspection::Strict, Inspection::Bypass, Inspection::Tolerant] {
            for family in case.families {
                let mut both = Both::default();
                Subject::listen(&mut both, event::Kind::EVERY, u32::MAX);
                play(case, level, *family, 3, &mut both).unwrap_or_else(|failure| panic!("{failure}"));
                packets += both.packets;
                both.ends.into_iter().for_each(|(verdict, stages)| ends.entry(verdict).or_default().extend(stages));
            }
        }
    }
    let reasons = Reason::ALL.iter().filter(|reason| ends.contains_key(&format!("{:?}", Verdict::Drop(**reason)))).count();
    println!("{packets} packets, {reasons} reasons");
    ends.iter().for_each(|(verdict, stages)| println!("  {verdict}: {stages:?}"));
    assert!(reasons >= 50, "the cases meet only {reasons} reasons");
    assert!(ends.contains_key("Answer") && ends.contains_key("NoLearn") && ends.contains_key("Learn"));
}
