//! IPv6 extension chains (RFC 8200 §4).

use super::{Row, case_v6, row};

pub(super) const ROWS: &[Row] = &[
    row(
        "own/extensions-v6",
        &[
            case_v6(
                "own/extensions-v6",
                "
        C:S 0 ext=0                       -> pass syn-sent | pass
        S:SA 0/1 ext=0,60                 -> pass syn-received | pass
        C:A 1/1 ext=60,60,60,60,60,60     -> pass established | pass
        C:A 1/1 ext=60,60,60,60,60,60,60  -> drop:ipv6-extension-chain
        C:A 1/1 ext=60,0                  -> drop:ipv6-extension-chain
        C:A 1/1 ext=0,0                   -> drop:ipv6-extension-chain
        C:A 1/1 ext=43                    -> drop:ip-source-route
        C:A 1/1 version=4                 -> drop:invalid-ip-header
        C:ip=59                           -> pass single
    ",
            ),
            case_v6(
                "own/extensions-v6/long",
                "
        C:S 0 long=512      -> pass syn-sent | pass
        C:A 1/1 long=520    -> drop:ipv6-extension-chain
        C:A 1/1 ext=60 long=512 -> drop:ipv6-extension-chain
    ",
            ),
        ],
    ),
    row(
        "own/extensions-past-the-packet",
        &[case_v6(
            "own/extensions-past-the-packet",
            "
        # The frame goes on with what looks like the rest of the chain: padding of the link.
        C:S 0 ext=60,60 iplen=8   -> drop:invalid-ip-length none
        C:S 0 ext=60,60 iplen=12  -> drop:invalid-ip-length none
        C:S 0 ext=60,60 iplen=16  -> drop:invalid-tcp-hdr-length none
        C:S 0 ext=60,44 iplen=8   -> drop:invalid-ip-length none
        C:S 0 long=64 iplen=56    -> drop:invalid-ip-length none
        C:S 0 ext=60 cut=0        -> drop:invalid-ip-length none
        C:S 0 ext=60 pad=40       -> pass syn-sent | pass
    ",
        )],
    ),
    row(
        "own/routing-headers",
        &[case_v6(
            "own/routing-headers",
            "
        C:S 0 rh=0/0        -> drop:ip-source-route none
        C:S 0 rh=4/1        -> drop:ip-source-route none
        C:S 0 rh=3/2        -> drop:ip-source-route none
        C:S 0 rh=253/1      -> drop:ip-source-route none
        C:S 0 rh=2/1        -> pass syn-sent | pass
        S:SA 0/1 rh=4/0     -> pass syn-received | pass
        # Destination options may stand on both sides of it.
        C:A 1/1 ext=60 rh=4/0 ext=60 -> pass established | pass
        C:A 1/1 ext=60 rh=4/1 ext=60 -> drop:ip-source-route
    ",
        )],
    ),
    row(
        "own/extensions-that-end-the-chain",
        &[case_v6(
            "own/extensions-that-end-the-chain",
            "
        # Mobility, HIP and Shim6 are a message of their own, or stand before another header, which then counts.
        C:ip=59 ext=135   -> pass single
        C:ip=59 ext=139   -> pass single
        C:ip=59 ext=140   -> pass single
        C:A 1/1 ext=139   -> drop:tcp-not-syn | pass
        C:A 1/1 ext=140   -> drop:tcp-not-syn | pass
        C:A 1/1 ext=135   -> drop:tcp-not-syn | pass
        C:esp=7/1 ext=60  -> pass single
        C:ah=7/1 ext=0,60 -> pass single
        C:ip=59 ext=60    -> pass single
        C:ip=253 ext=60   -> pass single
    ",
        )],
    ),
];
