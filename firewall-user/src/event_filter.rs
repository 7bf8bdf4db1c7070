//! Which events are meant: the conditions of [`crate::filter`], and what happened and why.

use firewall_common::{
    event::{Kind, Teardown},
    guard::Turn,
    reason::Reason,
};

use crate::{
    api::{Event, EventEnd, Failure},
    filter::{self, Condition, Side, View},
};

/// Keys a condition may have, with an example each.
const KEYS: [(&str, &str); 10] = [
    ("kind", "kind=opened,closed"),
    ("reason", "reason=tcp-seq-past-win"),
    ("zone", "zone=outside"),
    ("interface", "interface=eth0"),
    ("rule", "rule=vpn-clients"),
    ("state", "state=established"),
    ("inspection", "inspection=bypass"),
    ("address", "address=10.0.0.0/8"),
    ("port", "port=443"),
    ("protocol", "protocol=tcp"),
];

/// Conditions that must all hold; none at all means every event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFilter {
    kinds: u32,
    reasons: Vec<String>,
    conditions: Vec<Condition>,
}

impl EventFilter {
    /// Reads conditions as they stand on a command line.
    pub fn parse<T: AsRef<str>>(conditions: &[T]) -> Result<Self, Failure> {
        let mut filter = Self { kinds: Kind::EVERY, reasons: Vec::new(), conditions: Vec::new() };
        for text in conditions {
            filter.add(text.as_ref())?;
        }
        if filter.kinds == 0 {
            return Err(Failure::usage("no event meets these filters")
                .hint("an event is of one kind; closed flows and dropped packets have reasons of their own"));
        }
        Ok(filter)
    }

    fn add(&mut self, text: &str) -> Result<(), Failure> {
        let (key, value) = filter::split(text, &KEYS)?;
        match key {
            "kind" => self.kinds &= kinds(text, value)?,
            "reason" => {
                self.kinds &= kind_of_reason(text, value)?.bit();
                self.reasons.push(value.to_owned());
            }
            key if KEYS.iter().any(|(known, _)| *known == key) => self.conditions.push(text.parse()?),
            other => return Err(filter::unknown(text, other, "events", &KEYS)),
        }
        Ok(())
    }

    /// Kinds of events that can match: bit *n* is kind *n*.
    #[must_use]
    pub const fn kinds(&self) -> u32 {
        self.kinds
    }

    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        let (kind, reason, view) = match event {
            Event::Opened(flow) => (Kind::Opened, None, flow.view()),
            Event::Closed(flow) => (Kind::Closed, flow.reason.as_deref(), flow.view()),
            Event::Dropped(drop) => (Kind::Dropped, Some(drop.reason.as_str()), drop.view()),
            Event::Guard(flow) => (Kind::Guard, flow.reason.as_deref(), flow.view()),
            Event::Begun(flow) => (Kind::Begun, None, flow.view()),
            Event::Overload(overload) => (Kind::Overload, Some(overload.reason.as_str()), overload.view()),
            Event::Lost(_) => return true,
        };
        self.kinds & kind.bit() != 0
            && self.reasons.iter().all(|wanted| reason == Some(wanted.as_str()))
            && self.conditions.iter().all(|condition| condition.holds(&view))
    }
}

/// `opened,dropped` as bits.
fn kinds(text: &str, names: &str) -> Result<u32, Failure> {
    names.split(',').try_fold(0, |bits, name| match Kind::ALL.into_iter().find(|kind| kind.name() == name) {
        Some(kind) => Ok(bits | kind.bit()),
        None => Err(Failure::usage(format!("`{text}`: `{name}` is no kind of event"))
            .hint("kinds are opened, closed, dropped, begun, overload and guard, or several: kind=opened,closed")),
    })
}

/// The kind of event that has this reason.
fn kind_of_reason(text: &str, name: &str) -> Result<Kind, Failure> {
    if Teardown::ALL.iter().any(|teardown| teardown.name() == name) {
        return Ok(Kind::Closed);
    }
    if Turn::ALL.iter().any(|turn| turn.name() == name) {
        return Ok(Kind::Guard);
    }
    if Reason::ALL.iter().any(|reason| reason.name() == name) {
        return Ok(Kind::Dropped);
    }
    let names = Teardown::ALL.iter().map(|teardown| teardown.name()).chain(Turn::ALL.iter().map(|turn| turn.name()));
    let names = names.chain(Reason::ALL.iter().map(|reason| reason.name()));
    let near = names.min_by_key(|known| strsim::osa_distance(known, name)).unwrap_or_default();
    Err(Failure::usage(format!("`{text}`: nothing is closed or dropped for `{name}`"))
        .hint(format!("did you mean `{near}`? `weir counters --all` lists why packets are dropped")))
}

