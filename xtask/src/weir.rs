//! A running `weir` in a namespace, driven as a person would: by its command line.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    command,
    netns::{Namespace, process::Process},
    undo,
};

/// How long the daemon may take to be ready, and to leave.
const PATIENCE: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(100);
/// Lines of the daemon's log shown when something is wrong with it.
const LOG_LINES: usize = 20;

/// What the counters of an instance say, as far as it is needed here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Counters {
    /// Packets dropped, by reason.
    pub drops: BTreeMap<String, u64>,
    pub interfaces: Vec<Interface>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Interface {
    pub name: String,
    /// How the program is attached: `native` or `generic`.
    pub mode: String,
}

impl Counters {
    /// Drops since `earlier`, without the reasons that did not grow.
    pub fn drops_since(&self, earlier: &Self) -> BTreeMap<String, u64> {
        let grown = |(reason, count): (&String, &u64)| {
            let more = count.saturating_sub(earlier.drops.get(reason).copied().unwrap_or(0));
            (more > 0).then(|| (reason.clone(), more))
        };
        self.drops.iter().filter_map(grown).collect()
    }
}

/// A daemon with its instance. Dropped without [`Weir::stop`], it is ended and its pins are removed.
#[derive(Debug)]
pub struct Weir {
    binary: PathBuf,
    instance: String,
    log: PathBuf,
    daemon: Process,
    _pins: undo::Guard,
}

impl Weir {
    /// Starts a gateway between these interfaces (`ZONE=INTERFACE:MODE`) and waits until it is ready.
    pub fn start(
        binary: &Path,
        namespace: &Namespace,
        instance: &str,
        interfaces: &[String],
        policies: &Path,
        log: PathBuf,
    ) -> Result<Self> {
        let pins = pins(instance);
        let left = pins.clone();
        // Older than the daemon's own guard, so it acts when the daemon is gone. After a good end there is nothing to do.
        let pins = undo::Guard::new(move || {
            if left.exists() && fs::remove_dir_all(&left).is_err() {
                eprintln!("warning: cannot remove {}", left.display());
            }
        });
        let output = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let mut command = Command::new(binary);
        command.args(["run", "--netns", namespace.name(), "--instance", instance, "--placement", "gateway"]);
        for interface in interfaces {
            command.args(["--interface", interface]);
        }
        command.arg("--policies").arg(policies).args(["--on-exit", "detach"]);
        command.stdin(Stdio::null()).stdout(output.try_clone().context("cannot duplicate a file")?).stderr(output);
        let daemon = Process::spawn("weir", &mut command)?;
        let weir = Self { binary: binary.to_owned(), instance: instance.to_owned(), log, daemon, _pins: pins };
        weir.wait_until_ready()?;
        Ok(weir)
    }

    fn wait_until_ready(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.daemon.ended()? {
                bail!("weir ended at once ({status}):{}", self.last_log_lines());
            }
            match self.verb(&["status"], &["--wait", "10", "--json"]) {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() >= deadline => {
                    return Err(error.context(format!("weir is not ready after {PATIENCE:?}; its log:{}", self.last_log_lines())));
                }
                Err(_) => thread::sleep(RETRY),
            }
        }
    }

    /// Puts another directory of policies in force.
    pub fn apply(&self, policies: &Path) -> Result<()> {
        let directory = policies.to_str().context("a path that is not UTF-8")?;
        self.verb(&["policy", "apply"], &[directory]).map(drop)
    }

    pub fn counters(&self) -> Result<Counters> {
        let text = self.verb(&["counters"], &["--json"])?;
        serde_json::from_str(&text).with_context(|| format!("`weir counters --json` printed {text}"))
    }

    /// The counters with everything that was not needed so far.
    pub fn all_counters(&self) -> Result<Value> {
        let text = self.verb(&["counters"], &["--json"])?;
        serde_json::from_str(&text).with_context(|| format!("`weir counters --json` printed {text}"))
    }

    /// What a reading verb shows to a person.
    pub fn show(&self, verb: &str) -> Result<String> {
        self.verb(&[verb], &[])
    }

    /// Ends the daemon, which takes its programs along, and makes sure that nothing of the instance stays.
    pub fn stop(self) -> Result<()> {
        let status = self.daemon.terminate(PATIENCE)?;
        if !status.success() {
            bail!("weir did not end well ({status}):{}", self.last_log_lines());
        }
        let pins = pins(&self.instance);
        if pins.exists() {
            fs::remove_dir_all(&pins).with_context(|| format!("weir left {} behind, and it cannot be removed", pins.display()))?;
            bail!("weir left {} behind although it ran with `--on-exit detach`; it is removed now", pins.display());
        }
        Ok(())
    }

    fn verb(&self, verb: &[&str], arguments: &[&str]) -> Result<String> {
        command::output(Command::new(&self.binary).args(verb).args(["--instance", &self.instance]).args(arguments))
    }

    fn last_log_lines(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default().iter().map(|line| format!("\n    {line}")).collect()
    }
}

/// Where an instance pins its maps, links and programs.
fn pins(instance: &str) -> PathBuf {
    Path::new("/sys/fs/bpf/weir").join(instance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reasons_that_grew_are_reported() {
        let counters = |text: &str| serde_json::from_str::<Counters>(text).expect("counters");
        let earlier = counters(r#"{"drops":{"acl-drop":3,"tcp-not-syn":1},"interfaces":[],"passed":7}"#);
        let later = counters(
            r#"{"drops":{"acl-drop":3,"tcp-not-syn":5,"tcp-seq-past-win":2},"interfaces":[{"name":"a","mode":"native","packets":1}]}"#,
        );
        let grown = BTreeMap::from([("tcp-not-syn".to_owned(), 4), ("tcp-seq-past-win".to_owned(), 2)]);
        assert_eq!(later.drops_since(&earlier), grown);
        assert_eq!(later.interfaces, [Interface { name: "a".to_owned(), mode: "native".to_owned() }]);
    }
}
