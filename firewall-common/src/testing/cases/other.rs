//! Protocols without a state machine, and times.

use super::{Row, case, row};

pub(super) const ROWS: &[Row] = &[
    row(
        "ipsec",
        &[
            case(
                "ipsec/esp",
                "
        C:esp=4096/1 +100 -> pass single
        C:esp=4096/1 +100 -> pass single
        S:esp=4096/1 +100 -> pass stream
        C:esp=4096/1 +100 -> pass stream
        @601s
        S:esp=4096/1 +100 -> pass single
    ",
            ),
            case(
                "ipsec/ike-and-nat-t",
                "
        C:udp sport=500 dport=500 +200    -> pass single
        S:udp sport=500 dport=500 +200    -> pass stream
        C:udp sport=4500 dport=4500 +1400 -> pass single
        S:udp sport=4500 dport=4500 +1400 -> pass stream
    ",
            ),
            case(
                "ipsec/ah",
                "
        C:ah=4096/1 +100 -> pass single
        S:ah=4096/1 +100 -> pass stream
    ",
            ),
            case(
                "ipsec/esp-fragments",
                "
        C:esp=4096/1 +1824 frag=0:1400+  -> pass single
        C:esp=4096/1 +1824 frag=1400:432 -> forward
    ",
            ),
            case(
                "ipsec/by-policy",
                "
        policy drop
        C:esp=4096/1 +100  -> drop:acl-drop none
        C:udp dport=4500   -> drop:acl-drop none
    ",
            ),
        ],
    ),
    row(
        "own/udp",
        &[case(
            "own/udp",
            "
        C:udp +10 -> pass single
        @29s
        C:udp +10 -> pass single
        S:udp +10 -> pass stream
        @119s
        S:udp +10 -> pass stream
        @121s
        S:udp +10 -> pass single
    ",
        )],
    ),
    row(
        "own/echo",
        &[
            case(
                "own/echo",
                "
        C:echo       -> pass single
        S:echo       -> drop:icmp-unsolicited single
        S:echo-reply -> pass stream
        C:echo-reply -> drop:icmp-unsolicited stream
        C:echo       -> pass stream
        @11s
        S:echo-reply -> drop:icmp-unsolicited none
    ",
            ),
            case(
                "own/echo/unsolicited",
                "
        C:echo-reply -> drop:icmp-unsolicited none
        S:echo-reply -> drop:icmp-unsolicited none
    ",
            ),
        ],
    ),
    row(
        "own/timeouts",
        &[
            case(
                "own/timeouts/embryonic",
                "
        C:S 0     -> pass syn-sent | pass
        @29s
        S:SA 0/1  -> pass syn-received | pass
        @29s
        C:A 1/1   -> pass established | pass
    ",
            ),
            case(
                "own/timeouts/syn-received",
                "
        C:S 0     -> pass syn-sent | pass
        S:SA 0/1  -> pass syn-received | pass
        @31s
        C:A 1/1   -> drop:tcp-not-syn none | pass
    ",
            ),
            case(
                "own/timeouts/transitory",
                "
        HS
        C:FA 1/1  -> pass fin-wait | pass
        @241s
        S:A 1/2   -> drop:tcp-not-syn none | pass
    ",
            ),
            case(
                "own/timeouts/established",
                "
        HS
        @2000s
        C:A 1/1 +10 -> pass established | pass
        @2000s
        S:A 1/11    -> pass established | pass
    ",
            ),
        ],
    ),
];
