//! What `weir advise` makes of real streams: IPsec over TCP that loses a packet, a path of which one direction is elsewhere, and attacks.

use std::{
    env,
    io::Write as _,
    net::{IpAddr, SocketAddr},
    path::Path,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::ALLOWED;
use crate::{
    ctcp::receiver::Acknowledge,
    netns::{
        End, join,
        topology::{CLIENT, CTCP_PORT, INSIDE, OUTSIDE, SERVER, Topology},
    },
    pattern::Pattern,
    scratch::Scratch,
    test::{
        frame::{Port, Tcp},
        lab::{Lab, wait_for},
        network::{CLIENT_MAC, Family, OUTSIDE_MAC, WAN},
        stream::PATIENCE,
    },
    traffic::{self, Plan, TCP_PORT},
    weir::{Launch, Weir},
};

const SECONDS: u32 = 6;
/// Percentage lost in each direction.
const LOSS: u8 = 3;
/// What a live stream delivers in a second, at least, of the 400 datagrams that are sent.
const LIVELY: u64 = 300;

/// `weir advise --json`, as far as it is needed here.
#[derive(Debug, Clone, Deserialize)]
struct Advised {
    advice: Vec<Advice>,
}

#[derive(Debug, Clone, Deserialize)]
struct Advice {
    name: String,
    looks: String,
    why: String,
    refused: u64,
    rule: Option<Rule>,
}

#[derive(Debug, Clone, Deserialize)]
struct Rule {
    from: Vec<String>,
    to: Vec<String>,
    service: Vec<String>,
    guard: Vec<String>,
    before: String,
}

fn advised(weir: &Weir) -> Result<Vec<Advice>> {
    Ok(weir.read::<Advised>("advise", &[])?.advice)
}

/// The one advice with a rule.
fn the_rule(weir: &Weir, looks: &str) -> Result<(Advice, Rule)> {
    let all = advised(weir)?;
    let mut ruled = all.iter().filter_map(|advice| advice.rule.clone().map(|rule| (advice.clone(), rule)));
    let (advice, rule) = ruled.next().with_context(|| format!("no rule is advised: {all:?}"))?;
    ensure!(ruled.next().is_none(), "more than one rule is advised: {all:?}");
    ensure!(advice.looks == looks, "it does not look like {looks}: {advice:?}");
    Ok((advice, rule))
}

/// IPsec over TCP dies of its first losses under strict inspection; the advice is followed, and it lives.
pub fn fake_tcp(binary: &Path) -> Result<String> {
    let xtask = env::current_exe().context("cannot find this program's own file")?;
    let scratch = Scratch::create("advise")?;
    let topology = Topology::create()?;
    let policies = scratch.directory_with("policy", "10-gateway.toml", &policy())?;
    let weir = Weir::start(Launch::gateway(binary, &topology.gateway, "test", policies.clone(), &scratch))?;
    let plan = |loss| Plan { xtask: &xtask, seconds: SECONDS, loss };

    // Real TCP loses as much, and wants nothing.
    traffic::tcp(&topology, plan(LOSS), || Ok(()))?;
    let real = advised(&weir)?;
    ensure!(real.iter().all(|advice| advice.rule.is_none()), "a rule is advised for real TCP: {real:?}");

    let dead = traffic::ctcp(&topology, plan(LOSS), Acknowledge::RepeatAtGap, 40_001, || Ok(()))?;
    ensure!(dead.to_server.last(2).iter().sum::<u64>() < LIVELY, "strict inspection let it live: {dead:?}");
    let (advice, rule) = the_rule(&weir, "fake-tcp")?;
    let expected = (vec![format!("{OUTSIDE} {CLIENT}")], vec![format!("{INSIDE} {SERVER}")], vec![format!("tcp/{CTCP_PORT}")]);
    ensure!((rule.from.clone(), rule.to.clone(), rule.service.clone()) == expected, "it is not the narrowest rule: {rule:?}");
    ensure!(rule.guard == ["ctcp"], "what proves to be IPsec over TCP is not asked to go on proving it: {rule:?}");
    ensure!(rule.before == "vpn" && advice.why.contains("never filled"), "{advice:?}");
    let shown = weir.show("advise")?;
    ensure!(shown.contains("[[rule]]") && shown.contains(&advice.name), "a person is shown no rule: {shown}");

    // Its client has given up, and the flow is gone: what it carried is known all the same.
    weir.forget_flows()?;
    let (_, later) = the_rule(&weir, "fake-tcp")?;
    ensure!(later.guard == ["ctcp"], "without the flow its rule is wider: {later:?}");

    let _: serde_json::Value = weir.read("advise", &["--apply", &advice.name])?;
    let text = std::fs::read_to_string(policies.join("10-gateway.toml")).context("the policy is gone")?;
    ensure!(text.contains("# Kept.\n") && text.contains(&advice.name), "the policy's file is not what it should be: {text}");
    ensure!(weir.read::<serde_json::Value>("advise", &["--apply", &advice.name]).is_err(), "a rule that is there was added again");
    let alive = traffic::ctcp(&topology, plan(LOSS), Acknowledge::RepeatAtGap, 40_002, || Ok(()))?;
    for direction in [&alive.to_server, &alive.to_client] {
        ensure!(direction.last(2).iter().all(|delivered| *delivered >= LIVELY), "the advice did not help: {alive:?}");
    }
    let after = advised(&weir)?;
    ensure!(after.iter().all(|advice| advice.rule.is_none()), "it is advised again: {after:?}");
    weir.stop()?;
    let (delivered, last) = (dead.to_server.last(1).to_vec(), alive.to_server.last(1).to_vec());
    Ok(format!("{} ({} refused): {delivered:?} datagrams in the last second before, {last:?} after", advice.name, advice.refused))
}

fn policy() -> String {
    let rule = |name: &str, port: u16| {
        format!(
            "[[rule]]\nname = \"{name}\"\nfrom = \"{OUTSIDE}\"\nto = \"{INSIDE} {SERVER}\"\nservice = \"tcp/{port}\"\n\
             action = \"allow\"\n\n"
        )
    };
    format!("# Kept.\n{}{}", rule("vpn", CTCP_PORT), rule("transfer", TCP_PORT))
}

/// The server's replies go to the client by a cable of their own.
pub fn one_sided(lab: &mut Lab) -> Result<String> {
    let (client, server) = (&lab.network.client, lab.network.server());
    let end = |namespace, address, mac| End { namespace, interface: "aside", address, mac, faces_xdp: false };
    join(&end(client, "203.0.113.1/30", "02:00:00:00:00:11"), &end(server, "203.0.113.2/30", "02:00:00:00:00:12"))?;
    for namespace in [client, server] {
        for interface in ["all", "aside"] {
            namespace.sysctl(&format!("net/ipv4/conf/{interface}/rp_filter"), "0")?;
        }
    }
    server.ip(&format!("route add {}/32 via 203.0.113.1 dev aside", Family::V4.client()))?;
    let listener = lab.listen(Family::V4, ALLOWED)?;
    let mut stream = lab.connect(Family::V4, ALLOWED, PATIENCE).context("the client hears no answer by the other path")?;
    stream.write_all(b"lost")?;
    wait_for("the advice", || Ok(advised(&lab.weir)?.iter().any(|advice| advice.rule.is_some())))?;
    let (advice, rule) = the_rule(&lab.weir, "asymmetric")?;
    ensure!(rule.service == [format!("tcp/{ALLOWED}")] && rule.before == "served", "{rule:?}");
    drop((stream, listener));
    let _: serde_json::Value = lab.weir.read("advise", &["--apply", &advice.name, "--for", "1h"])?;
    // A stream that is met in its middle, and one from its beginning.
    lab.pair(Family::V4, ALLOWED)?.exchange().context("the advice did not help")?;
    Ok(advice.why)
}

/// Somebody scans, and puts packets into an open connection without seeing it.
pub fn attacked(lab: &mut Lab) -> Result<String> {
    let port = Port::open(&lab.network.client, WAN)?;
    let pair = lab.pair(Family::V4, ALLOWED)?;
    let (client, server) = (pair.client.local_addr()?, pair.server.local_addr()?);
    let mut random = Pattern::new(11);
    let mut number = move || {
        let mut bytes = [0; 4];
        random.fill(&mut bytes);
        u32::from_be_bytes(bytes)
    };
    let send = |source: SocketAddr, destination: SocketAddr, seq, ack, flags, payload: &[u8]| {
        port.send(&Tcp { source, destination, seq, ack, flags, payload: payload.to_vec() }.frame(CLIENT_MAC, OUTSIDE_MAC, &[])?)
    };
    for turn in 0..60_u16 {
        pair.exchange()?;
        send(client, server, number(), number(), ".", b"put in")?;
        send(client, server, number(), 0, "R", b"")?;
        // In order, from a place of chance.
        let start = number();
        for step in 0..4 {
            send(client, server, start.wrapping_add(step * 100), number(), ".", &[7; 100])?;
        }
        let scanner: IpAddr = [192, 0, 2, 66].into();
        for step in 0..20 {
            let probed = SocketAddr::new(server.ip(), 7000 + (turn * 20 + step) % 100);
            let flags = if step % 2 == 0 { "." } else { "S." };
            send(SocketAddr::new(scanner, 40_000 + turn), probed, number(), number(), flags, b"")?;
        }
        thread::sleep(Duration::from_millis(5));
    }
    let mut seen = Vec::new();
    wait_for("both attacks to be told of", || {
        seen = advised(&lab.weir)?;
        Ok(["injection", "scan"].iter().all(|looks| seen.iter().any(|advice| advice.looks == *looks)))
    })
    .with_context(|| format!("what is told: {seen:?}"))?;
    ensure!(seen.iter().all(|advice| advice.rule.is_none()), "an attacker is advised to be let through: {seen:?}");
    for advice in &seen {
        let refused = lab.weir.read::<serde_json::Value>("advise", &["--apply", &advice.name]);
        ensure!(refused.is_err(), "the rule for an attacker was added: {advice:?}");
    }
    pair.exchange()?;
    pair.close()?;
    let told: Vec<String> = seen.iter().map(|advice| format!("{} {}", advice.looks, advice.refused)).collect();
    Ok(told.join(", "))
}
