//! One trace: the second instance in the kernel and the world on the host, side by side, packet after packet.

use std::{collections::HashMap, sync::Arc};

use firewall_common::{
    event::{Record, report::timeless},
    flow::{Endpoint, Flow, FlowKey},
    fragment::{Fragment, FragmentKey},
    guard::Guard,
    memory::world::World,
    parse::{self, Descriptor, Kind},
    reason::Reason,
    rule::ZONE_SELF,
    time::Nanos,
    trace::Trace,
    track::shadow,
    verdict::Verdict,
    wire::quote,
};

use super::{Frame, arrivals::Place};
use crate::{
    api::Failure,
    clock,
    dataplane::{Fate, Known, Maps, Probe, Ran},
};

/// What both sides made of a packet.
pub(super) struct Judged {
    pub(super) trace: Trace,
    /// The frame afterwards.
    pub(super) bytes: Vec<u8>,
    /// The kernel's event, or the host's where the kernel ran nothing.
    pub(super) events: Vec<Record>,
    /// What the program returned; `None` when the kernel ran nothing.
    pub(super) fate: Option<Fate>,
    pub(super) disagreement: Option<String>,
}

/// The two sides, and what they know of the live flows.
pub(super) struct Session {
    live: Arc<Maps>,
    probe: Probe,
    world: World,
    /// Begin without the live flows.
    fresh: bool,
    /// Flows and datagrams that were met, and how late it was in the capture.
    flows: HashMap<FlowKey, Nanos>,
    fragments: HashMap<FragmentKey, Nanos>,
    /// The first packet's time, and how far the capture has come since.
    began: Option<jiff::Timestamp>,
    late: Nanos,
}

impl Session {
    pub(super) fn new(live: &Arc<Maps>, probe: Probe, world: World, fresh: bool) -> Result<Self, Failure> {
        let (flows, fragments) = (HashMap::new(), HashMap::new());
        if !fresh {
            for (rule, count) in (0..).zip(live.all_one_sided()?).filter(|(_, count)| *count != 0) {
                probe.set_one_sided(rule, count)?;
                world.set_one_sided(rule, count);
            }
            copy_limits(live, &probe, &world)?;
        }
        Ok(Self { live: Arc::clone(live), probe, world, fresh, flows, fragments, began: None, late: Nanos(0) })
    }

    pub(super) const fn probe(&self) -> &Probe {
        &self.probe
    }

    /// Judges one packet on both sides.
    pub(super) fn judge(&mut self, frame: &Frame, place: &Place) -> Result<Judged, Failure> {
        self.advance(frame.time);
        let key = self.prepare(&frame.bytes, place)?;
        let runs = Probe::runs(&frame.bytes, place.arrival.egress);
        let ran = if runs { Some(self.probe.run(&frame.bytes, place.index, place.arrival)?) } else { None };
        self.world.set_clock(ran.as_ref().map_or_else(clock::monotonic, |ran| ran.now));
        self.world.software.set(place.software);
        let route = ran.as_ref().map_or(Ok(ZONE_SELF), route);
        self.world.set_routes(move |_| route);
        let (trace, bytes) = self.world.trace(&frame.bytes, place.arrival);
        let events = self.world.take_events();
        let Some(ran) = ran else {
            // What the packet has taught the host the kernel must know for those that follow.
            if let Some(key) = &key {
                self.probe.put(key, &Known { flow: self.world.flow(key), guard: self.world.guard_of(key), ..Known::default() })?;
            }
            return Ok(Judged { trace, bytes, events, fate: None, disagreement: None });
        };
        let disagreement = match disagreement(&ran, &trace, &bytes, &events, &frame.bytes) {
            None => self.compare_flow(key.as_ref())?,
            found => found,
        };
        Ok(Judged { trace, bytes: ran.bytes, events: ran.events, fate: Some(ran.fate), disagreement })
    }

    /// Time passes as it did in the capture; it never runs back.
    fn advance(&mut self, time: Option<jiff::Timestamp>) {
        let Some(time) = time else { return };
        let began = *self.began.get_or_insert(time);
        let since = u64::try_from(time.as_nanosecond() - began.as_nanosecond()).unwrap_or(0);
        self.late = Nanos(self.late.0.max(since));
    }

