//! What a benchmark says: for programs as JSON, for people as tables.

use serde::Serialize;

/// Names and shapes are part of the contract: `bench --json`.
#[derive(Debug, Serialize)]
pub struct Report {
    /// First packets under policies of many rules at the end.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cases: Vec<Case>,
    /// Left out when only other parts were measured.
    #[serde(flatten)]
    pub packets: Option<Packets>,
    /// What loading policies of many rules took.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub loading: Vec<Loading>,
    /// Empty when it was not measured.
    pub forwarding: Vec<Forwarding>,
    pub rounds: u32,
}

/// What single packets cost, without a network, beside the cases.
#[derive(Debug, Serialize)]
pub struct Packets {
    pub floors: Vec<Floor>,
    pub memory: Memory,
    /// What the normalizer's checks add; empty when a single case was asked for.
    pub checks: Vec<Check>,
}

/// One case at one number of flows. Times are nanoseconds per packet without the driver's.
#[derive(Debug, Clone, Serialize)]
pub struct Case {
    pub name: &'static str,
    pub flows: u64,
    pub rules: u32,
    pub ns: f64,
    /// Half the distance between the quartiles of the rounds.
    pub ns_spread: f64,
    /// The one-lookup floor at the same number of flows.
    pub floor_ns: f64,
    pub ratio: f64,
    /// To the same packets under a policy of ten rules; of first packets alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio_to_few_rules: Option<f64>,
}

/// What it takes to put a policy in force in place of another of its size.
#[derive(Debug, Clone, Serialize)]
pub struct Loading {
    pub rules: u32,
    /// Of `weir policy apply`: reading, checking, lowering, filling the slot and the switch.
    pub seconds: f64,
    /// Of the maps that policies lie in, for both slots, as the kernel accounts them.
    pub bytes: u64,
}

/// What one check of the normalizer adds to a packet of an established flow under strict inspection.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// Key and value of the profile, or a whole profile.
    pub name: &'static str,
    pub flows: u64,
    /// Nanoseconds more than profile `off` for the same segment.
    pub ns: f64,
    pub ns_spread: f64,
    /// The same segment under profile `off`, the driver included.
    pub without_ns: f64,
}

/// The floors at one number of flows.
#[derive(Debug, Clone, Serialize)]
pub struct Floor {
    pub flows: u64,
    /// What driving the frame costs: taken off every other figure.
    pub driver_ns: f64,
    pub lookup_ns: f64,
    pub lookup_ns_spread: f64,
}

#[derive(Debug, Clone, Serialize)]
pub struct Memory {
    /// Key, value and the kernel's overhead: what room for one more established flow takes.
    pub bytes_per_flow: f64,
    pub established_capacity: u32,
    pub established_bytes: u64,
}

/// One contestant's packets through the gateway. Every time is what a packet costs the one CPU that does everything, veth pairs included.
#[derive(Debug, Clone, Serialize)]
pub struct Forwarding {
    /// `no-firewall`, `nftables` or `weir`.
    pub name: &'static str,
    pub flows: u64,
    /// Of the whole path, the generator included.
    pub packets_per_second: f64,
    /// Nanoseconds of the whole path, in the fastest burst of a round.
    pub ns: f64,
    pub ns_spread: f64,
    /// The generator's part of it: the path when packets are dropped at the gateway's first interface.
    pub generator_ns: f64,
    /// What the gateway adds to that: its forwarding, the contestant, and the second veth pair.
    pub ns_marginal: f64,
    pub ns_marginal_spread: f64,
    /// Packets per second of the whole path as a multiple of nftables': above 1 is faster.
    pub ratio_to_nftables: f64,
    /// The least share of the packets that came out in any round.
    pub delivered: f64,
    /// Rounds the figures are medians of.
    pub rounds: usize,
}

/// Largest ratio to the one-lookup floor that is accepted: case, flows, ratio.
const BUDGET: [(&str, u64, f64); 2] = [("established-strict", 1 << 10, 2.0), ("established-strict", 1 << 20, 1.3)];
const MOST_BYTES_PER_FLOW: f64 = 256.0;
/// A first packet under the largest policy, as a multiple of what it costs under the smallest; and seconds to load any.
const MOST_TO_FEW_RULES: f64 = 3.0;
const MOST_SECONDS: f64 = 2.0;

