//! What tests, the benchmarks and the demo share: packets from named hosts ([`builder`]), a world in memory ([`world`]) with a policy in
//! its lowered form ([`tables`]), packet scripts as data ([`script`], [`play`]), the table of cases ([`cases`]), a model of two TCP
//! endpoints ([`endpoint`]), frames that are changed as they pass ([`frame`]), checksums ([`verify`]), normalizer profiles
//! ([`profiles`]), streams of mutated traffic ([`stream`]) and of fragments ([`train`]), a search through everything a short sequence of
//! packets can do ([`search`]), and what fuzz targets hold any bytes against ([`fuzz`]).
//!
//! Only for tests: a mistake in a script or a packet that cannot be built panics with what is wrong.

pub mod builder;
pub mod cases;
pub mod endpoint;
pub mod frame;
pub mod fuzz;
pub mod host;
pub mod play;
pub mod profiles;
pub mod script;
pub mod search;
pub mod stream;
pub mod tables;
pub mod train;
pub mod verify;
pub mod world;
