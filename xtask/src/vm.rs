//! A virtual machine with the oldest kernel that Weir supports, in which tests of this machine run.
//!
//! It boots Debian's kernel in qemu without any disk: its files are those of the machine it runs on, which it can read and not write, under a
//! layer in memory. What is built here runs there at the same path. Nothing else is shared, and no network leaves it.

mod kernel;

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{command, netns::process::Process, scratch::Scratch};
use kernel::Kernel;

const INIT: &str = include_str!("vm/init.sh");
/// Modules without which there are no files to load others from, in no order.
const BOOT_MODULES: [&str; 11] = [
    "virtio",
    "virtio_ring",
    "virtio_pci",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "9pnet",
    "9pnet_virtio",
    "9p",
    "netfs",
    "fscache",
    "overlay",
];
const MEMORY: &str = "4096";
/// How long it may take to be gone once its console is closed.
const GRACE: Duration = Duration::from_secs(10);
/// How `timeout` says that it was one.
const TIMED_OUT: i32 = 124;
/// Lines of the console that are shown when something is wrong.
const LINES_SHOWN: usize = 20;
/// What the machine's lines about the job begin with.
const MARK: &str = "weir-vm: ";

/// Names how many times longer than on a machine of its own a thing may take where a scenario runs: one for which time counts asks
/// [`slower`].
pub const SLOWER: &str = "WEIR_TEST_SLOWER";
/// What [`SLOWER`] says in the machine: each of its instructions is made of some dozens of this machine's. Its limits hold on a loaded one, too.
pub const EMULATED: u32 = 5;

/// How many times longer than usual a thing may take here.
pub fn slower() -> u32 {
    std::env::var(SLOWER).ok().and_then(|factor| factor.parse().ok()).unwrap_or(1)
}

/// One thing to run in the machine.
#[derive(Debug, Clone)]
pub struct Task {
    pub name: String,
    /// A line of shell.
    pub command: String,
}

/// What came of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub name: String,
    pub status: i32,
    /// What it printed on either stream.
    pub lines: Vec<String>,
}

/// Boots the machine with `pairs` pairs of network cards (`eth0` and `eth1` are joined, `eth2` and `eth3`, and so on), runs the tasks one after
/// the other, and returns the release of its kernel and what came of each task. A task that the machine did not come to is not in the list.
pub fn run(tasks: &[Task], pairs: usize, patience: Duration, mut on_line: impl FnMut(&str)) -> Result<(String, Vec<Ended>)> {
    let kernel = Kernel::prepare()?;
    let scratch = Scratch::create("vm")?;
    let initramfs = initramfs(scratch.path(), &kernel, &job(tasks)).context("cannot make the machine's first file system")?;
    let lines = boot(qemu(&kernel, &initramfs, pairs, patience), &mut on_line)?;
    let release = lines.iter().find_map(|line| marked(line, "ready ")).map(str::to_owned);
    let release = release.with_context(|| format!("the machine did not boot; its last lines:{}", last(&lines)))?;
    Ok((release, ended(&lines)))
}

/// Runs the machine to its end and returns the lines of its console. It does not outlive this process.
fn boot(mut qemu: Command, on_line: &mut dyn FnMut(&str)) -> Result<Vec<String>> {
    let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
    qemu.stdin(Stdio::null()).stderr(writer.try_clone().context("cannot duplicate a pipe")?).stdout(writer);
    let machine = Process::spawn("the virtual machine", &mut qemu)?;
    // It owns the pipe's writing ends: with them the reader would never meet the end.
    drop(qemu);
    let mut lines = Vec::new();
    for line in BufReader::new(reader).split(b'\n') {
        let line = line.context("cannot read the machine's console")?;
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        on_line(&line);
        lines.push(line);
    }
    let status = machine.wait(GRACE)?;
    ensure!(status.code() != Some(TIMED_OUT), "the machine was not done in time; its last lines:{}", last(&lines));
    ensure!(status.success(), "the machine ended badly ({status}); its last lines:{}", last(&lines));
    Ok(lines)
}

fn last(lines: &[String]) -> String {
    lines.iter().skip(lines.len().saturating_sub(LINES_SHOWN)).map(|line| format!("\n    {line}")).collect()
}

