//! Live flows as people and programs see them.

use std::net::{IpAddr, Ipv6Addr};

use firewall_common::{
    application::Application,
    event::Teardown,
    flow::{Address, Endpoint, Flow, FlowKey, Inspection, Peer, Sender, State, flow_flags, peer_flags},
    time::Nanos,
    wire::protocol::TCP,
};

use super::{
    Controller, guarded, held,
    live::{LiveFlow, bytes, packets},
    names::Names,
    one_sided, quality,
};
use crate::{
    api::{self, Associations, End, Failure, Ipsec, Killed, PerPeer, Quality, RoundTrip},
    clock,
    dataplane::TableName,
    filter::Filter,
    protocol,
};

/// What numbers in flows mean at the moment.
pub(super) struct Legend {
    names: Names,
    /// Interfaces by place.
    interfaces: Vec<(u8, String)>,
    now: Nanos,
    scale: u32,
}

impl Controller {
    pub(super) fn legend(&self) -> Legend {
        let interfaces = held(&self.dataplane).attachments().map(|attached| (attached.place, attached.name.clone())).collect();
        let names = held(&self.policy).names.clone();
        Legend { names, interfaces, now: clock::monotonic(), scale: self.maps.config.timeout_scale() }
    }

    /// The live flows that match, the busiest first, and at most `limit` of them. Never older than a moment.
    pub fn flows(&self, filter: &Filter, limit: Option<usize>) -> Result<Vec<api::Flow>, Failure> {
        self.sweep.run(&self.maps, &self.live)?;
        let legend = self.legend();
        let described = self.live.iter().map(|(key, live)| (self.describe(&legend, &key, &live), key, live.flow));
        let mut flows: Vec<(api::Flow, FlowKey, Flow)> = described.filter(|(flow, ..)| filter.matches(flow)).collect();
        flows.sort_by_key(|(flow, ..)| std::cmp::Reverse(flow.bytes.sum()));
        flows.truncate(limit.unwrap_or(usize::MAX));
        let guarded = |(flow, key, record)| Ok(api::Flow { guard: guarded::of(&self.maps, &key, &record)?, ..flow });
        let mut flows: Vec<api::Flow> = flows.into_iter().map(guarded).collect::<Result<_, Failure>>()?;
        if flows.iter().any(|flow| flow.one_sided.is_some()) {
            let mut paths = self.paths();
            flows.iter_mut().for_each(|flow| one_sided::place(flow, &mut paths));
        }
        Ok(flows)
    }

    /// Removes the flows that match from the dataplane: their next packets are first packets.
    pub fn kill(&self, filter: &Filter) -> Result<Killed, Failure> {
        self.sweep.run(&self.maps, &self.live)?;
        let legend = self.legend();
        let matching: Vec<FlowKey> =
            self.live.iter().filter(|(key, live)| filter.matches(&legend.describe(key, live))).map(|(key, _)| key).collect();
        let mut killed = 0;
        for key in matching {
            // It may have moved from one table to the other since it was read.
            let (embryonic, established) = (self.kill_in(TableName::Embryonic, &key)?, self.kill_in(TableName::Established, &key)?);
            if let Some(flow) = established.or(embryonic) {
                killed += 1;
                self.events.closed(key, &flow, Teardown::Killed, clock::monotonic());
            }
            self.live.forget(&key);
        }
        log::info!("removed {killed} flows on request");
        Ok(Killed { killed })
    }

    /// The flow, and where its packets are lost.
    fn describe(&self, legend: &Legend, key: &FlowKey, live: &LiveFlow) -> api::Flow {
        let mut described = legend.describe(key, live);
        let (flow, known) = (&live.flow, self.sweep.ledger.of(key));
        described.quality.loss = quality::of_flow(key.protocol, flow, known.as_ref(), legend.now);
        described.quality.round_trip_milliseconds = RoundTrip {
            initiator: quality::round_trip(flow, Sender::Initiator, known.as_ref()),
            responder: quality::round_trip(flow, Sender::Responder, known.as_ref()),
        };
        described
    }

