//! What is there and what is missing. Looks only: no network, no change.

use std::{fmt::Write, process::Command};

use super::Need;
use crate::{command, ebpf};

/// Where pinned maps, links and programs live.
pub(super) const BPFFS: &str = "/sys/fs/bpf";

/// A program that tests and the demo run, and Debian's package for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) program: &'static str,
    pub(super) package: &'static str,
}

const PEERS: [Peer; 6] = [
    Peer { program: "nft", package: "nftables" },
    Peer { program: "ip", package: "iproute2" },
    Peer { program: "ethtool", package: "ethtool" },
    Peer { program: "iperf3", package: "iperf3" },
    Peer { program: "tcpdump", package: "tcpdump" },
    Peer { program: "tshark", package: "tshark" },
];

/// What boots the virtual machine with the oldest kernel.
const MACHINE: [Peer; 3] = [
    Peer { program: "qemu-system-x86_64", package: "qemu-system-x86" },
    Peer { program: "busybox", package: "busybox-static" },
    Peer { program: "cpio", package: "cpio" },
];

/// What the level `peers` puts at both ends. What is on nobody's PATH has its whole path here.
const REAL_PEERS: [Peer; 6] = [
    Peer { program: "/usr/lib/ipsec/charon", package: "strongswan-charon" },
    Peer { program: "/usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so", package: "libcharon-extra-plugins" },
    Peer { program: "swanctl", package: "strongswan-swanctl" },
    Peer { program: "pki", package: "strongswan-pki" },
    Peer { program: "ocserv", package: "ocserv" },
    Peer { program: "openconnect", package: "openconnect" },
];

/// What is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Missing {
    /// A Rust compiler for BPF.
    pub(super) compiler: bool,
    /// A `bpf-linker` that runs.
    pub(super) linker: bool,
    /// The compiler at hand is nightly, whose LLVM need not be the one our linker is built with.
    pub(super) nightly: bool,
    /// A compiler for C++.
    pub(super) cplusplus: bool,
    pub(super) peers: Vec<Peer>,
    pub(super) bpffs: bool,
}

impl Missing {
    pub(super) fn look(need: Need) -> Self {
        let mut missing = Self::default();
        if matches!(need, Need::Fuzz | Need::Run) {
            // `CXX` names another one.
            missing.cplusplus = std::env::var_os("CXX").is_none() && !command::installed("c++") && !command::installed("g++");
        }
        if matches!(need, Need::Build | Need::Run) {
            let toolchain = ebpf::find_toolchain();
            missing.compiler = toolchain.is_none();
            missing.linker = !linker_runs();
            missing.nightly = toolchain == Some(ebpf::Toolchain::Nightly);
        }
        if need == Need::Run {
            missing.peers.extend(MACHINE.into_iter().filter(|peer| !command::installed(peer.program)));
        }
        if need == Need::RealPeers {
            missing.peers.extend(REAL_PEERS.into_iter().filter(|peer| !command::installed(peer.program)));
        }
        if matches!(need, Need::Peers | Need::Run) {
            missing.peers.extend(PEERS.into_iter().filter(|peer| !command::installed(peer.program)));
            missing.bpffs = !bpffs_mounted(&std::fs::read_to_string("/proc/self/mounts").unwrap_or_default());
        }
        missing
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.compiler && !self.linker && !self.cplusplus && self.peers.is_empty() && !self.bpffs
    }

    /// Compiler and linker share an LLVM: a linker built from Debian's needs Debian's compiler.
    pub(super) fn needs_debian_toolchain(&self) -> bool {
        self.compiler || (self.linker && self.nightly)
    }

    /// What a person has to do about it, on any system: one paragraph per item.
    pub(super) fn advice(&self) -> String {
        let mut text = String::new();
        let mut item = |what: &str, how: &str| {
            let _ = writeln!(text, "  {what}\n      {how}");
        };
        if self.compiler {
            item("a Rust compiler for BPF", "rustup toolchain install nightly --component rust-src");
        }
        if self.linker {
            item("bpf-linker (its LLVM must not be older than the compiler's)", "cargo install bpf-linker");
        }
        if self.cplusplus {
            item("a C++ compiler (or its name in `CXX`)", "package `g++` on Debian, `gcc-c++` or `gcc` elsewhere");
        }
        for peer in &self.peers {
            item(peer.program, &format!("package `{}` on Debian, of the same or a similar name elsewhere", peer.package));
        }
        if self.bpffs {
            item(&format!("the BPF file system at {BPFFS}"), &format!("mount -t bpf bpf {BPFFS}"));
        }
        text.truncate(text.trim_end().len());
        text
    }
}

/// A linker whose LLVM library has gone is as good as none.
fn linker_runs() -> bool {
    ebpf::find_linker().is_some_and(|linker| Command::new(linker).arg("--version").output().is_ok_and(|output| output.status.success()))
}

/// Whether a mount table (`/proc/self/mounts`) has a BPF file system at [`BPFFS`]. The last mount at a place is the visible one.
fn bpffs_mounted(mounts: &str) -> bool {
    let mut at_place = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        (fields.next()? == BPFFS).then(|| fields.next())?
    });
    at_place.next_back() == Some("bpf")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_table_tells_whether_bpffs_is_mounted() {
        let sys = "sysfs /sys sysfs rw,nosuid 0 0\n";
        let bpf = "bpf /sys/fs/bpf bpf rw,nosuid,nodev,noexec,relatime,mode=700 0 0\n";
        let hidden = "tmpfs /sys/fs/bpf tmpfs rw 0 0\n";
        assert!(bpffs_mounted(&format!("{sys}{bpf}")));
        assert!(!bpffs_mounted(sys));
        assert!(!bpffs_mounted("bpf /elsewhere bpf rw 0 0\n"));
        assert!(!bpffs_mounted(&format!("{bpf}{hidden}")), "a later mount covers an earlier one");
        assert!(!bpffs_mounted("garbage\n\n"));
    }

    #[test]
    fn advice_names_a_command_for_every_missing_item() {
        let missing = Missing { compiler: true, linker: true, nightly: false, cplusplus: true, peers: vec![PEERS[0]], bpffs: true };
        let advice = missing.advice();
        for command in [
            "rustup toolchain install nightly --component rust-src",
            "cargo install bpf-linker",
            "package `nftables`",
            "package `g++`",
            "mount -t bpf bpf /sys/fs/bpf",
        ] {
            assert!(advice.contains(command), "{command} is not in:\n{advice}");
        }
        assert!(!Missing { linker: true, ..Missing::default() }.advice().contains("nightly"));
    }

    #[test]
    fn a_linker_built_from_debian_brings_debians_compiler() {
        let linker = Missing { linker: true, ..Missing::default() };
        assert!(!linker.needs_debian_toolchain(), "the compiler at hand is Debian's already");
        assert!(Missing { nightly: true, ..linker }.needs_debian_toolchain());
        assert!(Missing { compiler: true, ..Missing::default() }.needs_debian_toolchain());
    }
}
