mod change;
mod diff;
mod edit;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};

use super::{ask, import};
use crate::{
    api::{Failure, HistoryEntry, Kind, PolicyInForce, Profile, ShownPolicy},
    client::Client,
    instance::Instance,
    output,
    policy::{self, Policy},
};

/// Check, compare, apply, take back, show and import policies
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Check a policy without touching anything; needs no daemon and no privileges
    #[command(after_help = "\
Examples:
  weir policy check /etc/weir/policies
  weir policy check ./policies --zones outside,inside
  weir policy check ./policies --json | jq -r '.errors[] | \"\\(.file):\\(.line): \\(.message)\"'")]
    Check {
        /// A directory of *.toml files, or one file
        path: PathBuf,
        /// Zones there are; a rule that names another is an error
        #[arg(long, value_delimiter = ',', value_name = "ZONE,…")]
        zones: Option<Vec<String>>,
        /// Print JSON: each error and warning with its severity, file, place, message and hint
        #[arg(long)]
        json: bool,
    },
    Apply(change::Apply),
    Confirm(change::Confirm),
    Rollback(change::Rollback),
    Diff(diff::Arguments),
    Edit(edit::Arguments),
    /// List the policies that were applied, the newest first
    ///
    /// The last 20 are kept in /var/lib/weir/INSTANCE, for root and the group `weir` to read.
    #[command(after_help = "\
Examples:
  weir policy history
  weir policy history --json | jq '.[] | select(.state == \"rolled-back\")'")]
    History {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the policy in force, one of the history, or one of files, in its canonical form
    ///
    /// What is printed is a policy: read again, it prints the same. To print one of files needs no daemon and no privileges.
    #[command(after_help = "\
Examples:
  weir policy show
  weir policy show --hits
  weir policy show 12 > policies/restored.toml
  diff <(weir policy show) <(weir policy show ./policies)
  weir policy show --json | jq '.rules[] | select(.hits == 0) | .name'")]
    Show {
        /// Number of a policy in the history, or a directory of *.toml files, or one file [default: the policy in force]
        #[arg(value_name = "N|PATH")]
        which: Option<Which>,
        /// Add, as comments, what the rules in force have done and where they are written
        #[arg(long, conflicts_with = "which")]
        hits: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show every normalizer profile, the built-in ones first, with what each of its knobs is set to
    #[command(after_help = "\
Examples:
  weir policy profiles                      those of the policy in force
  weir policy profiles /etc/weir/policies   those of these files; needs no daemon
  weir policy profiles --json | jq '.[] | select(.rules == []) | .name'")]
    Profiles {
        /// A directory of *.toml files, or one file [default: the policy in force]
        path: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a JSON Schema of policy files, for editors; needs no daemon and no privileges
    ///
    /// With it an editor completes keys and words, shows what they mean, and marks what is wrong while one types. `weir policy check` also
    /// says what a schema cannot: how rules, names and files go together.
    #[command(after_help = "\
Examples:
  weir policy schema > /etc/weir/policy.schema.json
  sed -i '1i #:schema /etc/weir/policy.schema.json' /etc/weir/policies/*.toml   for Taplo, and what is made of it")]
    Schema,
    Import(import::Arguments),
}

impl Arguments {
    pub(super) fn execute(self, instance: &Instance) -> anyhow::Result<ExitCode> {
        match self.action {
            Action::Diff(arguments) => return arguments.execute(instance),
            Action::Check { path, zones, json } => check(&path, zones.as_deref(), json),
            Action::Apply(arguments) => arguments.execute(instance),
            Action::Confirm(arguments) => arguments.execute(instance),
            Action::Rollback(arguments) => arguments.execute(instance),
            Action::Edit(arguments) => arguments.execute(instance),
            Action::History { json } => {
                let entries: Vec<HistoryEntry> = ask(Client::new(instance).get("/v1/policy/history"))?;
                if json { output::json(&entries) } else { output::history(&entries) }
            }
            Action::Show { which, hits, json } => show(instance, which, hits, json),
            Action::Profiles { path, json } => {
                let profiles = match path {
                    Some(path) => profiles_of(&path)?,
                    None => ask(Client::new(instance).get("/v1/policy/profiles"))?,
                };
                if json { output::json(&profiles) } else { output::profiles(&profiles) }
            }
            Action::Schema => output::json(&policy::schema()),
            Action::Import(arguments) => arguments.execute(),
        }?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The policy that is shown.
#[derive(Debug, Clone)]
enum Which {
    Number(u64),
    Path(PathBuf),
}

impl From<&str> for Which {
    fn from(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Path(text.into()), Self::Number)
    }
}

fn show(instance: &Instance, which: Option<Which>, hits: bool, json: bool) -> anyhow::Result<()> {
    let client = Client::new(instance);
    match which {
        Some(Which::Number(number)) => {
            let shown: ShownPolicy = ask(client.get(&format!("/v1/policy/history/{number}")))?;
            if json { output::json(&shown) } else { output::text(&shown.text) }
        }
        Some(Which::Path(path)) => {
            let policy = read(&path)?;
            let text = policy.to_string();
            if json {
                output::json(&serde_json::json!({ "path": path, "rules": policy.rules().len(), "text": text }))
            } else {
                output::text(&text)
            }
        }
        None => {
            let in_force: PolicyInForce = ask(client.get("/v1/policy"))?;
            match (json, hits) {
                (true, _) => output::json(&in_force),
                (false, true) => output::policy(&in_force),
                (false, false) => output::text(&in_force.text),
            }
        }
    }
}

/// The policy of files that have no errors.
fn read(path: &Path) -> anyhow::Result<Policy> {
    let (policy, _) = policy::load(path, None).map_err(|errors| Failure::new(Kind::Policy, errors.to_string()))?;
    Ok(policy)
}

fn check(path: &Path, zones: Option<&[String]>, json: bool) -> anyhow::Result<()> {
    match policy::load(path, zones) {
        Ok((policy, warnings)) if json => output::json(&serde_json::json!({
            "valid": true,
            "rules": policy.rules().len(),
            "entries": policy.entry_count(),
            "zones": policy.zones(),
            "warnings": warnings,
            "errors": [],
        })),
        Ok((policy, warnings)) => {
            for warning in &warnings {
                eprintln!("{warning}");
            }
            let zones: Vec<&str> = policy.zones().into_iter().collect();
            output::line(&format!("{}: {} rules, zones {}", path.display(), policy.rules().len(), zones.join(", ")))
        }
        Err(errors) => {
            if json {
                output::json(&serde_json::json!({ "valid": false, "errors": errors.errors, "omitted": errors.omitted }))?;
            }
            Err(Failure::new(Kind::Policy, errors.to_string()).into())
        }
    }
}

fn profiles_of(path: &Path) -> anyhow::Result<Vec<Profile>> {
    Ok(Profile::all(Some(&read(path)?)))
}