    /// Removes a flow from one table and returns what it was.
    fn kill_in(&self, table: TableName, key: &FlowKey) -> Result<Option<Flow>, Failure> {
        let table = self.maps.table(table);
        let flow = table.get(key)?;
        Ok(if table.remove(key)? { flow } else { None })
    }
}

impl Legend {
    pub(super) fn describe(&self, key: &FlowKey, live: &LiveFlow) -> api::Flow {
        let flow = &live.flow;
        let (initiator, responder) = if flow.has(flow_flags::INITIATOR_LOW) {
            (key.low_endpoint(), key.high_endpoint())
        } else {
            (key.high_endpoint(), key.low_endpoint())
        };
        let idle = self.now.since(Nanos(flow.last_seen));
        let one_sided = one_sided::judge(key.protocol, ip(&responder.address), flow, self.now).map(one_sided::unplaced);
        api::Flow {
            protocol: protocol::name(key.protocol).into_owned(),
            initiator: self.end(initiator, flow.from_zone, flow.initiator_interface),
            responder: self.end(responder, flow.to_zone, flow.responder_interface),
            state: State::from_number(flow.state).map_or("unknown", State::name).to_owned(),
            inspection: Inspection::from_number(flow.inspection).name().to_owned(),
            rule: self.names.rule(flow.rule),
            application: Application::from_number(flow.application).map(|application| application.name().to_owned()),
            flags: letters(flow, live.table, one_sided.is_some()),
            packets: packets(flow),
            bytes: bytes(flow),
            rates: live.rates,
            age_seconds: clock::seconds(self.now.since(Nanos(flow.created))),
            idle_seconds: clock::seconds(idle),
            expires_in_seconds: clock::seconds(flow.lifetime(self.scale).since(idle)),
            quality: counted(key.protocol, flow),
            needed: needed(flow),
            ipsec: ipsec(key.protocol, flow),
            one_sided,
            guard: None,
        }
    }

    fn end(&self, endpoint: Endpoint, zone: u8, place: u8) -> End {
        let (zone, interface) = self.place(zone, place);
        End { address: ip(&endpoint.address), port: endpoint.port, zone, interface }
    }

    /// The names of a zone and of the interface at a place.
    pub(super) fn place(&self, zone: u8, place: u8) -> (String, Option<String>) {
        let interface = self.interfaces.iter().find(|(known, _)| *known == place).map(|(_, name)| name.clone());
        (self.names.zone(zone), interface)
    }

    pub(super) fn rule(&self, number: u16) -> String {
        self.names.rule(number)
    }
}

pub(super) fn ip(address: &Address) -> IpAddr {
    Ipv6Addr::from(address.octets()).to_canonical()
}

/// The associations a flow's record tells of, see [`firewall_common::track::ipsec`].
fn ipsec(protocol: u8, flow: &Flow) -> Option<Ipsec> {
    let (from, to) = (&flow.initiator, &flow.responder);
    if protocol == TCP || (from.isn == 0 && to.isn == 0) {
        return None;
    }
    let known = |peer: &Peer, number: u32| (peer.isn != 0).then_some(number);
    let other_than_none = |number: u32| (number != 0).then_some(number);
    Some(Ipsec {
        spi: Associations { to_responder: other_than_none(from.isn), to_initiator: other_than_none(to.isn) },
        previous_spi: Associations { to_responder: other_than_none(from.ack), to_initiator: other_than_none(to.ack) },
        sequence: Associations { to_responder: known(from, from.end), to_initiator: known(to, to.end) },
        rekeys: u32::from(from.gaps) + u32::from(to.gaps),
    })
}

/// What the flow's own record tells.
fn counted(protocol: u8, flow: &Flow) -> Quality {
    let both = |initiator, responder| PerPeer { initiator, responder };
    let (from, to) = (&flow.initiator, &flow.responder);
    Quality {
        retransmitted: both(from.retransmitted, to.retransmitted),
        // Outside TCP the field counts something else.
        gaps: if protocol == TCP { both(from.gaps, to.gaps) } else { PerPeer::default() },
        duplicate_acks: both(from.duplicate_acks, to.duplicate_acks),
        zero_windows: both(from.zero_windows, to.zero_windows),
        handshake_milliseconds: (flow.handshake_micros != 0).then(|| f64::from(flow.handshake_micros) / 1000.0),
        tolerated: flow.tolerated,
        loss: None,
        round_trip_milliseconds: RoundTrip::default(),
    }
}

