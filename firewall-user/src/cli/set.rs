use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{ask, guard::guarded};
use crate::{
    api::{Failure, Kind, Set, SetChanged, SetRequest, ShownSet},
    client::{Client, segment},
    instance::Instance,
    output,
    policy::{self, Source, duration},
    session::Session,
};

/// Change the members of a policy's sets while it is in force
///
/// A set of the policy, [set.NAME], has the members that are written in it and live ones, which these verbs add and remove. Live members take
/// effect at once, without touching the files; live flows are judged again. They stay across restarts of the daemon and changes of the
/// policy, until their time has passed or they are removed.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the sets of the policy in force, or the members of one
    #[command(after_help = "\
Examples:
  weir set list
  weir set list blocked
  weir set list blocked --json | jq -r '.members[] | select(.live) | .address'")]
    List {
        /// Name of a set
        name: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Add live members to a set
    ///
    /// One that is a live member already counts for the new time, if that is longer.
    #[command(after_help = "\
Examples:
  weir set add blocked 198.51.100.7
  weir set add blocked 198.51.100.0/24 2001:db8:bad::/48 --for 1h --because 'scans port 22'
  weir set add partners --file partners.txt")]
    Add(Fill),
    /// Remove live members from a set
    ///
    /// What is written in the policy stays: that is for the files to say.
    #[command(after_help = "\
Examples:
  weir set remove blocked 198.51.100.7")]
    Remove {
        /// Name of the set
        name: String,
        #[command(flatten)]
        members: Members,
        #[command(flatten)]
        common: Common,
    },
    /// Let the live members of a set be exactly these, in one change
    #[command(after_help = "\
Examples:
  weir set replace blocked --file /var/lib/blocklist.txt --for 2d
  curl -s https://lists.example/bad.txt | weir set replace blocked --file /dev/stdin --for 2d")]
    Replace(Fill),
    /// Remove all live members from a set
    #[command(after_help = "\
Examples:
  weir set clear blocked")]
    Clear {
        /// Name of the set
        name: String,
        #[command(flatten)]
        common: Common,
    },
}

/// What `add` and `replace` take.
#[derive(Debug, Args)]
struct Fill {
    /// Name of the set
    name: String,
    #[command(flatten)]
    members: Members,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    common: Common,
}

/// Which members.
#[derive(Debug, Args)]
struct Members {
    /// Addresses, prefixes or ranges, IPv4 or IPv6
    #[arg(value_name = "ADDRESS", required_unless_present = "file")]
    addresses: Vec<String>,
    /// Read them from a file: one a line, `#` begins a comment
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// How long, and why.
#[derive(Debug, Args)]
struct Why {
    /// How long they count, such as 90s, 1h or 2d [default: until they are removed]
    #[arg(long = "for", value_name = "DURATION", value_parser = seconds)]
    span: Option<u64>,
    /// Why, for those who list the set later
    #[arg(long, value_name = "TEXT")]
    because: Option<String>,
}

#[derive(Clone, Copy, Debug, Args)]
struct Common {
    /// Do it even if it cuts the SSH session this is typed in
    #[arg(long)]
    cut_session: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Seconds of a duration, rounded up.
fn seconds(text: &str) -> Result<u64, String> {
    let millis = duration::parse(text).map_err(|error| format!("`{text}` {error}"))?;
    Ok(u64::from(millis).div_ceil(1_000))
}

impl Arguments {
    pub(super) fn execute(self, instance: &Instance) -> anyhow::Result<()> {
        let client = Client::new(instance);
        match self.action {
            Action::List { name: None, json } => {
                let sets: Vec<Set> = ask(client.get("/v1/sets"))?;
                if json { output::json(&sets) } else { output::sets(&sets) }
            }
            Action::List { name: Some(name), json } => {
                let set: ShownSet = ask(client.get(&format!("/v1/sets/{}", segment(&name))))?;
                if json { output::json(&set) } else { output::set(&set) }
            }
            Action::Add(fill) => fill.execute(&client, "add"),
            Action::Replace(fill) => fill.execute(&client, "replace"),
            Action::Remove { name, members, common } => {
                let request = SetRequest { addresses: members.read()?, ..SetRequest::default() };
                change(&client, &name, "remove", &request, common)
            }
            Action::Clear { name, common } => change(&client, &name, "clear", &SetRequest::default(), common),
        }
    }
}

impl Fill {
    fn execute(self, client: &Client, verb: &str) -> anyhow::Result<()> {
        let Self { name, members, why, common } = self;
        let request = SetRequest { addresses: members.read()?, for_seconds: why.span, because: why.because, ..SetRequest::default() };
        change(client, &name, verb, &request, common)
    }
}

impl Members {
    fn read(self) -> anyhow::Result<Vec<String>> {
        let mut addresses = self.addresses;
        if let Some(path) = self.file {
            let text =
                std::fs::read_to_string(&path).map_err(|error| Failure::usage(format!("{} cannot be read: {error}", path.display())))?;
            let read = policy::read_members(Source { path, text }).map_err(|errors| Failure::new(Kind::Policy, errors.to_string()))?;
            addresses.extend(read.iter().map(ToString::to_string));
        }
        Ok(addresses)
    }
}

fn change(client: &Client, name: &str, verb: &str, request: &SetRequest, common: Common) -> anyhow::Result<()> {
    let session = Session::of_this_process();
    let path = format!("/v1/sets/{}/{verb}", segment(name));
    let changed: SetChanged =
        guarded(common.cut_session, |cut_session| ask(client.post(&path, &SetRequest { session, cut_session, ..request.clone() })))?;
    if common.json {
        return output::json(&changed);
    }
    changed.notes.iter().for_each(|note| eprintln!("{note}"));
    output::set_changed(&changed)
}
