//! Stage *normalize*: what a rule's normalizer profile refuses or changes in a segment, beside what the state machine says.
//!
//! A profile is named by a rule. [`Rule::checks`](crate::rule::Rule::checks) repeats its [`checks`], so that a packet whose flow asks for
//! nothing more than the default needs no further lookup; the rest of it is in the table of profiles.

pub mod profile;

pub use profile::{OptionSet, Profile, checks};
