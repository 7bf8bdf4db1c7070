//! `guard` of a rule: what a bypass, or an IPsec flow, must keep proving. See [`firewall_common::guard`].

use firewall_common::{flow::Inspection, rule::rule_flags, wire::protocol};

use super::{
    diagnostic::{Place, Report},
    document::Value,
    print,
    service::PortRange,
};

/// What `guard` can name, and its bit in [`rule_flags`].
pub(super) const GUARDS: [(&str, u8); 2] = [("ctcp", rule_flags::GUARD_CTCP), ("esp", rule_flags::GUARD_ESP)];

/// The guards of a rule. They may stand together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guards(u8);

impl Guards {
    /// Bits of [`rule_flags`].
    pub(super) const fn flags(self) -> u8 {
        self.0
    }

    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    const fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    /// As policies write them, in the order of the list.
    #[must_use]
    pub fn names(self) -> Vec<String> {
        GUARDS.iter().filter(|(_, flag)| self.has(*flag)).map(|(name, _)| (*name).to_owned()).collect()
    }

    /// The value of the key; `None` without guards.
    pub(super) fn print(self) -> Option<String> {
        (!self.is_empty()).then(|| print::strings(&self.names()))
    }

    /// The guards of an entry's flags.
    #[must_use]
    pub const fn of_flags(flags: u8) -> Self {
        Self(flags & rule_flags::GUARDED)
    }

    /// Reads the key; `None` when its value is wrong.
    pub(super) fn read(value: Value<'_>, report: &mut Report<'_>) -> Option<Self> {
        let texts = value.strings("guard", report);
        let mut guards = Self::default();
        let mut known = !texts.is_empty();
        for text in texts {
            let found = GUARDS.iter().find(|(name, _)| *name == text.value);
            match found {
                Some((_, flag)) => guards.0 |= flag,
                None => {
                    let message = format!("guard cannot be {}", super::diagnostic::quoted(text.value));
                    report.unknown_word(text.place, message, text.value, GUARDS.iter().map(|(name, _)| *name));
                    known = false;
                }
            }
        }
        known.then_some(guards)
    }

    /// Reports guards that cannot do what they are for under the rule's other keys; `service` is `None` for every service.
    pub(super) fn fit(self, place: Place, inspection: Inspection, service: Option<&[PortRange]>, report: &mut Report<'_>) -> bool {
        let bypass = inspection == Inspection::Bypass;
        let all = |fits: fn(&PortRange) -> bool| service.is_some_and(|ranges| ranges.iter().all(fits));
        if self.has(rule_flags::GUARD_CTCP) && !bypass {
            let message = "guard \"ctcp\" is for bypass rules: it is what a flow must prove to be bypassed";
            report.error_with_hint(place, message, "say inspection = \"bypass\", or leave the guard out");
            return false;
        }
        if self.has(rule_flags::GUARD_CTCP) && !all(|range| range.protocol == protocol::TCP) {
            let message = "guard \"ctcp\" is for TCP alone, and this rule is for more";
            report.error_with_hint(
                place,
                message,
                "name the port, as in service = \"tcp/10000\", and give other services a rule of their own",
            );
            return false;
        }
        if !self.has(rule_flags::GUARD_ESP) {
            return true;
        }
        let carries = |range: &PortRange| matches!(range.protocol, protocol::TCP | protocol::UDP | protocol::ESP | protocol::AH);
        if !all(carries) {
            let message = "guard \"esp\" is for services that carry ESP or AH, and this rule is for more";
            report.error_with_hint(place, message, "name them, as in service = \"udp/500,4500, esp\", and give others a rule of their own");
            return false;
        }
        let has_tcp = service.is_some_and(|ranges| ranges.iter().any(|range| range.protocol == protocol::TCP));
        if has_tcp && !bypass {
            let message = "guard \"esp\" on TCP takes the place of the checks that bypass leaves out";
            report.error_with_hint(place, message, "say inspection = \"bypass\", or leave tcp out of the rule's services");
            return false;
        }
        true
    }
}
