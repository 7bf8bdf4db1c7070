//! Attacks and evasions that a normalizer profile meets, and what of them passes where bypass leaves a segment alone.

use crate::testing::cases::{Row, case, case_v4, case_v6, row};

pub(in crate::testing::cases) const ROWS: &[Row] = &[
    row(
        "corpus/low-hop-limit",
        &[
            case(
                "corpus/low-hop-limit/data",
                "
        policy profile ttl
        HS
        C:A 1/1 +10 hops=64          -> pass established
        # Meant for a monitor and not for the server. What is said anew at its place gets no further than it did.
        C:A 11/1 +10 data=66 hops=9  -> pass established
        C:A 11/1 +10 data=65 hops=64 -> pass established => C:A 11/1 +10 data=65 hops=9
        C:PA 21/1 +10 hops=255       -> pass established => C:PA 21/1 +10 hops=9
        # The server's side is another one.
        S:A 1/31 hops=64             -> pass established
        policy profile ttl bypass
        forget
        C:A 1/1 +10 hops=64          -> pass bypass
        C:A 11/1 +10 data=66 hops=9  -> pass bypass
        C:A 11/1 +10 data=65 hops=64 -> pass bypass
    ",
            ),
            case(
                "corpus/low-hop-limit/reset",
                "
        policy profile ttl
        HS
        C:A 1/1 +10 hops=64  -> pass established
        # It dies on the way, and nobody here can tell. The connection is over for the firewall too, not only for the monitor.
        C:R 11 hops=10       -> pass closed
        C:A 11/1 +10 hops=64 -> nostate closed => C:A 11/1 +10 hops=10
        @11s
        C:A 21/1 +10 hops=64 -> drop:tcp-not-syn none
        policy profile ttl bypass
        forget
        C:A 1/1 +10 hops=64  -> pass bypass
        C:R 11 hops=10       -> pass bypass
        C:A 11/1 +10 hops=64 -> pass bypass
    ",
            ),
        ],
    ),
    row(
        "corpus/bad-checksum",
        &[case(
            "corpus/bad-checksum",
            "
        policy profile checksum-all
        HS
        C:PA 1/1 +100 data=66 tcpsum=bad     -> drop:tcp-bad-cksum established
        # With a second defect as well.
        C:PA 1/70000 +100 data=66 tcpsum=bad -> drop:tcp-bad-cksum established
        C:A 1/70000 tcpsum=bad               -> drop:tcp-bad-cksum established
        C:PA 1/1 +100 data=65                -> pass established
        S:A 1/101                            -> pass established
        policy profile checksum-all bypass
        C:PA 101/1 +100 tcpsum=bad           -> drop:tcp-bad-cksum
        C:PA 101/1 +100                      -> pass bypass
        # By default the data's receiver is left to discard it; an acknowledgement of data that never was is not.
        policy profile default
        forget
        HS
        C:PA 1/1 +100 data=66 tcpsum=bad     -> pass established
        C:PA 1/70000 +100 data=66 tcpsum=bad -> drop:tcp-invalid-ack established
        C:PA 1/1 +100 data=65                -> pass established
    ",
        )],
    ),
    row(
        "corpus/inserted-data",
        &[case(
            "corpus/inserted-data",
            "
        policy profile checksum-all
        HS
        # A copy whose first bytes lie in the header by its data offset.
        C:PA 1/1 +40 data=1 doff=10 tcpsum=bad -> drop:tcp-bad-cksum established
        C:PA 1/1 +40 data=1 doff=8 tcpsum=bad  -> drop:tcp-bad-cksum established
        C:PA 1/1 +40 data=3 doff=10            -> drop:tcp-bad-option-list
        # A scale that means nothing here, whole and broken.
        C:PA 1/1 +40 opt=03010000              -> drop:tcp-bad-option-list
        C:PA 1/1 +40 opt=03030e01              -> pass established
        policy profile default
        C:PA 41/70000 +40 data=1 doff=10       -> drop:tcp-invalid-ack established
        policy profile options
        C:PA 41/1 +40 opt=03030e01             -> pass established => C:PA 41/1 +40 opt=01010101
        policy profile options bypass
        C:PA 81/1 +40 opt=03010000             -> drop:tcp-bad-option-list
        C:PA 81/1 +40 opt=03030e01             -> pass bypass => C:PA 81/1 +40 opt=01010101
    ",
        )],
    ),
    row(
        "corpus/md5",
        &[case(
            "corpus/md5",
            "
        policy profile default
        HS
        C:R 1 opt=131200112233445566778899aabbccddeeff0000         -> drop:tcp-md5 established
        C:RA 1/1 opt=131200112233445566778899aabbccddeeff0000      -> drop:tcp-md5 established
        C:FA 1/1 opt=131200112233445566778899aabbccddeeff0000      -> drop:tcp-md5 established
        C:PA 1/1 +10 opt=131200112233445566778899aabbccddeeff0000  -> drop:tcp-md5 established
        C:RA 1/70000 opt=131200112233445566778899aabbccddeeff0000  -> drop:tcp-md5 established
        C:PA 1/1 +10 -> pass established
        policy profile default bypass
        C:PA 11/1 +10 opt=131200112233445566778899aabbccddeeff0000 -> pass bypass
        C:RA 21/1 opt=131200112233445566778899aabbccddeeff0000     -> pass bypass
    ",
        )],
    ),
    row(
        "corpus/teardown-with-a-defect",
        &[case(
            "corpus/teardown-with-a-defect",
            "
        policy profile default
        HS
        C:R 1 tcpsum=bad      -> drop:tcp-bad-cksum established
        C:RA 1/1 tcpsum=bad   -> drop:tcp-bad-cksum established
        C:FA 1/1 tcpsum=bad   -> drop:tcp-bad-cksum established
        C:R -70000            -> drop:tcp-rstfin-ooo established
        C:RA -70000/1         -> drop:tcp-rstfin-ooo established
        C:FA 70000/1          -> drop:tcp-seq-past-win established
        C:FA 1/70000          -> drop:tcp-invalid-ack established
        C:R 500               -> noted established
        C:PA 1/1 +10          -> pass established
        policy profile default bypass
        C:R 11 tcpsum=bad     -> drop:tcp-bad-cksum
        C:FA 11/1 tcpsum=bad  -> drop:tcp-bad-cksum
        C:FA 70000/1          -> pass bypass
        C:R -70000            -> pass bypass
        # They have shortened its time, and what follows gives it back.
        C:PA 11/1 +10         -> pass bypass
    ",
        )],
    ),
    row(
        "corpus/fin-with-a-cut-length",
        &[case_v4("corpus/fin-with-a-cut-length/v4", FIN_CUT_V4), case_v6("corpus/fin-with-a-cut-length/v6", FIN_CUT_V6)],
    ),
    row(
        "corpus/overlapping-segments",
        &[case(
            "corpus/overlapping-segments",
            "
        # Two readers would put these together differently. Begun at one place, they are told apart by their data.
        policy profile retransmission
        HS
        C:A 1/1 +100 data=66    -> pass established
        C:A 1/1 +100 data=65    -> drop:tcpnorm-rexmit-bad established
        C:A 1/1 +160 data=65    -> drop:tcpnorm-rexmit-bad established
        C:A 1/1 +100 data=66    -> pass established
        # What lies ahead of a hole cannot be held back, but it can be refused until the hole is filled.
        policy profile in-order
        forget
        HS
        C:A 9/1 +100 data=66    -> drop:tcp-discarded-ooo established
        C:A 1/1 +108 data=65    -> pass established
        C:A 109/1 +10 data=65   -> pass established
        policy profile retransmission bypass
        forget
        C:A 1/1 +100 data=66    -> pass bypass
        C:A 1/1 +100 data=65    -> pass bypass
        C:A 200/1 +100 data=65  -> pass bypass
    ",
        )],
    ),
    row(
        "corpus/paws-abuse",
        &[
            case(
                "corpus/paws-abuse/poison",
                "
        policy profile paws
        C:S 0 ts=1000            -> pass syn-sent
        S:SA 0/1 ts=500          -> pass syn-received
        C:A 1/1 ts=1001          -> pass established
        C:A 1/1 +100 ts=1002     -> pass established
        S:A 1/101 ts=501         -> pass established
        # From far in the future, somewhere in the window: it passes, and shuts nobody out.
        C:A 5001/1 +10 ts=2000000000 -> pass established
        C:A 101/1 +100 ts=1003   -> pass established
        @2s
        # An old one at a place where it is believed.
        C:A 101/1 +100 ts=900    -> drop:tcp-paws-fail established
        C:FA 201/1 ts=900        -> drop:tcp-paws-fail established
        C:A 201/1 +100 ts=1004   -> pass established
        policy profile paws bypass
        C:A 301/1 +100 ts=2000000000 -> pass bypass
        C:A 301/1 +100 ts=1      -> pass bypass
    ",
            ),
            case(
                "corpus/paws-abuse/reset",
                "
        policy profile paws
        C:S 0 ts=1000            -> pass syn-sent
        S:SA 0/1 ts=500          -> pass syn-received
        C:A 1/1 ts=1001          -> pass established
        C:A 1/1 +100 ts=1002     -> pass established
        S:A 1/101 ts=501         -> pass established
        # A reset is judged by its number alone, whatever its timestamp says (RFC 7323 §5.2).
        C:R 5000 ts=1003         -> noted established
        C:R -5000 ts=1003        -> drop:tcp-rstfin-ooo established
        C:R 101 ts=1             -> pass closed
    ",
            ),
        ],
    ),
    row(
        "corpus/sack-holes",
        &[case(
            "corpus/sack-holes",
            "
        policy profile default
        HS
        C:A 1/1 +1000                        -> pass established
        # Many small holes are costly and legal.
        S:A 1/1 sack=2:3,5:6,8:9,11:12       -> pass established
        S:A 1/1 sack=14:15,17:18,20:21,23:24 -> pass established
        S:A 1/1 sack=1000:1002               -> drop:tcp-bad-sack established
        S:A 1/1 sack=2:3,1000:1003           -> drop:tcp-bad-sack established
        # The smallest segments are what makes them dear.
        policy profile everything
        forget
        C:S 0 mss=48                         -> drop:tcp-mss-too-small none
        C:S 0 mss=299                        -> drop:tcp-mss-too-small none
        policy profile everything bypass
        C:S 0 mss=48                         -> drop:tcp-mss-too-small none
        policy profile default bypass
        C:S 0 mss=48                         -> pass bypass
        S:A 1/1 sack=1000:1002               -> pass bypass
    ",
        )],
    ),
];

/// The packet's length cuts its FIN's data short: 38 bytes are left, and a checksum that was made for 500.
const FIN_CUT_V4: &str = "
        HS
        C:FA 1/1 +500 iplen=78 -> pass fin-wait | pass
        S:A 1/41               -> drop:tcp-invalid-ack fin-wait | pass
        S:A 1/40               -> pass half-closed | pass
        policy profile default
        forget
        HS
        C:FA 1/1 +500 iplen=78 -> drop:tcp-bad-cksum established
        C:FA 1/1 +500          -> pass fin-wait
        policy profile default bypass
        forget
        C:FA 1/1 +500 iplen=78 -> drop:tcp-bad-cksum none
    ";

const FIN_CUT_V6: &str = "
        HS
        C:FA 1/1 +500 iplen=58 -> pass fin-wait | pass
        S:A 1/41               -> drop:tcp-invalid-ack fin-wait | pass
        S:A 1/40               -> pass half-closed | pass
        policy profile default
        forget
        HS
        C:FA 1/1 +500 iplen=58 -> drop:tcp-bad-cksum established
        C:FA 1/1 +500          -> pass fin-wait
        policy profile default bypass
        forget
        C:FA 1/1 +500 iplen=58 -> drop:tcp-bad-cksum none
    ";
