use super::{
    line,
    number::{bytes, duration},
};
use crate::api::{Arithmetic, DropEvent, Event, EventEnd, FlowEvent, OverloadEvent};

/// One event as a line of `weir events`.
pub fn event(event: &Event) -> anyhow::Result<()> {
    line(&text(event))
}

fn text(event: &Event) -> String {
    match event {
        Event::Opened(flow) => opened(flow),
        Event::Closed(flow) => closed(flow),
        Event::Dropped(drop) => dropped(drop),
        Event::Guard(flow) => turned(flow),
        Event::Begun(flow) => begun(flow),
        Event::Overload(overload) => overloaded(overload),
        Event::Lost(lost) => format!("{} lost    {} events came faster than they were read", clock(&lost.time), lost.events),
    }
}

/// The beginning every line has: when, what, why, who.
fn head(time: &str, kind: &str, reason: &str, protocol: &str, source: &EventEnd, destination: &EventEnd) -> String {
    let zones = format!("{}>{}", zone(source), zone(destination));
    format!("{} {kind:<7} {reason:<16} {protocol:<6} {:>21} > {:<21} {zones}", clock(time), end(source), end(destination))
}

fn opened(flow: &FlowEvent) -> String {
    let head = head(&flow.time, "opened", "", &flow.protocol, &flow.source, &flow.destination);
    let handshake = flow.handshake_milliseconds.map(|time| format!(" handshake {time} ms")).unwrap_or_default();
    format!("{head} rule {} {}{handshake}", flow.rule, flow.inspection)
}

fn begun(flow: &FlowEvent) -> String {
    let head = head(&flow.time, "begun", "", &flow.protocol, &flow.source, &flow.destination);
    format!("{head} rule {} {}", flow.rule, flow.inspection)
}

fn turned(flow: &FlowEvent) -> String {
    let reason = flow.reason.as_deref().unwrap_or_default();
    let head = head(&flow.time, "guard", reason, &flow.protocol, &flow.source, &flow.destination);
    format!("{head} rule {} {} from here on", flow.rule, flow.inspection)
}

fn overloaded(overload: &OverloadEvent) -> String {
    let OverloadEvent { time, reason, protocol, source, destination, rule, set, seconds } = overload;
    let head = head(time, "overload", reason, protocol, source, destination);
    match (set, seconds) {
        (Some(set), Some(seconds)) => format!("{head} rule {rule} set {set} for {}", duration(*seconds as f64)),
        _ => format!("{head} rule {rule}"),
    }
}

fn closed(flow: &FlowEvent) -> String {
    let reason = flow.reason.as_deref().unwrap_or_default();
    let head = head(&flow.time, "closed", reason, &flow.protocol, &flow.source, &flow.destination);
    format!(
        "{head} rule {} {} after {}: {} packets {} sent, {} packets {} received",
        flow.rule,
        flow.state,
        duration(flow.age_seconds),
        flow.packets.to_responder,
        bytes(flow.bytes.to_responder),
        flow.packets.to_initiator,
        bytes(flow.bytes.to_initiator),
    )
}

fn dropped(drop: &DropEvent) -> String {
    let protocol = drop.protocol.as_deref().unwrap_or("-");
    let mut text = head(&drop.time, "dropped", &drop.reason, protocol, &drop.source, &drop.destination);
    if let Some(rule) = &drop.rule {
        text += &format!(" rule {rule}");
    }
    if let Some(icmp) = &drop.icmp {
        text += &format!(" type {} code {}", icmp.kind, icmp.code);
    }
    if let Some(segment) = &drop.segment {
        let flags = if segment.flags.is_empty() { "none" } else { &segment.flags };
        text += &format!(" flags {flags}");
    }
    match (&drop.arithmetic, drop.length) {
        (Some(arithmetic), _) => text += &distance(arithmetic),
        (None, Some(length)) => text += &format!(" {length} bytes"),
        (None, None) => {}
    }
    text
}

/// `seq 1234 past edge 1000 by 234`.
fn distance(arithmetic: &Arithmetic) -> String {
    let Arithmetic { compared, number, lowest, highest, distance } = arithmetic;
    let by = distance.unsigned_abs();
    let edge = if compared == "seq" { "edge " } else { "" };
    match distance {
        _ if compared == "spi" => format!(" spi {number:#010x} instead of {highest:#010x}"),
        _ if lowest == highest => format!(" {compared} {number} instead of {highest}, {distance:+}"),
        0.. => format!(" {compared} {number} past {edge}{highest} by {by}"),
        _ => format!(" {compared} {number} below {edge}{lowest} by {by}"),
    }
}

