//! Headers of TCP and UDP.

use super::{Row, case, case_v4, case_v6, row};

pub(super) const ROWS: &[Row] = &[
    row(
        "flags-illegal",
        &[
            case(
                "flags-illegal",
                "
        C:- 0     -> drop:tcp-bad-flags none
        C:FPU 0   -> drop:tcp-bad-flags none
        C:F 0     -> drop:tcp-bad-flags none
        C:SF 0    -> drop:tcp-bad-flags none
        C:SR 0    -> drop:tcp-bad-flags none
        C:P 0     -> drop:tcp-bad-flags none
        C:U 0     -> drop:tcp-bad-flags none
        C:SFA 0/0 -> drop:tcp-bad-flags none
        C:RF 0    -> drop:tcp-bad-flags none
    ",
            ),
            case(
                "flags-illegal/live-flow",
                "
        HS
        C:- 1       -> drop:tcp-bad-flags established | drop:tcp-bad-flags bypass
        C:FPU 1     -> drop:tcp-bad-flags established | drop:tcp-bad-flags bypass
        C:F 1       -> drop:tcp-bad-flags established | drop:tcp-bad-flags bypass
        C:SFA 1/1   -> drop:tcp-bad-flags established | drop:tcp-bad-flags bypass
        C:PAEW 1/1  -> pass established | pass
        C:AU 1/1    -> pass established | pass
    ",
            ),
            case(
                "flags-illegal/sanity-off",
                "
        policy sanity-off
        C:- 0       -> pass bypass
        C:FPU 0     -> pass bypass
    ",
            ),
            case(
                "flags-illegal/ecn-setup",
                "
        C:SEW 0     -> pass syn-sent | pass
        S:SAE 0/1   -> pass syn-received | pass
    ",
            ),
        ],
    ),
    row(
        "doff-len",
        &[
            case(
                "doff-len",
                "
        C:S 0 doff=4        -> drop:invalid-tcp-hdr-length none
        C:S 0 doff=0        -> drop:invalid-tcp-hdr-length none
        C:S 0 doff=6        -> drop:invalid-tcp-hdr-length none
        C:S 0 doff=15       -> drop:invalid-tcp-hdr-length none
        C:S 0 cut=13        -> drop:invalid-ip-length none
        # What follows the IP packet in its frame is not of the segment.
        C:S 0 pad=100       -> pass syn-sent | pass
        S:SA 0/1            -> pass syn-received | pass
        C:A 1/1 pad=100     -> pass established | pass
        S:A 1/1             -> pass established | pass
    ",
            ),
            case_v4(
                "doff-len/short-v4",
                "
        C:S 0 iplen=33          -> drop:invalid-tcp-hdr-length none
        C:S 0 cut=13 iplen=33   -> drop:invalid-tcp-hdr-length none
        C:S 0 iplen=19          -> drop:invalid-ip-length none
        C:S 0 iplen=41          -> drop:invalid-ip-length none
    ",
            ),
            case_v6(
                "doff-len/short-v6",
                "
        C:S 0 iplen=13          -> drop:invalid-tcp-hdr-length none
        C:S 0 cut=13 iplen=13   -> drop:invalid-tcp-hdr-length none
        C:S 0 iplen=0           -> drop:invalid-tcp-hdr-length none
        C:S 0 iplen=21          -> drop:invalid-ip-length none
    ",
            ),
        ],
    ),
    row(
        "bad-csum-control",
        &[case(
            "bad-csum-control",
            "
        policy profile default
        C:S 0 tcpsum=bad        -> drop:tcp-bad-cksum none
        HS
        # Exact, and still not believed: its receiver would not either.
        S:R 1                   -> pass closed
        forget
        HS
        C:R 1 tcpsum=bad        -> drop:tcp-bad-cksum established
        C:FA 1/1 tcpsum=bad     -> drop:tcp-bad-cksum established
        C:S 4000 tcpsum=bad     -> drop:tcp-bad-cksum established
        C:R 1 tcpsum=unfinished -> drop:tcp-bad-cksum established
        # Data is left to its receiver.
        C:A 1/1 +100 tcpsum=bad -> pass established
        C:FA 101/1 +1400        -> pass fin-wait
        policy profile checksum-all
        forget
        HS
        C:A 1/1 +101 tcpsum=bad -> drop:tcp-bad-cksum established
        C:A 1/1 +101            -> pass established
        C:A 102/1 +1460         -> pass established
        C:A 1562/1 +511         -> pass established
        C:A 2073/1 +40000 tcpsum=bad -> drop:tcp-bad-cksum established
        policy profile default bypass
        C:R 1 tcpsum=bad        -> drop:tcp-bad-cksum
        policy profile off
        forget
        HS
        C:R 1 tcpsum=bad        -> pass closed
    ",
        )],
    ),
    row(
        "syn-only-opts",
        &[case(
            "syn-only-opts",
            "
        HS
        C:A 1/1 +10 opt=020405b403030e00       -> pass established | pass
        # The shift in a data segment counts for nothing.
        C:A 11/1 win=65535 opt=03030e00        -> pass established | pass
        S:A 65547/11 +1                        -> drop:tcp-seq-past-win established | pass | pass
        C:A 11/1 opt=0300                      -> drop:tcp-bad-option-list
        C:A 11/1 opt=0301                      -> drop:tcp-bad-option-list
        C:A 11/1 opt=01010305                  -> drop:tcp-bad-option-list
        C:A 11/1 opt=01010108                  -> drop:tcp-bad-option-list
        C:A 11/1 opt=01010101010101010101010101010101010101010101010101010101010101010101010101010101 -> pass established | pass
        C:A 11/1 opt=00ff0102                  -> pass established | pass
        C:A 11/1 opt=1e0400001e040000          -> pass established | pass
        policy profile options
        C:A 11/1 opt=020405b403030e04020101    -> pass established => C:A 11/1 opt=0101010101010101010101
    ",
        )],
    ),
    row(
        "mss-tiny",
        &[case(
            "mss-tiny",
            "
        C:S 0 mss=48     -> pass syn-sent | pass
        forget
        C:S 0 mss=535    -> pass syn-sent | pass
        forget
        C:S 0            -> pass syn-sent | pass
        forget
        C:S 0 mss=65535  -> pass syn-sent | pass
        policy profile mss
        forget
        C:S 0 mss=1      -> drop:tcp-mss-too-small none
        C:S 0 mss=8      -> drop:tcp-mss-too-small none
        C:S 0 mss=47     -> drop:tcp-mss-too-small none
        C:S 0 mss=48     -> pass syn-sent
        forget
        C:S 0 mss=535    -> pass syn-sent
        S:SA 0/1 mss=8   -> drop:tcp-mss-too-small syn-sent
        S:SA 0/1 mss=1460 ws=3 -> pass syn-received => S:SA 0/1 mss=1400 ws=3
        # A mere mention in a data segment is none.
        C:A 1/1 mss=8    -> pass established
        forget
        C:S 0            -> pass syn-sent
        forget
        C:S 0 mss=1400   -> pass syn-sent
        forget
        C:S 0 mss=65535  -> pass syn-sent => C:S 0 mss=1400
        policy profile mss bypass
        forget
        C:S 0 mss=1      -> drop:tcp-mss-too-small none
        C:S 0 ws=9 mss=9000 -> pass bypass => C:S 0 ws=9 mss=1400
    ",
        )],
    ),
    row(
        "urg",
        &[case(
            "urg",
            "
        HS
        C:AU 1/1 +10 urg=0     -> pass established | pass
        C:AU 11/1 +10 urg=5000 -> pass established | pass
        C:A 21/1 +10 urg=5     -> pass established | pass
        policy profile urgent
        C:AU 31/1 +10 urg=0    -> pass established => C:A 31/1 +10
        C:AU 41/1 +10 urg=5000 -> pass established => C:A 41/1 +10
        C:PA 51/1 +10 urg=5    -> pass established => C:PA 51/1 +10
        C:A 61/1 +10           -> pass established
        policy profile urgent bypass
        C:AU 71/1 +10 urg=7    -> pass bypass => C:A 71/1 +10
    ",
        )],
    ),
    row(
        "own/udp-length",
        &[case(
            "own/udp-length",
            "
        C:udp +20 udplen=7   -> drop:invalid-udp-length none
        C:udp +20 udplen=29  -> drop:invalid-udp-length none
        C:udp +20 udplen=28  -> pass single
        C:udp +20 udplen=8   -> pass single
    ",
        )],
    ),
    row(
        "own/port-zero",
        &[case(
            "own/port-zero",
            "
        C:S 0 sport=0  -> drop:port-zero none
        C:S 0 dport=0  -> drop:port-zero none
        C:udp sport=0  -> drop:port-zero none
        C:udp dport=0  -> drop:port-zero none
    ",
        )],
    ),
];
