//! Events: from the dataplane's ring buffer and the controller's own removals to those who listen.
//!
//! The dataplane makes events only of kinds that somebody here asks for. Each listener has a bounded queue of its own; one that does not
//! keep up loses events, is told how many, and holds nobody else up.

pub(super) mod describe;

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Bytes, HttpBody};
use firewall_common::{
    event::{Kind, Record, Tally, Teardown, marks, rate::Rate},
    flow::{Flow, FlowKey, flow_marks},
    time::Nanos,
};
use hyper::body::Frame;
use tokio::sync::mpsc;

use super::{Controller, flow_log::FlowLog, held, overload::Overload};
use crate::{
    api::{self, EventCounters, Failure, LostEvents, OverloadEvent},
    clock,
    dataplane::{DataplaneError, EventRing, Maps},
    event_filter::EventFilter,
};

/// Listeners at once.
const MOST_LISTENERS: usize = 16;
/// Lines that wait for one listener.
const QUEUE: usize = 4096;
/// The controller's own events that wait to be told.
const OWN_QUEUE: usize = 8192;

/// Who listens, and what became of the controller's own events.
#[derive(Debug)]
pub struct Events {
    maps: Arc<Maps>,
    own: mpsc::Sender<Record>,
    /// Taken by the one task that tells.
    told: Mutex<Option<mpsc::Receiver<Record>>>,
    made: Mutex<Made>,
    listeners: Mutex<Listeners>,
    /// Kinds the daemon listens to itself.
    own_kinds: AtomicU32,
    /// Of rules that are logged.
    log: FlowLog,
}

/// The controller's own events are counted and limited as a CPU's are.
#[derive(Debug, Default)]
struct Made {
    rate: Rate,
    /// Of flows of logged rules.
    logged: Rate,
    tally: Tally,
}

#[derive(Debug, Default)]
struct Listeners {
    next: u64,
    /// Nobody may listen any more: the daemon ends.
    ended: bool,
    by_number: BTreeMap<u64, Listener>,
}

#[derive(Debug)]
struct Listener {
    filter: EventFilter,
    lines: mpsc::Sender<Bytes>,
    lost: Arc<AtomicU64>,
}

impl Events {
    /// An earlier controller that was killed may have left the dataplane talking to nobody: that ends here.
    pub fn new(maps: Arc<Maps>, rate: u32, log: FlowLog) -> Self {
        maps.config.set_event_kinds(0);
        maps.config.set_event_rate(rate);
        let (own, told) = mpsc::channel(OWN_QUEUE);
        let own_kinds = AtomicU32::new(0);
        Self { maps, own, told: Mutex::new(Some(told)), made: Mutex::default(), listeners: Mutex::default(), own_kinds, log }
    }

    /// Tells the end of a flow that the controller has removed, unless its end was told before.
    pub fn closed(&self, key: FlowKey, flow: &Flow, teardown: Teardown, now: Nanos) {
        let logged = flow.marks & flow_marks::LOGGED != 0;
        let wanted = logged || self.maps.config.event_kinds() & Kind::Closed.bit() != 0;
        if !wanted || flow.marks & flow_marks::OVER != 0 {
            return;
        }
        let mut made = held(&self.made);
        let rate = if logged { &mut made.logged } else { &mut made.rate };
        if !rate.admits(now, self.maps.config.event_rate()) {
            made.tally.limited += 1;
            return;
        }
        match self.own.try_send(Record::closed(key, flow, teardown, now)) {
            Ok(()) => made.tally.sent += 1,
            Err(_) => made.tally.lost += 1,
        }
    }

    /// What became of all events, since the pins were made and of the controller's own since it started.
    pub fn counters(&self, maps: &Maps) -> Result<EventCounters, DataplaneError> {
        let (dataplane, own) = (maps.event_tally()?, held(&self.made).tally);
        let [logged, log_failed] = self.log.counts();
        Ok(EventCounters {
            sent: dataplane.sent + own.sent,
            limited: dataplane.limited + own.limited,
            lost: dataplane.lost + own.lost,
            subscribers: held(&self.listeners).by_number.len(),
            logged,
            log_failed,
        })
    }

    /// From here on the events that `filter` wants are told to the stream that is returned, until it is dropped.
    pub fn subscribe(self: &Arc<Self>, filter: EventFilter) -> Result<EventStream, Failure> {
        let mut listeners = held(&self.listeners);
        if listeners.ended {
            return Err(Failure::new(api::Kind::Conflict, "the daemon is about to end"));
        }
        if listeners.by_number.len() >= MOST_LISTENERS {
            return Err(Failure::new(api::Kind::Conflict, format!("{MOST_LISTENERS} listen to events already"))
                .hint("end a `weir events`; one of them can be read by many"));
        }
        let (lines, queue) = mpsc::channel(QUEUE);
        let (number, lost) = (listeners.next, Arc::new(AtomicU64::new(0)));
        listeners.next += 1;
        listeners.by_number.insert(number, Listener { filter, lines, lost: Arc::clone(&lost) });
        self.ask_for(&listeners);
        drop(listeners);
        Ok(EventStream { events: Arc::clone(self), number, queue, lost })
    }