    /// Sees to it that both sides know what there is to know of the packet's flow: what the live tables say when it is met first, and later
    /// as much older as the capture is. Returns the flow's key.
    fn prepare(&mut self, frame: &[u8], place: &Place) -> Result<Option<FlowKey>, Failure> {
        let mut descriptor = Descriptor::EMPTY;
        if parse::parse(&frame, place.arrival.egress, &mut descriptor).is_err() {
            return Ok(None);
        }
        let mut key = descriptor.key;
        if descriptor.piece.is_fragment() {
            let datagram = FragmentKey::of(&descriptor);
            let known = self.prepare_fragment(&datagram)?;
            if descriptor.kind == Kind::LaterFragment {
                let Some(known) = known else { return Ok(None) };
                key = flow_of(&descriptor, &known);
            }
        }
        match descriptor.kind {
            Kind::Link | Kind::LinkScope => return Ok(None),
            // An error is judged by the flow it quotes, and if it quotes none by its own.
            Kind::IcmpError => {
                let mut quoted = descriptor;
                if quote::read(&frame, &mut quoted).is_ok() {
                    self.prepare_flow(&quoted.key)?;
                }
            }
            _ => {}
        }
        self.prepare_flow(&key)?;
        Ok(Some(key))
    }

    fn prepare_flow(&mut self, key: &FlowKey) -> Result<(), Failure> {
        let known = match self.flows.insert(*key, self.late) {
            Some(then) if then == self.late => return Ok(()),
            Some(then) => older(self.probe.known(key)?, self.late.since(then)),
            None if self.fresh => return Ok(()),
            None => self.live.known(key)?,
        };
        self.probe.put(key, &known)?;
        self.world.put(key, known.flow.map(|(flow, established)| (Flow { lock: 0, ..flow }, established)));
        if let Some(history) = known.history {
            self.world.put_history(key, history);
        }
        if let Some(guard) = known.guard {
            self.world.put_guard(key, Guard { lock: 0, ..guard });
        }
        Ok(())
    }

    fn prepare_fragment(&mut self, key: &FragmentKey) -> Result<Option<Fragment>, Failure> {
        let known = match self.fragments.insert(*key, self.late) {
            Some(then) if then == self.late => return Ok(self.probe.fragment(key)?),
            Some(then) => {
                let by = self.late.since(then);
                self.probe.fragment(key)?.map(|fragment| Fragment { since: fragment.since.saturating_sub(by.0), ..fragment })
            }
            None if self.fresh => None,
            None => self.live.fragment(key)?,
        };
        if let Some(fragment) = &known {
            let fragment = Fragment { lock: 0, ..*fragment };
            self.probe.put_fragment(key, &fragment)?;
            self.world.put_fragment(key, fragment);
        }
        Ok(known)
    }

    /// How the two sides' records of the packet's flow differ.
    fn compare_flow(&self, key: Option<&FlowKey>) -> Result<Option<String>, Failure> {
        let Some(key) = key else { return Ok(None) };
        let without_times = |(flow, established)| {
            (Flow { lock: 0, last_seen: 0, created: 0, handshake_micros: 0, answer_micros: 0, ..shadow::timeless(flow) }, established)
        };
        let known = self.probe.known(key)?;
        let in_kernel = (known.flow.map(without_times), known.guard.map(Guard::timeless));
        let on_host = (self.world.flow(key).map(without_times), self.world.guard_of(key).map(Guard::timeless));
        Ok((in_kernel != on_host).then(|| format!("the kernel has {in_kernel:?} of its flow, the host {on_host:?}")))
    }
}

/// What counts against the limits of rules, and against those of sources.
fn copy_limits(live: &Maps, probe: &Probe, world: &World) -> Result<(), Failure> {
    for (rule, counts) in live.limits.all() {
        probe.set_limit_counts(rule, &counts);
        world.set_limit_counts(rule, counts);
    }
    let mut sources = Vec::new();
    live.read_sources(|source, counts| sources.push((source, counts)))?;
    for (source, counts) in sources {
        probe.set_source_counts(&source, &counts)?;
        world.set_source_counts(source, counts);
    }
    Ok(())
}

/// What the kernel's route lookup said.
fn route(ran: &Ran) -> Result<u8, Reason> {
    if ran.verdict == Verdict::Drop(Reason::NoRoute) { Err(Reason::NoRoute) } else { Ok(ran.to_zone) }
}

/// The flow of a datagram's first fragment.
fn flow_of(descriptor: &Descriptor, first: &Fragment) -> FlowKey {
    let source = Endpoint { address: *descriptor.source(), port: u16::from_be_bytes(first.source_port) };
    let destination = Endpoint { address: *descriptor.destination(), port: u16::from_be_bytes(first.destination_port) };
    FlowKey::new(first.protocol, source, destination).0
}

