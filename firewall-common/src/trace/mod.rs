//! What each stage of the pipeline says of one packet: the story that `weir trace` tells.
//!
//! Nothing is decided here. [`trace`] runs [`pipeline`](crate::pipeline::pipeline()) itself, over any [`Env`], between a packet and a world
//! that note what passes through them. What a stage is asked by way of [`Env`] or [`Packet`] is noted as it happens. The two checks that the
//! pipeline makes by itself, of fragments and of sanity, are pure functions of the descriptor; they are called once more.

mod asked;
mod recorder;
mod watched;

use std::vec::Vec;

use crate::{
    application::Sight,
    env::{Env, InsertError},
    flow::Flow,
    guard::Look,
    normalize::Edits,
    packet::Packet,
    parse::Descriptor,
    pipeline::pipeline,
    reason::{self, Reason},
    rule::{Dimension, Rule},
    verdict::Verdict,
    visit::Visit,
};
use recorder::Recorder;
use watched::Watched;

/// A stage of the packet's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    Parse,
    Fragment,
    Sanity,
    Relate,
    Lookup,
    Revalidate,
    Classify,
    Admit,
    Normalize,
    Guard,
    Recognize,
    Track,
    Rewrite,
}

impl Stage {
    pub const ALL: [Self; 13] = [
        Self::Parse,
        Self::Fragment,
        Self::Sanity,
        Self::Relate,
        Self::Lookup,
        Self::Revalidate,
        Self::Classify,
        Self::Admit,
        Self::Normalize,
        Self::Guard,
        Self::Recognize,
        Self::Track,
        Self::Rewrite,
    ];

    /// The stable name shown to people and programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parse => "parse",
            Self::Fragment => "fragment",
            Self::Sanity => "sanity",
            Self::Relate => "relate",
            Self::Lookup => "lookup",
            Self::Revalidate => "revalidate",
            Self::Classify => "classify",
            Self::Admit => "admit",
            Self::Normalize => "normalize",
            Self::Guard => "guard",
            Self::Recognize => "recognize",
            Self::Track => "track",
            Self::Rewrite => "rewrite",
        }
    }

    /// The stage a reason is of.
    #[must_use]
    pub const fn of(reason: Reason) -> Self {
        match reason.stage() {
            reason::Stage::Parse => Self::Parse,
            reason::Stage::Fragment => Self::Fragment,
            reason::Stage::Sanity => Self::Sanity,
            reason::Stage::Relate => Self::Relate,
            reason::Stage::Lookup => Self::Lookup,
            reason::Stage::Classify => Self::Classify,
            reason::Stage::Admit => Self::Admit,
            reason::Stage::Guard => Self::Guard,
            reason::Stage::Track => Self::Track,
            reason::Stage::Normalize => Self::Normalize,
        }
    }

    /// Whether this stage is where a packet may be dropped for the reason.
    #[must_use]
    const fn gives(self, reason: Reason) -> bool {
        let of = Self::of(reason) as u8;
        of == self as u8
            || match self {
                // A live flow is denied by the rules, as its first packet would be.
                Self::Revalidate => of == Self::Classify as u8,
                // What the record's numbers tell is looked at while tracking.
                Self::Track | Self::Rewrite => of == Self::Normalize as u8,
                _ => false,
            }
    }
}

/// How a stage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The packet went on to the next one.
    GoesOn,
    /// What becomes of the packet is settled.
    Settled(Verdict),
}

/// What a stage asked of the world, what it was told, and what it did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Seen {
    /// No flow has the packet's key.
    NoFlow,
    /// The packet's flow, or of an ICMP error that of the packet it quotes.
    Flow { established: bool, flow: Flow },
    /// The flow was last judged by another policy.
    Stale,
    /// The flow was over: the packet is judged as a first one.
    Over,
    /// Where the packet goes: a zone, or nowhere.
    Route(Result<u8, Reason>),
    /// Row of the packet's source or destination; 0 when the policy names none.
    Address { dimension: Dimension, row: u32 },
    /// Row of its service.
    Service { row: u32 },
    /// The entry that was looked at last: what decides, when any does.
    Entry { entry: u32, rule: Rule },
    /// The flow's record before and after.
    Record { before: Flow, after: Flow },
    /// A flow was made, in the table of embryonic ones.
    Made(Result<Flow, InsertError>),
    /// The flow was moved to the table of established ones.
    Established(Result<(), InsertError>),
    /// The flow was removed.
    Removed,
    /// One-sided flows the rule had before this one.
    OneSided { flows: u32 },
    /// Whether one more packet may be answered.
    MayAnswer(bool),
    /// What stage *normalize* was asked for, and what it wants changed.
    Normalized(Edits),
    /// What stage *guard* found.
    Guarded(Look),
    /// A datagram's fragments are known, or begun to be.
    Datagram,
    /// What a look at the packet's data found.
    Sight(Sight),
    /// What the flow carries is known now: an [`Application`](crate::application::Application) as a number.
    Recognized(u8),
}

/// What one stage made of the packet.
#[derive(Clone, Debug, PartialEq)]
pub struct Stop {
    pub stage: Stage,
    pub ended: Ended,
    pub seen: Vec<Seen>,
}

/// One packet's story.
#[derive(Clone, Debug)]
pub struct Trace {
    pub verdict: Verdict,
    /// As the stages found the packet, with what they noted.
    pub visit: Visit,
    pub stops: Vec<Stop>,
}

impl Trace {
    /// The packet, read once.
    #[must_use]
    pub const fn descriptor(&self) -> &Descriptor {
        &self.visit.descriptor
    }
}

/// Judges one frame as [`pipeline`](crate::pipeline::pipeline()) does, and tells how.
pub fn trace<P: Packet, E: Env>(packet: &P, env: &E, mut visit: Visit) -> Trace {
    let recorder = Recorder::new(env);
    let watched = Watched::new(packet, &recorder, visit.settings.flags);
    let verdict = pipeline(&watched, &recorder, &mut visit);
    Trace { verdict, visit, stops: recorder.finish(verdict) }
}
