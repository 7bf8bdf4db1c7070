//! The addresses that are silent here, for `weir status`: many one-sided flows have one cause.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use firewall_common::{
    flow::{Flow, FlowKey, flow_flags},
    time::Nanos,
};

use super::{
    super::{Controller, flows::ip},
    Evidence, Paths, judge,
};
use crate::{api::SilentAddress, clock};

/// Flows that only ask, of one silent address, from which on it is told of. Fewer may be a host that is down.
const MANY: u64 = 10;
/// A dropped answer may have been alone; its repetition was not.
const REPEATED: u64 = 2;
/// Addresses that are looked at, and that are told of.
const LOOKED_AT: usize = 64;
const TOLD: usize = 8;

/// What is missing of one address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Silence {
    flows: u64,
    /// Of them those in which something answers it.
    answering: u64,
    dropped_answers: u64,
}

impl Controller {
    /// Addresses whose packets should come by here and do not, as of the last sweep.
    pub(in crate::controller) fn silent_addresses(&self) -> Vec<SilentAddress> {
        let now = clock::monotonic();
        let flows = self.live.iter().map(|(key, live)| (key, live.flow));
        told(&silences(flows, &self.strays.by_destination(now), now), || self.paths())
    }
}

fn silences(flows: impl Iterator<Item = (FlowKey, Flow)>, answers: &HashMap<IpAddr, u64>, now: Nanos) -> BTreeMap<IpAddr, Silence> {
    let mut silences: BTreeMap<IpAddr, Silence> = BTreeMap::new();
    for (key, flow) in flows.filter(|(_, flow)| flow.responder.packets == 0) {
        let responder = ip(if flow.has(flow_flags::INITIATOR_LOW) { &key.high } else { &key.low });
        // Where one side may do all the talking, silence says nothing.
        let Some(evidence) = judge(key.protocol, responder, &flow, now).filter(|evidence| *evidence != Evidence::Talks) else { continue };
        let silence = silences.entry(responder).or_default();
        silence.flows += 1;
        silence.answering += u64::from(evidence == Evidence::Answers);
    }
    for (address, count) in answers.iter().filter(|(_, count)| **count >= REPEATED) {
        silences.entry(*address).or_default().dropped_answers = *count;
    }
    silences
}

/// Those worth telling of, the surest and largest first.
fn told(silences: &BTreeMap<IpAddr, Silence>, paths: impl FnOnce() -> Paths) -> Vec<SilentAddress> {
    if silences.is_empty() {
        return Vec::new();
    }
    let mut sorted: Vec<(IpAddr, Silence)> = silences.iter().map(|(address, silence)| (*address, *silence)).collect();
    sorted.sort_by_key(|(_, silence)| Reverse((silence.is_certain(), silence.flows + silence.dropped_answers)));
    let mut paths = paths();
    let describe = |(address, silence): (IpAddr, Silence)| {
        let path = paths.of(address);
        let worth = silence.is_certain() || silence.flows >= MANY || path.is_elsewhere();
        worth.then(|| SilentAddress {
            address,
            flows: silence.flows,
            dropped_answers: silence.dropped_answers,
            why: format!("{}; {}", path.told(address), silence.told()),
            expected_interface: path.interface,
            attached: path.attached,
            zone: path.zone,
            certain: silence.is_certain(),
        })
    };
    sorted.into_iter().take(LOOKED_AT).filter_map(describe).take(TOLD).collect()
}

impl Silence {
    /// Something answers it, so it has spoken. Who forges its address can make that of dropped answers, as can nobody of flows a rule let in.
    const fn is_certain(&self) -> bool {
        self.answering > 0 || self.dropped_answers > 0
    }

    fn told(&self) -> String {
        let Self { flows, answering, dropped_answers } = self;
        let mut parts = Vec::new();
        if *flows > 0 {
            parts.push(format!("missing in {}", counted(*flows, "flow")));
        }
        if *dropped_answers > 0 {
            parts.push(format!("{} to its SYNs dropped", counted(*dropped_answers, "answer")));
        }
        let evidence = match (*answering > 0, *dropped_answers > 0) {
            (true, _) => Evidence::Answers.told(),
            (false, true) => "its SYNs take another path, or are forged",
            (false, false) => Evidence::Asks.told(),
        };
        parts.push(evidence.to_owned());
        parts.join(", ")
    }
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use firewall_common::{
        flow::{Address, Endpoint, Inspection, Peer},
        wire::protocol::{TCP, UDP},
    };

    use super::*;

    const NOW: Nanos = Nanos(100_000 * Nanos::MILLISECOND);

    fn flow(protocol: u8, to: u8, port: u16, needed: u16) -> (FlowKey, Flow) {
        let end = |last, port| Endpoint { address: Address::v4([192, 0, 2, last]), port };
        let (key, low) = FlowKey::new(protocol, end(100, port), end(to, 443));
        let flow = Flow {
            flags: if low { flow_flags::INITIATOR_LOW } else { 0 },
            inspection: Inspection::Bypass as u8,
            tolerated: needed,
            initiator: Peer { packets: 2, ..Peer::default() },
            ..Flow::default()
        };
        (key, flow)
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn flows_and_dropped_answers_are_counted_by_who_is_silent() {
        let flows = [flow(TCP, 7, 1, 0), flow(TCP, 7, 2, 5), flow(TCP, 200, 1, 0), flow(UDP, 9, 1, 0)];
        let answers = HashMap::from([(address(200), 3), (address(8), 1)]);
        let silences = silences(flows.into_iter(), &answers, NOW);
        let expected = [
            (address(7), Silence { flows: 2, answering: 1, dropped_answers: 0 }),
            (address(200), Silence { flows: 1, answering: 0, dropped_answers: 3 }),
        ];
        assert_eq!(silences, BTreeMap::from(expected));
    }

    #[test]
    fn a_host_that_is_down_is_not_told_of_and_many_flows_are() {
        let told = |flows: u64, answering, dropped_answers| {
            // An address of the box itself has no interface that Weir could be missing on.
            let silence = Silence { flows, answering, dropped_answers };
            told(&BTreeMap::from([(IpAddr::from([127, 0, 0, 1]), silence)]), || Paths::new(BTreeMap::new()))
        };
        assert_eq!(told(MANY - 1, 0, 0), []);
        let many = told(MANY, 0, 0);
        assert!(!many[0].certain && many[0].why.contains("nobody answers there"), "{many:?}");
        let one = told(1, 1, 0);
        assert!(
            one[0].certain && one[0].why.ends_with("missing in 1 flow, what comes by is answered elsewhere, so they take another path")
        );
        let stray = told(0, 0, 2);
        assert!(stray[0].certain && stray[0].why.contains("2 answers to its SYNs dropped"), "{stray:?}");
    }
}
