//! The one build step of the eBPF object, shared by xtask and by firewall-user's build script (which includes this file, so it uses
//! the standard library alone).
//!
//! The object is built for BPF ISA v3: compare-and-swap and fetch-and-add with a result do not link below it. `aya-build` cannot set
//! the CPU, hence our own step.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    process::Command,
};

/// File name of the built object, without a directory.
pub const OBJECT_NAME: &str = "weir-dataplane";

/// The BPF target triple of this machine's byte order.
const TARGET: &str = if cfg!(target_endian = "big") { "bpfeb-unknown-none" } else { "bpfel-unknown-none" };

/// A compiler that can build for BPF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Toolchain {
    /// A toolchain that ships a prebuilt `core` for BPF, linked in rustup as `debian-bpf`.
    DebianBpf,
    /// The same packages on a machine without rustup: `/usr/bin/cargo` itself.
    System,
    /// rustup's nightly with `rust-src`: builds `core` itself.
    Nightly,
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DebianBpf => "rustup toolchain `debian-bpf` (Debian's rustc-web)",
            Self::System => "the system's cargo (Debian's rustc-web)",
            Self::Nightly => "rustup's nightly with rust-src",
        })
    }
}

/// The first usable compiler, or `None`.
#[must_use]
pub fn find_toolchain() -> Option<Toolchain> {
    [Toolchain::DebianBpf, Toolchain::Nightly, Toolchain::System].into_iter().find(usable)
}

fn usable(toolchain: &Toolchain) -> bool {
    let mut rustc = match toolchain {
        Toolchain::DebianBpf => rustup_run("debian-bpf", "rustc"),
        Toolchain::Nightly => rustup_run("nightly", "rustc"),
        Toolchain::System => Command::new("/usr/bin/rustc"),
    };
    let Ok(output) = rustc.args(["--print", "sysroot"]).output() else { return false };
    if !output.status.success() {
        return false;
    }
    let sysroot = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    match toolchain {
        Toolchain::Nightly => sysroot.join("lib/rustlib/src/rust/library/core").is_dir(),
        Toolchain::DebianBpf | Toolchain::System => sysroot.join("lib/rustlib").join(TARGET).join("lib").is_dir(),
    }
}

fn rustup_run(toolchain: &str, program: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", toolchain, program]);
    command
}

/// Where `bpf-linker` is: on PATH, or where `cargo install` puts it.
#[must_use]
pub fn find_linker() -> Option<PathBuf> {
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    let installed = [cargo_home, home].into_iter().flatten().map(|directory| directory.join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).chain(installed).map(|directory| directory.join("bpf-linker")).find(|file| file.is_file())
}

/// Builds the object below `target_directory` and returns its path.
///
/// `features` are those of `firewall-ebpf`. `target_directory` must not be the one of a cargo that waits for this call.
///
/// # Errors
/// A sentence for a person: what is missing (with the command that installs it), or that the compiler failed.
pub fn build(workspace: &Path, target_directory: &Path, features: &[&str]) -> Result<PathBuf, String> {
    let mut command = cargo(workspace, &["build"], target_directory, features)?;
    let status = command.status().map_err(|error| format!("cannot start the compiler: {error}"))?;
    if !status.success() {
        return Err(format!("building the eBPF object failed ({status}); the compiler's messages are above"));
    }
    Ok(target_directory.join(TARGET).join("bpf").join(OBJECT_NAME))
}

/// A cargo verb (`build`, `clippy`) on the eBPF crate, ready to run.
///
/// # Errors
/// A sentence for a person: what is missing, with the command that installs it.
pub fn cargo(workspace: &Path, verb: &[&str], target_directory: &Path, features: &[&str]) -> Result<Command, String> {
    let toolchain =
        find_toolchain().ok_or("no Rust compiler for BPF found: run `cargo xtask setup`, which installs one or says what to install")?;
    let linker = find_linker().ok_or("bpf-linker not found: run `cargo xtask setup`, which installs it")?;

    let mut command = match toolchain {
        Toolchain::DebianBpf => rustup_run("debian-bpf", "cargo"),
        Toolchain::Nightly => rustup_run("nightly", "cargo"),
        Toolchain::System => Command::new("/usr/bin/cargo"),
    };
    // What an outer cargo put into the environment is about the host build: none of it may reach this one.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let keep = matches!(name.as_str(), "CARGO_HOME" | "CARGO_NET_OFFLINE" | "CARGO_HTTP_CAINFO");
        let outer = name.starts_with("CARGO") || name.starts_with("RUSTC") || name.starts_with("RUSTUP_TOOLCHAIN") || name == "RUSTFLAGS";
        if outer && !keep {
            command.env_remove(&name);
        }
    }
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_else(|_| env::consts::ARCH.to_owned());
    let flags = [
        format!("--cfg=bpf_target_arch=\"{arch}\""),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        "-Ctarget-cpu=v3".to_owned(),
        format!("-Clinker={}", linker.display()),
    ];
    command
        .current_dir(workspace)
        .args(verb)
        .args(["--package", "firewall-ebpf", "--profile", "bpf", "--target", TARGET, "--target-dir"])
        .arg(target_directory)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        // aya-ebpf and our own crates enable unstable features of this target.
        .env("RUSTC_BOOTSTRAP", "aya_ebpf,firewall_common,weir_dataplane");
    if toolchain == Toolchain::Nightly {
        command.args(["-Z", "build-std=core"]);
    }
    if !features.is_empty() {
        command.args(["--features", &features.join(",")]);
    }
    Ok(command)
}
