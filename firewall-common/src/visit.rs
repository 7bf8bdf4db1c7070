//! One packet's visit to the stages that need state: what they all need to know, gathered once.

use crate::{
    config::Config,
    env::{Arrival, Settings},
    normalize::Edits,
    parse::Descriptor,
    time::Nanos,
};

/// The packet, where and when it came, and the settings it is judged under. Plain data without pointers, so that it may be handed to a
/// function that the kernel's verifier checks on its own.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Visit {
    pub descriptor: Descriptor,
    pub arrival: Arrival,
    pub settings: Settings,
    pub now: Nanos,
    /// The flow has been judged by the policy in force on this visit.
    pub revalidated: bool,
    /// The packet came in by a software device: a local stack may have left its checksum unfinished, and its data unsegmented.
    pub software: bool,
    /// What stage *normalize* wants changed.
    pub edits: Edits,
}

impl Visit {
    /// A visit whose packet has yet to be described.
    #[inline(always)]
    #[must_use]
    pub const fn new(arrival: Arrival, settings: Settings, now: Nanos) -> Self {
        Self { descriptor: Descriptor::EMPTY, arrival, settings, now, revalidated: false, software: false, edits: Edits::NONE }
    }

    /// Slot of the policy in force.
    #[inline(always)]
    #[must_use]
    pub fn slot(&self) -> u32 {
        Config::slot(self.settings.generation)
    }
}
