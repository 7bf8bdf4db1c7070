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
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    command,
    netns::{
        Namespace,
        process::Process,
        topology::{INSIDE, OUTSIDE},
    },
    scratch::Scratch,
    undo, vm,
};

/// How long the daemon may take to be ready, and to leave.
const PATIENCE: Duration = Duration::from_secs(30);
/// Sockets and locks of running daemons.
const RUNTIME: &str = "/run/weir";
/// What instances keep on disk.
const STATE: &str = "/var/lib/weir";
const RETRY: Duration = Duration::from_millis(100);
/// Lines of the daemon's log shown when something is wrong with it.
const LOG_LINES: usize = 20;

/// What the counters of an instance say, as far as it is needed here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Counters {
    /// Packets dropped, by reason.
    pub drops: BTreeMap<String, u64>,
    pub interfaces: Vec<Interface>,
    /// How full the dataplane's tables are, by name.
    #[serde(default)]
    pub tables: BTreeMap<String, Table>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Table {
    pub entries: u64,
    pub capacity: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Interface {
    pub name: String,
    /// How the program is attached: `native` or `generic`.
    pub mode: String,
}

impl Counters {
    /// Every interface is attached in native mode.
    pub fn all_native(&self) -> Result<()> {
        if let Some(other) = self.interfaces.iter().find(|interface| interface.mode != "native") {
            bail!("{} is attached in {} mode, not in native", other.name, other.mode);
        }
        Ok(())
    }

    /// Drops since `earlier`, without the reasons that did not grow.
    pub fn drops_since(&self, earlier: &Self) -> BTreeMap<String, u64> {
        let grown = |(reason, count): (&String, &u64)| {
            let more = count.saturating_sub(earlier.drops.get(reason).copied().unwrap_or(0));
            (more > 0).then(|| (reason.clone(), more))
        };
        self.drops.iter().filter_map(grown).collect()
    }
}

/// How a daemon is started.
#[derive(Debug, Clone)]
pub struct Launch {
    pub binary: PathBuf,
    /// Name of the namespace it works in.
    pub namespace: String,
    pub instance: String,
    /// `gateway` or `host`.
    pub placement: &'static str,
    /// `ZONE=INTERFACE:MODE` each.
    pub interfaces: Vec<String>,
    pub policies: PathBuf,
    /// File that takes what it says, over all starts.
    pub log: PathBuf,
    /// Further arguments of `weir run`.
    pub more: Vec<String>,
}

impl Launch {
    /// On a gateway with an interface outside and one inside, each named like its zone, both in native XDP. `name` tells the instance, and its
    /// log in the scratch directory, from others; what else differs is set in what this returns.
    pub fn gateway(binary: &Path, gateway: &Namespace, name: &str, policies: PathBuf, scratch: &Scratch) -> Self {
        Self {
            binary: binary.to_owned(),
            namespace: gateway.name().to_owned(),
            instance: format!("{name}-{}", std::process::id()),
            placement: "gateway",
            interfaces: [OUTSIDE, INSIDE].map(|zone| format!("{zone}={zone}:native")).to_vec(),
            policies,
            log: scratch.path().join(format!("{name}.log")),
            more: Vec::new(),
        }
    }

    fn spawn(&self) -> Result<Process> {
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("cannot write {}", self.log.display()))?;
        let mut command = Command::new(&self.binary);
        command.args(["run", "--netns", &self.namespace, "--instance", &self.instance, "--placement", self.placement]);
        for interface in &self.interfaces {
            command.args(["--interface", interface]);
        }
        command.arg("--policies").arg(&self.policies).args(["--on-exit", "detach"]).args(&self.more);
        command.stdin(Stdio::null()).stdout(log.try_clone().context("cannot duplicate a file")?).stderr(log);
        Process::spawn("weir", &mut command)
    }
}

/// A daemon with its instance. Dropped without [`Weir::stop`], it is ended and its pins are removed.
#[derive(Debug)]
pub struct Weir {
    launch: Launch,
    daemon: Process,
    _left: undo::Guard,
}

fn patience() -> Duration {
    PATIENCE * vm::slower()
}

impl Weir {
    /// Starts the daemon and waits until it is ready.
    pub fn start(launch: Launch) -> Result<Self> {
        let instance = launch.instance.clone();
        // Older than the daemon's own guard, so it acts when the daemon is gone. After a good end there are no pins.
        let left = undo::Guard::new(move || remove_left(&instance));
        let daemon = launch.spawn()?;
        let weir = Self { launch, daemon, _left: left };
        weir.wait_until_ready()?;
        Ok(weir)
    }

