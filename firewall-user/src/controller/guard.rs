//! The operator's own SSH session: a policy that would cut it is refused until that is wanted.

use std::net::IpAddr;

use firewall_common::{
    flow::{Address, Endpoint, FlowKey},
    rule::ZONE_SELF,
    wire::protocol::TCP,
};

use super::{
    Controller,
    judge::{Judge, Verdict, first_packet},
    reload::PolicyState,
    sets,
};
use crate::{
    api::{Failure, Kind},
    policy::{Clock, FirstPacket, Policy},
    session::Session,
};

impl Controller {
    /// What the second judge says of the session if it cuts what the first lets pass.
    ///
    /// A session that no flow is known of (it came before Weir, or its interface is not attached) is judged as a first packet to the box
    /// from any of the zones that interfaces are in.
    pub(super) fn verdict_that_cuts<'p>(
        &self,
        session: &Session,
        (now, then): &(Judge<'_>, Judge<'p>),
        attached: &[u8],
    ) -> Option<Verdict<'p>> {
        let packets = match self.live_session(session) {
            Some(packet) => vec![packet],
            None => attached.iter().map(|zone| packet(session, *zone)).collect(),
        };
        packets.iter().find_map(|packet| {
            let verdict = then.judge(packet);
            (now.judge(packet).allows() && !verdict.allows()).then_some(verdict)
        })
    }

    /// Refuses the next policy if it cuts the session.
    pub(super) fn refuse_a_cut(
        &self,
        state: &PolicyState,
        session: &Session,
        next: &Policy,
        attached: &[u8],
        now: &Clock,
    ) -> Result<(), Failure> {
        let Some(in_force) = &state.in_force else { return Ok(()) };
        let before = in_force.policy.clone().with_members(&state.sets.members()).map_err(|error| sets::too_many(&error))?;
        const HINT: &str = "say --cut-session if that is what you want; with --confirm the policy before comes back";
        self.refuse_a_cut_between(state, session, (&before, next), (attached, now), HINT)
    }

    /// Refuses what makes the second policy of the first if that cuts the session.
    pub(super) fn refuse_a_cut_between(
        &self,
        state: &PolicyState,
        session: &Session,
        (before, next): (&Policy, &Policy),
        (attached, now): (&[u8], &Clock),
        hint: &str,
    ) -> Result<(), Failure> {
        let lowerings = self.lower_beside(state, (before, next), attached, now)?;
        let judges = (Judge::new(before, &lowerings.before, now.monotonic_ns), Judge::new(next, &lowerings.next, now.monotonic_ns));
        match self.verdict_that_cuts(session, &judges, attached) {
            Some(verdict) => {
                let error = format!("this cuts your own SSH session {session}: {}", verdict.sentence());
                Err(Failure::new(Kind::CutsSession, error).hint(hint))
            }
            None => Ok(()),
        }
    }

    fn live_session(&self, session: &Session) -> Option<FirstPacket> {
        let (client, server) = ends(session);
        let (key, _) = FlowKey::new(TCP, client, server);
        self.live.get(&key).map(|live| first_packet(&key, &live.flow))
    }
}

fn ends(session: &Session) -> (Endpoint, Endpoint) {
    let end = |address: IpAddr, port: u16| {
        let address = match address {
            IpAddr::V4(v4) => Address::v4(v4.octets()),
            IpAddr::V6(v6) => Address::new(v6.octets()),
        };
        Endpoint { address, port }
    };
    (end(session.client, session.client_port), end(session.server, session.server_port))
}

fn packet(session: &Session, from_zone: u8) -> FirstPacket {
    let (client, server) = ends(session);
    let service = session.server_port.to_be_bytes();
    FirstPacket { from_zone, to_zone: ZONE_SELF, source: client.address, destination: server.address, protocol: TCP, service }
}
