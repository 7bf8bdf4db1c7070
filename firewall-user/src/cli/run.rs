use std::path::PathBuf;

use clap::Args;

use crate::{
    api::Failure,
    controller, dataplane,
    instance::Instance,
    netns,
    settings::{InterfaceSpec, OnExit, Partial, Placement},
};

/// Run the daemon: start the dataplane, or take over the one that runs
///
/// The policy is checked and loaded before any interface is attached. The dataplane outlives the daemon: started again after a crash or
/// an upgrade, it takes over flows, counters and interfaces, and no packet meets an open gap.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weir run --interface outside=eth0 --policies /etc/weir/policies
  weir run --placement gateway --interface outside=eth0 --interface inside=eth1:generic --policies /etc/weir/policies
  weir run --netns router --instance lab --interface outside=veth0 --policies ./policies --on-exit detach
  weir run --config /etc/weir/weir.toml

A settings file holds the same: placement, interfaces = [\"outside=eth0\"], policies, on-exit, netns, established, embryonic, event-rate,
log-file, watch, instance.")]
pub(super) struct Arguments {
    /// Read settings from a TOML file; what the command line says comes first
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where Weir stands in the path of packets [default: host]
    #[arg(long, value_enum)]
    placement: Option<Placement>,
    /// Attach an interface and put it in a zone; without a mode, native XDP is tried and generic is the fallback. May be repeated
    #[arg(long = "interface", value_name = "ZONE=IFACE[:native|:generic]", value_parser = interface)]
    interfaces: Vec<InterfaceSpec>,
    /// The policy: a directory of *.toml files, or one file
    #[arg(long, value_name = "PATH")]
    policies: Option<PathBuf>,
    /// What becomes of the dataplane when the daemon ends [default: keep]
    #[arg(long, value_enum)]
    on_exit: Option<OnExit>,
    /// Work in this network namespace, given by name or path
    #[arg(long, value_name = "NAME|PATH")]
    netns: Option<String>,
    /// Room for established flows [default: 262144]
    #[arg(long, value_name = "FLOWS")]
    established: Option<u32>,
    /// Room for flows not yet confirmed by both sides [default: 65536]
    #[arg(long, value_name = "FLOWS")]
    embryonic: Option<u32>,
    /// Events of each kind per second and CPU that `weir events` is shown; those beyond are counted [default: 1000]
    #[arg(long, value_name = "N")]
    event_rate: Option<u32>,
    /// Where rules with `log = true` are written to, one JSON object a line [default: /var/log/weir/INSTANCE.log]
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,
    /// Apply the policy by itself when its files change and have then been left alone for half a second
    #[arg(long)]
    watch: bool,
    /// Start with empty tables where another version's cannot be used
    #[arg(long)]
    discard_flows: bool,
    /// Meet outgoing packets through a clsact filter, as on kernels before 6.6
    #[arg(long, hide = true)]
    legacy_egress: bool,
}

impl Arguments {
    pub(super) fn execute(self, instance: Option<Instance>) -> anyhow::Result<()> {
        let file = self.config.as_deref().map(Partial::read).transpose()?.unwrap_or_default();
        let line = Partial {
            instance: instance.map(|instance| instance.name().to_owned()),
            placement: self.placement,
            interfaces: self.interfaces,
            policies: self.policies,
            on_exit: self.on_exit,
            netns: self.netns,
            established: self.established,
            embryonic: self.embryonic,
            event_rate: self.event_rate,
            log_file: self.log_file,
            watch: self.watch.then_some(true),
        };
        let mut settings = line.or(file).resolve()?;
        settings.discard_flows = self.discard_flows;
        settings.legacy_egress = self.legacy_egress;
        start_log();
        dataplane::check_privileges().map_err(Failure::from)?;
        if let Some(namespace) = &settings.netns {
            netns::enter(namespace)?;
        }
        Ok(controller::run(&settings).map_err(|failure: Failure| failure)?)
    }
}

/// An interface from the command line; a refusal keeps its hint.
fn interface(text: &str) -> Result<InterfaceSpec, String> {
    text.parse().map_err(|failure: Failure| failure.sentence())
}

/// Messages go to standard error; the journal adds its own time.
fn start_log() {
    let mut builder = env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info"));
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        builder.format_timestamp(None);
    } else {
        builder.format_timestamp_millis();
    }
    builder.format_target(false).init();
}
