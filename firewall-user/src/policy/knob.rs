//! The knobs of a normalizer profile: the one list of its keys, what their values are, and how they lie in a [`Profile`].

use std::fmt;

use firewall_common::normalize::{OptionSet, Profile, checks};
use toml::de::DeTable;

use super::{
    diagnostic::{Place, Report, quoted},
    document::{Value, place},
    tcp_option::{self, Action},
};

/// What an MSS can be set to: the least a receiver must take is far above, and an IPv4 packet holds no more (RFC 791 §3.2, RFC 6691).
pub(super) const MSS: std::ops::RangeInclusive<u32> = 48..=65_495;
/// The knobs an MSS is kept with.
pub(super) const MSS_CLAMP: &str = "mss-clamp";
pub(super) const MSS_MINIMUM: &str = "mss-minimum";
/// The one knob that is a table.
pub(super) const TCP_OPTIONS: &str = "tcp-options";
/// What removes a limit that the base has.
pub(super) const NO_LIMIT: &str = "off";

/// A key of `[normalizer.NAME]`, beside `base`.
pub(super) struct Knob {
    pub(super) key: &'static str,
    /// For people who write a policy.
    pub(super) help: &'static str,
    pub(super) values: Values,
}

/// What a knob can be set to, and the bits of [`checks`] that stand for it.
pub(super) enum Values {
    /// `true` sets the bit.
    Switch(u32),
    /// One of several words.
    Words(&'static [(&'static str, u32)]),
    /// Bytes, or none.
    Limit(fn(&mut Profile) -> &mut u16),
    /// TCP options with what becomes of them.
    Options,
}

/// Every knob, in the order of printing.
pub(super) const KNOBS: [Knob; 19] = [
    Knob {
        key: "check-retransmission",
        help: "Data sent again must be the data that was sent.",
        values: Values::Switch(checks::RETRANSMISSION),
    },
    Knob {
        key: "checksum-verification",
        help: "The TCP checksum of nothing, of SYN, FIN and RST, or of every segment is verified.",
        values: Values::Words(&[
            ("off", 0),
            ("control", checks::CHECKSUM_CONTROL),
            ("all", checks::CHECKSUM_CONTROL | checks::CHECKSUM_ALL),
        ]),
    },
    Knob {
        key: "exceed-mss",
        help: "More data in a segment than its receiver announced to take.",
        values: Values::Words(&[("allow", 0), ("drop", checks::EXCEED_MSS)]),
    },
    Knob {
        key: "invalid-ack",
        help: "An acknowledgement of data that was never seen. Allowed, it passes without learning.",
        values: Values::Words(&[("allow", checks::INVALID_ACK_ALLOW), ("drop", 0)]),
    },
    Knob {
        key: "invalid-sack",
        help: "A selective acknowledgement of data that was never sent.",
        values: Values::Words(&[("allow", 0), ("drop", checks::SACK)]),
    },
    Knob {
        key: MSS_CLAMP,
        help: "The largest MSS that a SYN passes with, in bytes: a larger one is made this. `off` for none.",
        values: Values::Limit(|profile| &mut profile.mss_most),
    },
    Knob {
        key: MSS_MINIMUM,
        help: "A SYN that announces a smaller MSS, in bytes, is dropped. `off` for none.",
        values: Values::Limit(|profile| &mut profile.mss_least),
    },
    Knob {
        key: "out-of-order",
        help: "A segment that begins after a hole. There is no queue to hold it back in: it passes, or it must be sent again.",
        values: Values::Words(&[("allow", 0), ("drop", checks::OUT_OF_ORDER)]),
    },
    Knob {
        key: "randomize-sequence-numbers",
        help: "Initial sequence numbers that can be guessed are replaced, in both directions.",
        values: Values::Switch(checks::RANDOMIZE),
    },
    Knob {
        key: "reserved-bits",
        help: "Header bits without a meaning yet.",
        values: Values::Words(&[("allow", 0), ("clear", checks::RESERVED_CLEAR), ("drop", checks::RESERVED_DROP)]),
    },
    Knob {
        key: "seq-past-window",
        help: "A segment that begins past the window its receiver has granted.",
        values: Values::Words(&[("allow", checks::PAST_WINDOW_ALLOW), ("drop", 0)]),
    },
    Knob {
        key: "syn-data",
        help: "Data in a SYN, as TCP Fast Open sends it.",
        values: Values::Words(&[("allow", 0), ("drop", checks::SYN_DATA)]),
    },
    Knob { key: "synack-data", help: "Data in a SYN-ACK.", values: Values::Words(&[("allow", 0), ("drop", checks::SYNACK_DATA)]) },
    Knob { key: TCP_OPTIONS, help: "TCP options by name, number or range, and what becomes of them.", values: Values::Options },
    Knob {
        key: "timestamp-check",
        help: "An old duplicate gives itself away by its timestamp (PAWS).",
        values: Values::Switch(checks::TIMESTAMPS),
    },
    Knob {
        key: "ttl-evasion-protection",
        help: "The hop limit of a direction never rises above the lowest seen.",
        values: Values::Switch(checks::TTL_EVASION),
    },
    Knob {
        key: "unnegotiated-md5",
        help: "A segment with an MD5 signature in a connection that began without.",
        values: Values::Words(&[("allow", 0), ("drop", checks::MD5)]),
    },
    Knob {
        key: "urgent-flag",
        help: "The urgent flag and pointer, which stacks disagree on.",
        values: Values::Words(&[("allow", 0), ("clear", checks::URGENT_CLEAR)]),
    },
    Knob {
        key: "window-variation",
        help: "A receiver that takes back window it has granted.",
        values: Values::Words(&[("allow", 0), ("drop", checks::WINDOW_VARIATION)]),
    },
];

