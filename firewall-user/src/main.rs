//! `weir`: the firewall's controller and command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    firewall_user::cli::main()
}
