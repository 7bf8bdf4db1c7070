//! What the fuzz targets of `firewall-common/fuzz` hold any bytes against, one function each, so that a test can replay their corpus
//! without a fuzzer. A property that does not hold panics.

pub mod options;
pub mod parser;
pub mod seeds;
pub mod streams;

/// A target: its name, which is that of its binary and of its directory of seeds, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 3] = [("parser", parser::judge), ("options", options::compare), ("streams", streams::play)];
