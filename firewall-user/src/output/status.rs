use super::{line, number::duration, print, table};
use crate::api::{Expiring, Interface, Status};

/// `weir status`.
pub fn status(status: &Status) -> anyhow::Result<()> {
    let ready = if status.ready { "ready" } else { "NOT READY" };
    line(&format!(
        "instance {}: {ready}, placement {}, weir {}, up {}",
        status.instance,
        status.placement,
        status.version,
        duration(status.uptime_seconds as f64)
    ))?;
    match &status.policy {
        Some(policy) => line(&format!("policy   {}: {} rules, generation {}", policy.path, policy.rules, policy.generation))?,
        None => line("policy   none: everything is dropped")?,
    }
    if let Some(waits) = &status.confirmation {
        line(&format!(
            "confirm  number {} waits, for {} s more: weir policy confirm; else number {} comes back",
            waits.number, waits.seconds_left, waits.previous
        ))?;
    }
    for rule in &status.expiring {
        line(&ends(rule))?;
    }
    line(&format!("flows    {}", status.flows))?;
    for silent in &status.silent {
        line(&format!("one side {}", silent.why))?;
    }
    if let Some(adopted) = status.adopted {
        line(&format!("adopted  {} flows, {} interfaces, policy generation {}", adopted.flows, adopted.interfaces, adopted.generation))?;
    }
    if status.interfaces.is_empty() {
        return line("no interface is attached");
    }
    line("")?;
    let mut rows = table(&["INTERFACE", "ZONE", "MODE", "EGRESS", "STATE"], &[]);
    for interface in &status.interfaces {
        rows.add_row([&interface.name, &interface.zone, &mode(interface), &interface.egress, &state(interface)]);
    }
    print(&rows)
}

fn ends(rule: &Expiring) -> String {
    let bypass = if rule.inspection == "bypass" { " (bypass)" } else { "" };
    if rule.expired {
        format!("expired  rule {}{bypass}, at {}", rule.rule, rule.expires)
    } else {
        format!("expires  rule {}{bypass}, in {}, at {}", rule.rule, duration(rule.expires_in_seconds as f64), rule.expires)
    }
}

fn mode(interface: &Interface) -> String {
    if interface.fell_back { format!("{} (the driver cannot run native)", interface.mode) } else { interface.mode.to_string() }
}

fn state(interface: &Interface) -> String {
    match (interface.attached, interface.adopted) {
        (false, _) => "GONE",
        (true, true) => "adopted",
        (true, false) => "attached",
    }
    .to_owned()
}
