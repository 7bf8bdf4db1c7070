//! `cargo xtask VERB`: parses and dispatches. Each verb has a file of its own.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::{bench, build, codegen, ctcp, demo, fuzz, setup, soak, tcp, test};

/// Developer verbs of Weir.
#[derive(Debug, Parser)]
#[command(name = "cargo-xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
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
    /// Show, in network namespaces, what packet loss does to IPsec over TCP and what Weir does about it.
    Demo(demo::Arguments),
    /// Measure what a packet costs, as ratios to floors of the same run.
    Bench(bench::Arguments),
    /// Let real TCP stacks talk through Weir for minutes, over bad paths too: not one packet of theirs may be dropped.
    Soak(soak::Arguments),
    /// Write the parts of the documents that are made from the code.
    Codegen(codegen::Arguments),
    /// Run the tests, all of them or those of some levels.
    Test(test::Arguments),
    /// Look for inputs that break a property of the dataplane, by random bytes that learn from what they reach.
    Fuzz(fuzz::Arguments),
    /// One end-to-end scenario of the tests.
    #[command(hide = true)]
    Scenario(test::ScenarioArguments),
    /// One endpoint of an IPsec-over-TCP pair, inside a namespace.
    #[command(hide = true)]
    CtcpEndpoint(ctcp::endpoint::Arguments),
    /// Forged segments of such a pair, inside a namespace.
    #[command(hide = true)]
    CtcpInject(ctcp::inject::Arguments),
    /// One endpoint of a TCP transfer, inside a namespace.
    #[command(hide = true)]
    TcpEndpoint(tcp::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().verb {
        Verb::Setup(arguments) => setup::run(&arguments),
        Verb::Build(arguments) => build::run(&arguments),
        Verb::Demo(arguments) => demo::run(&arguments),
        Verb::Bench(arguments) => bench::run(&arguments),
        Verb::Codegen(arguments) => codegen::run(&arguments),
        Verb::Soak(arguments) => soak::run(&arguments),
        Verb::Test(arguments) => test::run(&arguments),
        Verb::Fuzz(arguments) => fuzz::run(&arguments),
        Verb::Scenario(arguments) => test::run_scenario(&arguments),
        Verb::CtcpEndpoint(arguments) => ctcp::endpoint::run(&arguments).map(|()| ExitCode::SUCCESS),
        Verb::CtcpInject(arguments) => ctcp::inject::run(&arguments).map(|()| ExitCode::SUCCESS),
        Verb::TcpEndpoint(arguments) => tcp::run(&arguments).map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
