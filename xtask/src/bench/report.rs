//! What a benchmark says: for programs as JSON, for people as tables.

use serde::Serialize;

/// Names and shapes are part of the contract: `bench --json`.
#[derive(Debug, Serialize)]
pub struct Report {
    pub cases: Vec<Case>,
    pub floors: Vec<Floor>,
    pub memory: Memory,
    pub rounds: u32,
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
    /// Key, value and the kernel's overhead, for each flow the established table has room for.
    pub bytes_per_flow: f64,
    pub established_capacity: u32,
    pub established_bytes: u64,
}

/// Largest ratio to the one-lookup floor that is accepted: case, flows, ratio.
const BUDGET: [(&str, u64, f64); 2] = [("established-strict", 1 << 10, 2.0), ("established-strict", 1 << 20, 1.3)];
const MOST_BYTES_PER_FLOW: f64 = 256.0;

impl Report {
    /// A sentence for each budget that is exceeded.
    pub fn over_budget(&self) -> Vec<String> {
        let find = |name: &str, flows: u64| self.cases.iter().find(|case| case.name == name && case.flows == flows);
        let mut over = Vec::new();
        for (name, flows, most) in BUDGET {
            match find(name, flows) {
                Some(case) if case.ratio <= most => {}
                Some(case) => over.push(format!("{name} at {flows} flows: {:.2} × the floor, at most {most}", case.ratio)),
                None => over.push(format!("{name} at {flows} flows was not measured")),
            }
        }
        for strict in self.cases.iter().filter(|case| case.name == "established-strict") {
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

    pub fn print(&self) {
        println!("{:<28}{:>10}{:>10}{:>9}{:>10}{:>8}", "case", "flows", "ns", "±", "floor ns", "ratio");
        for case in &self.cases {
            println!(
                "{:<28}{:>10}{:>10.1}{:>9.1}{:>10.1}{:>8.2}",
                case.name, case.flows, case.ns, case.ns_spread, case.floor_ns, case.ratio
            );
        }
        println!("\nfloor: parse, one lookup, count. Driving the frame, taken off every figure:");
        for floor in &self.floors {
            println!("{:>38} flows{:>9.1} ns", floor.flows, floor.driver_ns);
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
        Case { name, flows, rules: 1, ns, ns_spread: 0.5, floor_ns: 50.0, ratio: ns / 50.0 }
    }

    fn report(cases: Vec<Case>, bytes_per_flow: f64) -> Report {
        let memory = Memory { bytes_per_flow, established_capacity: 1, established_bytes: 1 };
        Report { cases, floors: Vec::new(), memory, rounds: 9 }
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
}