/// `timeout` ends a machine that hangs. It is emulated in software: that works on every host, virtual ones included.
fn qemu(kernel: &Kernel, initramfs: &Path, pairs: usize, patience: Duration) -> Command {
    let mut command = Command::new("timeout");
    command.arg(patience.as_secs().to_string()).arg("qemu-system-x86_64");
    command.args(["-machine", "q35", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max", "-smp", "2", "-m", MEMORY]);
    command.args(["-nographic", "-no-reboot", "-nic", "none"]);
    command.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(initramfs);
    command.args(["-append", "console=ttyS0 quiet panic=-1"]);
    command.args(["-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"]);
    for pair in 0..pairs {
        for end in ["a", "b"] {
            command.args(["-netdev", &format!("hubport,id=net{pair}{end},hubid={pair}")]);
            command.args(["-device", &format!("virtio-net-pci,netdev=net{pair}{end}")]);
        }
    }
    command
}

/// The tasks as a script. Each writes to a file first, so that the lines about it stay whole.
fn job(tasks: &[Task]) -> String {
    let mut script = String::from("export TMPDIR=/tmp\n");
    for Task { name, command } in tasks {
        script += &format!(
            "echo '{MARK}begin {name}'\n( {command} ) >/tmp/output 2>&1\nstatus=$?\ncat /tmp/output\necho\necho \"{MARK}end $status\"\n"
        );
    }
    script
}

/// What a line of the machine's says behind the mark and this word. The firmware leaves its escape sequences before the first one.
fn marked<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    line.split_once(MARK)?.1.strip_prefix(word)
}

/// The tasks that came to their end.
fn ended(lines: &[String]) -> Vec<Ended> {
    let mut tasks = Vec::new();
    let mut open: Option<(String, Vec<String>)> = None;
    for line in lines {
        if let Some(name) = marked(line, "begin ") {
            open = Some((name.to_owned(), Vec::new()));
        } else if let Some(status) = marked(line, "end ") {
            if let (Some((name, lines)), Ok(status)) = (open.take(), status.parse()) {
                tasks.push(Ended { name, status, lines });
            }
        } else if let Some((_, lines)) = &mut open {
            lines.push(line.clone());
        }
    }
    tasks
}

/// Packs busybox, the modules and the job.
fn initramfs(scratch: &Path, kernel: &Kernel, job: &str) -> Result<PathBuf> {
    let root = scratch.join("initramfs");
    for directory in ["bin", "sbin", "proc", "sys", "dev", "host", "layer", "root"] {
        fs::create_dir_all(root.join(directory))?;
    }
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).is_file()).context("there is no busybox")?;
    fs::copy(busybox, root.join("bin/busybox"))?;
    for applet in ["sh", "mount", "modprobe", "mkdir", "cp", "cat", "uname", "ip", "chroot", "poweroff"] {
        symlink("busybox", root.join("bin").join(applet))?;
    }
    symlink("../bin/busybox", root.join("sbin/modprobe"))?;
    fs::write(root.join("init"), INIT)?;
    fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755))?;
    fs::write(root.join("job"), job)?;
    fs::write(root.join("modules"), kernel.modules.as_os_str().as_encoded_bytes())?;
    let modules = root.join("lib/modules").join(&kernel.release);
    for name in BOOT_MODULES {
        let from = kernel.module(name)?;
        let to = modules.join(from.strip_prefix(kernel.modules.join(&kernel.release)).context("a module lies elsewhere")?);
        fs::create_dir_all(to.parent().context("a module has no directory")?)?;
        fs::copy(&from, &to)?;
    }
    for list in ["modules.dep", "modules.alias", "modules.symbols"] {
        fs::copy(kernel.modules.join(&kernel.release).join(list), modules.join(list))?;
    }
    let archive = scratch.join("initramfs.cpio");
    // The directory is an argument, for its name may be any.
    let pack = "cd \"$0\" && find . | cpio --create --format newc --quiet >\"$1\"";
    command::output(Command::new("sh").args(["-c", pack]).arg(&root).arg(&archive))?;
    ensure!(archive.metadata()?.len() > 0, "cpio wrote nothing");
    Ok(archive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tasks_that_ended_count() {
        let lines =
            ["weir-vm: begin one", "a line", "", "weir-vm: end 0", "weir-vm: begin two", "weir-vm: end 101", "weir-vm: begin three", "x"];
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        let names: Vec<_> = ended(&lines).into_iter().map(|task| (task.name, task.status, task.lines.len())).collect();
        assert_eq!(marked("\u{1b}[2Jweir-vm: ready 6.1.0", "ready "), Some("6.1.0"));
        assert_eq!(names, [("one".to_owned(), 0, 2), ("two".to_owned(), 101, 0)]);
    }

    #[test]
    fn a_job_marks_each_task() {
        let script = job(&[Task { name: "one".to_owned(), command: "false".to_owned() }]);
        assert!(script.contains("echo 'weir-vm: begin one'\n( false )"), "{script}");
    }
}
