//! TCP options as a policy names them: by name, by number, or as a range of numbers.

use std::ops::RangeInclusive;

use firewall_common::normalize::OptionSet;

/// The first kind a policy can name: 0 ends the list and 1 pads it (RFC 9293 §3.1), and no list goes without them.
const FIRST: u8 = 2;

/// Names and the kinds they stand for.
pub(super) const NAMES: [(&str, &[u8]); 12] = [
    ("mss", &[2]),
    ("window-scale", &[3]),
    ("sack-permitted", &[4]),
    ("sack", &[5]),
    ("timestamp", &[8]),
    ("md5", &[19]),
    ("user-timeout", &[28]),
    ("tcp-ao", &[29]),
    ("mptcp", &[30]),
    ("fast-open", &[34]),
    ("accecn", &[172, 174]),
    ("experimental", &[253, 254]),
];

/// Other systems' words, and ours.
const OTHER_WORDS: [(&str, &str); 6] = [
    ("selective-ack", "sack-permitted"),
    ("timestamps", "timestamp"),
    ("wscale", "window-scale"),
    ("tfo", "fast-open"),
    ("ao", "tcp-ao"),
    ("uto", "user-timeout"),
];

/// What becomes of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Allow,
    /// It is overwritten with NOP.
    Clear,
    /// Its segment is dropped.
    Drop,
}

impl Action {
    pub(super) const WORDS: [(&str, Self); 3] = [("allow", Self::Allow), ("clear", Self::Clear), ("drop", Self::Drop)];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Clear => "clear",
            Self::Drop => "drop",
        }
    }

    pub(super) const fn of(kind: u8, clear: &OptionSet, drop: &OptionSet) -> Self {
        if drop.contains(kind) {
            Self::Drop
        } else if clear.contains(kind) {
            Self::Clear
        } else {
            Self::Allow
        }
    }
}

/// Why a key of `tcp-options` names no options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OptionError {
    #[error("is no TCP option")]
    Unknown,
    #[error("is not a range of TCP options: they are numbered {FIRST} to 255, the smaller number first")]
    Range,
    #[error("cannot be named: options 0 and 1 end and pad the list, and always pass")]
    Padding,
}

/// The kinds a key stands for.
pub(super) fn parse(key: &str) -> Result<Vec<RangeInclusive<u8>>, OptionError> {
    if let Some((_, kinds)) = NAMES.iter().find(|(name, _)| *name == key) {
        return Ok(kinds.iter().map(|kind| *kind..=*kind).collect());
    }
    if !key.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(OptionError::Unknown);
    }
    let number = |text: &str| {
        let plain = text.len() <= 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u8>().ok().filter(|_| plain).ok_or(OptionError::Range)
    };
    let (first, last) = key.split_once('-').unwrap_or((key, key));
    let (first, last) = (number(first)?, number(last)?);
    match (first < FIRST, first <= last) {
        (true, _) => Err(OptionError::Padding),
        (false, true) => Ok(vec![first..=last]),
        (false, false) => Err(OptionError::Range),
    }
}

/// Our word for another system's.
pub(super) fn translate(key: &str) -> Option<&'static str> {
    OTHER_WORDS.iter().find(|(other, _)| *other == key).map(|(_, ours)| *ours)
}

/// The shortest readable list of keys that gives each kind its action in `of`; kinds without one are in no key.
///
/// Neighbours with the same action are one range, unless each of them has a name.
pub(super) fn list(of: impl Fn(u8) -> Option<Action>) -> Vec<(String, Action)> {
    let mut listed: Vec<(String, Action)> = Vec::new();
    let mut next = Some(FIRST);
    while let Some(first) = next {
        let action = of(first);
        let last = (first..=u8::MAX).take_while(|kind| of(*kind) == action).last().unwrap_or(first);
        next = last.checked_add(1);
        let Some(action) = action else { continue };
        let name = |kind: u8| {
            let named = NAMES.iter().find(|(_, kinds)| kinds.contains(&kind));
            named.filter(|(_, kinds)| kinds.iter().all(|kind| of(*kind) == Some(action))).map(|(name, _)| (*name).to_owned())
        };
        let keys: Option<Vec<String>> = (first..=last).map(name).collect();
        let range = || vec![if first == last { first.to_string() } else { format!("{first}-{last}") }];
        for key in keys.unwrap_or_else(range) {
            if !listed.iter().any(|(known, _)| *known == key) {
                listed.push((key, action));
            }
        }
    }
    listed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_names_numbers_and_ranges() {
        assert_eq!(parse("mss"), Ok(vec![2..=2]));
        assert_eq!(parse("accecn"), Ok(vec![172..=172, 174..=174]));
        assert_eq!(parse("2"), Ok(vec![2..=2]));
        assert_eq!(parse("9-255"), Ok(vec![9..=255]));
        for padding in ["0", "1", "0-255", "1-1"] {
            assert_eq!(parse(padding), Err(OptionError::Padding), "{padding}");
        }
        for wrong in ["256", "9-256", "9-8", "9-", "9-10-11", "9 - 10", "+9", "0009", "9-+10"] {
            assert!(matches!(parse(wrong), Err(OptionError::Range | OptionError::Unknown)), "{wrong}");
        }
        for unknown in ["", "MSS", "-9", "option"] {
            assert_eq!(parse(unknown), Err(OptionError::Unknown), "{unknown}");
        }
    }

    #[test]
    fn other_systems_words_lead_to_names() {
        for (other, ours) in OTHER_WORDS {
            assert!(parse(other).is_err() && parse(ours).is_ok(), "{other}");
        }
    }

    #[test]
    fn lists_name_what_has_a_name() {
        let listed = |actions: &[(u8, Action)]| {
            list(|kind| actions.iter().find(|(known, _)| *known == kind).map(|(_, action)| *action))
                .into_iter()
                .map(|(key, action)| format!("{key} {}", action.name()))
                .collect::<Vec<_>>()
        };
        assert_eq!(listed(&[(2, Action::Clear), (3, Action::Clear)]), ["mss clear", "window-scale clear"]);
        assert_eq!(listed(&[(6, Action::Clear), (7, Action::Clear)]), ["6-7 clear"]);
        assert_eq!(listed(&[(5, Action::Drop), (6, Action::Drop)]), ["5-6 drop"], "a range when one has no name");
        assert_eq!(listed(&[(172, Action::Drop), (174, Action::Drop)]), ["accecn drop"], "one name, two kinds");
        assert_eq!(listed(&[(172, Action::Drop), (174, Action::Clear)]), ["172 drop", "174 clear"]);
        assert_eq!(listed(&[(255, Action::Allow)]), ["255 allow"]);
        let all: Vec<(u8, Action)> = (2..=255).map(|kind| (kind, Action::Drop)).collect();
        assert_eq!(listed(&all), ["2-255 drop"]);
        assert_eq!(listed(&[]), [""; 0]);
    }
}
