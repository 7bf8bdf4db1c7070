use std::{
    thread,
    time::{Duration, Instant},
};

use clap::Args;

use super::ask;
use crate::{
    api::{Failure, Status},
    client::{Client, ClientError},
    instance::Instance,
    output,
};

/// Time between two looks while waiting.
const POLL: Duration = Duration::from_millis(100);

/// Show whether the firewall works: interfaces, policy, flows
///
/// Ready means that every interface is attached and a policy is in force.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weir status
  weir status --wait 10 && systemctl start vpn
  weir status --json | jq .ready")]
pub(super) struct Arguments {
    /// Wait until it is ready, also for a daemon that is yet to start; exit 1 if it is not in time
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn execute(self, instance: &Instance) -> anyhow::Result<()> {
        let client = Client::new(instance);
        let status = match self.wait {
            Some(seconds) => wait(&client, Duration::from_secs(seconds.into()))?,
            None => ask(client.get::<Status>("/v1/status"))?,
        };
        if self.json { output::json(&status) } else { output::status(&status) }
    }
}

fn wait(client: &Client, time: Duration) -> anyhow::Result<Status> {
    let end = Instant::now() + time;
    loop {
        let last = match ask::<_, Failure>(async {
            match client.get::<Status>("/v1/status").await {
                Ok(status) if status.ready => Ok(Ok(status)),
                Ok(status) => Ok(Err(Failure::failed(not_ready(&status)))),
                Err(error @ ClientError::NotRunning(_)) => Ok(Err(error.into())),
                Err(error) => Err(error.into()),
            }
        })? {
            Ok(status) => return Ok(status),
            Err(last) => last,
        };
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let error = format!("not ready after {} s: {last}", time.as_secs());
            return Err(Failure { error, ..last }.into());
        }
        thread::sleep(POLL.min(left));
    }
}

fn not_ready(status: &Status) -> String {
    let missing: Vec<&str> =
        status.interfaces.iter().filter(|interface| !interface.attached).map(|interface| interface.name.as_str()).collect();
    if status.policy.is_none() {
        "no policy is in force".to_owned()
    } else if status.interfaces.is_empty() {
        "no interface is attached".to_owned()
    } else {
        format!("not attached: {}", missing.join(", "))
    }
}
