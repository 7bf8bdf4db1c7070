//! Normalizer profiles that tests name.

use crate::normalize::{OptionSet, Profile, checks};

const fn only(checks: u32) -> Profile {
    Profile { checks, ..Profile::OFF }
}

/// Everything that can be asked for at once.
pub const EVERYTHING: Profile = Profile {
    checks: ((1 << 20) - 1) & !(checks::RESERVED_DROP | checks::INVALID_ACK_ALLOW | checks::PAST_WINDOW_ALLOW),
    mss_most: 1200,
    mss_least: 300,
    options_clear: OptionSet::EMPTY.with(30, 252),
    options_drop: OptionSet::EMPTY.with(253, 253),
};

/// The profile a script calls so.
#[must_use]
pub fn named(name: &str) -> Option<Profile> {
    Some(match name {
        "off" => Profile::OFF,
        "default" => Profile::DEFAULT,
        // With the numbers as they are: a script says what it sees.
        "asa" => Profile { checks: checks::ASA & !checks::RANDOMIZE, ..Profile::ASA },
        "randomize" => only(checks::RANDOMIZE),
        "checksum-all" => only(checks::CHECKSUM_ALL),
        "exceed-mss" => only(checks::EXCEED_MSS),
        "invalid-ack" => only(checks::INVALID_ACK_ALLOW),
        "in-order" => only(checks::OUT_OF_ORDER),
        "reserved-clear" => only(checks::RESERVED_CLEAR),
        "reserved-drop" => only(checks::RESERVED_DROP),
        "past-window" => only(checks::PAST_WINDOW_ALLOW),
        "syn-data" => only(checks::SYN_DATA),
        "ttl" => only(checks::TTL_EVASION),
        "urgent" => only(checks::URGENT_CLEAR),
        "window-variation" => only(checks::WINDOW_VARIATION),
        "paws" => only(checks::TIMESTAMPS),
        "retransmission" => only(checks::RETRANSMISSION),
        "mss" => Profile { mss_most: 1400, mss_least: 48, ..only(checks::MSS) },
        "no-timestamps" => Profile { options_clear: OptionSet::EMPTY.with(8, 8), ..only(checks::OPTIONS) },
        "options" => {
            let (options_clear, options_drop) = (OptionSet::EMPTY.with(30, 30), OptionSet::EMPTY.with(253, 254));
            Profile { options_clear, options_drop, ..only(checks::OPTIONS) }
        }
        "everything" => EVERYTHING,
        _ => return None,
    })
}
