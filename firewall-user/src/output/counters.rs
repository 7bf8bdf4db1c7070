use firewall_common::reason::Reason;

use super::{
    line,
    number::{ago, bytes},
    print, table,
};
use crate::api::Counters;

/// `weir counters`.
pub fn counters(counters: &Counters) -> anyhow::Result<()> {
    line(&format!(
        "passed {}, without learning {}, link protocols {}, dropped {}, answered {}",
        counters.passed,
        counters.passed_without_learning,
        counters.link_passed,
        counters.drops.values().sum::<u64>(),
        counters.answered,
    ))?;
    line(&format!(
        "flows created {}, established {}, expired {}",
        counters.flows_created, counters.flows_established, counters.flows_expired
    ))?;
    let events = &counters.events;
    line(&format!("events sent {}, limited {}, lost {}; listeners {}", events.sent, events.limited, events.lost, events.subscribers))?;
    if events.logged + events.log_failed != 0 {
        line(&format!("log lines {}, not written {}", events.logged, events.log_failed))?;
    }
    drops(counters)?;
    if !counters.rules.is_empty() {
        line("")?;
        let mut rows = table(&["RULE", "HITS", "LAST HIT", "FLOWS", "PACKETS", "BYTES"], &[1, 2, 3, 4, 5]);
        for rule in &counters.rules {
            let note = if rule.in_hours == Some(false) { " (not in its hours)" } else { "" };
            rows.add_row([
                rule.name.clone() + note,
                rule.hits.to_string(),
                ago(rule.last_hit_seconds_ago),
                rule.flows.to_string(),
                rule.packets.to_string(),
                bytes(rule.bytes),
            ]);
        }
        print(&rows)?;
    }
    limits(counters)?;
    line("")?;
    let mut rows = table(&["TABLE", "ENTRIES", "CAPACITY"], &[1, 2]);
    for (name, fill) in &counters.tables {
        rows.add_row([name.clone(), fill.entries.to_string(), fill.capacity.to_string()]);
    }
    print(&rows)?;
    interfaces(counters)
}

/// The limits of rules, and how much of them is taken.
fn limits(counters: &Counters) -> anyhow::Result<()> {
    let mut rows = table(&["RULE", "LIMIT", "NOW", "MOST"], &[2, 3]);
    for (rule, key, limit) in counters.rules.iter().flat_map(|rule| rule.limits.iter().map(move |(key, limit)| (rule, key, limit))) {
        let now = limit.now.map_or_else(|| "-".to_owned(), |now| now.to_string());
        rows.add_row([rule.name.clone(), key.clone(), now, limit.limit.to_string()]);
    }
    if rows.is_empty() {
        return Ok(());
    }
    line("")?;
    print(&rows)
}

/// Reasons in the order of the packet's path, each with its help.
fn drops(counters: &Counters) -> anyhow::Result<()> {
    if counters.drops.is_empty() {
        return Ok(());
    }
    line("")?;
    let mut rows = table(&["DROPPED", "REASON", "MEANING"], &[0]);
    for reason in Reason::ALL {
        if let Some(count) = counters.drops.get(reason.name()) {
            rows.add_row([count.to_string(), reason.name().to_owned(), reason.help().to_owned()]);
        }
    }
    print(&rows)
}

fn interfaces(counters: &Counters) -> anyhow::Result<()> {
    if counters.interfaces.is_empty() {
        return Ok(());
    }
    line("")?;
    let header = ["INTERFACE", "ZONE", "MODE", "RECEIVED", "BYTES", "DROPPED", "SENT", "BYTES", "DROPPED"];
    let mut rows = table(&header, &[3, 4, 5, 6, 7, 8]);
    for interface in &counters.interfaces {
        rows.add_row([
            interface.name.clone(),
            interface.zone.clone(),
            interface.mode.to_string(),
            interface.received_packets.to_string(),
            bytes(interface.received_bytes),
            interface.received_dropped.to_string(),
            interface.sent_packets.to_string(),
            bytes(interface.sent_bytes),
            interface.sent_dropped.to_string(),
        ]);
    }
    print(&rows)
}
