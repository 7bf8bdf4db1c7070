//! strongSwan at both ends: IKEv2 from behind a NAT, and ESP in UDP (RFC 3948). Under strict inspection; [`guarded`] is the same under a guard.
//!
//! ESP is strongSwan's own here (its plugin kernel-libipsec, a tun device at each end), so the kernel needs none. The plugin knows ESP in
//! UDP only: it tells the other end of a NAT even where there is none. So plain ESP (protocol 50) is not part of this scenario.

mod end;
mod forge;
pub(super) mod guarded;
mod tap;

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use super::{
    site::{Site, strict},
    tunnel,
};
use crate::test::{lab::Flow, stream::joined};
use end::End;

/// IKE and ESP from behind a NAT (RFC 3947, RFC 3948).
const NAT_TRAVERSAL: u16 = 4500;
const SERVICE: &str = "udp/500,4500";
/// Each way and round of the transfer; it has as many rounds as rekeying takes.
const BYTES: u64 = 16 << 20;
const DPD: &str = "sending DPD request";

pub(super) fn scenario(binary: &Path) -> Result<String> {
    Site::create(binary, &strict("udp/500"))?.play(play)
}

fn play(site: &mut Site) -> Result<String> {
    let (client, server) = End::both(site)?;

    // UDP/4500 is denied, so there must be no tunnel.
    ensure!(client.initiate(5).is_err(), "a tunnel came up although the policy denies UDP/{NAT_TRAVERSAL}");
    let denied = site.denied()?;
    client.control(&["--terminate", "--ike", "tunnel", "--force"])?;

    site.apply("strict", &strict(SERVICE))?;
    let note = with_ends(site, (client, server), through_the_tunnel)?;
    Ok(format!("{note}\n  UDP/{NAT_TRAVERSAL} denied: no tunnel, {denied} drops"))
}

/// Does something with a tunnel between these ends, then takes it down, of which nothing may be dropped. A failure is told with what the ends
/// said.
fn with_ends(site: &mut Site, (client, server): (End, End), work: impl FnOnce(&mut Site, &End) -> Result<String>) -> Result<String> {
    let result = work(site, &client);
    if result.is_err() {
        eprintln!("{}\n{}", client.daemon.last_lines(), server.daemon.last_lines());
    }
    let note = result?;
    client.control(&["--terminate", "--ike", "tunnel"])?;
    site.no_drops()?;
    client.daemon.stop()?;
    server.daemon.stop()?;
    site.no_drops()?;
    Ok(note)
}

fn through_the_tunnel(site: &mut Site, client: &End) -> Result<String> {
    client.initiate(10)?;
    tunnel::pings(&site.topology)?;
    let rounds = transfer_while(site, || client.rekey())?;
    let dead_peer_detections = idle(client)?;
    tunnel::pings(&site.topology).context("after rekeying and a rest")?;
    site.no_drops()?;
    let flow = nat_traversal_flow(site, client, rounds * BYTES)?;
    ensure!(flow.inspection == "strict", "the flow is {flow:?}");
    Ok(format!(
        "{} MiB each way, rekeyed 3 times under way, {dead_peer_detections} dead peer detections answered\n  one flow {}",
        (rounds * BYTES) >> 20,
        described(&flow)
    ))
}

/// Sends in both directions until the work is done, at least one round. Returns how many rounds it were.
fn transfer_while(site: &Site, work: impl FnOnce() -> Result<()>) -> Result<u64> {
    let pair = tunnel::connect(&site.topology)?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let mut rounds = 0;
            while rounds == 0 || !done.load(Ordering::Relaxed) {
                pair.exchange_bulk(BYTES).with_context(|| format!("in round {rounds} of the transfer"))?;
                rounds += 1;
            }
            pair.close()?;
            Ok(rounds)
        });
        // So that the first round is under way.
        thread::sleep(Duration::from_millis(100));
        let worked = work();
        done.store(true, Ordering::Relaxed);
        let rounds = joined(sending.join())?;
        worked.map(|()| rounds)
    })
}

/// Nothing is sent any more: the ends ask each other whether they live, and stay together.
fn idle(client: &End) -> Result<usize> {
    let before = client.daemon.said(DPD);
    client.daemon.says(DPD, before + 1)?;
    // The second request is sent only when the first has been answered.
    ensure!(client.daemon.said("giving up") == 0, "the server did not answer: {}", client.daemon.last_lines());
    let state = client.field("state")?;
    ensure!(state == "INSTALLED", "after a rest the tunnel is {state}");
    Ok(client.daemon.said(DPD) - before)
}

/// Weir saw one flow with all of it, from a port that the NAT chose, and knows the security associations that the ends use now.
fn nat_traversal_flow(site: &Site, client: &End, bytes: u64) -> Result<Flow> {
    let flows = site.flows("udp", NAT_TRAVERSAL)?;
    let [flow] = flows.as_slice() else { bail!("expected one flow to UDP/{NAT_TRAVERSAL}, got {flows:?}") };
    let ends = (flow.initiator.port, flow.responder.port);
    ensure!(ends.1 == NAT_TRAVERSAL && ends.0 != NAT_TRAVERSAL, "the flow's ports are {ends:?}, as if there were no NAT");
    ensure!(flow.initiator.zone == "outside", "the flow is {flow:?}");
    ensure!(flow.bytes.to_responder > bytes && flow.bytes.to_initiator > bytes, "the flow has less than was sent: {flow:?}");
    let in_use = client.associations()?;
    let seen = flow.ipsec.context("the flow shows no security associations")?;
    ensure!(seen.spi == in_use && seen.rekeys >= 4, "strongSwan uses {in_use:?}, the flow shows {seen:?}");
    Ok(flow.clone())
}

fn described(flow: &Flow) -> String {
    let changes = flow.ipsec.map_or(0, |ipsec| ipsec.rekeys);
    format!("{} > {} with {changes} changes of an SPI", flow.initiator.port, flow.responder.port)
}
