//! ICMP errors and the flows they quote (RFC 5927).

use super::{Row, case, case_v4, case_v6, row};

pub(super) const ROWS: &[Row] = &[
    row(
        "own/icmp-error",
        &[
            case(
                "own/icmp-error/tcp",
                "
        policy no-icmp
        HS
        S:A 1/1 +1000                                -> pass established | pass
        C:error=too-big [S:A 1/1 +1000] mtu=1400     -> untouched established | untouched bypass
        # A router on the client's side has other addresses.
        O:error=unreachable [S:A 1/1 +1000]          -> untouched established | untouched bypass
        O:error=time-exceeded [S:A 501/1 +500]       -> untouched established | untouched bypass
        O:error=parameter-problem [S:A 1/1 +1000]    -> untouched established | untouched bypass
        S:error=unreachable [C:A 1/1]                -> untouched established | untouched bypass
        # What it says is for the endpoint to judge.
        C:error=too-big [S:A 1/1 +1000] mtu=40       -> untouched established | untouched bypass
        C:A 1/1001                                   -> pass established | pass
        # It was sent again meanwhile.
        C:error=too-big [S:A 1/1 +1000] mtu=1400     -> untouched established | untouched bypass
    ",
            ),
            case(
                "own/icmp-error/off-window",
                "
        policy no-icmp
        HS
        S:A 1/1 +1000                                -> pass established | pass
        C:error=too-big [S:A 1001/1]                 -> untouched established | untouched bypass
        C:error=too-big [S:A 1002/1 +10]             -> drop:icmp-error-off-window established | untouched bypass
        C:error=too-big [S:A 100000/1 +10]           -> drop:icmp-error-off-window established | untouched bypass
        C:error=unreachable [S:A -64534/1 +10]       -> untouched established | untouched bypass
        C:error=unreachable [S:A -64535/1 +10]       -> drop:icmp-error-off-window established | untouched bypass
        C:error=unreachable [S:A -2000000000/1 +10]  -> drop:icmp-error-off-window established | untouched bypass
        S:error=unreachable [C:A 2/1]                -> drop:icmp-error-off-window established | untouched bypass
    ",
            ),
            case(
                "own/icmp-error/embryonic",
                "
        policy no-icmp
        C:S 0                                 -> pass syn-sent | pass bypass
        S:error=unreachable [C:S 0]           -> untouched syn-sent | untouched bypass
        S:error=unreachable [C:S -1]          -> drop:icmp-error-off-window syn-sent | untouched bypass
        S:error=unreachable [C:S 2]           -> drop:icmp-error-off-window syn-sent | untouched bypass
        C:error=time-exceeded [S:SA 0/1]      -> drop:icmp-error-off-window syn-sent | untouched bypass
        S:SA 0/1                              -> pass syn-received | pass bypass
        C:error=time-exceeded [S:SA 0/1]      -> untouched syn-received | untouched bypass
        C:error=time-exceeded [S:SA 70000/1]  -> drop:icmp-error-off-window syn-received | untouched bypass
    ",
            ),
            case(
                "own/icmp-error/pending-syn",
                "
        policy no-icmp
        HS
        C:S 70000                        -> noted established | pass
        S:error=unreachable [C:S 70000]  -> untouched established | untouched bypass
        S:error=unreachable [C:S 70001]  -> drop:icmp-error-off-window established | untouched bypass
    ",
            ),
            case(
                "own/icmp-error/other-side",
                "
        policy no-icmp
        HS
        # From the sender's own side: the packet has not got there.
        O:error=unreachable [C:A 1/1] dst=client     -> drop:inspect-icmp-error-different-embedded-conn established | drop:inspect-icmp-error-different-embedded-conn bypass
        C:error=unreachable [S:A 1/1] zone=2         -> drop:inspect-icmp-error-different-embedded-conn established | drop:inspect-icmp-error-different-embedded-conn bypass
        # To somebody who has not sent what is quoted.
        C:error=unreachable [C:A 1/1]                -> drop:inspect-icmp-error-different-embedded-conn
        S:error=unreachable [O:A 1/1]                -> drop:inspect-icmp-error-different-embedded-conn
        C:A 1/1                                      -> pass established | pass
    ",
            ),
            case(
                "own/icmp-error/time-goes-on",
                "
        policy no-icmp
        C:udp +10                            -> pass single
        @20s
        S:error=unreachable [C:udp +10]      -> untouched single
        @11s
        S:error=unreachable [C:udp +10]      -> drop:acl-drop
        C:udp +10                            -> pass single
    ",
            ),
            case(
                "own/icmp-error/other-protocols",
                "
        policy no-icmp
        C:udp +1400                                      -> pass single
        S:error=too-big [C:udp +1400] mtu=1300           -> untouched single
        C:esp=4096/1 +1400                               -> pass single
        S:error=too-big [C:esp=4096/1 +1400] mtu=1300    -> untouched single
        # An association of the same endpoints that has not been seen.
        S:error=too-big [C:esp=9999/7 +1400]             -> untouched single
        C:ip=132 bytes=1234567800000001                  -> pass single
        S:error=unreachable [C:ip=132 bytes=1234567800]  -> untouched single
        S:error=unreachable [C:ip=132 bytes=1235567800]  -> drop:acl-drop
        C:ip=47 bytes=00000800                           -> pass single
        S:error=too-big [C:ip=47 bytes=00000800]         -> untouched single
        policy strict
        C:echo                                           -> pass single
        S:error=unreachable [C:echo]                     -> untouched single
        S:echo-reply                                     -> pass stream
        C:error=unreachable [S:echo-reply]               -> untouched stream
    ",
            ),
        ],
    ),
    row(
        "own/icmp-error-policy",
        &[
            case(
                "own/icmp-error-policy/no-flow",
                "
        C:error=unreachable [S:udp +10]  -> pass none
        C:error=too-big [S:A 1/1 +10]    -> pass none
        policy no-icmp
        C:error=unreachable [S:udp +10]  -> drop:acl-drop none
        C:error=too-big [S:A 1/1 +10]    -> drop:acl-drop none
    ",
            ),
            case(
                "own/icmp-error-policy/deny-cuts",
                "
        HS
        C:udp +10                        -> pass single
        policy drop
        S:error=unreachable [C:udp +10]  -> drop:acl-drop none
        C:error=too-big [S:A 1/1 +10]    -> drop:acl-drop none
    ",
            ),
            case(
                "own/icmp-error-policy/another-that-allows",
                "
        HS
        S:A 1/1 +1000                          -> pass established | pass
        policy no-icmp
        C:error=too-big [S:A 1/1 +1000]        -> untouched established | untouched bypass
        C:error=too-big [S:A 5001/1 +1000]     -> drop:icmp-error-off-window established | untouched bypass
    ",
            ),
            case(
                "own/icmp-error-policy/out-of-bypass",
                "
        policy bypass
        HS
        policy strict
        # Nobody knows the numbers yet.
        C:error=too-big [S:A 777777/1 +1000]  -> untouched established
        S:A 1/1 +1000                         -> pass established
        C:A 1/1001                            -> pass established
        C:error=too-big [S:A 1/1 +1000]       -> untouched established
        C:error=too-big [S:A 777777/1 +1000]  -> drop:icmp-error-off-window established
    ",
            ),
            case(
                "own/icmp-error-policy/fragments",
                "
        policy no-icmp
        C:udp +1000                                         -> pass single
        S:error=too-big [C:udp +1000 frag=0:512+]           -> untouched single
        # No ports are quoted.
        S:error=too-big [C:udp +1000 frag=512:496]          -> drop:acl-drop
        S:error=too-big [C:udp +1000] quote=200 frag=0:128+ -> drop:acl-drop
    ",
            ),
        ],
    ),
    row(
        "own/icmp-error-quote",
        &[
            case(
                "own/icmp-error-quote",
                "
        HS
        C:error=unreachable [S:A 1/1] quote=8          -> untouched established | untouched bypass
        C:error=unreachable [S:A 1/1] quote=7          -> drop:icmp-error-bad-quote
        C:error=unreachable [S:A 1/1] quote=0          -> drop:icmp-error-bad-quote
        C:error=unreachable [S:A 1/1] size=10          -> drop:icmp-error-bad-quote
        C:error=unreachable [S:A 1/1] size=0           -> drop:icmp-error-bad-quote
        C:error=unreachable [S:A 1/1 version=5]        -> drop:icmp-error-bad-quote
        # Lengths and what is behind them count what was not quoted.
        C:error=unreachable [S:A 1/1 iplen=9000]       -> untouched established | untouched bypass
        C:error=unreachable [S:A 1/1 doff=15]          -> untouched established | untouched bypass
        # No host answers an error with an error.
        C:error=unreachable [S:icmp=3/3 +40]           -> drop:icmp-error-bad-quote
        C:error=unreachable [S:icmp=5/1 +40]           -> drop:icmp-error-bad-quote
    ",
            ),
            case_v4(
                "own/icmp-error-quote/v4",
                "
        HS
        C:error=unreachable [S:A 1/1 ipopt=9404000001010101] -> untouched established | untouched bypass
        C:error=unreachable [S:A 1/1 csum=bad]               -> untouched established | untouched bypass
        C:error=unreachable [S:A 1/1 ihl=4]                  -> drop:icmp-error-bad-quote
        C:error=unreachable [S:A 1/1 ihl=15]                 -> drop:icmp-error-bad-quote
        C:error=unreachable [S:ip=58 bytes=0100]             -> drop:icmp-error-bad-quote
        # Source quench and redirect are for the policy to allow.
        policy no-icmp
        C:icmp=4/0 +40                                       -> drop:acl-drop
        C:icmp=5/1 +40                                       -> drop:acl-drop
    ",
            ),
            case_v6(
                "own/icmp-error-quote/v6",
                "
        HS
        C:error=too-big [S:A 1/1 ext=0,60]                -> untouched established | untouched bypass
        C:error=too-big [S:A 1/1 ext=60,60,60,60,60,60]   -> untouched established | untouched bypass
        C:error=too-big [S:A 1/1 ext=60,60,60,60,60,60,60] -> drop:icmp-error-bad-quote
        C:error=too-big [S:A 1/1 ext=60,0]                -> drop:icmp-error-bad-quote
        C:error=unreachable [S:icmp=137/0 +40]            -> drop:icmp-error-bad-quote
        C:error=unreachable [S:ip=1 bytes=0800]           -> drop:icmp-error-bad-quote
    ",
            ),
        ],
    ),
];
