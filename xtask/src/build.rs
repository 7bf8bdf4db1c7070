//! `cargo xtask build`: the `weir` binary, its dataplane inside.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::setup::{self, Need};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Optimize: what a release ships and what figures are measured with.
    #[arg(long)]
    release: bool,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    setup::ensure(Need::Build)?;
    println!("{}", weir(arguments.release)?.display());
    Ok(ExitCode::SUCCESS)
}

/// Directory of the workspace's `Cargo.toml`.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Builds `weir` and returns its path. [`setup::ensure`] comes first.
pub fn weir(release: bool) -> Result<PathBuf> {
    weir_with(release.then_some("--release").as_slice())
}

/// Builds the `weir` that the tests of the command line run: with them, for alone its libraries would have fewer features, and each of them be
/// built a second time.
pub fn weir_of_tests() -> Result<PathBuf> {
    weir_with(&["--test", "cli"])
}

fn weir_with(more: &[&str]) -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(workspace())
        .args(["build", "--package", "firewall-user", "--bin", "weir", "--message-format", "json-render-diagnostics"])
        .args(more)
        .stderr(Stdio::inherit());
    let output = command.output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("building weir failed ({}); the compiler's messages are above", output.status);
    }
    executable(&String::from_utf8_lossy(&output.stdout)).context("cargo built weir but named no executable")
}

/// The path of the executable `weir` in cargo's messages, one JSON object per line.
fn executable(messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact" && message["target"]["name"] == "weir")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_found_among_other_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"firewall_common"},"executable":null}
not json
{"reason":"compiler-artifact","target":{"name":"weir"},"executable":"/t/release/weir"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages), Some(PathBuf::from("/t/release/weir")));
        assert_eq!(executable(r#"{"reason":"build-finished","success":true}"#), None);
    }
}
