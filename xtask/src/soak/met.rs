//! What the kernels' TCP met in a run, by their own counters: a soak without lost packets or closed windows has tested little.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Serialize;

use super::network::{Host, Network};
use crate::command;

/// A feature of TCP or of the path, and the counters that tell of it. One of them must have moved.
const FEATURES: [(&str, &[&str]); 12] = [
    ("fast opens with data in the SYN", &["TcpExt.TCPFastOpenPassive"]),
    ("packets able to tell of congestion (ECN)", &["IpExt.InECT0Pkts"]),
    ("connections opened", &["Tcp.PassiveOpens"]),
    ("segments sent again", &["Tcp.RetransSegs"]),
    ("retransmission timeouts", &["TcpExt.TCPTimeouts"]),
    ("selective acknowledgements of lost segments", &["TcpExt.TCPSackRecovery"]),
    ("duplicates told of (D-SACK)", &["TcpExt.TCPDSACKRecv", "TcpExt.TCPDSACKOfoRecv"]),
    ("reordering noticed", &["TcpExt.TCPSACKReorder", "TcpExt.TCPTSReorder", "TcpExt.TCPOFOQueue"]),
    ("windows closed", &["TcpExt.TCPToZeroWindowAdv"]),
    ("probes of closed windows and keep-alives", &["TcpExt.TCPWinProbe", "TcpExt.TCPKeepAlive"]),
    ("resets sent", &["Tcp.OutRsts"]),
    ("messages about a path's MTU", &["Icmp.InDestUnreachs", "Icmp6.Icmp6InPktTooBigs"]),
];
/// Place of fast open in the list, which not every kernel offers.
const FAST_OPEN: usize = 0;

/// A feature and how often it was met.
#[derive(Debug, Clone, Serialize)]
pub struct Met {
    pub feature: &'static str,
    pub times: u64,
}

/// Reads the counters of all hosts. What the kernel does not offer is not in the list.
pub fn read(network: &Network, fast_open: bool) -> Result<Vec<Met>> {
    let mut sum: BTreeMap<String, u64> = BTreeMap::new();
    for host in Host::ALL {
        let files = ["/proc/net/snmp", "/proc/net/netstat", "/proc/net/snmp6"];
        let text = command::output(network.host(host).command("cat").args(files))
            .with_context(|| format!("cannot read the counters of {}", host.name()))?;
        for (name, value) in counters(&text) {
            *sum.entry(name).or_default() += value;
        }
    }
    let offered = FEATURES.iter().enumerate().filter(|(place, _)| fast_open || *place != FAST_OPEN);
    let times = |names: &[&str]| names.iter().filter_map(|name| sum.get(*name)).sum();
    Ok(offered.map(|(_, (feature, names))| Met { feature, times: times(names) }).collect())
}

/// The kernel's tables: two lines each, names and values, both after the table's name; in the one of IPv6 a name and a value a line.
fn counters(text: &str) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some((table, names)) = line.split_once(':') {
            let Some((_, values)) = lines.next().and_then(|line| line.split_once(':')) else { break };
            for (name, value) in names.split_whitespace().zip(values.split_whitespace()) {
                found.insert(format!("{table}.{name}"), value.parse().unwrap_or(0));
            }
        } else if let Some((name, value)) = line.split_once(char::is_whitespace) {
            found.insert(format!("Icmp6.{name}"), value.trim().parse().unwrap_or(0));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_tables_are_read() {
        let found = counters("Tcp: MaxConn RetransSegs\nTcp: -1 42\nTcpExt: A B\nTcpExt: 1 2\nIcmp6InPktTooBigs               \t5\n");
        assert_eq!(found.get("Tcp.RetransSegs"), Some(&42));
        assert_eq!(found.get("TcpExt.B"), Some(&2));
        assert_eq!(found.get("Icmp6.Icmp6InPktTooBigs"), Some(&5));
        assert_eq!(found.get("Tcp.MaxConn"), Some(&0), "no limit is no number");
    }
}
