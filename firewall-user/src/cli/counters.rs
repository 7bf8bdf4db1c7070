use clap::Args;

use super::ask;
use crate::{api::Counters, client::Client, instance::Instance, output};

/// Show what was passed and dropped, and why
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weir counters
  weir counters --all
  weir counters --json | jq '.drops[\"tcp-not-syn\"]'")]
pub(super) struct Arguments {
    /// Also show drop reasons that never happened
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn execute(self, instance: &Instance) -> anyhow::Result<()> {
        let path = if self.all { "/v1/counters?all=true" } else { "/v1/counters" };
        let counters: Counters = ask(Client::new(instance).get(path))?;
        if self.json { output::json(&counters) } else { output::counters(&counters) }
    }
}
