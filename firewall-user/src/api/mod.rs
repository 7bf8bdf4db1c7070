//! The JSON both sides of the socket speak, and what `--json` prints. Field names are stable: fields are added, never renamed.

mod bypass;
mod counters;
mod diff;
mod events;
mod failure;
mod flows;
mod history;
mod import;
mod interfaces;
mod one_sided;
mod policy;
mod profiles;
mod quality;
mod sets;
mod status;
mod trace;

pub use bypass::{BypassAdd, BypassAdded, BypassRemove, BypassRemoved, BypassRule};
pub use counters::{Counters, InterfaceCounters, LimitUse, RuleCounters, TableFill};
pub use diff::{DiffRequest, Edited, FlowChange, FlowChangeKind, FlowChanges, Judged, PolicyDiff};
pub use events::{
    Arithmetic, DropEvent, DroppedSegment, Event, EventCounters, EventEnd, FlowEvent, IcmpMessage, LostEvents, OverloadEvent,
};
pub use failure::{Failure, Kind};
pub use flows::{Associations, Both, End, Flow, FlowGuard, Ipsec, Killed, LossByDirection, PerPeer, Quality, Rate, RoundTrip};
pub use history::{HistoryEntry, How, PolicyState, ShownPolicy};
pub use import::{ImportedPolicy, NotCarriedOver};
pub use interfaces::{AttachRequest, DetachRequest, Detached, Interface, Mode, ModeRequest};
pub use one_sided::{Missing, OneSided, SilentAddress};
pub use policy::{Applied, ApplyRequest, CONFIRM_SECONDS, Confirmation, Confirmed, PolicyInForce, RollbackRequest, RuleInForce};
pub use profiles::Profile;
pub use quality::{By, Ends, Figures, Loss, Place, QualityReport, Way};
pub use sets::{Set, SetChanged, SetMember, SetRequest, ShownSet};
pub use status::{Adopted, Expiring, PolicyStatus, Status};
pub use trace::{
    MAX_TRACED_BYTES, MAX_TRACED_FRAME, MAX_TRACED_PACKETS, PacketToTrace, TraceRequest, Traced, TracedChange, TracedPacket, TracedPolicy,
    TracedProgram, TracedRule, TracedStage,
};
