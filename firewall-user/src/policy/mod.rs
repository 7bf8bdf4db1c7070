//! The policy language: reading, checking, printing, comparing, lowering and editing.
//!
//! A policy is read whole or refused whole: every error that can be found is reported at once, with its place, and nothing of the policy
//! is used. What [`load()`] accepts, [`lower()`] can turn into the dataplane's tables unless the controller runs out of numbers. Nothing here
//! touches the kernel, and no input makes it panic.

pub(crate) mod address;
mod amend;
mod applications;
mod classes;
mod coverage;
pub(crate) mod definitions;
pub(crate) mod diagnostic;
pub mod diff;
mod document;
pub(crate) mod duration;
pub mod edit;
mod evaluate;
mod expand;
mod guards;
pub mod hours;
mod key;
mod knob;
pub mod limits;
mod load;
mod lower;
mod members;
mod normalizer;
mod pattern;
mod placement;
pub(crate) mod print;
mod rows;
mod rule;
mod schema;
pub(crate) mod selector;
pub(crate) mod service;
mod sets;
mod source;
mod tcp_option;
mod timeouts;
mod warnings;

use std::collections::{BTreeMap, BTreeSet};

use firewall_common::{application::Applications, hours::Week, normalize::Profile};

pub use address::Prefix;
pub use amend::{Amendment, Changed, LiveTables};
pub use definitions::{DEFAULT_ONE_SIDED_FLOWS, DEFAULT_REJECT_RATE, Defaults, DropOrPass};
pub use diagnostic::{Diagnostic, Diagnostics, MAX_SHOWN, Warning};
pub use evaluate::{Evaluator, FirstPacket};
pub use guards::Guards;
pub use knob::Setting;
pub use load::{MAX_RULES, load, load_sources, load_sources_at, load_sources_with, read_sources};
pub use lower::{Clock, LowerError, Lowered, Numbers, lower};
pub use members::{Members, NoMember, TooManyMembers, WrittenSet, read_members};
pub use normalizer::{Normalizer, built_in_normalizers};
pub use rows::MAX_CLASSES;
pub use rule::RuleInfo;
pub use schema::{as_json, schema};
pub use source::{Fingerprint, MAX_BYTES, MAX_FILES, Source, files_of, fingerprint, replace_source};

/// A policy that was read, resolved and checked.
#[derive(Clone, Debug)]
pub struct Policy {
    rules: Vec<RuleInfo>,
    defaults: Defaults,
    sets: BTreeMap<String, Vec<String>>,
    services: BTreeMap<String, Vec<String>>,
    /// Built-in profiles first, then the policy's by name.
    normalizers: Vec<Normalizer>,
    /// What is recognised.
    applications: Applications,
    /// What the enabled rules' profiles ask for, by number.
    profiles: Vec<Profile>,
    zones: BTreeSet<String>,
    /// The hours of the enabled rules, by number.
    schedules: Vec<Week>,
    /// The sets, as the files have them.
    written: BTreeMap<String, WrittenSet>,
    /// Where they lie for the dataplane.
    entries: Vec<expand::Entry>,
    /// The addresses that entries name, and the same with the members that are not written.
    lists: Vec<expand::List>,
    filled: Vec<address::AddressSet>,
    classes: classes::Classes,
}

impl Policy {
    /// The rules in order of evaluation, disabled ones included.
    #[must_use]
    pub fn rules(&self) -> &[RuleInfo] {
        &self.rules
    }

    /// Zones that enabled rules name, without `self` and `any`.
    #[must_use]
    pub fn zones(&self) -> BTreeSet<&str> {
        self.zones.iter().map(String::as_str).collect()
    }

    #[must_use]
    pub fn defaults(&self) -> &Defaults {
        &self.defaults
    }

    /// The normalizer profiles there are: the built-in ones, then the policy's by name.
    #[must_use]
    pub fn normalizers(&self) -> &[Normalizer] {
        &self.normalizers
    }

    /// What is recognised, and where.
    #[must_use]
    pub fn applications(&self) -> &Applications {
        &self.applications
    }

    /// The rule an entry of the lowered policy came from.
    #[must_use]
    pub fn rule_of_entry(&self, entry: usize) -> Option<&RuleInfo> {
        self.rules.get(self.entries.get(entry)?.rule)
    }

    /// Entries the policy takes, of [`firewall_common::rule::MAX_ENTRIES`].
    #[must_use]
    pub fn entry_count(&self) -> usize {
        self.entries.len()
    }
}