/// What a knob is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    Switch(bool),
    Word(&'static str),
    /// Bytes; `None`: no limit.
    Limit(Option<u16>),
    /// Options by name, number or range, with what becomes of them.
    Options(Vec<(String, &'static str)>),
}

impl fmt::Display for Setting {
    /// As in a policy.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch(on) => on.fmt(f),
            Self::Word(word) => write!(f, "\"{word}\""),
            Self::Limit(Some(bytes)) => bytes.fmt(f),
            Self::Limit(None) => write!(f, "\"{NO_LIMIT}\""),
            Self::Options(options) => {
                // A bare key may begin with a digit, but reads like a number that is none.
                let key = |key: &str| if key.starts_with(|c: char| c.is_ascii_digit()) { format!("\"{key}\"") } else { key.to_owned() };
                let written: Vec<String> = options.iter().map(|(kinds, action)| format!("{} = \"{action}\"", key(kinds))).collect();
                write!(f, "{{ {} }}", written.join(", "))
            }
        }
    }
}

impl Knob {
    /// Reads the knob's value into `profile`.
    pub(super) fn read(&self, value: Value<'_>, profile: &mut Profile, report: &mut Report<'_>) -> Option<()> {
        match self.values {
            Values::Switch(bit) => {
                let on = value.boolean(self.key, report)?;
                profile.checks = (profile.checks & !bit) | if on { bit } else { 0 };
            }
            Values::Words(words) => {
                let bits = value.word(self.key, words, report)?;
                profile.checks = (profile.checks & !self.bits()) | bits;
            }
            Values::Limit(field) => *field(profile) = read_limit(self.key, value, report)?,
            Values::Options => read_options(value.place.file, value.table(self.key, report)?, profile, report),
        }
        complete(profile);
        Some(())
    }

    /// What the knob is set to. Of the options, those that do not just pass.
    pub(super) fn setting(&self, profile: &Profile) -> Setting {
        match self.values {
            Values::Switch(bit) => Setting::Switch(profile.checks & bit != 0),
            Values::Words(words) => {
                let set = profile.checks & self.bits();
                Setting::Word(words.iter().find(|(_, bits)| *bits == set).map_or("", |(word, _)| *word))
            }
            Values::Limit(field) => {
                let mut profile = *profile;
                let bytes = *field(&mut profile);
                Setting::Limit((bytes > 0).then_some(bytes))
            }
            Values::Options => {
                let of = |kind| Some(action(profile, kind)).filter(|action| *action != Action::Allow);
                Setting::Options(words(tcp_option::list(of)))
            }
        }
    }

    /// What must be written to come from `base` to `profile`; `None`: nothing.
    pub(super) fn difference(&self, profile: &Profile, base: &Profile) -> Option<Setting> {
        if matches!(self.values, Values::Options) {
            let of = |kind| Some(action(profile, kind)).filter(|own| *own != action(base, kind));
            let options = words(tcp_option::list(of));
            return (!options.is_empty()).then_some(Setting::Options(options));
        }
        let own = self.setting(profile);
        (own != self.setting(base)).then_some(own)
    }

    /// The bits of [`checks`] that the knob sets.
    pub(super) fn bits(&self) -> u32 {
        match self.values {
            Values::Switch(bit) => bit,
            Values::Words(words) => words.iter().fold(0, |all, (_, bits)| all | bits),
            Values::Limit(_) => checks::MSS,
            Values::Options => checks::OPTIONS,
        }
    }
}

/// The bits that repeat what other fields of the profile say.
fn complete(profile: &mut Profile) {
    let mut set = |bit: u32, on: bool| profile.checks = (profile.checks & !bit) | if on { bit } else { 0 };
    set(checks::MSS, profile.mss_most > 0 || profile.mss_least > 0);
    set(checks::OPTIONS, profile.options_clear != OptionSet::EMPTY || profile.options_drop != OptionSet::EMPTY);
}

pub(super) const fn action(profile: &Profile, kind: u8) -> Action {
    Action::of(kind, &profile.options_clear, &profile.options_drop)
}

fn words(listed: Vec<(String, Action)>) -> Vec<(String, &'static str)> {
    listed.into_iter().map(|(kinds, action)| (kinds, action.name())).collect()
}