/// Packets of a bypass flow that strict inspection would have dropped.
fn needed(flow: &Flow) -> u16 {
    if Inspection::from_number(flow.inspection) == Inspection::Bypass { flow.tolerated } else { 0 }
}

/// The flow in letters; `weir flows --help` explains them.
fn letters(flow: &Flow, table: TableName, one_sided: bool) -> String {
    let (initiator, responder) = (&flow.initiator, &flow.responder);
    let state = State::from_number(flow.state);
    let bypass = Inspection::from_number(flow.inspection) == Inspection::Bypass;
    let waits_for_syn_ack = matches!(state, Some(State::SynSent | State::SynSentBoth));
    let letters = [
        ('U', table == TableName::Established),
        ('i', table == TableName::Embryonic),
        ('b', bypass),
        ('n', needed(flow) > 0),
        ('A', waits_for_syn_ack),
        ('a', state == Some(State::SynReceived)),
        ('F', initiator.has(peer_flags::FIN)),
        ('f', responder.has(peer_flags::FIN)),
        ('R', flow.has(flow_flags::RESET)),
        ('r', flow.has(flow_flags::CLOSING) || flow.has(flow_flags::SHORTENED)),
        ('I', initiator.packets > 0),
        ('O', responder.packets > 0),
        ('1', one_sided),
    ];
    letters.iter().filter(|(_, set)| *set).map(|(letter, _)| *letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_follow_the_flow() {
        let sent = Peer { packets: 1, ..Peer::default() };
        let syn = Flow { state: State::SynSent as u8, initiator: sent, ..Flow::default() };
        assert_eq!(letters(&syn, TableName::Embryonic, false), "iAI");
        let up = Flow { state: State::Established as u8, initiator: sent, responder: sent, ..Flow::default() };
        assert_eq!(letters(&up, TableName::Established, false), "UIO");
        let bypass = Flow { state: State::Bypass as u8, inspection: Inspection::Bypass as u8, flags: flow_flags::RESET, ..up };
        assert_eq!(letters(&bypass, TableName::Established, false), "UbRIO");
        assert_eq!(letters(&Flow { tolerated: 1, ..bypass }, TableName::Established, false), "UbnRIO");
        assert_eq!(letters(&Flow { tolerated: 1, ..up }, TableName::Established, false), "UIO", "tolerated is not needed");
        assert_eq!(letters(&syn, TableName::Embryonic, true), "iAI1");
    }

    #[test]
    fn associations_are_shown_where_there_are_any() {
        let plain = Flow { initiator: Peer { isn: 7, gaps: 3, ..Peer::default() }, ..Flow::default() };
        assert_eq!(ipsec(TCP, &plain), None, "a TCP flow's first number is no SPI");
        assert_eq!(ipsec(50, &Flow::default()), None);
        assert_eq!((counted(TCP, &plain).gaps.initiator, counted(50, &plain).gaps.initiator), (3, 0));
        let rekeyed = Peer { isn: 0x1001, ack: 0x1000, end: 9, gaps: 1, ..Peer::default() };
        let shown = ipsec(50, &Flow { initiator: rekeyed, ..Flow::default() }).expect("an association");
        assert_eq!(shown.spi, Associations { to_responder: Some(0x1001), to_initiator: None });
        assert_eq!(shown.previous_spi.to_responder, Some(0x1000));
        assert_eq!(shown.sequence, Associations { to_responder: Some(9), to_initiator: None });
        assert_eq!(shown.rekeys, 1);
    }

    #[test]
    fn addresses_of_both_families_are_shown_as_people_write_them() {
        assert_eq!(ip(&Address::v4([192, 0, 2, 1])).to_string(), "192.0.2.1");
        let mut six = [0; 16];
        (six[0], six[15]) = (0xfd, 1);
        assert_eq!(ip(&Address::new(six)).to_string(), "fd00::1");
    }
}
