//! An endpoint in a namespace, seen from its parent: a hidden verb of this program, whose report lines are read as they come.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::Stdio,
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    netns::{Namespace, process::Process},
    report::{Line, Second, Totals},
};

#[derive(Debug)]
pub(super) struct Peer {
    title: &'static str,
    process: Process,
    lines: Receiver<String>,
}

impl Peer {
    pub(super) fn start(xtask: &Path, namespace: &Namespace, title: &'static str, arguments: &[&str]) -> Result<Self> {
        let process = Process::spawn(title, namespace.command(xtask).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()))?;
        let output = process.child().stdout.take().context("the endpoint has no output")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { title, process, lines })
    }

    pub(super) fn ready(&mut self, patience: Duration) -> Result<()> {
        self.expect(Line::Ready, patience)
    }

    pub(super) fn connected(&mut self, patience: Duration) -> Result<()> {
        self.expect(Line::Connected, patience)
    }

    /// Waits for the endpoint to end by itself and returns what it reported.
    pub(super) fn finish(self, patience: Duration) -> Result<(Vec<Second>, Totals)> {
        let deadline = Instant::now() + patience;
        let mut seconds = Vec::new();
        let totals = loop {
            match self.next(deadline)? {
                Line::Second(second) => seconds.push(second),
                Line::Done(totals) => break totals,
                line @ (Line::Ready | Line::Connected) => bail!("{} reported {line:?} out of turn", self.title),
            }
        };
        self.process.wait(deadline.saturating_duration_since(Instant::now()))?;
        Ok((seconds, totals))
    }

    fn expect(&mut self, wanted: Line, patience: Duration) -> Result<()> {
        let line = self.next(Instant::now() + patience)?;
        if line != wanted {
            bail!("{} reported {line:?} instead of {wanted:?}", self.title);
        }
        Ok(())
    }

    fn next(&self, deadline: Instant) -> Result<Line> {
        let line = match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => bail!("{} reports nothing more", self.title),
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.process.wait(Duration::from_secs(1))?;
                bail!("{} ended before its time ({status}); what it said is above", self.title);
            }
        };
        serde_json::from_str(&line).with_context(|| format!("{} printed `{line}`", self.title))
    }
}
