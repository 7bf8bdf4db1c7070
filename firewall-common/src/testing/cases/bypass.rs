//! Bypass: what one sees of half a connection, and the way back to strict.

use super::{Row, case, row};

pub(super) const ROWS: &[Row] = &[
    row(
        "asym-forward",
        &[case(
            "asym-forward",
            "
        C:S 0         -> pass syn-sent | pass bypass
        C:A 1/1       -> drop:tcp-3whs-failed syn-sent | pass bypass
        C:A 1/1 +1460 -> drop:tcp-3whs-failed syn-sent | pass bypass
        C:FA 1461/1   -> drop:tcp-3whs-failed syn-sent | pass bypass
    ",
        )],
    ),
    row(
        "asym-reply",
        &[case(
            "asym-reply",
            "
        S:SA 0/1      -> drop:tcp-not-syn none | pass bypass
        S:A 1/1 +1460 -> drop:tcp-not-syn none | pass bypass
        S:FA 1461/1   -> drop:tcp-not-syn none | pass bypass
    ",
        )],
    ),
    row(
        "own/no-quota",
        &[case(
            "own/no-quota",
            "
        # Without room for one-sided flows they pass, and stay in the table a flood may churn.
        policy no-quota
        C:A 1/1 +10  -> pass bypass
        C:A 11/1 +10 -> pass bypass
        S:A 1/21     -> pass bypass
    ",
        )],
    ),
    row(
        "own/bypass-timers",
        &[
            case(
                "own/bypass-timers",
                "
        policy bypass
        C:A 1/1 +10  -> pass bypass
        S:A 1/11     -> pass bypass
        S:R 1        -> pass bypass
        # Traffic goes on: the reset was not the end.
        C:A 11/1 +10 -> pass bypass
        @31s
        policy strict
        C:A 21/1 +10 -> pass established
    ",
            ),
            case(
                "own/bypass-timers/closing",
                "
        policy bypass
        C:A 1/1 +10  -> pass bypass
        S:A 1/11     -> pass bypass
        S:R 1        -> pass bypass
        @31s
        policy strict
        C:A 11/1 +10 -> drop:tcp-not-syn none
    ",
            ),
        ],
    ),
    row(
        "own/bypass-to-strict",
        &[
            case(
                "own/bypass-to-strict",
                "
        policy bypass
        C:PA 1/1 +10          -> pass bypass
        S:A 1/11              -> pass bypass
        policy strict
        C:A 900000/700000 +10 -> pass established
        S:A 700000/900010 +10 -> pass established
        # Now both sides' numbers are known again.
        C:A 900010/1080000000 -> drop:tcp-invalid-ack established
        C:A 1990000000/700010 -> drop:tcp-seq-past-win established
        C:A 900010/700010     -> pass established
    ",
            ),
            case(
                "own/bypass-to-strict/in-handshake",
                "
        policy bypass
        C:S 0        -> pass bypass
        policy strict
        S:SA 0/1     -> pass syn-received
        C:A 1/1      -> pass established
    ",
            ),
            case(
                "own/bypass-to-strict/hole",
                "
        policy bypass
        C:PA 1/1 +10     -> pass bypass
        S:A 1/11         -> pass bypass
        policy strict
        # The first packet seen is an old one sent again; what came after it had arrived long ago.
        C:A 5000/1 +1000 -> pass established
        S:A 1/5000       -> pass established
        S:A 1/10000      -> pass established
        C:A 10000/1 +10  -> pass established
    ",
            ),
            case(
                "own/bypass-to-strict/repeated-syn-ack",
                "
        policy bypass
        C:S 0            -> pass bypass
        S:SA 0/1         -> pass bypass
        policy strict
        C:A 1/1 +10      -> pass established
        S:A 1/11         -> pass established
        S:SA 0/1         -> nostate established
        S:SA 5/1         -> drop:tcp-synack-ooo established
    ",
            ),
            case(
                "own/bypass-to-strict/began-with-syn-ack",
                "
        policy bypass
        S:SA 0/1         -> pass bypass
        policy strict
        C:A 1/1          -> pass established
        S:A 1/1 +10      -> pass established
    ",
            ),
            case(
                "own/bypass-to-strict/one-sided",
                "
        policy bypass
        C:PA 1/1 +10     -> pass bypass
        policy strict
        C:PA 11/1 +10    -> pass established
        S:A 1/21         -> pass established
        C:PA 21/1 +10    -> pass established
    ",
            ),
        ],
    ),
];
