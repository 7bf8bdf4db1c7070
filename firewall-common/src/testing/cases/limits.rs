//! Limits of a rule, and the hours it is kept to.

use super::{Row, Test, case, row};

const TESTS: &str = "firewall-common/tests/limits.rs";

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "own/limit-flows",
        cases: &[
            case(
                "own/limit-flows",
                "
        policy limits flows=1
        C:S 0      -> pass syn-sent
        # What repeats is no other flow.
        C:S 0      -> pass syn-sent
        O:S 0      -> drop:conn-limit none
        C:udp +10  -> drop:conn-limit none
        S:SA 0/1   -> pass syn-received
        C:A 1/1    -> pass established
        O:S 0      -> drop:conn-limit none
        # The connection is over; its record stays, and counts no longer.
        C:R 1      -> pass closed
        O:S 0      -> pass syn-sent
    ",
            ),
            case(
                "own/limit-flows/what-cannot-begin-takes-no-place",
                "
        policy limits flows=1
        C:A 1/1    -> drop:tcp-not-syn none
        O:S 0      -> pass syn-sent
    ",
            ),
            case(
                "own/limit-flows/expired",
                "
        policy limits flows=1
        C:udp +10  -> pass single
        @31s
        # The flow's own packet finds its time over, and begins it anew.
        C:udp +10  -> pass single
        O:udp +10  -> drop:conn-limit none
    ",
            ),
            case(
                "own/limit-flows/another-policy",
                "
        policy limits flows=1
        C:udp +10  -> pass single
        policy drop
        C:udp +10  -> drop:acl-drop none
        policy limits flows=1
        O:udp +10  -> pass single
    ",
            ),
            case(
                "own/limit-flows/new-limits",
                "
        policy strict
        C:udp +10  -> pass single
        policy limits flows=1
        # It counts from its next packet on.
        O:udp +10  -> pass single
        C:udp +10  -> pass single
        C:S 0      -> drop:conn-limit none
        policy limits flows=3
        C:S 0      -> pass syn-sent
        O:S 0      -> drop:conn-limit none
        # Live flows go on under limits that would not admit them again.
        policy limits flows=1
        C:udp +10  -> pass single
        C:S 0      -> pass syn-sent
        O:S 0      -> drop:conn-limit none
        policy strict
        O:S 0      -> pass syn-sent
    ",
            ),
        ],
        beside: &[
            Test { file: TESTS, name: "never_more_than_a_limit_and_nothing_is_left_over" },
            Test { file: TESTS, name: "no_more_begin_in_a_second_than_the_rate_says" },
        ],
    },
    row(
        "own/limit-embryonic",
        &[case(
            "own/limit-embryonic",
            "
        policy limits embryonic=1
        C:S 0      -> pass syn-sent
        O:S 0      -> drop:embryonic-conn-limit none
        S:SA 0/1   -> pass syn-received
        O:S 0      -> drop:embryonic-conn-limit none
        C:A 1/1    -> pass established
        O:S 0      -> pass syn-sent
        C:udp +10  -> drop:embryonic-conn-limit none
    ",
        )],
    ),
    row(
        "own/limit-source",
        &[
            case(
                "own/limit-source",
                "
        policy limits source-flows=1
        C:S 0      -> pass syn-sent
        C:udp +10  -> drop:source-conn-limit none
        O:udp +10  -> pass single
        O:S 0      -> drop:source-conn-limit none
    ",
            ),
            case(
                "own/limit-source/embryonic",
                "
        policy limits source-embryonic=1
        C:S 0      -> pass syn-sent
        C:udp +10  -> drop:source-embryonic-conn-limit none
        O:udp +10  -> pass single
        S:SA 0/1   -> pass syn-received
        C:A 1/1    -> pass established
        C:udp +10  -> pass single
    ",
            ),
            case(
                "own/limit-source/bypass",
                "
        policy limits source-flows=1 bypass
        C:PA 1/1 +10  -> pass bypass
        C:udp +10     -> drop:source-conn-limit none
        S:A 1/11      -> pass bypass
        O:PA 1/1 +10  -> pass bypass
    ",
            ),
        ],
    ),
    Row {
        id: "own/log",
        cases: &[case(
            "own/log",
            "
        # What is told of these is compared between host and kernel.
        policy logged
        C:S 0      -> pass | pass
        C:udp +10  -> pass single
        policy drop logged
        C:S 0      -> drop:acl-drop none
        C:udp +10  -> drop:acl-drop none
        O:udp +10  -> drop:acl-drop none
    ",
        )],
        beside: &[Test { file: TESTS, name: "a_logged_rule_tells_of_first_packets_and_ends_unasked" }],
    },
    row(
        "own/hours",
        &[case(
            "own/hours",
            "
        policy hours always
        C:udp +10  -> pass single
        policy hours never
        S:udp +10  -> drop:acl-drop none
        C:udp +10  -> drop:acl-drop none
    ",
        )],
    ),
];
