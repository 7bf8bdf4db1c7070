//! Keeps a package from starting its service: tests start the program themselves, in their own namespaces.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use crate::{command, undo};

/// What Debian's packages ask whether a service may start (invoke-rc.d(8)); exit code 101 forbids it.
const POLICY: &str = "/usr/sbin/policy-rc.d";
const FORBID: &str = "#!/bin/sh\nexit 101\n";

/// Packages with a service, and its names: those of systemd's unit and of the start script.
const SERVICES: [(&str, &[&str]); 2] = [("ocserv", &["ocserv"]), ("strongswan-charon", &["strongswan-starter", "ipsec"])];

/// From now until the guard is dropped no service of these packages starts, and none will start with the machine. The packages were not
/// installed before, so nobody else runs them.
pub(super) fn keep_down(packages: &[&str]) -> Result<Option<undo::Guard>> {
    let services: Vec<&str> =
        SERVICES.iter().filter(|(package, _)| packages.contains(package)).flat_map(|(_, names)| *names).copied().collect();
    if services.is_empty() {
        return Ok(None);
    }
    let ours = match OpenOptions::new().write(true).create_new(true).mode(0o755).open(POLICY) {
        Ok(mut file) => file.write_all(FORBID.as_bytes()).map(|()| true),
        // The machine has a policy of its own, and it stays in force.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    };
    let ours = ours.with_context(|| format!("cannot write {POLICY}"))?;
    Ok(Some(undo::Guard::new(move || {
        if ours && let Err(error) = fs::remove_file(POLICY) {
            eprintln!("warning: cannot remove {POLICY}: {error}");
        }
        services.iter().for_each(|service| disable(service));
    })))
}

/// Ends a service that a policy of the machine's own has let start, and keeps it from starting with the machine. Each name is known to
/// systemd or to the start scripts, and none may be there: what fails here was not to be done.
fn disable(service: &str) {
    let quietly = |program: &str, words: &[&str]| {
        if command::installed(program) {
            let _ = Command::new(program).args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    };
    quietly("systemctl", &["disable", "--now", service]);
    quietly("update-rc.d", &[service, "disable"]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_without_a_service_need_no_guard() {
        assert!(keep_down(&["tshark", "openconnect"]).expect("nothing is written").is_none());
    }
}
