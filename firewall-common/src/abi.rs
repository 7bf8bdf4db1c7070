//! The types that cross the bpf(2) boundary, and the names of the maps.

/// Names of the maps, as in the object, in the pin directory and in `weir counters`.
pub mod map {
    pub const ESTABLISHED: &str = "ESTABLISHED";
    pub const EMBRYONIC: &str = "EMBRYONIC";
    pub const FRAGMENTS: &str = "FRAGMENTS";
    pub const CONFIG: &str = "CONFIG";
    pub const INTERFACES: &str = "INTERFACES";
    pub const RULES: &str = "RULES";
    pub const ROWS: &str = "ROWS";
    pub const BLOCKS: &str = "BLOCKS";
    pub const PROFILES: &str = "PROFILES";
    /// The hours of rules, both slots.
    pub const SCHEDULES: &str = "SCHEDULES";
    /// What is recognised, and where: one element a slot.
    pub const APPLICATIONS: &str = "APPLICATIONS";
    pub const HISTORIES: &str = "HISTORIES";
    /// What guards remember of flows, beside their records.
    pub const GUARDS: &str = "GUARDS";
    pub const SEGMENTS: &str = "SEGMENTS";
    /// Where packets of established flows are lost: [`crate::quality`].
    pub const QUALITIES: &str = "QUALITIES";
    pub const ADDRESSES: &str = "ADDRESSES";
    pub const SERVICES: &str = "SERVICES";
    pub const COUNTERS: &str = "COUNTERS";
    pub const RULE_COUNTERS: &str = "RULE_COUNTERS";
    /// One-sided established bypass flows, by rule number. The dataplane adds, the controller's sweep sets the true number.
    pub const ONE_SIDED: &str = "ONE_SIDED";
    /// What counts against the limits of each rule, by rule number.
    pub const LIMITS: &str = "LIMITS";
    /// The same of each source under a rule that limits them.
    pub const SOURCES: &str = "SOURCES";
    /// Rule names by number, kept for a controller that starts anew; the dataplane does not read them.
    pub const RULE_NAMES: &str = "RULE_NAMES";
    /// Zone names by number, likewise.
    pub const ZONE_NAMES: &str = "ZONE_NAMES";
    /// Records of what happened, for the controller.
    pub const EVENTS: &str = "EVENTS";
    pub const EVENT_COUNTERS: &str = "EVENT_COUNTERS";
    /// What is known of established flows whose packets a stateful check refused.
    pub const EVIDENCE: &str = "EVIDENCE";
    /// The same of packets of no established flow, by conversation.
    pub const STRAYS: &str = "STRAYS";
    /// The same by source.
    pub const STRANGERS: &str = "STRANGERS";
    /// Entries of these that each CPU has begun. Not pinned.
    pub const BEGINNINGS: &str = "BEGINNINGS";
    pub const AYA_LOGS: &str = "AYA_LOGS";
    /// The packet each CPU judges. Not pinned.
    pub const VISITS: &str = "VISITS";

    /// Those a policy lies in.
    pub const POLICY: [&str; 8] = [RULES, ROWS, BLOCKS, PROFILES, SCHEDULES, APPLICATIONS, ADDRESSES, SERVICES];

    /// All that are pinned.
    pub const PINNED: [&str; 30] = [
        ESTABLISHED,
        EMBRYONIC,
        FRAGMENTS,
        CONFIG,
        INTERFACES,
        RULES,
        ROWS,
        BLOCKS,
        PROFILES,
        SCHEDULES,
        APPLICATIONS,
        HISTORIES,
        GUARDS,
        SEGMENTS,
        QUALITIES,
        ADDRESSES,
        SERVICES,
        COUNTERS,
        RULE_COUNTERS,
        ONE_SIDED,
        LIMITS,
        SOURCES,
        RULE_NAMES,
        ZONE_NAMES,
        EVENTS,
        EVENT_COUNTERS,
        EVIDENCE,
        STRAYS,
        STRANGERS,
        AYA_LOGS,
    ];
}

/// Names of the programs in the object and in the pin directory.
pub mod program {
    /// XDP, every interface.
    pub const INGRESS: &str = "ingress";
    /// TC egress: what the box itself sends.
    pub const EGRESS: &str = "egress";
}

#[cfg(feature = "user")]
mod pod {
    use crate::{application, config, counter, event, evidence, flow, fragment, guard, hours, limit, normalize, quality, rule};

    macro_rules! pod {
        ($($type:ty),+ $(,)?) => {
            $(
                // SAFETY: `repr(C)` without padding (zerocopy's `IntoBytes` proves it), and every bit pattern is a value
                // (`FromBytes`).
                unsafe impl aya::Pod for $type {}
            )+
        };
    }

    pod!(
        application::Applications,
        config::Config,
        config::Interface,
        counter::Counters,
        counter::RuleCounters,
        event::Record,
        event::Tally,
        evidence::Beginnings,
        evidence::Evidence,
        evidence::Stranger,
        flow::Address,
        flow::Flow,
        flow::FlowKey,
        fragment::FragmentKey,
        fragment::Fragment,
        guard::Guard,
        hours::Week,
        limit::Counts,
        limit::Source,
        normalize::Profile,
        normalize::history::History,
        normalize::retransmission::Digest,
        normalize::retransmission::Start,
        quality::Quality,
        rule::AddressPrefix,
        rule::Block,
        rule::Row,
        rule::Rule,
        rule::ServicePrefix,
    );
}
