//! Attacks and evasions that tracking and sanity meet, whatever the rule's profile.

use crate::testing::cases::{Row, case, case_v4, case_v6, row};

pub(in crate::testing::cases) const ROWS: &[Row] = &[
    row(
        "corpus/data-without-ack",
        &[case(
            "corpus/data-without-ack",
            "
        HS
        C:P 1 +100    -> drop:tcp-bad-flags established | drop:tcp-bad-flags bypass
        C:- 1 +100    -> drop:tcp-bad-flags established | drop:tcp-bad-flags bypass
        C:PU 1 +100   -> drop:tcp-bad-flags established | drop:tcp-bad-flags bypass
        C:PA 1/1 +100 -> pass established | pass bypass
    ",
        )],
    ),
    row(
        "corpus/number-at-the-first",
        &[
            case(
                "corpus/number-at-the-first/third",
                "
        C:S 0            -> pass syn-sent | pass
        S:SA 0/1         -> pass syn-received | pass
        C:A 0/1 +100     -> drop:tcp-3whs-failed syn-received | pass
        C:A -1000/1 +100 -> drop:tcp-3whs-failed syn-received | pass
        C:A 1/1 +100     -> pass established | pass
    ",
            ),
            case(
                "corpus/number-at-the-first/established",
                "
        HS
        # A keep-alive looks like the first: old numbers must reach the server, and move nothing.
        C:A 0/1 +1       -> pass established | pass
        C:A -5000/1 +100 -> pass established | pass
        S:A 1/2          -> drop:tcp-invalid-ack established | pass
    ",
            ),
        ],
    ),
    row(
        "corpus/syn-then-syn-with-data",
        &[
            case(
                "corpus/syn-then-syn-with-data",
                "
        C:S 0      -> pass syn-sent | pass
        C:S 0 +100 -> pass syn-sent | pass
        S:SA 0/101 -> pass syn-received | pass
        C:A 101/1  -> pass established | pass
    ",
            ),
            case(
                "corpus/syn-then-syn-with-data/other-number",
                "
        C:S 0         -> pass syn-sent | pass
        C:S 5000 +100 -> pass syn-sent | pass
        S:SA 0/5102   -> drop:tcp-ack-syn-diff syn-sent | pass
        S:SA 0/5101   -> pass syn-received | pass
        C:A 5101/1    -> pass established | pass
    ",
            ),
        ],
    ),
    row(
        "corpus/multiple-syns",
        &[case(
            "corpus/multiple-syns",
            "
        HS
        C:S 7000     -> noted established | pass
        C:S 9000     -> noted established | pass
        # Only the last one can be answered, and until then the connection is what it was.
        S:SA 50/7001 -> drop:tcp-synack-ooo established | pass
        S:A 1/1      -> pass established | pass
        C:A 1/1 +10  -> pass established | pass
        S:A 1/11     -> pass established | pass
    ",
        )],
    ),
    row(
        "corpus/syn-on-a-live-flow",
        &[case(
            "corpus/syn-on-a-live-flow",
            "
        HS
        C:S 500000 +100    -> noted established | pass
        # What would follow it is past the window of the connection there is.
        C:PA 500101/1 +100 -> drop:tcp-seq-past-win established | pass | pass
        S:A 1/1            -> pass established | pass | nostate established
    ",
        )],
    ),
    row(
        "corpus/turnaround",
        &[case(
            "corpus/turnaround",
            "
        # The client answers a SYN that never was; then it begins as everybody does.
        C:SA 0/1  -> drop:tcp-not-syn none | pass bypass
        S:R 1     -> drop:tcp-not-syn none | pass bypass
        C:S 0     -> pass syn-sent | pass bypass
        S:SA 0/1  -> pass syn-received | pass bypass
        C:A 1/1   -> pass established | pass bypass
    ",
        )],
    ),
    row(
        "corpus/split-handshake",
        &[
            case(
                "corpus/split-handshake/four-way",
                "
        C:S 0    -> pass syn-sent | pass
        S:S 0    -> pass syn-sent-both | pass
        C:SA 0/1 -> pass syn-sent-both | pass
        S:A 1/1  -> drop:tcp-3whs-failed syn-sent-both | pass
        S:PA 1/1 +100 -> drop:tcp-3whs-failed syn-sent-both | pass
    ",
            ),
            case(
                "corpus/split-handshake/five-way",
                "
        C:S 0    -> pass syn-sent | pass
        S:A 0/1  -> drop:tcp-3whs-failed syn-sent | pass
        S:S 0    -> pass syn-sent-both | pass
        C:A 1/1  -> drop:tcp-3whs-failed syn-sent-both | pass
        C:SA 0/1 -> pass syn-sent-both | pass
        S:A 1/1  -> drop:tcp-3whs-failed syn-sent-both | pass
    ",
            ),
        ],
    ),
    row(
        "corpus/reset-off-by-one",
        &[
            case(
                "corpus/reset-off-by-one",
                "
        HS
        C:PA 1/1 +100 -> pass established | pass
        S:A 1/101     -> pass established | pass
        S:R 0         -> drop:tcp-rstfin-ooo established | pass
        S:R 2         -> noted established | pass | pass closed
    ",
            ),
            case(
                "corpus/reset-off-by-one/acknowledgement",
                "
        HS
        # The endpoint looks at a reset's own number alone (RFC 9293 §3.10.7.4).
        S:RA 1/2      -> pass closed | pass
    ",
            ),
        ],
    ),
    row(
        "corpus/reset-partly-in-window",
        &[case(
            "corpus/reset-partly-in-window",
            "
        HS
        S:R -49 +100 -> drop:tcp-rstfin-ooo established | pass
        C:A 1/1 +10  -> pass established | pass
    ",
        )],
    ),
    row(
        "corpus/fin-bad-ack",
        &[case(
            "corpus/fin-bad-ack",
            "
        HS
        C:FA 1/500     -> drop:tcp-invalid-ack established | pass
        C:FA 1/-200000 -> nostate established | pass
        C:F 1          -> drop:tcp-bad-flags established | drop:tcp-bad-flags
        C:A 1/1 +10    -> pass established | pass
    ",
        )],
    ),
    row(
        "corpus/fin-for-the-third",
        &[case(
            "corpus/fin-for-the-third",
            "
        C:S 0    -> pass syn-sent | pass
        S:SA 0/1 -> pass syn-received | pass
        C:F 1    -> drop:tcp-bad-flags syn-received | drop:tcp-bad-flags
        C:FA 1/2 -> drop:tcp-invalid-ack syn-received | pass
        C:FA 1/1 -> pass fin-wait | pass
        S:A 1/2  -> pass half-closed | pass
    ",
        )],
    ),
    row(
        "corpus/eight-byte-segments",
        &[case(
            "corpus/eight-byte-segments",
            "
        HS
        C:PA 9/1 +8   -> pass established | pass
        C:PA 1/1 +8   -> pass established | pass
        C:PA 17/1 +8  -> pass established | pass
        C:A 900000/1  -> drop:tcp-seq-past-win established | pass | pass
        S:A 1/25      -> pass established | pass
    ",
        )],
    ),
    row(
        "corpus/three-segments",
        &[case(
            "corpus/three-segments",
            "
        HS
        C:PA 1/1 +2   -> pass established | pass
        C:PA 3/1 +40  -> pass established | pass
        C:PA 43/1 +58 -> pass established | pass
        S:A 1/101     -> pass established | pass
        S:A 1/102     -> drop:tcp-invalid-ack established | pass
    ",
        )],
    ),
    row(
        "corpus/tiny-server-window",
        &[case(
            "corpus/tiny-server-window",
            "
        C:S 0            -> pass | pass
        S:SA 0/1 win=98  -> pass | pass
        C:A 1/1          -> pass | pass
        C:PA 1/1 +98     -> pass established | pass
        C:PA 100/1 +1    -> drop:tcp-seq-past-win established | pass | pass
        S:A 1/99 win=98  -> pass established | pass
        C:PA 99/1 +98    -> pass established | pass
    ",
        )],
    ),
    row(
        "corpus/tiny-client-window",
        &[case(
            "corpus/tiny-client-window",
            "
        C:S 0 win=1 ws=0  -> pass | pass
        S:SA 0/1 ws=0     -> pass | pass
        C:A 1/1 win=1     -> pass | pass
        S:A 1/1 +1        -> pass established | pass
        S:A 3/1 +1        -> drop:tcp-seq-past-win established | pass | pass
        C:A 1/2 win=1     -> pass established | pass
    ",
        )],
    ),
    row(
        "corpus/big-gap",
        &[case(
            "corpus/big-gap",
            "
        HS
        C:PA 60001/1 +1000 -> pass established | pass
        C:PA 1/1 +1000     -> pass established | pass
        S:A 1/1001         -> pass established | pass
        C:PA 2000001/1 +10 -> drop:tcp-seq-past-win established | pass | pass
    ",
        )],
    ),
    row(
        "corpus/data-offset",
        &[case(
            "corpus/data-offset",
            "
        HS
        C:PA 1/1 +4 doff=10 -> drop:invalid-tcp-hdr-length
        C:PA 1/1 +4 doff=8  -> drop:invalid-tcp-hdr-length
        C:PA 1/1 +4         -> pass established | pass bypass
    ",
        )],
    ),
    row(
        "corpus/ip-length-cut",
        &[
            case_v4(
                "corpus/ip-length-cut/v4",
                "
        HS
        # The frame is longer than its packet, whose length counts: what follows belongs to nobody.
        C:PA 1/1 +500 iplen=64 -> pass established | pass
        S:A 1/25               -> pass established | pass
        S:A 1/26               -> drop:tcp-invalid-ack established | pass
    ",
            ),
            case_v6(
                "corpus/ip-length-cut/v6",
                "
        HS
        C:PA 1/1 +500 iplen=44 -> pass established | pass
        S:A 1/25               -> pass established | pass
        S:A 1/26               -> drop:tcp-invalid-ack established | pass
    ",
            ),
        ],
    ),
    row(
        "corpus/flags-inserted",
        &[case(
            "corpus/flags-inserted",
            "
        HS
        C:FRAPUE 1/1 -> drop:tcp-bad-flags established | drop:tcp-bad-flags bypass
        C:FREAW 1/1  -> drop:tcp-bad-flags established | drop:tcp-bad-flags bypass
        C:FRAPU 1/1  -> drop:tcp-bad-flags established | drop:tcp-bad-flags bypass
        C:SRA 1/1    -> drop:tcp-bad-flags established | drop:tcp-bad-flags bypass
        # With the nonce bit of once, which is Accurate ECN's today.
        C:FRAPUE 1/1 rsv=1 -> drop:tcp-bad-flags established | drop:tcp-bad-flags bypass
        C:FREAW 1/1 rsv=1  -> drop:tcp-bad-flags established | drop:tcp-bad-flags bypass
        C:FRAPU 1/1 rsv=1  -> drop:tcp-bad-flags established | drop:tcp-bad-flags bypass
        C:PA 1/1 +10 -> pass established | pass bypass
    ",
        )],
    ),
    row(
        "corpus/user-timeout-option",
        &[case(
            "corpus/user-timeout-option",
            "
        C:S 0 opt=1c04012c -> pass syn-sent | pass
        C:S 0 opt=1c00ffff -> drop:tcp-bad-option-list
        C:S 0 opt=1c09ffff -> drop:tcp-bad-option-list
        S:SA 0/1           -> pass syn-received | pass
    ",
        )],
    ),
    row(
        "corpus/pause",
        &[case(
            "corpus/pause",
            "
        HS
        # Longer than those wait who hope that a monitor has forgotten them.
        @300s
        C:PA 1/1 +100 -> pass established | pass bypass
        S:A 1/101     -> pass established | pass bypass
    ",
        )],
    ),
    row(
        "corpus/reflection",
        &[
            case(
                "corpus/reflection/denied",
                "
        policy drop
        O:S 0 +100   -> drop:acl-drop none
        O:P 1 +100   -> drop:acl-drop none
        O:PA 1/0 +99 -> drop:acl-drop none
        O:S 0        -> drop:acl-drop none
        O:P 1 +100   -> drop:acl-drop none
    ",
            ),
            case(
                "corpus/reflection/allowed",
                "
        # Even where the host could be reached, no packet but a SYN gets an answer out of it.
        O:PA 1/0 +99 -> drop:tcp-not-syn none | pass bypass
        O:P 1 +100   -> drop:tcp-bad-flags | drop:tcp-bad-flags bypass
    ",
            ),
        ],
    ),
    row(
        "corpus/blind",
        &[case(
            "corpus/blind",
            "
        far
        HS
        S:A 3000000/1 +100   -> drop:tcp-seq-past-win established | pass | pass
        C:A 1/2000000000 +10 -> drop:tcp-invalid-ack established | pass
        S:S 5000             -> drop:tcp-syn-ooo established | pass
        S:SA 5000/77         -> drop:tcp-synack-ooo established | pass
        C:SA 5000/77         -> drop:tcp-synack-ooo established | pass
        C:A 1/1 +10          -> pass established | pass | nostate established
    ",
        )],
    ),
    row(
        "corpus/ack-storm",
        &[case(
            "corpus/ack-storm",
            "
        HS
        # Both sides pushed out of step: neither hears of it, and nothing of it comes from the firewall.
        C:A 100000/1 -> drop:tcp-seq-past-win established | pass | pass
        # An acknowledgement without data proves nothing sent: also where it may lie past the edge.
        S:A 1/100000 -> drop:tcp-invalid-ack established | pass | drop:tcp-invalid-ack
        S:A 1/1      -> pass established | pass
    ",
        )],
    ),
    row(
        "corpus/zero-window-for-ever",
        &[case(
            "corpus/zero-window-for-ever",
            "
        HS
        C:A 1/1 win=0 -> pass established | pass
        S:A 1/1 +1    -> pass established | pass
        C:A 1/1 win=0 -> pass established | pass
        @7441s
        S:A 1/1 +1    -> drop:tcp-not-syn none | pass bypass
    ",
        )],
    ),
    row(
        "corpus/flood-of-one-flag",
        &[case(
            "corpus/flood-of-one-flag",
            "
        O:SA 0/1 -> drop:tcp-not-syn none | pass
        O:A 1/1  -> drop:tcp-not-syn none | pass
        O:R 1    -> drop:tcp-not-syn none | pass
        O:RA 1/1 -> drop:tcp-not-syn none | pass
        O:FA 1/1 -> drop:tcp-not-syn none | pass
        O:F 1    -> drop:tcp-bad-flags none | drop:tcp-bad-flags
        O:S 0    -> pass syn-sent | pass
    ",
        )],
    ),
];
