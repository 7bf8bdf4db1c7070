//! The parts of `weir`, for the binary and for tests.

pub mod policy;
