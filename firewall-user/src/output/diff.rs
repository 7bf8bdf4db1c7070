use super::{flows::end, line, number::bytes, print, table};
use crate::{
    api::{FlowChangeKind, FlowChanges, Judged, PolicyDiff},
    policy::diff::{Change, ChangeKind},
};

/// Elements of a set or a service that are shown on either side.
const ELEMENTS: usize = 12;

/// `weir policy diff`: what changes line by line, then the live flows.
pub fn diff(diff: &PolicyDiff) -> anyhow::Result<()> {
    for change in &diff.changes {
        self::change(change)?;
    }
    line(&format!("{}{}", if diff.changes.is_empty() { "" } else { "\n" }, diff.summary))?;
    flows(&diff.flows)?;
    match &diff.cuts_session {
        Some(why) => line(&format!("your own SSH session would be cut: {why}")),
        None => Ok(()),
    }
}

fn change(change: &Change) -> anyhow::Result<()> {
    let mark = match change.change {
        ChangeKind::Added => '+',
        ChangeKind::Removed => '-',
        ChangeKind::Changed => '~',
        ChangeKind::Moved => '>',
    };
    let place = match (change.change, &change.after) {
        (ChangeKind::Moved, None) => ": now the first",
        (ChangeKind::Moved, Some(_)) => ": now after ",
        (ChangeKind::Added, Some(_)) => ", after ",
        _ => "",
    };
    let after = if place.ends_with(' ') { change.after.as_deref().unwrap_or_default() } else { "" };
    let name = if change.what.name() == change.name { String::new() } else { format!(" {}", change.name) };
    line(&format!("{mark} {}{name}{place}{after}", change.what.name()))?;
    let width = change.keys.iter().map(|key| key.key.len()).max().unwrap_or(0);
    for key in &change.keys {
        for (mark, value) in [('-', &key.old), ('+', &key.new)] {
            let Some(value) = value else { continue };
            // One line each, also of a long list.
            let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
            line(&format!("    {mark} {:width$} = {value}", key.key))?;
        }
    }
    elements('-', &change.removed)?;
    elements('+', &change.added)
}

fn elements(mark: char, elements: &[String]) -> anyhow::Result<()> {
    for element in elements.iter().take(ELEMENTS) {
        line(&format!("    {mark} {element}"))?;
    }
    match elements.len().saturating_sub(ELEMENTS) {
        0 => Ok(()),
        more => line(&format!("    {mark} {more} more")),
    }
}

fn flows(flows: &FlowChanges) -> anyhow::Result<()> {
    let FlowChanges { live, cut, spared, inspection, rule, listed } = flows;
    if flows.total() == 0 {
        return line(&format!("none of {live} live flows would be judged otherwise"));
    }
    line(&format!(
        "of {live} live flows {cut} would be cut, {spared} spared, {inspection} inspected otherwise, {rule} decided by another rule"
    ))?;
    if listed.is_empty() {
        return Ok(());
    }
    line("")?;
    let mut rows = table(&["CHANGE", "PROTO", "INITIATOR", "RESPONDER", "ZONES", "NOW", "THEN", "BYTES"], &[7]);
    for flow in listed {
        rows.add_row([
            kind(flow.change).to_owned(),
            flow.protocol.clone(),
            end(&flow.initiator),
            end(&flow.responder),
            format!("{}>{}", flow.initiator.zone, flow.responder.zone),
            judged(&flow.now),
            judged(&flow.then),
            bytes(flow.bytes),
        ]);
    }
    print(&rows)?;
    match flows.total().saturating_sub(listed.len() as u64) {
        0 => Ok(()),
        more => line(&format!("{more} more: --limit shows them")),
    }
}

const fn kind(kind: FlowChangeKind) -> &'static str {
    match kind {
        FlowChangeKind::Cut => "cut",
        FlowChangeKind::Spared => "spared",
        FlowChangeKind::Inspection => "inspection",
        FlowChangeKind::Rule => "rule",
    }
}

/// `allow web (strict)`, `drop`.
fn judged(judged: &Judged) -> String {
    let rule = judged.rule.as_ref().map_or_else(String::new, |rule| format!(" {rule}"));
    let inspection = judged.inspection.as_ref().map_or_else(String::new, |level| format!(" ({level})"));
    format!("{}{rule}{inspection}", judged.action)
}
