//! A box with Weir and a client beside it, in network namespaces of their own. Everything is removed when a lab is dropped.

use std::{
    fs, io,
    net::{TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use firewall_user::{instance::Instance, netns};
use serde_json::Value;
use xtask::{
    command,
    netns::{End, Namespace, join},
    test::network::waited,
};

/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// The box's address.
pub const BOX: &str = "10.9.0.1";
/// A policy that lets the client in on a few ports, and everything out.
pub const POLICY: &str = r#"# Kept by every edit.
[[rule]]
name = "in"
from = "outside"
to = "self"
service = ["tcp/7000", "udp/7000", "icmp"]
action = "allow" # also kept
[[rule]]
name = "out"
from = "self"
to = "outside"
action = "allow"
"#;

/// Tells labs of one test process apart.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// The namespaces, an instance name and a policy directory. The box's interface is `box0`, and `spare` leads nowhere.
#[derive(Debug)]
pub struct Lab {
    pub server: Namespace,
    pub client: Namespace,
    pub instance: String,
    pub directory: PathBuf,
    daemon: Option<Child>,
}

/// A verb that goes on. Killed when dropped.
#[derive(Debug)]
pub struct Running(pub Option<Child>);

impl Running {
    /// Sends it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let child = self.0.as_ref().expect("it has not been waited for");
        rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).expect("it is ours");
    }

    /// Waits until it ends by itself.
    pub fn ended(mut self) -> Run {
        let mut child = self.0.take().expect("it has not been waited for");
        let end = Instant::now() + PATIENCE;
        while child.try_wait().expect("the child is ours").is_none() {
            if Instant::now() > end {
                let _ = child.kill();
                let run = Run::of(child.wait_with_output().expect("its output"));
                panic!("it did not end: {run:?}");
            }
            thread::sleep(Duration::from_millis(20));
        }
        Run::of(child.wait_with_output().expect("its output"))
    }

    /// Ends it as Ctrl-C would, and returns the events it has printed.
    pub fn events(self) -> Vec<Value> {
        self.signal(rustix::process::Signal::INT);
        self.ended().events()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Ends what goes on beside a test, also when a check fails.
pub struct Stop<'a>(pub &'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a run of `weir` printed and how it ended.
#[derive(Debug)]
pub struct Run {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// Runs `check` in a lab, or says why not.
pub fn in_lab(check: impl FnOnce(&mut Lab)) {
    if !command::is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    check(&mut Lab::new());
}

/// Runs `work` on a thread inside a network namespace; sockets it opens stay there.
pub fn inside<T: Send>(namespace: &Namespace, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            netns::enter(namespace.name()).expect("the namespace is there");
            work()
        });
        inside.join().expect("the work inside ends well")
    })
}

/// Tries until `ready` gives something, or fails the test.
pub fn eventually<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

impl Lab {
    fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let instance = format!("test-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(&instance);
        fs::create_dir_all(directory.join("policies")).expect("a directory for the policy");
        let server = Namespace::create(&format!("box{number}")).expect("a namespace");
        let client = Namespace::create(&format!("client{number}")).expect("a namespace");
        let near = End { namespace: &server, interface: "box0", address: "10.9.0.1/24", mac: "02:00:00:00:00:01", faces_xdp: false };
        let far = End { namespace: &client, interface: "far0", address: "10.9.0.2/24", mac: "02:00:00:00:00:02", faces_xdp: true };
        join(&near, &far).expect("a pair of interfaces");
        server.ip("link add spare type veth peer name spare-peer").expect("a second pair");
        let lab = Self { server, client, instance, directory, daemon: None };
        lab.write("10-base.toml", POLICY);
        lab
    }

    pub fn policies(&self) -> PathBuf {
        self.directory.join("policies")
    }

