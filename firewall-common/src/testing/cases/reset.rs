//! Resets.

use super::{Row, case, row};

pub(super) const ROWS: &[Row] = &[
    row(
        "rst-exact",
        &[
            case(
                "rst-exact",
                "
        HS
        S:R 1    -> pass closed | pass bypass
        @11s
        C:A 1/1  -> drop:tcp-not-syn none | pass bypass
    ",
            ),
            case(
                "rst-exact/own-last-byte",
                "
        HS
        # Data that is lost behind the firewall, then a reset directly after it: the receiver has acknowledged none of it.
        S:A 1/1 +1000 -> pass established | pass
        S:R 1001      -> pass closed | pass
    ",
            ),
        ],
    ),
    row(
        "rst-out",
        &[case(
            "rst-out",
            "
        far
        HS
        S:R -999     -> drop:tcp-rstfin-ooo established | pass
        S:R 1000001  -> drop:tcp-rstfin-ooo established | pass
        S:R =0       -> drop:tcp-rstfin-ooo established | pass
        C:A 1/1 +10  -> pass established | pass bypass
    ",
        )],
    ),
    row(
        "rst-in-inexact",
        &[
            case(
                "rst-in-inexact",
                "
        HS
        S:R 101  -> noted established | pass | pass closed
        C:A 1/1  -> pass established | pass | nostate closed
        S:R 1    -> pass closed | pass | nostate closed
    ",
            ),
            case(
                "rst-in-inexact/timer",
                "
        HS
        S:R 101      -> noted established | pass | pass closed
        @241s
        # Nobody was heard of since: the reset was meant.
        C:A 1/1 +10  -> drop:tcp-not-syn none | pass
    ",
            ),
            case(
                "rst-in-inexact/idle",
                "
        HS
        @3600s
        # The flow was idle for longer than it is given now: it counts from now.
        S:R 101      -> noted established | pass | pass closed
        @239s
        C:A 1/1      -> pass established | pass | drop:tcp-not-syn none
    ",
            ),
            case(
                "rst-in-inexact/restored",
                "
        HS
        S:R 101      -> noted established | pass | pass closed
        C:A 1/1      -> pass established | pass | nostate closed
        @241s
        C:A 1/1 +10  -> pass established | pass | drop:tcp-not-syn none
    ",
            ),
        ],
    ),
    row(
        "rst-to-syn",
        &[case(
            "rst-to-syn",
            "
        C:S 0       -> pass syn-sent | pass
        S:RA =0/41  -> drop:tcp-rstfin-ooo syn-sent | pass
        S:R =0      -> drop:tcp-rstfin-ooo syn-sent | pass
        S:RA =0/1   -> pass closed | pass
        C:S 0       -> pass syn-sent | pass
    ",
        )],
    ),
    row(
        "rst-late-closing",
        &[case(
            "rst-late-closing",
            "
        HS
        S:A 1/1 +3000      -> pass established | pass
        C:A 1/3001         -> pass established | pass
        S:FA 3001/1        -> pass fin-wait | pass
        C:RA 1/3002        -> pass closed | pass
        S:R 2001           -> nostate closed | pass
    ",
        )],
    ),
    row(
        "own/rst-at-fin",
        &[case(
            "own/rst-at-fin",
            "
        HS
        S:A 1/1 +100  -> pass established | pass
        S:FA 101/1    -> pass fin-wait | pass
        # Before the FIN is acknowledged its number is in the window.
        S:R 101       -> noted fin-wait | pass | pass closed
        C:A 1/102     -> pass half-closed | pass | nostate closed
        # The server's socket is gone; what the client sent before the FIN came is answered at the FIN's number.
        S:R 101       -> noted half-closed | pass | nostate closed
        S:R 100       -> drop:tcp-rstfin-ooo half-closed | pass | nostate closed
        C:A 1/102 +10 -> pass half-closed | pass | nostate closed
        S:R 102       -> pass closed | pass | nostate closed
    ",
        )],
    ),
    row(
        "nf/inexact-rst",
        &[case(
            "nf/inexact-rst",
            "
        C:S 0 ws=8            -> pass syn-sent | pass
        S:SA 0/1              -> pass syn-received | pass
        C:A 1/1               -> pass established | pass
        S:A 1/1 +1000         -> pass established | pass
        S:A 1001/1 +1000      -> pass established | pass
        S:A 2001/1 +1000      -> pass established | pass
        C:A 1/3001 +1000      -> pass established | pass
        S:FA 3001/1001        -> pass fin-wait | pass
        C:A 1001/3002         -> pass half-closed | pass
        # Closed with unread data: a reset, and one of the server's that is late.
        C:RA 1001/3002        -> pass closed | pass
        S:R 2001              -> nostate closed | pass
    ",
        )],
    ),
    row(
        "nf/rst-invalid",
        &[case(
            "nf/rst-invalid",
            "
        far
        HS
        S:A 1/1 +3000   -> pass established | pass
        C:A 1/3001      -> pass established | pass
        S:R =0          -> drop:tcp-rstfin-ooo established | pass
        S:R =1000000    -> drop:tcp-rstfin-ooo established | pass
        S:R =42         -> drop:tcp-rstfin-ooo established | pass
        C:A 1/3001 +100 -> pass established | pass
        S:A 3001/101    -> pass established | pass
        S:RA 3000/101   -> drop:tcp-rstfin-ooo established | pass
        S:RA 3001/101   -> pass closed | pass
    ",
        )],
    ),
    row(
        "own/rst-in-handshake",
        &[case(
            "own/rst-in-handshake",
            "
        C:S 0      -> pass syn-sent | pass
        S:SA 0/1   -> pass syn-received | pass
        C:R -70000 -> drop:tcp-rstfin-ooo syn-received | pass
        C:R 1      -> pass closed | pass
    ",
        )],
    ),
    row(
        "own/rst-refuses-syn",
        &[
            case(
                "own/rst-refuses-syn/in-handshake",
                "
        far
        C:S 0      -> pass syn-sent | pass
        S:SA 0/1   -> pass syn-received | pass
        # The SYN-ACK was lost behind us, the SYN comes again, and by now nobody listens.
        C:S 0      -> nostate syn-received | pass
        S:RA =0/2  -> drop:tcp-rstfin-ooo syn-received | pass
        S:RA =0/1  -> nostate syn-received | pass
    ",
            ),
            case(
                "own/rst-refuses-syn/on-live-flow",
                "
        far
        HS
        C:S 2000     -> noted established | pass
        S:RA =0/2002 -> drop:tcp-rstfin-ooo established | pass
        S:RA =0/2001 -> noted established | pass
        C:A 1/1 +10  -> pass established | pass
    ",
            ),
        ],
    ),
    row(
        "own/syn-ack-after-rst",
        &[case(
            "own/syn-ack-after-rst",
            "
        C:S 0      -> pass syn-sent | pass
        S:SA 0/1   -> pass syn-received | pass
        S:SA 900/1 -> noted syn-received | pass
        C:S 4000   -> noted syn-received | pass
        C:R 1      -> pass closed | pass
        # The responder has yet to hear of the reset.
        S:SA 900/1 -> nostate closed | pass
    ",
        )],
    ),
];
