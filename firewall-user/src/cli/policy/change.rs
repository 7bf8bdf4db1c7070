//! The verbs that put another policy in force.

use std::path::PathBuf;

use clap::Args;

use super::super::{ask, guard::guarded};
use crate::{
    api::{Applied, ApplyRequest, CONFIRM_SECONDS, Confirmed, RollbackRequest},
    client::Client,
    instance::Instance,
    output,
    session::Session,
};

/// Put a policy in force: whole, or not at all
///
/// Live flows are judged again by it on their next packet. With --confirm the policy before comes back by itself unless `weir policy
/// confirm` is said in time, also when the daemon is killed or the machine started anew meanwhile.
///
/// A policy that would cut the SSH session this is typed in is put in force only after a question, or with --cut-session.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weir policy apply /etc/weir/policies
  weir policy apply /etc/weir/policies --confirm 60 && weir policy confirm")]
pub(super) struct Apply {
    /// A directory of *.toml files, or one file, that the daemon can read
    path: PathBuf,
    #[command(flatten)]
    safety: Safety,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Keep the policy that waits to be confirmed
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weir policy confirm")]
pub(super) struct Confirm {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Put the policy before the one in force back, or one of the history
///
/// Said again, it goes back further. The policy's files stay as they are: until they are changed, or applied, the daemon leaves them alone.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weir policy rollback
  weir policy rollback 12 --confirm 60")]
pub(super) struct Rollback {
    /// Number of a policy in the history [default: the policy before the one in force]
    #[arg(value_name = "N")]
    number: Option<u64>,
    #[command(flatten)]
    safety: Safety,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What keeps a change from doing harm.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Safety {
    /// Go back to the policy before unless `weir policy confirm` is said within this time, 1 to 3600 seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds())]
    pub(super) confirm: Option<u32>,
    /// Do it even if it cuts the SSH session this is typed in
    #[arg(long)]
    pub(super) cut_session: bool,
}

fn seconds() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(i64::from(*CONFIRM_SECONDS.start())..=i64::from(*CONFIRM_SECONDS.end()))
}

impl Apply {
    pub(super) fn execute(self, instance: &Instance) -> anyhow::Result<()> {
        let applied = apply(instance, &std::path::absolute(self.path)?, self.safety)?;
        tell(instance, &applied, self.json)
    }
}

/// Applies a policy, and asks when that would cut the session.
pub(super) fn apply(instance: &Instance, path: &std::path::Path, safety: Safety) -> anyhow::Result<Applied> {
    let session = Session::of_this_process();
    guarded(safety.cut_session, |cut_session| {
        let request = ApplyRequest { path: path.to_path_buf(), confirm_seconds: safety.confirm, session, cut_session };
        ask(Client::new(instance).post("/v1/policy/apply", &request))
    })
}

impl Confirm {
    pub(super) fn execute(self, instance: &Instance) -> anyhow::Result<()> {
        let confirmed: Confirmed = ask(Client::new(instance).post("/v1/policy/confirm", &serde_json::json!({})))?;
        if self.json { output::json(&confirmed) } else { output::line(&format!("policy number {} stays in force", confirmed.number)) }
    }
}

impl Rollback {
    pub(super) fn execute(self, instance: &Instance) -> anyhow::Result<()> {
        let session = Session::of_this_process();
        let applied: Applied = guarded(self.safety.cut_session, |cut_session| {
            let request = RollbackRequest { number: self.number, confirm_seconds: self.safety.confirm, session, cut_session };
            ask(Client::new(instance).post("/v1/policy/rollback", &request))
        })?;
        tell(instance, &applied, self.json)
    }
}

/// Prints what came in force.
pub(super) fn tell(instance: &Instance, applied: &Applied, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(applied);
    }
    for warning in &applied.warnings {
        eprintln!("{warning}");
    }
    let number = applied.number.map_or_else(String::new, |number| format!("number {number}, "));
    output::line(&format!("{} is in force: {number}{} rules, generation {}", applied.path, applied.rules, applied.generation))?;
    let Some(waits) = &applied.confirmation else { return Ok(()) };
    let of = if *instance == Instance::default() { String::new() } else { format!(" --instance {instance}") };
    output::line(&format!("within {} s: weir policy confirm{of}; else number {} comes back", waits.seconds_left, waits.previous))
}
