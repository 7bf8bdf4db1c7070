//! An event's record in names and words.

use firewall_common::{
    account::NO_RULE,
    event::{Compared, Kind, NO_ZONE, Record, Teardown, marks},
    flow::{Inspection, State},
    guard::Turn,
    reason::Reason,
    time::Nanos,
    wire::protocol as number,
};

use crate::{
    api::{Arithmetic, Both, DropEvent, DroppedSegment, Event, EventEnd, FlowEvent, IcmpMessage, OverloadEvent},
    clock,
    controller::{flows::ip, names::Names},
    policy::{Clock, Policy},
    protocol,
};

/// What numbers in records mean at the moment.
pub(super) struct Legend<'a> {
    pub names: &'a Names,
    /// Interfaces by place.
    pub interfaces: Vec<(u8, String)>,
    /// One moment on both clocks.
    pub clock: Clock,
    /// The policy in force.
    pub policy: Option<&'a Policy>,
}

/// A moment as events tell it.
pub(super) fn time(moment: jiff::Timestamp) -> String {
    format!("{moment:.3}")
}

impl Legend<'_> {
    /// The event of a record; `None` for one that makes no sense here.
    pub fn describe(&self, record: &Record) -> Option<Event> {
        match Kind::from_number(record.kind)? {
            Kind::Opened => Some(Event::Opened(self.flow(record, None))),
            Kind::Closed => Some(Event::Closed(self.flow(record, Some(Teardown::from_number(record.cause)?.name())))),
            Kind::Guard => Some(Event::Guard(self.flow(record, Some(Turn::from_number(record.cause)?.name())))),
            Kind::Begun => Some(Event::Begun(self.flow(record, None))),
            Kind::Overload => Some(Event::Overload(self.overload(record, Reason::from_number(record.cause)?))),
            Kind::Dropped => Some(Event::Dropped(self.dropped(record, Reason::from_number(record.cause)?))),
        }
    }

    fn flow(&self, record: &Record, reason: Option<&str>) -> FlowEvent {
        let (source, destination) = self.ends(record);
        FlowEvent {
            time: self.time(record),
            reason: reason.map(str::to_owned),
            protocol: protocol::name(record.key.protocol).into_owned(),
            source,
            destination,
            rule: self.names.rule(record.rule),
            state: state(record).unwrap_or("unknown").to_owned(),
            inspection: Inspection::from_number(record.inspection).name().to_owned(),
            packets: both(record.packets),
            bytes: both(record.bytes),
            age_seconds: clock::seconds(Nanos(record.at).since(Nanos(record.created))),
            logged: record.has(marks::LOGGED),
            handshake_milliseconds: (record.handshake_micros != 0).then(|| f64::from(record.handshake_micros) / 1000.0),
        }
    }

    fn dropped(&self, record: &Record, reason: Reason) -> DropEvent {
        let (source, destination) = self.ends(record);
        let (known, of_flow) = (record.has(marks::ADDRESSES), record.has(marks::FLOW));
        let icmp = matches!(record.key.protocol, number::ICMP | number::ICMPV6) && record.service != [0; 2];
        let sender = if record.has(marks::FROM_RESPONDER) { "responder" } else { "initiator" };
        DropEvent {
            time: self.time(record),
            reason: reason.name().to_owned(),
            protocol: known.then(|| protocol::name(record.key.protocol).into_owned()),
            source,
            destination,
            rule: (record.rule != NO_RULE).then(|| self.names.rule(record.rule)),
            state: state(record).map(str::to_owned),
            inspection: of_flow.then(|| Inspection::from_number(record.inspection).name().to_owned()),
            sender: of_flow.then(|| sender.to_owned()),
            length: known.then_some(record.length),
            icmp: icmp.then_some(IcmpMessage { kind: record.service[0], code: record.service[1] }),
            segment: segment(record),
            arithmetic: arithmetic(record),
            logged: record.has(marks::LOGGED),
        }
    }

    fn overload(&self, record: &Record, reason: Reason) -> OverloadEvent {
        let (source, destination) = self.ends(record);
        let rule = self.names.rule(record.rule);
        let wanted = self.policy.and_then(|policy| policy.rules().iter().find(|known| known.name == rule));
        let overload = wanted.and_then(|rule| rule.limits.overload.as_ref());
        OverloadEvent {
            time: self.time(record),
            reason: reason.name().to_owned(),
            protocol: protocol::name(record.key.protocol).into_owned(),
            source,
            destination,
            set: overload.map(|overload| overload.set.clone()),
            seconds: overload.map(|overload| u64::from(overload.millis).div_ceil(1000)),
            rule,
        }
    }

    fn time(&self, record: &Record) -> String {
        let ago = jiff::SignedDuration::from_nanos(self.clock.monotonic_ns.cast_signed() - record.at.cast_signed());
        time(self.clock.realtime.checked_sub(ago).unwrap_or(self.clock.realtime))
    }

    /// Source and destination.
    fn ends(&self, record: &Record) -> (EventEnd, EventEnd) {
        let (low, high) = (record.key.low_endpoint(), record.key.high_endpoint());
        let (source, destination) = if record.has(marks::SOURCE_LOW) { (low, high) } else { (high, low) };
        let known = record.has(marks::ADDRESSES);
        let end = |endpoint: firewall_common::flow::Endpoint, zone: u8, place: u8| EventEnd {
            address: known.then(|| ip(&endpoint.address)),
            port: endpoint.port,
            zone: (zone != NO_ZONE).then(|| self.names.zone(zone)),
            interface: self.interfaces.iter().find(|(known, _)| *known == place).map(|(_, name)| name.clone()),
        };
        (end(source, record.source_zone, record.source_interface), end(destination, record.destination_zone, record.destination_interface))
    }
}

fn state(record: &Record) -> Option<&'static str> {
    State::from_number(record.state).map(State::name)
}

const fn both([initiator, responder]: [u64; 2]) -> Both {
    Both { to_responder: initiator, to_initiator: responder }
}

/// A TCP header that was read has flags, or numbers.
fn segment(record: &Record) -> Option<DroppedSegment> {
    let read = record.tcp_flags != 0 || record.seq != 0 || record.ack != 0 || record.window != 0;
    (record.key.protocol == number::TCP && read).then(|| DroppedSegment {
        flags: flags(record.tcp_flags),
        seq: record.seq,
        ack: record.ack,
        window: record.window,
        payload: record.payload,
    })
}

/// The control bits as letters, the highest first.
pub(in crate::controller) fn flags(bits: u8) -> String {
    "CEUAPRSF".chars().enumerate().filter(|(place, _)| bits & (0x80 >> place) != 0).map(|(_, letter)| letter).collect()
}

pub(in crate::controller) fn arithmetic(record: &Record) -> Option<Arithmetic> {
    let compared = Compared::from_number(record.compared).filter(|compared| *compared != Compared::Nothing)?;
    let Record { number, lowest, highest, distance, .. } = *record;
    Some(Arithmetic { compared: compared.name().to_owned(), number, lowest, highest, distance })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_letters_in_the_headers_order() {
        assert_eq!(flags(0x02), "S");
        assert_eq!(flags(0x12), "AS");
        assert_eq!(flags(0xff), "CEUAPRSF");
        assert_eq!(flags(0), "");
    }
}
