//! The command line: one verb per file. Every verb but `run`, `policy check`, `policy profiles PATH`, `policy import` and a `detach` without a daemon asks it.

mod advise;
mod attach;
mod bypass;
mod completions;
mod counters;
mod detach;
mod events;
mod flows;
mod guard;
mod import;
mod policy;
mod quality;
mod run;
mod set;
mod status;
mod trace;

use std::{future::Future, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{api::Failure, instance::Instance};

const AFTER_HELP: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong usage or a bad policy; of `weir policy diff` also 3: something differs.

Examples:
  weir policy check /etc/weir/policies
  weir run --interface outside=eth0 --policies /etc/weir/policies
  weir status --wait 10
  weir flows zone=outside state=established";

/// A stateful firewall in eBPF/XDP
#[derive(Debug, Parser)]
#[command(name = "weir", version, after_help = AFTER_HELP, disable_help_subcommand = true)]
pub struct Cli {
    /// Name of the instance; several may run in different network namespaces [default: default]
    #[arg(long, global = true, value_name = "NAME")]
    instance: Option<Instance>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(run::Arguments),
    Status(status::Arguments),
    Attach(attach::Arguments),
    Detach(detach::Arguments),
    Policy(policy::Arguments),
    Bypass(bypass::Arguments),
    Advise(advise::Arguments),
    Set(set::Arguments),
    Flows(flows::Arguments),
    Counters(counters::Arguments),
    Quality(quality::Arguments),
    Events(events::Arguments),
    Trace(trace::Arguments),
    Completions(completions::Arguments),
    /// Print the manual page
    #[command(hide = true)]
    Man,
}

/// Does what the command line says and tells how it went.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.dispatch() {
        Ok(code) => code,
        Err(error) => {
            let (text, code) = match error.downcast::<Failure>() {
                Ok(failure) => (describe(&failure), failure.kind.exit_code()),
                Err(error) if is_closed_pipe(&error) => return ExitCode::SUCCESS,
                Err(error) => (format!("error: {error:#}"), 1),
            };
            eprintln!("{text}");
            ExitCode::from(code)
        }
    }
}

/// A reader that has seen enough, as in `weir flows | head`, is no failure.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

fn describe(failure: &Failure) -> String {
    // A policy's errors begin with their file and stand for themselves.
    let error = if failure.kind == crate::api::Kind::Policy { failure.error.clone() } else { format!("error: {failure}") };
    match &failure.hint {
        Some(hint) => format!("{error}\n  hint: {hint}"),
        None => error,
    }
}

impl Cli {
    fn dispatch(self) -> anyhow::Result<ExitCode> {
        let instance = self.instance.clone().unwrap_or_default();
        match self.verb {
            Verb::Run(arguments) => arguments.execute(self.instance),
            Verb::Status(arguments) => arguments.execute(&instance),
            Verb::Attach(arguments) => arguments.execute(&instance),
            Verb::Detach(arguments) => arguments.execute(&instance),
            Verb::Policy(arguments) => return arguments.execute(&instance),
            Verb::Bypass(arguments) => arguments.execute(&instance),
            Verb::Advise(arguments) => arguments.execute(&instance),
            Verb::Set(arguments) => arguments.execute(&instance),
            Verb::Flows(arguments) => arguments.execute(&instance),
            Verb::Counters(arguments) => arguments.execute(&instance),
            Verb::Quality(arguments) => arguments.execute(&instance),
            Verb::Events(arguments) => arguments.execute(&instance),
            Verb::Trace(arguments) => return arguments.execute(&instance),
            Verb::Completions(arguments) => arguments.execute(),
            Verb::Man => completions::man(),
        }?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Runs one exchange with the daemon.
fn ask<T, E: Into<Failure>>(exchange: impl Future<Output = Result<T, E>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(exchange).map_err(|error| error.into().into())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn changes_of_policies_take_a_time_to_confirm() {
        assert!(Cli::try_parse_from(["weir", "policy", "apply", "p", "--confirm", "60", "--cut-session"]).is_ok());
        assert!(Cli::try_parse_from(["weir", "policy", "rollback", "3", "--confirm", "3600"]).is_ok());
        for seconds in ["0", "3601", "-1", "x", ""] {
            assert!(Cli::try_parse_from(["weir", "policy", "apply", "p", "--confirm", seconds]).is_err(), "{seconds:?}");
        }
        assert!(Cli::try_parse_from(["weir", "policy", "show", "3", "--hits"]).is_err(), "what a policy of the past did is not known");
    }

    #[test]
    fn flows_takes_filters_and_kill() {
        assert!(Cli::try_parse_from(["weir", "flows", "zone=outside", "port=443", "--json"]).is_ok());
        assert!(Cli::try_parse_from(["weir", "flows", "--quality", "rule=web", "--limit", "3"]).is_ok());
        assert!(Cli::try_parse_from(["weir", "quality", "--by", "rule", "--json"]).is_ok());
        assert!(Cli::try_parse_from(["weir", "quality", "--by", "zone"]).is_err());
        assert!(Cli::try_parse_from(["weir", "flows", "kill", "zone=outside"]).is_ok());
        assert!(Cli::try_parse_from(["weir", "flows", "kill"]).is_err(), "kill needs a filter or --all");
        assert!(Cli::try_parse_from(["weir", "flows", "kill", "a=b", "--all"]).is_err());
    }
}
