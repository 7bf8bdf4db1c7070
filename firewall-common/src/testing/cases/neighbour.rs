//! Neighbour discovery (RFC 4861) and multicast listeners (RFC 3810), which pass without a rule when they are what they must be.

use super::{Row, case_v6, row};

pub(super) const ROWS: &[Row] = &[
    row(
        "own/neighbours-v6",
        &[
            case_v6(
                "own/neighbours-v6/solicitation",
                "
        policy drop
        C:icmp=135/0 +16 hops=255 -> forward none
        # From beyond the link nobody can have that hop limit.
        C:icmp=135/0 +16 hops=254 -> drop:invalid-neighbour-discovery none
        C:icmp=135/0 +16 hops=64  -> drop:invalid-neighbour-discovery none
        C:icmp=135/1 +16 hops=255 -> drop:invalid-neighbour-discovery none
        C:icmp=135/0 +15 hops=255 -> drop:invalid-neighbour-discovery none
        C:icmp=135/0 +0 hops=255  -> drop:invalid-neighbour-discovery none
        C:icmp=135/0 +16 hops=255 bytes=ff02 -> drop:invalid-neighbour-discovery none
        # Options: a link-layer address; without length; too long; half a one.
        C:icmp=135/0 +24 hops=255 bytes=20010db80071000000000000000000100101 -> forward none
        C:icmp=135/0 +24 hops=255 bytes=20010db80071000000000000000000100100 -> drop:invalid-neighbour-discovery none
        C:icmp=135/0 +24 hops=255 bytes=20010db80071000000000000000000100102 -> drop:invalid-neighbour-discovery none
        C:icmp=135/0 +17 hops=255 -> drop:invalid-neighbour-discovery none
        C:icmp=135/0 +32 hops=255 bytes=20010db80071000000000000000000100e010000000000000101 -> forward none
        C:icmp=135/0 +32 hops=255 bytes=20010db80071000000000000000000100e010000000000000100 -> drop:invalid-neighbour-discovery none
        # Whoever looks for a duplicate has no address yet, asks all who may have it, and tells none of its own.
        C:icmp=135/0 +16 hops=255 src=zero dst=solicited -> forward none
        C:icmp=135/0 +16 hops=255 src=zero               -> drop:invalid-neighbour-discovery none
        C:icmp=135/0 +16 hops=255 src=zero dst=multicast -> drop:invalid-neighbour-discovery none
        C:icmp=135/0 +24 hops=255 src=zero dst=solicited bytes=20010db80071000000000000000000100101 -> drop:invalid-neighbour-discovery none
        # RFC 6980.
        C:icmp=135/0 +40 hops=255 frag=0:24+             -> drop:invalid-neighbour-discovery none
    ",
            ),
            case_v6(
                "own/neighbours-v6/advertisement",
                "
        policy drop
        C:icmp=136/0 +16 hops=255                              -> forward none
        C:icmp=136/0 +16 hops=255 rest=60000000                -> forward none
        C:icmp=136/0 +16 hops=255 dst=multicast                -> forward none
        C:icmp=136/0 +16 hops=255 dst=multicast rest=40000000  -> drop:invalid-neighbour-discovery none
        C:icmp=136/0 +16 hops=255 src=zero                     -> drop:invalid-neighbour-discovery none
        C:icmp=136/0 +16 hops=255 bytes=ff02                   -> drop:invalid-neighbour-discovery none
        C:icmp=136/0 +16 hops=1                                -> drop:invalid-neighbour-discovery none
    ",
            ),
            case_v6(
                "own/neighbours-v6/router",
                "
        policy drop
        C:icmp=133/0 +0 hops=255 dst=multicast                              -> forward none
        C:icmp=133/0 +0 hops=255 src=zero dst=multicast                     -> forward none
        C:icmp=133/0 +8 hops=255 src=link-local dst=multicast bytes=0101    -> forward none
        C:icmp=133/0 +8 hops=255 src=zero dst=multicast bytes=0101          -> drop:invalid-neighbour-discovery none
        C:icmp=134/0 +8 hops=255 src=link-local dst=multicast               -> forward none
        C:icmp=134/0 +16 hops=255 src=link-local dst=multicast bytes=00000000000000000101 -> forward none
        C:icmp=134/0 +16 hops=255 src=link-local dst=multicast bytes=00000000000000000100 -> drop:invalid-neighbour-discovery none
        C:icmp=134/0 +7 hops=255 src=link-local dst=multicast               -> drop:invalid-neighbour-discovery none
        # Routers speak by their link-local addresses.
        C:icmp=134/0 +8 hops=255 dst=multicast                              -> drop:invalid-neighbour-discovery none
        C:icmp=134/0 +8 hops=64 src=link-local dst=multicast                -> drop:invalid-neighbour-discovery none
    ",
            ),
            case_v6(
                "own/neighbours-v6/redirect",
                "
        policy drop
        C:icmp=137/0 +32 hops=255 src=link-local bytes=fe80000000000000000000000000000220010db8000900000000000000000001 -> forward none
        C:icmp=137/0 +32 hops=255 src=link-local bytes=20010db800090000000000000000000120010db8000900000000000000000001 -> forward none
        C:icmp=137/0 +32 hops=255 src=link-local bytes=20010db800090000000000000000000220010db8000900000000000000000001 -> drop:invalid-neighbour-discovery none
        C:icmp=137/0 +32 hops=255 src=link-local bytes=fe800000000000000000000000000002ff020000000000000000000000000001 -> drop:invalid-neighbour-discovery none
        C:icmp=137/0 +32 hops=255 bytes=fe80000000000000000000000000000220010db8000900000000000000000001 -> drop:invalid-neighbour-discovery none
        C:icmp=137/0 +31 hops=255 src=link-local bytes=fe80 -> drop:invalid-neighbour-discovery none
    ",
            ),
            case_v6(
                "own/neighbours-v6/listeners",
                "
        policy drop
        C:icmp=143/0 +0 hops=1 src=link-local dst=multicast   -> forward none
        C:icmp=143/0 +20 hops=1 src=zero dst=multicast ext=0  -> forward none
        C:icmp=143/0 +20 hops=2 src=link-local dst=multicast  -> drop:invalid-neighbour-discovery none
        C:icmp=143/0 +20 hops=1 dst=multicast                 -> drop:invalid-neighbour-discovery none
        C:icmp=130/0 +16 hops=1 src=link-local dst=multicast  -> forward none
        C:icmp=130/0 +16 hops=1 src=zero dst=multicast        -> drop:invalid-neighbour-discovery none
        C:icmp=131/0 +16 hops=1 src=zero dst=multicast        -> forward none
        C:icmp=132/0 +16 hops=1 src=link-local dst=multicast  -> forward none
        C:icmp=132/0 +15 hops=1 src=link-local dst=multicast  -> drop:invalid-neighbour-discovery none
    ",
            ),
            case_v6(
                "own/neighbours-v6/nothing-else-without-an-address",
                "
        C:echo src=zero           -> drop:martian none
        C:icmp=1/0 +60 src=zero   -> drop:martian none
        C:udp src=zero            -> drop:martian none
        C:icmp=140/0 +8 src=zero  -> drop:martian none
    ",
            ),
        ],
    ),
];
