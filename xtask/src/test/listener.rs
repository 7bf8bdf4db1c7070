//! A `weir events` that runs beside a scenario.

use std::{
    fs::{self, File},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::lab::wait_for;
use crate::{netns::process::Process, weir::Weir};

const PATIENCE: Duration = Duration::from_secs(10);

/// An event as `weir events --json` prints it, as far as it is needed here.
#[derive(Debug, Clone, Deserialize)]
pub struct Event {
    pub kind: String,
    pub reason: Option<String>,
    pub source: End,
    pub destination: End,
    pub rule: Option<String>,
    pub state: Option<String>,
    pub segment: Option<Segment>,
    pub arithmetic: Option<Arithmetic>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct End {
    pub address: Option<IpAddr>,
    pub port: u16,
    pub zone: Option<String>,
}

impl End {
    pub fn socket(&self) -> Option<SocketAddr> {
        self.address.map(|address| SocketAddr::new(address, self.port))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Segment {
    pub flags: String,
    pub seq: u32,
    pub ack: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Arithmetic {
    pub compared: String,
    pub number: u32,
    pub lowest: u32,
    pub highest: u32,
    pub distance: i32,
}

/// What `weir counters` says of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Figures {
    pub sent: u64,
    pub limited: u64,
    pub lost: u64,
    pub subscribers: u64,
}

impl Figures {
    pub fn of(weir: &Weir) -> Result<Self> {
        serde_json::from_value(weir.all_counters()?["events"].clone()).context("no figures of events")
    }
}

#[derive(Debug)]
pub struct Listener {
    process: Process,
    out: PathBuf,
}

impl Listener {
    /// Listens to what the filters let through, from before this returns, and keeps it in a file.
    pub fn start(weir: &Weir, filters: &[&str], out: PathBuf) -> Result<Self> {
        let before = Figures::of(weir)?.subscribers;
        let file = File::create(&out).with_context(|| format!("cannot write {}", out.display()))?;
        let process = weir.begin(&[&["events", "--json"], filters].concat(), file)?;
        wait_for("weir events to listen", || Ok(Figures::of(weir)?.subscribers > before))?;
        Ok(Self { process, out })
    }

    /// The events so far.
    pub fn events(&self) -> Result<Vec<Event>> {
        let text = fs::read_to_string(&self.out).with_context(|| format!("cannot read {}", self.out.display()))?;
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).with_context(|| format!("weir events printed {line}"))).collect()
    }

    /// Waits for the first event that is meant.
    pub fn first(&self, what: &str, meant: impl Fn(&Event) -> bool) -> Result<Event> {
        let mut found = None;
        wait_for(&format!("the event of {what}"), || {
            found = self.events()?.into_iter().find(|event| meant(event));
            Ok(found.is_some())
        })?;
        found.context("an event that was there")
    }

    /// Ends it and returns all of its events.
    pub fn finish(self) -> Result<Vec<Event>> {
        let status = self.process.terminate(PATIENCE)?;
        if !status.success() {
            bail!("weir events did not end well: {status}");
        }
        self.events()
    }
}
