use clap::{Args, Subcommand};

use super::{ask, guard::guarded};
use crate::{
    api::{BypassAdd, BypassAdded, BypassRemove, BypassRemoved, BypassRule},
    client::Client,
    instance::Instance,
    output,
    policy::duration,
    session::Session,
};

/// Let chosen flows pass without TCP state checks
///
/// For streams that only look like TCP, such as IPsec over TCP. Adding and removing edits the policy files, comments kept, and applies
/// the policy as a whole; on any failure the files are as before.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Add(Box<Add>),
    /// List the bypass rules in force: their flows, when they were last needed, when they end
    ///
    /// A bypass is needed by a packet that strict inspection would have dropped; the reason it would have had for the last one is shown. What
    /// was needed is known since the rule came in force, over restarts and reboots.
    #[command(after_help = "\
Examples:
  weir bypass list
  weir bypass list --not-needed-for 30d
  weir bypass list --json | jq '.[] | select(.expired)'")]
    List {
        /// Only rules that were not needed for so long, such as 30d, and are known for as long; prints nothing when there is none
        #[arg(long, value_name = "DURATION", value_parser = seconds)]
        not_needed_for: Option<u64>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a bypass rule from its file
    #[command(after_help = "\
Examples:
  weir bypass remove vpn-clients")]
    Remove {
        /// Name of the rule
        name: String,
        /// Do it even if it cuts the SSH session this is typed in
        #[arg(long)]
        cut_session: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Add a bypass rule to a policy file
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weir bypass add vpn-clients --from outside --to 'inside 10.71.2.10' --service tcp/10000 --guard ctcp \\
      --because 'until the AnyConnect roll-out is done' --expires 2027-06-30
  weir bypass add old-vpn --from outside --to self --service tcp/10000 --before web")]
struct Add {
    /// Name of the rule
    name: String,
    /// Where the flows come from: a zone, addresses, or both; may be repeated
    #[arg(long, value_name = "SELECTOR", required = true)]
    from: Vec<String>,
    /// Where they go; may be repeated
    #[arg(long, value_name = "SELECTOR", required = true)]
    to: Vec<String>,
    /// Service, such as tcp/10000; may be repeated
    #[arg(long, value_name = "SERVICE", required = true)]
    service: Vec<String>,
    /// What a flow must keep proving: ctcp (strict until it is seen to be IPsec over TCP) or esp (an anti-replay window); may be repeated
    #[arg(long, value_name = "GUARD")]
    guard: Vec<String>,
    /// Why, for those who read the policy later
    #[arg(long, value_name = "TEXT")]
    because: Option<String>,
    /// Last day the rule holds, such as 2027-06-30, or the moment its time is over, such as 2027-06-30T18:00:00Z; then it stops by itself,
    /// its live flows included [default: never]
    #[arg(long, value_name = "DATE")]
    expires: Option<String>,
    /// Idle time after which a flow is gone [default: 2m]
    #[arg(long, value_name = "DURATION")]
    idle_timeout: Option<String>,
    /// Put it before this rule
    #[arg(long, value_name = "RULE")]
    before: Option<String>,
    /// File of the policy directory [default: the file of --before, else 00-bypass.toml]
    #[arg(long, value_name = "FILE")]
    file: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Whole seconds of a duration, rounded up.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    let millis = duration::parse_any(text).map_err(|error| format!("`{text}` {error}; write 30d, 12h or 45m"))?;
    Ok(millis.div_ceil(1000))
}

impl Arguments {
    pub(super) fn execute(self, instance: &Instance) -> anyhow::Result<()> {
        let client = Client::new(instance);
        match self.action {
            Action::Add(add) => add.execute(&client),
            Action::List { not_needed_for, json } => {
                let mut rules: Vec<BypassRule> = ask(client.get("/v1/bypass"))?;
                rules.retain(|rule| not_needed_for.is_none_or(|time| rule.not_needed_for_seconds >= time));
                match (json, not_needed_for) {
                    (true, _) => output::json(&rules),
                    // So that cron has nothing to mail.
                    (false, Some(_)) if rules.is_empty() => Ok(()),
                    (false, _) => output::bypass(&rules),
                }
            }
            Action::Remove { name, cut_session, json } => {
                let session = Session::of_this_process();
                let removed: BypassRemoved = guarded(cut_session, |cut_session| {
                    ask(client.delete("/v1/bypass", &BypassRemove { name: name.clone(), session, cut_session }))
                })?;
                if json {
                    return output::json(&removed);
                }
                output::line(&format!("removed {} from {}; generation {} is in force", removed.name, removed.file, removed.generation))
            }
        }
    }
}

impl Add {
    fn execute(self, client: &Client) -> anyhow::Result<()> {
        let request = BypassAdd {
            name: self.name,
            from: self.from,
            to: self.to,
            service: self.service,
            guard: self.guard,
            because: self.because,
            expires: self.expires,
            idle_timeout: self.idle_timeout,
            before: self.before,
            file: self.file,
        };
        let added: BypassAdded = ask(client.post("/v1/bypass", &request))?;
        if self.json {
            return output::json(&added);
        }
        for warning in &added.warnings {
            eprintln!("{warning}");
        }
        output::line(&format!("added {} to {}; generation {} is in force", added.name, added.file, added.generation))?;
        let end = added.expires.as_ref().map_or_else(|| "it never expires".to_owned(), |at| format!("it ends by itself at {at}"));
        output::line(&format!("{end}; `weir bypass list` shows when it was last needed"))
    }
}