    fn unsubscribe(&self, number: u64) {
        let mut listeners = held(&self.listeners);
        listeners.by_number.remove(&number);
        self.ask_for(&listeners);
    }

    /// Ends every stream: the daemon goes.
    pub fn end(&self) {
        let mut listeners = held(&self.listeners);
        listeners.ended = true;
        listeners.by_number.clear();
        self.ask_for(&listeners);
    }

    /// From here on the daemon itself listens to these kinds, and no others.
    pub fn listen_itself(&self, kinds: u32) {
        let listeners = held(&self.listeners);
        self.own_kinds.store(kinds, Ordering::Relaxed);
        self.ask_for(&listeners);
    }

    /// Has the dataplane make the events that are listened to, and no others.
    fn ask_for(&self, listeners: &Listeners) {
        let own = if listeners.ended { 0 } else { self.own_kinds.load(Ordering::Relaxed) };
        let kinds = listeners.by_number.values().fold(own, |kinds, listener| kinds | listener.filter.kinds());
        self.maps.config.set_event_kinds(kinds);
    }

    /// Hands an event to everybody whose filter wants it.
    fn tell(&self, event: &api::Event) {
        let mut line = None;
        for listener in held(&self.listeners).by_number.values().filter(|listener| listener.filter.matches(event)) {
            // Written once, whoever reads it.
            let line = line.get_or_insert_with(|| json_line(event)).clone();
            if listener.lines.try_send(line).is_err() {
                listener.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// What a rule wants of a source, where that is known.
fn wanted(event: OverloadEvent) -> Option<Overload> {
    let time = Duration::from_secs(event.seconds?);
    Some(Overload { set: event.set?, address: event.source.address?, time, rule: event.rule })
}

fn json_line(event: &api::Event) -> Bytes {
    let mut text = serde_json::to_vec(event).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

/// The events one listener asked for, as lines of JSON. Nobody listens any more once it is dropped.
#[derive(Debug)]
pub struct EventStream {
    events: Arc<Events>,
    number: u64,
    queue: mpsc::Receiver<Bytes>,
    lost: Arc<AtomicU64>,
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.events.unsubscribe(self.number);
    }
}

impl HttpBody for EventStream {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let time = describe::time(jiff::Timestamp::now());
            let line = json_line(&api::Event::Lost(LostEvents { time, events: lost }));
            return Poll::Ready(Some(Ok(Frame::data(line))));
        }
        self.queue.poll_recv(context).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}

/// Tells events for as long as the daemon lives.
pub(super) async fn forward(controller: Arc<Controller>, ring: EventRing) {
    let Some(mut own) = held(&controller.events.told).take() else { return };
    let mut reader = match ring.listen() {
        Ok(reader) => reader,
        Err(error) => return log::error!("the dataplane's events cannot be read: {error}"),
    };
    loop {
        let mut records = Vec::new();
        tokio::select! {
            read = reader.read() => match read {
                Ok(read) => records = read,
                Err(error) => return log::error!("the dataplane's events are no longer read: {error}"),
            },
            // Never over: the sender lives as long as the controller.
            _ = own.recv_many(&mut records, OWN_QUEUE) => {}
        }
        // Names are behind locks that a change of policy holds for a moment.
        tokio::task::block_in_place(|| controller.tell(&records));
    }
}

impl Controller {
    fn tell(&self, records: &[Record]) {
        records.iter().filter(|record| self.strays.want(record)).for_each(|record| self.strays.note(record));
        let acted_on = |record: &Record| record.has(marks::LOGGED) || record.kind == Kind::Overload as u8;
        if held(&self.events.listeners).by_number.is_empty() && !records.iter().any(acted_on) {
            return;
        }
        let (mut log, mut lines, mut overloads) = (Vec::new(), 0, Vec::new());
        let interfaces = held(&self.dataplane).attachments().map(|attached| (attached.place, attached.name.clone())).collect();
        let state = held(&self.policy);
        let policy = state.in_force.as_ref().map(|in_force| &in_force.policy);
        let legend = describe::Legend { names: &state.names, interfaces, clock: clock::both(), policy };
        for record in records {
            let Some(event) = legend.describe(record) else { continue };
            self.events.tell(&event);
            if record.has(marks::LOGGED) {
                log.extend_from_slice(&json_line(&event));
                lines += 1;
            }
            if let api::Event::Overload(event) = event {
                overloads.extend(wanted(event));
            }
        }
        drop(state);
        self.events.log.write(&log, lines);
        for overload in &overloads {
            self.overload(overload);
        }
    }
}