impl Report {
    /// A sentence for each budget that is exceeded.
    pub fn over_budget(&self) -> Vec<String> {
        let mut over = self.packets.as_ref().map(|packets| packets.over_budget(&self.cases)).unwrap_or_default();
        for case in &self.cases {
            if let Some(ratio) = case.ratio_to_few_rules.filter(|ratio| *ratio > MOST_TO_FEW_RULES) {
                over.push(format!("{} under {} rules: {ratio:.2} × that under few, at most {MOST_TO_FEW_RULES}", case.name, case.rules));
            }
        }
        for loading in self.loading.iter().filter(|loading| loading.seconds > MOST_SECONDS) {
            over.push(format!("{} rules were loaded in {:.2} s, at most {MOST_SECONDS}", loading.rules, loading.seconds));
        }
        over
    }

    pub fn print(&self) {
        if let Some(packets) = &self.packets {
            packets.print(&self.cases);
        }
        if !self.loading.is_empty() {
            print_first_packets(&self.cases, &self.loading);
        }
        if let Some(first) = self.forwarding.first() {
            print_forwarding(first, &self.forwarding);
        }
    }
}

fn print_first_packets(cases: &[Case], loading: &[Loading]) {
    println!("\n{:<28}{:>10}{:>10}{:>9}{:>10}{:>8}{:>12}", "case", "rules", "ns", "±", "floor ns", "ratio", "to 10 rules");
    for (case, to_few) in cases.iter().filter_map(|case| Some((case, case.ratio_to_few_rules?))) {
        println!(
            "{:<28}{:>10}{:>10.1}{:>9.1}{:>10.1}{:>8.2}{to_few:>12.2}",
            case.name, case.rules, case.ns, case.ns_spread, case.floor_ns, case.ratio
        );
    }
    println!("\n{:<28}{:>10}{:>10}{:>12}", "loading", "rules", "seconds", "map bytes");
    for loaded in loading {
        println!("{:<28}{:>10}{:>10.3}{:>12}", "policy apply", loaded.rules, loaded.seconds, loaded.bytes);
    }
}

fn print_forwarding(first: &Forwarding, forwarding: &[Forwarding]) {
    println!("\n{:<28}{:>10}{:>10}{:>9}{:>10}{:>9}{:>12}", "forwarding", "packets/s", "ns", "±", "marginal", "±", "to nftables");
    for entry in forwarding {
        println!(
            "{:<28}{:>10.0}{:>10.1}{:>9.1}{:>10.1}{:>9.1}{:>12.2}",
            entry.name,
            entry.packets_per_second,
            entry.ns,
            entry.ns_spread,
            entry.ns_marginal,
            entry.ns_marginal_spread,
            entry.ratio_to_nftables
        );
    }
    let delivered = forwarding.iter().map(|entry| entry.delivered).fold(1.0, f64::min);
    println!(
        "\nwhole path on one CPU, {} flows, {} rounds; marginal: less the generator's {:.1} ns; at least {:.2} % of the packets came out",
        first.flows,
        first.rounds,
        first.generator_ns,
        delivered * 100.0
    );
}

impl Packets {
    fn over_budget(&self, cases: &[Case]) -> Vec<String> {
        let find = |name: &str, flows: u64| cases.iter().find(|case| case.name == name && case.flows == flows);
        let mut over = Vec::new();
        for (name, flows, most) in BUDGET {
            match find(name, flows) {
                Some(case) if case.ratio <= most => {}
                Some(case) => over.push(format!("{name} at {flows} flows: {:.2} × the floor, at most {most}", case.ratio)),
                None => over.push(format!("{name} at {flows} flows was not measured")),
            }
        }
        for strict in cases.iter().filter(|case| case.name == "established-strict") {
            if let Some(bypass) = find("established-bypass", strict.flows)
                && bypass.ns > strict.ns + strict.ns_spread + bypass.ns_spread
            {
                over.push(format!("bypass at {} flows: {:.1} ns, strict {:.1} ns", strict.flows, bypass.ns, strict.ns));
            }
        }
        if self.memory.bytes_per_flow > MOST_BYTES_PER_FLOW {
            over.push(format!("{:.1} bytes per established flow, at most {MOST_BYTES_PER_FLOW}", self.memory.bytes_per_flow));
        }
        over
    }

