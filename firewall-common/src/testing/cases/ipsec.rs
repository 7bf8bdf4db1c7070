//! Headers of IPsec, GRE and SCTP. What a flow keeps of an association is tested beside `track::ipsec`.

use super::{Row, case, row};

pub(super) const ROWS: &[Row] = &[
    row(
        "own/ipsec-header",
        &[
            case(
                "own/ipsec-header/esp",
                "
        C:esp=0/1 +100                -> drop:ipsec-spi-zero none
        C:ip=50 size=7                -> drop:bad-ipsec-header none
        C:ip=50 size=0                -> drop:bad-ipsec-header none
        C:esp=256/1 size=8            -> pass single
        S:esp=1000/1 +100             -> pass stream
        # A rekey is a new number in one direction, then in the other.
        C:esp=257/1 +100              -> pass stream
        S:esp=1001/1 +100             -> pass stream
        S:esp=0/1 +100                -> drop:ipsec-spi-zero
        S:esp=1001/2 +100             -> pass stream
        C:esp=258/1 +100 frag=0:0+    -> drop:fragment-tiny
    ",
            ),
            case(
                "own/ipsec-header/ah",
                "
        C:ah=0/1 +100                 -> drop:ipsec-spi-zero none
        C:ip=51 size=11               -> drop:bad-ipsec-header none
        # An integrity value that does not fit, and less than a header.
        C:ah=256/1 bytes=06ff         -> drop:bad-ipsec-header none
        C:ah=256/1 bytes=0600         -> drop:bad-ipsec-header none
        C:ah=256/1 +100 frag=0:16+    -> drop:fragment-tiny none
        C:ah=256/1                    -> pass single
        S:ah=1000/1 +100              -> pass stream
    ",
            ),
            case(
                "own/ipsec-header/udp",
                "
        # ESP, IKE behind its four zeros, the keepalive, and none of these.
        C:udp dport=4500 bytes=0000100000000001 +64 -> pass single
        C:udp dport=4500 bytes=0000000000000001 +64 -> pass single
        C:udp dport=4500 bytes=ff size=1            -> pass single
        C:udp dport=4500 size=0                     -> pass single
        C:udp dport=4500 size=3                     -> pass single
        S:udp sport=4500 bytes=0000200000000001 +64 -> pass stream
        C:udp dport=10000 bytes=0000100000000001 +64 -> pass single
        S:udp sport=10000 bytes=ff size=1           -> pass stream
        policy drop
        C:udp dport=4500 bytes=ff size=1            -> drop:acl-drop none
    ",
            ),
        ],
    ),
    row(
        "own/gre",
        &[case(
            "own/gre",
            "
        C:ip=47 bytes=00000800            -> pass single
        S:ip=47 bytes=b0000800            -> pass stream
        # PPTP: the two directions have other call identifiers.
        C:ip=47 bytes=3081880b00100001    -> pass stream
        S:ip=47 bytes=2001880b00100002    -> pass stream
        C:ip=47 bytes=20010800            -> drop:bad-gre-header
        C:ip=47 bytes=0001880b            -> drop:bad-gre-header
        C:ip=47 bytes=00020800            -> drop:bad-gre-header
        C:ip=47 bytes=40000800            -> drop:bad-gre-header
        C:ip=47 bytes=08000800            -> drop:bad-gre-header
        C:ip=47 bytes=b0000800 size=15    -> drop:bad-gre-header
        C:ip=47 bytes=b0000800 size=16    -> pass stream
        C:ip=47 size=3                    -> drop:bad-gre-header
        C:ip=47 bytes=b0000800 frag=0:8+  -> drop:fragment-tiny
    ",
        )],
    ),
    row(
        "own/sctp",
        &[case(
            "own/sctp",
            "
        C:ip=132 bytes=1234567800000001           -> pass single
        S:ip=132 bytes=5678123400000001           -> pass stream
        S:ip=132 bytes=5678123500000001           -> pass single
        C:ip=132 bytes=1234567800000001 size=12   -> pass stream
        C:ip=132 bytes=1234567800000001 size=11   -> drop:bad-sctp-header
        C:ip=132 bytes=0000567800000001           -> drop:port-zero none
        C:ip=132 bytes=1234000000000001           -> drop:port-zero none
        C:ip=132 bytes=1234567800000001 frag=0:8+ -> drop:fragment-tiny
    ",
        )],
    ),
];
