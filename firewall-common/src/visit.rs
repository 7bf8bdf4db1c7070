//! One packet's visit to the stages that need state: what they all need to know, gathered once.

use crate::{
    application::Sight,
    config::Config,
    env::{Arrival, Settings},
    event::NO_ZONE,
    flow::NO_SCALE,
    guard::Look,
    normalize::Edits,
    parse::Descriptor,
    quality::Numbers,
    time::Nanos,
};

/// The packet, where and when it came, and the settings it is judged under. Plain data without pointers, so that it may be handed to a
/// function that the kernel's verifier checks on its own.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Visit {
    pub descriptor: Descriptor,
    /// What stage *normalize* wants changed.
    pub edits: Edits,
    /// What stage *guard* has found out.
    pub guard: Look,
    /// What the packet tells of what its flow carries.
    pub sight: Sight,
    /// The segment was learned from, in an established flow; [`Self::numbers`] are what its record said before.
    pub learned: bool,
    /// The flow has been judged by the policy in force on this visit.
    pub revalidated: bool,
    /// The packet came in by a software device: a local stack may have left its checksum unfinished, and its data unsegmented.
    pub software: bool,
    /// Zone a first packet leaves by, once it is known.
    pub to_zone: u8,
    /// Why strict inspection would have dropped the packet that passes under bypass: the number of a [`Reason`](crate::reason::Reason), or
    /// 0. See [`crate::track::shadow`].
    pub needed: u8,
    /// Kinds of events, as bits, that the controller is told of this packet whether or not somebody listens.
    pub tell: u8,
    /// The packet was taken into an established flow's record, and passes: [`Self::numbers`] are what the record said before.
    pub observed: bool,
    pub arrival: Arrival,
    // A whole word first, for what is before it is cleared by whole words.
    pub now: Nanos,
    pub settings: Settings,
    /// Counts with [`Self::learned`] and [`Self::observed`]; otherwise an earlier packet's may lie here.
    pub numbers: Numbers,
}

impl Visit {
    /// A visit whose packet has yet to be described.
    #[inline(always)]
    #[must_use]
    pub const fn new(arrival: Arrival, settings: Settings, now: Nanos) -> Self {
        Self {
            descriptor: Descriptor::EMPTY,
            edits: Edits::NONE,
            guard: Look::NONE,
            sight: Sight::NOTHING,
            learned: false,
            revalidated: false,
            software: false,
            to_zone: NO_ZONE,
            needed: 0,
            tell: 0,
            observed: false,
            arrival,
            now,
            settings,
            numbers: Numbers::NONE,
        }
    }

    /// Words from the beginning on that [`Self::begin`] wants to be zero.
    pub const CLEARED: usize = core::mem::offset_of!(Visit, now) / size_of::<u64>();

    /// Makes of one that is [cleared](Self::CLEARED) what [`Self::new`] returns: that would first lie on a stack.
    #[inline(always)]
    pub const fn begin(&mut self, arrival: Arrival, settings: Settings, now: Nanos) {
        self.descriptor.segment.scale = NO_SCALE;
        self.to_zone = NO_ZONE;
        self.arrival = arrival;
        self.settings = settings;
        self.now = now;
    }

    /// Slot of the policy in force.
    #[inline(always)]
    #[must_use]
    pub fn slot(&self) -> u32 {
        Config::slot(self.settings.generation)
    }
}

/// Whole words, so that they can be cleared and copied word by word.
const _: () = assert!(size_of::<Visit>().is_multiple_of(size_of::<u64>()));
const _: () = assert!(Visit::CLEARED * size_of::<u64>() == core::mem::offset_of!(Visit, now));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visit_begins_as_a_new_one() {
        let arrival = Arrival { zone: 3, place: 2, egress: true };
        let settings = Settings { generation: 5, flags: 1, ..Settings::default() };
        let mut visit = Visit::new(Arrival::default(), Settings { event_kinds: 7, ..Settings::default() }, Nanos(1));
        // SAFETY: every field before the time may be zero, and they are as many words.
        unsafe { core::ptr::write_bytes(core::ptr::from_mut(&mut visit).cast::<u64>(), 0, Visit::CLEARED) };
        visit.begin(arrival, settings, Nanos(7));
        assert_eq!(format!("{visit:?}"), format!("{:?}", Visit::new(arrival, settings, Nanos(7))));
    }
}
