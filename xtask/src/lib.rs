//! Developer verbs of Weir and what they are made of: the eBPF build step, namespaces, traffic.
//!
//! xtask compiles without the eBPF toolchain, which its first verb installs: it never depends on the crates that need one.

pub mod bench;
pub mod build;
pub mod chart;
pub mod codegen;
pub mod command;
pub mod ctcp;
pub mod demo;
pub mod ebpf;
pub mod fuzz;
pub mod mixed;
pub mod netns;
pub mod pattern;
pub mod progress;
pub mod report;
pub mod scratch;
pub mod setup;
pub mod soak;
pub mod tcp;
pub mod test;
pub mod traffic;
pub mod undo;
pub mod vm;
pub mod weir;
