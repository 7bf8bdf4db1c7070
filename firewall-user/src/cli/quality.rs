use clap::{Args, ValueEnum};

use super::ask;
use crate::{
    api::{By, QualityReport},
    client::{Client, with_query},
    instance::Instance,
    output,
};

/// Show where packets are lost: before Weir or behind it
#[derive(Debug, Args)]
#[command(after_help = "\
Each direction of traffic is a line of its own. BEFORE is what did not reach Weir from the side it comes from, BEHIND what did not get from
Weir to the side it goes to. AGAIN was sent once more although it had arrived; LATE was overtaken. What is recent are the last minute's.

Examples:
  weir quality
  weir quality --by rule
  weir quality --json | jq '.ways[] | select(.recent.lost == \"before\")'
  weir flows --quality rule=vpn-clients")]
pub(super) struct Arguments {
    /// What traffic is told apart by
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = Choice::Interface)]
    by: Choice,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Choice {
    /// The interfaces it comes and goes by
    Interface,
    /// Those, and the rule
    Rule,
}

impl Arguments {
    pub(super) fn execute(self, instance: &Instance) -> anyhow::Result<()> {
        let by = match self.by {
            Choice::Interface => By::Interface,
            Choice::Rule => By::Rule,
        };
        let report: QualityReport = ask(Client::new(instance).get(&with_query("/v1/quality", [("by", by.name())])))?;
        if self.json { output::json(&report) } else { output::quality(&report) }
    }
}
