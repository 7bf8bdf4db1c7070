use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::ask;
use crate::{
    api::{Applied, ApplyRequest, Failure, Kind, PolicyInForce, Profile},
    client::Client,
    instance::Instance,
    output, policy,
};

/// Check, apply and show policies
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
  weir policy check ./policies --zones outside,inside")]
    Check {
        /// A directory of *.toml files, or one file
        path: PathBuf,
        /// Zones there are; a rule that names another is an error
        #[arg(long, value_delimiter = ',', value_name = "ZONE,…")]
        zones: Option<Vec<String>>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Put a policy in force: whole, or not at all
    ///
    /// Live flows are judged again by it on their next packet.
    #[command(after_help = "\
Examples:
  weir policy apply /etc/weir/policies")]
    Apply {
        /// A directory of *.toml files, or one file, that the daemon can read
        path: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the policy in force and what its rules have done
    #[command(after_help = "\
Examples:
  weir policy show
  weir policy show --json | jq '.rules[] | select(.hits == 0) | .name'")]
    Show {
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
}

impl Arguments {
    pub(super) fn execute(self, instance: &Instance) -> anyhow::Result<()> {
        match self.action {
            Action::Check { path, zones, json } => check(&path, zones.as_deref(), json),
            Action::Apply { path, json } => apply(instance, &path, json),
            Action::Show { json } => {
                let in_force: PolicyInForce = ask(Client::new(instance).get("/v1/policy"))?;
                if json { output::json(&in_force) } else { output::policy(&in_force) }
            }
            Action::Profiles { path, json } => {
                let profiles = match path {
                    Some(path) => profiles_of(&path)?,
                    None => ask(Client::new(instance).get("/v1/policy/profiles"))?,
                };
                if json { output::json(&profiles) } else { output::profiles(&profiles) }
            }
        }
    }
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
    let (policy, _) = policy::load(path, None).map_err(|errors| Failure::new(Kind::Policy, errors.to_string()))?;
    Ok(Profile::all(Some(&policy)))
}

fn apply(instance: &Instance, path: &Path, json: bool) -> anyhow::Result<()> {
    let path = std::path::absolute(path)?;
    let applied: Applied = ask(Client::new(instance).post("/v1/policy/apply", &ApplyRequest { path }))?;
    if json {
        return output::json(&applied);
    }
    for warning in &applied.warnings {
        eprintln!("{warning}");
    }
    output::line(&format!("{} is in force: {} rules, generation {}", applied.path, applied.rules, applied.generation))
}
