//! One scenario's surroundings: client, hop, gateway with a running Weir, and server.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    netns::topology::{INSIDE, OUTSIDE, SERVER, Topology},
    scratch::Scratch,
    test::lab::{self, Flow},
    weir::{Counters, Launch, Weir},
};

#[derive(Debug)]
pub(super) struct Site {
    pub(super) weir: Weir,
    pub(super) topology: Topology,
    pub(super) scratch: Scratch,
    start: Counters,
}

impl Site {
    pub(super) fn create(binary: &Path, policy: &str) -> Result<Self> {
        let scratch = Scratch::create("peers")?;
        let policies = scratch.directory_with("first", "policy.toml", policy)?;
        let topology = Topology::create()?;
        let weir = Weir::start(Launch::gateway(binary, &topology.gateway, "peers", policies, &scratch))?;
        let start = weir.counters()?;
        start.all_native()?;
        Ok(Self { weir, topology, scratch, start })
    }

    /// Puts another policy in force. Drops so far do not count any more.
    pub(super) fn apply(&mut self, name: &str, policy: &str) -> Result<()> {
        let directory = self.scratch.directory_with(name, "policy.toml", policy)?;
        self.weir.apply(&directory)?;
        self.forget()
    }

    pub(super) fn forget(&mut self) -> Result<()> {
        self.start = self.weir.counters()?;
        Ok(())
    }

    pub(super) fn drops(&self) -> Result<BTreeMap<String, u64>> {
        Ok(self.weir.counters()?.drops_since(&self.start))
    }

    pub(super) fn no_drops(&self) -> Result<()> {
        let drops = self.drops()?;
        ensure!(drops.is_empty(), "Weir dropped packets of two ends that keep to the rules: {drops:?}");
        Ok(())
    }

    /// The policy in force has kept something from working: its drops are of this reason alone.
    pub(super) fn denied(&self) -> Result<u64> {
        let drops = self.drops()?;
        match drops.get("acl-drop") {
            Some(count) if drops.len() == 1 => Ok(*count),
            _ => bail!("expected drops of acl-drop alone, got {drops:?}"),
        }
    }

    pub(super) fn flows(&self, protocol: &str, port: u16) -> Result<Vec<Flow>> {
        let (protocol, port) = (format!("protocol={protocol}"), format!("port={port}"));
        self.weir.read("flows", &[&protocol, &port])
    }

    /// Runs a scenario's body and ends Weir, which must leave nothing behind. A failure is told with what Weir says about it.
    pub(super) fn play(mut self, body: impl FnOnce(&mut Self) -> Result<String>) -> Result<String> {
        let result = body(&mut self);
        if result.is_err() {
            eprintln!("{}", lab::diagnosis(&self.weir));
            return result;
        }
        self.weir.stop().context("after everything else went well")?;
        result
    }
}

/// A rule that lets clients reach the server, strictly inspected.
pub(super) fn strict(service: &str) -> String {
    rule("clients", service, "strict")
}

pub(super) fn rule(name: &str, service: &str, inspection: &str) -> String {
    format!(
        "[[rule]]\nname = \"{name}\"\nfrom = \"{OUTSIDE}\"\nto = \"{INSIDE} {SERVER}\"\nservice = \"{service}\"\naction = \"allow\"\n\
         inspection = \"{inspection}\"\n\n"
    )
}

/// A bypass under these guards, if there are any.
pub(super) fn bypass(name: &str, service: &str, guards: &[&str]) -> String {
    let rule = rule(name, service, "bypass");
    if guards.is_empty() { rule } else { format!("{}\nguard = {guards:?}\n", rule.trim_end()) }
}
