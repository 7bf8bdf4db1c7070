use super::{line, number::ago, print, table};
use crate::{
    api::{Advice, AdviceApplied, Advised, AdvisedEnd, AdvisedFlow},
    instance::Instance,
};

/// Flows shown of one advice.
const SHOWN: usize = 8;
/// Width of a line of prose.
const WIDTH: usize = 100;

/// `weir advise`: a table, then each advice.
pub fn advised(instance: &Instance, advised: &Advised) -> anyhow::Result<()> {
    if advised.advice.is_empty() {
        line("no stream is killed by a strict check, as far as is known of the last day")?;
    } else {
        print(&overview(&advised.advice))?;
    }
    for advice in &advised.advice {
        line("")?;
        line(&told(instance, advice))?;
    }
    if advised.not_remembered > 0 {
        line("")?;
        line(&format!("{} more refusals came than are remembered", advised.not_remembered))?;
    }
    Ok(())
}

fn overview(advice: &[Advice]) -> comfy_table::Table {
    let mut rows = table(&["NAME", "LOOKS LIKE", "SURE", "FROM", "TO", "REFUSED", "LAST", "RULE"], &[5]);
    for one in advice {
        let first = one.flows.first();
        rows.add_row([
            one.name.clone(),
            one.looks.clone(),
            one.confidence.clone(),
            first.map_or_else(String::new, |flow| several(&flow.from, one.flows.len())),
            first.and_then(|flow| flow.to.as_ref()).map_or_else(|| "many".to_owned(), end),
            one.refused.to_string(),
            ago(Some(one.last_seconds_ago as u64)),
            if one.rule.is_some() { "below" } else { "none" }.to_owned(),
        ]);
    }
    rows
}

fn several(first: &AdvisedEnd, count: usize) -> String {
    match count {
        0 | 1 => format!("{} {}", first.zone, first.address),
        more => format!("{} {} and {} more", first.zone, first.address, more - 1),
    }
}

/// `outside 198.51.100.20:40001`, as `weir flows` writes ends.
fn end(end: &AdvisedEnd) -> String {
    match (end.port, end.address) {
        (None, address) => format!("{} {address}", end.zone),
        (Some(port), address) => format!("{} {}", end.zone, std::net::SocketAddr::new(address, port)),
    }
}

/// One advice in full.
fn told(instance: &Instance, advice: &Advice) -> String {
    let mut lines = vec![format!("{}: {}, confidence {}", advice.name, advice.looks, advice.confidence)];
    let reasons: Vec<String> = advice.reasons.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    lines.push(format!(
        "  refused  {} ({}), from {} to {}",
        advice.refused,
        reasons.join(", "),
        ago(Some(advice.first_seconds_ago as u64)),
        ago(Some(advice.last_seconds_ago as u64)),
    ));
    lines.extend(advice.flows.iter().take(SHOWN).map(flow));
    if advice.flows.len() > SHOWN {
        lines.push(format!("           and {} more", advice.flows.len() - SHOWN));
    }
    lines.extend(wrapped("why", &advice.why));
    if let Some(by) = &advice.admitted_by {
        let does = if by.action == "allow" { format!("admits it, {}", by.inspection) } else { format!("says {}", by.action) };
        lines.push(format!("  now      rule {} ({}:{}) {does}", by.rule, by.file, by.line));
    }
    for (place, way) in advice.instead.iter().enumerate() {
        lines.extend(wrapped(if place == 0 { "better" } else { "" }, way));
    }
    match (&advice.rule, &advice.no_rule) {
        (Some(rule), _) => {
            lines.push(format!("  rule     before rule {}, for whoever cannot:", rule.before));
            lines.push(String::new());
            lines.extend(rule.toml.lines().map(|line| format!("    {line}").trim_end().to_owned()));
            lines.push(String::new());
            let of = if *instance == Instance::default() { String::new() } else { format!(" --instance {instance}") };
            lines.push(format!("    weir advise --apply {}{of}", advice.name));
        }
        (None, Some(why)) => lines.extend(wrapped("no rule", why)),
        (None, None) => {}
    }
    lines.join("\n")
}

fn flow(flow: &AdvisedFlow) -> String {
    let to = flow.to.as_ref().map_or_else(|| "many".to_owned(), end);
    let application = flow.application.as_ref().map_or_else(String::new, |application| format!(", {application}"));
    let live = if flow.live { ", still open" } else { "" };
    format!("  flow     {} > {to}, {} refused{application}{live}", end(&flow.from), flow.refused)
}

/// Prose under a heading, in lines of [`WIDTH`].
fn wrapped(heading: &str, text: &str) -> Vec<String> {
    let mut lines = vec![format!("  {heading:<9}")];
    let mut used = 0;
    for word in text.split_whitespace() {
        if used > 0 && used + word.chars().count() >= WIDTH {
            lines.push(" ".repeat(11));
            used = 0;
        }
        if let Some(last) = lines.last_mut() {
            if used > 0 {
                last.push(' ');
            }
            last.push_str(word);
        }
        used += word.chars().count() + 1;
    }
    lines
}

/// `weir advise --apply`.
pub fn advice_applied(instance: &Instance, applied: &AdviceApplied) -> anyhow::Result<()> {
    for warning in &applied.warnings {
        eprintln!("{warning}");
    }
    line(&format!("added {} to {}; generation {} is in force", applied.name, applied.file, applied.generation))?;
    line(&format!("it ends by itself with {}; `weir bypass list` shows when it was last needed", applied.expires))?;
    let Some(waits) = &applied.confirmation else { return Ok(()) };
    let of = if *instance == Instance::default() { String::new() } else { format!(" --instance {instance}") };
    line(&format!("within {} s: weir policy confirm{of}; else number {} comes back", waits.seconds_left, waits.previous))
}
