//! The handshake.

use super::{Row, case, row};

pub(super) const ROWS: &[Row] = &[
    row(
        "hs-basic",
        &[case(
            "hs-basic",
            "
        C:S 0        -> pass syn-sent     | pass bypass
        S:SA 0/1     -> pass syn-received | pass bypass
        C:A 1/1      -> pass established  | pass bypass
        C:PA 1/1 +10 -> pass established  | pass bypass
        S:A 1/11     -> pass established  | pass bypass
    ",
        )],
    ),
    row(
        "hs-syn-retx-timer",
        &[case(
            "hs-syn-retx-timer",
            "
        C:S 0    -> pass syn-sent | pass bypass
        @20s
        C:S 0    -> pass syn-sent | pass bypass
        @11s
        # The first SYN is 31 s old: repeating it has not kept the flow alive.
        S:SA 0/1 -> drop:tcp-not-syn none | pass bypass
        C:S 0    -> pass syn-sent | pass bypass
        S:SA 0/1 -> pass syn-received | pass bypass
    ",
        )],
    ),
    row(
        "hs-synack-badack",
        &[case(
            "hs-synack-badack",
            "
        C:S 0        -> pass syn-sent | pass
        S:SA 700/999 -> drop:tcp-ack-syn-diff syn-sent | pass
        C:S 0        -> pass syn-sent | pass
        S:SA -5000/1 -> pass syn-received | pass
        C:A 1/-4999  -> pass established | pass
    ",
        )],
    ),
    row(
        "hs-challenge-ack",
        &[
            case(
                "hs-challenge-ack",
                "
        C:S 0         -> pass syn-sent | pass
        S:A 777/5000  -> noted syn-sent | pass
        C:R 5000      -> nostate syn-sent | pass
        C:S 0         -> pass syn-sent | pass
        S:SA 0/1      -> pass syn-received | pass
        C:A 1/1       -> pass established | pass
    ",
            ),
            case(
                "hs-challenge-ack/wrong-reset",
                "
        C:S 0         -> pass syn-sent | pass
        C:R 5000      -> drop:tcp-rstfin-ooo syn-sent | pass
        S:A 777/5000  -> noted syn-sent | pass
        C:R 5001      -> drop:tcp-rstfin-ooo syn-sent | pass
    ",
            ),
        ],
    ),
    row(
        "hs-midstream",
        &[case(
            "hs-midstream",
            "
        C:PA 5000/300 +100 -> drop:tcp-not-syn none | pass bypass
        S:A 300/5100       -> drop:tcp-not-syn none | pass bypass
    ",
        )],
    ),
    row(
        "hs-syn-data",
        &[
            case(
                "hs-syn-data/fast-open",
                "
        C:S 0 +100 opt=220aaabbccddeeff00110000 -> pass syn-sent | pass
        S:SA 0/101                              -> pass syn-received | pass
        S:A 1/101 +500                          -> pass syn-received | pass
        C:A 101/501                             -> pass established | pass
    ",
            ),
            case(
                "hs-syn-data/not-taken",
                "
        C:S 0 +100     -> pass syn-sent | pass
        S:SA 0/1       -> pass syn-received | pass
        C:A 1/1 +100   -> pass established | pass
    ",
            ),
            case(
                "hs-syn-data/in-syn-ack",
                "
        C:S 0          -> pass syn-sent | pass
        S:SA 0/1 +50   -> pass syn-received | pass
        C:A 1/51       -> pass established | pass
    ",
            ),
            case(
                "hs-syn-data/acks-too-much",
                "
        C:S 0 +100     -> pass syn-sent | pass
        S:SA 0/102     -> drop:tcp-ack-syn-diff syn-sent | pass
    ",
            ),
            case(
                "hs-syn-data/profiles",
                "
        policy profile default
        C:S 0 +100     -> pass syn-sent
        S:SA 0/1 +50   -> pass syn-received
        policy profile asa
        forget
        C:S 0 +100     -> pass syn-sent
        S:SA 0/1 +50   -> drop:tcp-synack-data syn-sent
        S:SA 0/1       -> pass syn-received
        policy profile syn-data
        forget
        C:S 0 +1       -> drop:tcp-syn-data none
        C:S 0          -> pass syn-sent
        S:SA 0/1 +50   -> pass syn-received
    ",
            ),
        ],
    ),
    row(
        "hs-3rd-ack-wrong",
        &[
            case(
                "hs-3rd-ack-wrong",
                "
        C:S 0         -> pass syn-sent | pass
        S:SA 0/1      -> pass syn-received | pass
        C:A 1/2       -> drop:tcp-invalid-ack syn-received | pass
        C:PA 1/2 +100 -> drop:tcp-invalid-ack syn-received | pass
        C:A 1/1       -> pass established | pass
    ",
            ),
            case(
                "hs-3rd-ack-wrong/past-window",
                "
        C:S 0            -> pass syn-sent | pass
        S:SA 0/1 win=100 -> pass syn-received | pass
        C:S 4000         -> noted syn-received | pass
        C:A 102/1 +1     -> drop:tcp-seq-past-win syn-received | pass | pass established
        S:SA 500/4001    -> pass syn-received | pass | drop:tcp-synack-ooo established
    ",
            ),
        ],
    ),
    row(
        "est-syn-from-server",
        &[case(
            "est-syn-from-server",
            "
        HS
        S:S 9000 -> drop:tcp-syn-ooo established | pass
        C:A 1/1  -> pass established | pass
    ",
        )],
    ),
    row(
        "nf/syn-challenge-ack",
        &[case(
            "nf/syn-challenge-ack",
            "
        C:S 0            -> pass syn-sent | pass
        S:A 93000/-41000 -> noted syn-sent | pass
        C:R -41000       -> nostate syn-sent | pass
        C:S 0            -> pass syn-sent | pass
        S:SA 0/1         -> pass syn-received | pass
        C:A 1/1          -> pass established | pass
    ",
        )],
    ),
    row(
        "nf/synack-old",
        &[case(
            "nf/synack-old",
            "
        C:S 0 opt=080a000000640000000001010000  -> pass syn-sent | pass
        # Refused without a trace: the SYN-ACK that answers has a lower first number.
        S:SA 40000/-7777                        -> drop:tcp-ack-syn-diff syn-sent | pass
        C:S 0 opt=080a000004640000000001010000  -> pass syn-sent | pass
        S:SA 0/1                                -> pass syn-received | pass
        C:A 1/1 +10                             -> pass established | pass
        S:A 1/11 +10                            -> pass established | pass
    ",
        )],
    ),
    row(
        "nf/synack-reuse",
        &[case(
            "nf/synack-reuse",
            "
        HS
        C:A 1/1 +100       -> pass established | pass
        S:A 1/101          -> pass established | pass
        C:S 2000 ws=7      -> noted established | pass
        # The server still has the old connection: its challenge passes, the client resets, and tries again.
        S:A 1/101          -> pass established | pass
        C:RA 101/1         -> pass closed | pass
        C:S 2000 ws=8      -> pass syn-sent | pass
        S:SA 7000/2001     -> pass syn-received | pass
        C:A 2001/7001      -> pass established | pass
    ",
        )],
    ),
    row(
        "own/simultaneous-open",
        &[case(
            "own/simultaneous-open",
            "
        C:S 0     -> pass syn-sent | pass
        S:S 0     -> pass syn-sent-both | pass
        C:SA 0/1  -> pass syn-sent-both | pass
        S:SA 0/1  -> pass established | pass
        C:A 1/1 +5 -> pass established | pass
    ",
        )],
    ),
    row(
        "own/split-handshake",
        &[
            case(
                "own/split-handshake",
                "
        C:S 0     -> pass syn-sent | pass
        S:A 0/1   -> drop:tcp-3whs-failed syn-sent | pass
        S:S 0     -> pass syn-sent-both | pass
        C:SA 0/1  -> pass syn-sent-both | pass
        S:A 1/1   -> drop:tcp-3whs-failed syn-sent-both | pass
    ",
            ),
            case(
                "own/split-handshake/after-challenge",
                "
        C:S 0     -> pass syn-sent | pass
        S:A 0/7   -> noted syn-sent | pass
        S:S 0     -> drop:tcp-3whs-failed syn-sent | pass
    ",
            ),
        ],
    ),
    row(
        "own/client-syn-ack",
        &[case(
            "own/client-syn-ack",
            "
        C:SA 0/1  -> drop:tcp-not-syn none | pass
        forget
        C:S 0     -> pass syn-sent | pass
        C:SA 0/1  -> drop:tcp-3whs-failed syn-sent | pass
    ",
        )],
    ),
    row(
        "own/syn-repeated-late",
        &[case(
            "own/syn-repeated-late",
            "
        HS
        C:A 1/1 +1000 -> pass established | pass
        S:A 1/1001 +1000 -> pass established | pass
        # Both halves of the handshake come once more, late: nothing begins anew.
        C:S 0         -> nostate established | pass
        S:SA 0/1      -> nostate established | pass
        C:A 1001/1001 +1000 -> pass established | pass
    ",
        )],
    ),
    row(
        "own/third-lost",
        &[case(
            "own/third-lost",
            "
        C:S 0          -> pass syn-sent | pass
        S:SA 0/1       -> pass syn-received | pass
        S:SA 0/1       -> nostate syn-received | pass
        C:A 101/1 +100 -> pass established | pass
        S:SA 0/1       -> nostate established | pass
        C:A 1/1 +100   -> pass established | pass
    ",
        )],
    ),
];
