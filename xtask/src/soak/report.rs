//! What a soak found, as a table and as JSON.

use std::{fmt::Write, sync::atomic::Ordering};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

use super::{
    cpu::Split,
    drops::{Dropped, Sums, What},
    kind::{Kind, family_name},
    load::Ledger,
    met::Met,
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
    /// Legal packets that Weir dropped.
    pub dropped: u64,
    /// Resets it dropped that their receivers refuse as well.
    pub refused_resets: u64,
}

#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub seconds: f64,
    pub seed: u64,
    pub holds: bool,
    pub rows: Vec<Row>,
    /// Everything Weir passed and dropped, by its counters.
    pub packets: u64,
    #[serde(flatten)]
    pub sums: Sums,
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
pub fn rows(counters: &Value, ledger: &Ledger, dropped: &[Dropped]) -> Result<Vec<Row>> {
    let rules = counters["rules"].as_array().context("no counters of rules")?;
    let packets = |name: &str| {
        let rule = rules.iter().find(|rule| rule["name"] == name).with_context(|| format!("no counters of rule {name}"))?;
        rule["packets"].as_u64().with_context(|| format!("rule {name} has no count of packets"))
    };
    let mut rows = Vec::new();
    let row = |name: String, kind: &'static str, family: Family, (connections, bytes): (u64, u64)| -> Result<Row> {
        let (refused, lost): (Vec<_>, Vec<_>) = dropped
            .iter()
            .filter(|dropped| dropped.event.rule.as_deref() == Some(&name))
            .partition(|dropped| matches!(dropped.what, What::RefusedReset));
        let (dropped, refused_resets) = (lost.len() as u64, refused.len() as u64);
        Ok(Row { kind, family: family_name(family), connections, bytes, packets: packets(&name)?, dropped, refused_resets })
    };
    for kind in Kind::ALL {
        for family in Family::BOTH {
            let total = ledger.total(kind, family);
            let applications = (total.connections.load(Ordering::Relaxed), total.bytes.load(Ordering::Relaxed));
            rows.push(row(kind.rule(family), kind.name(), family, applications)?);
        }
    }
    Ok(rows)
}

impl Report {
    pub fn summary(&self) -> String {
        format!(
            "{} drops / {} packets, beside them resets their receivers refuse as well: {}",
            self.sums.dropped, self.packets, self.sums.refused_resets
        )
    }

    fn ratio(&self) -> String {
        format!("{} / {}", self.sums.dropped, self.packets)
    }

    pub fn table(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, family: &str, [connections, bytes, drops, refused]: [String; 4]| {
            let _ = writeln!(text, "{name:<14} {family:<6} {connections:>12} {bytes:>15} {drops:>24} {refused:>14}");
        };
        let heading = ["CONNECTIONS", "BYTES COMPARED", "DROPS / PACKETS", "REFUSED RESETS"];
        line("TRAFFIC", "FAMILY", heading.map(str::to_owned));
        for Row { kind, family, connections, bytes, packets, dropped, refused_resets } in &self.rows {
            let drops = format!("{dropped} / {packets}");
            line(kind, family, [connections.to_string(), bytes.to_string(), drops, refused_resets.to_string()]);
        }
        let connections: u64 = self.rows.iter().map(|row| row.connections).sum();
        let bytes: u64 = self.rows.iter().map(|row| row.bytes).sum();
        line("all", "", [connections.to_string(), bytes.to_string(), self.ratio(), self.sums.refused_resets.to_string()]);
        let _ = writeln!(text, "\nThe last line's figures are all of Weir's, neighbour discovery and ARP included.");
        let _ = writeln!(
            text,
            "Refused resets lie below what their receivers had acknowledged: these must discard them as well (RFC 5961 §3.2). Of each \
             such the receiver was seen on the wire to acknowledge what lies behind it."
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
