//! Stage *normalize*: what a rule's normalizer profile refuses or changes in a segment, beside what the state machine says.
//!
//! A profile is named by a rule. [`Rule::checks`](crate::rule::Rule::checks) repeats its [`checks`], so that a packet whose flow asks for
//! nothing more than the default needs no further lookup; the rest of it is in the table of profiles.
//!
//! The stage has four moments:
//!
//! | moment | where | what |
//! |---|---|---|
//! | before tracking | [`check`] | refuses what needs no more than a look at the record, and notes what is to be changed |
//! | while tracking | [`record`] | refuses what the record's numbers tell, under its lock |
//! | after tracking | [`history`], [`retransmission`] | remembers what passed, for profiles that need more memory than the record has |
//! | at the end | [`edit`], [`quote_edit`] | changes the packet that passes, or the one an ICMP error quotes, and mends its checksums |
//!
//! A segment that is refused leaves no trace. The one exception is meant: taking back window closes the connection.

pub mod check;
pub mod checksum;
pub mod edit;
pub mod history;
pub mod profile;
pub mod quote_edit;
pub mod randomize;
pub mod record;
pub mod retransmission;

use crate::{application, env::Env, flow::features, parse::Kind, rule::Rule, visit::Visit, wire::tcp::flags};

pub use profile::{OptionSet, Profile, checks};

/// Checks that only the record can tell, see [`record`]: before tracking they ask for nothing.
const BY_RECORD: u32 = checks::EXCEED_MSS
    | checks::INVALID_ACK_ALLOW
    | checks::OUT_OF_ORDER
    | checks::PAST_WINDOW_ALLOW
    | checks::WINDOW_VARIATION
    | checks::MD5
    | checks::SACK;

/// Checks that remember more of a flow than its record holds. They begin with its first packet in the table of established flows: a flood of
/// first packets has no memory here.
pub const WITH_MEMORY: u32 = checks::TTL_EVASION | checks::TIMESTAMPS | checks::RETRANSMISSION;

/// What the stage has found out about a packet, and what is to be done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Edits {
    /// The [`checks`] that apply to the packet.
    pub checks: u32,
    /// [`changes`].
    pub changes: u8,
    /// Hop limit the packet leaves with; with [`changes::HOP_LIMIT`].
    pub hop_limit: u8,
    /// The stage has had its look at the packet, see [`asks`].
    pub looked: bool,
    /// Data's digest lies in [`Room::digest`], to be remembered when the packet passes.
    pub digested: bool,
    /// Added to the sequence number.
    pub seq: u32,
    /// Subtracted from the acknowledgement and the edges of selective ones.
    pub ack: u32,
    /// Number of the profile in the policy's slot.
    pub profile: u8,
    /// [`features`] of the packet's flow.
    pub features: u8,
}

/// Bits of [`Edits::changes`].
pub mod changes {
    /// Sequence numbers are shifted.
    pub const NUMBERS: u8 = 1 << 0;
    pub const RESERVED: u8 = 1 << 1;
    pub const URGENT: u8 = 1 << 2;
    /// Options are overwritten with NOP.
    pub const OPTIONS: u8 = 1 << 3;
    pub const MSS: u8 = 1 << 4;
    pub const HOP_LIMIT: u8 = 1 << 5;
    /// The packet is quoted by an ICMP error, and its numbers are put back: see [`super::quote_edit`].
    pub const QUOTE: u8 = 1 << 6;

    /// Whatever changes the TCP header.
    pub const HEADER: u8 = NUMBERS | RESERVED | URGENT | OPTIONS | MSS;
}

impl Edits {
    /// Nothing yet: all zero, as every visit begins.
    pub const NONE: Self =
        Self { checks: 0, changes: 0, hop_limit: 0, looked: false, digested: false, seq: 0, ack: 0, profile: 0, features: 0 };

    #[inline(always)]
    #[must_use]
    pub const fn wants(&self, check: u32) -> bool {
        self.checks & check != 0
    }
}

/// Bytes of a TCP header's copy: the longest has 60.
pub const HEADER_ROOM: usize = 64;

/// Where one CPU works on a segment: too large for the stack.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Room {
    pub header: [u8; HEADER_ROOM],
    pub place: Place,
    pub digest: retransmission::Digest,
}

/// How far a walk over options has come. Here and not on the stack, see [`options::walk_by`](crate::wire::options::walk_by).
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Place {
    pub at: u32,
    /// Bytes from there on that become NOP.
    pub clear: u32,
    /// Edges of selective acknowledgements from there on that are shifted.
    pub edges: u32,
    pub reserved: u32,
}

impl Default for Room {
    fn default() -> Self {
        Self { header: [0; HEADER_ROOM], place: Place::default(), digest: retransmission::Digest::default() }
    }
}

/// True when a rule's checks ask for no look at a segment before it is tracked. `control` is true for SYN, FIN and RST. What most segments
/// leave at once: their profile is the default or none, they neither open nor close, and nobody looks for what their flow carries.
#[inline(always)]
#[must_use]
pub const fn idle(checks: u32, features: u8, control: bool) -> bool {
    let idle = if control { BY_RECORD } else { BY_RECORD | checks::CHECKSUM_CONTROL };
    checks & !idle == 0 && features & (features::RANDOMIZED | features::LOOKED_AT) == 0
}

/// Whether the rule asks for a look at the segment before it is tracked, [`check::check`], or its flow for one at the data,
/// [`application::look()`]; notes what for. `features` are those of the
/// packet's flow, [`features::RANDOMIZED`] also for one that is about to begin so; `remembers` is true for an established flow.
#[inline(always)]
pub fn asks(visit: &mut Visit, rule: &Rule, features: u8, remembers: bool) -> bool {
    let control = visit.descriptor.segment.flags & (flags::SYN | flags::FIN | flags::RST) != 0;
    if idle(rule.checks, features, control) {
        return false;
    }
    if visit.edits.looked {
        return false;
    }
    let normalizes = matches!(visit.descriptor.kind, Kind::Tcp) && !idle(rule.checks, features & !features::LOOKED_AT, control);
    let looks = features & features::LOOKED_AT != 0 && application::has_data(&visit.descriptor);
    if !normalizes && !looks {
        return false;
    }
    if normalizes {
        visit.edits.checks = if remembers { rule.checks } else { rule.checks & !WITH_MEMORY };
        visit.edits.profile = rule.profile;
    }
    visit.edits.features = features;
    visit.edits.looked = true;
    true
}

/// Forgets what a rule asked for: the packet is to be judged as a first one, maybe by another.
#[inline(always)]
pub fn begin_anew(visit: &mut Visit) {
    randomize::undo(visit);
    // Where a value does not count it is not zero: the compiler fills a run of zeros with a loop over its bytes.
    visit.edits = Edits { hop_limit: u8::MAX, profile: u8::MAX, ..Edits::NONE };
}

/// The stage's third moment: the segment has passed and was learned from. `last_ack` is the highest acknowledgement its receiver had sent
/// before.
#[inline(always)]
pub fn after<E: Env>(env: &E, visit: &Visit, last_ack: u32) {
    if visit.edits.checks & WITH_MEMORY != 0 {
        env.remember(visit, last_ack);
    }
}

/// What [`after`] does for a profile with memory.
#[inline(always)]
pub fn remember<E: Env>(env: &E, visit: &Visit, last_ack: u32) {
    history::remember(env, visit, last_ack);
    retransmission::remember(env, visit);
}
