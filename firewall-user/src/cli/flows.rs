use clap::{Args, Subcommand};

use super::ask;
use crate::{
    api::{Failure, Flow, Killed},
    client::{Client, with_query},
    filter::Filter,
    instance::Instance,
    output,
};

/// List live flows, busiest first, or remove some
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Filters (all must hold): zone=outside interface=eth0 rule=NAME state=established inspection=bypass
  address=10.0.0.0/8 port=443 protocol=tcp flags=b application=ctcp one-sided=yes

Flags, in the manner of the ASA's show conn:
  U up                                  i incomplete (embryonic)
  b TCP state bypass                    n strict inspection would have dropped of it
  A awaiting the responder's SYN-ACK    a awaiting the initiator's ACK
  F initiator has sent a FIN            f responder has sent a FIN
  R a reset was accepted                r a FIN or reset has shortened the timer
  I initiator has sent                  O responder has sent
  1 only one side comes by (--json says which interface the other should come by)

Examples:
  weir flows
  weir flows inspection=bypass --json
  weir flows one-sided=yes --json
  weir flows --quality rule=vpn-clients
  weir flows address=10.71.2.10 port=10000
  weir flows kill rule=old-vpn"
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    /// Conditions that must all hold
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
    /// Show how well they come through: losses before and behind Weir, repetitions, round trips
    #[arg(long)]
    quality: bool,
    /// Show at most this many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Remove flows: their next packets are judged as first packets
    #[command(after_help = "\
Examples:
  weir flows kill rule=old-vpn
  weir flows kill address=192.0.2.7 protocol=tcp
  weir flows kill --all")]
    Kill {
        /// Conditions that must all hold
        #[arg(value_name = "FILTER", required_unless_present = "all", conflicts_with = "all")]
        filters: Vec<String>,
        /// Every flow
        #[arg(long)]
        all: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

impl Arguments {
    pub(super) fn execute(self, instance: &Instance) -> anyhow::Result<()> {
        let client = Client::new(instance);
        match self.action {
            Some(Action::Kill { filters, all, json }) => kill(&client, &filters, all, json),
            None => {
                let limit = self.limit.map(|limit| limit.to_string());
                let extra = limit.iter().map(|limit| ("limit", limit.as_str()));
                let flows: Vec<Flow> = ask(client.get(&path(&self.filters, extra)?))?;
                match (self.json, self.quality) {
                    (true, _) => output::json(&flows),
                    (false, true) => output::flow_quality(&flows),
                    (false, false) => output::flows(&flows),
                }
            }
        }
    }
}

fn kill(client: &Client, filters: &[String], all: bool, json: bool) -> anyhow::Result<()> {
    let path = path(filters, all.then_some(("all", "true")))?;
    let killed: Killed = ask(client.delete(&path, &serde_json::json!({})))?;
    if json {
        return output::json(&killed);
    }
    output::line(&format!("removed {} flows", killed.killed))
}

/// The request for what the filters say; they are checked here first, so that a slip needs no daemon to be told.
fn path<'a>(filters: &'a [String], extra: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<String, Failure> {
    Filter::parse(filters)?;
    let conditions = filters.iter().filter_map(|filter| filter.split_once('='));
    Ok(with_query("/v1/flows", conditions.chain(extra)))
}
