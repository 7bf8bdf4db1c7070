//! Flows of which only one side comes by: which direction is missing, by which interface it should come, and whether it takes another path or
//! there is none.
//!
//! The dataplane counts packets by direction; that is all that is asked of it. The way of the missing packets is the kernel's route back to
//! whoever should send them. Answers to what never came by are dropped under strict inspection and leave no flow: [`strays`] sees those.

mod paths;
mod silent;
pub(super) mod strays;

use std::net::IpAddr;

use firewall_common::{
    flow::{Flow, Inspection},
    time::Nanos,
    wire::protocol::TCP,
};

pub(super) use paths::Paths;

use crate::api::{self, Missing, OneSided};

/// A flow younger than this may yet be answered.
const GRACE: Nanos = Nanos(3_000 * Nanos::MILLISECOND);
/// Packets after which an answer is due: one may be all there is to say.
const DUE: u64 = 2;

/// What speaks for it that the missing packets exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// What was seen is TCP that answers: the other side has spoken.
    Answers,
    /// TCP that only asks.
    Asks,
    /// Another protocol, in which one side may do all the talking.
    Talks,
}

/// Whether only one side of a flow comes by, to this responder.
pub(super) fn judge(protocol: u8, responder: IpAddr, flow: &Flow, now: Nanos) -> Option<Evidence> {
    if flow.responder.packets != 0 || flow.initiator.packets < DUE || now.since(Nanos(flow.created)) < GRACE {
        return None;
    }
    if protocol != TCP {
        // Nobody answers in the name of a group.
        return (!is_group(responder)).then_some(Evidence::Talks);
    }
    // Under bypass all that presupposes an answer counts as needed; at other levels nothing but SYNs gets this far.
    let bypass = Inspection::from_number(flow.inspection) == Inspection::Bypass;
    Some(if bypass && flow.tolerated > 0 { Evidence::Answers } else { Evidence::Asks })
}

fn is_group(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_multicast() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_multicast(),
    }
}

/// As a flow shows it, before its path is looked up.
pub(super) const fn unplaced(evidence: Evidence) -> OneSided {
    OneSided {
        missing: Missing::ToInitiator,
        expected_interface: None,
        attached: false,
        zone: None,
        certain: matches!(evidence, Evidence::Answers),
        why: String::new(),
    }
}

/// Adds where a listed flow's missing packets should come by.
pub(super) fn place(flow: &mut api::Flow, paths: &mut Paths) {
    let Some(one_sided) = &mut flow.one_sided else { return };
    let evidence = match (one_sided.certain, flow.protocol.as_str()) {
        (true, _) => Evidence::Answers,
        (false, "tcp") => Evidence::Asks,
        (false, _) => Evidence::Talks,
    };
    let path = paths.of(flow.responder.address);
    one_sided.why = format!("{}; {}", path.told(flow.responder.address), evidence.told());
    (one_sided.expected_interface, one_sided.attached, one_sided.zone) = (path.interface, path.attached, path.zone);
}

impl Evidence {
    const fn told(self) -> &'static str {
        match self {
            Self::Answers => "what comes by is answered elsewhere, so they take another path",
            Self::Asks => "nobody answers there, or the answers take another path",
            Self::Talks => "one side does all the talking, or the other takes another path",
        }
    }
}

#[cfg(test)]
mod tests {
    use firewall_common::{
        flow::Peer,
        wire::protocol::{ESP, UDP},
    };

    use super::*;

    const NOW: Nanos = Nanos(100_000 * Nanos::MILLISECOND);

    fn flow(inspection: Inspection, sent: u64, answered: u64, age_millis: u64) -> Flow {
        Flow {
            inspection: inspection as u8,
            created: NOW.0 - age_millis * Nanos::MILLISECOND,
            initiator: Peer { packets: sent, ..Peer::default() },
            responder: Peer { packets: answered, ..Peer::default() },
            ..Flow::default()
        }
    }

    fn judged(protocol: u8, responder: &str, flow: &Flow) -> Option<Evidence> {
        judge(protocol, responder.parse().expect("an address"), flow, NOW)
    }

    #[test]
    fn a_flow_that_was_answered_or_may_yet_be_is_not_one_sided() {
        assert_eq!(judged(TCP, "192.0.2.1", &flow(Inspection::Strict, 9, 1, 60_000)), None);
        assert_eq!(judged(TCP, "192.0.2.1", &flow(Inspection::Bypass, 9, 1, 60_000)), None);
        assert_eq!(judged(TCP, "192.0.2.1", &flow(Inspection::Strict, 2, 0, 2_999)), None, "it is young");
        assert_eq!(judged(TCP, "192.0.2.1", &flow(Inspection::Strict, 1, 0, 60_000)), None, "it has asked once");
    }

    #[test]
    fn what_answers_is_told_from_what_asks_and_what_talks() {
        assert_eq!(judged(TCP, "192.0.2.1", &flow(Inspection::Strict, 2, 0, 3_000)), Some(Evidence::Asks));
        assert_eq!(judged(TCP, "192.0.2.1", &flow(Inspection::Bypass, 4, 0, 3_000)), Some(Evidence::Asks), "SYNs alone");
        let answering = Flow { tolerated: 3, ..flow(Inspection::Bypass, 4, 0, 3_000) };
        assert_eq!(judged(TCP, "192.0.2.1", &answering), Some(Evidence::Answers));
        let tolerant = Flow { tolerated: 3, ..flow(Inspection::Tolerant, 4, 0, 3_000) };
        assert_eq!(judged(TCP, "192.0.2.1", &tolerant), Some(Evidence::Asks), "tolerated is not needed");
        for protocol in [UDP, ESP] {
            assert_eq!(judged(protocol, "2001:db8::1", &flow(Inspection::Strict, 50, 0, 9_000)), Some(Evidence::Talks));
        }
    }

    #[test]
    fn groups_owe_no_answer() {
        for group in ["224.0.0.251", "255.255.255.255", "ff02::fb"] {
            assert_eq!(judged(UDP, group, &flow(Inspection::Strict, 50, 0, 9_000)), None, "{group}");
        }
    }
}