impl EventEnd {
    fn side(&self) -> Side<'_> {
        Side { address: self.address, port: self.port, zone: self.zone.as_deref(), interface: self.interface.as_deref() }
    }
}

impl crate::api::FlowEvent {
    fn view(&self) -> View<'_> {
        View {
            sides: [self.source.side(), self.destination.side()],
            protocol: &self.protocol,
            rule: &self.rule,
            state: &self.state,
            inspection: &self.inspection,
            flags: "",
            one_sided: false,
            application: None,
        }
    }
}

impl crate::api::OverloadEvent {
    fn view(&self) -> View<'_> {
        let sides = [self.source.side(), self.destination.side()];
        View {
            sides,
            protocol: &self.protocol,
            rule: &self.rule,
            state: "",
            inspection: "",
            flags: "",
            application: None,
            one_sided: false,
        }
    }
}

impl crate::api::DropEvent {
    fn view(&self) -> View<'_> {
        View {
            sides: [self.source.side(), self.destination.side()],
            protocol: self.protocol.as_deref().unwrap_or_default(),
            rule: self.rule.as_deref().unwrap_or_default(),
            state: self.state.as_deref().unwrap_or_default(),
            inspection: self.inspection.as_deref().unwrap_or_default(),
            flags: "",
            one_sided: false,
            application: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{DropEvent, LostEvents};

    fn end(address: &str, port: u16, zone: Option<&str>) -> EventEnd {
        EventEnd { address: address.parse().ok(), port, zone: zone.map(str::to_owned), interface: Some("eth0".to_owned()) }
    }

    fn dropped() -> Event {
        Event::Dropped(DropEvent {
            time: String::new(),
            reason: "tcp-seq-past-win".to_owned(),
            protocol: Some("tcp".to_owned()),
            source: end("198.51.100.20", 40002, Some("outside")),
            destination: end("10.71.2.10", 10000, None),
            rule: None,
            state: None,
            inspection: None,
            sender: None,
            length: None,
            icmp: None,
            segment: None,
            arithmetic: None,
            logged: false,
        })
    }

    fn matches(conditions: &[&str]) -> bool {
        EventFilter::parse(conditions).expect("legal").matches(&dropped())
    }

    #[test]
    fn conditions_are_anded() {
        assert!(matches(&[]));
        for condition in ["kind=dropped", "kind=opened,dropped", "reason=tcp-seq-past-win", "zone=outside", "port=10000", "protocol=tcp"] {
            assert!(matches(&[condition]), "{condition} should match");
        }
        for condition in ["kind=closed", "reason=tcp-not-syn", "reason=tcp-fins", "zone=inside", "rule=vpn", "state=established"] {
            assert!(!matches(&[condition]), "{condition} should not match");
        }
        assert!(!matches(&["zone=outside", "port=1"]));
        let everyone = EventFilter::parse(&["rule=vpn"]).expect("legal");
        assert!(everyone.matches(&Event::Lost(LostEvents { time: String::new(), events: 1 })), "a loss concerns whoever listens");
    }

    #[test]
    fn only_kinds_that_can_match_are_asked_for() {
        let kinds = |conditions: &[&str]| EventFilter::parse(conditions).expect("legal").kinds();
        assert_eq!(kinds(&[]), Kind::EVERY);
        assert_eq!(kinds(&["kind=opened,closed"]), Kind::Opened.bit() | Kind::Closed.bit());
        assert_eq!(kinds(&["reason=syn-timeout"]), Kind::Closed.bit());
        assert_eq!(kinds(&["reason=acl-drop", "zone=outside"]), Kind::Dropped.bit());
    }

    #[test]
    fn nonsense_is_refused_with_a_hint() {
        for conditions in [
            &["kind"][..],
            &["kind="],
            &["kind=died"],
            &["kind=opened,"],
            &["reason=tcp-seq-past"],
            &["flags=b"],
            &["knid=opened"],
            &["port=x"],
            &["kind=opened", "kind=closed"],
            &["kind=opened", "reason=tcp-fins"],
        ] {
            let failure = EventFilter::parse(conditions).expect_err("nonsense");
            assert!(failure.hint.is_some() && failure.kind.exit_code() == 2, "{conditions:?}: {failure:?}");
        }
        let typo = EventFilter::parse(&["reason=tcp-seq-past"]).expect_err("a typo");
        assert!(typo.hint.is_some_and(|hint| hint.contains("tcp-seq-past-win")));
    }

    #[test]
    fn no_reason_is_of_two_kinds() {
        for teardown in Teardown::ALL {
            assert!(Reason::ALL.iter().all(|reason| reason.name() != teardown.name()), "{}", teardown.name());
        }
    }
}
