//! What tests, the benchmarks and the demo share: packets from named hosts ([`builder`]), a world in memory ([`world`]) with a policy in
//! its lowered form ([`tables`]), packet scripts as data ([`script`], [`play`]), the table of cases ([`cases`]), a model of two TCP
//! endpoints ([`endpoint`]), frames that are changed as they pass ([`frame`]), checksums ([`verify`]),
//! normalizer profiles ([`profiles`]) and streams of mutated traffic ([`stream`]).
//!
//! Only for tests: a mistake in a script or a packet that cannot be built panics with what is wrong.

pub mod builder;
pub mod cases;
pub mod endpoint;
pub mod frame;
pub mod host;
pub mod play;
pub mod profiles;
pub mod script;
pub mod stream;
pub mod tables;
pub mod train;
pub mod verify;
pub mod world;
