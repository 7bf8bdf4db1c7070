//! One packet's visit to the stages that need state: what they all need to know, gathered once.

use crate::{
    config::Config,
    env::{Arrival, Settings},
    event::NO_ZONE,
    flow::NO_SCALE,
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
    /// Zone a first packet leaves by, once it is known.
    pub to_zone: u8,
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
        Self {
            descriptor: Descriptor::EMPTY,
            arrival,
            settings,
            now,
            revalidated: false,
            to_zone: NO_ZONE,
            software: false,
            edits: Edits::NONE,
        }
    }

    /// Makes of a cleared descriptor, and of anything else, what [`Self::new`] returns: that would first lie on a stack.
    #[inline(always)]
    pub const fn begin(&mut self, arrival: Arrival, settings: Settings, now: Nanos) {
        self.descriptor.segment.scale = NO_SCALE;
        self.revalidated = false;
        self.software = false;
        self.arrival = arrival;
        self.settings = settings;
        self.now = now;
        self.to_zone = NO_ZONE;
        self.edits = Edits::NONE;
    }

    /// Slot of the policy in force.
    #[inline(always)]
    #[must_use]
    pub fn slot(&self) -> u32 {
        Config::slot(self.settings.generation)
    }
}

// It is copied word by word.
const _: () = assert!(size_of::<Visit>().is_multiple_of(size_of::<u64>()));

/// Whole words, so that they can be cleared and copied word by word, the descriptor first.
const _: () = assert!(size_of::<Visit>().is_multiple_of(size_of::<u64>()));
const _: () = assert!(size_of::<Descriptor>().is_multiple_of(size_of::<u64>()) && core::mem::offset_of!(Visit, descriptor) == 0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visit_begins_as_a_new_one() {
        let arrival = Arrival { zone: 3, place: 2, egress: true };
        let settings = Settings { generation: 5, flags: 1, ..Settings::default() };
        let mut visit = Visit::new(Arrival::default(), Settings { event_kinds: 7, ..Settings::default() }, Nanos(1));
        (visit.descriptor.segment.scale, visit.revalidated, visit.software, visit.to_zone, visit.edits.changes) = (0, true, true, 4, 0x3f);
        visit.begin(arrival, settings, Nanos(7));
        assert_eq!(format!("{visit:?}"), format!("{:?}", Visit::new(arrival, settings, Nanos(7))));
    }
}
