//! The demo's outcome for a person.

use std::fmt::Write;

use super::{Outcome, Run, claim::Claim};
use crate::{
    chart,
    traffic::{CTCP_RATE, Direction, TCP_RATE},
};

pub(super) fn outcome(outcome: &Outcome) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "\nDelivered in each of {} seconds. From the middle of the second one, {} % of the packets are lost in each direction.",
        outcome.seconds, outcome.loss_percent
    );
    for run in &outcome.runs {
        text.push_str(&measured(run));
    }
    for run in &outcome.runs {
        let _ = write!(text, "\nweir flows, halfway through \"{}\":\n{}", run.claim.title(), indented(&run.flows));
    }
    let _ = write!(text, "\nweir counters, at the end:\n{}", indented(&outcome.counters_table));
    text
}

fn measured(run: &Run) -> String {
    let mark = if run.holds { "✓" } else { "✗" };
    let mut text = format!("\n{mark} {}\n", run.claim.title());
    let figures = &run.figures;
    match run.claim {
        Claim::StrictKills | Claim::BypassSaves => {
            for (name, direction) in [("client → server", &figures.to_server), ("server → client", &figures.to_client)] {
                text.push_str(&series(name, direction, u64::from(CTCP_RATE), "datagrams/s"));
            }
        }
        Claim::TcpLives => text.push_str(&series("client → server", &figures.to_server, TCP_RATE, "bytes/s")),
    }
    let drops: Vec<String> = run.drops.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    let drops = if drops.is_empty() { "nothing".to_owned() } else { drops.join(", ") };
    let _ = writeln!(text, "  the hop lost {} packets; Weir dropped {drops}", figures.lost_packets);
    text
}

fn series(name: &str, direction: &Direction, full: u64, unit: &str) -> String {
    let end = |value: Option<&u64>| chart::short(value.copied().unwrap_or(0));
    format!(
        "  {name}  {}  {} → {} {unit}\n",
        chart::bars(&direction.delivered, full),
        end(direction.delivered.first()),
        end(direction.delivered.last())
    )
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_shows_its_course_and_its_ends() {
        let direction =
            Direction { sent: vec![400, 400, 400], delivered: vec![400, 150, 0], sent_total: 1200, delivered_total: 550, damaged: 0 };
        assert_eq!(series("client → server", &direction, 400, "datagrams/s"), "  client → server  █▃·  400 → 0 datagrams/s\n");
    }
}
