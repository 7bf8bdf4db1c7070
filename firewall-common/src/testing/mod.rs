//! What tests, the benchmarks and the demo share beside the [world in memory](crate::memory): packets from named hosts ([`builder`]),
//! packet scripts as data ([`script`], [`play`]), the table of cases ([`cases`]), a model of two TCP endpoints ([`endpoint`]), checksums
//! ([`verify`]), normalizer profiles ([`profiles`]), streams of mutated traffic ([`stream`]) and of fragments ([`train`]), a search through
//! everything a short sequence of packets can do ([`search`]), and what fuzz targets hold any bytes against ([`fuzz`]).
//!
//! Only for tests: a mistake in a script or a packet that cannot be built panics with what is wrong.

pub mod builder;
pub mod cases;
pub mod ctcp;
pub mod endpoint;
pub mod fuzz;
pub mod host;
pub mod play;
pub mod profiles;
pub mod script;
pub mod search;
pub mod stream;
pub mod train;
pub mod verify;

pub use crate::memory::{frame, tables, world};
