//! What strict inspection would have dropped of a bypass flow, and goes on to drop or not: the first column is strict inspection itself, for as
//! long as it has refused nothing.

use super::{Row, case, row};

pub(super) const ROWS: &[Row] = &[
    row(
        "own/needed/never",
        &[
            case(
                "own/needed/never",
                "
        C:S 0            -> pass syn-sent     | unneeded bypass
        S:SA 0/1         -> pass syn-received | unneeded bypass
        C:A 1/1          -> pass established  | unneeded bypass
        C:PA 1/1 +100    -> pass              | unneeded
        S:A 1/101 +1000  -> pass              | unneeded
        # Sent again, a hole, what fills it, a window that closes and its probe: all that is TCP.
        C:PA 1/1 +100    -> pass              | unneeded
        S:A 2001/101 +10 -> pass              | unneeded
        C:A 101/1001     -> pass              | unneeded
        S:A 1001/101 +1000 -> pass            | unneeded
        C:A 101/2011 win=0 -> pass            | unneeded
        S:A 2011/101 +1  -> pass              | unneeded
        C:FA 101/2012    -> pass fin-wait     | unneeded bypass
        S:FA 2012/102    -> pass last-ack     | unneeded bypass
        C:A 102/2013     -> pass time-wait    | unneeded bypass
    ",
            ),
            case(
                "own/needed/never/reset",
                "
        HS
        S:R 1            -> pass closed       | unneeded bypass
        # The client has not heard of it yet.
        C:PA 1/1 +10     -> nostate closed    | unneeded bypass
        C:S 5000         -> pass syn-sent     | unneeded bypass
        S:SA 9000/5001   -> pass syn-received | unneeded bypass
        C:A 5001/9001    -> pass established  | unneeded bypass
    ",
            ),
            case(
                "own/needed/never/simultaneous",
                "
        C:S 0            -> pass syn-sent      | unneeded bypass
        S:S 0            -> pass syn-sent-both | unneeded bypass
        C:SA 0/1         -> pass               | unneeded bypass
        S:SA 0/1         -> pass established   | unneeded bypass
    ",
            ),
        ],
    ),
    row(
        "own/needed/first-packet",
        &[
            case(
                "own/needed/first-packet",
                "
        # In the middle of a connection: strict has none before both sides have spoken, then their numbers are known.
        C:PA 1/1 +10     -> drop:tcp-not-syn none | needed:tcp-not-syn bypass
        C:PA 11/1 +10    -> drop:tcp-not-syn none | needed:tcp-not-syn bypass
        S:A 1/21         -> drop:tcp-not-syn none | needed:tcp-not-syn bypass
        C:PA 21/1 +10    -> drop:tcp-not-syn none | unneeded bypass
        S:A 1/31 +10     -> drop:tcp-not-syn none | unneeded bypass
        C:A 31/1500000000 -> drop:tcp-not-syn none | needed:tcp-invalid-ack bypass
    ",
            ),
            case(
                "own/needed/first-packet/syn-later",
                "
        C:A 1/1          -> drop:tcp-not-syn none | needed:tcp-not-syn bypass
        C:S 5000         -> pass syn-sent         | unneeded bypass
        S:SA 0/5001      -> pass syn-received     | unneeded bypass
        C:A 5001/1       -> pass established      | unneeded bypass
    ",
            ),
        ],
    ),
    row(
        "own/needed/one-sided",
        &[
            case(
                "own/needed/one-sided",
                "
        # Nobody answers here: strict refuses all but the SYN, for good.
        C:S 0            -> pass syn-sent                    | unneeded bypass
        C:A 1/1          -> drop:tcp-3whs-failed syn-sent    | needed:tcp-3whs-failed bypass
        C:PA 1/1 +1000   -> drop:tcp-3whs-failed syn-sent    | needed:tcp-3whs-failed bypass
        C:PA 1001/1 +900 -> drop:tcp-3whs-failed syn-sent    | needed:tcp-3whs-failed bypass
        C:S 0            -> pass syn-sent                    | unneeded bypass
        C:FA 1901/1      -> drop:tcp-3whs-failed syn-sent    | needed:tcp-3whs-failed bypass
    ",
            ),
            case(
                "own/needed/one-sided/replies",
                "
        S:SA 0/1         -> drop:tcp-not-syn none            | needed:tcp-not-syn bypass
        S:A 1/1 +1460    -> drop:tcp-not-syn none            | needed:tcp-not-syn bypass
        S:A 1461/1 +1460 -> drop:tcp-not-syn none            | needed:tcp-not-syn bypass
    ",
            ),
            case(
                "own/needed/one-sided/answered",
                "
        C:S 0            -> pass syn-sent                    | unneeded bypass
        C:A 1/1          -> drop:tcp-3whs-failed syn-sent    | needed:tcp-3whs-failed bypass
        S:SA 0/1         -> pass syn-received                | unneeded bypass
        C:A 1/1          -> pass established                 | unneeded bypass
    ",
            ),
        ],
    ),
    row(
        "own/needed/handshake",
        &[
            case(
                "own/needed/handshake/syn-ack",
                "
        C:S 0            -> pass syn-sent                    | unneeded bypass
        S:SA 0/7         -> drop:tcp-ack-syn-diff syn-sent   | needed:tcp-ack-syn-diff bypass
        # The wrong one has taught nothing.
        S:SA 0/1         -> pass syn-received                | unneeded bypass
        C:A 1/9          -> drop:tcp-invalid-ack syn-received | needed:tcp-invalid-ack bypass
    ",
            ),
            case(
                "own/needed/handshake/no-syn-ack",
                "
        C:S 0            -> pass syn-sent                    | unneeded bypass
        S:A 1/1 +10      -> drop:tcp-3whs-failed syn-sent    | needed:tcp-3whs-failed bypass
        # Both sides have spoken, and what they said is learned.
        C:A 1/11         -> drop:tcp-3whs-failed syn-sent    | unneeded bypass
        S:A 11/1 +10     -> drop:tcp-3whs-failed syn-sent    | unneeded bypass
    ",
            ),
            case(
                "own/needed/handshake/reset",
                "
        C:S 0            -> pass syn-sent                    | unneeded bypass
        S:R 0            -> drop:tcp-rstfin-ooo syn-sent     | needed:tcp-rstfin-ooo bypass
        S:RA 0/1         -> pass closed                      | unneeded bypass
    ",
            ),
            case(
                "own/needed/handshake/split",
                "
        C:S 0            -> pass syn-sent                    | unneeded bypass
        S:S 0            -> pass syn-sent-both               | unneeded bypass
        C:A 1/1          -> drop:tcp-3whs-failed             | needed:tcp-3whs-failed bypass
    ",
            ),
        ],
    ),
    row(
        "own/needed/window",
        &[
            case(
                "own/needed/window",
                "
        HS
        C:PA 1/1 +1000      -> pass                             | unneeded
        # Past what the server granted. It grants no more by that: whatever follows is refused as well.
        C:PA 70001/1 +1000  -> drop:tcp-seq-past-win            | needed:tcp-seq-past-win | pass
        C:PA 71001/1 +1000  -> drop:tcp-seq-past-win            | needed:tcp-seq-past-win | pass
        C:PA 72001/1 +1000  -> drop:tcp-seq-past-win            | needed:tcp-seq-past-win | pass
        # The server has what passed, and acknowledges it: strict knows that it was sent.
        S:A 1/73001         -> drop:tcp-invalid-ack             | unneeded | pass
        C:PA 73001/1 +1000  -> drop:tcp-seq-past-win            | unneeded | pass
    ",
            ),
            case(
                "own/needed/window/frozen",
                "
        # A stream that sends nothing twice, and a receiver whose acknowledgement stays at the hole: dead for strict from the window's end on.
        HS
        C:PA 1/1 +1000          -> pass                         | unneeded
        S:PA 1/1001 +1000       -> pass                         | unneeded
        C:PA 60001/1001 +1000   -> pass                         | unneeded
        S:PA 1001/1001 +1000    -> pass                         | unneeded
        C:PA 67001/2001 +1000   -> drop:tcp-seq-past-win        | needed:tcp-seq-past-win | pass
        S:PA 2001/1001 +1000    -> pass                         | unneeded
        C:PA 68001/2001 +1000   -> drop:tcp-seq-past-win        | needed:tcp-seq-past-win | pass
        C:PA 69001/3001 +1000   -> drop:tcp-seq-past-win        | needed:tcp-seq-past-win | pass
        S:PA 3001/1001 +1000    -> pass                         | unneeded
    ",
            ),
            case(
                "own/needed/acknowledgement",
                "
        HS
        C:PA 1/1 +1000      -> pass                             | unneeded
        # Of what was lost before it came here.
        S:A 1/5001          -> drop:tcp-invalid-ack             | needed:tcp-invalid-ack
        # From here on its numbers are known again.
        S:A 1/5001 +100     -> drop:tcp-invalid-ack             | unneeded
        C:PA 5001/101 +10   -> drop:tcp-invalid-ack             | unneeded
        S:A 101/5011        -> drop:tcp-invalid-ack             | unneeded
        S:A 101/900000      -> drop:tcp-invalid-ack             | needed:tcp-invalid-ack
    ",
            ),
            case(
                "own/needed/past-fin",
                "
        HS
        C:FA 1/1            -> pass fin-wait                    | unneeded bypass
        C:PA 2/1 +10        -> drop:tcp-data-past-fin fin-wait  | needed:tcp-data-past-fin bypass
        C:PA 12/1 +10       -> drop:tcp-data-past-fin fin-wait  | unneeded bypass
    ",
            ),
        ],
    ),
    row(
        "own/needed/control",
        &[
            case(
                "own/needed/control",
                "
        HS
        S:R 2000000         -> drop:tcp-rstfin-ooo established  | needed:tcp-rstfin-ooo bypass
        # It says nothing of where the data is.
        C:PA 1/1 +10        -> pass established                 | unneeded bypass
        S:S 777             -> drop:tcp-syn-ooo established     | needed:tcp-syn-ooo bypass
        S:SA 777/777        -> drop:tcp-synack-ooo established  | needed:tcp-synack-ooo bypass
        S:A 1/11            -> pass established                 | unneeded bypass
        S:A 1/90000         -> drop:tcp-invalid-ack established | needed:tcp-invalid-ack bypass
    ",
            ),
            case(
                "own/needed/after-a-reset",
                "
        # A reset closes, and a stream that does not care goes on: strict has soon forgotten the connection.
        HS
        S:R 1               -> pass closed                      | unneeded bypass
        C:PA 1/1 +10        -> nostate closed                   | unneeded bypass
        @6s
        C:PA 11/1 +10       -> nostate closed                   | unneeded bypass
        @6s
        C:PA 21/1 +10       -> drop:tcp-not-syn none            | needed:tcp-not-syn bypass
        S:A 1/31            -> drop:tcp-not-syn none            | needed:tcp-not-syn bypass
        C:PA 31/1 +10       -> drop:tcp-not-syn none            | unneeded bypass
    ",
            ),
            case(
                "own/needed/late-handshake",
                "
        C:S 0               -> pass syn-sent                    | unneeded bypass
        @31s
        S:SA 0/1            -> drop:tcp-not-syn none            | needed:tcp-not-syn bypass
    ",
            ),
        ],
    ),
    row(
        "own/needed/sanity-off",
        &[case(
            "own/needed/sanity-off",
            "
        policy bypass
        C:S 0            -> unneeded bypass
        S:SA 0/1         -> unneeded bypass
        policy sanity-off
        C:SF 9           -> needed:tcp-bad-flags bypass
        C:- 1 +10        -> needed:tcp-bad-flags bypass
        C:A 1/1          -> unneeded bypass
        forget
        C:FPU 1 +10      -> needed:tcp-bad-flags bypass
    ",
        )],
    ),
    row(
        "own/needed/from-strict",
        &[
            case(
                "own/needed/from-strict",
                "
        # Strict inspection goes on in the shadow from where it was.
        policy strict
        C:S 0               -> pass syn-sent
        S:SA 0/1            -> pass syn-received
        C:A 1/1             -> pass established
        policy bypass
        C:PA 1/1 +10        -> unneeded bypass
        S:A 1/11            -> unneeded bypass
        S:A 1/5000          -> needed:tcp-invalid-ack bypass
    ",
            ),
            case(
                "own/needed/there-and-back",
                "
        # Numbers from the middle of a scaled connection, strict in between: the largest scale stays assumed.
        policy bypass
        C:A 1/1 +10         -> needed:tcp-not-syn bypass
        S:A 1/11            -> needed:tcp-not-syn bypass
        policy strict
        C:A 11/1 +10        -> pass established
        S:A 1/21            -> pass established
        policy bypass
        C:A 21/1 +10        -> unneeded bypass
        policy strict
        C:A 31/1 +10        -> pass established
        S:A 1/41            -> pass established
        C:A 1000041/1 +10   -> pass established
    ",
            ),
        ],
    ),
];
