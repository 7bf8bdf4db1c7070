use clap::Args;

use super::ask;
use crate::{
    api::{DetachRequest, Detached, Failure},
    client::{Client, ClientError},
    controller::Lock,
    dataplane::{self, Pins},
    instance::Instance,
    netns, output,
};

/// Detach an interface, or all: its packets pass unfiltered from then on
///
/// Works without a daemon too. Then `--all` also removes flows, counters and the policy from the kernel, and the history of policies, so
/// that nothing of the instance is left.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weir detach eth1
  weir detach --all")]
pub(super) struct Arguments {
    /// The interface
    #[arg(value_name = "IFACE", required_unless_present = "all", conflicts_with = "all")]
    name: Option<String>,
    /// Every interface
    #[arg(long)]
    all: bool,
    /// Without a daemon: the network namespace the interface is in; needed on kernels before 6.6 only
    #[arg(long, value_name = "NAME|PATH")]
    netns: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn execute(self, instance: &Instance) -> anyhow::Result<()> {
        let request = DetachRequest { name: self.name.clone(), all: self.all };
        let answer = ask::<_, Failure>(async {
            match Client::new(instance).delete::<Detached>("/v1/interfaces", &request).await {
                Ok(detached) => Ok(Some(detached)),
                Err(ClientError::NotRunning(_)) => Ok(None),
                Err(error) => Err(error.into()),
            }
        })?;
        let detached = match answer {
            Some(detached) => detached,
            None => self.without_daemon(instance)?,
        };
        if self.json {
            return output::json(&detached);
        }
        match detached.detached.as_slice() {
            [] => output::line("nothing was attached"),
            names => output::line(&format!("detached {}", names.join(", "))),
        }
    }

    fn without_daemon(&self, instance: &Instance) -> Result<Detached, Failure> {
        dataplane::check_privileges()?;
        if let Some(namespace) = &self.netns {
            netns::enter(namespace)?;
        }
        let _lock = Lock::take(instance)?;
        let pins = Pins::of(instance);
        let detached = match &self.name {
            Some(name) => dataplane::detach_one(&pins, name).map(|()| vec![name.clone()]),
            None => dataplane::detach_all(&pins),
        }?;
        if self.all {
            remove_state(instance)?;
        }
        Ok(Detached { detached })
    }
}

fn remove_state(instance: &Instance) -> Result<(), Failure> {
    let state = instance.state();
    match std::fs::remove_dir_all(&state) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::failed(format!("{} cannot be removed: {error}", state.display())))
        }
        _ => Ok(()),
    }
}
