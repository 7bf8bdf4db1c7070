//! The normalizer, knob by knob.

use super::{Row, case, case_v4, case_v6, row};

pub(super) const ROWS: &[Row] = &[
    row(
        "own/normalize-default",
        &[case(
            "own/normalize-default/passes-what-is-legal",
            "
        policy profile default
        # ECN and Accurate ECN's third bit, its options, MPTCP, fast open, a shift, SACK permitted, timestamps.
        C:SEW 0 rsv=1 opt=020405b4ac0500000101ae0500000101    -> pass syn-sent
        S:SAE 0/1 rsv=1 opt=020405b41e0c000102030405060708090402030307 -> pass syn-received
        C:A 1/1 rsv=1 opt=0101080a0000000100000001ac0500000101 -> pass established
        C:PAEW 1/1 +100 rsv=9 ts=7          -> pass established
        S:A 1/101 opt=1e0800010203040500    -> pass established
        S:AU 1/101 +10 urg=3                -> pass established
        C:A 101/11 +4 opt=fd080102030405060000 -> pass established
        C:A 105/11 +4 hops=3                -> pass established
        C:FA 109/11                         -> pass fin-wait
        forget
        # TCP-AO, with whatever it signs.
        C:S 0 opt=020405b41d0c01020304050607080900 -> pass syn-sent
        S:SA 0/1 opt=1d0c01020304050607080900 -> pass syn-received
        C:A 1/1 +10 opt=1d0c01020304050607080900 -> pass established
    ",
        )],
    ),
    row(
        "own/normalize-md5",
        &[case(
            "own/normalize-md5",
            "
        policy profile default
        C:S 0 opt=131200112233445566778899aabbccddeeff0000 -> pass syn-sent
        S:SA 0/1 opt=131200112233445566778899aabbccddeeff0000 -> pass syn-received
        C:A 1/1 +10 opt=131200112233445566778899aabbccddeeff0000 -> pass established
        S:R 1 opt=131200112233445566778899aabbccddeeff0000 -> pass closed
        forget
        HS
        C:A 1/1 +10 opt=131200112233445566778899aabbccddeeff0000 -> drop:tcp-md5 established
        S:R 1 opt=131200112233445566778899aabbccddeeff0000 -> drop:tcp-md5 established
        forget
        C:S 0 -> pass syn-sent
        S:SA 0/1 opt=131200112233445566778899aabbccddeeff0000 -> drop:tcp-md5 syn-sent
        policy profile off
        forget
        HS
        S:R 1 opt=131200112233445566778899aabbccddeeff0000 -> pass closed
    ",
        )],
    ),
    row(
        "own/normalize-reserved",
        &[case(
            "own/normalize-reserved",
            "
        policy profile reserved-clear
        C:S 0 rsv=1          -> pass syn-sent => C:S 0
        S:SA 0/1             -> pass syn-received
        C:A 1/1 +3 rsv=15    -> pass established => C:A 1/1 +3
        S:A 1/4 rsv=8 ts=5   -> pass established => S:A 1/4 ts=5
        policy profile reserved-drop
        C:A 4/1 +3 rsv=8     -> drop:tcp-reserved-set established
        C:A 4/1 +3           -> pass established
        forget
        C:S 0 rsv=1          -> drop:tcp-reserved-set none
        policy profile reserved-clear bypass
        C:A 1/1 +3 rsv=15    -> pass bypass => C:A 1/1 +3
        policy profile asa
        forget
        HS
        C:A 1/1 +3 rsv=15    -> pass established
    ",
        )],
    ),
    row(
        "own/normalize-options",
        &[case(
            "own/normalize-options",
            "
        policy profile options
        C:S 0 opt=020405b403030704021e04aabb -> pass syn-sent => C:S 0 opt=020405b4030307040201010101
        forget
        C:S 0 opt=02040584fd0400010101     -> drop:tcp-option none
        HS
        C:A 1/1 +5 opt=1e03001e0300fe02     -> drop:tcp-option established
        C:A 1/1 +5 opt=1e03001e03000101     -> pass established => C:A 1/1 +5 opt=0101010101010101
        # What has a meaning only in a SYN goes from elsewhere.
        C:A 6/1 +5 opt=020405b4030307010402  -> pass established => C:A 6/1 +5 opt=01010101010101010101
        C:A 11/1 +5 opt=00ff1e04            -> pass established
        C:A 16/1 +5 ts=3                    -> pass established
        policy profile options bypass
        forget
        C:A 1/1 +5 opt=1e04aabb             -> pass bypass => C:A 1/1 +5 opt=01010101
        policy profile no-timestamps
        forget
        HS
        C:A 1/1 +5 ts=3 -> pass established => C:A 1/1 +5 opt=010101010101010101010101
        policy profile asa
        forget
        # 6, 7 and 9 to 255 go; 2 to 5 and 8 stay.
        C:S 0 opt=020405b403030704020101080a00000001000000001303aa22020602 -> pass syn-sent => C:S 0 opt=020405b403030704020101080a000000010000000001010101010101
    ",
        )],
    ),
    row(
        "own/normalize-invalid-ack",
        &[case(
            "own/normalize-invalid-ack",
            "
        policy profile invalid-ack
        HS
        C:A 1/2          -> nostate established
        C:A 70000/2 +1   -> drop:tcp-invalid-ack established
        C:A 1/1 +10      -> pass established
    ",
        )],
    ),
    row(
        "own/normalize-past-window",
        &[case(
            "own/normalize-past-window",
            "
        policy profile past-window
        C:S 0 win=1000       -> pass
        S:SA 0/1 win=1000    -> pass
        C:A 1/1 win=1000     -> pass
        C:A 1002/1 +1        -> pass established
        C:FA 5000/1          -> drop:tcp-seq-past-win established
        # A reset stays as exact as it was.
        S:R 700              -> noted established
    ",
        )],
    ),
    row(
        "own/normalize-in-order",
        &[case(
            "own/normalize-in-order",
            "
        policy profile in-order
        HS
        C:A 101/1 +100   -> drop:tcp-discarded-ooo established
        C:FA 101/1       -> drop:tcp-discarded-ooo established
        # An acknowledgement that follows lost data carries nothing that is out of order.
        C:A 101/1        -> pass established
        C:A 1/1 +100     -> pass established
        C:A 51/1 +100    -> pass established
    ",
        )],
    ),
    row(
        "own/normalize-window-variation",
        &[
            case(
                "own/normalize-window-variation",
                "
        policy profile window-variation
        C:S 0 win=10000          -> pass
        S:SA 0/1 win=10000       -> pass
        C:A 1/1 +100 win=10000   -> pass
        # The window shuts as data comes in: nothing is taken back.
        S:A 1/101 win=9900       -> pass established
        C:A 101/1 +100           -> pass established
        # An old acknowledgement says nothing of now.
        S:A 1/1 win=100          -> pass established
        S:A 1/201 win=9799       -> close:tcpnorm-win-variation closed
    ",
            ),
            case(
                "own/normalize-window-variation/scaled",
                "
        policy profile window-variation
        C:S 0 win=10000 ws=7     -> pass
        S:SA 0/1 win=10000 ws=7  -> pass
        C:A 1/1 win=100          -> pass
        # 10 000 is no multiple of 128: less than a unit is missing.
        S:A 1/1 win=78           -> pass established
        S:A 1/1 win=79           -> pass established
        S:A 1/1 win=78           -> close:tcpnorm-win-variation closed
    ",
            ),
        ],
    ),
    row(
        "own/normalize-exceed-mss",
        &[
            case(
                "own/normalize-exceed-mss",
                "
        policy profile exceed-mss
        C:S 0 mss=1000      -> pass
        S:SA 0/1 mss=500    -> pass
        C:A 1/1             -> pass
        C:A 1/1 +501        -> drop:tcp-mss-exceeded established
        C:A 1/1 +500        -> pass established
        # What the box itself sends is cut into segments later.
        S:A 1/501 +1001     -> pass established
    ",
            ),
            case_v4(
                "own/normalize-exceed-mss/none-v4",
                "
        policy profile exceed-mss
        HS
        C:A 1/1 +537 -> drop:tcp-mss-exceeded established
        C:A 1/1 +536 -> pass established
    ",
            ),
            case_v6(
                "own/normalize-exceed-mss/none-v6",
                "
        policy profile exceed-mss
        HS
        C:A 1/1 +1221 -> drop:tcp-mss-exceeded established
        C:A 1/1 +1220 -> pass established
    ",
            ),
        ],
    ),
    row(
        "own/normalize-ttl",
        &[case(
            "own/normalize-ttl",
            "
        policy profile ttl
        HS
        C:A 1/1 +10 hops=60    -> pass established
        C:A 11/1 +10 hops=64   -> pass established => C:A 11/1 +10 hops=60
        C:A 21/1 +10 hops=60   -> pass established
        C:A 31/1 +10 hops=59   -> pass established
        C:A 41/1 +10 hops=255  -> pass established => C:A 41/1 +10 hops=59
        # The other direction has its own.
        S:A 1/51 +10 hops=128  -> pass established
        # What is refused teaches nothing.
        C:A 90000/1 +10 hops=2 -> drop:tcp-seq-past-win established
        C:A 51/11 +10 hops=59  -> pass established
        C:AU 61/11 +10 hops=70 -> pass established => C:AU 61/11 +10 hops=59
    ",
        )],
    ),
    row(
        "own/normalize-paws",
        &[
            case(
                "own/normalize-paws",
                "
        policy profile paws
        C:S 0 ts=1000       -> pass
        S:SA 0/1 ts=5       -> pass
        C:A 1/1 ts=1001     -> pass established
        C:A 1/1 +10 ts=1010 -> pass established
        # Overtaken, maybe; some time later it is an old one.
        C:A 1/1 +10 ts=1009 -> pass established
        @2s
        C:A 1/1 +10 ts=1009 -> drop:tcp-paws-fail established
        S:A 1/11 ts=6       -> pass established
        # A reset is never judged by its timestamp; this one is inexact.
        C:R 5000 ts=1       -> noted established
        # What is ahead of the last acknowledgement teaches nothing: a forged timestamp shuts nobody out.
        C:A 111/1 +10 ts=2000000000 -> pass established
        C:A 11/1 +100 ts=1011 -> pass established
        C:A 111/1 +10 -> pass established
        @2s
        S:A 1/121 +10 ts=4  -> drop:tcp-paws-fail established
        S:FA 1/121 ts=4     -> drop:tcp-paws-fail established
        # One without data that another has overtaken: its receiver heeds it, and it teaches no timestamp.
        S:A 1/121 ts=4      -> pass established
        S:A 1/121 +10 ts=5  -> drop:tcp-paws-fail established
        S:A 1/121 +10 ts=6  -> pass established
    ",
            ),
            case(
                "own/normalize-paws/wraps",
                "
        policy profile paws
        C:S 0 ts=4294967290   -> pass
        S:SA 0/1 ts=5         -> pass
        C:A 1/1 ts=4294967295 -> pass
        C:A 1/1 +10 ts=4294967295 -> pass established
        S:A 1/11 ts=6         -> pass established
        C:A 11/1 +10 ts=3     -> pass established
        S:A 1/21 ts=6         -> pass established
        @2s
        C:A 21/1 +10 ts=4294967295 -> drop:tcp-paws-fail established
    ",
            ),
            case(
                "own/normalize-paws/not-negotiated",
                "
        policy profile paws
        C:S 0 ts=1000       -> pass
        S:SA 0/1            -> pass
        C:A 1/1 +10 ts=1010 -> pass established
        C:A 11/1 +10 ts=9   -> pass established
    ",
            ),
        ],
    ),
    row(
        "own/normalize-retransmission",
        &[case(
            "own/normalize-retransmission",
            "
        policy profile retransmission
        HS
        C:A 1/1 +200 data=65      -> pass established
        C:A 1/1 +200 data=65      -> pass established
        C:A 1/1 +200 data=66      -> drop:tcpnorm-rexmit-bad established
        # By the first 64 bytes where the lengths differ.
        C:A 1/1 +100 data=66      -> drop:tcpnorm-rexmit-bad established
        C:A 1/1 +100 data=65      -> pass established
        C:A 1/1 +300 data=65      -> pass established
        C:A 1/1 +300 data=67      -> drop:tcpnorm-rexmit-bad established
        # The other direction's numbers are another's.
        S:A 1/301 +200 data=70    -> pass established
        S:A 1/301 +200 data=71    -> drop:tcpnorm-rexmit-bad established
        # Refused data is not remembered.
        C:A 90000/1 +50 data=1    -> drop:tcp-seq-past-win established
        # Elsewhere begun, or too short to compare: not seen.
        C:A 2/1 +50 data=66       -> pass established
        C:A 301/201 +40 data=65   -> pass established
        C:A 301/201 +20 data=66   -> pass established
        forget
        HS
        C:A 1/1 +200 data=66      -> pass established
        C:A 1/1 +200 data=65      -> drop:tcpnorm-rexmit-bad established
    ",
        )],
    ),
    row(
        "own/normalize-icmp-error",
        &[
            case(
                "own/normalize-icmp-error/put-back",
                "
        policy profile randomize
        C:S 0                                  -> pass syn-sent => C:S 0 behind
        # The box itself complains of what was changed before it saw it.
        S:error=unreachable [C:S 0 behind]     -> untouched syn-sent => S:error=unreachable [C:S 0]
        S:error=unreachable [C:S 0]            -> drop:icmp-error-off-window syn-sent
        S:SA 0/1 before                        -> pass syn-received => S:SA 0/1 behind
        C:A 1/1 before                         -> pass established => C:A 1/1 behind
        S:A 1/1 +1000 ts=5 before              -> pass established => S:A 1/1 +1000 ts=5 behind
        C:error=too-big [S:A 1/1 +1000 ts=5 behind] mtu=1400 -> untouched established => C:error=too-big [S:A 1/1 +1000 ts=5 before] mtu=1400
        O:error=time-exceeded [S:A 501/1 +500 behind] vlan=2 -> untouched established => O:error=time-exceeded [S:A 501/1 +500 before] vlan=2
        S:error=unreachable [C:A 1/1 behind]   -> untouched established => S:error=unreachable [C:A 1/1 before]
        # Too short for more than the sequence number; one byte over a whole header's fixed part; no acknowledgement to put back.
        C:error=too-big [S:A 1/1 +1000 behind] quote=8  -> untouched established => C:error=too-big [S:A 1/1 +1000] quote=8
        C:error=too-big [S:A 1/1 +1000 behind] quote=16 -> untouched established => C:error=too-big [S:A 1/1 +1000] quote=16
        C:error=too-big [S:A 1/1 +1000 behind] quote=20 -> untouched established => C:error=too-big [S:A 1/1 +1000 before] quote=20
        C:error=too-big [S:A 1/1 +1000 behind] quote=21 -> untouched established => C:error=too-big [S:A 1/1 +1000 before] quote=21
        C:error=too-big [S:R 1 behind]         -> untouched established => C:error=too-big [S:R 1]
        # A flow stays shifted whatever a later policy says.
        policy profile off
        C:error=too-big [S:A 1/1 +1000 behind] -> untouched established => C:error=too-big [S:A 1/1 +1000 before]
        policy profile randomize bypass
        C:error=too-big [S:A 9999/1 behind]    -> untouched => C:error=too-big [S:A 9999/1 before]
    ",
            ),
            case(
                "own/normalize-icmp-error/forged",
                "
        policy profile randomize
        C:S 0                                    -> pass => C:S 0 behind
        S:SA 0/1 before                          -> pass => S:SA 0/1 behind
        C:A 1/1 before                           -> pass => C:A 1/1 behind
        S:A 1/1 +1000 before                     -> pass => S:A 1/1 +1000 behind
        # The server's own numbers, which nobody behind has seen.
        C:error=too-big [S:A 1/1 +1000]          -> drop:icmp-error-off-window established
        C:error=too-big [S:A 1002/1 +10 behind]  -> drop:icmp-error-off-window established
        C:error=too-big [S:A -65535/1 +10 behind] -> drop:icmp-error-off-window established
        C:error=too-big [S:A 2000000000/1 behind] -> drop:icmp-error-off-window established
        # On the server's own side, where the packet has not come by.
        C:error=too-big [S:A 1/1 +1000 behind] zone=2 -> drop:inspect-icmp-error-different-embedded-conn established
        C:error=too-big [S:A 1/1 +1000 behind] quote=7 -> drop:icmp-error-bad-quote
        C:error=too-big [S:A 1001/1 behind]      -> untouched established => C:error=too-big [S:A 1001/1 before]
    ",
            ),
            case_v4(
                "own/normalize-icmp-error/v4-options",
                "
        policy profile randomize
        C:S 0 -> pass => C:S 0 behind
        S:error=unreachable [C:S 0 ipopt=9404000001010101 behind] -> untouched => S:error=unreachable [C:S 0 ipopt=9404000001010101]
        S:error=unreachable [C:S 0 behind] ipopt=9404000001010101 -> untouched => S:error=unreachable [C:S 0] ipopt=9404000001010101
    ",
            ),
            case_v6(
                "own/normalize-icmp-error/v6-extensions",
                "
        policy profile randomize
        C:S 0 -> pass => C:S 0 behind
        S:error=too-big [C:S 0 ext=0,60 behind] ext=60 -> untouched => S:error=too-big [C:S 0 ext=0,60] ext=60
    ",
            ),
            // Of other flows nothing is put back.
            case(
                "own/normalize-icmp-error/others",
                "
        policy profile asa
        HS
        S:A 1/1 +1000                                -> pass established
        C:error=too-big [S:A 1/1 +1000] mtu=1400     -> untouched established
        policy profile randomize
        C:udp +10                                    -> pass single
        S:error=unreachable [C:udp +10]              -> untouched single
        # It began before it could be shifted, and never is.
        C:error=too-big [S:A 1/1 +1000] mtu=1400     -> untouched established
    ",
            ),
        ],
    ),
];