fn older(known: Known, by: Nanos) -> Known {
    let flow = known.flow.map(|(mut flow, established)| {
        // The machine may not have been up for so long; then the flow's time is made shorter instead.
        let missing = by.0.saturating_sub(flow.last_seen) / Nanos::MILLISECOND;
        flow.timeout = flow.timeout.saturating_sub(u32::try_from(missing).unwrap_or(u32::MAX));
        flow.last_seen = flow.last_seen.saturating_sub(by.0);
        flow.created = flow.created.saturating_sub(by.0);
        shadow::grow_older(&mut flow, by);
        (flow, established)
    });
    let history = known.history.map(|mut history| {
        history.grow_older(by);
        history
    });
    let guard = known.guard.map(|mut guard| {
        guard.grow_older(by);
        guard
    });
    Known { flow, history, guard }
}

/// How the kernel and the host differ over a packet.
fn disagreement(ran: &Ran, trace: &Trace, bytes: &[u8], events: &[Record], frame: &[u8]) -> Option<String> {
    if ran.verdict != trace.verdict {
        return Some(format!("the kernel says {:?}, the host {:?}", ran.verdict, trace.verdict));
    }
    let returned = match (ran.verdict, ran.fate) {
        (Verdict::Learn | Verdict::NoLearn, fate) => fate == Fate::Passes,
        (Verdict::Drop(_), fate) => fate == Fate::Dropped,
        // An answer that cannot be written is a drop.
        (Verdict::Answer, fate) => fate != Fate::Passes,
    };
    if !returned {
        return Some(format!("the program counted {:?} and returned {:?}", ran.verdict, ran.fate));
    }
    let expected = if trace.verdict.passes() { bytes } else { frame };
    if ran.fate != Fate::Answered && ran.bytes != expected {
        return Some("the kernel and the host changed the packet differently".to_owned());
    }
    let told = |events: &[Record]| -> Vec<Record> { events.iter().copied().map(timeless).collect() };
    (told(&ran.events) != told(events)).then(|| format!("the kernel tells {:?}, the host {:?}", told(&ran.events), told(events)))
}

#[cfg(test)]
mod tests {
    use firewall_common::{env::Arrival, flow::Inspection, memory::tables::Tables, rule::Action};

    use super::*;

    /// What a kernel that agrees says of the frame, and what the host does.
    fn agreed(frame: &[u8], action: Action) -> (Ran, Trace, Vec<u8>) {
        let world = World::under(&Tables::everything(action, Inspection::Strict));
        let (trace, bytes) = world.trace(frame, Arrival { zone: 1, place: 1, egress: false });
        let fate = if trace.verdict.passes() { Fate::Passes } else { Fate::Dropped };
        let ran = Ran { fate, verdict: trace.verdict, bytes: bytes.clone(), now: Nanos(1), to_zone: 0, events: Vec::new() };
        (ran, trace, bytes)
    }

    #[test]
    fn every_difference_is_told() {
        let arp = [&[2; 12][..], &[0x08, 0x06], &[0; 28]].concat();
        let (ran, trace, bytes) = agreed(&arp, Action::Allow);
        assert_eq!(trace.verdict, Verdict::NoLearn);
        assert_eq!(disagreement(&ran, &trace, &bytes, &[], &arp), None);
        let other = |change: fn(&mut Ran)| {
            let mut ran = ran.clone();
            change(&mut ran);
            disagreement(&ran, &trace, &bytes, &[], &arp).unwrap_or_default()
        };
        assert!(other(|ran| ran.verdict = Verdict::Learn).contains("the host NoLearn"));
        assert!(other(|ran| ran.fate = Fate::Dropped).contains("returned Dropped"));
        assert!(other(|ran| ran.bytes[20] ^= 1).contains("changed the packet differently"));
        assert!(other(|ran| ran.events.push(Record::default())).contains("the kernel tells"));
    }

    #[test]
    fn a_dropped_packet_must_not_be_passed() {
        let nonsense = [&[2; 12][..], &[0x08, 0x00], &[0; 28]].concat();
        let (ran, trace, bytes) = agreed(&nonsense, Action::Allow);
        assert!(matches!(trace.verdict, Verdict::Drop(_)), "{:?}", trace.verdict);
        assert_eq!(disagreement(&ran, &trace, &bytes, &[], &nonsense), None);
        let passed = Ran { fate: Fate::Passes, ..ran };
        assert!(disagreement(&passed, &trace, &bytes, &[], &nonsense).is_some());
    }
}
