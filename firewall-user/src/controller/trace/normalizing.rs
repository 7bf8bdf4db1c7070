//! What stage *normalize* was asked for, and what it wants changed, in words.

use firewall_common::{
    normalize::{Edits, changes, checks},
    trace::Stage,
};

/// What each check looks for.
const CHECKS: [(u32, &str); 20] = [
    (checks::CHECKSUM_CONTROL, "the checksum of SYN, FIN and RST"),
    (checks::CHECKSUM_ALL, "every checksum"),
    (checks::EXCEED_MSS, "the MSS"),
    (checks::INVALID_ACK_ALLOW, "acknowledgements of unseen data pass"),
    (checks::OUT_OF_ORDER, "order"),
    (checks::RESERVED_CLEAR, "reserved bits are cleared"),
    (checks::RESERVED_DROP, "reserved bits"),
    (checks::PAST_WINDOW_ALLOW, "the window is open"),
    (checks::SYNACK_DATA, "data in a SYN-ACK"),
    (checks::SYN_DATA, "data in a SYN"),
    (checks::OPTIONS, "options"),
    (checks::TTL_EVASION, "the hop limit"),
    (checks::URGENT_CLEAR, "the urgent pointer is cleared"),
    (checks::WINDOW_VARIATION, "window taken back"),
    (checks::RANDOMIZE, "sequence numbers are randomized"),
    (checks::TIMESTAMPS, "timestamps"),
    (checks::RETRANSMISSION, "data sent again"),
    (checks::MSS, "the MSS of a SYN is clamped"),
    (checks::MD5, "MD5 signatures"),
    (checks::SACK, "selective acknowledgements"),
];

const CHANGES: [(u8, &str); 7] = [
    (changes::NUMBERS, "sequence numbers"),
    (changes::RESERVED, "reserved bits"),
    (changes::URGENT, "the urgent pointer"),
    (changes::OPTIONS, "options"),
    (changes::MSS, "the MSS"),
    (changes::HOP_LIMIT, "the hop limit"),
    (changes::QUOTE, "the quoted numbers"),
];

pub(super) fn lines(edits: &Edits, stage: Stage) -> Vec<String> {
    let of = |bits: u32, names: &mut dyn Iterator<Item = (u32, &'static str)>| -> String {
        names.filter(|(bit, _)| bits & bit != 0).map(|(_, name)| name).collect::<Vec<_>>().join(", ")
    };
    let changed = of(edits.changes.into(), &mut CHANGES.into_iter().map(|(bit, name)| (u32::from(bit), name)));
    if stage == Stage::Rewrite {
        return vec![format!("changed: {changed}")];
    }
    let mut lines = vec![format!("its rule's profile asks for {}", of(edits.checks, &mut CHECKS.into_iter()))];
    if !changed.is_empty() {
        lines.push(format!("to be changed: {changed}"));
    }
    lines
}
