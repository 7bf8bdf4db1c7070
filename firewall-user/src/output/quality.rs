//! Where packets are lost, in tables and in words.

use super::{flows::end, line, number::duration, print, table};
use crate::api::{End, Figures, Flow, Loss, Place, QualityReport, Way};

/// Losses below this share are not worth a sentence.
const WORTH_TELLING: f64 = 0.1;

/// `weir quality`.
pub fn quality(report: &QualityReport) -> anyhow::Result<()> {
    if report.ways.is_empty() {
        return line("no flows yet");
    }
    let sentences: Vec<String> = report.ways.iter().flat_map(sentences).collect();
    if sentences.is_empty() {
        let lost = report.ways.iter().any(|way| way.total.loss.before + way.total.loss.behind > 0);
        line(if lost { "hardly any loss is seen: each way less than 0.1 % on either side" } else { "no loss is seen" })?;
    }
    for sentence in sentences {
        line(&sentence)?;
    }
    for (title, seconds, figures) in [
        ("since the daemon counts", report.seconds, (|way| &way.total) as fn(&Way) -> &Figures),
        ("recent", report.recent_seconds, |way| &way.recent),
    ] {
        line("")?;
        line(&format!("{title} ({})", duration(seconds as f64)))?;
        ways(&report.ways, figures)?;
    }
    Ok(())
}

fn ways(ways: &[Way], figures: fn(&Way) -> &Figures) -> anyhow::Result<()> {
    let by_rule = ways.iter().any(|way| way.rule.is_some());
    let mut header = vec![
        "FROM",
        "TO",
        "PACKETS",
        "BEFORE",
        "BEHIND",
        "AGAIN",
        "LATE",
        "GAPS",
        "DUP ACKS",
        "ZERO WINDOWS",
        "RTT FROM",
        "RTT TO",
        "LOST",
    ];
    let mut right: Vec<usize> = (2..12).collect();
    if by_rule {
        header.insert(0, "RULE");
        right.iter_mut().for_each(|column| *column += 1);
    }
    let mut rows = table(&header, &right);
    for way in ways {
        let figures = figures(way);
        let loss = &figures.loss;
        let mut row: Vec<String> = if by_rule { vec![way.rule.clone().unwrap_or_default()] } else { Vec::new() };
        row.extend([
            place(&way.from),
            place(&way.to),
            figures.packets.to_string(),
            share(loss.before, loss.before_percent),
            share(loss.behind, loss.behind_percent),
            loss.needless.to_string(),
            loss.reordered.to_string(),
            figures.gaps.to_string(),
            figures.duplicate_acks.to_string(),
            figures.zero_windows.to_string(),
            milliseconds(way.round_trip_milliseconds.from),
            milliseconds(way.round_trip_milliseconds.to),
            loss.lost.clone(),
        ]);
        rows.add_row(row);
    }
    print(&rows)
}

/// `weir flows --quality`: a line for each direction.
pub fn flow_quality(flows: &[Flow]) -> anyhow::Result<()> {
    if flows.is_empty() {
        return line("no flows");
    }
    let header = [
        "PROTO",
        "FROM",
        "TO",
        "RULE",
        "PACKETS",
        "BEFORE",
        "BEHIND",
        "RETRANSMITTED",
        "AGAIN",
        "LATE",
        "GAPS",
        "DUP ACKS",
        "ZERO WINDOWS",
        "RTT FROM",
        "RTT TO",
        "LOST",
    ];
    let mut rows = table(&header, &(4..15).collect::<Vec<_>>());
    for flow in flows {
        directions(flow).into_iter().for_each(|row| {
            rows.add_row(row);
        });
    }
    print(&rows)
}