/// The time of day of a moment in RFC 3339.
fn clock(time: &str) -> &str {
    time.split_once('T').map_or(time, |(_, clock)| clock.trim_end_matches('Z'))
}

fn zone(end: &EventEnd) -> &str {
    end.zone.as_deref().unwrap_or("?")
}

fn end(end: &EventEnd) -> String {
    match (end.address, end.port) {
        (None, _) => "?".to_owned(),
        (Some(address), 0) => address.to_string(),
        (Some(address), port) => std::net::SocketAddr::new(address, port).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Both, DroppedSegment, LostEvents};

    fn side(address: Option<&str>, port: u16, zone: Option<&str>) -> EventEnd {
        let address = address.map(|address| address.parse().expect("an address"));
        EventEnd { address, port, zone: zone.map(str::to_owned), interface: None }
    }

    fn drop(arithmetic: Option<Arithmetic>) -> Event {
        Event::Dropped(DropEvent {
            time: "2026-11-24T12:03:04.123Z".to_owned(),
            reason: "tcp-seq-past-win".to_owned(),
            protocol: Some("tcp".to_owned()),
            source: side(Some("198.51.100.20"), 40002, Some("outside")),
            destination: side(Some("10.71.2.10"), 10000, Some("inside")),
            rule: Some("vpn".to_owned()),
            state: Some("established".to_owned()),
            inspection: Some("strict".to_owned()),
            sender: Some("initiator".to_owned()),
            length: Some(50),
            icmp: None,
            segment: Some(DroppedSegment { flags: "AP".to_owned(), seq: 1234, ack: 1, window: 100, payload: 10 }),
            arithmetic,
            logged: false,
        })
    }

    #[test]
    fn a_drop_shows_its_arithmetic() {
        let arithmetic = |compared: &str, number, lowest, highest, distance| {
            text(&drop(Some(Arithmetic { compared: compared.to_owned(), number, lowest, highest, distance })))
        };
        let line = arithmetic("seq", 1234, 10, 1000, 234);
        assert_eq!(
            line,
            "12:03:04.123 dropped tcp-seq-past-win tcp      198.51.100.20:40002 > 10.71.2.10:10000      outside>inside rule vpn \
             flags AP seq 1234 past edge 1000 by 234"
        );
        assert!(arithmetic("ack", 7, 1, 5, 2).ends_with(" ack 7 past 5 by 2"));
        assert!(arithmetic("seq", 7, 17, 25, -10).ends_with(" seq 7 below edge 17 by 10"));
        assert!(arithmetic("ack", 7, 17, 17, -10).ends_with(" ack 7 instead of 17, -10"));
        assert!(text(&drop(None)).ends_with(" rule vpn flags AP 50 bytes"));
    }

    #[test]
    fn what_is_not_known_is_a_question_mark() {
        let Event::Dropped(mut event) = drop(None) else { panic!("a drop") };
        (event.protocol, event.rule, event.segment, event.length) = (None, None, None, None);
        (event.source, event.destination) = (side(None, 0, Some("outside")), side(None, 0, None));
        assert!(text(&Event::Dropped(event)).ends_with("-                          ? > ?                     outside>?"));
    }

    #[test]
    fn flows_and_losses() {
        let flow = FlowEvent {
            time: "2026-11-24T12:03:04.123Z".to_owned(),
            reason: Some("tcp-fins".to_owned()),
            protocol: "tcp".to_owned(),
            source: side(Some("2001:db8::1"), 40002, Some("outside")),
            destination: side(Some("2001:db8::2"), 443, Some("inside")),
            rule: "web".to_owned(),
            state: "time-wait".to_owned(),
            inspection: "strict".to_owned(),
            packets: Both { to_responder: 5, to_initiator: 4 },
            bytes: Both { to_responder: 500, to_initiator: 4000 },
            age_seconds: 61.0,
            handshake_milliseconds: Some(0.25),
            logged: false,
        };
        assert!(text(&Event::Opened(flow.clone())).ends_with(" outside>inside rule web strict handshake 0.25 ms"));
        assert!(text(&Event::Closed(flow)).ends_with(" rule web time-wait after 1m01s: 5 packets 500 B sent, 4 packets 3.9 KiB received"));
        let lost = Event::Lost(LostEvents { time: "2026-11-24T12:03:04.123Z".to_owned(), events: 7 });
        assert_eq!(text(&lost), "12:03:04.123 lost    7 events came faster than they were read");
    }
}
