//! Traffic through the topology without Weir: what the demo's measurements rest on. Needs root and network namespaces.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use xtask::{
    command,
    ctcp::receiver::Acknowledge,
    netns::topology::Topology,
    traffic::{CTCP_RATE, Direction, Plan, ctcp, tcp},
};

/// One topology at a time: namespace names are unique per process only.
static ALONE: Mutex<()> = Mutex::new(());

const SECONDS: u32 = 5;
const LOSS: u8 = 2;

fn plan(loss: u8) -> Plan<'static> {
    Plan { xtask: Path::new(env!("CARGO_BIN_EXE_xtask")), seconds: SECONDS, loss }
}

/// Runs `check` in a topology of its own, or says why not.
fn in_topology(check: impl FnOnce(&Topology)) {
    if !command::is_root() || !command::installed("nft") {
        eprintln!("skipped: needs root and nftables");
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    check(&Topology::create().expect("the topology comes up"));
}

fn alive(direction: &Direction, loss: u8) -> bool {
    let expected = u64::from(CTCP_RATE) * (100 - u64::from(loss)) / 100;
    direction.last(2).iter().all(|delivered| delivered * 100 >= expected * 90)
}

#[test]
fn without_a_firewall_the_pair_lives_with_and_without_loss() {
    in_topology(|topology| {
        for (port, loss, acknowledge) in
            [(40_001, 0, Acknowledge::RepeatAtGap), (40_002, 2, Acknowledge::RepeatAtGap), (40_003, 2, Acknowledge::HighestSeen)]
        {
            let figures = ctcp(topology, plan(loss), acknowledge, port, || Ok(())).expect("both ends run");
            assert!(alive(&figures.to_server, loss) && alive(&figures.to_client, loss), "{loss} % {acknowledge:?}: {figures:?}");
            assert_eq!(figures.lost_packets > 0, loss > 0, "{figures:?}");
            let (server, client) = (&figures.to_server, &figures.to_client);
            assert_eq!(server.damaged + client.damaged, 0, "{figures:?}");
            // Every datagram is accounted for: delivered or dropped by the hop, which loses nothing else but, now and then, the closing reset.
            let missing = server.sent_total + client.sent_total - server.delivered_total - client.delivered_total;
            assert!((missing..=missing + 1).contains(&figures.lost_packets), "{missing} are missing: {figures:?}");
        }
    });
}

#[test]
fn a_strict_conntrack_kills_the_pair_that_repeats_its_acknowledgement_and_no_other() {
    in_topology(|topology| {
        strict_conntrack(topology);
        let repeats = ctcp(topology, plan(LOSS), Acknowledge::RepeatAtGap, 40_001, || Ok(())).expect("both ends run");
        assert_eq!((repeats.to_server.last(2), repeats.to_client.last(2)), (&[0, 0][..], &[0, 0][..]), "{repeats:?}");
        assert!(repeats.to_server.delivered[0] > 0 && repeats.to_client.delivered[0] > 0, "it worked before the loss: {repeats:?}");
        let jumps = ctcp(topology, plan(LOSS), Acknowledge::HighestSeen, 40_002, || Ok(())).expect("both ends run");
        assert!(alive(&jumps.to_server, LOSS) && alive(&jumps.to_client, LOSS), "{jumps:?}");
    });
}

#[test]
fn a_transfer_over_real_tcp_lives_at_the_same_loss() {
    in_topology(|topology| {
        strict_conntrack(topology);
        let figures = tcp(topology, plan(LOSS), || Ok(())).expect("both ends run");
        let direction = &figures.to_server;
        assert!(figures.lost_packets > 0, "{figures:?}");
        assert!(direction.last(4).iter().all(|bytes| *bytes > 0), "{figures:?}");
        assert_eq!((direction.damaged, direction.delivered_total), (0, direction.sent_total), "{figures:?}");
    });
}

/// The kernel's own tracking as a strict firewall: what it calls invalid does not pass.
fn strict_conntrack(topology: &Topology) {
    topology
        .gateway
        .nft(
            "add table ip strict; add chain ip strict forward { type filter hook forward priority 0; }; \
              add rule ip strict forward ct state invalid counter drop",
        )
        .expect("nft takes the rule");
    topology.gateway.sysctl("net/netfilter/nf_conntrack_tcp_be_liberal", "0").expect("conntrack is there");
    topology.gateway.sysctl("net/netfilter/nf_conntrack_tcp_loose", "0").expect("conntrack is there");
}
