//! Fragments of IPv4 and IPv6: what is wrong with one, and between those of one datagram.

use super::{Row, case, case_v4, case_v6, row};

pub(super) const ROWS: &[Row] = &[
    row(
        "frag4-overlap",
        &[
            case_v4(
                "frag4-overlap/teardrop",
                "
        C:udp +28 frag=0:36+         -> drop:fragment-bad-length none
        C:udp +32 frag=0:40+         -> pass single
        C:udp +32 frag=24:4          -> drop:fragment-bad-length
        C:udp +32 frag=40:0          -> drop:fragment-bad-length
        # Nothing more of it passes, another datagram does.
        C:udp +100 frag=40:68        -> drop:fragment-overlap
        C:udp +32 frag=0:40+         -> drop:fragment-overlap
        C:udp +100 frag=0:40+ id=2   -> pass single
        C:udp +100 frag=40:68 id=2   -> forward
    ",
            ),
            case_v4("frag4-overlap/head", HEAD),
            case_v4("frag4-overlap/tail", TAIL),
            case_v4("frag4-overlap/swallow", SWALLOW),
            case_v4("frag4-overlap/the-first", THE_FIRST),
        ],
    ),
    row(
        "frag-tiny",
        &[
            case(
                "frag-tiny",
                "
        C:S 0 +100 frag=0:8+    -> drop:fragment-tiny none
        C:S 0 +100 frag=0:16+   -> drop:fragment-tiny none
        C:S 0 +100 frag=8:112   -> drop:fragment-tiny
        C:S 0 +100 frag=16:104  -> drop:fragment-tiny
        C:S 0 +100 frag=0:24+   -> pass syn-sent | pass
        C:S 0 +100 frag=8:112   -> drop:fragment-tiny
        C:S 0 +100 frag=24:96   -> forward
        @61s
        C:S 0 +100 frag=24:96   -> drop:fragment-no-first
    ",
            ),
            case(
                "frag-tiny/headers-of-others",
                "
        C:udp +100 frag=0:8+     -> pass single
        C:echo frag=0:8+ id=2    -> pass single
        C:ip=132 frag=0:8+ id=3  -> drop:fragment-tiny
        C:ip=132 bytes=04d2005000000001 frag=0:16+ id=3 -> pass single
    ",
            ),
            case_v4(
                "frag-tiny/df",
                "
        C:udp +1000 frag=0:512+ df   -> pass single
        C:udp +1000 frag=512:296+ df -> drop:fragment-df
        set df
        C:udp +1000 frag=512:296+ df -> forward
        C:udp +1000 frag=808:200     -> forward
        set nothing
        C:udp +1000 frag=808:200 df  -> drop:fragment-df
    ",
            ),
            case_v4(
                "frag-tiny/too-long-v4",
                "
        C:udp +60000 frag=0:512+          -> pass single
        C:ip=50 +65496 frag=65504:16+     -> drop:fragment-too-long
        C:udp +60000 frag=512:59496       -> forward
    ",
            ),
            case_v6(
                "frag-tiny/too-long-v6",
                "
        C:udp +60000 frag=0:512+             -> pass single
        C:udp +65527 frag=65528:7+           -> drop:fragment-bad-length
        C:udp +65520 frag=65520:8 ext=60     -> drop:fragment-too-long
        C:udp +65520 frag=65520:8            -> forward
    ",
            ),
        ],
    ),
    row(
        "frag6",
        &[
            case_v6("frag6/head", HEAD),
            case_v6("frag6/tail", TAIL),
            case_v6("frag6/swallow", SWALLOW),
            case_v6("frag6/the-first", THE_FIRST),
            case_v6(
                "frag6/first-lacks-tcp",
                "
        C:S 0 +100 frag=0:16+                    -> drop:fragment-tiny none
        C:S 0 +100 inner=60 frag=0:8+            -> drop:fragment-tiny none
        C:S 0 +100 inner=60 frag=0:24+           -> drop:fragment-tiny none
        C:S 0 +100 inner=60,60,60 frag=0:16+     -> drop:fragment-tiny none
        C:S 0 +100 ext=60 inner=60,60 frag=0:16+ -> drop:fragment-tiny none
        C:S 0 +100 inner=0 frag=0:64+            -> drop:ipv6-extension-chain none
        C:S 0 +100 inner=44 frag=0:64+           -> drop:ipv6-extension-chain none
        C:S 0 +100 inner=60 frag=0:32+           -> pass syn-sent | pass
        C:S 0 +100 inner=60 frag=32:96           -> forward
    ",
            ),
            case_v6(
                "frag6/chain-counts-as-covered",
                "
        C:S 0 +100 inner=60 frag=0:32+           -> pass syn-sent | pass
        C:S 0 +100 inner=60 frag=24:104          -> drop:fragment-overlap
        C:S 0 +100 inner=60 frag=32:96           -> drop:fragment-overlap
    ",
            ),
            case_v6(
                "frag6/atomic",
                "
        C:udp +1000 frag=0:512+      -> pass single
        # Atomic fragments with the same identification are whole packets, and none of that datagram's.
        C:udp +100 frag=0:108        -> pass single
        C:S 0 +100 frag=0:1000       -> pass syn-sent | pass
        C:A 7/7 sport=999 frag=0:99  -> drop:tcp-not-syn | pass
        C:udp +100 frag=0:108        -> pass single
        C:udp +1000 frag=512:496     -> forward
        C:udp +100 frag=0:108        -> pass single
    ",
            ),
            case_v6(
                "frag6/next-header-of-later-ones",
                "
        # RFC 8200 §4.5: only the first one's counts, and what tells datagrams apart is the identification alone.
        C:udp +1000 frag=0:512+           -> pass single
        C:udp +1000 frag=512:296+ next=58 -> forward
        C:echo frag=0:24+                 -> drop:fragment-duplicate
        C:udp +1000 frag=800:208 next=6   -> drop:fragment-overlap
        forget
        C:udp +1000 frag=0:512+           -> pass single
        C:udp +1000 frag=512:496 next=44  -> forward
    ",
            ),
        ],
    ),
    row(
        "own/fragment-duplicate",
        &[case(
            "own/fragment-duplicate",
            "
        C:udp +1000 frag=0:512+   -> pass single
        C:udp +1000 frag=0:512+   -> drop:fragment-duplicate
        C:udp +1000 frag=8:400+   -> drop:fragment-duplicate
        C:udp +1000 frag=912:96   -> forward
        C:udp +1000 frag=912:96   -> drop:fragment-duplicate
        C:udp +1000 frag=512:200+ -> forward
        C:udp +1000 frag=504:200+ -> drop:fragment-duplicate
        C:udp +1000 frag=712:200+ -> forward
        # It has passed whole. The identification may be used again, by a first fragment.
        C:udp +1000 frag=712:200+ -> drop:fragment-duplicate
        C:udp +1000 frag=0:512+   -> pass single
        C:udp +1000 frag=512:496  -> forward
    ",
        )],
    ),
    row(
        "own/fragment-length",
        &[
            case(
                "own/fragment-length",
                "
        C:udp +1000 frag=0:510+    -> drop:fragment-bad-length none
        C:udp +1000 frag=0:512+    -> pass single
        C:udp +1000 frag=512:100+  -> drop:fragment-bad-length
        C:udp +1000 frag=512:0+    -> drop:fragment-bad-length
        C:udp +1000 frag=512:0     -> drop:fragment-bad-length
        C:udp +1000 frag=512:496   -> forward
    ",
            ),
            case(
                "own/fragment-length/past-the-end",
                "
        C:udp +1000 frag=0:512+     -> pass single
        C:udp +2000 frag=1000:8     -> forward
        C:udp +2000 frag=1008:200+  -> drop:fragment-bad-length
        C:udp +1000 frag=512:488+   -> drop:fragment-overlap
    ",
            ),
            case(
                "own/fragment-length/second-last",
                "
        C:udp +1000 frag=0:512+     -> pass single
        C:udp +1000 frag=1000:8     -> forward
        C:udp +1000 frag=512:100    -> drop:fragment-bad-length
        C:udp +1000 frag=512:488+   -> drop:fragment-overlap
    ",
            ),
            case(
                "own/fragment-length/last-before-what-passed",
                "
        C:udp +1000 frag=0:512+     -> pass single
        C:udp +1000 frag=800:200+   -> forward
        C:udp +1000 frag=512:100    -> drop:fragment-bad-length
        C:udp +1000 frag=1000:8     -> drop:fragment-overlap
    ",
            ),
            case(
                "own/fragment-length/the-end-is-exact",
                "
        C:udp +1000 frag=0:512+     -> pass single
        C:udp +993 frag=1000:1      -> forward
        C:udp +1000 frag=1000:8+    -> drop:fragment-bad-length
        C:udp +1000 frag=512:488+   -> drop:fragment-overlap
    ",
            ),
        ],
    ),
    row(
        "own/fragment-too-many",
        &[case(
            "own/fragment-too-many",
            "
        C:udp +1000 frag=0:8+    -> pass single
        C:udp +1000 frag=16:8+   -> forward
        C:udp +1000 frag=32:8+   -> forward
        C:udp +1000 frag=48:8+   -> forward
        C:udp +1000 frag=112:8+  -> forward
        C:udp +1000 frag=96:8+   -> forward
        C:udp +1000 frag=80:8+   -> forward
        C:udp +1000 frag=64:8+   -> forward
        C:udp +1000 frag=128:8+  -> drop:fragment-too-many
        # One hole less.
        C:udp +1000 frag=8:8+    -> forward
        C:udp +1000 frag=128:880 -> forward
    ",
        )],
    ),
];