    pub fn instance(&self) -> &str {
        &self.launch.instance
    }

    /// Ends the daemon as a crash would (SIGKILL): it can do nothing about it.
    pub fn kill(&self) -> Result<()> {
        self.daemon.child().kill().context("cannot kill weir")?;
        self.daemon.wait(patience()).map(drop)
    }

    /// Starts the daemon again after [`Weir::kill`] and waits until it is ready.
    pub fn restart(&mut self) -> Result<()> {
        self.daemon = self.launch.spawn()?;
        self.wait_until_ready()
    }

    fn wait_until_ready(&self) -> Result<()> {
        let patience = patience();
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.daemon.ended()? {
                bail!("weir ended at once ({status}):{}", self.last_log_lines());
            }
            match self.verb(&["status"], &["--wait", "10", "--json"]) {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() >= deadline => {
                    return Err(error.context(format!("weir is not ready after {patience:?}; its log:{}", self.last_log_lines())));
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

    /// The same for so many seconds, unless it is confirmed.
    pub fn apply_on_trial(&self, policies: &Path, seconds: u32) -> Result<()> {
        let directory = policies.to_str().context("a path that is not UTF-8")?;
        self.verb(&["policy", "apply"], &[directory, "--confirm", &seconds.to_string()]).map(drop)
    }

    /// Removes every flow.
    pub fn forget_flows(&self) -> Result<()> {
        self.verb(&["flows", "kill"], &["--all"]).map(drop)
    }

    pub fn counters(&self) -> Result<Counters> {
        self.read("counters", &[])
    }

    /// The counters with everything that was not needed so far.
    pub fn all_counters(&self) -> Result<Value> {
        self.read("counters", &[])
    }

    /// What a reading verb shows to a person.
    pub fn show(&self, verb: &str) -> Result<String> {
        self.verb(&[verb], &[])
    }

    /// What a reading verb prints for programs.
    pub fn read<T: DeserializeOwned>(&self, verb: &str, arguments: &[&str]) -> Result<T> {
        let text = self.verb(&[verb], &[arguments, &["--json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("`weir {verb} --json` printed {text}"))
    }

    /// Begins a verb that goes on until it is ended, and prints to a file.
    pub fn begin(&self, verb: &[&str], out: File) -> Result<Process> {
        let mut command = Command::new(&self.launch.binary);
        command.args(verb).args(["--instance", &self.launch.instance]).stdin(Stdio::null()).stdout(out);
        Process::spawn("weir", &mut command)
    }

    /// Everything the daemon has said.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.launch.log).unwrap_or_default()).into_owned()
    }

    /// Ends the daemon, which takes its programs along, and makes sure that nothing of the instance stays.
    pub fn stop(self) -> Result<()> {
        let status = self.daemon.terminate(patience())?;
        if !status.success() {
            bail!("weir did not end well ({status}):{}", self.last_log_lines());
        }
        let pins = pins(&self.launch.instance);
        if pins.exists() {
            fs::remove_dir_all(&pins).with_context(|| format!("weir left {} behind, and it cannot be removed", pins.display()))?;
            bail!("weir left {} behind although it ran with `--on-exit detach`; it is removed now", pins.display());
        }
        Ok(())
    }

    fn verb(&self, verb: &[&str], arguments: &[&str]) -> Result<String> {
        command::output(Command::new(&self.launch.binary).args(verb).args(["--instance", &self.launch.instance]).args(arguments))
    }

    fn last_log_lines(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default().iter().map(|line| format!("\n    {line}")).collect()
    }
}

/// Where an instance pins its maps, links and programs.
fn pins(instance: &str) -> PathBuf {
    Path::new("/sys/fs/bpf/weir").join(instance)
}

/// Removes what a daemon leaves: its history of policies, and when it could not end by itself its pins (and with them its programs), its
/// socket and its lock.
fn remove_left(instance: &str) {
    let pins = pins(instance);
    if pins.exists() && fs::remove_dir_all(&pins).is_err() {
        eprintln!("warning: cannot remove {}", pins.display());
    }
    // Missing is what it should be, for an instance that never ran.
    let _ = fs::remove_dir_all(Path::new(STATE).join(instance));
    for suffix in ["sock", "lock"] {
        // Here too.
        let _ = fs::remove_file(Path::new(RUNTIME).join(format!("{instance}.{suffix}")));
    }
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
