use std::time::Duration;

use clap::Args;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::sleep,
};

use crate::{
    api::{Event, Failure},
    client::{Client, with_query},
    event_filter::EventFilter,
    instance::Instance,
    output,
};

/// Show flows that open and close and packets that are dropped, as it happens
///
/// Only what happens from now on is shown, and only while somebody listens does the dataplane make events. Times are in UTC.
#[derive(Debug, Args)]
#[command(after_help = "\
Filters (all must hold): kind=opened,closed,dropped reason=tcp-seq-past-win zone=outside interface=eth0 rule=NAME
  state=established inspection=bypass address=10.0.0.0/8 port=443 protocol=tcp

A dropped packet shows which of its numbers was compared, what was expected, and how far it lies outside. A flow closes with
  tcp-fins tcp-reset-i tcp-reset-o syn-timeout fin-timeout idle-timeout policy killed
where i is the initiator and o the responder. Told without being asked for, to whoever listens to these kinds: flows that a rule with
log = true has begun (begun), and sources over a rule's limits (overload).

More events than `weir run --event-rate` allows are counted and not shown: see `weir counters`.

Examples:
  weir events
  weir events kind=dropped zone=outside
  weir events reason=tcp-seq-past-win --json | jq .arithmetic.distance
  weir events kind=closed rule=vpn --for 60
  weir events kind=dropped --count 1")]
pub(super) struct Arguments {
    /// Conditions that must all hold
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
    /// End after this many events
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// End after this time
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u32>,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn execute(self, instance: &Instance) -> anyhow::Result<()> {
        // A slip needs no daemon to be told.
        EventFilter::parse(&self.filters)?;
        let path = with_query("/v1/events", self.filters.iter().filter_map(|filter| filter.split_once('=')));
        let client = Client::new(instance);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
            tokio::select! {
                shown = self.show(&client, &path) => shown,
                () = time_over(self.seconds) => Ok(()),
                _ = interrupt.recv() => Ok(()),
                _ = terminate.recv() => Ok(()),
            }
        })
    }

    /// Prints events until there were enough, or the daemon ends.
    async fn show(&self, client: &Client, path: &str) -> anyhow::Result<()> {
        if self.count == Some(0) {
            return Ok(());
        }
        let mut lines = client.stream(path).await.map_err(Failure::from)?;
        let mut shown = 0;
        while let Some(text) = lines.next().await? {
            let event: Event = serde_json::from_str(&text).map_err(|error| {
                Failure::failed(format!("an event cannot be read: {error}")).hint("daemon and `weir` may be of different versions")
            })?;
            if self.json {
                output::line(&text)?;
            } else {
                output::event(&event)?;
            }
            shown += u64::from(!matches!(event, Event::Lost(_)));
            if Some(shown) == self.count {
                return Ok(());
            }
        }
        Err(Failure::failed("the daemon has ended").hint("its dataplane may go on; `weir run` takes it over").into())
    }
}

async fn time_over(seconds: Option<u32>) {
    match seconds {
        Some(seconds) => sleep(Duration::from_secs(seconds.into())).await,
        None => std::future::pending().await,
    }
}
