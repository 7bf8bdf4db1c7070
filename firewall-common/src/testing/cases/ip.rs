//! IP headers, addresses, link layer.

use super::{Row, case, case_v4, row};

pub(super) const ROWS: &[Row] = &[
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
