//! The same tunnel under a bypass with guard `esp`, while somebody between the ends forges and repeats packets on both sides of Weir. Nothing of
//! that may arrive, and nothing of the ends may be dropped. Without the guard the same forgeries arrive.

use std::{collections::BTreeMap, path::Path, thread};

use anyhow::{Context, Result, bail, ensure};

use super::{
    BYTES, NAT_TRAVERSAL, SERVICE, described,
    end::End,
    forge::{EACH, Forger, Forgery, Tally},
    idle, nat_traversal_flow,
    tap::Direction,
    transfer_while, with_ends,
};
use crate::test::{
    lab::{Associations, Both, FlowGuard},
    peers::{
        site::{Site, bypass},
        tunnel,
    },
    stream::joined,
};

/// How often at most packets are forged while keys change.
const MOST: usize = 20;
/// Associations that somebody begins right behind a change of keys, one after the other.
const CANDIDATES: [u32; 2] = [0x7777_0001, 0x7777_0002];

pub(in crate::test::peers) fn scenario(binary: &Path) -> Result<String> {
    Site::create(binary, &policy(&["esp"]))?.play(|site| {
        let ends = End::both(site)?;
        with_ends(site, ends, play)
    })
}

fn policy(guards: &[&str]) -> String {
    bypass("vpn-clients", SERVICE, guards)
}

fn play(site: &mut Site, client: &End) -> Result<String> {
    let mut forger = Forger::create(&site.topology)?;
    client.initiate(10)?;
    tunnel::pings(&site.topology)?;
    let guarded = guarded(site, client, &mut forger).context("under the guard")?;
    let candidates = candidates(site, client, &mut forger).context("right behind a change of keys")?;

    site.apply("unguarded", &policy(&[]))?;
    forger.forget();
    let control = unguarded(site, client, &mut forger).context("without the guard")?;

    // Nobody has followed what passed meanwhile, a change of keys included.
    site.apply("guarded-again", &policy(&["esp"]))?;
    forger.forget();
    let again = guarded_again(site, &mut forger).context("under the guard again")?;
    forger.stop()?;
    site.forget()?;
    Ok(format!(
        "{guarded}\n  right behind a change of keys: {candidates}\n  without the guard: {control}\n  under the guard again: {again}"
    ))
}

fn guarded(site: &Site, client: &End, forger: &mut Forger) -> Result<String> {
    let rounds = transfer_while(site, || {
        forger.wait_for_use()?;
        forger.forge(&Forgery::ALL)?;
        forge_while(forger, || client.rekey())?;
        forger.wait_for_use()?;
        forger.forge(&Forgery::ALL)
    })?;
    let dead_peer_detections = idle(client)?;
    forger.forge(&Forgery::ALL).context("at rest")?;
    tunnel::pings(&site.topology).context("after rekeying and a rest")?;
    forger.settle()?;
    let refused = refused(site, forger)?;
    let flow = nat_traversal_flow(site, client, rounds * BYTES)?;
    ensure!(flow.inspection == "bypass", "the flow is {flow:?}");
    let shown = flow.guard.as_ref().context("the flow shows no guard")?;
    check_shown(shown, client, refused, None)?;
    Ok(format!(
        "{} MiB each way, rekeyed 3 times under way, {dead_peer_detections} dead peer detections answered, nothing of it dropped\n  \
         {} and {} forged packets to the server and to the client: all refused\n  one flow {}",
        (rounds * BYTES) >> 20,
        refused.to_responder,
        refused.to_initiator,
        described(&flow)
    ))
}

/// Somebody begins associations of their own right behind a change of keys. Packets of the first pass, as a candidate's do; none of it takes a
/// place, and the tunnel goes on.
fn candidates(site: &Site, client: &End, forger: &mut Forger) -> Result<String> {
    let [first, second] = CANDIDATES.map(Forgery::Candidate);
    under_way(site, forger, |forger| {
        client.rekey_child()?;
        forger.wait_for_use()?;
        forger.forge_towards(Direction::ToServer, first)?;
        forger.forge_towards(Direction::ToServer, second)
    })?;
    let refused = refused(site, forger)?;
    let flows = site.flows("udp", NAT_TRAVERSAL)?;
    let [Some(shown)] = flows.iter().map(|flow| flow.guard.as_ref()).collect::<Vec<_>>()[..] else {
        bail!("expected one flow with a guard, got {flows:?}");
    };
    check_shown(shown, client, refused, Some(CANDIDATES[0]))?;
    Ok(format!("{EACH} of a candidate passed beside the association in use, {EACH} of another were refused, the transfer went on"))
}