    fn print(&self, cases: &[Case]) {
        println!("{:<28}{:>10}{:>10}{:>9}{:>10}{:>8}", "case", "flows", "ns", "±", "floor ns", "ratio");
        for case in cases.iter().filter(|case| case.ratio_to_few_rules.is_none()) {
            println!(
                "{:<28}{:>10}{:>10.1}{:>9.1}{:>10.1}{:>8.2}",
                case.name, case.flows, case.ns, case.ns_spread, case.floor_ns, case.ratio
            );
        }
        println!("\nfloor: parse, one lookup, count. Driving the frame, taken off every figure:");
        for floor in &self.floors {
            println!("{:>38} flows{:>9.1} ns", floor.flows, floor.driver_ns);
        }
        if !self.checks.is_empty() {
            println!("\n{:<34}{:>10}{:>10}{:>9}", "check, more than profile off", "flows", "ns", "±");
            for check in &self.checks {
                println!("{:<34}{:>10}{:>10.1}{:>9.1}", check.name, check.flows, check.ns, check.ns_spread);
            }
        }
        let memory = &self.memory;
        println!(
            "\n{:.1} bytes per established flow ({} flows in {} bytes)",
            memory.bytes_per_flow, memory.established_capacity, memory.established_bytes
        );
    }
}

/// Median of `values`, and half the distance between their quartiles.
pub fn median(values: &[f64]) -> (f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| sorted.get(((sorted.len().saturating_sub(1)) as f64 * share).round() as usize).copied().unwrap_or(f64::NAN);
    (at(0.5), (at(0.75) - at(0.25)) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(name: &'static str, flows: u64, ns: f64) -> Case {
        Case { name, flows, rules: 1, ns, ns_spread: 0.5, floor_ns: 50.0, ratio: ns / 50.0, ratio_to_few_rules: None }
    }

    fn report(cases: Vec<Case>, bytes_per_flow: f64) -> Report {
        let memory = Memory { bytes_per_flow, established_capacity: 1, established_bytes: 1 };
        let packets = Some(Packets { floors: Vec::new(), memory, checks: Vec::new() });
        Report { cases, packets, loading: Vec::new(), forwarding: Vec::new(), rounds: 9 }
    }

    #[test]
    fn the_parts_of_a_report_lie_side_by_side() {
        let value = serde_json::to_value(report(vec![case("new-flow", 1, 100.0)], 200.0)).expect("JSON");
        assert_eq!(value["cases"][0]["name"], "new-flow");
        assert_eq!(value["memory"]["bytes_per_flow"], 200.0);
        let value = serde_json::to_value(Report { packets: None, ..report(Vec::new(), 0.0) }).expect("JSON");
        assert_eq!(value, serde_json::json!({ "forwarding": [], "rounds": 9 }));
    }

    #[test]
    fn median_and_spread() {
        assert_eq!(median(&[5.0, 1.0, 3.0, 2.0, 4.0]), (3.0, 1.0));
        assert!(median(&[]).0.is_nan());
    }

    #[test]
    fn budgets_hold_or_are_named() {
        let good = vec![case("established-strict", 1 << 10, 100.0), case("established-strict", 1 << 20, 65.0)];
        assert!(report(good.clone(), 256.0).over_budget().is_empty());
        assert_eq!(report(good.clone(), 256.5).over_budget().len(), 1);
        assert_eq!(report(good[..1].to_vec(), 256.0).over_budget().len(), 1, "a case that was not measured is not within its budget");
        let mut slow = good;
        slow.push(case("established-bypass", 1 << 10, 102.0));
        slow[1].ratio = 1.31;
        assert_eq!(report(slow, 256.0).over_budget().len(), 2);
    }

    #[test]
    fn policies_of_many_rules_have_budgets_too() {
        let first = |ratio| Case { rules: 10_000, ratio_to_few_rules: Some(ratio), ..case("first-packet", 0, 900.0) };
        let loading = |seconds| Loading { rules: 10_000, seconds, bytes: 1 };
        let report = |cases, loading| Report { packets: None, loading, ..report(cases, 0.0) };
        assert!(report(vec![first(3.0)], vec![loading(2.0)]).over_budget().is_empty());
        assert_eq!(report(vec![first(3.01), first(1.0)], vec![loading(2.01)]).over_budget().len(), 2);
    }
}
