use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::super::ask;
use crate::{
    api::{DiffRequest, PolicyDiff},
    client::Client,
    instance::Instance,
    output,
    session::Session,
};

/// Exit code when something differs.
const DIFFERS: u8 = 3;

/// Show what a policy would change: rules, definitions, and the live flows that would be judged otherwise
///
/// Nothing is changed. Every live flow's first packet is judged by the policy in force and by the other one, as the dataplane would; counted are
/// the flows that would be cut, or go on at another inspection level or by another rule.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 nothing differs, 3 something does, 1 failed, 2 wrong usage or a bad policy.

Examples:
  weir policy diff /etc/weir/policies
  weir policy diff ./next --limit 100
  weir policy diff ./next --json | jq '.flows.cut'")]
pub(super) struct Arguments {
    /// A directory of *.toml files, or one file, that the daemon can read
    path: PathBuf,
    /// Flows to list at most; all are counted
    #[arg(long, value_name = "FLOWS", default_value_t = 20)]
    limit: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn execute(self, instance: &Instance) -> anyhow::Result<ExitCode> {
        let path = std::path::absolute(self.path)?;
        let request = DiffRequest { path, edited: None, limit: Some(self.limit), session: Session::of_this_process() };
        let diff: PolicyDiff = ask(Client::new(instance).post("/v1/policy/diff", &request))?;
        if self.json {
            output::json(&diff)?;
        } else {
            for warning in &diff.warnings {
                eprintln!("{warning}");
            }
            output::diff(&diff)?;
        }
        Ok(if diff.same { ExitCode::SUCCESS } else { ExitCode::from(DIFFERS) })
    }
}