/// Bytes; 0 for none.
fn read_limit(key: &str, value: Value<'_>, report: &mut Report<'_>) -> Option<u16> {
    if value.is_string(NO_LIMIT) {
        return Some(0);
    }
    let bytes = value.number(key, report)?;
    if MSS.contains(&bytes) {
        return u16::try_from(bytes).ok();
    }
    let message = format!("{key} must lie between {} and {} bytes", MSS.start(), MSS.end());
    report.error_with_hint(value.place, message, format!("for none leave the key out, or write {key} = \"{NO_LIMIT}\""));
    None
}

/// Reads a `tcp-options` table, in the order it is written.
fn read_options(file: usize, table: &DeTable<'_>, profile: &mut Profile, report: &mut Report<'_>) {
    let mut keys: Vec<_> = table.iter().map(|(key, value)| (place(file, key.span()), key.get_ref().as_ref(), value)).collect();
    keys.sort_unstable_by_key(|(at, ..)| *at);
    let mut written: [Option<(&str, Action)>; 256] = [None; 256];
    for (at, key, value) in keys {
        let kinds = match tcp_option::parse(key) {
            Ok(kinds) => kinds,
            Err(error) => {
                refuse_option(key, at, error, report);
                continue;
            }
        };
        let Some(action) = Value::new(file, value).word(key, &Action::WORDS, report) else { continue };
        let taken =
            kinds.iter().cloned().flatten().find_map(|kind| Some((kind, written[usize::from(kind)]?)).filter(|(_, w)| w.1 != action));
        if let Some((kind, (other, first))) = taken {
            let message = format!("{} and {} both name option {kind}, with different actions", quoted(other), quoted(key));
            let hint = format!("let no option be both {} and {}: split the range around it", first.name(), action.name());
            report.error_with_hint(at, message, hint);
            continue;
        }
        for range in kinds {
            let (first, last) = range.clone().into_inner();
            range.for_each(|kind| written[usize::from(kind)] = Some((key, action)));
            profile.options_clear = profile.options_clear.without(first, last);
            profile.options_drop = profile.options_drop.without(first, last);
            match action {
                Action::Allow => {}
                Action::Clear => profile.options_clear = profile.options_clear.with(first, last),
                Action::Drop => profile.options_drop = profile.options_drop.with(first, last),
            }
        }
    }
}

fn refuse_option(key: &str, at: Place, error: tcp_option::OptionError, report: &mut Report<'_>) {
    let message = format!("{} {error}", quoted(key));
    match (error, tcp_option::translate(key)) {
        (tcp_option::OptionError::Unknown, Some(ours)) => report.error_with_hint(at, message, format!("its name here is {ours}")),
        (tcp_option::OptionError::Unknown, None) => {
            report.unknown_word(at, message, key, tcp_option::NAMES.iter().map(|(name, _)| *name));
        }
        (tcp_option::OptionError::Range, _) => {
            report.error_with_hint(at, message, "write a number such as \"42\", or a range such as \"9-255\"");
        }
        (tcp_option::OptionError::Padding, _) => report.error_with_hint(at, message, "begin at 2"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_profiles_are_as_documented() {
        let print = |profile: &Profile| {
            let line = |knob: &Knob| knob.difference(profile, &Profile::OFF).map(|setting| format!("{} = {setting}", knob.key));
            KNOBS.iter().filter_map(line).collect::<Vec<_>>()
        };
        let common = ["checksum-verification = \"control\"", "invalid-sack = \"drop\""];
        assert_eq!(print(&Profile::DEFAULT), [&common[..], &["unnegotiated-md5 = \"drop\""]].concat());
        let asa = [
            "randomize-sequence-numbers = true",
            "synack-data = \"drop\"",
            "tcp-options = { \"6-7\" = \"clear\", \"9-255\" = \"clear\" }",
            "timestamp-check = true",
            "ttl-evasion-protection = true",
            "unnegotiated-md5 = \"drop\"",
            "urgent-flag = \"clear\"",
        ];
        assert_eq!(print(&Profile::ASA), [&common[..], &asa].concat());
        assert_eq!(print(&Profile::OFF), [""; 0]);
    }

    #[test]
    fn knobs_are_in_order_and_own_every_check_once() {
        assert!(KNOBS.is_sorted_by_key(|knob| knob.key));
        let owned = |knob: &&Knob| !matches!(knob.values, Values::Limit(_));
        let bits: Vec<u32> = KNOBS.iter().filter(owned).map(Knob::bits).collect();
        let union = bits.iter().fold(0, |all, bits| all | bits);
        assert_eq!(bits.iter().map(|bits| bits.count_ones()).sum::<u32>(), union.count_ones(), "no bit belongs to two knobs");
        assert_eq!(union | checks::MSS, (1 << 20) - 1, "every bit of `checks` belongs to a knob");
    }

    #[test]
    fn built_in_profiles_repeat_their_fields_in_their_checks() {
        for profile in [Profile::OFF, Profile::DEFAULT, Profile::ASA] {
            let mut completed = profile;
            complete(&mut completed);
            assert_eq!(completed, profile);
        }
    }
}