/// Overlaps among later fragments: the new one's end covers what has passed.
const HEAD: &str = "
        C:udp +1000 frag=0:256+     -> pass single
        C:udp +1000 frag=512:200+   -> forward
        C:udp +1000 frag=500:20+    -> drop:fragment-bad-length
        C:udp +1000 frag=496:24+    -> drop:fragment-overlap
        C:udp +1000 frag=256:240+   -> drop:fragment-overlap
        C:udp +1000 frag=712:296    -> drop:fragment-overlap
";

/// The new one's beginning covers what has passed.
const TAIL: &str = "
        C:udp +1000 frag=0:256+     -> pass single
        C:udp +1000 frag=256:256+   -> forward
        C:udp +1000 frag=504:504    -> drop:fragment-overlap
        C:udp +1000 frag=512:496    -> drop:fragment-overlap
        C:udp +1000 frag=0:256+     -> drop:fragment-overlap
";

/// The new one holds all of an old one, and the other way round.
const SWALLOW: &str = "
        C:udp +1000 frag=0:256+     -> pass single
        C:udp +1000 frag=512:8+     -> forward
        C:udp +1000 frag=512:8+     -> drop:fragment-duplicate
        C:udp +1000 frag=504:504    -> drop:fragment-overlap
        C:udp +1000 frag=256:256+   -> drop:fragment-overlap
";

/// Over what the datagram was judged by.
const THE_FIRST: &str = "
        C:udp +1000 frag=0:512+     -> pass single
        C:udp +1000 frag=8:400+     -> drop:fragment-duplicate
        C:udp +1000 frag=0:520+     -> drop:fragment-overlap
        C:udp +1000 frag=512:496    -> drop:fragment-overlap
        @61s
        C:udp +1000 frag=0:520+     -> pass single
        C:udp +1000 frag=520:488    -> forward
";
