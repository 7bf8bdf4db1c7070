//! IP headers, fragments, addresses, link layer.

use super::{Row, case, case_v4, case_v6, partly, row};

pub(super) const ROWS: &[Row] = &[
    partly(
        "frag4-overlap",
        &[case_v4(
            "frag4-overlap/over-the-first",
            "
        C:udp +1000 frag=0:512+     -> pass single
        C:udp +1000 frag=504:400    -> drop:fragment-tiny
        C:udp +1000 frag=8:400      -> drop:fragment-tiny
        C:udp +1000 frag=512:496    -> forward
    ",
        )],
        "overlaps among later fragments: nothing of them is remembered yet",
    ),
    partly(
        "frag-tiny",
        &[
            case(
                "frag-tiny",
                "
        C:S 0 +100 frag=0:8+    -> drop:fragment-tiny none
        C:S 0 +100 frag=0:16+   -> drop:fragment-tiny none
        C:S 0 +100 frag=8:112   -> drop:fragment-no-first
        C:S 0 +100 frag=0:24+   -> pass syn-sent | pass
        C:S 0 +100 frag=8:112   -> drop:fragment-tiny
        C:S 0 +100 frag=24:96   -> forward
        @31s
        C:S 0 +100 frag=24:96   -> drop:fragment-no-first
    ",
            ),
            case(
                "frag-tiny/too-long",
                "
        C:udp +2000 frag=0:512+    -> pass single
        C:ip=50 +2000 frag=65528:0 -> drop:fragment-no-first
    ",
            ),
        ],
        "an offset together with DF passes: the normalizer's rule comes later",
    ),
    partly(
        "frag6",
        &[case_v6(
            "frag6",
            "
        C:S 0 +100 frag=0:16+    -> drop:fragment-tiny none
        C:S 0 +100 frag=0:1000   -> pass syn-sent | pass
        forget
        C:udp +1000 frag=0:512+  -> pass single
        C:udp +1000 frag=504:400 -> drop:fragment-tiny
        C:udp +1000 frag=512:496 -> forward
    ",
        )],
        "overlaps among later fragments: nothing of them is remembered yet",
    ),
    row(
        "own/fragments-by-policy",
        &[
            case(
                "own/fragments-by-policy",
                "
        policy drop
        C:udp +1000 frag=0:512+  -> drop:acl-drop none
        C:udp +1000 frag=512:496 -> drop:fragment-no-first
    ",
            ),
            case_v4(
                "own/fragments-by-policy/last-before-first",
                "
        C:udp +1000 frag=512:496 -> drop:fragment-no-first
        C:udp +1000 frag=0:512+  -> pass single
        C:udp +1000 frag=512:496 -> forward
        O:udp +1000 frag=512:496 -> drop:fragment-no-first
    ",
            ),
        ],
    ),
    row(
        "land-martian",
        &[case(
            "land-martian",
            "
        C:S 0 src=peer       -> drop:land-attack none
        C:S 0 src=loopback   -> drop:martian none
        C:S 0 src=zero       -> drop:martian none
        C:S 0 src=multicast  -> drop:martian none
        C:S 0 dst=loopback   -> drop:martian none
        C:udp src=peer       -> drop:land-attack none
        C:echo src=multicast -> drop:martian none
    ",
        )],
    ),
    row(
        "own/ip-header-v4",
        &[case_v4(
            "own/ip-header-v4",
            "
        C:S 0 csum=bad               -> drop:bad-ip-cksum none
        C:S 0 version=5              -> drop:invalid-ip-header none
        C:S 0 ihl=4                  -> drop:invalid-ip-header none
        C:S 0 ihl=15                 -> drop:invalid-ip-length none
        C:S 0 ipopt=8307040808080800 -> drop:ip-source-route none
        C:S 0 ipopt=8907040808080800 -> drop:ip-source-route none
        C:S 0 ipopt=44010000         -> drop:bad-ip-options none
        C:S 0 ipopt=44ff0000         -> drop:bad-ip-options none
        C:S 0 ipopt=94040000         -> pass syn-sent | pass
        S:SA 0/1 ipopt=01010100      -> pass syn-received | pass
    ",
        )],
    ),
    row(
        "own/extensions-v6",
        &[case_v6(
            "own/extensions-v6",
            "
        C:S 0 ext=0                       -> pass syn-sent | pass
        S:SA 0/1 ext=0,60                 -> pass syn-received | pass
        C:A 1/1 ext=60,60,60,60,60,60     -> pass established | pass
        C:A 1/1 ext=60,60,60,60,60,60,60  -> drop:ipv6-extension-chain
        C:A 1/1 ext=60,0                  -> drop:ipv6-extension-chain
        C:A 1/1 ext=43                    -> drop:ip-source-route
        C:A 1/1 version=4                 -> drop:invalid-ip-header
        C:ip=59                           -> pass single
    ",
        )],
    ),
    row(
        "own/link",
        &[
            case_v4(
                "own/link",
                "
        C:arp              -> forward none
        C:ethertype=0x88cc -> forward none
        C:ethertype=0x0027 -> forward none
        C:ethertype=0x1234 -> drop:l2-acl none
        C:ethertype=0x86dd -> drop:frame-too-short none
    ",
            ),
            case(
                "own/link/vlan",
                "
        C:S 0 vlan=1    -> pass syn-sent | pass
        S:SA 0/1 vlan=2 -> pass syn-received | pass
        C:A 1/1         -> pass established | pass
        C:A 1/1 vlan=3  -> drop:vlan-depth
    ",
            ),
        ],
    ),
];
