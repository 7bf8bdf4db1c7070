//! Recognition by what a flow's ends do. What becomes known is in the flow's record, and that is compared wherever a case is played.

use super::{Row, case, row};

pub(super) const ROWS: &[Row] = &[row(
    "own/application-rewound",
    &[
        case(
            "own/application-rewound/fake-tcp",
            "
        HS
        # One number for everything: what comes again there is another thing each time.
        C:A 1/1 +100 data=65          -> pass
        C:A 1/1 +100 data=66          -> pass
        C:A 1/1 +90 data=67           -> pass
        C:A 1/1 +100 data=68          -> pass
        # The third sign.
        C:A 1/1 +40 data=69           -> pass
        C:A 1/1 +100 data=70          -> pass
    ",
        ),
        case(
            "own/application-rewound/tcp",
            "
        HS
        C:A 1/1 +100 data=65          -> pass
        C:A 1/1 +100 data=66          -> pass
        C:A 1/1 +100 data=67          -> pass
        # The same again: whatever it is, it repeats.
        C:A 1/1 +40 data=67           -> pass
        C:A 1/1 +100 data=68          -> pass
        # Too short to be compared.
        C:A 1/1 +31 data=69           -> pass
        S:A 1/101 +100 data=70        -> pass
    ",
        ),
    ],
)];
