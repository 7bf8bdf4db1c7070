//! The firewall a search tries, with one flow in its tables.

use crate::{
    config::FULL_SCALE,
    counter::Counters,
    env::Env as _,
    flow::{Flow, FlowKey, Inspection, Peer},
    parse::{Descriptor, parse},
    reason::Reason,
    seq::Seq,
    testing::{
        builder::{Frame, Packet},
        host::{CLIENT, Family, SERVER},
        play::{FROM_CLIENT, FROM_SERVER},
        script::Side,
        tables::Tables,
        world::World,
    },
    time::Nanos,
    verdict::Verdict,
    wire::tcp::{Segment, flags},
};

/// The flow's record, and whether it is established; none when there is none.
pub type Record = Option<(Flow, bool)>;

/// What a search asks of a firewall.
pub trait Firewall {
    fn judge(&mut self, side: Side, segment: &Segment) -> Verdict;
    fn record(&self) -> Record;
    fn put(&mut self, record: Record);
    fn counters(&self) -> Counters;
    fn inspection(&self) -> Inspection;
}

/// The pipeline as it is, under a policy that allows what the client begins, and nothing else.
#[derive(Debug)]
pub struct Single {
    world: World,
    key: FlowKey,
    inspection: Inspection,
    /// Frames of client and server without and with payload, to write numbers into.
    frames: [[Frame; 2]; 2],
}

/// Bytes of every segment with payload, but for probes of one byte.
pub const DATA: u32 = 10;
const PORTS: [u16; 2] = [2000, 443];

fn frame(side: Side, segment: &Segment) -> Frame {
    let (client, server) = ((CLIENT, PORTS[0]), (SERVER, PORTS[1]));
    let (from, to) = if side == Side::Server { (server, client) } else { (client, server) };
    Packet::tcp(Family::V4, from, to, segment).build()
}

impl Single {
    #[must_use]
    pub fn new(inspection: Inspection) -> Self {
        let template = |side, length| frame(side, &Segment { length, scale: crate::flow::NO_SCALE, ..Segment::default() });
        let frames = [Side::Client, Side::Server].map(|side| [0, DATA].map(|length| template(side, length)));
        let mut descriptor = Descriptor::EMPTY;
        parse(&frames[0][0].bytes.as_slice(), false, &mut descriptor).expect("a plain segment can be read");
        Self { world: World::under(&Tables::from_zone_1(inspection)), key: descriptor.key, inspection, frames }
    }
}

impl Single {
    pub fn advance(&self, by: Nanos) {
        self.world.advance(by);
    }

    /// Forgets the flow.
    pub fn clear(&self) {
        self.world.clear();
    }

    /// True when the flow's time is over.
    #[must_use]
    pub fn expired(&self, flow: &Flow) -> bool {
        flow.expired(self.world.now(), FULL_SCALE)
    }
}

impl Firewall for Single {
    fn judge(&mut self, side: Side, segment: &Segment) -> Verdict {
        let own = usize::from(side == Side::Server);
        let arrival = [FROM_CLIENT, FROM_SERVER][own];
        let plain = segment.scale == crate::flow::NO_SCALE && [0, DATA].contains(&segment.length);
        if !plain {
            return self.world.judge(&frame(side, segment).bytes, arrival);
        }
        // Nearly every packet differs from a template in its numbers alone, and building each takes longer than judging it.
        let frame = &mut self.frames[own][usize::from(segment.length > 0)];
        let mut header = [0; 12];
        header[..4].copy_from_slice(&segment.seq.0.to_be_bytes());
        header[4..8].copy_from_slice(&segment.ack.0.to_be_bytes());
        header[8] = 5 << 4;
        header[9] = segment.flags;
        header[10..].copy_from_slice(&segment.window.to_be_bytes());
        frame.write_tcp(&header);
        self.world.judge(&frame.bytes, arrival)
    }

    fn record(&self) -> Record {
        self.world.flow(&self.key)
    }

    fn put(&mut self, record: Record) {
        self.world.put(&self.key, record);
    }

    fn counters(&self) -> Counters {
        self.world.counters()
    }

    fn inspection(&self) -> Inspection {
        self.inspection
    }
}

/// A record without what counts packets: two that differ in nothing else behave the same.
#[must_use]
pub fn uncounted(record: Record) -> Record {
    let peer = |peer: Peer| Peer { packets: 0, bytes: 0, zero_windows: 0, retransmitted: 0, gaps: 0, duplicate_acks: 0, mss: 0, ..peer };
    record.map(|(flow, established)| {
        let (initiator, responder) = (peer(flow.initiator), peer(flow.responder));
        (Flow { initiator, responder, tolerated: 0, handshake_micros: 0, answer_micros: 0, ..flow }, established)
    })
}

/// What the search counts itself, to hold it against the firewall's counters.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    learned: u64,
    passed: u64,
    drops: std::collections::BTreeMap<&'static str, u64>,
}

impl Tally {
    pub fn add(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Learn => self.learned += 1,
            Verdict::NoLearn => self.passed += 1,
            Verdict::Answer => *self.drops.entry(Reason::Reject.name()).or_default() += 1,
            Verdict::Drop(reason) => *self.drops.entry(reason.name()).or_default() += 1,
        }
    }

    /// # Errors
    /// What the firewall counted otherwise.
    pub fn compare(&self, counters: &Counters) -> Result<(), String> {
        if (self.learned, self.passed) != (counters.passed, counters.passed_without_learning) {
            return Err(format!(
                "counted {} and {} passed, not {} and {}",
                counters.passed, counters.passed_without_learning, self.learned, self.passed
            ));
        }
        for reason in Reason::ALL {
            let (wanted, counted) = (self.drops.get(reason.name()).copied().unwrap_or(0), counters.drops[reason.index()]);
            if wanted != counted {
                return Err(format!("{}: {counted} drops counted, not {wanted}", reason.name()));
            }
        }
        Ok(())
    }
}

/// True for a segment that begins a connection.
#[must_use]
pub const fn is_syn(segment: &Segment) -> bool {
    segment.flags & (flags::SYN | flags::ACK | flags::RST | flags::FIN) == flags::SYN
}

/// A segment of the numbers given, with the window a search's endpoints have.
#[must_use]
pub const fn segment(set: u8, seq: Seq, ack: Seq, length: u32, window: u16) -> Segment {
    let ack = if set & flags::ACK == 0 { Seq(0) } else { ack };
    Segment { seq, ack, length, window, flags: set, scale: crate::flow::NO_SCALE }
}
