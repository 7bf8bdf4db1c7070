//! Developer verbs: `cargo xtask VERB`. This file parses and dispatches, each verb has a file of its own.
//!
//! xtask compiles without the eBPF toolchain, which its first verb installs: it never depends on the crates that need one.

pub mod build;
pub mod command;
pub mod ebpf;
pub mod progress;
pub mod setup;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Developer verbs of Weir.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Install what building and testing need; does nothing when all of it is there.
    Setup(setup::Arguments),
    /// Build `weir` with its dataplane inside.
    Build(build::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().verb {
        Verb::Setup(arguments) => setup::run(&arguments),
        Verb::Build(arguments) => build::run(&arguments),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
