//! Builds the eBPF object and hands its path to the crate, which embeds it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
};

#[path = "../xtask/src/ebpf.rs"]
mod ebpf;

fn main() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace");
    for input in ["firewall-ebpf", "firewall-common", "xtask/src/ebpf.rs", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", workspace.join(input).display());
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    // …/target/<profile>/build/<package>/out: one directory for every profile, and not the one the outer cargo has locked.
    let target = out.ancestors().nth(4).expect("OUT_DIR lies four levels below the target directory").join("ebpf");
    match ebpf::build(workspace, &target, &[]) {
        Ok(object) => {
            fs::copy(&object, out.join(ebpf::OBJECT_NAME)).expect("the built object can be copied");
        }
        Err(message) => {
            println!("cargo::error={message}");
            process::exit(1);
        }
    }
}
