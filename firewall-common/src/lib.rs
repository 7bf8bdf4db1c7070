//! Every decision of Weir's dataplane, without I/O and without maps. The same code runs in the kernel and on the host.
#![cfg_attr(not(test), no_std)]

pub mod abi;
pub mod config;
pub mod counter;
pub mod flow;
pub mod fragment;
pub mod reason;
pub mod rule;
pub mod seq;
pub mod time;