/// Does work while the tunnel transfers. Behind it the tunnel still answers, and all that was forged is counted.
fn under_way(site: &Site, forger: &mut Forger, work: impl FnOnce(&mut Forger) -> Result<()>) -> Result<()> {
    transfer_while(site, || work(forger))?;
    tunnel::pings(&site.topology)?;
    forger.settle()
}

/// Does work, and forges meanwhile.
fn forge_while(forger: &mut Forger, work: impl FnOnce() -> Result<()> + Send) -> Result<()> {
    thread::scope(|scope| {
        let working = scope.spawn(work);
        let mut forged = forger.forge(&Forgery::WHENEVER);
        for _ in 1..MOST {
            if forged.is_err() || working.is_finished() {
                break;
            }
            forged = forger.forge(&Forgery::WHENEVER);
        }
        joined(working.join())?;
        forged
    })
}

/// Every forged packet was dropped for its own reason, none came through, and nothing else was dropped. Returns how many in each direction.
fn refused(site: &Site, forger: &Forger) -> Result<Both> {
    let passes = Forgery::Candidate(CANDIDATES[0]);
    let mut by_direction = [0; 2];
    let mut by_reason = BTreeMap::<String, u64>::new();
    for (direction, sum) in Direction::BOTH.into_iter().zip(&mut by_direction) {
        for forgery in Forgery::ALL.into_iter().chain(CANDIDATES.map(Forgery::Candidate)) {
            let Tally { sent, arrived } = forger.tally(direction, forgery);
            if forgery == passes {
                ensure!(arrived == sent, "of {sent} packets of a candidate {arrived} have passed {direction:?}");
                continue;
            }
            ensure!(arrived == 0, "of {sent} forged packets {forgery:?} {arrived} have passed {direction:?}");
            *sum += sent;
            *by_reason.entry(forgery.reason().to_owned()).or_default() += sent;
        }
    }
    by_reason.retain(|_, sent| *sent > 0);
    let drops = site.drops()?;
    ensure!(drops == by_reason, "Weir dropped {drops:?}, and {by_reason:?} were forged");
    let [to_responder, to_initiator] = by_direction;
    Ok(Both { to_responder, to_initiator })
}

/// What `weir flows` says of the guard. `candidate`: of what goes to the server.
fn check_shown(shown: &FlowGuard, client: &End, refused: Both, candidate: Option<u32>) -> Result<()> {
    let in_use = client.associations()?;
    let right = shown.kinds == ["esp"] && shown.proven.is_none() && shown.spi == in_use && shown.refused == refused;
    ensure!(right, "strongSwan uses {in_use:?}, {refused:?} were refused, and the guard shows {shown:?}");
    let candidate = Associations { to_responder: candidate, to_initiator: None };
    ensure!(shown.next_spi == candidate, "the candidate is {candidate:?}, and the guard shows {shown:?}");
    let before = shown.previous_spi;
    let kept = before.to_responder.is_some() && before.to_initiator.is_some() && before != in_use;
    ensure!(kept, "the guard shows no associations before those in use: {shown:?}");
    Ok(())
}

/// The control: what the guard refuses passes without it, to the packet.
fn unguarded(site: &Site, client: &End, forger: &mut Forger) -> Result<String> {
    under_way(site, forger, |forger| {
        client.rekey_child()?;
        forger.wait_for_use()?;
        forger.forge(&Forgery::ALL)
    })?;
    for (direction, forgery) in Direction::BOTH.into_iter().flat_map(|direction| Forgery::ALL.map(|forgery| (direction, forgery))) {
        let Tally { sent, arrived } = forger.tally(direction, forgery);
        ensure!(sent == EACH as u64 && arrived == sent, "of {sent} forged packets {forgery:?} {arrived} have passed {direction:?}");
    }
    site.no_drops()?;
    let flows = site.flows("udp", NAT_TRAVERSAL)?;
    ensure!(flows.iter().all(|flow| flow.guard.is_none()), "a flow shows a guard without one: {flows:?}");
    Ok(format!("{0} of {0} arrived", 2 * EACH * Forgery::ALL.len()))
}

fn guarded_again(site: &Site, forger: &mut Forger) -> Result<String> {
    under_way(site, forger, |forger| {
        forger.wait_for_use()?;
        forger.forge(&Forgery::ALL)
    })?;
    let refused = refused(site, forger)?;
    Ok(format!("{} of {} refused", refused.to_responder + refused.to_initiator, 2 * EACH * Forgery::ALL.len()))
}
