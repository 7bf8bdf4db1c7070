//! The pipeline on the host: a world in memory ([`world`]) with a policy in its lowered form ([`tables`]), and frames that are changed as
//! they pass ([`frame`]). Every decision is the pipeline's own; only tables, clock and counters are others than the kernel's.
//!
//! `weir trace` explains packets with it, and the tests hold it against the kernel.

pub mod frame;
pub mod tables;
pub mod world;
