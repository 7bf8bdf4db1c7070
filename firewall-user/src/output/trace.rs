use super::line;
use crate::api::{Arithmetic, Traced, TracedPacket, TracedProgram, TracedRule, TracedStage};

/// A trace as a story: what each stage said, and at the end the verdict. Of several packets those that pass get a line each.
pub fn trace(traced: &Traced, verbose: bool) -> anyhow::Result<()> {
    line(&text(traced, verbose))
}

fn text(traced: &Traced, verbose: bool) -> String {
    let mut lines = Vec::new();
    let single = traced.packets.len() == 1;
    for packet in &traced.packets {
        if single || verbose || packet.verdict != "pass" || packet.disagreement.is_some() {
            story(packet, &mut lines);
            lines.push(String::new());
        } else {
            lines.push(format!("{} {}", head(packet), verdict(packet)));
        }
    }
    if !single {
        let count = |verdict: &str| traced.packets.iter().filter(|packet| packet.verdict == verdict).count();
        let (pass, drop, answer) = (count("pass"), count("drop"), count("answer"));
        lines.push(format!("{} packets: {pass} pass, {drop} dropped, {answer} answered", traced.packets.len()));
    }
    let policy = &traced.policy;
    lines.push(match policy.generation {
        Some(generation) => format!("policy {}, in force, generation {generation}", policy.path),
        None => format!("policy {}, not in force", policy.path),
    });
    lines.extend(traced.program.iter().map(program));
    lines.join("\n")
}

fn head(packet: &TracedPacket) -> String {
    let time = packet.time.as_deref().and_then(|time| time.split_once('T')).map(|(_, clock)| format!(" {}", clock.trim_end_matches('Z')));
    format!("{}{} {} {} ({}) {}", packet.number, time.unwrap_or_default(), packet.direction, packet.interface, packet.zone, packet.summary)
}

fn story(packet: &TracedPacket, lines: &mut Vec<String>) {
    lines.push(head(packet));
    if let Some(captured) = packet.captured {
        lines.push(format!(
            "  {captured} of {} bytes were captured; the rest are taken for zeros, and no checksum over them is right",
            packet.length
        ));
    }
    if packet.host_only {
        lines.push("  the kernel runs no frame of this length: only the host has judged it".to_owned());
    }
    packet.stages.iter().for_each(|stage| tell(stage, lines));
    lines.extend(packet.changes.iter().map(|change| format!("  {:<24} {}: {} > {}", "changed", change.field, change.from, change.to)));
    if let Some(disagreement) = &packet.disagreement {
        lines.push(format!("  KERNEL AND HOST DIFFER, which is a bug of weir: {disagreement}"));
    }
    lines.push(verdict(packet));
}

fn tell(stage: &TracedStage, lines: &mut Vec<String>) {
    let result = match stage.result.as_str() {
        "goes-on" => "",
        "pass-without-learning" => "pass, no learning",
        other => other,
    };
    let mut details = stage.detail.iter();
    let first = details.next().map_or("", String::as_str);
    lines.push(format!("  {:<10} {result:<13} {first}", stage.stage).trim_end().to_owned());
    lines.extend(details.map(|detail| format!("  {:<24} {detail}", "")));
}

fn verdict(packet: &TracedPacket) -> String {
    let by = packet.rule.as_ref().map(|rule| format!(" by {}", rule_text(rule))).unwrap_or_default();
    match (packet.verdict.as_str(), &packet.reason, &packet.meaning) {
        ("pass", _, _) => format!("PASS{by}{}", if packet.learned { "" } else { ", without learning" }),
        (word, Some(reason), meaning) => {
            let meaning = meaning.as_deref().unwrap_or_default();
            let numbers = packet.arithmetic.as_ref().map(|arithmetic| format!(" {}", numbers(arithmetic))).unwrap_or_default();
            format!("{} {reason}{by}: {meaning}{numbers}", word.to_ascii_uppercase())
        }
        (word, None, _) => word.to_ascii_uppercase(),
    }
}

/// `seq 1234, expected 10 to 1000, 234 past it`.
fn numbers(arithmetic: &Arithmetic) -> String {
    let Arithmetic { compared, number, lowest, highest, distance } = arithmetic;
    let off = if *distance < 0 { "below" } else { "past" };
    let expected = if lowest == highest { highest.to_string() } else { format!("{lowest} to {highest}") };
    format!("({compared} {number}, expected {expected}: {} {off})", distance.unsigned_abs())
}

fn rule_text(rule: &TracedRule) -> String {
    match (&rule.file, rule.line) {
        (Some(file), Some(line)) => format!("rule {} ({file}:{line})", rule.name),
        _ => format!("rule {} of an earlier policy", rule.name),
    }
}

fn program(program: &TracedProgram) -> String {
    let TracedProgram { name, tag, live_tag, same } = program;
    match live_tag {
        _ if *same => format!("program {name} {tag}, the one that judges the instance's packets"),
        Some(live) => format!("warning: program {name} {tag} is not the one that judges the instance's packets, which is {live}"),
        None => format!("warning: program {name} {tag} could not be compared with the one that judges the instance's packets"),
    }
}
