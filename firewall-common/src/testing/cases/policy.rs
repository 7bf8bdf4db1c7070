//! What the policy decides, and what becomes of live flows when it changes.

use super::{Row, Test, case, row};

const LIFETIME: &str = "firewall-user/tests/cli/lifetime.rs";

pub(super) const ROWS: &[Row] = &[
    row(
        "spoof-reflect",
        &[case(
            "spoof-reflect",
            "
        policy drop
        O:S 0 +100     -> drop:acl-drop none
        O:PA 0/0 +100  -> drop:acl-drop none
        O:S 0          -> drop:acl-drop none
        O:PA 1/1 +100  -> drop:acl-drop none
    ",
        )],
    ),
    // The program is replaced, the controller dies, the tables' layout changes: it takes the whole of weir.
    Row {
        id: "upgrade",
        cases: &[],
        beside: &[
            Test { file: LIFETIME, name: "a_crash_loses_no_flow_and_the_next_daemon_takes_over" },
            Test { file: LIFETIME, name: "an_orderly_end_keeps_or_detaches_as_told" },
            Test { file: LIFETIME, name: "maps_of_another_shape_are_given_up_only_when_told" },
            Test { file: "xtask/src/test/scenarios/crash.rs", name: "killed" },
        ],
    },
    row(
        "own/reject",
        &[case(
            "own/reject",
            "
        policy reject
        C:S 0                     -> answer none
        C:udp +10                 -> answer none
        # A fragment is not answered, nor what the box itself sends.
        C:udp +1000 frag=0:512+   -> drop:rejected none
        S:udp +10                 -> drop:rejected none
    ",
        )],
    ),
    row(
        "own/deny-cuts",
        &[
            case(
                "own/deny-cuts",
                "
        HS
        C:A 1/1 +10   -> pass | pass
        policy drop
        C:A 11/1 +10  -> drop:acl-drop none
        S:A 1/11      -> drop:acl-drop none
    ",
            ),
            case(
                "own/deny-cuts/reply-first",
                "
        C:udp +10     -> pass single
        S:udp +10     -> pass stream
        policy drop
        S:udp +10     -> drop:acl-drop none
    ",
            ),
            case(
                "own/deny-cuts/embryonic",
                "
        C:S 0         -> pass | pass
        policy drop
        S:SA 0/1      -> drop:acl-drop none
    ",
            ),
        ],
    ),
    row(
        "own/allow-goes-on",
        &[case(
            "own/allow-goes-on",
            "
        HS
        C:A 1/1 +1000  -> pass | pass
        policy strict
        S:A 1/1001     -> pass established | pass
        C:A 1001/1 +10 -> pass established | pass
    ",
        )],
    ),
    row(
        "own/direction",
        &[case(
            "own/direction",
            "
        # Judged as its first packet was, whoever sent the one at hand.
        policy from-zone-1
        S:S 0     -> drop:acl-drop none
        C:S 0     -> pass syn-sent
        S:SA 0/1  -> pass syn-received
        policy from-zone-1
        S:SA 0/1  -> nostate syn-received
        C:A 1/1   -> pass established
        policy from-zone-1
        S:A 1/1   -> pass established
    ",
        )],
    ),
    row(
        "own/wrong-zone",
        &[case(
            "own/wrong-zone",
            "
        HS
        C:A 1/1 zone=2 -> drop:wrong-zone established | drop:wrong-zone bypass
        C:A 1/1        -> pass established | pass bypass
    ",
        )],
    ),
    row(
        "own/strict-to-bypass",
        &[
            case(
                "own/strict-to-bypass",
                "
        HS
        policy bypass
        S:A 900000/900000 +10 -> pass bypass
        C:A 700000/1 +10      -> pass bypass
    ",
            ),
            case(
                "own/strict-to-bypass/half-open",
                "
        C:S 0       -> pass | pass
        S:SA 0/1    -> pass | pass
        policy bypass
        C:A 1/1     -> pass bypass
        S:A 1/1     -> pass bypass
    ",
            ),
        ],
    ),
    row(
        "own/expired-stays-expired",
        &[case(
            "own/expired-stays-expired",
            "
        policy bypass
        C:PA 1/1 +10  -> pass bypass
        S:A 1/11      -> pass bypass
        @121s
        # Its time is over before the new policy sees it: the longer time of another level does not bring it back.
        policy strict
        C:PA 11/1 +10 -> drop:tcp-not-syn none
    ",
        )],
    ),
];
