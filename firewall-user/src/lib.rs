//! The parts of `weir`, for the binary and for tests.

pub mod advise;
pub mod api;
pub mod cli;
pub mod client;
pub mod clock;
pub mod controller;
pub mod dataplane;
pub mod event_filter;
pub mod files;
pub mod filter;
pub mod group;
pub mod hex;
pub mod import;
pub mod instance;
pub mod netns;
pub mod output;
pub mod policy;
pub mod protocol;
pub mod session;
pub mod settings;
pub mod trace;
pub mod user;
pub mod zone;
