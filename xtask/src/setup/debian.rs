//! Installs with apt: one `apt-get update` and one `apt-get install`, and only of what dpkg does not have.

use std::{collections::BTreeSet, process::Command};

use anyhow::Result;

use super::{inspect::Missing, services};
use crate::{command, progress::Step};

/// Where `llvm-22-dev` puts LLVM.
pub(super) const LLVM: &str = "/usr/lib/llvm-22";

const COMPILER: [&str; 4] = ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf", "rust-web-clippy"];
const LINKER: [&str; 2] = ["llvm-22-dev", "libzstd-dev"];

/// Installs the packages for what is missing. Returns those the package sources do not know; all others are installed then.
pub(super) fn install(missing: &Missing) -> Result<Vec<String>> {
    let wanted = lacking(&packages(missing), &dpkg_status(&packages(missing)));
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let step = Step::start("update the package lists");
    command::watch(apt_get().arg("update"), |line| step.say(line))?;
    step.done("");

    let policy = command::output(Command::new("apt-cache").arg("policy").args(&wanted).env("LC_ALL", "C"))?;
    let known = candidates(&policy);
    let (known, unknown): (Vec<&str>, Vec<&str>) = wanted.into_iter().partition(|package| known.contains(package));
    if !known.is_empty() {
        let step = Step::start(format!("install {}", known.join(" ")));
        let _quiet = services::keep_down(&known)?;
        command::watch(apt_get().args(["install", "--yes", "--no-install-recommends"]).args(&known), |line| step.say(line))?;
        step.done("");
    }
    Ok(unknown.into_iter().map(str::to_owned).collect())
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    // Another apt (unattended upgrades) may hold the lock for a while; tshark's package asks a question unless told not to.
    command.args(["-o", "DPkg::Lock::Timeout=120", "-o", "Acquire::Retries=3"]).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn packages(missing: &Missing) -> Vec<&'static str> {
    let mut packages = Vec::new();
    if missing.needs_debian_toolchain() {
        packages.extend(COMPILER);
    }
    if missing.linker {
        packages.extend(LINKER);
    }
    packages.extend(missing.cplusplus.then_some("g++"));
    packages.extend(missing.peers.iter().map(|peer| peer.package));
    packages
}

/// dpkg's word on these packages. It exits 1 when it has never heard of one of them, which is an answer as well.
fn dpkg_status(packages: &[&str]) -> String {
    let output = Command::new("dpkg-query").args(["--show", "--showformat", "${Package} ${db:Status-Status}\\n"]).args(packages).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

/// The packages that are not installed, from lines `PACKAGE STATUS`.
fn lacking<'a>(packages: &[&'a str], status: &str) -> Vec<&'a str> {
    let installed: BTreeSet<&str> = status.lines().filter_map(|line| line.strip_suffix(" installed")).collect();
    packages.iter().copied().filter(|package| !installed.contains(package)).collect()
}

/// The packages `apt-cache policy` offers a version of.
fn candidates(policy: &str) -> BTreeSet<&str> {
    let mut package = None;
    let mut known = BTreeSet::new();
    for line in policy.lines() {
        if !line.starts_with(' ') {
            package = line.strip_suffix(':');
        } else if let (Some(name), Some(version)) = (package, line.trim().strip_prefix("Candidate: "))
            && version != "(none)"
        {
            known.insert(name);
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_packages_dpkg_does_not_have_are_wanted() {
        let status = "rustc-web installed\ncargo-web config-files\nllvm-22-dev not-installed\n";
        assert_eq!(lacking(&["rustc-web", "cargo-web", "llvm-22-dev", "libzstd-dev"], status), ["cargo-web", "llvm-22-dev", "libzstd-dev"]);
    }

    #[test]
    fn a_package_without_a_candidate_is_unknown() {
        let policy = "rustc-web:\n  Installed: (none)\n  Candidate: 1.96.0+dfsg1-1~deb12u2\n  Version table:\n     1.96.0 500\n\
                      removed:\n  Installed: (none)\n  Candidate: (none)\n  Version table:\n";
        assert_eq!(candidates(policy), BTreeSet::from(["rustc-web"]));
        assert_eq!(candidates("N: Unable to locate package nowhere\n"), BTreeSet::new());
    }

    #[test]
    fn the_plan_follows_what_is_missing() {
        assert_eq!(packages(&Missing::default()), <[&str; 0]>::default());
        let linker = Missing { linker: true, ..Missing::default() };
        assert_eq!(packages(&linker), LINKER);
        assert_eq!(packages(&Missing { cplusplus: true, ..Missing::default() }), ["g++"]);
        assert_eq!(packages(&Missing { nightly: true, ..linker }), [&COMPILER[..], &LINKER[..]].concat());
    }
}
