//! Closing, TIME-WAIT and beginning anew.

use super::{Row, case, row};

pub(super) const ROWS: &[Row] = &[
    row(
        "fin-normal",
        &[
            case(
                "fin-normal",
                "
        HS
        C:FA 1/1 -> pass fin-wait    | pass bypass
        S:A 1/2  -> pass half-closed | pass bypass
        S:FA 1/2 -> pass last-ack    | pass bypass
        C:A 2/2  -> pass time-wait   | pass bypass
        S:FA 1/2 -> pass time-wait   | pass bypass
        C:A 2/2  -> pass time-wait   | pass bypass
        @121s
        C:A 2/2  -> drop:tcp-not-syn none | pass bypass
    ",
            ),
            case(
                "fin-normal/half-closed",
                "
        HS
        C:FA 1/1         -> pass fin-wait | pass
        S:A 1/2 +1460    -> pass half-closed | pass
        @599s
        S:A 1461/2 +1460 -> pass half-closed | pass
        C:A 2/2921       -> pass half-closed | pass
        @601s
        S:A 2921/2 +10   -> drop:tcp-not-syn none | pass
    ",
            ),
            case(
                "fin-normal/behind-full-window",
                "
        C:S 0             -> pass | pass
        S:SA 0/1 win=100  -> pass | pass
        C:A 1/1 +100      -> pass established | pass
        C:FA 101/1        -> pass fin-wait | pass
        # Whoever puts its FIN there acknowledges from one past the window.
        C:A 102/1         -> pass fin-wait | pass
        C:A 103/1         -> drop:tcp-seq-past-win fin-wait | pass | drop:tcp-data-past-fin
        forget
        C:S 0             -> pass | pass
        S:SA 0/1 win=100  -> pass | pass
        C:A 1/1 +100      -> pass established | pass
        # The FIN was lost before us; it comes again.
        C:A 102/1         -> pass established | pass
        C:FA 101/1        -> pass fin-wait | pass
    ",
            ),
            case(
                "fin-normal/with-data",
                "
        HS
        S:FA 1/1 +500    -> pass fin-wait | pass
        C:FA 1/502       -> pass last-ack | pass
        S:A 502/2        -> pass time-wait | pass
    ",
            ),
        ],
    ),
    row(
        "fin-bad",
        &[
            case(
                "fin-bad",
                "
        HS
        S:FA 70000/1  -> drop:tcp-seq-past-win established | pass
        S:FA 1/500    -> drop:tcp-invalid-ack established | pass
        C:A 1/1 +10   -> pass established | pass
    ",
            ),
            case(
                "fin-bad/in-place-of-data",
                "
        HS
        S:A 1/1 +10   -> pass established | pass
        # The client has that byte and discards the FIN: it ends nothing.
        S:FA 10/1     -> pass established | pass
        S:A 11/1 +10  -> pass established | pass
        C:A 1/21      -> pass established | pass
        S:FA 21/1     -> pass fin-wait | pass
        S:FA 21/1     -> pass fin-wait | pass
    ",
            ),
            case(
                "fin-bad/in-place-of-early-data",
                "
        C:S 0 +100     -> pass syn-sent | pass
        S:SA 0/101     -> pass syn-received | pass
        S:A 1/101 +500 -> pass syn-received | pass
        S:FA 500/101   -> pass syn-received | pass
        C:A 101/501    -> pass established | pass
        S:A 501/101 +9 -> pass established | pass
    ",
            ),
            case(
                "fin-bad/syn-sent",
                "
        C:S 0         -> pass syn-sent | pass
        S:FA 1/1      -> drop:tcp-3whs-failed syn-sent | pass
        S:FA 1/900    -> drop:tcp-3whs-failed syn-sent | pass
    ",
            ),
            case(
                "fin-bad/data-after",
                "
        HS
        S:FA 1/1      -> pass fin-wait | pass
        S:A 2/1 +10   -> drop:tcp-data-past-fin fin-wait | pass
        S:A 1/1       -> pass fin-wait | pass
    ",
            ),
        ],
    ),
    row(
        "tw-syn-new",
        &[case(
            "tw-syn-new",
            "
        HS
        C:FA 1/1         -> pass | pass
        S:FA 1/2         -> pass | pass
        C:A 2/2          -> pass time-wait | pass
        # Not above the old numbers: an old SYN.
        C:S 0            -> noted time-wait | pass
        C:S 100000       -> pass syn-sent | pass
        S:SA 500/100001  -> pass syn-received | pass
        C:A 100001/501   -> pass established | pass
    ",
        )],
    ),
    row(
        "est-syn-resync",
        &[
            case(
                "est-syn-resync",
                "
        HS
        C:A 1/1 +100     -> pass established | pass
        S:A 1/101        -> pass established | pass
        C:S 2000         -> noted established | pass
        S:SA 5000/2002   -> drop:tcp-synack-ooo established | pass
        S:SA 5000/2001   -> pass syn-received | pass
        C:A 2001/5001    -> pass established | pass
        C:A 2001/5001 +9 -> pass established | pass
    ",
            ),
            case(
                "est-syn-resync/nothing-came-of-it",
                "
        HS
        C:S 2000000      -> noted established | pass
        # The old numbers are still those in force.
        C:A 1/1 +100     -> pass established | pass
        S:A 1/101        -> pass established | pass
        C:A 2000001/1 +1 -> drop:tcp-seq-past-win established | pass | pass
    ",
            ),
        ],
    ),
];