    /// Writes a policy file and returns its path.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.policies().join(name);
        fs::write(&path, text).expect("the policy can be written");
        path
    }

    pub fn read(&self, name: &str) -> io::Result<String> {
        fs::read_to_string(self.policies().join(name))
    }

    /// Directory of the instance's pins.
    pub fn pins(&self) -> PathBuf {
        self.named().pins()
    }

    fn named(&self) -> Instance {
        self.instance.parse().expect("a legal name")
    }

    /// Removes the instance's socket and lock, which outlive a crash.
    pub fn forget(&self) {
        for file in [self.named().socket(), self.named().lock()] {
            let _ = fs::remove_file(file);
        }
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(words).args(["--instance", &self.instance]).stdin(Stdio::null());
        command
    }

    /// Runs a verb to its end.
    pub fn weir(&self, words: &[&str]) -> Run {
        Run::of(self.command(words).output().expect("weir runs"))
    }

    /// Begins a verb that goes on until something ends it.
    pub fn begin(&self, words: &[&str]) -> Running {
        let child = self.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("weir runs");
        Running(Some(child))
    }

    /// Listens to events, from before this returns.
    pub fn listen(&self, words: &[&str]) -> Running {
        let listeners = || self.json(&["counters"])["events"]["subscribers"].as_u64().expect("a number");
        let before = listeners();
        let running = self.begin(&[&["events"], words].concat());
        eventually("it listens", || (listeners() > before).then_some(()));
        running
    }

    /// What the instance keeps on disk.
    pub fn state(&self) -> PathBuf {
        self.named().state()
    }

    /// Path of the daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.named().socket()
    }

    /// Runs a verb that must succeed and returns its JSON.
    pub fn json(&self, words: &[&str]) -> Value {
        let run = self.weir(&[words, &["--json"]].concat());
        assert_eq!(run.code, Some(0), "{words:?}: {run:?}");
        serde_json::from_str(&run.out).expect("JSON")
    }

    fn run_words<'a>(&'a self, policies: &'a str, extra: &[&'a str]) -> Vec<&'a str> {
        [&["run", "--netns", self.server.name(), "--policies", policies, "--established", "1024", "--embryonic", "1024"], extra].concat()
    }

    /// `weir run` that must end by itself, because something is wrong.
    pub fn run_refused(&self, extra: &[&str]) -> Run {
        let policies = self.policies();
        let words = self.run_words(policies.to_str().expect("UTF-8"), extra);
        let mut child = self.command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("weir runs");
        let end = Instant::now() + PATIENCE;
        while child.try_wait().expect("the child is ours").is_none() {
            if Instant::now() > end {
                let _ = child.kill();
                let _ = child.wait();
                panic!("weir run {extra:?} went on instead of refusing");
            }
            thread::sleep(Duration::from_millis(20));
        }
        Run::of(child.wait_with_output().expect("its output"))
    }

    /// Starts the daemon and waits until it is ready. Returns its status.
    pub fn start(&mut self, extra: &[&str]) -> Value {
        self.launch(extra);
        let status = self.weir(&["status", "--wait", "20", "--json"]);
        assert_eq!(status.code, Some(0), "{status:?}\n{}", self.log());
        serde_json::from_str(&status.out).expect("JSON")
    }

    /// Starts the daemon.
    pub fn launch(&mut self, extra: &[&str]) {
        assert!(self.daemon.is_none(), "a daemon runs already");
        let policies = self.policies();
        let words = self.run_words(policies.to_str().expect("UTF-8"), extra);
        let log = fs::File::create(self.directory.join("log")).expect("a log file");
        let child = self.command(&words).stdout(Stdio::null()).stderr(log).spawn().expect("weir runs");
        self.daemon = Some(child);
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Sends the daemon a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let child = self.daemon.as_ref().expect("a daemon runs");
        rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).expect("the daemon is ours");
    }

    /// Kills the daemon as a crash would.
    pub fn crash(&mut self) {
        let mut child = self.daemon.take().expect("a daemon runs");
        child.kill().expect("the daemon is ours");
        child.wait().expect("it ends");
    }

    /// Ends the daemon politely and returns its log.
    pub fn stop(&mut self) -> String {
        self.signal(rustix::process::Signal::TERM);
        let mut child = self.daemon.take().expect("a daemon runs");
        let status = eventually("the daemon ends", || child.try_wait().expect("the child is ours"));
        assert!(status.success(), "{status}: {}", self.log());
        self.log()
    }

    /// Opens a connection from the client to the box, both ends in hand.
    pub fn connect(&self) -> (TcpStream, TcpStream) {
        let listener = inside(&self.server, || TcpListener::bind((BOX, 7000))).expect("the box listens");
        let near = inside(&self.client, || {
            TcpStream::connect_timeout(&(BOX.parse::<std::net::IpAddr>().expect("an address"), 7000).into(), PATIENCE)
        })
        .expect("the client connects");
        let (far, _) = listener.accept().expect("the box accepts");
        for stream in [&near, &far] {
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        }
        (near, far)
    }

    /// Whether a connection from the client to the box comes about within this time.
    pub fn connects(&self, patience: Duration) -> bool {
        let _listener = inside(&self.server, || TcpListener::bind((BOX, 7000))).expect("the box listens");
        let address = (BOX.parse::<std::net::IpAddr>().expect("an address"), 7000).into();
        inside(&self.client, || TcpStream::connect_timeout(&address, patience).is_ok())
    }

    /// Whether a datagram from the client reaches the box.
    pub fn datagram_arrives(&self, port: u16) -> bool {
        let receiver = inside(&self.server, || UdpSocket::bind((BOX, port))).expect("the box listens");
        receiver.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
        let sender = inside(&self.client, || UdpSocket::bind("0.0.0.0:0")).expect("a socket");
        sender.send_to(b"x", (BOX, port)).expect("sent");
        waited(|| receiver.recv(&mut [0; 8])).is_ok()
    }

    /// Sends a datagram from this port of the client to the box's port 7000, where nobody need listen.
    pub fn send_datagram(&self, from: u16, data: &[u8]) {
        // A child that another test has forked, and that has yet to become its program, holds the port's last socket a moment longer.
        let patience = Instant::now() + Duration::from_secs(5);
        let bind = || match UdpSocket::bind(("0.0.0.0", from)) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < patience => None,
            bound => Some(bound.expect("a socket")),
        };
        let sender = loop {
            if let Some(sender) = inside(&self.client, bind) {
                break sender;
            }
            thread::sleep(Duration::from_millis(10));
        };
        sender.send_to(data, (BOX, 7000)).expect("sent");
    }

    /// The XDP program on an interface of the box, as `ip` tells it.
    pub fn xdp(&self, interface: &str) -> Option<String> {
        let output = self.server.command("ip").args(["-details", "link", "show", interface]).output().expect("ip runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().find(|line| line.contains("prog/xdp")).map(|line| line.trim().to_owned())
    }
}

impl Run {
    pub fn of(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// The events it printed as JSON; it must have ended well.
    pub fn events(&self) -> Vec<Value> {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    /// Asserts that it ended with `code` and that its message has all of `words`.
    pub fn refused_with(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        for word in words {
            assert!(self.err.contains(word), "no {word:?} in {self:?}");
        }
        assert!(!self.err.contains("panicked"), "{self:?}");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(mut child) = self.daemon.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let removed = self.weir(&["detach", "--all", "--netns", self.server.name()]);
        if removed.code != Some(0) || self.pins().exists() {
            eprintln!("warning: pins of {} may be left: {removed:?}", self.instance);
        }
        if self.state().exists() {
            eprintln!("warning: {} is left", self.state().display());
        }
        self.forget();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Names in a directory of pins.
pub fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<String> = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
