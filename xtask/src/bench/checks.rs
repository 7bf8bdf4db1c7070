//! What each of the normalizer's checks costs a packet: the same frames with and without it, in turns.

use anyhow::Result;
use firewall_common::{
    flow::Inspection,
    normalize::{OptionSet, Profile, checks},
};

use super::{
    packets::{self, Bench},
    report::{Check, median},
    table,
};
use crate::progress::Step;

/// Checks are measured where instructions count and memory does not.
const FLOWS: u64 = 1 << 10;

/// A timestamp of the peers' clocks (RFC 7323 §3.2).
const TIMESTAMPS: [u8; 12] = [1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 9];
/// One block that lies in what the other side has sent (RFC 2018 §3): the driver's acknowledgements stay above it.
const SACK: [u8; 12] = [1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2];
/// An option for experiments (RFC 4727), to be cleared.
const EXPERIMENT: [u8; 4] = [253, 4, 0, 0];

/// A check, and the segments it is measured on.
struct Subject {
    name: &'static str,
    profile: Profile,
    options: &'static [u8],
    edit: fn(&mut [u8]),
}

const fn only(bits: u32) -> Profile {
    Profile { checks: bits, ..Profile::OFF }
}

/// Nothing beside the options.
const fn plain(_: &mut [u8]) {}

/// An urgent pointer, and the flag that says so.
fn urgent(segment: &mut [u8]) {
    segment[13] |= 0x20;
    segment[19] = 5;
}

/// All four reserved bits (RFC 9293 §3.1; the lowest is AccECN's, RFC 9768).
fn reserved(segment: &mut [u8]) {
    segment[12] |= 0x0f;
}

const SUBJECTS: &[Subject] = &[
    Subject { name: "profile default", profile: Profile::DEFAULT, options: &[], edit: plain },
    Subject { name: "profile default, timestamps", profile: Profile::DEFAULT, options: &TIMESTAMPS, edit: plain },
    Subject { name: "profile default, sack", profile: Profile::DEFAULT, options: &SACK, edit: plain },
    Subject { name: "profile asa, timestamps", profile: Profile::ASA, options: &TIMESTAMPS, edit: plain },
    Subject { name: "checksum-verification all", profile: only(checks::CHECKSUM_ALL), options: &[], edit: plain },
    Subject { name: "exceed-mss drop", profile: only(checks::EXCEED_MSS), options: &[], edit: plain },
    Subject { name: "out-of-order drop", profile: only(checks::OUT_OF_ORDER), options: &[], edit: plain },
    Subject { name: "reserved-bits clear", profile: only(checks::RESERVED_CLEAR), options: &[], edit: reserved },
    Subject { name: "reserved-bits drop", profile: only(checks::RESERVED_DROP), options: &[], edit: plain },
    Subject {
        name: "tcp-options clear",
        profile: Profile { checks: checks::OPTIONS, options_clear: OptionSet::EMPTY.with(253, 253), ..Profile::OFF },
        options: &EXPERIMENT,
        edit: plain,
    },
    Subject { name: "ttl-evasion-protection", profile: only(checks::TTL_EVASION), options: &[], edit: plain },
    Subject { name: "urgent-flag clear", profile: only(checks::URGENT_CLEAR), options: &[], edit: urgent },
    Subject { name: "window-variation drop", profile: only(checks::WINDOW_VARIATION), options: &[], edit: plain },
    Subject { name: "randomize-sequence-numbers", profile: only(checks::RANDOMIZE), options: &[], edit: plain },
    Subject { name: "timestamp-check", profile: only(checks::TIMESTAMPS), options: &TIMESTAMPS, edit: plain },
    Subject { name: "check-retransmission", profile: only(checks::RETRANSMISSION), options: &[], edit: plain },
];

/// Measures every check, each over a table of flows of its own.
///
/// # Errors
/// When a program does not load, or refuses a frame that the check lets pass.
pub fn measure(object: &[u8], rounds: u32) -> Result<Vec<Check>> {
    let step = Step::start("the normalizer's checks");
    let measured = SUBJECTS.iter().map(|subject| one(object, subject, rounds)).collect();
    step.done("");
    measured
}

/// The same frames without and with the check, in turns.
fn one(object: &[u8], subject: &Subject, rounds: u32) -> Result<Check> {
    let randomized = subject.profile.checks & checks::RANDOMIZE != 0;
    // A shift is the flow's own: the driver knows that of one flow.
    let flows = if randomized { 1 } else { FLOWS };
    let mut ebpf = table::load(object, FLOWS as u32)?;
    table::set_rule(&mut ebpf, Inspection::Strict, &Profile::OFF)?;
    table::fill(&mut ebpf, flows, Inspection::Strict)?;
    packets::load_programs(&mut ebpf)?;
    let mut bench = Bench::conversation(&packets::segment(subject.options, subject.edit)?, flows);
    let (mut without, mut more) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        table::set_rule(&mut ebpf, Inspection::Strict, &Profile::OFF)?;
        table::unsettle(&mut ebpf)?;
        let plain = packets::turn(&mut ebpf, &mut bench)?;
        if randomized {
            bench.shift(table::set_randomized(&mut ebpf, true)?);
        }
        table::set_rule(&mut ebpf, Inspection::Strict, &subject.profile)?;
        table::unsettle(&mut ebpf)?;
        let checked = packets::turn(&mut ebpf, &mut bench)?;
        if randomized {
            table::set_randomized(&mut ebpf, false)?;
            bench.shift([0; 2]);
        }
        if round > 0 {
            without.push(plain);
            more.push(checked - plain);
        }
    }
    let ((ns, ns_spread), (without_ns, _)) = (median(&more), median(&without));
    Ok(Check { name: subject.name, flows, ns, ns_spread, without_ns })
}
