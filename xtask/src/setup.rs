//! `cargo xtask setup`: what building and testing need and a fresh machine lacks.
//!
//! Looks first and installs only what is missing, so that a second run does nothing. On Debian everything comes from packages and
//! one `cargo install`; elsewhere it says exactly what to install.

mod debian;
mod inspect;
mod services;

use std::{
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail};
use rustix::mount::MountFlags;

use crate::{command, ebpf, progress::Step};
use inspect::{BPFFS, Missing};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only report; exit 1 if something is missing.
    #[arg(long)]
    check: bool,
}

/// How much of the setup a verb needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Compiler and linker for BPF.
    Build,
    /// What a run in network namespaces needs: the peers' programs and a mounted BPF file system.
    Peers,
    /// Other people's programs, which the level `peers` puts at both ends.
    RealPeers,
    /// A compiler for C++: the fuzzer is written in it.
    Fuzz,
    /// All of it but [`Need::RealPeers`]: to build, to run and to test.
    Run,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let missing = Missing::look(Need::Run);
    if missing.is_empty() {
        println!("everything is here: {}", summary());
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.check {
        println!("missing:\n{}", missing.advice());
        return Ok(ExitCode::FAILURE);
    }
    install(missing, Need::Run)?;
    println!("everything is here now: {}", summary());
    Ok(ExitCode::SUCCESS)
}

/// Makes sure that what `need` stands for is there, installing it where that is possible.
pub fn ensure(need: Need) -> Result<()> {
    let missing = Missing::look(need);
    if missing.is_empty() { Ok(()) } else { install(missing, need) }
}

fn install(missing: Missing, need: Need) -> Result<()> {
    if !command::is_root() {
        bail!("run `cargo xtask setup` as root, or install this yourself:\n{}", missing.advice());
    }
    if missing.bpffs {
        mount_bpffs()?;
    }
    let missing = Missing { bpffs: false, ..missing };
    if missing.is_empty() {
        return Ok(());
    }
    if !command::installed("apt-get") {
        bail!("this system has no apt-get: install this yourself, then try again:\n{}", missing.advice());
    }
    let unknown = debian::install(&missing)?;
    if missing.needs_debian_toolchain() && unknown.is_empty() {
        link_toolchain()?;
    }
    if missing.linker && unknown.is_empty() {
        install_linker()?;
    }
    let missing = Missing::look(need);
    if missing.is_empty() {
        return Ok(());
    }
    let why = if unknown.is_empty() { String::new() } else { format!(" (the package sources do not know {})", unknown.join(", ")) };
    bail!("still missing{why}; install this yourself, then try again:\n{}", missing.advice());
}

fn mount_bpffs() -> Result<()> {
    let step = Step::start(format!("mount the BPF file system at {BPFFS}"));
    rustix::mount::mount("bpf", BPFFS, "bpf", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, None)
        .with_context(|| format!("cannot mount the BPF file system at {BPFFS}"))?;
    step.done("");
    Ok(())
}

/// Debian's compiler under the name [`ebpf`] looks for. Without rustup it is found at `/usr/bin` by itself.
fn link_toolchain() -> Result<()> {
    if command::installed("rustup") && ebpf::find_toolchain() != Some(ebpf::Toolchain::DebianBpf) {
        let step = Step::start("link Debian's compiler as toolchain `debian-bpf`");
        command::output(Command::new("rustup").args(["toolchain", "link", "debian-bpf", "/usr"]))?;
        step.done("");
    }
    Ok(())
}

/// Without `LLVM_PREFIX` the linker's build looks for LLVM in a directory Debian does not use.
fn install_linker() -> Result<()> {
    let step = Step::start("build bpf-linker 0.13.0 (about a minute)");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut cargo = Command::new("cargo");
    cargo
        .args(["install", "bpf-linker", "--version", "0.13.0", "--locked", "--no-default-features", "--features", "llvm-22"])
        .env("LLVM_PREFIX", debian::LLVM)
        .env("PATH", format!("{}/bin:{path}", debian::LLVM))
        // The outer cargo's flags and target directory are about this workspace.
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .current_dir(Path::new("/"));
    command::watch(&mut cargo, |line| step.say(line.trim()))?;
    step.done("");
    Ok(())
}

fn summary() -> String {
    let toolchain = ebpf::find_toolchain().map_or_else(String::new, |toolchain| format!("{toolchain}, "));
    let linker = ebpf::find_linker().map_or_else(String::new, |linker| format!("{}, ", linker.display()));
    format!("{toolchain}{linker}a C++ compiler, the test peers, {BPFFS}")
}
