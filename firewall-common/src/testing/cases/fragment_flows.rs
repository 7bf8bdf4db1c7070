//! Fragments and what lets them pass: the policy, their datagram's first one, its flow.

use super::{Row, case, row};

pub(super) const ROWS: &[Row] = &[
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
            case(
                "own/fragments-by-policy/last-before-first",
                "
        C:udp +1000 frag=512:496 -> drop:fragment-no-first
        C:udp +1000 frag=0:512+  -> pass single
        C:udp +1000 frag=512:496 -> forward
        O:udp +1000 frag=512:496 -> drop:fragment-no-first
    ",
            ),
            case(
                "own/fragments-by-policy/changed",
                "
        C:udp +1000 frag=0:512+   -> pass single
        policy from-zone-1
        C:udp +1000 frag=512:200+ -> forward
        policy drop
        C:udp +1000 frag=712:200+ -> drop:acl-drop
        # The flow is gone for good.
        policy strict
        C:udp +1000 frag=912:96   -> drop:fragment-flow-gone
    ",
            ),
            case(
                "own/fragments-by-policy/echo-and-back",
                "
        C:echo frag=0:24+             -> pass single
        S:echo-reply frag=0:24+       -> pass stream
        policy from-zone-1
        S:echo-reply frag=24:16+      -> forward
        C:echo frag=24:32             -> forward
        policy drop
        S:echo-reply frag=40:16       -> drop:acl-drop
    ",
            ),
            case(
                "own/fragments-by-policy/tcp",
                "
        HS
        C:A 1/1 +1000 frag=0:520+  -> pass
        policy bypass
        C:A 1/1 +1000 frag=520:200+ -> forward
        policy strict
        C:A 1/1 +1000 frag=720:300  -> forward
        policy drop
        C:A 1/1 +1000 frag=0:520+ id=2 -> drop:acl-drop none
        C:A 1/1 +1000 frag=520:500 id=2 -> drop:fragment-no-first
    ",
            ),
        ],
    ),
    row(
        "own/fragment-flow-gone",
        &[
            case(
                "own/fragment-flow-gone",
                "
        C:udp +1000 frag=0:512+   -> pass single
        @29s
        C:udp +1000 frag=512:200+ -> forward
        @2s
        C:udp +1000 frag=712:296  -> drop:fragment-flow-gone
    ",
            ),
            case(
                "own/fragment-flow-gone/other-zone",
                "
        C:udp +1000 frag=0:512+          -> pass single
        C:udp +1000 frag=512:496 zone=2  -> drop:wrong-zone
        C:udp +1000 frag=504:8+ zone=2   -> drop:wrong-zone
        C:udp +1000 frag=512:496         -> forward
    ",
            ),
        ],
    ),
    row(
        "own/fragment-before-first",
        &[
            case(
                "own/fragment-before-first",
                "
        set before-first
        C:udp +1000 frag=512:496   -> forward
        C:udp +1000 frag=512:496   -> drop:fragment-duplicate
        C:udp +1000 frag=0:256+    -> pass single
        C:udp +1000 frag=256:256+  -> forward
        C:udp +1000 frag=0:256+    -> pass single
    ",
            ),
            case(
                "own/fragment-before-first/overlap",
                "
        set before-first
        C:udp +1000 frag=504:504   -> forward
        C:udp +1000 frag=0:512+    -> drop:fragment-overlap none
        C:udp +1000 frag=0:504+    -> drop:fragment-overlap none
        C:S 0 +100 frag=8:112 id=2 -> drop:fragment-tiny none
    ",
            ),
            case(
                "own/fragment-before-first/denied",
                "
        policy drop
        set before-first
        C:udp +1000 frag=712:200+  -> forward
        C:udp +1000 frag=0:512+    -> drop:acl-drop none
        C:udp +1000 frag=512:200+  -> drop:fragment-no-first
        policy strict
        C:udp +1000 frag=0:512+    -> pass single
        C:udp +1000 frag=512:200+  -> forward
        C:udp +1000 frag=912:96    -> forward
    ",
            ),
            case(
                "own/fragment-before-first/taken-back",
                "
        set before-first
        C:udp +1000 frag=512:200+  -> forward
        set nothing
        C:udp +1000 frag=712:200+  -> drop:fragment-no-first
        C:udp +1000 frag=0:512+    -> pass single
        C:udp +1000 frag=712:296   -> forward
    ",
            ),
            case(
                "own/fragment-before-first/expired",
                "
        set before-first
        C:udp +1000 frag=512:200+  -> forward
        @61s
        C:udp +1000 frag=504:200+  -> forward
        C:udp +1000 frag=512:200+  -> drop:fragment-overlap
    ",
            ),
        ],
    ),
    row(
        "own/fragmented-segment",
        &[
            case(
                "own/fragmented-segment",
                "
        HS
        C:A 1/1 +1000 frag=0:520+       -> pass established | pass
        # The second half has not passed: nobody can have it.
        S:A 1/1001                      -> drop:tcp-invalid-ack | pass
        C:A 1/1 +1000 frag=520:500      -> forward
        S:A 1/1001                      -> pass established | pass
        C:FA 1001/1 +1000 frag=0:520+ id=2  -> pass fin-wait | pass
        C:FA 1001/1 +1000 frag=520:500 id=2 -> forward
        S:A 1/2002                      -> pass half-closed | pass
    ",
            ),
            case(
                "own/fragmented-segment/old-data-teaches-nothing",
                "
        HS
        C:A 1/1 +1000                   -> pass established | pass
        S:A 1/1001 win=500              -> pass established | pass
        C:A -99999/1 +1000 frag=0:520+  -> nostate | pass
        C:A -99999/1 +1000 frag=520:500 -> forward
        S:A 1/1002                      -> drop:tcp-invalid-ack | pass
    ",
            ),
        ],
    ),
];
