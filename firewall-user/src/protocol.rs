//! Names of IP protocols.

use std::borrow::Cow;

/// Protocols with a name in Weir.
const NAMES: [(u8, &str); 9] =
    [(1, "icmp"), (6, "tcp"), (17, "udp"), (47, "gre"), (50, "esp"), (51, "ah"), (58, "icmpv6"), (132, "sctp"), (136, "udplite")];

/// The protocol's name, or its number in digits.
#[must_use]
pub fn name(number: u8) -> Cow<'static, str> {
    NAMES.iter().find(|(known, _)| *known == number).map_or_else(|| number.to_string().into(), |(_, name)| (*name).into())
}

/// The number of a name or of digits.
#[must_use]
pub fn number(text: &str) -> Option<u8> {
    NAMES.iter().find(|(_, name)| *name == text).map(|(number, _)| *number).or_else(|| text.parse().ok())
}

/// Whether the protocol's ports mean something.
#[must_use]
pub fn has_ports(number: u8) -> bool {
    matches!(number, 6 | 17 | 132 | 136)
}
