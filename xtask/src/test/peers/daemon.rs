//! A program of a package that runs inside a namespace until it is ended, with a `/run` of its own and everything it says in a file.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{
    netns::{Namespace, process::Process},
    test::lab::wait_within,
};

/// How long it may take to say something, and to end.
const SAY: Duration = Duration::from_secs(40);
const PATIENCE: Duration = Duration::from_secs(10);
/// `ip netns exec` has a mount namespace of its own, so what is mounted there is seen by nobody else and goes with the program. `-n`: no
/// note of it in the machine's own `/run`.
const OWN_RUN: &str = "mount -n -t tmpfs tmpfs /run && exec \"$0\" \"$@\"";
/// Lines of the log shown when something is wrong.
const LINES: usize = 40;

#[derive(Debug)]
pub(super) struct Daemon {
    name: &'static str,
    process: Process,
    log: PathBuf,
}

impl Daemon {
    /// `variables`: of its environment.
    pub(super) fn start(
        name: &'static str,
        namespace: &Namespace,
        program: &str,
        arguments: &[&str],
        variables: &[(&str, &str)],
        log: PathBuf,
    ) -> Result<Self> {
        // A program may write to it by its name as well.
        let out = File::options().create(true).append(true).open(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let errors = out.try_clone().context("cannot duplicate a file")?;
        let mut command = namespace.command("sh");
        command.args(["-c", OWN_RUN, program]).args(arguments).envs(variables.iter().copied());
        let process = Process::spawn(name, command.stdin(Stdio::null()).stdout(out).stderr(errors))?;
        Ok(Self { name, process, log })
    }

    /// Everything it has said.
    pub(super) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// In how many lines it has said this.
    pub(super) fn said(&self, text: &str) -> usize {
        self.log().lines().filter(|line| line.contains(text)).count()
    }

    /// Waits until it has said this in more than `before` lines.
    pub(super) fn says(&self, text: &str, before: usize) -> Result<()> {
        let result = wait_within(SAY, &format!("{} to say `{text}`", self.name), || {
            if self.said(text) > before {
                return Ok(true);
            }
            match self.process.ended()? {
                // It may have said it on its way out.
                Some(status) if self.said(text) <= before => bail!("{} ended ({status})", self.name),
                _ => Ok(false),
            }
        });
        result.with_context(|| self.last_lines())
    }

    /// Asks it to end and waits until it has.
    pub(super) fn stop(self) -> Result<()> {
        self.process.terminate(PATIENCE).map(drop)
    }

    /// For a person who looks for what went wrong.
    pub(super) fn last_lines(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default();
        format!("the last lines of {}:\n    {}", self.name, last.join("\n    "))
    }
}
