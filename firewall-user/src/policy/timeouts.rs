//! Idle times: the keys that set them, and how a rule's, the policy's and the built-in ones combine.

use firewall_common::rule::Timeouts;
use toml::de::DeTable;

use super::{
    diagnostic::{Report, quoted},
    document::{Value, place},
    duration,
    key::{self, Fallback, Key, Kind},
    pattern,
};

/// How many keys there are: a number of its own, for what lies in memory must not hang on what the keys say.
const COUNT: usize = 12;

/// The keys of a `timeouts` table, in the order of [`fields`].
pub(super) const KEYS: [Key; COUNT] = [
    timeout("embryonic", Timeouts::DEFAULT.embryonic, "TCP before the handshake is complete, from the first SYN."),
    timeout("established", Timeouts::DEFAULT.established, "TCP."),
    timeout("half-closed", Timeouts::DEFAULT.half_closed, "TCP, one side's FIN is acknowledged."),
    timeout("transitory", Timeouts::DEFAULT.transitory, "TCP, a FIN is under way."),
    timeout("time-wait", Timeouts::DEFAULT.time_wait, "TCP, both FINs are acknowledged."),
    timeout("closed", Timeouts::DEFAULT.closed, "TCP after a reset."),
    timeout("udp-single", Timeouts::DEFAULT.udp_single, "UDP and UDP-Lite, one direction seen."),
    timeout("udp-stream", Timeouts::DEFAULT.udp_stream, "UDP and UDP-Lite, both directions seen."),
    timeout("icmp", Timeouts::DEFAULT.icmp, "ICMP and ICMPv6."),
    timeout("other", Timeouts::DEFAULT.other, "ESP, AH, GRE, SCTP and every other protocol."),
    timeout("bypass", Timeouts::DEFAULT.bypass, "TCP under bypass."),
    timeout("bypass-closing", Timeouts::DEFAULT.bypass_closing, "TCP under bypass after a FIN or reset; never longer than `bypass`."),
];

/// `default`: milliseconds.
const fn timeout(name: &'static str, default: u32, help: &'static str) -> Key {
    Key::new(name, Kind::Matching(pattern::duration), "\"1h30m\"", help).or(Fallback::Milliseconds(default))
}

/// What a rule, or `[defaults]`, says about idle times, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Overrides {
    /// `idle-timeout`.
    pub(super) idle: Option<u32>,
    /// `timeouts`, by [`KEYS`].
    pub(super) each: [Option<u32>; COUNT],
}

fn fields(timeouts: &mut Timeouts) -> [&mut u32; COUNT] {
    let Timeouts {
        embryonic,
        established,
        half_closed,
        transitory,
        time_wait,
        closed,
        udp_single,
        udp_stream,
        icmp,
        other,
        bypass,
        bypass_closing,
    } = timeouts;
    [embryonic, established, half_closed, transitory, time_wait, closed, udp_single, udp_stream, icmp, other, bypass, bypass_closing]
}

impl Overrides {
    /// Reads a `timeouts` table.
    pub(super) fn read_table(&mut self, file: usize, table: &DeTable<'_>, report: &mut Report<'_>) {
        for (key, value) in table {
            match KEYS.iter().position(|known| known.name == key.get_ref()) {
                Some(index) => self.each[index] = Value::new(file, value).duration(KEYS[index].name, report),
                None => {
                    let message = format!("unknown timeout {}", quoted(key.get_ref()));
                    report.unknown_word(place(file, key.span()), message, key.get_ref(), key::names(&KEYS));
                }
            }
        }
    }

    /// `base` with these changes. `bypass_rule`: `idle-timeout` is then also the bypass flows' own.
    pub(super) fn apply(&self, base: Timeouts, bypass_rule: bool) -> Timeouts {
        let mut timeouts = base;
        if let Some(idle) = self.idle {
            timeouts.established = idle;
            timeouts.udp_stream = idle;
            timeouts.other = idle;
            if bypass_rule {
                timeouts.bypass = idle;
            }
        }
        for (field, written) in fields(&mut timeouts).into_iter().zip(self.each) {
            *field = written.unwrap_or(*field);
        }
        // A FIN or RST shortens a bypass flow's timer; it must never prolong it.
        timeouts.bypass_closing = timeouts.bypass_closing.min(timeouts.bypass);
        timeouts
    }

    /// The inline table of the `timeouts` key, empty when there is none.
    pub(super) fn print_table(&self) -> Option<String> {
        let written: Vec<String> = KEYS
            .iter()
            .zip(self.each)
            .filter_map(|(key, millis)| Some(format!("{} = \"{}\"", key.name, duration::print(millis?))))
            .collect();
        (!written.is_empty()).then(|| format!("{{ {} }}", written.join(", ")))
    }
}
