use clap::{Args, Subcommand};

use super::{ask, bypass::seconds, guard::guarded};
use crate::{
    api::{AdviceApplied, AdviseApply, Advised, CONFIRM_SECONDS, Forgotten},
    client::{Client, with_query},
    instance::Instance,
    output,
    session::Session,
};

/// Say which streams a strict check kills, why, and the narrowest rule that would let them live
///
/// From what was refused within the last day: a stream that looks like TCP and is not, a path of which one direction goes elsewhere, an
/// attack, an endpoint that has lost its connection. Each comes with its evidence, with what is better than a rule, and where a bypass
/// helps, with the exact rule and its place. Nothing that looks like a scan or an injection is ever advised to be let through.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  weir advise
  weir advise --apply fake-tcp-10.71.2.10-10000 --confirm 60
  weir advise --json | jq '.advice[] | select(.rule).rule.toml'
  weir advise forget"
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    /// Add the rule of this advice, as `weir bypass add` does
    #[arg(long, value_name = "NAME")]
    apply: Option<String>,
    /// How long the rule is to hold, such as 30d or 12h [default: 30d]
    #[arg(long = "for", value_name = "DURATION", value_parser = seconds)]
    lasting: Option<u64>,
    /// Go back to the policy before unless `weir policy confirm` is said within this time, 1 to 3600 seconds
    #[arg(long, value_name = "SECONDS", requires = "apply",
          value_parser = clap::value_parser!(u32).range(i64::from(*CONFIRM_SECONDS.start())..=i64::from(*CONFIRM_SECONDS.end())))]
    confirm: Option<u32>,
    /// Do it even if it cuts the SSH session this is typed in
    #[arg(long, requires = "apply")]
    cut_session: bool,
    /// Also what is too little to tell anything from
    #[arg(long, conflicts_with = "apply")]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Forget what was refused so far, so that only what comes from now on is advised about
    #[command(after_help = "\
Examples:
  weir advise forget")]
    Forget {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

impl Arguments {
    pub(super) fn execute(self, instance: &Instance) -> anyhow::Result<()> {
        let client = Client::new(instance);
        match (self.action, self.apply) {
            (Some(Action::Forget { json }), _) => forget(&client, json),
            (None, Some(name)) => {
                let session = Session::of_this_process();
                let applied: AdviceApplied = guarded(self.cut_session, |cut_session| {
                    let request =
                        AdviseApply { name: name.clone(), for_seconds: self.lasting, confirm_seconds: self.confirm, session, cut_session };
                    ask(client.post("/v1/advise", &request))
                })?;
                if self.json { output::json(&applied) } else { output::advice_applied(instance, &applied) }
            }
            (None, None) => {
                let seconds = self.lasting.map(|seconds| seconds.to_string());
                let query = seconds.iter().map(|seconds| ("for_seconds", seconds.as_str()));
                let mut advised: Advised = ask(client.get(&with_query("/v1/advise", query)))?;
                if !self.all {
                    advised.advice.retain(|advice| advice.looks != "unknown" || advice.rule.is_some());
                }
                if self.json { output::json(&advised) } else { output::advised(instance, &advised) }
            }
        }
    }
}

fn forget(client: &Client, json: bool) -> anyhow::Result<()> {
    let forgotten: Forgotten = ask(client.delete("/v1/advise", &serde_json::json!({})))?;
    if json { output::json(&forgotten) } else { output::line(&format!("forgot {} entries", forgotten.forgotten)) }
}