fn directions(flow: &Flow) -> [Vec<String>; 2] {
    let (quality, trips) = (&flow.quality, &flow.quality.round_trip_milliseconds);
    let row = |from: &End, to: &End, packets: u64, loss: Option<&Loss>, counts: [u16; 4], trips: [Option<f64>; 2]| {
        let told = |value: &dyn Fn(&Loss) -> String| loss.map_or_else(|| "-".to_owned(), value);
        let [retransmitted, gaps, duplicate_acks, zero_windows] = counts.map(|count| count.to_string());
        vec![
            flow.protocol.clone(),
            end(from),
            end(to),
            flow.rule.clone(),
            packets.to_string(),
            told(&|loss| share(loss.before, loss.before_percent)),
            told(&|loss| share(loss.behind, loss.behind_percent)),
            retransmitted,
            told(&|loss| loss.needless.to_string()),
            told(&|loss| loss.reordered.to_string()),
            gaps,
            duplicate_acks,
            zero_windows,
            milliseconds(trips[0]),
            milliseconds(trips[1]),
            told(&|loss| loss.lost.clone()),
        ]
    };
    let (forth, back) = (quality.loss.as_ref().map(|loss| &loss.to_responder), quality.loss.as_ref().map(|loss| &loss.to_initiator));
    let (sent, gaps) = (&quality.retransmitted, &quality.gaps);
    let (acks, zeros) = (&quality.duplicate_acks, &quality.zero_windows);
    [
        row(
            &flow.initiator,
            &flow.responder,
            flow.packets.to_responder,
            forth,
            [sent.initiator, gaps.initiator, acks.initiator, zeros.initiator],
            [trips.initiator, trips.responder],
        ),
        row(
            &flow.responder,
            &flow.initiator,
            flow.packets.to_initiator,
            back,
            [sent.responder, gaps.responder, acks.responder, zeros.responder],
            [trips.responder, trips.initiator],
        ),
    ]
}

/// What a way's losses mean, in words: the recent ones where there are any.
fn sentences(way: &Way) -> Vec<String> {
    let (figures, when) =
        if way.recent.loss.before + way.recent.loss.behind > 0 { (&way.recent, "") } else { (&way.total, ", not lately") };
    let rule = way.rule.as_ref().map_or_else(String::new, |rule| format!("{rule}: "));
    let (from, to, loss) = (place(&way.from), place(&way.to), &figures.loss);
    let mut said = Vec::new();
    if matches!(loss.lost.as_str(), "before" | "both") && loss.before_percent >= WORTH_TELLING {
        said.push(format!(
            "{rule}loss is before Weir, on the side of {from}: {:.1} % of what it sends to {to} does not arrive{when}",
            loss.before_percent
        ));
    }
    if matches!(loss.lost.as_str(), "behind" | "both") && loss.behind_percent >= WORTH_TELLING {
        said.push(format!(
            "{rule}loss is behind Weir, on the side of {to}: {:.1} % of what {from} sends there does not arrive{when}",
            loss.behind_percent
        ));
    }
    said
}

fn place(place: &Place) -> String {
    match &place.interface {
        Some(interface) if *interface != place.zone => format!("{} ({interface})", place.zone),
        _ => place.zone.clone(),
    }
}

fn share(count: u64, percent: f64) -> String {
    if count == 0 { "0".to_owned() } else { format!("{count} ({percent:.1} %)") }
}

fn milliseconds(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1} ms"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Ends;

    fn figures(lost: &str, before: u64, behind: u64) -> Figures {
        let percent = |count: u64| count as f64 / 10.0;
        let loss = Loss {
            lost: lost.to_owned(),
            before,
            before_percent: percent(before),
            behind,
            behind_percent: percent(behind),
            needless: 0,
            reordered: 0,
            unclear: 0,
        };
        Figures { packets: 1_000, loss, gaps: 0, retransmitted: 0, duplicate_acks: 0, zero_windows: 0 }
    }

    fn way(total: Figures, recent: Figures) -> Way {
        let place = |zone: &str, interface: &str| Place { zone: zone.to_owned(), interface: Some(interface.to_owned()) };
        let (from, to) = (place("outside", "eth0"), place("inside", "inside"));
        Way { rule: None, from, to, total, recent, round_trip_milliseconds: Ends::default() }
    }

    #[test]
    fn people_are_told_the_side() {
        let nothing = || figures("nowhere", 0, 0);
        assert_eq!(
            sentences(&way(figures("before", 50, 1), figures("before", 21, 0))),
            ["loss is before Weir, on the side of outside (eth0): 2.1 % of what it sends to inside does not arrive"]
        );
        assert_eq!(
            sentences(&way(figures("behind", 1, 50), nothing())),
            ["loss is behind Weir, on the side of inside: 5.0 % of what outside (eth0) sends there does not arrive, not lately"]
        );
        assert_eq!(sentences(&way(figures("both", 20, 30), nothing())).len(), 2);
        assert!(sentences(&way(nothing(), nothing())).is_empty());
        let rule = Way { rule: Some("vpn".to_owned()), ..way(figures("before", 20, 0), nothing()) };
        assert!(sentences(&rule)[0].starts_with("vpn: loss is before Weir"));
    }
}
