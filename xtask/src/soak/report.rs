//! What a soak found, as a table and as JSON.

use std::{collections::BTreeMap, fmt::Write, sync::atomic::Ordering};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

use super::{
    cpu::Split,
    kind::{Kind, family_name, mtu_rule},
    load::Ledger,
    met::Met,
    tap::Missing,
};
use crate::test::network::Family;

/// One kind of traffic over one family.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    pub kind: &'static str,
    pub family: &'static str,
    pub connections: u64,
    /// What the applications received and compared.
    pub bytes: u64,
    /// What Weir passed.
    pub packets: u64,
    /// Segments of this kind that went into Weir and did not come out. Counted only when Weir says that it dropped something.
    pub missing: u64,
}

#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub seconds: f64,
    pub seed: u64,
    pub holds: bool,
    pub rows: Vec<Row>,
    /// Everything Weir passed and dropped, by its counters.
    pub packets: u64,
    /// Legal packets dropped, by reason.
    pub drops: BTreeMap<String, u64>,
    pub dropped: u64,
    /// Resets dropped beside those: their receiver had acknowledged more already, and must discard them itself.
    pub spent_resets: u64,
    pub cpus: Split,
    /// Frames the hops carried, held back and doubled.
    pub hops: [u64; 3],
    pub met: Vec<Met>,
    pub fast_open: bool,
    /// What went wrong, drops included.
    pub problems: Vec<String>,
    /// What a person needs to see why.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub diagnosis: String,
}

/// The rows, from Weir's counters and the applications' own.
pub fn rows(counters: &Value, ledger: &Ledger, missing: &[Missing]) -> Result<Vec<Row>> {
    let rules = counters["rules"].as_array().context("no counters of rules")?;
    let packets = |name: &str| {
        let rule = rules.iter().find(|rule| rule["name"] == name).with_context(|| format!("no counters of rule {name}"))?;
        rule["packets"].as_u64().with_context(|| format!("rule {name} has no count of packets"))
    };
    let mut rows = Vec::new();
    for kind in Kind::ALL {
        for family in Family::BOTH {
            let total = ledger.total(kind, family);
            rows.push(Row {
                kind: kind.name(),
                family: family_name(family),
                connections: total.connections.load(Ordering::Relaxed),
                bytes: total.bytes.load(Ordering::Relaxed),
                packets: packets(&kind.rule(family))?,
                missing: missing.iter().filter(|missing| missing.segment.kind == kind && missing.segment.family == family).count() as u64,
            });
        }
    }
    for family in Family::BOTH {
        let packets = packets(&mtu_rule(family))?;
        rows.push(Row { kind: "mtu messages", family: family_name(family), connections: 0, bytes: 0, packets, missing: 0 });
    }
    Ok(rows)
}

impl Report {
    pub fn summary(&self) -> String {
        format!("{} drops / {} packets", self.dropped, self.packets)
    }

    pub fn table(&self) -> String {
        let mut text =
            format!("{:<14} {:<6} {:>12} {:>15} {:>24}\n", "TRAFFIC", "FAMILY", "CONNECTIONS", "BYTES COMPARED", "DROPS / PACKETS");
        for row in &self.rows {
            let drops = format!("{} / {}", row.missing, row.packets);
            let _ = writeln!(text, "{:<14} {:<6} {:>12} {:>15} {drops:>24}", row.kind, row.family, row.connections, row.bytes);
        }
        let connections: u64 = self.rows.iter().map(|row| row.connections).sum();
        let bytes: u64 = self.rows.iter().map(|row| row.bytes).sum();
        let drops = format!("{} / {}", self.dropped, self.packets);
        let _ = writeln!(text, "{:<14} {:<6} {connections:>12} {bytes:>15} {drops:>24}", "all", "");
        let _ = writeln!(text, "\nThe last line's figures are all of Weir's, neighbour discovery and ARP included.");
        let _ = writeln!(
            text,
            "Beside them Weir dropped {} resets below what their receiver had acknowledged: it must discard them itself (RFC 5961 §3.2).",
            self.spent_resets
        );
        let Split { cpus, outside, inside } = &self.cpus;
        let _ = writeln!(text, "Packets by CPU, from the clients: {outside:?}, from the server: {inside:?} (meant for {cpus:?})");
        let [carried, late, doubled] = self.hops;
        let _ = writeln!(text, "The reordering hops carried {carried} frames, {late} of them late and {doubled} twice.");
        for Met { feature, times } in &self.met {
            let _ = writeln!(text, "  {times:>10} {feature}");
        }
        if !self.fast_open {
            let _ = writeln!(text, "This kernel offers no TCP Fast Open: that kind was left out.");
        }
        text
    }
}
