//! Packets that attacks and evasions of firewalls and monitors are known to send, as far as no other row has them, and which rows stand
//! for which of their families.

pub(super) mod normalized;
pub(super) mod tracked;

use super::Test;

/// A family of attacks or evasions, and where its packets are met.
#[derive(Clone, Copy, Debug)]
pub struct Corpus {
    pub name: &'static str,
    /// Rows of the table.
    pub rows: &'static [&'static str],
    /// What shows more than packets one after the other can.
    pub beside: &'static [Test],
}

const fn family(name: &'static str, rows: &'static [&'static str]) -> Corpus {
    Corpus { name, rows, beside: &[] }
}

const SEARCH: &str = "firewall-common/tests/model_search.rs";
const KERNEL: &str = "firewall-user/tests/kernel_cases.rs";
const FLOOD: &str = "xtask/src/test/scenarios/flood.rs";

/// The families of the reliability notes, in their order.
pub const FAMILIES: [Corpus; 22] = [
    family(
        "Ptacek and Newsham 1998: insertion and evasion",
        &[
            "corpus/data-without-ack",
            "corpus/low-hop-limit",
            "corpus/bad-checksum",
            "corpus/overlapping-segments",
            "syn-only-opts",
            "frag4-overlap",
            "hs-syn-data",
            "rst-out",
            "est-syn-resync",
        ],
    ),
    family(
        "fragroute",
        &[
            "win-old-retx",
            "flags-illegal",
            "corpus/bad-checksum",
            "corpus/paws-abuse",
            "corpus/syn-on-a-live-flow",
            "corpus/low-hop-limit",
            "corpus/overlapping-segments",
            "frag4-overlap",
            "own/reordered",
            "own/ip-header-v4",
            "mss-tiny",
            "win-both-scale-ws15",
            "corpus/tiny-client-window",
            "frag-tiny",
        ],
    ),
    family(
        "Geneva",
        &[
            "doff-len",
            "corpus/data-offset",
            "corpus/inserted-data",
            "corpus/bad-checksum",
            "corpus/low-hop-limit",
            "corpus/md5",
            "corpus/teardown-with-a-defect",
            "corpus/flags-inserted",
            "corpus/eight-byte-segments",
            "corpus/three-segments",
            "corpus/ip-length-cut",
            "corpus/fin-with-a-cut-length",
            "corpus/syn-then-syn-with-data",
            "corpus/turnaround",
            "corpus/user-timeout-option",
            "own/simultaneous-open",
            "corpus/tiny-server-window",
            "corpus/fin-for-the-third",
            "win-ack-unseen",
        ],
    ),
    family(
        "INTANG",
        &[
            "rst-out",
            "corpus/teardown-with-a-defect",
            "corpus/low-hop-limit",
            "corpus/md5",
            "corpus/fin-bad-ack",
            "corpus/syn-on-a-live-flow",
            "corpus/multiple-syns",
            "corpus/turnaround",
            "corpus/overlapping-segments",
            "bad-csum-control",
            "own/reordered",
            "own/fragment-before-first",
        ],
    ),
    family(
        "SymTCP",
        &[
            "corpus/syn-then-syn-with-data",
            "corpus/multiple-syns",
            "corpus/number-at-the-first",
            "corpus/data-without-ack",
            "corpus/paws-abuse",
            "corpus/reset-off-by-one",
            "corpus/reset-partly-in-window",
            "corpus/fin-bad-ack",
            "urg",
            "corpus/big-gap",
        ],
    ),
    family(
        "lib-erate",
        &[
            "own/ip-header-v4",
            "flags-illegal",
            "doff-len",
            "syn-only-opts",
            "corpus/blind",
            "corpus/bad-checksum",
            "corpus/low-hop-limit",
            "own/udp-length",
            "own/reordered",
            "corpus/pause",
        ],
    ),
    Corpus {
        name: "Pryde",
        rows: &["hs-midstream", "corpus/flood-of-one-flag", "corpus/turnaround", "own/client-syn-ack"],
        // That no short sequence of packets opens a flow without an allowed SYN, and that a firewall in which one does is found out.
        beside: &[Test { file: SEARCH, name: "anything_under_strict" }, Test { file: SEARCH, name: "mistakes_are_found" }],
    },
    family("split handshake and simultaneous open", &["own/split-handshake", "corpus/split-handshake", "own/simultaneous-open"]),
    family("TCP middlebox reflection", &["spoof-reflect", "corpus/reflection", "own/reject"]),
    family("blind reset, SYN and data", &["rst-exact", "rst-out", "rst-in-inexact", "est-syn-from-server", "corpus/blind"]),
    family("off-path inference", &["rst-in-inexact", "own/old-acknowledgement", "corpus/ack-storm"]),
    Corpus {
        name: "PAWS abuse",
        rows: &["corpus/paws-abuse", "own/normalize-paws", "nf/synack-old"],
        // That a timestamp counts for 24 days only, which no flow of the table lives.
        beside: &[Test { file: "firewall-common/src/normalize/history.rs", name: "a_timestamp_wraps_and_grows_void" }],
    },
    family("SACK panic, low MSS", &["corpus/sack-holes", "mss-tiny", "win-sack-bogus"]),
    family("urgent pointer", &["urg"]),
    family("ACK storm", &["corpus/ack-storm"]),
    family("Sockstress, Naptha", &["corpus/zero-window-for-ever", "own/timeouts"]),
    Corpus {
        name: "floods of one flag",
        rows: &["corpus/flood-of-one-flag"],
        // That a flood spares established flows.
        beside: &[Test { file: KERNEL, name: "syn_flood_spares_established_flows" }, Test { file: FLOOD, name: "syns" }],
    },
    family("IP overlap", &["frag4-overlap", "frag6", "own/fragment-duplicate"]),
    family("tiny fragments", &["frag-tiny"]),
    family("IPv6 header chains", &["own/extensions-v6", "own/extensions-past-the-packet", "own/routing-headers", "frag6"]),
    family("land, martians", &["land-martian"]),
    family("nonsense flags", &["flags-illegal", "corpus/flags-inserted"]),
];
