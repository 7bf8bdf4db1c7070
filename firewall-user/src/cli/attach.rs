use clap::Args;

use super::ask;
use crate::{
    api::{AttachRequest, Failure, Interface, ModeRequest},
    client::Client,
    instance::Instance,
    output,
};

/// Attach an interface to the running firewall
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weir attach eth1 --zone inside
  weir attach eth1 --zone inside --mode generic")]
pub(super) struct Arguments {
    /// The interface
    #[arg(value_name = "IFACE")]
    name: String,
    /// Zone the interface is in
    #[arg(long, value_name = "ZONE")]
    zone: String,
    /// XDP mode: auto tries native and falls back to generic
    #[arg(long, value_name = "auto|native|generic", default_value = "auto", value_parser = mode)]
    mode: ModeRequest,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn execute(self, instance: &Instance) -> anyhow::Result<()> {
        let request = AttachRequest { name: self.name, zone: self.zone, mode: self.mode };
        let attached: Interface = ask(Client::new(instance).post("/v1/interfaces", &request))?;
        if self.json {
            return output::json(&attached);
        }
        let fell_back = if attached.fell_back { ": the driver cannot run XDP itself" } else { "" };
        output::line(&format!("{} is in zone {}, {} mode{fell_back}", attached.name, attached.zone, attached.mode))
    }
}

fn mode(text: &str) -> Result<ModeRequest, String> {
    text.parse().map_err(|failure: Failure| failure.sentence())
}
