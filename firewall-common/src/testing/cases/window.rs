//! Sequence numbers and windows.

use super::{Row, case, row};

pub(super) const ROWS: &[Row] = &[
    row(
        "win-one-sided-scale",
        &[case(
            "win-one-sided-scale",
            "
        C:S 0 ws=8      -> pass | pass
        S:SA 0/1        -> pass | pass
        C:A 1/1         -> pass | pass
        C:A 65537/1 +1  -> drop:tcp-seq-past-win established | pass | pass
        C:A 65536/1 +1  -> pass established | pass
        # The client's offer came to nothing: its windows are not scaled either.
        S:A 65537/1 +1  -> drop:tcp-seq-past-win established | pass | pass
    ",
        )],
    ),
    row(
        "win-both-scale-ws15",
        &[
            case(
                "win-both-scale-ws15/syn-unscaled",
                "
        C:S 0 ws=15         -> pass | pass
        S:SA 0/1 ws=2       -> pass | pass
        C:A 1/1 win=0       -> pass | pass
        S:A 65537/1 +1      -> drop:tcp-seq-past-win established | pass | pass
        S:A 65536/1 +1      -> pass established | pass
    ",
            ),
            case(
                "win-both-scale-ws15/capped",
                "
        C:S 0 ws=15         -> pass | pass
        S:SA 0/1 ws=2       -> pass | pass
        C:A 1/1 win=10000   -> pass | pass
        S:A 163840002/1 +1  -> drop:tcp-seq-past-win established | pass | pass
        S:A 163840001/1 +1  -> pass established | pass
    ",
            ),
        ],
    ),
    row(
        "win-right-edge",
        &[case(
            "win-right-edge",
            "
        C:S 0 win=10000         -> pass | pass
        S:SA 0/1 win=10000      -> pass | pass
        C:A 1/1 win=10000       -> pass | pass
        C:A 10002/1 +1          -> drop:tcp-seq-past-win established | pass | pass
        C:A 10000/1 +100 win=10000 -> pass established | pass
        C:A 10001/1 +1 win=10000   -> pass established | pass
        S:A 10002/1 +1          -> drop:tcp-seq-past-win established | pass | pass
    ",
        )],
    ),
    row(
        "win-old-retx",
        &[case(
            "win-old-retx",
            "
        HS
        C:A 1/1 +1460 x46  -> pass established | pass
        C:A 1/1 +1460      -> nostate established | pass
        S:A 1/67161        -> pass established | pass
    ",
        )],
    ),
    row(
        "nf/ack-loss-stall",
        &[case(
            "nf/ack-loss-stall",
            "
        HS
        C:A 1/1 +1460 x46      -> pass established | pass
        C:A 1/1 +1460          -> nostate established | pass
        S:A 1/67161            -> pass established | pass
        C:A 67161/1 +1460      -> pass established | pass
        S:A 1/68621            -> pass established | pass
    ",
        )],
    ),
    row(
        "win-ack-unseen",
        &[case(
            "win-ack-unseen",
            "
        HS
        C:A 1/2      -> drop:tcp-invalid-ack established | pass
        S:A 1/2      -> drop:tcp-invalid-ack established | pass
        C:A 1/1 +10  -> pass established | pass
        S:A 1/11     -> pass established | pass
        S:A 1/12     -> drop:tcp-invalid-ack established | pass
    ",
        )],
    ),
    row(
        "win-zero-probe-keepalive",
        &[case(
            "win-zero-probe-keepalive",
            "
        C:S 0             -> pass | pass
        S:SA 0/1 win=100  -> pass | pass
        C:A 1/1 +100      -> pass | pass
        S:A 1/101 win=0   -> pass | pass
        C:A 101/1 +1      -> pass established | pass
        S:A 1/101 win=0   -> pass | pass
        S:A 1/102 win=100 -> pass | pass
        C:A 101/1         -> pass established | pass
        C:A 101/1 +1      -> pass established | pass
    ",
        )],
    ),
    row(
        "win-shrink",
        &[case(
            "win-shrink",
            "
        C:S 0               -> pass | pass
        S:SA 0/1 win=10000  -> pass | pass
        C:A 1/1             -> pass | pass
        S:A 1/1 win=1000    -> pass | pass
        C:A 9001/1 +1000    -> pass established | pass
        C:A 10001/1 +1      -> pass established | pass
        C:A 10003/1 +1      -> drop:tcp-seq-past-win established | pass | pass
    ",
        )],
    ),
    row(
        "win-sack-bogus",
        &[
            case(
                "win-sack-bogus/duplicate-sack",
                "
        HS
        C:A 1/1 +1000  -> pass | pass
        S:A 1/1001 opt=01010522000000010000000a0000001400000028000000320000003c0000004600000050 -> pass established | pass
    ",
            ),
            case(
                "win-sack-bogus",
                "
        policy profile default
        HS
        C:A 1/1 +1000        -> pass established
        C:A 2001/1 +1000     -> pass established
        S:A 1/1001 sack=2001:3001 -> pass established
        S:A 1/1001 sack=2001:3002 -> drop:tcp-bad-sack established
        S:A 1/1001 sack=2001:2101,4000:5000 -> drop:tcp-bad-sack established
        S:A 1/1001 sack=2101:2001 -> drop:tcp-bad-sack established
        S:A 1/1001 sack=2001:2001 -> drop:tcp-bad-sack established
        # What came twice: below the acknowledgement, first of four blocks.
        S:A 1/1001 sack=1:500,2001:2101,2201:2301,2401:3001 -> pass established
        S:A 1/1001 opt=05020000 -> drop:tcp-bad-sack established
        S:A 1/1001 opt=0509000000000000000000 -> drop:tcp-bad-sack established
        policy profile off
        S:A 1/1001 sack=2001:3002 -> pass established
    ",
            ),
        ],
    ),
    row(
        "own/old-acknowledgement",
        &[case(
            "own/old-acknowledgement",
            "
        HS
        C:A 1/1 +1460 x40      -> pass established | pass
        S:A 1/58401            -> pass established | pass
        C:A 58401/1 +1460 x40  -> pass established | pass
        S:A 1/116801           -> pass established | pass
        C:A 116801/1 +1460 x40 -> pass established | pass
        # 175 200 bytes below: further than two windows. It passes, for the endpoint judges it.
        S:A 1/1                -> nostate established | pass
        S:A 1/175201           -> pass established | pass
    ",
        )],
    ),
    row(
        "own/overtaken-acknowledgement",
        &[case(
            "own/overtaken-acknowledgement",
            "
        HS
        C:A 1/1 +1460 x40     -> pass established | pass
        S:A 1/58401           -> pass established | pass
        C:A 58401/1 +1460 x40 -> pass established | pass
        # Data that was overtaken on its way here: the acknowledgement is 116 700 bytes old, and the client takes it all the same.
        S:A 1/101 +1000       -> pass established | pass
        C:A 116801/1001       -> pass established | pass
    ",
        )],
    ),
    row(
        "own/reordered",
        &[case(
            "own/reordered",
            "
        HS
        C:A 2921/1 +1460  -> pass established | pass
        C:A 1/1 +1460     -> pass established | pass
        S:A 1/1461        -> pass established | pass
        C:A 1461/1 +1460  -> pass established | pass
        S:A 1/4381        -> pass established | pass
    ",
        )],
    ),
];
