//! Every decision of Weir's dataplane, without I/O and without maps. The same code runs in the kernel and on the host.
//!
//! The packet's path is [`pipeline`]; its stages are the modules [`parse`], [`fragment`], [`sanity`], [`relate`], [`classify`],
//! [`admit`] (with [`limit`]), [`track`], [`normalize`] and [`account`], in this order; [`event`] tells those who listen, and [`quality`] where packets are lost. Two traits are the seam to the
//! world: [`packet::Packet`] (bytes) and [`env::Env`]
//! (tables, clock, policy, counters). Types shared with userspace are in [`flow`], [`rule`], [`config`], [`counter`] and
//! [`reason`].
//!
//! Invariants: nothing here does I/O or touches a map; only [`reason`] names a drop; only [`verifier`] differs between kernel and
//! host; nothing panics, whatever the bytes.
#![cfg_attr(not(any(test, feature = "memory")), no_std)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod abi;
pub mod account;
pub mod admit;
pub mod answer;
pub mod application;
pub mod classify;
pub mod config;
pub mod counter;
pub mod env;
pub mod event;
pub mod evidence;
pub mod flow;
pub mod fragment;
pub mod guard;
pub mod hours;
pub mod limit;
#[cfg(feature = "memory")]
pub mod memory;
pub mod neighbour;
pub mod normalize;
pub mod packet;
pub mod parse;
pub mod pipeline;
pub mod quality;
pub mod reason;
pub mod relate;
pub mod rule;
pub mod sanity;
pub mod seq;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
#[cfg(feature = "memory")]
pub mod trace;
pub mod track;
pub mod verdict;
pub mod verifier;
pub mod visit;
pub mod wire;
